"""One cleanup: what it holds to from the first step to the last, what its looks came to, and its counts.

Between Veza's database (`tracks`) and Veza's files (`storage`) stand the decisions, and they know nothing of Dagster.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Self

from veza_ops.looks import LISTED, Judged, Learned, Looking, Transaction
from veza_ops.storage.files import AN_HOUR, Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.proof import Proof, Sample
from veza_ops.tracks.row import Batch, Track, orphan_message
from veza_ops.witnesses import draw

if TYPE_CHECKING:  # SQLAlchemy is loaded when a run first needs it, which spares every import of this package the time
    from veza_ops.tracks.table import Tracks

WRITTEN_AT_ONCE = 5_000
"""Rows that are written in one transaction, so that none stays open for more than a moment."""


@dataclass(frozen=True)
class Sweep:
    """What one run holds to: the time, taken once from the database's clock, and the known-good sample."""

    now: str
    cutoff: str
    message: str
    sample: Sample = field(default_factory=Sample)
    age_seconds: float = AN_HOUR
    """How long a track may stay in processing."""


@dataclass(frozen=True)
class StaleBatch:
    """A batch of stale rows, under the sweep that found it."""

    sweep: Sweep
    batch: Batch


@dataclass(frozen=True)
class Found:
    """What the search came to: the sweep, and its rows in batches."""

    sweep: Sweep | None
    """None when there is no database to search."""
    batches: tuple[StaleBatch, ...] = ()
    advice: tuple[str, ...] = ()
    """The statements for indexes that would make the search cheap, if it isn't."""

    @property
    def stale(self) -> int:
        """How many rows were stale when the batches were laid out."""
        return sum(each.batch.rows for each in self.batches)


@dataclass(frozen=True)
class Counts:
    """What became of the stale rows.

    ``stale = present + missing + unverifiable``, and, but in a dry run, ``missing = marked_failed + raced``.
    """

    stale: int = 0
    present: int = 0
    missing: int = 0
    unverifiable: int = 0
    raced: int = 0
    """Missing, but changed or locked by somebody else before the write."""
    marked_failed: int = 0

    def __add__(self, other: Self) -> "Counts":
        return Counts(**{name: count + asdict(other)[name] for name, count in asdict(self).items()})


@dataclass(frozen=True)
class Checked:
    """What the looks at one batch say."""

    sweep: Sweep
    batch: Batch
    proof: Proof
    present: int
    missing: tuple[Judged, ...] = field(repr=False)
    unverifiable: tuple[Judged, ...] = field(repr=False)
    learned: Learned = field(default_factory=Learned, repr=False)

    def split(self, ids: Collection[str]) -> tuple["Checked", "Checked"]:
        """The missing that an earlier attempt marked, by their `ids`, and all else."""
        those = tuple(Judged(track, "no file, said an earlier attempt") for track, _ in self.missing if track.id in ids)
        others = tuple(each for each in self.missing if each.track.id not in ids)
        return replace(self, present=0, missing=those, unverifiable=()), replace(self, missing=others)

    def parts(self) -> Iterator["Checked"]:
        """The batch in parts that are each written in one transaction. All that needs no write is in the first one."""
        rest = replace(self, present=0, unverifiable=())
        for at in range(0, max(len(self.missing), 1), WRITTEN_AT_ONCE):
            yield replace(rest if at else self, missing=self.missing[at : at + WRITTEN_AT_ONCE])

    def __reduce__(self) -> tuple[Any, ...]:
        """Between two steps the rows travel as plain tuples, which are pickled ten times faster than named ones.

        Why a file is missing is left behind: the second look finds that anew.
        """
        missing = [tuple(track) for track, _ in self.missing]
        return _unpickled, (self.sweep, self.batch, self.proof, self.present, missing, self.unverifiable, self.learned)


def _unpickled(sweep: Sweep, batch: Batch, proof: Proof, present: int, rows: list[Any], *others: Any) -> Checked:
    missing = tuple(Judged(track, "") for track in map(Track._make, rows))
    return Checked(sweep, batch, proof, present, missing, *others)


@dataclass(frozen=True)
class Outcome:
    """What became of one batch, small enough to be gathered from any number of them."""

    counts: Counts
    proof: Proof
    orphans: tuple[Judged, ...] = ()
    unverifiable: tuple[Judged, ...] = ()
    """The first of each; `LISTED` at most."""
    oldest_orphan: str | None = None
    newest_orphan: str | None = None
    dry_run: bool = False


def find_stale(tracks: "Tracks", layout: Layout, *, threshold: timedelta, batch_size: int, sample_size: int) -> Found:
    """Take the time from the database, lay out the rows that are older in batches, and draw the known-good sample.

    The sample is drawn only when there is something to check.
    """
    now = tracks.now()
    cutoff = str(now - threshold)
    batches = tracks.batches(tracks.stale(cutoff), size=batch_size)
    sample = draw(tracks, layout, sample_size) if batches else Sample()
    sweep = Sweep(str(now), cutoff, orphan_message(threshold), sample, threshold.total_seconds())
    return Found(
        sweep,
        tuple(StaleBatch(sweep, batch) for batch in batches),
        tracks.index_advice(cutoff, sample_size=sample_size),
    )


def check(
    files: Files, sweep: Sweep, batch: Batch, tracks: Sequence[Track], database: Transaction | None = None
) -> Checked:
    """Look for the file of each of `tracks`, the storage proven before and after."""
    learned = Learned(sweep.sample)
    looks = Looking(files, learned, database, sweep.age_seconds).at(tracks)
    return Checked(sweep, batch, looks.proof, len(looks.present), looks.missing, looks.unverifiable, learned)


def check_again(files: Files, checked: Checked, database: Transaction | None = None) -> Checked:
    """The second look, right before the write: only what is missing both times stays missing."""
    if not checked.missing:
        return checked
    looking = Looking(files, checked.learned, database, checked.sweep.age_seconds)
    looks = looking.at([track for track, _ in checked.missing], again=True)
    return replace(
        checked,
        proof=checked.proof.and_later(looks.proof),
        present=checked.present + len(looks.present),
        missing=looks.missing,
        unverifiable=checked.unverifiable + looks.unverifiable,
    )


def outcome(checked: Checked, *, marked: Collection[str], dry_run: bool) -> Outcome:
    """Sum up a part of a batch of which the rows with the ids `marked` were marked failed (in a dry run: none)."""
    orphans = checked.missing if dry_run else tuple(each for each in checked.missing if each.track.id in marked)
    present, missing, unverifiable = checked.present, len(checked.missing), len(checked.unverifiable)
    marked_failed = 0 if dry_run else len(orphans)
    raced = 0 if dry_run else missing - marked_failed
    stale = present + missing + unverifiable
    ages = [track.created_at for track, _ in orphans]
    return Outcome(
        Counts(stale, present, missing, unverifiable, raced, marked_failed),
        checked.proof,
        orphans[:LISTED],
        checked.unverifiable[:LISTED],
        min(ages, default=None),
        max(ages, default=None),
        dry_run,
    )


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """All parts, or all batches, as one outcome."""
    every = list(outcomes)
    counts = sum((each.counts for each in every), Counts())
    return Outcome(
        counts,
        reduce(or_, (each.proof for each in every), Proof(0, 0)),
        tuple(row for each in every for row in each.orphans)[:LISTED],
        tuple(row for each in every for row in each.unverifiable)[:LISTED],
        min((each.oldest_orphan for each in every if each.oldest_orphan), default=None),
        max((each.newest_orphan for each in every if each.newest_orphan), default=None),
        any(each.dry_run for each in every),
    )
