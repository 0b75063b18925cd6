"""What the audit asks of the tracks table, each in a transaction of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from veza_ops.looks import Transaction
from veza_ops.tracks.row import Track


@dataclass(frozen=True)
class Table:
    """The tracks table, and the column that has the sizes of files."""

    database: Transaction
    size_column: str

    def playable(self, ids: Sequence[str]) -> list[Track]:
        """The playable tracks with some ids, as they are now."""
        with self.database() as tracks:
            return tracks.of_ids(tracks.playable(), ids)

    def page(self, after: str, size: int) -> list[Track]:
        """The first so many playable tracks after an id, by id."""
        with self.database() as tracks:
            return tracks.page(tracks.audited(), after=after or None, size=size)

    def naming(self, size: int = 20_000) -> Iterator[list[Track]]:
        """All rows that name a file, in any state, so many at a time."""
        after: str | None = None
        while True:
            with self.database() as tracks:
                rows = tracks.page(tracks.naming(), after=after, size=size)
            yield rows
            if len(rows) < size:
                return
            after = rows[-1].id

    def named(self, file_paths: list[str]) -> set[str]:
        """Those of `file_paths` that a row has now, in any state."""
        with self.database() as tracks:
            return tracks.named(file_paths)

    def cannot_tell(self, age_hours: float) -> str:
        """Why nobody can say that no track names a file that is so old, if nobody can."""
        with self.database() as tracks:
            if tracks.hours_behind and tracks.hours_behind >= age_hours:
                return "The database is a standby, and what it shows may be older than the files that are told of."
            if tracks.may_be_hidden():
                return "Row-level security may hide tracks from this role, and any file may be theirs."
            if not tracks.newest_playable(1):
                return "The table has no playable track, so that nothing shows that it is the one of these files."
        return ""

    def sizes(self, ids: Sequence[str]) -> dict[str, int]:
        """How large the files of some tracks should be, by id, as far as the table says so."""
        from veza_ops.tracks.sizes import sizes_of  # noqa: PLC0415 - loads SQLAlchemy

        with self.database() as tracks:
            return sizes_of(tracks, self.size_column, ids)
