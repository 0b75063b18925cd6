"""How many rows are written at a time: fewer while they can't be written in time, and more again when they can."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from veza_ops.errors import TooSlowError
from veza_ops.tracks.row import Judged, Written

WRITTEN_AT_ONCE = 5_000
"""Rows that are written in one transaction at most, so that none stays open for more than a moment."""

_FEWER = 8
"""By so much, after a write that wasn't in time: each one tried costs as long as a write may take."""
_LEFT_AT_MOST = 8
"""So many rows in turn that can't be written in time cost themselves alone; more are no fault of theirs."""

_TOO_LATE = (
    "it could not be written in time: if it needs longer, raise database.statement_timeout_seconds or "
    "storage.look_timeout_seconds"
)


@dataclass
class Pace:
    """The pace of one batch, learned from its writes."""

    size: int = field(default_factory=lambda: WRITTEN_AT_ONCE)
    """How many rows are written next."""
    _known: int = field(default_factory=lambda: WRITTEN_AT_ONCE)
    """How many are likely to be in time: half of what wasn't, and then a little more each time."""
    _late: int = 0
    """Writes since the last one that was in time."""
    _left: int = 0
    """Rows that were left alone since."""

    def in_time(self) -> None:
        """Learn from a write that was in time."""
        self._late = self._left = 0
        if self.size == self._known:
            self._known = min(self.size + self.size // 8 + 1, WRITTEN_AT_ONCE)
        self.size = min(2 * self.size, self._known)

    @property
    def is_full(self) -> bool:
        """Whether all goes well, so that the next rows are likely to be in time, as many as there may be."""
        return self.size == WRITTEN_AT_ONCE and not self._late

    @property
    def is_stuck(self) -> bool:
        """Whether rows have been left alone since the last write: those beside them may be no faster."""
        return self._left > 0

    def too_late(self, rows: Sequence[Judged], looked_at: int = 1) -> Written:
        """What becomes of `rows` that couldn't be written in time: they are tried again, or one alone is refused.

        `looked_at` rows took that time, if not these alone. Raises TooSlowError when several rows in turn are refused.
        """
        tried = max(len(rows), looked_at)
        self._late += 1
        if tried > 1 or self._late == 1:
            self._known = max(tried // 2, 1)
            self.size = max(tried // _FEWER, 1)
            return Written(untried=tuple(track for track, _ in rows))
        self._left += 1
        if self._left > _LEFT_AT_MOST:
            raise TooSlowError(
                "Several tracks in turn could not be written in time: the storage, the database, Dagster's own, or "
                "where the evidence is kept, is too slow. Nothing more is changed. See what keeps it busy, or raise "
                "storage.look_timeout_seconds, since a track is marked that long after the look at its file at most; "
                "a single statement has database.statement_timeout_seconds."
            )
        return Written(refused=tuple(Judged(track, _TOO_LATE) for track, _ in rows))
