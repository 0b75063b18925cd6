"""A write and its evidence: what is to be changed is written down before, and what was changed is confirmed after.

No transaction is open, and no row is locked, while evidence is written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from veza_ops.archive import Archive
from veza_ops.errors import DatabaseRefusedError
from veza_ops.evidence import MARKED, MARKING, REFUSED, RESTORED, RESTORING, Evidence, entry, read_changes
from veza_ops.looks import Transaction
from veza_ops.tracks.row import Change, Judged, Track, Written

if TYPE_CHECKING:  # loads SQLAlchemy
    from veza_ops.tracks.table import Tracks


class Kind(NamedTuple):
    """A kind of write, as evidence has it, and the statuses that it changes from and to."""

    planned: str
    done: str
    status_before: str
    status_after: str


MARK = Kind(MARKING, MARKED, "processing", "failed")
RESTORE = Kind(RESTORING, RESTORED, "failed", "processing")


@dataclass(frozen=True)
class Recorder:
    """Where the writes of one batch are written down."""

    records: Evidence
    batch: int
    database: Transaction

    def write(
        self,
        kind: Kind,
        rows: Sequence[Judged],
        messages: Callable[[Track], str | None],
        change: "Callable[[Tracks, str | None], Written]",
    ) -> Written:
        """Have `change` write `rows`, with evidence before and after; it is given the time to set as ``updated_at``.

        `messages` gives the message that each row gets. Raises ConfigurationError for evidence that can't be written,
        and what the database raises: then the plan is all that is left, unless it is sure that nothing came of it.
        """
        why = {track.id: reason for track, reason in rows}
        with self.database() as tracks:
            stamp, table = tracks.stamp(), tracks.identity
        planned = (_plan(kind, track, messages(track), stamp) for track, _ in rows)
        plan = self.records.write(kind.planned, self.batch, _lines(planned, why, table))
        try:
            with self.database() as tracks:
                written = change(tracks, stamp)
        except DatabaseRefusedError:
            self.records.drop(plan)
            raise
        if written.changes:
            self.records.confirm(kind.done, self.batch, _lines(written.changes, why, table))
        self.records.drop(plan)
        if written.refused:
            self.records.confirm(REFUSED, self.batch, map(entry, written.refused))
        return written

    def marked_earlier(self) -> list[Track]:
        """The tracks of the batch that an earlier attempt of this run marked, and that are as it left them.

        What it hadn't come to confirm is told by the rows, and confirmed now. Its plan stays: a commit that nobody
        heard of may be under way still.
        """
        if not self.records.files(MARKED, self.batch) and not self.records.files(MARKING, self.batch):
            return []
        with self.database() as tracks:
            table = tracks.identity
            marked = tracks.still_as_left(_told(self.records, MARKED, self.batch, table))
        unheard = came_to_pass(self.records, self.batch, self.database)
        if unheard:
            why = dict.fromkeys((change.id for _, change in unheard), "no file, said an earlier attempt")
            self.records.confirm(MARKED, self.batch, _lines([change for _, change in unheard], why, table))
        return marked + [track for track, _ in unheard]

    def drop_old_plans(self) -> None:
        """Remove the plans of earlier attempts of which all has been confirmed since."""
        if not (plans := self.records.files(MARKING, self.batch)):
            return
        with self.database() as tracks:
            table = tracks.identity
        confirmed = _told(self.records, MARKED, self.batch, table).keys()
        self.records.drop(*(path for path in plans if read_changes(str(path), table).by_id.keys() <= confirmed))


def came_to_pass(records: Evidence, batch: int, database: Transaction) -> list[tuple[Track, Change]]:
    """What the run planned for a batch, never confirmed, and yet did: the tracks as they are, with the changes.

    Told by the time that was to be set as ``updated_at``, which is the write's own. Where a trigger may have set
    another, any later one will do, and where there is none at all, the message; unless another run confirms that it was
    the one to leave the track so.
    """
    with database() as tracks:
        table = tracks.identity
        confirmed = _told(records, MARKED, batch, table)
        plans = _told(records, MARKING, batch, table)
        planned = {identity: change for identity, change in plans.items() if identity not in confirmed}
        found = tracks.may_come_from(planned)
    sure = {track.id for track in found if track.updated_at and planned[track.id].left(track)}
    unsure = [track for track in found if track.id not in sure]
    others = Archive(records.folder, table).left_by_others(records.run_id, unsure)
    return [
        (track, planned[track.id]._replace(updated_at_after=track.updated_at))
        for track in found
        if track.id not in others
    ]


def _told(records: Evidence, kind: str, batch: int, table: str) -> dict[str, Change]:
    """What the run's files of a kind tell of a batch, by the tracks' ids."""
    files = (read_changes(str(path), table) for path in records.files(kind, batch))
    return {identity: change for told in files for identity, change in told.by_id.items()}


def _plan(kind: Kind, track: Track, message: str | None, stamp: str | None) -> Change:
    before = kind.status_before, track.status_message, track.updated_at
    return Change(track.id, track.file_path or "", *before, kind.status_after, message, stamp)


def _lines(changes: Iterable[Change], why: Mapping[str, str], table: str) -> Iterator[dict[str, str | None]]:
    return (change._asdict() | {"why": why[change.id], "table": table} for change in changes)
