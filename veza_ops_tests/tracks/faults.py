"""What the database and the driver say, and what becomes of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa

from veza_ops.errors import VezaOpsError
from veza_ops.resources import Database
from veza_ops.tracks.address import parse_url
from veza_ops.tracks.database import plain_errors
from veza_ops_tests.library import Library

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
