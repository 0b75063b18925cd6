"""The audit's wiring: its steps, and the clock."""

import dagster as dg

from veza_ops.audit.bucket_ops import audit_buckets
from veza_ops.audit.ops import audit_files, find_unnamed_files
from veza_ops.audit.report_ops import report_audit
from veza_ops.runs import OURS


@dg.graph(
    description="Look for the file of every playable track, and for files that no track names. Changes nothing: a "
    "role that may only read will do. What one run leaves, the next goes on with.",
    tags=OURS,
)
def audit_track_files() -> None:
    """Audit the files on disks, walk through these, audit the buckets, report."""
    report_audit(audit_files(), find_unnamed_files(), audit_buckets())


def audit_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """The schedule of `job`, the audit; off until somebody switches it on."""
    return dg.ScheduleDefinition(
        name="audit_track_files_weekly",
        job=job,
        cron_schedule="0 4 * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Audits the files every Sunday, once it is switched on: a look at every file is work for the "
        "storage.",
    )
