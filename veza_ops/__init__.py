"""veza-ops finds ghost tracks and marks them failed: rows that an upload left in processing without a file.

Start with `cleanup`: `rules` is what it decides, `ops` the steps that do it, `job` their order and the clock. Each
other job is a folder of the same shape. They stand on these, each of which imports only from those before it:

- `errors`: what can go wrong, in plain sentences
- `tracks`: Veza's database, and all the SQL. `storage`: Veza's files, from ``file_path`` to a verdict, and their proof
- `heartbeat`: a sign of life for a service that notices when none comes
- `witnesses`: which playable tracks prove the storage. `looks`: what looks at the files of tracks come to
- `evidence`: every changed row written down, so that a run can be undone. `places`: where it lasts. `archive`: that of
  all runs. `recording`: a write with its evidence before and after
- `findings`: questions about the library and their answers. `runs`: which of Dagster's runs are ours
- `resources`, `executors`, `steps`: what an operator can set, where steps run, and what they share
- `cleanup`, `undo`, `audit`, `history`: the jobs; none knows another
- `alerts`: people are told
- `definitions`: the inventory, and the only place that reads the environment. `component`: the same for others
"""

from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD

__all__ = ["ORPHAN_TRACK_AGE_THRESHOLD"]
__version__ = "0.1.0"
