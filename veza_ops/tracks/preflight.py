"""What can't serve is refused before anything is done: the server, the table, its columns and their types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from veza_ops.errors import TracksTableError
from veza_ops.tracks.row import SERVER
from veza_ops.tracks.security import RowSecurity, row_security
from veza_ops.tracks.zones import zones_of

_REQUIRED = ("id", "status", "status_message", "file_path", "created_at")
_OPTIONAL = ("updated_at", "deleted_at")
_TEXTS = ("status_message", "file_path")
_TIMES = ("created_at", *_OPTIONAL)
_STATUSES = ("processing", "failed")

_ROOM = "room"
"""Where a column of the table has how many characters it takes."""

_TABLES = ("r", "p")
"""The kinds of relation that can have a unique index, as pg_class has them: tables, in parts or not."""

_NOT_WRITTEN = {"m": "it is a materialized view, which can't be written", "v": "it is a view that takes no UPDATE"}

# An index on a table in parts covers them all, but one on a table that others inherit from covers that one alone. Of
# the triggers, those that keep foreign and unique keys are no user's, and change nothing of the row.
_RELATION = """
    SELECT relation.oid, relkind::text AS kind, relrowsecurity AS is_secured,
           pg_relation_is_updatable(relation.oid, true) & 4 <> 0 AS is_updatable,
           NOT EXISTS (
               WITH RECURSIVE tree(oid) AS (
                   SELECT relation.oid
                   UNION
                   SELECT inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.oid WHERE relation.relkind = 'r'
               )
               SELECT FROM tree JOIN pg_class AS part ON part.oid = tree.oid AND part.relkind IN ('r', 'p')
               WHERE NOT EXISTS (
                   SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
                   WHERE indrelid = tree.oid AND attname = 'id' AND indnkeyatts = 1
                       AND indisunique AND indisvalid AND indpred IS NULL
               )
           ) AS is_unique,
           relkind = 'r' AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = relation.oid)
               AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = relation.oid)
               AND NOT EXISTS (
                   SELECT FROM pg_trigger LEFT JOIN pg_constraint ON pg_constraint.oid = tgconstraint
                   WHERE tgrelid = relation.oid AND tgtype & 16 <> 0 AND tgenabled <> 'D'
                       AND coalesce(contype, 't') = 't'
               ) AS is_plain,
           current_database()::text AS database, getdatabaseencoding()::text AS encoding,
           has_function_privilege('pg_control_system()', 'EXECUTE') AS tells_server,
           ARRAY(
               SELECT substr(setting, 10) FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting
               WHERE lower(setting) LIKE 'timezone=%'
                   AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
           ) AS zones
    FROM pg_class AS relation JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = :schema AND relname = :name AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""

# A domain is taken for the type under it, which is what values are compared and written as.
_COLUMNS = """
    WITH RECURSIVE layer AS (
        SELECT attname, attnotnull AS required, atttypid AS type, atttypmod AS modifier
        FROM pg_attribute WHERE attrelid = :relation AND attnum > 0 AND NOT attisdropped AND attname = ANY (:names)
        UNION ALL
        SELECT attname, required OR typnotnull, typbasetype, typtypmod
        FROM layer JOIN pg_type ON oid = type WHERE typtype = 'd'
    )
    SELECT attname AS column, required, typname AS kind, nspname AS schema, modifier,
           nspname = 'pg_catalog' AS is_own, pg_type_is_visible(type) AS is_visible,
           format_type(type, modifier) AS described,
           typtype = 'e' AS is_enum,
           ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = type ORDER BY enumsortorder) AS labels
    FROM layer JOIN pg_type ON pg_type.oid = type JOIN pg_namespace ON pg_namespace.oid = typnamespace
    WHERE typtype <> 'd'
"""


@dataclass(frozen=True)
class Facts:
    """What else later steps have to know of the table, beside its columns."""

    identity: str
    """Names the table, its database and the server, so that one of staging isn't taken for that of production."""
    zones: tuple[str, ...]
    """The time zones, beside UTC, that a time without a zone may have been written in."""
    is_view: bool
    """It may show a row no longer once it was changed: a view, or a table elsewhere."""
    is_plain: bool
    """What an UPDATE returns is what the row is afterwards: no trigger, rule or other table has a say in it."""
    security: RowSecurity
    encoding: str
    """The database's. In any but UTF8, there may be texts that can't be read as UTF-8, and names that it can't hold."""


@dataclass(frozen=True)
class _Column:
    """A column as it was found, with the type under its domain."""

    name: str
    required: bool
    kind: str
    schema: str
    modifier: int
    is_own: bool
    is_visible: bool
    described: str
    is_enum: bool
    labels: list[str]

    @property
    def is_citext(self) -> bool:
        return self.kind == "citext" and not self.is_own

    @property
    def is_text(self) -> bool:
        return self.is_citext or (self.is_own and self.kind in ("text", "varchar", "bpchar"))

    @property
    def room(self) -> int | None:
        """The most characters that a text may have."""
        return self.modifier - 4 if self.is_text and self.modifier > 0 else None

    @property
    def type(self) -> sa.types.TypeEngine[Any] | None:
        """The type to compare and write values as; None for one that has no use here."""
        if self.is_enum:
            return postgresql.ENUM(*self.labels, name=self.kind, schema=self.schema, create_type=False)
        if self.is_citext:
            return postgresql.CITEXT() if self.name == "id" else sa.Text()
        if self.name == "id" and self.kind == "bpchar" and self.room:  # its index serves no other type
            return sa.CHAR(self.room)
        if self.is_own and self.kind in ("timestamp", "timestamptz"):
            precision = self.modifier if self.modifier >= 0 else None
            return postgresql.TIMESTAMP(timezone=self.kind == "timestamptz", precision=precision)
        make = _TYPES.get(self.kind) if self.is_own else None
        return make() if make else None

    def __str__(self) -> str:
        return f"column {self.name} is {self.described.upper() if self.is_own else self.described}"


_NUMBERS: Mapping[str, Callable[[], sa.types.TypeEngine[Any]]] = {
    "int2": sa.SmallInteger,
    "int4": sa.Integer,
    "int8": sa.BigInteger,
    "numeric": sa.Numeric,
}
_TYPES: Mapping[str, Callable[[], sa.types.TypeEngine[Any]]] = {
    **_NUMBERS,
    "uuid": postgresql.UUID,
    "text": sa.Text,
    "varchar": sa.Text,
    "bpchar": sa.Text,
}


def preflight(connection: sa.Connection, *, schema: str, name: str, writable: bool = True) -> sa.Table:
    """The tracks table with the column types that it has in the database, and its `Facts` (see `facts_of`).

    Raises TracksTableError, naming all that is wrong at once, when the table or a column is missing, a type doesn't
    serve, an id may be that of several rows, row-level security leaves nothing to do, or (with `writable`) the server
    or the table takes no writes.
    """
    if writable:
        _require_writable_server(connection)
    where = f"{schema}.{name}"
    relation = _relation(connection, schema, name)
    found = _columns(connection, relation.oid)
    table = _table(schema, name, found)
    security = RowSecurity()
    if relation.is_secured:
        security = row_security(connection, relation.oid)
    wrong = security.bars(where, writable=writable)
    if unfit := [*_unfit_relation(relation, writable=writable), *_unfit_columns(found), *_unfit_key(relation, found)]:
        wrong.insert(
            0,
            f"The table {where} can't be cleaned: {'; '.join(unfit)}. "
            "Set database.db_schema and database.tracks_table to where Veza keeps its tracks.",
        )
    if wrong:
        raise TracksTableError(" ".join(wrong))
    table.info["facts"] = Facts(
        identity=_identity(connection, where, relation),
        zones=zones_of(connection, relation.zones) if _is_naive(found) else (),
        is_view=relation.kind not in _TABLES,
        is_plain=relation.is_plain,
        security=security,
        encoding=relation.encoding,
    )
    return table


def facts_of(table: sa.Table) -> Facts:
    """What `preflight` found out about the table."""
    facts = table.info["facts"]
    assert isinstance(facts, Facts)
    return facts


def require_room(table: sa.Table, message: str) -> None:
    """Raises TracksTableError when the message to be written is longer than its column takes."""
    room: int | None = table.c.status_message.info[_ROOM]
    if room is not None and len(message) > room:
        raise TracksTableError(
            f"The table {table.fullname} can't be cleaned: column status_message takes {room} characters, and the "
            f"message that is written has {len(message)}. Make the column a text, or at least varchar({len(message)})."
        )


# -- what is wrong ------------------------------------------------------------------------------------------------


def _require_writable_server(connection: sa.Connection) -> None:
    recovering, read_only = connection.execute(
        sa.select(sa.func.pg_is_in_recovery(), sa.func.current_setting("transaction_read_only"))
    ).one()
    if recovering:
        raise TracksTableError(
            "The database server is in recovery (a standby), so nothing can be marked. "
            "Point VEZA_DATABASE_URL at the primary."
        )
    if read_only == "on":
        raise TracksTableError(
            "The database takes no writes from this role (default_transaction_read_only is on), so nothing can be "
            "marked. Point VEZA_DATABASE_URL at a server and a role that may write."
        )


def _unfit_relation(relation: sa.Row[Any], *, writable: bool) -> list[str]:
    if writable and not relation.is_updatable:
        return [_NOT_WRITTEN.get(relation.kind, "it is a foreign table that takes no UPDATE")]
    return []


def _unfit_columns(found: Mapping[str, _Column]) -> list[str]:
    """What is wrong with the columns, each in a few words."""
    wrong = [f"column {name} is missing" for name in _REQUIRED if name not in found]
    if identity := found.get("id"):
        wrong += _unfit_id(identity)
    if status := found.get("status"):
        wrong += _unfit_status(status)
    wrong += [f"{found[name]}, not a text" for name in _TEXTS if name in found and not found[name].is_text]
    wrong += [
        f"{found[name]}, not a timestamp"
        for name in _TIMES
        if name in found and not isinstance(found[name].type, sa.TIMESTAMP)
    ]
    return wrong


def _unfit_key(relation: sa.Row[Any], found: Mapping[str, _Column]) -> list[str]:
    if "id" not in found or relation.kind not in _TABLES or relation.is_unique:
        return []
    return [
        (
            "column id isn't unique by itself: two rows may have the same, and one would be taken for the other; give "
            "it a primary key or a unique index of its own"
        )
    ]


def _unfit_id(column: _Column) -> list[str]:
    if column.is_citext and not column.is_visible:  # text would be compared by its letters, but is put in order without
        return [f"{column}, whose schema isn't in this role's search_path, so that ids can't be compared"]
    if column.is_text or (column.is_own and column.kind in ("uuid", *_NUMBERS)):
        return []
    return [f"{column}, which can't be an id here; id has to be a uuid, an integer, a numeric or a text"]


def _unfit_status(column: _Column) -> list[str]:
    if column.is_enum:
        return [
            f"column status is the enum {column.kind}, which has no value {status!r}"
            for status in _STATUSES
            if status not in column.labels
        ]
    if not column.is_text:
        return [f"{column}, neither a text nor an enum"]
    room = column.room
    return [f"{column}, too short for {status!r}" for status in _STATUSES if room is not None and len(status) > room]


# -- what is there ------------------------------------------------------------------------------------------------


def _relation(connection: sa.Connection, schema: str, name: str) -> sa.Row[Any]:
    found = connection.execute(sa.text(_RELATION), {"schema": schema, "name": name}).one_or_none()
    if found is None:
        raise TracksTableError(
            f"There is no table {schema}.{name} in this database, or this role may not see it. "
            "Set database.db_schema and database.tracks_table to where Veza keeps its tracks."
        )
    return found


def _table(schema: str, name: str, found: Mapping[str, _Column]) -> sa.Table:
    columns = (
        sa.Column(column.name, column.type, nullable=not column.required, info={_ROOM: column.room})
        for column in found.values()
    )
    return sa.Table(name, sa.MetaData(schema=schema), *columns)


def _columns(connection: sa.Connection, relation: int) -> dict[str, _Column]:
    names = (*_REQUIRED, *_OPTIONAL)
    rows = connection.execute(sa.text(_COLUMNS), {"relation": relation, "names": list(names)})
    found = {row[0]: _Column(*row) for row in rows}
    return {name: found[name] for name in names if name in found}


def _identity(connection: sa.Connection, where: str, relation: sa.Row[Any]) -> str:
    """The table's name with that of its database, and the server's number where this role may know it.

    The right is asked for beforehand, since without it the server refuses the whole statement. Two servers whose
    numbers aren't told are told apart by the names alone.
    """
    name = f"{where} in {relation.database}"
    if not relation.tells_server:
        return name
    server = connection.scalar(sa.text("SELECT system_identifier FROM pg_control_system()"))
    return f"{name}{SERVER}{server})"


def _is_naive(found: Mapping[str, _Column]) -> bool:
    return any(found[name].kind == "timestamp" for name in _TIMES if name in found)
