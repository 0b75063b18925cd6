"""The places at which veza-ops touches the world, in the order in which a run comes to them, and a fault at one.

A place is a call of the system's, or a wait for the database, the store or a channel. The real thing is done there,
unless the fault says otherwise: nothing is a stand-in.
"""

import builtins
import io
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from psycopg.pq import TransactionStatus
from requests.adapters import HTTPAdapter

from veza_ops.tracks.connection import Connection
from veza_ops_tests import store_faults
from veza_ops_tests.faulty_store import FaultyStore

Do = Callable[[], Any]

FOR_EVER = math.inf


class Side(StrEnum):
    """What is touched."""

    DISK = "disk"
    WRITES = "what is written to a disk"
    DATABASE = "database"
    STORE = "store"
    MESSAGES = "messages"


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and at how many places one after the other."""

    name: str
    sides: frozenset[Side]
    strike: Callable[["World", Do, Any], Any]
    """What happens instead of the call: given the world, the call itself, and what it is a call of."""
    answer: store_faults.Fault | None = None
    """How the store answers instead."""
    places: float = 1
    signal: int = 0
    """What ends the process that it strikes, which therefore is one of its own."""

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


@dataclass
class World:
    """Counts the places that a run comes to, and lets a fault strike `at` one, or from there on."""

    fault: Fault | None = None
    at: int = 1
    places: list[str] = field(default_factory=list)
    """All that can be struck, in words."""
    hung: list[str] = field(default_factory=list)
    """Where somebody waited for an answer without a bound."""
    is_over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def come_to(self, side: Side, words: str, do: Do, what: Any = None) -> Any:
        """Do it, or what the fault makes of it."""
        if self.is_struck(side, words):
            assert self.fault is not None
            return self.fault.strike(self, do, what)
        return do()

    def is_struck(self, side: Side, words: str) -> bool:
        """Whether the fault strikes at this place, which is counted."""
        with self._lock:
            if self.is_over.is_set() or (self.fault and side not in self.fault.sides):
                return False
            self.places.append(f"{side}: {words}")
            return self.fault is not None and self.at <= len(self.places) < self.at + self.fault.places

    @property
    def was_struck(self) -> bool:
        """Whether the run came to the place at all."""
        return len(self.places) >= self.at

    @contextmanager
    def watched(self, store: FaultyStore | None = None) -> Iterator[None]:
        """Watch this process, and what it asks of `store`."""
        with ExitStack() as patches:
            for name in _CALLS:
                patches.enter_context(patch.object(os, name, self._call(name, getattr(os, name))))
            patches.enter_context(patch.object(os, "scandir", self._scandir(os.scandir)))
            opened = self._open(open)
            for module in (builtins, io):  # pathlib knows it by the other name
                patches.enter_context(patch.object(module, "open", opened))
            patches.enter_context(patch.object(Connection, "connect", self._connect(Connection.connect)))
            patches.enter_context(patch.object(Connection, "wait", self._wait(Connection.wait)))
            patches.enter_context(patch.object(HTTPAdapter, "send", self._send(HTTPAdapter.send)))
            if store is not None:
                patches.enter_context(self.heard(store, (self.fault and self.fault.answer) or store_faults.Fault()))
            try:
                yield
            finally:
                self.is_over.set()

    @contextmanager
    def heard(self, store: FaultyStore, answer: store_faults.Fault) -> Iterator[None]:
        """Count what anybody asks of `store`, which gives this `answer` where the fault strikes."""
        store.fault(lambda request: self.is_struck(Side.STORE, _words_of(request)), answer)
        try:
            yield
        finally:
            store.heal()

    def _call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            caller = _caller()
            if not caller:
                return real(*args, **kwargs)
            return self.come_to(Side.DISK, f"{name} in {caller}", lambda: real(*args, **kwargs))

        return call

    def _scandir(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def scandir(*args: Any) -> Any:
            caller = _caller()
            if not caller:
                return real(*args)
            entries = self.come_to(Side.DISK, f"scandir in {caller}", lambda: real(*args))
            return _Listing(entries, self, f"end of a listing in {caller}")

        return scandir

    def _open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def open_(*args: Any, **kwargs: Any) -> Any:
            caller = _caller()
            if not caller:
                return real(*args, **kwargs)
            file = self.come_to(Side.DISK, f"open in {caller}", lambda: real(*args, **kwargs))
            return _File(file, self, caller)

        return open_

    def _connect(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*args: Any, **kwargs: Any) -> Any:
            return self.come_to(Side.DATABASE, f"connect in {_caller()}", lambda: real(*args, **kwargs))

        return connect

    def _wait(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wait(connection: Connection, answer: Any, *args: Any, **kwargs: Any) -> Any:
            step = getattr(answer, "__name__", "wait")
            is_idle = connection.info.transaction_status is TransactionStatus.IDLE
            if step.startswith("_set_") or (is_idle and step in {"_commit_gen", "_rollback_gen"}):
                return real(connection, answer, *args, **kwargs)  # nothing is said to the server
            return self.come_to(
                Side.DATABASE,
                f"{step} in {_caller()}",
                lambda: real(connection, answer, *args, **kwargs),
                (connection, real),
            )

        return wait

    def _send(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def send(adapter: HTTPAdapter, request: Any, *args: Any, **kwargs: Any) -> Any:
            words = f"{request.method} in {_caller() or 'a library'}"
            return self.come_to(Side.MESSAGES, words, lambda: real(adapter, request, *args, **kwargs), request)

        return send


class _Listing:
    """The entries of a folder, whose end is a place of its own: a disk can fail there too."""

    def __init__(self, entries: Any, world: World, words: str) -> None:
        self._entries, self._world, self._words = entries, world, words
        self._is_read = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._entries)
        except StopIteration:
            if not self._is_read:
                self._is_read = True
                self._world.come_to(Side.DISK, self._words, lambda: None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.close()

    def close(self) -> None:
        self._entries.close()


class _File:
    """An open file, in which each writing and the reading are places."""

    def __init__(self, file: Any, world: World, caller: str) -> None:
        self._file, self._world, self._caller = file, world, caller

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        if name not in {"write", "writelines", "flush", "read"}:
            return value
        side = Side.WRITES if "write" in name else Side.DISK
        words = f"{name} in {self._caller}"
        return lambda *args: self._world.come_to(side, words, lambda: value(*args), (self._file, *args))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._world.come_to(Side.DISK, f"read in {self._caller}", lambda: self._file))

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)


_CALLS = ("lstat", "stat", "open", "fsync", "rename", "mkdir", "unlink", "rmdir", "listdir")
"""Of the system's calls on files, those that veza-ops makes, by itself or through `_BETWEEN`."""

_BETWEEN = {"os", "posixpath", "genericpath", "pathlib", "shutil", "contextlib", "codecs"}
"""Through these, what is asked is asked by the one who calls them."""


def _caller() -> str:
    """The place in veza-ops that a call comes from, or nothing if it comes from somebody else."""
    frame = sys._getframe(2)  # noqa: SLF001 - what the standard library's own `warnings` and `logging` go by
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("veza_ops."):
            return f"{module.removeprefix('veza_ops.')}.{frame.f_code.co_name}"
        is_between = module in _BETWEEN or module.startswith(("pathlib.", "upath", "fsspec", "sqlalchemy", "psycopg"))
        if not is_between and not module.startswith(__name__):
            return ""
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def _words_of(request: store_faults.Request) -> str:
    return f"{request.method} {request.key or ('uploads' if request.lists_uploads else 'list')}"
