"""veza-ops as an operator has it: a DAGSTER_HOME, the command line, and `dagster dev`."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import psutil
import requests
from dagster_graphql import DagsterGraphQLClient

from demo.processes import PATIENCE_SECONDS, stop_all
from demo.veza import Veza
from veza_ops.cleanup.asset import CHECKS, STUCK_TABLE
from veza_ops.cleanup.config import unattended
from veza_ops.cleanup.rules import Counts
from veza_ops.evidence import REFUSED, UNVERIFIABLE, read

PROJECT = Path(__file__).parent.parent
JOB = "cleanup_orphan_tracks"
SETTLE_SECONDS = 1
"""Between the two looks of a cleanup from the command line: so long that a file that grows is seen to."""
CONFIG = "settle.json"
COMMAND = ("dagster", "job", "execute", "-m", "veza_ops.definitions", "-j", JOB, "-c", CONFIG)
_OP_LOG = re.compile(rf" - (?:INFO|WARNING) - {JOB} - \S+ - (\w+.* - .*)$")


class DemoError(Exception):
    """The demo can't go on, or did not see what it should; the message says why."""


@dataclass(frozen=True)
class Cleanup:
    """A run of the job, as it is on record."""

    counts: dict[str, int]
    reasons: dict[str, str]
    """Why a track was left unverified, by its id."""
    refused: dict[str, str]
    """Why the database wouldn't change a track, by its id, as the evidence has it."""
    refused_on_page: dict[str, str]
    """The same, as a page shows it."""
    held: dict[str, Mapping[str, Any]]
    """What is known of the file of a track that has one, by its id."""
    areas: dict[str, str]
    """The areas of the storage that were left alone, and why."""
    checks: dict[str, dg.AssetCheckEvaluation]
    """What each check says now, by its name."""
    log: list[str]
    """What the steps said."""


def fresh_folder(folder: Path) -> None:
    """Empty the demo's folder. Raises DemoError if another demo is at work there, or if it holds anything else."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until this process ends
    except BlockingIOError:
        raise DemoError(f"Another demo is running in {folder}: stop it first.") from None
    mark = folder / "made-by-the-demo"
    if any(folder.iterdir()) and not mark.exists():
        raise DemoError(f"{folder} holds something that the demo didn't put there: name another folder.")
    mark.touch()
    for child in folder.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        elif child != mark:
            child.unlink()


def require_free(port: int) -> None:
    """Raises DemoError when something else listens on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DemoError(f"Port {port} is taken. Choose another: PORT={port + 1}") from None


class Pipeline:
    """veza-ops at work on one Veza, with all that is Dagster's under `folder`."""

    def __init__(self, folder: Path, veza: Veza) -> None:
        self.folder = folder
        self.home = folder / "dagster_home"
        self.home.mkdir()
        (folder / CONFIG).write_text(json.dumps(unattended(SETTLE_SECONDS)))
        shutil.copy(PROJECT / "dagster.yaml", self.home)
        # Nothing of the developer's own: neither a database or a bucket, nor anybody to be told.
        own = ("VEZA_", "DAGSTER_", "AWS_")
        elsewhere = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        self.environment = {**elsewhere, "DAGSTER_HOME": str(self.home), **veza.environment}
        # Opened here first, alone: processes that start side by side must not all set up its tables.
        self.instance = dg.DagsterInstance.from_config(str(self.home))

    def cleanup(self) -> Cleanup:
        """Run the job from the command line; its output goes to a file."""
        number = len(list(self.folder.glob("cleanup-*.log"))) + 1
        log = self.folder / f"cleanup-{number}.log"
        with log.open("w") as output:
            done = subprocess.run(
                [sys.executable, "-m", *COMMAND],
                env=self.environment,
                cwd=self.folder,  # where there is no .env that would point elsewhere
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise DemoError(f"The cleanup failed: read {log}.")
        return self._on_record([found[1] for line in log.read_text().splitlines() if (found := _OP_LOG.search(line))])

    def _on_record(self, log: list[str]) -> Cleanup:
        [record] = self.instance.fetch_observations(dg.AssetKey("tracks"), limit=1).records
        assert record.asset_observation is not None
        metadata: Mapping[str, Any] = record.asset_observation.metadata
        return Cleanup(
            {each.name: metadata[each.name].value for each in fields(Counts)},
            _reasons(metadata.get("unverifiable_list"), UNVERIFIABLE),  # of an earlier run, if its list was the same
            _reasons(metadata.get("full_lists"), REFUSED),
            {str(row["id"]): str(row["reason"]) for row in _rows(metadata.get("refused_tracks"))},
            {str(row["id"]): row for row in _rows(metadata.get(STUCK_TABLE))},
            {str(row["area"]): str(row["why"]) for row in _rows(metadata.get("refused_areas"))},
            {check.name: self._answer(check.key) for check in CHECKS},
            log,
        )

    def _answer(self, check: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
        """What the last run said to a check."""
        record = self.instance.get_latest_asset_check_evaluation_record(check)
        assert record is not None
        assert record.event is not None
        assert record.event.dagster_event is not None
        return record.event.dagster_event.asset_check_evaluation_data

    @contextlib.contextmanager
    def served(self, port: int) -> Iterator["WebUI"]:
        """Web UI and daemon, as `dagster dev` starts them, until the end of the block."""
        log = self.folder / "dagster-dev.log"
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(PROJECT / "workspace.yaml"), "-p", str(port)]
        with log.open("w") as output:
            # In a session of its own, so that Ctrl-C comes to it once, from here.
            server = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            web = WebUI(f"http://localhost:{port}", self.instance)
            while not web.answers():
                if server.poll() is not None:
                    raise DemoError(f"The web UI didn't start: read {log}.")
                time.sleep(0.5)
            yield web
        finally:
            family = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
            server.send_signal(signal.SIGINT)
            try:
                server.wait(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()  # its own orderly end waits for each of its children in turn
                server.wait()
            stop_all([process for process in family if process.is_running()])


def _reasons(place: dg.MetadataValue[Any] | None, kind: str) -> dict[str, str]:
    """Why rows of a kind were left alone, by their id, as the evidence in a folder has it."""
    lists = sorted(Path(str(place.value)).glob(f"{kind}-*.jsonl")) if place else []
    return {row["id"]: row["why"] for path in lists for row in read(str(path))}


def _rows(table: dg.MetadataValue[Any] | None) -> list[Mapping[str, Any]]:
    """The rows of a table, which isn't there if it would be empty."""
    return [record.data for record in table.records] if isinstance(table, dg.TableMetadataValue) else []


@dataclass(frozen=True)
class WebUI:
    """The web UI, and somebody who launches runs there and waits for them."""

    url: str
    instance: dg.DagsterInstance

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return requests.get(f"{self.url}/server_info", timeout=60).ok
        except requests.RequestException:
            return False

    def launch(self, job: str = JOB) -> str:
        """Launch a job, and wait until it is over; its run id."""
        address = urlsplit(self.url)
        assert address.hostname is not None
        client = DagsterGraphQLClient(address.hostname, address.port)
        run_id = client.submit_job_execution(job)
        return self.finished(dg.RunsFilter(run_ids=[run_id]))

    def finished_on_load(self) -> str:
        """Wait for the run that the sensor starts when the code location was loaded; its run id."""
        return self.finished(dg.RunsFilter(tags={"dagster/sensor_name": "cleanup_orphan_tracks_on_load"}))

    def finished(self, which: dg.RunsFilter) -> str:
        """Wait until there is such a run and it is over; its run id. Raises DemoError if it failed."""
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            for run in self.instance.get_runs(which, limit=1):
                if run.is_success:
                    return run.run_id
                if run.is_finished:
                    raise DemoError(f"Run {self.url}/runs/{run.run_id} ended with {run.status.value}.")
            time.sleep(0.5)
        raise DemoError(f"There was no such run, or it didn't end in three minutes: look at {self.url}/runs.")
