"""How files are reached: by which folders, whatever links and mounts lie between.

What storage is asked for it and doesn't say in time is counted: whoever goes by ways has to know that some are missing.
"""

import errno
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from veza_ops.bounds import Lookers
from veza_ops.storage import keys
from veza_ops.storage.files import Files
from veza_ops.storage.likeness import fold_plain, is_plain, parts_of, readings_of
from veza_ops.storage.look import S3

Way = tuple[str, ...]
"""The folded names from the top of a device, or from a bucket, down to a file or a folder."""
Answer = TypeVar("Answer")

MOUNTS = Path("/proc/self/mountinfo")
"""What is mounted where. https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html"""
_OCTAL = re.compile(r"\\([0-7]{3})")
_IS_NONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM}
"""Errors that say that there is nothing at a path, or nothing for us."""
_MOST_FORMS = 16
"""Links lead on to others, and round in a ring."""


class Led(NamedTuple):
    """Where a path really leads."""

    target: str
    is_folder: bool | None
    """None where nothing is there."""


class Ways:
    """The ways of files, by their paths as this machine sees them."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._folders: dict[str, bool] = {}
        self.asked = self.unanswered = 0
        """How often storage was asked where a path leads, and how often it gave no answer."""

    def of_file(self, path: str) -> list[Way]:
        """The ways of a file that was found, with what its name alone may be taken for."""
        folder, _, name = path.rpartition("/")
        found = readings(name) or [(name,)]
        ways = [way for each in found for way in self._through_links(self._on_device((*self._names_of(folder), *each)))]
        return [way for way in ways if self.depth(way)] or ways

    def see_bucket(self, address: str) -> None:
        """Take up the bucket of an object that was found: it is looked at, whether it is configured or not."""
        self.tops.add((S3 + keys.parts(address)[0].lower(),))

    def of_place(self, where: str) -> tuple[list[Way], list[Way]]:
        """The ways of the place of a row: as it stands, and what it is without what may be an address's query."""
        top, rest = self._split(where)
        exact, *cut = [self._on_device((*top, *reading)) for reading in readings(rest)] or [self._exact(where)]
        return self._through_links(exact), [way for each in cut for way in self._through_links(each)]

    def depth(self, way: Way) -> int:
        """How many names lead to the deepest top that a way is below; 0 where it is below none."""
        return max(self._depths(way), default=0)

    def least_depth(self, way: Way) -> int:
        """The same of the top that holds all others."""
        return min(self._depths(way), default=0)

    def _depths(self, way: Way) -> Iterator[int]:
        return (len(top) for top in self.tops if way[: len(top)] == top != way)

    def is_known(self, where: str) -> bool:
        """Whether a place is one that is looked at here: below a top.

        Not one that begins, below that, as the way to it ends, where nothing is called so: it counts from further up.
        """
        top, rest = self._split(where)
        try:
            way = self._on_device((*top, *(names := _names(rest))))
        except ValueError:  # it climbs out
            return False
        ends = (end for end in range(1, min(len(top), len(names)) + 1) if top[-end:] == names[:end])
        is_below = any(map(self.depth, self._through_links(way)))
        return is_below and all(self._is_folder(where, end) for end in ends)

    def is_top(self, path: str) -> bool:
        """Whether a path is that of what is configured."""
        return self._exact(path) in self.tops

    def targets(self, paths: Iterable[str]) -> dict[str, Led]:
        """Where some paths really lead, all links followed; also where nothing is there."""
        return self._asked(_led, paths)

    def add_link(self, link: str, target: str) -> list[Way]:
        """Take up the link of a folder that was found; its ways."""
        ways = self.of_file(link)
        for way in ways:
            self._links[way].add(self._exact(target))
        return ways

    def behind(self, is_wanted: Callable[[Way], bool]) -> Iterator[Way]:
        """The folders below the tops that links lead to which are in a folder that is wanted, or are one."""
        for link, targets in self._links.items():
            if any(is_wanted(link[:end]) for end in range(1, len(link) + 1)):
                yield from filter(self.depth, targets)

    @cached_property
    def tops(self) -> set[Way]:
        """The ways of what is looked at: the root, where the path map leads, and the buckets that were seen."""
        return set(self._configured.values())

    @cached_property
    def _configured(self) -> dict[Way, Way]:
        """Where what is configured really is."""
        real = self._asked(_led, [top for top in self._texts if not top.startswith(S3)])
        return {self._exact(top): self._exact(real[top].target if top in real else top) for top in self._texts}

    @cached_property
    def _links(self) -> dict[Way, set[Way]]:
        """Where links of folders lead, as far as they are known."""
        return defaultdict(set, {way: {target} for way, target in self._configured.items() if way != target})

    @cached_property
    def _texts(self) -> list[str]:
        """What is configured, as it stands; the longest first."""
        layout = self._files.layout
        return sorted(
            {*layout.tops, *(each for each in layout.targets.values() if each.startswith(S3))}, key=len, reverse=True
        )

    def _is_folder(self, where: str, end: int) -> bool:
        """Whether the first names of a place, below its top, are those of a folder that is there."""
        top = self._top(where)
        folder = f"{top}/{'/'.join(where[len(top) :].strip('/').split('/')[:end])}"
        if folder not in self._folders:
            found = {} if where.startswith(S3) else self._asked(os.path.isdir, [folder])
            self._folders[folder] = found.get(folder, False)
        return self._folders[folder]

    @cached_property
    def _ways_of_tops(self) -> dict[str, Way]:
        return {top: self._names_of(top) for top in self._texts}

    def _top(self, where: str) -> str:
        return next((top for top in self._texts if _is_below(where, top)), "")

    def _split(self, where: str) -> tuple[Way, str]:
        """The way to the top that a place is below, and the rest of the path."""
        top = self._top(where) or (where[: where.find("/", len(S3))] if where.startswith(S3) else "")
        return self._ways_of_tops.get(top) or self._names_of(top), where[len(top) :]

    def _exact(self, path: str) -> Way:
        """The way of a path that is what it says."""
        return self._on_device(self._names_of(path))

    @staticmethod
    def _names_of(path: str) -> Way:
        """The names of a path. A bucket is the first one of an address."""
        bucket, key = keys.parts(path) if path.startswith(S3) else ("", path)
        start = (S3 + bucket.lower(),) if bucket else ()
        try:
            return (*start, *_names(key))
        except ValueError:
            return (*start, *filter(None, key.split("/")))

    def _on_device(self, way: Way) -> Way:
        """The way from the top of its device, which is the same wherever that is mounted."""
        if way and way[0].startswith(S3):
            return way
        end = next((end for end in range(len(way), -1, -1) if way[:end] in self._mounts), None)
        return way if end is None else (*self._mounts[way[:end]], *way[end:])

    @cached_property
    def _mounts(self) -> dict[Way, Way]:
        """What is mounted where: the device, and the folder on it; nothing on a system that has no such list."""
        lines = "".join(self._asked(_text, [str(MOUNTS)]).values()).splitlines()
        mounts = (line.split(" ")[2:5] for line in lines)
        return {self._names_of(_read(point)): (device, *self._names_of(_read(root))) for device, root, point in mounts}

    def _through_links(self, way: Way) -> list[Way]:
        """A way, and those that it comes to through links of folders."""
        forms = [way]
        for each in forms if self._links else ():
            for end in range(len(each), 0, -1):
                led = ((*target, *each[end:]) for target in self._links.get(each[:end], ()))
                forms += [form for form in led if form not in forms][: _MOST_FORMS - len(forms)]
        return forms

    def _asked(self, ask: Callable[[str], Answer], paths: Iterable[str]) -> dict[str, Answer]:
        """What storage says of some paths; nothing of those where there is nothing."""

        def answer(path: str, _: object) -> tuple[Answer, ...] | None:
            try:
                return (ask(path),)
            except OSError as error:
                return () if error.errno in _IS_NONE else None
            except (ValueError, RecursionError):  # no path, or more links than the system follows
                return ()

        lookers = Lookers(self._files.max_threads, self._files.look_timeout_seconds)
        answers: dict[str, Answer] = {}
        for path, found in lookers.run(answer, list(paths)):
            self.asked += 1
            self.unanswered += found is None
            answers.update((path, each) for each in found or ())
        return answers


def readings(path: str) -> list[Way]:
    """All that a path may be taken for (`storage.likeness.readings_of`)."""
    return [plain] if (plain := _plain(path)) else readings_of(path)


def _names(path: str) -> Way:
    """The folded names of a path as it stands. Raises ValueError when it climbs out of where it starts."""
    return _plain(path) or parts_of(path)


def _plain(path: str) -> Way:
    """The same of a path in which nothing takes a closer look, as of most; ten times faster. Else nothing."""
    names = [name for name in path.split("/") if name]
    found = tuple(fold_plain(names)) if names and is_plain(names) else ()
    return () if any(name in (".", "..") for name in found) else found


def _read(escaped: str) -> str:
    """A path, as the system writes it in a list."""
    return _OCTAL.sub(lambda code: chr(int(code[1], 8)), escaped)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/")


def _text(path: str) -> str:
    return Path(path).read_text("utf-8", "surrogateescape")


def _led(path: str) -> Led:
    try:
        target = os.path.realpath(path, strict=True)
    except FileNotFoundError:  # it leads to where nothing is, on this machine
        return Led(os.path.realpath(path), None)
    return Led(target, os.path.isdir(target))
