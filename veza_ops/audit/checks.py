"""Asking for what the last audit found."""

from collections.abc import Iterator

import dagster as dg

from veza_ops.audit.asset import CHECKS, of_audit
from veza_ops.audit.rounds import last_audit
from veza_ops.findings import asked_for, unanswered
from veza_ops.runs import Location


@dg.multi_asset_check(
    name="files_health",
    specs=CHECKS,
    can_subset=True,
    description="What the last audit found. To look anew, launch audit_track_files.",
)
def files_health(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Answer every check of the files by what was last told of them."""
    last = last_audit(context.instance, Location.of_run(context.run))
    none = unanswered("There was no audit yet: launch audit_track_files.", *CHECKS)
    yield from asked_for(context, of_audit(*last) if last else none)
