"""What the story must have come to, seen in the database and told by the run: whatever isn't so ends the demo."""

from typing import Any

import dagster as dg

from demo.pipeline import Cleanup, DemoError
from demo.songs import DISK, GHOSTS, GROWN, HELD, HOLD, STUCK, UNSEEN
from demo.tables import is_stuck
from demo.veza import Veza
from veza_ops.cleanup.stuck import State
from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD, orphan_message

_LEFT = {"present": 4, "growing": 1, "waiting": 3, "empty": 0, "unverifiable": 2, "raced": 0, "refused": 1}
"""What each cleanup counts that it leaves alone."""
FIRST = _LEFT | {"stale": 11, "missing": 5, "marked_failed": 4}
SECOND = _LEFT | {"stale": 7, "missing": 1, "marked_failed": 0}


def expect(what: str, seen: object, wanted: object) -> None:
    """Raises DemoError when something isn't as it should be."""
    if seen != wanted:
        raise DemoError(f"{what}: {wanted} was to be seen, but it is {seen}.")


def expect_first(veza: Veza, before: list[dict[str, Any]], after: list[dict[str, Any]], cleanup: Cleanup) -> None:
    """The ghosts are marked failed, and nothing else is changed. Raises DemoError."""
    expect("The tracks that the cleanup changed", _changed(before, after), GHOSTS)
    ghosts = {(track["status"], track["status_message"]) for track in after if track["title"] in GHOSTS}
    message = orphan_message(ORPHAN_TRACK_AGE_THRESHOLD)
    expect("Their status and status_message", ghosts, {("failed", message)})
    expect("The counts", cleanup.counts, FIRST)
    _expect_left_alone(veza, after, cleanup)


def expect_second(veza: Veza, before: list[dict[str, Any]], cleanup: Cleanup) -> None:
    """Nothing at all is changed, and what was left alone is left alone again. Raises DemoError."""
    after = veza.tracks()
    expect("The tracks that the second cleanup changed", _changed(before, after), [])
    expect("Its counts", cleanup.counts, SECOND)
    _expect_left_alone(veza, after, cleanup)


def _expect_left_alone(veza: Veza, tracks: list[dict[str, Any]], cleanup: Cleanup) -> None:
    """The stuck one, the growing one, the held one and the one that can't be seen are told of, each as what it is."""
    ids = {track["title"]: str(track["id"]) for track in tracks}
    _expect_stuck(veza, ids, cleanup)
    refused = {ids[HELD]: f"the constraint {HOLD} refuses it"}
    expect("What the database refuses, in the evidence", cleanup.refused, refused)
    expect("The same, in the run's metadata", cleanup.refused_on_page, refused)
    disk = str(veza.root / DISK)
    expect("The areas that were left alone", list(cleanup.areas), [disk])
    why = f"nothing proves {disk}: {cleanup.areas[disk]}"
    expect(f"Why {UNSEEN} was left alone", cleanup.reasons[ids[UNSEEN]], why)
    expect("What the checks say", {name: _verdict(each) for name, each in cleanup.checks.items()}, _CHECKS)


def _expect_stuck(veza: Veza, ids: dict[str, str], cleanup: Cleanup) -> None:
    """One track is stuck with its whole file, and one is growing."""
    expect("The stuck tracks", [each for each in cleanup.held if is_stuck(cleanup, each)], [ids[STUCK]])
    [path] = [track["file_path"] for track in veza.tracks() if track["title"] == STUCK]
    known = (cleanup.held[ids[STUCK]]["state"], cleanup.held[ids[STUCK]]["size"])
    expect("The stuck one's file", known, (State.WAITING, (veza.root / path).stat().st_size))
    growing = [each for each, held in cleanup.held.items() if held["state"] == State.GROWING]
    expect("The growing tracks", growing, [ids[GROWN]])
    expect("How many the check says", cleanup.checks["nothing_stuck"].metadata["stuck"].value, 1)


_CHECKS = {
    "no_orphan_left": "warns",
    "nothing_unverifiable": "warns",
    "storage_proven": "fails",
    "nothing_stuck": "warns",
}


def _verdict(answer: dg.AssetCheckEvaluation) -> str:
    if answer.passed:
        return "passes"
    return "warns" if answer.severity is dg.AssetCheckSeverity.WARN else "fails"


def _changed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """The titles of the rows that differ in any column."""
    rows = {track["id"]: track | {"age": None} for track in before}
    return sorted(track["title"] for track in after if track | {"age": None} != rows.get(track["id"]))
