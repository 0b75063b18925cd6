"""When a track is stale, and the message that says so."""

from datetime import timedelta

import dagster as dg
import pytest

import veza_ops
from veza_ops.tracks.row import NOT_PLAYABLE, age_hours, orphan_message
from veza_ops_tests.library import Library, run_job


def test_the_threshold_is_an_hour_that_others_can_import() -> None:
    assert timedelta(hours=1) == veza_ops.ORPHAN_TRACK_AGE_THRESHOLD


@pytest.mark.parametrize(("minutes", "age"), [(60, "1h"), (120, "2h"), (90, "90m"), (1, "1m"), (1440, "24h")])
def test_the_message_says_the_real_age(minutes: int, age: str) -> None:
    assert (
        orphan_message(timedelta(minutes=minutes)) == f"orphan cleanup: file missing on disk after >{age} in processing"
    )


def test_the_message_of_a_run_with_another_threshold_says_that_threshold(
    library: Library, instance: dg.DagsterInstance
) -> None:
    ghost = library.add_ghost(age=timedelta(hours=3))
    younger = library.add_ghost(age=timedelta(minutes=80))
    run_job(library, instance, ops={"find_stale_tracks": {"age_threshold_minutes": 90}})
    assert library.row(ghost)["status_message"] == "orphan cleanup: file missing on disk after >90m in processing"
    assert library.status(younger) == "processing"


def test_an_age_before_the_calendar_began_is_endless() -> None:
    assert age_hours("2026-01-01 10:00:00", "2026-01-01 11:30:00.5") == pytest.approx(1.5, abs=0.001)
    assert age_hours("-infinity", "2026-01-01 11:30:00") == float("inf")


def test_a_status_without_a_file_is_a_word_in_lower_case_as_it_is_compared() -> None:
    assert [word for word in NOT_PLAYABLE if not (word.isidentifier() and word.islower())] == []
    assert len(set(NOT_PLAYABLE)) == len(NOT_PLAYABLE)
