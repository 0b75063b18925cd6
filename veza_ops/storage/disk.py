"""One question at a time to a disk. Nothing is opened but folders, and nothing is written."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice

from veza_ops.storage.backend import Measure, Regular, just_written
from veza_ops.storage.look import LONGEST, PRESENT, Look, Verdict, in_words, unverifiable
from veza_ops.text import shown

_OPEN_AT_ONCE = 4000
"""Bytes of a path that are handed to the system at once: it takes 4,095."""
_LONGEST_NAME = 255
_READ_AT_ONCE = 1024
"""Entries of a folder that are compared at once."""


asks_first = False
"""A folder is read at once, and tells more."""


def look(path: str) -> Look:
    """What the system says of `path` as it stands: there, not there, or no answer. A link is followed."""
    return answer(path) or Look(Verdict.MISSING, f"no file at {shown(path)}")


def answer(path: str) -> Look | None:
    """The same; None when it isn't there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return unverifiable(in_words(error))
    except ValueError as error:  # a NUL, or text that is no name in this system's encoding
        return unverifiable(f"no file can have this name: {error}")
    return follow(path) if stat.S_ISLNK(found.st_mode) else PRESENT


answer_again = answer
"""Nothing else tells of a file that is about to come."""


def has_folder(path: str) -> bool:
    """Whether the system says anything but that `path` isn't there."""
    return answer(path) is not None


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


def measures(folder: str, names: Sequence[str], beat: Callable[[], object]) -> list[Measure | None]:
    """The measures of the regular files in a folder that have these names, in their order."""
    found: list[Measure | None] = []
    with suppress(OSError, ValueError), descriptor_of(folder) as descriptor:
        for name in names:
            beat()
            try:
                each = os.stat(name, dir_fd=descriptor)
            except (OSError, ValueError):
                found.append(None)
            else:
                found.append(Measure(each.st_size, each.st_mtime) if stat.S_ISREG(each.st_mode) else None)
    return found


class OpenFolder:
    """A folder that is open for reading."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor
        self.device = os.fstat(descriptor).st_dev

    def coming(self) -> Iterator[list[os.DirEntry[str]]]:
        """Nothing that isn't there already."""
        return iter(())

    def __iter__(self) -> Iterator[list[os.DirEntry[str]]]:
        with os.scandir(self.descriptor) as entries:
            while some := list(islice(entries, _READ_AT_ONCE)):
                yield some

    def under_way(self, seconds: float, name: str) -> str:
        """Which upload is under way, if `name` was written to in the last `seconds`, or is gone since it was seen."""
        try:
            is_new = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mtime > time.time() - seconds
        except FileNotFoundError:
            is_new = True
        return just_written(f"{self.path.rstrip('/')}/{name}") if is_new else ""


def given_up(path: str) -> None:
    """A thread hangs in the system; others may be answered."""


@contextmanager
def opened(folder: str, *, is_last: bool = False) -> Iterator[OpenFolder]:  # noqa: ARG001 - the protocol's
    """A folder to be searched. Raises OSError: FileNotFoundError only when nothing at all has its name."""
    try:
        with descriptor_of(folder) as descriptor:
            yield OpenFolder(folder, descriptor)
    except FileNotFoundError:  # not there at all, or a link to nowhere
        if found := answer(folder):
            raise OSError(found.reason or "it came only just now") from None
        raise


@contextmanager
def descriptor_of(folder: str) -> Iterator[int]:
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
