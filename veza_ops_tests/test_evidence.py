"""Evidence lasts: nothing is written over, nobody else reads it, and what is damaged costs itself alone."""

import errno
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import upath

from veza_ops import places
from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKED, MARKING, Evidence, digest, entry, is_same_table, read, read_changes
from veza_ops.places import lasting
from veza_ops.tracks.row import Change, Judged, Track
from veza_ops_tests.changes import HERE, change, denials, marked


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """The evidence of a run."""
    return Evidence(upath.UPath(tmp_path), "run")


def test_a_step_that_is_resumed_writes_over_nothing(evidence: Evidence) -> None:
    for number in range(3):
        evidence.write(MARKED, 0, [{"id": number}])
    assert sorted(row["id"] for path in evidence.files(MARKED) for row in read(str(path))) == [0, 1, 2]


def test_a_last_line_that_was_cut_off_is_damaged_since_only_a_whole_file_gets_its_name(
    evidence: Evidence,
) -> None:
    path = evidence.write(MARKED, 0, [{"id": 1}, {"id": 2}])
    path.write_text(path.read_text() + json.dumps({"id": 3})[:5])
    assert [row["id"] for row in read(str(path))] == [1, 2]
    assert read_changes(str(path), "tracks").damaged == 3  # the others lack what a change has


def test_a_row_that_was_only_looked_at_has_its_place_and_the_reason() -> None:
    track = Track("7", "a/b.flac", "2026-01-01 00:00:00", None)
    row = {"id": "7", "file_path": "a/b.flac", "created_at": "2026-01-01 00:00:00", "why": "no file"}
    assert entry(Judged(track, "no file")) == row


def test_evidence_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.jsonl can't be read"):
        list(read(str(tmp_path / "nowhere.jsonl")))


@pytest.mark.parametrize(
    "damage",
    [
        b"\x00\x00\x00",
        b"{",
        b"null",
        b"[1, 2]",
        b'{"id": "1"}',
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps(change("1", id=7)).encode(),
        json.dumps(change("1", status_message_before=["half"])).encode(),
        json.dumps(change("1", file_path=None)).encode(),
        json.dumps(change("1\0")).encode(),
        json.dumps(change("1", status_message_before="\ud800")).encode(),
    ],
    ids=range(12),
)
def test_a_damaged_line_costs_itself_alone(evidence: Evidence, damage: bytes) -> None:
    path = evidence.write(MARKED, 0, [change("a"), change("b")])
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + b"\n" + second)
    told = read_changes(str(path), HERE)
    assert ([identity for identity, _ in told.by_place], told.damaged, told.foreign) == (["a", "b"], 1, 0)


def test_a_line_of_another_table_is_not_taken_for_one_of_this(evidence: Evidence) -> None:
    path = evidence.write(MARKED, 0, [change("a"), change("b", table="public.tracks in staging")])
    told = read_changes(str(path), HERE)
    assert ([identity for identity, _ in told.by_place], told.damaged, told.foreign) == (["a"], 0, 1)


def test_files_and_folders_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        evidence = Evidence(upath.UPath(tmp_path / "new" / "evidence"), "run")
        path = evidence.write(MARKED, 0, [change("a")])
    finally:
        os.umask(before)
    made = [path, evidence.of_run, evidence.of_run.parent, evidence.folder, evidence.folder.parent]
    assert [stat.S_IMODE(os.stat(str(each)).st_mode) for each in made] == [0o600, 0o700, 0o700, 0o700, 0o700]


def test_a_new_folder_is_itself_safe_from_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    evidence = Evidence(upath.UPath(tmp_path / "evidence"), "run")
    path = evidence.write(MARKED, 0, [change("a")])
    folders = [tmp_path, evidence.folder, evidence.folder / "run", evidence.of_run]
    assert synced == [*map(str, folders[:3]), f"{path}.part", str(folders[3])]


def test_what_could_not_be_written_whole_leaves_nothing_behind(evidence: Evidence) -> None:
    def rows() -> Any:
        yield change("a")
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigurationError, match="No space left on device"):
        evidence.write(MARKED, 0, rows())
    assert evidence.files(MARKED) == []


def test_what_is_not_on_disk_in_time_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: released.wait())
    evidence = Evidence(upath.UPath(tmp_path), "run", 0.2)
    with pytest.raises(ConfigurationError, match=r"no answer within 0\.2 s"):
        evidence.write(MARKED, 0, [change("a")])


def test_what_is_written_slowly_is_waited_for(evidence: Evidence, released: threading.Event) -> None:
    def rows() -> Any:
        for number in range(6):
            released.wait(0.5)
            yield change(str(number))

    slow = Evidence(evidence.folder, "slow", 2.5)
    assert len(list(slow.rows(slow.write(MARKED, 0, rows())))) == 6


def test_what_was_given_up_is_removed_when_it_comes_to_its_end_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    threads: list[threading.Thread] = []
    real = os.fsync

    def hang(descriptor: int) -> None:
        threads.append(threading.current_thread())
        released.wait()
        real(descriptor)

    evidence = Evidence(upath.UPath(tmp_path), "run", 2)
    with monkeypatch.context() as hangs:
        evidence.of_run.mkdir(parents=True)
        hangs.setattr(os, "fsync", hang)
        with pytest.raises(ConfigurationError, match="no answer"):
            evidence.write(MARKED, 0, [change("a")])
    assert len(list(evidence.of_run.iterdir())) == 1
    released.set()
    for thread in threads:  # another test's may have come here too
        thread.join()
    assert list(evidence.of_run.iterdir()) == []


@pytest.mark.parametrize(
    "folder", ["memory://x", "data://x", "simplecache::s3://x", "https://example.org/x", "MEMORY://x"]
)
def test_a_place_that_does_not_last_is_refused(folder: str) -> None:
    with pytest.raises(ConfigurationError, match="doesn't last"):
        lasting(folder)


@pytest.mark.parametrize(
    "folder",
    [
        '"postgresql://u:hunter2@h/d"',
        "url=postgresql://u:hunter2@h/d",
        "post_gres://u:hunter2@h/d",
        "host=db password=hunter2 url=x://y",
        "jdbc:postgresql://u:hunter2@h/d",
        "s3://key:hunter2@bucket/evidence",
        "DefaultEndpointsProtocol=https;AccountKey=hunter2;BlobEndpoint=https://x",
        "hunter2",
        "/\0hunter2",
        "s3://bucket/hunter2*",
    ],
)
def test_what_is_no_place_is_refused_without_showing_it(folder: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        lasting(folder)
    assert "hunter2" not in str(caught.value)


def test_a_run_whose_folder_cannot_be_read_has_left_nothing_that_anybody_could_be_shown(tmp_path: Path) -> None:
    unreadable = Evidence(upath.UPath(tmp_path / ("a" * 300)), "run")
    with pytest.raises(ConfigurationError):
        unreadable.files(MARKED)
    assert not unreadable.has_files


@pytest.mark.parametrize("folder", ["evidence", "./evidence", "~nobody-of-this-name/evidence"])
def test_a_folder_that_each_process_would_take_for_another_one_is_refused(folder: str) -> None:
    with pytest.raises(ConfigurationError, match="isn't absolute"):
        lasting(folder)


@pytest.mark.parametrize("folder", ["~/evidence", " ~/evidence ", "file://~/evidence", "local://~/evidence"])
def test_a_tilde_is_the_home_folder(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(lasting(folder).path) == f"{tmp_path}/evidence"


def test_a_folder_behind_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "disk").symlink_to("/not/mounted/today")
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        Evidence(lasting(f"{tmp_path}/disk/evidence"), "run").write(MARKED, 0, [change("a")])


def test_a_place_that_needs_a_package_names_it() -> None:
    with pytest.raises(ConfigurationError, match=r"gs://.*gcsfs"):
        lasting("gs://bucket/evidence")


def test_a_place_that_nobody_knows_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="postgresql://") as caught:
        lasting("postgresql://veza:hunter2@db/veza")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("times", [1, 2, 5, 9])
def test_what_a_disk_denies_is_not_taken_for_removed(tmp_path: Path, times: int) -> None:
    for world in denials(times):
        Evidence(upath.UPath(tmp_path), "run").write(MARKED, 0, [change("a")])
        with suppress(OSError), world.watched():
            Evidence(upath.UPath(tmp_path), "run").remove()
            assert not (tmp_path / "run").exists()


def test_a_file_has_its_name_once_it_is_whole(evidence: Evidence) -> None:
    seen: list[upath.UPath] = []

    def rows() -> Iterator[dict[str, Any]]:
        yield change("a", status_message_before="long" * 10_000)
        seen.extend(evidence.files(MARKING))
        yield change("b")

    plan = evidence.write(MARKING, 0, rows())
    assert (seen, len(list(evidence.rows(plan)))) == ([], 2)


def test_a_name_is_never_given_again(evidence: Evidence) -> None:
    """Whoever is late in removing a file by its name would remove somebody else's."""
    first = evidence.write(MARKING, 0, [change("a")])
    evidence.drop(first)
    assert evidence.write(MARKING, 0, [change("b")]) != first


def test_evidence_whose_removal_was_cut_off_is_not_taken_for_the_whole(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    for batch in range(2):
        evidence.write(MARKED, batch, [change("a")])
    real = os.unlink

    def killed(*args: Any, **how: Any) -> None:
        monkeypatch.setattr(os, "unlink", refused)
        real(*args, **how)

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", killed)
        with pytest.raises(OSError, match="Input/output"):
            evidence.remove()
        monkeypatch.undo()
    assert len(list(evidence.folder.rglob("*.jsonl"))) == 1
    with pytest.raises(ConfigurationError, match="There is no evidence of run"):
        evidence.required()
    evidence.remove()
    assert not list(evidence.folder.iterdir())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("public.tracks in veza (server 1)", "public.tracks in veza (server 1)", True),
        ("public.tracks in veza (server 1)", "public.tracks in veza (server 2)", False),
        ("public.tracks in veza", "public.tracks in veza (server 2)", True),
        ("public.tracks in veza (server 1)", "public.tracks in staging", False),
        (None, "public.tracks in veza", False),
        (7, "public.tracks in veza", False),
    ],
)
def test_the_servers_number_tells_two_databases_apart_where_both_roles_may_know_it(
    one: object, other: str, *, same: bool
) -> None:
    assert is_same_table(one, other) is same


def test_the_digests_of_two_lists_add_up_to_that_of_both_in_any_order() -> None:
    rows = [{"id": str(number), "why": "nobody knows"} for number in range(5)]
    assert digest(rows[:2]) + digest(rows[2:]) == digest(reversed(rows))
    assert digest(rows) != digest(rows[1:])


def test_the_change_and_the_track_as_it_was_left_are_told_from_any_other() -> None:
    left = Change(**{name: value for name, value in change("a").items() if name in Change._fields})
    assert left.left(marked("a"))
    for other in ({"file_path": "b.flac"}, {"updated_at": "2026-01-02 00:00:01"}, {"status_message": "other"}):
        assert not left.left(marked("a", **other))


def test_a_plan_that_came_to_pass_as_it_was_written_becomes_the_confirmation_itself(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = evidence.write(MARKING, 0, [change("a")])
    synced: list[str] = []
    monkeypatch.setattr(places, "_sync", synced.append)
    evidence.confirm(MARKED, 0, [], plan)
    (confirmed,) = evidence.files(MARKED, 0)
    assert not evidence.files(MARKING, 0)
    assert list(evidence.rows(confirmed)) == [change("a")]
    assert synced == [str(evidence.of_run)], "the folder itself has to know it after a power cut"


def test_a_plan_that_can_not_be_renamed_is_left_to_go_by(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = evidence.write(MARKING, 0, [change("a")])

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "rename", denied)
    with pytest.raises(ConfigurationError, match="It is listed there as what was to be changed"):
        evidence.confirm(MARKED, 0, [], plan)
    assert evidence.files(MARKING, 0) == [plan]


def test_a_plan_that_is_gone_is_confirmed_all_the_same(evidence: Evidence) -> None:
    """Another worker has confirmed it, or somebody has tidied up: the rows are changed, and nothing else says so."""
    plan = evidence.write(MARKING, 0, [change("a")])
    evidence.drop(plan)
    evidence.confirm(MARKED, 0, [change("a")], plan)
    (confirmed,) = evidence.files(MARKED, 0)
    assert list(evidence.rows(confirmed)) == [change("a")]
