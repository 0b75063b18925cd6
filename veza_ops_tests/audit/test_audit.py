"""The audit: which playable tracks have no file, which files have no track, and nothing is changed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from veza_ops.audit.asset import CHECKS
from veza_ops.audit.checks import files_health
from veza_ops.audit.rounds import last_round
from veza_ops.audit.rules import Round, look_at
from veza_ops.findings import STORAGE_PROVEN, TRACK_FILES
from veza_ops.looks import Learned, Looking
from veza_ops.runs import OURS, Location
from veza_ops.storage import files
from veza_ops.storage.files import Files
from veza_ops.storage.layout import Layout
from veza_ops.storage.walk import CUT, Stored
from veza_ops.tracks.row import Track
from veza_ops_tests.library import Library, failure, run_job

NO_FILE_MISSING, NO_FILE_UNVERIFIABLE, NO_FILE_UNNAMED, NO_UPLOAD_INCOMPLETE, NO_FILE_DAMAGED = (
    check.name for check in CHECKS
)


def audit(library: Library, instance: dg.DagsterInstance, **config: Any) -> dict[str, Any]:
    """Run the audit; what it told the asset."""
    walk = {"min_age_hours": 0} | config.pop("walk", {})
    resources = {name: config.pop(name) for name in ("database", "storage") if name in config}
    result = run_job(
        library,
        instance,
        job="audit_track_files",
        ops={"audit_files": config, "find_unnamed_files": walk},
        **resources,
    )
    assert result.success, failure(result)
    return observed(instance)


def observed(instance: dg.DagsterInstance) -> dict[str, Any]:
    records = instance.fetch_observations(TRACK_FILES, limit=1).records
    assert records
    assert records[0].asset_observation
    return {name: value.value for name, value in records[0].asset_observation.metadata.items()}


def counts(told: Mapping[str, Any]) -> tuple[int, int, int, int]:
    return told["audited"], told["present"], told["missing"], told["unverifiable"]


def test_every_playable_track_is_looked_for_and_nothing_is_changed(
    library: Library, instance: dg.DagsterInstance
) -> None:
    gone = library.add("playable/gone.flac", status="ready")
    library.add("s3://elsewhere/song.flac", status="published")
    library.add_ghost()  # no listener waits for these
    library.add(status="failed")
    library.add(status="ready", deleted_at="2020-01-01T00:00:00Z")
    before = library.rows()
    told = audit(library, instance)
    assert counts(told) == (5, 3, 1, 1)
    (missing,) = told["missing_files"].records
    assert (missing.data["id"], missing.data["file_path"]) == (str(gone), "playable/gone.flac")
    (unverifiable,) = told["unverifiable_files"].records
    assert unverifiable.data["reason"].startswith("no storage here serves s3:// addresses: set AWS_REGION")
    (listed,) = Path(told["full_lists"]).glob("audit_missing-*.jsonl")
    assert json.loads(listed.read_text())["id"] == str(gone)
    assert library.rows() == before


def test_it_works_for_a_role_that_may_only_read_on_a_server_that_takes_no_writes(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.add("playable/gone.flac", status="ready")
    library.execute("DROP ROLE IF EXISTS reader")
    library.execute("CREATE ROLE reader LOGIN")
    library.execute("GRANT SELECT ON tracks TO reader")
    library.execute(f"ALTER DATABASE {library.database} SET default_transaction_read_only = on")
    library.url = library.url.replace("postgres:@", "reader:@")
    assert counts(audit(library, instance)) == (4, 3, 1, 0)


@pytest.mark.parametrize("limit", [{"max_tracks": 2}, {"max_minutes": 1e-9}], ids=["tracks", "minutes"])
def test_cut_short_it_goes_on_from_there_and_begins_anew_after_the_end(
    limit: dict[str, Any], library: Library, instance: dg.DagsterInstance
) -> None:
    library.add("playable/gone.flac", status="ready")
    library.add("s3://elsewhere/song.flac", status="ready")
    seen = [counts(audit(library, instance, page_size=2, **limit)) for _ in range(4)]
    assert [audited for audited, *_ in seen] == [2, 4, 5, 2]
    assert seen[2] == (5, 3, 1, 1)
    assert counts(audit(library, instance, start_over=True)) == (5, 3, 1, 1)


def test_a_round_that_ends_with_a_full_page_is_complete_after_an_empty_one(
    library: Library, instance: dg.DagsterInstance
) -> None:
    assert audit(library, instance, page_size=3, max_tracks=3)["after"]
    told = audit(library, instance, page_size=3, max_tracks=3)
    assert (counts(told), told["after"]) == ((3, 3, 0, 0), "")


def test_files_that_no_track_names_are_counted_with_their_size(library: Library, instance: dg.DagsterInstance) -> None:
    library.write("deep/down/leaked.flac", b"12345")
    library.write("leaked too.flac", b"123")
    library.add("kept.flac", status="failed", content=b"1")  # a track in any state keeps its file
    library.add(str(library.root / "absolute.flac"), status="ready", content=b"1")
    library.add("./dotted.flac", status="ready", content=b"1")
    told = audit(library, instance)
    assert (told["walked"], told["unnamed"], told["unnamed_bytes"]) == (8, 2, 8)
    (listed,) = Path(told["full_lists"]).glob("audit_unnamed-*.jsonl")
    sizes = {row["path"]: row["size"] for row in map(json.loads, listed.read_text().splitlines())}
    assert sizes == {
        str(library.root / "deep/down/leaked.flac"): 5,
        str(library.root / "leaked too.flac"): 3,
    }


def test_a_mapped_path_names_its_file(library: Library, instance: dg.DagsterInstance) -> None:
    library.add("/var/veza/mapped.flac", status="ready")
    library.write("mapped.flac")
    told = audit(library, instance, storage={"path_map": {"/var/veza": str(library.root)}})
    assert (told["walked"], told["unnamed"], told["missing"]) == (4, 0, 0)


def test_the_walk_stops_at_its_limit_and_says_so(library: Library, instance: dg.DagsterInstance) -> None:
    told = audit(library, instance, walk={"max_files": 2, "page_size": 1})
    assert (told["walked"], told["cut_short"]) == (2, True)
    told = audit(library, instance, walk={"max_files": 3})
    assert (told["walked"], told["cut_short"]) == (3, False)
    told = audit(library, instance, walk={"max_minutes": 1e-9, "page_size": 1})
    assert (told["walked"], told["cut_short"]) == (1, True)


def test_only_the_folders_that_hold_tracks_are_walked(library: Library, instance: dg.DagsterInstance) -> None:
    library.write("api/source.go")
    assert audit(library, instance, walk={"folders": ["playable"]})["walked"] == 3


NO_FOLDERS = ["../postgres-data", "/etc", "uploads/../../x", "..", "a\0b", "a\ud800b"]


@pytest.mark.parametrize("folder", NO_FOLDERS, ids=ascii)
def test_what_can_not_be_a_folder_inside_the_root_is_refused_and_not_shown(
    library: Library, instance: dg.DagsterInstance, folder: str
) -> None:
    result = run_job(
        library, instance, job="audit_track_files", ops={"find_unnamed_files": {"folders": ["playable", folder]}}
    )
    assert failure(result).startswith("find_unnamed_files.folders names what can't be a folder inside the storage root")
    assert "Traceback" not in failure(result)


def test_what_systems_leave_behind_is_ignored_unless_something_else_is_to_be(
    library: Library, instance: dg.DagsterInstance
) -> None:
    for folder in (".zfs/snapshot", ".Trash-1000/files", "$RECYCLE.BIN/S-1-5", ".stversions", "#recycle", "@eaDir"):
        library.write(f"{folder}/song.flac")
    told = audit(library, instance)
    assert (told["unnamed"], told["unnamed_ignored"]) == (0, 6)
    told = audit(library, instance, walk={"ignore": [".zfs/"]})
    assert (told["unnamed"], told["unnamed_ignored"]) == (5, 1)


def test_a_folder_inside_the_root_may_be_written_in_any_way(library: Library, instance: dg.DagsterInstance) -> None:
    for folder in (f"{library.root}/playable", "./playable//", "other/../playable", str(library.root), ""):
        assert audit(library, instance, walk={"folders": [folder]})["walked"] == 3


@pytest.mark.parametrize(
    ("step", "field", "value"),
    [
        ("find_unnamed_files", "folders", []),
        ("find_unnamed_files", "max_looks_per_second", float("inf")),
        ("audit_files", "max_looks_per_second", float("nan")),
        ("find_unnamed_files", "min_age_hours", float("nan")),
        ("audit_buckets", "max_minutes", float("nan")),
    ],
)
def test_a_value_that_is_none_is_refused_by_the_name_of_its_field(
    library: Library, instance: dg.DagsterInstance, step: str, field: str, value: object
) -> None:
    result = run_job(library, instance, job="audit_track_files", ops={step: {field: value}})
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_key == step
    assert failed.step_failure_data.error
    assert failed.step_failure_data.error.cause
    assert f"\n{field}\n" in failed.step_failure_data.error.cause.message


def test_a_name_that_is_no_text_is_unnamed_and_breaks_nothing(library: Library, instance: dg.DagsterInstance) -> None:
    path = bytes(library.root) + b"/caf\xe9.flac"
    with open(path, "wb") as file:
        file.write(b"1234")
    assert audit(library, instance)["unnamed_bytes"] == 4


def test_a_file_is_meant_by_the_longest_prefix_that_leads_to_it() -> None:
    layout = Layout("/srv", {"/a": "/srv/x", "/a/b": "/mnt"})
    assert layout.names_of("/srv/x/song") == ["/srv/x/song", "x/song", "/a/song", "./x/song"]
    assert "/a/b/song" not in layout.names_of("/srv/x/b/song")


def test_storage_that_is_not_proven_is_not_audited(library: Library, instance: dg.DagsterInstance) -> None:
    result = run_job(library, instance, job="audit_track_files", storage={"root": str(library.root.parent)})
    assert not result.success
    assert "This storage is not the one that the database describes" in failure(result)
    said = [
        event.asset_check_evaluation_data.check_name
        for entry in instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if (event := entry.dagster_event)
    ]
    assert set(said) == {STORAGE_PROVEN.name}


def test_the_checks_say_what_the_audit_found_and_say_it_again_when_asked(
    library: Library, instance: dg.DagsterInstance
) -> None:
    def ask() -> dict[str, bool | None]:
        result = dg.materialize([files_health], selection=dg.AssetSelection.checks(files_health), instance=instance)
        return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}

    assert ask() == {check.name: False for check in CHECKS}
    audit(library, instance)
    assert ask() == {check.name: True for check in CHECKS}
    library.add("playable/gone.flac", status="ready")
    library.add("s3://elsewhere/song.flac", status="ready")
    library.write("leaked.flac")
    audit(library, instance)
    assert ask() == {
        NO_FILE_MISSING: False,
        NO_FILE_UNVERIFIABLE: False,
        NO_FILE_UNNAMED: False,
        NO_UPLOAD_INCOMPLETE: True,
        NO_FILE_DAMAGED: True,
    }


def test_without_a_database_nothing_is_audited_and_the_run_says_so(instance: dg.DagsterInstance) -> None:
    assert run_job(None, instance, job="audit_track_files").success
    assert not instance.fetch_observations(TRACK_FILES, limit=1).records


def test_a_track_that_was_moved_or_deleted_between_two_looks_has_nothing_to_answer_for(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    tracks = [Track(str(number), "old", "2026-01-01 00:00:00", None) for number in range(3)]
    moved, still = tracks[0]._replace(file_path="new"), tracks[2]
    looking = Looking(Files(Layout(str(tmp_path))), Learned())
    looks = look_at(looking, tracks, lambda _: [moved, still])
    assert (looks.present, [track for track, _ in looks.missing]) == ([moved], [still])


def test_the_walk_follows_no_link_and_says_which_folders_it_could_not_read(
    library: Library, instance: dg.DagsterInstance
) -> None:
    library.write("deep/song.flac")
    (library.root / "deep" / "round").symlink_to(library.root)
    told = audit(library, instance, walk={"folders": ["deep", "nowhere"]})
    assert (told["walked"], told["unread_folders"]) == (3, 1)


def test_a_folder_within_another_is_walked_once(library: Library, instance: dg.DagsterInstance) -> None:
    assert audit(library, instance, walk={"folders": [".", "playable"]})["walked"] == 3


def by_hand(instance: dg.DagsterInstance, **metadata: Any) -> None:
    """Observe the files as anybody can: in the web UI, by REST, in Python."""
    instance.report_runless_asset_event(dg.AssetObservation(TRACK_FILES, metadata=metadata))


def test_what_somebody_tells_the_asset_by_hand_is_passed_over(library: Library, instance: dg.DagsterInstance) -> None:
    assert audit(library, instance, page_size=2, max_tracks=2)["after"]
    for number in range(60):
        by_hand(instance, **({"audited": number, "after": "nonsense"} if number % 2 else {}))
    assert counts(audit(library, instance, page_size=2)) == (3, 3, 0, 0), "the round goes on"
    by_hand(instance)
    result = dg.materialize([files_health], selection=dg.AssetSelection.checks(files_health), instance=instance)
    assert {each.check_name: each.passed for each in result.get_asset_check_evaluations()} == {
        check.name: True for check in CHECKS
    }


WHOLE = {
    "audited": 3, "present": 1, "missing": 1, "unverifiable": 1, "after": "", "after_key": "",
    "walked": 0, "unnamed": 0, "unnamed_bytes": 0, "unread_folders": 0, "cut_short": False,
}  # fmt: skip


def observe(instance: dg.DagsterInstance, told: Mapping[str, Any]) -> None:
    """Tell the asset what an audit would."""

    @dg.op
    def tell(context: dg.OpExecutionContext) -> None:
        metadata = {name: value for name, value in told.items() if value is not None}
        context.log_event(dg.AssetObservation(TRACK_FILES, metadata=metadata))

    dg.GraphDefinition("audit", node_defs=[tell]).to_job(tags=OURS).execute_in_process(instance=instance)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"audited": "3"},
        {"audited": 4},
        {"missing": -1, "present": 3},
        {"missing": 1.0},
        {"missing": True},
        {"after": 7},
        {"cut_short": 0},
        {"unnamed": None},
    ],
    ids=str,
)
def test_an_observation_that_is_not_whole_is_no_audit(spoilt: dict[str, Any], instance: dg.DagsterInstance) -> None:
    observe(instance, WHOLE)
    observe(instance, {**WHOLE, "audited": 2, "present": 0, "after": "a track"})
    observe(instance, {**WHOLE, **spoilt})
    assert last_round(instance, Location()) == Round(2, 0, 1, 1, "a track")


@pytest.mark.parametrize("spoilt", [{"after_key": 7}, {"after_key": "nonsense"}, {"after_key": None}], ids=str)
def test_a_place_in_buckets_that_is_none_is_the_first_of_all(
    spoilt: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    observe(instance, {**WHOLE, "after": "a track", **spoilt})
    assert last_round(instance, Location()) == Round(3, 1, 1, 1, "a track", "s3://")
    observe(instance, {**WHOLE, **spoilt})
    assert last_round(instance, Location()) == Round()


def test_a_walk_that_too_many_folders_gave_no_answer_to_was_cut_short(
    library: Library, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "walk", lambda *_: iter([Stored(str(library.root), 0, CUT)]))
    told = audit(library, instance)
    assert told["cut_short"]
    assert told["unread_folders"] == 1
