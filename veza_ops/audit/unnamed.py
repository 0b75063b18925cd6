"""Files that no track names: which of them are told of, and whether that is still so at the end.

Somebody may remove what is told of. So it is nothing that may get its track yet, and nothing that a row names by then.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from pathspec import GitIgnoreSpec

from veza_ops.audit.throttle import Throttle
from veza_ops.errors import ConfigurationError
from veza_ops.storage.backend import Measure
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import S3
from veza_ops.storage.walk import Stored
from veza_ops.text import in_utc

Named = Callable[[list[str]], set[str]]
"""Which of many values of ``file_path`` a row has, in any state."""

_SAME_SECONDS = 1.0
"""So close are two times of which one is told in seconds, as some stores do."""
_AT_ONCE = 20_000


@dataclass(frozen=True)
class Unnamed:
    """The files that no track names: kept for nobody, or for something else than tracks."""

    walked: int = 0
    unnamed: int = 0
    unnamed_bytes: int = 0
    unread_folders: int = 0
    cut_short: bool = False
    unnamed_young: int = 0
    """Those that are too young to be told of, and those that are ignored; not among the `unnamed`."""
    unnamed_ignored: int = 0
    unnamed_unconfirmed: int = 0
    """Those that got a track, changed or went before the end, or that a row may mean: not told of either."""
    unsure: int = 0
    """Files that nobody could look at again at the end."""

    def with_files(self, walked: int, found: "Sifted", unread: int) -> "Unnamed":
        """This count with what `walked` more steps came to."""
        told = len(found.told), sum(file.size for file in found.told)
        return self + Unnamed(walked, *told, unread, unnamed_young=found.young, unnamed_ignored=found.ignored)

    def confirmed(self, told: int, unnamed_bytes: int, of: int, unsure: int) -> "Unnamed":
        """The same once it was looked up again: so many files are told of, `of` those that there were."""
        unconfirmed, unsure = of - told - unsure, self.unsure + unsure
        return replace(self, unnamed=told, unnamed_bytes=unnamed_bytes, unnamed_unconfirmed=unconfirmed, unsure=unsure)

    def __add__(self, other: "Unnamed") -> "Unnamed":
        """The files here and there."""
        return Unnamed(
            self.walked + other.walked,
            self.unnamed + other.unnamed,
            self.unnamed_bytes + other.unnamed_bytes,
            self.unread_folders + other.unread_folders,
            self.cut_short or other.cut_short,
            self.unnamed_young + other.unnamed_young,
            self.unnamed_ignored + other.unnamed_ignored,
            self.unnamed_unconfirmed + other.unnamed_unconfirmed,
            self.unsure + other.unsure,
        )


@dataclass(frozen=True)
class Sifted:
    """Files that no track names: those that are told of, and how many aren't."""

    told: Sequence[Stored] = ()
    young: int = 0
    ignored: int = 0


class Sieve:
    """What is told of."""

    def __init__(self, layout: Layout, min_age_hours: float, ignore: Iterable[str]) -> None:
        """Raises ConfigurationError for a pattern that is none."""
        self._tops = sorted(layout.tops, key=len, reverse=True)
        self._before = time.time() - min_age_hours * 3600
        try:
            self._ignored = GitIgnoreSpec.from_lines(ignore)
        except (ValueError, re.error):
            raise ConfigurationError(
                "The field ignore of the audit has a pattern that is none. Give each as a line of a .gitignore file "
                "has it, such as *.tmp or /covers/."
            ) from None

    def sift(self, unnamed: Sequence[Stored]) -> Sifted:
        """Which of some unnamed files are told of."""
        old = [file for file in unnamed if file.modified <= self._before]
        told = [file for file in old if not self._ignored.match_file(self._inside(file.path))]
        return Sifted(told, len(unnamed) - len(old), len(old) - len(told))

    def _inside(self, path: str) -> str:
        """A path as seen from the top of the root, of what is mapped, or of its bucket."""
        if path.startswith(S3):
            return path[len(S3) :].partition("/")[2]
        top = next((top for top in self._tops if path.startswith(f"{top.rstrip('/')}/")), "")
        return path[len(top) :].lstrip("/")


def unnamed_of(files: Files, stored: Sequence[Stored], named: Named) -> list[Stored]:
    """Those of `stored` that no track names."""
    names = {file.path: files.layout.names_of(file.path) for file in stored}
    taken = named([name for each in names.values() for name in each if _is_text(name)])
    return [file for file in stored if taken.isdisjoint(names[file.path])]


class Again(NamedTuple):
    """What became of some unnamed files until the end."""

    told: list[Stored]
    """Those that no track names even now, and that are as they were."""
    of: int
    """How many there were."""
    unsure: int
    """Those of which nobody could tell any more."""


def looked_up_again(
    files: Files, rows: Iterable[Mapping[str, Any]], named: Named, is_taken: Callable[[str], bool], throttle: Throttle
) -> Iterator[Again]:
    """Look up the files that lists tell of once more, some at a time; `is_taken`: a row may mean it after all."""
    before = files_of(rows)
    while some := list(islice(before, throttle.size(_AT_ONCE))):
        unnamed = [file for file in unnamed_of(files, some, named) if not is_taken(file.path)]
        now = files.measure([file.path for file in unnamed])
        unseen = [file.path for file in unnamed if file.path not in now]
        told = [file for file in unnamed if (found := now.get(file.path)) and _is_same(file, found)]
        yield Again(told, len(some), len(files.unsure(unseen)))
        throttle.wait(len(unnamed))


def _is_same(file: Stored, now: Measure) -> bool:
    is_as_old = math.isnan(file.modified) or abs(now.modified - file.modified) < _SAME_SECONDS
    return now.size == file.size and is_as_old


def files_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[Stored]:
    """The files that lists tell of."""
    return (each for row in rows if (each := _file_of(row)))


def row_of(file: Stored) -> dict[str, Any]:
    """A file as lists have it."""
    return {"path": file.path, "size": file.size, "modified": in_utc(file.modified)}


def _file_of(row: Mapping[str, Any]) -> Stored | None:
    """What a row of a list tells of, if it is one."""
    try:
        path, size = str(row["path"]), int(row["size"])
    except (KeyError, TypeError, ValueError):
        return None
    try:
        modified = datetime.fromisoformat(row["modified"]).timestamp()
    except (KeyError, TypeError, ValueError):  # not told, or none that a calendar has
        modified = math.nan
    return Stored(path, size, modified=modified)


def _is_text(name: str) -> bool:
    """Whether a row can have this name at all: what isn't UTF-8 on disk can't be in the database."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
