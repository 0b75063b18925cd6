"""A verdict on one file, with its reason. "Couldn't look" is never "missing"."""

import errno
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from veza_ops.text import shown

LONGEST = 4095
"""Bytes of a path that a system takes at most, so that nobody has to make sense of more characters."""


class Verdict(StrEnum):
    """What a look at a track's file says."""

    PRESENT = "present"
    """Something is there: a file of any size, or a folder."""
    MISSING = "missing"
    """Its folder was read, and holds nothing that could be it."""
    UNVERIFIABLE = "unverifiable"
    """Nobody could look, or something is there that could be it: nothing follows."""


S3 = "s3://"
"""What the address of an object begins with; behind it stand the bucket and the key."""


class Area(NamedTuple):
    """What an operator can mount or configure apart from the rest, and what is proven apart from it."""

    folder: str
    directly: bool = False
    """Only the files in the folder itself; those in the folders below belong to areas of their own."""
    covered: bool = True
    """Whether the whole speaks for it where it has no playable track of its own."""

    def __str__(self) -> str:
        return f"{shown(self.folder)} itself" if self.directly else shown(self.folder)

    @property
    def bucket(self) -> "Area | None":
        """The whole bucket that it is in, whose witnesses speak for an area in it that has none of its own."""
        if not self.folder.startswith(S3):
            return None
        return Area(S3 + self.folder[len(S3) :].partition("/")[0], covered=False)


class Place(NamedTuple):
    """A folder that rows name files in."""

    folder: str
    top: str
    """The configured folder that it is below: what lies further up is given, and isn't compared with anything."""
    area: Area


Device = int | str
"""What a name is on: the number of a file system, or a bucket."""


class Nearest(NamedTuple):
    """The deepest folder on the way to a missing file that is there."""

    path: str
    device: Device
    is_empty: bool


@dataclass(frozen=True, eq=False)
class Gone:
    """Where missing files are missing from: all of one folder share it, and it equals no other."""

    area: Area
    nearest: Nearest


class Look(NamedTuple):
    """A verdict, with its reason in words (empty for a file that is there)."""

    verdict: Verdict
    reason: str
    gone: Gone | None = None
    """Of a missing file."""


PRESENT = Look(Verdict.PRESENT, "")


def unverifiable(reason: str) -> Look:
    """A look from which nothing follows."""
    return Look(Verdict.UNVERIFIABLE, reason)


def in_words(error: OSError) -> str:
    """What the system says, with its code: ``Permission denied (EACCES)``."""
    code = errno.errorcode.get(error.errno or 0, "")
    return f"{error.strerror or error} ({code})" if code else str(error)
