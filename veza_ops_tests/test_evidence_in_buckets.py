"""Evidence in a bucket, in a real store: it lasts, is found again, and without it nothing is changed."""

import http.client
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import obstore
import pytest
import upath

from demo.store import Store
from veza_ops import buckets
from veza_ops.archive import Archive
from veza_ops.errors import ConfigurationError
from veza_ops.evidence import MARKED, MARKING, UNVERIFIABLE, Evidence, read
from veza_ops.places import lasting, subfolders
from veza_ops.steps import full_lists
from veza_ops_tests import store_faults
from veza_ops_tests.changes import HERE, change, marked
from veza_ops_tests.faulty_store import FaultyStore
from veza_ops_tests.history.test_history import age
from veza_ops_tests.library import Library, counts, failure, run_job
from veza_ops_tests.storms.scene import Scene

SECRET = "s3cr3t-0f-the-st0re"
FOR_REAL = {"restore_tracks": {"dry_run": False}}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No test may meet the connections of another, which went where its environment said."""
    buckets._store.cache_clear()  # noqa: SLF001 - a process outside of tests has one environment
    yield
    buckets._store.cache_clear()  # noqa: SLF001 - the same


@pytest.fixture
def bucket(bucket: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, which this process may write to."""
    for name, value in store.environment("admin").items():
        monkeypatch.setenv(name, value)
    return bucket


@pytest.fixture
def address(bucket: str) -> str:
    """A folder in a bucket of the test's own."""
    return f"s3://{bucket}/some/evidence"


@pytest.fixture
def evidence(address: str) -> Evidence:
    """The evidence of a run."""
    return Evidence(lasting(address), "run")


def rows(evidence: Evidence, kind: str = MARKED) -> list[dict[str, Any]]:
    """What the run's files of a kind hold."""
    return [row for path in evidence.files(kind) for row in evidence.rows(path)]


# -- files ----------------------------------------------------------------------------------------------------------


def test_what_was_written_is_found_again(evidence: Evidence) -> None:
    path = evidence.write(MARKING, 3, [change("a"), change("\udcff")])
    evidence.confirm(MARKED, 3, [change("a")])
    evidence.add(UNVERIFIABLE, 3, [])
    assert evidence.files(MARKING, 3) == [path]
    assert [row["id"] for row in evidence.rows(path)] == ["a", "\udcff"]
    assert [row["id"] for row in rows(evidence)] == ["a"]
    assert evidence.files(MARKED, 4) == []
    assert evidence.has_files
    evidence.required()
    assert full_lists(evidence)["full_lists"].value == f"{evidence.folder}/run/veza_ops"


def test_a_run_that_left_nothing_is_told_from_one_that_did(evidence: Evidence) -> None:
    assert not evidence.has_files
    assert evidence.files(MARKED) == []
    evidence.write(MARKED, 0, [change("a")])
    with pytest.raises(ConfigurationError, match=r"no evidence of run ru in s3://"):
        Evidence(evidence.folder, "ru").required()


def test_what_marks_an_empty_folder_is_no_evidence(evidence: Evidence, store: Store, bucket: str) -> None:
    store.put(bucket, "some/evidence/run/veza_ops/", b"")
    assert not evidence.has_files
    with pytest.raises(ConfigurationError, match="no evidence of run"):
        evidence.required()


def test_what_is_dropped_is_gone_and_the_rest_is_not(evidence: Evidence) -> None:
    plan, other = (evidence.write(MARKING, batch, [change("a")]) for batch in (0, 1))
    evidence.drop(plan)
    evidence.drop(plan)
    assert evidence.files(MARKING) == [other]


def test_a_forgotten_run_leaves_nothing_and_no_other_is_touched(evidence: Evidence) -> None:
    other = Evidence(evidence.folder, "run-2")
    for each in (evidence, other):
        for batch in range(3):
            each.write(MARKED, batch, [change("a")])
    evidence.remove()
    evidence.remove()
    assert not evidence.has_files
    assert len(other.files(MARKED)) == 3
    assert [path.name for path in subfolders(evidence.folder)] == ["run-2"]


def test_steps_that_write_at_once_write_over_nothing(evidence: Evidence) -> None:
    together = threading.Barrier(8)

    def write(number: int) -> None:
        together.wait()
        evidence.write(MARKED, 0, [{"id": number}])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row["id"] for row in rows(evidence)) == list(range(8))


def test_what_other_processes_wrote_at_once_is_there_as_soon_as_they_say_so(address: str) -> None:
    write = (
        "import sys; from veza_ops.evidence import Evidence; from veza_ops.places import lasting; "
        "Evidence(lasting(sys.argv[1]), 'run').write('marked', 0, [{'id': sys.argv[2]}])"
    )
    evidence = Evidence(lasting(address), "run")
    assert rows(evidence) == []
    steps = [subprocess.Popen([sys.executable, "-c", write, address, name]) for name in "ab"]
    assert [step.wait(240) for step in steps] == [0, 0]
    assert sorted(row["id"] for row in rows(evidence)) == ["a", "b"]


def test_a_long_list_is_sent_in_parts_and_read_whole(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    real = obstore.put

    def put(store: Any, path: str, file: Any, **how: Any) -> object:
        sent.append(file)
        return real(store, path, file, **how)

    monkeypatch.setattr(obstore, "put", put)
    path = "x" * 6_000_000
    evidence.add(UNVERIFIABLE, 0, ({"id": number, "path": path} for number in range(5)))
    assert not isinstance(sent[0], bytes), "all of it was in memory"
    assert [(row["id"], row["path"] == path) for row in rows(evidence, UNVERIFIABLE)] == [(n, True) for n in range(5)]


@pytest.mark.parametrize("size", [10, 6_000_000])
def test_what_could_not_be_written_whole_leaves_nothing_behind(evidence: Evidence, size: int) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        for _ in range(3):
            yield change("a", why="x" * size)
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigurationError, match="No space left on device"):
        evidence.write(MARKED, 0, broken())
    assert not evidence.has_files


@pytest.mark.parametrize("length", [0, 12])
def test_a_file_of_which_the_store_gives_a_part_is_not_taken_for_the_whole(faulty: FaultyStore, length: int) -> None:
    """As where a page of somebody else's answers the question how long it is."""
    evidence = Evidence(lasting("s3://veza/evidence"), "run")
    path = evidence.write(MARKED, 0, [{"id": 1}, {"id": 2}])
    assert len(list(read(str(path)))) == 2
    page = store_faults.Answer(200, {"Content-Type": "text/html"}, b"x" * length)
    faulty.fault(lambda request: request.method == "HEAD", store_faults.Fault(page), times=1)
    with pytest.raises(ConfigurationError, match="ends in mid-line: check AWS_ENDPOINT_URL"):
        list(read(str(path)))
    assert len(list(read(str(path)))) == 2


def test_a_file_that_is_not_there_is_no_trouble_of_the_store(evidence: Evidence) -> None:
    with pytest.raises(ConfigurationError, match=r"marked-00009\.jsonl can't be read: No such file"):
        list(evidence.rows(evidence.of_run / "marked-00009.jsonl"))


def test_both_names_of_the_protocol_lead_to_the_same_place(evidence: Evidence) -> None:
    other = Evidence(lasting(str(evidence.folder).replace("s3://", "S3a://")), "run")
    other.write(MARKED, 0, [change("a")])
    assert rows(evidence) == rows(other) != []


def test_the_archive_of_all_runs_is_read_from_a_bucket(evidence: Evidence) -> None:
    for minute, run_id in enumerate(("early", "late")):
        row = change("a", status_message_before=run_id) | {"planned_at": f"2026-01-02 00:{minute:02}:00"}
        Evidence(evidence.folder, run_id).write(MARKED, 0, [row])
    (claim,) = Archive(evidence.folder, HERE).newest([marked("a"), marked("b")]).values()
    assert (claim.run_id, claim.change.status_message_before) == ("late", "late")


def test_a_file_that_is_gone_by_the_time_that_it_is_read_has_nothing_to_say(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [evidence.write(MARKED, 0, [change("a")]) for _ in range(2)]
    real = Archive._files  # noqa: SLF001 - between the listing and the reading

    def files(archive: Archive) -> list[upath.UPath]:
        listed = real(archive)
        evidence.drop(paths[0])
        return listed

    monkeypatch.setattr(Archive, "_files", files)
    assert len(Archive(evidence.folder, HERE).newest([marked("a")])) == 1


# -- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder", ["s3://", f"s3://{SECRET} x/y", f"s3://bucket/../{SECRET}", f"s3://bucket/{SECRET}\x01"]
)
def test_what_is_no_bucket_is_refused_without_showing_it(folder: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"evidence\.folder.*[Cc]heck (the address|evidence\.folder)"
    ) as caught:
        lasting(folder)
    assert SECRET not in str(caught.value)


def test_without_obstore_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"evidence\.folder is at s3://.*install veza-ops\[s3\]"):
        lasting("s3://bucket/evidence")


@pytest.mark.parametrize("endpoint", ["hello", "http://", f"ftp://u:{SECRET}@host"])
def test_an_endpoint_that_is_none_is_named_without_showing_it(
    bucket: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigurationError, match=r"AWS_ENDPOINT_URL is no address.*evidence\.folder") as caught:
        Evidence(lasting(f"s3://{bucket}"), "run").write(MARKED, 0, [change("a")])
    assert endpoint not in str(caught.value)


def test_half_of_a_login_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigurationError, match=r"evidence\.folder.*no login is set: give AWS_ACCESS_KEY_ID"):
        lasting(f"s3://{bucket}/evidence")


def test_no_login_at_all_is_named_once_the_machine_has_none_either(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="no login is set: give AWS_ACCESS_KEY_ID"):
        Evidence(lasting(f"s3://{bucket}/evidence"), "run", 3).write(MARKED, 0, [change("a")])


# -- trouble --------------------------------------------------------------------------------------------------------

Answer = tuple[int, str] | None
"""A status and an error's code; None: what the store says."""


@dataclass
class Front:
    """Stands before the store, and may give another answer than it does, none, or none any more."""

    store: str
    answer: Callable[[str], Answer] = lambda _: None
    loses: Callable[[str], bool] = lambda _: False
    """Whether it does what it is told, and doesn't say so."""
    asked: list[str] = field(default_factory=list)

    def reply(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.asked.append(request.command)
        answer = self.answer(request.command)
        if answer is None:
            server = http.client.HTTPConnection(self.store)
            server.request(request.command, request.path, body, dict(request.headers))
            response = server.getresponse()
            status, headers, said = response.status, dict(response.headers), response.read()
            server.close()
        else:
            status, code = answer
            said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode()
            headers = {"Content-Length": str(len(said))}
        if not status or self.loses(request.command):  # as one that was stopped
            request.close_connection = True
            return
        request.send_response_only(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(said)


@pytest.fixture
def front(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:  # noqa: ARG001 - it is in the store
    """The same store, by way of one that a test can have answer otherwise."""
    front = Front(urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Callable[[], None]:
            if not name.startswith("do_"):
                raise AttributeError(name)
            return lambda: front.reply(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield front
        server.shutdown()


TROUBLE = {
    "there is no bucket": (404, "NoSuchBucket"),
    "set AWS_REGION": (301, "PermanentRedirect"),
    "in another region": (400, "AuthorizationHeaderMalformed"),
    "access is denied (403 AccessDenied): check AWS_ACCESS_KEY_ID": (403, "AccessDenied"),
    "in trouble (503 SlowDown)": (503, "SlowDown"),
    "refused it (405 MethodNotAllowed)": (405, "MethodNotAllowed"),
    "doesn't answer: check AWS_ENDPOINT_URL": (0, ""),
}


@pytest.mark.parametrize("words", TROUBLE)
def test_an_error_says_what_to_mend_and_shows_no_secret(front: Front, address: str, words: str) -> None:
    front.answer = lambda _: TROUBLE[words]
    evidence = Evidence(lasting(address), "run", 3)
    for ask in (
        lambda: evidence.write(MARKED, 0, [change("a")]),
        lambda: evidence.files(MARKED),
        evidence.required,
        lambda: Archive(evidence.folder, HERE).newest([marked("a")]),
    ):
        with pytest.raises(ConfigurationError) as caught:
            ask()
        assert words in str(caught.value)
        assert "evidence.folder" in str(caught.value) or "name the run" in str(caught.value)
        assert SECRET not in str(caught.value)
        assert front.store not in str(caught.value)
    assert not evidence.has_files


def test_what_a_store_says_to_whoever_reads_is_not_shown(front: Front, address: str) -> None:
    evidence = Evidence(lasting(address), "run")
    path = evidence.write(MARKED, 0, [change("a")])
    front.answer = lambda method: (403, "AccessDenied") if method == "GET" else None
    with pytest.raises(ConfigurationError, match=r"can't be read: access is denied") as caught:
        list(evidence.rows(path))
    assert SECRET not in str(caught.value)
    assert os.environ["AWS_ENDPOINT_URL"] not in str(caught.value)


def test_a_wrong_key_is_named_and_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    evidence = Evidence(lasting(address), "run")
    for ask in (lambda: evidence.write(MARKED, 0, [change("a")]), lambda: evidence.files(MARKED)):
        with pytest.raises(ConfigurationError, match=r"access is denied .*: check AWS_ACCESS_KEY_ID") as caught:
            ask()
        assert SECRET not in str(caught.value)


def test_what_the_environment_says_of_a_proxy_holds(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence.write(MARKED, 0, [change("a")])
    monkeypatch.setenv("AWS_PROXY_URL", "http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="doesn't answer"):
        Evidence(evidence.folder, "run", 3).write(MARKED, 0, [change("b")])


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    evidence = Evidence(lasting(f"s3://{bucket}-of-nobody/evidence"), "run")
    for ask in (lambda: evidence.write(MARKED, 0, [change("a")]), evidence.required):
        with pytest.raises(ConfigurationError, match=rf"{bucket}-of-nobody.*there is no bucket"):
            ask()


def test_a_login_that_may_only_read_is_told_what_it_lacks(
    address: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.environment("reader").items():
        monkeypatch.setenv(name, value)
    evidence = Evidence(lasting(address), "run")
    assert evidence.files(MARKED) == []
    with pytest.raises(ConfigurationError, match=r"access is denied.* let them list, get, put and delete"):
        evidence.write(MARKED, 0, [change("a")])


def test_a_store_that_says_nothing_is_given_up_in_time(front: Front, address: str, released: threading.Event) -> None:
    evidence = Evidence(lasting(address), "run", 6)
    evidence.write(MARKED, 0, [change("a")])

    def nothing(_: str) -> Answer:
        released.wait()
        return None

    front.answer = nothing
    for ask in (lambda: evidence.write(MARKED, 0, [change("b")]), lambda: evidence.files(MARKED), evidence.required):
        with pytest.raises(ConfigurationError, match="doesn't answer"):
            ask()


def test_a_store_that_is_back_in_a_moment_is_asked_again(front: Front, address: str) -> None:
    evidence = Evidence(lasting(address), "run")
    front.answer = lambda _: (503, "SlowDown") if len(front.asked) < 3 else None
    evidence.write(MARKED, 0, [change("a")])
    assert front.asked == ["PUT"] * 3
    assert [row["id"] for row in rows(evidence)] == ["a"]


def test_a_write_whose_answer_was_lost_leaves_one_file(front: Front, address: str) -> None:
    """It is sent once more, over itself."""
    evidence = Evidence(lasting(address), "run")
    front.loses = lambda _: len(front.asked) == 1
    evidence.write(MARKED, 0, [change("a")])
    assert front.asked == ["PUT"] * 2
    assert len(evidence.files(MARKED)) == 1


def test_what_was_given_up_is_removed_when_it_comes_to_its_end_after_all(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    threads: list[threading.Thread] = []
    is_there = threading.Event()
    real = obstore.put

    def slow(*args: Any, **how: Any) -> object:
        threads.append(threading.current_thread())
        done = real(*args, **how)
        is_there.set()
        released.wait()
        return done

    monkeypatch.setattr(obstore, "put", slow)
    with pytest.raises(ConfigurationError, match="no answer"):
        Evidence(evidence.folder, "run", 6).write(MARKED, 0, [change("a")])
    assert is_there.wait(60)
    assert len(evidence.files(MARKED)) == 1
    released.set()
    threads[0].join()
    assert evidence.files(MARKED) == []


# -- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster home that lasts, and can be made older than it is."""
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        yield instance


@pytest.fixture
def scene(library: Library, instance: dg.DagsterInstance) -> Scene:
    """A library with good tracks and ghosts."""
    return Scene(library, instance)


def undo(scene: Scene, kept: dict[str, Any], run_id: str = "") -> dg.ExecuteInProcessResult:
    """Run the undo for real."""
    ops = {"find_marked_tracks": {"run_id": run_id}, **FOR_REAL}
    return run_job(scene.library, scene.instance, job="restore_orphan_tracks", ops=ops, evidence=kept)


@pytest.mark.parametrize("is_named", [True, False], ids=["by_its_run", "by_the_message"])
def test_a_cleanup_whose_evidence_is_in_a_bucket_is_undone(scene: Scene, address: str, *, is_named: bool) -> None:
    kept = {"folder": address}
    scene.library.execute("UPDATE tracks SET status_message = 'half' WHERE status = 'processing'")
    scene.remember()
    result = scene.run(evidence=kept)
    assert counts(result)["marked_failed"] == len(scene.ghosts)
    scene.assert_all_is_well()
    evidence = Evidence(lasting(address), result.run_id)
    assert {row["id"] for row in rows(evidence)} == set(map(str, scene.ghosts))
    assert evidence.files(MARKING) == []
    assert any(f"{address}/{result.run_id}/veza_ops" in str(entry) for entry in scene.instance.all_logs(result.run_id))
    for ghost in scene.ghosts:
        scene.library.write(scene.library.row(ghost)["file_path"])
    restored = undo(scene, kept, result.run_id if is_named else "")
    assert restored.success, failure(restored)
    scene.assert_nothing_changed()
    assert {scene.library.row(ghost)["status_message"] for ghost in scene.ghosts} == {"half"}


def test_the_evidence_of_an_old_run_is_removed_from_the_bucket(scene: Scene, address: str) -> None:
    old = age(scene.instance, scene.run(evidence={"folder": address}).run_id, days=31)
    assert Evidence(lasting(address), old).has_files
    assert run_job(None, scene.instance, job="prune_history", evidence={"folder": address}).success
    assert list(subfolders(lasting(address))) == []


def test_without_a_store_nothing_is_changed(scene: Scene, front: Front, address: str) -> None:
    front.answer = lambda command: (0, "") if command == "PUT" else None
    result = scene.run(evidence={"folder": address, "timeout_seconds": 6})
    scene.assert_refused(result, "evidence", address, "the store doesn't answer", "nothing is changed")
    front.answer = lambda _: None
    scene.assert_next_run_finishes(evidence={"folder": address})


def test_a_store_that_stops_before_the_confirmation_leaves_the_plan_to_undo_by(
    scene: Scene, front: Front, address: str
) -> None:
    kept = {"folder": address, "timeout_seconds": 15}

    def stops(_: str) -> Answer:
        return (0, "") if front.asked.count("PUT") > 1 else None

    front.answer = stops
    result = scene.run(evidence=kept)
    assert "The confirmation of what this run has just changed can't be written" in failure(result)
    scene.assert_all_is_well()
    front.answer = lambda _: None
    evidence = Evidence(lasting(address), result.run_id)
    assert rows(evidence) == []
    assert {row["id"] for row in rows(evidence, MARKING)} == set(map(str, scene.ghosts))
    for ghost in scene.ghosts:
        scene.library.write(scene.library.row(ghost)["file_path"])
    assert undo(scene, kept, result.run_id).success
    scene.assert_nothing_changed()
