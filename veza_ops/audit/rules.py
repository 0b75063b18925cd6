"""The audit: is the file of every playable track there, and does a track name every file? Nothing is changed.

One round over all playable tracks may take several runs: each goes on after the track that the one before ended with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from veza_ops.audit.sizes import Compared, Damaged
from veza_ops.looks import Looking, Looks
from veza_ops.tracks.row import Track


@dataclass(frozen=True)
class Round:
    """What a round over all playable tracks has come to so far."""

    audited: int = 0
    present: int = 0
    missing: int = 0
    unverifiable: int = 0
    after: str = ""
    """The id of the track that the next run goes on after; empty once all are done that aren't in buckets."""
    after_key: str = ""
    """The address that the next run goes on after in buckets; empty once these are done."""
    empty: int = 0
    """Of the present: those whose file has no content, and those whose file has less than the table says."""
    truncated: int = 0
    sizes_known: int = field(default=0, compare=False)
    """Of the present: those whose size the table says too, and those of which it says another.

    By these a round is judged; they are no part of what it came to.
    """
    sizes_differing: int = field(default=0, compare=False)
    unnamed_before: int = 0
    """What earlier runs of the round found in buckets, as below: within a round, these are listed once."""
    unnamed_in_buckets: int = 0
    """The files that no track names, of what the last run listed, and the buckets that it couldn't read."""

    def with_page(self, looks: Looks, after: str) -> "Round":
        """This round with the looks at one more page of tracks, the last of which is `after`."""
        present, missing, unverifiable = map(len, (looks.present, looks.missing, looks.unverifiable))
        return replace(
            self,
            audited=self.audited + present + missing + unverifiable,
            present=self.present + present,
            missing=self.missing + missing,
            unverifiable=self.unverifiable + unverifiable,
            after=after,
        )

    def with_damaged(self, damaged: Sequence[Damaged]) -> "Round":
        """This round with some of its present that are damaged."""
        empty = sum(not each.size for each in damaged)
        return replace(self, empty=self.empty + empty, truncated=self.truncated + len(damaged) - empty)

    def with_sizes(self, compared: Compared) -> "Round":
        """This round with the sizes that one run has compared."""
        known, differing = self.sizes_known + compared.known, self.sizes_differing + compared.differing
        return replace(self, sizes_known=known, sizes_differing=differing)

    @property
    def sizes_say_nothing(self) -> bool:
        """Whether the table's sizes, as far as the round has seen them, are of something else."""
        return Compared(self.sizes_known, self.sizes_differing).says_nothing

    @property
    def going_on(self) -> "Round":
        """This round as its next run begins with it."""
        return replace(self, unnamed_before=self.unnamed_before + self.unnamed_in_buckets, unnamed_in_buckets=0)

    @property
    def is_complete(self) -> bool:
        """Whether the next run begins a new one."""
        return not self.after and not self.after_key

    def and_buckets(self, other: "Round") -> "Round":
        """This round with what `other` has found in buckets."""
        return replace(
            self,
            audited=self.audited + other.audited,
            present=self.present + other.present,
            missing=self.missing + other.missing,
            unverifiable=self.unverifiable + other.unverifiable,
            after_key=other.after_key,
            unnamed_before=other.unnamed_before,
        )


@dataclass(frozen=True)
class Incomplete:
    """Uploads in parts that nobody has completed: a bucket keeps the parts, and they cost money."""

    incomplete_uploads: int = 0
    uploads_untold: str = ""
    """Why there may be more, if there may."""


def look_at(looking: Looking, tracks: Sequence[Track], again: Callable[[list[str]], list[Track]]) -> Looks:
    """Look for the file of each of `tracks`, the storage proven before and after.

    What is missing is read `again` by its ids and looked for once more: a track that was moved or deleted meanwhile
    has nothing to answer for.
    """
    looks = looking.at(tracks)
    if not looks.missing:
        return looks
    second = looking.at(again([track.id for track, _ in looks.missing]), again=True)
    return Looks(
        [*looks.present, *second.present],
        second.missing,
        looks.unverifiable + second.unverifiable,
        looks.proof.and_later(second.proof),
    )
