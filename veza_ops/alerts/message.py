"""What people are told: what a message says, and that nothing in it can turn into anything but text.

One message when trouble starts, one when it ends, and one when it turns into another kind of trouble; the hours in
between are silent.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from veza_ops.text import brief


class Kind(StrEnum):
    """What is wrong."""

    FAILED = "failed"
    """A run failed."""
    STORAGE = "storage"
    """A run failed because the storage isn't the one that the database describes."""
    ORPHANS = "orphans"
    """A run found more tracks without a file than is ordinary."""
    TOO_MANY = "too many"
    """A run failed because it found more tracks without a file than it may mark."""
    STUCK = "stuck"
    """Tracks stay in processing though their file is there."""


_TITLE = {
    Kind.FAILED: "veza-ops: {job} failed",
    Kind.STORAGE: "veza-ops: {job} refused to trust the storage",
    Kind.ORPHANS: "veza-ops: {job} found many tracks without a file",
    Kind.STUCK: "veza-ops: tracks are stuck in processing with their file",
    Kind.TOO_MANY: "veza-ops: {job} found too many tracks without a file",
}

_WHAT_TO_DO = {
    Kind.FAILED: "The run page shows the step that failed and its error. What the run has changed by then is whole and "
    "written down; the next run tries again from the start, and does the rest.",
    Kind.STORAGE: "No track is marked failed until the files of known good tracks can be seen again. Check the "
    "mount and VEZA_STORAGE_ROOT on the machine that runs veza-ops. {proves} proves it again.",
    Kind.ORPHANS: "Look through the table of the run page. If uploads died, the uploader needs help; if the files are "
    "elsewhere, restore_orphan_tracks undoes the run once they are back.",
    Kind.TOO_MANY: "If the files are elsewhere, bring them back, or correct storage.root and storage.path_map, and the "
    "next run finds them. Until then no run marks more tracks than max_orphans lets it.",
    Kind.STUCK: "Their uploads have come to their end, but what comes after an upload has not: see to the workers that "
    "make tracks ready. veza-ops writes nothing to such tracks.",
}
_OVER = {
    Kind.STUCK: "No track with its file is stuck in processing any more.",
    Kind.STORAGE: "The trouble (storage) is over: the storage was seen to be the one that the database describes.",
}


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a run."""

    kind: Kind
    says: str
    marked_none: bool = False
    """Of too many tracks without a file: whether no batch of them was marked before another one was refused."""


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    trouble: Trouble | None = None
    proven: frozenset[str] = frozenset()
    """The areas of the storage where witnesses were seen."""
    refused: frozenset[str] = frozenset()
    """Those where they weren't. A run that had no need of the storage says neither."""
    stuck: str | None = None
    """What there is to say of tracks that are stuck with their file; None where the run didn't look for them."""
    is_dry: bool = False
    """Whether the run changed nothing: it ends no trouble of the job's."""


@dataclass(frozen=True)
class Message:
    """What people are told."""

    title: str
    body: str
    good: bool = False


def message(
    job: str, before: Kind | None, now: Trouble | None, page: str, *, may_be_asked: bool = True
) -> Message | None:
    """What to tell of a run of `job`, given the kind of trouble that was told of `before`; None for nothing new.

    `page` says where to look. `may_be_asked`: whether the checks look at the same storage as the job.
    """
    if now is None:
        if before is None:
            return None
        over = _OVER.get(before, f"The trouble ({before}) is over: a run succeeded.")
        return Message(f"veza-ops: {job} is well again", f"{over}\n\n{page}", good=True)
    if now.kind == before:
        return None
    proves = "Execute, on the Checks tab of the asset tracks," if may_be_asked else f"The next run of {job}"
    what_to_do = _WHAT_TO_DO[now.kind].format(proves=proves)
    title = _TITLE[now.kind].format(job=job) + (", and marked none" if now.marked_none else "")
    return Message(title, f"{harmless(now.says)}\n\n{what_to_do}\n\n{page}")


_GAP = "\N{ZERO WIDTH SPACE}"
_ALIKE = str.maketrans(
    {
        "*": "\N{ASTERISK OPERATOR}",
        "`": "\N{MODIFIER LETTER GRAVE ACCENT}",
        "~": "\N{TILDE OPERATOR}",
        "|": "\N{DIVIDES}",
    }
)
"""What markup is made of, and what looks like it."""
_EDGE_OF_WORD = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ACTIVE = re.compile(r"[@<#&]|:(?=//)|\](?=[(\[])|(?<=\w)[.\u3002\uff0e\uff61](?=\w)")
"""What mentions, links and tags are made of. Browsers take several characters for a dot."""


def harmless(text: str) -> str:
    """`text`, which may hold the name of any file, so that no service makes a mention, a link or markup of it.

    It reads as before. What would be a mention, a link or a tag is broken by a space of no width, and what would be
    markup is replaced by characters that look alike.
    """
    plain = _EDGE_OF_WORD.sub("\N{MODIFIER LETTER LOW MACRON}", brief(text).translate(_ALIKE))
    return _ACTIVE.sub(lambda found: found[0] + _GAP, plain)
