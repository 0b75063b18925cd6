"""A track as the steps of a job hand it on: rows as they were read and as they were left, and where batches end.

Times travel between steps as text in UTC, to the microsecond, as PostgreSQL prints and reads them.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

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


class Track(NamedTuple):
    """A row as it was read: the premise that a later write repeats."""

    id: str
    file_path: str | None
    created_at: str
    updated_at: str | None


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


def age_hours(created_at: str, now: str) -> float:
    """Hours from `created_at` to `now`, both as PostgreSQL prints times in UTC (its ``-infinity`` included)."""
    try:
        return (datetime.fromisoformat(now) - datetime.fromisoformat(created_at)).total_seconds() / 3600
    except ValueError:
        return math.inf
