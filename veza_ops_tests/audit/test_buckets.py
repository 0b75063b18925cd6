"""The audit of buckets: what a store lists is compared with the table both ways, and nothing is changed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from demo.store import Store
from veza_ops.audit import buckets as rules
from veza_ops.audit.asset import NO_UPLOAD_INCOMPLETE
from veza_ops.audit.listing import Listing, begun_before
from veza_ops.audit.rounds import last_round
from veza_ops.audit.rules import Round
from veza_ops.findings import TRACK_FILES
from veza_ops.runs import Location
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.objects import Objects
from veza_ops.tracks.preflight import preflight
from veza_ops.tracks.table import Tracks
from veza_ops_tests.audit.test_audit import WHOLE, observe
from veza_ops_tests.conftest import new_store
from veza_ops_tests.faulty_store import FaultyStore
from veza_ops_tests.library import Library, Schema, failure, run_job
from veza_ops_tests.store_faults import Answer, Fault, Request

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def library(make_library: Callable[[Schema], Library]) -> Library:
    """One with numbers for ids, so that they come in the order in which they were added."""
    return make_library(Schema(id="bigint"))


def audit(library: Library, instance: dg.DagsterInstance, **config: Any) -> dict[str, Any]:
    """Run the audit, its step for buckets with `config`; what it told the asset."""
    resources = {name: config.pop(name) for name in ("database", "storage") if name in config}
    files = config.pop("files", {})
    ops = {"audit_buckets": {"min_age_hours": 0} | config, "audit_files": files}
    result = run_job(library, instance, job="audit_track_files", ops=ops, **resources)
    assert result.success, failure(result)
    (record,) = instance.fetch_observations(TRACK_FILES, limit=1).records
    assert record.asset_observation
    return {name: value.value for name, value in record.asset_observation.metadata.items()}


def counts(told: Mapping[str, Any]) -> tuple[int, int, int, int]:
    return told["audited"], told["present"], told["missing"], told["unverifiable"]


def listed(told: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The evidence of one kind."""
    files = Path(told["full_lists"]).glob(f"{kind}-*.jsonl") if "full_lists" in told else ()
    return [json.loads(line) for path in sorted(files) for line in path.read_text().splitlines()]


def unnamed(told: Mapping[str, Any]) -> set[str]:
    return {row["path"] for row in listed(told, "audit_unnamed")}


def why(told: Mapping[str, Any]) -> list[str]:
    return [row["why"] for row in listed(told, "audit_unverifiable")]


@contextmanager
def _before(method: str, of: type, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something that happens right before a method is called for the first time."""
    original = getattr(of, method)
    is_done: list[bool] = []

    def first(self: Any, *args: Any, **named: Any) -> Any:
        if not is_done:
            is_done.append(True)
            do()
        return original(self, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(of, method, first)
        yield


def before(
    method: str, of: type, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> AbstractContextManager[None]:
    return _before(method, of, do, monkeypatch)


def test_each_track_has_its_verdict_and_each_file_that_no_track_names_is_told_of(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for number in range(3):
        store.put(bucket, f"songs/{number}.flac")
        library.add(f"s3://{bucket}/songs/{number}.flac", status="ready")
    gone = library.add(f"s3://{bucket}/songs/gone.flac", status="ready")
    for number in range(3, 25):
        store.put(bucket, f"songs/{number}.flac")
        library.add(f"s3://{bucket}/songs/{number}.flac", status="ready")
    library.add(f"s3://{bucket}/songs//odd.flac", status="ready")
    store.put(bucket, "songs/Other.flac")
    library.add(f"s3://{bucket}/songs/other.flac", status="ready")
    library.add(f"s3://{bucket}/songs/ghost.flac")  # nobody waits for it
    store.put(bucket, "songs/failed.flac")
    library.add(f"s3://{bucket}/songs/failed.flac", status="failed")  # a track in any state keeps its file
    store.put(bucket, "leaked.flac", b"12345")
    before = library.rows()
    told = audit(library, instance)
    assert counts(told) == (31, 28, 1, 2)
    assert [row["id"] for row in listed(told, "audit_missing")] == [str(gone)]
    assert sum("the file is there under" in reason for reason in why(told)) == 1
    assert sum("can't be asked for" in reason for reason in why(told)) == 1
    assert unnamed(told) == {f"s3://{bucket}/leaked.flac"}, "Other.flac may be what a row means by other.flac"
    assert (told["unnamed"], told["unnamed_bytes"], told["walked"]) == (1, 5, 3 + 28)
    assert not told["cut_short"]
    assert library.rows() == before


def test_plain_keys_and_addresses_mean_the_same_objects(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for key in ("media/a.flac", "media/b.flac", "media/c.flac", "media/deep/d.flac", "other.flac"):
        store.put(bucket, key)
    library.add("uploads/a.flac", status="ready")
    library.add(f"s3://{bucket}/media/b.flac", status="ready")
    library.add("uploads/deep/d.flac", status="ready")
    library.add("/abs/c.flac", status="ready")
    library.add("uploads/gone.flac", status="ready")
    library.add("uploads/a.flac", status="ready")
    mapped = {"uploads": f"s3://{bucket}/media", "/abs": f"s3://{bucket}/media"}
    told = audit(library, instance, storage={"path_map": mapped})
    assert counts(told) == (9, 8, 1, 0)
    assert unnamed(told) == {f"s3://{bucket}/other.flac"}


def test_only_the_prefix_is_listed_that_rows_can_mean(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for key in ("media/a.flac", "media/leaked.flac", "other.flac"):
        store.put(bucket, key)
    library.add("a.flac", status="ready")
    library.execute("DELETE FROM tracks WHERE file_path LIKE 'playable/%'")
    told = audit(library, instance, storage={"root": f"s3://{bucket}/media"})
    assert counts(told) == (1, 1, 0, 0)
    assert unnamed(told) == {f"s3://{bucket}/media/leaked.flac"}


def test_files_without_a_track_are_told_of_where_they_are_asked_for(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for key in ("songs/a.flac", "songs/leaked.flac", "else/other.txt"):
        store.put(bucket, key)
    library.add(f"s3://{bucket}/songs/a.flac", status="ready")
    assert unnamed(audit(library, instance, buckets=[f"s3://{bucket}/songs/"])) == {f"s3://{bucket}/songs/leaked.flac"}


def test_what_is_no_bucket_is_refused_and_not_shown(library: Library, instance: dg.DagsterInstance) -> None:
    for given in ("s3://me:secret@store/bucket", "secret", "s3://bucket/a//b"):
        result = run_job(library, instance, job="audit_track_files", ops={"audit_buckets": {"buckets": [given]}})
        assert not result.success
        said = [event for event in result.all_events if event.is_step_failure]
        assert "names what is no bucket here" in str(said)
        assert given not in str(said)


@pytest.fixture(scope="module")
def many(store: Store) -> Iterator[str]:
    """A bucket with 2,500 objects."""
    store.make_bucket("many")
    store.put_many("many", [f"songs/{number:05}.flac" for number in range(2_500)])
    yield "many"
    store.remove_bucket("many")


@pytest.mark.parametrize("page_size", [10_000, 700])
def test_many_pages_of_rows_and_keys_come_to_the_same(
    page_size: int, many: str, library: Library, instance: dg.DagsterInstance
) -> None:
    library.execute(
        "INSERT INTO tracks (id, status, file_path, created_at) "
        "SELECT 1000 + n, 'ready', 's3://many/songs/' || lpad(n::text, 5, '0') || '.flac', now() "
        "FROM generate_series(0, 2599) AS n WHERE n % 7 <> 0"
    )
    told = audit(library, instance, page_size=page_size)
    assert many
    assert why(told) == []
    assert counts(told) == (3 + 2_228, 3 + 2_142, 86, 0)
    assert (told["unnamed"], told["walked"]) == (358, 2_503)


def test_several_tracks_of_one_file_are_counted_each_wherever_a_page_ends(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    store.put(bucket, "a/song.flac")
    store.put(bucket, "b/song.flac")
    for _ in range(5):
        library.add(f"s3://{bucket}/a/song.flac", status="ready")
    library.add(f"s3://{bucket}/a/song.flac", status="failed")
    library.add(f"s3://{bucket}/b/song.flac", status="ready")
    for page_size in (1, 2, 3):
        told = audit(library, instance, page_size=page_size)
        assert counts(told) == (9, 9, 0, 0)
        assert told["unnamed"] == 0


ODD = ["a", "a b/x", "a-b/x", "a.b", "a/b", "a0", "é", "\uffeez", "\U00010000z", "z%20z", "z+z"]


@pytest.mark.parametrize("page_size", [1, 100])
def test_keys_that_sort_oddly_meet_their_rows(
    page_size: int, store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for key in ODD:
        store.put(bucket, f"{key}.flac")
        store.put(bucket, f"{key}/below.flac")
        library.add(f"s3://{bucket}/{key}.flac", status="ready")
        library.add(f"s3://{bucket}/{key}/below.flac", status="ready")
    store.put(bucket, "leaked.flac")
    told = audit(library, instance, page_size=page_size)
    assert counts(told) == (3 + 2 * len(ODD), 3 + 2 * len(ODD), 0, 0)
    assert unnamed(told) == {f"s3://{bucket}/leaked.flac"}


def test_the_mark_of_a_folder_is_no_file_and_an_empty_object_is_one(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for key in ("a/", "a/b/", "a/b/c.flac"):
        store.put(bucket, key, b"x" if key.endswith("flac") else b"")
    store.put(bucket, "empty.flac", b"")
    store.put(bucket, "leaked.flac", b"")
    library.add(f"s3://{bucket}/a/b/c.flac", status="ready")
    library.add(f"s3://{bucket}/empty.flac", status="ready")
    told = audit(library, instance)
    assert counts(told) == (5, 5, 0, 0)
    assert unnamed(told) == {f"s3://{bucket}/leaked.flac"}


def test_a_track_that_names_what_may_be_the_mark_of_a_folder_is_looked_for_by_itself(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        store.put(bucket, f"songs/{number}.flac")
        library.add(f"s3://{bucket}/songs/{number}.flac", status="ready")
    library.add(f"s3://{bucket}/songs/8.fla", status="ready")
    pages = Objects.pages

    def marked(self: Objects, bucket: str, prefix: str = "", after: str = "") -> Iterator[Sequence[Any]]:
        for page in pages(self, bucket, prefix, after):
            mark = {**page[0], "path": "songs/8.fla", "size": 0}
            yield sorted([*page, mark], key=lambda each: str(each["path"])) if not prefix else page

    monkeypatch.setattr(Objects, "pages", marked)
    told = audit(library, instance)
    assert counts(told) == (13, 12, 1, 0)


def test_a_track_whose_file_is_moved_meanwhile_is_not_missing_and_its_file_is_not_nobodys(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.flac", "m.flac", "z.flac"):
        store.put(bucket, key)
        library.add(f"s3://{bucket}/{key}", status="ready")

    def move(old: str, new: str) -> None:
        store.put(bucket, new)
        library.execute(
            "UPDATE tracks SET file_path = :new WHERE file_path = :old",
            old=f"s3://{bucket}/{old}",
            new=f"s3://{bucket}/{new}",
        )
        store.delete(bucket, old)

    # Between the reading of the table and the listing: to where the listing comes, and to where it was.
    with before("_read", Listing, lambda: move("m.flac", "b.flac"), monkeypatch):
        told = audit(library, instance)
    assert (told["missing"], told["unverifiable"], unnamed(told)) == (0, 0, set())
    with before("_read", Listing, lambda: move("b.flac", "y.flac"), monkeypatch):
        told = audit(library, instance)
    assert (told["missing"], told["unverifiable"], unnamed(told)) == (0, 0, set())


def test_a_file_that_is_moved_after_it_was_listed_early_is_not_nobodys(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.flac", "m.flac", "z.flac"):
        store.put(bucket, key)
        library.add(f"s3://{bucket}/{key}", status="ready")
    read = Listing._read  # noqa: SLF001 - what happens right behind it is what is tested

    def move_afterwards(listing: Listing) -> None:
        read(listing)
        if "z.flac" in store.keys(bucket):
            store.put(bucket, "b.flac")
            library.execute(
                "UPDATE tracks SET file_path = replace(file_path, 'z.flac', 'b.flac') WHERE file_path LIKE '%z.flac'"
            )
            store.delete(bucket, "z.flac")

    monkeypatch.setattr(Listing, "_read", move_afterwards)
    told = audit(library, instance, page_size=1)
    assert (told["missing"], told["unverifiable"], unnamed(told)) == (0, 0, set())


def test_a_file_that_is_uploaded_meanwhile_is_present_and_somebodys(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(bucket, "a.flac")
    library.add(f"s3://{bucket}/a.flac", status="ready")
    library.add(f"s3://{bucket}/late.flac", status="ready")
    with before("again", rules.Buckets, lambda: store.put(bucket, "late.flac"), monkeypatch):
        told = audit(library, instance)
    assert counts(told) == (5, 5, 0, 0)

    def add() -> None:
        store.put(bucket, "new.flac")
        library.add(f"s3://{bucket}/new.flac", status="ready")

    with before("_read", Listing, add, monkeypatch):
        told = audit(library, instance)
    assert (told["missing"], unnamed(told)) == (0, set())


def test_what_an_upload_is_under_way_for_is_not_missing(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    store.put(bucket, "a.flac")
    library.add(f"s3://{bucket}/a.flac", status="ready")
    library.add(f"s3://{bucket}/late.flac", status="ready")
    store.begin_upload(bucket, "late.flac")
    told = audit(library, instance)
    assert counts(told) == (5, 4, 0, 1)
    assert "is under way" in why(told)[0]


def leaves_out(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A listing without a key."""
    pages = Objects.pages

    def fewer(self: Objects, bucket: str, prefix: str = "", after: str = "") -> Iterator[Sequence[Any]]:
        for page in pages(self, bucket, prefix, after):
            yield [each for each in page if each["path"] != key]

    monkeypatch.setattr(Objects, "pages", fewer)


@pytest.mark.parametrize("page_size", [1, 100])
def test_a_listing_that_leaves_out_what_is_there_proves_nothing(
    page_size: int,
    store: Store,
    bucket: str,
    library: Library,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key in ("a.flac", "k.flac", "z.flac"):
        store.put(bucket, key)
        library.add(f"s3://{bucket}/{key}", status="ready")
    library.add(f"s3://{bucket}/zz-gone.flac", status="ready")
    store.put(bucket, "leaked.flac")
    store.put(bucket, "b-leaked.flac")
    leaves_out(monkeypatch, "k.flac")
    monkeypatch.setattr(rules, "SKEW_SECONDS", -60.0)  # as if it had been there for long
    told = audit(library, instance, page_size=page_size)
    assert told["missing"] == 0
    assert told["audited"] == 7
    assert "leaves out objects that are there" in why(told)[0]
    assert unnamed(told) == set()
    assert (told["unnamed"], told["unnamed_bytes"]) == (0, 0)


def test_a_listing_in_no_order_proves_nothing(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.flac", "b.flac", "c.flac"):
        store.put(bucket, key)
        library.add(f"s3://{bucket}/{key}", status="ready")
    pages = Objects.pages

    def again(self: Objects, bucket: str, prefix: str = "", after: str = "") -> Iterator[Sequence[Any]]:
        for page in pages(self, bucket, prefix, after):
            yield page[:2]
            yield page[:2]

    monkeypatch.setattr(Objects, "pages", again)
    told = audit(library, instance)
    assert (told["missing"], told["unverifiable"]) == (0, 1)
    assert "isn't in one order" in why(told)[0]


def test_what_nobody_asked_for_takes_no_more_time_than_there_is(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    library.add(f"s3://{bucket}/songs/1.flac", status="ready")
    for key in ("songs/1.flac", *(f"logs/{number}" for number in range(20))):
        store.put(bucket, key)
    told = audit(library, instance, max_minutes=1e-9, page_size=2, buckets=[f"s3://{bucket}/songs"])
    assert (told["walked"] < 8, told["cut_short"], told["unnamed"]) == (True, True, 0)


@pytest.mark.parametrize("fault", [Answer(200, {}, b"<html>console</html>"), Answer(200, {}, b"<Error></Error>")])
def test_a_listing_that_ends_with_what_is_no_list_is_not_taken_for_the_whole(
    faulty: FaultyStore, library: Library, instance: dg.DagsterInstance, fault: Answer
) -> None:
    library.add("s3://veza/songs/0.flac", status="ready")
    faulty.page_size = 5
    faulty.buckets["veza"].update({f"songs/{number}.flac": b"music" for number in range(9)})

    def is_behind(request: Request) -> bool:
        return "continuation-token" in request.query or request.query.get("start-after", "") > "songs/3"

    faulty.fault(is_behind, Fault(fault))
    told = audit(library, instance)
    assert (told["unnamed"] < 8, told["unread_folders"]) == (True, 1)


def test_a_key_with_a_slash_in_front_is_not_taken_for_the_one_without(
    faulty: FaultyStore, library: Library, instance: dg.DagsterInstance
) -> None:
    for name in ("song.flac", "gone.flac"):
        library.add(f"s3://veza/songs/{name}", status="ready")
    faulty.buckets["veza"].update({"songs/song.flac": b"music", "/songs/gone.flac": b"music"})
    told = audit(library, instance)
    assert counts(told) == (5, 3, 0, 2)
    assert "begins with a slash" in why(told)[0]


@pytest.mark.parametrize("limit", [{"max_tracks": 2, "page_size": 2}, {"max_minutes": 1e-9, "page_size": 2}], ids=str)
def test_cut_short_it_goes_on_from_there_and_begins_anew_after_the_end(
    limit: dict[str, Any], store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    for number in range(5):
        store.put(bucket, f"songs/{number}.flac")
        library.add(f"s3://{bucket}/songs/{number}.flac", status="ready")
        store.put(bucket, f"songs/{number}-leaked.flac")
    told = [audit(library, instance, **limit)]
    assert told[0]["cut_short"]
    assert told[0]["audited"] < 8
    while told[-1]["after_key"]:
        assert len(told) < 20
        told.append(audit(library, instance, **limit))
    assert counts(told[-1]) == (8, 8, 0, 0)
    leaked = {f"s3://{bucket}/songs/{number}-leaked.flac" for number in range(5)}
    assert set().union(*map(unnamed, told)) == leaked
    assert sum(each["unnamed"] for each in told) == 5
    assert audit(library, instance, **limit)["audited"] < 8, "a new round"
    assert counts(audit(library, instance, start_over=True, files={"start_over": True})) == (8, 8, 0, 0)


def test_the_round_is_over_when_both_audits_are(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    store.put(bucket, "song.flac")
    library.add(f"s3://{bucket}/song.flac", status="ready")
    told = [audit(library, instance, files={"max_tracks": 2, "page_size": 2}) for _ in range(3)]
    assert [each["audited"] for each in told] == [3, 4, 4], "the bucket's own is counted once"
    assert [bool(each["after"]) for each in told] == [True, True, False]


def test_a_round_that_was_begun_before_buckets_were_told_of_goes_on_with_all_of_them(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    observe(
        instance,
        {**WHOLE, "audited": 2, "present": 2, "missing": 0, "unverifiable": 0, "after": "2", "after_key": None},
    )
    assert last_round(instance, Location()) == Round(2, 2, 0, 0, "2", "s3://")
    store.put(bucket, "song.flac")
    library.add(f"s3://{bucket}/song.flac", status="ready")
    assert counts(audit(library, instance)) == (4, 4, 0, 0)


def test_uploads_that_nobody_completed_are_counted_and_listed(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    store.put(bucket, "song.flac")
    library.add(f"s3://{bucket}/song.flac", status="ready")
    store.begin_upload(bucket, "left.flac")
    assert audit(library, instance)["incomplete_uploads"] == 0, "it was begun a moment ago"
    told = audit(library, instance, upload_hours=0)
    assert (told["incomplete_uploads"], told["uploads_untold"]) == (1, "")
    (row,) = listed(told, "audit_uploads")
    assert (row["bucket"], row["key"]) == (bucket, "left.flac")
    assert datetime.fromisoformat(row["began"]) > datetime.now(UTC) - timedelta(hours=1)
    asked = instance.event_log_storage.get_asset_check_execution_history(NO_UPLOAD_INCOMPLETE.key, limit=1)
    evaluation = asked[0].event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    assert not evaluation.passed
    assert "Abort them" in str(evaluation.description)


def test_where_nobody_may_list_uploads_that_is_said_and_no_more_than_so_many_are_listed(
    store: Store, bucket: str
) -> None:
    for number in range(3):
        store.begin_upload(bucket, f"{number}.flac")
    files = Files(Layout())
    moment, until = datetime.now(UTC) + timedelta(hours=1), 1e18
    found, untold = begun_before(files, [f"s3://{bucket}", "s3://no-such-bucket"], moment, until)
    assert len(found) == 3
    assert untold
    found, untold = begun_before(files, [f"s3://{bucket}"], moment, until, most=2)
    assert (len(found), untold) == (2, f"their listing in 's3://{bucket}' was cut short")


def test_a_bucket_that_is_not_there_costs_its_own_tracks_alone(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    store.put(bucket, "song.flac")
    library.add(f"s3://{bucket}/song.flac", status="ready")
    library.add("s3://no-such-bucket/song.flac", status="ready")
    library.add("s3://no-such-bucket/failed.flac", status="failed")
    told = audit(library, instance)
    assert counts(told) == (5, 4, 0, 1)
    assert "there is no bucket 's3://no-such-bucket'" in why(told)[0]
    assert told["unread_folders"] == 1


def test_who_may_not_list_calls_nothing_missing(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.environment("nolist").items():
        monkeypatch.setenv(name, value)
    store.put(bucket, "song.flac")
    library.add(f"s3://{bucket}/song.flac", status="ready")
    library.add(f"s3://{bucket}/gone.flac", status="ready")
    told = audit(library, instance)
    assert counts(told) == (5, 3, 0, 2)
    assert "s3:ListBucket" in why(told)[0]


def test_a_store_that_is_down_costs_its_own_tracks_alone(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_store() as own:
        own.make_bucket("veza")
        for name, value in own.environment().items():
            monkeypatch.setenv(name, value)
        for number in range(4):
            own.put("veza", f"{number}.flac")
            library.add(f"s3://veza/{number}.flac", status="ready")
        library.add("s3://veza/gone.flac", status="ready")
        assert counts(audit(library, instance)) == (8, 7, 1, 0)
        own.stop()
        told = audit(library, instance, storage={"look_timeout_seconds": 2})
    assert counts(told) == (8, 3, 0, 5)
    assert "doesn't answer" in why(told)[0] or "answer" in why(told)[0]
    assert told["uploads_untold"]


def test_where_nothing_at_all_is_proven_the_audit_fails(library: Library, instance: dg.DagsterInstance) -> None:
    library.execute("DELETE FROM tracks")
    library.add("s3://no-such-bucket/song.flac", status="ready")
    result = run_job(library, instance, job="audit_track_files")
    assert not result.success
    assert "This storage is not the one that the database describes" in failure(result)


def test_a_library_all_in_buckets_is_audited_without_a_disk(
    store: Store, bucket: str, library: Library, instance: dg.DagsterInstance
) -> None:
    library.execute("DELETE FROM tracks")
    for number in range(3):
        store.put(bucket, f"songs/{number}.flac")
        library.add(f"s3://{bucket}/songs/{number}.flac", status="ready")
    library.add("gs://elsewhere/song.flac", status="ready")
    library.add("", status="ready")
    assert counts(audit(library, instance)) == (4, 3, 0, 1)


@pytest.mark.parametrize("by_folder", [False, True])
def test_rows_are_read_in_the_order_of_their_paths(by_folder: bool, library: Library) -> None:  # noqa: FBT001
    paths = [f"s3://b/{key}" for key in (*ODD, "a")]
    for path in paths:
        library.add(path)
    library.add("s3://b%/x")
    with library.engine.connect() as connection:
        tracks = Tracks(preflight(connection, schema="public", name="tracks"), connection)
        found: list[str] = []
        last = None
        while rows := tracks.below("s3://b/", after=last, size=2, by_folder=by_folder):
            found += [str(row.track.file_path) for row in rows]
            last = rows[-1]
    assert found == sorted(paths, key=lambda path: path.replace("/", "\1") if by_folder else path)
