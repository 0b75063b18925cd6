"""What comes next in a bucket, page by page, to its proper end."""

from typing import Any

import pytest

from veza_ops.storage.client import client_of
from veza_ops.storage.order import Order
from veza_ops.storage.pages import Pages
from veza_ops.storage.store import StoreError, store_of
from veza_ops_tests.faulty_store import FaultyStore
from veza_ops_tests.store_faults import Answer, Fault


@pytest.fixture
def pages(faulty: FaultyStore) -> Pages:
    """Of a bucket with a folder that has a mark."""
    faulty.buckets["veza"] = dict.fromkeys(("a", "a/", "a/b"), b"")
    client: Any = client_of("veza", store_of("veza", 30, max_retries=0), 1, 30)
    return Pages("veza", client)


def test_an_empty_object_beside_the_mark_of_a_folder_of_its_name_is_in_order_folder_by_folder() -> None:
    order = Order()
    keys = ["a/c", "a-b", "a-b"]
    assert [order.has_next(key, may_be_folder=key != "a/c") for key in keys] == [True] * 3


def test_all_questions_go_to_one_address_however_that_is_given(
    faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two libraries has variables of its own beside those that both know."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ENDPOINT", faulty.endpoint)
    assert client_of("veza", store_of("veza", 3, max_retries=0), 1, 3).meta.endpoint_url == faulty.endpoint


def test_behind_a_page_that_has_nothing_but_the_mark_of_a_folder_the_next_one_is_asked_for(
    pages: Pages, faulty: FaultyStore
) -> None:
    faulty.page_size = 1
    assert [each["path"] for each in pages.following("", "a")] == ["a/b"]


def test_the_same_page_for_ever_is_a_list_that_repeats_itself(pages: Pages, faulty: FaultyStore) -> None:
    faulty.page_size = 1
    first: dict[str, Answer] = {}
    again = Fault(change=lambda _, answer: first.setdefault("the mark of the folder", answer))
    faulty.fault(lambda request: request.is_listing, again)
    with pytest.raises(StoreError, match="repeats itself"):
        pages.following("", "a")
