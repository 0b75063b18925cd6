"""Which playable tracks are asked to prove the storage: the newest of the whole, and of each area that it comes to."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from veza_ops.storage.layout import Layout
from veza_ops.storage.likeness import is_utf8
from veza_ops.storage.look import S3, Area, Look
from veza_ops.storage.proof import Known, Sample

if TYPE_CHECKING:  # loads SQLAlchemy
    from veza_ops.tracks.row import Playable
    from veza_ops.tracks.table import Tracks

_UNTIDY = re.compile(r"(?<!s3:)//|/\.\.?(?:/|$)|^\./")
"""A path that the database has in another form than it is looked up by."""
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
    is_all = len(newest) < size * _NEWEST
    areas, nowhere = _by_area(layout, newest)
    whole = [known for area, each in areas.items() if area.covered for known in each]
    if not whole and not is_all:  # the newest ones are all elsewhere: in an object store, it may be
        others, _ = _by_area(layout, tracks.newest_playable(size * _NEWEST, addresses=False))
        whole = [known for area, each in others.items() if area.covered for known in each]
        areas = {**others, **areas}
    place = {Known(*track): at for at, track in enumerate(newest)}
    whole.sort(key=lambda known: place.get(known, len(place)))
    sampled = {area: tuple(own[:size]) for area, own in areas.items()}
    return Sample(
        size,
        # Tracks that this machine can't even tell the place of speak against it, if there are no others.
        tuple(whole[:size] or nowhere[:size]),
        {area: own for area, own in sampled.items() if is_all or len(own) == size},
        {area: own for area, own in sampled.items() if not is_all and len(own) < size},
        _folders_of(layout, newest) if is_all else frozenset(),
        not any(_UNTIDY.search(track.file_path) for track in newest),
        is_all,
        tracks.may_be_hidden(views_too=not newest),
    )


def draw_for(sample: Sample, tracks: "Tracks", layout: Layout, areas: Iterable[Area]) -> Sample:
    """`sample`, and the newest playable tracks of each of `areas`."""
    wanted = [each for area in areas for each in (area, area.bucket) if each]
    unknown = [area for area in dict.fromkeys(wanted) if area not in sample.areas]
    if not unknown or not sample.size or sample.is_all:
        return sample
    size = min(sample.size, max(_FEWEST, _ALTOGETHER // len(unknown)))
    found = tracks.newest_below(
        {number: layout.prefixes_of(area.folder) for number, area in enumerate(unknown)},
        count=size * _DUPLICATES,
        directly={number for number, area in enumerate(unknown) if area.directly},
        without={number: others for number, area in enumerate(unknown) if (others := _others(layout, area))},
        is_tidy=sample.is_tidy,
    )
    drawn = {}
    for number, area in enumerate(unknown):
        seen, _ = _by_area(layout, [*sample.some.get(area, ()), *found.get(number, ())])
        drawn[area] = tuple(seen.get(area, ())[:size])
    return replace(sample, areas={**sample.areas, **drawn})


def _others(layout: Layout, area: Area) -> list[str]:
    """What paths begin with that aren't of `area`, though they begin as its do."""
    own = layout.prefixes_of(area.folder)
    inner = [prefix for top in layout.tops_within(area.folder) for prefix in layout.prefixes_of(top)]
    if "" in own and area.bucket:  # plain keys: all relative paths, but for those that are mapped elsewhere
        inner += ["/", *(f"{prefix}/" for prefix in layout.targets if prefix not in ("", "/"))]
    return [prefix for prefix in inner if prefix not in own]


def occupied(sample: Sample, tracks: "Tracks", layout: Layout, folders: Iterable[str]) -> set[str]:
    """Those of `folders` below which some playable track has its file, as far as the database says."""
    numbered = dict(enumerate(folders))
    if not numbered or sample.may_hide:
        return set(numbered.values())
    if sample.is_all:
        return set(sample.folders.intersection(numbered.values()))
    prefixes = {number: layout.prefixes_of(folder) for number, folder in numbered.items()}
    return {numbered[number] for number in tracks.newest_below(prefixes, count=1, is_tidy=sample.is_tidy)}


def _folders_of(layout: Layout, tracks: Iterable["Playable"]) -> frozenset[str]:
    """The folders that the files of `tracks` are in, and all above them."""
    located = [layout.locate(track.file_path) for track in tracks]
    folders = {place[0].folder for place in located if not isinstance(place, Look)}
    on_disk = [PurePosixPath(folder) for folder in folders if not folder.startswith(S3)]  # a bucket isn't mounted
    return frozenset(str(above) for folder in on_disk for above in (folder, *folder.parents))


def _by_area(layout: Layout, tracks: Iterable["Playable | Known"]) -> tuple[dict[Area, list[Known]], list[Known]]:
    """The tracks by the area of their file, each file once, and those of which there is no telling.

    One whose name is in bytes that are no text speaks for an area that has no other.
    """
    areas: dict[Area, list[Known]] = {}
    in_bytes: dict[Area, list[Known]] = {}
    nowhere: list[Known] = []
    seen = set()
    for track in tracks:
        known, located = Known(*track), layout.locate(track.file_path)
        key = known.file_path if isinstance(located, Look) else (located[0].folder, located[1])
        if key not in seen:
            seen.add(key)
            if isinstance(located, Look):
                nowhere.append(known)
                continue
            area, found = located[0].area, areas if is_utf8(known.file_path) else in_bytes
            for each in filter(None, (area, area.bucket)):
                found.setdefault(each, []).append(known)
    return {**in_bytes, **areas}, nowhere
