"""How the sensor goes through the runs of an instance: past those of others, in time, and never back."""

import json
import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from veza_ops.alerts import sensor
from veza_ops.alerts.memory import Memory
from veza_ops.alerts.message import Kind
from veza_ops.alerts.sensor import alert_on_trouble
from veza_ops.cleanup.job import JOB
from veza_ops.definitions import defs, with_defaults
from veza_ops.findings import TRACKS
from veza_ops.resources import Alerts
from veza_ops.runs import CHECKS_JOB, OURS
from veza_ops_tests.alerts.conftest import Watch
from veza_ops_tests.library import Library, run_job
from veza_ops_tests.receiver import Receiver

FIRST_LOOK = "The cursor couldn't be understood, so this is a first look, at the runs of the last hour."
FAILED = f"veza-ops: {JOB} failed"


def finish(instance: dg.DagsterInstance, *, ours: bool, location: str | None = None, fails: bool = True) -> int:
    """Have a run end; the number of the event that says so."""
    origin = None
    if location:
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__"), JOB)
    run = dg.DagsterRun(JOB if ours else "of_others", tags=OURS if ours else {}, remote_job_origin=origin)
    instance.add_run(run)
    if fails:
        instance.report_run_failed(run)
    else:
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name, message="done")
        instance.report_dagster_event(event, run.run_id)
    kind = dg.DagsterEventType.RUN_FAILURE if fails else dg.DagsterEventType.RUN_SUCCESS
    return instance.fetch_run_status_changes(kind, limit=1).records[0].storage_id


def test_it_moves_past_any_number_of_runs_of_others(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor, "PAGE", 4)
    finish(instance, ours=True, fails=False)
    watch.look(channel.url)
    for number in range(11):
        last = finish(instance, ours=False, fails=number % 3 == 0)
    assert watch.look(channel.url) == "Nothing new to tell. Known trouble: none."
    assert Memory.read(str(watch.cursor)).upto == last
    finish(instance, ours=True)
    watch.look(channel.url)
    assert channel.titles == [FAILED]


def test_it_tells_of_runs_on_every_page_in_one_look_and_in_their_order(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor, "PAGE", 2)
    for fails in (True, True, True, False, True, False, True):
        finish(instance, ours=True, fails=fails)
    watch.look(channel.url)
    well = f"veza-ops: {JOB} is well again"
    assert channel.titles == [FAILED, well, FAILED, well, FAILED]


def test_it_stops_after_the_message_that_took_up_its_time_and_tells_the_rest_with_the_next_look(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor, "LOOK_SECONDS", 0)
    finish(instance, ours=True)
    finish(instance, ours=True, fails=False)
    assert watch.look(channel.url) == f"Told: {FAILED}. The rest comes with the next look."
    assert channel.titles == [FAILED]
    watch.look(channel.url)
    assert channel.titles == [FAILED, f"veza-ops: {JOB} is well again"]


def test_a_look_is_over_well_before_dagster_gives_up_the_tick() -> None:
    from dagster._grpc.client import DEFAULT_SENSOR_GRPC_TIMEOUT  # noqa: PLC0415 - Dagster's own number

    from veza_ops.alerts.channels import SECONDS  # noqa: PLC0415 - beside it

    assert sensor.LOOK_SECONDS + SECONDS <= DEFAULT_SENSOR_GRPC_TIMEOUT / 2


@pytest.mark.parametrize(
    "cursor",
    ["nonsense", "{}", "[]", "7", "null", '["7", {}]', "[-1, {}]", "[true, {}]", "[7, []]", '[7, {"a": "b"}]',
     "[7, {}, 7]", "[7, {}, [8]]", "[7, {}, [], []]", '[7, {"a": ["failed"]}]', "[" * 100_000],
    ids=lambda cursor: cursor[:20],
)  # fmt: skip
def test_a_cursor_that_cannot_be_understood_makes_it_a_first_look(
    cursor: str, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    finish(instance, ours=True)
    watch.cursor = cursor
    assert watch.look(channel.url) == f"{FIRST_LOOK} Told: {FAILED}."
    assert watch.look(channel.url) == f"Nothing new to tell. Known trouble: {JOB}."


@pytest.mark.parametrize("more", [[], [["audit_track_files"]]], ids=["two parts", "three parts"])
def test_a_cursor_of_an_earlier_version_is_understood(
    more: list[list[str]], instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    upto = finish(instance, ours=True)
    watch.cursor = json.dumps([upto - 1, {JOB: "failed"}, *more])
    assert watch.look(channel.url) == f"Nothing new to tell. Known trouble: {JOB}."
    unproven: frozenset[str] = frozenset(*more)
    assert Memory.read(str(watch.cursor)) == Memory(upto, {JOB: Kind.FAILED}, unproven)


@pytest.fixture
def prove(library: Library, instance: dg.DagsterInstance) -> Callable[[], None]:
    """Execute the checks of the asset tracks, as on its Checks tab."""

    def prove() -> None:
        run = dg.DagsterRun(CHECKS_JOB, asset_check_selection=frozenset({dg.AssetCheckKey(TRACKS, "storage_proven")}))
        evaluation(instance, run, seen=library.playable, refused_areas=0)
        success(instance, run)

    return prove


def evaluation(
    instance: dg.DagsterInstance, run: dg.DagsterRun, *, passed: bool = True, warns: bool = False, **numbers: Any
) -> None:
    """Have a run say of the storage what it found."""
    instance.add_run(run)
    severity = dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR
    data = dg.AssetCheckEvaluation(TRACKS, "storage_proven", passed=passed, metadata=numbers, severity=severity)
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
        {"passed": False, "warns": True, "seen": 0, "refused_areas": 0},  # taken on trust
        {"seen": 3},
        {"seen": "3", "refused_areas": 0},
        {"seen": True, "refused_areas": 0},
        {"seen": 3, "refused_areas": 1},
    ],
    ids=str,
)
def test_what_proves_nothing_ends_no_trouble_with_the_storage(
    said: dict[str, bool], library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    library.add_ghost()
    refuse(library, instance)
    run = dg.DagsterRun(JOB, tags=OURS)
    evaluation(instance, run, **said)
    success(instance, run)
    watch.look(channel.url)
    assert channel.titles == [f"veza-ops: {JOB} refused to trust the storage"]


def test_a_count_of_missing_files_that_is_none_is_passed_over(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    @dg.op
    def tell(context: dg.OpExecutionContext) -> None:
        for missing in ("many", 1e9, True, -1, None, [10**9]):
            context.log_event(dg.AssetObservation(TRACKS, metadata={"missing": missing}))
        context.log_event(dg.AssetObservation("of_others", metadata={"missing": 10**9}))

    dg.GraphDefinition("tells", node_defs=[tell]).to_job(tags=OURS).execute_in_process(instance=instance)
    assert watch.look(channel.url, max_missing=0) == "Nothing new to tell. Known trouble: none."


def test_a_wrong_number_is_said_with_every_look_and_keeps_nobody_from_being_told(
    instance: dg.DagsterInstance, channel: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEZA_ALERT_MAX_MISSING", "1,000")
    finish(instance, ours=True)
    context = dg.build_sensor_context(instance, definitions=defs)
    set_wrong = with_defaults(Alerts, {"max_missing": dg.EnvVar("VEZA_ALERT_MAX_MISSING")})
    result = alert_on_trouble(context, alerts=set_wrong(urls=channel.url))
    assert isinstance(result, dg.SensorResult)
    assert isinstance(result.skip_reason, dg.SkipReason)
    said = str(result.skip_reason.skip_message)
    assert said.startswith(f"Told: {FAILED}. VEZA_ALERT_MAX_MISSING holds no whole number")
    assert channel.titles == [FAILED]


def test_a_run_that_is_gone_holds_nothing_up(instance: dg.DagsterInstance, channel: Receiver, watch: Watch) -> None:
    began = time.monotonic()
    finish(instance, ours=True)
    instance.run_storage.delete_run(instance.get_runs()[0].run_id)
    finish(instance, ours=True)
    watch.look(channel.url)
    assert channel.titles == [FAILED]
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(("location", "told"), [(None, True), ("elsewhere", False)])
def test_a_neighbours_run_is_not_spoken_of(
    location: str | None,
    instance: dg.DagsterInstance,
    channel: Receiver,
    watch: Watch,
    *,
    told: bool,
) -> None:
    finish(instance, ours=True, location=location)
    watch.look(channel.url)
    assert bool(channel.titles) is told
