"""The inventory: everything that Dagster is to know. The environment is read here, and nowhere else."""

import os
from copy import copy
from typing import Any, TypeVar

import dagster as dg
from pydantic import create_model

from veza_ops.assets import TRACK_FILES, TRACKS
from veza_ops.checks import files_health, library_health
from veza_ops.jobs import audit_track_files, cleanup_orphan_tracks, prune_history, restore_orphan_tracks
from veza_ops.resources import Alerts, Database, EvidenceStore, History, Storage
from veza_ops.schedules import audit_track_files_weekly, cleanup_orphan_tracks_hourly, prune_history_daily
from veza_ops.sensors import alert_on_trouble, cleanup_orphan_tracks_on_load

Resource = TypeVar("Resource", bound=dg.ConfigurableResource[Any])


def with_environment(resource: type[Resource], **variables: str) -> Resource:
    """`resource`, its fields' defaults replaced by references to those `variables` that are set.

    A reference, so that a value shows on no page. A default, since run config that names one field of a resource would
    drop whatever else the resource itself was given.
    """
    fields: dict[str, Any] = {}
    for field, variable in variables.items():
        if os.environ.get(variable):
            known = copy(resource.model_fields[field])
            known.default = dg.EnvVar.int(variable) if isinstance(known.default, int) else dg.EnvVar(variable)
            fields[field] = (known.annotation, known)
    made: type[Resource] = create_model(
        resource.__name__, __base__=resource, __doc__=resource.__doc__, __module__=resource.__module__, **fields
    )
    return made()


defs = dg.Definitions(
    assets=[TRACKS, TRACK_FILES],
    asset_checks=[library_health, files_health],
    jobs=[cleanup_orphan_tracks, restore_orphan_tracks, audit_track_files, prune_history],
    schedules=[cleanup_orphan_tracks_hourly, audit_track_files_weekly, prune_history_daily],
    sensors=[cleanup_orphan_tracks_on_load, alert_on_trouble],
    resources={
        "database": with_environment(Database, url="VEZA_DATABASE_URL"),
        "storage": with_environment(Storage, root="VEZA_STORAGE_ROOT"),
        "evidence": EvidenceStore(),
        "history": with_environment(History, keep_days="VEZA_KEEP_RUNS_DAYS"),
        "alerts": with_environment(
            Alerts, urls="VEZA_ALERT_URLS", max_missing="VEZA_ALERT_MAX_MISSING", web_url="VEZA_DAGSTER_URL"
        ),
    },
)
