"""The other way round: which files there are."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from veza_ops.bounds import Beat, with_beats
from veza_ops.errors import ConfigurationError
from veza_ops.storage import disk
from veza_ops.storage.layout import in_one_form
from veza_ops.storage.look import in_words

_HELD_OPEN = 64
"""So many folders on the way down are held open; from there on their names are read into memory first."""
_AT_ONCE, _AT_ONCE_SECONDS = 1000, 0.2
"""So many files are handed over at a time, or those of so many seconds."""
_MOST_HUNG = 10
"""So many folders are waited for in vain. What isn't walked by then isn't walked at all."""
CUT = "the rest wasn't walked, since too many folders give no answer"


class Stored(NamedTuple):
    """A file as it is on disk, or a folder that couldn't be read, with the reason."""

    path: str
    size: int
    unread: str = ""
    modified: float = 0.0
    """When it was last written to, in seconds since the epoch."""
    is_link: bool = False
    """Whether it only leads to something else."""


Way = Sequence[tuple[str, Iterator["Stored | str"]]]
"""The folders on the way down to the present one, each with what is still to be told of it."""


def inside(top: str, folders: Iterable[str]) -> list[str]:
    """`folders` relative to the root at `top`. Raises ConfigurationError for what can't be a folder in there."""
    root = f"{top.rstrip('/')}/"
    relative = [in_one_form(f"{folder or '.'}/".removeprefix(root)) for folder in folders]
    if not all(map(_may_be_below, relative)):
        raise ConfigurationError(
            "find_unnamed_files.folders names what can't be a folder inside the storage root. Give folders there, such "
            "as uploads, relative to it. What is elsewhere is walked where storage.path_map leads to it."
        )
    return relative


def _may_be_below(path: str) -> bool:
    """Whether a path, in one form, doesn't lead out of where it begins, and can be one at all."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return "\0" not in path and path != ".." and not path.startswith(("/", "../"))


def walk(tops: Iterable[str], answer_seconds: float = 30.0) -> Iterator[Stored]:
    """The files below `tops`, one by one, in no order, and each once, also where one top is inside another.

    Folders may be of any depth. One that gives no answer for `answer_seconds` is given up, and the others are walked.
    """
    hung = 0
    for top in _apart(tops):
        way: Way = [(top, _inside(top))]
        while way:
            some = _Some(way)
            try:
                with_beats(answer_seconds, some.take)
            except TimeoutError as error:
                *way, (folder, _) = some.way
                some.found.append(Stored(folder, 0, in_words(error)))
                hung += 1
            else:
                way = some.way
            yield from some.found
            if hung == _MOST_HUNG:
                yield Stored(top, 0, CUT)
                return


def _apart(tops: Iterable[str]) -> Iterator[str]:
    """Those that aren't inside another."""
    folders = {os.path.normpath(top) for top in tops}
    for folder in sorted(folders):
        if not any(folder.startswith(f"{other.rstrip('/')}/") for other in folders - {folder}):
            yield folder


class _Some:
    """Some of the files below a way. A thread that takes them and hangs has the deepest folder to itself from then on.

    It reads in no other one once it is given up, so that whoever goes on with those is alone there.
    """

    def __init__(self, way: Way) -> None:
        self.way = [*way]
        self.found: list[Stored] = []

    def take(self, beat: Beat) -> None:
        """Walk on for a moment."""
        until = time.monotonic() + _AT_ONCE_SECONDS
        while self.way and not beat.is_given_up and len(self.found) < _AT_ONCE and time.monotonic() < until:
            beat()
            found = next(self.way[-1][1], None)
            if beat.is_given_up:
                return
            if found is None:
                self.way.pop()
            elif isinstance(found, Stored):
                self.found.append(found)
            else:
                inside = _inside(found)
                self.way.append((found, inside if len(self.way) < _HELD_OPEN else iter(list(inside))))


def _inside(folder: str) -> Iterator[Stored | str]:
    """The files in a folder, and the folders as their paths."""
    try:
        with disk.descriptor_of(folder) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                path = f"{folder.rstrip('/')}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    yield path
                else:
                    with suppress(FileNotFoundError):  # it has just gone away
                        found = entry.stat(follow_symlinks=False)
                        yield Stored(path, found.st_size, modified=found.st_mtime, is_link=entry.is_symlink())
    except OSError as error:
        yield Stored(folder, 0, in_words(error))
