"""veza-ops in somebody else's Dagster project, from an empty folder to a cleanup, by the README's commands."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from veza_ops_tests.e2e.deployment import JOB, Deployment
from veza_ops_tests.e2e.shell import Shell, with_secret
from veza_ops_tests.library import Library

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

KEY = "veza_ops.component.VezaOps"
SETTINGS = """
type: veza_ops.component.VezaOps

attributes:
  schedule: {cron: "*/30 * * * *"}
  age_threshold_minutes: 90
  executor: {multiprocess: {max_concurrent: 2, start_method: {forkserver: {}}}}
  database:
    url: {env: THEIR_DATABASE}
  storage:
    root: "{{ env.THEIR_UPLOADS }}"
"""
THEIR_JOB = """
import dagster as dg


@dg.op
def nothing() -> None: ...


@dg.job
def of_their_own() -> None:
    nothing()
"""


@pytest.fixture
def project(tmp_path: Path, library: Library) -> Shell:
    """A project of somebody's, made by Dagster's own commands in an empty folder, that has taken veza-ops in."""
    folder = tmp_path / "empty"
    folder.mkdir()
    quiet = {"DAGSTER_DG_UPDATE_CHECK_ENABLED": "0", "DAGSTER_DISABLE_TELEMETRY": "1"}
    shell = Shell(folder, quiet | {"PYTHONPATH": str(folder / "platform_of_theirs" / "src")})
    shell.succeed("create-dagster", "project", "platform_of_theirs", "--no-uv-sync")
    shell.folder = folder / "platform_of_theirs"
    shell.succeed("dg", "scaffold", "defs", KEY, "veza")
    defs = shell.folder / "src" / "platform_of_theirs" / "defs"
    (defs / "their_job.py").write_text(THEIR_JOB)
    (defs / "veza" / "defs.yaml").write_text(SETTINGS)
    shell.environment |= {"THEIR_DATABASE": with_secret(library.url), "THEIR_UPLOADS": str(library.root)}
    return shell


def test_a_project_scaffolds_veza_ops_checks_it_lists_it_and_cleans_up_as_set_there(
    project: Shell, library: Library
) -> None:
    assert "validated successfully" in project.succeed("dg", "check", "yaml")
    assert "loaded successfully" in project.succeed("dg", "check", "defs")
    components = json.loads(project.succeed("dg", "list", "components", "--json"))
    assert KEY in [component["key"] for component in components["items"]]
    listed = json.loads(project.succeed("dg", "list", "defs", "--json"))
    assert {job["name"] for job in listed["jobs"]} >= {JOB, "restore_orphan_tracks", "of_their_own"}
    crons = {schedule["name"]: schedule["cron_schedule"] for schedule in listed["schedules"]}
    assert crons["cleanup_orphan_tracks_hourly"] == "*/30 * * * *"

    ghost, younger = library.add_ghost(age=timedelta(hours=2)), library.add_ghost(age=timedelta(minutes=80))
    output = project.succeed("dg", "launch", "--job", JOB)
    assert "stale 1, present 0, missing 1" in output
    assert library.row(ghost)["status_message"] == "orphan cleanup: file missing on disk after >90m in processing"
    assert library.status(younger) == "processing"


def test_a_scaffold_that_nobody_filled_in_takes_the_environment(project: Shell, library: Library) -> None:
    (project.folder / "src" / "platform_of_theirs" / "defs" / "veza" / "defs.yaml").write_text(
        f"type: {KEY}\n\nattributes: {{}}\n"
    )
    project.use(library.url, library.root)
    ghost = library.add_ghost()
    project.succeed("dg", "launch", "--job", JOB)
    assert library.status(ghost) == "failed"


def test_in_their_location_a_load_has_its_cleanup_too(project: Shell, deployment: Deployment, library: Library) -> None:
    ghost = library.add_ghost()
    deployment.folder = project.folder
    deployment.environment |= project.environment | {"DAGSTER_HOME": str(deployment.home)}
    workspace = deployment.home / "workspace.yaml"
    module = {"module_name": "platform_of_theirs.definitions", "location_name": "theirs"}
    workspace.write_text(json.dumps({"load_from": [{"python_module": module}]}))
    deployment.start("dagster-daemon", "run", "--workspace", str(workspace))
    deployment.wait_for_runs(1, deployment.on_load_runs)
    assert library.status(ghost) == "failed"
