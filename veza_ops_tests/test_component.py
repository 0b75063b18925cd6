"""The inventory in other people's code locations: what YAML sets there, and what it can't be made to say."""

import inspect
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from dagster.components.resolved.errors import ResolutionException
from pydantic import ValidationError

from veza_ops.component import VezaOps
from veza_ops.definitions import build_defs, defs
from veza_ops.errors import ConfigurationError
from veza_ops.resources import Database
from veza_ops.runs import WRITES_TRACKS
from veza_ops_tests.library import Library, counts
from veza_ops_tests.receiver import receiver

SECRET = "s3cr3t-0f-the-l1brary"
ONE_OF = "The executor is to be one of in_process, multiprocess"
URL = f"postgresql://veza_ops:{SECRET}@db.example/veza"


def load(yaml: str = "{}", **environment: str) -> dg.Definitions:
    """The definitions that a file with these attributes makes, templates filled in from an environment."""
    component: VezaOps = VezaOps.resolve_from_yaml(inspect.cleandoc(yaml), scope={"env": environment})
    return component.build_defs(dg.ComponentTree.for_test().load_context)


def run(
    loaded: dg.Definitions, instance: dg.DagsterInstance, ops: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, int]:
    """The counts of a cleanup, with run config for some fields of its steps."""
    config = {"ops": {name: {"config": dict(fields)} for name, fields in (ops or {}).items()}}
    job = loaded.resolve_job_def("cleanup_orphan_tracks")
    return counts(job.execute_in_process(run_config=config, instance=instance))


@pytest.fixture
def here(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    """The test's library, in variables of somebody's choice."""
    monkeypatch.setenv("THEIR_DATABASE", library.url)
    monkeypatch.setenv("VEZA_STORAGE_ROOT", str(library.root))
    return library


def names(loaded: dg.Definitions) -> list[set[str]]:
    repository = loaded.get_repository_def()
    return [
        {job.name for job in repository.get_all_jobs()},
        {schedule.name for schedule in repository.schedule_defs},
        {sensor.name for sensor in repository.sensor_defs},
        {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()},
        {key.to_user_string() for key in repository.asset_graph.asset_check_keys},
        set(repository.get_top_level_resources()),
    ]


def test_without_attributes_it_is_the_whole_inventory() -> None:
    assert names(load()) == names(defs)
    assert all(names(defs))


def test_each_call_gives_an_inventory_of_its_own() -> None:
    assert build_defs() is not build_defs()
    assert names(build_defs()) == names(defs)


def test_the_clock_and_the_sensor_are_as_set() -> None:
    loaded = load("""
        schedule: {cron: "*/30 * * * *", enabled: false}
        on_load: false
        """)
    schedule = loaded.resolve_schedule_def("cleanup_orphan_tracks_hourly")
    assert schedule.cron_schedule == "*/30 * * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    sensor = loaded.resolve_sensor_def("cleanup_orphan_tracks_on_load")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED


@pytest.mark.parametrize(("yaml", "seconds"), [("{}", 10), ("settle_seconds: 60", 60), ("settle_seconds: 0", 0)])
def test_files_settle_between_the_looks_of_a_run_that_nobody_waits_for(
    yaml: str, seconds: int, instance: dg.DagsterInstance
) -> None:
    loaded = load(yaml)
    database = Database(url="postgresql://nobody@localhost/nowhere")
    with dg.build_sensor_context(instance, None, definitions=loaded, resources={"database": database}) as context:
        answer = loaded.resolve_sensor_def("cleanup_orphan_tracks_on_load").evaluate_tick(context)
    (request,) = answer.run_requests or []
    assert request.run_config == {"ops": {"mark_orphans_failed": {"config": {"settle_seconds": seconds}}}}


def test_a_setting_holds_until_run_config_overrides_it_field_by_field(
    here: Library, instance: dg.DagsterInstance
) -> None:
    here.add_ghost(age=timedelta(minutes=80))
    for _ in range(3):
        here.add_ghost(age=timedelta(minutes=100))
    loaded = load("""
        age_threshold_minutes: 90
        batch_size: 2
        dry_run: true
        database: {url: {env: THEIR_DATABASE}}
        """)
    looked = {"stale": 3, "present": 0, "missing": 3, "unverifiable": 0, "raced": 0, "refused": 0}
    looked |= dict.fromkeys(("marked_failed", "growing", "waiting", "empty"), 0)
    assert run(loaded, instance) == looked
    assert run(loaded, instance, {"find_stale_tracks": {"batch_size": 1}}) == looked
    longer = {"find_stale_tracks": {"age_threshold_minutes": 60}}
    assert run(loaded, instance, longer) == looked | {"stale": 4, "missing": 4}
    assert run(loaded, instance, {"mark_orphans_failed": {"dry_run": False}})["marked_failed"] == 3


@pytest.mark.parametrize(
    ("yaml", "environment", "marked"),
    [("", None, 3), ("", "2", None), ("max_orphans: 0", "2", 3), ("max_orphans: 2", None, None), ("", "3", 3)],
)
def test_the_limit_on_orphans_is_as_set_here_or_else_in_the_environment(
    here: Library,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    yaml: str,
    environment: str | None,
    marked: int | None,
) -> None:
    for _ in range(3):
        here.add_ghost()
    if environment:
        monkeypatch.setenv("VEZA_MAX_ORPHANS", environment)
    job = load(f"database: {{url: {{env: THEIR_DATABASE}}}}\n{yaml}").resolve_job_def("cleanup_orphan_tracks")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert (counts(result)["marked_failed"] if result.success else None) == marked


def test_a_limit_in_the_environment_that_is_none_says_nothing_where_it_is_set_here(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VEZA_MAX_ORPHANS", "many")
    load("max_orphans: 3")
    assert caplog.records == []


def test_the_checks_look_with_the_same_threshold(here: Library) -> None:
    here.add_ghost(age=timedelta(minutes=80))

    def ask(minutes: int) -> dict[str, bool | None]:
        loaded = load(f"{{age_threshold_minutes: {minutes}, database: {{url: {{env: THEIR_DATABASE}}}}}}")
        job = loaded.resolve_implicit_global_asset_job_def()
        keys = [key for key in loaded.resolve_asset_graph().asset_check_keys if key.asset_key.path == ["tracks"]]
        result = job.get_subset(asset_check_selection=set(keys)).execute_in_process()
        return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}

    assert ask(90)["no_orphan_left"]
    assert not ask(60)["no_orphan_left"]


def test_the_executor_is_the_default_of_every_job() -> None:
    loaded = load("executor: {multiprocess: {max_concurrent: 3}}")
    for job in ("cleanup_orphan_tracks", "restore_orphan_tracks", "audit_track_files", "prune_history"):
        config = dg.validate_run_config(loaded.resolve_job_def(job))
        assert config["execution"]["chosen_in_run_config"]["multiprocess"]["max_concurrent"] == 3


def test_the_fields_of_resources_are_values_templates_or_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYS", "7")
    monkeypatch.setenv("VEZA_ALERT_MAX_MISSING", "5")
    loaded = load(
        """
        storage:
          root: "{{ env.UPLOADS }}"
          path_map: {/app: "{{ env.UPLOADS }}/app"}
          sample_size: "{{ env.SAMPLE }}"
        history: {keep_days: {env: DAYS}}
        alerts: {web_url: "https://dagster.example"}
        """,
        UPLOADS="/srv/veza",
        SAMPLE="30",
    )
    seen: dict[str, Any] = {}

    @dg.op(required_resource_keys={"storage", "history", "alerts"})
    def see(context: dg.OpExecutionContext) -> None:
        seen.update(storage=context.resources.storage, history=context.resources.history)
        seen.update(alerts=context.resources.alerts)

    @dg.job(resource_defs=dict(loaded.resources or {}))
    def look() -> None:
        see()

    assert look.execute_in_process().success
    assert seen["storage"].root == "/srv/veza"
    assert seen["storage"].path_map == {"/app": "/srv/veza/app"}
    assert seen["storage"].sample_size == 30
    assert seen["history"].keep_days == 7
    assert (seen["alerts"].web_url, seen["alerts"].max_missing) == ("https://dagster.example", 5)


def test_the_heartbeat_is_a_reference_and_is_not_sent_where_a_dry_run_is_the_default(
    here: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.add("playable/one.flac", status="ready", content=b"music")
    settings = "{dry_run: %s, database: {url: {env: THEIR_DATABASE}}, alerts: {heartbeat_url: {env: THEIR_HEARTBEAT}}}"
    with receiver() as service:
        monkeypatch.setenv("THEIR_HEARTBEAT", f"http://{service.place}/{SECRET}")
        for dry_run, asked in (("true", 0), ("false", 1)):
            loaded = load(settings % dry_run)
            assert SECRET not in repr((loaded.resources or {})["alerts"])
            run(loaded, instance)
            assert len(service.asked) == asked


def test_the_jobs_that_write_say_which_table() -> None:
    def table(name: str) -> str | None:
        yaml = f"database: {{url: {{env: THEIR_DATABASE}}, tracks_table: {name}}}"
        return load(yaml).resolve_job_def("restore_orphan_tracks").tags.get(WRITES_TRACKS)

    assert table("tracks") == table("tracks") != table("songs")


# -- what is wrong is named, and no value is repeated ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("yaml", "named"),
    [
        ("database: {url: '{{ env.WRONG }}'}", "Database.url holds a secret"),
        (f"database: {{url: '{URL}'}}", "Database.url holds a secret"),
        ("alerts: {urls: '{{ env.WRONG }}'}", "Alerts.urls holds a secret"),
        ("alerts: {heartbeat_url: '{{ env.WRONG }}'}", "Alerts.heartbeat_url holds a secret"),
        ("database: '{{ env.WRONG }}'", "set by its fields"),
        ("age_threshold_minutes: 0", "age_threshold_minutes: Input should be greater than or equal to 1"),
        ("age_threshold_minutes: '{{ env.WRONG }}'", "age_threshold_minutes\n  Input should be a valid integer"),
        ("batch_size: 1000000", "batch_size: Input should be less than or equal to 100000"),
        ("on_load: '{{ env.WRONG }}'", "on_load\n  Input should be a valid boolean"),
        ("schedule: {cron: '{{ env.WRONG }}'}", "no cron expression"),
        ("schedule: {enabled: '{{ env.WRONG }}'}", "enabled\n  Input should be a valid boolean"),
        ("executor: {carrier_pigeon: {}}", ONE_OF),
        ("executor: {}", ONE_OF),
        ("executor: {in_process: {}, multiprocess: {}}", ONE_OF),
        (
            "executor: {multiprocess: {max_concurrent: '{{ env.WRONG }}'}}",
            ONE_OF,
        ),
        ("storage: {sample_size: '{{ env.WRONG }}'}", "Storage.sample_size holds an address with a password"),
        ("storage: {sample_size: many}", "sample_size: Input should be a valid integer"),
        ("storage: {path_map: /srv}", "path_map: Input should be a valid dictionary"),
        ("storage: {look_timeout_seconds: {env: WRONG}}", "look_timeout_seconds"),
        ("storage: {root: '{{ env.WRONG }}'}", "Storage.root holds an address with a password"),
        ("storage: {path_map: {/app: '{{ env.WRONG }}'}}", "Storage.path_map holds an address with a password"),
        ("database: {tracks_table: '{{ env.WRONG }}'}", "Database.tracks_table holds an address with a password"),
        ("storage: {root: uploads}", "absolute paths"),
        ("storage: {path_map: {app: /srv}}", "absolute paths"),
        ("storage: {rot: /srv}", "rot"),
        ("tresold: 90", "tresold"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(yaml: str, named: str) -> None:
    with pytest.raises((ConfigurationError, ValidationError, ResolutionException)) as caught:
        load(yaml, WRONG=URL)
    said = str(caught.value)
    assert named in said
    assert SECRET not in said.replace(yaml, "")


@pytest.mark.parametrize("elsewhere", [True, False])
def test_while_the_variable_of_the_address_is_not_set_there_is_nothing_to_do(
    here: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, *, elsewhere: bool
) -> None:
    if elsewhere:  # what YAML doesn't name must not be taken instead
        monkeypatch.setenv("VEZA_DATABASE_URL", here.url)
    ghost = here.add_ghost()
    assert not any(run(load("database: {url: {env: NOT_SET}}"), instance).values())
    assert here.status(ghost) == "processing"


def test_a_component_made_in_python_is_checked_as_well() -> None:
    with pytest.raises(ValidationError):
        VezaOps(batch_size="many")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="History has no keep_day, only keep_days"):
        VezaOps(history={"keep_day": 3}).build_defs(dg.ComponentTree.for_test().load_context)
