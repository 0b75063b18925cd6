"""The connection: its errors are plain, its secrets are kept, its faults that pass are tried again."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa

from veza_ops.errors import ConfigurationError, DatabaseRefusedError, DatabaseUnavailableError, VezaOpsError
from veza_ops.resources import Database
from veza_ops.tracks.address import parse_url
from veza_ops.tracks.database import create_engine, of_a_row, plain_errors
from veza_ops_tests.library import Library, counts, failure, run_job

SECRET = "hunter2%40home"
PLAIN_SECRET = "hunter2@home"
ADDRESS = parse_url("postgresql://veza:hunter2@db/veza")


@contextmanager
def open_database(library: Library) -> Iterator[Database]:
    """The resource over `library`, impatient, as long as a run would have it."""
    database = Database(url=library.url, statement_timeout_seconds=2, lock_timeout_seconds=1)
    with database.yield_for_execution(dg.build_init_resource_context()):
        yield database


def everything_said(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> str:
    """All that a run left behind for people to read: events, errors with their traces, logs."""
    return "\n".join(str(entry) for entry in instance.all_logs(result.run_id))


def told(error: Exception, url: str = "postgresql://veza:hunter2@db/veza") -> VezaOpsError:
    """What becomes of `error`."""
    with pytest.raises(VezaOpsError) as caught, plain_errors(parse_url(url)):
        raise error
    assert caught.value.__cause__ is None
    return caught.value


def refused(library: Library, *statements: str) -> sa.exc.DBAPIError:
    """What the driver says of the last of `statements`."""
    *before, last = statements
    with library.engine.begin() as connection:
        for statement in before:
            connection.exec_driver_sql(statement)
        with pytest.raises(sa.exc.DBAPIError) as caught:
            connection.exec_driver_sql(last)
    return caught.value


def login_error(said: str) -> sa.exc.OperationalError:
    """A failed login, of which the driver hands on words alone."""
    start = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '
    return sa.exc.OperationalError(None, None, psycopg.OperationalError(f"{start}{said}"))


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
        ("DO 'BEGIN SET ROLE reader; PERFORM * FROM tracks; END'", DatabaseRefusedError, "GRANT SELECT, UPDATE"),
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


def test_the_sessions_name_themselves_and_keep_to_their_time_outs(library: Library) -> None:
    with open_database(library) as database, database.tracks() as tracks:
        said = [
            tracks.connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("application_name", "statement_timeout", "lock_timeout", "TimeZone")
        ]
    assert said == ["veza-ops", "2s", "1s", "UTC"]


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


# -- logins -------------------------------------------------------------------------------------------------------

STARTING = "система базы данных запускается"
NO_SERVER = "postgresql://veza@127.0.0.1:1/veza"

FAKE_SERVER = """
import socket, struct, sys
code, said = sys.argv[1], sys.argv[2]
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
fields = {"S": "ВАЖНО", "V": "FATAL", "C": code, "M": said}
body = b"".join(f"{kind}{value}".encode() + bytes(1) for kind, value in fields.items()) + bytes(1)
while True:
    client, _ = listener.accept()
    while True:
        length, version = struct.unpack("!II", client.recv(8, socket.MSG_WAITALL))
        if version >> 16 == 3:
            break
        client.sendall(b"N")  # no TLS, no GSSAPI
    client.recv(length - 8, socket.MSG_WAITALL)
    client.sendall(b"E" + struct.pack("!I", len(body) + 4) + body)
    client.close()
"""
"""Speaks just enough of the protocol to turn everybody away with one code, in Russian."""


@contextmanager
def server_that_says(code: str, said: str) -> Iterator[str]:
    """The address of a server that turns everybody away. It is a process: libpq's ping lets no thread of ours run."""
    with subprocess.Popen([sys.executable, "-c", FAKE_SERVER, code, said], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"postgresql://veza:hunter2@127.0.0.1:{server.stdout.readline().strip()}/veza"
        server.terminate()


def login(url: str) -> VezaOpsError:
    """What comes of a login that fails."""
    address = parse_url(url)
    engine = create_engine(address, connect_timeout_seconds=5, statement_timeout_seconds=5, lock_timeout_seconds=5)
    with pytest.raises(VezaOpsError) as caught, plain_errors(address), engine.begin():
        pass
    engine.dispose()
    assert "hunter2" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("code", "said", "error"),
    [
        ("57P03", STARTING, DatabaseUnavailableError),
        ("28P01", "пользователь не прошёл проверку подлинности (по паролю)", DatabaseRefusedError),
        ("3D000", "база данных hunter2 не существует", DatabaseRefusedError),
    ],
)
def test_a_server_of_another_language_is_understood_by_its_codes(
    code: str, said: str, error: type[VezaOpsError]
) -> None:
    with server_that_says(code, said) as url:
        caught = login(url)
    assert isinstance(caught, error)
    assert said.replace("hunter2", "***") in str(caught)


def test_a_server_that_is_gone_after_words_that_nobody_knows_is_one_to_try_again() -> None:
    assert isinstance(told(login_error(f"ВАЖНО:  {STARTING}"), NO_SERVER), DatabaseUnavailableError)


def test_a_server_that_lets_others_in_refused_this_login(library: Library) -> None:
    caught = told(login_error("致命错误:  用户 veza 认证失败"), library.url)
    assert isinstance(caught, DatabaseRefusedError)
    assert str(caught).startswith("No login to database")


@pytest.mark.parametrize(
    "said",
    [
        'password authentication failed for user "veza"',
        'database "starting up" does not exist',
        'database "veza" is not currently accepting connections',
        'no pg_hba.conf entry for host "10.0.0.2", user "veza", database "veza", no encryption',
        'server login has been failing, cached error: password authentication failed for user "x" (server_login_retry)',
        "no such database: veza",
        "connection requires a valid client certificate",
    ],
)
def test_a_login_that_will_never_do_is_not_tried_again(said: str) -> None:
    """Nobody is asked again either: that server is out of reach, and would pass for one that is busy."""
    caught = told(login_error(f"FATAL:  {said}"), NO_SERVER)
    assert isinstance(caught, DatabaseRefusedError)
    assert str(caught).startswith("No login to database")


@pytest.mark.parametrize(
    "said",
    [
        "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
        "timeout expired",
        "server closed the connection unexpectedly",
        "SSL error: unexpected eof while reading",
        "could not receive data from server: Connection reset by peer",
        "session is read-only",
    ],
)
def test_what_libpq_itself_says_of_a_connection_passes(said: str, library: Library) -> None:
    """Also where the server answers by now."""
    assert isinstance(told(login_error(said), library.url), DatabaseUnavailableError)


def test_a_cut_connection_passes_in_any_language(library: Library) -> None:
    said = "consuming input failed: ВАЖНО:  закрытие подключения по команде администратора"
    error = sa.exc.OperationalError("SELECT", None, psycopg.OperationalError(said))
    assert isinstance(told(error, library.url), DatabaseUnavailableError)


@pytest.mark.parametrize(
    "options",
    [
        "sslmode=bogus",
        "sslmode=require",
        "service=hunter2-nowhere",
        "keepalives=bogus",
        "target_session_attrs=bogus",
    ],
)
def test_a_setting_that_leads_to_no_connection_is_not_tried_again(options: str) -> None:
    with server_that_says("57P03", STARTING) as url:
        caught = login(f"{url}?{options}")
    assert isinstance(caught, ConfigurationError)
    assert str(caught).startswith("VEZA_DATABASE_URL (or database.url) leads to no connection with database veza")


@pytest.mark.parametrize(
    "said",
    [
        "SSL error: certificate verify failed",
        "SSL error: tlsv1 alert unknown ca",
        'root certificate file "/nowhere" does not exist',
        'server certificate for "db" does not match host name "10.0.0.1"',
        'private key file "/key" has group or world access',
        "received invalid response to SSL negotiation: H",
    ],
)
def test_a_certificate_that_will_never_do_is_not_tried_again(said: str) -> None:
    assert isinstance(told(login_error(said)), ConfigurationError)


def test_a_host_of_any_name_is_only_a_host() -> None:
    caught = login("postgresql://veza@%2Fcertificate%2Fnot%20permitted%20to%20log%20in/veza")
    assert isinstance(caught, DatabaseUnavailableError)


@pytest.mark.parametrize(
    ("code", "said", "error"),
    [
        ("28P01", "password authentication failed", DatabaseRefusedError),
        ("08P01", "cached error: password authentication failed (server_login_retry)", DatabaseRefusedError),
        ("08P01", "query_wait_timeout", DatabaseUnavailableError),
    ],
)
def test_a_pooler_may_log_in_with_the_first_statement_only(
    code: str, said: str, error: type[VezaOpsError], library: Library
) -> None:
    caught = told(refused(library, f"DO $$ BEGIN RAISE '{said}' USING ERRCODE = '{code}'; END $$"))
    assert isinstance(caught, error)
    assert "to database veza (veza@db:5432)" in str(caught)


def test_our_own_settings_win_over_those_of_the_address(library: Library) -> None:
    separator = "&" if "?" in library.url else "?"
    database = Database(url=f"{library.url}{separator}application_name=mine&client_encoding=latin1&keepalives_count=7")
    with (
        database.yield_for_execution(dg.build_init_resource_context()),
        database.tracks() as tracks,
    ):
        raw = tracks.connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        parameters = raw.info.get_parameters()
        assert parameters["application_name"] == "veza-ops"
        assert parameters["keepalives_count"] == "3"
        assert raw.info.encoding == "utf-8"


def test_several_hosts_are_tried_in_turn(library: Library) -> None:
    address = parse_url(f"{library.url.replace('?host=', '?host=/nowhere,')}&target_session_attrs=read-write")
    engine = create_engine(address, connect_timeout_seconds=5, statement_timeout_seconds=5, lock_timeout_seconds=5)
    with plain_errors(address), engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    engine.dispose()


# -- what the server refuses --------------------------------------------------------------------------------------

SECRET_TITLE = "a secret song"
WRITE = f"UPDATE tracks SET title = '{SECRET_TITLE}'"


def trigger(body: str, *, when: str = "BEFORE UPDATE") -> tuple[str, str]:
    """The statements that make a trigger of `body`."""
    return (
        f"CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$",
        f"CREATE TRIGGER guard {when} ON tracks FOR EACH ROW EXECUTE FUNCTION guard()",
    )


READER = (
    "DO 'BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN NULL; END'",
    "GRANT SELECT, UPDATE ON tracks TO reader",
)
POLICY = (
    *READER,
    "ALTER TABLE tracks ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY mine ON tracks USING (true) WITH CHECK (title <> '{SECRET_TITLE}')",
    "SET LOCAL ROLE reader",
)

ROWS = {
    "check": (
        f"ALTER TABLE tracks ADD CONSTRAINT no_way CHECK (title <> '{SECRET_TITLE}')",
        WRITE,
        "the constraint no_way refuses it",
    ),
    "unique": (
        "UPDATE tracks SET title = id",
        "ALTER TABLE tracks ADD CONSTRAINT single UNIQUE (title)",
        WRITE,
        "the constraint single refuses it",
    ),
    "null": ("UPDATE tracks SET title = NULL", "the column title may not be empty"),
    "domain": (
        "CREATE DOMAIN title AS text NOT NULL",
        "ALTER TABLE tracks ADD COLUMN other title DEFAULT 'x'",
        "UPDATE tracks SET other = NULL",
        "not null violation for the type title",
    ),
    "partition": (
        "ALTER TABLE tracks RENAME TO whole",
        "CREATE TABLE tracks (title text) PARTITION BY LIST (title)",
        "CREATE TABLE part PARTITION OF tracks FOR VALUES IN ('x')",
        "INSERT INTO tracks VALUES ('x')",
        "UPDATE part SET title = 'a secret song'",
        "check violation",
    ),
    "policy": (*POLICY, WRITE, "row-level security refuses it: no policy lets this role write such a row"),
    "view": (
        "CREATE VIEW few AS SELECT * FROM tracks WHERE title <> 'a secret song' WITH CHECK OPTION",
        "UPDATE few SET title = 'a secret song'",
        "the view's WITH CHECK OPTION refuses it",
    ),
    "raise": (*trigger("RAISE 'no %%', NEW.id IS NOT NULL"), WRITE, "a trigger refuses it: no t"),
    "raise in lines": (
        *trigger(r"RAISE E'no\nway\x1b[2J.'"),
        WRITE,
        r"a trigger refuses it: no way\x1b[2J",
    ),
    "raise at length": (
        *trigger("RAISE '%%', repeat('x', 9000)"),
        WRITE,
        f"a trigger refuses it: {'x' * 199}…",
    ),
    "raise with a code of its own": (*trigger("RAISE 'no' USING ERRCODE = 'VZ001'"), WRITE, "a trigger refuses it: no"),
    "raise with a code of a value": (*trigger("RAISE 'no' USING ERRCODE = '22003'"), WRITE, "a trigger refuses it: no"),
    "raise with a code of a right": (*trigger("RAISE 'no' USING ERRCODE = '42501'"), WRITE, "a trigger refuses it: no"),
    "raise with a code of a state": (*trigger("RAISE 'no' USING ERRCODE = '55000'"), WRITE, "a trigger refuses it: no"),
    "assert": (*trigger("ASSERT false, 'no'"), WRITE, "a trigger refuses it: no"),
    "cast": (
        *trigger("NEW.title := NEW.title::integer"),
        WRITE,
        "invalid text representation in a trigger",
    ),
    "cast without a trigger": (f"UPDATE tracks SET id = '{SECRET_TITLE}'", "invalid text representation"),
    "length": (
        "ALTER TABLE tracks ALTER title TYPE varchar(8)",
        WRITE,
        "a value is too long for the type character varying(8)",
    ),
    "number": (
        "ALTER TABLE tracks ADD COLUMN small smallint",
        "UPDATE tracks SET small = 70000",
        "numeric value out of range",
    ),
    "size": (
        "CREATE INDEX ON tracks (title)",
        "UPDATE tracks SET title = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 2000) n)",
        "program limit exceeded",
    ),
    "broken trigger": (
        *trigger("PERFORM * FROM nowhere WHERE title = NEW.title"),
        WRITE,
        "undefined table in a trigger",
    ),
    "broken dynamic trigger": (
        *trigger("EXECUTE 'SELECT ' || NEW.title"),
        WRITE,
        "syntax error in a trigger",
    ),
    "trigger that changes the row": (
        *trigger("IF pg_trigger_depth() = 1 THEN UPDATE tracks SET title = 'x' WHERE id = NEW.id; END IF"),
        WRITE,
        "triggered data change violation",
    ),
    "trigger without an end": (
        "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$",
        "CREATE TRIGGER guard BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION guard()",
        WRITE,
        "function executed no return statement in a trigger",
    ),
}


@pytest.mark.parametrize("case", ROWS.values(), ids=list(ROWS))
def test_a_row_that_is_refused_has_its_reason_without_what_is_in_it(case: tuple[str, ...], library: Library) -> None:
    *statements, reason = case
    error = refused(library, *statements)
    assert of_a_row(error) == reason
    caught = told(error)
    assert isinstance(caught, DatabaseRefusedError)
    assert str(caught) == f"A statement was refused by database veza (veza@db:5432): {reason}. It changed nothing."


NOT_ROWS = {
    "no such table": ("SELECT * FROM nowhere", DatabaseRefusedError, 'relation "nowhere" does not exist'),
    "no right": (*READER, "SET LOCAL ROLE reader", "DELETE FROM tracks", DatabaseRefusedError, "It needs GRANT"),
    "no right in a trigger": (
        "CREATE TABLE elsewhere ()",
        *trigger("PERFORM * FROM elsewhere"),
        *READER,
        "SET LOCAL ROLE reader",
        WRITE,
        DatabaseRefusedError,
        "permission denied for table elsewhere",
    ),
    "policies switched off": (
        *POLICY,
        "SET LOCAL row_security = off",
        WRITE,
        DatabaseRefusedError,
        "A statement was refused",
    ),
    "read-only": ("SET TRANSACTION READ ONLY", WRITE, DatabaseRefusedError, "a server that takes writes"),
    "no replica identity": (
        "ALTER TABLE tracks DROP CONSTRAINT tracks_pkey",
        "CREATE PUBLICATION all_of_it FOR TABLE tracks",
        WRITE,
        DatabaseRefusedError,
        "Give the table a primary key or a REPLICA IDENTITY.",
    ),
    "a view that takes no writes": (
        "CREATE VIEW few AS SELECT DISTINCT title FROM tracks",
        "UPDATE few SET title = 'x'",
        DatabaseRefusedError,
        'cannot update view "few"',
    ),
    "a view that takes no writes from a trigger": (
        "CREATE VIEW few AS SELECT DISTINCT title FROM tracks",
        *trigger("UPDATE few SET title = 'x'"),
        WRITE,
        DatabaseRefusedError,
        'cannot update view "few"',
    ),
    "serialization": (*trigger("RAISE 'no' USING ERRCODE = '40001'"), WRITE, DatabaseUnavailableError, "in the way"),
    "deadlock": (*trigger("RAISE 'no' USING ERRCODE = '40P01'"), WRITE, DatabaseUnavailableError, "in the way"),
    "lock": (*trigger("RAISE 'no' USING ERRCODE = '55P03'"), WRITE, DatabaseUnavailableError, "in the way"),
    "in use": (*trigger("RAISE 'no' USING ERRCODE = '55006'"), WRITE, DatabaseUnavailableError, "in the way"),
    "memory": (*trigger("RAISE 'no' USING ERRCODE = '53200'"), WRITE, DatabaseUnavailableError, "no room"),
    "connections": (*trigger("RAISE 'no' USING ERRCODE = '53300'"), WRITE, DatabaseUnavailableError, "no room"),
    "shutdown": (*trigger("RAISE 'no' USING ERRCODE = '57P01'"), WRITE, DatabaseUnavailableError, "was cut"),
    "connection": (*trigger("RAISE 'no' USING ERRCODE = '08006'"), WRITE, DatabaseUnavailableError, "was cut"),
    "idle": (*trigger("RAISE 'no' USING ERRCODE = '25P03'"), WRITE, DatabaseUnavailableError, "was cut"),
    "cancelled": (
        "SET LOCAL statement_timeout = 50",
        *trigger("PERFORM pg_sleep(5)"),
        WRITE,
        DatabaseUnavailableError,
        "statement_timeout_seconds",
    ),
}


@pytest.mark.parametrize("case", NOT_ROWS.values(), ids=list(NOT_ROWS))
def test_what_is_of_the_statement_or_passes_is_of_no_row(
    case: tuple[str | type[VezaOpsError], ...], library: Library
) -> None:
    *statements, kind, said = case
    error = refused(library, *map(str, statements))
    assert of_a_row(error) is None
    caught = told(error)
    assert isinstance(kind, type)
    assert isinstance(caught, kind)
    assert str(said) in str(caught)
    assert SECRET_TITLE not in str(caught)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("53100", "The disk of the database's server is full"),
        ("57P04", "A statement was refused"),
        ("28P01", "No login to"),
        ("XX000", "A statement was refused"),
    ],
)
def test_what_no_waiting_mends_is_not_tried_again(code: str, said: str) -> None:
    """Errors of a server, which nobody can have at will."""
    caught = told(sa.exc.DBAPIError(None, None, psycopg.errors.lookup(code)(SECRET_TITLE)))
    assert isinstance(caught, DatabaseRefusedError)
    assert str(caught).startswith(said)
    assert SECRET_TITLE not in str(caught)


@pytest.mark.parametrize(
    "error",
    [
        sa.exc.InvalidRequestError(SECRET_TITLE),
        sa.exc.StatementError(SECRET_TITLE, SECRET_TITLE, {}, ValueError(SECRET_TITLE)),
        psycopg.DataError(SECRET_TITLE),
        UnicodeEncodeError("utf-8", SECRET_TITLE, 0, 1, SECRET_TITLE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_driver_gives_up_on_is_named_without_what_is_in_it(error: Exception) -> None:
    caught = told(error)
    assert isinstance(caught, DatabaseRefusedError)
    assert str(caught).startswith("The driver gave up on database veza (veza@db:5432): ")
    assert "secret" not in str(caught)


def test_a_mistake_in_the_program_keeps_its_own_error() -> None:
    with pytest.raises(KeyError), plain_errors(ADDRESS):
        raise KeyError


def test_an_error_without_a_code_is_of_no_row() -> None:
    assert of_a_row(sa.exc.DataError(None, None, psycopg.DataError("NUL"))) is None
    assert of_a_row(login_error("timeout expired")) is None
