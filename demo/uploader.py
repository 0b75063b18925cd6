"""One upload, as a worker of Veza's does it, in a process of its own: ``uploader.py URL ROOT TITLE PATH``.

The bytes of the file come in through stdin until it is closed; a line on stdout tells what was done with them.
With ``--in-place``, the file has its name from the first byte on; with ``--hang``, the process stops when it is whole.
"""

import os
import signal
import sys
from pathlib import Path

import psycopg

CHUNK_BYTES = 64 * 1024


def main(url: str, root: str, title: str, file_path: str, *, in_place: bool, hang: bool) -> None:
    file = Path(root, file_path)
    part = file if in_place else file.with_suffix(".part")
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
    main(*sys.argv[1:5], in_place="--in-place" in sys.argv, hang="--hang" in sys.argv)
