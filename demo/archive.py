"""The bucket in which a small Veza keeps some of its tracks, on a real object store."""

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path

from botocore.exceptions import ClientError

from demo.store import Store

BUCKET = "veza-archive"


class Arrival(Enum):
    """What has come of a track's object."""

    WHOLE = "its object is there"
    NOTHING = "its object never came, since its uploader died before it sent anything"
    PARTS = "its object is still coming in parts"


@dataclass(frozen=True)
class Archived:
    """A track whose file belongs into the bucket."""

    title: str
    age: timedelta
    status: str
    arrival: Arrival

    @property
    def key(self) -> str:
        return f"{self.title.lower().replace(' ', '-')}.flac"

    @property
    def address(self) -> str:
        """What the row has as its file_path."""
        return f"s3://{BUCKET}/{self.key}"


class Archive:
    """The bucket. Whoever asks for something of it waits until the store serves."""

    def __init__(self, store: Store, starting: Future[None]) -> None:
        self._store, self._starting = store, starting
        self._uploads: dict[Archived, str] = {}

    @classmethod
    @contextmanager
    def starting(cls) -> Iterator["Archive"]:
        """An empty one, which starts while its user does something else; it is stopped and removed in the end."""
        folder = Path(tempfile.mkdtemp(prefix="veza-demo-"))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            store = Store(folder)
            # The kernel ends the server with the thread that started it: this one stays until the end.
            helper = stack.enter_context(ThreadPoolExecutor(1))
            starting = helper.submit(_start, store)
            stack.callback(store.stop)
            stack.callback(wait, [starting])
            yield cls(store, starting)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which veza-ops comes here, to read and to list."""
        return self._served.environment("reader")

    def take(self, track: Archived) -> None:
        """Have as much of a track's object as has come of it."""
        match track.arrival:
            case Arrival.WHOLE:
                self._served.put(BUCKET, track.key)
            case Arrival.PARTS:
                self._uploads[track] = self._served.begin_upload(BUCKET, track.key)

    def complete(self, track: Archived) -> None:
        """Make an object of the parts of a track's upload, if it comes in parts."""
        if track in self._uploads:
            self._served.complete_upload(BUCKET, track.key, self._uploads.pop(track))

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self._served.client.head_object(Bucket=BUCKET, Key=key)
        except ClientError:
            return False
        return True

    @property
    def _served(self) -> Store:
        self._starting.result()
        return self._store


def _start(store: Store) -> None:
    store.start()
    store.make_bucket(BUCKET)
