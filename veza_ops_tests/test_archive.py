"""What the evidence of all runs together says of a track: whose it is, and what its message was."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import upath

from veza_ops import archive
from veza_ops.archive import Archive
from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKED, MARKING, Changes, Evidence, read_changes
from veza_ops.places import plain_files
from veza_ops.tracks.row import Track
from veza_ops_tests.changes import HERE, change, denials, marked


def at(tmp_path: Path, run_id: str, kind: str, minute: int, *rows: dict[str, Any]) -> None:
    """Write evidence of a run that planned to mark these so many minutes past the hour."""
    planned_at = f"2026-01-02 00:{minute:02}:00"
    Evidence(upath.UPath(tmp_path), run_id).write(kind, 0, [row | {"planned_at": planned_at} for row in rows])


def messages(tmp_path: Path, *tracks: Track) -> dict[str, tuple[str, str | None]]:
    """The run that each track belongs to, and the message that it had before."""
    claims = Archive(upath.UPath(tmp_path), HERE).newest(tracks)
    return {place[0]: (claim.run_id, claim.change.status_message_before) for place, claim in claims.items()}


@pytest.mark.parametrize("kind", [MARKED, MARKING])
def test_a_track_belongs_to_the_run_that_planned_to_mark_it_last(tmp_path: Path, kind: str) -> None:
    """That run saw it in processing: whatever was done before has been undone since."""
    at(tmp_path, "late", kind, 2, change("a", status_message_before="late"))
    at(tmp_path, "early", MARKED, 1, change("a", status_message_before="early"), change("c"))
    assert messages(tmp_path, marked("a"), marked("b")) == {"a": ("late", "late")}


def test_a_plan_without_a_proper_time_is_older_than_any(tmp_path: Path) -> None:
    evidence = Evidence(upath.UPath(tmp_path), "odd")
    evidence.write(MARKED, 0, [change("a", status_message_before="odd") | {"planned_at": 5}])
    at(tmp_path, "proper", MARKED, 1, change("a", status_message_before="proper"))
    assert messages(tmp_path, marked("a")) == {"a": ("proper", "proper")}


def test_a_track_belongs_to_the_run_that_left_it_as_it_is_whoever_planned_to_do_so_later(tmp_path: Path) -> None:
    """The later one was killed once its write had met a row that was no longer in processing."""
    at(tmp_path, "marked it", MARKED, 1, change("a", status_message_before="two"))
    late = change("a", status_message_before="one", updated_at_after="2026-01-02 00:00:02")
    at(tmp_path, "was killed", MARKING, 2, late)
    assert messages(tmp_path, marked("a")) == {"a": ("marked it", "two")}


@pytest.mark.parametrize("times", [1, 2, 5, 9])
def test_a_disk_that_denies_what_is_there_loses_no_message(tmp_path: Path, times: int) -> None:
    at(tmp_path, "run", MARKED, 1, change("a", status_message_before="half"))
    at(tmp_path, "other", MARKING, 2, change("b", status_message_before="most"))
    right = {"a": ("run", "half"), "b": ("other", "most")}
    for world in denials(times):
        with world.watched(), suppress(ConfigurationError):
            assert messages(tmp_path, marked("a"), marked("b")) == right


def test_a_plan_that_is_confirmed_before_it_is_read_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The undo has listed the evidence of a cleanup that is about to confirm its plan, and to remove it."""
    at(tmp_path, "run", MARKING, 1, change("a", status_message_before="half"))

    def late(*args: Any) -> Changes:
        run = Evidence(upath.UPath(tmp_path), "run")
        if plans := run.files(MARKING):
            at(tmp_path, "run", MARKED, 1, change("a", status_message_before="half"))
            run.drop(*plans)
        return read_changes(*args)

    monkeypatch.setattr(archive, "read_changes", late)
    assert messages(tmp_path, marked("a")) == {"a": ("run", "half")}


def test_a_plan_that_is_confirmed_while_it_is_listed_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list may hold neither the plan, which is gone when it comes to it, nor what has come behind it."""
    at(tmp_path, "run", MARKED, 1, change("a", status_message_before="half"))
    lists: list[upath.UPath] = []

    def late(folder: upath.UPath, seconds: float) -> Iterator[upath.UPath]:
        lists.append(folder)
        return plain_files(folder, seconds) if len(lists) > 1 else iter(())

    monkeypatch.setattr(archive, "plain_files", late)
    assert messages(tmp_path, marked("a")) == {"a": ("run", "half")}


def test_of_one_run_what_was_confirmed_counts_more_than_what_was_planned(tmp_path: Path) -> None:
    at(tmp_path, "run", MARKING, 1, change("a", status_message_before="planned"))
    at(tmp_path, "run", MARKED, 1, change("a", status_message_before="done"))
    assert messages(tmp_path, marked("a")) == {"a": ("run", "done")}


@pytest.mark.parametrize(
    "other", [{"file_path": "moved.flac"}, {"table": "public.tracks in staging"}], ids=["path", "table"]
)
def test_the_message_of_another_track_is_not_taken(tmp_path: Path, other: dict[str, Any]) -> None:
    at(tmp_path, "run", MARKED, 1, change("a", **other))
    assert messages(tmp_path, marked("a")) == {}


def test_evidence_from_before_it_told_of_tables_and_plans_is_taken(tmp_path: Path) -> None:
    old = {name: value for name, value in change("a").items() if name != "table"}
    path = Evidence(upath.UPath(tmp_path), "old").write(MARKED, 0, [old])
    path.rename(path.with_name("marked-00000.jsonl"))  # nor had its files a number of their own
    assert messages(tmp_path, marked("a")) == {"a": ("old", "half")}


def test_what_else_lies_in_the_folder_is_in_nobodys_way(tmp_path: Path) -> None:
    at(tmp_path, "run", MARKED, 1, change("a"))
    odd = tmp_path / "odd" / "veza_ops"
    odd.mkdir(parents=True)
    (odd / "marked-00000.jsonl").mkdir()
    (odd / "marked-00001.jsonl").symlink_to("nowhere")
    os.mkfifo(odd / "marked-00002.jsonl")
    (odd / "marking-old.jsonl").write_text("{}")
    (tmp_path / "file").touch()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "veza_ops").touch()
    assert messages(tmp_path, marked("a")) == {"a": ("run", "half")}
    assert Evidence(upath.UPath(tmp_path), "odd").files(MARKED) == []
    assert Evidence(upath.UPath(tmp_path), "odd").files(MARKING) == []


def test_a_line_with_an_id_that_is_none_is_in_nobodys_way(tmp_path: Path) -> None:
    at(tmp_path, "run", MARKED, 1, change("a"), change("b") | {"id": ["x"]}, change("c") | {"id": {}})
    assert messages(tmp_path, marked("a")) == {"a": ("run", "half")}
