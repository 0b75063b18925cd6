"""Every order of two runs at once: each row is written once, and an undo undoes what it finds."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from veza_ops.tracks.row import ORPHAN_TRACK_AGE_THRESHOLD, orphan_message
from veza_ops_tests.interleavings.actors import CLEANUP, WRITES, Job, blocked, clean, undo
from veza_ops_tests.interleavings.scheduler import Actor, Order, interleavings, play
from veza_ops_tests.library import Library, counts
from veza_ops_tests.storms.scene import writes

OTHER = {f"other_{step}": moment for step, moment in CLEANUP.items()}
OTHER_WRITES = tuple(f"other_{step}" for step in WRITES)


@pytest.mark.parametrize(
    ("other_steps", "order"),
    interleavings("two_cleanups", OTHER_WRITES, OTHER_WRITES, WRITES),
)
def test_two_cleanups_write_each_row_once(
    other_steps: Order, order: Order, fresh: Callable[[bool], Library], evidence: Path
) -> None:
    library = fresh(False)  # noqa: FBT003
    library.add("uploads/slow.flac", content=b"half of it")
    ghosts = sorted(str(library.add_ghost()) for _ in range(2))
    others = library.rows()
    one, other = Job(library, evidence), Job(library, evidence, moments=OTHER)
    actors = [Actor(WRITES, one.act), Actor(other_steps, other.act)]
    play(order, actors, lambda: blocked(library))

    assert sorted(writes(library)) == ghosts
    assert sorted(one.marked + other.marked) == ghosts
    for job in (one, other):
        after = counts(job.result)
        assert after["missing"] == after["marked_failed"] + after["raced"] + after["refused"]
        assert (after["marked_failed"], after["refused"]) == (len(job.marked), 0)
    assert not any(actor.waited for actor in actors)
    rows = library.rows()
    assert all(rows[identity] == row or str(identity) in ghosts for identity, row in others.items())
    assert {row["status"] for identity, row in rows.items() if str(identity) in ghosts} == {"failed"}
    assert clean(library, evidence).missing == 0


UNDOES = ("write", "undo_read", "undo_evidence", "undo_update")
"""A file comes late, and somebody undoes whatever cleanups have marked."""
CLEANS = ("look_again", "update", "commit", "confirm")


@pytest.mark.parametrize(("steps", "order"), interleavings("undo", UNDOES, UNDOES, CLEANS))
def test_an_undo_in_mid_cleanup_brings_back_exactly_what_was_marked(
    steps: Order, order: Order, fresh: Callable[[bool], Library], evidence: Path
) -> None:
    library = fresh(False)  # noqa: FBT003
    message = orphan_message(ORPHAN_TRACK_AGE_THRESHOLD)
    back = library.add("uploads/back.flac", status="failed", status_message=message, content=b"music")
    late = library.add("uploads/late.flac", status_message="converting", age=timedelta(hours=3))
    ghost = library.add_ghost()
    before = library.row(late)
    cleanup, undoing = Job(library, evidence, watched=late), undo(library, evidence)

    def write(actor: Actor) -> None:
        actor.reach("write")
        library.write("uploads/late.flac")

    undoing.first = write
    undoing.watched = late
    actors = [Actor(CLEANS, cleanup.act), Actor(steps, undoing.act)]
    play(order, actors, lambda: blocked(library))

    is_failed = cleanup.seen["look_again"].has_nothing_like("uploads/late.flac")
    found = undoing.seen["undo_read"].row
    assert found is not None
    is_restored = found["status"] == "failed"
    marked = sorted(map(str, [ghost, late] if is_failed else [ghost]))
    assert cleanup.marked == marked
    assert sorted(writes(library)) == sorted([*marked, str(back), *([str(late)] if is_restored else [])])
    after = counts(cleanup.result)
    assert after["missing"] == after["marked_failed"] + after["raced"] + after["refused"]
    assert after["marked_failed"] == len(marked)
    assert undoing.result.output_for_node("report_restore")["restored"] == 1 + is_restored
    assert not any(actor.waited for actor in actors)
    assert library.status(back) == "processing"
    assert library.status(ghost) == "failed"
    assert library.status(late) == ("failed" if is_failed and not is_restored else "processing")
    if is_failed and not is_restored:
        assert undo(library, evidence, cleanup.result.run_id).run().result.success
    # No trace is left but the time, whether it was ever failed or not.
    assert library.row(late) | {"updated_at": None} == before | {"updated_at": None}
    assert clean(library, evidence).missing == 0
