"""After any storm: what was failed can be put back, to the byte."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from veza_ops_tests.library import SCHEMAS, Library, Schema, counts, failure, run_job
from veza_ops_tests.storms.process import DEATHS, died, start
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


def undo(library: Library, instance: dg.DagsterInstance, run_id: str, folder: Path) -> dict[str, int]:
    """Undo one run; its counts."""
    ops = {"find_marked_tracks": {"run_id": run_id}, "restore_tracks": {"dry_run": False}}
    result = run_job(library, instance, job="restore_orphan_tracks", ops=ops, evidence={"folder": str(folder)})
    assert result.success, failure(result)
    output: dict[str, int] = result.output_for_node("report_restore")
    return output


@pytest.mark.parametrize("death", [death for death in DEATHS if "search" not in death])
@pytest.mark.parametrize("touching", TOUCHING)
def test_a_run_that_is_killed_and_the_one_that_finishes_are_each_undone_exactly(
    library: Library, instance: dg.DagsterInstance, tmp_path: Path, touching: str, death: str
) -> None:
    """Killed as it comes to its second batch; what the first one's evidence never confirmed, the rows tell."""
    for statement in TOUCHING[touching]:
        library.execute(statement)
    folder = tmp_path / "evidence"
    ghosts = [library.add_ghost(status_message=f"half of {number}" if number % 3 else None) for number in range(6)]
    before, messages = dump(library), {ghost: library.row(ghost)["status_message"] for ghost in ghosts}
    calls = {"in the report": 1}
    died(start(library, batch_size=2, evidence=str(folder), death=death, call=calls.get(death, 2)))
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
    for statement in TOUCHING[touching]:
        library.execute(statement)
    folder = tmp_path / "evidence"
    ghosts = [library.add_ghost(status_message=f"transcoding {number}/5 by worker-7") for number in range(5)]
    before = dump(library)
    for _ in range(2):
        assert counts(run_job(library, instance, evidence={"folder": str(folder)}))["stale"] in (5, 0)
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    assert undo(library, instance, "", folder)["restored"] == 5
    assert dump(library) == before
