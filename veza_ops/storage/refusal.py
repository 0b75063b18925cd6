"""What the errors of an object store mean, in our own words: the libraries' hold addresses, and whatever it sends."""

import re
from collections.abc import Iterator
from typing import Any

from veza_ops.text import quoted

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_ELSEWHERE = ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")
_NO_LOGIN = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed")
NOT_FOUND = 404


class StoreError(OSError):
    """A store gave an answer that says nothing of what is there, or none at all."""

    def __init__(self, message: str, *, is_answer: bool = True) -> None:
        super().__init__(message)
        self.is_answer = is_answer
        """Whether it may well have an answer to another question."""


def refusal(error: Exception, bucket: str) -> StoreError:
    """What an `error` of obstore or boto3 means for the address of a `bucket`."""
    text, where = str(error), quoted(bucket)
    status, code = told(error)
    answer = f" ({' '.join(filter(None, (str(status or ''), code)))})" if status else ""
    words = next(_meanings(type(error).__name__, text, where, answer, status, code), "")
    if words:
        return StoreError(words)
    if status:
        return StoreError(f"{where} can't be asked{answer}", is_answer=status < 500)  # noqa: PLR2004 - a server's own
    if "credential" in text.lower() or "metadata" in text.lower():
        words = "no login for the store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role"
        return StoreError(words, is_answer=False)
    return StoreError(f"{where} gives no answer", is_answer=False)


def told(error: Exception) -> tuple[int, str]:
    """The status of an answer and the store's word for it; 0 when there was no answer."""
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict):  # boto3's
        code = str(answer.get("Error", {}).get("Code", ""))
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), code if code.isalpha() else ""
    status, word = _STATUS.search(str(error)), _CODE.search(str(error))
    return int(status[1]) if status else 0, word[1] if word else ""


def _meanings(kind: str, text: str, where: str, answer: str, status: int, code: str) -> Iterator[str]:
    if kind in ("InvalidPathError", "ValueError"):
        yield f"{where} holds a key with //, . or control characters, which makes its listing fail"
    if code == "NoSuchBucket":
        yield f"there is no bucket {where}"
    if code.startswith(_ELSEWHERE) or status in (301, 307) or "redirect" in text.lower():
        yield f"{where} is in another region{answer}: set AWS_REGION, or AWS_ENDPOINT_URL, to its own"
    if code in _NO_LOGIN or status == 401:  # noqa: PLR2004 - HTTP's own numbers, here and below
        yield f"the store refuses the login{answer}: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the clock"
    if status == 403 or kind == "PermissionDeniedError":  # noqa: PLR2004
        yield (
            f"{where} may not be read{answer}: it is another account's, or s3:ListBucket or s3:GetObject isn't "
            "granted; without s3:ListBucket every key that isn't there answers so"
        )
