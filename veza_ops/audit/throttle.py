"""Not more looks a second than storage can spare."""

import math
import time
from dataclasses import dataclass, field

_FEWEST = 100
"""Looks that are taken together, or the proof of the storage around them would be most of the work."""
_LONGEST_SECONDS = 3600.0


@dataclass
class Throttle:
    """So many looks a second, on average since it was made; 0 for any number."""

    rate: float
    _looks: int = 0
    _began: float = field(default_factory=time.monotonic)

    def size(self, most: int) -> int:
        """How many looks to take together, where `most` could be."""
        return min(most, max(_FEWEST, int(self.rate))) if self.rate else most

    def wait(self, looks: int, until: float = math.inf) -> None:
        """Wait until so many `looks` more are due, or until the monotonic clock says `until`, an hour at most."""
        self._looks += looks
        if self.rate:
            due = min(self._began + self._looks / self.rate, until)
            time.sleep(min(max(0.0, due - time.monotonic()), _LONGEST_SECONDS))
