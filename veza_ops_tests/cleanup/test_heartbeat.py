"""The sign of life after a cleanup: when it is sent, when not, and that nobody learns where to."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from veza_ops import heartbeat
from veza_ops.definitions import build_defs
from veza_ops_tests.library import Library, failure, run_config
from veza_ops_tests.receiver import Receiver, receiver

SECRET = "0f7c-s3cr3t"
DRY = {"mark_orphans_failed": {"dry_run": True}}


@pytest.fixture
def service() -> Iterator[Receiver]:
    with receiver() as service:
        yield service


class Cleanups:
    """Cleanups in a code location that has a heartbeat, and all that became known of them."""

    def __init__(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
        self.instance = instance
        monkeypatch.setenv("VEZA_HEARTBEAT_URL", f"http://someone:{SECRET}@{place}/ping/{SECRET}")

    def run(self, library: Library | None, *, succeeds: bool = True, **config: Any) -> list[str]:
        """Run one; what it logged of the heartbeat."""
        job = build_defs().resolve_job_def("cleanup_orphan_tracks")
        result = job.execute_in_process(
            run_config=run_config(library, **config), instance=self.instance, raise_on_error=False
        )
        assert result.success is succeeds, None if result.success else failure(result)
        said = [str(entry) for entry in self.instance.all_logs(result.run_id)]
        run = self.instance.get_run_by_id(result.run_id)
        assert SECRET not in "".join([*said, str(run)])
        messages = [entry.user_message for entry in self.instance.all_logs(result.run_id)]
        return [message for message in messages if "eartbeat" in message]


@pytest.fixture
def cleanups(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, service: Receiver) -> Cleanups:
    return Cleanups(instance, monkeypatch, service.place)


@pytest.fixture(autouse=True)
def no_secret_is_printed(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever the test does, and however much is logged."""
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "urllib3.connectionpool", "requests"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield
    logged = [record.getMessage() for record in caplog.get_records("call")]
    assert SECRET not in "".join([*logged, *capfd.readouterr()])


def test_it_is_sent_after_a_cleanup_that_found_stale_tracks_and_after_one_that_found_none(
    library: Library, service: Receiver, cleanups: Cleanups
) -> None:
    ghost = library.add_ghost()
    assert cleanups.run(library) == ["The heartbeat was taken."]
    assert library.status(ghost) == "failed"
    assert cleanups.run(library) == ["The heartbeat was taken."]
    assert service.asked == [f"/ping/{SECRET}"] * 2


def test_it_is_sent_by_a_new_platform_that_has_no_playable_track_yet(
    library: Library, service: Receiver, cleanups: Cleanups
) -> None:
    library.execute("DELETE FROM tracks")
    assert cleanups.run(library) == ["The heartbeat was taken."]
    assert len(service.asked) == 1


def test_it_is_not_sent_in_an_hour_without_stale_tracks_when_the_storage_is_another_one(
    library: Library, service: Receiver, cleanups: Cleanups
) -> None:
    (why,) = cleanups.run(library, storage={"root": str(library.root.parent)})
    assert why.startswith("No heartbeat: storage not proven: the files of 0 of the 3 newest playable tracks are there")
    assert service.asked == []


def test_it_is_not_sent_when_an_area_was_left_alone_though_the_run_succeeded(
    library: Library, service: Receiver, cleanups: Cleanups
) -> None:
    for number in range(3):
        library.add(f"away/{number}.flac", status="ready")
    (why,) = cleanups.run(library)
    assert why.startswith("No heartbeat: ")
    library.add_ghost(file_path="playable/ghost.flac")
    library.add_ghost(file_path="away/ghost.flac")
    (why,) = cleanups.run(library)
    assert f"{library.root}/away" in why
    assert service.asked == []


def test_it_is_not_sent_when_an_area_without_stale_tracks_is_away(
    library: Library, service: Receiver, cleanups: Cleanups
) -> None:
    for number in range(3):
        library.add(f"away/{number}.flac", status="ready", age=timedelta(days=9))
    for number in range(25):
        library.add(f"playable/new{number}.flac", status="ready", content=b"music")
    ghost = library.add_ghost(file_path="playable/ghost.flac")
    (why,) = cleanups.run(library)
    assert f"in {library.root}/away, " in why
    assert library.status(ghost) == "failed"
    assert service.asked == []


@pytest.mark.parametrize("is_stale", [False, True])
def test_it_is_not_sent_when_the_newest_tracks_are_unseen_though_no_area_was_refused(
    library: Library, service: Receiver, cleanups: Cleanups, *, is_stale: bool
) -> None:
    for number in range(100):
        library.add(f"away{number}/1.flac", status="ready", age=timedelta(minutes=1))
    if is_stale:
        library.add_ghost(file_path="playable/ghost.flac")
    (why,) = cleanups.run(library, storage={"sample_size": 2})
    assert why.startswith("No heartbeat: the files of only 0 of the 2 newest playable tracks can be seen")
    assert service.asked == []


def test_it_is_sent_where_all_playable_tracks_are_in_areas_of_their_own(
    library: Library, service: Receiver, cleanups: Cleanups
) -> None:
    root = str(library.root)
    library.execute("UPDATE tracks SET file_path = :root || '/' || file_path", root=root)
    library.add_ghost(file_path=f"{root}/playable/ghost.flac")
    for _ in range(2):
        assert cleanups.run(library, storage={"root": ""}) == ["The heartbeat was taken."]
    assert len(service.asked) == 2


def test_it_is_not_sent_by_a_run_that_failed(library: Library, service: Receiver, cleanups: Cleanups) -> None:
    library.add_ghost()
    cleanups.run(library, succeeds=False, storage={"root": str(library.root.parent)})
    cleanups.run(library, succeeds=False, database={"tracks_table": "nowhere"})
    assert service.asked == []


def test_it_is_not_sent_by_a_dry_run_whatever_that_found(
    library: Library, service: Receiver, cleanups: Cleanups
) -> None:
    assert cleanups.run(library, ops=DRY) == []
    library.add_ghost()
    assert cleanups.run(library, ops=DRY) == []
    assert service.asked == []


def test_it_is_not_sent_without_a_database(service: Receiver, cleanups: Cleanups) -> None:
    assert cleanups.run(None) == []
    assert service.asked == []


def test_a_proof_that_cannot_be_taken_ends_no_run(
    library: Library, service: Receiver, cleanups: Cleanups, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("veza_ops.cleanup.ops.draw", broken)
    assert cleanups.run(library) == ["No heartbeat, since the storage couldn't be proven: RuntimeError"]
    assert service.asked == []


@pytest.mark.parametrize("status", [404, 500, 204])
def test_what_the_service_answers_ends_no_run(
    status: int, library: Library, service: Receiver, cleanups: Cleanups
) -> None:
    service.status = status
    said = "The heartbeat was taken." if status == 204 else f"The heartbeat wasn't taken: HTTP {status}"
    assert cleanups.run(library) == [said]


def test_a_service_that_is_down_or_that_drips_ends_no_run_and_is_not_waited_for(
    library: Library, service: Receiver, cleanups: Cleanups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS", 2.5)
    service.is_dripping = True
    assert cleanups.run(library) == ["The heartbeat wasn't taken: TimeoutError"]
    for place in ("127.0.0.1:1", f"{SECRET}.invalid", "[broken", f"{SECRET}@"):
        monkeypatch.setenv("VEZA_HEARTBEAT_URL", f"http://{place}/{SECRET}")
        (said,) = cleanups.run(library)
        assert said.startswith("The heartbeat wasn't taken: ")


@pytest.mark.parametrize("url", [f"ftp://{SECRET}/", f"file:///{SECRET}", SECRET, f"json://{SECRET}"])
def test_only_a_web_address_is_asked(url: str) -> None:
    assert heartbeat.beat(url) in ("InvalidSchema", "MissingSchema")


@pytest.mark.parametrize("scheme", ["ftp", "file", "gopher"])
def test_no_redirect_leads_to_another_scheme(scheme: str, service: Receiver) -> None:
    service.status, service.location = 302, f"{scheme}://{service.place}/{SECRET}"
    assert heartbeat.beat(f"http://{service.place}/{SECRET}") == "InvalidSchema"


def test_a_redirect_within_the_web_is_followed(service: Receiver) -> None:
    with receiver() as elsewhere:
        service.status, service.location = 301, f"http://{elsewhere.place}/there"
        assert heartbeat.beat(f"http://{service.place}/{SECRET}") == ""
        assert elsewhere.asked == ["/there"]


def test_an_address_that_nobody_can_overhear_is_not_left_for_one_that_anybody_can(
    service: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests  # noqa: PLC0415 - only watched here

    mounted: list[list[str]] = []

    def get(session: requests.Session, url: str, **_: Any) -> requests.Response:
        mounted.append(list(session.adapters))
        raise requests.ConnectionError(url)

    monkeypatch.setattr(requests.Session, "get", get)
    for scheme in ("https", "HTTPS", "http"):
        assert heartbeat.beat(f"{scheme}://{service.place}/") == "ConnectionError"
    assert mounted == [["https://"], ["https://"], ["https://", "http://"]]
