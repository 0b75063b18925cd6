"""Which files rows may mean, in whatever way these are written: one that a row may mean is not nobody's.

A look takes many spellings for the same (`storage.likeness`), and whoever removes what is told of must not remove what
a look has found. A row whose place is known here means what is there, and what a link there leads to. One whose place
nobody knows here, such as an address, or a path of an older machine, may mean any file of its name. Ways are kept as
hashes, so that a million files take little room.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from veza_ops.audit.ways import Ways
from veza_ops.storage.files import Files
from veza_ops.storage.likeness import fold_plain, is_plain, is_utf8, readings_of
from veza_ops.tracks.row import Track


@dataclass
class Claims:
    """Files that no row was found to name, until a row turns out that may mean them."""

    files: Files
    knows_links: bool = True
    """Whether all links below the tops will be met; else each row's own path is looked at for one."""
    _real: dict[str, str] = field(default_factory=dict)
    """Where the folders of the files are, all links followed."""
    _ways: set[int] = field(default_factory=set)
    _whole: set[int] = field(default_factory=set)
    """Those of the files themselves, and not of the folders that they are in."""
    _last: set[str] = field(default_factory=set)
    """The last names of these."""
    _beside: set[int] = field(default_factory=set)
    """The folders of files whose names aren't UTF-8: any name there that isn't ASCII may mean one."""
    _leads: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Where links of folders lead: a row that names one means all that is in there."""
    _taken: set[int] = field(default_factory=set)
    _taken_beside: set[int] = field(default_factory=set)
    _taken_names: set[str] = field(default_factory=set)
    """The last names of rows whose place nobody knows."""
    _has_unreadable: bool = False
    """Whether the path of a row can't be read as text."""

    @property
    def is_sure(self) -> bool:
        """Whether storage has answered all that was asked: else any file may be meant."""
        return not self._to.unanswered

    @cached_property
    def _to(self) -> Ways:
        return Ways(self.files)

    def add(self, paths: Sequence[str]) -> None:
        """Take up files, by their paths as this machine sees them."""
        real = self._to.real(paths)
        self._real |= real
        self._to.note_twins(real.values())
        for path in paths:
            for way in self._to.of(path, real):
                for end in range(self._to.depth(path) + 1, len(way) + 1):  # a row may mean a folder, and all in it
                    self._ways.add(hash(way[:end]))
                    self._last.add(way[end - 1])
                self._whole.add(hash(way))
                if not is_utf8(path):
                    self._beside.add(hash(way[:-1]))

    def meet_links(self, paths: Sequence[str]) -> None:
        """Take note of where some links lead: whoever names a link means what it leads to.

        A file is taken for it; a folder once a row names the link. To be told before the rows. Those that name a way
        through the link of a folder are met where that leads.
        """
        real = self._to.real(paths)
        for link, target in self._to.targets(paths).items():
            for way in map(hash, self._ways_to(target)):
                if way in self._whole:
                    self._taken.add(way)
                elif way in self._ways:
                    self._note_lead(link, way, real)

    def _note_lead(self, link: str, target: int, real: Mapping[str, str]) -> None:
        for way in self._to.of(link, real):
            self._leads[hash(way)].add(target)
            self._ways.add(hash(way))
            self._last.add(way[-1])

    def meet(self, rows: Iterable[Track]) -> None:
        """Take note of which files some rows may mean."""
        met: list[str] = []
        for track in rows:
            met.extend(filter(None, [(track.file_path or "").rstrip("/")]))
            self._has_unreadable |= track.file_path is None
        places = []
        for path in self._of_some_name(met):
            if self._to.is_known(where := self._place(path)):
                places.append(where)
            else:
                self._taken_names.update(way[-1] for way in readings_of(path) if way[-1] in self._last)
        self._take(places)
        for target in self._to.targets(self._own(met)).values():
            self._taken.update(way for way in map(hash, self._ways_to(target)) if way in self._ways)

    def _of_some_name(self, paths: Sequence[str]) -> Iterator[str]:
        """Those of the paths of rows whose last name may be that of a file, or of a folder that one is in."""
        names = [path.rpartition("/")[2] for path in paths]
        plain = [at for at, path in enumerate(paths) if is_plain(path.split("/")) and names[at] not in (".", "..")]
        folded = dict(zip(plain, fold_plain([names[at] for at in plain]), strict=True)) if plain else {}
        return (path for at, path in enumerate(paths) if at not in folded or folded[at] in self._last)

    def _own(self, paths: Sequence[str]) -> list[str]:
        """Where rows have their files, as far as something there may be a link that wasn't met."""
        if not self.knows_links:
            return [where for path in paths if (where := self._place(path)).startswith("/")]
        layout = self.files.layout
        here = tuple(f"{each.rstrip('/')}/" for each in (layout.top, *layout.targets) if each)
        return [path for path in paths if path.startswith("/") and not path.startswith(here)]

    def _place(self, file_path: str) -> str:
        """Where a row's file is, as this machine sees it; empty where nobody can tell."""
        where = self.files.layout.resolve(file_path)
        return where if isinstance(where, str) else ""

    def _ways_to(self, path: str) -> list[tuple[str, ...]]:
        """The ways of a path that is real as it stands."""
        return self._to.of(path, {})

    def _take(self, places: Sequence[str]) -> None:
        real = self._to.real(places)
        for place in places:
            for way in self._to.of(place, real):
                if hash(way) in self._ways:
                    self._taken |= {hash(way), *self._leads.get(hash(way), ())}
                if not place.isascii() and hash(way[:-1]) in self._beside:
                    self._taken_beside.add(hash(way[:-1]))

    def is_taken(self, path: str) -> bool:
        """Whether a row may mean this file, or a folder that it is in."""
        if self._has_unreadable and not path.isascii():
            return True
        ways, depth = self._to.of(path, self._real), self._to.depth(path)
        if not is_utf8(path) and any(hash(way[:-1]) in self._taken_beside for way in ways):
            return True
        if any(not self._taken_names.isdisjoint(way[depth:]) for way in ways):
            return True
        return any(hash(way[:end]) in self._taken for way in ways for end in range(1, len(way) + 1))
