"""veza-ops as an operator has it: a DAGSTER_HOME, the command line, and `dagster dev`."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from upath import UPath

from demo.veza import Veza
from veza_ops.evidence import UNVERIFIABLE, Evidence, read

JOB = "cleanup_orphan_tracks"
_OP_LOG = re.compile(rf" - (?:INFO|WARNING) - {JOB} - \S+ - (\w+.* - .*)$")


class DemoError(Exception):
    """The demo can't go on, or did not see what it should; the message says why."""


@dataclass(frozen=True)
class Cleanup:
    """A run of the job, as it is on record."""

    counts: dict[str, int]
    reasons: dict[str, str]
    """Why a track was left unverified, by its id."""
    log: list[str]
    """What the steps said."""


def fresh_folder(folder: Path) -> None:
    """Empty the demo's folder, unless another demo is at work there."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until this process ends
    except BlockingIOError:
        raise DemoError(f"Another demo is running in {folder}: stop it first.") from None
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()


class Pipeline:
    """veza-ops at work on one Veza, with all that is Dagster's under `folder`."""

    def __init__(self, folder: Path, veza: Veza) -> None:
        self.folder = folder
        self.home = folder / "dagster_home"
        self.home.mkdir()
        shutil.copy(Path(__file__).parent.parent / "dagster.yaml", self.home)
        self.environment = {
            **os.environ,
            "DAGSTER_HOME": str(self.home),
            "VEZA_DATABASE_URL": veza.url,
            "VEZA_STORAGE_ROOT": str(veza.root),
        }
        # Opened here first, alone: processes that start side by side must not all set up its tables.
        self.instance = dg.DagsterInstance.from_config(str(self.home))

    def cleanup(self) -> Cleanup:
        """Run the job from the command line; its output goes to a file."""
        number = len(list(self.folder.glob("cleanup-*.log"))) + 1
        log = self.folder / f"cleanup-{number}.log"
        with log.open("w") as output:
            done = subprocess.run(
                [sys.executable, "-m", "dagster", "job", "execute", "-m", "veza_ops.definitions", "-j", JOB],
                env=self.environment,
                cwd=self.folder,  # where there is no .env that would point elsewhere
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise DemoError(f"The cleanup failed: read {log}.")
        return self._on_record([found[1] for line in log.read_text().splitlines() if (found := _OP_LOG.search(line))])

    def _on_record(self, log: list[str]) -> Cleanup:
        [record] = self.instance.fetch_observations(dg.AssetKey("tracks"), limit=1).records
        assert record.asset_observation is not None
        metadata: Mapping[str, Any] = record.asset_observation.metadata
        names = ("stale", "present", "missing", "unverifiable", "raced", "marked_failed")
        evidence = Evidence(UPath(self.instance.storage_directory()), record.run_id)
        lists = evidence.files(UNVERIFIABLE) if evidence.of_run.is_dir() else []
        reasons = {row["id"]: row["why"] for path in lists for row in read(str(path))}
        return Cleanup({name: metadata[name].value for name in names}, reasons, log)
