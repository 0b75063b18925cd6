"""The undo puts back exactly what a cleanup changed, and nothing else."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from veza_ops_tests.library import SCHEMAS, Id, Library, Schema, counts, failure, run_job

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


def test_by_default_the_undo_only_says_what_it_would_do(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost(file_path="late.flac")
    run_job(library, instance)
    library.write("late.flac")
    before = library.rows()
    result = run_job(library, instance, job="restore_orphan_tracks")
    assert result.output_for_node("report_restore")["present"] == 1
    assert result.output_for_node("report_restore")["restored"] == 0
    assert library.rows() == before


def test_without_a_run_every_track_with_our_message_goes_back_and_its_message_is_cleared(
    library: Library, instance: dg.DagsterInstance
) -> None:
    ghosts = [library.add_ghost(status_message="transcoding") for _ in range(3)]
    for ghost in ghosts:
        run_job(library, instance)
        library.write(str(library.row(ghost)["file_path"]))
    assert undo(library, instance)["restored"] == 3
    assert {(library.row(ghost)["status"], library.row(ghost)["status_message"]) for ghost in ghosts} == {
        ("processing", None)
    }


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
        ("present", "missing", "unverifiable", "raced", "restored"), 0
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


def test_a_run_that_left_no_evidence_is_named(library: Library, instance: dg.DagsterInstance) -> None:
    result = run_job(
        library, instance, job="restore_orphan_tracks", ops={"find_marked_tracks": {"run_id": "no-such-run"}}
    )
    assert "There is no evidence of run no-such-run" in failure(result)
