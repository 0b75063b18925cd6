"""Which executors run config can choose from."""

from importlib.util import find_spec

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
    assert chosen_in_run_config().get_requirements({"multiprocess": {}})
    assert not chosen_in_run_config().get_requirements({"in_process": {}})
