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
    pace.in_time()
    assert pace.size == 4
    for _ in range(20):
        pace.in_time()
    assert pace.size == WRITTEN_AT_ONCE


def test_a_row_that_is_late_by_itself_for_the_first_time_is_tried_again() -> None:
    pace = Pace()
    assert pace.too_late(ROWS[:1]).untried
    assert pace.too_late(ROWS[:1]).refused
    pace.in_time()
    assert pace.too_late(ROWS[:1]).untried


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
    assert [len(pace.too_late([row]).refused) for row in ROWS[:2]] == [1, 1]
    with pytest.raises(TooSlowError, match=r"storage\.look_timeout_seconds"):
        pace.too_late(ROWS[2:3])
