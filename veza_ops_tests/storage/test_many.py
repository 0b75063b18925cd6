"""Many looks at once: in order, side by side where storage is slow, and none holds up the others."""

import os
import threading
from pathlib import Path

import pytest

from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Verdict
from veza_ops.storage.many import look_at_all


def test_many_looks_come_back_in_order(root: Path) -> None:
    paths = ["album/song.flac" if number % 3 else f"none-{number}.flac" for number in range(1000)]
    looks = Files(Layout(str(root)), max_threads=8).look(paths)
    assert [look.verdict is Verdict.PRESENT for look in looks] == [number % 3 != 0 for number in range(1000)]


def test_a_look_that_hangs_is_given_up_and_only_its_slice_is_unverifiable(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    real_lstat = os.lstat

    def lstat(path: str) -> os.stat_result:
        if path.endswith("hung.flac"):
            released.wait()
        return real_lstat(path)

    monkeypatch.setattr(os, "lstat", lstat)
    paths = ["album/song.flac"] * 500
    paths[100] = "hung.flac"
    try:
        looks = Files(Layout(str(root)), max_threads=4, look_timeout_seconds=0.3).look(paths)
    finally:
        released.set()
    assert looks[100].verdict is Verdict.UNVERIFIABLE
    assert "no answer within 0.3 s" in looks[100].reason
    assert sum(look.verdict is Verdict.PRESENT for look in looks) >= 500 - 64


def test_when_every_look_hangs_the_rest_is_unverifiable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(os, "lstat", lambda _: released.wait())
    try:
        looks = Files(Layout(str(root)), max_threads=2, look_timeout_seconds=0.1).look(["a"] * 1000)
    finally:
        released.set()
    assert {look.verdict for look in looks} == {Verdict.UNVERIFIABLE}


def test_a_slow_storage_is_looked_at_by_many_threads_and_no_more_than_configured(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most, lock, pause = 0, 0, threading.Lock(), threading.Event()
    real_lstat = os.lstat

    def lstat(path: str) -> os.stat_result:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        pause.wait(0.002)
        with lock:
            at_once -= 1
        return real_lstat(path)

    monkeypatch.setattr(os, "lstat", lstat)
    Files(Layout(str(root)), max_threads=5).look(["album/song.flac"] * 1000)
    assert 1 < most <= 5


def test_a_mistake_of_ours_in_a_thread_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lstat(_: str) -> os.stat_result:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(RuntimeError, match="a mistake"):
        look_at_all(["/a"])
