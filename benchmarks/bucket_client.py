"""One process that asks a bucket of `benchmarks.buckets`: as veza-ops does, or as plain boto3 does.

usage: python -m benchmarks.bucket_client (ours | boto3) (list | look) BUCKET KEYS LOOKED_FOR MISSING PEAK

It fails when what it sees isn't what was laid out, and writes the most megabytes that it held into the file PEAK. The
settings are the AWS_* variables.
"""

import hashlib
import random
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PER_FOLDER = 500
THREADS = 32
"""As `Files` has by default."""


def key(number: int, of: str = "") -> str:
    """The key with this number; another one, in the same folder, for each sort `of` keys."""
    name = uuid.UUID(hashlib.md5(f"{of}{number}".encode(), usedforsecurity=False).hexdigest())
    return f"uploads/{number // PER_FOLDER:05}/{name}.flac"


def wanted(keys: int, looked_for: int, missing: int) -> list[str]:
    """Some of so many keys from all over the bucket, and among them some that it lacks."""
    numbers = random.Random(1).sample(range(keys), looked_for)
    return [key(number, "missing" if place < missing else "") for place, number in enumerate(numbers)]


def our_list(bucket: str) -> int:
    from veza_ops.storage.objects import Objects  # noqa: PLC0415 - each process loads only what it measures

    return sum(map(len, Objects().pages(bucket)))


def our_look(bucket: str, keys: list[str], *, asks_again: bool) -> int:
    from veza_ops.storage.files import Files  # noqa: PLC0415 - the same
    from veza_ops.storage.layout import Layout  # noqa: PLC0415 - the same
    from veza_ops.storage.look import Verdict  # noqa: PLC0415 - the same

    looks = Files(Layout(), max_threads=THREADS).search(
        [f"s3://{bucket}/{each}" for each in keys], asks_again=asks_again
    )
    verdicts = Counter(look.verdict for look in looks)
    assert not verdicts[Verdict.UNVERIFIABLE], looks
    return verdicts[Verdict.PRESENT]


def boto3_list(bucket: str) -> int:
    return sum(len(page["Contents"]) for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket))


def boto3_look(bucket: str, keys: list[str]) -> int:
    """One HEAD for each, and nothing more for those that aren't there."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - the same

    client = _client()

    def is_there(each: str) -> bool:
        try:
            client.head_object(Bucket=bucket, Key=each)
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            return False
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(is_there, keys))


def _client() -> Any:
    import boto3  # noqa: PLC0415 - the same
    from botocore.config import Config  # noqa: PLC0415 - the same

    return boto3.client("s3", config=Config(max_pool_connections=THREADS, s3={"addressing_style": "path"}))


def main(who: str, what: str, bucket: str, *numbers: str, peak: Path) -> None:
    """Ask, and compare the answer with what is known."""
    keys, looked_for, missing = map(int, numbers)
    lists: dict[str, Callable[[str], int]] = {"ours": our_list, "boto3": boto3_list}
    if what == "list":
        found, known = lists[who](bucket), keys
    else:
        names, known = wanted(keys, looked_for, missing), looked_for - missing
        found = our_look(bucket, names, asks_again=missing > 0) if who == "ours" else boto3_look(bucket, names)
    assert found == known, (found, known)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak.write_text(str(int(status["VmHWM"].removesuffix("kB")) / 1024))


if __name__ == "__main__":
    main(*sys.argv[1:-1], peak=Path(sys.argv[-1]))
