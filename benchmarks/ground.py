"""The ground that everything is measured on: a PostgreSQL of its own over local TCP, a table like Veza's, real files.

Half of the stale tracks have a file. Each size is laid out once in a template database; what is measured gets a
fresh copy, so that every repetition starts from the same pages.
"""

import multiprocessing
import os
import random
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import psycopg

from benchmarks.server import Server, serving

OTHERS = 1_000_000
PER_FOLDER = 500


class Ground:
    """Where databases and files are."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.root = folder / "files"
        self.server = server

    def lay_out(self, stale: int, *, others: int = OTHERS, index: bool = True) -> str:
        """The template with `stale` stale tracks among `others`, made if need be; its name."""
        name = f"t_{stale}_{others}{'' if index else '_bare'}"
        if self.server.value(f"SELECT count(*) FROM pg_database WHERE datname = '{name}'"):
            return name
        if stale:
            self.server.execute(f"CREATE DATABASE {name} TEMPLATE {self.lay_out(0, others=others, index=index)}")
            self.server.execute(_stale(stale), name)
        else:
            self.server.execute(f"CREATE DATABASE {name}")
            for statement in (*_SCHEMA, _others(others), _KEY, *(_PARTIAL_INDEX if index else ())):
                self.server.execute(statement, name)
        self.server.execute("VACUUM (FREEZE, ANALYZE) tracks", name)
        self._write_files(name, stale)
        return name

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        """A fresh copy of a template, its name; dropped at the end."""
        name = f"copy_of_{template}"
        self.server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        self.server.execute("CHECKPOINT")
        self.server.value("SELECT count(*) FROM tracks", name)
        try:
            yield name
        finally:
            self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _write_files(self, database: str, stale: int) -> None:
        """The files of every second stale track and of the newest playable ones."""
        for number in range(stale // PER_FOLDER + 1):
            (self.root / f"uploads/{number}").mkdir(parents=True, exist_ok=True)
        with psycopg.connect(self.server.url(database)) as connection:
            newest = "SELECT file_path FROM tracks WHERE status = 'ready' ORDER BY created_at DESC LIMIT 50"
            for (path,) in connection.execute(newest):
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                _touch(self.root / path)
        if not stale:
            return
        # A process of its own for each core: the making of millions of files would take most of the time otherwise.
        shares = os.cpu_count() or 1
        with ProcessPoolExecutor(shares, multiprocessing.get_context("spawn")) as pool:
            where = repeat(self.server.url(database)), repeat(self.root)
            list(pool.map(_write_share, *where, range(shares), repeat(shares)))


def _write_share(url: str, root: Path, share: int, shares: int) -> None:
    """The files of the slow uploads in every folder that is this share's."""
    with psycopg.connect(url) as connection, connection.cursor("paths") as cursor:
        cursor.itersize = 10_000  # rows that are fetched at a time: all of a large backlog would fill the memory
        cursor.execute(
            "SELECT file_path FROM tracks WHERE status = 'processing' AND title = 'slow upload' "
            "AND CAST(split_part(file_path, '/', 2) AS integer) %% %s = %s",
            (shares, share),
        )
        for (path,) in cursor:
            _touch(os.path.join(root, path))


def _touch(path: str | Path) -> None:
    """An empty file that was written as long ago as its row is old, as those of a backlog are."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.utime(file, (_WRITTEN, _WRITTEN))
    os.close(file)


_WRITTEN = time.time() - 2 * 3600


def lay_out_files(root: Path, rows: int, folders: int) -> list[str]:
    """The paths of `rows` in so many `folders`, in random order; half of them have a file below `root`."""
    choice = random.Random(1)
    names = [str(uuid.UUID(int=choice.getrandbits(128), version=4)) for _ in range(rows)]
    paths = [f"uploads/{number % folders}/{name}.flac" for number, name in enumerate(names)]
    for number in range(folders):
        (root / f"uploads/{number}").mkdir(parents=True)
    for path in paths[: rows // 2]:
        _touch(root / path)
    choice.shuffle(paths)
    return paths


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Start the server and take everything away at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)  # as root, the server runs as a user of its own, who must be able to come here
    (folder / "files").mkdir()
    try:
        with serving(folder / "data") as server:
            yield Ground(folder, server)
    finally:
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
