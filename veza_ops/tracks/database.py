"""The connection to PostgreSQL: how it is made, what holds in every transaction, and its errors in plain words.

A password never leaves this module: not in a log, not in an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from veza_ops.errors import ConfigurationError, DatabaseRefusedError, DatabaseUnavailableError, VezaOpsError

_DRIVER = "postgresql+psycopg"
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
# Of a server that starts, stops, recovers or is full (backend_startup.c and proc.c of PostgreSQL 9.6 to 18).
_PASSING_REFUSALS = (
    "starting up",
    "not yet accepting",
    "shutting down",
    "recovery mode",
    "too many",
    "connection slots",
    "terminating",
)

# What PostgreSQL's five-letter codes begin with (appendix A of its manual).
_CONNECTION_LOST = ("08", "53", "57P")
_IDLE_IN_TRANSACTION = "25P03"
_IN_THE_WAY = ("40", "55")
_CANCELLED = "57014"
_NO_RIGHT = "42501"


def parse_url(text: str) -> sa.URL:
    """The address of a PostgreSQL database. Raises ConfigurationError, without showing what may be a password."""
    try:
        url = sa.make_url(text.strip())
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            f"VEZA_DATABASE_URL (or database.url) is not an address. Write {_FORM}, with special characters of the "
            "password percent-encoded."
        ) from None
    if url.drivername not in ("postgres", "postgresql", _DRIVER):
        raise ConfigurationError(
            f"VEZA_DATABASE_URL (or database.url) starts with {url.drivername}://, but veza-ops speaks PostgreSQL "
            f"only: {_FORM}."
        )
    if text.count("@") > 1:  # where the password ends is a guess then, and its rest would show as host or database
        raise ConfigurationError(
            "VEZA_DATABASE_URL (or database.url) holds more than one @: percent-encode the one in the password as %40."
        )
    return url.set(drivername=_DRIVER)


def create_engine(
    url: str, *, connect_timeout_seconds: int, statement_timeout_seconds: int, lock_timeout_seconds: int
) -> sa.Engine:
    """An engine whose every transaction has time-outs and reads and writes times in UTC.

    Raises ConfigurationError for a `url` that isn't one. Nothing is connected yet.
    """
    engine = sa.create_engine(
        parse_url(url),
        pool_size=1,  # the steps of a process run one after another
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
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
        "lock_timeout": f"{lock_timeout_seconds}s",
        "idle_in_transaction_session_timeout": "60s",
        "timezone": "UTC",
        "datestyle": "ISO",
    }
    # For the transaction only: through a connection pooler, the session may be somebody else's next.
    local = sa.true()
    set_up = sa.select(*(sa.func.set_config(name, value, local) for name, value in settings.items()))

    @sa.event.listens_for(engine, "begin")
    def set_up_transaction(connection: sa.Connection) -> None:
        connection.execute(set_up)

    return engine


@contextmanager
def plain_errors(url: sa.URL) -> Iterator[None]:
    """Turn the driver's errors into ours, which hold no password.

    Raises DatabaseUnavailableError when the server can't be reached, cuts the connection, or somebody is in the way;
    DatabaseRefusedError for a login, a right or a value that it doesn't accept.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _explained(error, url) from None


def _explained(error: sa.exc.DBAPIError, url: sa.URL) -> VezaOpsError:  # noqa: PLR0911 - one for each kind of fault
    said = " ".join(str(error.orig).split())
    for secret in filter(None, (url.password, *(url.query[key] for key in url.query if "password" in key))):
        said = said.replace(str(secret), "***")
    host = url.host or url.query.get("host") or "the local socket"
    name = f"database {url.database or ''} ({url.username or 'default user'}@{host}:{url.port or 5432})"
    state: str = getattr(error.orig, "sqlstate", None) or ""
    if not state and isinstance(error, sa.exc.ProgrammingError):
        return ConfigurationError(f"VEZA_DATABASE_URL (or database.url) holds what no connection takes: {said}.")
    if state == _CANCELLED:
        return DatabaseUnavailableError(
            f"A statement was cancelled in {name}: {said}. If it needs longer, raise "
            "database.statement_timeout_seconds; an index may spare it the time (see the documentation)."
        )
    if state == _NO_RIGHT:
        return DatabaseRefusedError(
            f"The role lacks a right in {name}: {said}. It needs GRANT SELECT, UPDATE (status, status_message, "
            "updated_at) on the tracks table."
        )
    if state.startswith(_IN_THE_WAY):
        return DatabaseUnavailableError(f"Another session is in the way in {name}: {said}. The next run tries again.")
    if state and state != _IDLE_IN_TRANSACTION and not state.startswith(_CONNECTION_LOST):
        return DatabaseRefusedError(f"A statement was refused by {name}: {said}. It changed nothing.")
    if "FATAL:" in said and not any(passing in said for passing in _PASSING_REFUSALS):
        return DatabaseRefusedError(f"No login to {name}: {said}. Check VEZA_DATABASE_URL.")
    return DatabaseUnavailableError(
        f"No connection to {name}, or it was cut: {said}. Check that the server runs and that VEZA_DATABASE_URL names "
        "it."
    )
