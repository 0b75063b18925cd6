"""Tracks in buckets are looked for as carefully as on disk: against a real store, and one that answers wrongly."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from obstore.exceptions import BaseError

from demo.store import Store
from veza_ops.storage import keys, objects
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Area, Look, Verdict
from veza_ops.storage.objects import Objects, Prefix
from veza_ops.storage.proof import Known, Sample, Witnesses
from veza_ops.storage.store import NO_OBJECT, refusal, store_of, told
from veza_ops.text import keep_secret
from veza_ops_tests import store_faults as faults
from veza_ops_tests.faulty_store import FaultyStore
from veza_ops_tests.store_faults import Fault, Request

SONG = "tracks/song.flac"
GHOST = "s3://veza/tracks/ghost.flac"
BRIEF = 1.5
"""Seconds that a look may take where nothing answers."""


def look(*addresses: str, again: bool = False, layout: Layout | None = None) -> list[Look]:
    return Files(layout or Layout()).search(addresses, asks_again=again)


def said(address: str, *, again: bool = False, layout: Layout | None = None) -> tuple[str, str]:
    (found,) = look(address, again=again, layout=layout)
    return found.verdict.value, found.reason


def witnesses(areas: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> Witnesses:
    """What the witnesses of areas prove of where the `wanted` are."""
    files = Files(Layout())
    own = {Area(area, covered=False): tuple(Known(each, "ready") for each in areas[area]) for area in areas}
    return files.prove(Sample(20, (), own), files.rows(wanted).areas)


def doubt(areas: Mapping[str, Sequence[str]], ghost: str) -> str:
    """Why a ghost can't be called missing, by the witnesses of areas."""
    (found,) = look(ghost)
    assert found.gone, found
    return witnesses(areas, [ghost]).why_not(found.gone)


# -- verdicts, from a store in good health --------------------------------------------------------------------------


@pytest.mark.usefixtures("aws")
def test_an_object_is_there_whatever_its_size(store: Store, bucket: str) -> None:
    store.put(bucket, SONG)
    store.put(bucket, "empty.flac", b"")
    assert {each.verdict for each in look(f"s3://{bucket}/{SONG}", f"s3://{bucket}/empty.flac")} == {Verdict.PRESENT}


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("ghost", ["tracks/ghost.flac", "ghost.flac", "tracks/new/ghost.flac", "new/ghost.flac"])
def test_a_key_that_nothing_is_like_is_missing(store: Store, bucket: str, ghost: str, *, again: bool) -> None:
    store.put(bucket, SONG)
    assert said(f"s3://{bucket}/{ghost}", again=again)[0] == "missing"


ODD_NAMES = [
    *("with space.mp3", "100%25.mp3", "plus+x.mp3", "hash#x.mp3", "q?x=1.mp3", "star*x.mp3", "tilde~x.mp3"),
    *("back\\x.mp3", "\u00fcn\u00ef.mp3", "u\u0308.mp3", "[b]{c}|^`<>.mp3", "\"quo'te.mp3", "&amp;.mp3", " lead.mp3"),
    *("trail .mp3", "...", "x.", "\u200bzw.mp3", ":c.mp3", "%2F.mp3", "\U0001f600.mp3", "nb\u00a0.mp3", "\ufffd.mp3"),
]


@pytest.mark.usefixtures("aws")
def test_a_key_is_taken_letter_by_letter(store: Store, bucket: str) -> None:
    store.put_many(bucket, ())
    for name in ODD_NAMES:
        store.put(bucket, f"odd/{name}")
    found = look(*(f"s3://{bucket}/odd/{name}" for name in ODD_NAMES))
    assert [name for name, each in zip(ODD_NAMES, found, strict=True) if each.verdict is not Verdict.PRESENT] == []


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("part", ["", ".", ".."])
def test_a_key_with_a_part_that_libraries_take_out_is_asked_of_no_store(part: str) -> None:
    for key in (part, f"{part}/a", f"a/{part}/b", f"a/{part}"):
        assert "can't be asked for as it stands" in keys.why_not_literal(key)
        assert "can't be asked for as it stands" in keys.why_not_literal(key, is_prefix=True)
    assert keys.why_not_literal("a/.b/..c/d.") == ""


@pytest.mark.parametrize(
    "key",
    [
        "a//song.flac",
        "/a/song.flac",
        "/song.flac",
        "a/./song.flac",
        "a/../a/song.flac",
        "a/",
        "a/s\x01ng",
        "",
        "x" * 1025,
    ],
)
def test_a_key_that_would_be_changed_is_unverifiable(store: Store, bucket: str, key: str) -> None:
    store.put(bucket, "a/song.flac")
    assert said(f"s3://{bucket}/{key}")[0] == "unverifiable"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("tracks/my song.flac", "tracks/my%20song.flac"),
        ("tracks/my%20song.flac", "tracks/my song.flac"),
        ("tracks/Song.FLAC", "tracks/song.flac"),
        ("tracks/e\u0301.flac", "tracks/\u00e9.flac"),
        ("tracks/\u00e9.flac", "tracks/e\u0301.flac"),
        ("tracks/song.flac", "tracks/song.flac?versionId=1"),
        ("tracks/song.flac", "tracks/song.flac "),
        ("Tracks/song.flac", "tracks/song.flac"),
        ("tracks/My%20Album/song.flac", "tracks/my album/song.flac"),
        ("song.flac", "song.FLAC"),
        ("a/b.flac", "a%2Fb.flac"),
    ],
)
def test_a_key_that_could_be_it_is_named(store: Store, bucket: str, there: str, wanted: str) -> None:
    store.put(bucket, there)
    verdict, reason = said(f"s3://{bucket}/{wanted}")
    assert verdict == "unverifiable"
    assert "another spelling" in reason
    assert bucket in reason


@pytest.mark.usefixtures("aws")
def test_objects_below_the_key_are_present_as_a_folder_is(store: Store, bucket: str) -> None:
    store.put(bucket, f"{SONG}/segment-1.ts")
    assert said(f"s3://{bucket}/{SONG}")[0] == "present"


@pytest.mark.usefixtures("aws")
def test_an_unfinished_upload_beside_it_is_under_way(store: Store, bucket: str) -> None:
    store.put(bucket, f"{SONG}.part")
    verdict, reason = said(f"s3://{bucket}/{SONG}")
    assert (verdict, "an upload is under way" in reason) == ("unverifiable", True)


@pytest.mark.parametrize(
    ("pieces", "itself", "is_new"),
    [([], None, True), ([9000, 10], None, True), ([9000, 8000], None, False), ([9000], 10, True), ([], 9000, False)],
)
def test_an_unfinished_upload_is_as_old_as_the_newest_of_its_pieces_and_may_be_new_without_any(
    monkeypatch: pytest.MonkeyPatch,
    pieces: list[float],
    itself: float | None,
    is_new: bool,  # noqa: FBT001 - a parameter
) -> None:
    now = time.time()
    page = [{"last_modified": datetime.fromtimestamp(now - age, UTC)} for age in pieces]
    store = Objects()
    monkeypatch.setattr(store, "pages", lambda *_: iter([page] if page else []))
    monkeypatch.setattr(store, "modified", lambda _: None if itself is None else now - itself)
    prefix = Prefix(store, "veza", "tracks/", with_uploads=False)
    assert bool(prefix.under_way(3600, "song.flac.part")) is is_new


@pytest.mark.usefixtures("aws")
def test_an_upload_in_parts_is_seen_right_before_the_mark(store: Store, bucket: str) -> None:
    store.put(bucket, "other.flac")
    store.begin_upload(bucket, SONG)
    verdict, reason = said(f"s3://{bucket}/{SONG}", again=True)
    assert (verdict, "is under way since" in reason) == ("unverifiable", True)


@pytest.mark.usefixtures("aws")
def test_an_upload_of_a_longer_key_is_none_of_this_one(store: Store, bucket: str) -> None:
    store.put(bucket, "other.flac")
    store.begin_upload(bucket, "tracks/1")
    store.begin_upload(bucket, "tracks/100.part")
    assert said(f"s3://{bucket}/tracks/10", again=True)[0] == "missing"
    assert said(f"s3://{bucket}/tracks/100", again=True)[0] == "unverifiable"


@pytest.mark.usefixtures("aws")
def test_where_whole_pages_are_below_one_prefix_the_rest_of_it_is_skipped(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAGE", 3)
    store.put_many(bucket, [*(f"albums/{number:03}" for number in range(50)), "albums-old/1", "zebra/1", "Ghost.flac"])
    asked: list[str] = []
    pages = objects.Objects.pages

    def counted(*args: Any) -> Iterator[Any]:
        for page in pages(*args):
            asked.append(page[0]["path"])
            yield page

    monkeypatch.setattr(objects.Objects, "pages", counted)
    assert "another spelling" in said(f"s3://{bucket}/ghost.flac")[1]
    assert said(f"s3://{bucket}/Zebra/2")[0] == "missing"
    assert len(asked) < 20


@pytest.mark.usefixtures("aws", "late_answers")
def test_a_prefix_that_takes_too_long_to_be_listed_is_asked_for_spellings(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_many(bucket, ["tracks/my song.flac", *(f"tracks/{number}" for number in range(50))])
    monkeypatch.setattr(objects, "PAGE", 1)
    singly: set[str] = set()
    wanted = [f"s3://{bucket}/tracks/{name}" for name in ("my%20song.flac", "ghost.flac")]
    found = Files(Layout()).search(wanted, singly=singly)
    assert [each.verdict.value for each in found] == ["unverifiable", "missing"]
    assert singly == {f"s3://{bucket}/tracks"}


# -- where keys are -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("aws")
def test_plain_keys_are_mapped_to_a_bucket(store: Store, bucket: str) -> None:
    store.put(bucket, f"prefix/{SONG}")
    for layout in (
        Layout(path_map={"tracks": f"s3://{bucket}/prefix/tracks"}),
        Layout(path_map={"": f"s3://{bucket}/prefix/"}),
        Layout(f"s3://{bucket}/prefix"),
    ):
        assert said(SONG, layout=layout)[0] == "present"
        assert said("tracks/ghost.flac", layout=layout)[0] == "missing"
        assert said("tracks//song.flac", layout=layout)[0] == "unverifiable"
        assert said("./tracks/song.flac", layout=layout)[0] == "unverifiable"


@pytest.mark.usefixtures("aws")
def test_absolute_paths_are_mapped_to_a_bucket_and_the_longest_prefix_counts(store: Store, bucket: str) -> None:
    store.put(bucket, SONG)
    layout = Layout(path_map={"/srv/veza": f"s3://{bucket}", "/srv/veza/old": "/nowhere/at/all"})
    assert said(f"/srv/veza/{SONG}", layout=layout)[0] == "present"
    assert said("/srv/veza/tracks/ghost.flac", layout=layout)[0] == "missing"
    assert said(f"/srv/veza/old/{SONG}", layout=layout)[0] != "present"
    assert said(f"/srv/Veza/{SONG}", layout=layout)[0] == "unverifiable"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    "written", ["Tracks/song.flac", "tracks%20/song.flac", ".//tracks/song.flac", "/Srv/song.flac"]
)
def test_a_path_that_is_like_one_that_is_mapped_to_a_bucket_is_not_looked_for_on_disk(
    store: Store, bucket: str, tmp_path: Path, written: str
) -> None:
    store.put(bucket, SONG)
    layout = Layout(str(tmp_path), {"tracks": f"s3://{bucket}/tracks", "/srv": f"s3://{bucket}/srv"})
    assert said(written, layout=layout)[0] == "unverifiable"


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_is_there_is_no_secret_and_is_named(store: Store, bucket: str) -> None:
    store.put(bucket, SONG)
    keep_secret(f"s3://{bucket}/tracks")
    files = Files(Layout(f"s3://{bucket}/tracks"))
    ghost = files.search(["ghost.flac"])[0].reason
    assert bucket not in ghost
    files.prove(Sample(), files.rows(["ghost.flac"]).areas)
    assert bucket in files.search(["ghost.flac"])[0].reason


@pytest.mark.parametrize(
    "address", ["s3:///key", "s3://user:hunter2@host/key", "s3://a/key", "s3://bucket", "S3://b/k"]
)
@pytest.mark.usefixtures("aws")
def test_an_address_that_names_no_object_is_unverifiable(address: str) -> None:
    verdict, reason = said(address)
    assert verdict == "unverifiable"
    assert "names no bucket" in reason or "no object" in reason or "no storage here serves" in reason
    assert "hunter2" not in reason


def test_without_settings_or_libraries_a_row_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "set AWS_REGION or AWS_ENDPOINT_URL" in said("s3://veza/song.flac")[1]
    monkeypatch.setattr(keys, "is_installed", lambda: False)
    assert "install veza-ops[s3]" in said("s3://veza/song.flac")[1]


def test_a_bucket_of_which_nobody_waits_for_an_answer_any_more_is_asked_three_times(faulty: FaultyStore) -> None:
    store = Objects()
    for _ in range(3):
        store.given_up("s3://veza/song.flac")
    look = store.answer("s3://veza/song.flac")
    assert look is not None
    assert "isn't asked any more" in look.reason
    assert not faulty.requests


@pytest.mark.parametrize("there", [{"obstore"}, {"boto3"}])
def test_one_of_the_two_libraries_does_not_do(there: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "find_spec", lambda name: name in there)
    assert not keys.is_installed.__wrapped__()


def test_a_try_ends_after_a_third_of_the_time_for_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obstore.store.S3Store", lambda *_, config, **__: config)
    config: Any = store_of("veza", 6, max_retries=1)
    assert (config["timeout"], config["connect_timeout"]) == ("2000ms", "1000ms")


@pytest.mark.parametrize(
    ("status", "is_answer"),
    [(0, False), (200, True), (404, True), (429, False), (499, True), (500, False), (503, False)],
)
def test_what_a_server_says_of_its_own_trouble_is_no_answer(status: int, is_answer: bool) -> None:  # noqa: FBT001 - a parameter
    error = BaseError(f"status code: {status}: <Code>Odd</Code>" if status else "no route to host")
    assert refusal(error, "s3://veza").is_answer is is_answer


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID"),
        *("AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ],
)
def test_any_variable_that_leads_to_a_store_says_that_there_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not keys.is_set_up()
    monkeypatch.setenv(name, "something")
    assert keys.is_set_up()


def test_a_number_is_no_word_for_what_is_wrong() -> None:
    answer = {"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    assert told(ClientError(answer, "HeadObject")) == (404, "")
    assert told(ClientError({}, "HeadObject")) == (0, "")
    assert told(TimeoutError("no answer")) == (0, "")


# -- proof ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("aws")
def test_a_bucket_is_proven_by_its_own_witnesses_or_not_at_all(store: Store, bucket: str) -> None:
    store.put(bucket, SONG)
    ghost, seen = f"s3://{bucket}/tracks/ghost.flac", f"s3://{bucket}/{SONG}"
    assert doubt({f"s3://{bucket}/tracks": [seen]}, ghost) == ""
    assert "no playable track has its file in" in doubt({}, ghost)
    assert "only 0 of the 1 newest" in doubt({f"s3://{bucket}/tracks": [f"s3://{bucket}/tracks/lost"]}, ghost)


@pytest.mark.usefixtures("aws")
def test_the_bucket_speaks_for_a_prefix_without_playable_tracks_and_for_no_other(store: Store, bucket: str) -> None:
    store.put(bucket, SONG)
    whole = {f"s3://{bucket}": [f"s3://{bucket}/{SONG}"]}
    assert doubt(whole, f"s3://{bucket}/new/ghost.flac") == ""
    lost = {**whole, f"s3://{bucket}/new": [f"s3://{bucket}/new/lost.flac"]}
    assert "only 0 of the 1" in doubt(lost, f"s3://{bucket}/new/ghost.flac")


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_is_not_there_is_refused_though_each_key_in_it_is_not_there_either() -> None:
    ghost = "s3://not-there-at-all/tracks/ghost.flac"
    verdict, reason = said(ghost)
    assert (verdict, "there is no bucket 's3://not-there-at-all'" in reason) == ("unverifiable", True)
    assert "there is no bucket" in str(witnesses({}, [ghost]).proof())


# -- a store that answers wrongly, slowly or never ------------------------------------------------------------------


@pytest.fixture
def faulty(faulty: FaultyStore) -> FaultyStore:
    faulty.buckets["veza"][SONG] = b"music"
    return faulty


def heads(request: Request) -> bool:
    return request.method == "HEAD"


def lists(request: Request) -> bool:
    return request.is_listing


def uploads(request: Request) -> bool:
    return request.lists_uploads


NO_ANSWERS = [
    (faults.error(403, "AccessDenied"), "s3:ListBucket"),
    (faults.error(403, "InvalidAccessKeyId"), "403"),
    (faults.error(400, "AuthorizationHeaderMalformed"), "400"),
    (faults.error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"), "another region"),
    (faults.error(500, "InternalError"), "500"),
    (faults.error(503, "SlowDown"), "503"),
    (faults.error(501, "NotImplemented"), "501"),
    (faults.CLOSED, "doesn't answer"),
    (faults.SILENCE, " answer"),
]


@pytest.mark.parametrize(("fault", "words"), NO_ANSWERS)
@pytest.mark.parametrize("when", [heads, lists, uploads])
def test_what_is_no_answer_is_never_missing(faulty: FaultyStore, when: object, fault: Fault, words: str) -> None:
    faulty.fault(when, fault)  # type: ignore[arg-type]  # one of the three above
    seconds = BRIEF if fault is faults.SILENCE else 30
    (found,) = Files(Layout(), look_timeout_seconds=seconds).search([GHOST], asks_again=True)
    assert found.verdict is Verdict.UNVERIFIABLE
    assert words in found.reason or "grant s3:ListBucketMultipartUploads" in found.reason or when is heads
    assert faulty.endpoint not in found.reason


@pytest.mark.parametrize(
    "fault", [faults.GARBAGE, faults.SILENCE_IN_MID_BODY, faults.CLOSED_IN_MID_BODY, faults.ENDLESS]
)
@pytest.mark.parametrize("when", [lists, uploads])
def test_half_a_listing_says_nothing(faulty: FaultyStore, when: object, fault: Fault) -> None:
    faulty.fault(when, fault)  # type: ignore[arg-type]  # one of the two
    seconds = BRIEF if fault is faults.SILENCE_IN_MID_BODY else 30
    (found,) = Files(Layout(), look_timeout_seconds=seconds).search([GHOST], asks_again=True)
    if fault is not faults.ENDLESS or when is lists:
        assert found.verdict is Verdict.UNVERIFIABLE, found


def test_an_object_of_which_the_store_gives_no_answer_is_no_witness_and_no_regular_file(faulty: FaultyStore) -> None:
    song = f"s3://veza/{SONG}"
    assert Files(Layout()).why_not_regular([song]) == [""]
    assert witnesses({"s3://veza/tracks": [song]}, [GHOST]).seen == 1
    faulty.fault(heads, faults.error(403, "AccessDenied"))
    (why,) = Files(Layout()).why_not_regular([song])
    assert "access is denied" in why
    denied = witnesses({"s3://veza/tracks": [song]}, [GHOST])
    assert (denied.sampled, denied.seen) == (1, 0)


def test_a_page_of_somebody_elses_is_no_object_no_witness_and_no_regular_file(faulty: FaultyStore) -> None:
    song = f"s3://veza/{SONG}"
    faulty.fault(heads, faults.GARBAGE)
    verdict, reason = said(GHOST, again=True)
    assert (verdict, "the answer isn't that of a store" in reason) == ("unverifiable", True)
    (why,) = Files(Layout()).why_not_regular([song])
    assert "check AWS_ENDPOINT_URL" in why
    assert witnesses({"s3://veza/tracks": [song]}, [GHOST]).seen == 0


def test_a_page_of_somebody_elses_to_the_last_question_is_no_object_either(faulty: FaultyStore) -> None:
    store = objects.Objects()
    assert store.answer_again(GHOST) is None
    faulty.fault(heads, faults.GARBAGE)
    found = store.answer_again(GHOST)
    assert found is not None
    assert (found.verdict, found.reason) == (Verdict.UNVERIFIABLE, NO_OBJECT)


def test_a_delete_marker_says_that_the_file_came_and_went(faulty: FaultyStore) -> None:
    faulty.fault(heads, faults.error(404, x_amz_delete_marker="true"))
    verdict, reason = said(GHOST, again=True)
    assert (verdict, "delete marker" in reason) == ("unverifiable", True)


def test_without_the_right_to_list_uploads_the_row_names_it(faulty: FaultyStore) -> None:
    faulty.fault(uploads, faults.error(403, "AccessDenied"))
    assert "grant s3:ListBucketMultipartUploads" in said(GHOST, again=True)[1]


def test_a_listing_in_no_order_is_not_relied_on(faulty: FaultyStore) -> None:
    faulty.buckets["veza"].update({f"tracks/{number}": b"" for number in range(5)})
    faulty.fault(lists, faults.OUT_OF_ORDER)
    assert "is in no order of keys" in said(GHOST)[1]


def test_a_key_that_only_the_listing_has_is_present(faulty: FaultyStore) -> None:
    faulty.fault(lists, faults.with_also("tracks/ghost.flac"))
    assert said(GHOST)[0] == "present"


def test_one_odd_key_makes_a_listing_fail_and_is_said(faulty: FaultyStore) -> None:
    faulty.buckets["veza"]["tracks//odd.flac"] = b""
    verdict, reason = said(GHOST)
    assert (verdict, "holds a key with //" in reason) == ("unverifiable", True)


def test_an_upload_that_is_finished_between_two_questions_is_seen(faulty: FaultyStore) -> None:
    def finish(_: Request) -> None:
        faulty.buckets["veza"]["tracks/ghost.flac"] = b"music"

    faulty.fault(lambda request: uploads(request) and "delimiter" not in request.query, faults.before(finish), times=1)
    assert said(GHOST, again=True)[0] == "present"


def test_a_fault_that_passes_is_tried_again(faulty: FaultyStore) -> None:
    faulty.fault(heads, faults.error(503, "SlowDown"), times=1)
    faulty.fault(lists, faults.error(500, "InternalError"), times=1)
    assert [said(f"s3://veza/{SONG}")[0], said(GHOST)[0]] == ["present", "missing"]


def test_a_store_that_is_silent_is_soon_left_alone(faulty: FaultyStore) -> None:
    faulty.fault(lambda _: True, faults.SILENCE)
    files = Files(Layout(), max_threads=4, look_timeout_seconds=BRIEF)
    found = files.search([f"s3://veza/tracks/{number}.flac" for number in range(2_000)], asks_again=True)
    assert {each.verdict for each in found} == {Verdict.UNVERIFIABLE}
    assert len(faulty.requests) < 100


def test_a_store_that_answers_again_is_asked_again(faulty: FaultyStore) -> None:
    faulty.fault(heads, faults.CLOSED, times=4)
    found = Files(Layout(), max_threads=1).search([f"s3://veza/{SONG}"])
    assert [each.verdict for each in found] == [Verdict.UNVERIFIABLE]
    assert said(f"s3://veza/{SONG}")[0] == "present"
