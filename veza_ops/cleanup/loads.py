"""When the cleanup runs because the code location was loaded.

No time and no random name made at import will do for "a load": a daemon that reads a Python module from its
workspace imports it anew about once a minute, for as long as it lives. What stands for a load is the process that
holds it, and how that is told is the rule `load_id`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import dagster as dg
import psutil

import veza_ops
from veza_ops.cleanup.config import SETTLE_SECONDS, unattended
from veza_ops.resources import Database
from veza_ops.steps import NOT_CONFIGURED


@dataclass(frozen=True)
class Holder:
    """A process that may stand for a load: its pid, when it was started (seconds since boot), and its command."""

    pid: int
    started: float
    command: tuple[str, ...]

    @classmethod
    def of(cls, process: psutil.Process) -> Self:
        """Raises psutil.Error for a process that is gone or may not be looked at."""
        # Since boot, so that a clock that is set meanwhile doesn't make it another process.
        started = round(process.create_time() - psutil.boot_time(), 2)
        return cls(process.pid, started, tuple(process.cmdline()))

    @property
    def is_daemon(self) -> bool:
        """Whether this is Dagster's daemon: ``dagster-daemon run``, or ``python -m dagster._daemon run``."""
        return any(
            Path(word).name in ("dagster-daemon", "dagster-daemon.exe")
            or (flag == "-m" and word.startswith("dagster._daemon"))
            for flag, word in zip(("", *self.command), self.command, strict=False)
        )

    def __str__(self) -> str:
        return f"{self.pid}@{self.started:.2f}"


def load_id(holder: Holder, parent: Holder | None, source_digest: str) -> str:
    """What stays the same as long as one load of the code location lasts, and differs for every other.

    Normally that is `holder`, the process that serves the code. If its `parent` is the daemon, the process is replaced
    every minute with nothing loaded that wasn't there before: then the daemon stands for the load, together with the
    code, since new code that is picked up that way is a load too. A pid alone would not do: in a container, a
    process has the same pid after every restart.
    """
    if parent is not None and parent.is_daemon:
        return f"{parent}/{source_digest}"
    return str(holder)


def digest_of_package() -> str:
    """A digest of the package's source as it is on disk."""
    digest = hashlib.sha256()
    folder = Path(veza_ops.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


# Taken when the code is loaded: what is on disk later may not be what this process runs.
_SOURCE_DIGEST = digest_of_package()


def current_load_id() -> str:
    """The `load_id` of the process that this is called in."""
    process = psutil.Process()
    try:
        parent = Holder.of(psutil.Process(process.ppid()))
    except psutil.Error:  # a parent that is gone, or that may not be looked at, is no daemon of ours
        parent = None
    return load_id(Holder.of(process), parent, _SOURCE_DIGEST)


def load_sensor(job: dg.JobDefinition, *, on: bool = True, settle_seconds: int = SETTLE_SECONDS) -> dg.SensorDefinition:
    """The sensor that starts `job`, the cleanup, for each load; `on` unless somebody switches it."""

    def cleanup_orphan_tracks_on_load(
        context: dg.SensorEvaluationContext, database: Database
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """One cleanup for each load of the code location."""
        load = current_load_id()
        if not database.is_configured:
            # The cursor stays, so that the load is still made good once there is a database.
            yield dg.SkipReason(NOT_CONFIGURED)
        elif context.cursor == load:
            yield dg.SkipReason(f"This load of the code location ({load}) has had its cleanup.")
        else:
            context.update_cursor(load)
            yield dg.RunRequest(run_key=load, run_config=unattended(settle_seconds))

    return dg.sensor(
        job=job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        description="Cleans up once whenever this code location is loaded: at start, after a reload, with new code.",
    )(cleanup_orphan_tracks_on_load)
