"""Dagster instances in memory that cost little: what all of them have alike is made once.

Anew for each of them, Dagster reads the files of all its migrations, makes some twenty tables, and has each of its
statements compiled: a third of what a test with one run costs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.in_memory import InMemoryEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.in_memory import InMemoryRunStorage
from dagster._core.storage.runs.schema import RunStorageSqlMetadata


class _Runs(InMemoryRunStorage):
    """It is emptied where it would be thrown away, and then belongs to the next instance."""

    def __init__(self, done: Callable[["_Runs"], None]) -> None:
        super().__init__()
        self._done = done

    def dispose(self) -> None:
        _empty(self._engine, RunStorageSqlMetadata)
        self._instance_weakref = None
        self._done(self)


class _Events(InMemoryEventLogStorage):
    """It is emptied where it would be thrown away, and then belongs to the next instance."""

    def __init__(self, done: Callable[["_Events"], None]) -> None:
        super().__init__()
        self._done = done

    def dispose(self) -> None:
        _empty(self._engine, SqlEventLogStorageMetadata)
        self._instance_weakref = None
        self._handlers.clear()
        self._storage_id = 0
        self._done(self)


def _empty(engine: sa.Engine, tables: sa.MetaData) -> None:
    """In a connection of its own: that which the storage holds is that of the thread which made it."""
    with engine.begin() as connection:
        for table in reversed(tables.sorted_tables):
            connection.execute(table.delete())


@contextmanager
def made_once() -> Iterator[None]:
    """Have Dagster take up for a new instance in memory what an earlier one is done with."""
    kept: dict[type[_Runs | _Events], list[Any]] = {_Runs: [], _Events: []}

    def take(kind: type[_Runs | _Events], preload: None) -> Any:
        assert preload is None
        return kept[kind].pop() if kept[kind] else kind(kept[kind].append)

    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as everywhere:
        everywhere.setattr(ScriptDirectory, "from_config", from_config)
        everywhere.setattr("dagster._core.storage.runs.InMemoryRunStorage", partial(take, _Runs))
        everywhere.setattr("dagster._core.storage.event_log.InMemoryEventLogStorage", partial(take, _Events))
        yield
