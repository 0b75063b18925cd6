"""What can be set of a cleanup's steps, and how one runs that nobody waits for."""

from typing import Any

from pydantic import Field

from veza_ops.steps import StepConfig
from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD


class FindConfig(StepConfig):
    """What counts as stale."""

    age_threshold_minutes: int = Field(
        default=int(ORPHAN_TRACK_AGE_THRESHOLD.total_seconds()) // 60,
        ge=1,
        le=366 * 24 * 60,
        description="Minutes that a track may stay in processing before its file is looked for.",
    )
    batch_size: int = Field(
        default=50_000,
        ge=1,
        le=100_000,
        description="Stale rows in one batch: each is read, checked and written on its own.",
    )
    quiet_minutes: int = Field(
        default=0,
        ge=0,
        le=366 * 24 * 60,
        description="Tracks whose updated_at is younger than so many minutes are left alone, however old they are.",
    )

    stuck_hours: float = Field(
        default=24.0,
        ge=0,
        le=366 * 24,
        description="Hours in processing after which a track whose file is there, and doesn't grow, is called stuck. "
        "Nothing is written to it.",
    )


class MarkConfig(StepConfig):
    """Whether anything is written, how much, and how long after the first look."""

    dry_run: bool = Field(default=False, description="Only say what would be marked failed; change nothing.")
    settle_seconds: int = Field(
        default=0,
        ge=0,
        le=3600,
        description="Seconds that lie between the two looks at a file, at least. The schedule and the sensor ask for "
        "10. They are part of the 45 minutes after which a run is ended.",
    )
    max_orphans: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Where more files than that are missing, nothing is marked failed, and the run fails: somebody is "
        "to look first. 0: no limit.",
    )


SETTLE_SECONDS = 10
"""Between the two looks of a cleanup that nobody waits for."""


def unattended(settle_seconds: int) -> dict[str, Any]:
    """The run config of such a cleanup."""
    return {"ops": {"mark_orphans_failed": {"config": {"settle_seconds": settle_seconds}}}}
