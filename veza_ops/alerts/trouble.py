"""What was wrong with a finished run, told from what Dagster remembers of it."""

from collections.abc import Mapping

import dagster as dg

from veza_ops.alerts.message import Ending, Kind, Trouble
from veza_ops.findings import STORAGE_PROVEN, TRACK_FILES, TRACKS


def ending_of(instance: dg.DagsterInstance, run: dg.DagsterRun, *, max_missing: int) -> Ending:
    """What was wrong with a finished run, if anything, and what it says of the storage.

    It failed, it left an area of the storage alone, or it found more than `max_missing` missing files.
    """
    asked = [
        evaluation
        for event in _events(instance, run, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if (evaluation := event.asset_check_evaluation_data) and evaluation.asset_check_key == STORAGE_PROVEN.key
    ]
    refused = [each for each in asked if not each.passed and each.severity is dg.AssetCheckSeverity.ERROR]
    is_good = False if refused else any(_is_proof(each.metadata) for each in asked) or None
    if run.status is dg.DagsterRunStatus.FAILURE:
        return Ending(Trouble(Kind.STORAGE if refused else Kind.FAILED, _why_failed(instance, run)), is_good)
    if refused:
        return Ending(Trouble(Kind.STORAGE, refused[-1].description or ""), is_good)
    for event in _events(instance, run, dg.DagsterEventType.ASSET_OBSERVATION):
        observation = event.asset_observation_data.asset_observation
        missing = _count(observation.metadata, "missing")
        if observation.asset_key in (TRACKS, TRACK_FILES) and missing is not None and missing > max_missing:
            says = f"The files of {missing} tracks are missing; up to {max_missing} in a run are ordinary."
            return Ending(Trouble(Kind.ORPHANS, says), is_good)
    return Ending(None, is_good)


def _is_proof(metadata: Mapping[str, object]) -> bool:
    """Whether witnesses were seen, and nothing was refused: what was taken on trust, or not asked, proves nothing."""
    return bool(_count(metadata, "seen")) and _count(metadata, "refused_areas") == 0


def _count(metadata: Mapping[str, object], name: str) -> int | None:
    """A number of the metadata, if it is a count."""
    value = getattr(metadata.get(name), "value", None)
    return value if type(value) is int and value >= 0 else None


def _why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The first error that is meant to be read; of any other error only the name, since its text may hold anything."""
    why = "The run stopped before a step could say why."
    for event in _events(instance, run, dg.DagsterEventType.STEP_FAILURE):
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return data.user_failure_data.description
        if data.error:
            why = f"The step {event.step_key} failed with {data.error.cls_name}."
    return why


def _events(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    return [event for entry in instance.all_logs(run.run_id, of_type=kind) if (event := entry.dagster_event)]
