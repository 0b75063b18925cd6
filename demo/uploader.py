"""One upload, as a worker of Veza's does it, in a process of its own: ``uploader.py URL ROOT TITLE [--hang]``.

The bytes of the file come in through stdin until it is closed; a line on stdout tells what was done with them.
"""

import os
import signal
import sys
from pathlib import Path

import psycopg

CHUNK_BYTES = 64 * 1024


def main(url: str, root: str, title: str, *, hang: bool) -> None:
    file_path = f"uploads/{title.lower().replace(' ', '-')}.flac"
    file = Path(root, file_path)
    part = file.with_suffix(".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    with psycopg.connect(url, autocommit=True) as database:
        row = database.execute(
            "INSERT INTO tracks (title, file_path, status) VALUES (%s, %s, 'processing') RETURNING id",
            (title, file_path),
        ).fetchone()
        assert row is not None
        print("row inserted", flush=True)
        with part.open("wb") as arriving:
            while chunk := sys.stdin.buffer.read(CHUNK_BYTES):
                arriving.write(chunk)
                arriving.flush()
                print("chunk written", flush=True)
        part.rename(file)
        print("file complete", flush=True)
        if hang:
            os.kill(os.getpid(), signal.SIGSTOP)
        done = database.execute(
            "UPDATE tracks SET status = 'completed', file_size = %s, updated_at = now() "
            "WHERE id = %s AND status = 'processing'",
            (file.stat().st_size, row[0]),
        )
        print("track completed" if done.rowcount else "track is not processing any more", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4], hang="--hang" in sys.argv)
