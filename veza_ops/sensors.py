"""When the cleanup runs because the code location was loaded, and when people are told.

No time and no random name made at import will do for "a load": a daemon that reads a Python module from its
workspace imports it anew about once a minute, for as long as it lives. What stands for a load is the process that
holds it, and how that is told is the rule `load_id`.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import dagster as dg
import psutil

from veza_ops.alerts import message, send
from veza_ops.jobs import cleanup_orphan_tracks
from veza_ops.ops import NOT_CONFIGURED
from veza_ops.resources import Alerts, Database
from veza_ops.runs import is_ours, trouble_of

PAGE = 50
"""Finished runs of a kind that one look at them takes in."""


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
    folder = Path(__file__).parent
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


@dg.sensor(
    job=cleanup_orphan_tracks,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Cleans up once whenever this code location is loaded: at start, after a reload, with new code.",
)
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
        yield dg.RunRequest(run_key=load)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the channels in VEZA_ALERT_URLS when trouble starts and when it ends: a failed run, refused "
    "storage, more missing files than alerts.max_missing. Nobody is told twice of the same trouble.",
)
def alert_on_trouble(context: dg.SensorEvaluationContext, alerts: Alerts) -> dg.SensorResult:
    """Look at the runs that finished since the last look, in order, and tell what is new.

    The cursor says up to which event, and which job is known to be in trouble. It only moves past what was told.
    """
    if not alerts.is_configured:
        # Without a cursor, so that whoever is told one day isn't told of all that was.
        return dg.SensorResult(cursor="", skip_reason=dg.SkipReason("VEZA_ALERT_URLS is not set: nobody is told."))
    upto, told = json.loads(context.cursor or "[null, {}]")
    said: list[str] = []
    for storage_id, run in _finished_since(context, upto):
        trouble = trouble_of(context.instance, run, max_missing=alerts.max_missing)
        if news := message(run.job_name, told.get(run.job_name), trouble, alerts.link(run.run_id)):
            taken, refused = send(alerts.urls, news)
            for channel in refused:
                context.log.warning("No message to %s: %s", channel, news.title)
            if not taken:
                said.append(f"Nobody could be told of run {run.run_id}; the next look tries again.")
                break
            said.append(f"Told: {news.title}.")
        told = {job: kind for job, kind in told.items() if job != run.job_name}
        if trouble:
            told[run.job_name] = trouble.kind
        upto = storage_id
    reason = " ".join(said) or f"Nothing new to tell. Known trouble: {', '.join(told) or 'none'}."
    return dg.SensorResult(cursor=json.dumps([upto, told]), skip_reason=dg.SkipReason(reason))


def _finished_since(context: dg.SensorEvaluationContext, upto: int | None) -> list[tuple[int, dg.DagsterRun]]:
    """Our runs that succeeded or failed after the event `upto`, in order; at first, those of the last hour."""
    fresh = {"after_storage_id": upto} if upto is not None else {"after_timestamp": time.time() - 3600}
    events: dict[int, str] = {}
    horizon = math.inf
    for kind in (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE):
        wanted = dg.RunStatusChangeRecordsFilter(event_type=kind, **fresh)
        page = context.instance.fetch_run_status_changes(wanted, limit=PAGE, ascending=True).records
        events |= {record.storage_id: record.event_log_entry.run_id for record in page}
        if len(page) == PAGE:  # what comes later may be on this kind's next page
            horizon = min(horizon, page[-1].storage_id)
    location = context.code_location_origin
    label = f"{context.repository_name}@{location.location_name}" if location else None
    runs = ((at, context.instance.get_run_by_id(run_id)) for at, run_id in sorted(events.items()) if at <= horizon)
    return [(at, run) for at, run in runs if run and is_ours(run, label)]
