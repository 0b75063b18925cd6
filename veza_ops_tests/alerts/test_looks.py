"""How the sensor goes through the runs of an instance: past those of others, in time, none left out, and never back."""

import json
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterEventLogInvalidForRun
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from veza_ops.alerts import sensor
from veza_ops.alerts.channels import Sent, send
from veza_ops.alerts.memory import Memory
from veza_ops.alerts.message import Kind, Message
from veza_ops.alerts.sensor import alert_on_trouble
from veza_ops.cleanup.job import JOB
from veza_ops.definitions import defs, with_defaults
from veza_ops.findings import TRACKS
from veza_ops.resources import Alerts
from veza_ops.runs import OURS
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
     "[7, {}, 7]", "[7, {}, [8]]", "[7, {}, [], []]", "[7, {}, [[]]]", "[7, {}, null]", '[7, {}, {"a": "b"}]',
     '[7, {}, {"a": [8]}]', "[7, {}, {}, true]", "[7, {}, {}, 7, 8, 9]", '[7, {"a": ["failed"]}]', "[" * 100_000],
    ids=lambda cursor: cursor[:20],
)  # fmt: skip
def test_a_cursor_that_cannot_be_understood_makes_it_a_first_look(
    cursor: str, instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    finish(instance, ours=True)
    watch.cursor = cursor
    assert watch.look(channel.url) == f"{FIRST_LOOK} Told: {FAILED}."
    assert watch.look(channel.url) == f"Nothing new to tell. Known trouble: {JOB}."


@pytest.mark.parametrize(
    ("more", "unproven"),
    [
        ([], {}),
        ([["audit_track_files"]], {"audit_track_files": {"*"}}),
        ([{JOB: ["/srv/b", "/srv/a"]}], {JOB: {"/srv/a", "/srv/b"}}),
    ],
    ids=["two parts", "jobs", "areas"],
)
def test_a_cursor_of_an_earlier_version_is_understood(
    more: list[object],
    unproven: dict[str, frozenset[str]],
    instance: dg.DagsterInstance,
    channel: Receiver,
    watch: Watch,
) -> None:
    upto = finish(instance, ours=True)
    watch.cursor = json.dumps([upto - 1, {JOB: "failed"}, *more])
    assert watch.look(channel.url) == f"Nothing new to tell. Known trouble: {JOB}."
    assert Memory.read(str(watch.cursor)) == Memory(upto, {JOB: Kind.FAILED}, unproven)


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


@pytest.mark.parametrize("question", [1, 2, 3])
def test_a_run_that_ends_between_two_questions_is_told_of_with_the_next_look(
    question: int, instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(instance, ours=True)
    watch.look(channel.url)
    ask, asked = instance.fetch_run_status_changes, []
    finish(instance, ours=False)

    def fetch(*args: Any, **more: Any) -> Any:
        page = ask(*args, **more)
        asked.append(page)
        if len(asked) == question:
            finish(instance, ours=True, fails=False)
            finish(instance, ours=False)
        return page

    monkeypatch.setattr(instance, "fetch_run_status_changes", fetch)
    for _ in range(2):
        watch.look(channel.url)
    assert channel.titles == [FAILED, f"veza-ops: {JOB} is well again"]


def damage(instance: dg.DagsterInstance, run_id: str, monkeypatch: pytest.MonkeyPatch, times: int = 99) -> None:
    """Have the first `times` questions for a run's events fail."""
    read, left = instance.all_logs, [run_id] * times

    def all_logs(of_run: str, **more: Any) -> Any:
        if of_run in left:
            left.remove(of_run)
            raise DagsterEventLogInvalidForRun(of_run)  # type: ignore[no-untyped-call]
        return read(of_run, **more)

    monkeypatch.setattr(instance, "all_logs", all_logs)


def test_a_failed_run_that_cannot_be_read_is_told_of_once_and_holds_nothing_up(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = f"veza-ops: {JOB} is well again"
    for fails in (True, False, True):
        finish(instance, ours=True, fails=fails)
    damage(instance, instance.get_runs()[0].run_id, monkeypatch)
    finish(instance, ours=True, fails=False)
    assert "couldn't be read (DagsterEventLogInvalidForRun); the next look tries again." in watch.look(channel.url)
    assert channel.titles == [FAILED, well]
    for _ in range(2):
        watch.look(channel.url)
    assert channel.titles == [FAILED, well, FAILED, well]
    assert channel.messages[2]["message"].startswith("What happened in it can't be read")


def test_a_run_that_succeeded_and_cannot_be_read_is_passed_over(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(instance, ours=True)
    last = finish(instance, ours=True, fails=False)
    damage(instance, instance.get_runs()[0].run_id, monkeypatch)
    for _ in range(2):
        watch.look(channel.url)
    assert channel.titles == [FAILED]
    assert Memory.read(str(watch.cursor)).upto == last


def test_a_storage_that_is_away_for_a_moment_costs_no_message(
    library: Library, instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_job(library, instance, database={"tracks_table": "nowhere"})
    damage(instance, run.run_id, monkeypatch, times=1)
    for _ in range(2):
        watch.look(channel.url)
    (message,) = channel.messages
    assert message["message"].startswith("There is no table")


def test_what_was_told_before_an_error_stays_told(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor, "PAGE", 1)
    for fails in (True, False):
        finish(instance, ours=True, fails=fails)
    get_runs, asked = instance.get_runs, []

    def break_off(*args: Any, **more: Any) -> Any:
        asked.append(args)
        if len(asked) > 1:
            raise OSError("away")
        return get_runs(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(instance, "get_runs", break_off)
        assert watch.look(channel.url).endswith("since this one ended with OSError.")
        with pytest.raises(OSError, match="away"):
            watch.look(channel.url)
    watch.look(channel.url)
    assert channel.titles == [FAILED, f"veza-ops: {JOB} is well again"]


def test_what_keeps_a_message_from_being_sent_costs_none_that_was(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fails in (True, False):
        finish(instance, ours=True, fails=fails)

    def only_bad_news(urls: str, news: Message) -> Sent:
        if news.good:
            raise RuntimeError("json://someone:topsecret@host")
        return send(urls, news)

    with monkeypatch.context() as patched:
        patched.setattr(sensor, "send", only_bad_news)
        said = watch.look(channel.url)
    assert "Nobody could be told of run" in said
    assert "topsecret" not in said
    watch.look(channel.url)
    assert channel.titles == [FAILED, f"veza-ops: {JOB} is well again"]


def test_a_run_that_somebody_ended_is_not_told_of_when_it_fails_of_that(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    finish(instance, ours=True, fails=False)
    run = dg.DagsterRun(JOB, tags=OURS)
    instance.add_run(run)
    instance.report_run_canceled(run)
    instance.report_run_failed(run)
    watch.look(channel.url)
    assert instance.get_runs()[0].status is dg.DagsterRunStatus.FAILURE
    assert channel.titles == []


def test_a_run_that_failed_before_somebody_ended_it_is_told_of(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    run = dg.DagsterRun(JOB, tags=OURS)
    instance.add_run(run)
    instance.report_run_failed(run)
    instance.report_run_canceled(run)
    instance.report_run_failed(run)
    watch.look(channel.url)
    assert channel.titles == [FAILED]


def test_a_run_that_somebody_ended_ends_no_trouble(
    instance: dg.DagsterInstance, channel: Receiver, watch: Watch
) -> None:
    run = dg.DagsterRun(JOB, tags=OURS)
    finish(instance, ours=True)
    instance.add_run(run)
    instance.report_run_canceled(run)
    instance.report_run_failed(run)
    watch.look(channel.url)
    assert channel.titles == [FAILED]


def test_a_run_that_is_gone_holds_nothing_up(instance: dg.DagsterInstance, channel: Receiver, watch: Watch) -> None:
    finish(instance, ours=True)
    instance.run_storage.delete_run(instance.get_runs()[0].run_id)
    finish(instance, ours=True)
    watch.look(channel.url)
    assert channel.titles == [FAILED]


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
