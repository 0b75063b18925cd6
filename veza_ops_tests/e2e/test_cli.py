"""The commands of the README, each as a process of its own, in a fresh clone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from demo.ports import free_port
from veza_ops.steps import NOT_CONFIGURED
from veza_ops_tests.e2e.deployment import JOB, Deployment, clone, wait_for, webserver_answers
from veza_ops_tests.e2e.shell import SECRET, Shell, with_secret
from veza_ops_tests.library import Library

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

EXECUTE = ("dagster", "job", "execute", "-m", "veza_ops.definitions", "-j", JOB)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in a fresh clone, DAGSTER_HOME unset."""
    return Shell(folder := clone(tmp_path / "clone"), {"PYTHONPATH": str(folder)})


@pytest.fixture
def ready(shell: Shell, library: Library) -> Shell:
    """A shell configured for the test's library."""
    shell.use(library.url, library.root)
    return shell


def errors(output: str) -> set[str]:
    """The descriptions of the failures that a run printed."""
    return set(re.findall(r"^dagster\._core\.definitions\.events\.Failure: (.*)$", output, re.MULTILINE))


def test_job_execute_marks_ghosts_failed_and_prints_its_counts(ready: Shell, library: Library) -> None:
    ghost, slow = library.add_ghost(), library.add("slow.flac", content=b"")
    code, output = ready.run(*EXECUTE)
    assert code == 0, output
    assert "stale 2, present 1, missing 1, unverifiable 0, raced 0, refused 0, marked_failed 1" in output
    assert (library.status(ghost), library.status(slow)) == ("failed", "processing")


def test_run_config_from_a_file_overrides_the_environment(ready: Shell, library: Library, tmp_path: Path) -> None:
    ghost = library.add_ghost()
    config = tmp_path / "run.yaml"
    config.write_text(
        json.dumps(
            {
                "ops": {"mark_orphans_failed": {"config": {"dry_run": True}}},
                "resources": {"database": {"config": {"url": {"env": "THE_OTHER"}}}},
            }
        )
    )
    ready.environment |= {
        "VEZA_DATABASE_URL": f"postgresql://nobody:{SECRET}@localhost:1/nowhere",
        "THE_OTHER": with_secret(library.url),
    }
    code, output = ready.run(*EXECUTE, "-c", str(config))
    assert code == 0, output
    assert "dry run: 1 would be marked failed" in output
    assert library.status(ghost) == "processing"


@pytest.mark.parametrize(
    ("variables", "resources"),
    [
        (["VEZA_STORAGE_ROOT"], {}),
        ([], {"storage": {"config": {"root": {"env": "VEZA_DATABASE_URL"}}}}),
        ([], {"evidence": {"config": {"folder": {"env": "VEZA_DATABASE_URL"}}}}),
    ],
    ids=["environment", "run config", "evidence"],
)
def test_a_password_in_the_wrong_setting_is_in_nothing_that_is_printed_or_kept(
    ready: Shell, library: Library, tmp_path: Path, variables: list[str], resources: dict[str, Any]
) -> None:
    ghost, home, config = library.add_ghost(), tmp_path / "home", tmp_path / "run.yaml"
    home.mkdir()
    config.write_text(json.dumps({"resources": resources}))
    url = ready.environment["VEZA_DATABASE_URL"]
    ready.environment |= {"DAGSTER_HOME": str(home)} | dict.fromkeys(variables, url)
    code, output = ready.run(*EXECUTE, "-c", str(config))  # it looks for the password in the output itself
    assert code != 0, output
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {".db", ".err"} <= {path.suffix for path in files}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert library.status(ghost) == "processing"


def test_a_wrong_number_is_one_plain_message_and_keeps_no_cleanup_from_its_work(ready: Shell, library: Library) -> None:
    ghost = library.add_ghost()
    ready.environment |= {"VEZA_ALERT_MAX_MISSING": "1,000", "VEZA_KEEP_RUNS_DAYS": "30d"}
    output = ready.succeed(*EXECUTE)
    for variable in ("VEZA_ALERT_MAX_MISSING", "VEZA_KEEP_RUNS_DAYS"):
        assert output.count(f"{variable} holds no whole number") == 1
    assert "Traceback" not in output
    assert library.status(ghost) == "failed"


def test_dg_launch_does_the_same(ready: Shell, library: Library) -> None:
    ghost = library.add_ghost()
    code, output = ready.run("dg", "launch", "--job", JOB)
    assert code == 0, output
    assert library.status(ghost) == "failed"


def test_without_a_database_it_says_so_and_succeeds(shell: Shell) -> None:
    code, output = shell.run(*EXECUTE)
    assert code == 0, output
    assert NOT_CONFIGURED in output


@pytest.mark.parametrize(
    "arguments",
    [("dagster", "definitions", "validate"), ("dg", "check", "defs")],
    ids=["dagster", "dg"],
)
def test_a_fresh_clone_is_valid(shell: Shell, arguments: tuple[str, ...]) -> None:
    code, output = shell.run(*arguments)
    assert code == 0, output


@pytest.mark.parametrize("home", [True, False], ids=["with a home", "without"])
def test_the_webserver_answers(deployment: Deployment, *, home: bool) -> None:
    port = free_port()
    deployment.move_to_a_clone()
    if not home:
        del deployment.environment["DAGSTER_HOME"]
    deployment.start("dagster-webserver", "--port", str(port))
    wait_for("the webserver", lambda: webserver_answers(port), seconds=120)


# -- what is wrong is named, and nothing is changed ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (f"not an address {SECRET}", "is not an address"),
        (f"postgresql://veza:{SECRET}@127.0.0.1:1/veza", "Check that the server runs"),
    ],
    ids=["no address", "the server is down"],
)
def test_a_wrong_address_is_named(shell: Shell, tmp_path: Path, url: str, named: str) -> None:
    shell.environment |= {"VEZA_DATABASE_URL": url, "VEZA_STORAGE_ROOT": str(tmp_path)}
    code, output = shell.run(*EXECUTE)
    assert code != 0
    (error,) = errors(output)
    assert named in error


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER TABLE tracks RENAME TO songs", "There is no table public.tracks"),
        ("ALTER DATABASE {database} SET default_transaction_read_only = on", "takes no writes"),
    ],
    ids=["no table", "read only"],
)
def test_a_database_that_can_not_be_cleaned_is_named_and_not_changed(
    ready: Shell, library: Library, statement: str, named: str
) -> None:
    library.add_ghost()
    library.execute(statement.format(database=library.database))
    before = dump(library)
    code, output = ready.run(*EXECUTE)
    assert code != 0
    (error,) = errors(output)
    assert named in error
    assert dump(library) == before


def dump(library: Library) -> list[tuple[object, ...]]:
    """All rows, whatever the table is called by now."""
    with library.engine.connect() as connection:
        name = sa.inspect(connection).get_table_names()[0]
        return [tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {name} ORDER BY id"))]
