"""The other way round: which files there are."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from veza_ops.storage import disk
from veza_ops.storage.look import in_words

_HELD_OPEN = 64
"""So many folders on the way down are held open; from there on their names are read into memory first."""


class Stored(NamedTuple):
    """A file as it is on disk, or a folder that couldn't be read, with the reason."""

    path: str
    size: int
    unread: str = ""


def walk(tops: Iterable[str]) -> Iterator[Stored]:
    """The files below `tops`, one by one, in no order, and each once, also where one top is inside another.

    Folders may be of any depth.
    """
    folders = {os.path.normpath(top) for top in tops}
    for folder in sorted(folders):
        if not any(folder.startswith(f"{other.rstrip('/')}/") for other in folders - {folder}):
            yield from _walk(folder)


def _walk(top: str) -> Iterator[Stored]:
    way: list[Iterator[Stored | str]] = [_inside(top)]
    while way:
        found = next(way[-1], None)
        if found is None:
            way.pop()
        elif isinstance(found, Stored):
            yield found
        else:
            inside = _inside(found)
            way.append(inside if len(way) < _HELD_OPEN else iter(list(inside)))


def _inside(folder: str) -> Iterator[Stored | str]:
    """The files in a folder, and the folders as their paths."""
    try:
        with disk.opened(folder) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                path = f"{folder.rstrip('/')}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    yield path
                else:
                    with suppress(FileNotFoundError):  # it has just gone away
                        yield Stored(path, entry.stat(follow_symlinks=False).st_size)
    except OSError as error:
        yield Stored(folder, 0, in_words(error))
