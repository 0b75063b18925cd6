"""Images and containers by buildah, in a folder of its own; it needs root, and neither an engine nor a registry."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = "python3,python3-venv,ca-certificates"
"""What the base image needs on top of the smallest Debian."""


@dataclass(frozen=True)
class Buildah:
    """Where images and containers are kept."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """A command line of buildah. The storage driver is the one that works on every file system."""
        places = ["--root", str(self.folder / "images"), "--runroot", str(self.folder / "running")]
        return ["buildah", *places, "--storage-driver", "vfs", *arguments]

    def __call__(self, *arguments: str) -> str:
        """What a command of buildah printed. Raises CalledProcessError."""
        return subprocess.run(self.command(*arguments), stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def base(self, root: Path | None) -> str:
        """A base image from Debian's packages; `root` is the folder of one that debootstrap made before."""
        made = root or self.folder / "debian"
        if root is None:
            options = ["--variant=minbase", f"--include={PACKAGES}"]
            subprocess.run(["debootstrap", *options, "bookworm", str(made)], check=True, stdout=subprocess.DEVNULL)
        container = self("from", "scratch")
        self("copy", "--quiet", container, str(made), "/")
        self("commit", "--quiet", container, "veza-ops-base")
        self("rm", container)
        if root is None:
            shutil.rmtree(made)
        return "localhost/veza-ops-base"

    def build(self, checkout: Path, base: str, options: Sequence[str]) -> str:
        """The image of deploy/Dockerfile."""
        kept = ["--isolation", "chroot", "--build-arg", f"BASE={base}", "--tag", "veza-ops"]
        file = ["--file", str(checkout / "deploy" / "Dockerfile"), str(checkout)]
        subprocess.run(self.command("build-using-dockerfile", *kept, *options, *file), check=True)
        return "localhost/veza-ops"

    def config(self, image: str) -> dict[str, Any]:
        """What the Dockerfile says of how to run it."""
        config: dict[str, Any] = json.loads(self("inspect", "--type", "image", image))["OCIv1"]["config"]
        return config
