"""A connection to PostgreSQL that waits for no answer longer than its time.

The server's own time-outs are of no use when it, or the network on the way, goes silent.
"""

import time
from collections.abc import Mapping
from typing import Any, Self, TypeVar

import psycopg

from veza_ops.bounds import within

Result = TypeVar("Result")


class SilentError(psycopg.OperationalError):
    """The server took a statement, and gave no answer in time."""


class Connection(psycopg.Connection[Any]):
    """Gives up any statement, commit or rollback after `answer_seconds`, and is closed then."""

    answer_seconds = 0.0

    @classmethod
    def within(cls, connect_seconds: float, answer_seconds: float, parameters: Mapping[str, Any]) -> Self:
        """A new connection. Raises psycopg.Error, also when there is none after `connect_seconds`."""
        try:
            # In a thread of its own, since the look-up of a name has no time-out that we could set.
            connection = within(connect_seconds, lambda: cls.connect(**parameters))
        except TimeoutError as error:
            raise psycopg.errors.ConnectionTimeout(str(error.strerror)) from None
        connection.answer_seconds = answer_seconds
        return connection

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Psycopg's one place to wait at, for all that is said to the server once it is connected."""
        return super().wait(self._bounded(gen) if self.answer_seconds else gen, *args, **kwargs)

    def _bounded(self, answer: Any) -> Any:
        """`answer`, psycopg's generator that is sent something at least ten times a second while it waits."""
        until = time.monotonic() + self.answer_seconds
        sent = None
        while True:
            try:
                wanted = answer.send(sent)
            except StopIteration as end:
                return end.value
            sent = yield wanted
            if time.monotonic() > until:
                self.close()
                raise SilentError(f"{self.answer_seconds:g} s")
