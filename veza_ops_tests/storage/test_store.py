"""The object store that tests have, and the one that answers wrongly, do what the tests take them to do."""

import obstore
import pytest
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError
from obstore.store import S3Store

from demo.store import IDENTITIES, Store
from veza_ops_tests.conftest import new_store


def opened(bucket: str) -> S3Store:
    """The bucket, as somebody opens it whom the variables name."""
    return S3Store(bucket, client_options={"allow_http": True}, retry_config={"max_retries": 0})


@pytest.mark.usefixtures("aws")
def test_an_object_is_found_and_listed(store: Store, bucket: str) -> None:
    store.put(bucket, "album/song.flac", b"music")
    assert obstore.head(opened(bucket), "album/song.flac")["size"] == 5
    assert store.keys(bucket) == ["album/song.flac"]
    with pytest.raises(FileNotFoundError):
        obstore.head(opened(bucket), "album/other.flac")


@pytest.mark.usefixtures("aws")
def test_an_upload_under_way_is_no_object_until_it_is_complete(store: Store, bucket: str) -> None:
    upload = store.begin_upload(bucket, "song.flac", b"music")
    assert store.keys(bucket) == []
    assert store.client.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["UploadId"] == upload
    store.complete_upload(bucket, "song.flac", upload)
    assert obstore.head(opened(bucket), "song.flac")["size"] == 5


def test_many_objects_are_put(store: Store, bucket: str) -> None:
    keys = [f"{number:05}" for number in range(2_500)]
    store.put_many(bucket, keys)
    assert store.keys(bucket) == keys


def test_it_comes_back_with_its_data_and_its_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    with new_store() as store:
        store.make_bucket("veza")
        store.put("veza", "song.flac", b"music")
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        endpoint = store.endpoint
        store.stop()
        with pytest.raises(BaseError):
            obstore.head(opened("veza"), "song.flac")
        store.start()
        assert store.endpoint == endpoint
        assert obstore.head(opened("veza"), "song.flac")["size"] == 5
        store.put("veza", "other.flac")
        assert store.keys("veza") == ["other.flac", "song.flac"]


@pytest.mark.usefixtures("aws")
def test_who_is_revoked_may_do_nothing_until_they_are_allowed_again(store: Store, bucket: str) -> None:
    store.put(bucket, "song.flac")
    try:
        store.revoke("reader")
        with pytest.raises(PermissionDeniedError):
            obstore.head(opened(bucket), "song.flac")
    finally:
        store.set_identities(IDENTITIES)
    assert obstore.head(opened(bucket), "song.flac")["size"] == 1


def test_who_may_not_list_may_read(store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment("nolist").items():
        monkeypatch.setenv(name, value)
    store.put(bucket, "song.flac")
    assert obstore.head(opened(bucket), "song.flac")["size"] == 1
    with pytest.raises(GenericError, match="AccessDenied"):  # obstore has no error of its own for it in a listing
        obstore.list(opened(bucket)).collect()
