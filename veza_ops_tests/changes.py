"""A change as evidence tells it, the track as it was left, and disks that deny what is there."""

import errno
import os
from collections.abc import Iterator
from itertools import count
from typing import Any

from veza_ops.tracks.row import Track
from veza_ops_tests.faults.world import Fault, Side, World

HERE = "public.tracks in veza"


def change(identity: str, **values: Any) -> dict[str, Any]:
    """A change as evidence has it."""
    before = {
        "status_before": "processing",
        "status_message_before": "half",
        "updated_at_before": "2026-01-01 00:00:00",
    }
    after = {"status_after": "failed", "status_message_after": "orphan", "updated_at_after": "2026-01-02 00:00:00"}
    return {"id": identity, "file_path": f"{identity}.flac", **before, **after, "table": HERE} | values


def marked(identity: str, **values: Any) -> Track:
    """A track as `change` left it."""
    track = Track(identity, f"{identity}.flac", "2025-12-31 00:00:00", "2026-01-02 00:00:00", "orphan")
    return track._replace(**values)


def denials(times: int) -> Iterator[World]:
    """Disks that say so many times of what is there that it isn't, each from the next call on."""

    def deny(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    for place in count(1):
        yield (world := World(Fault("denied", frozenset({Side.DISK, Side.WRITES}), deny, places=times), place))
        if not world.was_struck:
            assert place > 1
            return
