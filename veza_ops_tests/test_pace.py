"""How many rows are written at a time: learned from the writes before."""

import pytest

from veza_ops.errors import TooSlowError
from veza_ops.pace import WRITTEN_AT_ONCE, Pace
from veza_ops.tracks.row import Judged, Track

ROWS = [
    Judged(Track(f"{number}", f"uploads/{number}.flac", "2026-01-01", None), "no such file") for number in range(16)
]


def test_what_was_not_written_in_time_is_tried_again_fewer_rows_at_a_time() -> None:
    pace = Pace()
    written = pace.too_late(ROWS)
    assert (len(written.untried), written.refused, pace.size) == (16, (), 2)


def test_what_was_written_in_time_lets_more_be_written_next_and_never_more_than_at_first() -> None:
    pace = Pace()
    pace.too_late(ROWS)
    sizes = []
    for _ in range(80):
        pace.in_time()
        sizes.append(pace.size)
    assert sizes[:6] == [4, 8, 10, 12, 14, 16]
    assert sizes[-1] == WRITTEN_AT_ONCE


def test_a_pace_that_holds_is_kept_for_most_of_the_time() -> None:
    """A store that takes 30 s for 4,000 rows: what is asked in vain is a small part of all."""
    pace, in_time, in_vain = Pace(), 0, 0
    while in_time < 50_000:
        if pace.size > 4_000:
            in_vain += 4_000
            pace.too_late(ROWS * (pace.size // 16))
        else:
            in_time += pace.size
            pace.in_time()
    assert in_vain < in_time / 3


def test_a_row_that_is_late_by_itself_for_the_first_time_is_tried_again() -> None:
    pace = Pace()
    assert pace.too_late(ROWS[:1]).untried
    assert pace.too_late(ROWS[:1]).refused
    pace.in_time()
    assert pace.too_late(ROWS[:1]).untried


def test_rows_that_were_looked_at_with_others_are_judged_by_all_of_them() -> None:
    pace = Pace()
    for looked_at in (16, 2):
        assert pace.too_late(ROWS[:1], looked_at).untried
    assert pace.size == 1
    assert pace.too_late(ROWS[:1]).refused


def test_any_number_of_slow_rows_is_refused_if_others_can_be_written_in_between() -> None:
    pace = Pace()
    pace.too_late(ROWS)
    for _ in range(10):
        pace.too_late(ROWS[:1])
        assert pace.too_late(ROWS[:1]).refused
        pace.in_time()


def test_several_slow_rows_in_turn_are_no_fault_of_theirs() -> None:
    pace = Pace()
    pace.too_late(ROWS)
    assert [len(pace.too_late([row]).refused) for row in ROWS[:8]] == [1] * 8
    with pytest.raises(TooSlowError, match=r"storage\.look_timeout_seconds"):
        pace.too_late(ROWS[8:9])
