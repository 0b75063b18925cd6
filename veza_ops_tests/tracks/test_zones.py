"""The zones in which times without one may have been written."""

import sqlalchemy as sa

from veza_ops.tracks.zones import zones_of

UTC = """
    SELECT name FROM pg_timezone_names
    WHERE utc_offset = interval '0' AND name ~* '^(Etc/)?(UTC|UCT|GMT[+-]?0?|Universal|Zulu|Greenwich)$'
"""


def test_utc_is_no_other_zone_under_any_of_its_names(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        names = connection.scalars(sa.text(UTC)).all()
        others = zones_of(connection, ())
        assert len(names) > 10
        assert zones_of(connection, [*names, "<+00>-00", "<-00>+00"]) == others
        assert zones_of(connection, ["Asia/Tokyo", "no zone"]) == tuple(sorted({*others, "Asia/Tokyo"}))
