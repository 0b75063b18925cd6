"""The inventory: everything that Dagster is to know. The environment is read here, and nowhere else."""

import os

import dagster as dg

from veza_ops.assets import TRACK_FILES, TRACKS
from veza_ops.checks import files_health, library_health
from veza_ops.jobs import audit_track_files, cleanup_orphan_tracks, prune_history, restore_orphan_tracks
from veza_ops.resources import Alerts, Database, EvidenceStore, History, Storage
from veza_ops.schedules import audit_track_files_weekly, cleanup_orphan_tracks_hourly, prune_history_daily
from veza_ops.sensors import alert_on_trouble, cleanup_orphan_tracks_on_load


def _env(name: str, default: str = "") -> str:
    """A reference to the variable, so that its value shows on no page; `default` where it isn't set."""
    return dg.EnvVar(name) if os.environ.get(name) else default


def _env_number(name: str, default: int) -> int:
    """As `_env`, for a whole number."""
    return dg.EnvVar.int(name) if os.environ.get(name) else default


defs = dg.Definitions(
    assets=[TRACKS, TRACK_FILES],
    asset_checks=[library_health, files_health],
    jobs=[cleanup_orphan_tracks, restore_orphan_tracks, audit_track_files, prune_history],
    schedules=[cleanup_orphan_tracks_hourly, audit_track_files_weekly, prune_history_daily],
    sensors=[cleanup_orphan_tracks_on_load, alert_on_trouble],
    resources={
        "database": Database(url=_env("VEZA_DATABASE_URL")),
        "storage": Storage(root=_env("VEZA_STORAGE_ROOT")),
        "evidence": EvidenceStore(),
        "history": History(keep_days=_env_number("VEZA_KEEP_RUNS_DAYS", default=30)),
        "alerts": Alerts(
            urls=_env("VEZA_ALERT_URLS"),
            max_missing=_env_number("VEZA_ALERT_MAX_MISSING", default=100),
            web_url=_env("VEZA_DAGSTER_URL", default="http://localhost:3000"),
        ),
    },
)
