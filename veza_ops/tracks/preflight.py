"""What can't serve is refused before anything is done: the server, the table, its columns and their types."""

from typing import Any

import sqlalchemy as sa

from veza_ops.errors import TracksTableError

_REQUIRED = ("id", "status", "status_message", "file_path", "created_at")
_OPTIONAL = ("updated_at", "deleted_at")


def preflight(connection: sa.Connection, *, schema: str, name: str, writable: bool = True) -> sa.Table:
    """The tracks table with the column types that it has in the database.

    Raises TracksTableError, naming all that is wrong at once, when the table or a column is missing, a type
    doesn't serve, or (with `writable`) the server takes no writes.
    """
    if writable:
        _require_writable_server(connection)
    where = f"{schema}.{name}"
    try:
        found = {column["name"]: column for column in sa.inspect(connection).get_columns(name, schema=schema)}
        kinds = {column: _base(found[column]["type"]) for column in found}
    except sa.exc.NoSuchTableError:
        raise TracksTableError(
            f"There is no table {where} in this database, or this role may not see it. "
            "Set database.db_schema and database.tracks_table to where Veza keeps its tracks."
        ) from None
    wrong = [f"column {column} is missing" for column in _REQUIRED if column not in found]
    wrong += [
        f"column {column} is {kinds[column]}, not a timestamp"
        for column in ("created_at", *_OPTIONAL)
        if column in kinds and not isinstance(kinds[column], sa.DateTime)
    ]
    wrong += [
        f"column status is the enum {kind.name}, which has no value {status!r}"
        for status in ("processing", "failed")
        if isinstance(kind := kinds.get("status"), sa.Enum) and status not in kind.enums
    ]
    if wrong:
        raise TracksTableError(
            f"The table {where} can't be cleaned: {'; '.join(wrong)}. "
            "Set database.db_schema and database.tracks_table to where Veza keeps its tracks."
        )
    columns = [
        sa.Column(column, kinds[column], nullable=found[column]["nullable"])
        for column in (*_REQUIRED, *_OPTIONAL)
        if column in found
    ]
    return sa.Table(name, sa.MetaData(schema=schema), *columns)


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


def _base(kind: Any) -> Any:
    """The type under a domain, which is what values are compared and written as."""
    return _base(kind.data_type) if hasattr(kind, "data_type") else kind
