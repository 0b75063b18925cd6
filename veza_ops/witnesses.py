"""Which playable tracks are asked to prove the storage: the newest of the whole, and of each area that it comes to."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Area, Look
from veza_ops.storage.proof import Known, Sample

if TYPE_CHECKING:  # loads SQLAlchemy
    from veza_ops.tracks.row import Playable
    from veza_ops.tracks.table import Tracks

_NEWEST = 50
"""So many times the sample's size are read of the newest tracks: mostly, all areas in use are among them."""
_DUPLICATES = 5
"""So many times the sample's size are read of an area: several tracks may well name one file."""
_FEWEST, _ALTOGETHER = 3, 2_000
"""Where there are thousands of areas, each has a smaller sample: so many witnesses in all, but so many of each."""


def draw(tracks: "Tracks", layout: Layout, size: int) -> Sample:
    """The newest playable tracks of the whole, up to `size`, and of the areas that they happen to be in."""
    if not size:
        return Sample()
    newest = tracks.newest_playable(size * _NEWEST)
    whole: list[Known] = []
    nowhere: list[Known] = []
    areas: dict[Area, list[Known]] = {}
    for area, known in _each_file_once(layout, newest):
        if area is None:
            nowhere.append(known)
            continue
        if area.covered and len(whole) < size:
            whole.append(known)
        own = areas.setdefault(area, [])
        if len(own) < size:
            own.append(known)
    is_all = len(newest) < size * _NEWEST
    return Sample(
        size,
        # Tracks that this machine can't even tell the place of speak against it, if there are no others.
        tuple(whole or nowhere[:size]),
        {area: tuple(own) for area, own in areas.items() if is_all or len(own) == size},
        is_all,
        tracks.may_be_hidden() if not newest else False,
    )


def draw_for(sample: Sample, tracks: "Tracks", layout: Layout, areas: Iterable[Area]) -> Sample:
    """`sample`, and the newest playable tracks of each of `areas`."""
    unknown = [area for area in areas if area not in sample.areas]
    if not unknown or not sample.size or sample.is_all:
        return sample
    size = min(sample.size, max(_FEWEST, _ALTOGETHER // len(unknown)))
    found = tracks.newest_below(
        {number: layout.prefixes_of(area.folder) for number, area in enumerate(unknown)},
        directly={number for number, area in enumerate(unknown) if area.directly},
        count=size * _DUPLICATES,
    )
    drawn = {
        area: tuple(known for where, known in _each_file_once(layout, found.get(number, ())) if where == area)[:size]
        for number, area in enumerate(unknown)
    }
    return replace(sample, areas={**sample.areas, **drawn})


def occupied(tracks: "Tracks", layout: Layout, folders: Iterable[str]) -> set[str]:
    """Those of `folders` below which some playable track has its file, as far as the database says."""
    numbered = dict(enumerate(folders))
    if not numbered:
        return set()
    if tracks.may_be_hidden():
        return set(numbered.values())
    found = tracks.newest_below({number: layout.prefixes_of(folder) for number, folder in numbered.items()}, count=1)
    return {numbered[number] for number in found}


def _each_file_once(layout: Layout, tracks: Iterable["Playable"]) -> Iterator[tuple[Area | None, Known]]:
    """Each track with the area of its file; None where there is no telling."""
    seen = set()
    for track in tracks:
        known, located = Known(*track), layout.locate(track.file_path)
        key = known.file_path if isinstance(located, Look) else (located[0].folder, located[1])
        if key not in seen:
            seen.add(key)
            yield None if isinstance(located, Look) else located[0].area, known
