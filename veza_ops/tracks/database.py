"""The connection to PostgreSQL: how it is made, what holds in every transaction, and its errors in plain words.

Of an error of the server's, its SQLSTATE decides, and of its words only the primary message is told: the others
(DETAIL, CONTEXT, HINT) and the statement hold what is in rows. Secrets never leave the address.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import pq
from psycopg.conninfo import make_conninfo

from veza_ops.bounds import within
from veza_ops.errors import (
    ConfigurationError,
    DatabaseRefusedError,
    DatabaseSilentError,
    DatabaseUnavailableError,
    StatementCancelledError,
    VezaOpsError,
)
from veza_ops.text import shown
from veza_ops.tracks.address import Address
from veza_ops.tracks.connection import Connection, SilentError

LONGEST_MESSAGE = 200
"""Characters of a message that are told; a trigger's may be anything."""

# What PostgreSQL's five-letter codes begin with (appendix A of its manual).
_CUT = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04")
_CANCELLED = "57014"
_IN_THE_WAY = ("40", "55P03", "55006")
_SHORT_OF = ("53200", "53300")  # memory, connections
_PASSING = (*_CUT, _CANCELLED, *_IN_THE_WAY, *_SHORT_OF)
_NO_LOGIN = ("28", "3D")
_NO_RIGHT = "42501"
_DISK_FULL = "53100"
_READ_ONLY = "25006"
_CONSTRAINT = "23"
_NOT_NULL = "23502"
_CHECK_OPTION = "44000"
_TOO_LONG = "22001"
_RAISED = "P0"
_SHORT_OF_ALL = ("53", "57")
_OF_THE_SERVER = ("25", "55")
# Values, what functions of any language do, limits of size: a row at a time.
_OF_A_VALUE = ("22", "27", "2F", "38", "39", "54", "58P")
# Classes whose messages speak of tables, roles and the server, and never of what is in rows.
_OF_NO_VALUE = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58030", "XX")

# What the server said to a login, in whatever language: a severity and two spaces. libpq's own words have none.
_SERVER_SAID = re.compile(r"connection to server [^\n]* failed: [^:\n]+:  \S")
# Names may hold any word.
_QUOTED = re.compile(r"\"[^\"]*\"|\B'[^']*'\B")
_PASSING_REFUSALS = (
    # Of a server that starts, stops, recovers or is full (backend_startup.c and proc.c of PostgreSQL 9.6 to 18).
    *("starting up", "not yet accepting", "shutting down", "recovery mode"),
    *("too many", "connection slots", "terminating"),
    # Of PgBouncer 1.8 to 1.25 without a server, or without room (objects.c, client.c, janitor.c).
    *("server_login_retry", "query_wait_timeout", "client_login_timeout", "suspend_timeout", "pause failed"),
    *("no more connections allowed", "max_client_conn", "connections exceeded", "resources exhaustion", "no memory"),
    *("out of memory", "pgbouncer cannot connect to server", "server conn crashed", "connect failed"),
)
# Of a server that lets nobody in with this address, also where a pooler passes it on from its memory.
_LASTING_REFUSALS = (
    *("authentication failed", "does not exist", "pg_hba.conf", "not permitted to log in", "permission denied"),
    *("not currently accepting", "no such database", "no such user", "no password supplied"),
    "valid client certificate",
)
# Of libpq, before it asks a server or because of what the server is or isn't.
_WRONG_SETTING = re.compile(
    r"connection is bad: (?!connection to server)|\binvalid [\w ]*value|could not match|certificate|private key|"
    r"SSL was required|SSL error: (?!unexpected eof)|authentication method|channel binding|requirepeer|peer user name|"
    r"invalid response to SSL|expected authentication request"
)
_PING_SECONDS = 5
_ADDRESSES = 3
"""A host may have several, which are tried one after the other."""
_GRACE_SECONDS = 10
"""A server that cancels what takes too long says so by then. Also for the look-up of names."""

LOCK_SHARE = 0.9
"""Of the time that a statement has: so long at most it waits for a lock, which is told as what it is."""


def create_engine(
    address: Address, *, connect_timeout_seconds: int, statement_timeout_seconds: int, lock_timeout_seconds: int
) -> sa.Engine:
    """An engine whose every transaction has time-outs and reads and writes times in UTC.

    The server's time-outs are its own to keep; where it is silent, so are ours. What is set here wins over what
    `address` asks for. Nothing is connected yet.
    """
    engine = sa.create_engine(
        "postgresql+psycopg://",
        isolation_level="READ COMMITTED",  # what the guarded write is made for, whatever the role is set to
        pool_size=2,  # of a step, one that writes, and one for what is looked for meanwhile
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            **address.parameters,
            "application_name": "veza-ops",
            "client_encoding": "utf8",  # what a database without an encoding of its own holds is read as UTF-8
            "connect_timeout": connect_timeout_seconds,
            # A server that is gone without a word must not hold a run (seconds, and milliseconds).
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
            # Prepared statements don't survive a connection pooler, and keep a partial index from being used.
            "prepare_threshold": None,
        },
    )
    settings = {
        "statement_timeout": f"{statement_timeout_seconds}s",
        "lock_timeout": f"{1000 * min(lock_timeout_seconds, LOCK_SHARE * statement_timeout_seconds):.0f}",
        "idle_in_transaction_session_timeout": "60s",
        "timezone": "UTC",
        "datestyle": "ISO",
    }
    # For the transaction only: through a connection pooler, the session may be somebody else's next.
    local = sa.true()
    set_up = sa.select(*(sa.func.set_config(name, value, local) for name, value in settings.items()))

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: sa.Dialect, _record: object, _args: object, parameters: dict[str, Any]) -> Connection:
        return Connection.within(
            connect_timeout_seconds * max(len(address.hosts), _ADDRESSES) + _GRACE_SECONDS,
            statement_timeout_seconds + _GRACE_SECONDS,
            parameters,
        )

    @sa.event.listens_for(engine, "begin")
    def set_up_transaction(connection: sa.Connection) -> None:
        connection.execute(set_up)

    return engine


@contextmanager
def plain_errors(address: Address) -> Iterator[None]:
    """Turn the driver's errors into ours, which hold no secret of `address`, no row and no statement.

    Raises DatabaseUnavailableError when the server can't be reached, cuts the connection, or somebody is in the way;
    StatementCancelledError when it gave up a statement;
    DatabaseSilentError when it gives no answer;
    DatabaseRefusedError for a login, a right or a value that it doesn't accept, and for what the driver can't do;
    ConfigurationError for an address that leads to no connection.
    """
    try:
        yield
    except (sa.exc.SQLAlchemyError, psycopg.Error, UnicodeError) as error:
        raise _explained(error, address) from None


def of_a_row(error: sa.exc.DBAPIError) -> str | None:
    """Why the database refuses a row that was to be written, without what is in it.

    None for what is of the statement, the role, the connection or the server, and for what passes.
    """
    return _of_a_row(error.orig) if isinstance(error.orig, psycopg.Error) else None


def _of_a_row(fault: psycopg.Error) -> str | None:  # noqa: PLR0911 - one for each kind of refusal
    state, said = fault.sqlstate or "", fault.diag
    primary = said.message_primary or ""
    # What a function did, a trigger's most often; not what a server elsewhere answered.
    in_a_trigger = bool(said.context) and "remote SQL command" not in (said.context or "")
    # Whatever code it chose: one of those that pass would hold up all others for ever.
    if state.startswith(_RAISED) or said.source_function == "exec_stmt_raise":
        return f"a trigger refuses it: {shown(' '.join(primary.split()), LONGEST_MESSAGE).rstrip('.')}"
    if not state or state.startswith(_PASSING):
        return None
    if state == _NO_RIGHT and not in_a_trigger:
        by_policy = said.source_function == "ExecWithCheckOptions" or "new row violates row-level" in primary
        return "row-level security refuses it: no policy lets this role write such a row" if by_policy else None
    if state.startswith(_SHORT_OF_ALL) or (state.startswith(_OF_THE_SERVER) and not in_a_trigger):
        return None
    if state == _CHECK_OPTION:
        return "the view's WITH CHECK OPTION refuses it"
    if state == _NOT_NULL and said.column_name:
        return f"the column {shown(said.column_name)} may not be empty"
    if state.startswith(_CONSTRAINT) and said.constraint_name:
        return f"the constraint {shown(said.constraint_name)} refuses it"
    if state == _TOO_LONG:
        kind = re.search(r"(?:character|bit)(?: varying)?\(\d+\)", primary)
        return f"a value is too long for {f'the type {kind[0]}' if kind else 'its type'}"
    if state.startswith((_CONSTRAINT, *_OF_A_VALUE)) or in_a_trigger:
        # Not its message: PostgreSQL's own ones repeat the value.
        where = f" for the type {shown(said.datatype_name)}" if said.datatype_name else ""
        return f"{_condition(state)}{where}{' in a trigger or a function' if in_a_trigger else ''}"
    return None


def _condition(state: str) -> str:
    """What PostgreSQL calls a code, in words: ``numeric value out of range``."""
    try:
        name = psycopg.errors.lookup(state).__name__
    except KeyError:
        return f"error {shown(state)}"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _explained(error: Exception, address: Address) -> VezaOpsError:
    fault = error.orig if isinstance(error, sa.exc.StatementError) and error.orig is not None else error
    if isinstance(fault, psycopg.Error) and fault.sqlstate:
        return _of_the_server(fault, fault.sqlstate, address)
    if isinstance(fault, SilentError):
        return DatabaseSilentError(
            f"No answer from {address.name} within {fault}: the server or the network on the way is silent. Nothing "
            "more is changed; if that was a commit, the rows tell whether it came to pass."
        )
    if isinstance(fault, psycopg.OperationalError):
        return _of_the_connection(str(fault), address)
    return DatabaseRefusedError(
        f"The driver gave up on {address.name}: {type(fault).__name__}. What it says of that isn't shown, since it may "
        "hold what is in rows."
    )


def _of_the_server(fault: psycopg.Error, state: str, address: Address) -> VezaOpsError:  # noqa: PLR0911 - the same
    name, primary = address.name, fault.diag.message_primary or ""
    if not primary or not state.startswith(_OF_NO_VALUE):
        primary = _condition(state)
    said = _told(primary, address, LONGEST_MESSAGE)
    if state == _CANCELLED:
        return StatementCancelledError(
            f"A statement was cancelled in {name}: {said}. If it needs longer, raise "
            "database.statement_timeout_seconds; an index may spare it the time (see the documentation)."
        )
    if state.startswith(_IN_THE_WAY):
        return DatabaseUnavailableError(f"Another session is in the way in {name}: {said}. The next run tries again.")
    if state.startswith(_SHORT_OF):
        return DatabaseUnavailableError(f"The server has no room for now for {name}: {said}. The next run tries again.")
    # A pooler may log in with the first statement only, and tells by a code of its own what the server said.
    by_pooler = state.startswith("08") and _has(_LASTING_REFUSALS, _QUOTED.sub("", primary))
    if state.startswith(_NO_LOGIN) or by_pooler:
        return _no_login(said, address)
    if state.startswith(_CUT):
        return _no_connection(said, address)
    if reason := _of_a_row(fault):
        return DatabaseRefusedError(f"A statement was refused by {name}: {address.hide(reason)}. It changed nothing.")
    return DatabaseRefusedError(_refused(fault, state, name, said))


def _refused(fault: psycopg.Error, state: str, name: str, said: str) -> str:
    """A refusal that lasts, with its remedy if there is one."""
    if state == _DISK_FULL:
        return f"The disk of the database's server is full; {name} says: {said}. It changed nothing. Make room there."
    if state == _READ_ONLY:
        return f"Nothing can be written in {name}: {said}. Let VEZA_DATABASE_URL name a server that takes writes."
    if state == _NO_RIGHT and "row-level security" not in said:  # row_security = off
        return (
            f"The role lacks a right in {name}: {said}. It needs GRANT SELECT, UPDATE (status, status_message, "
            "updated_at) on the tracks table."
        )
    no_identity = fault.diag.source_function == "CheckCmdReplicaIdentity" or "replica identity" in said.lower()
    remedy = " Give the table a primary key or a REPLICA IDENTITY." if no_identity else ""
    return f"A statement was refused by {name}: {said}. It changed nothing.{remedy}"


def _of_the_connection(raw: str, address: Address) -> VezaOpsError:
    """What failed without an SQLSTATE, as every login does: who spoke is told by the form of the words."""
    said, words = _told(raw, address), _QUOTED.sub("", raw)
    by_server = _SERVER_SAID.search(raw)
    if not by_server and _WRONG_SETTING.search(words):
        return ConfigurationError(
            f"VEZA_DATABASE_URL (or database.url) leads to no connection with {address.name}: {said}."
        )
    if _has(_LASTING_REFUSALS, words):
        return _no_login(said, address)
    if not by_server or _has(_PASSING_REFUSALS, words) or _turns_all_away(address):
        return _no_connection(said, address)
    return _no_login(said, address)


def _turns_all_away(address: Address) -> bool:
    """Whether the server lets nobody in for now, by its SQLSTATE and not by its words, which may be in any language."""
    nobody = {key: value for key, value in address.parameters.items() if key not in ("password", "connect_timeout")}
    conninfo = make_conninfo("", connect_timeout=_PING_SECONDS, **nobody).encode()
    try:
        answer = within(_PING_SECONDS * len(address.hosts) + _GRACE_SECONDS, lambda: pq.PGconn.ping(conninfo))
    except TimeoutError:
        return True
    return answer in (pq.Ping.REJECT, pq.Ping.NO_RESPONSE)


def _no_login(said: str, address: Address) -> VezaOpsError:
    return DatabaseRefusedError(f"No login to {address.name}: {said}. Check VEZA_DATABASE_URL.")


def _no_connection(said: str, address: Address) -> VezaOpsError:
    return DatabaseUnavailableError(
        f"No connection to {address.name}, or it was cut: {said}. Check that the server runs and that "
        "VEZA_DATABASE_URL names it."
    )


def _told(said: str, address: Address, longest: int | None = None) -> str:
    """What the server or libpq says, on one line and without secrets."""
    return shown(" ".join(address.hide(said).split()), longest).rstrip(".")


def _has(wanted: tuple[str, ...], words: str) -> bool:
    return any(each in words for each in wanted)
