"""One question at a time to an object store. Nothing is written.

What its answers mean: 404 on a bucket that can be listed is "not there"; any other answer, or none, says nothing. The
settings are the ``AWS_*`` variables, which the library reads by itself.
"""

from __future__ import annotations  # so that the loading of obstore waits until there is an object to ask for

import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from veza_ops.storage import keys
from veza_ops.storage.backend import Measure, Regular, just_written
from veza_ops.storage.client import client_of
from veza_ops.storage.look import PRESENT, S3, Look, unverifiable
from veza_ops.storage.order import Order
from veza_ops.storage.pages import PAGE, Pages
from veza_ops.storage.store import NO_OBJECT, StoreError, is_of_a_library, refusal, store_of
from veza_ops.storage.uploads import Upload, Uploads
from veza_ops.text import quoted

if TYPE_CHECKING:
    from datetime import datetime

    from obstore import ObjectMeta
    from obstore.store import S3Store

Result = TypeVar("Result")

_LAST = "\U0010ffff"
"""Sorts behind all that a key can go on with."""
_PATIENCE, _TROUBLE = 3, 0.05
"""So many questions to a bucket may go without an answer, one after the other; then it isn't asked any more.

One that is answered with the store's trouble counts as that part of one.
"""
_IN_PARTS = " (in parts)"
"""Makes a name of an upload that nobody has completed, as if it were an unfinished file."""
_DEEP = 20
"""Pages that end below a further prefix; after so many, there are many of these, and only they are listed."""


class Item(NamedTuple):
    """What a prefix holds: an object, or all that is below a further prefix."""

    name: str

    def is_symlink(self) -> bool:
        """There are no links."""
        return False


@dataclass
class Objects:
    """The object store that the ``AWS_*`` variables speak of, asked by as many threads as like."""

    requests: int = 32
    """How many there may be at once."""
    timeout_seconds: float = 30.0
    """What each question may take, with all that is tried again."""
    asks_first: bool = True
    """One request tells of one key, and a listing is only needed for those that aren't there."""
    _stores: dict[str, S3Store] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict)
    _unanswered: dict[str, float] = field(default_factory=dict)
    """How often each bucket gave no answer, one time after the other."""
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def cannot_be(self, path: str) -> str:
        """Why nothing can be at the address `path`, if it is none that can be asked for."""
        key = keys.parts(path)[1]
        return keys.why_not_literal(key) if key else ""

    def answer(self, path: str) -> Look | None:
        """What the store says of a key as it stands; None when it says that nothing is there."""
        found = self._head(path)
        return unverifiable(found) if isinstance(found, str) else PRESENT if found else None

    def answer_again(self, path: str) -> Look | None:
        """The same right before a file is called missing: a key that isn't there may be about to come."""
        bucket, key = keys.parts(path)
        try:
            doubt = self._ask(bucket, lambda store: Uploads(bucket, self._client(bucket, store)).why_unsure(key))
        except StoreError as error:
            return unverifiable(str(error))
        return None if doubt is None else unverifiable(doubt) if doubt else PRESENT

    def given_up(self, path: str) -> None:
        """Nobody waits any more for the answer to a question about `path`."""
        bucket = keys.parts(path)[0]
        self._unanswered[bucket] = self._unanswered.get(bucket, 0) + 1

    def has_folder(self, path: str) -> bool:
        """Whether the store says anything but that no key is below the prefix."""
        bucket, prefix = keys.parts(path)
        if keys.why_not_literal(prefix):
            return False
        try:
            return next(self.pages(bucket, f"{prefix}/"), None) is not None
        except StoreError:
            return True

    @contextmanager
    def opened(self, folder: str, *, is_last: bool = False) -> Iterator[Prefix]:
        """A prefix, read as a folder. Raises StoreError, and FileNotFoundError when no key is below it."""
        bucket, prefix = keys.parts(folder)
        yield Prefix(self, bucket, f"{prefix}/" if prefix else "", with_uploads=is_last)

    def regular(self, path: str) -> Regular | str:
        """The object at an address, or why there is none."""
        found = self._head(path)
        bucket, key = keys.parts(path)
        if isinstance(found, str):
            return found
        return Regular((S3 + bucket, key), S3 + bucket) if found else f"no object at {quoted(path)}"

    def measures(self, folder: str, names: Sequence[str], beat: Callable[[], object]) -> list[Measure | None]:
        """The measures of the objects below a prefix that have these names, in their order."""
        found: list[Measure | None] = []
        with suppress(TimeoutError):
            for name in names:
                beat()
                each = self._head(f"{folder}/{name}")
                if each is None or isinstance(each, str):
                    found.append(None)
                else:
                    found.append(Measure(each["size"], each["last_modified"].timestamp()))
        return found

    def modified(self, path: str) -> float | None:
        """When an object was last written to (seconds since the epoch); None for none. Raises StoreError."""
        found = self._head(path)
        if isinstance(found, str):
            raise StoreError(found)
        return found["last_modified"].timestamp() if found else None

    def why_unusable(self, address: str) -> str:
        """Why nothing follows from what the bucket at `address` says, if so.

        A bucket that doesn't exist answers for each key as one does that hasn't the key. One listing tells the two
        apart, and whether it is in the region and listable for whoever asks.
        """
        try:
            is_empty = next(self._listed(keys.parts(address)[0], "", ""), None) is None
        except StoreError as error:
            return "" if error.is_odd_key else str(error)  # there is such a key, then
        # What isn't a store at all may answer a listing with a page in which nothing is listed.
        return f"{quoted(address)} lists no object at all, so nothing follows from it" if is_empty else ""

    def pages(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Sequence[ObjectMeta]]:
        """All objects whose keys begin with `prefix` and come `after` another key, page by page.

        Some stores list folder by folder, where a slash comes before all else; others by the bytes of keys. A key that
        ends with a slash, as some programs make for a folder, comes without it. Raises StoreError, also for a listing
        that is in neither order, as one is that repeats itself.
        """
        order = Order(after)
        for page in self._listed(bucket, prefix, after):
            for each in page:
                if not order.has_next(each["path"], may_be_folder=not each["size"]):
                    raise StoreError(
                        f"the listing of {quoted(S3 + bucket)} repeats itself, or is in no order of keys; or one "
                        "of them begins or ends with a slash"
                    )
            yield page

    def _listed(self, bucket: str, prefix: str, after: str) -> Iterator[Sequence[ObjectMeta]]:
        """The same in any order. A listing that was cut short goes on where it ended."""
        is_over = False
        while not is_over:
            for page in self._quickly(bucket, prefix, after):
                if page:
                    after = page[-1]["path"]
                    yield page
            if page := self._following(bucket, prefix, after):
                after = page[-1]["path"]
                yield page
            is_over = not page

    def _quickly(self, bucket: str, prefix: str, after: str) -> Iterator[Sequence[ObjectMeta]]:
        import obstore  # noqa: PLC0415 - only where there are objects

        listing = self._ask(
            bucket, lambda store: obstore.list(store, prefix or None, offset=after or None, chunk_size=PAGE)
        )
        while page := self._ask(bucket, lambda _: next(listing, None)):
            # The mark of a folder comes behind its own name without the slash.
            yield [each for each in page if each["path"] != after]

    def _following(self, bucket: str, prefix: str, after: str) -> Sequence[ObjectMeta]:
        """The next page, which is empty at the end only."""
        return self._ask(bucket, lambda store: Pages(bucket, self._client(bucket, store)).following(prefix, after))

    def names(self, bucket: str, prefix: str) -> Iterator[list[str]]:
        """What is right below a prefix, without a listing of what is further down, page by page. Raises StoreError."""
        pages = self._ask(bucket, lambda store: Pages(bucket, self._client(bucket, store)).right_below(prefix))
        while (page := self._ask(bucket, lambda _: next(pages, None))) is not None:
            yield page

    def with_slash_in_front(self, bucket: str) -> dict[str, datetime]:
        """The keys that begin with a slash, which no listing here shows as they are, and when each was written.

        Of many, a page. Raises StoreError.
        """
        return self._ask(bucket, lambda store: Pages(bucket, self._client(bucket, store)).with_slash_in_front())

    def lists_by_folder(self, bucket: str, prefix: str = "") -> bool:
        """Whether the store lists folder by folder, as SeaweedFS does: what is in ``a/`` before ``a-b``.

        Tried where the first page names a folder. Raises StoreError.
        """
        first = next(self.pages(bucket, prefix), ())
        folder, slash, _ = next(
            (parts for each in first if (parts := each["path"][len(prefix) :].partition("/"))[1]), ("", "", "")
        )
        if not slash:
            return False
        # Nothing but what is in the folder comes next, by the bytes of keys: a dot comes right before the slash.
        following = next(self.pages(bucket, prefix, f"{prefix}{folder}.{_LAST}"), ())
        return not (following and following[0]["path"].startswith(f"{prefix}{folder}/"))

    def uploads(self, bucket: str, prefix: str = "") -> Iterator[Upload]:
        """The uploads in parts that nobody has completed. Raises StoreError."""
        begun = self._ask(bucket, lambda store: Uploads(bucket, self._client(bucket, store)).begun(prefix))
        while upload := self._ask(bucket, lambda _: next(begun, None)):
            yield upload

    def uploads_right_below(self, bucket: str, prefix: str) -> Iterator[tuple[list[Upload], list[str]]]:
        """Those right below a prefix, and the prefixes of those further down, page by page. Raises StoreError."""
        pages = self._ask(bucket, lambda store: Uploads(bucket, self._client(bucket, store)).right_below(prefix))
        while (page := self._ask(bucket, lambda _: next(pages, None))) is not None:
            yield page

    def _head(self, path: str) -> ObjectMeta | str | None:
        """What the store says of a key; None when it isn't there; why that is unknown."""
        import obstore  # noqa: PLC0415 - the same

        bucket, key = keys.parts(path)
        if why := keys.why_not_literal(key):
            return why
        try:
            return self._ask(bucket, lambda store: _object(obstore.head, store, key))
        except StoreError as error:
            return str(error)

    def _ask(self, bucket: str, question: Callable[[S3Store], Result]) -> Result:
        """The store's answer. Raises StoreError."""
        if self._unanswered.get(bucket, 0) >= _PATIENCE:
            raise StoreError(f"{quoted(S3 + bucket)} gave no proper answer, and isn't asked any more", is_answer=False)
        try:
            found = question(self._store(bucket))
        except StoreError:
            raise
        except BaseException as error:
            if not is_of_a_library(error):
                raise
            refused = refusal(error, quoted(S3 + bucket))
            lost = 0 if refused.is_answer else _TROUBLE if refused.is_trouble else 1
            self._unanswered[bucket] = self._unanswered.get(bucket, 0) + lost if lost else 0
            raise refused from None
        self._unanswered[bucket] = 0
        return found

    def _store(self, bucket: str) -> S3Store:
        if bucket not in self._stores:
            self._stores[bucket] = store_of(bucket, self.timeout_seconds, max_retries=2)
        return self._stores[bucket]

    def _client(self, bucket: str, store: S3Store) -> Any:
        with self._one_at_a_time:  # sessions of boto3 may not be made by several threads at once
            if bucket not in self._clients:
                self._clients[bucket] = client_of(bucket, store, self.requests, self.timeout_seconds)
        return self._clients[bucket]


def _object(head: Callable[[S3Store, str], ObjectMeta], store: S3Store, key: str) -> ObjectMeta | None:
    """What `head` tells of a key; None where it says that there is none. Nothing else says so by the same error.

    Raises StoreError for what tells nothing of an object, as the page of a proxy or of a login.
    """
    try:
        found = head(store, key)
    except FileNotFoundError:
        return None
    if not found["e_tag"]:
        raise StoreError(NO_OBJECT)
    return found


class Prefix:
    """All that is right below a prefix, as a folder holds it."""

    def __init__(self, objects: Objects, bucket: str, prefix: str, *, with_uploads: bool) -> None:
        self.device = S3 + bucket
        self._objects, self._bucket, self._prefix = objects, bucket, prefix
        self._with_uploads = with_uploads
        """Whether what is under way counts too, each under a name that an unfinished upload of it could have."""
        self._prefixes: set[str] = set()
        """Of the last page."""
        self._in_parts: dict[str, Upload] = {}
        """The same."""
        self._hidden: dict[str, datetime] = {}
        """The keys that no listing shows, and when each was written."""
        self._is_there = not prefix

    def coming(self) -> Iterator[list[Item]]:
        """The uploads in parts, and keys that no listing shows, page by page. Raises StoreError."""
        if not self._with_uploads:
            return
        for names in self._under_way():
            self._is_there = True
            yield [Item(name) for name in names]
        if self._find_hidden():
            if len(self._hidden) >= PAGE:
                raise StoreError(f"many keys in {quoted(self.device)} begin with a slash, and any may be meant")
            yield [Item(key) for key in self._hidden]

    def _find_hidden(self) -> bool:
        """Whether a listing of the whole leads astray, since some keys begin with a slash. Raises StoreError."""
        if not self._prefix:
            self._hidden = self._objects.with_slash_in_front(self._bucket)
        return bool(self._hidden)

    def __iter__(self) -> Iterator[list[Item]]:
        """What there is, page by page; where a whole page is below a further prefix, the rest of that is skipped."""
        for names in self._listed():
            self._is_there = True
            yield [Item(name) for name in dict.fromkeys(names) if name]
        if not self._is_there:
            raise FileNotFoundError(errno.ENOENT, "no such prefix")

    def _listed(self) -> Iterator[list[str]]:
        after: str | None = ""
        deep = 0
        while after is not None:
            before, after = after, None
            try:
                for page in self._objects.pages(self._bucket, self._prefix, before):
                    names = self._names(page)
                    yield names
                    deep += names[-1] in self._prefixes
                    if deep > _DEEP:
                        yield from self._objects.names(self._bucket, self._prefix)
                        return
                    if len(page) >= PAGE and len(set(names)) == 1 and names[0] in self._prefixes:
                        after = f"{self._prefix}{names[0]}/{_LAST}"
                        break
            except StoreError as error:
                if not error.is_odd_key and not self._find_hidden():
                    raise
                yield from self._objects.names(self._bucket, self._prefix)  # the odd one may be further down

    def _under_way(self) -> Iterator[list[str]]:
        """The names that unfinished uploads could have, and the further prefixes that some are below.

        One behind a name that is empty, or a dot, comes with its whole way, as somebody might mean it. Raises
        StoreError for one of which there is no telling what it means.
        """
        for here, prefixes in self._objects.uploads_right_below(self._bucket, self._prefix):
            below = [each[len(self._prefix) : -1] for each in prefixes]
            for odd in {"", "."}.intersection(below):
                here += self._objects.uploads(self._bucket, f"{self._prefix}{odd}/")  # noqa: PLW2901 - there are some more
                below.remove(odd)
            names = [each.key[len(self._prefix) :] for each in here]
            if odd := next((each for each in (*names, *below) if ".." in each.split("/")), ""):
                raise StoreError(f"an upload of {quoted(self._prefix + odd)} is under way, which may be of any name")
            self._in_parts = {f"{name}{_IN_PARTS}": each for name, each in zip(names, here, strict=True)}
            if self._in_parts or below:
                yield [*self._in_parts, *below]

    def _names(self, page: Sequence[ObjectMeta]) -> list[str]:
        """The name below the prefix of each object, or that of the further prefix that it is below."""
        rests = [each["path"][len(self._prefix) :].partition("/") for each in page]
        self._prefixes = {name for name, slash, _ in rests if slash}
        return [name for name, _, _ in rests]

    def under_way(self, seconds: float, name: str) -> str:
        """Which upload is under way, if the object, or the first of those below it, is `seconds` old at most."""
        if upload := self._in_parts.get(name):
            return str(upload)
        path = f"{self._prefix}{name}"
        if name in self._hidden:  # one that can't be asked for
            is_new = self._hidden[name].timestamp() > time.time() - seconds
            return just_written(f"{self.device}/{path}") if is_new else ""
        below = next(self._objects.pages(self._bucket, f"{path}/"), ())
        times = [each["last_modified"].timestamp() for each in below]
        if (modified := self._objects.modified(f"{self.device}/{path}")) is not None:
            times.append(modified)
        is_new = not times or max(times) > time.time() - seconds
        return just_written(f"{self.device}/{path}") if is_new else ""
