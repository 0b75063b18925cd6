"""How files are reached: by which folders from the top of all, whatever links and mounts lie between.

What storage is asked for it and doesn't say in time is counted: whoever goes by ways has to know that some are missing.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from veza_ops.bounds import Lookers
from veza_ops.storage import keys
from veza_ops.storage.files import Files
from veza_ops.storage.likeness import parts_of, readings_of
from veza_ops.storage.look import S3

Way = tuple[str, ...]
"""The folded names from the top of all folders, or from the bucket, down to a file."""
Answer = TypeVar("Answer")


@dataclass
class Ways:
    """The ways of files, by their paths as this machine sees them."""

    files: Files
    unanswered: int = 0
    """Questions where a path leads that got no answer."""
    _twins: dict[Way, Way] = field(default_factory=dict)
    """Folders that are a top under another name without any link, as what is mounted twice; and the top."""

    def real(self, paths: Iterable[str]) -> dict[str, str]:
        """Where the folders of some files really are, all links followed."""
        return self._asked(os.path.realpath, {_folder(path) for path in paths if path.startswith("/")})

    def targets(self, links: Iterable[str]) -> dict[str, str]:
        """Where those of some paths lead that are links."""
        return {path: target for path, target in self._asked(_target, links).items() if target}

    def of(self, path: str, real: Mapping[str, str]) -> list[Way]:
        """What a path may be taken for, where folders are `real`."""
        if path.startswith(S3):
            bucket, key = keys.parts(path)
            return [(S3 + bucket, *way) for way in readings_of(key) or [tuple(key.split("/"))]]
        folder, _, name = path.rpartition("/")
        path = f"{real.get(folder, folder)}/{name}"
        return [self._unaliased(way) for way in readings_of(path)] or [tuple(path.split("/"))]

    def depth(self, path: str) -> int:
        """How many names lead to the top that a file is below."""
        if path.startswith(S3):
            return 1
        tops = [real for top, real in self._tops.items() if is_below(path, top)]
        return max((len([*filter(None, real.split("/"))]) for real in tops), default=0)

    def is_known(self, where: str) -> bool:
        """Whether a place is one that is looked at here: in a bucket, or below a top."""
        if not where.startswith("/"):
            return bool(where)
        tops = {*self._tops, *self._tops.values()}
        return any(is_below(where, top) for top in tops) and not any(is_below(where, each) for each in self._doubled)

    @cached_property
    def _doubled(self) -> list[str]:
        """What would be a folder of its own name in a top, where there is none: such paths count from further up."""
        inside = [f"{top}/{top.rpartition('/')[2]}" for top in self._tops if top != "/"]
        is_there = self._asked(os.path.isdir, inside)
        return [each for each in inside if not is_there.get(each)]

    def note_twins(self, folders: Iterable[str]) -> None:
        """Find out which of some real `folders`, or of those above them, are a top as well."""
        above = {parent for folder in set(folders) for parent in _above(folder)}
        for folder, found in self._asked(identity, sorted(above)).items():
            top = self._top_of.get(found, folder)
            if top != folder:
                self._twins[parts_of(folder)] = parts_of(top)

    def _unaliased(self, way: Way) -> Way:
        """A way that begins as a top is written, or as its twin is, begins where that really is."""
        for beginnings in (self._real_tops, self._twins):
            ends = range(len(way), 0, -1) if beginnings else ()
            if end := next((end for end in ends if way[:end] in beginnings), 0):
                way = beginnings[way[:end]] + way[end:]
        return way

    @cached_property
    def _tops(self) -> dict[str, str]:
        """The tops, and where they really are."""
        tops = self.files.layout.tops
        return dict(zip(tops, tops, strict=True)) | self._asked(os.path.realpath, tops)

    @cached_property
    def _real_tops(self) -> dict[Way, Way]:
        return {parts_of(top): parts_of(real) for top, real in self._tops.items() if top != real}

    @cached_property
    def _top_of(self) -> dict[tuple[int, int], str]:
        """The tops by what they are."""
        found = self._asked(identity, sorted(set(self._tops.values())))
        return {each: top for top, each in reversed(found.items())}

    def _asked(self, ask: Callable[[str], Answer], paths: Iterable[str]) -> dict[str, Answer]:
        """What storage says of some paths."""

        def answer(path: str, _: object) -> tuple[Answer, ...]:
            with suppress(OSError, ValueError):  # or there is nothing
                return (ask(path),)
            return ()

        lookers = Lookers(self.files.max_threads, self.files.look_timeout_seconds)
        answers: dict[str, Answer] = {}
        for path, found in lookers.run(answer, list(paths)):
            self.unanswered += found is None
            answers.update((path, each) for each in found or ())
        return answers


def is_below(path: str, folder: str) -> bool:
    """Whether a path leads into a folder."""
    return path.startswith(f"{folder.rstrip('/')}/")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _above(folder: str) -> Iterator[str]:
    """A folder, and those that it is in."""
    while folder:
        yield folder
        folder = _folder(folder)


def _target(path: str) -> str:
    os.readlink(path)
    return os.path.realpath(path)


def identity(folder: str) -> tuple[int, int]:
    """What a folder is, whatever leads to it."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino
