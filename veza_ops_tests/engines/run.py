"""What a run that several processes share left behind: who did which step, its counts and its evidence."""

import json
from dataclasses import dataclass
from typing import Any, Self

import dagster as dg

from veza_ops_tests.e2e.deployment import Deployment
from veza_ops_tests.storms.scene import Scene, writes

MARK = "mark_orphans_failed"


@dataclass(frozen=True)
class Run:
    """A run of the cleanup."""

    deployment: Deployment
    id: str

    @classmethod
    def newest(cls, deployment: Deployment) -> Self:
        """The one that was begun last."""
        return cls(deployment, deployment.runs()[0].run_id)

    @property
    def status(self) -> dg.DagsterRunStatus:
        """As it is now."""
        run = self.deployment.instance.get_run_by_id(self.id)
        assert run is not None
        return run.status

    def begun(self, step: str = MARK) -> list[tuple[str, int]]:
        """Each time that a step of this name was begun: its key, and the process."""
        return self._steps(step, dg.DagsterEventType.STEP_START)

    def at_work(self, step: str = MARK) -> list[tuple[str, int]]:
        """What was begun and isn't done."""
        done = self._steps(step, dg.DagsterEventType.STEP_SUCCESS)
        return [each for each in self.begun(step) if each not in done]

    def _steps(self, step: str, kind: dg.DagsterEventType) -> list[tuple[str, int]]:
        found = [(event.step_key or "", event.pid or 0) for event in self._events(kind)]
        return [each for each in found if each[0].startswith(step)]

    def _events(self, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
        return [each.get_dagster_event() for each in self.deployment.instance.all_logs(self.id, of_type=kind)]

    @property
    def workers(self) -> set[str]:
        """Celery's names of the workers that took steps of it."""
        metadata = [event.engine_event_data.metadata for event in self._events(dg.DagsterEventType.ENGINE_EVENT)]
        return {str(each["Celery worker"].value) for each in metadata if "Celery worker" in each}

    @property
    def counts(self) -> dict[str, Any]:
        """What it told the asset of all batches."""
        (event,) = self._events(dg.DagsterEventType.ASSET_OBSERVATION)
        metadata = event.asset_observation_data.asset_observation.metadata
        names = ("stale", "present", "missing", "unverifiable", "raced", "refused", "marked_failed")
        return {name: metadata[name].value for name in names}

    @property
    def evidence(self) -> dict[str, list[str]]:
        """The ids in its evidence, by the kind of file."""
        told: dict[str, list[str]] = {}
        for path in sorted((self.deployment.home / "storage" / self.id / "veza_ops").glob("*.jsonl")):
            kind = path.name.split("-")[0]
            told.setdefault(kind, []).extend(json.loads(line)["id"] for line in path.read_text().splitlines())
        return told

    def assert_ghosts_failed_once(self, scene: Scene) -> None:
        """It has failed all ghosts, each by one write, which its evidence names, and nothing else."""
        assert self.status is dg.DagsterRunStatus.SUCCESS, self.deployment.output()[-4000:]
        scene.assert_all_is_well()
        ghosts = sorted(map(str, scene.ghosts))
        assert sorted(writes(scene.library)) == ghosts
        assert self.evidence.keys() == {"marked"}
        assert sorted(set(self.evidence["marked"])) == ghosts

    def assert_counts(self, *, present: int, marked_failed: int) -> None:
        """Its counts are these, and there was nothing else."""
        stale, left = present + marked_failed, dict.fromkeys(("unverifiable", "raced", "refused"), 0)
        done = {"stale": stale, "present": present, "missing": marked_failed, "marked_failed": marked_failed}
        assert self.counts == done | left
