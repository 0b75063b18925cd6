"""What the address of an object means: a bucket, and a key that is taken letter by letter.

In an object store ``a//b``, ``a/./b`` and ``a/b`` are three keys. Nothing is brought into one form here; a key that the
library would change without a word, or can't ask for, is nothing that anybody can verify.
"""

import os
import re
from functools import cache
from importlib.util import find_spec

from veza_ops.errors import ConfigurationError
from veza_ops.storage.look import S3, Area, Look, Place, unverifiable
from veza_ops.text import quoted

LONGEST_KEY = 1024
"""Bytes of a key that S3 takes at most."""
_NOT_SERVED = "no storage here serves s3:// addresses"
_SETTINGS = (
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Any of these says that there is an object store for us. What a row names is no reason to ask one on the internet."""
_CONTROL = re.compile("[\0-\x1f\x7f]")
_ENDPOINT = re.compile(r"https?://[^\s/]+")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
"""A bucket's name, the older ones included. https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""


@cache
def is_installed() -> bool:
    """Whether the libraries for object stores are there."""
    return all(find_spec(name) for name in ("obstore", "boto3"))


def is_set_up() -> bool:
    """Whether the environment says anything of an object store. What it says, the libraries read by themselves."""
    return any(map(os.environ.get, _SETTINGS))


def parts(address: str) -> tuple[str, str]:
    """The bucket and the key, or the prefix, of an `address`."""
    bucket, _, key = address[len(S3) :].partition("/")
    return bucket, key


def why_not_served() -> str:
    """Why no address is served here, if none is."""
    if not is_installed():
        return f"{_NOT_SERVED}: install veza-ops[s3], which brings obstore and boto3"
    if not is_set_up():
        return f"{_NOT_SERVED}: set AWS_REGION or AWS_ENDPOINT_URL, and the login for it"
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return "" if not endpoint or _ENDPOINT.match(endpoint) else f"{_NOT_SERVED}: AWS_ENDPOINT_URL is no address"


def why_no_bucket(address: str) -> str:
    """Why an `address` names no bucket, if it doesn't. What it names instead may be a login, and isn't shown."""
    return "" if _BUCKET.fullmatch(parts(address)[0]) else "the s3:// address names no bucket"


def why_not_literal(key: str, *, is_prefix: bool = False) -> str:
    """Why a `key`, or one below a prefix, can't be asked for letter by letter, if it can't."""
    what = f"a key below {quoted(f'{key}/')}" if is_prefix else f"the key {quoted(key)}"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return f"{what} can't be asked for as it stands: a name in it is empty, . or .."
    if _CONTROL.search(key):
        return f"{what} can't be asked for as it stands: it holds control characters"
    try:
        is_long = len(key.encode()) > LONGEST_KEY
    except UnicodeEncodeError as error:
        return f"no key can have this name: {error}"
    return f"the key is longer than {LONGEST_KEY} bytes" if is_long else ""


def located(address: str) -> tuple[Place, str] | Look:
    """The prefix that an object is below, and the rest of its key; or why there is no telling."""
    bucket, key = parts(address)
    if why := why_not_served() or why_no_bucket(address):
        return unverifiable(why)
    if not key:
        return unverifiable("the s3:// address names a bucket, and no object in it")
    if why := why_not_literal(key):
        return unverifiable(why)
    prefix, _, name = key.rpartition("/")
    return _place(bucket, prefix), name


def place(address: str) -> Place | Look:
    """The place of a prefix, whose `address` ends with a slash; or why there is no telling."""
    bucket, folder = parts(address)
    prefix = folder.removesuffix("/")
    why = why_not_served() or why_no_bucket(address) or (why_not_literal(prefix, is_prefix=True) if folder else "")
    return unverifiable(why) if why else _place(bucket, prefix)


def _place(bucket: str, prefix: str) -> Place:
    top = f"{S3}{bucket}"
    first = prefix.partition("/")[0]
    area = Area(f"{top}/{first}" if first else top, directly=not first, covered=False)
    return Place(f"{top}/{prefix}" if prefix else top, top, area)


def require_literal(target: str) -> None:
    """Raises ConfigurationError for a `target` of a mapping that leads to no bucket, or to what is no prefix in one."""
    prefix = parts(target)[1].rstrip("/")
    if why := why_no_bucket(target) or (why_not_literal(prefix, is_prefix=True) if prefix else ""):
        raise ConfigurationError(
            f"storage.root or storage.path_map leads to a bucket that can't be used: {why}. Give it as "
            "s3://BUCKET/PREFIX, without a login; the AWS_* variables hold that."
        )
