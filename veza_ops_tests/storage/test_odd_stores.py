"""Whoever listens at the address may be no store, half of one, or one with habits of its own."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from demo.store import Store
from veza_ops.storage.client import client_of
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Verdict
from veza_ops.storage.pages import PAGE
from veza_ops.storage.proof import Sample
from veza_ops.storage.store import StoreError, store_of
from veza_ops_tests import store_faults as faults
from veza_ops_tests.faulty_store import FaultyStore
from veza_ops_tests.store_faults import Answer, Fault, Request

KEY = "tracks/ghost.flac"
GHOST = f"s3://veza/{KEY}"


def said(address: str, *, again: bool = True, layout: Layout | None = None, seconds: float = 30) -> tuple[str, str]:
    (found,) = Files(layout or Layout(), look_timeout_seconds=seconds).search([address], asks_again=again)
    return found.verdict.value, found.reason


@pytest.fixture
def faulty(faulty: FaultyStore) -> FaultyStore:
    faulty.buckets["veza"]["tracks/song.flac"] = b"music"
    return faulty


def lists(request: Request) -> bool:
    return request.is_listing


def uploads(request: Request) -> bool:
    return request.lists_uploads


def of_a_key(request: Request) -> bool:
    """Whether it asks for the uploads of one key, and not of a folder."""
    return request.lists_uploads and "delimiter" not in request.query


def page(body: str, status: int = 200) -> Fault:
    return Fault(Answer(status, {"Content-Type": "text/html"}, body.encode()))


# -- answers to another question ------------------------------------------------------------------------------------

NO_LISTS = [
    page("<html><body>login</body></html>"),
    page(""),
    page("", 204),
    page('<?xml version="1.0"?><ListBucketResult><Name>veza</Name><IsTruncated>false</IsTruncated></ListBucketResult>'),
    page('<?xml version="1.0"?><ListMultipartUploadsResult></ListMultipartUploadsResult>'),
]


@pytest.mark.parametrize("fault", NO_LISTS)
def test_what_is_no_list_of_uploads_says_nothing_of_them(faulty: FaultyStore, fault: Fault) -> None:
    faulty.fault(uploads, fault)
    verdict, reason = said(GHOST)
    assert (verdict, "an upload may be under way" in reason) == ("unverifiable", True)


def truncated(marker: Callable[[Request], str]) -> Fault:
    """A list of uploads that says there is more, behind a marker of its choice."""

    def change(request: Request, answer: Answer) -> Answer:
        more = f"<IsTruncated>true</IsTruncated><NextKeyMarker>{marker(request)}</NextKeyMarker>"
        return replace(answer, body=re.sub(b"<IsTruncated>false</IsTruncated>", more.encode(), answer.body))

    return Fault(change=change)


@pytest.mark.parametrize(
    "marker", [lambda _: "", lambda request: {"a": "b", "b": "a"}.get(request.query.get("key-marker", ""), "a")]
)
def test_a_list_of_uploads_without_an_end_is_given_up(faulty: FaultyStore, marker: Callable[[Request], str]) -> None:
    faulty.fault(uploads, truncated(marker))
    verdict, reason = said(GHOST)
    assert (verdict, "is endless" in reason) == ("unverifiable", True)
    assert len(faulty.requests) < 20


def listing(name: str, more: str = "") -> Fault:
    return page(f'<?xml version="1.0"?><ListBucketResult><Name>{name}</Name>{more}</ListBucketResult>')


NO_LISTINGS = [
    page('<?xml version="1.0"?><Error><Code>InternalError</Code></Error>'),
    page("<html><body>Bad gateway</body></html>"),
    page("<html><body>a line<br></body>"),
    page(""),
    page('<?xml version="1.0"?><ListBucketResult></ListBucketResult>'),
    listing("veza"),
    listing("other", "<IsTruncated>false</IsTruncated>"),
    listing("veza", "<IsTruncated>true</IsTruncated>"),
]
ENDLESS = listing("veza", "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>")


def goes_on(request: Request) -> bool:
    return request.is_listing and not {"continuation-token", "start-after"}.isdisjoint(request.query)


@pytest.mark.parametrize("fault", NO_LISTINGS)
@pytest.mark.parametrize("when", [lists, goes_on])
def test_what_is_no_listing_hides_no_file(faulty: FaultyStore, when: Callable[[Request], bool], fault: Fault) -> None:
    faulty.page_size = 2
    faulty.buckets["veza"].update(dict.fromkeys((f"tracks/{n}.flac" for n in range(9)), b"1"))
    faulty.buckets["veza"]["tracks/zz Song.flac"] = b"music"
    faulty.fault(when, fault)
    assert said("s3://veza/tracks/zz%20Song.flac")[0] == "unverifiable"


@pytest.mark.parametrize("fault", [*NO_LISTINGS, ENDLESS])
def test_what_is_no_listing_has_no_names(faulty: FaultyStore, fault: Fault) -> None:
    faulty.fault(lists, fault)
    with pytest.raises(StoreError):
        list(Files(Layout()).objects.names("veza", "tracks/"))
    assert len(faulty.requests) < 10


@pytest.mark.parametrize("fault", NO_LISTINGS)
def test_what_is_no_listing_proves_no_bucket(faulty: FaultyStore, fault: Fault) -> None:
    faulty.fault(lists, fault)
    files = Files(Layout())
    proof = files.prove(Sample(), files.rows([GHOST]).areas).proof()
    assert "Left alone: in s3://veza/tracks" in str(proof)
    assert not proof.proven


def test_a_store_that_lists_nothing_has_no_bucket(faulty: FaultyStore) -> None:
    faulty.fault(lists, listing("veza", "<IsTruncated>false</IsTruncated>"))
    files = Files(Layout())
    assert "lists no object at all" in str(files.prove(Sample(), files.rows([GHOST]).areas).proof())


def test_a_list_of_names_is_read_page_by_page(faulty: FaultyStore) -> None:
    faulty.page_size = 3
    faulty.buckets["veza"].update(dict.fromkeys((f"tracks/{number}/x.flac" for number in range(9)), b"1"))
    pages = list(Files(Layout()).objects.names("veza", "tracks/"))
    assert pages == [["0", "1", "2"], ["3", "4", "5"], ["6", "7", "8"], ["song.flac"]]


def test_a_listing_that_is_cut_short_goes_on_where_it_ended(faulty: FaultyStore) -> None:
    faulty.page_size = 3
    faulty.buckets["veza"].update({f"tracks/{number}": b"1" for number in range(9)} | {"tracks/zz Ghost": b"1"})

    def cut(_: Request, answer: Answer) -> Answer:
        body = re.sub(b"<NextContinuationToken>.*?</NextContinuationToken>", b"", answer.body)
        return replace(answer, body=body)

    faulty.fault(lists, Fault(change=cut))
    assert "another spelling" in said("s3://veza/tracks/zzghost")[1]
    assert said(GHOST)[0] == "missing"


@pytest.mark.parametrize("last", ["tracks/zz/", "zz/", "tracks/"])
def test_the_mark_of_a_folder_ends_a_listing_as_well(faulty: FaultyStore, last: str) -> None:
    faulty.buckets["veza"][last] = b""
    assert [said(GHOST)[0], said("s3://veza/Tracks/song.flac")[0]] == ["missing", "unverifiable"]


@pytest.mark.usefixtures("aws")
def test_a_folder_that_was_emptied_costs_nothing(store: Store, bucket: str) -> None:
    store.put(bucket, "tracks/song.flac")
    store.put(bucket, "zz/last.flac")
    store.put(bucket, "tracks/zz/")
    store.delete(bucket, "zz/last.flac")
    assert [said(f"s3://{bucket}/{key}")[0] for key in (KEY, "zz/last.flac")] == ["missing", "missing"]


@pytest.mark.parametrize("row", ["zz%20Song.flac", "ZZ Song.flac"])
def test_an_upload_that_ends_between_two_questions_is_seen_by_one_of_them(faulty: FaultyStore, row: str) -> None:
    key = "tracks/zz Song.flac"
    faulty.uploads["veza"] = [(key, datetime.now(UTC))]

    def complete(_: Request) -> None:
        faulty.uploads["veza"] = []
        faulty.buckets["veza"][key] = b"music"

    def is_of_the_folder(request: Request) -> bool:
        return request.lists_uploads and request.query.get("prefix") == "tracks/"

    faulty.fault(is_of_the_folder, faults.before(complete), times=1)
    assert said(f"s3://veza/tracks/{row}")[0] == "unverifiable"


# -- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (503, "SlowDown", "the store is in trouble"),
        (429, "TooManyRequests", "takes no more questions for now"),
        (403, "RequestTimeTooSkewed", "clock is not the store's"),
        (400, "ExpiredToken", "the login has expired"),
    ],
)
@pytest.mark.parametrize("name", ["ghost.flac", "latest/api/ghost.flac", "AccessDenied/ghost.flac"])
def test_what_a_store_says_is_told_by_its_answer_whatever_the_key(
    faulty: FaultyStore, name: str, status: int, code: str, words: str
) -> None:
    faulty.fault(lists, faults.error(status, code))
    verdict, reason = said(f"s3://veza/tracks/{name}")
    assert (verdict, words in reason) == ("unverifiable", True)


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"]
)
def test_a_setting_with_space_around_it_is_named_and_not_shown(
    faulty: FaultyStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, (value := faulty.environment.get(name, "token")) + "\n")
    verdict, reason = said(GHOST)
    assert (verdict, f"{name} begins or ends with a space" in reason) == ("unverifiable", True)
    assert value not in reason
    assert not faulty.requests


def test_a_setting_that_only_one_library_refuses_is_said_to_be_one(
    faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "an AWS_* variable holds what can't be used (ProfileNotFound)" in said(GHOST)[1]
    assert faulty.requests


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(("virtual", "style"), [("false", "path"), ("true", "virtual")])
def test_both_libraries_put_the_bucket_in_the_same_place(
    monkeypatch: pytest.MonkeyPatch, virtual: str, style: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://veza.store.example" if virtual == "true" else "http://store.example")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", virtual)
    client = client_of("veza", store_of("veza", 6, max_retries=0), 1, 6)
    assert (client.meta.config.s3["addressing_style"], client.meta.endpoint_url) == (style, "http://store.example")


# -- uploads under way ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("under_way", "wanted"),
    [
        ("tracks/My Song.flac", "tracks/My%20Song.flac"),
        ("tracks/.late.flac.part", "tracks/late.flac"),
        ("tracks/GHOST.flac", "tracks/ghost.FLAC"),
        ("Tracks/late.flac", "tracks/late.flac"),
        ("tracks/late.flac", "tracks/late.flac"),
    ],
)
def test_an_upload_in_parts_of_a_key_that_could_be_it_is_under_way(
    store: Store, bucket: str, under_way: str, wanted: str
) -> None:
    store.put(bucket, "other.flac")
    store.begin_upload(bucket, under_way)
    verdict, reason = said(f"s3://{bucket}/{wanted}")
    assert (verdict, "is under way since" in reason) == ("unverifiable", True)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("there", [["0001"], ["0001", ""]])
def test_pieces_below_the_name_of_an_unfinished_upload_are_under_way(
    store: Store, bucket: str, there: list[str]
) -> None:
    store.put(bucket, "other.flac")
    for piece in there[:1]:
        store.put(bucket, f"tracks/hls.mp4.part/{piece}")
    verdict, reason = said(f"s3://{bucket}/tracks/hls.mp4")
    assert (verdict, "an upload is under way" in reason) == ("unverifiable", True)


def test_one_key_that_hangs_takes_no_other_with_it(faulty: FaultyStore) -> None:
    faulty.fault(lambda request: of_a_key(request) and request.query["prefix"] == "tracks/7", faults.dripping(0.2))
    wanted = [f"s3://veza/tracks/{number}" for number in range(20)]
    found = Files(Layout(), look_timeout_seconds=20).search(wanted, asks_again=True)
    verdicts = [each.verdict for each in found]
    assert (verdicts.count(Verdict.MISSING), verdicts[7]) == (19, Verdict.UNVERIFIABLE)


def test_what_trickles_is_soon_asked_no_more(faulty: FaultyStore) -> None:
    faulty.fault(of_a_key, faults.dripping(0.2))
    files = Files(Layout(), max_threads=4, look_timeout_seconds=1)
    wanted = [f"s3://veza/tracks/{number}" for number in range(500)]
    assert {each.verdict for each in files.search(wanted, asks_again=True)} == {Verdict.UNVERIFIABLE}
    assert sum(map(of_a_key, faulty.requests)) < 20


def test_a_burst_of_trouble_costs_the_keys_that_it_met(faulty: FaultyStore) -> None:
    there = [f"tracks/{number}" for number in range(300)]
    faulty.buckets["veza"].update(dict.fromkeys(there, b"1"))
    faulty.fault(lambda request: request.method == "HEAD", faults.error(503, "SlowDown"), times=40)
    found = Files(Layout(), max_threads=4).search([f"s3://veza/{key}" for key in there])
    assert sum(each.verdict is Verdict.PRESENT for each in found) > 250


# -- odd keys and paths ---------------------------------------------------------------------------------------------


def test_an_odd_key_elsewhere_costs_nothing_here(faulty: FaultyStore) -> None:
    faulty.buckets["veza"]["other//odd.flac"] = b""
    assert said(GHOST)[0] == "missing"
    assert said("s3://veza/Tracks/song.flac")[0] == "unverifiable"
    assert "holds a key with //" in said("s3://veza/other/ghost.flac")[1]


@pytest.mark.parametrize("root", ["", "s3://veza"])
def test_a_key_with_a_slash_in_front_is_another_spelling_of_the_one_without(faulty: FaultyStore, root: str) -> None:
    """Listings in the form that our library has them show it without, in a folder where it isn't."""
    faulty.buckets["veza"]["/tracks/alone.flac"] = b"music"
    paths = [f"{'' if root else 's3://veza/'}tracks/{name}.flac" for name in ("alone", "ghost")]
    looks = Files(Layout(root)).search(paths, asks_again=True)
    assert [each.verdict.value for each in looks] == ["unverifiable", "missing"], looks
    assert "'s3://veza//tracks/alone.flac'" in looks[0].reason


def test_a_key_with_a_slash_in_front_is_seen_however_few_keys_a_store_lists_at_a_time(faulty: FaultyStore) -> None:
    faulty.buckets["veza"].update({f"/tracks/{name}.flac": b"music" for name in ("1", "2", "alone")})
    faulty.page_size = 1
    found = Files(Layout()).search([f"s3://veza/tracks/{name}.flac" for name in ("alone", "ghost")], asks_again=True)
    assert [each.verdict.value for each in found] == ["unverifiable", "missing"]


@pytest.mark.parametrize("again", [True, False])
def test_a_key_with_a_slash_in_front_costs_no_other_key(faulty: FaultyStore, *, again: bool) -> None:
    faulty.buckets["veza"]["/w.jpg"] = b"picture"
    assert said(GHOST, again=again)[0] == "missing"
    assert said("s3://veza/tracks/Song.flac", again=again)[0] == "unverifiable"


def test_an_unfinished_upload_with_a_slash_in_front_is_under_way(faulty: FaultyStore) -> None:
    faulty.buckets["veza"]["/tracks/9.flac.part"] = b"mus"
    assert "'s3://veza//tracks/9.flac.part' has just been written to" in said("s3://veza/tracks/9.flac")[1]
    assert said("s3://veza/tracks/ghost.flac")[0] == "missing"


def test_many_keys_with_a_slash_in_front_may_be_any(faulty: FaultyStore) -> None:
    faulty.buckets["veza"].update({f"/tracks/{number}.flac": b"music" for number in range(PAGE)})
    assert said(GHOST)[0] == "unverifiable"
    faulty.buckets["veza"].pop("/tracks/0.flac")
    assert said(GHOST)[0] == "missing"


@pytest.mark.parametrize(
    ("key", "is_known"),
    [
        ("/tracks/9.flac", True),
        ("//tracks/9.flac", True),
        ("/other//../tracks/9.flac", False),
        ("tracks//9.flac", True),
        ("tracks/./9.flac", True),
        ("./tracks/9.flac", True),
        ("tracks/../tracks/9.flac", False),
    ],
)
@pytest.mark.parametrize("singly", [set[str](), {"s3://veza"}, {"s3://veza/tracks"}], ids=str)
def test_an_upload_under_way_of_a_key_in_another_form_is_seen(
    faulty: FaultyStore, key: str, singly: set[str], *, is_known: bool
) -> None:
    faulty.uploads["veza"] = [(key, datetime.now(UTC))]
    paths = ["s3://veza/tracks/9.flac", "s3://veza/tracks/ghost.flac"]
    looks = Files(Layout()).search(paths, asks_again=True, singly=singly)
    assert looks[0].verdict is Verdict.UNVERIFIABLE
    assert "under way" in looks[0].reason
    assert looks[1].verdict is (Verdict.MISSING if is_known else Verdict.UNVERIFIABLE)


def test_an_upload_under_way_of_another_spelling_is_seen_where_the_prefix_is_too_much_to_be_listed(
    faulty: FaultyStore,
) -> None:
    faulty.uploads["veza"] = [("tracks/SONG%20a.flac", datetime.now(UTC))]
    (look,) = Files(Layout()).search(["s3://veza/tracks/song a.flac"], asks_again=True, singly={"s3://veza/tracks"})
    assert "is under way since" in look.reason


@pytest.mark.usefixtures("late_answers")
def test_uploads_that_can_not_be_listed_in_time_may_be_any(faulty: FaultyStore) -> None:
    faulty.uploads["veza"] = [(f"{number}.flac", datetime.now(UTC)) for number in range(10)]
    faulty.page_size = 1
    verdict, reason = said(GHOST)
    assert (verdict, "what is about to come there can't be listed in time" in reason) == ("unverifiable", True), reason


@pytest.mark.parametrize("name", ["\u00e9t\u00e9.flac", "a&#10;b.flac", "x" * 1010])
def test_where_spellings_are_asked_for_those_that_can_not_be_are_left_out(faulty: FaultyStore, name: str) -> None:
    assert faulty
    found = Files(Layout()).search([f"s3://veza/tracks/{name}"], singly={"s3://veza/tracks"})
    assert [each.verdict for each in found] == [Verdict.MISSING]


@pytest.mark.parametrize("path", ["arn:aws:s3:::veza/tracks/1.flac", "veza/tracks/1.flac", "Veza/tracks/1.flac"])
def test_a_path_that_may_hold_the_bucket_itself_is_unverifiable(faulty: FaultyStore, path: str) -> None:
    faulty.buckets["veza"]["tracks/1.flac"] = b"music"
    assert said(path, layout=Layout("s3://veza"))[0] == "unverifiable"


def test_many_prefixes_are_listed_as_such(faulty: FaultyStore) -> None:
    faulty.page_size = 1000
    faulty.buckets["veza"].update(
        {f"a/{folder:03}/{number:03}": b"1" for folder in range(100) for number in range(400)}
    )
    assert said("s3://veza/a/050/ghost", again=False)[0] == "missing"
    assert said("s3://veza/A/ghost", again=False)[0] == "missing"
    assert sum(map(lists, faulty.requests)) < 90


# -- settings -------------------------------------------------------------------------------------------------------


def test_a_store_below_a_path_is_asked_there_by_both_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1/storage/v1/s3",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = client_of("veza", store_of("veza", 3, max_retries=0), 1, 3)
    assert (client.meta.endpoint_url, client.meta.region_name) == ("http://127.0.0.1:1/storage/v1/s3", "eu-west-1")


@pytest.mark.parametrize("endpoint", ["localhost", "http://", "  ", "ftp://host"])
def test_an_endpoint_that_is_none_is_said_before_anything_is_asked(
    faulty: FaultyStore, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faulty
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert said(GHOST) == ("unverifiable", "no storage here serves s3:// addresses: AWS_ENDPOINT_URL is no address")


def test_a_login_whose_token_is_not_there_is_no_missing_file(
    faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faulty
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nope/token")
    assert said(GHOST, seconds=5)[0] == "unverifiable"


def test_an_upload_that_began_long_ago_is_still_one(faulty: FaultyStore) -> None:
    faulty.uploads["veza"] = [(KEY, datetime(2020, 2, 2, tzinfo=UTC))]
    assert "since 2020-02-02" in said(GHOST)[1]
