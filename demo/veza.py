"""A small Veza: a real PostgreSQL with a tracks table, a folder and a bucket with files, and real uploaders."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from demo.archive import Archive, Archived
from demo.postgres import get_server
from demo.processes import undisturbed
from demo.uploader import CHUNK_BYTES

SCHEMA = """
CREATE TYPE track_status AS ENUM ('uploading', 'processing', 'completed', 'failed');
CREATE TABLE tracks (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title          text NOT NULL,
    file_path      text,
    file_size      bigint NOT NULL DEFAULT 0,
    status         track_status NOT NULL DEFAULT 'uploading',
    status_message text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    deleted_at     timestamptz
);
"""

CHUNKS = 8
"""Chunks that a file is sent in."""


class Fate(Enum):
    """What becomes of an upload."""

    COMPLETES = "completes"
    KILLED = "is killed with SIGKILL midway, before its file is there"
    HANGS = "hangs when its file is there but its row isn't completed"
    FORGOTTEN = "is killed when its file is there but its row isn't completed"
    GOES_ON = "is still receiving"
    GROWS = "is still receiving, and writes to the file itself"


_OPTIONS = {Fate.HANGS: ["--hang"], Fate.FORGOTTEN: ["--hang"], Fate.GROWS: ["--in-place"]}


@dataclass(frozen=True)
class Song:
    """A track to upload."""

    title: str
    age: timedelta
    fate: Fate

    @property
    def file_path(self) -> str:
        return f"uploads/{self.title.lower().replace(' ', '-')}.flac"


class UploadFailedError(Exception):
    """An uploader ended before its time; the message is what it said."""


class Upload:
    """An uploader at work. Each step waits until it is really done."""

    def __init__(self, url: str, root: Path, song: Song) -> None:
        self.song = song
        program = str(Path(__file__).with_name("uploader.py"))
        options = _OPTIONS.get(song.fate, [])
        self.process = subprocess.Popen(
            [sys.executable, program, url, str(root), song.title, song.file_path, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def expect(self, said: str) -> None:
        """Wait until the uploader says so."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline().decode().strip()
        if line != said:
            self.process.kill()
            raise UploadFailedError(f"The upload of {self.song.title}: {line or self.process.stderr.read().decode()}")

    def send(self, chunks: int) -> None:
        """Send some of the file."""
        assert self.process.stdin is not None
        for _ in range(chunks):
            self.process.stdin.write(os.urandom(CHUNK_BYTES))
            self.process.stdin.flush()
            self.expect("chunk written")

    def end_of_file(self) -> None:
        """All of the file is sent; now it has its name."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.expect("file complete")

    def wait_until_hung(self) -> None:
        """Wait until the process has stopped."""
        os.waitpid(self.process.pid, os.WUNTRACED)

    def finish(self) -> None:
        """Let the upload go on from wherever it is to its end."""
        if self.song.fate is Fate.HANGS:
            self.process.send_signal(signal.SIGCONT)
        else:
            self.send(CHUNKS // 2)
            self.end_of_file()
        self.expect("track completed")
        self.process.wait(timeout=10)

    def kill(self) -> None:
        """Kill the uploader, which leaves everything as it is."""
        self.process.kill()
        self.process.wait()

    def meet_its_fate(self) -> None:
        """Let the upload, of which nothing has come so far, become what it is to be."""
        self.expect("row inserted")
        self.send(CHUNKS // 2)
        match self.song.fate:
            case Fate.COMPLETES:
                self.finish()
            case Fate.KILLED:
                self.kill()
            case Fate.HANGS | Fate.FORGOTTEN:
                self.send(CHUNKS // 2)
                self.end_of_file()
                self.wait_until_hung()
                if self.song.fate is Fate.FORGOTTEN:
                    self.kill()
            case Fate.GOES_ON | Fate.GROWS:
                pass


@contextlib.contextmanager
def growing(uploads: list[Upload], every_seconds: float) -> Iterator[None]:
    """Let those of `uploads` that write to the file itself receive more and more, until the end of the block."""
    is_over = threading.Event()

    def send() -> None:
        while not is_over.wait(every_seconds):
            for upload in uploads:
                if upload.song.fate is Fate.GROWS:
                    upload.send(1)

    with ThreadPoolExecutor(1) as helper:
        sending = helper.submit(send)
        try:
            yield
        finally:
            is_over.set()
        sending.result()


class Veza:
    """The platform: its database at `url`, its files under `root` and, if it has one, in its archive."""

    def __init__(self, url: str, root: Path, archive: Archive | None = None) -> None:
        self.url, self.root, self._archive = url, root, archive
        self._uploads: list[Upload] = []
        self._database = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._database.execute(SCHEMA)

    @classmethod
    @contextlib.contextmanager
    def running(cls, root: Path, archive: Archive | None = None) -> Iterator["Veza"]:
        """An empty Veza with its own PostgreSQL server, which is stopped and removed in the end."""
        # Not under root's home: as root, the server runs as a user of its own, who would have to be let in there.
        folder = Path(tempfile.mkdtemp(prefix="veza-demo-"))
        folder.chmod(0o755)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            with undisturbed():
                server = stack.enter_context(get_server(folder / "data"))
            server.psql("CREATE DATABASE veza;")
            root.mkdir()
            veza = cls(server.get_uri("veza"), root, archive)
            stack.callback(veza.close)
            yield veza

    def upload(self, songs: list[Song]) -> list[Upload]:
        """Upload all `songs` side by side; each meets its fate. Gives back the uploads that are still alive."""
        uploads = []
        for song in songs:
            uploads.append(Upload(self.url, self.root, song))
            self._uploads.append(uploads[-1])
        for upload in uploads:
            upload.meet_its_fate()
            self._set_back(upload.song)
        return [upload for upload in uploads if upload.process.returncode is None]

    def _set_back(self, song: Song) -> None:
        """Have a song, and its file if it is there, be as old as it is to be."""
        self.execute(
            "UPDATE tracks SET created_at = now() - %(age)s, updated_at = now() - %(age)s WHERE title = %(title)s",
            age=song.age,
            title=song.title,
        )
        if self.has_file(song.file_path):
            at = time.time() - song.age.total_seconds()
            os.utime(self.root / song.file_path, (at, at))

    def archive(self, tracks: list[Archived]) -> None:
        """Add `tracks` that belong into the archive, each with as much of its object as has come."""
        assert self._archive is not None
        for track in tracks:
            self._archive.take(track)
            self.execute(
                "INSERT INTO tracks (title, file_path, status, created_at, updated_at) "
                "VALUES (%(title)s, %(address)s, %(status)s, now() - %(age)s, now() - %(age)s)",
                title=track.title,
                address=track.address,
                status=track.status,
                age=track.age,
            )

    def finish(self, track: Archived) -> None:
        """Bring the upload of a track to the archive to its end."""
        assert self._archive is not None
        self._archive.complete(track)
        self.execute(
            "UPDATE tracks SET status = 'completed', updated_at = now() WHERE title = %(title)s "
            "AND status = 'processing'",
            title=track.title,
        )

    def close(self) -> None:
        """Let go of everything; uploads that are still alive are killed."""
        for upload in self._uploads:
            with upload.process as process:
                process.kill()
        self._database.close()

    def execute(self, sql: str, **values: Any) -> None:
        """Run a statement, as Veza or its administrator would."""
        self._database.execute(sql, values)

    def tracks(self) -> list[dict[str, Any]]:
        """The whole table, oldest first, with the ``age`` of each row."""
        query = "SELECT *, now() - created_at AS age FROM tracks ORDER BY created_at"
        return list(self._database.execute(query))

    def has_file(self, file_path: str) -> bool:
        """Whether the track's file is there."""
        if file_path.startswith("s3://"):
            return self._archive is not None and self._archive.has(file_path.rpartition("/")[2])
        return (self.root / file_path).is_file()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell veza-ops where all this is."""
        at = {"VEZA_DATABASE_URL": self.url, "VEZA_STORAGE_ROOT": str(self.root)}
        return at | (self._archive.environment if self._archive else {})
