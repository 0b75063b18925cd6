"""A small storage, and what a disk may do to whoever asks it."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from veza_ops.bounds import Beat
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout

Verdict = tuple[str, str]
OnOpen = Callable[[Path, Callable[[], object]], None]
OnListing = Callable[[Path, Callable[[int], object]], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The storage root, with one album in it."""
    folder = tmp_path / "files"
    (folder / "album").mkdir(parents=True)
    (folder / "album" / "song.flac").write_bytes(b"music")
    return folder


@pytest.fixture
def late_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few answers of storage take longer than a look may, by the clock of the look alone: nobody waits for them."""
    answered = Beat.__call__

    def answered_late(beat: Beat) -> None:
        answered(beat)
        beat.began -= 12  # seconds

    monkeypatch.setattr(Beat, "__call__", answered_late)


def verdict(root: Path | str, file_path: str | None, path_map: dict[str, str] | None = None) -> Verdict:
    """The verdict on a `file_path`, and its reason."""
    (look,) = Files(Layout(str(root), path_map or {})).look([file_path])
    return look.verdict.value, look.reason


def verdicts(root: Path, *file_paths: str) -> list[str]:
    """The verdicts on rows that are looked for together."""
    return [look.verdict.value for look in Files(Layout(str(root))).look(file_paths)]


def make(path: Path, *, changed_ago: float = 3 * 86_400.0) -> Path:
    """A file that was changed so many seconds ago, with the folders on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"music")
    return changed(path, changed_ago)


def changed(path: Path, seconds_ago: float) -> Path:
    """Have `path` changed so many seconds ago."""
    then = time.time() - seconds_ago
    os.utime(path, (then, then))
    return path


def raises(code: int) -> Callable[..., None]:
    """What the system does when it answers with an error."""

    def answer(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return answer


@pytest.fixture
def on_open(monkeypatch: pytest.MonkeyPatch) -> OnOpen:
    """Have something happen whenever a certain folder is opened: an error, or a wait."""

    def prepare(folder: Path, happen: Callable[[], object]) -> None:
        real = os.open

        def opening(path: Any, *arguments: Any, **options: Any) -> int:
            if os.fsdecode(path) == str(folder):
                happen()
            return real(path, *arguments, **options)

        monkeypatch.setattr("veza_ops.storage.disk.os.open", opening)

    return prepare


@pytest.fixture
def on_listing(monkeypatch: pytest.MonkeyPatch) -> OnListing:
    """Have something happen before each entry that a certain folder gives: an error, or a wait."""

    def prepare(folder: Path, happen: Callable[[int], object]) -> None:
        real, itself = os.scandir, folder.stat()

        def listing(path: Any = ".") -> Any:
            entries = real(path)
            is_it = isinstance(path, int) and os.path.samestat(os.fstat(path), itself)
            return Listing(entries, happen) if is_it else entries

        monkeypatch.setattr("veza_ops.storage.search.os.scandir", listing)

    return prepare


class Listing:
    """The entries of a folder, to each of which something happens first."""

    def __init__(self, entries: Any, happen: Callable[[int], object]) -> None:
        self._entries, self._happen, self._number = entries, happen, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entries.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> os.DirEntry[str]:
        self._happen(self._number)
        self._number += 1
        entry: os.DirEntry[str] = next(self._entries)
        return entry
