"""Evidence: every row that a run changed or couldn't verify, written down in full, outside Veza's database.

One file of JSON lines for each part of a batch that was written, in the run's own folder of Dagster's storage (or
wherever `folder` says). A file is on disk before the change it tells of is committed: a change without evidence can't
be.
"""

from __future__ import annotations  # so that the loading of UPath waits until there is a file to write

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import orjson
import upath

from veza_ops.errors import ConfigurationError
from veza_ops.looks import Judged
from veza_ops.tracks.row import Change

MARKED = "marked"
"""Rows that the run marked failed, with their values before and after."""
WOULD_MARK = "would_mark"
"""Rows that a dry run would have marked failed."""
RESTORED = "restored"
"""Rows that the undo put back to processing, with their values before and after."""
UNVERIFIABLE = "unverifiable"
"""Rows that were left alone because nobody could look at their file."""


@dataclass(frozen=True)
class Evidence:
    """The files of one run: ``<folder>/<run id>/veza_ops/<kind>-<batch>[.<number>].jsonl``."""

    folder: upath.UPath
    run_id: str

    @property
    def of_run(self) -> upath.UPath:
        """The folder that holds all of the run's files."""
        return self.folder / self.run_id / "veza_ops"

    def write(self, kind: str, batch: int, rows: Iterable[Mapping[str, Any]]) -> upath.UPath:
        """Write `rows` to a file of their own, and return only when they are on disk.

        Raises ConfigurationError when the folder can't be written to.
        """
        path = self.of_run
        try:
            self.of_run.mkdir(parents=True, exist_ok=True)
            path = self._new(f"{kind}-{batch:05}")
            with path.open("wb") as file:
                file.writelines(map(_line, rows))
                file.flush()
                if path.protocol in ("", "file"):  # an object store has stored what it was given once it is closed
                    os.fsync(file.fileno())
                    _sync_folder(self.of_run.path)
        except OSError as error:
            raise ConfigurationError(
                f"The evidence of this run can't be written to {path}: {error.strerror or error}. Without it "
                "nothing is changed. Give evidence.folder a place that this process may write to."
            ) from None
        return path

    def _new(self, name: str) -> upath.UPath:
        """A file that wasn't there: a step that is tried again must not write over what was committed before."""
        for number in count():
            path = self.of_run / f"{name}{f'.{number}' if number else ''}.jsonl"
            with suppress(FileExistsError):
                path.touch(exist_ok=False)
                break
        return path

    def files(self, kind: str, batch: int | None = None) -> list[upath.UPath]:
        """The run's files of one kind: those of one batch, or batch by batch.

        Raises ConfigurationError when the folder can't be read.
        """
        name = f"{kind}-*.jsonl" if batch is None else f"{kind}-{batch:05}.*"
        try:
            return sorted(self.of_run.glob(name), key=str) if self.of_run.is_dir() else []
        except OSError as error:
            raise _unreadable(self.of_run, error) from None

    def require(self) -> None:
        """Raises ConfigurationError when the run left no evidence here."""
        if not self.of_run.is_dir():
            raise ConfigurationError(
                f"There is no evidence of run {self.run_id} in {self.folder}. Check the run id; set evidence.folder if "
                "the run kept it elsewhere. Without run_id, every track with the cleanup's message is looked at."
            )

    def remove(self) -> None:
        """Remove all that the run left here, if anything. Raises OSError."""
        of_run = self.of_run.parent
        if of_run.is_dir():
            of_run.fs.rm(of_run.path, recursive=True)


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # the name of a file on disk need not be UTF-8
        return json.dumps(row).encode() + b"\n"


def _sync_folder(path: str) -> None:
    """Have the folder itself know its new file after a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: str) -> Iterator[dict[str, Any]]:
    """The rows of one file of evidence, with whatever types they were written with.

    A last line that was cut off is left out: a write that died there was never committed. Raises ConfigurationError
    when the file can't be read.
    """
    try:
        with upath.UPath(path).open("rb") as file:
            yield from (json.loads(line) for line in file if line.endswith(b"\n"))
    except OSError as error:
        raise _unreadable(path, error) from None


def read_changes(path: str) -> dict[str, Change]:
    """The changes that a file of evidence tells of, by the track's id. Raises ConfigurationError as `read` does."""
    return {row["id"]: Change(**{name: row[name] for name in Change._fields}) for row in read(path)}


def entry(judged: Judged) -> dict[str, Any]:
    """A row that was only looked at, as the evidence has it."""
    track, reason = judged
    return {"id": track.id, "file_path": track.file_path, "created_at": track.created_at, "why": reason}


def _unreadable(path: object, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The evidence in {path} can't be read: {error.strerror or error}. Give this process the right to."
    )
