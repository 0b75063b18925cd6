"""Which files rows may mean, in whatever way these are written: one that a row may mean is not nobody's.

A look takes many spellings for the same (`storage.likeness`), and whoever removes what is told of must not remove what
a look has found. A row whose place is known here means what is there, and what a link there leads to. One whose place
nobody knows here, such as an address, or a path of an older machine, may mean any file of its name. Ways are kept as
hashes, so that a million files take little room.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from veza_ops.audit.ways import Way, Ways, readings
from veza_ops.storage.files import Files
from veza_ops.storage.likeness import fold_plain, is_plain, is_utf8
from veza_ops.storage.look import S3
from veza_ops.tracks.row import Track

_MOST_LINKS = 40
"""So many links, one behind the other, are followed, as the system does."""
_COMMON = 10
"""A name that more rows than this have says nothing by itself: the folder has to be the same, too."""


class Claims:
    """Files that no row was found to name, until a row turns out that may mean them."""

    def __init__(self, files: Files, *, knows_links: bool = True) -> None:
        """`knows_links`: whether all links below the tops will be met; else each row's own path is asked for one."""
        self._files = files
        self._to = Ways(files)
        self._knows_links = knows_links
        self._ways: set[int] = set()
        self._whole: set[int] = set()
        """Those of the files themselves, and not of the folders that they are in."""
        self._last: set[str] = set()
        """The last names of these."""
        self._taken: set[int] = set()
        self._taken_tails: set[Way] = set()
        """How rows end whose place nobody knows: the last two names, or the only one."""
        self._taken_names: set[str] = set()
        self._rows: Counter[str] = Counter()
        """How many rows have some last name."""
        self._has_odd = self._has_unreadable = False
        """Whether a row's path isn't ASCII, or can't be read as text."""

    @property
    def is_sure(self) -> bool:
        """Whether storage has answered all that was asked: else any file may be meant."""
        return not self._to.unanswered

    @property
    def asked(self) -> int:
        """How often storage was asked so far."""
        return self._to.asked

    def add(self, paths: Iterable[str]) -> None:
        """Take up files, by their paths as this machine sees them."""
        for path in paths:
            if path.startswith(S3):
                self._to.see_bucket(path)
            for way in self._to.of_file(path):
                self._note(way)
                self._whole.add(hash(way))

    def _note(self, way: Way) -> None:
        """Let rows be compared with a file, or the link of a folder, and with the folders that it is in."""
        for end in range(self._to.least_depth(way) + 1, len(way) + 1):
            self._ways.add(hash(way[:end]))
            self._last.add(way[end - 1])

    def meet_links(self, paths: Iterable[str]) -> None:
        """Take note of where some links lead: whoever names a link means what it leads to.

        A file is taken for it; what is in a folder, once a row names that by the link. To be told before the rows.
        """
        for link, (target, is_folder) in self._to.targets(paths).items():
            place = self._here(target)
            whole = self._whole.intersection(map(hash, self._to.of_file(place)))
            self._taken |= whole
            if whole:
                continue
            if self._to.is_known(place) or self._to.is_top(place):
                for way in self._to.add_link(link, place) if is_folder is not False else ():
                    self._note(way)
            elif is_folder:
                self._knows_links = False  # there may be others in there that lead back
            elif is_folder is None:
                self._claim_by_name(target)

    def _here(self, target: str) -> str:
        """Where a link leads, also if that is written as another machine sees it."""
        where = target if self._to.is_known(target) else self._files.layout.resolve(target)
        return where if isinstance(where, str) else target

    def meet(self, rows: Iterable[Track]) -> None:
        """Take note of which files some rows may mean."""
        met: list[str] = []
        for track in rows:
            met.extend(filter(None, [(track.file_path or "").rstrip("/")]))
            self._has_unreadable |= track.file_path is None
        self._has_odd |= not all(path.isascii() and "%" not in path for path in met)
        for path in self._of_some_name(met):
            where = self._files.layout.resolve(path)
            self._rows.update(self._last.intersection(way[-1] for way in readings(path)))
            if isinstance(where, str) and self._to.is_known(where):
                self._claim(where)
            else:
                self._claim_by_name(path)
        for led in self._to.targets(self._own(met)).values():
            self._claim(self._here(led.target))

    def _claim(self, where: str) -> None:
        """What is at a place is meant, and what links there lead to."""
        exact, cut = self._to.of_place(where)
        found = (hash(way) for way in exact)
        self._taken.update(way for way in found if way in self._ways)
        # What stands before a question mark in the middle of a way is the folder of many more.
        self._taken.update(way for way in map(hash, cut) if way in self._whole)

    def _claim_by_name(self, path: str) -> None:
        """Any file that is called so is meant."""
        for way in readings(path):
            names = (way[2:] if way[0].endswith(":") else ()) or way  # without scheme and host
            if names[-1] in self._last:
                self._taken_names.add(names[-1])
                self._taken_tails.add(names[-2:])

    def _of_some_name(self, paths: Sequence[str]) -> Iterator[str]:
        """Those of the paths of rows whose last name may be that of a file, or of a folder that one is in."""
        names = [path.rpartition("/")[2] for path in paths]
        plain = [at for at, path in enumerate(paths) if is_plain(path.split("/")) and names[at] not in (".", "..")]
        folded = dict(zip(plain, fold_plain([names[at] for at in plain]), strict=True)) if plain else {}
        return (path for at, path in enumerate(paths) if at not in folded or folded[at] in self._last)

    def _own(self, paths: Sequence[str]) -> list[str]:
        """The places of rows where something may be a link that wasn't met: where all were, those elsewhere."""
        layout = self._files.layout
        here = tuple(f"{each.rstrip('/')}/" for each in (layout.top, *layout.targets) if each)
        dotted = [layout.as_written(path) for path in paths if "/../" in path]  # the system goes through links first
        if self._knows_links:
            paths = [path for path in paths if path.startswith("/") and not path.startswith(here)]
        where = map(layout.resolve, paths)
        return [each for each in (*dotted, *where) if isinstance(each, str) and each.startswith("/")]

    def settle(self) -> None:
        """All rows were met: what links in the folders lead to that are meant is meant as well."""
        for _ in range(_MOST_LINKS):
            behind = {hash(way) for way in self._to.behind(lambda folder: hash(folder) in self._taken)}
            if behind <= self._taken:
                return
            self._taken |= behind

    def is_taken(self, path: str) -> bool:
        """Whether a row may mean this file, or a folder that it is in."""
        if (self._has_unreadable and not path.isascii()) or (self._has_odd and not is_utf8(path)):
            return True
        return any(self._is_meant(way) or self._is_called_so(way) for way in self._to.of_file(path))

    def _is_meant(self, way: Way) -> bool:
        return any(hash(way[:end]) in self._taken for end in range(1, len(way) + 1))

    def _is_called_so(self, way: Way) -> bool:
        """Whether a row whose place nobody knows may mean the file, or, by two names, a folder that it is in."""
        inside = way[self._to.depth(way) :]
        is_told_apart = len(inside) > 1 and self._rows[inside[-1]] > _COMMON
        if inside[-1] in self._taken_names and not is_told_apart:
            return True
        tails = chain([inside[-2:]], (inside[end - 2 : end] for end in range(2, len(inside))))
        return not self._taken_tails.isdisjoint(tails)
