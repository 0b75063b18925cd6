"""The undo of a cleanup: which of the marked tracks go back to processing, and what became of them.

A track goes back only if its file is there now and it still is as the cleanup left it. Given a run, its evidence
says which tracks those are and which message they had before.
"""

from dataclasses import asdict, dataclass, field
from typing import Self

from veza_ops.looks import Looks
from veza_ops.storage.proof import Proof, Sample
from veza_ops.tracks.row import Batch


@dataclass(frozen=True)
class MarkedBatch:
    """Tracks that a cleanup marked: a batch of the table, or one file of a run's evidence."""

    number: int
    now: str
    keyset: Batch | None = None
    evidence: str | None = None
    sample: Sample = field(default_factory=Sample)
    """The tracks that prove the storage."""


@dataclass(frozen=True)
class UndoCounts:
    """What became of the marked tracks.

    ``marked = present + missing + unverifiable + changed``, and, but in a dry run, ``present = restored + raced``.
    """

    marked: int = 0
    present: int = 0
    missing: int = 0
    unverifiable: int = 0
    changed: int = 0
    """No longer as the run left them: changed, restored or deleted since."""
    raced: int = 0
    """Changed or locked by somebody else right before the write."""
    restored: int = 0

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
    dry_run: bool = True
    proof: Proof = field(default_factory=lambda: Proof(0, 0))

    def __add__(self, other: Self) -> "Undone":
        return Undone(self.counts + other.counts, other.dry_run, self.proof | other.proof)
