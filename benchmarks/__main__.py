"""Measure what a cleanup costs: whole `dagster job execute` processes, on a PostgreSQL and files of their own.

usage: python -m benchmarks [--quick]

The quick form says where things stand, in about two minutes; the whole one writes docs/performance.md.
"""

import argparse
import gc
import os
import pstats
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ground import Ground, ground, lay_out_files
from benchmarks.measure import Cost, open_transactions, run, writer
from benchmarks.report import DOCS, Report, Row, draw
from benchmarks.slow_disk import slow_disk
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Look, Verdict

FOLDER = Path(__file__).parents[1] / ".bench"  # ignored by git, and gone at the end
DAGSTER = str(Path(sys.executable).with_name("dagster"))
FLOOR, CLEANUP, REFERENCE = "a job that does nothing", "whole cleanup", "row by row"
LOOK_SECONDS = 0.005
FOLDERS = 100


class Bench:
    """What is measured, on one ground."""

    def __init__(self, on: Ground, report: Report, *, quick: bool) -> None:
        self.ground, self.report, self.quick = on, report, quick
        self.home = FOLDER / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        run([DAGSTER, "run", "list"], self.environment())
        self.seconds: dict[str, dict[int, list[float]]] = {FLOOR: {}, CLEANUP: {}, REFERENCE: {}}

    def environment(self, database: str = "") -> dict[str, str]:
        """The environment of a process that is measured."""
        at = {"VEZA_DATABASE_URL": self.ground.url(database), "VEZA_STORAGE_ROOT": str(self.ground.root)}
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
        command = [sys.executable, "-m", "benchmarks.reference", self.ground.url(database), str(self.ground.root)]
        return run(command, self.environment())

    def on_copies(self, stale: int, count: int, measure: Callable[[str], Cost]) -> list[Cost]:
        """`measure` on so many fresh copies of the table; each must leave no ghost and no good track marked."""
        template, costs = self.ground.lay_out(stale), []
        for _ in range(count):
            with self.ground.copy(template) as database:
                costs.append(measure(database))
                marked = self.ground.value("SELECT count(*) FROM tracks WHERE status = 'failed'", database)
                assert marked == stale // 2, (marked, stale)
        return costs

    def imports(self, count: int) -> None:
        """What importing costs."""
        costs: dict[str, list[float]] = {"dagster": [], "veza_ops.definitions": []}
        for _ in range(count):
            for module, seconds in costs.items():
                seconds.append(run([sys.executable, "-c", f"import {module}"]).seconds)
        plain, ours = costs.values()
        self.report.add(
            Row("import veza_ops.definitions", "s", ours, "import dagster", plain, "at most 1.35", limit=1.35)
        )

    def small(self, sizes: tuple[int, ...], count: int) -> None:
        """An idle or an ordinary hour, against Dagster's own floor."""
        for stale in sizes:
            floors, ours = [], []
            for _ in range(count):  # in turn, so that both meet the same minutes
                floors.append(self.floor(stale).seconds)
                ours += [cost.seconds for cost in self.on_copies(stale, 1, self.cleanup)]
            self.seconds[FLOOR][stale], self.seconds[CLEANUP][stale] = floors, ours
            name = f"{stale:,} stale, whole process"
            self.report.add(Row(name, "s", ours, FLOOR, floors, "at most 1.35", limit=1.35))

    def row_by_row_at(self, stale: int, count: int) -> None:
        """The reference."""
        self.seconds[REFERENCE][stale] = [cost.seconds for cost in self.on_copies(stale, count, self.row_by_row)]

    def large(self, stale: int, count: int, *, times_faster: int, memory_of: int = 0) -> None:
        """A backlog, against the reference (extrapolated if it wasn't run at this size) and a small run's memory."""
        costs = self.on_copies(stale, count, self.cleanup)
        ours = self.seconds[CLEANUP][stale] = [cost.seconds for cost in costs]
        measured_at, reference = max(self.seconds[REFERENCE].items())
        factor = stale / measured_at
        self.report.add(
            Row(
                f"{stale:,} stale, whole process",
                "s",
                ours,
                f"{REFERENCE}{'' if factor == 1 else ', extrapolated:'}",
                [seconds * factor for seconds in reference],
                f"at least {times_faster} times faster",
                better="more",
                limit=times_faster,
            )
        )
        if memory_of:
            small = self.on_copies(memory_of, min(count, 2), self.cleanup)
            more = [cost.megabytes - statistics.median(each.megabytes for each in small) for cost in costs]
            name = f"{stale:,} stale, peak memory beyond that of {memory_of:,}"
            at = f"{memory_of:,}: {small[0].megabytes:.0f} MB"
            self.report.add(Row(name, "MB", more, at, bar="at most 80 MB", limit=80))

    def growth(self, small: int, large: int) -> None:
        """From one backlog to one ten times as large."""
        ours = self.seconds[CLEANUP]
        expected = [seconds * large / small for seconds in ours[small]]
        name = f"growth from {small:,} to {large:,}"
        self.report.add(Row(name, "s", ours[large], "linear:", expected, "at most 1", limit=1))

    def neighbour(self, stale: int, idle_seconds: float) -> None:
        """What a writer of single rows sees while a backlog is cleaned, and how long transactions stay open."""
        with self.ground.copy(self.ground.lay_out(stale)) as database:
            url = self.ground.url(database)
            with writer(url) as idle:
                time.sleep(idle_seconds)
            with writer(url) as busy, open_transactions(url) as ages:
                self.cleanup(database)
        name = f"another writer's 99th percentile during {stale:,} stale"
        quiet, loud = _percentile(idle), _percentile(busy)
        self.report.add(Row(name, "ms", [loud], "idle table:", [quiet], "at most 2", limit=2))
        name = f"longest transaction during {stale:,} stale"
        self.report.add(Row(name, "s", [max(ages)], bar="at most 2 s", limit=2))

    def looks(self, rows: int, count: int) -> None:
        """Processor time of looks at a plain disk, against no more than asking for each path; half are missing."""
        root = FOLDER / "looks"
        file_paths = lay_out_files(root, rows, FOLDERS)
        paths = [f"{root}/{file_path}" for file_path in file_paths]
        files = Files(Layout(str(root)))
        ours, lstats = [], []
        with _collecting_as_a_run_does():
            for _ in range(count):  # in turn, so that both meet the same minutes
                began = time.process_time()
                looks = files.search(file_paths)
                ours.append((time.process_time() - began) / rows * 1e6)
                began = time.process_time()
                for path in paths:
                    try:
                        os.lstat(path)
                    except FileNotFoundError:
                        continue
                lstats.append((time.process_time() - began) / rows * 1e6)
        _require_half(looks)
        name = f"a look at a plain disk, processor time, {rows:,} looks in {FOLDERS} folders"
        bar = "at most 1.5 µs"
        self.report.add(Row(name, "µs", ours, "lstat of each path", lstats, bar, limit=1.5, is_of_ratio=False))

    def slow_looks(self, looks: int, one_at_a_time: int) -> None:
        """Looks at a disk that takes 5 ms for each question; half of the files are missing."""
        root = FOLDER / "slow_looks"
        paths = lay_out_files(root, looks, FOLDERS)
        with slow_disk(root, FOLDER / "slow", LOOK_SECONDS) as disk:
            if disk is None:
                self.report.notes.append("No slow disk: this machine lets nobody mount one.")
                return
            began = time.perf_counter()
            found = Files(Layout(str(disk))).search(paths)
            ours = (time.perf_counter() - began) / looks * 1000
            began = time.perf_counter()
            for path in paths[:one_at_a_time]:  # by now the kernel knows the folders: one question each
                os.path.exists(disk / path)
            alone = (time.perf_counter() - began) / one_at_a_time * 1000
        _require_half(found)
        self.report.add(
            Row(
                f"a look at a disk that takes 5 ms (FUSE), {looks:,} looks in {FOLDERS} folders",
                "ms",
                [ours],
                "one at a time:",
                [alone],
                "at least 100 times faster",
                better="more",
                limit=100,
            )
        )

    def index(self, stale: int, count: int) -> None:
        """What the advised index saves each search."""
        search = (
            "SELECT id FROM tracks WHERE status = 'processing' AND created_at < now() - interval '1 hour' "
            "ORDER BY created_at, id"
        )
        times = {}
        for name in (self.ground.lay_out(stale), self.ground.lay_out(stale, index=False)):
            times[name] = [self.ground.milliseconds(search, name) for _ in range(count + 1)][1:]
        served, bare = times.values()
        self.report.add(
            Row(f"search for {stale} stale among a million, with the index", "ms", served, "without:", bare)
        )

    def profile(self, stale: int) -> None:
        """Where the time of one run goes."""
        path = FOLDER / "profile"
        under = (sys.executable, "-m", "cProfile", "-o", str(path))
        self.on_copies(stale, 1, lambda database: self.cleanup(database, under=under))
        self.report.profile = _parts(pstats.Stats(str(path)))


def in_a_bucket(keys: int, count: int, *, looked_for: int) -> Report:
    """The same questions to an object store, and its listing."""
    # Last: what this loads would count as memory of every process that is started and measured after it.
    from benchmarks import buckets  # noqa: PLC0415

    report = buckets.report_of("in a bucket", "make bench")
    buckets.measure(FOLDER / "store", report, keys, count, looked_for=looked_for)
    return report


@contextmanager
def _collecting_as_a_run_does() -> Iterator[None]:
    """The garbage collector set as `veza_ops.resources.Database` sets it for a run."""
    ordinary = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*ordinary)
        gc.unfreeze()


def _require_half(looks: Sequence[Look]) -> None:
    verdicts = Counter(look.verdict for look in looks)
    assert verdicts == dict.fromkeys((Verdict.PRESENT, Verdict.MISSING), len(looks) // 2), verdicts


def _percentile(milliseconds: list[float]) -> float:
    return statistics.quantiles(milliseconds, n=100)[98]


def _parts(stats: pstats.Stats) -> list[tuple[str, float]]:
    """The run's time by what it was spent on."""
    functions = stats.stats  # type: ignore[attr-defined]  # not in the stubs
    spent = {
        (os.path.basename(os.path.dirname(file)), os.path.basename(file), name): cumulative
        for (file, _, name), (_, _, _, cumulative, _) in functions.items()
    }

    def of(folder: str, file: str, *names: str) -> float:
        return float(sum(spent.get((folder, file, name), 0.0) for name in names))

    total = sum(own for _, _, own, _, _ in functions.values())
    parts = {
        "finding: the layout of the batches, the sample": of("cleanup", "rules.py", "find_stale"),
        "reading the rows": of("tracks", "table.py", "read"),
        "looking at the files, both times, with the proofs": of("cleanup", "rules.py", "check", "check_again"),
        "the guarded write": of("tracks", "writing.py", "write"),
        "the evidence": of("veza_ops", "places.py", "write_new"),
        "handing rows from step to step": of("storage", "upath_io_manager.py", "handle_output", "load_input"),
        "Dagster's events": of("methods", "event_methods.py", "handle_new_event"),
    }
    return [*parts.items(), ("starting up, and Dagster's other work", total - sum(parts.values()))]


def main() -> None:
    """Measure, and write down what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes, one repetition; writes nothing")
    quick = parser.parse_args().quick
    report = Report()
    with ground(FOLDER) as on:
        bench = Bench(on, report, quick=quick)
        if quick:
            bench.imports(3)
            bench.small((0, 10_000), 1)
            bench.row_by_row_at(10_000, 1)
            bench.large(100_000, 1, times_faster=6, memory_of=100)
            bench.looks(100_000, 3)
            bench.slow_looks(20_000, 200)
            in_a_bucket(10_000, 1, looked_for=2_000)
            return
        bench.imports(7)
        bench.small((0, 100, 10_000), 3)
        bench.row_by_row_at(100_000, 2)
        bench.large(100_000, 3, times_faster=6)
        bench.looks(100_000, 7)
        bench.slow_looks(20_000, 1_000)
        bench.profile(100_000)
        report.write()
        bench.large(1_000_000, 2, times_faster=15, memory_of=1_000)
        bench.growth(100_000, 1_000_000)
        report.write()
        bench.neighbour(1_000_000, 20)
        bench.index(100, 5)
        report.write()
        in_a_bucket(100_000, 3, looked_for=10_000).write()
    sizes = (100, 10_000, 100_000, 1_000_000)
    reference = statistics.median(bench.seconds[REFERENCE][100_000]) / 100_000
    medians = {size: statistics.median(values) for size, values in bench.seconds[CLEANUP].items()}
    floor = statistics.median(bench.seconds[FLOOR][100])
    draw(
        DOCS / "performance.svg",
        sizes,
        {
            "row by row (measured at 100,000)": [reference * size for size in sizes],
            "veza-ops": [medians[size] for size in sizes],
            "a Dagster job that does nothing": [floor for _ in sizes],
        },
    )


if __name__ == "__main__":
    main()
