"""The jobs on their stages."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import upath

from veza_ops.evidence import MARKED, MARKING, RESTORED, RESTORING, Evidence
from veza_ops.findings import TRACK_FILES
from veza_ops.resources import Database
from veza_ops.storage.proof import Sample
from veza_ops.undo.rules import batches_of_run, find_marked
from veza_ops_tests.faults.alerting import Alerting
from veza_ops_tests.faults.stage import BATCH, BUCKET, Outcome, Row, Stage
from veza_ops_tests.faults.world import Side
from veza_ops_tests.history.test_history import age
from veza_ops_tests.library import Id, run_job
from veza_ops_tests.receiver import Receiver


@dataclass
class Cleanup(Stage):
    """Three ghosts in two batches, one with a track that isn't one, and a service that takes the heartbeat."""

    sides = Stage.sides | {Side.MESSAGES}
    heartbeats: Receiver = field(default_factory=Receiver)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.heartbeats.end()

    def config(self, *, hurried: bool = True) -> dict[str, Any]:
        alerts = {"heartbeat_url": f"http://{self.heartbeats.place}/"}
        return super().config(hurried=hurried) | {"alerts": alerts}

    @property
    def ops(self) -> dict[str, dict[str, Any]]:
        return {"find_stale_tracks": {"batch_size": BATCH}}

    @property
    def may_change(self) -> list[Id]:
        return self.ghosts

    def broken_by_job(self, outcome: Outcome, now: Mapping[Id, Row]) -> Iterator[str]:
        failed = {str(ghost) for ghost in self.ghosts if now[ghost] != self.rows[ghost]}
        for ghost in self.ghosts:
            if now[ghost]["status"] not in {"processing", "failed"}:
                yield f"half a row was written: {now[ghost]}"
        (run_id,) = self.runs_of_evidence() or [outcome.run_id]
        if unknown := failed - self.told(run_id, MARKING, MARKED):
            yield f"changed without evidence: {unknown}"
        if invented := self.told(run_id, MARKED) - failed:
            yield f"confirmed, but never changed: {invented}"
        before = {str(ghost): self.rows[ghost]["status_message"] for ghost in self.ghosts}
        if failed and (known := self.marked(run_id)) != {identity: before[identity] for identity in failed}:
            yield f"the undo would take {known} for what was changed, not {failed}, or for its messages"
        if outcome.result and outcome.result.success:
            yield from self.untrue(outcome.result.output_for_node("report_cleanup"), len(failed))

    def untrue(self, counts: Mapping[str, int], failed: int) -> Iterator[str]:
        """What a run has miscounted."""
        true = (
            counts["marked_failed"] == failed
            and counts["stale"] == 1 + len(self.ghosts)
            and counts["stale"] == counts["present"] + counts["missing"] + counts["unverifiable"]
            and counts["missing"] == counts["marked_failed"] + counts["raced"] + counts["refused"]
        )
        if not true:
            yield f"counted {dict(counts)}, but {failed} were changed"

    def marked(self, run_id: str) -> dict[str, str | None]:
        """What the undo makes of the evidence: who was changed, and the message before."""
        database = Database(url=self.library.url)
        records = Evidence(upath.UPath(self.evidence), run_id)
        with database.tracks() as tracks:
            table, now = tracks.identity, str(tracks.now())
        try:
            batches = batches_of_run(records, table, now, Sample())
            found = [find_marked(batch, records, database.tracks) for batch in batches]
            return {track.id: each.messages[track.place] for each in found for track in each.tracks}
        finally:
            if database._engine is not None:  # noqa: SLF001 - Dagster would do so at the end of the run
                database._engine.dispose()  # noqa: SLF001

    def unfinished(self, outcome: Outcome) -> Iterator[str]:  # noqa: ARG002 - the same whatever went wrong
        after = self.run(hurried=False)
        yield from after.unsuccessful()
        if left := [ghost for ghost in self.ghosts if self.library.status(ghost) != "failed"]:
            yield f"the next run has left {left}: {after.words}"


@dataclass
class Undo(Stage):
    """Three marked tracks, some of which were never confirmed. The files of two of them have come since."""

    job = "restore_orphan_tracks"
    template: Path | None = None
    undone: str = ""
    """The run that marked them."""
    before: dict[Id, Row] = field(default_factory=dict)

    @property
    def ops(self) -> dict[str, dict[str, Any]]:
        return {
            "find_marked_tracks": {"run_id": self.undone, "batch_size": BATCH},
            "restore_tracks": {"dry_run": False},
        }

    @property
    def may_change(self) -> list[Id]:
        return self.ghosts[:2]

    def prepare(self) -> None:
        self.before = self.library.rows()
        ops = {"find_stale_tracks": {"batch_size": BATCH}}
        with self.instance() as instance:
            cleanup = run_job(self.library, instance, ops=ops, evidence={"folder": self.evidence})
        assert cleanup.success
        self.undone = cleanup.run_id
        for number in range(2):
            if self.store is None:
                self.library.write(f"uploads/{number}.flac")
            else:
                self.store.buckets[BUCKET][f"uploads/{number}.flac"] = b"music"
        self.unconfirm(f"{self.undone}/veza_ops")
        if self.store is None:
            self.template = self.folder / "template"
            shutil.move(self.evidence, self.template)

    def unconfirm(self, run: str) -> None:
        """Leave the evidence of the first batch as a run does that is killed right after its commit."""
        if self.store is None:
            (confirmed,) = Path(self.evidence, run).glob(f"{MARKED}-00000.*")
            confirmed.rename(confirmed.with_name(confirmed.name.replace(MARKED, MARKING)))
        else:
            objects = self.store.buckets[self.of_evidence()]
            (key,) = (key for key in objects if f"{MARKED}-00000." in key)
            objects[key.replace(f"/{MARKED}-", f"/{MARKING}-")] = objects.pop(key)

    def reset(self) -> None:
        super().reset()
        if self.template is not None:
            shutil.copytree(self.template, self.evidence)
        elif self.store is not None:
            kept = self.store.buckets[self.of_evidence()]
            self.store.buckets[self.of_evidence()] = {
                f"{self.number}/{key.partition('/')[2]}": content for key, content in kept.items()
            }

    def broken_by_job(self, outcome: Outcome, now: Mapping[Id, Row]) -> Iterator[str]:
        restored = {str(each) for each in self.may_change if now[each] != self.rows[each]}
        yield from self.unlike_before(now, restored)
        (run_id,) = {*self.runs_of_evidence(), outcome.run_id} - {self.undone, ""} or {""}
        if unknown := restored - self.told(run_id, RESTORING, RESTORED):
            yield f"restored without evidence: {unknown}"
        if invented := self.told(run_id, RESTORED) - restored:
            yield f"confirmed, but never restored: {invented}"
        if outcome.result and outcome.result.success:
            counts = outcome.result.output_for_node("report_restore")
            sums = counts["present"] + counts["missing"] + counts["unverifiable"] + counts["changed"]
            if counts["restored"] != len(restored) or counts["marked"] != sums or sums != len(self.ghosts):
                yield f"counted {counts}, but {len(restored)} were restored"

    def unlike_before(self, now: Mapping[Id, Row], restored: set[str]) -> Iterator[str]:
        """The restored rows that aren't what they were before the cleanup."""
        for identity in self.may_change:
            is_same = now[identity] | {"updated_at": None} == self.before[identity] | {"updated_at": None}
            if str(identity) in restored and not is_same:
                yield f"{self.before[identity]} came back as {now[identity]}"

    def unfinished(self, outcome: Outcome) -> Iterator[str]:  # noqa: ARG002 - the same whatever went wrong
        after = self.run(hurried=False)
        yield from after.unsuccessful()
        now = self.library.rows()
        if left := [each for each in self.may_change if now[each]["status"] != "processing"]:
            yield f"the next run has left {left}: {after.words}"
        yield from self.unlike_before(now, set(map(str, self.may_change)))


@dataclass
class UndoOfAll(Undo):
    """The same, by the message in the table, and by what the evidence of all runs says of each track."""

    @property
    def ops(self) -> dict[str, dict[str, Any]]:
        return {"find_marked_tracks": {"batch_size": BATCH}, "restore_tracks": {"dry_run": False}}


@dataclass
class Audit(Stage):
    """A playable track without a file, and a file without a track."""

    job = "audit_track_files"
    gone: Id | None = None

    def prepare(self) -> None:
        self.gone = self.add("playable/gone.flac", status="ready")
        if self.store is None:
            self.library.write("playable/of-nobody.flac")
        else:
            self.store.buckets[BUCKET]["playable/of-nobody.flac"] = b"music"

    @property
    def ops(self) -> dict[str, dict[str, Any]]:
        at_once = {"min_age_hours": 0}  # the file of nobody was written just now
        return {"audit_files": {"page_size": BATCH}, "find_unnamed_files": at_once, "audit_buckets": at_once}

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """One that knows nothing of the run before: an audit that was cut short goes on where it ended."""
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance

    def told_of(self, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
        """What the run told of Veza's files."""
        events = result.filter_events(lambda event: event.event_type is dg.DagsterEventType.ASSET_OBSERVATION)
        told = [event.asset_observation_data.asset_observation for event in events]
        (of_files,) = [each.metadata for each in told if each.asset_key == TRACK_FILES]
        return {name: value.value for name, value in of_files.items()}

    def broken_by_job(self, outcome: Outcome, now: Mapping[Id, Row]) -> Iterator[str]:  # noqa: ARG002 - changes none
        if not (outcome.result and outcome.result.success):
            return
        told = self.told_of(outcome.result)
        missing = [record.data["id"] for record in told["missing_files"].records] if "missing_files" in told else []
        if not set(missing) <= {str(self.gone)}:
            yield f"called missing: {missing}, and only {self.gone} is"
        if told["unnamed"] > 1 or told["missing"] > 1:
            yield f"found more than there is: {told}"
        is_whole = told["unverifiable"] == 0 and not (told["unread_folders"] or told["cut_short"] or told["unsure"])
        is_whole = is_whole and not told["after"] and not told["after_key"] and not told["unnamed_unconfirmed"]
        if is_whole and (told["unnamed"], told["missing"], told["audited"]) != (1, 1, 3):
            yield f"left out what there is, and didn't say so: {told}"

    def unfinished(self, outcome: Outcome) -> Iterator[str]:  # noqa: ARG002 - the same whatever went wrong
        after = self.run(hurried=False)
        assert after.result is not None
        yield from after.unsuccessful()
        if not after.result.success:
            return
        told = self.told_of(after.result)
        if (told["unnamed"], told["missing"], told["audited"]) != (1, 1, 3):
            yield f"the next run found {told}"


@dataclass
class Pruning(Stage):
    """Two runs that are old enough, and one that isn't, each with evidence."""

    job = "prune_history"
    sides = frozenset({Side.DISK, Side.STORE})
    old: list[str] = field(default_factory=list)
    young: str = ""
    template: Path = Path()
    kept: dict[str, bytes] = field(default_factory=dict)

    def prepare(self) -> None:
        self.template = self.folder / "template"
        (self.template / "home").mkdir(parents=True)
        with dg.DagsterInstance.local_temp(str(self.template / "home")) as instance:
            for days in (32, 31, 29):
                for ghost in self.ghosts:
                    self.library.execute("UPDATE tracks SET status = 'processing' WHERE id = :id", id=ghost)
                run = run_job(self.library, instance, evidence={"folder": self.evidence})
                assert run.success
                self.old.append(age(instance, run.run_id, days=days))
        self.young = self.old.pop()
        self.kept = self.files_of(self.young)
        if self.store is None:
            shutil.move(self.evidence, self.template / "evidence")

    def reset(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        super().reset()
        shutil.copytree(self.template / "home", self.home)
        if self.store is None:
            shutil.copytree(self.template / "evidence", self.evidence)
        else:
            kept = self.store.buckets[self.of_evidence()]
            self.store.buckets[self.of_evidence()] = {
                f"{self.number}/{key.partition('/')[2]}": content for key, content in kept.items()
            }

    @property
    def home(self) -> str:
        return str(self.folder / f"home-{self.number}")

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.local_temp(self.home) as instance:
            yield instance

    def broken_by_job(self, outcome: Outcome, now: Mapping[Id, Row]) -> Iterator[str]:  # noqa: ARG002 - changes none
        with self.instance() as instance:
            known = {run.run_id for run in instance.get_runs()}
        if self.young not in known or self.files_of(self.young) != self.kept:
            yield "a run that isn't old was forgotten, or its evidence"
        for run_id in self.old:
            if run_id not in known and self.files_of(run_id):
                yield f"forgotten, but for its evidence: {run_id}"
        if outcome.result and outcome.result.success:
            count = sum(outcome.result.output_for_node("remove_old_runs").values())
            if count != len(set(self.old) - known):
                yield f"counted {count}, but {len(set(self.old) - known)} are gone"

    def unfinished(self, outcome: Outcome) -> Iterator[str]:
        after = self.run(hurried=False)
        yield from after.unsuccessful()
        with self.instance() as instance:
            known = {run.run_id for run in instance.get_runs()}
        for run_id in self.old:
            if run_id in known or self.files_of(run_id):
                yield f"the next run has left {run_id}: {after.result and after.result.success}"
        yield from self.broken_by_job(outcome, {})


STAGES: dict[str, type[Stage]] = {
    "cleanup": Cleanup,
    "undo": Undo,
    "undo of all": UndoOfAll,
    "audit": Audit,
    "pruning": Pruning,
    "alerts": Alerting,
}
