"""Libraries whose tables may have types of their own, and a connection to one."""

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from veza_ops_tests.library import Library, Schema

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
