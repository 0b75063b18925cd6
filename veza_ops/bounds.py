"""Nothing waits without a bound: what may hang is done by a thread that can be given up.

A thread that hangs in the system can't be woken, only left behind: all of them are daemons, without which the process
can end. What waits for PostgreSQL has a deadline of its own (`tracks.connection`), since a socket can be let go of.
"""

import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from operator import length_hint
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_TICK_SECONDS = 0.02
_MEASURED_SECONDS = 0.0025
"""A beat within so many seconds of the last one says nothing new."""
_AT_ONCE, _AT_ONCE_SECONDS = 1000, 0.2
"""So many items are handed over at a time, or those of so many seconds."""


class Beat:
    """How a task says that storage still answers it."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()
        self.worked_seconds = 0.0
        self.is_given_up = False
        """Whether nobody waits for the task any more: what it does now comes to nothing."""

    def __call__(self) -> None:
        """Say so. It may be said of each row, so that not every one is measured."""
        now = time.monotonic()
        if now - self.last > _MEASURED_SECONDS:
            self.last, self.worked_seconds = now, time.thread_time()

    @property
    def seconds(self) -> float:
        """How long the task has taken so far."""
        return time.monotonic() - self.began


@dataclass(frozen=True)
class Lookers:
    """Threads that look at storage: one as long as it answers at once, up to `threads` when it is slow."""

    threads: int = 32
    timeout_seconds: float = 30.0
    """A task that storage doesn't answer for this long is given up."""

    def run(
        self,
        do: Callable[[Task, Beat], Result],
        tasks: Sequence[Task],
        given_up: Callable[[Task], object] = lambda _: None,
    ) -> list[tuple[Task, Result | None]]:
        """Do all `tasks`; each with its result, or None for one that was given up, of which `given_up` is told at once.

        A thread that hangs takes its own task with it and no other. Once ten times `threads` of them have, what is
        still undone is given up as well. A mistake in a task is raised.
        """
        results: list[Result | None] = [None] * len(tasks)
        numbers = iter(range(len(tasks)))  # taken by whichever thread comes first

        def work(looker: _Looker) -> None:
            # One that answers after all, when nobody waits for it any more, takes nothing else.
            while not looker.beat.is_given_up and (number := next(numbers, None)) is not None:
                looker.beat.began = time.monotonic()
                looker.beat()
                looker.number = number
                results[number] = do(tasks[number], looker.beat)

        lookers = _started(work, 1, at_least=1) if tasks else []
        lost = 0
        try:
            while lookers:
                worked, began = lookers[0].beat.worked_seconds, time.monotonic()
                lookers[0].join(_TICK_SECONDS)
                waited = time.monotonic() - began - (lookers[0].beat.worked_seconds - worked)
                hung = {looker for looker in lookers if looker.is_hung(self.timeout_seconds)}
                over = {looker for looker in lookers if not looker.is_alive()}
                for looker in over:
                    looker.raise_error()
                lost += len(hung)
                for looker in hung:
                    looker.beat.is_given_up = True
                    given_up(tasks[looker.number])
                lookers = [looker for looker in lookers if looker not in hung | over]
                most = min(self.threads if lost < 10 * self.threads else 0, len(lookers) + length_hint(numbers))
                if waited > _TICK_SECONDS / 2 or not lookers:
                    lookers += _started(work, most - len(lookers), at_least=0 if lookers else min(most, 1))
        finally:
            for looker in lookers:  # somebody ends the run
                looker.beat.is_given_up = True
        return list(zip(tasks, results, strict=True))


class _Looker(threading.Thread):
    """A daemon: a look that hangs must not keep the process alive."""

    def __init__(self, work: Callable[["_Looker"], None]) -> None:
        super().__init__(name="veza-ops-look", daemon=True)
        self._work = work
        self.beat = Beat()
        self.error: Exception | None = None
        self.number = 0
        """Of the task that it is at."""
        self.start()

    def run(self) -> None:
        try:
            self._work(self)
        except Exception as error:  # noqa: BLE001 - handed to the caller, whose run it must end
            self.error = error
        finally:
            del self._work  # it may hold who holds this thread, and all that it has made

    def raise_error(self) -> None:
        """Raise what the work has raised, if anything.

        Nothing here keeps it: it holds all that led to it, down to the rows of a batch, and would be held by that.
        """
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error

    def is_hung(self, seconds: float) -> bool:
        return self.is_alive() and time.monotonic() - self.beat.last > seconds


class _Verdict(Enum):
    WANTED = 1
    GIVEN_UP = 2


class Ahead(Generic[Result]):
    """What `do` returns: once it is started, a thread works on it while its caller does something else.

    Nothing but queues lies between the two: whatever moment an end of the run comes at, they leave no lock behind.
    """

    def __init__(self, do: Callable[[], Result], take_back: Callable[[Result], object]) -> None:
        """`take_back` is given what was made though nobody wants it any more."""
        self._do, self._take_back = do, take_back
        self._made: SimpleQueue[list[Result]] = SimpleQueue()
        self._settled: SimpleQueue[_Verdict] = SimpleQueue()
        self._thread: _Looker | None = None

    def start(self) -> None:
        """Let it be made. Where the system allows no thread, that waits until it is asked for."""
        with suppress(RuntimeError):
            self._thread = _Looker(lambda _: self._work())

    def _work(self) -> None:
        made: list[Result] = []
        try:
            made.append(self._do())
        finally:
            self._made.put(made)
        if self._settled.get() is _Verdict.GIVEN_UP:
            self._take_back(made[0])

    def result(self) -> Result:
        """What `do` has returned, once it is there. Raises what it has raised."""
        if self._thread is None:
            return self._do()
        made: list[Result] | None = None
        while made is None and self._thread.is_alive():
            with suppress(Empty):
                made = self._made.get(timeout=_TICK_SECONDS)
        self._settled.put(_Verdict.WANTED)
        if not made:
            self._thread.join()
            self._thread.raise_error()
            made = self._made.get_nowait()
        return made[0]

    def give_up(self) -> None:
        """Nobody wants it any more, and nobody waits for it."""
        self._settled.put(_Verdict.GIVEN_UP)


def _started(work: Callable[[_Looker], None], number: int, *, at_least: int) -> list[_Looker]:
    """So many threads, or as many as the system allows. Raises OSError for fewer than `at_least`."""
    lookers: list[_Looker] = []
    with suppress(RuntimeError):
        while len(lookers) < number:
            lookers.append(_Looker(work))
    if len(lookers) < at_least:
        raise OSError(errno.EAGAIN, "no thread can be started")
    return lookers


def with_beats(seconds: float, do: Callable[[Beat], Result]) -> Result:
    """What `do` returns, which says by its beat that it is still answered.

    Raises TimeoutError when there is neither a result nor a beat for so many `seconds`, and what `do` raises.
    """
    ((_, done),) = Lookers(1, seconds).run(lambda _, beat: (do(beat),), [None])
    if done is None:
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {seconds:g} s")
    return done[0]


def within(seconds: float, do: Callable[[], Result]) -> Result:
    """What `do` returns. Raises TimeoutError when that isn't there within `seconds`, and what `do` raises."""
    return with_beats(seconds, lambda _: do())


def each_within(seconds: float, items: Iterable[Result]) -> Iterator[Result]:
    """`items`, none of which may take longer than `seconds`. Raises TimeoutError, and what they raise."""
    iterator = iter(items)
    while some := with_beats(seconds, lambda beat: _some(iterator, beat)):
        yield from some


def _some(items: Iterator[Result], beat: Beat) -> list[Result]:
    """The next few, without waiting for more once there are some."""
    until = time.monotonic() + _AT_ONCE_SECONDS
    some: list[Result] = []
    for item in islice(items, _AT_ONCE):
        beat()
        some.append(item)
        if time.monotonic() > until:
            break
    return some
