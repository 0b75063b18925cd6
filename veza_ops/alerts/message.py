"""What people are told: what a message says, and when one goes out.

One message when trouble starts, one when it ends, and one when it turns into another kind of trouble; the hours in
between are silent.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is wrong."""

    FAILED = "failed"
    """A run failed."""
    STORAGE = "storage"
    """A run failed because the storage isn't the one that the database describes."""
    ORPHANS = "orphans"
    """A run found more tracks without a file than is ordinary."""


_TITLE = {
    Kind.FAILED: "veza-ops: {job} failed",
    Kind.STORAGE: "veza-ops: {job} refused to trust the storage",
    Kind.ORPHANS: "veza-ops: {job} found many tracks without a file",
}

_WHAT_TO_DO = {
    Kind.FAILED: "The run page shows the step that failed and its error. The next run tries again from the start; "
    "until one succeeds, tracks stay as they are.",
    Kind.STORAGE: "No track is marked failed until the files of known good tracks can be seen again. Check the "
    "mount and VEZA_STORAGE_ROOT on the machine that runs veza-ops. Execute, on the Checks tab of the asset tracks, "
    "proves it again.",
    Kind.ORPHANS: "Look through the table of the run page. If uploads died, the uploader needs help; if the files are "
    "elsewhere, restore_orphan_tracks undoes the run once they are back.",
}


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a run."""

    kind: Kind
    says: str


@dataclass(frozen=True)
class Message:
    """What people are told."""

    title: str
    body: str
    good: bool = False


def message(job: str, before: str | None, now: Trouble | None, link: str) -> Message | None:
    """What to tell of a run of `job`, given the kind of trouble that was told of `before`; None for nothing new."""
    if now is None:
        if before is None:
            return None
        return Message(
            f"veza-ops: {job} is well again", f"The trouble ({before}) is over: a run succeeded.\n\n{link}", good=True
        )
    if now.kind == before:
        return None
    return Message(_TITLE[now.kind].format(job=job), f"{now.says}\n\n{_WHAT_TO_DO[now.kind]}\n\n{link}")
