"""When people are told: the sensor that looks at the runs that have finished."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Final

import dagster as dg

from veza_ops.alerts import digest
from veza_ops.alerts.channels import send
from veza_ops.alerts.memory import SAME_STORAGE, STUCK_TRACKS, Memory
from veza_ops.alerts.message import Ending, Kind, Message, Trouble, message
from veza_ops.alerts.trouble import ending_of, ending_of_unreadable
from veza_ops.bounds import within
from veza_ops.resources import Alerts
from veza_ops.runs import CHECKS_JOB, Location, is_ours

_NAMES = {CHECKS_JOB: "a check of the assets"}
"""What jobs that nobody knows by their name are called."""

_KINDS: Final = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE)

PAGE = 100
"""Finished runs of a kind that are read at a time."""

LOOK_SECONDS = 20.0
"""After so long, the rest is left to the next look.

Dagster saves the cursor when a tick ends, and gives one up after 60 s (DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS): what such
a tick has told would be told again, for ever. A message that begins in time takes as long as its slowest channel may.
"""


@dg.sensor(
    minimum_interval_seconds=60,
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
    look, here = _Look(context, alerts), Location.of_sensor(context)
    before = look.memory
    try:
        for storage_id, run in _finished_since(context.instance, before.upto):
            if run and is_ours(run, here) and not look.has_told(run, storage_id):
                break
            look.memory = replace(look.memory, upto=storage_id, tried=None)
            if time.monotonic() > until:
                look.said.append("The rest comes with the next look.")
                break
    except Exception as error:
        if look.memory == before:
            raise
        # What was told so far stays told.
        look.said.append(f"The rest comes with the next look, since this one ended with {type(error).__name__}.")
    if alerts.digest:
        look.sum_up(here, datetime.now(UTC), until)
    reason = " ".join(look.said) or f"Nothing new to tell. Known trouble: {', '.join(look.memory.told) or 'none'}."
    return dg.SensorResult(cursor=str(look.memory), skip_reason=dg.SkipReason(" ".join((reason, *alerts.wrong))))


class _Look:
    """One look at the runs: what is known so far, and what the tick says of it."""

    def __init__(self, context: dg.SensorEvaluationContext, alerts: Alerts) -> None:
        self.context = context
        self.alerts = alerts
        self.said: list[str] = []
        try:
            self.memory = Memory.read(context.cursor) if context.cursor else Memory()
        except ValueError:
            self.memory = Memory()
            self.said.append(
                "The cursor couldn't be understood, so this is a first look, at the runs of the last hour."
            )

    def has_told(self, run: dg.DagsterRun, storage_id: int) -> bool:
        """Tell what is new by a run; whether that is done with, or else the next look has to try again."""
        try:
            ending = ending_of(self.context.instance, run, max_missing=self.alerts.max_missing)
        except Exception as error:  # noqa: BLE001 - it may be of any storage; what such errors say may hold anything
            why = f"Run {run.run_id} couldn't be read ({type(error).__name__})"
            if self.memory.tried != storage_id:  # the storage may have been away for a moment
                self.said.append(f"{why}; the next look tries again.")
                self.memory = replace(self.memory, tried=storage_id)
                return False
            self.said.append(f"{why}.")
            ending = ending_of_unreadable(run)
        if ending is None or self._tell(run, ending):
            return True
        self.said.append(f"Nobody could be told of run {run.run_id}; the next look tries again.")
        return False

    def _tell(self, run: dg.DagsterRun, ending: Ending) -> bool:
        """Tell what is new by a run that ended so; whether all of it could be told."""
        after = self.memory.after(run.job_name, ending)
        for job in dict.fromkeys((run.job_name, STUCK_TRACKS, *self.memory.told)):
            if self.memory.knows(job, after):
                continue
            now, before = after.told.get(job), self.memory.told.get(job)
            trouble = ending.trouble if job == run.job_name else None
            if job == STUCK_TRACKS and ending.stuck:
                trouble = Trouble(Kind.STUCK, ending.stuck)
            news = message(
                _NAMES.get(job, job),
                before if before != now else None,  # the same kind again: another disk
                trouble,
                self.alerts.page_of(run.run_id),
                may_be_asked=job in SAME_STORAGE,
            )
            if news and not self._has_sent(news):
                return False
            self.memory = self.memory.knowing(job, after)
        self.memory = after
        return True

    def sum_up(self, here: Location, now: datetime, until: float) -> None:
        """Tell of the day before `now`, if that is due. What goes wrong is tried again with the next look.

        So is what isn't read by `until`: a look must be over in time.
        """
        if not digest.is_due(self.memory.summed, now):
            return
        left = until - time.monotonic()
        if left <= 0:
            self.said.append("The summary comes with the next look.")
            return
        instance, begin = self.context.instance, digest.since(self.memory.summed, now)
        try:
            day = within(left, lambda: digest.day_of(instance, here, begin, now))
        except Exception as error:  # noqa: BLE001 - as above
            self.said.append(f"The summary couldn't be made ({type(error).__name__}); the next look tries again.")
            return
        if day.none_ended and digest.is_first_day(self.memory.summed, now):
            self.memory = replace(self.memory, summed=digest.first_day(now))
            return
        news = digest.summary(day, begin, now, self.alerts.page_of(day.run_id) if day.run_id else "")
        if news is None or self._has_sent(news):
            self.memory = replace(self.memory, summed=now.timestamp())
        else:
            self.said.append("Nobody could be told of the day; the next look tries again.")

    def _has_sent(self, news: Message) -> bool:
        try:
            sent = send(self.alerts.urls, news)
        except Exception as error:  # noqa: BLE001 - whatever it is, it may show an address
            self.context.log.warning("No message could be sent (%s): %s", type(error).__name__, news.title)
            return False
        for channels, what in ((sent.refused, "No message to"), (sent.silent, "No answer in time, so maybe told:")):
            for channel in channels:
                self.context.log.warning("%s %s: %s", what, channel, news.title)
        if sent.is_told:
            self.said.append(f"Told: {news.title}.")
        return sent.is_told


def _finished_since(instance: dg.DagsterInstance, upto: int | None) -> Iterator[tuple[int, dg.DagsterRun | None]]:
    """The runs that succeeded or failed after the event `upto`, in order; at first, those of the last hour.

    None stands for a run that is gone. What ends once this has begun is left out, since each kind is asked for by
    itself: a run that ended between two questions would be passed over.
    """
    newest = chain.from_iterable(instance.fetch_run_status_changes(kind, limit=1).records for kind in _KINDS)
    last = max((record.storage_id for record in newest), default=-1)
    horizon = -1 if upto is None else upto
    while horizon < last:
        fresh = {"after_storage_id": upto} if upto is not None else {"after_timestamp": time.time() - 3600}
        events: dict[int, str] = {}
        horizon = last
        for kind in _KINDS:
            wanted = dg.RunStatusChangeRecordsFilter(kind, **fresh)
            page = instance.fetch_run_status_changes(wanted, limit=PAGE, ascending=True).records
            events |= {record.storage_id: record.event_log_entry.run_id for record in page}
            if len(page) == PAGE:  # what comes later may be on this kind's next page
                horizon = min(horizon, page[-1].storage_id)
        ids = list(dict.fromkeys(events.values()))
        runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))} if ids else {}
        for at in sorted(at for at in events if at <= horizon):
            yield at, runs.get(events[at])
            upto = at
