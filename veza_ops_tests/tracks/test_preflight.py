"""What can't serve is named before anything is done, and every form that can is served."""

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops.errors import TracksTableError
from veza_ops.tracks.preflight import preflight
from veza_ops_tests.library import Library, counts, failure, run_job


@pytest.mark.parametrize("column", ["status", "status_message", "file_path", "created_at"])
def test_a_missing_column_is_named_before_anything_is_written(
    column: str, library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost()
    library.execute(f"ALTER TABLE tracks DROP COLUMN {column}")
    before = library.rows()
    assert f"column {column} is missing" in failure(run_job(library, instance))
    assert library.rows() == before


def test_a_table_without_any_of_the_columns_has_them_all_named(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE other (id text, created_at text)")
    with pytest.raises(TracksTableError) as caught:
        preflight(connection, schema="public", name="other")
    for column in ("status", "status_message", "file_path"):
        assert f"column {column} is missing" in str(caught.value)
    assert "column created_at is TEXT, not a timestamp" in str(caught.value)


@pytest.mark.parametrize(("schema", "name"), [("public", "songs"), ("veza", "tracks")])
def test_a_missing_table_is_named(schema: str, name: str, connection: sa.Connection) -> None:
    with pytest.raises(TracksTableError, match=f"no table {schema}.{name}"):
        preflight(connection, schema=schema, name=name)


def test_an_enum_without_failed_is_named(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE TYPE state AS ENUM ('processing', 'ready')")
    connection.exec_driver_sql("ALTER TABLE tracks ALTER status TYPE state USING status::state")
    with pytest.raises(TracksTableError, match="column status is the enum state, which has no value 'failed'"):
        preflight(connection, schema="public", name="tracks")


def test_a_server_that_takes_no_writes_is_named(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost()
    library.execute(f"ALTER DATABASE {library.database} SET default_transaction_read_only = on")
    assert "takes no writes" in failure(run_job(library, instance))


def test_a_table_in_another_schema_and_with_another_name_can_be_cleaned(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost()
    library.execute('CREATE SCHEMA "Veza 2"')
    library.execute('ALTER TABLE tracks SET SCHEMA "Veza 2"')
    library.execute('ALTER TABLE "Veza 2".tracks RENAME TO "all tracks"')
    at = {"db_schema": "Veza 2", "tracks_table": "all tracks"}
    assert counts(run_job(library, instance, database=at))["marked_failed"] == 1


@pytest.mark.parametrize("kind", ["varchar(40)", "character varying", "citext_like"])
def test_a_status_of_any_text_type_will_do(kind: str, library: Library, instance: dg.DagsterInstance) -> None:
    library.execute("CREATE DOMAIN citext_like AS text CHECK (VALUE <> '')")
    library.execute(f"ALTER TABLE tracks ALTER status TYPE {kind}")
    library.add_ghost()
    assert counts(run_job(library, instance))["marked_failed"] == 1
