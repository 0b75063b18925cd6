"""The morning summary: what has happened since the last one, what needs somebody, and what to do next."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster_shared.check import CheckError
from dagster_shared.serdes.errors import DeserializationError

from veza_ops.alerts.message import Message, harmless
from veza_ops.alerts.trouble import was_canceled
from veza_ops.findings import RECHECK, TRACK_FILES, TRACKS, some_tracks
from veza_ops.runs import Location, Observed, is_ours, observed_by_ours

HOUR = 6
"""Of the day in UTC, from which on there is a summary."""
_LONGEST = timedelta(days=7)
"""A summary is of so long at most, however long nobody was told."""
PAGE, _PAGES = 100, 100
"""Failed runs that are read at a time, and how often: the neighbours' are among them."""
_UNREADABLE = (CheckError, DeserializationError, LookupError, TypeError, ValueError)
"""What Dagster raises of an event that is damaged or of another version, but not where its storage is away."""


def is_due(last: float | None, now: datetime) -> bool:
    """Whether there is to be a summary `now`; the `last` one was made then, in seconds since the epoch."""
    made = _made(last, now)
    return now >= _morning(now) and (made is None or made < _morning(now).timestamp())


def since(last: float | None, now: datetime) -> datetime:
    """From when on the summary tells."""
    made = _made(last, now)
    begin = now - timedelta(days=1) if made is None else datetime.fromtimestamp(made, UTC)
    return max(begin, now - _LONGEST)


def first_day(now: datetime) -> int:
    """What stands for the last summary on the first day, of which nothing can be missed.

    The second before its morning: no summary is made then, and the day's is due until a cleanup has ended.
    """
    return int(_morning(now).timestamp()) - 1


def is_first_day(last: float | None, now: datetime) -> bool:
    """Whether there was no summary before today's."""
    return _made(last, now) in (None, first_day(now))


def _morning(now: datetime) -> datetime:
    return now.replace(hour=HOUR, minute=0, second=0, microsecond=0)


def _made(last: float | None, now: datetime) -> float | None:
    """When the last summary was made. None was in the future: a clock was wrong."""
    return None if last is None or last > now.timestamp() else last


@dataclass(frozen=True)
class Day:
    """What is to be told."""

    cleanups: int | None = 0
    """Those that came to their end; None where what they told can't be read."""
    dry_runs: int = 0
    failed: int = 0
    """Runs of any of our jobs that failed."""
    marked: int = 0
    raced: int = 0
    refused: int = 0
    """Of the last cleanup, as all below: it tells of what there still is."""
    unverifiable: int = 0
    present: Mapping[str, int] = field(default_factory=dict)
    """Stale tracks whose file is there, by what these are like."""
    stuck: int = 0
    oldest_hours: float | None = None
    """Of the oldest of all that are present, if its age is known."""
    proof: str = ""
    areas: tuple[str, ...] = ()
    """The areas that were left alone."""
    audit: Mapping[str, int] | None = field(default_factory=dict)
    """What the last audit found, if there was one since; None where that can't be read."""
    run_id: str = ""
    """The last cleanup."""

    @property
    def has_news(self) -> bool:
        """Whether anything happened, or needs somebody."""
        numbers = self.failed, self.marked, self.raced, self.refused, self.unverifiable, self.stuck, len(self.areas)
        return self.none_ended or self.is_unread or any(numbers) or any((self.audit or {}).values())

    @property
    def none_ended(self) -> bool:
        """Whether no cleanup came to its end, not even one that only looked."""
        return self.cleanups == 0 and not self.dry_runs

    @property
    def is_unread(self) -> bool:
        """Whether something that was told can't be read."""
        return self.cleanups is None or self.audit is None


def day_of(instance: dg.DagsterInstance, here: Location, begin: datetime, now: datetime | None = None) -> Day:
    """What the runs of the code location `here` have told since `begin`, and before `now`."""
    now = now or datetime.now(UTC)
    told = _told(instance, TRACKS, here, begin, now)
    # A run that failed may have told the asset of that: without counts.
    ended = [each for each in told or () if type(each.told.get("marked_failed")) is int]
    cleanups = [each for each in ended if not each.told.get("dry_run")]
    last = cleanups[0].told if cleanups else {}
    audits = _told(instance, TRACK_FILES, here, begin, now)
    audit: Mapping[str, Any] = next((each.told for each in audits or () if not each.told.get(RECHECK)), {})
    return Day(
        cleanups=None if told is None else len(cleanups),
        dry_runs=len(ended) - len(cleanups),
        failed=_failed(instance, here, begin, now),
        marked=sum(_number(each.told, "marked_failed") for each in cleanups),
        raced=sum(_number(each.told, "raced") for each in cleanups),
        refused=_number(last, "refused"),
        unverifiable=_number(last, "unverifiable"),
        present={name: _number(last, name) for name in ("growing", "waiting", "empty") if _number(last, name)},
        stuck=_number(last, "stuck"),
        oldest_hours=_hours(last),
        proof=str(last.get("proof") or ""),
        areas=tuple(_areas(last)),
        audit=None if audits is None else {name: _number(audit, name) for name in _OF_AUDIT if _number(audit, name)},
        run_id=cleanups[0].run_id if cleanups else "",
    )


_OF_AUDIT = {
    "missing": "playable tracks without their file",
    "empty": "files without content",
    "truncated": "files that are too short",
    "unnamed": "files that no track names",
    "moved": "of them perhaps those of tracks whose file wasn't seen",
    "incomplete_uploads": "uploads that nobody has completed",
}
"""The counts of an audit that need somebody, in words."""


def summary(day: Day, begin: datetime, now: datetime, page: str) -> Message | None:
    """What to tell of a day; None where nothing happened. `page` says where to look."""
    if not day.has_news:
        return None
    ran = "what cleanups told can't be read" if day.cleanups is None else f"{day.cleanups} cleanups"
    failed = f"; {day.failed} runs of veza-ops failed." if day.failed else ", and none failed."
    looked = "1 dry run" if day.dry_runs == 1 else f"{day.dry_runs} dry runs"
    lines = [
        f"Since {begin:%A, %H:%M} UTC: {ran}{failed}",
        *([f"Only looked: {looked}."] if day.dry_runs else []),
        *(_of_cleanups(day) if day.cleanups else []),
        *(["What audits told can't be read."] if day.audit is None else []),
        *([f"The audit found {_audit(day.audit)}."] if day.audit else []),
    ]
    steps = list(_next_steps(day))
    told = "\n".join([*lines, "", "Next:", *(f"- {step}" for step in steps)] if steps else lines)
    return Message(f"veza-ops: summary of {now:%A, %d %B}", f"{told}\n\n{page}", good=not steps)


def _of_cleanups(day: Day) -> list[str]:
    """What they did, and what the last one left."""
    return [
        f"Marked failed, since their file never came: {some_tracks(day.marked)}.",
        *([f"Changed by others before that: {some_tracks(day.raced)}."] if day.raced else []),
        *([f"Refused by the database: {some_tracks(day.refused)}."] if day.refused else []),
        *([f"Left alone, since nobody could look: {some_tracks(day.unverifiable)}."] if day.unverifiable else []),
        _stuck(day),
        f"Storage: {harmless(day.proof)}" if day.proof else "Storage: nobody has looked.",
    ]


def _stuck(day: Day) -> str:
    if not day.present:
        return "In processing with their file: none."
    like = ", ".join(f"{number} {name}" for name, number in day.present.items())
    oldest = "" if day.oldest_hours is None else f" (the oldest is {day.oldest_hours:.0f} h old)"
    return f"In processing with their file: {like}{oldest}; stuck: {day.stuck}."


def _audit(found: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {_OF_AUDIT[name]}" for name, number in found.items())


def _next_steps(day: Day) -> Iterator[str]:
    if day.is_unread:
        yield "See to Dagster's storage: it holds events that are damaged, or of another version of Dagster."
    if day.none_ended:
        yield "See why no cleanup has come to its end: is the schedule on, are runs waiting in the queue?"
    if day.failed:
        yield "Read why runs failed, on the Runs page; the next run tries again from the start."
    if day.areas:
        yield f"See whether all disks and buckets are there: {harmless(', '.join(day.areas))} were left alone."
    if day.stuck:
        yield "See to the workers that make tracks ready: the table stuck_tracks has those that wait for them."
    if day.refused:
        yield "See what keeps the database from marking tracks: the table refused_tracks has the reasons."
    if day.unverifiable and not day.areas:
        yield "See why nobody could look for some tracks: the table unverifiable_tracks has the reasons."
    if day.audit:
        yield "Look through what the audit found: its run has tables, and all of it in one sheet."


def _told(
    instance: dg.DagsterInstance, asset: dg.AssetKey, here: Location, begin: datetime, now: datetime
) -> list[Observed] | None:
    """What our runs told an asset meanwhile, the newest first; None where that can't be read."""
    # Not earlier ones, which may not be readable.
    meanwhile = dg.AssetRecordsFilter(asset, after_timestamp=begin.timestamp() - 1, before_timestamp=now.timestamp())
    try:
        told = list(observed_by_ours(instance, meanwhile, here))
    except _UNREADABLE:
        return None
    return [each for each in told if begin.timestamp() <= each.timestamp < now.timestamp()]


def _failed(instance: dg.DagsterInstance, here: Location, begin: datetime, now: datetime) -> int:
    """How many of our runs failed meanwhile, by themselves."""
    runs = (run for run in _all_failed(instance, begin, now) if is_ours(run, here))
    return sum(not _was_ended(instance, run) for run in runs)


def _all_failed(instance: dg.DagsterInstance, begin: datetime, now: datetime) -> Iterator[dg.DagsterRun]:
    """The runs of anybody that failed meanwhile. When is what their end says: a new tag is an update too."""
    begun, cursor = begin - timedelta(seconds=1), None  # the moment itself wouldn't be among those after it
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=begun)
    for _ in range(_PAGES):
        page = instance.get_run_records(wanted, limit=PAGE, cursor=cursor)
        for record in page:
            if record.end_time is not None and begin.timestamp() <= record.end_time < now.timestamp():
                yield record.dagster_run
        if len(page) < PAGE:
            return
        cursor = page[-1].dagster_run.run_id


def _was_ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether somebody ended a run; one of which nobody can tell has failed."""
    try:
        return was_canceled(instance, run)
    except Exception:  # noqa: BLE001 - what such errors are depends on Dagster's storage
        return False


def _number(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name)
    return value if type(value) is int and value >= 0 else 0


def _hours(told: Mapping[str, Any]) -> float | None:
    value = told.get("oldest_present_age_hours")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _areas(told: Mapping[str, Any]) -> Iterator[str]:
    """The areas that were left alone, as the table of the run has them."""
    for record in getattr(told.get("refused_areas"), "records", None) or ():
        yield str(record.data.get("area", ""))
