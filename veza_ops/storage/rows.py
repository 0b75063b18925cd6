"""The paths of rows, by the folders that they are in: where each is looked for, and how its look finds back to it."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from veza_ops.storage.layout import Layout, in_one_form
from veza_ops.storage.look import LONGEST, Area, Look, Place, unverifiable
from veza_ops.storage.wanted import Wanted

_NO_NAMES = frozenset(("", ".", ".."))


class Rows:
    """The paths of rows, by the folders that they are in."""

    def __init__(self, layout: Layout, paths: Sequence[str]) -> None:
        self.paths = paths
        self.folders: dict[str, Wanted] = {}
        groups: dict[str, list[str]] = defaultdict(list)
        order: list[list[Any]] = []
        for path in paths:
            head, _, name = path.rpartition("/")
            names = groups[head]
            names.append(name)
            order.append(names)
        self._order = order
        """For each row the names of its group, in which its own is the next."""
        self.have_dots = any(".." in head for head in groups) or ".." in groups.get("", ())
        self._found: list[tuple[list[Any], Wanted | Look]] = []
        self._odd: dict[int, tuple[list[Any], list[tuple[Wanted, str] | Look]]] = {}
        """The rows of groups of which not all can be told at once, each by itself."""
        for head, names in groups.items():
            if _is_odd(layout, head, names):
                self._odd[id(names)] = names, []
            else:
                place = layout.place(f"{head}/")
                self._found.append((names, place if isinstance(place, Look) else self._want(place, names)))
        for path, names in zip(paths, self._order, strict=True) if self._odd else ():
            if (odd := self._odd.get(id(names))) is not None:
                located = layout.locate(path)
                if not isinstance(located, Look):
                    located_in, name = located
                    odd[1].append((self._want(located_in, [name]), name))
                else:
                    odd[1].append(located)

    @property
    def areas(self) -> list[Area]:
        """The areas that the files are in, each once."""
        return list(dict.fromkeys(wanted.area for wanted in self.folders.values()))

    @property
    def on_the_way(self) -> set[str]:
        """The folders that the files are in, and those further up as far as the tops."""
        found: set[str] = set()
        for wanted in self.folders.values():
            folder = wanted.folder
            while folder not in found:
                found.add(folder)
                folder = wanted.top if folder == wanted.top else os.path.dirname(folder)
        return found

    def _want(self, place: Place, names: Sequence[str]) -> Wanted:
        if place.folder not in self.folders:
            self.folders[place.folder] = Wanted(place.folder, place.top, place.area)
        self.folders[place.folder].names.update(names)
        return self.folders[place.folder]

    def looks(self) -> list[Look]:
        """What was found, in the order of the rows. To be asked once: the names are given up for it."""
        for names, where in self._found:
            if isinstance(where, Look):
                looks: Iterable[Look] = repeat(where, len(names))
            else:
                looks = map(where.looks.get, names, repeat(where.missing))
            names[:] = reversed([*looks])
        for names, each in self._odd.values():
            looks = (one if isinstance(one, Look) else one[0].looks.get(one[1], one[0].missing) for one in each)
            names[:] = reversed([*looks])
        return [names.pop() for names in self._order]


Named = tuple[str, list[str], list[int]]
"""A folder as this machine sees it, names in it, and the number that each has among all."""


def by_folder(layout: Layout | None, paths: Sequence[str]) -> list[Named]:
    """The paths of rows by the folder that their files are in; without a `layout`, they are this machine's own.

    Those that no place can be told of are in the folder "" by the name "".
    """
    heads: dict[str, tuple[list[str], list[int]]] = {}
    for number, path in enumerate(paths):
        head, _, name = path.rpartition("/")
        names, numbers = heads.get(head) or heads.setdefault(head, ([], []))
        names.append(name)
        numbers.append(number)
    if layout is None:
        return [(head, *named) for head, named in heads.items()]
    found: list[Named] = []
    for head, (names, numbers) in heads.items():
        is_odd = _is_odd(layout, head, names)
        place = unverifiable("") if is_odd else layout.place(f"{head}/")
        if not isinstance(place, Look):
            found.append((place.folder.rstrip("/"), names, numbers))
            continue
        for number in numbers:
            where = layout.resolve(paths[number]) if is_odd else place
            folder, _, name = where.rpartition("/") if isinstance(where, str) else ("", "", "")
            found.append((folder, [name], [number]))
    return found


def _is_odd(layout: Layout, head: str, names: Sequence[str]) -> bool:
    """Whether where the files of some `names` in a folder are can't be told for all of them at once."""
    if not _NO_NAMES.isdisjoint(names) or len(head) + max(map(len, names)) >= LONGEST:
        return True
    return not head or in_one_form(head).rstrip("/") in layout.heads
