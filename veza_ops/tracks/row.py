"""A track as the steps of a job hand it on: rows as they were read and as they were left, and where batches end.

Times travel between steps as text in UTC, to the microsecond, as PostgreSQL prints and reads them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, TypeVar

Row = TypeVar("Row", bound=NamedTuple)

ORPHAN_TRACK_AGE_THRESHOLD = timedelta(hours=1)
"""How long a track may stay in processing before its file is looked for."""

NOT_PLAYABLE = (
    *("uploading", "processing", "importing", "encoding", "transcoding", "converting"),
    *("draft", "pending", "queued", "waiting", "scheduled", "incomplete"),
    *("failed", "failure", "error", "errored", "cancelled", "canceled", "aborted", "abandoned"),
    *("upload_failed", "processing_failed", "transcoding_failed", "missing", "lost"),
    *("deleted", "removed", "trashed", "purged", "archived", "expired", "rejected"),
)
"""The statuses of tracks that need have no file; in any other, listeners expect it to be there."""

SIZE_COLUMN = "file_size"
"""Where a table ordinarily has the sizes of files, if it does."""

MESSAGE_PATTERN = r"^orphan cleanup: file missing on disk after >[0-9]+[hm] in processing$"
"""What every such message matches, as PostgreSQL writes patterns."""


def orphan_message(threshold: timedelta) -> str:
    """The ``status_message`` of an orphan, with its real age: ``>1h``, ``>2h``, ``>90m``."""
    minutes = int(threshold.total_seconds()) // 60
    age = f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
    return f"orphan cleanup: file missing on disk after >{age} in processing"


class Key(NamedTuple):
    """A row's place in the keyset order: (``created_at`` in UTC, ``id``), both as text."""

    created_at: str
    id: str


@dataclass(frozen=True)
class Batch:
    """The rows after `after` (from the first one, if None), up to and with `upto`."""

    number: int
    after: Key | None
    upto: Key
    rows: int
    """How many there were when the batches were laid out."""


Place = tuple[str, str | None]
"""A row's id and ``file_path``: in a view, one id may stand for several rows."""


SERVER = " (server "
"""Stands before the server's number in the name of a table, where this is known."""


class Track(NamedTuple):
    """A row as it was read: the premise that a later write repeats."""

    id: str
    file_path: str | None
    created_at: str
    updated_at: str | None
    status_message: str | None = None

    @property
    def place(self) -> Place:
        """What tells the row from all others."""
        return self.id, self.file_path


class Judged(NamedTuple):
    """A row, and the reason for what was found of it or done with it."""

    track: Track
    reason: str


class Named(NamedTuple):
    """A row in any state that names a file."""

    track: Track
    """Without path where that has no form in UTF-8."""
    is_playable: bool
    path: str | bytes
    """The path, as rows are put in order by it."""


class Playable(NamedTuple):
    """A track that listeners can play."""

    file_path: str
    status: str


class Change(NamedTuple):
    """A row that a write changed, with the values that it had before and has now."""

    id: str
    file_path: str
    status_before: str
    status_message_before: str | None
    updated_at_before: str | None
    status_after: str
    status_message_after: str | None
    updated_at_after: str | None

    @property
    def place(self) -> Place:
        """What tells the row from all others."""
        return self.id, self.file_path

    @property
    def is_timed(self) -> bool:
        """Whether the write has set a time of its own, which tells it from any other."""
        return self.updated_at_after not in (None, self.updated_at_before)

    def left(self, track: Track) -> bool:
        """Whether `track` is as this change left it."""
        after = self.file_path, self.status_message_after, self.updated_at_after
        return (track.file_path, track.status_message, track.updated_at) == after


def changes_of(
    tracks: Sequence[Track], before: str, after: str, messages: Iterable[str | None], stamp: str | None
) -> list[Change]:
    """The changes that make of `tracks`, whose status was `before`, what they are `after`, each with its message."""
    if not tracks:
        return []
    ids, paths, _, times, old_messages = zip(*tracks, strict=True)
    known = ids, [path or "" for path in paths], repeat(before), old_messages, times
    return many(Change, zip(*known, repeat(after), messages, repeat(stamp), strict=False))


@dataclass(frozen=True)
class Written:
    """What became of rows that were to be written. Those in none of these were changed or held by somebody else."""

    changes: tuple[Change, ...] = ()
    refused: tuple[Judged, ...] = ()
    """Those that the database won't change, and why."""
    untried: tuple[Track, ...] = ()
    """Those that there was no time for."""


def many(kind: type[Row], rows: Iterable[Iterable[Any]]) -> list[Row]:
    """`rows` as named tuples of a kind, all in one go: what its ``_make`` does for one."""
    return list(map(partial(tuple.__new__, kind), rows))


def age_hours(created_at: str, now: str) -> float:
    """Hours from `created_at` to `now`, both as PostgreSQL prints times in UTC.

    Infinite for a time that is no date of ours: ``-infinity``, or before the common era.
    """
    try:
        return (datetime.fromisoformat(now) - datetime.fromisoformat(created_at)).total_seconds() / 3600
    except ValueError:
        return math.inf
