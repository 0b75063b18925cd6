"""What the environment says holds until run config says otherwise, field by field."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops.definitions import build_defs
from veza_ops.resources import Database, History, Storage
from veza_ops.runs import WRITES_TRACKS
from veza_ops.text import shown
from veza_ops_tests.library import Library, failure, run_config


@dg.op
def see(database: Database, storage: Storage, history: History) -> list[Any]:
    return [database.url, database.tracks_table, storage.root, storage.sample_size, history.keep_days, history.max_runs]


def seen(**resources: dict[str, Any]) -> list[Any]:
    @dg.job(resource_defs=dict(build_defs().resources or {}))
    def look() -> None:
        see()

    config = {"resources": {name: {"config": values} for name, values in resources.items()}}
    output = look.execute_in_process(run_config=config).output_for_node("see")
    assert isinstance(output, list)
    return output


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEZA_DATABASE_URL", "postgresql://here/veza")
    monkeypatch.setenv("VEZA_STORAGE_ROOT", "/srv/veza")
    monkeypatch.setenv("VEZA_KEEP_RUNS_DAYS", "365")


def test_without_an_environment_the_defaults_hold() -> None:
    assert seen() == ["", "tracks", "", 20, 30, 1000]


@pytest.mark.usefixtures("environment")
def test_the_environment_holds_for_what_run_config_leaves_out() -> None:
    assert seen() == ["postgresql://here/veza", "tracks", "/srv/veza", 20, 365, 1000]
    assert seen(
        database={"tracks_table": "songs"}, storage={"sample_size": 0}, history={"max_runs": 5}
    ) == ["postgresql://here/veza", "songs", "/srv/veza", 0, 365, 5]  # fmt: skip


@pytest.mark.usefixtures("environment")
def test_run_config_overrides_the_environment() -> None:
    overridden = seen(database={"url": "postgresql://there/veza"}, storage={"root": "/mnt"}, history={"keep_days": 7})
    assert overridden == ["postgresql://there/veza", "tracks", "/mnt", 20, 7, 1000]


def test_the_login_of_an_object_store_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "AWS_SECRET_ACCESS_KEY": "hunter2/hunter2",
        "AWS_SESSION_TOKEN": "t0ken",
    }
    values["AWS_ENDPOINT_URL"] = "https://inner.example.org:9000"
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    build_defs()
    assert [value for value in values.values() if value in shown(f"said {value}.")] == []


@pytest.mark.usefixtures("environment")
def test_a_value_of_the_environment_shows_in_no_config() -> None:
    resource = (build_defs().resources or {})["database"]
    assert "postgresql://here" not in repr(resource.model_dump()) + repr(resource)
    assert resource.__doc__ == Database.__doc__


# -- numbers --------------------------------------------------------------------------------------------------------

NO_DAYS = (
    "VEZA_KEEP_RUNS_DAYS holds no whole number from 0 on, up to 36500, such as 30. "
    "History.keep_days takes nothing else."
)


@pytest.mark.parametrize("value", ["30d", "1,000", "-1", "1e3", "9999999", "half", "3 0", " "])
def test_a_variable_that_holds_no_number_is_one_plain_message_at_load(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VEZA_KEEP_RUNS_DAYS", value)
    build_defs()
    assert [record.getMessage() for record in caplog.records] == [NO_DAYS]


@pytest.mark.usefixtures("environment")
def test_a_wrong_number_takes_down_what_needs_it_and_nothing_else(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = library.add_ghost()
    monkeypatch.setenv("VEZA_KEEP_RUNS_DAYS", "30d")
    monkeypatch.setenv("VEZA_ALERT_MAX_MISSING", "1,000")
    wrong = build_defs()
    config = run_config(library)
    pruned = wrong.resolve_job_def("prune_history").execute_in_process(
        run_config=config, instance=instance, raise_on_error=False
    )
    assert failure(pruned) == NO_DAYS
    assert (
        wrong.resolve_job_def("cleanup_orphan_tracks").execute_in_process(run_config=config, instance=instance).success
    )
    assert library.status(ghost) == "failed"


def test_a_number_with_spaces_around_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEZA_KEEP_RUNS_DAYS", " 7 ")
    assert seen()[4] == 7


def test_the_jobs_that_write_say_which_table_so_that_the_queue_lets_one_at_a_time_of_each_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tables(url: str) -> dict[str, str | None]:
        monkeypatch.setenv("VEZA_DATABASE_URL", url)
        jobs = build_defs().jobs or []
        return {job.name: job.tags.get(WRITES_TRACKS) for job in jobs if isinstance(job, dg.JobDefinition)}

    eu, us = tables("postgresql://veza:secret@eu.example/veza"), tables("postgresql://veza:secret@us.example/veza")
    assert eu["cleanup_orphan_tracks"] == eu["restore_orphan_tracks"] != us["cleanup_orphan_tracks"]
    assert eu["audit_track_files"] is eu["prune_history"] is None
    assert tables("postgresql://veza:another@eu.example/veza") == eu


@pytest.mark.parametrize("settings", ["dagster.yaml", "deploy/dagster.yaml"])
def test_the_queue_counts_the_runs_of_each_table_by_themselves(settings: str) -> None:
    read = dg.config_from_files([str(Path(__file__).parent.parent / settings)])
    assert read["concurrency"]["runs"]["tag_concurrency_limits"] == [
        {"key": WRITES_TRACKS, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
    ]
