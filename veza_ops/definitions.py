"""The inventory: everything that Dagster is to know. The environment is read here, and nowhere else."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from veza_ops.alerts.sensor import alert_on_trouble
from veza_ops.audit import asset as track_files
from veza_ops.audit.checks import files_health
from veza_ops.audit.job import audit_track_files, weekly
from veza_ops.cleanup import asset as tracks
from veza_ops.cleanup.checks import library_health
from veza_ops.cleanup.job import EVERY_HOUR, cleanup_orphan_tracks, hourly
from veza_ops.cleanup.loads import on_load
from veza_ops.cleanup.ops import FindConfig, MarkConfig, find_stale_tracks, mark_orphans_failed
from veza_ops.defaults import checks_with, op_with, with_defaults
from veza_ops.errors import ConfigurationError
from veza_ops.executors import IN_ONE_PROCESS, chosen_in_run_config
from veza_ops.history.job import nightly, prune_history
from veza_ops.resources import Alerts, Database, EvidenceStore, History, Storage
from veza_ops.undo.job import restore_orphan_tracks

RESOURCES: Mapping[str, type[dg.ConfigurableResource[Any]]] = {
    "database": Database,
    "storage": Storage,
    "evidence": EvidenceStore,
    "history": History,
    "alerts": Alerts,
}

VARIABLES = {
    "database": {"url": "VEZA_DATABASE_URL"},
    "storage": {"root": "VEZA_STORAGE_ROOT"},
    "history": {"keep_days": "VEZA_KEEP_RUNS_DAYS"},
    "alerts": {"urls": "VEZA_ALERT_URLS", "max_missing": "VEZA_ALERT_MAX_MISSING", "web_url": "VEZA_DAGSTER_URL"},
}
"""The variables of the environment that set the fields of resources."""


@dataclass(frozen=True)
class Settings:
    """What a code location may have otherwise than by default: the clock, the sensor, and defaults of what runs.

    Run config overrides the defaults, field by field.
    """

    cron: str = EVERY_HOUR
    scheduled: bool = True
    on_load: bool = True
    find: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `FindConfig`."""
    mark: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `MarkConfig`."""
    executor: Mapping[str, Any] = field(default_factory=lambda: IN_ONE_PROCESS)
    """As under ``execution.config`` in run config."""
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of `RESOURCES`, which win over the environment's."""


def from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """Fields, each as a reference to its variable if that is set: a reference, so that a value shows on no page."""
    return {name: dg.EnvVar(variable) for name, variable in variables.items() if os.environ.get(variable)}


def build_defs(settings: Settings = Settings()) -> dg.Definitions:
    """The inventory, made anew, with what `settings` and the environment say. Raises ConfigurationError."""
    if unknown := settings.resources.keys() - RESOURCES.keys():
        raise ConfigurationError(f"There is no resource {', '.join(sorted(unknown))}, only {', '.join(RESOURCES)}.")
    executor = chosen_in_run_config(settings.executor)
    find, mark = with_defaults(FindConfig, settings.find), with_defaults(MarkConfig, settings.mark)
    steps = op_with(find_stale_tracks, find), op_with(mark_orphans_failed, mark)
    graphs = cleanup_orphan_tracks(*steps), restore_orphan_tracks, audit_track_files, prune_history
    cleanup, undo, audit, prune = (graph.to_job(executor_def=executor, tags=graph.tags) for graph in graphs)
    return dg.Definitions(
        assets=[tracks.ASSET, track_files.ASSET],
        asset_checks=[checks_with(library_health, find), files_health],
        jobs=[cleanup, undo, audit, prune],
        schedules=[hourly(cleanup, cron=settings.cron, on=settings.scheduled), weekly(audit), nightly(prune)],
        sensors=[on_load(cleanup, on=settings.on_load), alert_on_trouble],
        resources={
            name: with_defaults(
                resource, from_environment(VARIABLES.get(name, {})) | dict(settings.resources.get(name, {}))
            )()
            for name, resource in RESOURCES.items()
        },
    )


defs = build_defs()
