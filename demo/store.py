"""A real object store: SeaweedFS, which speaks S3, as a process of the demo's or a test's own."""

import asyncio
import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import obstore
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.store import S3Store

from demo.ports import free_port

REGION = "us-east-1"
DEADLINE = 60.0
"""Seconds within which the server serves; a few are usual."""
ATTEMPTS = 5
"""Times that it is started on other ports, when somebody took one between the choice and the start."""
AT_ONCE = 32
"""Objects of many that are on their way together."""

IDENTITIES: Mapping[str, Sequence[str]] = {
    "admin": ("Admin", "Read", "Write", "List", "Tagging"),
    "reader": ("Read", "List"),
    "nolist": ("Read",),
}
"""Who may do what, in SeaweedFS's own words."""

_PARTS = ("master", "volume", "filer", "s3")
_PROBE = "is-it-up"
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Store:
    """The server in `folder`: stopped and started as often as a test likes, on the same ports, with its data kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True, exist_ok=True)
        # By default each bucket takes seven volumes, and a server has only so many.
        (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        self._write_identities(IDENTITIES)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    def environment(self, identity: str = "reader") -> dict[str, str]:
        """The variables with which a client comes as `identity`."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": identity,
            "AWS_SECRET_ACCESS_KEY": _secret(identity),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def start(self) -> None:
        """Start it, and wait until it takes an object."""
        for attempt in range(1, ATTEMPTS + 1):
            chosen = self.ports or _free_ports()
            try:
                self._start(chosen)
            except ChildProcessError:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(1 if self.ports else 0)  # others of this machine may have one of those for a moment
            else:
                return

    def stop(self) -> None:
        """Kill it, as a power cut would; what it took is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for name, port in self.ports.items():  # it leaves them when it is killed
            kind, _, _ = name.partition(".")
            Path(f"/tmp/seaweedfs-{kind}-grpc-{port}.sock").unlink(missing_ok=True)

    def set_identities(
        self, identities: Mapping[str, Sequence[str]], policies: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Replace who may do what, and wait until the running server knows it.

        `policies` are those, by their names, who may do what a policy in AWS's form allows, and nothing else.
        """
        sign = f"sign-{next(self._numbers)}"
        # It reads the file again, but whom the file names no more stays as they were: they are to be named.
        nobody = dict.fromkeys(self.identities, ("Read:nothing",))
        self._write_identities({**nobody, **identities, sign: ("List",)}, policies)
        if self._process is None:
            return
        self._process.send_signal(signal.SIGHUP)
        client = self.client_of(sign)
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                client.list_objects_v2(Bucket=_PROBE, MaxKeys=1)
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchBucket":  # one that is busy may have lost it again
                    self._make_probe()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"SeaweedFS doesn't read its identities ({error}): {self._log()}") from error
                time.sleep(0.05)
            else:
                return

    def revoke(self, identity: str) -> None:
        """Allow `identity` nothing any more."""
        self.set_identities({name: actions for name, actions in self.identities.items() if name != identity})

    @cached_property
    def client(self) -> Any:
        """boto3's client of the administrator."""
        return self.client_of("admin")

    def client_of(self, identity: str) -> Any:
        """boto3's client of an identity, whatever the variables of the test say."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=identity,
            aws_secret_access_key=_secret(identity),
            region_name=REGION,
            config=Config(
                retries={"total_max_attempts": 2},
                connect_timeout=5,
                read_timeout=60,  # while something else keeps all cores busy, SeaweedFS has been silent for 30 s
                s3={"addressing_style": "path"},
                proxies={},
            ),
        )

    def make_bucket(self, name: str) -> None:
        self.client.create_bucket(Bucket=name)

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with its content, which SeaweedFS does at once."""
        self.client.delete_bucket(Bucket=name)

    def put(self, bucket: str, key: str, data: bytes = b"x") -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def delete(self, bucket: str, key: str) -> None:
        self.client.delete_object(Bucket=bucket, Key=key)

    def keys(self, bucket: str) -> list[str]:
        """The keys of all objects, as the store lists them."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def begin_upload(self, bucket: str, key: str, data: bytes = b"x") -> str:
        """Begin an upload in parts, with one part: its id."""
        upload = str(self.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])
        self.client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=data)
        return upload

    def complete_upload(self, bucket: str, key: str, upload: str) -> None:
        """Make an object of the parts that are there."""
        parts = self.client.list_parts(Bucket=bucket, Key=key, UploadId=upload)["Parts"]
        wanted = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
        self.client.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": wanted}
        )

    def put_many(self, bucket: str, keys: Iterable[str], data: bytes = b"x") -> None:
        """Put as many objects as a test of size needs."""
        store = S3Store(
            bucket,
            endpoint=self.endpoint,
            access_key_id="admin",
            secret_access_key=_secret("admin"),
            region=REGION,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
        left = iter(keys)

        async def put() -> None:
            for key in left:
                await obstore.put_async(store, key, data, use_multipart=False)

        async def put_all() -> None:
            await asyncio.gather(*(put() for _ in range(AT_ONCE)))

        asyncio.run(put_all())

    @property
    def identities(self) -> dict[str, list[str]]:
        """Who may do what now."""
        content = json.loads((self.folder / "identities.json").read_text())
        return {each["name"]: each["actions"] for each in content["identities"]}

    def _write_identities(
        self, identities: Mapping[str, Sequence[str]], policies: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        policies = policies or {}
        content = {
            "identities": [
                {
                    "name": name,
                    "credentials": [{"accessKey": name, "secretKey": _secret(name)}],
                    "actions": list(identities.get(name, ())),
                    "policyNames": [name] if name in policies else [],
                }
                for name in {**identities, **policies}
            ],
            "policies": [{"name": name, "content": json.dumps(policy)} for name, policy in policies.items()],
        }
        (self.folder / "identities.json").write_text(json.dumps(content))

    def _start(self, ports: dict[str, int]) -> None:
        command = [
            str(Path(sys.executable).with_name("weed")),
            "server",
            f"-dir={self.folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{name}={port}" for name, port in ports.items()),
            "-filer",
            f"-filer.localSocket={self.folder / 'filer.sock'}",
            "-s3",
            f"-s3.localSocket={self.folder / 's3.sock'}",
            "-s3.config=identities.json",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",  # it is alone, but waits as long after each start for others
            "-master.volumeSizeLimitMB=64",
            "-volume.max=1000",
            "-volume.minFreeSpace=1MiB",
        ]
        # It would look for its settings, and for keys, in the developer's home as well.
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C comes to whoever started it, who then stops it
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call of the kernel's, which takes no lock
            )
        first = not self.ports
        self.ports = ports
        self.__dict__.pop("client", None)
        try:
            self._wait()
        except BaseException:
            self.stop()
            if first:
                self.ports = {}
            raise

    def _make_probe(self) -> None:
        """Make the bucket that is asked for, if it isn't there."""
        there = self.client.exceptions.BucketAlreadyOwnedByYou, self.client.exceptions.BucketAlreadyExists
        with suppress(*there):
            self.make_bucket(_PROBE)

    def _wait(self) -> None:
        """Wait until an object can be put, which needs all of its parts."""
        assert self._process is not None
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                self._make_probe()
                self.put(_PROBE, _PROBE)
            except (BotoCoreError, ClientError) as error:
                if self._process.poll() is not None:
                    raise ChildProcessError(f"SeaweedFS ended: {self._log()}") from error
                if time.monotonic() > deadline:
                    raise TimeoutError(f"SeaweedFS doesn't serve ({error}): {self._log()}") from error
                time.sleep(0.05)
            else:
                return

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]


def _secret(identity: str) -> str:
    return f"{identity}-secret"


def _die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is gone, however it went."""
    if _libc is not None:
        _libc.prctl(1, signal.SIGKILL)


def _free_ports() -> dict[str, int]:
    """Ports that nobody had a moment ago, all different."""
    names = [name for kind in _PARTS for name in (f"{kind}.port", f"{kind}.port.grpc")]
    ports: set[int] = set()
    while len(ports) < len(names):
        ports.add(free_port())
    return dict(zip(names, ports, strict=True))
