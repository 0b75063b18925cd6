"""What a daemon and a code server cost while there is nothing to do, with veza-ops and with an empty code location.

usage: python -m benchmarks.at_rest [--minutes 10]

Both stand side by side for the same minutes, each with a home of its own, as deploy/ starts them. It writes its table
into docs/performance.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psutil

from benchmarks.bench import FOLDER
from benchmarks.ground import Ground, ground
from benchmarks.measure import run
from benchmarks.report import Report, Row
from benchmarks.server import cpu_seconds_of
from demo.processes import none_left_running, stop_all

PROJECT = Path(__file__).parents[1]
OURS, EMPTY = "veza_ops.definitions", "benchmarks.nothing"
LIMIT = 0.4
"""Points of one core. It was twice as much once."""
OTHERS = 1_000
"""Tracks, all of them playable: the sensors have a database to ask, and nothing to do for it."""
SETTLED_SECONDS = 45
"""After the first run: by then each sensor has been asked once more, and what the run left behind is gone."""
BETWEEN_TICKS = 30
"""Minutes: the schedules' times are multiples of it. A tick with its run would be most of what is measured."""


class Deployment:
    """A code server and a daemon that run."""

    def __init__(self, module: str, folder: Path, veza: Mapping[str, str]) -> None:
        self._folder, self._module = folder, module
        self._environment = {"DAGSTER_HOME": str(folder), **veza}
        self._processes: dict[str, psutil.Process] = {}

    def start(self) -> None:
        """Start both, as the units in deploy/systemd do."""
        self._folder.mkdir()
        shutil.copy(PROJECT / "dagster.yaml", self._folder)
        socket, workspace = self._folder / "code.sock", self._folder / "workspace.yaml"
        workspace.write_text(f"load_from:\n  - grpc_server: {{socket: {socket}, location_name: measured}}\n")
        run([_program("dagster"), "instance", "info"], self._environment)  # makes the home's tables, alone
        serve = ["code-server", "start", "--module-name", self._module, "--location-name", "measured"]
        self._start("code server", [_program("dagster"), *serve, "--socket", str(socket)])
        _wait_for(f"the code server of {self._module}", socket.exists)
        self._start("daemon", [_program("dagster-daemon"), "run", "--workspace", str(workspace)])

    def _start(self, name: str, command: list[str]) -> None:
        with (self._folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command, env=os.environ | self._environment, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder
            )
        self._processes[name] = psutil.Process(process.pid)

    def wait_for_the_first_run(self) -> None:
        """Wait until the run that follows the load has succeeded."""
        with dg.DagsterInstance.from_config(str(self._folder)) as instance:
            _wait_for("the run on load", lambda: any(each.is_success for each in instance.get_runs()))

    def runs(self) -> int:
        """How many runs there have been."""
        with dg.DagsterInstance.from_config(str(self._folder)) as instance:
            return instance.get_runs_count()

    def cpu_seconds(self) -> dict[str, float]:
        """Of each of the two, with all children that it has and had."""
        return {
            name: cpu_seconds_of([*process.children(recursive=True), process])
            for name, process in self._processes.items()
        }

    def stop(self) -> None:
        """End both, and what they have started."""
        family = [each for process in self._processes.values() for each in process.children(recursive=True)]
        stop_all([*self._processes.values(), *family])


@contextmanager
def deployed(on: Ground) -> Iterator[dict[str, Deployment]]:
    """The two that are compared, side by side, when their first run is over."""
    database = on.lay_out(0, others=OTHERS)
    veza = {"VEZA_DATABASE_URL": on.server.url(database), "VEZA_STORAGE_ROOT": str(on.root)}
    both = {OURS: Deployment(OURS, FOLDER / "ours", veza), EMPTY: Deployment(EMPTY, FOLDER / "empty", {})}
    with ExitStack() as stack:
        for each in both.values():
            stack.callback(each.stop)
            each.start()
        both[OURS].wait_for_the_first_run()
        time.sleep(SETTLED_SECONDS)
        yield both


def measure(on: Ground, minutes: float) -> Report:
    """Watch both for so many minutes, in which no schedule is due."""
    report = Report(part="at rest", made_by="make bench-at-rest", packages=("dagster",))
    with deployed(on) as both:
        _wait_for_room(minutes)
        runs, before = both[OURS].runs(), {module: each.cpu_seconds() for module, each in both.items()}
        began = time.monotonic()
        time.sleep(minutes * 60)
        seconds = time.monotonic() - began
        after = {module: each.cpu_seconds() for module, each in both.items()}
        assert both[OURS].runs() == runs, "a run was started meanwhile"
    percent = {
        module: {name: (after[module][name] - then) / seconds * 100 for name, then in parts.items()}
        for module, parts in before.items()
    }
    ours, empty = percent[OURS], percent[EMPTY]
    unit, beside = "% of a core", "an empty code location:"
    for name in ours:
        report.add(Row(f"{name}, {minutes:g} minutes at rest", unit, [ours[name]], beside, [empty[name]]))
    whole, plain = sum(ours.values()), sum(empty.values())
    report.add(Row("both together", unit, [whole], beside, [plain]))
    bar = f"at most {LIMIT} %"
    report.add(Row("of it, veza-ops's own: its sensors and schedules", unit, [whole - plain], bar=bar, limit=LIMIT))
    return report


def _wait_for_room(minutes: float) -> None:
    """Wait until no schedule is due for so many minutes, if it is worth waiting for."""
    now = datetime.now(UTC)
    left = BETWEEN_TICKS - (now.minute + now.second / 60) % BETWEEN_TICKS
    if left < minutes + 0.5 and minutes < BETWEEN_TICKS - 5:
        print(f"A schedule is due in {left:.0f} minutes: waiting until its run is over ...", flush=True)
        time.sleep((left + 3) * 60)


def _wait_for(what: str, seen: Callable[[], bool], *, seconds: float = 180) -> None:
    """Wait until `seen` gives True. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not seen in {seconds:.0f} s")
        time.sleep(0.5)


def _program(name: str) -> str:
    """The path of a program that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def main() -> None:
    """Measure, and write down what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long to watch them (default: 10)")
    minutes = parser.parse_args().minutes
    with none_left_running(), ground(FOLDER) as on:
        measure(on, minutes).write()


if __name__ == "__main__":
    main()
