"""One question at a time to a disk. Nothing is opened but folders, and nothing is written."""

import errno
import html
import os
import re
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

from veza_ops.storage.look import LONGEST, PRESENT, Look, Verdict, in_words, unverifiable
from veza_ops.text import shown

_OPEN_AT_ONCE = 4000
"""Bytes of a path that are handed to the system at once: it takes 4,095."""
_LONGEST_NAME = 255


def look(path: str) -> Look:
    """What the system says of `path` as it stands: there, not there, or no answer. A link is followed."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return Look(Verdict.MISSING, f"no file at {shown(path)}")
    except OSError as error:
        return unverifiable(in_words(error))
    except ValueError as error:  # a NUL, or text that is no name in this system's encoding
        return unverifiable(f"no file can have this name: {error}")
    return follow(path) if stat.S_ISLNK(found.st_mode) else PRESENT


def is_there(path: str) -> bool:
    """Whether the system says anything but that `path` isn't there."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True


def follow(link: str) -> Look:
    """Whether something is where `link` leads."""
    try:
        os.stat(link)
    except FileNotFoundError:
        return unverifiable(f"{shown(link)} is a link to nowhere")
    except OSError as error:
        return unverifiable(in_words(error))
    return PRESENT


def cannot_be(path: str) -> str:
    """Why nothing can be at `path`, if it is nothing that a system takes."""
    if "\0" in path:
        return "no file can have this name: embedded null byte"
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError as error:
        return f"no file can have this name: {error}"
    is_long = len(name) > LONGEST or len(name.rpartition(b"/")[2]) > _LONGEST_NAME
    return f"{os.strerror(errno.ENAMETOOLONG)} (ENAMETOOLONG)" if is_long else ""


class Regular(NamedTuple):
    """A regular file that is there now."""

    file: tuple[int, int]
    """Its identity: the numbers of its file system and of its inode."""
    device: int
    """The number of the file system that its name is on."""


def regular(path: str) -> Regular | str:
    """The regular file at `path`, or why there is none."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return f"{shown(path)} is no regular file"
        return Regular((found.st_dev, found.st_ino), os.stat(os.path.dirname(path)).st_dev)
    except FileNotFoundError:
        return f"no file at {shown(path)}"
    except OSError as error:
        return in_words(error)
    except ValueError as error:
        return f"no file can have this name: {error}"


def changed_within(seconds: float, path: str, folder: int | None = None) -> bool:
    """Whether `path` (in the open `folder`) was written to in the last `seconds`, or is gone since it was seen."""
    try:
        return os.stat(path, dir_fd=folder, follow_symlinks=False).st_mtime > time.time() - seconds
    except FileNotFoundError:
        return True


@contextmanager
def opened(folder: str) -> Iterator[int]:
    """A folder, however deep, open for reading. Raises OSError."""
    descriptor = -1
    rest = os.fsencode(folder)
    try:
        while True:
            at = rest.rfind(b"/", 1, _OPEN_AT_ONCE) if len(rest) > _OPEN_AT_ONCE else -1
            piece, rest = (rest[:at], rest[at + 1 :]) if at > 0 else (rest, b"")
            above = descriptor
            descriptor = os.open(
                piece, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above if above >= 0 else None
            )
            if above >= 0:
                os.close(above)
            if not rest:
                break
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def spellings(name: str) -> set[str]:
    """The names like `name` that can be thought of without seeing what there is."""
    found = {name}
    for _ in range(2):  # two at once
        found |= {form(each) for each in tuple(found) for form in _PLAINER}
    found |= {form(each) for each in tuple(found) for form in _OTHER_FORMS}
    found |= {f"{name}{suffix}" for suffix in (".part", ".tmp", ".partial", ".upload", ".crdownload", "~")}
    found |= {f".{name}", *(os.fsdecode(each.encode("latin-1", "ignore")) for each in tuple(found))}
    return {each for each in found if each and "/" not in each and "\0" not in each} - {name, ".", ".."}


_PLAINER: tuple[Callable[[str], str], ...] = (
    unquote_plus,
    html.unescape,
    lambda name: re.sub("[\u00a0\u200b-\u200f\u202f\u2060\ufeff]", "", name).strip(),
    lambda name: name.replace("\u00a0", " ").strip(" \t\n\r\"'\u2018\u2019\u201c\u201d"),
    lambda name: re.split("[?#]", name, maxsplit=1)[0].removeprefix("file:"),
    lambda name: unicodedata.normalize("NFKC", name),
)
_OTHER_FORMS: tuple[Callable[[str], str], ...] = (
    *(str.lower, str.upper, str.title, str.capitalize),
    lambda name: "".join((*os.path.splitext(name)[:1], os.path.splitext(name)[1].lower())),
    lambda name: "".join((*os.path.splitext(name)[:1], os.path.splitext(name)[1].upper())),
    *(lambda name, form=form: unicodedata.normalize(form, name) for form in ("NFC", "NFD")),
    lambda name: f"{name} ",
    lambda name: quote(name, errors="replace"),
    lambda name: name.replace(" ", "+"),
)
