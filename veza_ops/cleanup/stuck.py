"""Stale tracks whose file is there: how large it is and how old at both looks, and what follows from that.

Nothing is ever written to them: their file may be growing still, or whatever comes after the upload has let them down.
In a backlog there are as many as there are orphans, so that they are handled as plain rows, all at once.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import nsmallest
from operator import itemgetter
from typing import NamedTuple, Self

from veza_ops.looks import LISTED
from veza_ops.storage.backend import Measure
from veza_ops.storage.files import Files
from veza_ops.tracks.row import Track

Held = tuple[str, str | None, str, int | None, float | None]
"""A track whose file is there: id, ``file_path`` and ``created_at``, and size and age at the first look.

As JSON has it, in which it is handed on. Without size and age where nobody could tell.
"""


class State(StrEnum):
    """What a file that is there seems to be."""

    GROWING = "growing"
    WAITING = "finished, waiting"
    EMPTY = "empty"


class Stuck(NamedTuple):
    """A track whose file is there, and what is known of it last."""

    id: str
    file_path: str | None
    created_at: str
    state: State
    measure: Measure | None


@dataclass(frozen=True)
class Standing:
    """What is to be told of some such tracks."""

    growing: int = 0
    waiting: int = 0
    empty: int = 0
    stuck: int = 0
    """Those that don't grow, though they have been in processing for longer than is ordinary."""
    oldest: tuple[Stuck, ...] = ()
    """`LISTED` at most."""
    unmeasured: int = 0
    """Those that are as old as stuck ones, and may be growing or not: nobody could measure them both times."""

    def __add__(self, other: Self) -> "Standing":
        return Standing(
            self.growing + other.growing,
            self.waiting + other.waiting,
            self.empty + other.empty,
            self.stuck + other.stuck,
            tuple(nsmallest(LISTED, (*self.oldest, *other.oldest), key=itemgetter(2))),
            self.unmeasured + other.unmeasured,
        )

    @property
    def present(self) -> int:
        """How many there are."""
        return self.growing + self.waiting + self.empty


def first_look(files: Files, tracks: Sequence[Track]) -> list[Held]:
    """`tracks`, whose files are there, with what these are like."""
    if not tracks:
        return []
    ids, paths, created, *_ = zip(*tracks, strict=True)
    nothing = (None, None)
    sizes, times = zip(*[measure or nothing for measure in _measured(files, paths)], strict=True)
    return list(zip(ids, paths, created, sizes, times, strict=True))


def second_look(files: Files, held: Sequence[Held], stuck_before: str, recent_seconds: float) -> Standing:
    """The same, looked at again. What was created before `stuck_before` has been there for too long.

    A file that nobody has written to for `recent_seconds` has come to its end, as an unfinished upload beside it has.
    """
    since = time.time() - recent_seconds
    recent = [number for number, row in enumerate(held) if row[4] is None or row[4] > since]
    now = list(map(_first, held))
    for number, measure in zip(recent, _measured(files, [held[each][1] for each in recent]), strict=True):
        now[number] = measure
    return standing(held, now, stuck_before)


def may_grow(held: Iterable[Held], stuck_before: str, recent_seconds: float) -> bool:
    """Whether one that a single look calls stuck may be growing: somebody has written to it in `recent_seconds`."""
    since = time.time() - recent_seconds
    return any(row[2] < stuck_before and row[4] is not None and row[4] > since for row in held)


def came(files: Files, tracks: Sequence[Track]) -> Standing:
    """Tracks whose files weren't there at the first look."""
    measures = _measured(files, [track.file_path for track in tracks])
    rows = (
        Stuck(track.id, track.file_path, track.created_at, State.GROWING, measure)
        for track, measure in zip(tracks, measures, strict=True)
    )
    return Standing(growing=len(tracks), oldest=tuple(nsmallest(LISTED, rows, key=itemgetter(2))))


def standing(held: Sequence[Held], now: Iterable[Measure | None], stuck_before: str) -> Standing:
    """What there is to tell of `held`, of whose files `now` is known this.

    What wasn't measured both times is not called stuck: it may be growing.
    """
    if not held:
        return Standing()
    measures = list(now)
    states = [_state(row[3], row[4], measure) for row, measure in zip(held, measures, strict=True)]
    are_measured = [
        measure is not None and row[3] is not None
        for row, state, measure in zip(held, states, measures, strict=True)
        if row[2] < stuck_before and state is not State.GROWING
    ]
    stuck = sum(are_measured)
    rows = zip(held, states, measures, strict=True)
    oldest = (
        Stuck(*row[:3], state, measure or _first(row))
        for row, state, measure in nsmallest(LISTED, rows, key=lambda each: each[0][2])
    )
    number = Counter(states)
    counts = number[State.GROWING], number[State.WAITING], number[State.EMPTY]
    return Standing(*counts, stuck, tuple(oldest), len(are_measured) - stuck)


def at_first(held: Sequence[Held], stuck_before: str) -> Standing:
    """What there is to tell where nobody looks again."""
    return standing(held, map(_first, held), stuck_before)


def _first(row: Held) -> Measure | None:
    size, modified = row[3:]
    return None if size is None or modified is None else Measure(size, modified)


def _state(size: int | None, modified: float | None, now: Measure | None) -> State:
    """What follows from the two looks. A file that nobody could measure is there all the same."""
    if now is None:
        return State.EMPTY if size == 0 else State.WAITING
    if size is not None and now != (size, modified):
        return State.GROWING
    return State.WAITING if now.size else State.EMPTY


def _measured(files: Files, file_paths: Sequence[str | None]) -> list[Measure | None]:
    """What files are like: they all together may take as long as one look may."""
    return files.measure_rows(file_paths, files.look_timeout_seconds) if file_paths else []
