"""The undo of a cleanup: which of the marked tracks go back to processing, and what became of them.

A track goes back only if its file is there now and it still is as the cleanup left it. Given a run, its evidence
says which tracks those are and which message they had before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from veza_ops.cleanup import Left
from veza_ops.storage import Files, Verdict
from veza_ops.track import Batch, Change, Track

if TYPE_CHECKING:
    import sqlalchemy as sa

    from veza_ops.tracks import Tracks


@dataclass(frozen=True)
class MarkedBatch:
    """Tracks that a cleanup marked: a batch of the table, or one file of a run's evidence."""

    number: int
    now: str
    keyset: Batch | None = None
    evidence: str | None = None


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

    def __add__(self, other: Self) -> "UndoCounts":
        return UndoCounts(**{name: count + asdict(other)[name] for name, count in asdict(self).items()})


@dataclass(frozen=True)
class Undone:
    """What became of one batch."""

    counts: UndoCounts = UndoCounts()
    dry_run: bool = True

    def __add__(self, other: Self) -> "Undone":
        return Undone(self.counts + other.counts, other.dry_run)


def changes_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Change]:
    """The changes that a file of evidence tells of, by the track's id."""
    return {row["id"]: Change(**{name: row[name] for name in Change._fields}) for row in rows}


def still_as_left(tracks: Iterable[Track], changes: Mapping[str, Change]) -> list[Track]:
    """Those of `tracks` that nobody touched since the run changed them."""
    return [
        track
        for track in tracks
        if (change := changes[track.id])
        and (track.file_path, track.updated_at) == (change.file_path, change.updated_at_after)
    ]


def still_marked(connection: "sa.Connection", tracks: "Tracks", evidence: Iterable[Mapping[str, Change]]) -> set[str]:
    """The ids of the tracks that are marked as the changes of some file of evidence say.

    Where the table has ``updated_at``, that tells a write from another one of the same message.
    """
    return {
        track.id
        for changes in evidence
        for track in still_as_left(tracks.of_ids(connection, tracks.marked(), list(changes)), changes)
    }


def with_file(files: Files, tracks: Sequence[Track]) -> tuple[list[Left], UndoCounts]:
    """Those of `tracks` whose file is there, and the counts of all of them."""
    looks = files.look(track.file_path for track in tracks)
    present = [
        Left(track, "its file is there")
        for track, look in zip(tracks, looks, strict=True)
        if look.verdict is Verdict.PRESENT
    ]
    verdicts = [look.verdict for look in looks]
    counts = UndoCounts(
        marked=len(tracks),
        present=len(present),
        missing=verdicts.count(Verdict.MISSING),
        unverifiable=verdicts.count(Verdict.UNVERIFIABLE),
    )
    return present, counts
