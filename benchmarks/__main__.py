"""Measure what a cleanup costs: whole `dagster job execute` processes, on a PostgreSQL and files of their own.

usage: python -m benchmarks [--quick | --backlog ROWS]

The quick form says where things stand, in about two minutes; the whole one writes docs/performance.md. A backlog of so
many rows is cleaned up once, and so is a tenth of it: that writes docs/scale.md.
"""

import argparse
import statistics

from benchmarks.backlog import backlog
from benchmarks.bench import CLEANUP, FLOOR, FOLDER, Bench
from benchmarks.ground import ground
from benchmarks.looks import plain_looks, slow_looks
from benchmarks.report import DOCS, Report, draw


def quick(bench: Bench) -> None:
    """Fewer sizes, one repetition."""
    bench.imports(3)
    bench.small((0, 1), 1, limit=1.25)
    bench.small((10_000,), 1, limit=1.3)
    bench.row_by_row_at(10_000, 1)
    bench.large(100_000, 1, times_faster=8, memory_of=100)
    plain_looks(FOLDER, bench.report, 100_000, 3)
    slow_looks(FOLDER, bench.report, 20_000, 200, 1)
    in_a_bucket(10_000, 1, looked_for=2_000)


def whole(bench: Bench) -> None:
    """Everything, written down bit by bit: who ends it early has what there was."""
    report = bench.report
    bench.imports(7)
    bench.small((0, 1, 100), 5, limit=1.25)
    bench.small((10_000,), 5, limit=1.3)
    bench.row_by_row_at(100_000, 3)
    bench.large(100_000, 3, times_faster=8)
    plain_looks(FOLDER, report, 100_000, 7)
    slow_looks(FOLDER, report, 20_000, 1_000, 3)
    bench.profile(100_000)
    report.write()
    bench.large(1_000_000, 3, times_faster=20, memory_of=1_000)
    bench.growth(100_000, 1_000_000)
    bench.profile(1_000_000)
    report.write()
    bench.neighbour(1_000_000, 20, 3)
    bench.index(100, 5)
    report.write()
    in_a_bucket(100_000, 3, looked_for=10_000).write()
    picture(bench)


def in_a_bucket(keys: int, count: int, *, looked_for: int) -> Report:
    """The same questions to an object store, and its listing."""
    # Late: what this loads would count as memory of every process that is started and measured after it.
    from benchmarks import buckets  # noqa: PLC0415

    report = buckets.report_of("in a bucket", "make bench")
    buckets.measure(FOLDER / "store", report, keys, count, looked_for=looked_for)
    return report


def picture(bench: Bench) -> None:
    """Draw the seconds over the number of stale tracks, beside the page that shows it."""
    sizes = (100, 10_000, 100_000, 1_000_000)
    reference = statistics.median(toll.cost.seconds for toll in bench.reference[100_000]) / 100_000
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


def main() -> None:
    """Measure, and write down what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", action="store_true", help="fewer sizes, one repetition; writes nothing")
    form.add_argument("--backlog", type=int, metavar="ROWS", help="one backlog and a tenth of it, instead of all else")
    chosen = parser.parse_args()
    with ground(FOLDER) as on:
        if chosen.backlog:
            backlog(on, chosen.backlog).write(DOCS / "scale.md")
        elif chosen.quick:
            quick(Bench(on, Report()))
        else:
            whole(Bench(on, Report()))


if __name__ == "__main__":
    main()
