"""The proof under load: uploaders that insert, write, complete and die, against cleanups that never stop.

`VEZA_OPS_UPLOADS` sets how many tracks are pushed through (2,000 by default).
"""

import os
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from veza_ops_tests.library import Library, counts, run_job
from veza_ops_tests.storms.scene import record_writes, writes

UPLOADS = int(os.environ.get("VEZA_OPS_UPLOADS", "2000"))
UPLOADERS = 4


def upload_all(url: str, root: str, seed: int, number: int) -> None:
    """An uploader process: each track is inserted, its file written, and completed; or it is given up at some point.

    Every upload is stale from its first moment, and one of those that are given up in three has its file written. On
    standard output: for each track what became of it, as its uploader knows it.
    """
    chance = random.Random(seed)
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(number):
            identity = str(uuid.UUID(int=chance.getrandbits(128)))
            file = Path(root, "uploads", f"{identity}.flac")
            connection.execute(
                "INSERT INTO tracks (id, status, file_path, created_at, updated_at) VALUES "
                "(%s, 'processing', %s, now() - interval '2 hours', now())",
                (identity, f"uploads/{identity}.flac"),
            )
            fate = chance.random()
            if fate < 0.2:
                print(identity, "given up", sep="\t", flush=True)
                continue
            time.sleep(chance.choice([0, 0, 0.001, 0.01]))
            file.write_bytes(b"music")
            if fate < 0.3:
                print(identity, "given up with its file", sep="\t", flush=True)
                continue
            time.sleep(chance.choice([0, 0, 0.001, 0.01]))
            done = connection.execute(
                "UPDATE tracks SET status = 'ready', updated_at = now() WHERE id = %s AND status = 'processing'",
                (identity,),
            )
            print(identity, "completed" if done.rowcount == 1 else "came too late", sep="\t", flush=True)


@pytest.mark.timeout(60 + UPLOADS // 10)
def test_no_track_that_its_uploader_completed_is_failed_and_no_row_is_written_twice(
    library: Library, instance: dg.DagsterInstance
) -> None:
    record_writes(library)
    (library.root / "uploads").mkdir()
    said = [library.root.with_name(f"uploader-{seed}") for seed in range(UPLOADERS)]
    command = [sys.executable, "-m", "veza_ops_tests.storms.test_concurrency", library.url, str(library.root)]
    uploaders = []
    for seed, path in enumerate(said):
        with path.open("w") as out:
            uploaders.append(subprocess.Popen([*command, str(seed), str(UPLOADS // UPLOADERS)], stdout=out))
    totals = Counter[str]()
    while any(uploader.poll() is None for uploader in uploaders):
        totals.update(clean(library, instance))
    assert [uploader.returncode for uploader in uploaders] == [0] * UPLOADERS
    last = clean(library, instance)
    totals.update(last)
    fates = dict(line.split("\t") for path in said for line in path.read_text().splitlines())
    status = {str(identity): row["status"] for identity, row in library.rows().items() if str(identity) in fates}
    became = Counter((fate, status[identity]) for identity, fate in fates.items())
    print(dict(became), dict(totals), f"{len(library.rows())} rows")

    assert len(fates) == UPLOADS // UPLOADERS * UPLOADERS
    assert set(became) <= {
        ("completed", "ready"),
        ("given up", "failed"),
        ("given up with its file", "processing"),
        ("given up with its file", "failed"),  # the cleanup came between its row and its file
        ("came too late", "failed"),  # and the uploader was told so
    }
    marked = sorted(identity for identity in status if status[identity] == "failed")
    assert sorted(writes(library)) == marked
    assert totals["marked_failed"] == len(marked)
    assert last["stale"] == last["present"] + last["marked_failed"] == became["given up with its file", "processing"]


def clean(library: Library, instance: dg.DagsterInstance) -> dict[str, int]:
    """One cleanup, its counts adding up."""
    after = counts(run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 50}}))
    assert after["stale"] == after["present"] + after["missing"] + after["unverifiable"]
    assert after["missing"] == after["marked_failed"] + after["raced"]
    return after


if __name__ == "__main__":
    upload_all(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
