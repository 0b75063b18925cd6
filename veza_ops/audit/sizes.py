"""Files that are smaller than the table says they should be: empty, or truncated.

Only where that can be known: the column may hold the size of something else, as that of what was uploaded before it
was made into another format. Then the sizes of most files of a round differ, and only those are told of that are empty,
which no other format explains.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from veza_ops.audit.throttle import Throttle
from veza_ops.tracks.row import Track

_FEW = 100
"""Of so few files, most may well be damaged."""
_AT_ONCE = 10_000


class Damaged(NamedTuple):
    """A file that is there, and too small."""

    track: Track
    expected: int
    size: int

    @property
    def why(self) -> str:
        """What is wrong with it."""
        return f"empty, of {self.expected} bytes" if not self.size else f"{self.size} of {self.expected} bytes"


@dataclass(frozen=True)
class Compared:
    """How many sizes were compared, and how many of them differ."""

    known: int = 0
    differing: int = 0
    smaller: int = 0
    """Of these, files that are too small."""

    def __add__(self, other: "Compared") -> "Compared":
        return Compared(self.known + other.known, self.differing + other.differing, self.smaller + other.smaller)

    @property
    def says_nothing(self) -> bool:
        """Whether the table's sizes are of something else."""
        return self.known >= _FEW and self.differing > self.known / 2


def compared(
    tracks: Iterable[Track], expected: Mapping[str, int], size_of: Callable[[Track], int | None]
) -> tuple[list[Damaged], Compared]:
    """Those of `tracks` whose file is smaller than `expected` of their id, and of how many."""
    known = [
        Damaged(track, expected[track.id], size)
        for track in tracks
        if track.id in expected and (size := size_of(track)) is not None
    ]
    smaller = [each for each in known if each.size < each.expected]
    return smaller, Compared(len(known), sum(each.size != each.expected for each in known), len(smaller))


def looked_up_again(
    rows: Iterable[Mapping[str, Any]],
    read: Callable[[Sequence[str]], tuple[list[Track], dict[str, int]]],
    sizes: Callable[[Sequence[Track]], Mapping[str, int]],
    throttle: Throttle,
    *,
    only_empty: bool = False,
) -> Iterator[tuple[list[Damaged], int]]:
    """Those of the tracks that lists tell of whose file is too small even now, some at a time; and how many can't tell.

    `read` gives the tracks with some ids as they are now, and what their sizes should be; `sizes` those of their files.
    With `only_empty`, what has some content isn't looked at.
    """
    wanted = (row for row in rows if not (only_empty and row.get("size")))
    ids = (row["id"] for row in wanted if isinstance(row.get("id"), str))
    while some := list(dict.fromkeys(islice(ids, throttle.size(_AT_ONCE)))):
        tracks, expected = read(some)
        tracks = [track for track in tracks if track.id in expected]
        found = sizes(tracks)
        smaller = [
            Damaged(track, expected[track.id], found[track.id])
            for track in tracks
            if track.id in found and found[track.id] < (1 if only_empty else expected[track.id])
        ]
        yield smaller, len(tracks) - len(found)
        throttle.wait(len(tracks))


def row_of(each: Damaged) -> dict[str, Any]:
    """A damaged file as lists have it."""
    track = each.track
    return {
        "id": track.id,
        "file_path": track.file_path,
        "created_at": track.created_at,
        "size": each.size,
        "expected_size": each.expected,
        "why": each.why,
    }
