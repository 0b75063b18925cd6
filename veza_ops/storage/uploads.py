"""What an object store has of a key that isn't there: an upload under way, or the mark of one that was deleted.

Only boto3 tells of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from veza_ops.storage.look import S3
from veza_ops.storage.store import NO_OBJECT, NOT_FOUND, StoreError, told
from veza_ops.text import quoted, shown

_NOT_SERVED = (405, 501)
_GRANT = "grant s3:ListBucketMultipartUploads"


class Upload(NamedTuple):
    """An upload in parts that nobody has completed."""

    key: str
    began: datetime

    def __str__(self) -> str:
        return (
            f"an upload of {quoted(self.key)} is under way since {self.began:%Y-%m-%d %H:%M}. If nobody goes on with "
            "it, abort it, or have the bucket abort such uploads after some days"
        )


@dataclass(frozen=True)
class Uploads:
    """What is under way in one bucket."""

    bucket: str
    client: Any

    def why_unsure(self, key: str) -> str | None:
        """Why a key that wasn't there may come yet, or came and went; nothing if it is there now.

        None when nobody knows of it. Raises StoreError where nobody may ask, and what boto3 raises.
        """
        # By the whole key: some stores, as MinIO, list the uploads of no shorter prefix.
        uploads = [each for each in self.begun(key) if not each.key[len(key) : len(key) + 1].isalnum()]
        return str(uploads[0]) if uploads else self._why_deleted(key)

    def begun(self, prefix: str = "") -> Iterator[Upload]:
        """The uploads of keys that begin with `prefix`. Raises StoreError where nobody may list them."""
        for page in self._pages(prefix, ""):
            yield from (Upload(each["Key"], each["Initiated"]) for each in page.get("Uploads", ()))

    def right_below(self, prefix: str) -> Iterator[tuple[list[Upload], list[str]]]:
        """Those whose key goes on with one name, and the longer prefixes that others have, some at a time."""
        for page in self._pages(prefix, "/"):
            found = [Upload(each["Key"], each["Initiated"]) for each in page.get("Uploads", ())]
            here = [each for each in found if "/" not in each.key[len(prefix) :]]
            below = {each.key[: each.key.index("/", len(prefix)) + 1] for each in found if each not in here}
            yield here, [*below, *(each["Prefix"] for each in page.get("CommonPrefixes", ()))]

    def _pages(self, prefix: str, delimiter: str) -> Iterator[dict[str, Any]]:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - only for files that are about to be called missing

        after: dict[str, str] = {}
        while True:
            try:
                page = self.client.list_multipart_uploads(
                    Bucket=self.bucket, Prefix=prefix, **({"Delimiter": delimiter} if delimiter else {}), **after
                )
            except ClientError as error:
                status, code = told(error)
                if code == "AccessDenied" or status in _NOT_SERVED:
                    raise StoreError(f"an upload may be under way ({status} {code}): {_GRANT}") from None
                raise
            # A store that doesn't know the question may answer another one.
            if page.get("Bucket") != self.bucket or "IsTruncated" not in page:
                raise StoreError(f"an upload may be under way: {quoted(S3 + self.bucket)} doesn't list them")
            yield page
            if not page["IsTruncated"]:
                return
            following = {each: page.get(f"Next{each}", "") for each in ("KeyMarker", "UploadIdMarker")}
            if following["KeyMarker"] < after.get("KeyMarker", "") or following == after or not any(following.values()):
                raise StoreError(
                    f"an upload may be under way: the list of them in {quoted(S3 + self.bucket)} is endless"
                )
            after = following

    def _why_deleted(self, key: str) -> str | None:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - the same

        try:
            found = self.client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            answer = error.response.get("ResponseMetadata", {})
            if answer.get("HTTPStatusCode") != NOT_FOUND:
                raise
            if answer.get("HTTPHeaders", {}).get("x-amz-delete-marker") == "true":
                return f"the object came and was deleted: a delete marker stands for {shown(key)}"
            return None
        if not found.get("ETag"):
            raise StoreError(NO_OBJECT)
        return ""
