"""Storms on the disk: it is away, it is empty, it is another one, it hangs, it may not be looked at."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from veza_ops_tests.library import counts
from veza_ops_tests.storms.conftest import Disk
from veza_ops_tests.storms.hung import hung_mount
from veza_ops_tests.storms.scene import (
    AFTER_LAST_PROOF,
    AFTER_LOOK,
    BEFORE_COMMIT,
    BEFORE_LOOK,
    BEFORE_SECOND_PROOF,
    BEFORE_WRITE,
    Moment,
    Scene,
    unverifiable_reasons,
)


def test_with_the_disk_away_the_run_is_refused_and_the_next_one_finishes(scene: Scene, disk: Disk) -> None:
    disk.take_away()
    scene.assert_refused(scene.run(), "torage", str(scene.library.root), "nothing is changed")
    disk.put_back()
    scene.assert_next_run_finishes()


def test_with_an_empty_disk_in_its_place_the_run_is_refused_and_the_next_one_finishes(scene: Scene, disk: Disk) -> None:
    disk.take_away()
    disk.put_empty()
    scene.assert_refused(scene.run(), str(scene.library.root), "only 0 of the 3 newest playable tracks")
    disk.put_back()
    scene.assert_next_run_finishes()


@pytest.mark.parametrize("moment", BEFORE_COMMIT, ids=str)
def test_a_disk_that_goes_away_in_mid_run_takes_no_good_track_with_it(
    scene: Scene, disk: Disk, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment.arrange(monkeypatch, disk.take_away)
    result = scene.run()
    scene.assert_no_good_track_changed()
    if moment in (AFTER_LAST_PROOF, BEFORE_WRITE):
        # All looks were over, on storage that was proven on both sides of them.
        assert counts(result)["marked_failed"] == len(scene.ghosts)
    else:
        scene.assert_refused(result, str(scene.library.root), "nothing is changed")
    monkeypatch.undo()
    disk.put_back()
    scene.assert_next_run_finishes()


@pytest.fixture
def hung(scene: Scene) -> Iterator[str]:
    """A folder of the library that is on a mount which doesn't answer."""
    folder = scene.library.root / "hung"
    folder.mkdir()
    try:
        with hung_mount(folder):
            yield "hung"
    except OSError as error:
        pytest.skip(f"this machine lets tests mount nothing: {error}")


def test_a_look_that_hangs_is_given_up_and_its_track_left_alone(scene: Scene, hung: str) -> None:
    scene.library.add(f"{hung}/song.flac")
    scene.remember()
    result = scene.run(storage={"look_timeout_seconds": 6})
    assert "no answer within 6 s" in unverifiable_reasons(result)[f"{hung}/song.flac"]
    scene.assert_all_is_well()


def test_a_root_that_hangs_is_given_up_and_the_run_refused(scene: Scene, hung: str) -> None:
    root = str(scene.library.root / hung)
    scene.assert_refused(scene.run(storage={"look_timeout_seconds": 0.5, "root": root}), root, "no answer within 0.5 s")


def test_a_disk_that_hangs_in_mid_run_takes_no_good_track_with_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For machines that let tests mount nothing as well: here the system call itself is made to wait."""
    hangs = threading.Event()
    real = os.lstat

    def lstat(path: Any, **options: Any) -> os.stat_result:
        if hangs.is_set() and str(path).startswith(str(scene.library.root)):
            threading.Event().wait(20)
        return real(path, **options)

    BEFORE_SECOND_PROOF.arrange(monkeypatch, hangs.set)
    monkeypatch.setattr("veza_ops.storage.disk.os.lstat", lstat)
    result = scene.run(storage={"look_timeout_seconds": 2})
    monkeypatch.undo()
    scene.assert_refused(result, "no answer within 2 s")
    scene.assert_next_run_finishes()


def test_files_that_are_away_for_a_moment_only_are_not_missing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOENT at the first look, there at the second: as a network disk has it while it fails over."""
    slow = scene.library.root / "uploads" / "slow.flac"
    aside = slow.with_suffix(".aside")
    BEFORE_LOOK.arrange(monkeypatch, lambda: slow.rename(aside))
    BEFORE_SECOND_PROOF.arrange(monkeypatch, lambda: aside.rename(slow))
    result = scene.run()
    assert counts(result)["present"] == 2
    scene.assert_all_is_well()


def test_a_disk_that_is_away_during_the_looks_and_back_for_the_proof_is_not_believed(
    scene: Scene, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    BEFORE_LOOK.arrange(monkeypatch, disk.take_away)
    AFTER_LOOK.arrange(monkeypatch, disk.put_back)
    result = scene.run()
    assert counts(result)["present"] + counts(result)["unverifiable"] >= 2
    scene.assert_no_good_track_changed()
    scene.assert_next_run_finishes()
