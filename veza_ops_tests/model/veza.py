"""Veza: its real table and its real files, and beside them what each must be."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from veza_ops_tests.library import Library
from veza_ops_tests.model.disks import Disks, unfinished
from veza_ops_tests.model.fates import Fates, Row

COLUMNS = [each.name for each in fields(Row)]
INSERT = f"INSERT INTO tracks ({', '.join(COLUMNS)}) VALUES ({', '.join(f':{name}' for name in COLUMNS)})"

COMPLETE = "UPDATE tracks SET status = 'ready', updated_at = :now WHERE id = :id AND status = 'processing'"


@dataclass
class Veza:
    """What uploaders, the API and administrators do. Tracks have short names, by which files and steps name them."""

    library: Library
    disks: Disks
    rows: dict[UUID, Row] = field(default_factory=dict)
    """What the table must hold."""

    def __post_init__(self) -> None:
        self.library.execute("TRUNCATE tracks")

    @property
    def fates(self) -> Fates:
        """What a cleanup would have to make of each track now."""
        return Fates(dict(self.rows), self.disks)

    def table(self) -> dict[UUID, Row]:
        """What the table really holds."""
        with self.library.engine.connect() as connection:
            found = connection.execute(sa.text(f"SELECT {', '.join(COLUMNS)} FROM tracks")).all()
        return {row.id: Row(*row) for row in found}

    def row(self, track: str) -> Row | None:
        """The row of a track, if there is one."""
        return self.rows.get(identity(track))

    def waiting(self, track: str) -> Row | None:
        """The row of a track that is in processing, if it is."""
        row = self.row(track)
        return row if row and row.status == "processing" and row.deleted_at is None else None

    # -- uploads

    def begin(self, track: str, path: str, *, hours_ago: int) -> None:
        """An upload inserts its row."""
        began = datetime.now(UTC) - timedelta(hours=hours_ago)
        self._insert([Row(identity(track), track, "processing", "uploading", path, began, began)])

    def write_some(self, track: str, *, hidden: bool) -> None:
        """An upload writes some of its file under another name beside it."""
        row = self.waiting(track)
        if row and self.disks.is_mounted(row.file_path) and row.file_path not in self.disks.files:
            self.disks.write(unfinished(row.file_path)[hidden], b"half of it")

    def finish_file(self, track: str, *, shout: bool = False) -> None:
        """The file gets its name, or a like one in capital letters, whoever was in processing by then."""
        row = self.row(track)
        if row is None or not self.disks.is_mounted(row.file_path) or self.disks.shows(row.file_path):
            return
        folder, _, name = row.file_path.rpartition("/")
        path = f"{folder}/{name.upper()}" if shout else row.file_path
        begun = [each for each in unfinished(row.file_path) if each in self.disks.files]
        if path in self.disks.files:
            return
        if begun:
            self.disks.rename(begun[0], path)
        else:
            self.disks.write(path, b"music")

    def complete(self, track: str) -> None:
        """An upload whose file is there says so, by a guarded statement."""
        row = self.row(track)
        if row is None or row.file_path not in self.disks.files:
            return
        now = datetime.now(UTC)
        with self.library.engine.begin() as connection:
            changed = connection.execute(
                sa.text(
                    "UPDATE tracks SET status = 'ready', updated_at = :now WHERE id = :id AND status = 'processing'"
                ),
                {"id": row.id, "now": now},
            ).rowcount
        assert changed == (row.status == "processing"), f"the upload of {track} was told otherwise than it is"
        if changed:
            self.rows[row.id] = replace(row, status="ready", updated_at=now)

    # -- the API

    def change(self, track: str, **columns: object) -> None:
        """Set columns of a track's row."""
        if row := self.row(track):
            self.rows[row.id] = replace(row, **columns)  # type: ignore[arg-type]  # whatever the columns hold
            self._update(self.rows[row.id])

    def touch(self, track: str) -> None:
        """A sign of life."""
        self.change(track, updated_at=datetime.now(UTC))

    def delete(self, track: str) -> None:
        """A row is gone; its file stays."""
        if row := self.row(track):
            self.library.execute("DELETE FROM tracks WHERE id = :id", id=row.id)
            del self.rows[row.id]

    def move(self, track: str, path: str) -> None:
        """A track's file is renamed, and its row with it."""
        row = self.row(track)
        if row and self.disks.shows(row.file_path) and self.disks.is_mounted(path) and path not in self.disks.files:
            self.disks.rename(row.file_path, path)
            self.change(track, file_path=path, updated_at=datetime.now(UTC))

    def let_pass(self, track: str, hours: int) -> None:
        """So many hours pass in which nobody goes on with a track."""
        if row := self.row(track):
            time = timedelta(hours=hours)
            self.change(track, created_at=row.created_at - time, updated_at=row.updated_at - time)
            for path in filter(self.disks.shows, unfinished(row.file_path)):
                self.disks.age(path, hours)

    def restore(self, backup: Mapping[UUID, Row]) -> None:
        """The rows are those of a backup; files are as they are."""
        self.library.execute("TRUNCATE tracks")
        self.rows.clear()
        self._insert(list(backup.values()))

    def _insert(self, rows: list[Row]) -> None:
        self.rows.update({row.id: row for row in rows})
        if rows:
            with self.library.engine.begin() as connection:
                connection.execute(sa.text(INSERT), [_values(row) for row in rows])

    def _update(self, row: Row) -> None:
        changes = ", ".join(f"{name} = :{name}" for name in COLUMNS)
        self.library.execute(f"UPDATE tracks SET {changes} WHERE id = :id", **_values(row))


def identity(track: str) -> UUID:
    """The id of a track by its name, ``t1``."""
    return UUID(int=int(track[1:]))


def _values(row: Row) -> dict[str, object]:
    return dict(zip(COLUMNS, astuple(row), strict=True))
