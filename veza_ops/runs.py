"""How Dagster knows our runs from those of others: their tags, their code location, and where they stand."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise, repeat
from typing import Any, NamedTuple, Self

import dagster as dg

from veza_ops.findings import TRACK_FILES, TRACKS

OURS = {"team": "veza-ops", "domain": "tracks"}
"""Tags that every job and run of ours has, to filter by."""

WRITES_TRACKS = "veza_ops/writes_tracks"
"""Tag of the jobs that write to the tracks table; of those with the same value, the queue lets one run at a time."""

WRITING = {WRITES_TRACKS: "true", "dagster/max_runtime": "2700"}
"""Such a run is ended after 45 minutes: one whose process was killed looks as if it ran, and holds up the next one."""

WRONG_SETTING = "veza_ops/wrong_setting"
"""Tag of a job whose steps are set wrong by the environment, with what is wrong: no run of it does anything."""


def stands_for(url: str, *table: str) -> str:
    """The value of `WRITES_TRACKS` for a table in the database at `url`, so that neighbours don't wait for each other.

    Sixteen bits are enough to tell them apart, and so few that nobody can tell from them what the address holds.
    """
    without_login = url.rpartition("@")[2]
    return hashlib.sha256("\0".join((without_login, *table)).encode()).hexdigest()[:4]


CHECKS = frozenset(
    dg.AssetCheckKey(asset, name)
    for asset, names in {
        TRACKS: ("no_orphan_left", "nothing_unverifiable", "storage_proven", "nothing_stuck"),
        TRACK_FILES: (
            "no_file_missing",
            "no_file_unverifiable",
            "no_file_unnamed",
            "no_upload_incomplete",
            "no_file_damaged",
        ),
    }.items()
    for name in names
)
"""Our checks: what a run that executes some of them, because somebody asked for it, is known by."""

CHECKS_JOB = "__ASSET_JOB"
"""What Dagster calls the job that executes checks which somebody asked for."""

LABEL = ".dagster/repository"
"""The tag by which Dagster's storage finds the runs of one code location."""

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in FINISHED]

_PAGE, _PAGES = 100, 10
"""Events that are read at a time, and how often: others may have told the same asset of any number."""


class Location(NamedTuple):
    """A code location: what Dagster labels its runs with, and the module that it loads."""

    label: str | None = None
    """``repository@location``; None for what was started from the command line."""
    module: str | None = None
    """None where it isn't known: the sensors of a code server aren't told what that has loaded."""

    @classmethod
    def of_run(cls, run: dg.DagsterRun) -> Self:
        """Where a run was started from."""
        origin, code = run.remote_job_origin, run.job_code_origin
        return cls(
            origin.repository_origin.get_label() if origin else None,
            getattr(code.repository_origin.code_pointer, "module", None) if code else None,
        )

    @classmethod
    def of_sensor(cls, context: dg.SensorEvaluationContext) -> Self:
        """Where a sensor looks from."""
        origin = context.code_location_origin
        if origin is None:
            return cls()
        label = f"{context.repository_name}@{origin.location_name}"
        try:
            target = origin.loadable_target_origin
        except dg.DagsterInvariantViolationError:
            return cls(label)
        return cls(label, target.module_name or target.package_name or target.autoload_defs_module_name)

    @classmethod
    def of_schedule(cls, context: dg.ScheduleEvaluationContext) -> Self:
        """Where a schedule ticks.

        Dagster doesn't tell schedules. It does tell the process that the daemon starts to serve a module.
        """
        name = dict(pairwise(sys.argv)).get("--location-name")
        return cls(f"{context.repository_def.name}@{name}") if name else cls()

    def has(self, run: dg.DagsterRun) -> bool:
        """Whether `run` was started from here, or from the command line, unless that loaded another module."""
        other = Location.of_run(run)
        if other.label is None and self.module and other.module:
            return self.module == other.module
        return (other.label or self.label) == self.label


def is_ours(run: dg.DagsterRun, here: Location) -> bool:
    """Whether `run` is one of ours, and of the code location `here` or started from the command line.

    A code location may hold other people's jobs and checks beside ours. What has none of our tags is ours only if it
    executes checks of ours, and nothing else.
    """
    if not here.has(run):
        return False
    checks = run.asset_check_selection or set()
    return OURS.items() <= run.tags.items() or (bool(checks) and checks <= CHECKS and not run.asset_selection)


def has_stopped(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the executor of a run was told to stop, of which it writes in the run's log before anything else."""
    engine = dg.DagsterEventType.ENGINE_EVENT
    page = instance.get_records_for_run(run_id, of_type=engine, limit=_PAGE, ascending=False)
    events = [record.event_log_entry.dagster_event for record in page.records]
    return any(event and "steps_interrupted" in event.engine_event_data.metadata for event in events)


class Observed(NamedTuple):
    """What a run told an asset."""

    run_id: str
    timestamp: float
    """When, in seconds since the epoch."""
    told: Mapping[str, Any]
    """As plain values."""


def told_by_ours(instance: dg.DagsterInstance, asset: dg.AssetKey, here: Location) -> Iterator[Mapping[str, Any]]:
    """What our runs told `asset` as plain values, the newest first."""
    return (each.told for each in observed_by_ours(instance, asset, here))


def observed_by_ours(
    instance: dg.DagsterInstance, asset: dg.AssetKey | dg.AssetRecordsFilter, here: Location, *, at_first: int = _PAGE
) -> Iterator[Observed]:
    """The same, with the run and the time; of an asset, or of those records of it that are wanted.

    So many are read `at_first`, in case that there are no more.

    Others may observe it too: the neighbours' runs, and anybody by hand.
    """
    cursor: str | None = None
    for limit in (at_first, *repeat(_PAGE, _PAGES - 1)):
        page = instance.fetch_observations(asset, limit=limit, cursor=cursor)
        ids = list({record.run_id for record in page.records})
        runs = instance.get_runs(dg.RunsFilter(run_ids=ids)) if ids else ()
        ours = {run.run_id for run in runs if is_ours(run, here)}
        for record in page.records:
            if record.run_id in ours and record.asset_observation:
                metadata = record.asset_observation.metadata
                told = {name: getattr(value, "value", None) for name, value in metadata.items()}
                yield Observed(record.run_id, record.timestamp, told)
        if not page.has_more:
            return
        cursor = page.cursor
