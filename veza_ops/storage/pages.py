"""Pages of keys that were certainly listed: obstore takes whatever names no key for the end of a list.

So an error that is sent as a proper answer, a page of a proxy's, or a list that is cut would hide all that follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from veza_ops.storage import keys
from veza_ops.storage.look import S3
from veza_ops.storage.store import ODD_KEY, StoreError
from veza_ops.text import quoted

if TYPE_CHECKING:
    from obstore import ObjectMeta

PAGE = 1000
"""Keys that a store lists in one answer."""


@dataclass(frozen=True)
class Pages:
    """The listings of one bucket."""

    bucket: str
    client: Any

    def following(self, prefix: str, after: str) -> list[ObjectMeta]:
        """Those that come next, as obstore has them; none only at the end. Raises StoreError, and what boto3 raises."""
        for listed in self._pages(prefix, after):
            # The mark of a folder comes behind its own name without the slash, which is how obstore has it.
            if found := [self._object(each) for each in listed if each["Key"] != f"{after}/"]:
                return found
        return []

    def right_below(self, prefix: str) -> Iterator[list[str]]:
        """The names right below a prefix, without what is further down. Raises StoreError, and what boto3 raises."""
        tokens = [""]
        while True:
            more = {"ContinuationToken": tokens[-1]} if tokens[-1] else {}
            page = self._asked(Prefix=prefix, Delimiter="/", **more)
            listed = [each["Key"] for each in page.get("Contents", ())]
            listed += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
            # What begins with a slash is asked for by itself.
            names = [key[len(prefix) :].removesuffix("/") for key in listed if key not in (prefix, "/")]
            for name in names:
                self._require_literal(name)
            yield names
            if not page["IsTruncated"]:
                return
            if page.get("NextContinuationToken", "") in tokens:
                raise self._cut()
            tokens.append(page["NextContinuationToken"])

    def with_slash_in_front(self) -> dict[str, datetime]:
        """The keys that begin with a slash, which obstore has without it, and when each was written; `PAGE` of many.

        Raises StoreError, and what boto3 raises.
        """
        found: dict[str, datetime] = {}
        for listed in self._pages("/", ""):
            those = {each["Key"]: each["LastModified"] for each in listed if each["Key"].startswith("/")}
            found |= those
            if len(found) >= PAGE or len(those) < len(listed):  # there are others in the list of a store that errs
                break
        return found

    def _pages(self, prefix: str, after: str) -> Iterator[list[dict[str, Any]]]:
        """What is listed behind a key, page by page."""
        last = after
        while True:
            page = self._asked(Prefix=prefix, StartAfter=last)
            listed: list[dict[str, Any]] = page.get("Contents", [])
            yield listed
            if not page["IsTruncated"]:
                return
            if not listed or listed[-1]["Key"] == last:
                raise self._cut()
            last = listed[-1]["Key"]

    def _asked(self, **question: str) -> dict[str, Any]:
        from botocore.parsers import ResponseParserError  # noqa: PLC0415 - only where something may be missing

        try:
            page: dict[str, Any] = self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=PAGE, **question)
        except ResponseParserError:
            page = {}
        if page.get("Name") != self.bucket or "IsTruncated" not in page:
            raise StoreError(f"{quoted(S3 + self.bucket)} answers with what is no list of its objects")
        return page

    def _cut(self) -> StoreError:
        return StoreError(f"the listing of {quoted(S3 + self.bucket)} is cut short, or repeats itself")

    def _object(self, listed: dict[str, Any]) -> ObjectMeta:
        path = listed["Key"].removesuffix("/")
        self._require_literal(path)
        return {
            "path": path,
            "size": listed["Size"],
            "last_modified": listed["LastModified"],
            "e_tag": listed.get("ETag"),
            "version": None,
        }

    def _require_literal(self, path: str) -> None:
        if keys.why_not_literal(path):
            raise StoreError(ODD_KEY.format(where=quoted(S3 + self.bucket)), is_odd_key=True)
