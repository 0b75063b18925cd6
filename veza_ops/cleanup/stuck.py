"""Stale tracks whose file is there: how large it is and how old at both looks, and what follows from that.

Nothing is ever written to them: their file may be growing still, or whatever comes after the upload has let them down.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import repeat
from typing import Any, NamedTuple

from veza_ops.storage.backend import Measure
from veza_ops.storage.files import Files
from veza_ops.tracks.row import Track, many


class State(StrEnum):
    """What a file that is there seems to be."""

    GROWING = "growing"
    WAITING = "finished, waiting"
    EMPTY = "empty"


class Held(NamedTuple):
    """A stale track whose file is there."""

    id: str
    file_path: str | None
    created_at: str
    before: Measure | None
    """The file's measure at the first look; None where nobody could tell."""
    now: Measure | None
    """The same at the last one."""
    came: bool = False
    """Whether the file came between the two."""

    @property
    def measure(self) -> Measure | None:
        """What is known of it last."""
        return self.now or self.before

    @property
    def state(self) -> State:
        """What follows from the two looks. A file that nobody could measure is there all the same."""
        if self.came or (self.before and self.now and self.before != self.now):
            return State.GROWING
        return State.EMPTY if self.measure and not self.measure.size else State.WAITING


def first_look(files: Files, tracks: Sequence[Track], *, came: bool = False) -> list[Held]:
    """`tracks`, whose files are there, with what these are like; `came`: they weren't there before."""
    if not tracks:
        return []
    ids, paths, created, *_ = zip(*tracks, strict=True)
    measures = _measured(files, paths)
    return many(Held, zip(ids, paths, created, measures, measures, repeat(came), strict=False))


def second_look(files: Files, held: Sequence[Held]) -> list[Held]:
    """The same, looked at again."""
    measures = _measured(files, [each.file_path for each in held])
    return [each._replace(now=now) for each, now in zip(held, measures, strict=True)]


def _measured(files: Files, file_paths: Sequence[str | None]) -> list[Measure | None]:
    """What files are like: they all together may take as long as one look may."""
    places = files.located(file_paths)
    found = files.measure(filter(None, places), files.look_timeout_seconds)
    return [found.get(place) if place else None for place in places]


def as_rows(held: Iterable[Held]) -> Iterator[tuple[Any, ...]]:
    """What is handed on of them after the first look, as JSON has it."""
    return ((*each[:3], *(each.before or (None, None))) for each in held)


def from_rows(rows: Iterable[Sequence[Any]]) -> list[Held]:
    """What was handed on."""
    return [
        Held(identity, path, created_at, measure, measure)
        for identity, path, created_at, size, modified in rows
        for measure in [None if size is None else Measure(size, modified)]
    ]
