"""Processes that never outlive the one that started them, however it is stopped."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import psutil

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_SECONDS = 20


@contextlib.contextmanager
def none_left_running() -> Iterator[None]:
    """On Ctrl-C and the like, unwind once and undisturbed; at the end, stop every process that was started here."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the handler's signature
        for each in STOPPING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in STOPPING:
        signal.signal(each, stop)
    try:
        yield
    finally:
        stop_all(psutil.Process().children(recursive=True))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals wait until something is whole, such as a server that is being started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_all(processes: list[psutil.Process]) -> None:
    """End `processes` in an orderly way if they can, and at any rate."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            process.resume()  # one that is stopped would not notice
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=PATIENCE_SECONDS)
