"""A bucket as boto3 asks it, which tells what obstore doesn't: what its answers were. It asks at the same address."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from obstore.store import S3Store


def client_of(bucket: str, store: S3Store, requests: int, timeout_seconds: float) -> Any:
    """The client for a bucket that `store` is, for so many requests at once. Raises what the libraries raise."""
    import boto3  # noqa: PLC0415 - only where something may be missing
    import obstore  # noqa: PLC0415 - the same
    from botocore.config import Config  # noqa: PLC0415 - the same

    signed = urlsplit(obstore.sign(store, "HEAD", "key", timedelta(minutes=1)))
    # Some stores are below a path of their host's.
    base, is_path, _ = signed.path.rpartition(f"/{bucket}/key")
    host = signed.netloc if is_path else signed.netloc.removeprefix(f"{bucket}.")
    one_try = timeout_seconds / 3
    return boto3.session.Session().client(
        "s3",
        endpoint_url=f"{signed.scheme}://{host}{base}",
        region_name=parse_qs(signed.query)["X-Amz-Credential"][0].split("/")[-3],
        config=Config(
            connect_timeout=min(one_try, 5),
            read_timeout=one_try,
            retries={"total_max_attempts": 2, "mode": "standard"},
            max_pool_connections=requests,
            s3={"addressing_style": "path" if is_path else "virtual"},
        ),
    )
