"""What was wrong with a finished run, told from what Dagster remembers of it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain

import dagster as dg

from veza_ops.alerts.message import Ending, Kind, Trouble
from veza_ops.cleanup.asset import NOTHING_STUCK
from veza_ops.cleanup.ops import mark_orphans_failed
from veza_ops.findings import MAX_ORPHANS, PROVEN, RECHECK, REFUSED, STORAGE_PROVEN, TRACK_FILES, TRACKS
from veza_ops.storage.proof import EVERYWHERE


def ending_of(instance: dg.DagsterInstance, run: dg.DagsterRun, *, max_missing: int) -> Ending | None:
    """What was wrong with a finished run, if anything, and what it says of the storage.

    None if somebody ended it, or if it looked again at a part of what an audit had found, from which nothing follows.

    It failed, it left an area of the storage alone, or it found more than `max_missing` missing files.
    """
    failed = run.status is dg.DagsterRunStatus.FAILURE
    observed = [
        seen.metadata
        for event in _events(instance, run, dg.DagsterEventType.ASSET_OBSERVATION)
        if (seen := event.asset_observation_data.asset_observation).asset_key in (TRACKS, TRACK_FILES)
    ]
    is_part = any(_holds(metadata, RECHECK) for metadata in observed)
    if was_canceled(instance, run) if failed else is_part:
        return None
    told = [
        evaluation
        for event in _events(instance, run, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if (evaluation := event.asset_check_evaluation_data)
    ]
    asked = [each for each in told if each.asset_check_key == STORAGE_PROVEN.key]
    bad = [each for each in asked if not each.passed and each.severity is dg.AssetCheckSeverity.ERROR]
    refused = _union(_areas(each.metadata, REFUSED) or {EVERYWHERE} for each in bad)
    proven = _union(_areas(each.metadata, PROVEN) for each in asked) - refused
    ending = Ending(None, proven - {EVERYWHERE} if refused else proven, refused, _stuck(told))
    if failed:
        why = _why_failed(instance, run)
        return replace(ending, trouble=Trouble(Kind.STORAGE, why.says) if bad else why)
    if bad:
        return replace(ending, trouble=Trouble(Kind.STORAGE, bad[-1].description or ""))
    if any(_holds(metadata, "dry_run") for metadata in observed):
        return replace(ending, is_dry=True)
    for metadata in observed:
        missing = _count(metadata, "missing")
        if missing is not None and missing > max_missing:
            says = f"The files of {missing} tracks are missing; up to {max_missing} in a run are ordinary."
            return replace(ending, trouble=Trouble(Kind.ORPHANS, says))
    return ending


def _stuck(told: Iterable[dg.AssetCheckEvaluation]) -> str | None:
    """What a run said of tracks that are stuck with their file: nothing where there is none, None where it didn't."""
    says = [
        "" if each.passed else each.description or ""
        for each in told
        if each.asset_check_key == NOTHING_STUCK.key and _count(each.metadata, "stuck") is not None
    ]
    return says[-1] if says else None


def ending_of_unreadable(run: dg.DagsterRun) -> Ending | None:
    """What there is to tell of a run of which only the status can be read."""
    says = "What happened in it can't be read: Dagster's storage holds events that are damaged, or gives none."
    return Ending(Trouble(Kind.FAILED, says)) if run.status is dg.DagsterRunStatus.FAILURE else None


def was_canceled(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether somebody ended a run before it failed: its processes may fail of just that, later."""
    ends = {dg.DagsterEventType.RUN_CANCELED, dg.DagsterEventType.RUN_FAILURE}
    first = next(iter(_events(instance, run, ends)), None)
    return first is not None and first.event_type is dg.DagsterEventType.RUN_CANCELED


def _union(several: Iterable[Iterable[str]]) -> frozenset[str]:
    return frozenset(chain.from_iterable(several))


def _areas(metadata: Mapping[str, object], name: str) -> frozenset[str]:
    """Areas of the metadata, if they are names."""
    value = getattr(metadata.get(name), "value", None)
    return frozenset(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else frozenset()


def _holds(metadata: Mapping[str, object], name: str) -> bool:
    """Whether something of the metadata is so."""
    return bool(getattr(metadata.get(name), "value", None))


def _count(metadata: Mapping[str, object], name: str) -> int | None:
    """A number of the metadata, if it is a count."""
    value = getattr(metadata.get(name), "value", None)
    return value if type(value) is int and value >= 0 else None


def _why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Trouble:
    """The first error that is meant to be read, which may be that of the limit on orphans.

    Of any other error only the name, since its text may hold anything.
    """
    why = "The run stopped before a step could say why."
    for event in _events(instance, run, dg.DagsterEventType.STEP_FAILURE):
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            was_limited = MAX_ORPHANS in data.user_failure_data.metadata
            marked_none = was_limited and not _others_mark(instance, run, event.step_key)
            return Trouble(
                Kind.TOO_MANY if was_limited else Kind.FAILED, data.user_failure_data.description, marked_none
            )
        if data.error:
            why = f"The step {event.step_key} failed with {data.error.cls_name}."
    return Trouble(Kind.FAILED, why)


def _others_mark(instance: dg.DagsterInstance, run: dg.DagsterRun, refused: str | None) -> bool:
    """Whether a step other than the one that was `refused` has begun to mark tracks."""
    began = {event.step_key or "" for event in _events(instance, run, dg.DagsterEventType.STEP_START)}
    return any(key.partition("[")[0] == mark_orphans_failed.name for key in began - {refused})


def _events(
    instance: dg.DagsterInstance, run: dg.DagsterRun, kinds: dg.DagsterEventType | set[dg.DagsterEventType]
) -> list[dg.DagsterEvent]:
    return [event for entry in instance.all_logs(run.run_id, of_type=kinds) if (event := entry.dagster_event)]
