"""The tracks table: which rows are stale, how they are read in batches, and the guarded writes. All the SQL is here.

The table is Veza's: its types are read from the database, and nothing but ``status``, ``status_message`` and
``updated_at`` of single rows is ever written. The caller owns the transaction; a function returns what it found
or changed, and logs nothing.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from os.path import commonprefix
from typing import Any, cast

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array

from veza_ops.tracks.row import MESSAGE_PATTERN, NOT_PLAYABLE, Batch, Change, Key, Playable, Track

FEW = 4
"""For so many folders, each is searched for by itself; for more, the table is read once for all of them."""

_TAKES_ANY_NAME = ("UTF8", "SQL_ASCII")
"""The encodings of a database that has any name, or none of its own."""

_HIDES = """
    WITH RECURSIVE used(relation) AS (
        SELECT to_regclass(:relation)::oid
        UNION
        SELECT depend.refobjid
        FROM used JOIN pg_rewrite ON ev_class = used.relation
        JOIN pg_depend AS depend ON depend.classid = 'pg_rewrite'::regclass AND depend.objid = pg_rewrite.oid
            AND depend.refclassid = 'pg_class'::regclass
    )
    SELECT bool_or(CASE WHEN relkind <> 'r' AND relkind <> 'p' THEN false
                        WHEN oid = to_regclass(:relation) THEN row_security_active(oid)
                        ELSE relrowsecurity END) AS secured,
           bool_or(oid = to_regclass(:relation) AND relkind NOT IN ('r', 'p')) AS is_view
    FROM used JOIN pg_class ON oid = used.relation
"""

_SAMPLED = ("file_path", "status", "created_at", "deleted_at")
"""What has to be known of tracks that prove the storage."""

Where = Sequence[sa.ColumnElement[bool]]

LARGE_TABLE_ROWS = 100_000
"""From this many rows on (as the planner estimates), reading the whole table every hour is worth a warning."""


@dataclass(frozen=True)
class Tracks:
    """Veza's tracks table with its own column types (see `preflight`), and what veza-ops asks of it."""

    table: sa.Table
    connection: sa.Connection
    not_playable: tuple[str, ...] = NOT_PLAYABLE
    """The statuses of tracks that need have no file, in any letter case."""

    def now(self) -> datetime:
        """The database's clock, in UTC: the only clock that a cutoff is taken from."""
        now = self.connection.scalar(sa.select(sa.func.timezone("UTC", sa.func.now())))
        assert isinstance(now, datetime)
        return now

    # -- which rows -------------------------------------------------------------------------------------------

    def stale(self, cutoff: str) -> list[sa.ColumnElement[bool]]:
        """Still processing, and created before `cutoff`."""
        return [self._status_is("processing"), self._created < self._time(cutoff), *self._not_deleted()]

    def playable(self, *, as_written: bool = False) -> list[sa.ColumnElement[bool]]:
        """In a state in which listeners expect the file to be there: `as_written`, or in any letter case."""
        status: sa.ColumnElement[str] = sa.cast(self.table.c.status, sa.Text)
        words = self._words
        if as_written:
            words = {form(word) for word in words for form in (str.lower, str.upper, str.capitalize, str.title)}
        else:  # in the C collation, which takes a tenth of the time that a language's own rules do
            status = sa.func.lower(sa.collate(status, "C"))
        return [status.not_in(sorted(words)), self.table.c.file_path != "", *self._not_deleted()]

    @property
    def _words(self) -> set[str]:
        return {word.lower() for word in self.not_playable}

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

    def newest_playable(self, count: int, *, addresses: bool = True) -> list[Playable]:
        """The `count` newest playable tracks, those that prove the storage; those at ``scheme://`` too, or without."""
        local = [] if addresses else [self._text("file_path").not_like("%://%")]
        return self._sampled(self, local, count)

    def newest_below(
        self,
        prefixes: Mapping[int, Sequence[str]],
        *,
        count: int,
        directly: Collection[int] = (),
        without: Mapping[int, Sequence[str]] | None = None,
        is_tidy: bool = True,
    ) -> dict[int, list[Playable]]:
        """For each number in `prefixes`, the `count` newest playable tracks whose path begins with one of its prefixes.

        Only those directly in the folder, for the numbers in `directly`, and none with one of the prefixes `without`.
        Where there is none, the number is left out. An index on (file_path text_pattern_ops) serves the search for a
        few folders, as long as paths are written in one form (`is_tidy`); otherwise the table is read.
        """
        without = without or {}
        apart = {*directly, *without}
        few = {number: each for number, each in prefixes.items() if number in apart or len(prefixes) <= FEW}
        path = self._text("file_path") if is_tidy else self._in_one_form
        found: dict[int, list[Playable]] = {}
        for number, each in few.items():
            below = [
                sa.and_(
                    path.like(f"{_literally(prefix)}%"),
                    *([path.not_like(f"{_literally(prefix)}%/%")] if number in directly else []),
                )
                for prefix in filter(self._can_hold, each)
            ]
            apart_from = [
                path.not_like(f"{_literally(prefix)}%") for prefix in filter(self._can_hold, without.get(number, ()))
            ]
            # In a query of its own, so that the server asks for the path first: that tells most rows apart.
            columns = [column for name in _SAMPLED if (column := self._optional(name)) is not None]
            inside = sa.select(*columns).where(sa.or_(sa.false(), *below), *apart_from).offset(0).subquery()
            if rows := self._sampled(replace(self, table=cast("sa.Table", inside)), (), count):
                found[number] = rows
        many = [
            (number, prefix)
            for number in prefixes.keys() - few.keys()
            for prefix in filter(self._can_hold, prefixes[number])
        ]
        for number, *row in self.connection.execute(self._newest_below_each(many, count, path)) if many else ():
            found.setdefault(number, []).append(Playable(*row))
        return found

    def may_be_hidden(self, *, views_too: bool = False) -> bool:
        """Whether row-level security may keep rows of the table, or of one that a view reads, from this role.

        With `views_too`, whether the view itself may, or a table elsewhere.
        """
        found = self.connection.execute(sa.text(_HIDES), {"relation": self._name}).one()
        return bool(found.secured or (views_too and found.is_view))

    @property
    def _in_one_form(self) -> sa.ColumnElement[str]:
        """Paths without ``//`` and ``/./``, and without ``./`` in front."""
        path = sa.func.regexp_replace(self._text("file_path"), r"/(\.?/)+", "/", "g")
        return sa.func.regexp_replace(path, r"^(\./)+", "", type_=sa.Text)

    def _can_hold(self, text: str) -> bool:
        """Whether a column of this database can have such a text: not all are text, or in its encoding."""
        if text.isascii():
            return True
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
        if self._takes_any_name:
            return True
        try:
            with self.connection.begin_nested():
                self.connection.scalar(sa.select(sa.literal(text)))
        except sa.exc.DBAPIError:
            return False
        return True

    @property
    def _takes_any_name(self) -> bool:
        encoding = self.connection.scalar(sa.select(sa.func.current_setting("server_encoding")))
        return encoding in _TAKES_ANY_NAME

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
            sa.func.json_to_recordset(_json(rows)).table_valued(*fields, name="checked").render_derived(with_types=True)
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
    def _created(self) -> sa.Column[Any]:
        return self.table.c.created_at

    @property
    def _keyset(self) -> sa.Tuple:
        return sa.tuple_(self._created, self.table.c.id)

    def _bound(self, key: Key) -> sa.Tuple:
        return sa.tuple_(self._time(key.created_at), sa.cast(key.id, self.table.c.id.type))

    def _columns(self) -> tuple[sa.ColumnElement[Any], ...]:
        return self._text("id"), self._text("file_path"), self._utc_text(self._created), self._text("updated_at")

    @property
    def _name(self) -> str:
        """The table's name as SQL has it."""
        return self.connection.dialect.identifier_preparer.format_table(self.table)

    def _sampled(self, tracks: "Tracks", where: Where, count: int) -> list[Playable]:
        """The newest playable of `tracks`.

        Statuses are compared as people write them, which takes the server half the time that any letter case does; only
        where that lets one through, all are asked for anew.
        """
        rows = self.connection.execute(tracks.sample_query(count, as_written=True).where(*where)).all()
        if {row.status.lower() for row in rows} & self._words:
            rows = self.connection.execute(tracks.sample_query(count).where(*where)).all()
        return [Playable(*row) for row in rows]

    def sample_query(self, count: int, *, as_written: bool = False) -> sa.Select[Any]:
        """Where the files of the newest playable tracks are, and their statuses (see `playable`)."""
        columns = self._text("file_path").label("file_path"), self._text("status").label("status")
        playable = [*self.playable(as_written=as_written), self._created.is_not(None)]
        # In a descending order, rows without a date would be the newest.
        return sa.select(*columns).where(*playable).order_by(self._created.desc()).limit(count)

    def _newest_below_each(
        self, prefixes: Sequence[tuple[int, str]], count: int, path: sa.ColumnElement[str]
    ) -> sa.Select[Any]:
        """One reading of the table for any number of folders, by the first so many names of each path."""
        wanted = (
            sa.func.json_to_recordset(_json([{"number": number, "prefix": prefix} for number, prefix in prefixes]))
            .table_valued(sa.column("number", sa.Integer), sa.column("prefix", sa.Text), name="wanted")
            .render_derived(with_types=True)
        )
        file_path = self._text("file_path")
        names = sa.func.string_to_array(path, "/", type_=sa.ARRAY(sa.Text))
        depths = sorted({prefix.count("/") for _, prefix in prefixes})
        heads = [sa.func.array_to_string(names[1:depth], "/") + "/" for depth in depths]
        head = sa.func.unnest(array(heads)).table_valued("head", name="heads").render_derived().lateral()
        place = sa.func.row_number().over(partition_by=wanted.c.number, order_by=self._created.desc())
        each = (
            sa.select(wanted.c.number, file_path.label("path"), self._text("status").label("status"), place.label("at"))
            .select_from(self.table.join(head, sa.true()).join(wanted, wanted.c.prefix == head.c.head))
            .where(sa.or_(*(path.like(f"{_literally(common)}%") for common in _in_common(prefixes))))
            .where(*self.playable(), self._created.is_not(None))
            .subquery()
        )
        return sa.select(each.c.number, each.c.path, each.c.status).where(each.c.at <= count).order_by(each.c.at)

    def _status_is(self, status: str) -> sa.ColumnElement[bool]:
        return self.table.c.status == status

    def _not_deleted(self) -> list[sa.ColumnElement[bool]]:
        deleted = self._optional("deleted_at")
        return [] if deleted is None else [deleted.is_(None)]

    def _optional(self, name: str) -> sa.Column[Any] | None:
        return self.table.c.get(name)

    def _text(self, name: str) -> sa.ColumnElement[Any]:
        column = self._optional(name)
        return sa.cast(sa.null() if column is None else column, sa.Text)

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


def _json(value: object) -> sa.Cast[Any]:
    """Many values as one parameter, which takes the driver and the server less time than arrays do."""
    return sa.cast(sa.literal(orjson.dumps(value).decode(), sa.Text), sa.JSON(none_as_null=True))


def _in_common(prefixes: Iterable[tuple[int, str]]) -> set[str]:
    """What all prefixes of as many names begin with, which tells most other rows apart at little cost."""
    by_depth: dict[int, list[str]] = {}
    for _, prefix in prefixes:
        by_depth.setdefault(prefix.count("/"), []).append(prefix)
    return {commonprefix(each) for each in by_depth.values()}  # noqa: RUF071 - by characters is what is meant


def _literally(prefix: str) -> str:
    """A prefix as part of a pattern for LIKE."""
    return re.sub(r"([\\%_])", r"\\\1", prefix)


def _listed(values: list[str], column: str) -> sa.TableValuedAlias:
    """`values` as a table of one column, named ``wanted``."""
    return sa.func.json_array_elements_text(_json(values)).table_valued(column).render_derived(name="wanted")


def _reads_all_for_few(connection: sa.Connection, search: sa.Select[Any], rows: float) -> bool:
    """Whether the whole table is read to find a small part of it; for a large part, an index would be no help."""
    compiled = search.compile(connection, compile_kwargs={"render_postcompile": True})
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params).scalar_one()
    return "Seq Scan" in str(plan) and plan["Plan"]["Plan Rows"] < rows / 10


def _has_zone(kind: Any) -> bool:
    return bool(getattr(kind, "timezone", False))
