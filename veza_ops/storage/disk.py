"""One look at one path on a disk. It is only ever a look: nothing is opened, read or written.

A file is missing only if the system says ENOENT for its very path, there is no dangling link on the way, and no other
spelling of the path is there either.
"""

import contextlib
import os
import stat
import unicodedata

from veza_ops.storage.look import PRESENT, Look, Verdict, in_words, unverifiable


def look(path: str, known_folders: set[str] | None = None) -> Look:
    """Look at `path` as it stands.

    `known_folders` remembers the folders that were seen to be there, so that a run of missing files in one folder
    asks for it once.
    """
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode) and not _leads_somewhere(path):
            return unverifiable(f"{path} is a link to nowhere")
    except FileNotFoundError:
        return _look_closer(path, set() if known_folders is None else known_folders)
    except OSError as error:
        return unverifiable(in_words(error))
    except ValueError as error:  # a NUL, or text that is no name in this system's encoding
        return unverifiable(f"no file can have this name: {error}")
    return PRESENT


def _leads_somewhere(link: str) -> bool:
    try:
        os.stat(link)
    except FileNotFoundError:
        return False
    return True


def _look_closer(path: str, known_folders: set[str]) -> Look:
    """Whether ENOENT for `path` is the whole truth."""
    try:
        if dangling := _dangling_link_above(path, known_folders):
            return unverifiable(f"{dangling} is a link to nowhere")
        for other in _other_spellings(path):
            if os.path.lexists(other):
                return unverifiable(f"the file is there under another spelling of its name: {other!r}")
    except (OSError, ValueError) as error:
        return unverifiable(str(error))
    return Look(Verdict.MISSING, f"no file at {path}")


def _dangling_link_above(path: str, known_folders: set[str]) -> str | None:
    """The link that leads nowhere on the way to `path`, if that is why nothing is there.

    Raises OSError when a part of the way can't be looked at.
    """
    while True:
        folder = path.rstrip("/").rpartition("/")[0]
        if not folder or folder in known_folders:
            return None
        try:
            found = os.lstat(folder)
        except FileNotFoundError:
            path = folder
            continue
        if stat.S_ISLNK(found.st_mode) and not _leads_somewhere(folder):
            return folder
        known_folders.add(folder)
        return None


def _other_spellings(path: str) -> set[str]:
    """The paths that a person or another system would take for the same as `path`."""
    is_ascii = path.isascii()
    if is_ascii and path.split() == [path] and "//" not in path and "/." not in path and not path.endswith("/"):
        return set()  # what nearly every path comes to, said without building all the others
    spellings = {"/".join(map(str.strip, path.split("/"))), os.path.normpath(path)}
    if not is_ascii:
        folder, name = os.path.split(path)
        for form in ("NFC", "NFD"):
            spellings.add(unicodedata.normalize(form, path))
            spellings.add(os.path.join(folder, unicodedata.normalize(form, name)))
        with contextlib.suppress(UnicodeEncodeError):  # as an old program wrote it, in bytes that are no UTF-8
            spellings.add(os.path.join(folder, os.fsdecode(name.encode("latin-1"))))
    spellings.discard(path)
    return spellings
