"""What an audit tells of can be acted on: nothing that may get its track yet, and all that is needed to decide."""

import csv
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from demo.store import Store
from veza_ops.audit import ops, report_ops, throttle
from veza_ops.audit.asset import NO_FILE_DAMAGED, NO_FILE_UNNAMED
from veza_ops.audit.moved import Moved, moved_of
from veza_ops.audit.rounds import last_round
from veza_ops.audit.rules import Round, look_at
from veza_ops.audit.sheet import COLUMNS, lines
from veza_ops.audit.sizes import Compared, compared
from veza_ops.audit.throttle import Throttle
from veza_ops.audit.unnamed import Sieve, Unnamed, looked_up_again, row_of, unnamed_of
from veza_ops.errors import DatabaseUnavailableError
from veza_ops.findings import TRACK_FILES
from veza_ops.resources import EvidenceStore
from veza_ops.runs import Location
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.walk import Stored
from veza_ops.tracks.row import Track
from veza_ops_tests.library import Library, failure, run_job

DAYS = 24 * 3600.0
NONE = ("", 0, 0, 0)


@pytest.fixture
def library(library: Library) -> Library:
    """One whose table has the sizes of files, and with so many good ones that a few may be lost."""
    library.execute("ALTER TABLE tracks ADD file_size bigint")
    for number in range(20):
        library.add(f"playable/newest-{number}.flac", status="ready", content=b"music", age=timedelta(hours=1))
    return library


def start(library: Library, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    steps = {"walk": "find_unnamed_files", "tracks": "audit_files", "buckets": "audit_buckets"}
    chosen = {steps[name]: config.pop(name) for name in steps if name in config}
    return run_job(library, instance, job="audit_track_files", ops=chosen, **config)


def audit(library: Library, instance: dg.DagsterInstance, **config: Any) -> dict[str, Any]:
    """Run the audit; what it told the asset."""
    result = start(library, instance, **config)
    assert result.success, failure(result)
    return {"run_id": result.run_id, **observed(instance)}


def observed(instance: dg.DagsterInstance) -> dict[str, Any]:
    (record,) = instance.fetch_observations(TRACK_FILES, limit=1).records
    assert record.asset_observation
    return {name: value.value for name, value in record.asset_observation.metadata.items()}


def listed(told: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    files = Path(told["full_lists"]).glob(f"audit_{kind}-*.jsonl") if "full_lists" in told else ()
    return [json.loads(line) for path in sorted(files) for line in path.read_text().splitlines()]


def leak(library: Library, path: str, content: bytes = b"music", *, age: float = 2 * DAYS) -> Path:
    """A file that no track names, of a certain age in seconds."""
    file = library.write(path, content)
    os.utime(file, (time.time() - age, time.time() - age))
    return file


def of_size(library: Library, path: str, size: int | None, content: bytes | None, **columns: Any) -> str:
    """A playable track whose file should have so many bytes."""
    return str(library.add(path, status="ready", content=content, file_size=size, **columns))


def test_a_file_that_may_get_its_track_yet_is_not_told_of_and_is_counted_apart(
    library: Library, instance: dg.DagsterInstance
) -> None:
    old = leak(library, "old.flac", b"12345", age=25 * 3600)
    leak(library, "young.flac", age=23 * 3600)
    told = audit(library, instance)
    assert (told["unnamed"], told["unnamed_bytes"], told["unnamed_young"]) == (1, 5, 1)
    assert [row["path"] for row in listed(told, "unnamed")] == [str(old)]
    assert audit(library, instance, walk={"min_age_hours": 22.5})["unnamed"] == 2
    assert audit(library, instance, walk={"min_age_hours": 48})["unnamed"] == 0


def test_what_is_ignored_is_not_told_of_and_is_counted_apart(library: Library, instance: dg.DagsterInstance) -> None:
    for path in ("covers/a.jpg", "b.tmp", "deep/c.tmp", "deep/covers/d.jpg", ".DS_Store", "lost+found/e"):
        leak(library, path)
    told = audit(library, instance)
    assert (told["unnamed"], told["unnamed_ignored"]) == (4, 2)
    told = audit(library, instance, walk={"ignore": ["/covers/", "*.tmp", "!c.tmp"]})
    names = {os.path.basename(row["path"]) for row in listed(told, "unnamed")}
    assert (names, told["unnamed_ignored"]) == ({"c.tmp", "d.jpg", ".DS_Store", "e"}, 2)


def test_patterns_are_seen_from_the_top_of_what_holds_the_file() -> None:
    sieve = Sieve(Layout("/srv", {"/a": "/srv/mapped"}), 0, ["/covers/"])
    paths = ["/srv/covers/a", "/srv/b/covers/a", "/srv/mapped/covers/a", "s3://veza/covers/a", "s3://covers/a"]
    told = sieve.sift([Stored(path, 1) for path in paths]).told
    assert [file.path for file in told] == ["/srv/b/covers/a", "s3://covers/a"]


@pytest.mark.parametrize("pattern", ["!", "[z-a].mp3"])
@pytest.mark.parametrize("step", ["walk", "buckets"])
def test_a_pattern_that_is_none_is_one_plain_error(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, step: str, pattern: str
) -> None:
    if step == "buckets":
        monkeypatch.setenv("AWS_REGION", "nowhere")
    result = start(library, instance, **{step: {"ignore": [pattern]}})
    assert failure(result).startswith("The field ignore of the audit has a pattern that is none.")


def test_what_gets_a_track_or_changes_or_goes_before_the_end_is_not_told_of(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaked = leak(library, "leaked.flac")
    files = {name: leak(library, f"{name}.flac") for name in ("claimed", "longer", "touched", "gone")}
    looked_for = unnamed_of

    def meanwhile(*arguments: Any) -> list[Stored]:
        found = looked_for(*arguments)
        library.add("claimed.flac")
        files["longer"].write_bytes(b"more music")
        os.utime(files["longer"], (time.time() - 2 * DAYS, time.time() - 2 * DAYS))
        os.utime(files["touched"])
        files["gone"].unlink()
        return found

    monkeypatch.setattr(ops, "unnamed_of", meanwhile)
    told = audit(library, instance)
    assert [row["path"] for row in listed(told, "unnamed")] == [str(leaked)]
    assert (told["unnamed"], told["unnamed_bytes"], told["unnamed_unconfirmed"]) == (1, 5, 4)
    assert [path.name for path in Path(told["full_lists"]).glob("audit_yet*")] == []


def test_the_list_has_size_and_time_and_the_page_shows_the_first_of_it(
    library: Library, instance: dg.DagsterInstance
) -> None:
    file = leak(library, "leaked.flac", b"123")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    told = audit(library, instance)
    row = {"path": str(file), "size": 3, "modified": "2023-11-14 22:13:20.000000+00:00"}
    assert listed(told, "unnamed") == [row]
    assert [dict(each.data) for each in told["unnamed_files"].records] == [row]


def test_a_missing_track_and_an_unnamed_file_of_the_same_name_and_size_may_be_the_same(
    library: Library, instance: dg.DagsterInstance
) -> None:
    track = of_size(library, "playable/song.flac", 5, None)
    of_size(library, "playable/other.flac", 6, None)
    of_size(library, "playable/unknown.flac", None, None)
    file = leak(library, "new/song.flac", b"12345")
    leak(library, "new/other.flac", b"12345")
    leak(library, "new/unknown.flac", b"12345")
    told = audit(library, instance)
    row = {"id": track, "file_path": "playable/song.flac", "found_at": str(file), "size": 5}
    assert (told["missing"], told["unnamed"], told["moved"]) == (3, 3, 1)
    assert listed(told, "moved") == [row]
    assert [dict(each.data) for each in told["moved_files"].records] == [row]
    reasons = {each.data["id"]: each.data["reason"] for each in told["missing_files"].records}
    assert reasons[track].startswith(f"moved? '{file}' has the same name and size. no file at")
    assert sum(reason.startswith("moved?") for reason in reasons.values()) == 1


def test_each_pair_that_may_be_the_same_is_told_of() -> None:
    files = [Stored("/a/x", 1), Stored("/b/x", 1), Stored("/b/y", 1)]
    pairs = list(moved_of([("1", "x"), ("2", "old/x"), ("3", "y")], {"1": 1, "2": 1, "3": 2}, files))
    assert pairs == [Moved(each, path, at, 1) for at in ("/a/x", "/b/x") for each, path in (("1", "x"), ("2", "old/x"))]


def test_empty_and_truncated_files_are_told_apart_where_the_table_has_their_size(
    library: Library, instance: dg.DagsterInstance
) -> None:
    empty = of_size(library, "a.flac", 5, b"")
    truncated = of_size(library, "b.flac", 5, b"123")
    of_size(library, "right.flac", 5, b"12345")
    of_size(library, "larger.flac", 5, b"123456")
    of_size(library, "unknown.flac", None, b"")
    of_size(library, "zero.flac", 0, b"")
    of_size(library, "folder", 5, None)
    (library.root / "folder").mkdir()
    told = audit(library, instance)
    assert (told["present"], told["empty"], told["truncated"]) == (30, 1, 1)
    rows = {row["id"]: (row["size"], row["expected_size"], row["why"]) for row in listed(told, "damaged")}
    assert rows == {empty: (0, 5, "empty, of 5 bytes"), truncated: (3, 5, "3 of 5 bytes")}
    assert {each.data["id"] for each in told["damaged_files"].records} == {empty, truncated}


@pytest.mark.parametrize("type_", ["integer", "smallint", "numeric"])
def test_the_column_of_sizes_is_a_setting(library: Library, instance: dg.DagsterInstance, type_: str) -> None:
    library.execute(f"ALTER TABLE tracks ADD bytes {type_}")
    of_size(library, "a.flac", 5, b"1", bytes=1)
    assert audit(library, instance)["truncated"] == 1
    assert audit(library, instance, database={"size_column": "bytes"})["truncated"] == 0
    assert audit(library, instance, database={"size_column": ""})["truncated"] == 0


@pytest.mark.parametrize("column", ["nowhere", "title", "secret"])
def test_a_column_of_sizes_that_cannot_serve_is_one_plain_error(
    library: Library, instance: dg.DagsterInstance, column: str
) -> None:
    library.execute("ALTER TABLE tracks ADD secret bigint")
    as_reader(library)
    result = start(library, instance, database={"size_column": column})
    assert failure(result).startswith(f"The table public.tracks has no column {column} of whole numbers that this role")


def as_reader(library: Library) -> None:
    """The role from now on is one that may not read all columns."""
    library.execute("DROP ROLE IF EXISTS reader")
    library.execute("CREATE ROLE reader LOGIN")
    columns = "id, title, status, status_message, file_path, created_at, updated_at, deleted_at"
    library.execute(f"GRANT SELECT ({columns}) ON tracks TO reader")
    library.url = library.url.replace("postgres:@", "reader:@")


def test_the_ordinary_column_of_sizes_need_not_be_there_nor_be_readable(
    library: Library, instance: dg.DagsterInstance
) -> None:
    of_size(library, "a.flac", 5, b"1")
    as_reader(library)
    told = audit(library, instance)
    assert (told["present"], told["truncated"]) == (24, 0)


@pytest.mark.parametrize("page_size", [10_000, 50])
def test_where_most_sizes_differ_they_are_of_something_else_and_say_nothing(
    library: Library, instance: dg.DagsterInstance, page_size: int
) -> None:
    for number in range(101):
        of_size(library, f"many/{number}.flac", 99 if number < 52 else 5, b"12345")
    told = audit(library, instance, tracks={"page_size": page_size})
    assert (told["sizes_compared"], told["truncated"], listed(told, "damaged")) == (101, 0, [])
    library.execute("UPDATE tracks SET file_size = 5 WHERE file_path LIKE 'many/1%' AND file_size = 99")
    told = audit(library, instance, tracks={"page_size": page_size})
    assert told["truncated"] == len(listed(told, "damaged")) > 0


def test_of_few_files_most_may_be_damaged_and_more_when_they_are_looked_at_again() -> None:
    tracks = [Track(str(number), f"{number}.flac", "2026-01-01", None) for number in range(100)]
    expected = {track.id: 10 for track in tracks}
    smaller, of = compared(tracks[:99], expected, lambda _: 9)
    assert (len(smaller), of, of.says_nothing) == (99, Compared(99, 99, 99), False)
    assert (of + Compared(1, 0)).says_nothing
    assert not (Compared(50, 25) + Compared(50, 25)).says_nothing


def test_what_is_looked_at_again_is_damaged_however_much_of_it(library: Library, instance: dg.DagsterInstance) -> None:
    for number in range(205):
        of_size(library, f"many/{number}.flac", 5, b"" if number < 101 else b"12345")
    first = audit(library, instance)
    assert first["empty"] == 101
    again = audit(library, instance, tracks={"recheck": first["run_id"]})
    assert (again["audited"], again["empty"]) == (101, 101)


def test_a_file_that_is_whole_by_the_end_was_only_being_replaced(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_size(library, "a.flac", 5, b"")
    real = compared

    def meanwhile(*arguments: Any) -> Any:
        damaged = real(*arguments)
        library.write("a.flac", b"12345")
        return damaged

    monkeypatch.setattr(ops, "compared", meanwhile)
    told = audit(library, instance)
    assert (told["empty"], listed(told, "damaged")) == (0, [])


def test_damaged_files_are_counted_over_the_whole_round(library: Library, instance: dg.DagsterInstance) -> None:
    for number in range(3):
        of_size(library, f"{number}.flac", 5, b"")
    cut = {"page_size": 13, "max_tracks": 13}
    assert audit(library, instance, tracks=cut)["after"]
    assert audit(library, instance, tracks=cut)["empty"] == 3


def checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {each.check_name: (each.passed, each.description or "") for each in result.get_asset_check_evaluations()}


def test_the_checks_say_what_is_damaged_and_what_was_left_out(library: Library, instance: dg.DagsterInstance) -> None:
    of_size(library, "a.flac", 5, b"")
    leak(library, "young.flac", age=0)
    leak(library, ".DS_Store")
    said = checks(start(library, instance))
    assert said[NO_FILE_DAMAGED.name] == (
        False,
        "1 files are smaller than the table says, 1 of them empty; 24 tracks looked at.",
    )
    assert said[NO_FILE_UNNAMED.name] == (
        True,
        "No files that no track names, 0 bytes in all; 26 looked up; 1 more are too young to tell; 1 more are ignored.",
    )


def test_all_findings_are_in_one_sheet(library: Library, instance: dg.DagsterInstance) -> None:
    missing = of_size(library, "playable/song.flac", 5, None)
    damaged = of_size(library, "b.flac", 5, b"123")
    file = leak(library, 'new, "here"/song.flac', b"12345")
    told = audit(library, instance)
    with open(told["sheet"], newline="") as sheet:
        rows = list(csv.DictReader(sheet))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["finding"], row["id"], row["path"], row["size"], row["found_at"]) for row in rows] == [
        ("missing", missing, "playable/song.flac", "", ""),
        ("damaged", damaged, "b.flac", "3", ""),
        ("unnamed", "", str(file), "5", ""),
        ("moved", missing, "playable/song.flac", "5", str(file)),
    ]


def test_where_nothing_was_found_there_is_no_sheet(library: Library, instance: dg.DagsterInstance) -> None:
    assert "sheet" not in audit(library, instance)


def test_no_name_of_a_file_is_computed_by_a_spreadsheet() -> None:
    names = ["=1+1", "@SUM(A1)", "+1", "-1", "\tx", "\rx", "\nx", "plain", "caf\udce9"]
    names = [*(f"{each}1" for each in "\uff1d\uff0b\uff0d\uff20"), *names]
    _, *rows = [line.decode() for line in lines(("unnamed", {"path": name, "size": 1}) for name in names)]
    cells = [row.partition(",,")[2].removeprefix('"')[0] for row in rows]
    assert cells == ["'"] * 11 + ["p", "c"]
    assert rows[-1] == "unnamed,,caf\\udce9,1,,,,\r\n"


def test_just_what_an_earlier_run_reported_is_looked_at_again(library: Library, instance: dg.DagsterInstance) -> None:
    of_size(library, "playable/gone.flac", 5, None)
    back = of_size(library, "playable/back.flac", 5, None)
    of_size(library, "s3://elsewhere/song.flac", None, None)
    of_size(library, "a.flac", 5, b"")
    leaked = leak(library, "leaked.flac", b"123")
    leak(library, "claimed.flac")
    first = audit(library, instance, tracks={"max_tracks": 27, "page_size": 27})
    assert (first["audited"], first["missing"], first["unverifiable"], first["empty"]) == (27, 2, 1, 1)
    assert (first["unnamed"], first["after"] != "") == (2, True)
    library.write("playable/back.flac", b"12345")
    library.add("claimed.flac")
    leak(library, "another.flac")
    library.add("playable/new.flac", status="ready")
    again = audit(library, instance, tracks={"recheck": first["run_id"]})
    assert (again["audited"], again["present"], again["missing"], again["unverifiable"]) == (4, 2, 1, 1)
    assert (again["empty"], again["unnamed"], again["recheck"]) == (1, 1, first["run_id"])
    assert [row["path"] for row in listed(again, "unnamed")] == [str(leaked)]
    assert back not in {row["id"] for row in listed(again, "missing")}
    assert last_round(instance, Location()) == Round(27, 24, 2, 1, first["after"], empty=1), "the round is where it was"


@pytest.mark.parametrize(
    ("run_id", "says"),
    [("../..", "audit_files.recheck is no run's id"), ("0a1b2c", "There is no evidence of run 0a1b2c in")],
)
def test_a_run_that_reported_nothing_cannot_be_looked_at_again(
    library: Library, instance: dg.DagsterInstance, run_id: str, says: str
) -> None:
    result = start(library, instance, tracks={"recheck": run_id})
    assert failure(result).startswith(says)
    assert "Without recheck, all tracks are looked at." in failure(result) or "no run's id" in says


def test_storage_that_others_need_is_asked_for_so_many_files_a_second() -> None:
    waited: list[float] = []
    now = 100.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

        @staticmethod
        def sleep(seconds: float) -> None:
            nonlocal now
            waited.append(seconds)
            now += seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throttle, "time", Clock)
        slowly = Throttle(50, _began=now)
        assert (slowly.size(10_000), slowly.size(7), Throttle(0).size(10_000), Throttle(500).size(10_000)) == (
            *(100, 7),
            *(10_000, 500),
        )
        slowly.wait(100)
        now += 1.5
        slowly.wait(100)
        now += 10
        slowly.wait(100)
        Throttle(0).wait(10_000)
        slowly.wait(100_000, now + 7)
        Throttle(1e-320, _began=now).wait(1)
    assert waited == [2, 0.5, 0, pytest.approx(7), 3600]


@pytest.mark.parametrize("step", ["tracks", "walk"])
def test_each_step_waits(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    waited: list[float] = []

    def wait(self: Throttle, looks: int, _: float = 0) -> None:
        waited.append(looks / self.rate if self.rate else 0)

    monkeypatch.setattr(Throttle, "wait", wait)
    audit(library, instance, **{step: {"max_looks_per_second": 10}})
    assert max(waited) >= 0.3


@pytest.mark.parametrize("step", ["tracks", "walk"])
def test_what_is_looked_up_again_at_the_end_waits_as_well(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    waited: list[int] = []
    of_size(library, "truncated.flac", 10, b"1")
    for number in range(5):
        leak(library, f"leaked {number}.flac")

    def wait(self: Throttle, looks: int, _: float = 0) -> None:
        if self.rate:
            waited.append(looks)

    monkeypatch.setattr(Throttle, "wait", wait)
    told = audit(library, instance, **{step: {"max_looks_per_second": 10}})
    assert (told["unnamed"], told["truncated"]) == (5, 1)
    assert waited[-2:] == [5, 1]


ODD = [
    ("{root}//sub/a.flac", "sub/a.flac"),
    ("sub/../sub/a.flac", "sub/a.flac"),
    ("sub/c%20d.flac", "sub/c d.flac"),
    ("sub/e.flac", "sub/E.flac"),
    ("SUB/e.flac", "sub/e.flac"),
    ("sub\\a.flac", "sub/a.flac"),
    ("file://{root}/sub/a.flac", "sub/a.flac"),
    ("sub/album", "sub/album/segment-1.ts"),
    ("sub/album/", "sub/album/deep/segment-1.ts"),
    ("sub/caf\u00e9.flac", "sub/caf\udce9.flac"),
    ("sub/stra\u00dfe.flac", "sub/STRASSE.flac"),
    ("{real}/sub/a.flac", "sub/a.flac"),
    ("linked/a.flac", "sub/a.flac"),
]


@pytest.mark.parametrize(("row", "file"), ODD, ids=[row for row, _ in ODD])
def test_a_file_that_a_row_may_mean_is_not_told_of(
    library: Library, instance: dg.DagsterInstance, row: str, file: str
) -> None:
    real = library.root
    alias = real.with_name("alias")
    alias.symlink_to(real)
    library.root = alias
    leak(library, file)
    (real / "linked").symlink_to(real / "sub")
    other = leak(library, "sub/of nobody.flac")
    library.add(row.format(root=alias, real=real), status="failed")
    told = audit(library, instance)
    assert [row["path"] for row in listed(told, "unnamed")] == [str(other)]
    assert told["unnamed_unconfirmed"] == 1


@pytest.mark.parametrize("leads_to", ["file", "link"])
def test_a_file_that_a_link_leads_to_is_not_told_of(
    library: Library, instance: dg.DagsterInstance, leads_to: str
) -> None:
    leak(library, "originals/a.flac")
    other = leak(library, "originals/of nobody.flac")
    (library.root / "songs").mkdir()
    (library.root / "songs/first").symlink_to("../originals/a.flac")
    if leads_to == "link":
        (library.root / "songs/second").symlink_to("first")
    for link in ("songs/first", "songs/second"):
        library.add(link, status="failed")
    told = audit(library, instance)
    assert [row["path"] for row in listed(told, "unnamed")] == [str(other)]
    assert list(Path(told["full_lists"]).glob("audit_yet*")) == []


@pytest.mark.parametrize("row", [".", "/", "{root}", "{root}/", "", "..", "sub/of nobody.flac.part", "nobody.flac"])
def test_a_row_that_names_all_or_nothing_hides_no_file_of_nobody(
    library: Library, instance: dg.DagsterInstance, row: str
) -> None:
    file = leak(library, "sub/of nobody.flac")
    library.add(row.format(root=library.root), status="failed")
    assert [row["path"] for row in listed(audit(library, instance), "unnamed")] == [str(file)]


@pytest.mark.parametrize("seconds", [1e13, -1e13, 1e300, float("inf"), float("nan")])
def test_a_file_with_a_time_that_no_calendar_has_breaks_nothing(tmp_path: Path, seconds: float) -> None:
    (tmp_path / "a").write_bytes(b"1")
    row = row_of(Stored(str(tmp_path / "a"), 1, modified=seconds))
    assert row["modified"] == "unknown"
    (again,) = looked_up_again(Files(Layout(str(tmp_path))), [row], lambda _: set(), lambda _: False, Throttle(0))
    assert [file.path for file in again.told] == [str(tmp_path / "a")]


def test_nobody_being_able_to_look_at_the_end_is_told(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak(library, "leaked.flac")
    monkeypatch.setattr(Files, "measure", lambda *_: {})
    monkeypatch.setattr(Files, "unsure", lambda _, paths: paths)
    result = start(library, instance)
    told = observed(instance)
    assert (told["unnamed"], told["unnamed_unconfirmed"], told["unsure"]) == (0, 0, 1)
    is_well, says = checks(result)[NO_FILE_UNNAMED.name]
    assert not is_well
    assert "1 more of which nobody could tell at the end" in says


def test_a_report_that_is_made_anew_after_a_failure_reads_what_was_found_before(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_size(library, "a.flac", 5, b"")
    of_size(library, "playable/gone.flac", 5, None)
    leak(library, "leaked.flac")
    with monkeypatch.context() as patch:
        patch.setattr("veza_ops.audit.report_ops.moved.moved_of", lambda *_: 1 / 0)
        failed = start(library, instance)
    assert not failed.success
    resumed = dg.DagsterRun(
        "audit_track_files",
        parent_run_id=failed.run_id,
        root_run_id=failed.run_id,
        tags={"dagster/is_resume_retry": "true"},
    )
    context = SimpleNamespace(run=resumed, run_id=resumed.run_id, instance=instance)
    records = ops.lists_of(context, EvidenceStore())  # type: ignore[arg-type]  # has all that is asked of it
    assert records.run_id == failed.run_id
    assert [row["path"] for path in records.files(ops.YET_UNNAMED) for row in records.rows(path)] == [
        str(library.root / "leaked.flac")
    ]


@pytest.mark.parametrize("kind", ["unnamed", "damaged"])
def test_a_list_that_is_lost_before_the_end_fails_the_report(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    of_size(library, "a.flac", 5, b"")
    leak(library, "leaked.flac")
    real = ops.lists_of

    def lose(*arguments: Any) -> Any:
        records = real(*arguments)
        records.drop(*records.files(f"audit_yet_{kind}"))
        return records

    monkeypatch.setattr(report_ops, "lists_of", lose)
    said = failure(start(library, instance))
    assert said.startswith(
        f"Of 1 {'damaged ' if kind == 'damaged' else ''}files that were found, only 0 can be read in"
    )


def test_a_folder_of_lists_that_is_away_at_the_end_fails_the_report(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_size(library, "playable/gone.flac", 5, None)
    real = ops.lists_of

    def away(*arguments: Any) -> Any:
        records = real(*arguments)
        shutil.rmtree(str(records.of_run))
        return records

    monkeypatch.setattr(report_ops, "lists_of", away)
    assert failure(start(library, instance)).startswith("The evidence in ")


def test_an_attempt_lists_nothing_of_the_one_before(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_size(library, "playable/a.flac", 5, None)
    of_size(library, "playable/b.flac", 5, None)
    monkeypatch.setattr("veza_ops.steps._AGAIN", dg.RetryPolicy(max_retries=1, delay=0))
    real, calls = look_at, list[int]()

    def fail_once(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise DatabaseUnavailableError("for a moment")
        return real(*arguments)

    monkeypatch.setattr(ops, "look_at", fail_once)
    told = audit(library, instance, tracks={"page_size": 10})
    assert len(calls) == 3 + 3
    assert told["missing"] == len(listed(told, "missing")) == 2


def test_what_an_audit_of_an_earlier_version_listed_can_be_looked_at_again(
    library: Library, instance: dg.DagsterInstance
) -> None:
    file = leak(library, "leaked.flac", b"123")
    first = audit(library, instance)
    (path,) = Path(first["full_lists"]).glob("audit_unnamed-*.jsonl")
    path.write_text(json.dumps({"path": str(file), "size": 3}) + "\n")
    again = audit(library, instance, tracks={"recheck": first["run_id"]})
    assert again["unnamed"] == 1


def test_what_is_looked_at_again_answers_no_check(library: Library, instance: dg.DagsterInstance) -> None:
    leak(library, "leaked.flac")
    first = audit(library, instance)
    result = start(library, instance, tracks={"recheck": f" {first['run_id']} "})
    assert result.success
    assert checks(result) == {}
    assert observed(instance)["recheck"] == first["run_id"]
    assert not observed(instance)["recheck_cut_short"]


def test_looking_again_that_was_cut_short_says_so(library: Library, instance: dg.DagsterInstance) -> None:
    for number in range(2):
        of_size(library, f"s3://elsewhere/{number}.flac", None, None)
    first = audit(library, instance)
    again = audit(library, instance, tracks={"recheck": first["run_id"], "page_size": 1, "max_minutes": 1e-9})
    assert (again["audited"], again["recheck_cut_short"]) == (1, True)


def test_a_run_that_is_no_audit_is_not_looked_at_again(library: Library, instance: dg.DagsterInstance) -> None:
    library.add_ghost(file_path="playable/ghost.flac")
    cleanup = run_job(library, instance)
    result = start(library, instance, tracks={"recheck": cleanup.run_id})
    assert failure(result).startswith(f"Run {cleanup.run_id} has no list of an audit's")


@pytest.mark.parametrize("kind", ["whole", "numeric(12, 1)"])
def test_sizes_of_a_domain_and_halves_of_bytes_are_compared(
    library: Library, instance: dg.DagsterInstance, kind: str
) -> None:
    library.execute("CREATE DOMAIN whole AS bigint")
    library.execute(f"ALTER TABLE tracks ADD bytes {kind}")
    of_size(library, "a.flac", None, b"12345", bytes=5.0)
    of_size(library, "b.flac", None, b"1234", bytes=5.0)
    library.execute("UPDATE tracks SET bytes = 4.5 WHERE file_path = 'a.flac' AND pg_typeof(bytes)::text = 'numeric'")
    told = audit(library, instance, database={"size_column": "bytes"})
    assert (told["sizes_compared"], told["truncated"]) == (2, 1)


def test_an_audit_of_an_earlier_version_goes_on(instance: dg.DagsterInstance) -> None:
    from veza_ops_tests.audit.test_audit import WHOLE, observe  # noqa: PLC0415 - would be collected here

    observe(instance, {**WHOLE, "after": "a track"})
    assert last_round(instance, Location()).after == "a track"


def test_the_counts_of_two_places_add_up() -> None:
    one = Unnamed(1, 2, 3, 4, cut_short=False, unnamed_young=5, unnamed_ignored=6, unnamed_unconfirmed=7, unsure=8)
    assert one + one == Unnamed(
        2, 4, 6, 8, cut_short=False, unnamed_young=10, unnamed_ignored=12, unnamed_unconfirmed=14, unsure=16
    )


# -- the same in buckets


@pytest.fixture
def of_bucket(bucket: str, aws: None) -> Callable[[str], str]:  # noqa: ARG001 - sets the environment
    return lambda key: f"s3://{bucket}/{key}"


def test_objects_that_are_young_or_ignored_are_not_told_of(
    store: Store, bucket: str, of_bucket: Callable[[str], str], library: Library, instance: dg.DagsterInstance
) -> None:
    of_size(library, of_bucket("song.flac"), None, None)
    for key in ("song.flac", "leaked.flac", "covers/a.jpg"):
        store.put(bucket, key)
    told = audit(library, instance)
    assert (told["unnamed"], told["unnamed_young"]) == (0, 2)
    told = audit(library, instance, buckets={"min_age_hours": 0, "ignore": ["/covers/"]})
    assert [row["path"] for row in listed(told, "unnamed")] == [of_bucket("leaked.flac")]
    assert (told["unnamed"], told["unnamed_ignored"]) == (1, 1)


def test_objects_that_are_damaged_or_moved_are_told_of(
    store: Store, bucket: str, of_bucket: Callable[[str], str], library: Library, instance: dg.DagsterInstance
) -> None:
    for key, content in (
        ("whole.flac", b"12345"),
        ("short.flac", b"123"),
        ("empty.flac", b""),
        ("new/x.flac", b"1234"),
    ):
        store.put(bucket, key, content)
    of_size(library, of_bucket("whole.flac"), 5, None)
    short = of_size(library, of_bucket("short.flac"), 5, None)
    empty = of_size(library, of_bucket("empty.flac"), 5, None)
    moved = of_size(library, of_bucket("x.flac"), 4, None)
    told = audit(library, instance, buckets={"min_age_hours": 0})
    assert (told["empty"], told["truncated"], told["missing"], told["unnamed"]) == (1, 1, 1, 1)
    assert {row["id"] for row in listed(told, "damaged")} == {short, empty}
    assert [(row["id"], row["found_at"]) for row in listed(told, "moved")] == [(moved, of_bucket("new/x.flac"))]


def test_an_object_that_gets_a_track_before_the_end_is_not_told_of(
    store: Store,
    bucket: str,
    of_bucket: Callable[[str], str],
    library: Library,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_size(library, of_bucket("song.flac"), None, None)
    for key in ("song.flac", "leaked.flac", "claimed.flac"):
        store.put(bucket, key)
    real = Sieve.sift

    def meanwhile(self: Sieve, unnamed: Any) -> Any:
        library.add(of_bucket("claimed.flac"))
        return real(self, unnamed)

    monkeypatch.setattr(Sieve, "sift", meanwhile)
    told = audit(library, instance, buckets={"min_age_hours": 0})
    assert [row["path"] for row in listed(told, "unnamed")] == [of_bucket("leaked.flac")]
