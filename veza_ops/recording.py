"""A write and its evidence: what is to be changed is written down before, and what was changed is confirmed after.

No transaction is open, and no row is locked, while evidence is written.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from veza_ops.archive import Archive
from veza_ops.errors import DagsterSilentError, DatabaseRefusedError, RunEndedError, StatementCancelledError
from veza_ops.evidence import MARKED, MARKING, REFUSED, RESTORED, RESTORING, Evidence, Told, entry
from veza_ops.looks import Transaction
from veza_ops.pace import Pace
from veza_ops.tracks.row import Change, Judged, Place, Track, Written, changes_of

if TYPE_CHECKING:  # loads SQLAlchemy, and UPath
    import upath

    from veza_ops.tracks.table import Tracks


class Kind(NamedTuple):
    """A kind of write, as evidence has it, and the statuses that it changes from and to."""

    planned: str
    done: str
    status_before: str
    status_after: str


MARK = Kind(MARKING, MARKED, "processing", "failed")
RESTORE = Kind(RESTORING, RESTORED, "failed", "processing")


class _TooLateError(Exception):
    """What speaks for a write is too old by now."""


_LATE = (_TooLateError, StatementCancelledError)


@dataclass(frozen=True)
class Recorder:
    """Where the writes of one batch are written down."""

    records: Evidence
    batch: int
    database: Transaction
    require_wanted: Callable[[], None]
    """Raises RunEndedError when somebody has ended the run."""
    pace: Pace = field(default_factory=Pace)

    def plan(self, kind: Kind, rows: Sequence[Judged], messages: Callable[[Track], str | None]) -> "Plan":
        """Write down what is to become of `rows`; `messages` gives the message that each gets.

        Raises ConfigurationError for evidence that can't be written, and what the database raises.
        """
        with self.database() as table:
            known = Known(table.identity, str(table.now()))
            stamp = table.stamp()
        tracks = [track for track, _ in rows]
        changes = tuple(changes_of(tracks, kind.status_before, kind.status_after, map(messages, tracks), stamp))
        lines = map(known.line, changes, [reason for _, reason in rows])
        return Plan(kind, rows, known, stamp, changes, self.records.write(kind.planned, self.batch, lines))

    def write(
        self,
        plan: "Plan",
        change: "Callable[[Tracks, str | None], Written]",
        until: float = math.inf,
        looked_at: int = 1,
    ) -> Written:
        """Have `change` write what is planned, and confirm it; it is given the time to set as ``updated_at``.

        What isn't ready to be committed at `until`, by the monotonic
        clock, or takes a statement too long, is taken back, and `pace` says what becomes of it: `looked_at` rows were
        looked at for it, which may be more. Raises ConfigurationError for a confirmation that can't be written,
        RunEndedError, TooSlowError, and what the database raises: then the plan is all that is left, unless it is sure
        that nothing came of it.
        """
        return self._listed(self._written(plan, change, until, looked_at))

    def too_late(self, rows: Sequence[Judged], looked_at: int) -> Written:
        """What becomes of `rows` whose looks are too old already; `looked_at` rows were looked at for it."""
        return self._listed(self.pace.too_late(rows, looked_at))

    def _listed(self, written: Written) -> Written:
        """What was refused is listed, with why."""
        if written.refused:
            self.records.add(REFUSED, self.batch, map(entry, written.refused))
        return written

    def _written(
        self, plan: "Plan", change: "Callable[[Tracks, str | None], Written]", until: float, looked_at: int
    ) -> Written:
        is_changed = False
        try:
            with self.database() as tracks:
                if until < math.inf:
                    tracks.limit(until - time.monotonic())
                written = change(tracks, plan.stamp)
                self.require_wanted()  # as late as can be: it may have waited for a lock
                if written.changes and time.monotonic() >= until:
                    raise _TooLateError
                is_changed = True
        except (*_LATE, DatabaseRefusedError, DagsterSilentError, RunEndedError) as error:
            if is_changed:  # a commit that was answered with nonsense may have come to pass
                raise
            self.records.drop(plan.file)
            if not isinstance(error, _LATE):
                raise
            return self.pace.too_late(plan.rows, looked_at)
        self.pace.in_time()
        self._confirm(plan, written.changes)
        return written

    def _confirm(self, plan: "Plan", changes: tuple[Change, ...]) -> None:
        """Write down what has become of what was planned; mostly, the plan says just that."""
        if changes == plan.changes:
            self.records.confirm(plan.kind.done, self.batch, plan.lines(changes), plan.file)
            return
        if changes:
            self.records.confirm(plan.kind.done, self.batch, plan.lines(changes))
        self.records.drop(plan.file)

    def take_back(self, plan: "Plan") -> None:
        """Remove a plan of which nothing comes."""
        self.records.drop(plan.file)

    def done_earlier(self, kind: Kind) -> list[Track]:
        """The tracks of the batch that an earlier attempt of this run changed, and that are as it left them.

        What it hadn't come to confirm is told by the rows, and confirmed now. Its plan stays until all of it is
        confirmed: a commit that nobody heard of may be under way still.
        """
        if not any(self.records.files(each, self.batch) for each in (kind.planned, kind.done)):
            return []
        with self.database() as tracks:
            known = Known(tracks.identity, str(tracks.now()))
        told = _told(self.records, kind.done, self.batch, known.table)
        with self.database() as tracks:
            done = tracks.still_as_left({place: of_place[-1].change for place, of_place in told.items()})
        unheard = came_to_pass(self.records, kind, self.batch, self.database).done
        if unheard:
            lines = (known.line(change, "said an earlier attempt", at) for _, change, at in unheard)
            self.records.confirm(kind.done, self.batch, lines)
        self.drop_old_plans(kind)
        return done + [track for track, _, _ in unheard]

    def drop_old_plans(self, kind: Kind) -> None:
        """Remove the plans of earlier attempts of which all has been confirmed since."""
        if not (plans := self.records.files(kind.planned, self.batch)):
            return
        with self.database() as tracks:
            table = tracks.identity
        confirmed = _told(self.records, kind.done, self.batch, table).keys()
        told = {path: self.records.changes(path, table).by_place for path in plans}
        # One of which nothing can be read says nothing of what came of it.
        self.records.drop(*(path for path, each in told.items() if each and each.keys() <= confirmed))


@dataclass(frozen=True)
class Known:
    """What is known of a change beside itself."""

    table: str
    now: str

    def line(self, change: Change, why: str = "", planned_at: str = "") -> dict[str, str | None]:
        """A change as evidence has it."""
        line = {
            "id": change.id,
            "file_path": change.file_path,
            "status_before": change.status_before,
            "status_message_before": change.status_message_before,
            "updated_at_before": change.updated_at_before,
            "status_after": change.status_after,
            "status_message_after": change.status_message_after,
            "updated_at_after": change.updated_at_after,
            "table": self.table,
            "planned_at": planned_at or self.now,
        }
        if why:
            line["why"] = why
        return line


class Plan(NamedTuple):
    """What is to become of some rows, as it is written down."""

    kind: Kind
    rows: Sequence[Judged]
    known: Known
    stamp: str | None
    """The time that becomes ``updated_at``."""
    changes: tuple[Change, ...]
    file: "upath.UPath"

    def lines(self, changes: Iterable[Change]) -> Iterator[dict[str, str | None]]:
        """What has become of some of the rows, as evidence has it."""
        why = {track.place: reason for track, reason in self.rows}
        for each in changes:
            yield self.known.line(each, why[each.place])


class Unheard(NamedTuple):
    """What a run planned for a batch, and never confirmed."""

    done: Sequence[tuple[Track, Change, str]] = ()
    """What it did all the same: the tracks as they are, what changed, and when that was planned."""
    touched: Sequence[Place] = ()
    """Tracks that bear its message, and that somebody has changed since."""


def came_to_pass(records: Evidence, kind: Kind, batch: int, database: Transaction) -> Unheard:
    """What came of the plans for a batch that the run never confirmed.

    Told by the time that was to be set as ``updated_at``, which is the write's own, whatever a trigger made of the
    message. Where that isn't told to the microsecond, or a trigger may have set another, whatever changed the track
    since will do, unless another run has planned to mark it since.
    """
    with database() as tracks:
        table, tells_writes, is_plain = tracks.identity, tracks.tells_writes, tracks.is_plain
    confirmed = _told(records, kind.done, batch, table)
    planned = _told(records, kind.planned, batch, table)
    with database() as tracks:
        rows = tracks.changed_by({place: told[-1].change for place, told in planned.items() if place not in confirmed})
    by_time = tells_writes and not is_plain
    found: dict[Place, tuple[Track, Told]] = {}
    unsure: list[Track] = []
    touched: list[Track] = []
    for track in rows:
        exact = [told for told in planned[track.place] if _is_of(told.change, track, by_time=by_time)]
        same = [told for told in planned[track.place] if told.change.status_message_after == track.status_message]
        if exact or (same and not is_plain):
            found[track.place] = track, (exact or same)[-1]
        elif same:
            touched.append(track)
        else:
            continue
        if not (exact and tells_writes):
            unsure.append(track)
    claims = Archive.around(records, table).newest(unsure) if kind is MARK else {}
    others = {place for place, claim in claims.items() if claim.run_id != records.run_id}
    done = [
        (track, change._replace(updated_at_after=track.updated_at, status_message_after=track.status_message), at)
        for place, (track, (change, at)) in found.items()
        if place not in others
    ]
    return Unheard(done, [track.place for track in touched if track.place not in others])


def _is_of(change: Change, track: Track, *, by_time: bool) -> bool:
    """Whether `track` is as `change` left it; told `by_time` alone where a trigger may have rewritten the message."""
    is_same_time = change.is_timed and change.updated_at_after == track.updated_at
    return change.left(track) or (by_time and is_same_time)


def _told(records: Evidence, kind: str, batch: int, table: str) -> dict[Place, list[Told]]:
    """What the run's files of a kind tell of each place of a batch, the newest last."""
    told: dict[Place, list[Told]] = {}
    for path in records.files(kind, batch):
        for place, each in records.changes(path, table).by_place.items():
            told.setdefault(place, []).append(each)
    for of_place in told.values():
        of_place.sort(key=lambda each: each.planned_at)
    return told
