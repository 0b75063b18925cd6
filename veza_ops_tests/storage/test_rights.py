"""The rights to a bucket that the documentation asks for: they are enough, and without any of them nothing is missing.

The store evaluates the very documents that stand there, both its own form and AWS's.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.store import IDENTITIES, Store
from veza_ops import buckets
from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKING, UNVERIFIABLE, Evidence
from veza_ops.places import lasting, subfolders
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.look import Look
from veza_ops.storage.proof import Known, Sample
from veza_ops_tests.changes import change

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
POLICY, IDENTITY, FOR_EVIDENCE = (
    json.loads(found) for found in re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
)
BUCKET, FOLDER = "rights", "some/evidence"
RIGHTS = {"s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads"}
RIGHTS_FOR_EVIDENCE = {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"}
GHOST, FILE, COMING = (f"s3://{BUCKET}/a/{name}.flac" for name in ("ghost", "file", "coming"))


def without(action: str = "", document: Mapping[str, Any] = POLICY) -> dict[str, Any]:
    """The documented policy, for the bucket of this test, without one of its actions."""
    policy: dict[str, Any] = json.loads(json.dumps(document).replace("BUCKET", BUCKET).replace("FOLDER", FOLDER))
    for statement in policy["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != action]
    return policy | {"Statement": [statement for statement in policy["Statement"] if statement["Action"]]}


def actions(*, but: str = "") -> list[str]:
    """The documented actions of SeaweedFS, for the bucket of this test, without one of them."""
    documented: list[str] = IDENTITY["identities"][0]["actions"]
    return [each.replace("BUCKET", BUCKET) for each in documented if not but or not each.startswith(but)]


@pytest.fixture(scope="module")
def bucket(store: Store) -> Iterator[str]:
    """A bucket with witnesses, a file and an upload under way; who comes there may do what their name says."""
    store.make_bucket(BUCKET)
    for name in ("1", "2", "3", "file"):
        store.put(BUCKET, f"a/{name}.flac")
    store.begin_upload(BUCKET, "a/coming.flac")
    policies = {"policy": without(), **{right: without(right) for right in RIGHTS}}
    policies |= {f"evidence-{right}": without(right, FOR_EVIDENCE) for right in RIGHTS_FOR_EVIDENCE | {""}}
    store.set_identities(
        {**IDENTITIES, "identity": actions(), "no-read": actions(but="Read"), "no-list": actions(but="List")},
        {name.replace(":", "-"): policy for name, policy in policies.items()},
    )
    yield BUCKET
    store.set_identities(IDENTITIES)
    store.remove_bucket(BUCKET)


@pytest.fixture
def look(
    request: pytest.FixtureRequest, store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Look], list[str]]:
    """The ghost, the file and the upload as the cleanup sees them for somebody; what speaks against a missing one."""
    for name, value in store.environment(request.param.replace(":", "-")).items():
        monkeypatch.setenv(name, value)
    files = Files(Layout())
    areas = files.rows([GHOST]).areas
    known = tuple(Known(f"s3://{bucket}/a/{number}.flac", "ready") for number in (1, 2, 3))
    witnesses = files.prove(Sample(20, (), dict.fromkeys(areas, known)), areas)
    looks = files.search([GHOST, FILE, COMING], asks_again=True)
    return looks, [witnesses.why_not(each.gone) for each in looks if each.gone]


def test_the_documents_name_the_rights_that_are_tried() -> None:
    assert {action for statement in POLICY["Statement"] for action in statement["Action"]} == RIGHTS
    assert {action for statement in FOR_EVIDENCE["Statement"] for action in statement["Action"]} == RIGHTS_FOR_EVIDENCE
    assert sorted(actions()) == [f"List:{BUCKET}", f"Read:{BUCKET}"]


@pytest.mark.parametrize("look", ["policy", "identity"], indirect=True)
def test_the_documented_rights_are_enough(look: tuple[list[Look], list[str]]) -> None:
    (ghost, file, coming), against = look
    assert (ghost.verdict, file.verdict, coming.verdict) == ("missing", "present", "unverifiable")
    assert "is under way since" in coming.reason
    assert against == [""]


@pytest.mark.parametrize(
    ("look", "right"),
    [*((right, right) for right in sorted(RIGHTS)), ("no-read", "s3:GetObject"), ("no-list", "s3:ListBucket")],
    indirect=["look"],
)
def test_without_any_of_them_nothing_is_missing_and_the_reason_names_it(
    look: tuple[list[Look], list[str]], right: str
) -> None:
    (ghost, file, coming), _ = look
    assert (ghost.verdict, coming.verdict) == ("unverifiable", "unverifiable")
    assert right in ghost.reason
    assert file.verdict == ("unverifiable" if right == "s3:GetObject" else "present")


@pytest.mark.parametrize(
    ("question", "more"),
    [("put_object", {"Body": b""}), ("delete_object", {}), ("create_multipart_upload", {})],
    ids=["put", "delete", "begin an upload"],
)
@pytest.mark.parametrize("name", ["policy", "identity"])
def test_they_allow_no_writing(store: Store, bucket: str, name: str, question: str, more: dict[str, Any]) -> None:
    ask = getattr(store.client_of(name), question)
    with pytest.raises(ClientError, match="AccessDenied"):
        ask(Bucket=bucket, Key="a/file.flac", **more)
    assert "a/file.flac" in store.keys(bucket)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """No test may meet the connections of another, which came as somebody else."""
    buckets._store.cache_clear()  # noqa: SLF001 - a process outside of tests has one environment
    yield
    buckets._store.cache_clear()  # noqa: SLF001 - the same


@pytest.mark.parametrize("without", ["", *sorted(RIGHTS_FOR_EVIDENCE)])
@pytest.mark.usefixtures("bucket", "forgotten")
def test_evidence_takes_the_documented_rights_each_of_them(
    store: Store, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.environment(f"evidence-{without.replace(':', '-')}").items():
        monkeypatch.setenv(name, value)
    run = without.partition(":")[2] or "all"
    evidence = Evidence(lasting(f"s3://{BUCKET}/{FOLDER}"), run, 60)
    with nullcontext() if not without else pytest.raises((ConfigurationError, OSError)):
        evidence.add(UNVERIFIABLE, 0, [change("a" * 100)] * 60_000)  # in parts
        evidence.write(MARKING, 0, [change("a")])
        assert [row["id"] for path in evidence.files(MARKING) for row in evidence.rows(path)] == ["a"]
        assert run in [path.name for path in subfolders(lasting(f"s3://{BUCKET}/{FOLDER}"))]
        evidence.remove()
        assert evidence.files(MARKING) == []
