"""The playable tracks: which they are, and the newest of them, whose files prove the storage."""

import codecs
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Any, TypeVar, cast

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array

from veza_ops.tracks.preflight import facts_of
from veza_ops.tracks.row import NOT_PLAYABLE, Playable

Read = TypeVar("Read")

Where = Sequence[sa.ColumnElement[bool]]

FEW = 4
"""For so many folders, each is searched for by itself; for more, the table is read once for all of them."""

TAKES_ANY_NAME = ("UTF8", "SQL_ASCII")
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

_SAMPLED = ("file_path", "status", "deleted_at")
"""What has to be known of tracks that prove the storage, beside their date."""


_UNREADABLE = ("22021", "22P05")
"""SQLSTATEs of a text that has no form in UTF-8."""


_CODEC_OF = {"SQL_ASCII": "utf-8", "WIN": "cp", "KOI8": "koi8-"}
_CODECS = re.compile("^(?:SQL_ASCII|WIN|KOI8)")
"""Names that Python has otherwise. Without an encoding of the database's own, names are what most clients write."""


class UnreadableError(Exception):
    """A row holds a text that has no form in UTF-8, in a database of another encoding or of none."""


@dataclass(frozen=True)
class PlayableTracks:
    """Veza's tracks table with its own column types (see `preflight`), and what proves the storage in it."""

    table: sa.Table
    connection: sa.Connection
    not_playable: tuple[str, ...] = NOT_PLAYABLE
    """The statuses of tracks that need have no file, in any letter case."""

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

    def newest_playable(self, count: int, *, addresses: bool = True) -> list[Playable]:
        """The `count` newest playable tracks, those that prove the storage; those at ``scheme://`` too, or without."""
        local = [] if addresses else [self._letters("file_path").not_like("%://%")]
        newest = self._sampled(self, [*local, self._created.is_not(None)], count)
        if len(newest) == count:
            return newest
        # By themselves, since no index on created_at has them last.
        undated = self._within(self._created.is_(None), *local)
        return newest + self._sampled(undated, (), count - len(newest))

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
        path = self._letters("file_path") if is_tidy else self._in_one_form
        found: dict[int, list[Playable]] = {}
        many = [
            (number, prefix)
            for number in prefixes.keys() - few.keys()
            for prefix in filter(self._can_hold, prefixes[number])
        ]
        try:
            for row in self._readable(self._newest_below_each(many, count, path)) if many else ():
                found.setdefault(row.number, []).append(Playable(row.path, row.status))
        except UnreadableError:
            few = dict(prefixes)
        for number, each in few.items():
            below = [
                sa.and_(
                    path.like(f"{literally(prefix)}%"),
                    *([path.not_like(f"{literally(prefix)}%/%")] if number in directly else []),
                )
                for prefix in filter(self._can_hold, each)
            ]
            apart_from = [
                path.not_like(f"{literally(prefix)}%") for prefix in filter(self._can_hold, without.get(number, ()))
            ]
            if rows := self._sampled(self._within(sa.or_(sa.false(), *below), *apart_from), (), count):
                found[number] = rows
        return found

    def _within(self, *where: sa.ColumnElement[bool]) -> "PlayableTracks":
        """The tracks that match, in a query of its own, so that the server asks for that first.

        Those without a date are the oldest.
        """
        created = sa.func.coalesce(self._created, sa.cast("-infinity", self._created.type)).label("created_at")
        others = (column for name in _SAMPLED if (column := self._optional(name)) is not None)
        inside = sa.select(created, *others).where(*where).offset(0).subquery()
        return replace(self, table=cast("sa.Table", inside))

    def may_be_hidden(self, *, views_too: bool = False) -> bool:
        """Whether row-level security may keep rows of the table, or of one that a view reads, from this role.

        With `views_too`, whether the view itself may, or a table elsewhere.
        """
        security = facts_of(self.table).security
        if security.active:
            return security.may_hide
        found = self.connection.execute(sa.text(_HIDES), {"relation": self._name}).one()
        return bool(found.secured or (views_too and found.is_view))

    @property
    def _in_one_form(self) -> sa.ColumnElement[str]:
        """Paths without ``//`` and ``/./``, and without ``./`` in front; addresses of objects as they are."""
        path = sa.func.regexp_replace(self._letters("file_path"), r"/(\.?/)+", "/", "g")
        tidy = sa.func.regexp_replace(path, r"^(\./)+", "", type_=sa.Text)
        return sa.case((self._letters("file_path").like("s3://%"), self._letters("file_path")), else_=tidy)

    def _can_hold(self, text: str) -> bool:
        """Whether a column of this database can have such a text: not all are text, or in its encoding."""
        if text.isascii():
            return True
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
        if facts_of(self.table).encoding in TAKES_ANY_NAME:
            return True
        try:
            with self.connection.begin_nested():
                self.connection.scalar(sa.select(sa.literal(text)))
        except sa.exc.DBAPIError:
            return False
        return True

    @property
    def _name(self) -> str:
        """The table's name as SQL has it."""
        name = self.connection.dialect.identifier_preparer.format_table(self.table)
        return name.replace("%%", "%")  # doubled for statements that take parameters

    def _sampled(self, tracks: "PlayableTracks", where: Where, count: int) -> list[Playable]:
        """The newest playable of `tracks`.

        Statuses are compared as people write them, which takes the server half the time that any letter case does; only
        where that lets one through, all are asked for anew.
        """
        try:
            rows = self._readable(tracks.sample_query(count, as_written=True).where(*where))
            if {row.status.lower() for row in rows} & self._words:
                rows = self._readable(tracks.sample_query(count).where(*where))
        except UnreadableError:
            return self._decoded(tracks.sample_query(count).where(*where))
        return [Playable(row.file_path, row.status) for row in rows]

    def _decoded(self, query: sa.Select[Any]) -> list[Playable]:
        """The rows of a sample, of which some have no form in UTF-8: what can't be decoded stays bytes of a name."""
        codec = _codec_of(facts_of(self.table).encoding)
        stored = (sa.func.convert_to(each, "SQL_ASCII", type_=sa.LargeBinary) for each in query.selected_columns)
        rows = self.connection.execute(query.with_only_columns(*stored))
        return [Playable(*(each.decode(codec, "surrogateescape") for each in row)) for row in rows]

    def _readable(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """The rows of a query. Raises UnreadableError for a text in them that has no form in UTF-8."""
        return self._read(query, lambda result: result.all())

    def _read(self, query: sa.Select[Any], take: Callable[[sa.CursorResult[Any]], Read]) -> Read:
        """What `take` makes of the rows of a query. Raises UnreadableError, as above."""
        if facts_of(self.table).encoding == "UTF8":
            return take(self.connection.execute(query))
        try:
            with self.connection.begin_nested():
                return take(self.connection.execute(query))
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _UNREADABLE:
                raise
            raise UnreadableError from None

    def sample_query(self, count: int, *, as_written: bool = False) -> sa.Select[Any]:
        """Where the files of the newest playable tracks are, and their statuses (see `playable`)."""
        columns = self._text("file_path").label("file_path"), self._text("status").label("status")
        playable = self.playable(as_written=as_written)
        return sa.select(*columns).where(*playable).order_by(self._created.desc()).limit(count)

    def _newest_below_each(
        self, prefixes: Sequence[tuple[int, str]], count: int, path: sa.ColumnElement[str]
    ) -> sa.Select[Any]:
        """One reading of the table for any number of folders, by the first so many names of each path."""
        wanted = (
            sa.func.json_to_recordset(as_json([{"number": number, "prefix": prefix} for number, prefix in prefixes]))
            .table_valued(sa.column("number", sa.Integer), sa.column("prefix", sa.Text), name="wanted")
            .render_derived(with_types=True)
        )
        file_path = self._letters("file_path")
        names = sa.func.string_to_array(path, "/", type_=sa.ARRAY(sa.Text))
        depths = sorted({prefix.count("/") for _, prefix in prefixes})
        heads = [sa.func.array_to_string(names[1:depth], "/") + "/" for depth in depths]
        head = sa.func.unnest(array(heads)).table_valued("head", name="heads").render_derived().lateral()
        newest_first = self._created.desc().nulls_last()
        place = sa.func.row_number().over(partition_by=wanted.c.number, order_by=newest_first)
        each = (
            sa.select(wanted.c.number, file_path.label("path"), self._text("status").label("status"), place.label("at"))
            .select_from(self.table.join(head, sa.true()).join(wanted, wanted.c.prefix == head.c.head))
            .where(sa.or_(*(path.like(f"{literally(common)}%") for common in _in_common(prefixes))))
            .where(*self.playable())
            .subquery()
        )
        return sa.select(each.c.number, each.c.path, each.c.status).where(each.c.at <= count).order_by(each.c.at)

    @property
    def _created(self) -> sa.Column[Any]:
        return self.table.c.created_at

    def _not_deleted(self) -> list[sa.ColumnElement[bool]]:
        deleted = self._optional("deleted_at")
        return [] if deleted is None else [deleted.is_(None)]

    def _optional(self, name: str) -> sa.Column[Any] | None:
        return self.table.c.get(name)

    def _text(self, name: str) -> sa.ColumnElement[Any]:
        column = self._optional(name)
        return sa.cast(sa.null() if column is None else column, sa.Text)

    def _letters(self, name: str) -> sa.ColumnElement[str]:
        """A column as text that is compared letter by letter, whatever its own collation takes for the same."""
        return sa.collate(self._text(name), "C")


def _codec_of(encoding: str) -> str:
    """Python's codec for an encoding of PostgreSQL's; ASCII where it has none."""
    try:
        return codecs.lookup(_CODECS.sub(lambda found: _CODEC_OF[found[0]], encoding)).name
    except LookupError:
        return "ascii"


def encoded(texts: Iterable[str], encoding: str) -> dict[bytes, str]:
    """Texts by the bytes that they are in an encoding of PostgreSQL's; without those that it doesn't have."""
    codec, found = _codec_of(encoding), dict[bytes, str]()
    for text in texts:
        with suppress(UnicodeEncodeError):
            found[text.encode(codec)] = text
    return found


def as_json(value: object) -> sa.Cast[Any]:
    """Many values as one parameter, which takes the driver and the server less time than arrays do."""
    return sa.cast(sa.literal(orjson.dumps(value).decode(), sa.Text), sa.JSON(none_as_null=True))


def listed(values: list[str], column: str) -> sa.TableValuedAlias:
    """`values` as a table of one column, named ``wanted``."""
    return sa.func.json_array_elements_text(as_json(values)).table_valued(column).render_derived(name="wanted")


def has_zone(kind: Any) -> bool:
    """Whether times of this type hold their time zone."""
    return bool(getattr(kind, "timezone", False))


def _in_common(prefixes: Iterable[tuple[int, str]]) -> set[str]:
    """What all prefixes of as many names begin with, which tells most other rows apart at little cost."""
    by_depth: dict[int, list[str]] = {}
    for _, prefix in prefixes:
        by_depth.setdefault(prefix.count("/"), []).append(prefix)
    return {commonprefix(each) for each in by_depth.values()}  # noqa: RUF071 - by characters is what is meant


def literally(prefix: str) -> str:
    """A prefix as part of a pattern for LIKE."""
    return re.sub(r"([\\%_])", r"\\\1", prefix)
