"""A verdict on one file, with its reason. "Couldn't look" is never "missing"."""

import errno
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """What a look at a track's file says."""

    PRESENT = "present"
    """Something is there: a file of any size, or a folder."""
    MISSING = "missing"
    """The system says that there is no such file."""
    UNVERIFIABLE = "unverifiable"
    """Nobody could look, so nothing follows."""


class Look(NamedTuple):
    """A verdict, with its reason in words (empty for a file that is there)."""

    verdict: Verdict
    reason: str


PRESENT = Look(Verdict.PRESENT, "")


def unverifiable(reason: str) -> Look:
    """A look from which nothing follows."""
    return Look(Verdict.UNVERIFIABLE, reason)


def in_words(error: OSError) -> str:
    """What the system says, with its code: ``Permission denied (EACCES)``."""
    code = errno.errorcode.get(error.errno or 0, "error")
    return f"{error.strerror or error} ({code})"
