"""What looks at the files of some tracks come to: the tracks by verdict, each with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from veza_ops.storage.files import Files
from veza_ops.storage.look import Verdict
from veza_ops.tracks.row import Track

LISTED = 100
"""Rows of a kind that a page shows; the whole list is in the evidence."""


class Judged(NamedTuple):
    """A row, and the reason for what was found of it or done with it."""

    track: Track
    reason: str


@dataclass(frozen=True)
class Looks:
    """The tracks that were looked for, by verdict."""

    present: Sequence[Track]
    missing: tuple[Judged, ...]
    unverifiable: tuple[Judged, ...]

    @classmethod
    def at(cls, files: Files, tracks: Sequence[Track]) -> Self:
        """Look for the file of each of `tracks`."""
        present: list[Track] = []
        others: dict[Verdict, list[Judged]] = {Verdict.MISSING: [], Verdict.UNVERIFIABLE: []}
        for track, look in zip(tracks, files.look(track.file_path for track in tracks), strict=True):
            if look.verdict is Verdict.PRESENT:
                present.append(track)
            else:
                others[look.verdict].append(Judged(track, look.reason))
        return cls(present, *map(tuple, others.values()))
