"""The tracks table as an asset, whose history can be seen, and whether it is well: what a cleanup says of it."""

from collections.abc import Iterator

import dagster as dg

from veza_ops.cleanup.limit import TooManyOrphansError
from veza_ops.cleanup.rules import Outcome, Sweep
from veza_ops.cleanup.stuck import State
from veza_ops.findings import MAX_ORPHANS, STORAGE_PROVEN, TRACKS, Finding, of_proof, some_tracks
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Look

STUCK_TABLE = "stuck_tracks"
"""What the metadata calls the table of the tracks that have their file, the oldest first."""

ASSET = dg.AssetSpec(
    TRACKS,
    description="Veza's tracks table. Every cleanup observes it: how many tracks were stale, and what became of them. "
    "Plots shows the counts over time, Checks whether the library is healthy.",
    group_name="veza",
    owners=["team:veza-ops"],
    kinds={"postgres"},
    tags={"domain": "tracks"},
)

NO_ORPHAN_LEFT = dg.AssetCheckSpec(
    "no_orphan_left",
    asset=TRACKS,
    description="After a cleanup, no track is stuck in processing with its file missing.",
)
NOTHING_UNVERIFIABLE = dg.AssetCheckSpec(
    "nothing_unverifiable",
    asset=TRACKS,
    description="For each track that is stuck in processing, somebody could look whether its file is there.",
)
NOTHING_STUCK = dg.AssetCheckSpec(
    "nothing_stuck",
    asset=TRACKS,
    description="No track whose file is there has been in processing for longer than find_stale_tracks.stuck_hours, "
    "but for those whose file is growing. Nothing is ever written to such tracks.",
)
CHECKS = (NO_ORPHAN_LEFT, NOTHING_UNVERIFIABLE, STORAGE_PROVEN, NOTHING_STUCK)


def of_stale(outcome: Outcome, sweep: Sweep, layout: Layout, unseen: str = "") -> Iterator[Finding]:
    """What became of the stale tracks, or what a mere look at them came to; `unseen` says why there may be more.

    While nobody sees one that is stuck, but there may be some (`may_be_stuck`), that question is left open.
    """
    yield _orphans(outcome, unseen)
    yield _unverifiable(outcome)
    if outcome.standing.stuck or not may_be_stuck(outcome, sweep, layout):
        yield _stuck(outcome, sweep.stuck_hours)


def may_be_stuck(outcome: Outcome, sweep: Sweep, layout: Layout) -> str:
    """Why there may be stuck tracks that nobody saw, if there may.

    A path that leads nowhere can never be looked for, and keeps no question open for ever.
    """
    if outcome.proof.refused or outcome.proof.left:
        return "Not all of the storage is proven, so there may be some that nobody saw."
    if outcome.standing.unmeasured:
        return "Some that are old enough couldn't be measured, so nobody can tell whether they grow."
    listed = outcome.unverifiable
    if outcome.counts.unverifiable > len(listed) or any(
        track.created_at < sweep.stuck and not isinstance(layout.resolve(track.file_path), Look) for track, _ in listed
    ):
        return "Nobody could look for some that are old enough, so there may be some that nobody saw."
    return ""


def of_too_many(error: TooManyOrphansError) -> Finding:
    """What a cleanup says of the library that was not to mark so many."""
    numbers = {"left": error.missing, MAX_ORPHANS: error.most}
    return Finding(NO_ORPHAN_LEFT, healthy=False, says=str(error), numbers=numbers)


def of_cleanup(outcome: Outcome, sweep: Sweep, layout: Layout, unseen: str = "") -> Iterator[Finding]:
    """What a cleanup says of the library. A storage that it didn't need isn't judged."""
    yield from of_stale(outcome, sweep, layout, unseen)
    if outcome.counts.stale:
        yield of_proof(outcome.proof)


def _orphans(outcome: Outcome, unseen: str) -> Finding:
    marked, refused, raced = outcome.counts.marked_failed, outcome.counts.refused, outcome.counts.raced
    left = outcome.counts.missing - marked
    if left and outcome.dry_run:
        says = f"{some_tracks(left)} without a file, only looked for. The next cleanup marks them failed."
    elif left:
        raced_says = "were changed or locked by somebody else. The next cleanup looks again."
        refused_says = "can't be marked failed: what refuses it stands in the run's refused_tracks."
        says = " ".join(
            f"{some_tracks(number)} without a file {words}"
            for number, words in ((raced, raced_says), (refused, refused_says))
            if number
        )
    elif unseen:
        says = unseen
    else:
        says = (
            f"No orphan is left: {some_tracks(marked)} marked failed."
            if marked
            else "No orphan is left; there was none."
        )
    numbers = {"left": left, "refused": refused}
    return Finding(NO_ORPHAN_LEFT, healthy=not left and not unseen, says=says, certain=False, numbers=numbers)


def _unverifiable(outcome: Outcome) -> Finding:
    number = outcome.counts.unverifiable
    if number:
        says = f"{some_tracks(number)} left alone, since nobody could look whether the file is there: see the run."
    else:
        says = "Every stale track's file could be looked for."
    return Finding(NOTHING_UNVERIFIABLE, healthy=not number, says=says, certain=False, numbers={"unverifiable": number})


def _stuck(outcome: Outcome, hours: float) -> Finding:
    counts, number = outcome.counts, outcome.standing.stuck
    states = {State.GROWING: counts.growing, State.WAITING: counts.waiting, State.EMPTY: counts.empty}
    there = "; ".join(f"{count} {state}" for state, count in states.items() if count)
    if number:
        says = (
            f"{some_tracks(number)} stuck in processing for more than {hours:g} h, though the file is there: see the "
            f"table {STUCK_TABLE} of the run, and whatever comes after an upload. With their file are {there}."
        )
    else:
        says = f"No track with its file has been stuck for more than {hours:g} h" + (f": {there}." if there else ".")
    return Finding(
        NOTHING_STUCK,
        healthy=not number,
        says=says,
        certain=False,
        numbers={"stuck": number, "growing": counts.growing, "waiting": counts.waiting, "empty": counts.empty},
    )
