"""The object store that answers wrongly does so as told, and properly otherwise."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import obstore
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import BaseError, PermissionDeniedError
from obstore.store import S3Store

from veza_ops_tests import store_faults as faults
from veza_ops_tests.faulty_store import FaultyStore, faulty_store
from veza_ops_tests.store_faults import Fault, Request

KEY = "song.flac"


@pytest.fixture
def faulty(faulty: FaultyStore) -> FaultyStore:
    faulty.buckets["veza"][KEY] = b"music"
    return faulty


SOON = 2.0
"""Seconds until a store that is silent is given up."""


def opened(seconds: float = 60) -> S3Store:
    options: Any = {"allow_http": True, "timeout": f"{seconds}s"}
    return S3Store("veza", client_options=options, retry_config={"max_retries": 0})


def client(seconds: float = 60) -> Any:
    return boto3.session.Session().client(
        "s3", config=Config(retries={"total_max_attempts": 1}, read_timeout=seconds, s3={"addressing_style": "path"})
    )


def listed(seconds: float = 60, **how: Any) -> list[str]:
    return [entry["path"] for chunk in obstore.list(opened(seconds), **how) for entry in chunk]


def every(_: Request) -> bool:
    return True


def test_both_clients_write_look_and_remove(faulty: FaultyStore) -> None:
    obstore.put(opened(), "é&<b>.flac", b"one")
    client().put_object(Bucket="veza", Key="by/boto.flac", Body=b"four")
    assert faulty.buckets["veza"] == {KEY: b"music", "é&<b>.flac": b"one", "by/boto.flac": b"four"}
    assert obstore.head(opened(), "by/boto.flac")["size"] == 4
    assert client().get_object(Bucket="veza", Key="é&<b>.flac")["Body"].read() == b"one"
    keys = [entry["Key"] for entry in client().list_objects_v2(Bucket="veza")["Contents"]]
    assert keys == listed() == ["by/boto.flac", KEY, "é&<b>.flac"]
    assert obstore.list_with_delimiter(opened())["common_prefixes"] == ["by"]
    obstore.delete(opened(), KEY)
    with pytest.raises(FileNotFoundError):
        obstore.head(opened(), KEY)
    with pytest.raises(ClientError, match="NoSuchBucket"):
        client().list_objects_v2(Bucket="other")
    assert faulty.requests[-1].bucket == "other"


def test_a_long_listing_comes_in_pages(faulty: FaultyStore) -> None:
    keys = [f"{number:05}" for number in range(2_500)]
    faulty.buckets["veza"] = dict.fromkeys(keys, b"x")
    assert listed() == keys
    assert sum(request.is_listing for request in faulty.requests) == 3
    assert listed(offset="01200") == keys[1201:]
    pages = client().get_paginator("list_objects_v2").paginate(Bucket="veza")
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys


def test_uploads_under_way_come_in_pages(faulty: FaultyStore) -> None:
    begun = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    faulty.uploads["veza"] = [(key, begun) for key in ("b", "a", "é", "a", "c")]
    pages = client().get_paginator("list_multipart_uploads").paginate(Bucket="veza", PaginationConfig={"PageSize": 1})
    uploads = [upload for page in pages for upload in page["Uploads"]]
    assert [upload["Key"] for upload in uploads] == ["a", "a", "b", "c", "é"]
    assert uploads[0]["Initiated"] == begun


@pytest.mark.parametrize(
    ("fault", "meets"),
    [
        (faults.error(403, "AccessDenied"), PermissionDeniedError),
        (faults.error(404, x_amz_delete_marker="true"), FileNotFoundError),
        (faults.error(301, x_amz_bucket_region="eu-west-3"), BaseError),
        (faults.error(500, "InternalError"), BaseError),
        (faults.error(503, "SlowDown"), BaseError),
        (faults.error(501, "NotImplemented"), BaseError),
        (faults.SILENCE, BaseError),
        (faults.SILENCE_IN_MID_BODY, BaseError),
        (faults.CLOSED, BaseError),
        (faults.dripping(0.05), BaseError),
    ],
)
def test_a_fault_arrives_as_often_as_it_is_planned(faulty: FaultyStore, fault: Fault, meets: type[Exception]) -> None:
    faulty.fault(lambda request: request.key == KEY, fault, times=1)
    with pytest.raises(meets):
        obstore.head(opened(SOON), KEY)
    assert obstore.head(opened(), KEY)["size"] == 5


@pytest.mark.parametrize(
    "fault",
    [faults.SILENCE_IN_MID_BODY, faults.CLOSED_IN_MID_BODY, faults.GARBAGE, faults.error(501, "NotImplemented")],
)
def test_a_listing_may_break(faulty: FaultyStore, fault: Fault) -> None:
    faulty.fault(lambda request: request.is_listing or request.lists_uploads, fault)
    with pytest.raises(BaseError):
        listed(SOON)
    with pytest.raises((BotoCoreError, ClientError)):
        client(SOON).list_multipart_uploads(Bucket="veza")
    faulty.heal()
    assert listed() == [KEY]


def test_a_listing_may_be_wrong(faulty: FaultyStore) -> None:
    faulty.buckets["veza"] = dict.fromkeys("abc", b"x")
    faulty.page_size = 1
    for fault, keys in (
        (faults.OUT_OF_ORDER, "cba"),
        (faults.leaving_out("b"), "ac"),
        (faults.with_also("a"), "aabc"),
        (faults.with_also("d"), "abcd"),
    ):
        faulty.fault(lambda request: request.is_listing, fault)
        assert listed() == list(keys)
        faulty.heal()
    with pytest.raises(FileNotFoundError):
        obstore.head(opened(), "d")


def test_a_listing_may_never_end(faulty: FaultyStore) -> None:
    faulty.fault(every, faults.ENDLESS)
    pages = iter(obstore.list(opened(), chunk_size=1))
    assert [next(pages)[0]["path"] for _ in range(5)] == [KEY] * 5


def test_something_may_happen_before_an_answer(faulty: FaultyStore) -> None:
    faulty.fault(every, faults.before(lambda _: faulty.buckets["veza"].clear()), times=1)
    with pytest.raises(FileNotFoundError):
        obstore.head(opened(), KEY)


def test_it_ends_at_once_while_somebody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_store("veza") as faulty:
        for name, value in faulty.environment.items():
            monkeypatch.setenv(name, value)
        faulty.fault(every, faults.SILENCE)
        patient = boto3.session.Session().client(
            "s3", config=Config(retries={"total_max_attempts": 1}, read_timeout=600)
        )
        met: list[Exception] = []

        def wait() -> None:
            try:
                patient.head_bucket(Bucket="veza")
            except BotoCoreError as error:
                met.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not faulty.requests:
            time.sleep(0.01)
    waiting.join(60)
    assert met
