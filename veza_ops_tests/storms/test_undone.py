"""After any storm: what was failed can be put back, to the byte."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from veza_ops import pace
from veza_ops.errors import DatabaseUnavailableError
from veza_ops.evidence import REFUSED, RESTORING
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import SCHEMAS, Library, Schema, counts, failure, run_job
from veza_ops_tests.storms.process import DEATHS, kill
from veza_ops_tests.storms.scene import AFTER_COMMIT, AFTER_EVIDENCE, AFTER_WRITE, Moment, record_writes, writes
from veza_ops_tests.storms.test_server import CUT


def dump(library: Library) -> bytes:
    """The whole table but for `updated_at`, as PostgreSQL itself writes it out."""
    columns = "id, title, status, status_message, file_path, created_at"
    columns += ", deleted_at" if library.schema.deleted_at else ""
    with library.engine.connect() as connection:
        cursor = connection.connection.cursor()
        with cursor.copy(f"COPY (SELECT {columns} FROM tracks ORDER BY id) TO STDOUT") as copy:
            return b"".join(copy)


@pytest.mark.parametrize("moment", [AFTER_EVIDENCE, AFTER_WRITE, AFTER_COMMIT], ids=str)
@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_cleanup_cut_in_mid_run_and_then_the_undo_give_the_same_table_to_the_byte(
    make_library: Callable[[Schema], Library],
    instance: dg.DagsterInstance,
    schema: Schema,
    moment: Moment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The evidence of an attempt that the server forgot lies next to that of the one that holds."""
    library = make_library(schema)
    ghosts = [library.add_ghost(status_message=f"half of {number}" if number % 2 else None) for number in range(7)]
    library.add(status="failed", status_message="orphan cleanup: file missing on disk after >1h in processing")
    library.add(status="failed", status_message="no codec")
    before = dump(library)
    record_writes(library)
    with monkeypatch.context() as storm:
        moment.arrange(storm, lambda: library.execute(CUT))
        cleanup = run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 3}})
    assert sorted(writes(library)) == sorted(map(str, ghosts))
    assert dump(library) != before
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    ops = {"find_marked_tracks": {"run_id": cleanup.run_id}, "restore_tracks": {"dry_run": False}}
    undo = run_job(library, instance, job="restore_orphan_tracks", ops=ops)
    assert undo.success, failure(undo)
    assert dump(library) == before


TOUCHING = {
    "nothing touches updated_at": [],
    "there is no updated_at": ["ALTER TABLE tracks DROP COLUMN updated_at"],
    "updated_at has seconds only": ["ALTER TABLE tracks ALTER updated_at TYPE timestamptz(0)"],
    "a trigger sets updated_at before": [
        (
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END $$"
        ),
        "CREATE TRIGGER touch BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION touch()",
    ],
    "a trigger sets updated_at afterwards": [
        (
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE tracks SET updated_at = clock_timestamp() WHERE id = NEW.id; RETURN NULL; END $$"
        ),
        (
            "CREATE TRIGGER touch AFTER UPDATE ON tracks FOR EACH ROW WHEN (pg_trigger_depth() = 0) "
            "EXECUTE FUNCTION touch()"
        ),
    ],
    "a trigger sets updated_at at the commit": [
        (
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE tracks SET updated_at = clock_timestamp() WHERE id = NEW.id; RETURN NULL; END $$"
        ),
        (
            "CREATE CONSTRAINT TRIGGER touch AFTER UPDATE ON tracks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
            "WHEN (NEW.updated_at IS DISTINCT FROM OLD.updated_at AND NEW.status IS DISTINCT FROM OLD.status) "
            "EXECUTE FUNCTION touch()"
        ),
    ],
}


KEEPING = (
    "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := {time}; RETURN NEW; END $$",
    "CREATE TRIGGER keep BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION keep()",
)
TOUCHING |= {
    f"a trigger sets {time}": [statement.format(time=time) for statement in KEEPING]
    for time in ("OLD.updated_at", "date_trunc('second', now())")
}

AROUND_THE_WRITE = [
    "between evidence and write",
    "between write and commit",
    "between commit and confirmation",
    "right after the confirmation",
]


def undo(library: Library, instance: dg.DagsterInstance, run_id: str, folder: Path) -> dict[str, int]:
    """Undo one run; its counts."""
    ops = {"find_marked_tracks": {"run_id": run_id}, "restore_tracks": {"dry_run": False}}
    result = run_job(library, instance, job="restore_orphan_tracks", ops=ops, evidence={"folder": str(folder)})
    assert result.success, failure(result)
    output: dict[str, int] = result.output_for_node("report_restore")
    return output


@pytest.mark.parametrize(
    ("touching", "death"),
    [
        *(("nothing touches updated_at", death) for death in DEATHS if "search" not in death),
        *((touching, death) for touching in list(TOUCHING)[1:] for death in AROUND_THE_WRITE),
    ],
)
def test_a_run_that_is_killed_and_the_one_that_finishes_are_each_undone_exactly(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path, touching: str, death: str
) -> None:
    """Killed as it comes to its second batch; what the first one's evidence never confirmed, the rows tell."""
    folder = tmp_path / "evidence"
    ghosts = [library.add_ghost(status_message=f"half of {number}" if number % 3 else None) for number in range(6)]
    for statement in TOUCHING[touching]:
        library.execute(statement)
    before, messages = dump(library), {ghost: library.row(ghost)["status_message"] for ghost in ghosts}
    calls = {"in the report": 1}
    kill(library, batch_size=2, evidence=str(folder), death=death, call=calls.get(death, 2))
    killed = [path.name for path in folder.iterdir()] if folder.exists() else []
    by_killed = {ghost for ghost in ghosts if library.status(ghost) == "failed"}
    finishing = run_job(library, instance, evidence={"folder": str(folder)})
    assert counts(finishing)["marked_failed"] == len(ghosts) - len(by_killed)
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    for run_id in killed:
        assert undo(library, instance, run_id, folder)["restored"] == len(by_killed)
    assert {ghost for ghost in ghosts if library.status(ghost) == "processing"} == by_killed
    assert {ghost: library.row(ghost)["status_message"] for ghost in by_killed} == {
        ghost: messages[ghost] for ghost in by_killed
    }
    undo(library, instance, finishing.run_id, folder)
    assert dump(library) == before


@pytest.mark.parametrize("touching", TOUCHING)
def test_without_a_run_too_each_track_gets_its_own_message_back(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path, touching: str
) -> None:
    folder = tmp_path / "evidence"
    ghosts = [library.add_ghost(status_message=f"transcoding {number}/5 by worker-7") for number in range(5)]
    for statement in TOUCHING[touching]:
        library.execute(statement)
    before = dump(library)
    for _ in range(2):
        assert counts(run_job(library, instance, evidence={"folder": str(folder)}))["stale"] in (5, 0)
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    assert undo(library, instance, "", folder)["restored"] == 5
    assert dump(library) == before


@pytest.mark.parametrize("touching", TOUCHING)
@pytest.mark.parametrize("finishes", [True, False], ids=["the_other_confirms", "the_other_is_cut"])
def test_a_run_that_marked_nothing_has_nothing_to_undo_whatever_another_one_did_since(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path, touching: str, *, finishes: bool
) -> None:
    folder = tmp_path / "evidence"
    ghosts = [library.add_ghost(status_message=f"half of {number}") for number in range(3)]
    for statement in TOUCHING[touching]:
        library.execute(statement)
    kill(library, evidence=str(folder), death="in the write")
    (killed,) = [path.name for path in folder.iterdir()]
    library.execute("UPDATE tracks SET status_message = 'newer' WHERE status = 'processing'")
    if finishes:
        assert counts(run_job(library, instance, evidence={"folder": str(folder)}))["marked_failed"] == 3
    else:
        kill(library, evidence=str(folder), death="between commit and confirmation")
    library.execute("UPDATE tracks SET title = 'edited'")
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    assert undo(library, instance, killed, folder)["restored"] == 0
    (other,) = [path.name for path in folder.iterdir() if path.name != killed and list(path.rglob("mark*.jsonl"))]
    undo(library, instance, "", folder)
    assert {library.row(ghost)["status_message"] for ghost in ghosts} == {"newer"}
    assert other


@pytest.mark.parametrize(
    "statement", ["ALTER TABLE tracks DROP COLUMN updated_at", "; ".join(KEEPING).format(time="OLD.updated_at")]
)
def test_what_was_undone_and_marked_by_another_run_since_is_not_undone_again_by_the_first(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path, statement: str
) -> None:
    folder = tmp_path / "evidence"
    ghost = library.add_ghost(status_message="first")
    library.execute(statement)
    path = library.root / str(library.row(ghost)["file_path"])
    first = run_job(library, instance, evidence={"folder": str(folder)})
    library.write(str(library.row(ghost)["file_path"]))
    assert undo(library, instance, first.run_id, folder)["restored"] == 1
    path.unlink()
    library.write("uploads/marker")
    library.execute("UPDATE tracks SET status_message = 'second' WHERE id = :id", id=ghost)
    second = run_job(library, instance, evidence={"folder": str(folder)})
    path.touch()
    assert undo(library, instance, first.run_id, folder)["restored"] == 0
    assert undo(library, instance, second.run_id, folder)["restored"] == 1
    assert library.row(ghost)["status_message"] == "second"


def test_what_the_undo_restored_before_it_was_cut_off_unheard_is_counted_as_restored(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "evidence"
    for _ in range(3):
        library.write(str(library.row(library.add_ghost())["file_path"]).replace("uploads", "later"))
    cleanup = run_job(library, instance, evidence={"folder": str(folder)})
    for row in library.rows().values():
        library.write(str(row["file_path"]))
    AFTER_COMMIT.arrange(monkeypatch, cut_off)
    undone = undo(library, instance, cleanup.run_id, folder)
    assert (undone["marked"], undone["present"], undone["restored"]) == (3, 3, 3)
    assert (undone["changed"], undone["raced"]) == (0, 0)
    (of_undo,) = list(folder.rglob("restored-*.jsonl"))
    assert len(of_undo.read_text().splitlines()) == 3
    assert not list(folder.rglob("restoring-*.jsonl"))


def cut_off() -> None:
    raise DatabaseUnavailableError("cut off before anybody heard of the commit")


def test_rows_of_a_view_that_share_an_id_get_their_own_messages_back(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    folder = tmp_path / "evidence"
    first = library.add_ghost(status_message="one", file_path="uploads/one.flac")
    library.execute("ALTER TABLE tracks DROP CONSTRAINT tracks_pkey")
    library.add_ghost(status_message="two", file_path="uploads/two.flac", id=first)
    library.execute("ALTER TABLE tracks RENAME TO base")
    library.execute("CREATE VIEW tracks AS SELECT * FROM base")
    library.write("uploads/marker")
    before = dump(library)
    for by_run in (True, False):
        cleanup = run_job(library, instance, evidence={"folder": str(folder)})
        assert counts(cleanup)["marked_failed"] == 2
        for name in ("one", "two"):
            library.write(f"uploads/{name}.flac")
        undone = undo(library, instance, cleanup.run_id if by_run else "", folder)
        assert undone["restored"] == 2, undone
        assert sorted(dump(library).splitlines()) == sorted(before.splitlines())
        for name in ("one", "two"):
            (library.root / f"uploads/{name}.flac").unlink()


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "unheard"])
def test_a_trigger_that_rewrites_the_message_keeps_no_run_from_being_undone(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_heard: bool
) -> None:
    folder = tmp_path / "evidence"
    ghosts = [library.add_ghost(status_message="half") for _ in range(2)]
    library.execute(
        "CREATE FUNCTION frame() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.status = 'failed' THEN "
        "NEW.status_message := '[' || NEW.status_message || ']'; END IF; RETURN NEW; END $$"
    )
    library.execute("CREATE TRIGGER frame BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION frame()")
    before = dump(library)
    with monkeypatch.context() as storm:
        if not is_heard:
            AFTER_COMMIT.arrange(storm, cut_off)
        cleanup = run_job(library, instance, evidence={"folder": str(folder)})
    assert counts(cleanup)["marked_failed"] == 2
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    assert undo(library, instance, cleanup.run_id, folder)["restored"] == 2
    assert dump(library) == before


def test_what_a_killed_run_never_confirmed_and_somebody_has_changed_since_is_counted_as_changed(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    folder = tmp_path / "evidence"
    ghosts = [library.add_ghost() for _ in range(3)]
    kill(library, evidence=str(folder), death="between commit and confirmation")
    library.execute("UPDATE tracks SET title = 'edited', updated_at = now() WHERE id = :id", id=ghosts[0])
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    (killed,) = [path.name for path in folder.iterdir()]
    undone = undo(library, instance, killed, folder)
    assert (undone["marked"], undone["restored"], undone["changed"]) == (3, 2, 1)


def test_what_an_attempt_of_the_undo_restored_hides_none_that_somebody_has_changed(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "evidence"
    ghosts = [library.add_ghost() for _ in range(4)]
    kill(library, evidence=str(folder), death="between commit and confirmation")
    library.execute("UPDATE tracks SET title = 'edited', updated_at = now() WHERE id = :id", id=ghosts[0])
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    (killed,) = [path.name for path in folder.iterdir()]
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 1)
    Moment("before the last write", Tracks, "restore", call=3).arrange(monkeypatch, lambda: library.execute(CUT))
    undone = undo(library, instance, killed, folder)
    assert (undone["marked"], undone["restored"], undone["changed"]) == (4, 3, 1)


def test_what_is_refused_again_by_another_attempt_of_the_undo_is_listed_once(
    make_library: Callable[[Schema], Library], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_library(SCHEMAS[0])
    ghosts = [library.add_ghost(title="stubborn" if number < 2 else "any") for number in range(3)]
    cleanup = run_job(library, instance)
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 1)
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (title <> 'stubborn') NOT VALID")
    Moment("before the last write", Tracks, "restore", call=3).arrange(monkeypatch, lambda: library.execute(CUT))
    ops = {"find_marked_tracks": {"run_id": cleanup.run_id}, "restore_tracks": {"dry_run": False}}
    undo = run_job(library, instance, job="restore_orphan_tracks", ops=ops)
    assert undo.success, failure(undo)
    evidence = Path(instance.storage_directory()) / undo.run_id / "veza_ops"
    assert sum(len(path.read_text().splitlines()) for path in evidence.glob(f"{REFUSED}-*")) == 2
    assert not list(evidence.glob(f"{RESTORING}-*")), "what the first attempt planned was confirmed by the second"
