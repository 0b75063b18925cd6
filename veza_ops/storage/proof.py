"""The proof that this is the storage that the database speaks of, by the files of tracks known to be good."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from veza_ops.errors import StorageNotProvenError
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Look, Verdict


@dataclass(frozen=True)
class Proof:
    """How many files of the known-good sample were looked for, and how many were seen."""

    sampled: int
    seen: int

    def __str__(self) -> str:
        if not self.sampled:
            return "storage taken on trust: there is no sample of playable tracks to prove it with"
        return f"storage proven: the files of {self.seen} of the {self.sampled} newest playable tracks are there"

    @classmethod
    def of(cls, sample: Sequence[Look], layout: Layout) -> Self:
        """What the looks at the files of a known-good `sample` prove.

        Raises StorageNotProvenError when not more than half of them were seen.
        """
        unseen = [look.reason for look in sample if look.verdict is not Verdict.PRESENT]
        proof = cls(len(sample), len(sample) - len(unseen))
        if unseen and proof.seen * 2 <= proof.sampled:
            raise StorageNotProvenError(
                f"This storage is not the one that the database describes: with {layout}, the files of only "
                f"{proof.seen} of the {proof.sampled} newest playable tracks can be seen (the first: {unseen[0]}). "
                "On such storage nothing is changed. Check that the disk is mounted here and that VEZA_STORAGE_ROOT "
                "and storage.path_map say where; set storage.sample_size to 0 only if playable tracks keep no file at "
                "file_path."
            )
        return proof
