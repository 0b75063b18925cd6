"""Files that are smaller than the table says they should be: empty, or truncated.

Only where that can be known: the column may hold the size of something else, as that of what was uploaded before it
was made into another format. Then the sizes of most files differ, and nothing is said of any.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

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


def damaged_of(
    tracks: Iterable[Track], expected: Mapping[str, int], size_of: Callable[[Track], int | None]
) -> list[Damaged]:
    """Those of `tracks` whose file is smaller than `expected` of their id."""
    known = [
        Damaged(track, expected[track.id], size)
        for track in tracks
        if track.id in expected and (size := size_of(track)) is not None
    ]
    if len(known) >= _FEW and sum(each.size != each.expected for each in known) > len(known) / 2:
        return []
    return [each for each in known if each.size < each.expected]


def looked_up_again(
    rows: Iterable[Mapping[str, Any]],
    read: Callable[[Sequence[str]], tuple[list[Track], dict[str, int]]],
    sizes: Callable[[Sequence[Track]], Mapping[str, int]],
) -> Iterator[list[Damaged]]:
    """Those of the tracks that lists tell of whose file is too small even now, some at a time.

    `read` gives the tracks with some ids as they are now, and what their sizes should be; `sizes` those of their files.
    """
    ids = (row["id"] for row in rows if isinstance(row.get("id"), str))
    while some := list(islice(ids, _AT_ONCE)):
        tracks, expected = read(some)
        found = sizes(tracks)
        yield [
            Damaged(track, expected[track.id], size)
            for track in tracks
            if track.id in expected and (size := found.get(track.id)) is not None and size < expected[track.id]
        ]


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
