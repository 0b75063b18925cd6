"""Real file systems, mounted and taken away again; skipped where tests may mount nothing."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from veza_ops_tests.storms.hung import hung_mount

_MNT_DETACH = 2


def _mount(*arguments: str | Path) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("this machine lets tests mount nothing")


class Disk:
    """A disk of its own (a tmpfs) that can be mounted on a folder, and lose its place."""

    def __init__(self, store: Path, place: Path) -> None:
        self.place = place
        store.mkdir()
        _mount("-t", "tmpfs", "-o", "size=1m", "veza", store)
        self._store = store
        self._mounts: list[Path] = [store]
        place.mkdir(parents=True, exist_ok=True)
        self.mount()

    def mount(self) -> None:
        """Put it in its place."""
        _mount("--bind", self._store, self.place)
        self._mounts.append(self.place)

    def umount(self) -> None:
        """Leave the bare folder behind."""
        self._mounts.remove(self.place)
        subprocess.run(["umount", self.place], check=True, capture_output=True)

    def end(self) -> None:
        """Take it away altogether."""
        while self._mounts:
            subprocess.run(["umount", "-l", self._mounts.pop()], check=True, capture_output=True)


@contextmanager
def disk(store: Path, place: Path) -> Iterator[Disk]:
    """A disk of its own, mounted on `place`."""
    new = Disk(store, place)
    try:
        yield new
    finally:
        new.end()


@contextmanager
def dead_mount(folder: Path) -> Iterator[None]:
    """A mount whose server has died: every look at what is below is ENOTCONN."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir(parents=True, exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR) if os.access("/dev/fuse", os.W_OK) else -1
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if device < 0 or libc.mount(b"dead", os.fsencode(folder), b"fuse", 0, options.encode()):
        pytest.skip("this machine lets tests mount nothing")
    os.close(device)
    try:
        yield
    finally:
        libc.umount2(os.fsencode(folder), _MNT_DETACH)


@contextmanager
def hung(folder: Path) -> Iterator[None]:
    """A mount that never answers."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with hung_mount(folder):
            yield
    except OSError as error:
        pytest.skip(f"this machine lets tests mount nothing: {error}")
