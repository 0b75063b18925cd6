"""What the server refuses: of which row and why, without what is in it; and what is of no row."""

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.pq import DiagnosticField

from veza_ops.errors import DatabaseRefusedError, DatabaseUnavailableError, VezaOpsError
from veza_ops.tracks.database import of_a_row, plain_errors
from veza_ops_tests.library import Library
from veza_ops_tests.tracks.faults import ADDRESS, login_error, refused, told

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
        "invalid text representation in a trigger or a function",
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
        "undefined table in a trigger or a function",
    ),
    "broken dynamic trigger": (
        *trigger("EXECUTE 'SELECT ' || NEW.title"),
        WRITE,
        "syntax error in a trigger or a function",
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
        "function executed no return statement in a trigger or a function",
    ),
    "no right in a trigger": (
        "CREATE TABLE elsewhere ()",
        *trigger("PERFORM * FROM elsewhere"),
        *READER,
        "SET LOCAL ROLE reader",
        WRITE,
        "insufficient privilege in a trigger or a function",
    ),
    "a view that takes no writes from a trigger": (
        "CREATE VIEW few AS SELECT DISTINCT title FROM tracks",
        *trigger("UPDATE few SET title = 'x'"),
        WRITE,
        "object not in prerequisite state in a trigger or a function",
    ),
    "a function in SQL": (
        (
            "CREATE FUNCTION judge(t text) RETURNS bool LANGUAGE sql AS "
            "$$ SELECT CASE WHEN t LIKE 'a%%' THEN pg_read_file('/nowhere/' || t) IS NULL ELSE true END $$"
        ),
        "ALTER TABLE tracks ADD CHECK (judge(title)) NOT VALID",
        WRITE,
        "undefined file",
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
    "no room for a trigger's files": (
        "SET LOCAL temp_file_limit = 1",
        "SET LOCAL work_mem = '64kB'",
        *trigger("PERFORM count(*) FROM (SELECT g FROM generate_series(1, 300000) g ORDER BY random()) s"),
        WRITE,
        DatabaseRefusedError,
        "temp_file_limit",
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
    "cancelled": (
        *trigger("PERFORM pg_sleep(5)"),
        "SET LOCAL statement_timeout = 50",
        WRITE,
        DatabaseUnavailableError,
        "statement_timeout_seconds",
    ),
}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        *((code, "in the way") for code in ("40001", "40P01", "55P03", "55006")),
        *((code, "no room") for code in ("53200", "53300")),
        *((code, "was cut") for code in ("57P01", "57P02", "57P03", "57P05", "08006", "25P03")),
        ("57014", "statement_timeout_seconds"),
    ],
)
def test_what_passes_is_of_no_row_and_is_tried_again(code: str, said: str) -> None:
    """Made by hand: most of these states last too short a time to be met on purpose."""
    error = sa.exc.DBAPIError(None, None, psycopg.errors.lookup(code)("no"))
    assert of_a_row(error) is None
    caught = told(error)
    assert isinstance(caught, DatabaseUnavailableError)
    assert said in str(caught)


def test_a_lock_that_a_trigger_waits_for_passes(library: Library) -> None:
    library.execute("CREATE TABLE elsewhere ()")
    with library.engine.begin() as api:
        api.execute(sa.text("LOCK TABLE elsewhere"))
        error = refused(library, *trigger("PERFORM * FROM elsewhere"), "SET LOCAL lock_timeout = 50", WRITE)
    assert of_a_row(error) is None
    assert isinstance(told(error), DatabaseUnavailableError)


@pytest.mark.parametrize("code", ["40001", "55P03", "57014", "08006", "53100", "42501", "VZ001"])
def test_whatever_code_a_trigger_raises_it_is_of_the_row(code: str, library: Library) -> None:
    """One of those that pass would hold up all other rows, for as long as the trigger raises it."""
    error = refused(library, *trigger(f"RAISE 'not this one' USING ERRCODE = '{code}'"), WRITE)
    assert of_a_row(error) == "a trigger refuses it: not this one"


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


@pytest.mark.parametrize(
    "kind",
    [
        psycopg.errors.DeadlockDetected,
        psycopg.errors.SerializationFailure,
        psycopg.errors.ConnectionFailure,
        psycopg.errors.TooManyConnections,
    ],
)
def test_what_passes_is_no_fault_of_the_row_also_where_it_met_a_trigger(kind: type[psycopg.Error]) -> None:
    fields: dict[int, bytes | None] = dict.fromkeys(map(int, DiagnosticField))
    fields[DiagnosticField.CONTEXT] = b"PL/pgSQL function meddle() line 1"
    fault = kind("as it may be", info=fields)
    assert of_a_row(sa.exc.DBAPIError("UPDATE tracks", None, fault)) is None
