"""A connection to the library's database."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from veza_ops_tests.library import Library


@pytest.fixture
def connection(library: Library) -> Iterator[sa.Connection]:
    """A connection as the rules get it, in a transaction of its own."""
    with library.engine.begin() as connection:
        yield connection
