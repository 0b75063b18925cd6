"""The tracks table: which rows are stale, how they are read in batches, and the guarded writes.

The table is Veza's: its types are read from the database, and nothing but ``status``, ``status_message`` and
``updated_at`` of single rows is ever written. The caller owns the transaction; a function returns what it found
or changed, and logs nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from veza_ops.tracks.playable import PlayableTracks, Where, as_json
from veza_ops.tracks.row import MESSAGE_PATTERN, Batch, Change, Key, Track

LARGE_TABLE_ROWS = 100_000
"""From this many rows on (as the planner estimates), reading the whole table every hour is worth a warning."""


class Tracks(PlayableTracks):
    """Veza's tracks table with its own column types (see `preflight`), and what veza-ops asks of it."""

    def now(self) -> datetime:
        """The database's clock, in UTC: the only clock that a cutoff is taken from."""
        now = self.connection.scalar(sa.select(sa.func.timezone("UTC", sa.func.now())))
        assert isinstance(now, datetime)
        return now

    # -- which rows -------------------------------------------------------------------------------------------

    def stale(self, cutoff: str) -> list[sa.ColumnElement[bool]]:
        """Still processing, and created before `cutoff`."""
        return [self._status_is("processing"), self._created < self._time(cutoff), *self._not_deleted()]

    def marked(self) -> list[sa.ColumnElement[bool]]:
        """Failed, with exactly a message of ours."""
        message = sa.cast(self.table.c.status_message, sa.Text)
        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]

    # -- reading ----------------------------------------------------------------------------------------------

    def batches(self, where: Where, *, size: int) -> list[Batch]:
        """Lay out all rows that match `where` in batches of `size`, in keyset order.

        One pass over an index on (created_at, id), if there is one; only the bounds travel.
        """
        order = (self._created, self.table.c.id)
        place = sa.func.row_number().over(order_by=order).label("place")
        last = sa.func.lead(1).over(order_by=order).is_(None).label("last")
        rows = sa.select(*order, place, last).where(*where).subquery("rows")
        bounds = (
            sa.select(self._utc_text(rows.c.created_at), sa.cast(rows.c.id, sa.Text), rows.c.place)
            .where(sa.or_(rows.c.place % size == 0, rows.c.last))
            .order_by(rows.c.place)
        )
        batches: list[Batch] = []
        after, before = None, 0
        for created_at, identity, place_of_last in self.connection.execute(bounds):
            upto = Key(created_at, identity)
            batches.append(Batch(len(batches), after, upto, place_of_last - before))
            after, before = upto, place_of_last
        return batches

    def read(self, where: Where, batch: Batch) -> list[Track]:
        """The rows of `batch` that match `where` now."""
        bounds = [self._keyset <= self._bound(batch.upto)]
        if batch.after is not None:
            bounds.append(self._keyset > self._bound(batch.after))
        return self._tracks(sa.select(*self._columns()).where(*where, *bounds))

    def page(self, where: Where, *, after: str | None, size: int) -> list[Track]:
        """The first `size` rows that match `where`, by id, after the id `after`.

        The primary key serves every page alike, however many there are.
        """
        identity = self.table.c.id
        beyond = [] if after is None else [identity > sa.cast(after, identity.type)]
        return self._tracks(sa.select(*self._columns()).where(*where, *beyond).order_by(identity).limit(size))

    def named(self, file_paths: Sequence[str]) -> set[str]:
        """Those of `file_paths` that any row has, whatever its state."""
        file_path = self._text("file_path")
        if self._takes_any_name:
            wanted: sa.TableValuedAlias = _listed(list(file_paths), "file_path")
            found = sa.select(file_path).where(file_path.in_(sa.select(wanted.c.file_path)))
        else:  # a name that its encoding doesn't have would be an error, so names are compared as bytes
            wanted = _listed([path.encode().hex() for path in file_paths], "file_path")
            names = sa.select(sa.func.decode(wanted.c.file_path, "hex"))
            found = sa.select(file_path).where(sa.func.convert_to(file_path, "UTF8").in_(names))
        return set(self.connection.scalars(found))

    def of_ids(self, where: Where, ids: Sequence[str]) -> list[Track]:
        """The rows with these ids that match `where` now."""
        wanted = _listed(list(ids), "id")
        wanted_id = sa.cast(wanted.c.id, self.table.c.id.type)
        return self._tracks(sa.select(*self._columns()).join(wanted, self.table.c.id == wanted_id).where(*where))

    def still_as_left(self, changes: Mapping[str, Change]) -> list[Track]:
        """The marked rows that nobody touched since `changes`, by id, were written.

        Where the table has ``updated_at``, that tells a write from another one of the same message.
        """
        return [
            track
            for track in self.of_ids(self.marked(), list(changes))
            if (change := changes[track.id])
            and (track.file_path, track.updated_at) == (change.file_path, change.updated_at_after)
        ]

    def index_advice(self, cutoff: str, *, sample_size: int) -> tuple[str, ...]:
        """The statements for indexes that would spare a run the reading of the whole table, where it has to.

        None while the table is small or indexes serve. Nothing is created.
        """
        table = self._name
        relation = sa.table("pg_class", sa.column("oid"), sa.column("reltuples", sa.Float))
        estimate = sa.select(relation.c.reltuples).where(relation.c.oid == sa.func.to_regclass(table))
        rows = self.connection.scalar(estimate)
        if not rows or rows < LARGE_TABLE_ROWS:
            return ()
        searches = {
            "(created_at, id) WHERE status = 'processing'": sa.select(self.table.c.id).where(*self.stale(cutoff)),
            **({"(created_at)": self.sample_query(sample_size)} if sample_size else {}),
        }
        return tuple(
            f"CREATE INDEX CONCURRENTLY ON {table} {columns}"
            for columns, search in searches.items()
            if _reads_all_for_few(self.connection, search, rows)
        )

    # -- writing ----------------------------------------------------------------------------------------------

    def mark_failed(self, orphans: Sequence[Track], *, cutoff: str, message: str) -> list[Change]:
        """Mark `orphans` failed where the whole premise still holds; the rows changed."""
        return self._write(orphans, self.stale(cutoff), status="failed", message=message)

    def restore(self, tracks: Iterable[Track], messages: Mapping[str, str | None] | None = None) -> list[Change]:
        """Put `tracks` that were marked failed back to processing where that still is their state.

        Their message becomes what `messages` has for their id, and is cleared otherwise.
        """
        cleared = None if self.table.c.status_message.nullable else ""
        by_message: dict[str | None, list[Track]] = {}
        for track in tracks:
            by_message.setdefault((messages or {}).get(track.id, cleared), []).append(track)
        return [
            change
            for message, same in by_message.items()
            for change in self._write(same, self.marked(), status="processing", message=message)
        ]

    def _write(self, tracks: Sequence[Track], premise: Where, *, status: str, message: str | None) -> list[Change]:
        """The one guarded write: rows are locked only if they still are as they were read, then changed.

        A row that someone else has locked is skipped. The lock is the one that an UPDATE of these columns takes,
        so it doesn't stand in the way of rows elsewhere that refer to a track.
        """
        if not tracks:
            return []
        table, updated = self.table, self._optional("updated_at")
        fields = [sa.column("id", table.c.id.type), sa.column("file_path", sa.Text)]
        if updated is not None:
            fields.append(sa.column("updated_at", updated.type))
        rows = [{"id": track.id, "file_path": track.file_path, "updated_at": track.updated_at} for track in tracks]
        checked = (
            sa.func.json_to_recordset(as_json(rows))
            .table_valued(*fields, name="checked")
            .render_derived(with_types=True)
        )
        unchanged = [sa.cast(table.c.file_path, sa.Text) == checked.c.file_path]
        if updated is not None:
            unchanged.append(updated.is_not_distinct_from(checked.c.updated_at))
        held = (
            sa.select(
                table.c.id,
                self._text("status").label("status"),
                self._text("status_message").label("status_message"),
                self._text("updated_at").label("updated_at"),
            )
            .join(checked, table.c.id == checked.c.id)
            .where(*premise, *unchanged)
            .with_for_update(key_share=True, skip_locked=True, of=table)
            .cte("held")
        )
        values: dict[str, Any] = {"status": status, "status_message": message}
        if updated is not None:
            values["updated_at"] = self._now(updated.type)
        write = (
            sa.update(table)
            .values(values)
            .where(table.c.id == held.c.id)
            .returning(
                self._text("id"),
                self._text("file_path"),
                held.c.status,
                held.c.status_message,
                held.c.updated_at,
                self._text("status"),
                self._text("status_message"),
                self._text("updated_at"),
            )
        )
        return list(map(Change._make, self.connection.execute(write).all()))

    # -- pieces -----------------------------------------------------------------------------------------------

    @property
    def _keyset(self) -> sa.Tuple:
        return sa.tuple_(self._created, self.table.c.id)

    def _bound(self, key: Key) -> sa.Tuple:
        return sa.tuple_(self._time(key.created_at), sa.cast(key.id, self.table.c.id.type))

    def _columns(self) -> tuple[sa.ColumnElement[Any], ...]:
        return self._text("id"), self._text("file_path"), self._utc_text(self._created), self._text("updated_at")

    def _status_is(self, status: str) -> sa.ColumnElement[bool]:
        return self.table.c.status == status

    def _time(self, utc: str) -> sa.ColumnElement[Any]:
        """A time in UTC as a value to compare ``created_at`` with, whatever time zone anything is set to."""
        moment = sa.cast(utc, sa.DateTime())
        return sa.func.timezone("UTC", moment) if _has_zone(self._created.type) else moment

    @staticmethod
    def _utc_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
        return sa.cast(sa.func.timezone("UTC", column) if _has_zone(column.type) else column, sa.Text)

    @staticmethod
    def _now(kind: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
        return sa.func.now() if _has_zone(kind) else sa.func.timezone("UTC", sa.func.now())

    def _tracks(self, query: sa.Select[Any]) -> list[Track]:
        return list(map(Track._make, self.connection.execute(query).all()))


def _listed(values: list[str], column: str) -> sa.TableValuedAlias:
    """`values` as a table of one column, named ``wanted``."""
    return sa.func.json_array_elements_text(as_json(values)).table_valued(column).render_derived(name="wanted")


def _reads_all_for_few(connection: sa.Connection, search: sa.Select[Any], rows: float) -> bool:
    """Whether the whole table is read to find a small part of it; for a large part, an index would be no help."""
    compiled = search.compile(connection, compile_kwargs={"render_postcompile": True})
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params).scalar_one()
    return "Seq Scan" in str(plan) and plan["Plan"]["Plan Rows"] < rows / 10


def _has_zone(kind: Any) -> bool:
    return bool(getattr(kind, "timezone", False))
