"""The worker that veza-ops replaces, in its plainest form: read all stale rows, then look and update row by row.

usage: python -m benchmarks.reference DATABASE_URL STORAGE_ROOT
"""

import os
import sys

import psycopg

STALE = "SELECT id, file_path FROM tracks WHERE status = 'processing' AND created_at < now() - interval '1 hour'"
MARK = (
    "UPDATE tracks SET status = 'failed', status_message = %s, updated_at = now() "
    "WHERE id = %s AND status = 'processing'"
)
MESSAGE = "orphan cleanup: file missing on disk after >1h in processing"


def clean(url: str, root: str) -> int:
    """Mark the tracks whose file is missing; how many."""
    marked = 0
    with psycopg.connect(url, autocommit=True) as connection:
        for identity, file_path in connection.execute(STALE).fetchall():
            try:
                os.stat(os.path.join(root, file_path))
            except FileNotFoundError:
                with connection.transaction():
                    marked += connection.execute(MARK, (MESSAGE, identity)).rowcount
    return marked


if __name__ == "__main__":
    print(clean(*sys.argv[1:3]))
