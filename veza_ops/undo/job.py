"""The undo's wiring: its steps in their order. It is started by hand only."""

import dagster as dg

from veza_ops.runs import OURS, WRITING
from veza_ops.undo.ops import find_marked_tracks, report_restore, restore_tracks


@dg.graph(
    description="Undo a cleanup, by hand only: put tracks that it marked failed back to processing where the file "
    "is there. A dry run unless restore_tracks.dry_run is set to false; with find_marked_tracks.run_id, only that "
    "run's.",
    tags={**OURS, **WRITING},
)
def restore_orphan_tracks() -> None:
    """Find marked tracks, restore those whose file is there."""
    report_restore(find_marked_tracks().map(restore_tracks).collect())
