"""How large the files of tracks should be, where the table says so."""

from collections.abc import Iterable

import sqlalchemy as sa

from veza_ops.errors import TracksTableError
from veza_ops.text import reveal, shown
from veza_ops.tracks.playable import listed
from veza_ops.tracks.row import SIZE_COLUMN
from veza_ops.tracks.table import Tracks

# A domain is taken for the type under it.
_IS_NUMBER = """
    WITH RECURSIVE layer(type, may_read) AS (
        SELECT atttypid, has_column_privilege(attrelid, attnum, 'SELECT') FROM pg_attribute
        WHERE attrelid = to_regclass(:table) AND attname = :column AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT typbasetype, may_read FROM layer JOIN pg_type ON oid = type WHERE typtype = 'd'
    )
    SELECT bool_or(type IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype) AND may_read)
    FROM layer
"""
_LARGEST = 2**63 - 1


def can_tell(tracks: Tracks, column: str) -> bool:
    """Whether `column` has sizes. None need be there by the ordinary name, or by an empty one.

    Raises TracksTableError for a column that somebody named, and that isn't there, holds no whole numbers, or may not
    be read.
    """
    if not column:
        return False
    table = tracks.connection.dialect.identifier_preparer.format_table(tracks.table).replace("%%", "%")
    is_number = tracks.connection.scalar(sa.text(_IS_NUMBER), {"table": table, "column": column})
    if not is_number and column != SIZE_COLUMN:
        raise TracksTableError(
            f"The table {tracks.table.fullname} has no column {shown(column)} of whole numbers that this role may "
            "read. Set database.size_column to the column that has the sizes of files in bytes, or to nothing."
        )
    if is_number:
        reveal(column)
    return bool(is_number)


def sizes_of(tracks: Tracks, column: str, ids: Iterable[str]) -> dict[str, int]:
    """How many bytes the files of the rows with these ids should have, as far as `column` says so.

    Nothing, and zero, say nothing. Raises TracksTableError, as `can_tell` does.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted or not can_tell(tracks, column):
        return {}
    identity, size = tracks.table.c.id, sa.column(column, sa.Numeric)
    among = listed(wanted, "id")
    query = (
        sa.select(sa.cast(identity, sa.Text), sa.cast(sa.func.floor(size), sa.BigInteger))
        .select_from(tracks.table.join(among, identity == sa.cast(among.c.id, identity.type)))
        .where(size.between(1, _LARGEST))
    )
    return {each: int(number) for each, number in tracks.connection.execute(query)}
