"""Which executors run config can choose from."""

import runpy
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import dagster as dg
import pytest

from veza_ops.definitions import defs
from veza_ops.executors import chosen_in_run_config, installed

CLEANUP = defs.resolve_job_def("cleanup_orphan_tracks")


def test_dagsters_own_executors_are_always_there_and_others_where_they_are_installed() -> None:
    others = {
        name for name, package in (("celery", "dagster_celery"), ("k8s_job", "dagster_k8s")) if find_spec(package)
    }
    assert set(installed()) == {"in_process", "multiprocess"} | others


def test_one_process_is_the_default() -> None:
    config = dg.validate_run_config(CLEANUP)
    assert set(config["execution"]["chosen_in_run_config"]) == {"in_process"}


@pytest.mark.parametrize("wrong", [{"multiprocess": {"max_concurrent": "many"}}, {"carrier_pigeon": {}}])
def test_the_settings_of_an_executor_are_checked_before_a_run_starts(wrong: dict[str, dict[str, str]]) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(CLEANUP, {"execution": {"config": wrong}})


def test_several_processes_ask_for_an_instance_that_they_can_share() -> None:
    assert chosen_in_run_config.get_requirements({"multiprocess": {}})
    assert not chosen_in_run_config.get_requirements({"in_process": {}})


def test_a_schedule_of_ones_own_gives_its_runs_a_config(instance: dg.DagsterInstance) -> None:
    own = runpy.run_path(str(Path(__file__).parents[1] / "deploy" / "own_definitions.py"))["defs"]
    assert isinstance(own, dg.Definitions)
    schedule = own.resolve_schedule_def("cleanup_orphan_tracks_my_way")
    with dg.build_schedule_context(instance, datetime.now(UTC)) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    config = dg.validate_run_config(own.resolve_job_def(CLEANUP.name), request.run_config)
    assert set(config["execution"]["chosen_in_run_config"]) == {"multiprocess"}
    assert own.resolve_schedule_def("cleanup_orphan_tracks_hourly")
