"""Storms on the evidence: no change without it, and none of it is lost."""

import os
import stat
from collections.abc import Callable

import pytest

from veza_ops.evidence import Evidence
from veza_ops_tests.storms.scene import Scene, arrange, record_writes, writes


@pytest.mark.parametrize("what", [stat.S_ISREG, stat.S_ISDIR], ids=["the_file", "its_folder"])
def test_without_evidence_on_disk_nothing_is_committed(
    what: Callable[[int], bool], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def disk_is_full(descriptor: int) -> None:
        if what(os.fstat(descriptor).st_mode):
            raise OSError(28, "No space left on device")
        real(descriptor)

    record_writes(scene.library)
    monkeypatch.setattr(os, "fsync", disk_is_full)
    scene.assert_refused(scene.run(), "evidence", "No space left on device", "nothing is changed")
    assert writes(scene.library) == []
    monkeypatch.undo()
    scene.assert_next_run_finishes()


def test_evidence_is_complete_while_nobody_else_sees_the_change_yet(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    arrange(monkeypatch, Evidence, "write", after=lambda: seen.extend(map(scene.library.status, scene.ghosts)))
    assert scene.run().success
    assert seen == ["processing"] * len(scene.ghosts)
    scene.assert_all_is_well()
