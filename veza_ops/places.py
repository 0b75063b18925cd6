"""Places that last: where evidence may be kept, and how a file is written there so that it is there for good."""

from __future__ import annotations  # so that the loading of UPath waits until there is a file to write

import errno
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import upath

from veza_ops import buckets
from veza_ops.bounds import Beat, each_within, with_beats, within
from veza_ops.buckets import in_bucket
from veza_ops.errors import ConfigurationError
from veza_ops.text import scheme

_ON_DISK = ("", "file", "local")

_FLEETING = ("memory", "data", "http", "https", "simplecache", "filecache", "blockcache", "cached", "zip", "tar")
"""In this process's memory or in a cache of its own, or nothing that can be written to."""

_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]*")

_LONGEST = 1000
"""Characters of a folder; the names of runs and files come on top."""

_STORES = ("gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "r2")
"""They have no folders, and to make one would make a bucket; those that `buckets` serves aren't among them."""

ANSWER_SECONDS = 30.0
"""How long a place is waited for, unless a setting says otherwise."""

_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700


def lasting(folder: str) -> upath.UPath:
    """The place that a setting names, ``~`` being the home of the user that this process runs as.

    Raises ConfigurationError, without showing the setting, for a place that doesn't last or can't be reached from here.
    """
    folder = folder.strip()
    protocol, is_address, rest = folder.partition("://")
    if not is_address:
        return _on_disk(folder)
    protocol = protocol.lower()
    is_chain = "::" in protocol + rest
    if not is_chain and not _PROTOCOL.fullmatch(protocol):
        raise ConfigurationError(
            "evidence.folder is neither a folder nor the address of an object store. Give it an absolute folder on a "
            "disk, or an address such as s3://BUCKET/FOLDER."
        )
    if is_chain or protocol in _FLEETING:
        raise ConfigurationError(
            "evidence.folder is in memory, in a cache or on the web, which doesn't last. Give it an absolute folder on "
            "a disk, or the address of an object store."
        )
    if protocol in _ON_DISK:
        return _on_disk(rest)
    where = f"evidence.folder is at {scheme(protocol)}://"
    if "@" in rest.partition("/")[0] or any(sign in rest for sign in "*?["):
        raise ConfigurationError(
            f"{where}, and its address holds a login or a sign that stands for many names. "
            "Give it the bucket and the folder alone; the store's own package finds the login in the environment."
        )
    try:
        return _served(f"{protocol}://{rest}")
    except ConfigurationError:
        raise
    except ImportError as error:  # it names the package
        raise ConfigurationError(f"{where}, which nothing here serves: {error}.") from None
    except Exception as error:  # noqa: BLE001 - whatever its package makes of an address, which may hold a secret
        raise ConfigurationError(f"{where}, and can't be used ({type(error).__name__}). Check the address.") from None


def _served(address: str) -> upath.UPath:
    """The place at an address that something here serves. Raises ImportError, and whatever its package does."""
    place = upath.UPath(address)
    if in_bucket(place):
        buckets.require_usable(place, ANSWER_SECONDS)
        return place
    place.fs  # noqa: B018 - loads what serves it
    if is_on_disk(place):  # it took what it doesn't know for a folder
        raise ImportError("no package is known for it")
    return place


def _on_disk(folder: str) -> upath.UPath:
    path = os.path.expanduser(folder)
    if not os.path.isabs(path):
        raise ConfigurationError(
            "evidence.folder isn't absolute, so each process would take it for another place. Give it an absolute "
            "folder, or the address of an object store."
        )
    if "\0" in path or len(path) > _LONGEST:
        raise ConfigurationError("evidence.folder is no folder's name. Give it an absolute folder.")
    return upath.UPath(path)


def is_on_disk(path: upath.UPath) -> bool:
    """Whether `path` is in a file system of this machine."""
    return path.protocol in _ON_DISK


def write_new(
    folder: upath.UPath,
    name: str,
    lines: Iterable[bytes],
    seconds: float = ANSWER_SECONDS,
    *,
    suffix: str = "jsonl",
) -> upath.UPath:
    """Write `lines` to a file that wasn't there, and return it only when it is there for good.

    It is called `name` and a number that is never given again: nothing is replaced, and whoever removes a file by its
    name removes that one. It has its name once it is whole. Only its owner can read it, if it is on a disk. Raises
    OSError; what was begun is removed then, also when it comes to its end after all once it was given up. That is when
    nothing of it is written for so many `seconds`.
    """
    path = folder / f"{name}.{time.time_ns()}{secrets.randbelow(10**9):09}.{suffix}"

    def write(beat: Beat) -> None:
        if in_bucket(path):
            _put(path, _each(lines, beat), seconds, beat)
        elif is_on_disk(path):
            _write(path.path, _each(lines, beat), beat)
        else:
            _store(path, _each(lines, beat), beat)

    with_beats(seconds, write)
    return path


def rename(path: upath.UPath, name: str, seconds: float = ANSWER_SECONDS) -> None:
    """Give a file on a disk another name in its folder, for good. Raises OSError, also when that takes longer."""
    folder = os.path.dirname(path.path)

    def move() -> None:
        os.rename(path.path, f"{folder}/{name}")
        _sync(folder)

    within(seconds, move)


def lines_of(path: upath.UPath, seconds: float = ANSWER_SECONDS) -> Iterator[bytes]:
    """The lines of a file. Raises OSError, also when one isn't read within `seconds`."""
    return each_within(seconds, buckets.lines_of(path, seconds) if in_bucket(path) else _lines_of(path))


def plain_files(folder: upath.UPath, seconds: float = ANSWER_SECONDS) -> Iterator[upath.UPath]:
    """The files in a folder that hold what was written to them: no links, no pipes.

    Raises FileNotFoundError if there is no such folder, which in a bucket is an empty one; and OSError, also when the
    folder gives no answer within `seconds`.
    """
    return each_within(seconds, buckets.files(folder, seconds) if in_bucket(folder) else _plain_files(folder))


def subfolders(folder: upath.UPath, seconds: float = ANSWER_SECONDS) -> Iterator[upath.UPath]:
    """What is in a folder, files too on a disk. Raises FileNotFoundError and OSError, as above."""
    return each_within(seconds, buckets.folders(folder, seconds) if in_bucket(folder) else _inside(folder))


def is_folder(path: upath.UPath, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether there is such a folder. Raises OSError, as above."""
    with as_os_errors():
        return within(seconds, lambda: buckets.is_folder(path, seconds) if in_bucket(path) else path.is_dir())


def is_gone(path: upath.UPath, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether there is no such file or folder, for sure.

    A disk that comes and goes says so of what is there. So the folder above has the word, which doesn't list what is
    gone; of a folder above that isn't there itself, the one above that. Raises OSError, as above.
    """
    if in_bucket(path):
        with as_os_errors():
            return not within(seconds, lambda: buckets.exists(path, seconds))
    try:
        return path.name not in {each.name for each in subfolders(path.parent, seconds)}
    except NotADirectoryError:
        return True
    except FileNotFoundError:
        return path.parent != path.parent.parent and is_gone(path.parent, seconds)


def hide(folder: upath.UPath, seconds: float = ANSWER_SECONDS) -> None:
    """Give a folder on a disk, if it is there, a name that nobody looks for. Raises OSError, as above."""
    if is_on_disk(folder):
        with suppress(FileNotFoundError, NotADirectoryError):
            within(seconds, lambda: os.rename(folder.path, f"{folder.path}.removed"))


def remove(path: upath.UPath, seconds: float = ANSWER_SECONDS) -> None:
    """Remove a file, or a folder with all that is in it, so that it is gone. Raises OSError, as above."""
    with as_os_errors():
        try:
            within(seconds, lambda: buckets.remove(path, seconds) if in_bucket(path) else _remove(path))
        except FileNotFoundError:
            if not is_gone(path, seconds):
                raise


def _inside(folder: upath.UPath) -> Iterator[upath.UPath]:
    with as_os_errors():
        yield from folder.iterdir()


def _remove(path: upath.UPath) -> None:
    path.fs.rm(path.path, recursive=True)


def _lines_of(path: upath.UPath) -> Iterator[bytes]:
    with as_os_errors(), path.open("rb") as file:
        yield from file


def _write(path: str, lines: Iterable[bytes], beat: Beat) -> None:
    folder, part = os.path.dirname(path), f"{path}.part"
    _make(folder)
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, path)
        _sync(folder)
        _require_waited_for(beat)
    except BaseException:
        for each in (part, path):
            with suppress(OSError):
                os.unlink(each)
        raise


def _each(lines: Iterable[bytes], beat: Beat) -> Iterator[bytes]:
    for line in lines:
        beat()
        _require_waited_for(beat)
        yield line


def _require_waited_for(beat: Beat) -> None:
    """Raises TimeoutError when nobody waits for what is written any more."""
    if beat.is_given_up:
        raise TimeoutError


def _put(path: upath.UPath, lines: Iterable[bytes], seconds: float, beat: Beat) -> None:
    """In a bucket, where it is whole or not there."""
    buckets.put(path, lines, seconds)
    if beat.is_given_up:
        buckets.remove(path, seconds)


def _store(path: upath.UPath, lines: Iterable[bytes], beat: Beat) -> None:
    """In an object store, which has stored what it was given once it is closed."""
    with as_os_errors():
        if path.protocol not in _STORES:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                file.writelines(lines)
            _require_waited_for(beat)
        except BaseException:  # half of it may be stored
            with suppress(Exception):
                path.unlink(missing_ok=True)
            raise


def _plain_files(folder: upath.UPath) -> Iterator[upath.UPath]:
    if not is_on_disk(folder):
        with as_os_errors():
            yield from (path for path in folder.iterdir() if path.is_file())
        return
    with os.scandir(folder.path) as entries:
        yield from (folder / entry.name for entry in entries if entry.is_file(follow_symlinks=False))


@contextmanager
def as_os_errors() -> Iterator[None]:
    """What a store's own package raises, without its words: they may hold a secret."""
    try:
        yield
    except (OSError, ConfigurationError):
        raise
    except Exception as error:  # noqa: BLE001 - each package has its own
        raise OSError(f"the store refused it ({type(error).__name__})") from None


def _make(folder: str) -> None:
    """Make `folder` and those above it, for their owner only, each there for good."""
    try:
        os.mkdir(folder, _OWNER_ONLY_FOLDER)
    except FileExistsError:
        return
    except FileNotFoundError:
        if not os.path.dirname(folder).strip("/"):
            raise
        _make(os.path.dirname(folder))
        with suppress(FileExistsError):  # another step's process was faster
            os.mkdir(folder, _OWNER_ONLY_FOLDER)  # once, since a link may lead nowhere
    _sync(os.path.dirname(folder))


def _sync(folder: str) -> None:
    """Have a folder itself know what is new in it after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that keeps its folders itself
            raise
    finally:
        os.close(descriptor)
