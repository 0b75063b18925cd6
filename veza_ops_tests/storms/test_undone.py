"""After any storm: what was failed can be put back, to the byte."""

from collections.abc import Callable

import dagster as dg
import pytest

from veza_ops_tests.library import SCHEMAS, Library, Schema, failure, run_job
from veza_ops_tests.storms.scene import IN_EACH_STEP, record_writes, writes
from veza_ops_tests.storms.test_server import CUT


def dump(library: Library) -> bytes:
    """The whole table but for `updated_at`, as PostgreSQL itself writes it out."""
    columns = "id, title, status, status_message, file_path, created_at"
    columns += ", deleted_at" if library.schema.deleted_at else ""
    with library.engine.connect() as connection:
        cursor = connection.connection.cursor()
        with cursor.copy(f"COPY (SELECT {columns} FROM tracks ORDER BY id) TO STDOUT") as copy:
            return b"".join(copy)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_cleanup_cut_in_mid_run_and_then_the_undo_give_the_same_table_to_the_byte(
    make_library: Callable[[Schema], Library],
    instance: dg.DagsterInstance,
    schema: Schema,
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
        IN_EACH_STEP[-1].arrange(storm, lambda: library.execute(CUT))
        cleanup = run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 3}})
    assert sorted(writes(library)) == sorted(map(str, ghosts))
    assert dump(library) != before
    for ghost in ghosts:
        library.write(library.row(ghost)["file_path"])
    ops = {"find_marked_tracks": {"run_id": cleanup.run_id}, "restore_tracks": {"dry_run": False}}
    undo = run_job(library, instance, job="restore_orphan_tracks", ops=ops)
    assert undo.success, failure(undo)
    assert dump(library) == before
