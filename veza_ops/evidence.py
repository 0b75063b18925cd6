"""Evidence: every row that a run changed or couldn't verify, written down in full, outside Veza's database.

Files of JSON lines in the run's own folder of Dagster's storage (or wherever `folder` says). What a run is about to
change is on disk before it changes anything, and what it has changed is confirmed once that is committed. What is left
unconfirmed was cut off in between: whether it came to pass, the rows themselves tell.
"""

from __future__ import annotations  # so that the loading of UPath waits until there is a file to write

import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson
import upath

from veza_ops.errors import ConfigurationError
from veza_ops.places import (
    ANSWER_SECONDS,
    hide,
    is_folder,
    is_gone,
    is_on_disk,
    lines_of,
    plain_files,
    remove,
    rename,
    write_new,
)
from veza_ops.tracks.row import SERVER, Change, Judged, Place

MARKED = "marked"
"""Rows that the run marked failed, with their values before and after."""
MARKING = "marking"
"""Rows that the run was about to mark, before that was confirmed."""
WOULD_MARK = "would_mark"
"""Rows that a dry run would have marked failed."""
REFUSED = "refused"
"""Rows that the database wouldn't change, and why."""
RESTORED = "restored"
"""Rows that the undo put back to processing, with their values before and after."""
RESTORING = "restoring"
"""Rows that the undo was about to put back, before that was confirmed."""
UNVERIFIABLE = "unverifiable"
"""Rows that were left alone because nobody could look at their file."""

_CONFIRMATION = "The confirmation of what this run has just changed"
_AS_PLANNED = "It is listed there as what was to be changed."

_WITHOUT_RUN = "Without run_id, every track with the cleanup's message is looked at."

_PLANS = f"{MARKING}-", f"{RESTORING}-"
_ID_OF_A_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")


@dataclass(frozen=True)
class Evidence:
    """The files of one run: ``<folder>/<run id>/veza_ops/<kind>-<batch>.<number>.jsonl``."""

    folder: upath.UPath
    run_id: str
    answer_seconds: float = ANSWER_SECONDS
    """How long each thing that is asked of the folder may take."""
    has_been_seen: bool = False
    """Whether the run is known to have evidence: if none is there then, it was lost from sight."""

    @property
    def of_run(self) -> upath.UPath:
        """The folder that holds all of the run's files."""
        return self.folder / self.run_id / "veza_ops"

    def write(self, kind: str, batch: int, rows: Iterable[Mapping[str, Any]]) -> upath.UPath:
        """Write `rows` to a file of their own, and return only when they are on disk.

        Raises ConfigurationError when the folder can't be written to.
        """
        return self._write(kind, batch, rows, "The evidence of this run", "Without it nothing is changed.")

    def confirm(
        self, kind: str, batch: int, rows: Iterable[Mapping[str, Any]], as_planned: upath.UPath | None = None
    ) -> None:
        """Write down what has been changed. A plan that says the same already becomes the confirmation itself.

        In an object store, where nothing is renamed, it is written anew all the same, and the plan removed. Raises
        ConfigurationError, which says what is left to go by.
        """
        if as_planned is None or not is_on_disk(as_planned):
            self._write(kind, batch, rows, _CONFIRMATION, _AS_PLANNED)
            self.drop(*filter(None, [as_planned]))
            return
        try:
            rename(as_planned, f"{kind}-{as_planned.name.partition('-')[2]}", self.answer_seconds)
        except FileNotFoundError:  # another worker has confirmed it, or somebody has tidied up
            self._write(kind, batch, rows, _CONFIRMATION, _AS_PLANNED)
        except OSError as error:
            raise self._unwritable(_CONFIRMATION, _AS_PLANNED, error) from None

    def add(self, kind: str, batch: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a list of rows that were left alone. Raises ConfigurationError."""
        self._write(kind, batch, rows, f"The list of {kind} tracks", "What was changed before is confirmed.")

    def write_sheet(self, name: str, lines: Iterable[bytes]) -> upath.UPath:
        """Write a table for people, beside the lists. Raises ConfigurationError."""
        try:
            return write_new(self.of_run, name, lines, self.answer_seconds, suffix="csv")
        except OSError as error:
            raise self._unwritable(f"The table {name}", "The lists are written.", error) from None

    def _write(self, kind: str, batch: int, rows: Iterable[Mapping[str, Any]], what: str, so: str) -> upath.UPath:
        try:
            return write_new(self.of_run, f"{kind}-{batch:05}", map(_line, rows), self.answer_seconds)
        except OSError as error:
            raise self._unwritable(what, so, error) from None

    def _unwritable(self, what: str, so: str, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"{what} can't be written to {self.of_run}: {error.strerror or error}. {so} Give evidence.folder a "
            "place that this process may write to, with room."
        )

    def files(self, kind: str, batch: int | None = None) -> list[upath.UPath]:
        """The run's files of one kind: those of one batch, or batch by batch. Nothing but plain files counts.

        Raises ConfigurationError when the folder can't be read.
        """
        name = re.compile(rf"{kind}-({_NUMBER if batch is None else f'{batch:05}'})(\.\d+)?\.jsonl")
        try:
            files = plain_files(self.of_run, self.answer_seconds)
            return sorted((path for path in files if name.fullmatch(path.name)), key=str)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) and not self.has_been_seen:
                return []
            raise _unreadable(self.of_run, error) from None

    @property
    def has_files(self) -> bool:
        """Whether the run has left anything here, as far as anybody can see."""
        try:
            return any(plain_files(self.of_run, self.answer_seconds))
        except OSError:
            return False

    def rows(self, path: upath.UPath) -> Iterator[dict[str, Any]]:
        """What `read` gives of one of the files."""
        return read(str(path), self.answer_seconds)

    def changes(self, path: upath.UPath | str, table: str) -> Changes:
        """What `read_changes` gives of one of the files; nothing of a plan that is gone: it has been confirmed."""
        try:
            return read_changes(str(path), table, answer_seconds=self.answer_seconds)
        except ConfigurationError:
            place = upath.UPath(path)
            if not (place.name.startswith(_PLANS) and is_seen_to_be_gone(place, self.answer_seconds)):
                raise
            return Changes({})

    def drop(self, *paths: upath.UPath) -> None:
        """Remove files that have nothing more to say; one that stays says nothing that isn't so."""
        for path in paths:
            try:
                remove(path, self.answer_seconds)
            except TimeoutError:
                return
            except OSError:
                continue

    @property
    def is_of_a_run(self) -> bool:
        """Whether a run can have this id, which makes part of a path."""
        return _ID_OF_A_RUN.fullmatch(self.run_id) is not None

    def required(self, by: str = "find_marked_tracks.run_id", without: str = _WITHOUT_RUN) -> Evidence:
        """The same evidence, which is known to be there, as the field `by` asks for it; `without` that, what is done.

        Raises ConfigurationError for an id that no run has, and when the run left no evidence here.
        """
        if not self.is_of_a_run:
            raise ConfigurationError(f"{by} is no run's id: copy it from the run's page.")
        try:
            is_there = is_folder(self.of_run, self.answer_seconds)
        except OSError as error:
            raise _unreadable(self.of_run, error) from None
        if not is_there:
            raise ConfigurationError(
                f"There is no evidence of run {self.run_id} in {self.folder}. Check the run id; set evidence.folder if "
                f"the run kept it elsewhere. {without}"
            )
        return replace(self, has_been_seen=True)

    def remove(self) -> None:
        """Remove all that the run left here, if anything. Raises OSError.

        On a disk, nobody takes what is left for the whole when that is cut off.
        """
        hide(self.of_run, self.answer_seconds)
        remove(self.of_run.parent, self.answer_seconds)


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # the name of a file on disk need not be UTF-8
        return json.dumps(row).encode() + b"\n"


def is_seen_to_be_gone(path: upath.UPath, answer_seconds: float = ANSWER_SECONDS) -> bool:
    """Whether evidence is no longer there, and somebody could see so."""
    try:
        return is_gone(path, answer_seconds)
    except OSError:
        return False


def digest(rows: Iterable[Mapping[str, Any]]) -> int:
    """A number that stands for these rows, in whatever order; those of two lists add up to that of both."""
    return sum(int.from_bytes(blake2b(_line(row), digest_size=8).digest()) for row in rows)


def read(path: str, answer_seconds: float = ANSWER_SECONDS) -> Iterator[dict[str, Any]]:
    """The rows of one file of evidence, with whatever types they were written with; damaged lines are left out.

    Raises ConfigurationError when the file can't be read, or isn't in `answer_seconds`.
    """
    return (row for row in _read(path, answer_seconds) if row is not None)


def _read(path: str, answer_seconds: float) -> Iterator[dict[str, Any] | None]:
    """Each line; None for a damaged one."""
    try:
        yield from map(_row, lines_of(upath.UPath(path), answer_seconds))
    except OSError as error:
        raise _unreadable(path, error) from None


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = _row_of_any_name(line)
    return row if isinstance(row, dict) else None


def _row_of_any_name(line: bytes) -> object:
    """A line with the name of a file on disk, which need not be UTF-8."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class Told(NamedTuple):
    """A change that evidence tells of."""

    change: Change
    planned_at: str
    """When it was planned, by the database's clock."""


class Changes(NamedTuple):
    """What a file of evidence tells of."""

    by_place: dict[Place, Told]
    damaged: int = 0
    """Lines that nobody can make sense of."""
    foreign: int = 0
    """Lines that are of another table."""


def read_changes(
    path: str, table: str, ids: Container[str] | None = None, answer_seconds: float = ANSWER_SECONDS
) -> Changes:
    """The changes of `table` that a file tells of, of these `ids` if they are given.

    Files from before evidence named its table are taken for this one's. Raises ConfigurationError as `read` does.
    """
    by_place: dict[Place, Told] = {}
    damaged = foreign = 0
    for row in _read(path, answer_seconds):
        if row is not None and ids is not None and not (isinstance(row.get("id"), str) and row["id"] in ids):
            continue
        if row is not None and not is_same_table(row.get("table", table), table):
            foreign += 1
        elif (told := _told(row)) is not None:
            by_place[told.change.place] = told
        else:
            damaged += 1
    return Changes(by_place, damaged, foreign)


def is_same_table(one: object, other: str) -> bool:
    """Whether two names are of one table. The server's number counts only where both tell it: not every role may."""
    if one == other or not isinstance(one, str):
        return one == other
    (name, _, server), (other_name, _, other_server) = (each.partition(SERVER) for each in (one, other))
    return name == other_name and not (server and other_server)


_NUMBER = r"\d{5,}"

_MAY_BE_NULL = {"status_message_before", "updated_at_before", "status_message_after", "updated_at_after"}


def _told(row: dict[str, Any] | None) -> Told | None:
    if row is None or not row.keys() >= set(Change._fields):
        return None
    values = {name: row[name] for name in Change._fields}
    if not all(_is_sound(value) or (value is None and name in _MAY_BE_NULL) for name, value in values.items()):
        return None
    change = Change(**values)
    planned_at = row.get("planned_at", change.updated_at_after)
    return Told(change, planned_at if isinstance(planned_at, str) else "")


def _is_sound(value: object) -> bool:
    """Whether it is a text that a database can hold."""
    return isinstance(value, str) and "\0" not in value and (value.isascii() or not _SURROGATE.search(value))


_SURROGATE = re.compile("[\ud800-\udfff]")


def entry(judged: Judged) -> dict[str, Any]:
    """A row that was only looked at, as the evidence has it."""
    track, reason = judged
    return {"id": track.id, "file_path": track.file_path, "created_at": track.created_at, "why": reason}


def _unreadable(path: object, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The evidence in {path} can't be read: {error.strerror or error}. Give this process the right to. "
        "evidence.folder says where evidence is."
    )
