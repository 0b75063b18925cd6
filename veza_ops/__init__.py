"""veza-ops finds ghost tracks and marks them failed: rows that an upload left in processing without a file.

In reading order, each importing only from those before it:

- `errors`: what can go wrong, in plain sentences
- `database`: the connection to PostgreSQL, and its errors in plain words
- `track`: a track as the steps hand it on, the age at which it is stale, the message it is marked with
- `tracks`: the tracks table, what counts as stale, the guarded write. All the SQL
- `storage`: from ``file_path`` to a verdict, the proof of storage. All access to Veza's files
- `evidence`: every changed row written down, so that a run can be undone
- `cleanup`: one cleanup: what it holds to, what its looks came to, its counts
- `undo`: which of the marked tracks go back to processing
- `audit`: whether every playable track has its file, and every file its track
- `health`: whether the library is healthy, in plain words
- `assets`: what the runs watch over, and the checks that answer for it
- `resources`: `Database`, `Storage`, `EvidenceStore`, `Alerts`, `History`: configuration and lifetime
- `alerts`: what people are told, and when
- `runs`: what Dagster remembers of our runs, and how one is forgotten
- `ops`: the steps of the cleanup: read config, call one rule, attach metadata
- `undo_ops`: the steps of the undo
- `audit_ops`: the steps of the audit
- `retention`: the step that forgets old runs
- `checks`: the library's health, asked for at any time
- `executors`: where the steps are executed: in one process, in several, on Celery, on Kubernetes
- `jobs`, `schedules`, `sensors`: wiring
- `definitions`: the inventory, and the only place that reads the environment
"""

from veza_ops.track import ORPHAN_TRACK_AGE_THRESHOLD

__all__ = ["ORPHAN_TRACK_AGE_THRESHOLD"]
__version__ = "0.1.0"
