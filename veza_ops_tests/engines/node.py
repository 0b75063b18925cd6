"""What a node of a cluster does for a Pod: its container is a process here, with a disk and process ids of its own.

It is PID 1 there, as in any container: a signal that it has no handler for does nothing to it but SIGKILL, and when it
ends, the kernel ends all that it started.
"""

import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

_OF_ITS_OWN = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _why_no_containers() -> str | None:
    """Why no process can have a disk of its own here, if so."""
    try:
        tried = subprocess.run(
            [*_OF_ITS_OWN, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"no process can have a disk of its own here: {error}"
    return f"no process can have a disk of its own here: {tried.stderr.strip()}" if tried.returncode else None


NO_CONTAINERS = _why_no_containers()

needs_containers = pytest.mark.skipif(NO_CONTAINERS is not None, reason=str(NO_CONTAINERS))


@dataclass(frozen=True)
class Image:
    """An image: what a container starts with."""

    name: str
    entrypoint: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    """Where its process begins."""
    files: Mapping[Path, Path]
    """Files of it: where they are in the container, and what is there."""


class Mount(NamedTuple):
    """A volume in a container."""

    source: Path
    target: Path
    is_read_only: bool


@dataclass
class Pod:
    """A Pod with one container, which is started once."""

    name: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    is_deleted: bool = False
    """Whether somebody has deleted it; it is there until its process has ended."""

    @classmethod
    def start(
        cls,
        name: str,
        template: Mapping[str, Any],
        image: Image,
        disk: Path,
        mounts: Sequence[Mount],
        environment: Mapping[str, str],
        log: Path,
    ) -> "Pod":
        """Start its process: nothing below `disk`, an empty folder, is the machine's or lasts but its mounts."""
        (container,) = template["spec"]["containers"]
        lines = ["set -e", f"mount -t tmpfs tmpfs {_quoted(disk)}", f"mkdir -p {_quoted(image.folder)}"]
        for inside, source in image.files.items():
            lines += [f"mkdir -p {_quoted(inside.parent)}", f"cp {_quoted(source)} {_quoted(inside)}"]
        for mount in mounts:
            target = _quoted(mount.target)
            lines += [f"mkdir -p {target}", f"mount --bind {_quoted(mount.source)} {target}"]
            lines += [f"mount -o remount,bind,ro {target}"] if mount.is_read_only else []
        lines += [f"cd {_quoted(image.folder)}", 'exec "$@"']
        command = [*container.get("command", image.entrypoint), *container.get("args", [])]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*_OF_ITS_OWN, "sh", "-c", "\n".join(lines), "sh", *command],
                env={**image.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(name, template["metadata"].get("labels", {}), template["spec"], log, process)

    @property
    def phase(self) -> str:
        """Kubernetes' word for how it is."""
        code = self.process.poll()
        return "Running" if code is None else "Failed" if code else "Succeeded"

    @property
    def said(self) -> str:
        """What its process printed."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its PID 1, as the kubelet and the kernel do."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                child.send_signal(number)

    def kill(self) -> None:
        """End it now."""
        self.process.kill()  # the kernel ends what is in it
        self.process.wait()

    def delete(self) -> None:
        """Ask its process to end; it is killed when its time of grace is over."""
        if self.is_deleted:
            return
        self.is_deleted = True
        self.signal(signal.SIGTERM)
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        try:
            self.process.wait(self.spec.get("terminationGracePeriodSeconds", 30))
        except subprocess.TimeoutExpired:
            self.kill()


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
