"""Tracks whose file wasn't seen, and may be elsewhere: one of the same name and size that no track names."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from veza_ops.storage.walk import Stored
from veza_ops.text import quoted
from veza_ops.tracks.row import Judged

MOST_PAIRS = 10_000
"""So many pairs are told of."""
MOST_EACH = 10
"""So many files are told of with each track that they may be the file of."""
MOST = 1_000_000
"""So many tracks are held in memory to be compared."""


class Moved(NamedTuple):
    """A track whose file wasn't seen, and a file that may be its."""

    id: str
    file_path: str
    found_at: str
    size: int

    @property
    def row(self) -> dict[str, Any]:
        """It as lists have it."""
        return self._asdict()


def moved_of(
    missing: Iterable[tuple[str, str]], sizes: Mapping[str, int], unnamed: Iterable[Stored]
) -> Iterator[Moved]:
    """The pairs of such a track (its id and ``file_path``) and an unnamed file that have the same name and size.

    Each track with the first few of such files, or a name that many have would make as many pairs as all by all.
    """
    wanted: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for identity, file_path in missing:
        if size := sizes.get(identity):
            wanted.setdefault((_name(file_path), size), []).append((identity, file_path))
    seen: Counter[tuple[str, int]] = Counter()
    for file in unnamed if wanted else ():
        same = _name(file.path), file.size
        if same not in wanted:
            continue
        seen[same] += 1
        for identity, file_path in wanted[same] if seen[same] <= MOST_EACH else ():
            yield Moved(identity, file_path, file.path, file.size)


def told(pairs: Iterable[Moved], tracks: Iterable[Judged]) -> list[Judged]:
    """`tracks`, each with the file that may be its."""
    found = {each.id: each.found_at for each in pairs}

    def why(judged: Judged) -> str:
        at = found.get(judged.track.id)
        return judged.reason if at is None else f"moved? {quoted(at)} has the same name and size. {judged.reason}"

    return [Judged(each.track, why(each)) for each in tracks]


def _name(path: str) -> str:
    return path.rpartition("/")[2]
