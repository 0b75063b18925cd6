"""A Kubernetes API server of a test's own, as far as Dagster speaks to one. It runs each Job as a process here.

It says what a cluster would say of a Job that is not as it should be, of one that nobody may make, and of what isn't
there. Nothing is scheduled, pulled or restarted; who asks is known by nothing, and has the rights of one role.
"""

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from veza_ops_tests.engines.namespace import Manifest, Namespace
from veza_ops_tests.engines.node import Pod

_PATH = re.compile(r"/(?:api|apis/batch)/v1/namespaces/([^/]+)/(jobs|pods|events)(?:/([^/]+))?(?:/(\w+))?")


class Asked(NamedTuple):
    """What somebody asked for, in the words of a Role."""

    verb: str
    resource: str
    name: str = ""


class Refusal(Exception):  # noqa: N818 - it is no fault of the server's
    """An answer that isn't what was asked for."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Job:
    """A Job, and its only Pod."""

    name: str
    manifest: Manifest
    pod: Pod
    is_deleted: bool = False

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.manifest["metadata"].get("labels", {})
        return labels

    @property
    def container(self) -> Manifest:
        container: Manifest = self.manifest["spec"]["template"]["spec"]["containers"][0]
        return container

    def told(self) -> Manifest:
        """The object, as the server gives it."""
        state = {"Running": "active", "Succeeded": "succeeded", "Failed": "failed"}[self.pod.phase]
        status = {"startTime": self.manifest["metadata"]["creationTimestamp"], state: 1}
        return self.manifest | {"status": status}


@dataclass
class _Planned:
    when: Callable[[Asked], bool]
    code: int
    times: int | None
    is_done: bool


@dataclass
class Cluster:
    """The server's state: the Jobs that came, and what it was asked."""

    has: Namespace
    folder: Path
    """Where it keeps its own files, and what its Pods print."""
    jobs: list[Job] = field(default_factory=list)
    """All that were ever made."""
    asked: list[Asked] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """What was asked for that this server has never heard of."""
    port: int = 0

    def __post_init__(self) -> None:
        self._planned: list[_Planned] = []
        self._lock = threading.RLock()
        self._is_closed = False

    @property
    def kubeconfig(self) -> str:
        """The file by which a client finds the server."""
        path = self.folder / "kubeconfig"
        here = {"cluster": "here", "user": "dagster", "namespace": self.has.name}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
                    "users": [{"name": "dagster", "user": {"token": "of-no-use-elsewhere"}}],
                    "contexts": [{"name": "here", "context": here}],
                }
            )
        )
        return str(path)

    def fail(
        self, when: Callable[[Asked], bool], code: int, *, times: int | None = None, is_done: bool = False
    ) -> None:
        """Answer with an error when asked so: always, or the first `times`. `is_done`: what was asked for is done."""
        self._planned.append(_Planned(when, code, times, is_done))

    def of_step(self, step: str) -> Job | None:
        """The newest Job of a step of a run, once it is there."""
        return next((job for job in reversed(self.jobs) if job.labels.get("dagster/op") == label_of(step)), None)

    def close(self) -> None:
        """Leave nothing running, and take nothing more."""
        with self._lock:
            self._is_closed = True
            for job in self.jobs:
                job.pod.kill()

    # -- what is asked for --------------------------------------------------------------------------------------

    def answer(self, method: str, address: str, body: Manifest | None) -> Manifest:
        """The answer to a request. Raises Refusal."""
        url = urlsplit(address)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        known = _PATH.fullmatch(url.path)
        if not known:
            self.unknown.append(f"{method} {address}")
            raise Refusal(404, "the server could not find the requested resource")
        namespace, resource, name, part = known.groups(default="")
        verb = {"GET": "get" if name else "list", "POST": "create", "DELETE": "delete"}[method]
        asked = Asked(verb, f"{resource}/{part}" if part else resource, name)
        self.asked.append(asked)
        if asked[:2] not in self.has.rights:
            raise Refusal(403, f'User "{self.has.service_account}" cannot {verb} resource "{asked.resource}"')
        with self._lock:
            planned = next((each for each in self._planned if each.times != 0 and each.when(asked)), None)
            if planned and planned.times:
                planned.times -= 1
            if planned and not planned.is_done:
                raise Refusal(planned.code, "as the test has it")
            answer = self._do(asked, namespace, query, body or {})
            if planned:
                raise Refusal(planned.code, "as the test has it, and yet it was done")
            return answer

    def _do(self, asked: Asked, namespace: str, query: Mapping[str, str], body: Manifest) -> Manifest:
        if namespace != self.has.name:
            raise Refusal(404, f'namespaces "{namespace}" not found')
        match asked:
            case "create", "jobs", _:
                return self.create(body).told()
            case "get", "jobs" | "jobs/status", name:
                return self._job(name).told()
            case "delete", "jobs", name:
                job = self._job(name)
                job.is_deleted = True
                # As with Jobs in a cluster: without a word on what depends on them, their Pods stay.
                if (body.get("propagationPolicy") or query.get("propagationPolicy", "Orphan")) != "Orphan":
                    job.pod.delete()
                return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
            case "list", "pods", _:
                wanted = dict(each.split("=", 1) for each in query.get("labelSelector", "").split(",") if each)
                pods = [pod for pod in self._pods() if wanted.items() <= pod.labels.items()]
                return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [*map(_told, pods)]}
            case "delete", "pods", name:
                pod = next((pod for pod in self._pods() if pod.name == name), None)
                if pod is None:
                    raise Refusal(404, f'pods "{name}" not found')
                pod.delete()
                return _told(pod)
            case _:
                self.unknown.append(f"{asked.verb} {asked.resource}")
                raise Refusal(404, "the server could not find the requested resource")

    def _job(self, name: str) -> Job:
        for job in self.jobs:
            if job.name == name and not job.is_deleted:
                return job
        raise Refusal(404, f'jobs.batch "{name}" not found')

    def _pods(self) -> list[Pod]:
        """The Pods that are there: one that was deleted is until its process has ended."""
        return [job.pod for job in self.jobs if not (job.pod.is_deleted and job.pod.phase != "Running")]

    # -- Jobs ---------------------------------------------------------------------------------------------------

    def create(self, manifest: Manifest) -> Job:
        """Make a Job, whose process starts. Raises Refusal."""
        with self._lock:
            if self._is_closed:
                raise Refusal(500, "the server is shutting down")
            if faults := [*self.has.faults(manifest)]:
                raise Refusal(422, "; ".join(faults))
            name = manifest["metadata"]["name"]
            if any(job.name == name and not job.is_deleted for job in self.jobs):
                raise Refusal(409, f'jobs.batch "{name}" already exists')
            manifest["metadata"] |= {
                "namespace": self.has.name,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            template = manifest["spec"]["template"]
            labels = template.setdefault("metadata", {}).get("labels") or {}
            template["metadata"]["labels"] = labels | {"job-name": name}
            log = self.folder / f"{len(self.jobs):02}-{name}.log"
            pod = self.has.start(f"{name}-{len(self.jobs):05}", template, log)
            self.jobs.append(Job(name, manifest, pod))
            return self.jobs[-1]


def _told(pod: Pod) -> Manifest:
    """A Pod, as the server gives it."""
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": pod.name, "labels": pod.labels},
        "spec": pod.spec,
        "status": {"phase": pod.phase},
    }


def label_of(step: str) -> str:
    """The key of a step, as a label has it."""
    return re.sub(r"[^a-zA-Z0-9\-_.]", "-", step).strip("-_.")


@contextmanager
def serving(cluster: Cluster) -> Iterator[None]:
    """Its server answers meanwhile; at the end, no process of it is left."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                code, answer = 200, cluster.answer(self.command, self.path, json.loads(body) if body else None)
            except Refusal as refusal:
                status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
                code, answer = refusal.code, status | {"message": str(refusal), "code": refusal.code}
            said = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the server calls them so

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cluster.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        cluster.close()
        server.shutdown()
        server.server_close()
