"""The advice on indexes: given when a run reads a large table from end to end, and never acted upon."""

from collections.abc import Callable

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops.tracks.table import LARGE_TABLE_ROWS
from veza_ops_tests.library import Library, Schema, run_job

FIND = "CREATE INDEX CONCURRENTLY ON public.tracks (created_at, id) WHERE status = 'processing'"
SAMPLE = "CREATE INDEX CONCURRENTLY ON public.tracks (created_at)"


@pytest.fixture(params=[Schema(), Schema(id="bigint", status="track_status")], ids=str)
def large(request: pytest.FixtureRequest, make_library: Callable[[Schema], Library]) -> Library:
    """A library with so many playable tracks that reading them all is worth a warning."""
    library = make_library(request.param)
    library.execute(
        "INSERT INTO tracks (id, status, file_path, created_at) "
        f"SELECT CAST({'gen_random_uuid()' if library.schema.id == 'uuid' else 'n + 1000'} AS {library.schema.id}), "
        f"CAST('ready' AS {library.schema.status}), 'playable/0.flac', now() - n * interval '1 minute' "
        f"FROM generate_series(1, {LARGE_TABLE_ROWS}) n"
    )
    library.add_ghost()
    library.execute("ANALYZE tracks")
    return library


def advice(library: Library, instance: dg.DagsterInstance, **config: int) -> str:
    """What a run over `library` advises, as it shows on its page."""
    result = run_job(library, instance, storage=config)
    assert result.success
    (found,) = (
        event.step_output_data
        for event in result.events_for_node("find_stale_tracks")
        if event.is_successful_output and event.step_output_data.output_name == "found"
    )
    value = found.metadata.get("index_advice")
    warnings = [
        record
        for record in instance.all_logs(result.run_id)
        if record.level == 30 and "CREATE INDEX" in record.user_message
    ]
    assert len(warnings) == (value is not None)
    return str(value.value) if value else ""


def indexes(library: Library) -> list[str]:
    """The names of the table's indexes."""
    with library.engine.connect() as connection:
        return sorted(index["name"] or "" for index in sa.inspect(connection).get_indexes("tracks"))


def test_a_large_table_without_indexes_is_warned_of_once_and_the_advice_silences_the_warning(
    large: Library, instance: dg.DagsterInstance
) -> None:
    before = indexes(large)
    given = advice(large, instance)
    assert given == f"{FIND}; {SAMPLE}"
    assert indexes(large) == before
    with large.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in given.split("; "):
            connection.exec_driver_sql(statement)
    large.add_ghost()
    assert advice(large, instance) == ""


def test_each_index_is_advised_by_itself(large: Library, instance: dg.DagsterInstance) -> None:
    large.execute(FIND.replace("CONCURRENTLY ", ""))
    assert advice(large, instance) == SAMPLE


def test_no_index_is_advised_for_a_sample_that_is_switched_off(large: Library, instance: dg.DagsterInstance) -> None:
    assert advice(large, instance, sample_size=0) == FIND


def test_a_large_table_that_is_mostly_stale_needs_no_index(large: Library, instance: dg.DagsterInstance) -> None:
    large.execute("CREATE INDEX ON tracks (created_at)")
    large.execute(f"UPDATE tracks SET status = CAST('processing' AS {large.schema.status})")
    large.execute("ANALYZE tracks")
    assert advice(large, instance, sample_size=0) == ""


def test_a_small_table_is_read_without_a_word(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost()
    library.execute("ANALYZE tracks")
    assert advice(library, instance) == ""
