"""The kinds of faults: what a disk, a connection, a store, a channel, the memory or somebody with a signal does."""

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import psycopg
import requests

from veza_ops_tests import store_faults
from veza_ops_tests.faults.world import FOR_EVER, Do, Fault, Side, World

A_WHILE = 5
"""Places one after the other."""
PATIENCE = 100.0
"""Seconds that somebody may wait for a thing that never answers, before that counts as a wait without a bound.

Longer than any bound there is, also that of a setting's default: on a busy machine, the rest of a run takes as long.
"""

ANSWER_IS_LOST = "a channel whose answer is lost"
IS_SILENT = "a channel that is silent"

_TIMES = {"once": 1.0, "for a while": A_WHILE, "for ever": FOR_EVER}


def _raises(error: Callable[[], BaseException]) -> Callable[[World, Do, Any], Any]:
    def strike(_: World, __: Do, ___: Any) -> Any:
        raise error()

    return strike


def _ends(number: int) -> Callable[[World, Do, Any], Any]:
    def strike(world: World, do: Do, _: Any) -> Any:
        world.is_over.set()
        os.kill(os.getpid(), number)
        return do()

    return strike


def _silent(world: World, _: Do, __: Any) -> Any:
    if not world.is_over.wait(PATIENCE):
        world.hung.append(world.places[-1])
    raise OSError(errno.EIO, os.strerror(errno.EIO))  # nobody listens any more


def _of_disk() -> Iterator[Fault]:
    disk = frozenset({Side.DISK, Side.WRITES})

    def error(number: int) -> Callable[[], BaseException]:
        return lambda: OSError(number, os.strerror(number))

    for name in ("EIO", "ENOENT", "ESTALE", "ENOSPC", "EACCES"):
        for words, places in _TIMES.items():
            yield Fault(f"{name} {words}", disk, _raises(error(getattr(errno, name))), places=places)

    def full(_: World, __: Do, what: Any) -> Any:
        _write_half(*what)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    yield Fault("EIO after once", disk, _done_and_denied)
    yield Fault("ENOSPC in mid-line", frozenset({Side.WRITES}), full)
    yield Fault("a disk that is silent once", disk, _silent)


def _done_and_denied(_: World, do: Do, __: Any) -> Any:
    done = do()
    if hasattr(done, "close"):
        done.close()
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def _write_half(file: BinaryIO, lines: bytes | Iterable[bytes]) -> None:
    whole = lines if isinstance(lines, bytes) else b"".join(lines)
    file.write(whole[: len(whole) // 2])
    file.flush()


def _of_connection() -> Iterator[Fault]:
    database = frozenset({Side.DATABASE})
    for words, places in _TIMES.items():
        yield Fault(f"a connection cut before {words}", database, _cut_before, places=places)
    yield Fault("a connection cut after once", database, _cut_after)
    yield Fault("a connection cut after for ever", database, _cut_after, places=FOR_EVER)
    yield Fault("a server that hears and is silent", database, _heard_in_silence)
    yield Fault("a server that is silent and deaf", database, _in_silence)


def _cut(connection: psycopg.Connection[Any]) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _cut_before(_: World, do: Do, what: Any) -> Any:
    if what is None:
        raise psycopg.OperationalError("connection refused")
    connection, _wait = what
    _cut(connection)
    return do()


def _cut_after(_: World, do: Do, what: Any) -> Any:
    done = do()
    if what is None:
        _cut(done)
        return done
    connection, _wait = what
    _cut(connection)
    raise psycopg.OperationalError("server closed the connection unexpectedly")


def _in_silence(world: World, do: Do, what: Any) -> Any:
    if what is None:
        return _silent(world, do, what)
    connection, wait = what
    if not connection.answer_seconds:
        world.hung.append(world.places[-1])
    connection.answer_seconds = 0.2
    return wait(connection, _never())


def _heard_in_silence(world: World, do: Do, what: Any) -> Any:
    if what is not None:
        do()
    return _in_silence(world, do, what)


def _never() -> Iterator[Any]:
    """What psycopg waits for, when nothing ever comes."""
    while True:
        yield psycopg.waiting.Wait.R


def _of_store() -> Iterator[Fault]:
    answers: dict[str, tuple[store_faults.Fault, tuple[str, ...]]] = {
        "500": (store_faults.error(500, "InternalError"), ("once", "for a while", "for ever")),
        "503 SlowDown": (store_faults.error(503, "SlowDown"), ("once", "for ever")),
        "403": (store_faults.error(403, "AccessDenied"), ("once", "for a while", "for ever")),
        "404 NoSuchBucket": (store_faults.error(404, "NoSuchBucket"), ("once", "for ever")),
        "a page of somebody else's": (store_faults.GARBAGE, ("once", "for ever")),
        "a request cut before": (store_faults.Fault(store_faults.Answer(), said=0, is_closed=True), ("once",)),
        "a request cut after": (store_faults.CLOSED, ("once", "for ever")),
        "a request cut in mid-body": (store_faults.CLOSED_IN_MID_BODY, ("once",)),
        "a store that is silent": (store_faults.SILENCE, ("once", "for ever")),
    }
    for name, (answer, times) in answers.items():
        for words in times:
            yield Fault(f"{name} {words}", frozenset({Side.STORE}), _nothing, answer, _TIMES[words])


def _nothing(_: World, __: Do, ___: Any) -> Any:
    raise AssertionError("the store answers by itself")


def _of_channel() -> Iterator[Fault]:
    def answered_by_nobody(_: World, do: Do, __: Any) -> Any:
        do()
        raise requests.ConnectionError("the answer is lost")

    messages = frozenset({Side.MESSAGES})
    refused = _raises(lambda: requests.ConnectionError("refused"))
    yield Fault("a channel that refuses once", messages, refused)
    yield Fault("a channel that refuses for ever", messages, refused, places=FOR_EVER)
    yield Fault(ANSWER_IS_LOST, messages, answered_by_nobody)
    yield Fault(IS_SILENT, messages, _silent)


def _of_process() -> Iterator[Fault]:
    everywhere = frozenset({Side.DISK, Side.WRITES, Side.DATABASE, Side.MESSAGES})
    yield Fault("no memory", everywhere, _raises(MemoryError))
    for name in ("SIGKILL", "SIGTERM"):
        number = signal.Signals[name]
        yield Fault(name, everywhere, _ends(number), signal=number)
        yield Fault(f"{name} at a request", frozenset({Side.STORE}), _nothing, signal=number)

    def killed(world: World, do: Do, what: Any) -> Any:
        _write_half(*what)
        return _ends(signal.SIGKILL)(world, do, what)

    yield Fault("SIGKILL in mid-line", frozenset({Side.WRITES}), killed, signal=signal.SIGKILL)


FAULTS = [*_of_disk(), *_of_connection(), *_of_store(), *_of_channel(), *_of_process()]
