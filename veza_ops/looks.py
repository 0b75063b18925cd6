"""What looks at the files of some tracks come to: the tracks by verdict, each with the reason, and what proves them."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from veza_ops.storage.files import AN_HOUR, Files, whole_reasons
from veza_ops.storage.look import Area, Gone, Look, Verdict
from veza_ops.storage.proof import Proof, Sample, Witnesses
from veza_ops.text import shown
from veza_ops.tracks.row import Judged, Track, many
from veza_ops.witnesses import draw_for, occupied

if TYPE_CHECKING:  # loads SQLAlchemy
    from veza_ops.tracks.table import Tracks

Transaction = Callable[[], AbstractContextManager["Tracks"]]
"""What opens a transaction of its own over the tracks table."""

LISTED = 100
"""Rows of a kind that a page shows; the whole list is in the evidence."""


@dataclass(frozen=True)
class Looks:
    """The tracks that were looked for, by verdict."""

    present: Sequence[Track]
    missing: tuple[Judged, ...]
    unverifiable: tuple[Judged, ...]
    proof: Proof = field(default_factory=lambda: Proof(0, 0))


@dataclass
class Learned:
    """What one round of looks leaves for the next."""

    sample: Sample = field(default_factory=Sample)
    singly: set[str] = field(default_factory=set)
    """The folders that are too large or too slow to be read; they were asked for single names."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long folders took in the last round, where anybody could tell."""
    vacant: set[str] = field(default_factory=set)
    """Folders below which no playable track has its file."""
    silent: set[Area] = field(default_factory=set)
    """Areas whose witnesses gave no answer in time; to wait for them again and again would have no bound."""


@dataclass(frozen=True)
class Looking:
    """How a step looks for files."""

    files: Files
    learned: Learned
    database: "Transaction | None" = None
    """For the samples of areas; never open while storage is asked."""
    recent_seconds: float = AN_HOUR
    """An unfinished upload that was written to within so many seconds is under way."""

    def at(self, tracks: Sequence[Track], *, again: bool = False) -> Looks:
        """Prove the storage, look for the file of each of `tracks`, and prove the storage again.

        The proof is taken on both sides of the looks, so that a disk that went away and came back between two proofs
        must have done so twice to be believed. `again`: the system is asked for the very path too.
        """
        rows = self.files.rows(track.file_path for track in tracks)
        areas = rows.areas
        sample = self._sample(areas)
        before = self.files.prove(sample, areas, self.learned.silent)
        self.learned.seconds.clear()
        looks = self.files.search(
            rows,
            recent_seconds=self.recent_seconds,
            asks_again=again,
            singly=self.learned.singly,
            seconds=self.learned.seconds,
        )
        witnesses = before.and_later(self.files.prove(sample, areas, self.learned.silent))
        return self._told_apart(list(zip(tracks, looks, strict=True)), witnesses)

    def _told_apart(self, looked_for: Sequence[tuple[Track, Look]], witnesses: Witnesses) -> Looks:
        """The tracks by what their looks come to, all of a kind at once."""
        doubts = self._doubts(witnesses, dict.fromkeys(look.gone for _, look in looked_for if look.gone))
        present = [track for track, look in looked_for if look.verdict is Verdict.PRESENT]
        unverifiable = [
            Judged(track, doubts[look.gone] if look.gone else look.reason)
            for track, look in looked_for
            if (doubts[look.gone] if look.gone else look.verdict is not Verdict.PRESENT)
        ]
        missing = [each for each in looked_for if each[1].gone and not doubts[each[1].gone]]
        reasons = whole_reasons([look for _, look in missing], [track.file_path or "" for track, _ in missing])
        judged = many(Judged, zip([track for track, _ in missing], reasons, strict=True))
        return Looks(present, tuple(judged), tuple(unverifiable), witnesses.proof(doubts))

    def _sample(self, areas: Sequence[Area]) -> Sample:
        """The witnesses of the whole and of `areas`, drawn when they are first needed."""
        learned = self.learned
        if self.database and not learned.sample.is_all and any(area not in learned.sample.areas for area in areas):
            with self.database() as table:
                learned.sample = draw_for(learned.sample, table, self.files.layout, areas)
        return learned.sample

    def _doubts(self, witnesses: Witnesses, gone: Iterable[Gone]) -> dict[Gone, str]:
        """For each folder that files are missing from, why they can't be called so, or nothing."""
        doubts = {each: witnesses.why_not(each) for each in gone}
        sample, vacant = self.learned.sample, self.learned.vacant
        if not self.database or not sample.size or sample.on_trust:
            return doubts
        empty = {each.nearest.path for each, doubt in doubts.items() if each.nearest.is_empty and not doubt}
        if unknown := empty - vacant:
            with self.database() as table:
                in_use = occupied(sample, table, self.files.layout, unknown)
            vacant |= unknown - in_use
            for each in doubts:
                if each.nearest.path in in_use:
                    doubts[each] = (
                        f"{shown(each.nearest.path)} is empty, where playable tracks should have their files: its disk "
                        "may not be mounted"
                    )
        return doubts
