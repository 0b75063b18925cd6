"""When people are told: the sensor that looks at the runs that have finished."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg

from veza_ops.alerts.channels import send
from veza_ops.alerts.memory import SAME_STORAGE, Memory
from veza_ops.alerts.message import Ending, message
from veza_ops.alerts.trouble import ending_of
from veza_ops.resources import Alerts
from veza_ops.runs import CHECKS_JOB, Location, is_ours

_NAMES = {CHECKS_JOB: "a check of the assets"}
"""What jobs that nobody knows by their name are called."""

PAGE = 100
"""Finished runs of a kind that are read at a time."""

LOOK_SECONDS = 20.0
"""After so long, the rest is left to the next look.

Dagster saves the cursor when a tick ends, and gives one up after 60 s (DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS): what such
a tick has told would be told again, for ever. A message that begins in time takes as long as its slowest channel may.
"""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the channels in VEZA_ALERT_URLS when trouble starts and when it ends: a failed run, refused "
    "storage, more missing files than alerts.max_missing. Nobody is told twice of the same trouble.",
)
def alert_on_trouble(context: dg.SensorEvaluationContext, alerts: Alerts) -> dg.SensorResult:
    """Look at the runs that finished since the last look, in order, and tell what is new.

    The cursor moves past what was told, and past what isn't ours to tell.
    """
    if not alerts.is_configured:
        # Without a cursor, so that whoever is told one day isn't told of all that was.
        return dg.SensorResult(cursor="", skip_reason=dg.SkipReason("VEZA_ALERT_URLS is not set: nobody is told."))
    until = time.monotonic() + LOOK_SECONDS
    said: list[str] = []
    memory, here = _recall(context, said), Location.of_sensor(context)
    for storage_id, run in _finished_since(context.instance, memory.upto):
        if run and is_ours(run, here):
            ending = ending_of(context.instance, run, max_missing=alerts.max_missing)
            memory, is_told = _tell(context, alerts, memory, run, ending, said)
            if not is_told:
                said.append(f"Nobody could be told of run {run.run_id}; the next look tries again.")
                break
        memory = replace(memory, upto=storage_id)
        if time.monotonic() > until:
            said.append("The rest comes with the next look.")
            break
    reason = " ".join(said) or f"Nothing new to tell. Known trouble: {', '.join(memory.told) or 'none'}."
    return dg.SensorResult(cursor=str(memory), skip_reason=dg.SkipReason(" ".join((reason, *alerts.wrong))))


def _recall(context: dg.SensorEvaluationContext, said: list[str]) -> Memory:
    try:
        return Memory.read(context.cursor) if context.cursor else Memory()
    except ValueError:
        said.append("The cursor couldn't be understood, so this is a first look, at the runs of the last hour.")
        return Memory()


def _tell(
    context: dg.SensorEvaluationContext,
    alerts: Alerts,
    memory: Memory,
    run: dg.DagsterRun,
    ending: Ending,
    said: list[str],
) -> tuple[Memory, bool]:
    """Tell what is new by a run; what is known then, and whether all of it could be told."""
    after = memory.after(run.job_name, ending)
    for job in dict.fromkeys((run.job_name, *memory.told)):
        before, kind = memory.told.get(job), after.told.get(job)
        now = ending.trouble if job == run.job_name else None
        name, page = _NAMES.get(job, job), alerts.page_of(run.run_id)
        news = message(name, before, now, page, may_be_asked=job in SAME_STORAGE) if kind != before else None
        if news is None:
            continue
        sent = send(alerts.urls, news)
        for channels, what in ((sent.refused, "No message to"), (sent.silent, "No answer in time, so maybe told:")):
            for channel in channels:
                context.log.warning("%s %s: %s", what, channel, news.title)
        if not sent.is_told:
            return memory, False
        said.append(f"Told: {news.title}.")
        memory = memory.knowing(job, kind)
    return after, True


def _finished_since(instance: dg.DagsterInstance, upto: int | None) -> Iterator[tuple[int, dg.DagsterRun | None]]:
    """The runs that succeeded or failed after the event `upto`, in order; at first, those of the last hour.

    None stands for a run that is gone.
    """
    is_last = False
    while not is_last:
        fresh = {"after_storage_id": upto} if upto is not None else {"after_timestamp": time.time() - 3600}
        events: dict[int, str] = {}
        horizon = math.inf
        for kind in (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE):
            wanted = dg.RunStatusChangeRecordsFilter(event_type=kind, **fresh)
            page = instance.fetch_run_status_changes(wanted, limit=PAGE, ascending=True).records
            events |= {record.storage_id: record.event_log_entry.run_id for record in page}
            if len(page) == PAGE:  # what comes later may be on this kind's next page
                horizon = min(horizon, page[-1].storage_id)
        ids = list(dict.fromkeys(events.values()))
        runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))} if ids else {}
        for at in sorted(at for at in events if at <= horizon):
            yield at, runs.get(events[at])
            upto = at
        is_last = horizon == math.inf
