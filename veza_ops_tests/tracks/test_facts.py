"""What later steps have to know of the table, beside its columns."""

import pytest
import sqlalchemy as sa

from veza_ops.tracks.preflight import Facts, facts_of, preflight
from veza_ops_tests.library import Library


def facts(connection: sa.Connection, *statements: str, name: str = "tracks") -> Facts:
    """What is known of the table after these statements."""
    for statement in statements:
        connection.exec_driver_sql(statement)
    return facts_of(preflight(connection, schema="public", name=name))


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
    library.execute("ALTER TABLE tracks ALTER created_at TYPE timestamp")
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


@pytest.mark.parametrize("how", ["its own role's setting", "the address"])
def test_where_this_session_hides_the_servers_zone_the_farthest_one_stands_for_it(library: Library, how: str) -> None:
    library.execute("ALTER TABLE tracks ALTER created_at TYPE timestamp")
    library.engine.dispose()
    if how == "the address":
        library.engine = sa.create_engine(library.engine.url, connect_args={"options": "-ctimezone=UTC"})
    else:
        library.execute(f"ALTER ROLE postgres IN DATABASE {library.database} SET timezone = 'UTC'")
        library.engine.dispose()
    with library.engine.begin() as connection:
        assert facts(connection).zones == ("Etc/GMT+12",)


def test_times_with_a_zone_have_no_other(library: Library) -> None:
    library.execute(f"ALTER DATABASE {library.database} SET timezone = 'Asia/Tokyo'")
    library.engine.dispose()
    with library.engine.begin() as connection:
        assert facts(connection).zones == ()


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
