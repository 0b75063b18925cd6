"""A disk that takes its time: a folder seen through FUSE, where each look at a name waits as network storage does.

It speaks the kernel's own protocol (include/uapi/linux/fuse.h), of which a look needs three messages, so that
nothing has to be installed; mounting needs root.

usage: python -m benchmarks.slow_disk FOLDER MOUNT_POINT SECONDS_A_LOOK
"""

import ctypes
import os
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOOKUP, _FORGET, _GETATTR, _INIT, _BATCH_FORGET = 1, 2, 3, 26, 42
_PARALLEL_DIROPS = 1 << 18
_ENOSYS = 38
_FOR_EVER = 3600
_SERVERS = 128
_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")
_libc = ctypes.CDLL(None, use_errno=True)


class _Disk:
    """Answers the kernel. Folders are remembered by it, so that a look at a path costs one wait, not one a folder."""

    def __init__(self, folder: str, seconds: float) -> None:
        self.device = os.open("/dev/fuse", os.O_RDWR)
        self._seconds = seconds
        self._paths = {1: folder}
        self._numbers = {folder: 1}
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Answer until the disk is taken away."""
        with suppress(OSError):
            while True:
                request = os.read(self.device, 1 << 17)
                _, code, unique, node, *_ = _IN.unpack_from(request)
                if code in (_FORGET, _BATCH_FORGET):
                    continue
                try:
                    error, answer = 0, self._answer(code, node, request[_IN.size :])
                except OSError as refused:
                    error, answer = -(refused.errno or _ENOSYS), b""
                os.write(self.device, _OUT.pack(_OUT.size + len(answer), error, unique) + answer)

    def _answer(self, code: int, node: int, body: bytes) -> bytes:
        if code == _INIT:
            return struct.pack("<IIIIHHIIHHI7I", 7, 31, 1 << 16, _PARALLEL_DIROPS, 64, 48, 1 << 16, 1, 16, *[0] * 9)
        if code == _GETATTR:
            return struct.pack("<QII", _FOR_EVER, 0, 0) + self._attributes(self._paths[node])
        if code == _LOOKUP:
            path = os.path.join(self._paths[node], os.fsdecode(body.rstrip(b"\0")))
            known = self._numbers.get(path)
            if known is None:
                time.sleep(self._seconds)
            attributes = self._attributes(path)
            return _ENTRY.pack(self._number(path), 0, *self._lifetime(path), 0, 0) + attributes
        raise OSError(_ENOSYS, "not needed here")

    def _number(self, path: str) -> int:
        with self._lock:
            number = self._numbers.setdefault(path, len(self._paths) + 1) if os.path.isdir(path) else None
            if number is None:
                number = len(self._paths) + 1
            self._paths.setdefault(number, path)
            return number

    @staticmethod
    def _lifetime(path: str) -> tuple[int, int]:
        return (_FOR_EVER if os.path.isdir(path) else 0), _FOR_EVER

    @staticmethod
    def _attributes(path: str) -> bytes:
        found = os.lstat(path)
        kind = found.st_mode if stat.S_ISDIR(found.st_mode) else stat.S_IFREG | 0o644
        return _ATTRIBUTES.pack(
            found.st_ino, found.st_size, found.st_blocks, 0, 0, 0, 0, 0, 0, kind, 1, 0, 0, 0, 4096, 0
        )


def _serve(folder: str, mount_point: str, seconds: float) -> None:
    disk = _Disk(folder, seconds)
    options = f"fd={disk.device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    if _libc.mount(b"veza-slow-disk", mount_point.encode(), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), f"can't mount {mount_point}")
    servers = [threading.Thread(target=disk.serve) for _ in range(_SERVERS)]
    for server in servers:
        server.start()
    print("mounted", flush=True)
    for server in servers:
        server.join()


@contextmanager
def slow_disk(folder: Path, mount_point: Path, seconds: float) -> Iterator[Path | None]:
    """`folder` as a slow disk; None where this machine doesn't let us mount one."""
    mount_point.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.slow_disk", str(folder), str(mount_point), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            yield mount_point if server.stdout.readline() else None
        finally:
            _libc.umount2(str(mount_point).encode(), 2)  # MNT_DETACH
            server.kill()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], float(sys.argv[3]))
