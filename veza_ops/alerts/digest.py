"""The morning summary: what has happened since the last one, what needs somebody, and what to do next."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from veza_ops.alerts.message import Message, harmless
from veza_ops.findings import TRACK_FILES, TRACKS, some_tracks
from veza_ops.runs import Location, is_ours, observed_by_ours

HOUR = 6
"""Of the day in UTC, from which on there is a summary."""
_LONGEST = timedelta(days=7)
"""A summary is of so long at most, however long nobody was told."""
_MOST = 1000
"""Failed runs that are counted."""


def is_due(last: int | None, now: datetime) -> bool:
    """Whether there is to be a summary `now`; the `last` one was made then, in seconds since the epoch."""
    morning = now.replace(hour=HOUR, minute=0, second=0, microsecond=0)
    return now >= morning and (last is None or last < morning.timestamp())


def since(last: int | None, now: datetime) -> datetime:
    """From when on the summary tells."""
    begin = now - timedelta(days=1) if last is None else datetime.fromtimestamp(last, UTC)
    return max(begin, now - _LONGEST)


@dataclass(frozen=True)
class Day:
    """What is to be told."""

    cleanups: int = 0
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
    oldest_hours: float = 0.0
    proof: str = ""
    areas: tuple[str, ...] = ()
    """The areas that were left alone."""
    audit: Mapping[str, int] = field(default_factory=dict)
    """What the last audit found, if there was one since."""
    run_id: str = ""
    """The last cleanup."""

    @property
    def has_news(self) -> bool:
        """Whether anything happened, or needs somebody."""
        numbers = self.failed, self.marked, self.refused, self.unverifiable, self.stuck, len(self.areas)
        return not self.cleanups or any(numbers) or any(self.audit.values())


def day_of(instance: dg.DagsterInstance, here: Location, begin: datetime) -> Day:
    """What the runs of the code location `here` have told since a moment."""
    cleanups = list(_told(instance, TRACKS, here, begin))
    last_id, last = cleanups[0] if cleanups else ("", {})
    _, audit = next(_told(instance, TRACK_FILES, here, begin), ("", {}))
    return Day(
        len(cleanups),
        _failed(instance, here, begin),
        sum(_number(told, "marked_failed") for _, told in cleanups),
        sum(_number(told, "raced") for _, told in cleanups),
        _number(last, "refused"),
        _number(last, "unverifiable"),
        {name: _number(last, name) for name in ("growing", "waiting", "empty") if _number(last, name)},
        _number(last, "stuck"),
        _hours(last),
        str(last.get("proof") or ""),
        tuple(_areas(last)),
        {name: _number(audit, name) for name in _OF_AUDIT if _number(audit, name)},
        last_id,
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
    lines = [
        f"Since {begin:%A, %H:%M} UTC: {day.cleanups} cleanups"
        + (f"; {day.failed} runs of veza-ops failed." if day.failed else ", and none failed."),
        f"Marked failed, since their file never came: {some_tracks(day.marked)}.",
        *([f"Changed by others before that: {some_tracks(day.raced)}."] if day.raced else []),
        *([f"Refused by the database: {some_tracks(day.refused)}."] if day.refused else []),
        *([f"Left alone, since nobody could look: {some_tracks(day.unverifiable)}."] if day.unverifiable else []),
        _stuck(day),
        f"Storage: {harmless(day.proof)}" if day.proof else "Storage: nobody has looked.",
        *([f"The audit found {_audit(day)}."] if day.audit else []),
    ]
    steps = list(_next_steps(day))
    told = "\n".join([*lines, "", "Next:", *(f"- {step}" for step in steps)] if steps else lines)
    return Message(f"veza-ops: summary of {now:%A, %d %B}", f"{told}\n\n{page}", good=not steps)


def _stuck(day: Day) -> str:
    if not day.present:
        return "In processing with their file: none."
    like = ", ".join(f"{number} {name}" for name, number in day.present.items())
    return f"In processing with their file: {like}; stuck: {day.stuck}, the oldest is {day.oldest_hours:.0f} h old."


def _audit(day: Day) -> str:
    return ", ".join(f"{number} {_OF_AUDIT[name]}" for name, number in day.audit.items())


def _next_steps(day: Day) -> Iterator[str]:
    if not day.cleanups:
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
    instance: dg.DagsterInstance, asset: dg.AssetKey, here: Location, begin: datetime
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What our runs told an asset since a moment, the newest first."""
    for each in observed_by_ours(instance, asset, here):
        if each.timestamp < begin.timestamp():
            return
        if not each.told.get("dry_run") and not each.told.get("recheck"):
            yield each.run_id, each.told


def _failed(instance: dg.DagsterInstance, here: Location, begin: datetime) -> int:
    """How many of our runs have failed since."""
    ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=begin)
    return sum(is_ours(run, here) for run in instance.get_runs(ended, limit=_MOST))


def _number(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name)
    return value if type(value) is int and value >= 0 else 0


def _hours(told: Mapping[str, Any]) -> float:
    value = told.get("oldest_present_age_hours")
    return float(value) if isinstance(value, int | float) else 0.0


def _areas(told: Mapping[str, Any]) -> Iterator[str]:
    """The areas that were left alone, as the table of the run has them."""
    for record in getattr(told.get("refused_areas"), "records", None) or ():
        yield str(record.data.get("area", ""))
