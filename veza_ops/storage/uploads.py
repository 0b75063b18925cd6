"""What an object store has of a key that isn't there: an upload under way, or the mark of one that was deleted.

Only boto3 tells of these. It asks the very store, at the very address, that obstore asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from veza_ops.storage.look import S3
from veza_ops.storage.store import NOT_FOUND, StoreError, told
from veza_ops.text import quoted, shown

if TYPE_CHECKING:
    from obstore.store import S3Store

_NOT_SERVED = (405, 501)
_GRANT = "grant s3:ListBucketMultipartUploads"


class Upload(NamedTuple):
    """An upload in parts that nobody has completed."""

    key: str
    began: datetime


@dataclass(frozen=True)
class Uploads:
    """What is under way in one bucket."""

    bucket: str
    client: Any

    @classmethod
    def of(cls, bucket: str, store: S3Store, requests: int, timeout_seconds: float) -> Uploads:
        """Those of a bucket that `store` is. Raises what the libraries raise."""
        import boto3  # noqa: PLC0415 - only for files that are about to be called missing
        import obstore  # noqa: PLC0415 - the same
        from botocore.config import Config  # noqa: PLC0415 - the same

        signed = urlsplit(obstore.sign(store, "HEAD", "key", timedelta(minutes=1)))
        is_path = signed.path.startswith(f"/{bucket}/")
        host = signed.netloc if is_path else signed.netloc.removeprefix(f"{bucket}.")
        one_try = timeout_seconds / 3
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=f"{signed.scheme}://{host}",
            region_name=parse_qs(signed.query)["X-Amz-Credential"][0].split("/")[-3],
            config=Config(
                connect_timeout=min(one_try, 5),
                read_timeout=one_try,
                retries={"total_max_attempts": 2, "mode": "standard"},
                max_pool_connections=requests,
                s3={"addressing_style": "path" if is_path else "virtual"},
            ),
        )
        return cls(bucket, client)

    def why_unsure(self, key: str) -> str:
        """Why a key that wasn't there may come yet, or came and went; nothing if it is there now.

        Raises FileNotFoundError when nobody knows of it, and what boto3 raises.
        """
        from botocore.exceptions import ClientError  # noqa: PLC0415 - the same

        try:
            # By the whole key: some stores, as MinIO, list the uploads of no shorter prefix.
            uploads = [each for each in self.under_way(key) if not each.key[len(key) : len(key) + 1].isalnum()]
        except ClientError as error:
            status, code = told(error)
            if _is_refused(status, code):
                return f"an upload may be under way ({status} {code}): {_GRANT}"
            raise
        if uploads:
            return (
                f"an upload of {quoted(uploads[0].key)} is under way since {uploads[0].began:%Y-%m-%d %H:%M}. If nobody"
                " goes on with it, abort it, or have the bucket abort such uploads after some days"
            )
        return self._why_deleted(key)

    def begun(self, prefix: str = "") -> Iterator[Upload]:
        """The same of all keys that begin with `prefix`. Raises StoreError where nobody may list them."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - the same

        try:
            yield from self.under_way(prefix)
        except ClientError as error:
            status, code = told(error)
            if _is_refused(status, code):
                raise StoreError(
                    f"the uploads of {quoted(S3 + self.bucket)} can't be listed ({status} {code}): {_GRANT}"
                ) from None
            raise

    def under_way(self, prefix: str = "") -> Iterator[Upload]:
        """The uploads of keys that begin with `prefix`."""
        after: dict[str, str] = {}
        while True:
            found = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=prefix, **after)
            yield from (Upload(each["Key"], each["Initiated"]) for each in found.get("Uploads", ()))
            following = {
                "KeyMarker": found.get("NextKeyMarker", ""),
                "UploadIdMarker": found.get("NextUploadIdMarker", ""),
            }
            if not found.get("IsTruncated") or following == after:
                return
            after = following

    def _why_deleted(self, key: str) -> str:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - the same

        try:
            self.client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            answer = error.response.get("ResponseMetadata", {})
            if answer.get("HTTPStatusCode") != NOT_FOUND:
                raise
            if answer.get("HTTPHeaders", {}).get("x-amz-delete-marker") == "true":
                return f"the object came and was deleted: a delete marker stands for {shown(key)}"
            raise FileNotFoundError(key) from None
        return ""


def _is_refused(status: int, code: str) -> bool:
    """Whether it is the listing of uploads alone that nobody may ask for here, or that isn't served."""
    return code == "AccessDenied" or status in _NOT_SERVED
