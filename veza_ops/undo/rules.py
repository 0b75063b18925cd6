"""The undo of a cleanup: which of the marked tracks go back to processing, and what became of them.

A track goes back only if its file is there now, a regular one, and it still is as the cleanup left it. Given a run,
its evidence says which tracks those are. The message that they had before is what any evidence tells of it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Self

from veza_ops.archive import Archive
from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKED, MARKING, REFUSED, Evidence
from veza_ops.looks import Looks, Transaction
from veza_ops.recording import MARK, RESTORE, Recorder, came_to_pass
from veza_ops.storage.files import Files
from veza_ops.storage.proof import Proof, Sample
from veza_ops.tracks.row import Batch, Change, Judged, Place, Track, Written


@dataclass(frozen=True)
class MarkedBatch:
    """Tracks that a cleanup marked: a batch of the table, of what a run confirmed, or of what it never confirmed."""

    number: int
    now: str
    run_id: str = ""
    """The run that marked them; empty for whichever did."""
    keyset: Batch | None = None
    confirmed: str | None = None
    """The file of evidence that confirms them."""
    planned: int | None = None
    """The run's own batch that they were planned in."""
    confirmed_before: tuple[str, ...] = ()
    """Of a planned batch, the files that confirm other parts of it."""
    sample: Sample = field(default_factory=Sample)
    """The tracks that prove the storage."""


@dataclass(frozen=True)
class UndoCounts:
    """What became of the marked tracks.

    ``marked = present + missing + unverifiable + changed``, and, but in a dry run,
    ``present = restored + raced + refused``.
    """

    marked: int = 0
    present: int = 0
    missing: int = 0
    unverifiable: int = 0
    changed: int = 0
    """No longer as the run left them: changed, restored or deleted since."""
    raced: int = 0
    """Changed or locked by somebody else right before the write."""
    refused: int = 0
    """The database won't change them."""
    restored: int = 0

    def with_writes(self, written: Written, earlier: int) -> "UndoCounts":
        """These counts after what is present was written, and `earlier` tracks by an attempt before this one."""
        restored, refused = len(written.changes), len(written.refused)
        return replace(
            self,
            marked=self.marked + earlier,
            present=self.present + earlier,
            restored=restored + earlier,
            refused=refused,
            raced=self.present - restored - refused,
        )

    @classmethod
    def of(cls, looks: Looks, *, changed: int) -> Self:
        """The counts after the looks, `changed` tracks having no part in them."""
        present, missing, unverifiable = map(len, (looks.present, looks.missing, looks.unverifiable))
        return cls(present + missing + unverifiable + changed, present, missing, unverifiable, changed)

    def __add__(self, other: Self) -> "UndoCounts":
        return UndoCounts(**{name: count + asdict(other)[name] for name, count in asdict(self).items()})


@dataclass(frozen=True)
class Undone:
    """What became of one batch."""

    counts: UndoCounts = UndoCounts()
    proof: Proof = field(default_factory=lambda: Proof(0, 0))
    damaged: int = 0
    """Lines of evidence that nobody can make sense of."""

    def __add__(self, other: Self) -> "Undone":
        return Undone(self.counts + other.counts, self.proof | other.proof, self.damaged + other.damaged)


@dataclass(frozen=True)
class Marked:
    """The tracks of a batch that are still marked, and what is known of them."""

    tracks: Sequence[Track]
    messages: Mapping[Place, str | None] = field(default_factory=dict)
    """What they said before."""
    changed: Collection[Place] = ()
    """No longer as the run left them."""
    damaged: int = 0

    def __add__(self, other: "Marked") -> "Marked":
        known = {track.place for track in self.tracks}
        tracks = [*self.tracks, *(track for track in other.tracks if track.place not in known)]
        messages = {**self.messages, **other.messages}
        changed = {*self.changed, *other.changed} - {track.place for track in tracks}
        return Marked(tracks, messages, changed, self.damaged + other.damaged)


def batches_of_run(records: Evidence, table: str, now: str, sample: Sample) -> list[MarkedBatch]:
    """What a run marked of `table`, by its evidence.

    Raises ConfigurationError when there is none, it can't be read, or it is of another table.
    """
    records = records.required()
    planned = records.files(MARKING)
    confirmed = records.files(MARKED)  # after the plans, which go when they are confirmed
    for path in (*confirmed, *planned):
        told = records.changes(path, table)
        if told.foreign and not told.by_place:
            raise ConfigurationError(
                f"The evidence of run {records.run_id} is of another database or table than {table}, so nothing is "
                "undone by it. Point database.url, db_schema and tracks_table at the one that it is of."
            )
    of_files = [{"confirmed": str(path)} for path in confirmed]
    before = tuple(path.name for path in confirmed)
    of_plans = [
        {"planned": number, "confirmed_before": before} for number in sorted({_batch_of(path.name) for path in planned})
    ]
    return [
        MarkedBatch(number, now, records.run_id, sample=sample, **how)  # type: ignore[arg-type]  # one or the other
        for number, how in enumerate((*of_files, *of_plans))
    ]


def _batch_of(name: str) -> int:
    """The number of the batch that a file of evidence is of."""
    return int(name.partition("-")[2].partition(".")[0])


def find_marked(batch: MarkedBatch, records: Evidence, database: Transaction) -> Marked:
    """The tracks of a batch that still are as they were left. Raises ConfigurationError for unreadable evidence."""
    if batch.planned is not None:
        return _planned(batch, batch.planned, records.required(), database)
    if batch.confirmed is not None:
        return _confirmed(batch.confirmed, records, database)
    assert batch.keyset is not None
    with database() as tracks:
        table, rows = tracks.identity, tracks.read(tracks.marked(), batch.keyset)
    claims = Archive.around(records, table).newest(rows)
    return Marked(rows, {place: _message(claim.change) for place, claim in claims.items()})


def _planned(batch: MarkedBatch, number: int, records: Evidence, database: Transaction) -> Marked:
    """What came to pass of the run's plans for a batch, confirmed or not by now: the run may go on."""
    done, touched = came_to_pass(records, MARK, number, database)
    messages = {track.place: _message(change) for track, change, _ in done}
    marked = Marked([track for track, _, _ in done], messages, touched)
    for path in records.files(MARKED, number):
        if path.name not in batch.confirmed_before:
            marked += _confirmed(str(path), records, database)
    return marked


def _confirmed(path: str, records: Evidence, database: Transaction) -> Marked:
    """What a file of evidence confirms, as far as no other run has marked it since."""
    with database() as tracks:
        table, is_told = tracks.identity, tracks.tells_writes
    told = records.changes(path, table)
    changes = {place: change for place, (change, _) in told.by_place.items()}
    with database() as tracks:
        rows = tracks.still_as_left(changes)
    unsure = [track for track in rows if not (is_told and changes[track.place].is_timed)]
    claims = Archive.around(records, table).newest(unsure)
    others = {place for place, claim in claims.items() if claim.run_id != records.run_id}
    rows = [track for track in rows if track.place not in others]
    messages = {place: _message(change) for place, (change, _) in told.by_place.items()}
    changed = told.by_place.keys() - {track.place for track in rows}
    return Marked(rows, messages, changed, told.damaged + told.foreign)


def _message(change: Change) -> str | None:
    return change.status_message_before


def of_regular_files(looks: Looks, files: Files) -> Looks:
    """`looks`, in which what is present is a regular file: a folder that has the name of a track's file isn't it."""
    whys = files.why_not_regular([track.file_path for track in looks.present])
    judged = list(zip(looks.present, whys, strict=True))
    others = tuple(Judged(track, why) for track, why in judged if why)
    present = [track for track, why in judged if not why]
    return Looks(present, looks.missing, looks.unverifiable + others, looks.proof)


def restore(tracks: Sequence[Track], messages: Mapping[Place, str | None], recorder: Recorder) -> Written:
    """Put `tracks`, whose files are there, back to processing; a message that nobody knows of is cleared."""
    with recorder.database() as table:
        cleared = table.cleared
    recorder.records.drop(*recorder.records.files(REFUSED, recorder.batch))  # an earlier attempt's
    changes: list[Change] = []
    refused: list[Judged] = []
    while tracks:
        size = recorder.pace.size
        part, rest = tracks[:size], tracks[size:]
        judged = [Judged(track, "its file is there") for track in part]
        written = recorder.write(
            recorder.plan(RESTORE, judged, lambda track: messages.get(track.place, cleared)),
            lambda table, stamp, part=part: table.restore(part, messages, stamp=stamp),  # type: ignore[misc]
        )
        changes.extend(written.changes)
        refused.extend(written.refused)
        tracks = [*written.untried, *rest]
    recorder.drop_old_plans(RESTORE)
    return Written(tuple(changes), tuple(refused))
