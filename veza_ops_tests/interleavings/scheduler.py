"""Two actors, step by step, in each order that there is: as PostgreSQL's isolation tester does it.

An actor has a thread of its own and stops before each of its steps; one is let go at a time. A step that has to wait
for a lock is left waiting, and the order goes on with what is free to go on.
"""

import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

Order = tuple[str, ...]
"""The steps of both actors, as one after the other is let go."""

CHOICE = os.environ.get("VEZA_OPS_INTERLEAVINGS", "")
"""``all``, or the name of a single one as a test's id has it (``spec:step>step``); otherwise a sample is run."""

SAMPLED = 1
"""So many interleavings of each spec are in the sample, beside those in which one actor takes all of its steps right
before the other one writes, or commits."""

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05


def orders(one: Sequence[str], other: Sequence[str]) -> Iterator[Order]:
    """All orders of both actors' steps that keep each actor's own."""
    length = len(one) + len(other)
    for places in itertools.combinations(range(length), len(one)):
        ones, others = iter(one), iter(other)
        yield tuple(next(ones) if place in places else next(others) for place in range(length))


def interleavings(name: str, spec: object, one: Sequence[str], other: Sequence[str]) -> list[Any]:
    """What a test of `spec` is parametrised with: the spec and an order, each named ``name:step>step``."""
    every = {f"{name}:{'>'.join(order)}": order for order in orders(one, other)}
    if CHOICE and CHOICE != "all":
        chosen = [each for each in every if each == CHOICE]
    elif CHOICE:
        chosen = list(every)
    else:
        at_once = [each for each, order in every.items() if _is_right_before_a_write(one, order)]
        others = sorted(every.keys() - at_once)
        chosen = at_once + random.Random(name).sample(others, min(SAMPLED, len(others)))
    return [pytest.param(spec, every[each], id=each) for each in chosen]


def _is_right_before_a_write(steps: Sequence[str], order: Order) -> bool:
    begin, end = order.index(steps[0]), order.index(steps[-1]) + 1
    return end - begin == len(steps) and order[end:][:1] in (("update",), ("commit",))


class AbandonedError(Exception):
    """The others have failed; nobody will let this actor go on."""


class Actor:
    """Somebody who acts in a thread of its own, and calls `reach` before each step."""

    def __init__(self, steps: Sequence[str], act: Callable[["Actor"], object]) -> None:
        self.steps = tuple(steps)
        """The steps that it stops before. It passes by all others that it reaches."""
        self.waited: list[str] = []
        """The steps that had to wait for a lock."""
        self.error: BaseException | None = None
        self.ended = False
        self.at: str | None = None
        """The step that it stands before."""
        self.last = ""
        """The step that it was let go to."""
        self._abandoned = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=[act], daemon=True)

    def reach(self, step: str) -> None:
        """Come to a step and wait to be let go. Called by the actor itself."""
        if step not in self.steps:
            return
        with self._changed:
            self.at = step
            self._changed.notify_all()
            is_let_go = self._changed.wait_for(lambda: self.at is None, _PATIENCE_SECONDS)
            if self._abandoned or not is_let_go:
                raise AbandonedError(step)

    @property
    def is_under_way(self) -> bool:
        """Whether it is in a step: acting, or waiting for a lock."""
        return not self.ended and self.at is None

    def start(self) -> None:
        """Let it go until it stands before its first step."""
        self._thread.start()

    def go(self) -> None:
        """Let it do the step that it stands before."""
        with self._changed:
            assert self.at is not None
            self.last, self.at = self.at, None
            self._changed.notify_all()

    def stands(self, seconds: float) -> bool:
        """Wait until it stands before a step or has ended, so long at most; whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.is_under_way, seconds)

    def abandon(self) -> None:
        """Let it end, wherever it stands."""
        with self._changed:
            self._abandoned, self.at = True, None
            self._changed.notify_all()
        self._thread.join(_PATIENCE_SECONDS)

    def _run(self, act: Callable[["Actor"], object]) -> None:
        try:
            act(self)
        except BaseException as error:  # noqa: BLE001 - it is raised where the order is played
            self.error = error
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()


def play(order: Order, actors: Sequence[Actor], blocked: Callable[[], int]) -> None:
    """Let `actors` do their steps in `order`; `blocked` tells how many sessions wait for a lock of another one.

    A step that its actor doesn't come to is left out. Raises what an actor raised, and AssertionError when nobody can
    go on.
    """
    of = {step: actor for actor in actors for step in actor.steps}
    waiting = list(order)
    try:
        for actor in actors:
            actor.start()
        _settle(actors, blocked)
        while waiting:
            step = next((step for step in waiting if not of[step].is_under_way), None)
            assert step, f"nobody can go on to {waiting}"
            actor = of[step]
            if actor.error:
                raise actor.error
            waiting.remove(step)
            if actor.at == step:  # otherwise it found nothing to do there
                actor.go()
                _settle(actors, blocked)
        assert all(actor.ended for actor in actors), (
            f"{[actor.last for actor in actors if not actor.ended]} never ended"
        )
    finally:
        for actor in actors:
            actor.abandon()
    for actor in actors:
        if actor.error:
            raise actor.error


def _settle(actors: Sequence[Actor], blocked: Callable[[], int]) -> None:
    """Wait until each actor stands before a step, has ended, or waits for a lock."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while under_way := [actor for actor in actors if actor.is_under_way]:
        # As many as were under way before it was asked: nobody gets there by himself meanwhile.
        if not under_way[-1].stands(_POLL_SECONDS) and blocked() >= len(under_way):
            break
        assert time.monotonic() < until, f"{[actor.last for actor in under_way]} took too long"
    for actor in actors:
        if actor.is_under_way and actor.last not in actor.waited:
            actor.waited.append(actor.last)
