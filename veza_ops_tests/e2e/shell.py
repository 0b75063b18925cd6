"""A person's shell: commands as processes of their own, and a secret that none of them may print."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from veza_ops_tests.e2e.deployment import command

SECRET = "s3cr3t-0f-the-l1brary"


@dataclass
class Shell:
    """A shell in a folder, with nothing configured."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "VEZA", "PYTEST"))}
        # Dagster prints by a process of its own, which it may end before all is printed.
        all_of_it = {"DAGSTER_COMPUTE_LOG_TAIL_WAIT_AFTER_FINISH": "3"}
        self.environment = kept | all_of_it | self.environment

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code of a command, and all that it printed."""
        done = subprocess.run(
            [command(arguments[0]), *arguments[1:]],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert SECRET not in done.stdout
        return done.returncode, done.stdout

    def succeed(self, *arguments: str) -> str:
        """All that a command printed, which succeeded."""
        code, output = self.run(*arguments)
        assert code == 0, output
        return output

    def use(self, url: str, root: Path) -> None:
        """Set the environment that the README speaks of."""
        self.environment |= {"VEZA_DATABASE_URL": with_secret(url), "VEZA_STORAGE_ROOT": str(root)}


def with_secret(url: str) -> str:
    """The same address with a password in it, which the tests' server doesn't ask for."""
    return sa.make_url(url).set(password=SECRET).render_as_string(hide_password=False)
