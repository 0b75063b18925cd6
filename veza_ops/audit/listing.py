"""What an object store lists, one object after the other."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple, TypeVar

from veza_ops.bounds import each_within, within
from veza_ops.storage import keys
from veza_ops.storage.files import Files
from veza_ops.storage.order import by_bytes, by_folder
from veza_ops.storage.store import StoreError
from veza_ops.storage.uploads import Upload
from veza_ops.text import quoted

Result = TypeVar("Result")

MOST_UPLOADS = 100_000
"""So many incomplete ones are listed."""


class Item(NamedTuple):
    """A listed object."""

    key: str
    size: int
    is_early: bool = False
    """Whether it was listed before the rows of this stretch were read."""
    is_mark: bool = False
    """Whether it may be the mark that some programs make for a folder, whose key ends with a slash."""
    modified: float = 0.0
    """When it was last written to, in seconds since the epoch."""


def begun_before(
    files: Files, places: Iterable[str], moment: datetime, until: float, most: int = MOST_UPLOADS
) -> tuple[list[tuple[str, Upload]], str]:
    """The uploads in `places` that began before a moment and were never completed, each with its bucket, up to `most`.

    And why there may be more: nothing more is asked when the monotonic clock says `until`.
    """
    found: list[tuple[str, Upload]] = []
    whys: list[str] = []
    for place in places:
        bucket, prefix = keys.parts(f"{place}/")
        if time.monotonic() > until:
            whys.append("there was no time for more")
            break
        try:
            for upload in each_within(files.look_timeout_seconds, files.objects.uploads(bucket, prefix)):
                if upload.began < moment:
                    found.append((bucket, upload))
                if len(found) >= most or time.monotonic() > until:
                    return found, "; ".join([*whys, f"their listing in {quoted(place)} was cut short"])
        except StoreError as error:
            whys.append(str(error))
        except TimeoutError:
            whys.append(f"{quoted(place)} gave no answer within {files.look_timeout_seconds:g} s")
    return found, "; ".join(whys)


class Listing:
    """What a store lists, page by page, with a view to what was listed too early."""

    def __init__(self, files: Files, place: str, after: str) -> None:
        bucket, prefix = keys.parts(f"{place}/")
        self._files, self._where = files, place
        self._bucket, self._prefix = bucket, prefix
        self.began = time.time()
        self._sorted_by = by_bytes
        pages = files.objects.pages(bucket, prefix, after)
        self._next_page = lambda: next(pages, None)
        self._last = after
        self._ahead: deque[Item] = deque()
        self._held: Item | None = None
        """An object without content, which may be the mark of a folder: what comes next tells."""
        self._is_over = False

    def order(self) -> Callable[[str], str]:
        """What the keys are sorted by. To be asked first. Raises StoreError, also for a key that can't be."""
        objects = self._files.objects
        if not self._prefix and self._ask(lambda: objects.with_slash_in_front(self._bucket)):
            raise StoreError(f"{quoted(self._where)} holds a key that begins with a slash, which is listed without it")
        if self._ask(lambda: objects.lists_by_folder(self._bucket, self._prefix)):
            self._sorted_by = by_folder
        return self._sorted_by

    def upto(self, key: str | None) -> Iterator[Item]:
        """What is listed up to `key`, or to the end. Raises StoreError."""
        self._ahead = deque(item._replace(is_early=True) for item in self._ahead)
        self._held = self._held and self._held._replace(is_early=True)
        while True:
            while self._ahead and (key is None or self._sorted_by(self._ahead[0].key) <= self._sorted_by(key)):
                yield self._ahead.popleft()
            if self._ahead or self._is_over:
                return
            self._read()

    def _read(self) -> None:
        page = self._ask(self._next_page)
        for each in page or ():
            item = Item(each["path"], each["size"], modified=each["last_modified"].timestamp())
            if self._sorted_by(item.key) <= self._sorted_by(self._last):
                if item.size:
                    raise StoreError(f"the listing of {quoted(self._where)} isn't in one order")
                continue  # the mark of a folder, behind what is named like it
            self._last = item.key
            self._let_go(item.key)
            if item.size:
                self._ahead.append(item)
            else:
                self._held = item
        if not page:
            self._is_over = True
            self._let_go("")

    def _let_go(self, following: str) -> None:
        if self._held:
            self._ahead.append(self._held._replace(is_mark=following.startswith(f"{self._held.key}/")))
        self._held = None

    def _ask(self, question: Callable[[], Result]) -> Result:
        seconds = self._files.look_timeout_seconds
        try:
            return within(seconds, question)
        except TimeoutError:
            raise StoreError(f"{quoted(self._where)} gave no answer within {seconds:g} s", is_answer=False) from None
