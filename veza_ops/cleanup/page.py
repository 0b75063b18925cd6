"""What one look at the asset's page is to answer: is it well, since when, what changed this week, how to undo it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import quote

import dagster as dg

from veza_ops.cleanup.rules import Counts
from veza_ops.findings import TRACKS, Finding
from veza_ops.runs import Location, told_by_ours

_LOOKED_BACK = 10
"""Observations of ours that are asked: between two unattended runs there may be some by hand, of other rows."""
_WELL = "well"
_DAYS = 7
_COUNTED = "marked_failed", "raced", "refused"
_UNDO = "restore_orphan_tracks"
_MODULE = "veza_ops.definitions"
_THE_ONE = "__repository__"


def told_before(instance: dg.DagsterInstance, here: Location) -> list[Mapping[str, Any]]:
    """What the last cleanups of the code location `here` told of the library, the newest first."""
    return list(islice(told_by_ours(instance, TRACKS, here, at_once=_LOOKED_BACK), _LOOKED_BACK))


def last_of(told: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last that was `told` of the library's health; empty where nothing was, as by a dry run."""
    return next((each for each in told if isinstance(each.get("health_since"), str)), {})


def health(findings: Iterable[Finding], earlier: Mapping[str, Any], now: str) -> dict[str, str]:
    """Whether the library is well, or which checks say that it isn't, and since when that is so."""
    failing = ", ".join(each.check.name for each in findings if not each.healthy)
    says = f"needs attention: {failing}" if failing else _WELL
    is_as_before = (earlier.get("health") == _WELL) is (says == _WELL)
    since = str(earlier["health_since"]) if earlier and is_as_before else f"{now[:16]} UTC"
    return {"health": says, "health_since": since}


def week(earlier: Mapping[str, Any], counts: Counts, now: str) -> dg.TableMetadataValue:
    """What cleanups changed, day by day (UTC), the last one first."""
    today = datetime.fromisoformat(now).date()
    days = dict(_days(earlier, today - timedelta(days=_DAYS)))
    of_today = days.setdefault(today.isoformat(), dict.fromkeys(("cleanups", *_COUNTED), 0))
    of_today["cleanups"] += 1
    for name in _COUNTED:
        of_today[name] += getattr(counts, name)
    rows = sorted(days.items(), reverse=True)
    return dg.MetadataValue.table([dg.TableRecord({"day": day, **numbers}) for day, numbers in rows])


def _days(earlier: Mapping[str, Any], after: date) -> Iterator[tuple[str, dict[str, int]]]:
    """What an earlier run told of the days since."""
    records: Sequence[dg.TableRecord] = getattr(earlier.get("week"), "records", ())
    for record in records:
        day, numbers = record.data.get("day"), {name: record.data.get(name) for name in ("cleanups", *_COUNTED)}
        if isinstance(day, str) and day > after.isoformat() and all(type(each) is int for each in numbers.values()):
            yield day, {name: int(str(each)) for name, each in numbers.items()}


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
