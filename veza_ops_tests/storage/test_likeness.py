"""Names that a person or another system would take for the same: what is there under one of them is never missing."""

import os
import unicodedata
from pathlib import Path

import pytest

from veza_ops.storage.files import AN_HOUR, Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.likeness import is_utf8, parts_of
from veza_ops.storage.look import Look
from veza_ops_tests.storage.conftest import changed, make, verdict, verdicts

DAY = 86_400.0


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def latin_1(text: str) -> str:
    """A name in the bytes of an old system."""
    return os.fsdecode(text.encode("latin-1"))


ALIKE = [
    ("letter case", "Song.flac", "SONG.FLAC"),
    ("letter case of the ending", "Song.FLAC", "Song.flac"),
    ("letter case, accents", "Été.flac", "éTÉ.flac"),
    ("letter case, sharp s", "Straße.flac", "STRASSE.flac"),
    ("letter case, final sigma", "ὈΔΥΣΣΕΎΣ.flac", "ὀδυσσεύς.flac"),
    ("letter case, Turkish", "I\u015f\u0131k.flac", "IŞIK.flac"),
    ("letter case, Turkish, dotted", "İzmir.flac", "İzmir.flac".lower()),
    ("composed and decomposed", "Björk.flac", nfd("Björk.flac")),
    ("composed and decomposed, Hangul", "한국.flac", nfd("한국.flac")),
    ("composed and decomposed, two marks", "ệ.flac", "ê\u0323.flac"),
    ("composed and decomposed, beside a percent sign", "Été 50%de.flac", nfd("Été 50%de.flac")),
    ("compatibility, ligature", "ﬁve.flac", "five.flac"),
    ("compatibility, full width", "\uff21\uff22\uff23.flac", "ABC.flac"),
    ("compatibility, circled", "①.flac", "1.flac"),
    ("compatibility, half-width kana", "ｶﾞ.flac", "ガ.flac"),
    ("space in front", " song.flac", "song.flac"),
    ("space behind", "song.flac ", "song.flac"),
    ("space within", "my song.flac", "my  song.flac"),
    ("space or none", "my song.flac", "mysong.flac"),
    ("tab", "my\tsong.flac", "my song.flac"),
    ("line end", "song.flac\n", "song.flac"),
    ("Windows line end", "song.flac\r\n", "song.flac"),
    ("no-break space", "my\u00a0song.flac", "my song.flac"),
    ("narrow no-break space", "my\u202fsong.flac", "my song.flac"),
    ("ideographic space", "my\u3000song.flac", "my song.flac"),
    ("zero-width space", "my\u200bsong.flac", "mysong.flac"),
    ("zero-width joiner", "my\u200dsong.flac", "mysong.flac"),
    ("word joiner", "my\u2060song.flac", "mysong.flac"),
    ("soft hyphen", "my\u00adsong.flac", "mysong.flac"),
    ("direction mark", "my\u200esong.flac", "mysong.flac"),
    ("variation selector", "❤\ufe0f.flac", "❤.flac"),
    ("byte order mark", "\ufeffsong.flac", "song.flac"),
    ("nothing but white space", " ", "\u00a0"),
    ("nothing but encoded white space", "%20", " "),
    ("percent-encoded space", "my%20song.flac", "my song.flac"),
    ("percent-encoded UTF-8", "%C3%89t%c3%a9.flac", "Été.flac"),
    ("percent-encoded Latin-1", "%C9t%E9.flac", "Été.flac"),
    ("percent-encoded twice", "my%2520song.flac", "my song.flac"),
    ("percent-encoded UTF-8, beside a percent sign", "%C3%89%de.flac", "É%de.flac"),
    ("percent-encoded percent", "100%25.flac", "100%.flac"),
    ("plus", "my+song.flac", "my song.flac"),
    ("plus, percent-encoded", "C%2B%2B.flac", "C++.flac"),
    ("HTML ampersand", "R&amp;B.flac", "R&B.flac"),
    ("HTML entity", "caf&eacute;.flac", "café.flac"),
    ("HTML decimal", "caf&#233;.flac", "café.flac"),
    ("HTML hexadecimal", "caf&#xE9;.flac", "café.flac"),
    ("HTML apostrophe", "don&#x27;t.flac", "don't.flac"),
    ("HTML twice", "R&amp;amp;B.flac", "R&B.flac"),
    ("file:", "file:song.flac", "song.flac"),
    ("double quotes", '"song.flac"', "song.flac"),
    ("single quotes", "'song.flac'", "song.flac"),
    ("backticks", "`song.flac`", "song.flac"),
    ("typographic quotes", "“song”.flac", '"song".flac'),
    ("guillemets", "«song».flac", "song.flac"),
    ("typographic apostrophe", "Don\u2019t.flac", "Don't.flac"),
    ("Latin-1 on disk", "Été.flac", latin_1("Été.flac")),
]
QUERIES = [
    ("query", "song.flac?token=abc", "song.flac"),
    ("query of one word", "song.flac?download", "song.flac"),
    ("empty query", "song.flac?", "song.flac"),
    ("query of several fields", "song.flac?v=1&name=a.mp3", "song.flac"),
    ("query behind a question", "Who are you?.flac?token=abc", "Who are you?.flac"),
    ("query behind a number", "Take #1.flac?token=abc", "Take #1.flac"),
    ("query of a name without ending", "song?v=1", "song"),
    ("query of one word and a line end", "song?download\n", "song"),
]


def each(kinds: list[tuple[str, str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("one", "other"), [pytest.param(*names, id=kind) for kind, *names in kinds])


def names(reason: str, path: Path) -> bool:
    """Whether a reason names what was found at `path`, or below."""
    return repr(str(path))[:-1] in reason


@each([*ALIKE, *QUERIES])
def test_a_name_like_the_rows_is_unverifiable(root: Path, one: str, other: str) -> None:
    for number, (written, on_disk) in enumerate([(one, other), (other, one)]):
        found = make(root / f"{number}" / on_disk)
        said = verdict(root, f"{number}/{written}")
        assert said[0] == "unverifiable", (written, on_disk)
        assert names(said[1], found) or "aren't UTF-8" in said[1]


@each([*ALIKE, *QUERIES])
def test_a_name_like_the_rows_right_below_the_root_is_unverifiable(root: Path, one: str, other: str) -> None:
    for number, (written, on_disk) in enumerate([(one, other), (other, one)]):
        make(root / f"{number}" / on_disk)
        assert verdict(root / f"{number}", written)[0] == "unverifiable", (written, on_disk)


@each([*ALIKE, *(kind for kind in QUERIES if "line end" not in kind[0])])
def test_a_folder_on_the_way_like_the_rows_is_unverifiable(root: Path, one: str, other: str) -> None:
    for number, (written, on_disk) in enumerate([(one, other), (other, one)]):
        make(root / f"{number}" / on_disk / "cd 1" / "song.flac")
        said = verdict(root, f"{number}/{written}/cd 1/song.flac")
        assert said[0] == "unverifiable", (written, on_disk)
        assert names(said[1], root / f"{number}" / on_disk) or "aren't UTF-8" in said[1]


@each([kind for kind in ALIKE if is_utf8(kind[2])])  # else nobody can tell
def test_a_folder_like_the_rows_does_not_make_files_up(root: Path, one: str, other: str) -> None:
    for number, (written, on_disk) in enumerate([(one, other), (other, one)]):
        make(root / f"{number}" / on_disk / "other.flac")
        assert verdict(root, f"{number}/{written}/none.flac")[0] == "missing", (written, on_disk)


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("uploads\\win\\song.mp3", "uploads/win/song.mp3"),
        ("uploads/win\\song.mp3", "uploads/win/song.mp3"),
        ("uploads\\win/song.mp3", "uploads/win/song.mp3"),
        (".\\uploads\\song.mp3", "uploads/song.mp3"),
        ("uploads%2Fsong.mp3", "uploads/song.mp3"),
        ("uploads%5csong.mp3", "uploads/song.mp3"),
        ("uploads&#47;song.mp3", "uploads/song.mp3"),
        ("uploads\uff0fsong.mp3", "uploads/song.mp3"),
        ("uploads/x%2F..%2Fsong.mp3", "uploads/song.mp3"),
        ("uploads/file:song.mp3", "uploads/song.mp3"),
        ("file:uploads/song.mp3", "uploads/song.mp3"),
        ("file%3Auploads%2Fsong.mp3", "uploads/song.mp3"),
        ('"uploads/song.mp3"', "uploads/song.mp3"),
        ("'uploads\\song.mp3'", "uploads/song.mp3"),
        ("uploads?v=1/song.mp3", "uploads/song.mp3"),
        ("uploads/song.mp3?from=/a/b.mp3", "uploads/song.mp3"),
        ("Uploads/My%20Song.MP3?v=1", "uploads/my song.mp3"),
        (" UPLOADS \\ Song.mp3", "uploads/song.mp3"),
    ],
)
def test_a_path_like_the_rows_is_unverifiable(root: Path, written: str, on_disk: str) -> None:
    one, other = root / "one", root / "other"
    make(one / on_disk)
    assert verdict(one, written)[0] == "unverifiable"
    make(other / written)
    assert verdict(other, on_disk)[0] == "unverifiable"


def test_each_folder_on_the_way_may_be_written_otherwise_at_once(root: Path) -> None:
    make(root / "Björk" / "CD 1" / "Été.flac")
    written = f"{nfd('Björk')}/cd%201/été.FLAC"
    assert verdict(root, written)[0] == "unverifiable"


def test_an_empty_name_in_a_path_is_none() -> None:
    assert parts_of("a//b") == ("a", "b")


def test_what_is_above_the_root_is_given_and_not_compared(tmp_path: Path) -> None:
    make(tmp_path / "Files" / "song.flac")
    (tmp_path / "files").mkdir()
    assert verdict(tmp_path / "files", "song.flac")[0] == "missing"


def test_a_root_may_have_any_name(tmp_path: Path) -> None:
    root = tmp_path / nfd("Müsik") / "%20 ?a=b"
    make(root / "Möt" / "song.flac")
    assert verdict(root, "Möt/song.flac")[0] == "present"
    assert verdict(root, f"{nfd('Möt')}/song.flac")[0] == "unverifiable"
    assert verdict(root, "Möt/none.flac")[0] == "missing"


# -- names that are not alike ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("1.mp3", ["11.mp3", "1.mp3x", "1.mp4", "1.mp", "01.mp3", "1", "mp3", "a1.mp3"]),
        ("song.flac", ["song (1).flac", "song.mp3", "song", "songs.flac", "a song.flac", "song.flac2", "my-song.flac"]),
        ("song", ["song.flac", "song.mp3"]),
        ("été.flac", ["ete.flac", "été.mp3", "étés.flac", "été (1).flac"]),
        ("Who are you?.mp3", ["Who am I?.mp3", "Who are we?.mp3", "Who are.mp3"]),
        ("Mr. Who? One.mp3", ["Mr. Who? Two.mp3"]),
        ("Vol. 1 #1.mp3", ["Vol. 1 #2.mp3"]),
        ("#1.mp3", ["#2.mp3", "1.mp4"]),
        ("50% off.flac", ["60% off.flac", "50.flac"]),
        ("R&B.flac", ["R&C.flac", "RB.flac", "R.flac"]),
        ("a=b.flac", ["a=c.flac", "a.flac"]),
        ("file.flac", ["fil.flac", "file", "files.flac"]),
        ("a\\b.flac", ["b.flac", "a"]),
        ("c++.flac", ["d++.flac"]),
        ("Don't.flac", ["Dont.mp3", "Do.flac"]),
        (".song.flac", [".songs.flac", ".song.flac2"]),
        ("音.flac", ["楽.flac", "音楽.flac"]),
        ("ß.flac", ["s.flac", "b.flac"]),
        ("İ.flac", ["j.flac", "ii.flac"]),
    ],
)
def test_a_name_that_is_another_one_leaves_the_row_missing(root: Path, written: str, on_disk: list[str]) -> None:
    for name in on_disk:
        make(root / "full" / name)
        make(root / "as folders" / name / "song.flac")
    assert verdict(root, f"full/{written}")[0] == "missing"
    assert verdict(root, f"as folders/{written}/song.flac")[0] == "missing"


@pytest.mark.parametrize("written", ["1.mp3", "song.flac", "été.flac", "Who are you?.mp3"])
@pytest.mark.parametrize("change", ["x{}", "{}x", "1{}", "{}1"])
def test_a_fresh_file_with_another_name_is_no_upload_of_the_rows(root: Path, written: str, change: str) -> None:
    make(root / "up" / change.format(written), changed_ago=0)
    assert verdict(root, f"up/{written}")[0] == "missing"


def test_other_names_with_the_same_letters_do_not_hold_each_other_up(root: Path) -> None:
    names = [f"{number}.flac" for number in range(200)]
    for name in names[::2]:
        make(root / "album" / name)
    found = verdicts(root, *(f"album/{name}" for name in names))
    assert found == ["present", "missing"] * 100


# -- unfinished uploads ---------------------------------------------------------------------------------------------

UPLOADS = ["{}.part", "{}.tmp", "{}.partial", "{}.crdownload", "{}.upload", "{}.filepart", "{}.!qB", "{}~", "{}-tmp"]
UPLOADS += ["{}.8f3e1c", "{}.part.tmp", ".{}", ".{}.Xy12ab", ".{}.part", ".~{}"]
NAMES = [
    "slow.wav",
    "Été à deux.wav",
    "Who are you?.wav",
    "#1 hit.wav",
    "_intro.wav",
    "-one.wav",
    "$ong.wav",
    ".hidden",
]


def look(root: Path, file_path: str, recent_seconds: float = AN_HOUR) -> Look:
    (found,) = Files(Layout(str(root))).search([file_path], recent_seconds=recent_seconds)
    return found


@pytest.mark.parametrize("upload", UPLOADS)
@pytest.mark.parametrize("name", NAMES)
def test_an_unfinished_upload_that_changed_lately_is_under_way(root: Path, name: str, upload: str) -> None:
    unfinished = make(root / "up" / upload.format(name), changed_ago=60)
    found = look(root, f"up/{name}")
    assert found.verdict == "unverifiable"
    assert "an upload is under way" in found.reason
    assert repr(str(unfinished)) in found.reason


@pytest.mark.parametrize("upload", UPLOADS)
@pytest.mark.parametrize("name", NAMES)
def test_an_unfinished_upload_that_nobody_goes_on_with_is_none(root: Path, name: str, upload: str) -> None:
    make(root / "up" / upload.format(name), changed_ago=3 * DAY)
    assert look(root, f"up/{name}").verdict == "missing"


@pytest.mark.parametrize("folder", ["slow.wav.parts", ".slow.wav.parts", "slow.wav~"])
def test_a_folder_of_an_upload_in_pieces_is_an_unfinished_upload(root: Path, folder: str) -> None:
    pieces = make(root / "up" / folder / "1").parent
    changed(pieces, 60)
    assert look(root, "up/slow.wav").verdict == "unverifiable"
    changed(pieces, 3 * DAY)
    assert look(root, "up/slow.wav").verdict == "missing"


@pytest.mark.parametrize("upload", ["SLOW.WAV.PART", ".Slow.wav.Xy12ab", "slow.wav .part", nfd("slow.wav.pärt")])
def test_an_unfinished_upload_may_be_written_otherwise_too(root: Path, upload: str) -> None:
    make(root / "Up" / upload, changed_ago=60)
    assert look(root, "up/slow.wav").verdict == "unverifiable"
    assert look(root, "up\\slow.wav").verdict == "unverifiable"


def test_lately_is_what_the_caller_says(root: Path) -> None:
    make(root / "up" / "slow.wav.part", changed_ago=600)
    assert look(root, "up/slow.wav", recent_seconds=1200).verdict == "unverifiable"
    assert look(root, "up/slow.wav", recent_seconds=300).verdict == "missing"


def test_an_upload_from_a_clock_that_is_ahead_is_under_way(root: Path) -> None:
    make(root / "up" / "slow.wav.part", changed_ago=-3 * DAY)
    assert look(root, "up/slow.wav").verdict == "unverifiable"


def test_an_unfinished_upload_of_another_folder_or_name_is_none_of_the_rows(root: Path) -> None:
    for path in ("other/slow.wav.part", "up/slow.wave.part", "up/very slow.wav.part"):
        make(root / path, changed_ago=0)
    assert look(root, "up/slow.wav").verdict == "missing"


# -- one row beside another -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "beside"),
    [
        pytest.param("Album/song.flac", "album/song.flac", id="a folder's case"),
        pytest.param("ALBUM\\song.flac", "album/song.flac", id="backslashes"),
        pytest.param("album%2Fsong.flac", "album/song.flac", id="a percent-encoded slash"),
        pytest.param("Album/song.flac", "album", id="the folder itself"),
        pytest.param("album\\song.flac", "album", id="the folder itself and backslashes"),
        pytest.param("album/Song.flac", "album/song.flac", id="the name's case"),
        pytest.param("album/song.flac?v=1", "album/song.flac", id="a query"),
    ],
)
def test_what_another_row_names_as_it_stands_is_still_like_this_rows(root: Path, written: str, beside: str) -> None:
    assert verdicts(root, written, beside) == ["unverifiable", "present"]
    assert verdicts(root, beside, written) == ["present", "unverifiable"]


def test_a_folder_of_either_spelling_may_hold_the_file(root: Path) -> None:
    (root / "Album").mkdir()
    assert verdicts(root, "Album/song.flac", "album/song.flac") == ["unverifiable", "present"]


def test_an_unfinished_upload_that_another_row_names_is_one_all_the_same(root: Path) -> None:
    make(root / "up" / "slow.wav.part", changed_ago=60)
    assert verdicts(root, "up/slow.wav", "up/slow.wav.part") == ["unverifiable", "present"]
