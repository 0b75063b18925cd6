"""A disk that takes its time: a folder seen through FUSE, where each question waits as one to network storage does.

It speaks the kernel's own protocol (include/uapi/linux/fuse.h), of which looks at names and lists of folders need a
few messages only, so that nothing has to be installed; mounting needs root. Files can't be read.

usage: python -m benchmarks.slow_disk FOLDER MOUNT_POINT SECONDS_A_QUESTION
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
from itertools import count
from pathlib import Path

_LOOKUP, _FORGET, _GETATTR, _READLINK, _INIT, _BATCH_FORGET = 1, 2, 3, 5, 26, 42
_OPENDIR, _READDIR, _RELEASEDIR = 27, 28, 29
_PARALLEL_DIROPS = 1 << 18
_ENOSYS = 38
_FOR_EVER = 3600
_SERVERS = 128
_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")
_OPENED = struct.Struct("<QII")
_READ = struct.Struct("<QQI")
_LISTED = struct.Struct("<QQII")
_libc = ctypes.CDLL(None, use_errno=True)


class _Disk:
    """Answers the kernel. Folders are remembered by it, so that a look at a path costs one wait, not one a folder."""

    def __init__(self, folder: str, seconds: float) -> None:
        self.device = os.open("/dev/fuse", os.O_RDWR)
        self._seconds = seconds
        self._paths = {1: folder}
        self._numbers = {folder: 1}
        self._folders: set[str] = set()
        self._lists: dict[int, list[bytes]] = {}
        self._handles = count(1)
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
        if code == _RELEASEDIR:
            del self._lists[_READ.unpack_from(body)[0]]
            return b""
        questions = {
            _LOOKUP: self._look_up,
            _GETATTR: self._look,
            _READLINK: self._follow,
            _OPENDIR: self._open,
            _READDIR: self._read,
        }
        if code not in questions:
            raise OSError(_ENOSYS, "not needed here")
        return questions[code](self._paths[node], body)

    def _look_up(self, folder: str, body: bytes) -> bytes:
        path = os.path.join(folder, os.fsdecode(body.rstrip(b"\0")))
        if path not in self._folders:
            time.sleep(self._seconds)
        found = os.lstat(path)
        is_folder = stat.S_ISDIR(found.st_mode)
        with self._lock:
            if is_folder:
                self._folders.add(path)
            number = self._numbers.setdefault(path, len(self._numbers) + 1)
            self._paths[number] = path
        return _ENTRY.pack(number, 0, _FOR_EVER if is_folder else 0, _FOR_EVER, 0, 0) + _attributes(found)

    def _look(self, path: str, _: bytes) -> bytes:
        time.sleep(self._seconds)
        return struct.pack("<QII", _FOR_EVER, 0, 0) + _attributes(os.lstat(path))

    def _follow(self, path: str, _: bytes) -> bytes:
        time.sleep(self._seconds)
        return os.fsencode(os.readlink(path))

    def _open(self, path: str, _: bytes) -> bytes:
        """A folder's list as it is now, in the kernel's form: each entry says where the next one is."""
        time.sleep(self._seconds)
        listed = []
        with os.scandir(path) as entries:
            for place, entry in enumerate(entries, 1):
                name = os.fsencode(entry.name)
                kind = _kind(is_folder=entry.is_dir(follow_symlinks=False), is_link=entry.is_symlink())
                head = _LISTED.pack(entry.inode(), place, len(name), kind >> 12)
                listed.append(head + name + bytes(-len(name) % 8))  # each fills whole 8 bytes
        handle = next(self._handles)
        self._lists[handle] = listed
        return _OPENED.pack(handle, 0, 0)

    def _read(self, _: str, body: bytes) -> bytes:
        """As much of a list as the kernel has room for; nothing at its end."""
        time.sleep(self._seconds)
        handle, place, room = _READ.unpack_from(body)
        listed, answer = self._lists[handle], b""
        while place < len(listed) and len(answer) + len(listed[place]) <= room:
            answer += listed[place]
            place += 1
        return answer


def _attributes(found: os.stat_result) -> bytes:
    mode = _kind(is_folder=stat.S_ISDIR(found.st_mode), is_link=stat.S_ISLNK(found.st_mode)) | 0o755
    seconds, nanoseconds = divmod(found.st_mtime_ns, 1_000_000_000)
    times = (*[seconds] * 3, *[nanoseconds] * 3)
    return _ATTRIBUTES.pack(found.st_ino, found.st_size, found.st_blocks, *times, mode, 1, 0, 0, 0, 4096, 0)


def _kind(*, is_folder: bool, is_link: bool) -> int:
    """What something is, in the bits of its mode; all else passes for a plain file."""
    return stat.S_IFDIR if is_folder else stat.S_IFLNK if is_link else stat.S_IFREG


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
