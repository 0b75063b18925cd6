"""The time zones that a time without a zone may have been written in."""

from collections.abc import Iterable

import sqlalchemy as sa

_HIDES_THE_SERVERS = ("client", "user", "database user")
"""Where this session's zone may come from, so that it says nothing of what the server gives to others."""

_FARTHEST_WEST = "Etc/GMT+12"
"""Stands for a zone that nobody knows: nowhere do clocks show less."""

_UTC = {
    *("utc", "uct", "gmt", "gmt0", "gmt+0", "gmt-0", "universal", "zulu", "greenwich"),
    *("etc/utc", "etc/uct", "etc/gmt", "etc/gmt0", "etc/gmt+0", "etc/gmt-0", "etc/universal", "etc/zulu"),
    *("etc/greenwich", "<+00>-00", "<-00>+00"),
}


def zones_of(connection: sa.Connection, roles: Iterable[str]) -> tuple[str, ...]:
    """The zones that anybody's times may be in here, UTC left out: the server's, and the settings of `roles`."""
    own = connection.begin_nested()
    connection.exec_driver_sql("SET LOCAL TimeZone TO DEFAULT")
    query = sa.text("SELECT setting, source FROM pg_settings WHERE name = 'TimeZone'")
    default, source = connection.execute(query).one()
    own.rollback()
    settings = [default, *roles]
    if source in _HIDES_THE_SERVERS:
        settings.append(_FARTHEST_WEST)
    zones = {zone for setting in settings if setting.lower() not in _UTC and (zone := _zone(connection, setting))}
    return tuple(sorted(zone for zone in zones if zone.lower() not in _UTC))


def _zone(connection: sa.Connection, setting: str) -> str | None:
    """A zone's name by a setting, which may hold an offset with another sign than names have; None if it is none."""
    attempt = connection.begin_nested()
    try:
        zone = connection.scalar(sa.select(sa.func.set_config("TimeZone", setting, sa.true())))
    except sa.exc.DataError:
        return None
    finally:
        attempt.rollback()
    return str(zone)
