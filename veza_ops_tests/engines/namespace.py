"""A namespace as an administrator has set it up, and what a cluster would never bring to run there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veza_ops_tests.engines.node import Image, Mount, Pod

Manifest = dict[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True)
class Namespace:
    """What there is. A Job has one container, variables of secrets, and volumes by claims; nothing else is known."""

    name: str
    image: Image
    disk: Path
    """An empty folder, below which each container has a disk of its own."""
    service_account: str
    rights: frozenset[tuple[str, str]]
    """The verbs and resources that the role of the account allows."""
    secrets: Mapping[str, Mapping[str, str]]
    claims: Mapping[str, Path]
    """The persistent volumes: for the name of each claim, the folder that it is."""

    def faults(self, job: Manifest) -> Iterator[str]:
        """What the API server would refuse, or the kubelet would wait for in vain."""
        if (job.get("apiVersion"), job.get("kind")) != ("batch/v1", "Job"):
            yield "it is no Job of batch/v1"
            return
        spec = job["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        yield from _ill_named(job, container)
        if spec.get("restartPolicy") not in ("Never", "OnFailure"):
            yield f"restartPolicy: {spec.get('restartPolicy')}"
        if spec.get("serviceAccountName") != self.service_account:
            yield f"there is no service account {spec.get('serviceAccountName')}"
        if container["image"] != self.image.name:
            yield f"there is no image {container['image']}"
        for source in container.get("envFrom") or []:
            if source["secretRef"]["name"] not in self.secrets:
                yield f"there is no secret {source['secretRef']['name']}"
        yield from self._volumes(spec.get("volumes") or [], container.get("volumeMounts") or [])

    def _volumes(self, volumes: list[Manifest], mounts: list[Manifest]) -> Iterator[str]:
        names, paths = [volume["name"] for volume in volumes], [mount["mountPath"] for mount in mounts]
        for what, given in (("volume", names), ("mountPath", paths)):
            if len(set(given)) < len(given):
                yield f"{what}: a duplicate in {given}"
        yield from (f"there is no volume {mount['name']}" for mount in mounts if mount["name"] not in names)
        yield from (f"{path} is not for a test" for path in paths if not Path(path).is_relative_to(self.disk))
        for volume in volumes:
            if (claim := volume["persistentVolumeClaim"]["claimName"]) not in self.claims:
                yield f"there is no claim {claim}"

    def start(self, name: str, template: Manifest, log: Path) -> Pod:
        """Start a Pod in which there is no fault."""
        spec = template["spec"]
        (container,) = spec["containers"]
        claims = {volume["name"]: volume["persistentVolumeClaim"] for volume in spec.get("volumes") or []}
        mounts = [
            Mount(
                self.claims[claim["claimName"]],
                Path(mount["mountPath"]),
                bool(mount.get("readOnly") or claim.get("readOnly")),
            )
            for mount in container.get("volumeMounts") or []
            for claim in [claims[mount["name"]]]
        ]
        environment: dict[str, str] = {}
        for source in container.get("envFrom") or []:
            environment |= self.secrets[source["secretRef"]["name"]]
        environment |= {each["name"]: each.get("value", "") for each in container.get("env") or []}
        return Pod.start(name, template, self.image, self.disk, mounts, environment, log)


def _ill_named(job: Manifest, container: Manifest) -> Iterator[str]:
    for name in (job["metadata"]["name"], container["name"]):
        if not _NAME.fullmatch(name):
            yield f"{name} is no DNS-1123 label of at most 63 characters"
    for metadata in (job["metadata"], job["spec"]["template"].get("metadata", {})):
        for label, value in (metadata.get("labels") or {}).items():
            if not _LABEL_VALUE.fullmatch(value):
                yield f"label {label}: {value} is no value of a label"
