"""What one look at the asset's page is to answer: is it well, since when, what changed this week, how to undo it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import dagster as dg

from veza_ops.bounds import within
from veza_ops.cleanup.rules import Counts
from veza_ops.errors import VezaOpsError
from veza_ops.evidence import MARKED, MARKING, Evidence
from veza_ops.findings import TRACKS, Finding
from veza_ops.places import ANSWER_SECONDS
from veza_ops.resources import EvidenceStore
from veza_ops.runs import Location, Observed, observed_by_ours
from veza_ops.steps import full_lists, is_dry, plain_failures
from veza_ops.text import shown

_AT_FIRST = 10
"""Observations that are read first of all; an hour's run has a hundred more to read once there is a week of them."""
_WELL = "well"
_FAILED = "needs attention: the cleanup failed"
_WEEK = timedelta(days=7)
_COUNTED = "marked_failed", "raced", "refused"
_OF_WEEK = dg.TableSchema([dg.TableColumn("day"), *(dg.TableColumn(name, "int") for name in ("cleanups", *_COUNTED))])
_UNDO = "restore_orphan_tracks"
_MODULE = "veza_ops.definitions"
_THE_ONE = "__repository__"


@contextmanager
def failures_told(
    context: dg.OpExecutionContext, evidence: EvidenceStore, mark: dg.OpDefinition, now: str = ""
) -> Iterator[None]:
    """Fail the step as `plain_failures` does; the asset is told of what fails for good, unless `mark` is to be dry.

    `now` is the database's time, if that is known.
    """
    try:
        with plain_failures(context):
            yield
    except dg.RetryRequested:
        raise
    except Exception as failure:
        try:
            if not is_dry(context, mark):
                # The text of an error that isn't ours may hold anything.
                says = (failure.description if isinstance(failure, dg.Failure) else "") or type(failure).__name__
                metadata = of_failure(says, told_before(context), now or str(datetime.now(UTC)))
                context.log_event(dg.AssetObservation(TRACKS, metadata=metadata | _what_is_left(context, evidence)))
        except Exception as error:  # noqa: BLE001 - what failed first is what people are to read
            _warn(context, f"The asset can't be told of the failure: {type(error).__name__}")
        raise


def _warn(context: dg.OpExecutionContext, says: str) -> None:
    with suppress(Exception):  # Dagster's own storage may be what is away
        context.log.warning(says)


def _what_is_left(context: dg.OpExecutionContext, evidence: EvidenceStore) -> dict[str, dg.MetadataValue[Any]]:
    """What a run that failed has written down so far, and its undo if it has marked anything."""
    try:
        records = evidence.of_run(context.run_id, context.instance)
        is_marked = has_marked(records)
    except VezaOpsError as error:
        _warn(context, f"Nobody can tell what this run has marked: {shown(str(error))}")
        return {}
    return {**({"undo": undo(context.run)} if is_marked else {}), **full_lists(records)}


def has_marked(records: Evidence) -> bool:
    """Whether a run has evidence of its own to be undone by. One that was begun anew in its middle may have none."""
    return any(records.files(kind) for kind in (MARKED, MARKING))


def told_before(context: dg.OpExecutionContext) -> Sequence[Observed]:
    """What the cleanups before this one told of the library; nothing where Dagster can't read that."""
    try:
        return within(ANSWER_SECONDS, lambda: list(_of_a_week(context.instance, Location.of_run(context.run))))
    except Exception as error:  # noqa: BLE001 - what was told earlier is to end no run that has written
        _warn(context, f"What earlier runs told of the library can't be read: {type(error).__name__}")
        return ()


def _of_a_week(instance: dg.DagsterInstance, here: Location) -> Iterator[Observed]:
    """What was told within a week, the newest first, and once before it; without tables, which take the room."""
    begin = (datetime.now(UTC) - _WEEK).timestamp()
    for each in observed_by_ours(instance, TRACKS, here, at_first=_AT_FIRST):
        plain = {name: value for name, value in each.told.items() if not isinstance(value, dg.TableMetadataValue)}
        yield each._replace(told=plain)
        if each.timestamp < begin:
            return


def of_cleanup(
    run: dg.DagsterRun | None, findings: Iterable[Finding], counts: Counts, earlier: Sequence[Observed], now: str
) -> dict[str, Any]:
    """What the asset's page says first of all of a cleanup that has come to its end; `run` if it can be undone."""
    return {
        **health(findings, earlier, now),
        "week": week(earlier, datetime.now(UTC), counts),
        **({"undo": undo(run)} if run else {}),
    }


def of_failure(why: str, earlier: Sequence[Observed], now: str) -> dict[str, Any]:
    """What it says of one that failed: nothing by which it could be taken for a cleanup."""
    return {**_health(_FAILED, earlier, now), "week": week(earlier, datetime.now(UTC)), "failure": shown(why)}


def health(findings: Iterable[Finding], earlier: Iterable[Observed], now: str) -> dict[str, str]:
    """Whether the library is well, or which checks say that it isn't, and since when that is so."""
    failing = ", ".join(each.check.name for each in findings if not each.healthy)
    return _health(f"needs attention: {failing}" if failing else _WELL, earlier, now)


def _health(says: str, earlier: Iterable[Observed], now: str) -> dict[str, str]:
    since = _since(earlier, is_well=says == _WELL)
    return {"health": says, "health_since": since or f"{now[:16]} UTC"}


def _since(earlier: Iterable[Observed], *, is_well: bool) -> str:
    """Since when it has been well, or hasn't, without a break; empty if what was told last says otherwise."""
    since, begin = "", 0.0
    for each in earlier:
        says, told = each.told.get("health"), each.told.get("health_since")
        if not (isinstance(says, str) and isinstance(told, str)):
            continue
        if (says == _WELL) is not is_well:
            # A run of the command line doesn't see the daemon's: it may have missed that it was otherwise in between.
            return since if not since or since >= told else f"{datetime.fromtimestamp(begin, UTC):%Y-%m-%d %H:%M} UTC"
        since, begin = told, each.timestamp
    return since


def week(earlier: Iterable[Observed], now: datetime, counts: Counts | None = None) -> dg.TableMetadataValue:
    """What cleanups changed, day by day (UTC), the last one first: the `earlier` ones, and this one by its `counts`."""
    ended = {each.run_id: (_day(each), _numbers(each.told)) for each in earlier if _has_counts(each.told)}
    own = [(now.date(), {name: getattr(counts, name) for name in _COUNTED})] if counts else []
    days: dict[date, Counter[str]] = {}
    for day, numbers in [*own, *ended.values()]:
        if day > (now - _WEEK).date():
            days.setdefault(day, Counter()).update(cleanups=1, **numbers)
    rows = sorted(days.items(), reverse=True)
    return dg.MetadataValue.table([dg.TableRecord({"day": str(day), **numbers}) for day, numbers in rows], _OF_WEEK)


def _day(each: Observed) -> date:
    return datetime.fromtimestamp(each.timestamp, UTC).date()


def _has_counts(told: Mapping[str, Any]) -> bool:
    """Whether a cleanup that was to change something has come to its end."""
    return type(told.get("marked_failed")) is int and not told.get("dry_run")


def _numbers(told: Mapping[str, Any]) -> dict[str, int]:
    return {name: number if type(number := told.get(name)) is int else 0 for name in _COUNTED}


def undo(run: dg.DagsterRun) -> dg.MetadataValue[Any]:
    """Where a run is undone: the Launchpad with its id filled in; of a run of the command line, the command."""
    origin = run.remote_job_origin
    if origin is None:
        steps = {"find_marked_tracks": {"run_id": run.run_id}, "restore_tracks": {"dry_run": True}}
        config = json.dumps({"ops": {name: {"config": fields} for name, fields in steps.items()}})
        module = Location.of_run(run).module or _MODULE
        return dg.MetadataValue.text(f"dagster job execute -m {module} -j {_UNDO} --config-json '{config}'")
    repository, location = origin.repository_origin.repository_name, origin.repository_origin.code_location_origin
    # As the web UI has it: the one repository of a code location isn't named.
    name = location.location_name if repository == _THE_ONE else f"{repository}@{location.location_name}"
    place, config = quote(name, safe=""), quote(_CONFIG.format(run.run_id))
    return dg.MetadataValue.url(f"/locations/{place}/jobs/{_UNDO}/playground/setup?config={config}")


_CONFIG = """ops:
  find_marked_tracks:
    config:
      run_id: {}
  restore_tracks:
    config:
      dry_run: true
"""
