"""What a search asks of a storage: the same few questions to a disk and to an object store."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from veza_ops.storage.look import Device, Look
from veza_ops.text import quoted


class Regular(NamedTuple):
    """A regular file that is there now."""

    file: tuple[Device, int | str]
    """Its identity: what its name is on, and the number of its inode or its key."""
    device: Device
    """What its name is on."""


class Measure(NamedTuple):
    """How large a file is, in bytes, and when it was last written to, in seconds since the epoch."""

    size: int
    modified: float


class Entry(Protocol):
    """Something in a folder."""

    @property
    def name(self) -> str:
        """Its name there."""

    def is_symlink(self) -> bool:
        """Whether it only leads to something else."""


class Folder(Protocol):
    """A folder that is open for reading."""

    @property
    def device(self) -> Device:
        """What it is on."""

    def coming(self) -> Iterator[Sequence[Entry]]:
        """What is about to come there, and isn't among what it holds, some at a time. Raises OSError."""

    def __iter__(self) -> Iterator[Sequence[Entry]]:
        """What it holds, some at a time. Raises OSError."""

    def under_way(self, seconds: float, name: str) -> str:
        """Which upload is under way, if `name`, of an unfinished file, has changed in the last `seconds`.

        Or is gone since it was seen. Raises OSError.
        """


class Backend(Protocol):
    """A storage. No answer raises, but for the reading of a folder."""

    asks_first: bool
    """Whether it is cheaper to ask for a name than to read its folder."""

    def cannot_be(self, path: str) -> str:
        """Why nothing can be at `path`, if it is nothing that this storage takes."""

    def answer(self, path: str) -> Look | None:
        """What it says of `path` as it stands; None when it says that nothing is there."""

    def answer_again(self, path: str) -> Look | None:
        """The same right before a file is called missing, with all that may be about to put it there."""

    def has_folder(self, path: str) -> bool:
        """Whether it says anything but that there is no such folder."""

    def opened(self, folder: str, *, is_last: bool = False) -> AbstractContextManager[Folder]:
        """A folder, open for reading; what is about to come there is asked for if that `is_last`. Raises OSError."""

    def given_up(self, path: str) -> None:
        """Nobody waits any more for the answer to a question about `path`."""

    def regular(self, path: str) -> Regular | str:
        """The regular file at `path`, or why there is none."""

    def measures(self, folder: str, names: Sequence[str], beat: Callable[[], object]) -> list[Measure | None]:
        """The measures of the regular files in a folder that have these names, in their order.

        None for all else, and for those of which nobody can tell. `beat` is called before each question, and may raise
        TimeoutError: then no more are asked for, and those that are left out are the last ones.
        """


def just_written(path: str) -> str:
    """The words for an unfinished file at `path` that somebody goes on with."""
    return f"an upload is under way: {quoted(path)} has just been written to"
