"""What can't serve is named before anything is done, and every form that can is served."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops.errors import TracksTableError
from veza_ops.tracks.preflight import preflight, require_room
from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD, orphan_message
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import Library, Schema, counts, failure, run_job

MESSAGE = orphan_message(ORPHAN_TRACK_AGE_THRESHOLD)

WORDS = ("b", "A", "a1", "B-2", "å é", "Z'\"\\%:x")
NUMBERS = ("10", "9", "8", "77", "6", "5")
IDS = [
    *((kind, NUMBERS) for kind in ("smallint", "integer", "bigint")),
    *((kind, ("10.50", "9", "-3.25", "7.00", "100.1", "0.5")) for kind in ("numeric", "numeric(12, 3)", "number")),
    *((kind, WORDS) for kind in ("text", 'text COLLATE "C"', "varchar(20)", "char(12)", "citext", "slug")),
    *((kind, WORDS) for kind in ('"Song Slug"', "bpchar")),
    *((kind, tuple(str(uuid.uuid4()) for _ in range(6))) for kind in ("uuid", "track_id")),
]


def refusal(connection: sa.Connection, *statements: str, name: str = "tracks", writable: bool = True) -> str:
    """What is said of the table after these statements."""
    for statement in statements:
        connection.exec_driver_sql(statement)
    with pytest.raises(TracksTableError) as caught:
        preflight(connection, schema="public", name=name, writable=writable)
    return str(caught.value)


# -- the table and its columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["status", "status_message", "file_path", "created_at"])
def test_a_missing_column_is_named_before_anything_is_written(
    column: str, library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost()
    library.execute(f"ALTER TABLE tracks DROP COLUMN {column}")
    before = library.rows()
    assert f"column {column} is missing" in failure(run_job(library, instance))
    assert library.rows() == before


def test_all_that_is_wrong_is_named_at_once(connection: sa.Connection) -> None:
    said = refusal(connection, "CREATE TABLE other (id text, created_at text, file_path json)", name="other")
    for column in ("status", "status_message"):
        assert f"column {column} is missing" in said
    assert "column created_at is TEXT, not a timestamp" in said
    assert "column file_path is JSON, not a text" in said
    assert "column id isn't unique by itself" in said


@pytest.mark.parametrize(("schema", "name"), [("public", "songs"), ("veza", "tracks"), ("public", "tracks_pkey")])
def test_a_missing_table_is_named(schema: str, name: str, connection: sa.Connection) -> None:
    with pytest.raises(TracksTableError, match=f"no table {schema}.{name}"):
        preflight(connection, schema=schema, name=name)


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


# -- types ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "ids"), IDS, ids=[kind for kind, _ in IDS])
def test_an_id_of_any_type_that_can_be_put_in_order_will_do(
    kind: str, ids: tuple[str, ...], make_typed: Callable[[Schema], Library], instance: dg.DagsterInstance
) -> None:
    library = make_typed(Schema(id="uuid" if kind == "track_id" else kind))
    library.execute("DELETE FROM tracks")
    library.execute(f"ALTER TABLE tracks ALTER id TYPE {kind}")
    same_time = datetime.now(UTC) - timedelta(hours=5)
    for identity in ids:
        library.add_ghost(id=identity, created_at=same_time)
    with library.engine.begin() as connection:
        tracks = Tracks(preflight(connection, schema="public", name="tracks"), connection)
        paged: list[str] = []
        while len(paged) <= len(ids) and (page := tracks.page([], after=paged[-1] if paged else None, size=2)):
            paged += [track.id for track in page]
        in_order = connection.scalars(sa.text("SELECT CAST(id AS text) FROM tracks ORDER BY tracks.id")).all()
    assert paged == in_order
    said = counts(run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 2}}))
    assert (said["stale"], said["marked_failed"]) == (6, 6)
    with library.engine.connect() as connection:
        for path in connection.scalars(sa.text("SELECT file_path FROM tracks")):
            library.write(path)
    undone = run_job(library, instance, job="restore_orphan_tracks", ops={"restore_tracks": {"dry_run": False}})
    assert undone.success, failure(undone)
    assert {row["status"] for row in library.rows().values()} == {"processing"}


@pytest.mark.parametrize(
    "kind",
    [
        *("bytea", "json", "jsonb", "date", "state", "real", "double precision", "boolean", "integer[]", "pair"),
        *('"char"', "interval", "inet", "timestamptz", "name", "xml"),
    ],
)
def test_an_id_of_another_type_is_named(kind: str, connection: sa.Connection) -> None:
    said = refusal(connection, "ALTER TABLE tracks DROP id", f"ALTER TABLE tracks ADD id {kind}")
    assert f"column id is {kind if kind in {'state', 'pair'} else kind.upper().split('TZ')[0]}" in said
    assert "id has to be a uuid, an integer, a numeric or a text" in said


def test_an_id_whose_type_is_out_of_reach_is_named(connection: sa.Connection) -> None:
    connection.exec_driver_sql('ALTER EXTENSION citext SET SCHEMA "Other One"')
    said = refusal(connection, 'ALTER TABLE tracks ALTER id TYPE "Other One".citext')
    assert "isn't in this role's search_path" in said


@pytest.mark.parametrize(
    "kind",
    [
        *("text", "varchar", "varchar(10)", "char(10)", "char(40)", "bpchar", "citext", "slug", '"Song Slug"'),
        *("state", '"Other One"."Track State"', "state_domain", "state_in_domain"),
    ],
)
def test_a_status_of_any_text_or_enum_will_do(kind: str, typed: Library, instance: dg.DagsterInstance) -> None:
    typed.add_ghost()
    typed.execute(f"ALTER TABLE tracks ALTER status TYPE {kind} USING status::{kind}")
    assert counts(run_job(typed, instance))["marked_failed"] == 1


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("json", "column status is JSON, neither a text nor an enum"),
        ("smallint", "column status is SMALLINT, neither a text nor an enum"),
        ("text[]", "neither a text nor an enum"),
        ("short", "column status is CHARACTER VARYING(9), too short for 'processing'"),
        ("varchar(5)", "too short for 'failed'"),
        ("char(4)", "too short for 'failed'"),
        ("short_state", "column status is the enum short_state, which has no value 'failed'"),
        ("short_state_domain", "column status is the enum short_state, which has no value 'failed'"),
    ],
)
def test_a_status_that_can_not_hold_what_is_written_is_named(kind: str, said: str, connection: sa.Connection) -> None:
    change = "ALTER TABLE tracks DROP status", f"ALTER TABLE tracks ADD status {kind}"
    assert said in refusal(connection, *change)


@pytest.mark.parametrize("kind", ["varchar", "varchar(80)", "char(80)", "bpchar", "citext", "slug", '"Song Slug"'])
def test_a_message_and_a_path_of_any_text_type_will_do(kind: str, typed: Library, instance: dg.DagsterInstance) -> None:
    typed.add_ghost(status_message="transcoding")
    typed.execute("UPDATE tracks SET status_message = coalesce(status_message, 'none')")
    typed.add("there.flac", content=b"music", status_message="transcoding")
    typed.execute(f"ALTER TABLE tracks ALTER status_message TYPE {kind}, ALTER file_path TYPE {kind}")
    said = counts(run_job(typed, instance))
    assert (said["marked_failed"], said["present"]) == (1, 1)


@pytest.mark.parametrize("column", ["status_message", "file_path"])
@pytest.mark.parametrize("kind", ["json", "bytea", "integer", "state"])
def test_a_message_or_a_path_of_another_type_is_named(kind: str, column: str, connection: sa.Connection) -> None:
    change = f"ALTER TABLE tracks DROP {column}", f"ALTER TABLE tracks ADD {column} {kind}"
    assert f"column {column} is {kind if kind == 'state' else kind.upper()}, not a text" in refusal(connection, *change)


@pytest.mark.parametrize("kind", ["varchar(40)", "char(50)", "short"])
def test_a_message_column_without_room_for_the_message_is_named(kind: str, connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"ALTER TABLE tracks ALTER status_message TYPE {kind}")
    table = preflight(connection, schema="public", name="tracks")
    with pytest.raises(TracksTableError, match=f"column status_message takes .* has {len(MESSAGE)}"):
        require_room(table, MESSAGE)


@pytest.mark.parametrize("kind", [f"varchar({len(MESSAGE)})", f"char({len(MESSAGE)})", "text", "citext", "slug"])
def test_a_message_column_with_room_is_not(kind: str, connection: sa.Connection) -> None:
    connection.exec_driver_sql("UPDATE tracks SET status_message = '-'")
    connection.exec_driver_sql(f"ALTER TABLE tracks ALTER status_message TYPE {kind}")
    require_room(preflight(connection, schema="public", name="tracks"), MESSAGE)


@pytest.mark.parametrize("kind", ["timestamp", "timestamp(0)", "timestamptz(3)", "moment"])
def test_times_of_any_precision_will_do(kind: str, typed: Library, instance: dg.DagsterInstance) -> None:
    typed.add_ghost()
    for column in ("created_at", "updated_at", "deleted_at"):
        typed.execute(f"ALTER TABLE tracks ALTER {column} TYPE {kind} USING {column} AT TIME ZONE 'UTC'")
    assert counts(run_job(typed, instance))["marked_failed"] == 1


@pytest.mark.parametrize("column", ["created_at", "updated_at", "deleted_at"])
@pytest.mark.parametrize("kind", ["date", "bigint", "text", "time"])
def test_a_time_of_another_type_is_named(kind: str, column: str, connection: sa.Connection) -> None:
    change = f"ALTER TABLE tracks DROP {column}", f"ALTER TABLE tracks ADD {column} {kind}"
    assert f"column {column} is {kind.upper()}" in refusal(connection, *change)


def test_a_column_that_a_domain_keeps_from_being_null_is_known_as_such(connection: sa.Connection) -> None:
    connection.exec_driver_sql("UPDATE tracks SET status_message = '-'")
    connection.exec_driver_sql('ALTER TABLE tracks ALTER status_message TYPE "Song Slug"')
    table = preflight(connection, schema="public", name="tracks")
    assert not table.c.status_message.nullable
    assert table.c.file_path.nullable


# -- an id that is one row's ----------------------------------------------------------------------------------------

NO_KEY = "ALTER TABLE tracks DROP CONSTRAINT tracks_pkey"
COLUMNS = "id int, status text, status_message text, file_path text, created_at timestamptz"


@pytest.mark.parametrize(
    "statements",
    [
        [NO_KEY, "ALTER TABLE tracks ADD UNIQUE (id)"],
        [NO_KEY, "ALTER TABLE tracks ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED"],
        [NO_KEY, "ALTER TABLE tracks ADD UNIQUE (title), ADD PRIMARY KEY (id) INCLUDE (status)"],
        [NO_KEY, "CREATE UNIQUE INDEX ON tracks (id DESC) NULLS NOT DISTINCT"],
        ["CREATE TABLE older () INHERITS (tracks)", "CREATE UNIQUE INDEX ON older (id)"],
        [
            "DROP TABLE tracks",
            f"CREATE TABLE tracks ({COLUMNS}, PRIMARY KEY (id)) PARTITION BY HASH (id)",
        ],
    ],
)
def test_an_id_with_a_key_of_its_own_will_do(statements: list[str], connection: sa.Connection) -> None:
    connection.exec_driver_sql("UPDATE tracks SET title = id::text")
    for statement in statements:
        connection.exec_driver_sql(statement)
    assert preflight(connection, schema="public", name="tracks") is not None


@pytest.mark.parametrize(
    "statements",
    [
        [NO_KEY],
        [NO_KEY, "ALTER TABLE tracks ADD PRIMARY KEY (title, id)"],
        [NO_KEY, "ALTER TABLE tracks ADD PRIMARY KEY (id, title)"],
        [NO_KEY, "CREATE INDEX ON tracks (id)"],
        [NO_KEY, "CREATE UNIQUE INDEX ON tracks (id) WHERE status <> 'deleted'"],
        [NO_KEY, "CREATE UNIQUE INDEX ON tracks ((id::text))"],
        [NO_KEY, "CREATE UNIQUE INDEX ON tracks (file_path) INCLUDE (id)"],
        [NO_KEY, "ALTER TABLE tracks ADD UNIQUE (id)", "UPDATE pg_index SET indisvalid = false WHERE NOT indisprimary"],
        ["CREATE TABLE older () INHERITS (tracks)"],
        [
            "DROP TABLE tracks",
            f"CREATE TABLE tracks ({COLUMNS}, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)",
        ],
    ],
)
@pytest.mark.parametrize("writable", [True, False])
def test_an_id_that_may_be_that_of_several_rows_is_named(
    statements: list[str], connection: sa.Connection, *, writable: bool
) -> None:
    assert "column id isn't unique by itself" in refusal(connection, *statements, writable=writable)


def test_a_table_whose_ids_are_unique_within_a_tenant_only_is_left_as_it_is(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.execute("ALTER TABLE tracks ADD tenant_id int DEFAULT 1, DROP CONSTRAINT tracks_pkey")
    library.execute("ALTER TABLE tracks ADD PRIMARY KEY (tenant_id, id)")
    good = library.add("good.flac", status="ready", content=b"music")
    library.add_ghost(id=good, tenant_id=2)
    assert "column id isn't unique by itself" in failure(run_job(library, instance))
    with library.engine.connect() as connection:
        statuses = connection.scalars(
            sa.text("SELECT status FROM tracks WHERE id = :id ORDER BY tenant_id"), {"id": good}
        )
        assert statuses.all() == ["ready", "processing"]


def test_a_view_can_be_cleaned_as_far_as_it_can_be_written(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost()
    library.execute("CREATE VIEW songs AS SELECT * FROM tracks")
    assert counts(run_job(library, instance, database={"tracks_table": "songs"}))["marked_failed"] == 1


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("MATERIALIZED VIEW songs AS SELECT * FROM tracks", "it is a materialized view, which can't be written"),
        ("VIEW songs AS SELECT DISTINCT * FROM tracks", "it is a view that takes no UPDATE"),
    ],
)
def test_what_can_not_be_written_is_named_unless_it_is_only_read(
    made: str, said: str, connection: sa.Connection
) -> None:
    assert said in refusal(connection, f"CREATE {made}", name="songs")
    assert preflight(connection, schema="public", name="songs", writable=False) is not None
