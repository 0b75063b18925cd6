"""The tracks table: which rows are stale, how they are read in batches, and the guarded writes.

The table is Veza's: its types are read from the database, and nothing but ``status``, ``status_message`` and
``updated_at`` of single rows is ever written. The caller owns the transaction; a function returns what it found
or changed, and logs nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from veza_ops.errors import TracksTableError
from veza_ops.tracks.playable import TAKES_ANY_NAME, UnreadableError, Where, encoded, has_zone, listed, literally
from veza_ops.tracks.preflight import facts_of, require_room
from veza_ops.tracks.row import MESSAGE_PATTERN, Batch, Change, Key, Named, Place, Track, Written, many
from veza_ops.tracks.writing import Aim, WritingTracks

LARGE_TABLE_ROWS = 100_000
"""From this many rows on (as the planner estimates), reading the whole table every hour is worth a warning."""


_AT_ONCE = 5_000

_IN_A_BUCKET = "^s3://[A-Za-z0-9._-]+/"


class Tracks(WritingTracks):
    """Veza's tracks table with its own column types (see `preflight`), and what veza-ops asks of it."""

    def now(self) -> datetime:
        """The database's clock, in UTC: the only clock that a cutoff is taken from."""
        now = self.connection.scalar(sa.select(sa.func.timezone("UTC", sa.func.now())))
        assert isinstance(now, datetime)
        return now

    @property
    def hours_behind(self) -> float:
        """How old what a standby shows may be: since its last replay, also where nothing has changed; 0 elsewhere."""
        lag = sa.func.extract("epoch", sa.func.clock_timestamp() - sa.func.pg_last_xact_replay_timestamp())
        is_standby, seconds = self.connection.execute(sa.select(sa.func.pg_is_in_recovery(), lag)).one()
        if not is_standby:
            return 0.0
        return math.inf if seconds is None else float(seconds) / 3600

    def as_shown(self, moment: datetime) -> str:
        """A moment in UTC as the earliest that ``created_at`` may say if it was written then, in whatever zone."""
        zones = () if has_zone(self._created.type) else facts_of(self.table).zones
        utc = sa.cast(str(moment), sa.DateTime())
        walls = (sa.func.timezone(zone, sa.func.timezone("UTC", utc)) for zone in zones)
        return str(self.connection.scalar(sa.select(sa.func.least(utc, *walls))))

    def require_room(self, message: str) -> None:
        """Raises TracksTableError when ``status_message`` is too short for `message`."""
        require_room(self.table, message)

    def require_updated_at(self) -> None:
        """Raises TracksTableError when nothing tells when a row was touched."""
        if self._optional("updated_at") is None:
            raise TracksTableError(
                f"The table {self._name} has no column updated_at, by which find_stale_tracks.quiet_minutes tells when "
                "a row was touched. Leave quiet_minutes at 0."
            )

    @property
    def may_not_see_all(self) -> str:
        """Why there may be rows that this role can't see, if there may."""
        return facts_of(self.table).security.says

    # -- which rows -------------------------------------------------------------------------------------------

    def stale(self, cutoff: str, quiet: str | None = None) -> list[sa.ColumnElement[bool]]:
        """Still processing, created before `cutoff`, and not touched since `quiet`, if that is given."""
        where = [self._status_is("processing"), *self._before(self._created, cutoff), *self._not_deleted()]
        where.extend(self._has_id())
        updated = self._optional("updated_at")
        if quiet and updated is not None:
            where.append(sa.or_(updated.is_(None), sa.and_(*self._before(updated, quiet))))
        return where

    def marked(self) -> list[sa.ColumnElement[bool]]:
        """Failed, with exactly a message of ours."""
        message = self._letters("status_message")
        return [*self.failed(), message.regexp_match(MESSAGE_PATTERN)]

    def failed(self) -> list[sa.ColumnElement[bool]]:
        """Failed, whoever said so."""
        return [self._status_is("failed"), *self._not_deleted(), *self._has_id()]

    def audited(self) -> list[sa.ColumnElement[bool]]:
        """Playable, and to be told of by an id."""
        return [*self.playable(), *self._has_id()]

    def naming(self) -> list[sa.ColumnElement[bool]]:
        """Whatever names a file, in any state."""
        return [self.table.c.file_path != "", *self._has_id()]

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

    def buckets(self) -> list[str]:
        """The buckets that ``s3://`` addresses of rows name, whatever these rows' state."""
        path = self._letters("file_path")
        names = sa.select(sa.func.split_part(path, "/", 3)).where(path.like("s3://%"), path.regexp_match(_IN_A_BUCKET))
        return list(self.connection.scalars(names.distinct()))

    def below(self, prefix: str, *, after: Named | str | None, size: int, by_folder: bool = False) -> list[Named]:
        """The first `size` rows whose path begins with `prefix`, `after` a row or a path; in any state.

        In the order of the paths' bytes in UTF-8, or `by_folder`: then a slash comes before all else. An index on
        (file_path COLLATE "C", id) serves the former.
        """
        if not self._can_hold(prefix):
            return []
        encoding = facts_of(self.table).encoding
        path: sa.ColumnElement[Any] = self._letters("file_path")
        order: sa.ColumnElement[Any] = sa.func.replace(path, "/", "\1", type_=sa.Text) if by_folder else path
        stored = path
        if encoding != "UTF8":  # what sorts otherwise, or can't be read, is put in order and compared as bytes
            form = "SQL_ASCII" if encoding == "SQL_ASCII" else "UTF8"
            stored, order = (sa.func.convert_to(each, form, type_=sa.LargeBinary) for each in (path, order))
        where = [path.like(f"{literally(prefix)}%"), *self._has_id()]
        if after is not None:
            last = after if isinstance(after, str) else after.path
            if encoding != "UTF8" and isinstance(last, str):
                last = last.encode()
            if by_folder:
                last = last.replace("/", "\1") if isinstance(last, str) else last.replace(b"/", b"\1")
            kind = sa.Text() if isinstance(last, str) else sa.LargeBinary()
            bound = sa.literal(last, kind)
            where.append(
                order > bound
                if isinstance(after, str)
                else sa.tuple_(order, self.table.c.id) > sa.tuple_(bound, sa.cast(after.track.id, self.table.c.id.type))
            )
        playable = sa.func.coalesce(sa.and_(*self.playable()), sa.false())
        columns = self._text("id"), stored, self._utc_text(self._created), playable
        rows = self.connection.execute(sa.select(*columns).where(*where).order_by(order, self.table.c.id).limit(size))
        return [
            Named(Track(identity, _as_text(path), created, None), is_playable, path)
            for identity, path, created, is_playable in rows
        ]

    def named(self, file_paths: Sequence[str]) -> set[str]:
        """Those of `file_paths` that any row has, whatever its state."""
        file_path, encoding = self._letters("file_path"), facts_of(self.table).encoding
        if encoding in TAKES_ANY_NAME:
            wanted: sa.TableValuedAlias = listed(list(file_paths), "file_path")
            found = sa.select(file_path).where(file_path.in_(sa.select(wanted.c.file_path)))
            return set(self.connection.scalars(found))
        # Compared as the bytes that the table stores, so that neither a name that the encoding lacks is an error, nor
        # bytes of a row that it lacks.
        paths = encoded(file_paths, encoding)
        wanted = listed([each.hex() for each in paths], "file_path")
        stored = sa.func.convert_to(file_path, "SQL_ASCII", type_=sa.LargeBinary)
        same = stored.in_(sa.select(sa.func.decode(wanted.c.file_path, "hex")))
        return {paths[each] for each in self.connection.scalars(sa.select(stored).where(same))}

    def of_ids(self, where: Where, ids: Iterable[str]) -> list[Track]:
        """The rows with these ids that match `where` now. What can't be an id here is that of no row."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return []
        try:
            with self.connection.begin_nested():
                return self._of_ids(where, wanted)
        except sa.exc.DataError:
            half = len(wanted) // 2
            return self.of_ids(where, wanted[:half]) + self.of_ids(where, wanted[half:]) if half else []

    def _of_ids(self, where: Where, ids: list[str]) -> list[Track]:
        wanted = listed(ids, "id")
        wanted_id = sa.cast(wanted.c.id, self.table.c.id.type)
        return self._tracks(sa.select(*self._columns()).join(wanted, self.table.c.id == wanted_id).where(*where))

    def still_as_left(self, changes: Mapping[Place, Change]) -> list[Track]:
        """The rows that nobody touched since `changes` were written.

        Where the table has ``updated_at``, that tells a write from another one of the same message.
        """
        return [track for track in self.changed_by(changes) if changes[track.place].left(track)]

    def changed_by(self, changes: Mapping[Place, Change]) -> list[Track]:
        """The rows of `changes` that are in the state that these gave them."""
        states = {change.status_after for change in changes.values()} & {"failed", "processing"}
        where = [sa.or_(sa.false(), *map(self._status_is, sorted(states))), *self._not_deleted()]
        return [track for track in self.of_ids(where, (place[0] for place in changes)) if track.place in changes]

    @property
    def is_plain(self) -> bool:
        """Whether nothing but a write has a say in what it makes of a row."""
        return facts_of(self.table).is_plain

    @property
    def tells_writes(self) -> bool:
        """Whether ``updated_at`` tells one write from any other: to the microsecond."""
        updated = self._optional("updated_at")
        return updated is not None and getattr(updated.type, "precision", None) in (None, 6)

    def index_advice(self, stale: Where, *, sample_size: int) -> tuple[str, ...]:
        """The statements for indexes that would spare a run the reading of the whole table, where it has to.

        None while the table is small or indexes serve. Nothing is created.
        """
        table = self._name
        relation = sa.table("pg_class", sa.column("oid"), sa.column("reltuples", sa.Float))
        estimate = sa.select(relation.c.reltuples).where(relation.c.oid == sa.func.to_regclass(table))
        rows = self.connection.scalar(estimate)
        if not rows or rows < LARGE_TABLE_ROWS:
            return ()
        dated = self.sample_query(sample_size).where(self._created.is_not(None))
        searches = {
            "(created_at, id) WHERE status = 'processing'": sa.select(self.table.c.id).where(*stale),
            **({"(created_at)": dated} if sample_size else {}),
        }
        return tuple(
            f"CREATE INDEX CONCURRENTLY ON {table} {columns}"
            for columns, search in searches.items()
            if _reads_all_for_few(self.connection, search, rows)
        )

    # -- writing ----------------------------------------------------------------------------------------------

    def mark_failed(
        self, orphans: Sequence[Track], *, cutoff: str, message: str, quiet: str | None = None, stamp: str | None = None
    ) -> Written:
        """Mark `orphans` failed where the whole premise still holds."""
        aim = Aim(self.stale(cutoff, quiet), "processing", "failed", stamp or self.stamp(), message)
        return self.write(orphans, aim)

    def restore(
        self, tracks: Sequence[Track], messages: Mapping[Place, str | None] | None = None, *, stamp: str | None = None
    ) -> Written:
        """Put `tracks` that were marked failed back to processing where that still is their state.

        Their message becomes what `messages` has for them, and is cleared otherwise.
        """
        aim = Aim(self.failed(), "failed", "processing", stamp or self.stamp(), self.cleared, messages or {})
        return self.write(tracks, aim)

    @property
    def cleared(self) -> str | None:
        """The message of a track that has none."""
        return None if self.table.c.status_message.nullable else ""

    # -- pieces -----------------------------------------------------------------------------------------------

    @property
    def _keyset(self) -> sa.Tuple:
        return sa.tuple_(self._created, self.table.c.id)

    def _bound(self, key: Key) -> sa.Tuple:
        return sa.tuple_(self._time(key.created_at, self._created), sa.cast(key.id, self.table.c.id.type))

    def _columns(self) -> tuple[sa.ColumnElement[Any], ...]:
        return (
            self._text("id"),
            self._text("file_path"),
            self._utc_text(self._created),
            self._text("updated_at"),
            self._text("status_message"),
        )

    def _status_is(self, status: str) -> sa.ColumnElement[bool]:
        status_now = self.table.c.status
        return sa.cast(status_now, status_now.type) == status  # a domain over an enum has no operators of its own

    def _has_id(self) -> list[sa.ColumnElement[bool]]:
        """A row without an id can't be named, nor come before or after another."""
        identity = self.table.c.id
        return [identity.is_not(None)] if identity.nullable else []

    def _before(self, column: sa.Column[Any], utc: str) -> list[sa.ColumnElement[bool]]:
        """`column` is before a time in UTC, whatever time zone anything is set to.

        A time without a zone may have been written in UTC or in a zone of the server's: it has to be before in each.
        """
        zones = () if has_zone(column.type) else facts_of(self.table).zones
        moment = sa.func.timezone("UTC", sa.cast(utc, sa.DateTime()))
        long_ago = column < sa.cast("1900-01-01", sa.DateTime())  # in any zone; some of it can't be in another zone
        in_zones = (sa.case((long_ago, True), else_=sa.func.timezone(zone, column) < moment) for zone in zones)
        return [column < self._time(utc, column), *in_zones]

    @staticmethod
    def _time(utc: str, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """A time in UTC as a value to compare `column` with."""
        moment = sa.cast(utc, sa.DateTime())
        return sa.func.timezone("UTC", moment) if has_zone(column.type) else moment

    @staticmethod
    def _utc_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
        return sa.cast(sa.func.timezone("UTC", column) if has_zone(column.type) else column, sa.Text)

    def _tracks(self, query: sa.Select[Any]) -> list[Track]:
        try:
            return self._read(query, _as_tracks)
        except UnreadableError:
            return self._one_by_one(list(self.connection.scalars(query.with_only_columns(self._text("id")))))

    def _one_by_one(self, ids: Sequence[str]) -> list[Track]:
        """The rows with these ids, in this order; without path and message where these have no form in UTF-8."""
        wanted = listed(list(ids), "id")
        same = self.table.c.id == sa.cast(wanted.c.id, self.table.c.id.type)
        try:
            rows = self._read(sa.select(*self._columns()).join(wanted, same), _as_tracks)
        except UnreadableError:
            if len(ids) > 1:
                half = len(ids) // 2
                return self._one_by_one(ids[:half]) + self._one_by_one(ids[half:])
            identity, _, created_at, updated_at, _ = self._columns()
            readable = self.connection.execute(sa.select(identity, created_at, updated_at).join(wanted, same))
            return [Track(row[0], None, row[1], row[2]) for row in readable]
        by_id = {row.id: row for row in rows}
        return [by_id[identity] for identity in ids if identity in by_id]


def _as_tracks(result: sa.CursorResult[Any]) -> list[Track]:
    """All rows, some at a time: what the driver makes of each is several times as large as the track."""
    return [track for rows in result.partitions(_AT_ONCE) for track in many(Track, rows)]


def _as_text(path: str | bytes) -> str | None:
    try:
        return path if isinstance(path, str) else path.decode()
    except UnicodeDecodeError:
        return None


def _reads_all_for_few(connection: sa.Connection, search: sa.Select[Any], rows: float) -> bool:
    """Whether the whole table is read to find a small part of it; for a large part, an index would be no help."""
    compiled = search.compile(connection, compile_kwargs={"render_postcompile": True})
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params).scalar_one()
    return "Seq Scan" in str(plan) and plan["Plan"]["Plan Rows"] < rows / 10
