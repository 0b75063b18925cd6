"""The inventory: everything that Dagster is to know. The environment is read here, and nowhere else."""

import os

import dagster as dg

from veza_ops.assets import TRACKS
from veza_ops.checks import library_health
from veza_ops.jobs import cleanup_orphan_tracks, restore_orphan_tracks
from veza_ops.resources import Database, EvidenceStore, Storage
from veza_ops.schedules import cleanup_orphan_tracks_hourly
from veza_ops.sensors import cleanup_orphan_tracks_on_load


def _env(name: str) -> str:
    """A reference to the variable, so that its value shows on no page; empty where it isn't set."""
    return dg.EnvVar(name) if os.environ.get(name) else ""


defs = dg.Definitions(
    assets=[TRACKS],
    asset_checks=[library_health],
    jobs=[cleanup_orphan_tracks, restore_orphan_tracks],
    schedules=[cleanup_orphan_tracks_hourly],
    sensors=[cleanup_orphan_tracks_on_load],
    resources={
        "database": Database(url=_env("VEZA_DATABASE_URL")),
        "storage": Storage(root=_env("VEZA_STORAGE_ROOT")),
        "evidence": EvidenceStore(),
    },
)
