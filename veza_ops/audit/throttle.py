"""Not more looks a second than storage can spare."""

import time
from dataclasses import dataclass, field

_FEWEST = 100
"""Looks that are taken together, or the proof of the storage around them would be most of the work."""


@dataclass
class Throttle:
    """So many looks a second, on average since it was made; 0 for any number."""

    rate: float
    _looks: int = 0
    _began: float = field(default_factory=time.monotonic)

    def size(self, most: int) -> int:
        """How many looks to take together, where `most` could be."""
        return min(most, max(_FEWEST, int(self.rate))) if self.rate else most

    def wait(self, looks: int) -> None:
        """Wait until so many `looks` more are due."""
        self._looks += looks
        if self.rate:
            time.sleep(max(0.0, self._began + self._looks / self.rate - time.monotonic()))
