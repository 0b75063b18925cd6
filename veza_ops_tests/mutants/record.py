"""Which tests execute which lines of veza_ops, and how long each takes: recorded once, by a plugin for pytest.

``python -m veza_ops_tests.mutants.record [TESTS]`` records anew, or only what TESTS, under veza_ops_tests, add.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import coverage
import pytest

PROJECT = Path(__file__).parent.parent.parent
KEPT = PROJECT / ".mutants"
"""What is recorded lies here; it belongs to the sources that it was recorded of."""
_STORMS = (
    *("disk", "areas", "names", "writes", "uploads", "evidence", "parts", "undone", "buckets", "clocks"),
    "wrong_place",
)
TESTS = (
    *("storage", "tracks", "cleanup", "undo", "audit", "test_evidence.py", "test_evidence_in_buckets.py"),
    *("test_archive.py", "test_secrets.py", "test_witnesses.py", "test_pace.py"),
    *("alerts/test_looks.py", "alerts/test_areas.py"),
    "storms/test_server.py::test_a_standby_is_called_one_and_nothing_is_looked_for",
    *(f"storms/test_{name}.py" for name in _STORMS),
)


class Recorder:
    """Keeps the lines that each test executes, with its name, and the seconds of those that pass."""

    def __init__(self, worker: str) -> None:
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()
        self._passed = KEPT / f"seconds.{worker}"
        self._lines = coverage.Coverage(
            data_file=KEPT / f"lines.{worker}", config_file=False, source=[str(PROJECT / "veza_ops")]
        )

    def pytest_sessionstart(self) -> None:
        self._lines.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._lines.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0) + report.duration
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if nodeid not in self._failed:
            with self._passed.open("a") as passed:
                passed.write(f"{json.dumps([nodeid, self._seconds[nodeid]])}\n")

    def pytest_sessionfinish(self) -> None:
        self._lines.stop()
        self._lines.save()


def pytest_configure(config: pytest.Config) -> None:
    """Record what this process runs; where others run the tests for it, nothing."""
    if not getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(f"{os.getpid()}"))


def record(*tests: str) -> None:
    """Run all tests that may notice a mutant, or only `tests`, and keep what they execute."""
    if not tests:
        shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "veza_ops_tests.mutants.record", "-p", "no:cacheprovider"),
            *("--tb=no", "-m", "not slow", "-n", "2", "--dist", "loadgroup"),
            *(f"veza_ops_tests/{test}" for test in tests or TESTS),
        ],
        cwd=PROJECT,
        check=False,  # a test that fails is none that notices anything
    )
    (KEPT / "of").write_text(_state())


def is_kept() -> bool:
    """Whether what is recorded is of the package and the tests as they are."""
    return (KEPT / "of").exists() and (KEPT / "of").read_text() == _state()


def _state() -> str:
    files = [*PROJECT.glob("veza_ops/**/*.py"), *PROJECT.glob("veza_ops_tests/**/*.py")]
    own = Path(__file__).parent
    return hashlib.sha256(b"".join(each.read_bytes() for each in sorted(files) if each.parent != own)).hexdigest()


class Kept:
    """What was recorded."""

    def __init__(self) -> None:
        self._lines = [coverage.CoverageData(path) for path in KEPT.glob("lines.*")]
        for each in self._lines:
            each.read()
        self._by_line: dict[str, dict[int, set[str]]] = {}

    @cached_property
    def seconds(self) -> dict[str, float]:
        """How long each test takes that passes."""
        found: dict[str, float] = {}
        for path in sorted(KEPT.glob("seconds.*"), key=lambda path: path.stat().st_mtime):
            found |= dict(map(json.loads, path.read_text().splitlines()))
        return found

    def tests_of(self, file: str, *lines: int) -> list[str]:
        """The tests that execute the first of `lines` that any executes: fast ones first, not all of one function.

        Where a line is executed by the import alone, those that execute a line with a name that it defines, or are in a
        file that has it.
        """
        by_line = self._of(file)
        touched = next((by_line[line] for line in lines if by_line.get(line)), None)
        if touched is None:
            touched = self._using(file, lines[-1])
        before: Counter[str] = Counter()
        ranked: list[tuple[float, str]] = []
        for test in sorted(touched & self.seconds.keys(), key=lambda test: (self.seconds[test], test)):
            function = test.partition("[")[0]
            before[function] += 1
            ranked.append((before[function] * self.seconds[test], test))
        return [test for _, test in sorted(ranked)]

    def _of(self, file: str) -> dict[int, set[str]]:
        if file not in self._by_line:
            found = self._by_line[file] = {}
            for each in self._lines:
                for line, tests in each.contexts_by_lineno(str(PROJECT / "veza_ops" / file)).items():
                    found.setdefault(line, set()).update(filter(None, tests))
        return self._by_line[file]

    def _using(self, file: str, line: int) -> set[str]:
        """The tests that execute a line in which a name stands that is defined on `line`."""
        text = (PROJECT / "veza_ops" / file).read_text().splitlines()[line - 1]
        defined = re.match(r"\s*(?:def |class )?([\w, ]+)", text)
        names = re.compile("|".join(rf"\b{name}\b" for name in re.findall(r"\w+", defined[1] if defined else "")))
        found: set[str] = set()
        for path in PROJECT.glob("veza_ops/**/*.py"):
            by_line = self._of(str(path.relative_to(PROJECT / "veza_ops")))
            for number, text in enumerate(path.read_text().splitlines(), 1):
                if number in by_line and names.search(text):
                    found |= by_line[number]
        for path in PROJECT.glob("veza_ops_tests/**/test_*.py"):
            if names.search(path.read_text()):
                own = str(path.relative_to(PROJECT))
                found.update(test for test in self.seconds if test.startswith(f"{own}::"))
        return found


if __name__ == "__main__":
    record(*sys.argv[1:])
