"""A file system that never answers, made with nothing but the kernel: FUSE, with nobody at the other end."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MNT_DETACH = 2


@contextmanager
def hung_mount(folder: Path) -> Iterator[None]:
    """Mount it on `folder`: every look at what is below hangs until this ends.

    Raises OSError where that isn't allowed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        if libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options.encode()) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        try:
            yield
        finally:
            libc.umount2(os.fsencode(folder), _MNT_DETACH)
    finally:
        os.close(device)  # the kernel lets go of everybody who waits
