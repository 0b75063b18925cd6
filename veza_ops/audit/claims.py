"""Which files rows may mean, in whatever way these are written: one that a row may mean is not nobody's.

A look takes many spellings for the same (`storage.likeness`), and whoever removes what is told of must not remove what
a look has found. Ways are kept as hashes, so that a million files take little room.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from veza_ops.bounds import Lookers
from veza_ops.storage import keys
from veza_ops.storage.files import Files
from veza_ops.storage.likeness import fold_plain, is_plain, is_utf8, parts_of, readings_of
from veza_ops.storage.look import S3
from veza_ops.tracks.row import Track

Way = tuple[str, ...]
"""The folded names from the top of all folders, or from the bucket, down to a file."""


@dataclass
class Claims:
    """Files that no row was found to name, until a row turns out that may mean them."""

    files: Files
    _real: dict[str, str] = field(default_factory=dict)
    """Where folders are, all links followed."""
    _ways: set[int] = field(default_factory=set)
    _whole: set[int] = field(default_factory=set)
    """Those of the files themselves, and not of the folders that they are in."""
    _last: set[str] = field(default_factory=set)
    """The last names of these."""
    _beside: set[int] = field(default_factory=set)
    """The folders of files whose names aren't UTF-8: any name there that isn't ASCII may mean one."""
    _taken: set[int] = field(default_factory=set)
    _taken_beside: set[int] = field(default_factory=set)

    def add(self, paths: Sequence[str]) -> None:
        """Take up files, by their paths as this machine sees them."""
        self._follow(paths)
        for path in paths:
            for way in self._of(path):
                for end in range(self._depth(path) + 1, len(way) + 1):  # a row may mean a folder, and all in it
                    self._ways.add(hash(way[:end]))
                    self._last.add(way[end - 1])
                self._whole.add(hash(way))
                if not is_utf8(path):
                    self._beside.add(hash(way[:-1]))

    def meet(self, rows: Iterable[Track]) -> None:
        """Take note of which files some rows may mean."""
        met = [path for track in rows if (path := (track.file_path or "").rstrip("/"))]
        names = [path.rpartition("/")[2] for path in met]
        plain = [number for number, name in enumerate(names) if is_plain([name])]
        folded = dict(zip(plain, fold_plain([names[number] for number in plain]), strict=True)) if plain else {}
        some = [path for number, path in enumerate(met) if number not in folded or folded[number] in self._last]
        places = [place for path in some for place in self._places(path)]
        self._follow(places)
        for place in places:
            for way in self._of(place):
                if hash(way) in self._ways:
                    self._taken.add(hash(way))
                if not place.isascii() and hash(way[:-1]) in self._beside:
                    self._taken_beside.add(hash(way[:-1]))

    def meet_links(self, paths: Iterable[str]) -> None:
        """Take note of which files some links lead to: whoever names a link means what it leads to.

        Rows that name a way through the link of a folder are met where that leads.
        """
        for _, real in self._lookers.run(lambda path, _: _real(path), list(paths)):
            self._taken.update(hash(way) for way in self._of(real or "/") if hash(way) in self._whole)

    def is_taken(self, path: str) -> bool:
        """Whether a row may mean this file, or a folder that it is in."""
        ways = self._of(path)
        if not is_utf8(path) and any(hash(way[:-1]) in self._taken_beside for way in ways):
            return True
        return any(hash(way[:end]) in self._taken for way in ways for end in range(1, len(way) + 1))

    def _depth(self, path: str) -> int:
        """How many names lead to the top that a file is below: a row that means this itself means none of its files."""
        if path.startswith(S3):
            return 1
        tops = [top for top in self.files.layout.tops if path.startswith(f"{top.rstrip('/')}/")]
        return max((len([*filter(None, self._real.get(top, top).split("/"))]) for top in tops), default=0)

    def _places(self, file_path: str) -> list[str]:
        """Where a row's file may be, as this machine sees it."""
        where = self.files.layout.resolve(file_path)
        if isinstance(where, str):
            return [where]
        return [file_path, *(f"{top}/{file_path}" for top in self.files.layout.tops)]

    def _of(self, path: str) -> list[Way]:
        if path.startswith(S3):
            bucket, key = keys.parts(path)
            return [(S3 + bucket, *way) for way in readings_of(key) or [tuple(key.split("/"))]]
        folder, _, name = path.rpartition("/")
        real = f"{self._real.get(folder, folder)}/{name}"
        return [self._unaliased(way) for way in readings_of(real)] or [tuple(real.split("/"))]

    def _unaliased(self, way: Way) -> Way:
        """A way that begins as a top is written begins where that really is."""
        for top, real in self._real_tops:
            if way[: len(top)] == top:
                return real + way[len(top) :]
        return way

    @cached_property
    def _real_tops(self) -> list[tuple[Way, Way]]:
        tops = [(top, self._real.get(top, top)) for top in self.files.layout.tops]
        return [(parts_of(top), parts_of(real)) for top, real in tops if top != real]

    def _follow(self, paths: Iterable[str]) -> None:
        """Find out where the folders of some files really are."""
        folders = {path.rpartition("/")[0] for path in paths if path.startswith("/")}
        folders = {*folders, *self.files.layout.tops} - self._real.keys()
        for folder, real in self._lookers.run(lambda each, _: _real(each), list(folders)):
            self._real[folder] = folder if real is None else real

    @property
    def _lookers(self) -> Lookers:
        return Lookers(self.files.max_threads, self.files.look_timeout_seconds)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path
