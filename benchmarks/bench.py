"""Whole processes on one ground, and what is said of them."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import profiles
from benchmarks.ground import Ground
from benchmarks.measure import Cost, open_transactions, run, writer
from benchmarks.report import Report, Row
from benchmarks.server import Toll

FOLDER = Path(__file__).parents[1] / ".bench"  # ignored by git, and gone at the end
DAGSTER = str(Path(sys.executable).with_name("dagster"))
FLOOR, CLEANUP, REFERENCE = "a job that does nothing", "whole cleanup", "row by row"


class Bench:
    """What is measured, on one ground."""

    def __init__(self, on: Ground, report: Report) -> None:
        self.ground, self.report = on, report
        self.home = FOLDER / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        run([DAGSTER, "run", "list"], self.environment())
        self.seconds: dict[str, dict[int, list[float]]] = {FLOOR: {}, CLEANUP: {}}
        self.reference: dict[int, list[Toll]] = {}

    def environment(self, database: str = "") -> dict[str, str]:
        """The environment of a process that is measured."""
        at = {"VEZA_DATABASE_URL": self.ground.server.url(database), "VEZA_STORAGE_ROOT": str(self.ground.root)}
        return {"DAGSTER_HOME": str(self.home), **(at if database else {})}

    def cleanup(self, database: str, *, under: tuple[str, ...] = ()) -> Cost:
        """A whole process that cleans up `database`."""
        job = ["job", "execute", "-m", "veza_ops.definitions", "-j", "cleanup_orphan_tracks"]
        return run([*under, DAGSTER, *job], self.environment(database))

    def floor(self, stale: int) -> Cost:
        """A whole process of a job of the same shape that does nothing."""
        job = "floor_of_one_batch" if stale else "floor_of_no_batch"
        return run([DAGSTER, "job", "execute", "-m", "benchmarks.floor", "-j", job], self.environment())

    def row_by_row(self, database: str) -> Cost:
        """A whole process of the worker that was replaced."""
        server, root = self.ground.server, self.ground.root
        command = [sys.executable, "-m", "benchmarks.reference", server.url(database), str(root)]
        return run(command, self.environment())

    def on_copies(self, stale: int, count: int, measure: Callable[[str], Cost]) -> list[Toll]:
        """`measure` on so many fresh copies of the table; each must leave no ghost and no good track marked."""
        template, tolls = self.ground.lay_out(stale), []
        for _ in range(count):
            with self.ground.copy(template) as database:
                tolls.append(self.ground.server.toll(database, lambda: measure(database)))
                self.require_cleaned(database, stale)
        return tolls

    def require_cleaned(self, database: str, stale: int) -> None:
        """See that all ghosts are marked, and nothing else: of an odd number, one more than half are ghosts."""
        marked = self.ground.server.value("SELECT count(*) FROM tracks WHERE status = 'failed'", database)
        assert marked == (stale + 1) // 2, (marked, stale)

    def imports(self, count: int) -> None:
        """What importing costs."""
        costs: dict[str, list[float]] = {"dagster": [], "veza_ops.definitions": []}
        for _ in range(count):
            for module, seconds in costs.items():
                seconds.append(run([sys.executable, "-c", f"import {module}"]).seconds)
        plain, ours = costs.values()
        self.report.add(
            Row("import veza_ops.definitions", "s", ours, "import dagster", plain, "at most 1.2", limit=1.2)
        )

    def small(self, sizes: tuple[int, ...], count: int, *, limit: float) -> None:
        """An idle or an ordinary hour, against Dagster's own floor."""
        for stale in sizes:
            floors, ours = [], []
            for _ in range(count):  # in turn, so that both meet the same minutes
                floors.append(self.floor(stale).seconds)
                ours += [toll.cost.seconds for toll in self.on_copies(stale, 1, self.cleanup)]
            self.seconds[FLOOR][stale], self.seconds[CLEANUP][stale] = floors, ours
            name = f"{stale:,} stale, whole process"
            self.report.add(Row(name, "s", ours, FLOOR, floors, f"at most {limit}", limit=limit))

    def row_by_row_at(self, stale: int, count: int) -> None:
        """The reference."""
        self.reference[stale] = self.on_copies(stale, count, self.row_by_row)

    def large(self, stale: int, count: int, *, times_faster: int, memory_of: int = 0) -> None:
        """A backlog, against the reference (extrapolated if it wasn't run at this size) and a small run's memory."""
        tolls = self.on_copies(stale, count, self.cleanup)
        ours = self.seconds[CLEANUP][stale] = [toll.cost.seconds for toll in tolls]
        measured_at, reference = max(self.reference.items())
        factor = stale / measured_at
        compared_with = f"{REFERENCE}{'' if factor == 1 else ', extrapolated:'}"
        theirs = [toll.cost.seconds * factor for toll in reference]
        name, bar = f"{stale:,} stale, whole process", f"at least {times_faster} times faster"
        self.report.add(Row(name, "s", ours, compared_with, theirs, bar, better="more", limit=times_faster))
        self._add_tolls(stale, tolls, compared_with, reference, factor)
        if memory_of:
            small = self.on_copies(memory_of, min(count, 2), self.cleanup)
            usual = statistics.median(toll.cost.megabytes for toll in small)
            more = [toll.cost.megabytes - usual for toll in tolls]
            name = f"{stale:,} stale, peak memory beyond that of {memory_of:,}"
            self.report.add(Row(name, "MB", more, f"{memory_of:,}: {usual:.0f} MB", bar="at most 80 MB", limit=80))

    def _add_tolls(
        self, stale: int, ours: Sequence[Toll], compared_with: str, theirs: Sequence[Toll], factor: float
    ) -> None:
        """What `ours` took beside time, against what `theirs` took for a backlog that is `factor` times smaller."""
        what: dict[str, tuple[str, Callable[[Toll], float]]] = {
            "its processor time": ("s", lambda toll: toll.cost.cpu_seconds),
            "the server's processor time": ("s", lambda toll: toll.server_cpu_seconds),
            "log (WAL) written": ("MB", lambda toll: toll.log_megabytes),
            "dead rows left": ("rows", lambda toll: toll.dead_rows),
        }
        for name, (unit, of) in what.items():
            reference = [of(toll) * factor for toll in theirs]
            self.report.add(Row(f"{stale:,} stale, {name}", unit, list(map(of, ours)), compared_with, reference))

    def growth(self, small: int, large: int) -> None:
        """From one backlog to one ten times as large."""
        ours = self.seconds[CLEANUP]
        expected = [seconds * large / small for seconds in ours[small]]
        name = f"growth from {small:,} to {large:,}"
        self.report.add(Row(name, "s", ours[large], "linear:", expected, "at most 1", limit=1))

    def neighbour(self, stale: int, idle_seconds: float, count: int) -> None:
        """What a writer of single rows sees while a backlog is cleaned, and how long transactions stay open."""
        template, quiet, loud, longest = self.ground.lay_out(stale), [], [], []
        for _ in range(count):
            with self.ground.copy(template) as database:
                url = self.ground.server.url(database)
                with writer(url) as idle:
                    time.sleep(idle_seconds)
                with writer(url) as busy, open_transactions(url) as ages:
                    self.cleanup(database)
            quiet.append(idle)
            loud.append(busy)
            longest.append(max(ages))
        for percent, called, limit in ((50, "median", 1.2), (99, "99th percentile", 3)):
            name = f"another writer's {called} during {stale:,} stale"
            calm, ours = ([_percentile(each, percent) for each in runs] for runs in (quiet, loud))
            self.report.add(Row(name, "ms", ours, "idle table:", calm, f"at most {limit}", limit=limit))
        name = f"longest transaction during {stale:,} stale"
        self.report.add(Row(name, "s", longest, bar="at most 1 s", limit=1))

    def index(self, stale: int, count: int) -> None:
        """What the advised index saves each search."""
        search = (
            "SELECT id FROM tracks WHERE status = 'processing' AND created_at < now() - interval '1 hour' "
            "ORDER BY created_at, id"
        )
        times = {}
        for name in (self.ground.lay_out(stale), self.ground.lay_out(stale, index=False)):
            times[name] = [self.ground.server.milliseconds(search, name) for _ in range(count + 1)][1:]
        served, bare = times.values()
        name = f"search for {stale} stale among a million, with the index"
        self.report.add(Row(name, "ms", served, "without:", bare))

    def profile(self, stale: int) -> None:
        """Where the time of one run goes, in its process and in the server."""
        path, server = FOLDER / "profile", self.ground.server
        under = (sys.executable, "-m", "cProfile", "-o", str(path))
        with self.ground.copy(self.ground.lay_out(stale)) as database:
            server.watch(database)
            self.cleanup(database, under=under)
            server.wait_for_nobody_in(database)
            on_server = profiles.of_server(server.statements(database), server.log_waits(), stale)
        self.report.tables += [profiles.of_process(path, stale), on_server]


def _percentile(milliseconds: list[float], percent: int) -> float:
    return statistics.quantiles(milliseconds, n=100)[percent - 1]
