"""A bucket of an object store: how it is reached, and what it means when it gives no proper answer.

Its settings are the ``AWS_*`` variables, which the library reads by itself. The library's own words are never repeated:
they hold addresses, and whatever a store likes to send.
"""

from __future__ import annotations  # so that the loading of obstore waits until there is a bucket

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obstore.store import S3Store

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_KEY = re.compile(r"(https?://[^\s/]+(?:/latest/(?:api|meta-data)/)?)\S*")
NOT_FOUND = 404
_TRIMMED = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
)

TO_READ = "let them have s3:GetObject and s3:ListBucket; without the latter, every key that isn't there answers so"
"""The rights that looks need."""

ODD_KEY = "{where} holds a key with //, . or control characters, which makes its listing fail"
_ELSEWHERE = "{where} is in another region{told}: set AWS_REGION, or AWS_ENDPOINT_URL, to its own"
_DENIED = "access is denied{told}: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and {rights}"
_BY_WORDS = {
    r"InvalidUri|builder error": "AWS_ENDPOINT_URL is no address, or AWS_PROXY_URL: give it one such as https://HOST:PORT",
    r"Could not parse path": "that can't be the name of a file: check the address",
    r"^InvalidPathError": ODD_KEY,
    r"^(ProfileNotFound|\w*Config\w*|Invalid(Region|DefaultsMode|MaxRetry|IMDS|\w*Mode)\w*) ": "an AWS_* variable "
    "holds what can't be used ({kind}): mend it, or take it away",
    r"Missing \w*Key|/latest/(api|meta-data)/|^NoCredentials": "no login is set: give AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or this machine a role",
    r"without LOCATION": _ELSEWHERE,
    r"AccessDenied": _DENIED,  # of one key among many, in an answer that is 200 as a whole
}
"""What is wrong, by what a library says: of some errors, there is no other sign."""
_BY_ANSWER = {
    r"RequestTimeTooSkewed": "this machine's clock is not the store's{told}: set it",
    r"ExpiredToken": "the login has expired{told}: renew AWS_SESSION_TOKEN and the keys with it",
    r"^429": "the store takes no more questions for now{told}: let fewer be asked at once (storage.max_threads)",
    r"NoSuchBucket|^404": "there is no bucket {where}: make it, or check its name and AWS_ENDPOINT_URL",
    r"^30[17]|AuthorizationHeaderMalformed|IllegalLocation|PermanentRedirect": _ELSEWHERE,
    r"^40[13]": _DENIED,
    r"^5": "the store is in trouble{told}",
    r"^[1-9]": "the store refused it{told}: check AWS_ENDPOINT_URL and AWS_REGION",
}
"""The same, by what the store says."""
NO_OBJECT = "the answer isn't that of a store, which gives each object an ETag: check AWS_ENDPOINT_URL"
"""What is said of a page of a proxy's, or of a login's, in answer to a HEAD."""
_NO_ANSWER = "the store doesn't answer: check AWS_ENDPOINT_URL and the other AWS_* variables, and whether it runs"


class StoreError(OSError):
    """A store gave an answer that says nothing of what is there, or none at all; in our own words."""

    def __init__(
        self, message: str, *, is_answer: bool = True, is_trouble: bool = False, is_odd_key: bool = False
    ) -> None:
        super().__init__(message)
        self.is_answer = is_answer
        """Whether it may well have an answer to another question."""
        self.is_trouble = is_trouble
        """Whether the store itself says that it is in trouble."""
        self.is_odd_key = is_odd_key
        """Whether a key among others makes the trouble."""


def store_of(bucket: str, seconds: float, *, max_retries: int) -> S3Store:
    """A bucket as the ``AWS_*`` variables say, where a question is answered or given up within `seconds`.

    Another try begins within the first 60 % of that time, and each ends after a third. Raises StoreError for a setting
    with space around it, as one from a file has: no library says what is wrong then.
    """
    from obstore.store import S3Store  # noqa: PLC0415 - see above

    for name in _TRIMMED:
        if (value := os.environ.get(name, "")) != value.strip():
            raise StoreError(f"{name} begins or ends with a space or a new line: take it away")
    # As `client_options`, these would replace what the environment says of proxies and certificates.
    client: dict[str, Any] = {
        "allow_http": True,  # an endpoint that says http:// means it
        "connect_timeout": f"{seconds * 1000 / 6:.0f}ms",
        "timeout": f"{seconds * 1000 / 3:.0f}ms",
    }
    backoff = timedelta(milliseconds=100), timedelta(seconds=seconds / 10)
    return S3Store(
        bucket,
        config=client,  # type: ignore[arg-type]  # these keys are taken here too
        retry_config={
            "max_retries": max_retries,
            "retry_timeout": timedelta(seconds=seconds * 0.6),
            "backoff": {"init_backoff": min(backoff), "max_backoff": backoff[1], "base": 2},
        },
    )


def is_of_a_library(error: BaseException) -> bool:
    """Whether one of the libraries, and no signal or mistake of ours, is at the end of its wits.

    A panic of obstore's, at an address that is none, is no `Exception`; nor does it offer that class.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def refusal(error: BaseException, where: str, rights: str = TO_READ) -> StoreError:
    """What an `error` of obstore or boto3 means for the bucket `where`, of which the `rights` are needed."""
    status, code = told(error)
    answer = f"{status or ''} {code}".strip()
    # But for what was asked for, which may be named like a sign.
    said = _KEY.sub(r"\1 ", f"{type(error).__name__} {error}".partition("Debug source")[0])
    meanings = [words for sign, words in _BY_WORDS.items() if re.search(sign, said)]
    meanings += [words for sign, words in _BY_ANSWER.items() if re.search(sign, answer)]
    words = next(iter(meanings), _NO_ANSWER).format(
        where=where, told=f" ({answer})" if answer else "", rights=rights, kind=type(error).__name__
    )
    return StoreError(
        words,
        is_answer=0 < status < 500 and status != 429,  # noqa: PLR2004 - a server's own trouble, or too many questions
        is_trouble=status > 0,
        is_odd_key=type(error).__name__ == "InvalidPathError",
    )


def told(error: BaseException) -> tuple[int, str]:
    """The status of an answer and the store's word for it; 0 when there was no answer."""
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict):  # boto3's
        code = str(answer.get("Error", {}).get("Code", ""))
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), code if code.isalpha() else ""
    status, word = _STATUS.search(str(error)), _CODE.search(str(error))
    return int(status[1]) if status else 0, word[1] if word else ""
