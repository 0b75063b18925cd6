"""A small Veza: a real PostgreSQL with a tracks table, a folder and a bucket with files, and real uploaders."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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
    GOES_ON = "is still receiving"


@dataclass(frozen=True)
class Song:
    """A track to upload."""

    title: str
    age: timedelta
    fate: Fate


class UploadFailedError(Exception):
    """An uploader ended before its time; the message is what it said."""


class Upload:
    """An uploader at work. Each step waits until it is really done."""

    def __init__(self, url: str, root: Path, song: Song) -> None:
        self.song = song
        hang = ["--hang"] if song.fate is Fate.HANGS else []
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("uploader.py")), url, str(root), song.title, *hang],
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
            upload.expect("row inserted")
            upload.send(CHUNKS // 2)
            match upload.song.fate:
                case Fate.COMPLETES:
                    upload.finish()
                case Fate.KILLED:
                    upload.process.kill()
                    upload.process.wait()
                case Fate.HANGS:
                    upload.send(CHUNKS // 2)
                    upload.end_of_file()
                    upload.wait_until_hung()
                case Fate.GOES_ON:
                    pass
            self.execute(
                "UPDATE tracks SET created_at = now() - %(age)s, updated_at = now() - %(age)s WHERE title = %(title)s",
                age=upload.song.age,
                title=upload.song.title,
            )
        return [upload for upload in uploads if upload.process.returncode is None]

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
