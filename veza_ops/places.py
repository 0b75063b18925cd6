"""Places that last: where evidence may be kept, and how a file is written there so that it is there for good."""

from __future__ import annotations  # so that the loading of UPath waits until there is a file to write

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import upath

from veza_ops.errors import ConfigurationError

_ON_DISK = ("", "file", "local")

_FLEETING = ("memory", "data", "http", "https", "simplecache", "filecache", "blockcache", "cached", "zip", "tar")
"""In this process's memory or in a cache of its own, or nothing that can be written to."""

_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700


def lasting(folder: str) -> upath.UPath:
    """The place that a setting names, ``~`` being the home of the user that this process runs as.

    Raises ConfigurationError, without showing the setting, for a place that doesn't last or can't be reached from here.
    """
    folder = folder.strip()
    protocol = folder.partition("://")[0].lower() if "://" in folder else ""
    if "::" in folder or protocol in _FLEETING:
        raise ConfigurationError(
            f"evidence.folder is at {protocol}://, which doesn't last. Give it an absolute folder on a disk, or the "
            "address of an object store."
        )
    if protocol in _ON_DISK:
        path = os.path.expanduser(folder.removeprefix("file://").removeprefix("local://"))
        if not os.path.isabs(path):
            raise ConfigurationError(
                "evidence.folder isn't absolute, so each process would take it for another place. Give it an absolute "
                "folder, or the address of an object store."
            )
        return upath.UPath(path)
    try:
        place = upath.UPath(folder)
        place.fs  # noqa: B018 - loads what serves it
    except ImportError as error:  # it names the package
        raise ConfigurationError(f"evidence.folder is at {protocol}://, which nothing here serves: {error}.") from None
    except Exception as error:  # noqa: BLE001 - whatever its package makes of an address, which may hold a secret
        raise ConfigurationError(
            f"evidence.folder is at {protocol}://, and can't be used ({type(error).__name__}). Check the address."
        ) from None
    return place


def is_on_disk(path: upath.UPath) -> bool:
    """Whether `path` is in a file system of this machine."""
    return path.protocol in _ON_DISK


def write_new(folder: upath.UPath, name: str, lines: Iterable[bytes]) -> upath.UPath:
    """Write `lines` to a file that wasn't there, and return it only when it is there for good.

    It is called `name` or, where there is such a file, `name` and a number. Only its owner can read it, if it is on a
    disk. Raises OSError; what was begun is removed then.
    """
    if not is_on_disk(folder):
        with _as_os_errors():
            return _store(folder, name, lines)
    _make(folder.path)
    path, descriptor = _create(folder, name)
    try:
        with open(descriptor, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        _sync(folder.path)
    except BaseException:
        with suppress(OSError):
            os.unlink(path.path)
        raise
    return path


def _names(name: str) -> Iterator[str]:
    yield f"{name}.jsonl"
    yield from (f"{name}.{number}.jsonl" for number in count(1))


def _create(folder: upath.UPath, name: str) -> tuple[upath.UPath, int]:
    for each in _names(name):
        path = folder / each
        with suppress(FileExistsError):
            return path, os.open(path.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    raise AssertionError


def _store(folder: upath.UPath, name: str, lines: Iterable[bytes]) -> upath.UPath:
    """In an object store, which has stored what it was given once it is closed."""
    path = next(path for each in _names(name) if not (path := folder / each).exists())
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(lines)
    return path


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """What a store's own package raises, without its words: they may hold a secret."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - each package has its own
        raise OSError(f"the store refused it ({type(error).__name__})") from None


def _make(folder: str) -> None:
    """Make `folder` and those above it, for their owner only, each there for good."""
    try:
        os.mkdir(folder, _OWNER_ONLY_FOLDER)
    except FileExistsError:
        return None
    except FileNotFoundError:
        _make(os.path.dirname(folder))
        return _make(folder)
    _sync(os.path.dirname(folder))
    return None


def _sync(folder: str) -> None:
    """Have a folder itself know what is new in it after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
