"""The other way round: which files there are."""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from veza_ops.storage.look import in_words


class Stored(NamedTuple):
    """A file as it is on disk, or a folder that couldn't be read, with the reason."""

    path: str
    size: int
    unread: str = ""


def walk(tops: Iterable[str]) -> Iterator[Stored]:
    """The files below `tops`, one by one, in no order, and each once, also where one top is inside another."""
    folders = {os.path.normpath(top) for top in tops}
    for folder in sorted(folders):
        if not any(folder.startswith(f"{other.rstrip('/')}/") for other in folders - {folder}):
            yield from _walk(folder)


def _walk(folder: str) -> Iterator[Stored]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path)
                else:
                    yield Stored(entry.path, entry.stat(follow_symlinks=False).st_size)
    except OSError as error:
        yield Stored(folder, 0, in_words(error))
