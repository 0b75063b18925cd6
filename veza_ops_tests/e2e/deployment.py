"""A Dagster deployment of a test's own: its home, its processes, and what became of its runs and ticks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import psutil
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, ScheduleInstigatorData, TickStatus

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
"""The checkout."""

SENSOR, SCHEDULE, JOB = "cleanup_orphan_tracks_on_load", "cleanup_orphan_tracks_hourly", "cleanup_orphan_tracks"

A_MINUTE_AND_THE_START = 240
"""Seconds: a run is to follow a load within a minute; a busy machine needs about as long to start the processes."""


def command(name: str) -> str:
    """The path of a program that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def clone(folder: Path) -> Path:
    """A fresh clone in `folder`, as far as Dagster reads it. It is compiled already, which each process would do."""
    being_written = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(ROOT / "veza_ops", folder / "veza_ops", ignore=being_written)
    for name in ("dagster.yaml", "workspace.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def wait_for(what: str, look: Callable[[], T | None], *, seconds: float) -> T:
    """What `look` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what}: not seen in {seconds:.0f} s")


def those(processes: Iterable[psutil.Process], is_one: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Those of `processes` that it is true of. What has ended meanwhile isn't among them."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += [process] if is_one(process) else []
    return found


@dataclass
class Deployment:
    """One DAGSTER_HOME and the processes around it."""

    home: Path
    instance: dg.DagsterInstance
    environment: dict[str, str]
    folder: Path = ROOT
    """Where its processes are started."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    # -- processes --------------------------------------------------------------------------------------------

    def move_to_a_clone(self) -> Path:
        """Start the processes that follow in a copy of the checkout, which a test may change."""
        self.folder = clone(self.home / "clone")
        # Before the checkout, which is installed here in editable form.
        self.environment["PYTHONPATH"] = str(self.folder)
        return self.folder

    def workspace_of_code_server(self, port: int) -> str:
        """The path of a workspace file that names a code server."""
        server = {"host": "127.0.0.1", "port": port, "location_name": "veza_ops"}
        path = self.home / "workspace.yaml"
        path.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
        return str(path)

    def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None, through: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a program of this environment, in a process group of its own; `through` becomes it."""
        log = self.home / f"process-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*through, command(arguments[0]), *arguments[1:]],
                cwd=self.folder,
                env=self.environment | dict(environment or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes], *, patience: float = 20) -> None:
        """Stop a process as a service manager does: SIGTERM, and soon SIGKILL for whatever is left of its group."""
        try:
            family = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for child in family:  # one that has left the group
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait()

    def stop_all(self) -> None:
        """Leave nothing running."""
        for process in self.processes:
            self.stop(process, patience=0.1)

    def output(self) -> str:
        """What the processes said."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.home.glob("process-*.log")))

    # -- what became of it ------------------------------------------------------------------------------------

    def runs(self, **tags: str) -> list[dg.DagsterRun]:
        """The runs with these tags, the newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(tags=tags)))

    def on_load_runs(self) -> list[dg.DagsterRun]:
        """The runs that the sensor launched; at the top of an hour, there is one of the schedule as well."""
        return self.runs(**{"dagster/sensor_name": SENSOR})

    def hourly_runs(self) -> list[dg.DagsterRun]:
        """The runs that the schedule launched."""
        return self.runs(**{"dagster/schedule_name": SCHEDULE})

    def state(self, kind: InstigatorType) -> InstigatorState | None:
        """The daemon's notes on the cleanup's sensor or schedule, once it has some."""
        states = self.instance.all_instigator_state(instigator_type=kind)
        return next((state for state in states if state.instigator_name in (SENSOR, SCHEDULE)), None)

    def ticks(self, kind: InstigatorType, *statuses: TickStatus) -> list[InstigatorTick]:
        """The ticks of the sensor or the schedule that ended so, the newest first."""
        state = self.state(kind)
        if state is None:
            return []
        return list(self.instance.get_ticks(state.instigator_origin_id, state.selector_id, statuses=list(statuses)))

    def wait_for_runs(self, count: int, runs: Callable[[], list[dg.DagsterRun]]) -> None:
        """Wait until there are `count` of these runs and all have succeeded, and not one more comes meanwhile."""

        def succeeded() -> bool | None:
            found = runs()
            assert len(found) <= count, [(run.run_id, run.tags) for run in found]
            return (len(found) == count and all(run.status is dg.DagsterRunStatus.SUCCESS for run in found)) or None

        wait_for(f"{count} runs that succeeded", succeeded, seconds=A_MINUTE_AND_THE_START)

    def wait_for_exactly(self, count: int) -> None:
        """Wait until the sensor has launched `count` runs, and has then looked again and found nothing to do."""
        self.wait_for_runs(count, self.on_load_runs)
        seen = self.skipped()
        wait_for("a later tick without a run", lambda: self.skipped() > seen or None, seconds=A_MINUTE_AND_THE_START)
        assert len(self.on_load_runs()) == count

    def stop_for_hours(self, daemon: subprocess.Popen[bytes], hours: int) -> None:
        """Stop the daemon, and let the schedule have been without one for so long."""
        state = wait_for("the schedule", lambda: self.state(InstigatorType.SCHEDULE), seconds=A_MINUTE_AND_THE_START)
        self.stop(daemon)
        let_the_hour_strike()
        # The daemon's own note of the time from which on ticks are due.
        hours_ago = time.time() - hours * 3600
        notes = ScheduleInstigatorData("0 * * * *", hours_ago, hours_ago)
        self.instance.update_instigator_state(state.with_data(notes))

    def skipped(self) -> int:
        """How many ticks of the sensor ended without a run."""
        return len(self.ticks(InstigatorType.SENSOR, TickStatus.SKIPPED))


def let_the_hour_strike(seconds: float = 240.0) -> None:
    """Wait for the hour, if it strikes within so many seconds: during a test, it would be one tick more."""
    if (left := 3600 - time.time() % 3600) < seconds:
        time.sleep(left)


def graphql(port: int, query: str, **variables: Any) -> dict[str, Any]:
    """Ask the webserver, as its pages do."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=A_MINUTE_AND_THE_START) as response:
        answer: dict[str, Any] = json.load(response)
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


def webserver_answers(port: int) -> bool | None:
    """True as soon as the webserver has the code location."""
    try:
        answer = graphql(port, "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }")
    except OSError:
        return None
    nodes = answer["repositoriesOrError"].get("nodes") or []
    return any(job["name"] == JOB for node in nodes for job in node["jobs"]) or None


def reload_code_location(port: int) -> None:
    """Press Reload in the web UI."""
    answer = graphql(
        port,
        "mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }",
        name="veza_ops",
    )
    assert answer["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry", answer


def open_deployment(
    home: Path, environment: Mapping[str, str], *, settings: Path = ROOT / "dagster.yaml"
) -> Iterator[Deployment]:
    """A deployment whose processes are gone at the end, whatever happened."""
    home.mkdir()
    (home / "dagster.yaml").write_text(settings.read_text())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "VEZA", "PYTEST"))}
    # Opened here, before any process does: two that make a new home's database at once break it.
    with dg.DagsterInstance.from_config(str(home)) as instance:
        deployment = Deployment(
            home, instance, kept | {"DAGSTER_HOME": str(home), "PYTHONWARNINGS": "default"} | dict(environment)
        )
        try:
            yield deployment
        finally:
            deployment.stop_all()
