"""When people are told: the sensor that looks at the runs that have finished."""

import json
import math
import time

import dagster as dg

from veza_ops.alerts.channels import send
from veza_ops.alerts.message import message
from veza_ops.alerts.trouble import ending_of
from veza_ops.resources import Alerts
from veza_ops.runs import is_ours

PAGE = 50
"""Finished runs of a kind that one look at them takes in."""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the channels in VEZA_ALERT_URLS when trouble starts and when it ends: a failed run, refused "
    "storage, more missing files than alerts.max_missing. Nobody is told twice of the same trouble.",
)
def alert_on_trouble(context: dg.SensorEvaluationContext, alerts: Alerts) -> dg.SensorResult:
    """Look at the runs that finished since the last look, in order, and tell what is new.

    The cursor says up to which event, which job is known to be in trouble, and whose storage wasn't proven again since
    it was refused: of those, nobody is told that all is well. It only moves past what was told.
    """
    if not alerts.is_configured:
        # Without a cursor, so that whoever is told one day isn't told of all that was.
        return dg.SensorResult(cursor="", skip_reason=dg.SkipReason("VEZA_ALERT_URLS is not set: nobody is told."))
    upto, told, *others = json.loads(context.cursor or "[null, {}]")
    unproven: set[str] = set(*others)
    said: list[str] = []
    for storage_id, run in _finished_since(context, upto):
        ending = ending_of(context.instance, run, max_missing=alerts.max_missing)
        trouble = ending.trouble
        still_unproven = run.job_name in unproven and ending.is_storage_good is None
        if trouble is None and still_unproven:
            upto = storage_id
            continue
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
        unproven.discard(run.job_name)
        if still_unproven or ending.is_storage_good is False:
            unproven.add(run.job_name)
        upto = storage_id
    reason = " ".join(said) or f"Nothing new to tell. Known trouble: {', '.join(told) or 'none'}."
    return dg.SensorResult(cursor=json.dumps([upto, told, sorted(unproven)]), skip_reason=dg.SkipReason(reason))


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
