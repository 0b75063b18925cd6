"""The library on one screen: as it is, and what happened to each of its tracks."""

import re
from datetime import timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from demo.pipeline import Cleanup
from demo.veza import Veza
from veza_ops.cleanup.config import FindConfig
from veza_ops.cleanup.stuck import State

_DETAILS = re.compile(r" since | \(|\. ")
_STUCK_HOURS = FindConfig().stuck_hours


def show_library(console: Console, veza: Veza) -> None:
    """The library as it is."""
    table = Table("title", "age", "status", "file_path", "file is there", box=SIMPLE_HEAD)
    for track in veza.tracks():
        there = "yes" if veza.has_file(track["file_path"]) else "NO"
        table.add_row(track["title"], age(track["age"]), track["status"], track["file_path"], there)
    console.print(table)


def show_changes(console: Console, veza: Veza, before: list[dict[str, Any]], cleanup: Cleanup) -> None:
    """The library as it is now, what happened to each track, and why."""
    table = Table("title", "age", "status", "what happened", box=SIMPLE_HEAD)
    was = {track["id"]: track["status"] for track in before}
    for track in veza.tracks():
        changed = track["status"] != was[track["id"]]
        status = f"{was[track['id']]} -> {track['status']}" if changed else track["status"]
        table.add_row(
            track["title"],
            age(track["age"]),
            status,
            what_happened(veza, track, cleanup, changed=changed),
            style="bold red" if changed else None,
        )
    console.print(table)


def what_happened(veza: Veza, track: dict[str, Any], cleanup: Cleanup, *, changed: bool) -> str:
    """A plain sentence for each track."""
    identity = str(track["id"])
    if changed:
        return "marked failed: a ghost, its file never came"
    if track["status"] != "processing":
        return f"left alone: it is {track['status']}, not processing"
    if identity in cleanup.refused:
        return f"left alone: the database refuses it: {cleanup.refused[identity].removesuffix(' refuses it')}"
    if identity in cleanup.reasons:
        return f"left alone: {_in_short(veza, cleanup.reasons[identity])}"
    if identity in cleanup.held:
        return f"left alone: {_of_its_file(cleanup, identity, age(track['age']))}"
    return "left alone: younger than an hour, the upload may be under way"


def _of_its_file(cleanup: Cleanup, identity: str, old: str) -> str:
    """What is said of a track whose file is there."""
    held = cleanup.held[identity]
    if held["state"] == State.GROWING:
        return "its file is there and grows, the upload is only slow"
    if is_stuck(cleanup, identity):
        return f"stuck, its file ({held['size']} bytes) is there for {old}"
    return "its file is there, the upload is only slow"


def is_stuck(cleanup: Cleanup, identity: str) -> bool:
    """Whether a track has had its whole file for longer than is ordinary."""
    held = cleanup.held.get(identity)
    return bool(held and held["state"] != State.GROWING and float(held["age_hours"]) > _STUCK_HOURS)


def _in_short(veza: Veza, reason: str) -> str:
    """A reason without its details: since when, an example, what to do about it, and where the root is."""
    return _DETAILS.split(reason)[0].replace(f"{veza.root}/", "")


def age(value: timedelta) -> str:
    """A time span in its biggest unit."""
    minutes = round(value.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"
