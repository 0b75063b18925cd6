"""What can't serve is named before anything is done, and every form that can is served."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops.errors import TracksTableError
from veza_ops.tracks.preflight import Facts, facts_of, preflight, require_room
from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD, orphan_message
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import Library, Schema, counts, failure, run_job

MESSAGE = orphan_message(ORPHAN_TRACK_AGE_THRESHOLD)

TYPES = """
    CREATE SCHEMA "Other One";
    CREATE EXTENSION citext;
    CREATE TYPE state AS ENUM ('uploading', 'processing', 'ready', 'failed');
    CREATE TYPE "Other One"."Track State" AS ENUM ('processing', 'ready', 'failed');
    CREATE TYPE short_state AS ENUM ('processing', 'ready');
    CREATE TYPE pair AS (a int, b int);
    CREATE DOMAIN track_id AS uuid;
    CREATE DOMAIN number AS numeric(12, 2) CHECK (VALUE < 1000);
    CREATE DOMAIN slug AS varchar(80) NOT NULL DEFAULT 'ready' CHECK (VALUE <> '');
    CREATE DOMAIN "Song Slug" AS slug;
    CREATE DOMAIN short AS varchar(9);
    CREATE DOMAIN state_domain AS state;
    CREATE DOMAIN state_in_domain AS state_domain NOT NULL;
    CREATE DOMAIN short_state_domain AS short_state;
    CREATE DOMAIN moment AS timestamp(3) without time zone;
"""

WORDS = ("b", "A", "a1", "B-2", "å é", "Z'\"\\%:x")
NUMBERS = ("10", "9", "8", "77", "6", "5")
IDS = [
    *((kind, NUMBERS) for kind in ("smallint", "integer", "bigint")),
    *((kind, ("10.50", "9", "-3.25", "7.00", "100.1", "0.5")) for kind in ("numeric", "numeric(12, 3)", "number")),
    *((kind, WORDS) for kind in ("text", 'text COLLATE "C"', "varchar(20)", "char(12)", "citext", "slug")),
    *((kind, WORDS) for kind in ('"Song Slug"', "bpchar")),
    *((kind, tuple(str(uuid.uuid4()) for _ in range(6))) for kind in ("uuid", "track_id")),
]


@pytest.fixture
def make_typed(database_url: str, make_library: Callable[[Schema], Library]) -> Callable[[Schema], Library]:
    """Make the test's library with a schema that may have the types above."""
    engine = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.exec_driver_sql(TYPES)
    engine.dispose()
    return make_library


@pytest.fixture
def typed(make_typed: Callable[[Schema], Library]) -> Library:
    """A library with the usual table, whose columns may get other types."""
    return make_typed(Schema())


@pytest.fixture
def connection(typed: Library) -> Iterator[sa.Connection]:
    """A connection as the rules get it, in a transaction of its own."""
    with typed.engine.begin() as connection:
        yield connection


def refusal(connection: sa.Connection, *statements: str, name: str = "tracks", writable: bool = True) -> str:
    """What is said of the table after these statements."""
    for statement in statements:
        connection.exec_driver_sql(statement)
    with pytest.raises(TracksTableError) as caught:
        preflight(connection, schema="public", name=name, writable=writable)
    return str(caught.value)


def facts(connection: sa.Connection, *statements: str, name: str = "tracks") -> Facts:
    """What is known of the table after these statements."""
    for statement in statements:
        connection.exec_driver_sql(statement)
    return facts_of(preflight(connection, schema="public", name=name))


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
    assert facts(connection, *statements)


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


# -- facts ----------------------------------------------------------------------------------------------------------


def test_the_table_is_named_with_its_database_and_server(connection: sa.Connection, typed: Library) -> None:
    number = connection.scalar(sa.text("SELECT system_identifier FROM pg_control_system()"))
    assert facts(connection).identity == f"public.tracks in {typed.database} (server {number})"


def test_a_server_that_does_not_tell_its_number_is_left_out(connection: sa.Connection, typed: Library) -> None:
    revoked = "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"
    role = f"reader_{typed.database}"
    made = f"CREATE ROLE {role}", f"GRANT SELECT, UPDATE ON tracks TO {role}", f"SET LOCAL ROLE {role}"
    assert facts(connection, revoked, *made).identity == f"public.tracks in {typed.database}"
    connection.rollback()


@pytest.mark.parametrize(
    ("settings", "zones"),
    [
        ([], ()),
        (["ALTER DATABASE {db} SET timezone = 'America/New_York'"], ("America/New_York",)),
        (["ALTER DATABASE {db} SET timezone = 'america/new_york'"], ("America/New_York",)),
        (["ALTER DATABASE {db} SET timezone = '-5'"], ("<-05>+05",)),
        (["ALTER DATABASE {db} SET timezone = '5.5'"], ("<+05:30>-05:30",)),
        (["ALTER DATABASE {db} SET timezone = 'GMT'"], ()),
        (["ALTER DATABASE {db} SET timezone = '0'"], ()),
        (
            [
                "ALTER ROLE {role} SET TimeZone = 'Asia/Tokyo'",
                "ALTER ROLE {role} IN DATABASE {db} SET timezone = '<+02>-02'",
                "ALTER DATABASE {db} SET timezone = 'Europe/Berlin'",
                "ALTER ROLE {role} IN DATABASE postgres SET timezone = 'Europe/Rome'",
                "ALTER ROLE {role} SET log_min_messages = 'error'",
            ],
            ("<+02>-02", "Asia/Tokyo", "Europe/Berlin"),
        ),
    ],
)
def test_the_zones_that_a_time_may_have_been_written_in_are_those_of_the_database_and_of_any_role(
    settings: list[str], zones: tuple[str, ...], library: Library
) -> None:
    role = f"api_{library.database}"
    library.execute(f"CREATE ROLE {role}")
    try:
        for setting in settings:
            library.execute(setting.format(db=library.database, role=role))
        library.engine.dispose()
        with library.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL timezone = 'UTC'")
            assert facts(connection).zones == zones
            assert connection.scalar(sa.text("SHOW timezone")) == "UTC"
            for zone in zones:
                connection.scalar(sa.select(sa.func.timezone(zone, sa.func.now())))
    finally:
        library.execute(f"DROP ROLE {role}")


def test_a_zone_that_the_server_no_longer_knows_is_left_out(library: Library) -> None:
    library.execute(f"ALTER DATABASE {library.database} SET timezone = 'Asia/Tokyo'")
    with library.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE pg_db_role_setting SET setconfig = '{TimeZone=Mars/Base}'")
        assert facts(connection).zones == ()
        connection.rollback()


@pytest.mark.parametrize(
    ("is_plain", "statement"),
    [
        (True, "CREATE TABLE plays (track uuid REFERENCES tracks (id) ON UPDATE CASCADE)"),
        (True, "ALTER TABLE tracks ADD UNIQUE (id) DEFERRABLE"),
        (True, "CREATE TRIGGER t BEFORE INSERT OR DELETE ON tracks FOR EACH ROW EXECUTE FUNCTION keep()"),
        (False, "CREATE TRIGGER t BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION keep()"),
        (False, "CREATE TRIGGER t AFTER INSERT OR UPDATE OF title ON tracks EXECUTE FUNCTION keep()"),
        (False, "CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION keep()"),
        (False, "CREATE RULE r AS ON UPDATE TO tracks DO ALSO NOTHING"),
        (False, "CREATE TABLE older (UNIQUE (id)) INHERITS (tracks)"),
    ],
)
def test_a_table_is_plain_where_nothing_else_has_a_say_in_an_update(
    statement: str, connection: sa.Connection, *, is_plain: bool
) -> None:
    connection.exec_driver_sql("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    assert facts(connection, statement).is_plain is is_plain


def test_a_table_whose_trigger_is_switched_off_is_plain_and_a_view_is_not(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    trigger = "CREATE TRIGGER t BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION keep()"
    assert facts(connection, trigger, "ALTER TABLE tracks DISABLE TRIGGER t").is_plain
    assert not facts(connection, "CREATE VIEW songs AS SELECT * FROM tracks", name="songs").is_plain
