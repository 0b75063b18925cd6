"""What a whole run of the job does to the table: the promises, on every form that the table comes in."""

from collections.abc import Callable
from datetime import timedelta

import dagster as dg
import pytest

from veza_ops_tests.library import Library, Schema, counts, run_job

SCHEMAS = [
    Schema(),
    Schema(id="bigint"),
    Schema(status="track_status"),
    Schema(created_at="timestamp", updated_at="timestamp"),
    Schema(updated_at=None),
    Schema(deleted_at=None),
    Schema(id="bigint", status="track_status", created_at="timestamp", updated_at=None, deleted_at=None),
]


@pytest.fixture(params=SCHEMAS, ids=str)
def any_library(request: pytest.FixtureRequest, make_library: Callable[[Schema], Library]) -> Library:
    """A library on each schema, its server set to a time zone far from UTC."""
    library = make_library(request.param)
    library.execute("ALTER DATABASE current SET timezone = 'Pacific/Kiritimati'".replace("current", library.database))
    return library


def test_a_stuck_row_whose_file_is_missing_is_marked_failed(any_library: Library, instance: dg.DagsterInstance) -> None:
    ghost = any_library.add_ghost()
    before = any_library.row(ghost)
    assert counts(run_job(any_library, instance)) == {
        "stale": 1,
        "present": 0,
        "missing": 1,
        "unverifiable": 0,
        "raced": 0,
        "marked_failed": 1,
    }
    after = any_library.row(ghost)
    assert after["status"] == "failed"
    assert after["status_message"] == "orphan cleanup: file missing on disk after >1h in processing"
    if any_library.schema.updated_at:
        assert after["updated_at"] - before["updated_at"] > timedelta(hours=1, minutes=59)
        assert after["updated_at"] - before["updated_at"] < timedelta(hours=2, minutes=1)
    written = {"status", "status_message", "updated_at"}
    assert {k: v for k, v in after.items() if k not in written} == {k: v for k, v in before.items() if k not in written}


def test_a_track_whose_file_is_there_is_left_alone(any_library: Library, instance: dg.DagsterInstance) -> None:
    any_library.add("slow.flac", content=b"")
    before = any_library.rows()
    assert counts(run_job(any_library, instance))["present"] == 1
    assert any_library.rows() == before


def test_a_recent_track_is_left_alone(any_library: Library, instance: dg.DagsterInstance) -> None:
    any_library.add(age=timedelta(minutes=59))
    before = any_library.rows()
    assert counts(run_job(any_library, instance))["stale"] == 0
    assert any_library.rows() == before


def test_tracks_in_any_other_state_are_left_alone_and_a_second_run_changes_nothing(
    any_library: Library, instance: dg.DagsterInstance
) -> None:
    for status in ("uploading", "ready", "failed"):
        any_library.add(status=status, status_message="as it was")
    any_library.add_ghost()
    assert counts(run_job(any_library, instance))["marked_failed"] == 1
    before = any_library.rows()
    assert counts(run_job(any_library, instance))["stale"] == 0
    assert any_library.rows() == before


def test_without_a_database_nothing_is_done_and_the_run_says_so(instance: dg.DagsterInstance) -> None:
    result = run_job(None, instance)
    assert set(counts(result).values()) == {0}
