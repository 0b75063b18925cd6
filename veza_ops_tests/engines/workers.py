"""Celery as docs/scale-out.md sets it up: a Redis, workers, and a Dagster home whose storage is in PostgreSQL."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from demo.ports import free_port
from veza_ops_tests.e2e.deployment import A_MINUTE_AND_THE_START, JOB, ROOT, Deployment, open_deployment, wait_for
from veza_ops_tests.e2e.installation import DEPLOY, Places
from veza_ops_tests.engines.documentation import replaced, run_config, worker_command
from veza_ops_tests.engines.environment import command, redis_server, run, variables

PATIENT = {"database": {"config": {"lock_timeout_seconds": 300, "statement_timeout_seconds": 600}}}

OVERDUE = """
import sys, redis
queue = redis.Redis.from_url(sys.argv[1])
queue.zadd("unacked_index", {delivered: 0 for delivered in queue.zrange("unacked_index", 0, -1)})
"""
"""Let all steps that somebody has and hasn't finished have been handed out long ago."""


@dataclass
class Queue:
    """A queue of steps in a Redis, and the workers that take them, one at a time each."""

    deployment: Deployment
    port: int
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    runs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Host and port of the Redis."""
        return f"127.0.0.1:{self.port}"

    # -- processes --------------------------------------------------------------------------------------------

    def start(self, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a command of the environment, in a process group of its own; where it logs to."""
        deployment = self.deployment
        log = deployment.home / f"process-{len(deployment.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env=deployment.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deployment.processes.append(process)
        return process, log

    def have_two_workers(self) -> None:
        """Start workers until there are two, by the documented command and settings.

        They take one step at a time, and look every second for steps that are overdue, not every hundred.
        """
        settings = self.deployment.home / "celery.yaml"
        changes = {
            "localhost:6379": self.address,
            "config_source:\n": "config_source:\n      worker_concurrency: 1\n",
            "visibility_timeout: 900\n": "visibility_timeout: 900\n        unacked_restore_interval: 1\n"
            "        unacked_restore_throttle: 1\n",
        }
        settings.write_text(replaced((DEPLOY / "celery.yaml").read_text(), changes))
        name, *rest = replaced(worker_command(), {"deploy/celery.yaml": str(settings)}).split()
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        started = [self.start(*command(name, *rest)) for _ in range(2 - len(self.workers))]
        for worker, log in started:
            wait_for("a worker", partial(_is_ready, log), seconds=A_MINUTE_AND_THE_START)
            self.workers.append(worker)

    def execute(self) -> subprocess.Popen[bytes]:
        """Execute the cleanup with the documented run config, two tracks a batch."""
        documented_config, own = (self.deployment.home / name for name in ("celery-run.yaml", "run.json"))
        documented_config.write_text(replaced(run_config("celery"), {"localhost:6379": self.address}))
        own.write_text(json.dumps({"ops": {"find_stale_tracks": {"config": {"batch_size": 2}}}, "resources": PATIENT}))
        configs = ("-c", str(documented_config), "-c", str(own))
        arguments = ("job", "execute", "-m", "veza_ops.definitions", "-j", JOB, *configs)
        self.runs.append(self.start(*command("dagster", *arguments))[0])
        return self.runs[-1]

    def stop_runs(self) -> None:
        """Leave no run for the next test, which may have failed."""
        for process in self.runs:
            self.deployment.stop(process, patience=10)
        self.runs.clear()

    def kill_worker_of(self, process: int) -> None:
        """Kill the whole worker that a step's process belongs to, as when its machine goes down."""
        (worker,) = [
            each
            for each in self.workers
            if process in {child.pid for child in psutil.Process(each.pid).children(recursive=True)}
        ]
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def let_them_be_overdue(self) -> None:
        """Let what workers have in hand have been there for longer than the visibility timeout."""
        code, said = run("python", "-c", OVERDUE, f"redis://{self.address}/0")
        assert code == 0, said


def _is_ready(log: Path) -> bool | None:
    return " ready." in log.read_text() or None


@contextmanager
def redis(folder: Path) -> Iterator[int]:
    """The port of a Redis that keeps nothing."""
    path, port = redis_server(), free_port()
    assert path is not None
    options = {"--port": str(port), "--bind": "127.0.0.1", "--dir": str(folder), "--save": "", "--appendonly": "no"}
    arguments = [word for option in options.items() for word in option]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([path, *arguments], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for("Redis", lambda: _answers(port), seconds=A_MINUTE_AND_THE_START)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool | None:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG" or None
    except OSError:
        return None


@contextmanager
def new_queue(dagster_url: str, veza_url: str, files: Path) -> Iterator[Queue]:
    """A queue without workers, and a Dagster home with the settings of deploy/, its storage at `dagster_url`."""
    folder = Path(tempfile.mkdtemp(prefix="veza-ops-"))
    settings = folder / "dagster.yaml"
    settings.write_text(Places.below(folder).put_into((DEPLOY / "dagster.yaml").read_text()))
    storage = {"DAGSTER_POSTGRES_URL": dagster_url}
    with pytest.MonkeyPatch.context() as patch, redis(folder) as port:
        patch.setenv(*storage.popitem())  # this process looks in as well
        for deployment in open_deployment(folder / "home", {}, settings=settings):
            deployment.environment = variables(
                {
                    "DAGSTER_HOME": str(deployment.home),
                    "DAGSTER_POSTGRES_URL": dagster_url,
                    "VEZA_DATABASE_URL": veza_url,
                    "VEZA_STORAGE_ROOT": str(files),
                }
            )
            yield Queue(deployment, port)
    shutil.rmtree(folder, ignore_errors=True)
