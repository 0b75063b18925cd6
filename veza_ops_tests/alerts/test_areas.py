"""The trouble with storage is about areas: which of them people know of, and that it ends once each is proven again."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from veza_ops.alerts import sensor
from veza_ops.alerts.channels import Sent, send
from veza_ops.alerts.memory import Memory
from veza_ops.alerts.message import Message
from veza_ops.cleanup.job import JOB
from veza_ops.findings import TRACKS
from veza_ops.runs import CHECKS_JOB, OURS
from veza_ops_tests.alerts.conftest import Watch
from veza_ops_tests.alerts.test_looks import FAILED, finish
from veza_ops_tests.library import Library, run_job
from veza_ops_tests.receiver import Receiver

REFUSED = f"veza-ops: {JOB} refused to trust the storage"
WELL = f"veza-ops: {JOB} is well again"


@pytest.fixture
def prove(library: Library, instance: dg.DagsterInstance) -> Callable[[], None]:
    """Execute the checks of the asset tracks, as on its Checks tab."""

    def prove() -> None:
        run = dg.DagsterRun(CHECKS_JOB, asset_check_selection=frozenset({dg.AssetCheckKey(TRACKS, "storage_proven")}))
        evaluation(instance, run, proven=[f"{library.root}/playable", "*"])
        success(instance, run)

    return prove


def evaluation(
    instance: dg.DagsterInstance, run: dg.DagsterRun, *, passed: bool = True, warns: bool = False, **areas: Any
) -> None:
    """Have a run say of the storage what it found."""
    instance.add_run(run)
    severity = dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR
    data = dg.AssetCheckEvaluation(TRACKS, "storage_proven", passed=passed, metadata=areas, severity=severity)
    event = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, run.job_name, event_specific_data=data, message="asked"
    )
    instance.report_dagster_event(event, run.run_id)


def success(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name, message="done")
    instance.report_dagster_event(event, run.run_id)


def refuse(library: Library, instance: dg.DagsterInstance, job: str = JOB) -> None:
    """Run a job while the disk isn't there."""
    assert not run_job(library, instance, job=job, storage={"root": str(library.root.parent)}).success


def test_whoever_executes_the_checks_as_the_message_says_proves_the_storage_for_the_cleanup(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch, prove: Callable[[], None]
) -> None:
    library.add_ghost()
    refuse(library, instance)
    prove()
    watch.look(channel.url)
    assert channel.titles == [f"veza-ops: {JOB} refused to trust the storage", f"veza-ops: {JOB} is well again"]
    first, last = (message["message"] for message in channel.messages)
    assert "Execute, on the Checks tab of the asset tracks, proves it again." in first
    assert last.startswith("The trouble (storage) is over: the storage was seen to be the one that")


def test_the_checks_prove_nothing_for_an_audit_and_its_message_does_not_say_so(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch, prove: Callable[[], None]
) -> None:
    refuse(library, instance, "audit_track_files")
    prove()
    watch.look(channel.url)
    assert channel.titles == ["veza-ops: audit_track_files refused to trust the storage"]
    assert "The next run of audit_track_files proves it again." in channel.messages[0]["message"]


def test_a_success_after_other_trouble_is_told_once_the_checks_have_proven_the_storage(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch, prove: Callable[[], None]
) -> None:
    library.add_ghost()
    refuse(library, instance)
    finish(instance, ours=True)
    finish(instance, ours=True, fails=False)
    prove()
    finish(instance, ours=True, fails=False)
    watch.look(channel.url)
    assert channel.titles == [
        f"veza-ops: {JOB} refused to trust the storage",
        FAILED,
        f"veza-ops: {JOB} is well again",
    ]


@pytest.mark.parametrize(
    "said",
    [
        {"passed": False, "warns": True},  # no database, or nothing looked at
        {"passed": False, "warns": True, "proven": []},  # taken on trust
        {"seen": 3, "refused_areas": 0},  # as earlier versions wrote it
        {"proven": "*"},
        {"proven": {"*": True}},
        {"proven": ["*", 7]},
        {"proven": ["/srv/a"]},
        {"passed": False, "proven": ["*"]},
    ],
    ids=str,
)
def test_what_proves_nothing_ends_no_trouble_with_the_storage(
    said: dict[str, Any], library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    library.add_ghost()
    refuse(library, instance)
    run = dg.DagsterRun(JOB, tags=OURS)
    evaluation(instance, run, **said)
    success(instance, run)
    finish(instance, ours=True, fails=False)
    watch.look(channel.url)
    assert channel.titles == [f"veza-ops: {JOB} refused to trust the storage"]


@pytest.mark.parametrize("others", [0, 25], ids=["the whole is unproven too", "the whole is proven"])
def test_a_disk_is_well_again_once_it_was_proven_itself_and_not_another_one(
    others: int, library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    for number in range(3):
        library.add(f"away/{number}.flac", status="ready", age=timedelta(days=9) if others else timedelta(minutes=1))
    for number in range(others):
        library.add(f"playable/new{number}.flac", status="ready", content=b"music")
    ghost = library.add_ghost(file_path="away/ghost.flac")
    run_job(library, instance)
    library.execute("DELETE FROM tracks WHERE id = :id", id=ghost)
    library.add_ghost(file_path="playable/ghost.flac")
    assert run_job(library, instance).success
    watch.look(channel.url)
    assert channel.titles == [REFUSED]
    for number in range(3):
        library.write(f"away/{number}.flac")
    library.add_ghost(file_path="away/ghost.flac")
    assert run_job(library, instance).success
    watch.look(channel.url)
    assert channel.titles == [REFUSED, WELL]


def test_a_run_that_was_refused_altogether_says_its_areas_too(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    for number in range(3):
        library.add(f"away/{number}.flac", status="ready", age=timedelta(days=9))
    for number in range(25):
        library.add(f"playable/new{number}.flac", status="ready", content=b"music")
    library.add_ghost(file_path="away/ghost.flac")
    assert not run_job(library, instance).success
    watch.look(channel.url)
    assert Memory.read(str(watch.cursor)).unproven == {JOB: {f"{library.root}/away"}}


def test_where_nothing_at_all_was_seen_no_area_is_named_and_the_whole_has_to_be_proven(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    library.add_ghost()
    refuse(library, instance)
    watch.look(channel.url)
    assert Memory.read(str(watch.cursor)).unproven == {JOB: {"*"}}


def clean_up(instance: dg.DagsterInstance, refused: tuple[str, ...] = (), proven: tuple[str, ...] = ()) -> None:
    """A cleanup that says so of areas."""
    run = dg.DagsterRun(JOB, tags=OURS)
    evaluation(instance, run, passed=not refused, refused=list(refused), proven=list(proven))
    success(instance, run)


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        ([(("/a", "/b"), ()), ((), ("/a", "*")), ((), ("/b", "*"))], [REFUSED, WELL]),
        ([(("/a", "/b"), ()), ((), ("/a", "*")), ((), ("/a", "*"))], [REFUSED]),
        ([(("/a", "/b"), ("/c",)), (("/a",), ("/b",)), ((), ("/a",))], [REFUSED, WELL]),
        ([(("/a", "/b"), ()), (("/b", "/a"), ()), (("/a",), ())], [REFUSED]),
        ([(("/a",), ()), (("/b",), ())], [REFUSED, REFUSED]),
        ([(("/a",), ()), (("/a", "/b"), ()), (("/b",), ())], [REFUSED, REFUSED]),
        ([(("/a",), ()), (("*",), ())], [REFUSED, REFUSED]),
        ([(("*",), ()), (("/a",), ()), (("*",), ())], [REFUSED]),
        ([(("*",), ()), ((), ("/a",)), ((), ("/a", "*"))], [REFUSED, WELL]),
        ([(("*",), ()), (("/a",), ("/b", "*")), ((), ("/a",))], [REFUSED]),
        ([(("*", "/a"), ()), ((), ("/b", "*"))], [REFUSED]),
    ],
    ids=["each in its hour", "one only", "one after the other", "the same and fewer", "another", "one more", "then all",
         "then some of all", "the whole", "not the whole while one is refused", "a disk and the whole"],
)  # fmt: skip
def test_people_are_told_of_other_areas_and_that_all_is_well_once_each_is_proven(
    hours: list[tuple[tuple[str, ...], tuple[str, ...]]],
    told: list[str],
    instance: dg.DagsterInstance,
    channel: Receiver,
    watch: Watch,
) -> None:
    for refused, proven in hours:
        clean_up(instance, refused, proven)
        watch.look(channel.url)
    assert channel.titles == told


def test_a_message_that_nobody_got_is_sent_again_and_no_other_one(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    clean_up(instance, ("/a",))
    watch.look(channel.url)
    channel.status = 500
    clean_up(instance, ("/b",))
    watch.look(channel.url)
    channel.status = 200
    for _ in range(2):
        watch.look(channel.url)
    assert channel.titles == [REFUSED, REFUSED]


def test_who_was_partly_told_is_told_the_rest_alone(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cleanup that finds one disk away proves another one, which the checks had refused."""
    run = dg.DagsterRun(CHECKS_JOB, asset_check_selection=frozenset({dg.AssetCheckKey(TRACKS, "storage_proven")}))
    evaluation(instance, run, passed=False, refused=["/b"])
    success(instance, run)
    clean_up(instance, ("/a",))
    watch.look(channel.url)
    clean_up(instance, ("/c",), ("/b",))

    def only_bad_news(urls: str, news: Message) -> Sent:
        return Sent(0, (), ("channel 1",)) if news.good else send(urls, news)

    with monkeypatch.context() as patched:
        patched.setattr(sensor, "send", only_bad_news)
        watch.look(channel.url)
    watch.look(channel.url)
    checks = "veza-ops: a check of the assets"
    assert channel.titles == [f"{checks} refused to trust the storage", REFUSED, REFUSED, f"{checks} is well again"]
