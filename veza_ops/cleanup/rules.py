"""One cleanup: what it holds to from the first step to the last, what its looks came to, and its counts.

Between Veza's database (`tracks`) and Veza's files (`storage`) stand the decisions, and they know nothing of Dagster.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import reduce
from heapq import nsmallest
from operator import attrgetter, or_
from typing import TYPE_CHECKING, Self

from veza_ops.cleanup.stuck import Held, Standing, at_first, came, first_look, second_look
from veza_ops.looks import LISTED, Learned, Looking, Transaction
from veza_ops.storage.files import AN_HOUR, Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Area
from veza_ops.storage.proof import Known, Proof, Sample
from veza_ops.tracks.row import Batch, Judged, Place, Track, orphan_message
from veza_ops.witnesses import draw

if TYPE_CHECKING:  # SQLAlchemy is loaded when a run first needs it, which spares every import of this package the time
    from veza_ops.tracks.playable import Where
    from veza_ops.tracks.table import Tracks


@dataclass(frozen=True)
class Sweep:
    """What one run holds to: the time, taken once from the database's clock, and the known-good sample."""

    now: str
    cutoff: str
    message: str
    sample: Sample = field(default_factory=Sample)
    age_seconds: float = AN_HOUR
    """How long a track may stay in processing."""
    quiet: str | None = None
    """A track that was touched since then is left alone."""
    stuck: str = ""
    """A track that is older in whatever zone its time was written, and has its file, is stuck."""
    stuck_hours: float = 24
    """How long that is."""

    def stale(self, tracks: "Tracks") -> "Where":
        """Which rows are stale."""
        return tracks.stale(self.cutoff, self.quiet)


@dataclass(frozen=True)
class StaleBatch:
    """A batch of stale rows, under the sweep that found it."""

    sweep: Sweep
    batch: Batch
    most: int | None = None
    """So many of its rows may be marked failed; None for any number."""
    share_of: int = 0
    """What all batches of the run together may; 0 where this is the only one."""


@dataclass(frozen=True)
class Found:
    """What the search came to: the sweep, and its rows in batches."""

    sweep: Sweep | None
    """None when there is no database to search."""
    batches: tuple[StaleBatch, ...] = ()
    advice: tuple[str, ...] = ()
    """The statements for indexes that would make the search cheap, if it isn't."""
    unseen: str = ""
    """Why there may be stale rows that the search can't see, if there may."""

    @property
    def stale(self) -> int:
        """How many rows were stale when the batches were laid out."""
        return sum(each.batch.rows for each in self.batches)


@dataclass(frozen=True)
class Counts:
    """What became of the stale rows.

    ``stale = present + missing + unverifiable``, and, but in a dry run, ``missing = marked_failed + raced + refused``.
    """

    stale: int = 0
    present: int = 0
    missing: int = 0
    unverifiable: int = 0
    raced: int = 0
    """Missing, but changed or locked by somebody else before the write."""
    refused: int = 0
    """Missing, but the database won't change them."""
    marked_failed: int = 0
    growing: int = 0
    """Present, and the file changed between the two looks; or it has come to its end, or has no content."""
    waiting: int = 0
    empty: int = 0

    def __add__(self, other: Self) -> "Counts":
        return Counts(**{name: count + asdict(other)[name] for name, count in asdict(self).items()})


@dataclass(frozen=True)
class Checked:
    """What the looks at one batch say."""

    sweep: Sweep
    batch: Batch
    proof: Proof
    held: Sequence[Held] = field(repr=False)
    """Those whose file is there, and is to be looked at again."""
    missing: tuple[Judged, ...] = field(repr=False)
    unverifiable: tuple[Judged, ...] = field(repr=False)
    learned: Learned = field(default_factory=Learned, repr=False)
    looked_at: str = ""
    """When the looks were over, by the database's clock."""
    most: int | None = None
    """So many may be marked failed; None for any number."""
    share_of: int = 0
    standing: Standing = field(default_factory=Standing, repr=False)
    """Of those whose file is there, and was looked at again."""

    def split(self, tracks: Iterable[Track]) -> tuple["Checked", "Checked"]:
        """The missing that are `tracks`, in whatever state by now, and all else."""
        places = {track.place for track in tracks}
        those = tuple(each for each in self.missing if each.track.place in places)
        others = tuple(each for each in self.missing if each.track.place not in places)
        return self.without_others(those), replace(self, missing=others)

    def without_others(self, missing: tuple[Judged, ...]) -> "Checked":
        """Some of the missing, and nothing else."""
        return replace(self, held=(), standing=Standing(), missing=missing, unverifiable=())

    def split_off(self, untried: Sequence[Track]) -> tuple["Checked", "Checked | None"]:
        """This without the rows that are `untried`, and those alone, if there are any."""
        if not untried:
            return self, None
        rest, done = self.split(untried)
        return done, rest

    def by_folder(self) -> "Checked":
        """This with the missing of one folder side by side, so that as few parts as can be have to read it."""
        return replace(self, missing=tuple(sorted(self.missing, key=attrgetter("track.file_path"))))

    def divided(self, size: int, *, from_the_end: bool = False) -> tuple["Checked", "Checked | None"]:
        """The first `size` of the missing, or the last, with all that needs no write; and the others, if any."""
        if len(self.missing) <= size:
            return self, None
        at = len(self.missing) - size if from_the_end else size
        parts = self.missing[:at], self.missing[at:]
        part, others = reversed(parts) if from_the_end else parts
        return replace(self, missing=part), self.without_others(others)


@dataclass(frozen=True)
class Outcome:
    """What became of one batch, small enough to be gathered from any number of them."""

    counts: Counts
    proof: Proof
    orphans: tuple[Judged, ...] = ()
    unverifiable: tuple[Judged, ...] = ()
    refused: tuple[Judged, ...] = ()
    """The first of each; `LISTED` at most."""
    standing: Standing = field(default_factory=Standing)
    """Of those whose file is there."""
    digest: int = 0
    """Stands for the whole list of the unverifiable (see `evidence.digest`)."""
    oldest_orphan: str | None = None
    newest_orphan: str | None = None
    dry_run: bool = False


def find_stale(
    tracks: "Tracks",
    layout: Layout,
    *,
    threshold: timedelta,
    batch_size: int,
    sample_size: int,
    quiet: timedelta = timedelta(0),
    stuck: timedelta = timedelta(days=1),
) -> Found:
    """Take the time from the database, lay out the rows that are older in batches, and draw the known-good sample.

    Rows that were touched within `quiet` are left out; those that have their file are stuck after `stuck`. The sample
    is drawn only when there is something to check.
    Raises TracksTableError for a table that has no room for the message, or nothing to tell quiet rows by.
    """
    now = tracks.now()
    message = orphan_message(threshold)
    tracks.require_room(message)
    if quiet:
        tracks.require_updated_at()
    touched = str(now - quiet) if quiet else None
    sweep = Sweep(
        *(str(now), str(now - threshold), message, Sample(), threshold.total_seconds(), touched),
        *(tracks.as_shown(now - stuck), stuck.total_seconds() / 3600),
    )
    batches = tracks.batches(sweep.stale(tracks), size=batch_size)
    if batches:
        sweep = replace(sweep, sample=draw(tracks, layout, sample_size))
    return Found(
        sweep,
        tuple(StaleBatch(sweep, batch) for batch in batches),
        tracks.index_advice(sweep.stale(tracks), sample_size=sample_size),
        tracks.may_not_see_all,
    )


def check(
    files: Files,
    sweep: Sweep,
    batch: Batch,
    tracks: Sequence[Track],
    database: Transaction | None = None,
    drawn: dict[Area, tuple[Known, ...]] | None = None,
) -> Checked:
    """Look for the file of each of `tracks`, the storage proven before and after.

    `drawn` has the samples of areas that were drawn for other batches of the run, and is added to.
    """
    drawn = {} if drawn is None else drawn
    learned = Learned(replace(sweep.sample, areas={**drawn, **sweep.sample.areas}))
    looks = Looking(files, learned, database, sweep.age_seconds).at(tracks)
    drawn.update(learned.sample.in_full)
    held = first_look(files, looks.present)
    looked_at = _now(database) if database and (looks.missing or held) else ""
    return Checked(sweep, batch, looks.proof, held, looks.missing, looks.unverifiable, learned, looked_at)


def seconds_to_settle(checked: Checked, settle: timedelta, database: Transaction) -> float:
    """How long to wait with the second look, so that it comes `settle` after the first one.

    By the database's clock, since the two may be taken on different machines; never more than `settle`.
    """
    if not settle or not (checked.missing or checked.held):
        return 0.0
    if not checked.looked_at:
        return settle.total_seconds()
    passed = datetime.fromisoformat(_now(database)) - datetime.fromisoformat(checked.looked_at)
    return min(max(settle - passed, timedelta(0)), settle).total_seconds()


def _now(database: Transaction) -> str:
    with database() as tracks:
        return str(tracks.now())


def measured_again(files: Files, checked: Checked) -> Checked:
    """`checked`, of which the files that are there were measured a second time."""
    standing = second_look(files, checked.held, checked.sweep.stuck, checked.sweep.age_seconds)
    return replace(checked, held=(), standing=standing)


def check_again(files: Files, checked: Checked, database: Transaction | None = None) -> Checked:
    """The second look, right before the write: only what is missing both times stays missing."""
    if not checked.missing:
        return checked
    looking = Looking(files, checked.learned, database, checked.sweep.age_seconds)
    looks = looking.at([track for track, _ in checked.missing], again=True)
    return replace(
        checked,
        proof=checked.proof.and_later(looks.proof),
        standing=checked.standing + came(files, looks.present),
        missing=looks.missing,
        unverifiable=checked.unverifiable + looks.unverifiable,
    )


def outcome(
    checked: Checked,
    *,
    marked: Collection[Place] = (),
    refused: Sequence[Judged] = (),
    dry_run: bool = False,
    digest: int = 0,
) -> Outcome:
    """Sum up a part of a batch of which the rows `marked` are failed now (in a dry run: none), and some are `refused`.

    `digest` stands for the list of the unverifiable.
    """
    is_all = len(marked) == len(checked.missing) and not refused
    done = checked.missing if is_all else tuple(each for each in checked.missing if each.track.place in marked)
    orphans = checked.missing if dry_run else done
    there = checked.standing + at_first(checked.held, checked.sweep.stuck)
    present, missing, unverifiable = there.present, len(checked.missing), len(checked.unverifiable)
    those = {track.place for track, _ in refused}
    number_refused = sum(each.track.place in those for each in checked.missing) if those else 0
    raced = 0 if dry_run else missing - len(done) - number_refused
    stale = present + missing + unverifiable
    ages = [track.created_at for track, _ in orphans]
    return Outcome(
        Counts(
            *(stale, present, missing, unverifiable, raced, number_refused, len(done)),
            *(there.growing, there.waiting, there.empty),
        ),
        checked.proof,
        oldest(orphans),
        checked.unverifiable[:LISTED],
        tuple(refused[:LISTED]),
        there,
        digest,
        min(ages, default=None),
        max(ages, default=None),
        dry_run,
    )


def oldest(orphans: Iterable[Judged]) -> tuple[Judged, ...]:
    """Those that a page shows."""
    return tuple(nsmallest(LISTED, orphans, key=attrgetter("track.created_at")))


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """All parts, or all batches, as one outcome."""
    every = list(outcomes)
    counts = sum((each.counts for each in every), Counts())
    return Outcome(
        counts,
        reduce(or_, (each.proof for each in every), Proof(0, 0)),
        oldest(row for each in every for row in each.orphans),
        tuple(row for each in every for row in each.unverifiable)[:LISTED],
        tuple(row for each in every for row in each.refused)[:LISTED],
        sum((each.standing for each in every), Standing()),
        sum(each.digest for each in every),
        min((each.oldest_orphan for each in every if each.oldest_orphan), default=None),
        max((each.newest_orphan for each in every if each.newest_orphan), default=None),
        any(each.dry_run for each in every),
    )
