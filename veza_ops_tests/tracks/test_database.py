"""The connection: its errors are plain, its secrets are kept, its faults that pass are tried again."""

import threading
from urllib.parse import quote

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa

from veza_ops.errors import DatabaseRefusedError, DatabaseUnavailableError
from veza_ops.resources import Database
from veza_ops.tracks.address import parse_url
from veza_ops.tracks.connection import Connection
from veza_ops_tests.library import Library, counts, failure, run_job
from veza_ops_tests.tracks.faults import (
    PLAIN_SECRET,
    SECRET,
    everything_said,
    login_error,
    open_database,
    refused,
    told,
)


def test_a_server_that_is_down_is_named_and_the_password_is_nowhere(instance: dg.DagsterInstance) -> None:
    url = f"postgresql://veza:{SECRET}@127.0.0.1:1/veza?sslpassword={SECRET}"
    result = run_job(None, instance, database={"url": url})
    assert failure(result).startswith("No connection to database veza (veza@127.0.0.1:1)")
    said = everything_said(result, instance)
    assert "Connection refused" in said
    assert PLAIN_SECRET not in said
    assert SECRET not in said.replace(url, "")  # Dagster shows run config as it was given: hence {env: ...}


def test_a_server_that_is_down_is_tried_four_times_and_a_wrong_database_once(
    library: Library, instance: dg.DagsterInstance
) -> None:
    down = run_job(None, instance, database={"url": "postgresql://veza@127.0.0.1:1/veza"})
    wrong = run_job(library, instance, database={"url": library.url.replace(library.database, "nowhere")})
    assert "No login" in failure(wrong)
    assert '"nowhere" does not exist' in failure(wrong)
    attempts = [
        [event.event_type_value for event in result.all_events if "STEP_" in event.event_type_value]
        for result in (down, wrong)
    ]
    assert attempts[0].count("STEP_UP_FOR_RETRY") == 3
    assert "STEP_UP_FOR_RETRY" not in attempts[1]


def test_an_option_that_no_connection_knows_is_named_and_not_tried_again(
    library: Library, instance: dg.DagsterInstance
) -> None:
    separator = "&" if "?" in library.url else "?"
    result = run_job(None, instance, database={"url": f"{library.url}{separator}colour=red"})
    assert "colour" in failure(result)
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_the_password_stays_out_of_what_the_server_says_of_it(library: Library) -> None:
    error = refused(library, "SELECT quick_brown_fox")
    assert "***_brown_fox" in str(told(error, "postgresql://veza:quick@db/veza"))


@pytest.mark.parametrize(
    ("statement", "error", "said"),
    [
        ("SELECT pg_sleep(10)", DatabaseUnavailableError, "statement_timeout_seconds"),
        ("LOCK TABLE tracks", DatabaseUnavailableError, "in the way"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", DatabaseUnavailableError, "it was cut"),
        ("SELECT 1/0", DatabaseRefusedError, "division by zero"),
        ("SET LOCAL ROLE reader; SELECT * FROM tracks", DatabaseRefusedError, "GRANT SELECT, UPDATE"),
    ],
)
def test_each_kind_of_fault_has_its_own_words(
    statement: str, error: type[Exception], said: str, library: Library
) -> None:
    library.execute("DO 'BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN NULL; END'")
    with library.engine.begin() as api, open_database(library) as database:
        api.execute(sa.text("SELECT * FROM tracks LIMIT 1"))  # holds up a lock on the whole table
        with pytest.raises(error, match=said), database.tracks() as tracks:
            tracks.connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    "said",
    [
        "the database system is starting up",
        "the database system is not yet accepting connections",
        "the database system is shutting down",
        "the database system is in recovery mode",
        "sorry, too many clients already",
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        "terminating connection due to administrator command",
        'too many connections for role "does not exist"',
        "server login has been failing, cached error: connect failed (server_login_retry)",
        "server login has been failing, try again later (server_login_retry)",
        "pgbouncer cannot connect to server",
        "query_wait_timeout",
        "client_login_timeout (server down)",
        "no more connections allowed (max_client_conn)",
        "client connections exceeded (max_db_client_connections)",
        "server conn crashed?",
        "pooler is shutting down",
    ],
)
def test_a_server_that_is_busy_with_itself_is_one_to_try_again(said: str, library: Library) -> None:
    """Its own words: most of these states last too short a time to be met on purpose, and it may be over by now."""
    assert isinstance(told(login_error(f"FATAL:  {said}"), library.url), DatabaseUnavailableError)


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://postgres@{quoted}/{database}",
        "postgresql+psycopg2://postgres@{quoted}/{database}",
        "postgres+asyncpg://postgres@/{database}?host={host}",
        "postgresql://postgres@127.0.0.1:1,{quoted}/{database}?target_session_attrs=read-write",
        "host={host} user=postgres dbname={database}",
    ],
)
def test_an_address_in_any_form_that_libpq_takes_leads_to_the_database(
    form: str, library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost()
    host = parse_url(library.url).parameters["host"]
    url = form.format(quoted=quote(host, safe=""), host=host, database=library.database)
    assert counts(run_job(None, instance, database={"url": url}, storage={"root": str(library.root)}))["stale"] == 1


def test_the_sessions_name_themselves_and_keep_to_their_time_outs(library: Library) -> None:
    with open_database(library) as database, database.tracks() as tracks:
        said = [
            tracks.connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("application_name", "statement_timeout", "lock_timeout", "TimeZone")
        ]
    assert said == ["veza-ops", "2s", "1s", "UTC"]


@pytest.mark.parametrize(("seconds", "limits"), [(0.1, ["10s", "9s"]), (60, ["1min", "54s"]), (1000, ["2min", "1min"])])
def test_a_limit_lets_a_lock_be_waited_for_less_than_a_statement_may_take_and_raises_neither(
    library: Library, seconds: float, limits: list[str]
) -> None:
    database = Database(url=library.url, statement_timeout_seconds=120, lock_timeout_seconds=60)
    with database.yield_for_execution(dg.build_init_resource_context()), database.tracks() as tracks:
        tracks.limit(seconds)
        shown = [
            tracks.connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("statement_timeout", "lock_timeout")
        ]
    assert shown == limits


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_the_write_is_made_at_the_level_that_it_is_made_for_whatever_the_database_is_set_to(
    level: str, library: Library
) -> None:
    library.execute(f"ALTER DATABASE {library.database} SET default_transaction_isolation = '{level}'")
    with open_database(library) as database, database.tracks() as tracks:
        assert tracks.connection.exec_driver_sql("SHOW transaction_isolation").scalar_one() == "read committed"


def test_settings_hold_for_a_transaction_and_not_for_the_session(library: Library) -> None:
    with open_database(library) as database:
        with database.tracks() as tracks:
            raw = tracks.connection.connection.driver_connection
            assert isinstance(raw, psycopg.Connection)
        assert raw.execute("SHOW statement_timeout").fetchone() == ("0",)
        raw.rollback()


def test_a_connection_that_is_cut_in_mid_run_is_made_again(library: Library, instance: dg.DagsterInstance) -> None:
    ghost = library.add_ghost()
    # Cuts the session that writes, once: the second attempt goes through.
    library.execute("CREATE SEQUENCE writes")
    library.execute(
        "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('writes') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END $$"
    )
    library.execute("CREATE TRIGGER cut BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION cut()")
    assert counts(run_job(library, instance))["marked_failed"] == 1
    assert library.status(ghost) == "failed"


@pytest.mark.parametrize(
    "constraint",
    ["CHECK (status <> 'failed')", "CHECK (length(status_message) < 10)"],
)
def test_a_value_that_the_table_does_not_take_is_refused_and_changes_nothing(
    constraint: str, library: Library, instance: dg.DagsterInstance
) -> None:
    library.add_ghost()
    library.execute(f"ALTER TABLE tracks ADD CONSTRAINT no_way {constraint}")
    before = library.rows()
    assert counts(run_job(library, instance))["refused"] == 1
    assert library.rows() == before


def test_a_name_that_nobody_looks_up_ends_within_its_bound(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    """The system's look-up has time-outs of its own, or none."""
    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(lambda _, **__: released.wait()))
    with pytest.raises(psycopg.errors.ConnectionTimeout, match=r"no answer within 0\.2 s"):
        Connection.within(0.2, 1, {"host": "db.example"})
