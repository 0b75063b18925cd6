"""Many looks at once, none of which can hold up the others for long."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from veza_ops.storage.disk import look
from veza_ops.storage.look import Look, unverifiable

_SLICE = 64
"""Paths that a thread takes at a time: few enough that a hung one holds up little."""
_TICK_SECONDS = 0.02
_SLOW_LOOK_SECONDS = 0.0002
"""From this long a look, waiting for storage outweighs what threads cost each other."""


class _Looker(threading.Thread):
    """Takes slices of the work until there are none left. A daemon: a hung look must not keep the process alive."""

    def __init__(self, see: Callable[[int], None], slices: Iterator[range], deadline_seconds: float) -> None:
        super().__init__(name="veza-ops-look", daemon=True)
        self._see, self._slices, self._deadline_seconds = see, slices, deadline_seconds
        self.since = time.monotonic()
        self.seen = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for numbers in self._slices:
                for number in numbers:
                    self.since = time.monotonic()
                    self._see(number)
                    self.seen += 1
        except Exception as error:  # noqa: BLE001 - handed to the caller, whose run it must end
            self.error = error

    @property
    def is_hung(self) -> bool:
        return self.is_alive() and time.monotonic() - self.since > self._deadline_seconds


def look_at_all(paths: Sequence[str | Look], *, threads: int = 32, timeout_seconds: float = 30.0) -> list[Look]:
    """Look at many paths; the looks in the same order. A Look among the paths is passed on as it stands.

    One thread does it as long as storage answers at once; when it is slow, up to `threads` share the work. A look
    that takes longer than `timeout_seconds` is given up and counts as unverifiable, and so do the few that its
    thread had still to do.
    """
    looks: list[Look | None] = [None] * len(paths)
    slices = iter([range(at, min(at + _SLICE, len(looks))) for at in range(0, len(looks), _SLICE)])
    known_folders: set[str] = set()

    def see(number: int) -> None:
        path = paths[number]
        looks[number] = path if isinstance(path, Look) else look(path, known_folders)

    def start(count: int) -> list[_Looker]:
        lookers = [_Looker(see, slices, timeout_seconds) for _ in range(count)]
        for looker in lookers:
            looker.start()
        return lookers

    lookers = start(1) if looks else []
    while busy := [looker for looker in lookers if looker.is_alive() and not looker.is_hung]:
        began = time.monotonic()
        seen = sum(looker.seen for looker in lookers)
        busy[0].join(_TICK_SECONDS)
        looked = sum(looker.seen for looker in lookers) - seen
        if len(lookers) == 1 and time.monotonic() - began > looked * _SLOW_LOOK_SECONDS:
            lookers += start(min(threads, -(-len(looks) // _SLICE)) - 1)
    for looker in lookers:
        if looker.error is not None:
            raise looker.error
    timed_out = unverifiable(f"storage gave no answer within {timeout_seconds:g} s")
    return [timed_out if seen is None else seen for seen in looks]
