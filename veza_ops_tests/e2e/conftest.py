"""A Dagster deployment for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from veza_ops_tests.e2e.deployment import Deployment, open_deployment
from veza_ops_tests.e2e.installation import why_no_users
from veza_ops_tests.library import Library


@pytest.fixture(scope="session")
def users_can_be_had() -> None:
    """Processes can be started as other users, or else the test is skipped."""
    if why := why_no_users():
        pytest.skip(why)


@pytest.fixture
def deployment(tmp_path: Path, library: Library) -> Iterator[Deployment]:
    """A Dagster home of the test's own, configured for the test's library."""
    yield from open_deployment(
        tmp_path / "home", {"VEZA_DATABASE_URL": library.url, "VEZA_STORAGE_ROOT": str(library.root)}
    )
