"""A library with faults of each kind put in: the audit and the summary tell of all of them, and of nothing else."""

import itertools
import json
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from veza_ops.alerts import digest
from veza_ops.findings import TRACK_FILES
from veza_ops.runs import Location
from veza_ops_tests.library import Library, Schema, counts, failure, run_job

SIZE = int(os.environ.get("VEZA_OPS_LIBRARY", "5000"))
"""Tracks; 100,000 take half a minute."""
EACH = 20
"""Faults of each kind."""
KINDS = ("missing", "moved", "empty", "truncated", "encoded", "shouted", "doubled", "climbing", "of no size")
OLD = time.time() - 3 * 24 * 3600


class Faulty:
    """The library, and what is wrong with it."""

    def __init__(self, library: Library) -> None:
        self.library = library
        library.execute("ALTER TABLE tracks ADD file_size bigint")
        library.execute("DELETE FROM tracks")
        chosen = random.Random(5).sample(range(SIZE), EACH * len(KINDS))
        self.of = {kind: set(chosen[at * EACH : (at + 1) * EACH]) for at, kind in enumerate(KINDS)}
        kinds = {number: kind for kind, numbers in self.of.items() for number in numbers}
        self._rows: list[tuple[object, ...]] = []
        for number in range(SIZE):
            self._track(number, kinds.get(number, ""))
        self._numbers = itertools.count(SIZE)
        self.unnamed = {self.write(f"music/{n:03}/leaked-{n}.flac", 9) for n in range(EACH)}
        self.unnamed |= {str(library.root / f"elsewhere/{number:06}.flac") for number in self.of["moved"]}
        for n in range(EACH):
            self.write(f"music/{n:03}/young-{n}.flac", 9, time.time() - 3600)
            self.write(f"music/{n:03}/.DS_Store", 9)
            self.write(f"music/album-{n}/segment.ts", 9)
            self.row(next(self._numbers), f"music/album-{n}", "ready", None, 3 * 24)
            self.row(next(self._numbers), f"music/{n:03}/ghost-{n}.flac", "processing", None, 5)
            self.row(next(self._numbers), f"music/{n:03}/stuck-{n}.flac", "processing", None, 30)
            self.write(f"music/{n:03}/stuck-{n}.flac", n % 2)
        names = "id, status, file_path, created_at, updated_at, file_size"
        statement = f"COPY tracks ({names}) FROM STDIN".encode()
        with psycopg.connect(library.url) as connection, connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in self._rows:
                copy.write_row(row)

    def _track(self, number: int, kind: str) -> None:
        path, size = f"music/{number % 40:03}/{number:06}.flac", 4 + number % 7
        named = {
            "encoded": path.replace(".", "%2E"),
            "shouted": path.upper(),
            "doubled": path.replace("/", "//./", 1),
            "climbing": f"{self.library.root}/music/../{path}",
        }
        here = {"moved": f"elsewhere/{number:06}.flac"}.get(kind, path)
        if kind != "missing":
            self.write(here, {"empty": 0, "truncated": size - 1, "of no size": 0}.get(kind, size))
        age = 30 * 24 if kind else 2 * 24
        self.row(number, named.get(kind, path), "ready", None if kind == "of no size" else size, age)

    def row(self, number: int, path: str, status: str, size: int | None, age: int) -> None:
        created = datetime.now(UTC) - timedelta(hours=age, seconds=number % 1000)
        self._rows.append((number, status, path, created, created, size))

    def write(self, path: str, size: int, when: float = OLD) -> str:
        file = self.library.write(path, b"x" * size)
        os.utime(file, (when, when))
        return str(file)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_fault_is_told_of_and_nothing_else(
    make_library: Callable[[Schema], Library], instance: dg.DagsterInstance
) -> None:
    faulty = Faulty(make_library(Schema(id="bigint")))
    of = faulty.of
    told = counts(run_job(faulty.library, instance))
    assert (told["stale"], told["marked_failed"], told["waiting"], told["empty"]) == (
        2 * EACH,
        EACH,
        EACH / 2,
        EACH / 2,
    )
    result = run_job(faulty.library, instance, job="audit_track_files")
    assert result.success, failure(result)
    (record,) = instance.fetch_observations(TRACK_FILES, limit=1).records
    assert record.asset_observation
    folder = Path(str(record.asset_observation.metadata["full_lists"].value))

    def listed(kind: str) -> list[dict[str, object]]:
        files = sorted(folder.glob(f"audit_{kind}-*.jsonl"))
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    def ids(kind: str) -> set[int]:
        return {int(str(row["id"])) for row in listed(kind)}

    assert ids("missing") == of["missing"] | of["moved"]
    assert ids("unverifiable") == of["encoded"] | of["shouted"]
    assert {int(str(row["id"])) for row in listed("damaged") if not row["size"]} == of["empty"]
    assert {int(str(row["id"])) for row in listed("damaged") if row["size"]} == of["truncated"]
    assert {str(row["path"]) for row in listed("unnamed")} == faulty.unnamed
    assert ids("moved") == of["moved"]
    begin, now = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC)
    day = digest.day_of(instance, Location(), begin)
    assert (day.cleanups, day.failed, day.marked, day.stuck, day.unverifiable) == (1, 0, EACH, EACH, 0)
    assert day.audit == {
        "missing": 2 * EACH,
        "empty": EACH,
        "truncated": EACH,
        "unnamed": 2 * EACH,
        "moved": EACH,
    }
    assert digest.summary(day, begin, now, "")
