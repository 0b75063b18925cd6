"""What a setting holds is a secret until proven otherwise: it is in no log, event, page or file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from veza_ops.definitions import build_defs
from veza_ops.steps import plain_failures
from veza_ops.text import all_shown, brief, has_login, hidden, keep_secret, quoted, reveal, shown
from veza_ops_tests.library import Library, counts, failure, run_config, run_job
from veza_ops_tests.paths import same_every_time

WORD = "s3cr3t-w0rd"
ADDRESS = f"postgresql://veza:{WORD}@db.example/veza"
PATH = f"/proc/{WORD}//of/nobody"
VARIABLE = {"env": "SOMETHING_ELSE"}


# -- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://veza:{WORD}@db.example/veza",
        f"postgresql+psycopg://veza:{WORD}@db.example:5432/veza?sslmode=require",
        f"postgresql:/veza:{WORD}@db.example/veza",
        f"postgresql://veza:{WORD}/with/@/slashes@db.example/veza",
        f"postgresql://db.example/veza?user=veza&password={WORD}",
        f"host=db.example user=veza password={WORD}",
        f"https://{WORD}@hooks.example/services",
        f"https://a:{WORD}@[::1]:8080/x",
        f"s3://key:{WORD}@bucket/folder",
        f"discord://hook:{WORD}@discord",
    ],
)
def test_an_address_with_a_login_is_known_anywhere(address: str) -> None:
    for words in (f"cannot use {address}", f"'{address}' is no folder", f"a\x1b[31m{address}\nb"):
        for way in (shown, quoted, brief, hidden):
            assert WORD not in way(words)
            assert "db.example" not in words or "db.example" in way(words)


@pytest.mark.parametrize(
    "path",
    [
        "s3://bucket/a:b@c.flac",
        "C:/you@home.flac",
        "uploads/you@home.flac",
        "AC//DC @ Budokan: live.flac",
        "password.flac",
        "x?token=1",
    ],
)
def test_an_ordinary_path_is_shown_as_it_is(path: str) -> None:
    assert shown(path) == brief(path) == path


@pytest.mark.parametrize(
    "name",
    [
        f"a.flac?X-Amz-Date=1&X-Amz-Signature={WORD}",
        f"a.flac?X-Amz-Security-Token={WORD}&X-Amz-Date=1",
        f"a.flac?X-Amz-Credential={WORD}/20261127/eu/s3/aws4_request",
        f"a.flac?X-Goog-Signature={WORD}",
        f"a.flac?AWSAccessKeyId={WORD}&Signature={WORD}",
        f"a.flac?sv=1&sig={WORD}",
    ],
)
def test_what_an_address_is_signed_with_is_known_anywhere(name: str) -> None:
    for path in (name, f"s3://veza/tracks/{name}", f"https://veza.example/{name}", f"no file at /srv/{name}"):
        for way in (shown, quoted, brief, hidden):
            assert WORD not in way(path)
            assert "a.flac?" in way(path)


def test_what_could_forge_a_line_of_a_log_is_escaped() -> None:
    assert shown("a\nb\r\x1b[2K\u2028\u202e\x00\u200b") == r"a\nb\r\x1b[2K\u2028\u202e\x00\u200b"


def test_the_password_of_an_address_is_hidden_by_itself_too() -> None:
    keep_secret(f"  {ADDRESS.replace('s3cr3t', '%733cr3t')} ")
    assert WORD not in shown(f"the password is {WORD}")
    keep_secret(PATH)


def test_a_path_is_hidden_until_it_is_revealed() -> None:
    keep_secret(PATH)
    assert WORD not in shown(f"no folder {PATH}/x") + shown(f"no folder /proc/{WORD}/of/nobody/x")
    reveal(f"/proc/{WORD}/of/nobody")
    assert shown(f"{PATH}/x") == f"{PATH}/x"


def test_a_path_is_hidden_in_the_forms_that_it_is_used_in() -> None:
    keep_secret(f"~nobody/{WORD}/x")
    assert WORD not in shown(os.path.expanduser(f"~nobody/{WORD}/x"))
    keep_secret(f"file:///srv//{WORD}'s/./x")
    assert WORD not in shown(f"/srv/{WORD}'s/x") + shown(repr(f"/srv//{WORD}'s/./x"))


def test_what_was_revealed_stays_so() -> None:
    keep_secret("/srv/veza")
    reveal("/srv/veza")
    keep_secret("/srv/veza/")
    assert shown("/srv/veza/uploads") == "/srv/veza/uploads"


def test_no_half_of_a_secret_is_left_where_a_text_is_cut() -> None:
    keep_secret(WORD)
    text_of_rows = "x" * 995 + WORD + "y" * 100
    assert "s3" not in brief(text_of_rows) + shown(text_of_rows, 1000)
    assert brief(text_of_rows).endswith(f"({len(text_of_rows)} characters)")


def test_a_secret_of_a_few_characters_is_not_looked_for() -> None:
    keep_secret("a")
    assert shown("a banana") == "a banana"


# -- settings -------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "database.url": ("cleanup_orphan_tracks", {"database": {"url": VARIABLE}}),
    "database.db_schema": ("cleanup_orphan_tracks", {"database": {"db_schema": VARIABLE}}),
    "database.tracks_table": ("cleanup_orphan_tracks", {"database": {"tracks_table": VARIABLE}}),
    "database.size_column": ("audit_track_files", {"database": {"size_column": VARIABLE}}),
    "database.not_playable": ("cleanup_orphan_tracks", {"database": {"not_playable": [VARIABLE]}}),
    "database.lock_timeout_seconds": ("cleanup_orphan_tracks", {"database": {"lock_timeout_seconds": VARIABLE}}),
    "storage.root": ("cleanup_orphan_tracks", {"storage": {"root": VARIABLE}}),
    "storage.path_map": ("cleanup_orphan_tracks", {"storage": {"path_map": {"/data": VARIABLE}}}),
    "storage.sample_size": ("cleanup_orphan_tracks", {"storage": {"sample_size": VARIABLE}}),
    "evidence.folder": ("cleanup_orphan_tracks", {"evidence": {"folder": VARIABLE}}),
    "history.keep_days": ("prune_history", {"history": {"keep_days": VARIABLE}}),
    "find_marked_tracks.run_id": ("restore_orphan_tracks", {"ops": {"find_marked_tracks": {"run_id": VARIABLE}}}),
    "find_unnamed_files.folders": ("audit_track_files", {"ops": {"find_unnamed_files": {"folders": [VARIABLE]}}}),
    "audit_buckets.buckets": ("audit_track_files", {"ops": {"audit_buckets": {"buckets": [VARIABLE]}}}),
    "find_stale_tracks.batch_size": (
        "cleanup_orphan_tracks",
        {"ops": {"find_stale_tracks": {"batch_size": VARIABLE}}},
    ),
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that keeps all on disk, as that of an operator."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").touch()
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        yield instance


def assert_kept(folder: Path, word: str, output: str) -> None:
    """The word is in no file below the folder, in no name of one, and not in what was printed."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [str(path) for path in files if word.encode() in path.read_bytes()] == []
    assert word not in output


@pytest.mark.parametrize("value", [ADDRESS, WORD, PATH, "9876543210"], ids=["address", "word", "path", "number"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_a_variable_holds_shows_nowhere_whatever_setting_takes_it(
    library: Library,
    home: dg.DagsterInstance,
    setting: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", value)
    ghost = library.add_ghost(file_path="/data/song.flac")
    library.add("/data/other.flac", status="ready")
    job, settings = SETTINGS[setting]
    refused = ""
    try:
        run_job(library, home, job=job, **settings)
    except dg.DagsterInvalidConfigError as error:  # of a number that is none, before there is a run
        refused = str(error)
    said = capfd.readouterr()
    assert_kept(Path(home.root_directory), value if value.isdigit() else WORD, said.out + said.err + refused)
    assert library.status(ghost) == "processing"


@pytest.mark.parametrize("value", [ADDRESS, WORD, PATH], ids=["address", "word", "path"])
def test_what_the_environment_holds_for_the_root_shows_nowhere(
    library: Library,
    home: dg.DagsterInstance,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VEZA_STORAGE_ROOT", value)
    config = run_config(library)
    del config["resources"]["storage"]
    library.add_ghost()
    job = build_defs().resolve_job_def("cleanup_orphan_tracks")
    assert not job.execute_in_process(run_config=config, instance=home, raise_on_error=False).success
    said = capfd.readouterr()
    assert_kept(Path(home.root_directory), WORD, said.out + said.err)


def test_a_folder_that_is_there_is_no_secret_and_is_named(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", str(library.root))
    library.add_ghost()
    for file in library.root.rglob("playable/*"):
        file.unlink()
    result = run_job(library, instance, storage={"root": VARIABLE})
    assert f"with the root {library.root}" in failure(result)


def test_a_column_that_has_sizes_is_no_secret_and_is_named(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", "bytes_of_file")
    assert "no column ***" in failure(
        run_job(library, instance, job="audit_track_files", database={"size_column": VARIABLE})
    )
    library.execute("ALTER TABLE tracks ADD bytes_of_file bigint")
    assert run_job(library, instance, job="audit_track_files", database={"size_column": VARIABLE}).success
    assert shown("no file at bytes_of_file.flac") == "no file at bytes_of_file.flac"


def test_a_mistake_whose_words_hold_a_secret_is_not_told_in_them(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", WORD)

    @dg.op(config_schema=dg.StringSource)
    def mistaken(context: dg.OpExecutionContext) -> None:
        with plain_failures(context):
            raise ValueError("a mistake") from RuntimeError(context.op_config)

    @dg.job
    def mistake() -> None:
        mistaken()

    result = mistake.execute_in_process(
        run_config={"ops": {"mistaken": {"config": VARIABLE}}}, instance=instance, raise_on_error=False
    )
    assert failure(result).startswith("ValueError in mistaken, line ")
    assert not [entry for entry in instance.all_logs(result.run_id) if WORD in str(entry)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "words",
    [
        "@" + ":/:" * 300_000,
        ":/@" * 300_000,
        "ab://x/" * 200_000 + "@",
        "://?password=" * 100_000,
        "password='" * 100_000,
    ],
)
def test_a_text_of_any_length_is_shown_in_one_pass(words: str) -> None:
    """A trigger may say a megabyte, while rows are locked; what looks at each part of it again would take hours."""
    assert len(shown(words, 200)) <= 200


@pytest.mark.parametrize(
    "folder",
    [f"file:///proc/{WORD}/x", f"/proc/a//b/../{WORD}/x", f"/etc/passwd/{WORD}\\x", f"{WORD}://x"],
)
def test_a_folder_is_hidden_in_whatever_form_it_is_used(
    library: Library, instance: dg.DagsterInstance, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", folder)
    library.add_ghost()
    for result in (
        run_job(library, instance, evidence={"folder": VARIABLE}),
        run_job(library, instance, storage={"root": VARIABLE}),
        run_job(
            library,
            instance,
            job="restore_orphan_tracks",
            ops={"find_marked_tracks": {"run_id": "a-run"}},
            evidence={"folder": VARIABLE},
        ),
    ):
        assert WORD not in failure(result)
        assert not [entry for entry in instance.all_logs(result.run_id) if WORD in str(entry)]


@pytest.mark.parametrize("url", [f"{WORD}://x", f"jdbc:{WORD}://x", f"host=/nowhere password='{WORD} {WORD}'"])
def test_an_address_of_an_unknown_kind_is_hidden_as_a_whole(
    library: Library, instance: dg.DagsterInstance, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", url)
    result = run_job(library, instance, database={"url": VARIABLE})
    assert WORD not in failure(result)


def test_a_table_that_is_there_is_no_secret_and_keeps_its_words_readable(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", "tracks")
    library.add_ghost(file_path="tracks/song.flac")
    for file in library.root.rglob("playable/*"):
        file.unlink()
    result = run_job(library, instance, database={"tracks_table": VARIABLE})
    assert "newest playable tracks can be seen" in failure(result)


@same_every_time
@given(text=st.text(st.sampled_from(":/@ asf3?="), max_size=30))
@example("s3:///")
@example("https://")
@example("http:// /x.mp3")
def test_any_text_can_be_shown(text: str) -> None:
    assert isinstance(hidden(text), str)
    assert isinstance(has_login(text), bool)


def test_a_row_that_holds_the_beginning_of_an_address_costs_itself_alone(
    library: Library, instance: dg.DagsterInstance
) -> None:
    for path in ("s3:///", "https://", "s3://veza/http:// /x.flac"):
        library.add(path)
    library.add_ghost()
    told = counts(run_job(library, instance))
    assert (told["unverifiable"], told["marked_failed"]) == (3, 1)


@pytest.mark.parametrize(
    "odd", ["a\nb", f"{WORD}.flac", "https://u:pw@host/x", "password='a b'", "postgres://u:pw@h", "?sig=abc", "\u202e"]
)
def test_many_texts_are_each_shown_as_one_would_be(odd: str) -> None:
    keep_secret(WORD)
    texts = ["song.flac", odd, "", "another song.flac"]
    assert all_shown(texts) == [shown(text) for text in texts]
    assert all_shown([odd]) == [shown(odd)]
