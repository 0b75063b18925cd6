"""Places in a bucket: how obstore lists, reads, writes and removes there, and what its errors mean.

A store has no folders, keeps no half of what it was given, and answers each question anew. obstore is asked itself: as
a file system for everybody in this process (`obstore.fsspec`), it would also take the place of other people's.
"""

from __future__ import annotations  # so that the loading of obstore waits until there is a bucket

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import upath

from veza_ops.errors import ConfigurationError
from veza_ops.storage.store import StoreError, is_of_a_library, refusal, store_of
from veza_ops.text import quoted

if TYPE_CHECKING:
    from obstore import ListResult, ObjectMeta
    from obstore.store import S3Store

_PROTOCOLS = ("s3", "s3a")

_PART = 5 << 20
"""Bytes sent or fetched at a time: the least that S3 takes for a part of what is sent in parts."""

_AT_ONCE = 4
"""Parts."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+")

_RIGHTS = "let them list, get, put and delete there"
"""What evidence needs."""


def in_bucket(path: upath.UPath) -> bool:
    """Whether `path` is in a bucket."""
    return path.protocol in _PROTOCOLS


def require_usable(place: upath.UPath, seconds: float) -> None:
    """Raises ImportError without obstore, and ValueError or ConfigurationError for an address that leads nowhere.

    Asks nothing of the store.
    """
    try:
        import obstore  # noqa: PLC0415 - see above
    except ImportError:
        raise ImportError("install veza-ops[s3]") from None
    bucket = place.path.partition("/")[0]
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(bucket)
    try:
        with _plain_errors(place):
            store, key = _at(place, seconds)
            obstore.list(store, prefix=key)  # asks nothing yet
    except OSError as error:
        raise ConfigurationError(f"evidence.folder is in a bucket that can't be used: {error}.") from None


def put(path: upath.UPath, lines: Iterable[bytes], seconds: float) -> None:
    """Store `lines` under a name that nobody else gives: all of them or, when it raises OSError, none.

    So nothing is replaced, whether or not the store can refuse to; and to send the file once more after an answer that
    was lost does no harm.
    """
    import obstore  # noqa: PLC0415 - see above

    parts = _parts(lines)
    first, second = next(parts, b""), next(parts, None)
    content = first if second is None else chain((first, second), parts)
    in_parts = second is not None
    with _plain_errors(path.parent):
        store, key = _at(path, seconds)
        obstore.put(store, key, content, use_multipart=in_parts, chunk_size=_PART, max_concurrency=_AT_ONCE)


def lines_of(path: upath.UPath, seconds: float) -> Iterator[bytes]:
    """The lines of a file. Raises OSError, also for one that doesn't end with a line.

    What a store holds is what was put there, as a whole: whatever answers with less is no store, or not all of one.
    """
    import obstore  # noqa: PLC0415 - see above

    line = b""
    with _plain_errors(path):
        try:
            file = obstore.open_reader(*_at(path, seconds), buffer_size=_PART)
            while further := bytes(file.readline()):
                line = further
                yield line
            if not line.endswith(b"\n"):
                raise StoreError("what the store gives of it ends in mid-line: check AWS_ENDPOINT_URL")
        except FileNotFoundError:  # at any time, since it is fetched bit by bit
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None


def files(folder: upath.UPath, seconds: float) -> Iterator[upath.UPath]:
    """The files in `folder`, but for the mark by which a store remembers an empty folder. Raises OSError."""
    paths = [each["path"] for each in _listed(folder, seconds)["objects"]]
    yield from (folder / path.rpartition("/")[2] for path in paths if path != _at(folder, seconds)[1])


def folders(folder: upath.UPath, seconds: float) -> Iterator[upath.UPath]:
    """The folders in `folder`. Raises OSError."""
    yield from (folder / each.rpartition("/")[2] for each in _listed(folder, seconds)["common_prefixes"])


def is_folder(path: upath.UPath, seconds: float) -> bool:
    """Whether there is something below `path`. Raises OSError."""
    import obstore  # noqa: PLC0415 - see above

    with _plain_errors(path):
        store, key = _at(path, seconds)
        return any(each["path"] != key for some in obstore.list(store, prefix=key) for each in some)


def exists(path: upath.UPath, seconds: float) -> bool:
    """Whether there is such a file. Raises OSError."""
    import obstore  # noqa: PLC0415 - see above

    with _plain_errors(path), suppress(FileNotFoundError):
        obstore.head(*_at(path, seconds))
        return True
    return False


def remove(path: upath.UPath, seconds: float) -> None:
    """Remove a file, and all that is below it. Raises OSError."""
    import obstore  # noqa: PLC0415 - see above

    with _plain_errors(path):
        store, key = _at(path, seconds)
        left = {key}
        for some in obstore.list(store, prefix=key):
            paths = [each["path"] for each in some]
            obstore.delete(store, paths)
            left.update(path.rpartition("/")[0] for path in paths)
        obstore.delete(store, sorted(left, key=len, reverse=True))  # the file itself, or what marks empty folders


def _listed(folder: upath.UPath, seconds: float) -> ListResult[Sequence[ObjectMeta]]:
    import obstore  # noqa: PLC0415 - see above

    with _plain_errors(folder):
        store, key = _at(folder, seconds)
        return obstore.list_with_delimiter(store, prefix=key)


def _at(path: upath.UPath, seconds: float) -> tuple[S3Store, str]:
    bucket, _, key = path.path.partition("/")
    return _store(bucket, seconds), key.rstrip("/")


@lru_cache(maxsize=8)  # it holds connections, and is slow to make
def _store(bucket: str, seconds: float) -> S3Store:
    return store_of(bucket, seconds, max_retries=10)


def _parts(lines: Iterable[bytes]) -> Iterator[bytes]:
    part = bytearray()
    for line in lines:
        part += line
        if len(part) >= _PART:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)


@contextmanager
def _plain_errors(path: upath.UPath) -> Iterator[None]:
    """What obstore raises at `path`, in other words."""
    from obstore.exceptions import BaseError  # noqa: PLC0415 - see above

    try:
        yield
    except BaseException as error:
        ours = isinstance(error, OSError) and (error.errno is not None or isinstance(error, StoreError))
        is_known = isinstance(error, BaseError | OSError | ValueError) and not ours
        if not is_known and (isinstance(error, Exception) or not is_of_a_library(error)):
            raise
        raise refusal(error, quoted(f"s3://{path.path.partition('/')[0]}"), _RIGHTS) from None
