# ruff: noqa: INP001 - a file that stands by itself, not part of a package
"""veza-ops with an hourly cleanup whose run config is your own: an executor, a batch size, anything.

Keep it beside your settings and name it in veza-ops-code.service, with ``--python-file`` instead of ``--module-name``.
Then switch `cleanup_orphan_tracks_hourly` off in the web UI.
"""

import dagster as dg
from veza_ops.jobs import cleanup_orphan_tracks

from veza_ops import definitions  # the module: Dagster takes exactly one Definitions by name in a file

RUN_CONFIG = {
    "execution": {"config": {"multiprocess": {"max_concurrent": 4}}},
    "ops": {"find_stale_tracks": {"config": {"batch_size": 5000}}},
}

defs = dg.Definitions.merge(
    definitions.defs,
    dg.Definitions(
        schedules=[
            dg.ScheduleDefinition(
                name="cleanup_orphan_tracks_my_way",
                job=cleanup_orphan_tracks,
                cron_schedule="0 * * * *",
                run_config=RUN_CONFIG,
                default_status=dg.DefaultScheduleStatus.RUNNING,
            )
        ]
    ),
)
