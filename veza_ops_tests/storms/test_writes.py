"""Storms on the write: rows that the database won't change, or makes something else of, cost themselves alone."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from veza_ops import pace, recording, steps
from veza_ops.cleanup import marking, rules
from veza_ops.evidence import MARKED, MARKING, REFUSED, Evidence, read
from veza_ops.findings import TRACKS
from veza_ops.looks import Looking
from veza_ops.resources import EvidenceStore
from veza_ops.storage.files import Files
from veza_ops.storage.reading import Found, Read
from veza_ops.tracks import writing
from veza_ops.tracks.row import Track, Written
from veza_ops.tracks.table import Tracks
from veza_ops_tests.library import Id, counts, failure
from veza_ops_tests.storms.scene import AFTER_EVIDENCE, AFTER_WRITE, Moment, Scene, record_writes, writes

TRIGGER = """
    CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$
"""
BEFORE = "CREATE TRIGGER meddle BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION meddle()"
AFTER = "CREATE TRIGGER meddle AFTER UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION meddle()"
AT_THE_COMMIT = (
    "CREATE CONSTRAINT TRIGGER meddle AFTER UPDATE ON tracks DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION meddle()"
)

MEDDLING = {
    "a check that it violates": ["ALTER TABLE tracks ADD CONSTRAINT odd CHECK (title <> 'stubborn') NOT VALID"],
    "a trigger that raises": [
        TRIGGER.format(body="IF NEW.title = 'stubborn' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW;"),
        BEFORE,
    ],
    "a trigger that sets the status back": [
        TRIGGER.format(body="IF NEW.title = 'stubborn' THEN NEW.status := OLD.status; END IF; RETURN NEW;"),
        BEFORE,
    ],
    "a trigger that sets another status": [
        TRIGGER.format(body="IF NEW.title = 'stubborn' THEN NEW.status := 'ready'; END IF; RETURN NEW;"),
        BEFORE,
    ],
    "a trigger that suppresses the update": [
        TRIGGER.format(body="IF NEW.title = 'stubborn' THEN RETURN NULL; END IF; RETURN NEW;"),
        BEFORE,
    ],
    "a trigger that sets the status back afterwards": [
        TRIGGER.format(
            body="IF NEW.title = 'stubborn' AND NEW.status = 'failed' THEN "
            "UPDATE tracks SET status = 'processing' WHERE id = NEW.id; END IF; RETURN NULL;"
        ),
        AFTER,
    ],
    "a trigger that sets the status back at the commit": [
        TRIGGER.format(
            body="IF NEW.title = 'stubborn' AND NEW.status = 'failed' THEN "
            "UPDATE tracks SET status = 'processing' WHERE id = NEW.id; END IF; RETURN NULL;"
        ),
        AT_THE_COMMIT,
    ],
    "a constraint that fails at the commit": [
        TRIGGER.format(body="IF NEW.title = 'stubborn' THEN RAISE EXCEPTION 'not yet'; END IF; RETURN NULL;"),
        AT_THE_COMMIT,
    ],
    "a trigger that raises what passes elsewhere": [
        TRIGGER.format(body="IF NEW.title = 'stubborn' THEN RAISE 'busy' USING ERRCODE = '40001'; END IF; RETURN NEW;"),
        BEFORE,
    ],
    "a trigger that takes the row away": [
        TRIGGER.format(
            body="IF NEW.title = 'stubborn' THEN DELETE FROM tracks WHERE id = NEW.id; END IF; RETURN NULL;"
        ),
        AFTER,
    ],
    "a trigger that changes the id": [
        TRIGGER.format(body="IF NEW.title = 'stubborn' THEN NEW.id := gen_random_uuid(); END IF; RETURN NEW;"),
        BEFORE,
    ],
    "a mistake in a trigger": [
        TRIGGER.format(body="IF NEW.title = 'stubborn' THEN PERFORM 1 FROM nowhere; END IF; RETURN NEW;"),
        BEFORE,
    ],
}
"""What keeps a row from being changed: the statements that arrange it for the rows titled so."""
SLOW = [
    TRIGGER.format(body="IF NEW.title = 'stubborn' THEN PERFORM pg_sleep(8); RAISE 'overslept'; END IF; RETURN NEW;"),
    BEFORE,
]
"""What makes its change take too long."""


def add_stubborn(scene: Scene, number: int = 1) -> list[Id]:
    """Ghosts that the database won't change, at both ends of the part and in the middle of it."""
    stubborn = [scene.library.add_ghost(title="stubborn") for _ in range(number)]
    scene.ghosts += [scene.library.add_ghost() for _ in range(4)]
    scene.remember()
    return stubborn


def evidence(scene: Scene, result: dg.ExecuteInProcessResult, kind: str) -> list[dict[str, Any]]:
    files = EvidenceStore().of_run(result.run_id, scene.instance).files(kind)
    return [row for path in files for row in read(str(path))]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("meddling", MEDDLING)
def test_a_row_that_the_database_will_not_change_is_refused_and_all_others_are_done(
    scene: Scene, meddling: str, number: int
) -> None:
    stubborn = add_stubborn(scene, number)
    for statement in MEDDLING[meddling]:
        scene.library.execute(statement)
    before = scene.library.rows()
    result = scene.run()
    after = counts(result)
    assert (after["missing"], after["marked_failed"]) == (len(scene.ghosts) + number, len(scene.ghosts))
    assert (after["refused"], after["raced"]) == (number, 0)
    assert {identity: scene.library.row(identity) for identity in stubborn} == {
        identity: before[identity] for identity in stubborn
    }
    scene.assert_all_is_well()
    assert {row["id"] for row in evidence(scene, result, REFUSED)} == set(map(str, stubborn))
    assert {row["id"] for row in evidence(scene, result, MARKED)} == set(map(str, scene.ghosts))
    assert evidence(scene, result, MARKING) == []


def test_refused_rows_are_listed_with_the_reason_and_show_on_the_asset_and_its_check(scene: Scene) -> None:
    (stubborn,) = add_stubborn(scene)
    scene.library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (title <> 'stubborn') NOT VALID")
    result = scene.run()
    (observation,) = scene.instance.fetch_observations(TRACKS, limit=1).records
    assert observation.asset_observation
    metadata = observation.asset_observation.metadata
    assert metadata["refused"].value == 1
    table = metadata["refused_tracks"]
    assert isinstance(table, dg.TableMetadataValue)
    (row,) = table.records
    assert (row.data["id"], row.data["reason"]) == (str(stubborn), "the constraint odd refuses it")
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "no_orphan_left"]
    assert not check.passed
    assert "refuses it" in (check.description or "")


def test_no_contents_of_a_refused_row_are_told(scene: Scene) -> None:
    scene.library.execute("ALTER TABLE tracks ADD COLUMN email text")
    scene.library.add_ghost(title="7", email="alice@secret.example")
    scene.library.add_ghost(title="not-a-number-but-secret")
    scene.remember()
    scene.library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (email IS NULL OR status <> 'failed')")
    scene.library.execute(
        TRIGGER.format(body="IF NEW.title LIKE '%secret' THEN NEW.title := NEW.title::int; END IF; RETURN NEW;")
    )
    scene.library.execute(BEFORE)
    result = scene.run()
    assert counts(result)["refused"] == 2
    said = "\n".join(str(entry) for entry in scene.instance.all_logs(result.run_id))
    said += str(evidence(scene, result, REFUSED))
    assert "secret" not in said


def test_rows_that_are_refused_only_together_are_written_as_far_as_they_go(scene: Scene) -> None:
    """Each alone would do: what was accepted before stays while the next one is tried."""
    scene.library.execute("CREATE UNIQUE INDEX one_failed ON tracks (title) WHERE status = 'failed' AND title = 'twin'")
    twins = [scene.library.add_ghost(title="twin") for _ in range(2)]
    scene.remember()
    after = counts(scene.run())
    assert (after["marked_failed"], after["refused"]) == (len(scene.ghosts) + 1, 1)
    assert sorted(scene.library.status(twin) for twin in twins) == ["failed", "processing"]


@pytest.mark.parametrize("dividing_seconds", [0.0, 10.0])
def test_what_there_was_no_time_for_is_looked_for_anew_before_it_is_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, dividing_seconds: float
) -> None:
    monkeypatch.setattr(writing, "DIVIDING_SECONDS", dividing_seconds)
    stubborn = add_stubborn(scene, 2)
    scene.library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (title <> 'stubborn') NOT VALID")
    looks: list[int] = []
    Moment("each look", rules, "check_again").arrange(monkeypatch, lambda: looks.append(1))
    after = counts(scene.run())
    assert (after["marked_failed"], after["refused"]) == (len(scene.ghosts), len(stubborn))
    scene.assert_all_is_well()


def test_a_file_that_comes_while_a_part_is_divided_is_seen(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "DIVIDING_SECONDS", 0.0)
    add_stubborn(scene, 2)
    late = scene.library.add_ghost(file_path="zzz/late.flac")
    scene.remember()
    scene.library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (title <> 'stubborn') NOT VALID")
    Moment("before the second look at the rest", rules, "check_again", call=2).arrange(
        monkeypatch, lambda: scene.library.write("zzz/late.flac")
    )
    # The order within a part is that of the paths, so that the late one comes last.
    after = counts(scene.run())
    assert after["refused"] == 2
    assert scene.library.status(late) == "processing"


class Clock:
    """One by which time passes only when it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def takes_too_long(self) -> None:
        self.now += 31.0

    def takes_its_time(self) -> None:
        self.now += 20.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which it is told how old a look is."""
    clock = Clock()
    for module in (marking, recording):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize(
    "slow",
    [
        Moment("the second look", Looking, "at", "after", call=2),
        AFTER_EVIDENCE,
        AFTER_WRITE,
        Moment("the last question to Dagster", steps, "has_stopped", call=5),
    ],
    ids=str,
)
def test_a_file_that_comes_while_look_or_write_takes_its_time_is_seen(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch, slow: Moment
) -> None:
    slow.arrange(monkeypatch, clock.takes_too_long)
    late = [scene.library.row(each)["file_path"] for each in scene.ghosts[:2]]
    Moment("before the next look", rules, "check_again", call=2).arrange(
        monkeypatch, lambda: [scene.library.write(path) for path in late]
    )
    after = counts(scene.run())
    assert (after["present"], after["marked_failed"], after["raced"]) == (4, 1, 0)
    assert [scene.library.status(each) for each in scene.ghosts] == ["processing", "processing", "failed"]


def test_what_a_look_took_is_taken_from_the_time_of_the_write(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    Moment("the second look", Looking, "at", "after", call=2).arrange(monkeypatch, clock.takes_its_time)
    AFTER_WRITE.arrange(monkeypatch, clock.takes_its_time)
    late = scene.library.row(scene.ghosts[0])["file_path"]
    Moment("before the next look", rules, "check_again", call=2).arrange(monkeypatch, lambda: scene.library.write(late))
    after = counts(scene.run())
    assert (after["present"], after["marked_failed"], after["raced"]) == (3, 2, 0)


def test_a_write_that_can_never_be_in_time_fails_the_run_and_changes_nothing(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.ghosts += [scene.library.add_ghost() for _ in range(7)]
    scene.remember()
    real = Evidence.write

    def slowly(*args: Any) -> Any:
        clock.takes_too_long()
        return real(*args)

    monkeypatch.setattr(Evidence, "write", slowly)
    result = scene.run()
    scene.assert_refused(result, "Several tracks in turn could not be written in time")
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert evidence(scene, result, MARKING) == []


def test_a_row_that_can_never_be_written_in_time_costs_itself_alone(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = scene.library.add_ghost()
    scene.remember()
    real = Tracks.mark_failed

    def mark(tracks: Tracks, orphans: Sequence[Track], **premise: Any) -> Written:
        if any(track.id == str(slow) for track in orphans):
            clock.takes_too_long()
        return real(tracks, orphans, **premise)

    monkeypatch.setattr(Tracks, "mark_failed", mark)
    result = scene.run()
    after = counts(result)
    assert (after["marked_failed"], after["raced"], after["refused"]) == (len(scene.ghosts), 0, 1)
    (line,) = evidence(scene, result, REFUSED)
    assert line["id"] == str(slow)
    assert "could not be written in time" in line["why"]
    scene.assert_all_is_well()


def test_more_slow_rows_than_are_left_alone_keep_no_other_from_being_marked(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {str(scene.library.add_ghost(file_path=f"an album/{number:02}.flac")) for number in range(20)}
    scene.remember()
    real = Tracks.mark_failed

    def mark(tracks: Tracks, orphans: Sequence[Track], **premise: Any) -> Written:
        if any(track.id in slow for track in orphans):
            clock.takes_too_long()
        return real(tracks, orphans, **premise)

    monkeypatch.setattr(Tracks, "mark_failed", mark)
    result = scene.run()
    assert "Several tracks in turn could not be written in time" in failure(result)
    scene.assert_no_good_track_changed()
    assert [scene.library.status(each) for each in scene.ghosts] == ["failed"] * len(scene.ghosts)


def test_ghosts_in_folders_that_can_not_be_read_in_time_are_asked_for_by_their_names(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Read.do

    def read(task: Read, *given: Any) -> Found:
        found = real(task, *given)
        if not task.is_too_much:
            clock.now += 20.0
            found.seconds = 20.0
        return found

    monkeypatch.setattr(Read, "do", read)
    result = scene.run()
    after = counts(result)
    assert (after["marked_failed"], after["refused"]) == (len(scene.ghosts), 0)
    scene.assert_all_is_well()
    told = [each.step_output_data.metadata for each in result.all_events if each.is_successful_output]
    (folders,) = [each["asked_singly"].value for each in told if "asked_singly" in each]
    assert folders == f"{scene.library.root}, {scene.library.root}/uploads"


def test_a_track_is_not_late_by_itself_if_others_were_looked_at_with_it(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghosts = scene.ghosts + [scene.library.add_ghost() for _ in range(16 - len(scene.ghosts))]
    paths = sorted(str(scene.library.row(each)["file_path"]) for each in ghosts)

    def come() -> None:
        for path in paths[1:-1]:
            scene.library.write(path)

    for call in (1, 2):
        Moment("evidence", Evidence, "write", "after", call=call).arrange(monkeypatch, clock.takes_too_long)
    Moment("the look at two of them", Looking, "at", call=3).arrange(monkeypatch, come)
    after = counts(scene.run())
    assert (after["marked_failed"], after["refused"]) == (2, 0)


def test_folders_are_read_where_it_is_something_else_that_takes_the_time(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an upload that only a listing shows would be missed."""
    real = Files.prove

    def prove(files: Files, *given: Any) -> Any:
        clock.takes_too_long()
        return real(files, *given)

    monkeypatch.setattr(Files, "prove", prove)
    asked = []
    do = Read.do

    def read(task: Read, *given: Any) -> Found:
        asked.append(task.is_too_much)
        return do(task, *given)

    monkeypatch.setattr(Read, "do", read)
    assert counts(scene.run())["marked_failed"] == 0
    assert not any(asked)


def test_a_run_that_was_ended_looks_for_nothing_more(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def end() -> None:
        clock.takes_too_long()
        (run,) = scene.instance.get_runs(limit=1)
        scene.instance.report_run_canceled(run)
        looks.append("the first")

    Moment("the second look", Looking, "at", "after", call=2).arrange(monkeypatch, end)
    Moment("the look after it", Looking, "at", call=3).arrange(monkeypatch, lambda: looks.append("another"))
    assert not scene.run().success
    assert looks == ["the first"]
    scene.assert_nothing_changed()


def test_by_looks_that_are_too_old_already_nothing_is_planned(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    Moment("the second look", Looking, "at", "after", call=2).arrange(monkeypatch, clock.takes_too_long)
    planned = []
    real = Evidence.write

    def write(records: Evidence, kind: str, *rows: Any) -> Any:
        planned.append(kind)
        return real(records, kind, *rows)

    monkeypatch.setattr(Evidence, "write", write)
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    assert planned == [MARKING] * 2  # one track, and the others


def test_a_single_track_that_was_not_written_in_time_is_tried_again(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 1)
    AFTER_WRITE.arrange(monkeypatch, clock.takes_too_long)
    after = counts(scene.run())
    assert (after["marked_failed"], after["refused"]) == (len(scene.ghosts), 0)
    scene.assert_all_is_well()


def test_what_somebody_else_changed_is_raced_however_long_it_took_to_find_out(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "WRITTEN_AT_ONCE", 1)

    def strike() -> None:
        clock.takes_too_long()
        scene.library.execute("UPDATE tracks SET updated_at = now() WHERE status = 'processing'")

    AFTER_EVIDENCE.arrange(monkeypatch, strike)
    real = Tracks.mark_failed

    def mark(*args: Any, **premise: Any) -> Written:
        clock.takes_too_long()
        return real(*args, **premise)

    monkeypatch.setattr(Tracks, "mark_failed", mark)
    after = counts(scene.run())
    assert (after["raced"], after["refused"]) == (len(scene.ghosts), 0)


def test_a_part_of_which_every_row_is_refused_is_no_failure_of_the_run(scene: Scene) -> None:
    scene.library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (status <> 'failed') NOT VALID")
    after = counts(scene.run())
    assert (after["refused"], after["marked_failed"]) == (len(scene.ghosts), 0)
    scene.assert_nothing_changed()


def test_a_row_that_somebody_holds_is_raced_and_one_that_is_refused_beside_it_refused(scene: Scene) -> None:
    add_stubborn(scene)
    scene.library.execute("ALTER TABLE tracks ADD CONSTRAINT odd CHECK (title <> 'stubborn') NOT VALID")
    with scene.library.engine.begin() as api:
        api.execute(sa.text("SELECT 1 FROM tracks WHERE id = :id FOR UPDATE"), {"id": scene.ghosts[0]})
        result = scene.run()
    after = counts(result)
    assert (after["refused"], after["raced"], after["marked_failed"]) == (1, 1, len(scene.ghosts) - 1)
    assert evidence(scene, result, MARKING) == []


def test_a_part_whose_write_is_too_slow_for_its_size_is_written_in_smaller_ones(scene: Scene) -> None:
    scene.ghosts += [scene.library.add_ghost() for _ in range(13)]
    scene.library.execute(TRIGGER.format(body="PERFORM pg_sleep(0.15); RETURN NEW;"))
    scene.library.execute(BEFORE)
    after = counts(scene.run(database={"statement_timeout_seconds": 2}))
    assert (after["marked_failed"], after["raced"], after["refused"]) == (len(scene.ghosts), 0, 0)
    scene.assert_all_is_well()


@pytest.mark.parametrize(
    "limit",
    [
        {"database": {"statement_timeout_seconds": 1}},
        {"storage": {"look_timeout_seconds": 5}},
    ],
    ids=["by the statement's own limit", "by the look at its file"],
)
def test_a_track_whose_own_write_takes_too_long_is_refused_and_all_others_are_done(
    scene: Scene, limit: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_SHORTEST_SECONDS", 1.0)
    add_stubborn(scene)
    for statement in SLOW:
        scene.library.execute(statement)
    result = scene.run(**limit)
    after = counts(result)
    assert (after["marked_failed"], after["raced"], after["refused"]) == (len(scene.ghosts), 0, 1)
    scene.assert_all_is_well()
    (line,) = evidence(scene, result, REFUSED)
    assert "could not be written in time" in line["why"]


def test_a_track_that_takes_too_long_to_be_restored_costs_itself_alone(scene: Scene) -> None:
    stubborn = add_stubborn(scene)
    cleanup = scene.run()
    for each in (*scene.ghosts, *stubborn):
        scene.library.write(str(scene.library.row(each)["file_path"]))
    for statement in SLOW:
        scene.library.execute(statement)
    ops = {"find_marked_tracks": {"run_id": cleanup.run_id}, "restore_tracks": {"dry_run": False}}
    undo = scene.run(job="restore_orphan_tracks", ops=ops, database={"statement_timeout_seconds": 1})
    assert undo.success
    after = undo.output_for_node("report_restore")
    assert (after["restored"], after["refused"]) == (len(scene.ghosts), 1)


def test_a_row_that_makes_something_else_of_others_of_its_part_is_no_reason_to_count_them_as_marked(
    scene: Scene,
) -> None:
    """One is refused, so that the part is divided; then one undoes what was made of another one before."""
    library = scene.library
    titles = ("undone", "stubborn", "undoes")
    undone, *_ = [library.add_ghost(title=title, age=timedelta(hours=9 - at)) for at, title in enumerate(titles)]
    before = library.row(undone)
    library.execute(
        TRIGGER.format(
            body="IF NEW.title = 'stubborn' THEN RAISE 'no'; END IF; IF NEW.title = 'undoes' THEN "
            "UPDATE tracks SET status = 'ready' WHERE title = 'undone' AND status = 'failed'; END IF; RETURN NULL;"
        )
    )
    library.execute(AFTER)
    scene.remember()
    result = scene.run()
    after = counts(result)
    failed = [str(identity) for identity, row in library.rows().items() if row["status"] == "failed"]
    bad_codec = [str(identity) for identity, row in scene.good.items() if row["status"] == "failed"]
    assert sorted(row["id"] for row in evidence(scene, result, MARKED)) == sorted(set(failed) - set(bad_codec))
    assert after["marked_failed"] == len(failed) - len(bad_codec)
    assert (after["refused"], after["raced"]) == (2, 0)
    assert library.row(undone) == before


def test_rows_of_a_view_that_nothing_tells_apart_are_counted_as_they_are(scene: Scene) -> None:
    """Through the view, one row comes twice; counts are of rows that were looked for."""
    library = scene.library
    library.execute("ALTER TABLE tracks DROP CONSTRAINT tracks_pkey")
    for path in ("uploads/a.flac", "uploads/b.flac"):
        first = library.add_ghost(file_path=path)
        library.add_ghost(file_path=path, id=first, title="stubborn")
    library.execute(TRIGGER.format(body="IF NEW.title = 'stubborn' THEN NEW.status := OLD.status; END IF; RETURN NEW;"))
    library.execute(BEFORE)
    library.execute("ALTER TABLE tracks RENAME TO all_tracks")
    library.execute("CREATE VIEW tracks AS SELECT * FROM all_tracks")
    scene.remember()
    after = counts(scene.run())
    assert min(after.values()) >= 0
    assert after["missing"] == after["marked_failed"] + after["raced"] + after["refused"]


def test_a_replica_trigger_counts_as_well(scene: Scene) -> None:
    scene.library.execute(TRIGGER.format(body="NEW.status := OLD.status; RETURN NEW;"))
    scene.library.execute(BEFORE)
    scene.library.execute("ALTER TABLE tracks ENABLE REPLICA TRIGGER meddle")
    scene.library.execute(f"ALTER DATABASE {scene.library.database} SET session_replication_role = 'replica'")
    after = counts(scene.run())
    assert (after["refused"], after["marked_failed"]) == (len(scene.ghosts), 0)


# -- one row for one id ---------------------------------------------------------------------------------------------


def test_a_good_track_of_the_same_id_is_left_alone_where_ids_are_not_unique(scene: Scene) -> None:
    library = scene.library
    library.execute("ALTER TABLE tracks DROP CONSTRAINT tracks_pkey")
    library.execute("ALTER TABLE tracks ADD COLUMN tenant int NOT NULL DEFAULT 1")
    library.execute("ALTER TABLE tracks ADD PRIMARY KEY (tenant, id)")
    scene.remember()
    scene.assert_refused(scene.run(), "column id isn't unique by itself")


def test_through_a_view_too_only_the_row_that_was_looked_for_is_written(scene: Scene) -> None:
    """A view can't have a unique index: the premise tells its rows apart."""
    library = scene.library
    library.execute("ALTER TABLE tracks DROP CONSTRAINT tracks_pkey")
    ghost = scene.ghosts[0]
    twin = uuid.UUID(str(ghost))
    library.add("twin.flac", status="ready", content=b"music", id=twin)
    library.add("slow.flac", content=b"", id=twin)
    library.add("uploads/fresh.flac", age=timedelta(minutes=1), id=twin)
    library.execute("ALTER TABLE tracks RENAME TO all_tracks")
    library.execute("CREATE VIEW tracks AS SELECT * FROM all_tracks")
    result = scene.run()
    assert counts(result)["marked_failed"] == len(scene.ghosts)
    with library.engine.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT file_path, status FROM all_tracks WHERE id = :id ORDER BY file_path"), {"id": ghost}
        ).all()
    became = {row.file_path: row.status for row in rows}
    assert (became["twin.flac"], became["slow.flac"], became["uploads/fresh.flac"]) == (
        "ready",
        "processing",
        "processing",
    )
    assert sorted(became.values()) == ["failed", "processing", "processing", "ready"]


@pytest.mark.parametrize("where", ["status = 'processing' OR status = 'ready'", "deleted_at IS NULL"])
def test_a_row_that_a_view_no_longer_shows_once_it_is_failed_is_marked(scene: Scene, where: str) -> None:
    scene.library.execute(f"CREATE VIEW current AS SELECT * FROM tracks WHERE {where}")
    after = counts(scene.run(database={"tracks_table": "current"}))
    assert (after["marked_failed"], after["refused"]) == (len(scene.ghosts), 0)
    scene.assert_all_is_well()


# -- row-level security ---------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(scene: Scene) -> Iterator[Scene]:
    """A scene whose table has row-level security, seen as a role of its own, without any policy so far."""
    role = f"guarded_{uuid.uuid4().hex[:8]}"
    library = scene.library
    library.add("uploads/witness.flac", status="ready", content=b"music")
    scene.remember()
    library.execute(f"CREATE ROLE {role} LOGIN")
    library.execute(f"GRANT SELECT, UPDATE ON tracks TO {role}")
    library.execute("ALTER TABLE tracks ENABLE ROW LEVEL SECURITY")
    owner = library.url
    library.url = sa.make_url(owner).set(username=role).render_as_string(hide_password=False)
    yield scene
    library.url = owner
    library.execute(f"DROP OWNED BY {role}")
    library.execute(f"DROP ROLE {role}")


def policy(scene: Scene, *policies: str) -> None:
    for number, text in enumerate(policies):
        scene.library.execute(f"CREATE POLICY p{number} ON tracks {text}")


def test_row_security_that_shows_nothing_is_said_and_not_taken_for_nothing_stale(guarded: Scene) -> None:
    guarded.assert_refused(guarded.run(), "Row-level security", "see no row")


def test_row_security_with_a_policy_for_reading_only_is_said(guarded: Scene) -> None:
    policy(guarded, "FOR SELECT USING (true)")
    guarded.assert_refused(guarded.run(), "Row-level security", "change no row")


def test_row_security_that_lets_this_role_do_everything_is_no_hindrance(guarded: Scene) -> None:
    policy(guarded, "USING (true)")
    result = guarded.run()
    assert counts(result)["marked_failed"] == len(guarded.ghosts)
    failing = {each.check_name for each in result.get_asset_check_evaluations() if not each.passed}
    assert failing == {"nothing_stuck"}, "slow uploads of the scene are older than a day"


@pytest.mark.parametrize(
    "policies",
    [
        ["FOR SELECT USING (true)", "FOR UPDATE USING (title <> 'stubborn') WITH CHECK (true)"],
        ["FOR SELECT USING (true)", "FOR UPDATE USING (true) WITH CHECK (title <> 'stubborn')"],
    ],
    ids=["hidden_from_writes", "checked_after_writes"],
)
def test_a_row_that_a_policy_keeps_from_being_changed_is_refused_and_the_policy_said(
    guarded: Scene, policies: list[str]
) -> None:
    (stubborn,) = add_stubborn(guarded)
    policy(guarded, *policies)
    with guarded.library.engine.begin() as api:
        api.execute(sa.text("SELECT 1 FROM tracks WHERE id = :id FOR UPDATE"), {"id": guarded.ghosts[0]})
        result = guarded.run()
    after = counts(result)
    assert (after["refused"], after["raced"], after["marked_failed"]) == (1, 1, len(guarded.ghosts) - 1)
    (row,) = evidence(guarded, result, REFUSED)
    assert row["id"] == str(stubborn)
    assert "row-level security" in row["why"]


def test_through_a_view_too_a_row_that_a_policy_keeps_from_being_changed_is_refused(guarded: Scene) -> None:
    add_stubborn(guarded)
    policy(guarded, "FOR SELECT USING (true)", "FOR UPDATE USING (title <> 'stubborn')")
    library = guarded.library
    library.execute("CREATE VIEW seen WITH (security_invoker) AS SELECT * FROM tracks")
    library.execute(f"GRANT SELECT, UPDATE ON seen TO {sa.make_url(library.url).username}")
    after = counts(guarded.run(database={"tracks_table": "seen"}))
    assert (after["refused"], after["raced"], after["marked_failed"]) == (1, 0, len(guarded.ghosts))


def test_row_security_is_seen_on_a_table_of_any_name(guarded: Scene) -> None:
    policy(guarded, "FOR SELECT USING (true)")
    guarded.library.execute('ALTER TABLE tracks RENAME TO "Tr%a""cks"')
    result = guarded.run(database={"tracks_table": 'Tr%a"cks'})
    assert "change no row" in failure(result)


def test_where_a_policy_may_hide_rows_the_check_does_not_say_that_none_is_left(guarded: Scene) -> None:
    policy(guarded, "FOR SELECT USING (title <> 'hidden')", "FOR UPDATE USING (true)")
    result = guarded.run()
    assert counts(result)["marked_failed"] == len(guarded.ghosts)
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "no_orphan_left"]
    assert not check.passed
    assert "ow-level security" in (check.description or "")


# -- faults of the whole statement ----------------------------------------------------------------------------------


def test_a_right_that_the_role_lacks_fails_the_run_at_once(guarded: Scene) -> None:
    guarded.library.execute("ALTER TABLE tracks DISABLE ROW LEVEL SECURITY")
    role = sa.make_url(guarded.library.url).username
    guarded.library.execute(f"REVOKE UPDATE ON tracks FROM {role}")
    result = guarded.run()
    guarded.assert_refused(result, "lacks a right")
    assert evidence(guarded, result, MARKING) == []
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_a_table_that_is_published_without_a_replica_identity_is_said_once_in_plain_words(scene: Scene) -> None:
    library = scene.library
    library.execute("ALTER TABLE tracks DROP CONSTRAINT tracks_pkey")
    library.execute("CREATE UNIQUE INDEX ON tracks (id)")
    library.execute("CREATE PUBLICATION everything FOR TABLE tracks")
    result = scene.run()
    scene.assert_refused(result, "replica identity")
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    library.execute("DROP PUBLICATION everything")
    scene.assert_next_run_finishes()


def test_a_plan_of_which_nothing_came_is_not_left_behind(scene: Scene) -> None:
    record_writes(scene.library)
    scene.library.execute("REVOKE ALL ON writes FROM PUBLIC")
    scene.library.execute("DROP TABLE writes")  # the trigger that notes each write fails now
    result = scene.run()
    assert counts(result)["refused"] == len(scene.ghosts)
    assert evidence(scene, result, MARKING) == []


def test_without_refusals_each_row_is_written_once(scene: Scene) -> None:
    record_writes(scene.library)
    assert counts(scene.run())["marked_failed"] == len(scene.ghosts)
    assert sorted(writes(scene.library)) == sorted(map(str, scene.ghosts))


@pytest.mark.parametrize(
    ("makes", "expected"),
    [("NEW.updated_at := NEW.updated_at + interval '1 day'", "failed"), ("NEW.status := 'processing'", "processing")],
    ids=["the time", "the status"],
)
def test_a_trigger_that_comes_while_a_run_is_under_way_is_seen_in_what_it_makes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, makes: str, expected: str
) -> None:
    def strike() -> None:
        scene.library.execute(
            "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF NEW.status = 'failed' THEN {makes}; END IF; RETURN NEW; END $$"
        )
        scene.library.execute("CREATE TRIGGER odd BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION odd()")

    AFTER_EVIDENCE.arrange(monkeypatch, strike)
    result = scene.run()
    after = counts(result)
    assert {scene.library.status(ghost) for ghost in scene.ghosts} == {expected}
    assert after["marked_failed"] == sum(scene.library.status(ghost) == "failed" for ghost in scene.ghosts)
    with scene.library.engine.connect() as connection:
        times = set(
            connection.scalars(
                sa.text(
                    "SELECT updated_at::text FROM tracks WHERE status_message LIKE 'orphan cleanup%' "
                    "AND status = 'failed'"
                )
            )
        )
    assert {row["updated_at_after"] for row in evidence(scene, result, MARKED)} == times
