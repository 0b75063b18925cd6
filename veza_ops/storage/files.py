"""Veza's files as a job sees them: look at many, prove that they are the right ones, walk through them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from veza_ops.errors import StorageNotProvenError
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Look, Verdict
from veza_ops.storage.many import look_at_all
from veza_ops.storage.proof import Proof
from veza_ops.storage.walk import Stored, walk


@dataclass(frozen=True)
class Files:
    """Veza's files as seen from this machine: where they are, and how patiently they are looked for."""

    layout: Layout
    max_threads: int = 32
    look_timeout_seconds: float = 30.0

    def look(self, file_paths: Iterable[str | None]) -> list[Look]:
        """Look at the files of many rows (see `look_at_all`); the looks in the same order."""
        return self._look_at_all([self.layout.resolve(file_path) for file_path in file_paths])

    def prove(self, sample: Sequence[str | None]) -> Proof:
        """Prove that this is the storage that the database speaks of, by the files of tracks known to be good.

        Raises StorageNotProvenError when the root isn't a folder, or not more than half of the sample's files are seen.
        """
        self.require_root()
        return Proof.of(self.look(sample), self.layout)

    def walk(self, folders: Sequence[str]) -> Iterator[Stored]:
        """The files in `folders` of the root, and where ``path_map`` leads to, one by one, in no order.

        However many there are, only the way down to the present one is held in memory. Links aren't followed.
        """
        root = [f"{self.layout.root}/{folder}" for folder in folders] if self.layout.root else []
        return walk([*root, *self.layout.path_map.values()])

    def require_root(self) -> None:
        """Raises StorageNotProvenError when a root is configured but isn't a folder that can be looked into."""
        root = self.layout.root
        if not root:
            return
        # A look at "root/." is ENOTDIR for a file, and has the same time-out as any other look.
        (look,) = self._look_at_all([f"{root.rstrip('/')}/."])
        if look.verdict is not Verdict.PRESENT:
            reason = "there is no such folder" if look.verdict is Verdict.MISSING else look.reason
            raise StorageNotProvenError(
                f"The storage root {root} can't be used: {reason}. Without it nothing is changed. Mount the disk, or "
                "set VEZA_STORAGE_ROOT (or storage.root) to the folder that holds Veza's files."
            )

    def _look_at_all(self, paths: Sequence[str | Look]) -> list[Look]:
        return look_at_all(paths, threads=self.max_threads, timeout_seconds=self.look_timeout_seconds)
