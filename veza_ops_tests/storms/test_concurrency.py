"""The proof under load: uploaders that insert, write, complete and die, against cleanups that never stop.

`VEZA_OPS_UPLOADS` sets how many tracks are pushed through (1,000 by default).
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from veza_ops_tests.library import Library, counts, run_job
from veza_ops_tests.storms.scene import record_writes, writes

UPLOADS = int(os.environ.get("VEZA_OPS_UPLOADS", "1000"))
UPLOADERS = 4
THREADS = 16
"""In each uploader: so many uploads are under way at once."""

ALLOWED = {
    "completed": {"ready"},
    "came too late": {"failed"},  # and its uploader was told so
    "given up": {"failed"},
    "given up with its file": {"processing", "failed"},  # failed if a cleanup came between its row and its file
    "its uploader was killed": {"processing", "failed", "ready"},
}
"""What a track may have become, given what its uploader knows of it."""


def upload(url: str, root: str, chance: random.Random, number: int, say: Callable[[str], None]) -> None:
    """Upload `number` tracks, each of them stale from its first moment. Some are given up, at some point."""

    def pause() -> None:
        time.sleep(chance.choice([0, 0.01, 0.1, 0.5, 1]))

    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(number):
            identity = str(uuid.UUID(int=chance.getrandbits(128)))
            file = Path(root, "uploads", f"{identity}.flac")
            connection.execute(
                "INSERT INTO tracks (id, status, file_path, created_at, updated_at) VALUES "
                "(%s, 'processing', %s, now() - interval '2 hours', now())",
                (identity, f"uploads/{identity}.flac"),
            )
            fate = chance.choice(["given up", "given up with its file", *["completed"] * 8])
            for _ in range(chance.randrange(4)):  # signs of life, or of the last of it
                pause()
                connection.execute("UPDATE tracks SET updated_at = now() WHERE id = %s", (identity,))
            if fate != "given up":
                pause()
                file.write_bytes(b"music")
            if fate == "completed":
                pause()
                done = connection.execute(
                    "UPDATE tracks SET status = 'ready', updated_at = now() WHERE id = %s AND status = 'processing'",
                    (identity,),
                )
                fate = "completed" if done.rowcount == 1 else "came too late"
            say(f"{identity}\t{fate}\n")


def upload_all(url: str, root: str, seed: int, number: int) -> None:
    """An uploader process. On standard output: what became of each track, as its uploader knows it.

    The first one is killed when it is half done: out of memory, say.
    """
    numbers = itertools.count(1)

    def say(line: str) -> None:
        print(line, end="", flush=True)
        if seed == 0 and next(numbers) == number // 2:
            os.kill(os.getpid(), signal.SIGKILL)

    with ThreadPoolExecutor(THREADS) as pool:
        uploads = [
            pool.submit(upload, url, root, random.Random(f"{seed}-{thread}"), number // THREADS, say)
            for thread in range(THREADS)
        ]
    for each in uploads:
        each.result()


def clean(library: Library, instance: dg.DagsterInstance) -> dict[str, int]:
    """One cleanup, its counts adding up."""
    after = counts(run_job(library, instance, ops={"find_stale_tracks": {"batch_size": 200}}))
    assert after["stale"] == after["present"] + after["missing"] + after["unverifiable"]
    assert after["missing"] == after["marked_failed"] + after["raced"] + after["refused"]
    return after


@pytest.mark.timeout(120 + UPLOADS // 10)
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
    cleanups = 0
    while any(uploader.poll() is None for uploader in uploaders):
        totals.update(clean(library, instance))
        cleanups += 1
    assert [uploader.returncode for uploader in uploaders] == [-signal.SIGKILL, *[0] * (UPLOADERS - 1)]
    totals.update(clean(library, instance))
    last = clean(library, instance)

    fates = dict(line.split("\t") for path in said for line in path.read_text().splitlines())
    rows = {str(row["id"]): row["status"] for row in library.rows().values() if "uploads/" in row["file_path"]}
    became = Counter((fates.get(identity, "its uploader was killed"), status) for identity, status in rows.items())
    print(f"{len(rows)} tracks, {cleanups} cleanups at the same time: {dict(became)}, {dict(totals)}")
    assert not set(fates) - set(rows)
    assert {(fate, status) for fate, status in became if status not in ALLOWED[fate]} == set()
    marked = sorted(identity for identity, status in rows.items() if status == "failed")
    assert sorted(writes(library)) == marked
    assert totals["marked_failed"] == len(marked)
    still_processing = sum(status == "processing" for status in rows.values())
    assert (last["stale"], last["present"]) == (still_processing, still_processing)


if __name__ == "__main__":
    upload_all(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
