"""Measuring: a whole process, a writer that shares the table, the transactions that stay open."""

import contextlib
import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import psycopg


class Cost(NamedTuple):
    """What a process cost."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    """The most memory that it held at once."""


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run `command` to its end. Raises RuntimeError, with the end of what it said, when it fails."""
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, env=os.environ | dict(environment or {})
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{said.read().decode()[-4000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@contextlib.contextmanager
def _meanwhile(step: Callable[[], None], pause_seconds: float) -> Iterator[None]:
    """Repeat `step` in a thread for as long as the block lasts."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(pause_seconds):
            step()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def writer(url: str) -> Iterator[list[float]]:
    """What Veza's API does all the time: update one row of the table, a hundred times a second. Its times in ms."""
    milliseconds: list[float] = []
    choice = random.Random(1)
    with psycopg.connect(url, autocommit=True) as connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM tracks WHERE status = 'ready' LIMIT 20000")]

        def update() -> None:
            began = time.perf_counter()
            connection.execute(
                "UPDATE tracks SET title = %s, updated_at = now() WHERE id = %s", ("another name", choice.choice(ids))
            )
            milliseconds.append((time.perf_counter() - began) * 1000)

        with _meanwhile(update, 0.01):
            yield milliseconds


@contextlib.contextmanager
def open_transactions(url: str) -> Iterator[list[float]]:
    """How long a transaction of veza-ops had been open, in seconds, looked at every 20 ms."""
    ages: list[float] = [0.0]
    age = (
        "SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity "
        "WHERE application_name = 'veza-ops'"
    )
    with psycopg.connect(url, autocommit=True) as connection:

        def look() -> None:
            row = connection.execute(age).fetchone()
            ages.append(float(row[0]) if row and row[0] is not None else 0.0)

        with _meanwhile(look, 0.02):
            yield ages
