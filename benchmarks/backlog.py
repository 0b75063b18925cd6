"""One cleanup of a backlog far beyond an ordinary one, beside that of a tenth of it."""

import os
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.bench import FOLDER, Bench
from benchmarks.ground import PER_FOLDER, Ground
from benchmarks.measure import Cost, open_transactions
from benchmarks.report import Report, Table
from benchmarks.server import Toll

BYTES_A_ROW = 2_000
"""Of disk: the row twice, in the template and its copy, its new version, the log and the evidence."""
BYTES_AT_REST = 12 * 2**30
"""Of disk, whatever the backlog: the other rows, and the log that the server keeps."""


class Cleaned(NamedTuple):
    """What one backlog took."""

    toll: Toll
    longest_seconds: float
    """That a transaction was open."""


def backlog(on: Ground, rows: int) -> Report:
    """Clean up a tenth of `rows`, then `rows`, and say how the one has grown into the other."""
    require_room(rows)
    report = Report(part="of a backlog", made_by="make bench-backlog")
    bench = Bench(on, report)
    small, large = rows // 10, rows
    grown = growth(small, _cleaned(bench, small), large, _cleaned(bench, large))
    report.tables.append(grown)
    print("\n".join(grown.lines()), flush=True)
    return report


def require_room(rows: int) -> None:
    """Raises OSError when the disk hasn't the room for `rows` and a tenth of them: half of them are files."""
    disk = os.statvfs(FOLDER)
    rows += rows // 10
    files, size = rows // 2 + rows // PER_FOLDER, rows * BYTES_A_ROW + BYTES_AT_REST
    free = disk.f_bavail * disk.f_frsize
    if disk.f_favail < files or free < size:
        raise OSError(
            f"It takes {files:,} files and {size / 2**30:.0f} GB in {FOLDER}, and there is room for "
            f"{disk.f_favail:,} files and {free / 2**30:.0f} GB"
        )


def _cleaned(bench: Bench, stale: int) -> Cleaned:
    """What the cleanup of so many takes, whole process."""
    server = bench.ground.server
    with bench.ground.copy(bench.ground.lay_out(stale)) as database:

        def clean() -> Cost:
            # From another database: who looks isn't waited for in this one.
            with open_transactions(server.url()) as ages:
                cost = bench.cleanup(database)
            longest.append(max(ages))
            return cost

        longest: list[float] = []
        toll = server.toll(database, clean)
        bench.require_cleaned(database, stale)
    return Cleaned(toll, longest[0])


def growth(small: int, of_small: Cleaned, large: int, of_large: Cleaned) -> Table:
    """The two side by side. What grows with the rows is told as a share of so many times as much."""
    what: dict[str, tuple[str, bool, Callable[[Cleaned], float]]] = {
        "whole process": ("s", True, lambda run: run.toll.cost.seconds),
        "its processor time": ("s", True, lambda run: run.toll.cost.cpu_seconds),
        "the server's processor time": ("s", True, lambda run: run.toll.server_cpu_seconds),
        "log (WAL) written": ("MB", True, lambda run: run.toll.log_megabytes),
        "dead rows left": ("", True, lambda run: run.toll.dead_rows),
        "peak memory": ("MB", False, lambda run: run.toll.cost.megabytes),
        "longest transaction": ("s", False, lambda run: run.longest_seconds),
    }
    rows = []
    for name, (unit, is_of_rows, of) in what.items():
        less, more = of(of_small), of(of_large)
        share = f"{more / (less * large / small):.2f}" if is_of_rows and less else ""
        rows.append([name, _amount(less, unit), _amount(more, unit), share])
    head = ["Measured", f"{small:,} stale", f"{large:,} stale", "Of linear"]
    return Table(f"One cleanup of {large:,} stale tracks, and one of a tenth of them:", head, rows)


def _amount(value: float, unit: str) -> str:
    digits = 0 if value >= 100 or not unit else 2
    return f"{value:,.{digits}f} {unit}".strip()
