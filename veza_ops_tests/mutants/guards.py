"""The guards: for each, the text that is it, the text without it, and the tests that must notice.

One entry per promise that is kept by a single place in the code. `python -m veza_ops_tests.mutants` takes them out.
"""

from typing import NamedTuple


class Guard(NamedTuple):
    """A guard, and how it is taken out."""

    name: str
    file: str
    text: str
    without: str
    tests: str
    """Arguments for pytest, under veza_ops_tests."""


STORAGE = "test_storage.py"
TRACKS = "test_tracks.py"
CLEANUP = "test_cleanup.py"
UNDO = "test_undo.py"
DISK = "storms/test_disk.py"
NAMES = "storms/test_names.py"
UPLOADS = "storms/test_uploads.py"
SERVER = "storms/test_server.py"
PARTS = "storms/test_parts.py"
CLOCKS = "storms/test_clocks.py"

GUARDS = [
    # -- verdicts: "couldn't look" is not "missing"
    Guard(
        "an error other than ENOENT is not missing",
        "storage.py",
        "    except OSError as error:\n        return _unverifiable(_says(error))\n",
        "    except OSError as error:\n        return Look(Verdict.MISSING, _says(error))\n",
        f"{STORAGE}",
    ),
    Guard(
        "a name that no file can have is not missing",
        "storage.py",
        '        return _unverifiable(f"no file can have this name: {error}")\n',
        "        return Look(Verdict.MISSING, str(error))\n",
        f"{STORAGE}",
    ),
    Guard(
        "a dangling link is not missing",
        "storage.py",
        "        if stat.S_ISLNK(os.lstat(path).st_mode) and not _leads_somewhere(path):\n"
        '            return _unverifiable(f"{path} is a link to nowhere")\n',
        "        os.stat(path)\n",
        f"{STORAGE} {NAMES} -k dangling",
    ),
    Guard(
        "a folder that is a dangling link has no missing files",
        "storage.py",
        "        if dangling := _dangling_link_above(path, known_folders):\n",
        "        if (dangling := _dangling_link_above(path, known_folders)) is Ellipsis:\n",
        f"{STORAGE} {NAMES} -k dangling",
    ),
    Guard(
        "what can't be looked at on the way is not missing",
        "storage.py",
        "    except (OSError, ValueError) as error:\n        return _unverifiable(str(error))\n",
        "    except (OSError, ValueError):\n        pass\n",
        f"{STORAGE}",
    ),
    Guard(
        "another spelling of the name is not missing",
        "storage.py",
        "            if os.path.lexists(other):\n",
        "            if not other:\n",
        f"{STORAGE} {NAMES}",
    ),
    Guard(
        "a name in another Unicode normal form is another spelling",
        "storage.py",
        "            spellings.add(os.path.join(folder, unicodedata.normalize(form, name)))\n",
        "            pass\n",
        f"{STORAGE} {NAMES}",
    ),
    Guard(
        "a folder in another Unicode normal form is another spelling",
        "storage.py",
        "            spellings.add(unicodedata.normalize(form, path))\n",
        "",
        f"{STORAGE} {NAMES}",
    ),
    Guard(
        "a name in Latin-1 on disk is another spelling",
        "storage.py",
        '            spellings.add(os.path.join(folder, os.fsdecode(name.encode("latin-1"))))\n',
        "            pass\n",
        f"{NAMES} -k utf8",
    ),
    Guard(
        "a row without a path is not missing",
        "storage.py",
        '            return _unverifiable("the row has no file_path")\n',
        '            return f"{self.root}/nowhere"\n',
        f"{STORAGE} {NAMES}",
    ),
    Guard(
        "the address of another storage is not missing",
        "storage.py",
        '            return _unverifiable(f"no storage here serves {scheme[1]}:// addresses")\n',
        "            pass\n",
        f"{STORAGE} {NAMES}",
    ),
    Guard(
        "a relative path without a root is not missing",
        "storage.py",
        '                return _unverifiable("the path is relative and no storage root is configured")\n',
        "                return file_path\n",
        f"{STORAGE}",
    ),
    Guard(
        "a path that climbs out of the root is not followed",
        "storage.py",
        "            if depth < 0:\n",
        "            if depth < -99:\n",
        f"{STORAGE} {NAMES} -k climb",
    ),
    Guard(
        "path_map matches whole components only",
        "storage.py",
        '            if file_path == head or file_path.startswith(f"{head}/"):\n',
        "            if file_path.startswith(head):\n",
        f"{STORAGE}",
    ),
    Guard(
        "the longest prefix of path_map counts",
        "storage.py",
        "        for prefix in sorted(self.path_map, key=len, reverse=True):\n",
        "        for prefix in sorted(self.path_map, key=len):\n",
        f"{STORAGE}",
    ),
    Guard(
        "a relative root is refused",
        "storage.py",
        "        if self.root and not os.path.isabs(self.root):\n",
        '        if self.root == "relative":\n',
        f"{STORAGE} storms/test_wrong_place.py -k 'absolute or relative'",
    ),
    Guard(
        "a look that hangs is given up",
        "storage.py",
        "        return self.is_alive() and time.monotonic() - self.since > self._deadline_seconds\n",
        "        return self.is_alive() and time.monotonic() - self.since > 1e9\n",
        f"{STORAGE} -k hangs --timeout 20",
    ),
    # -- the proof of storage
    Guard(
        "the proof before the looks",
        "cleanup.py",
        "    files.prove(sweep.sample)\n    looks =",
        "    looks =",
        f"{CLEANUP} {DISK} {UPLOADS}",
    ),
    Guard(
        "the proof after the looks",
        "cleanup.py",
        "    proof = files.prove(sweep.sample)\n",
        "    proof = Proof(0, 0)\n",
        f"{DISK} -k 'mid_run_takes and moved'",
    ),
    Guard(
        "more than half of the sample must be seen",
        "storage.py",
        "        if unseen and proof.seen * 2 <= proof.sampled:\n",
        "        if unseen and proof.seen == 0:\n",
        f"{STORAGE}",
    ),
    Guard(
        "the storage that fails its proof is refused",
        "storage.py",
        "        if unseen and proof.seen * 2 <= proof.sampled:\n",
        "        if unseen and proof.seen < 0:\n",
        f"{STORAGE} -k proven",
    ),
    Guard(
        "only what is seen proves storage",
        "storage.py",
        "        unseen = [look.reason for look in looks if look.verdict is not Verdict.PRESENT]\n",
        "        unseen = [look.reason for look in looks if look.verdict is Verdict.MISSING]\n",
        f"{STORAGE}",
    ),
    Guard(
        "the root must be there",
        "storage.py",
        "        self.require_root()\n        looks = self.look(sample)\n",
        "        looks = self.look(sample)\n",
        f"{STORAGE} -k root",
    ),
    Guard(
        "the root must be a folder",
        "storage.py",
        """        (look,) = self._look_at_all([f"{root.rstrip('/')}/."])\n""",
        "        (look,) = self._look_at_all([root])\n",
        f"{STORAGE} -k root",
    ),
    Guard(
        "the sample is of tracks that listeners can play",
        "tracks.py",
        '        return [status.not_in(NOT_PLAYABLE), self.table.c.file_path != "", *self._not_deleted()]\n',
        '        return [self.table.c.file_path != "", *self._not_deleted()]\n',
        f"{TRACKS} -k sample",
    ),
    # -- the second look
    Guard(
        "the second look",
        "ops.py",
        "            part = cleanup.check_again(storage.files(), first_look)\n",
        "            part = first_look\n",
        f"{CLEANUP} {UPLOADS} -k 'file_that_comes or look'",
    ),
    Guard(
        "only what the second look misses as well is missing",
        "cleanup.py",
        "        missing=again.missing,\n",
        "        missing=checked.missing,\n",
        f"{CLEANUP} {UPLOADS} -k 'file_that_comes or look'",
    ),
    # -- the guarded write
    Guard(
        "only a row that is still processing is written",
        "tracks.py",
        '        return [self._status_is("processing"), self._created < self._time(cutoff), *self._not_deleted()]\n',
        "        return [self._created < self._time(cutoff), *self._not_deleted()]\n",
        f"{TRACKS} {CLEANUP}",
    ),
    Guard(
        "only a row older than the cutoff is written",
        "tracks.py",
        '        return [self._status_is("processing"), self._created < self._time(cutoff), *self._not_deleted()]\n',
        '        return [self._status_is("processing"), *self._not_deleted()]\n',
        f"{TRACKS} {CLEANUP}",
    ),
    Guard(
        "a row that was soft-deleted is left alone",
        "tracks.py",
        '        return [self._status_is("processing"), self._created < self._time(cutoff), *self._not_deleted()]\n',
        '        return [self._status_is("processing"), self._created < self._time(cutoff)]\n',
        f"{TRACKS}",
    ),
    Guard(
        "the write repeats the premise",
        "tracks.py",
        "            .where(*premise, *unchanged)\n",
        "            .where(*unchanged)\n",
        f"{TRACKS} {UPLOADS} -k 'not_as_it_was or changes_after'",
    ),
    Guard(
        "a row whose file_path changed is left alone",
        "tracks.py",
        "        unchanged = [sa.cast(table.c.file_path, sa.Text) == checked.c.file_path]\n",
        "        unchanged = [sa.true()]\n",
        f"{TRACKS} {UPLOADS} -k 'not_as_it_was or changes_after'",
    ),
    Guard(
        "a row whose updated_at changed is left alone",
        "tracks.py",
        "            unchanged.append(updated.is_not_distinct_from(checked.c.updated_at))\n",
        "            pass\n",
        f"{TRACKS} {UPLOADS} -k 'not_as_it_was or changes_after'",
    ),
    Guard(
        "a row whose updated_at is null can be told from one that changed",
        "tracks.py",
        "            unchanged.append(updated.is_not_distinct_from(checked.c.updated_at))\n",
        "            unchanged.append(updated == checked.c.updated_at)\n",
        f"{TRACKS} -k null",
    ),
    Guard(
        "a locked row is skipped, not waited for",
        "tracks.py",
        "            .with_for_update(key_share=True, skip_locked=True, of=table)\n",
        "            .with_for_update(key_share=True, of=table)\n",
        f"{TRACKS} {UPLOADS} -k locked",
    ),
    Guard(
        "a row that others refer to is no locked row",
        "tracks.py",
        "            .with_for_update(key_share=True, skip_locked=True, of=table)\n",
        "            .with_for_update(skip_locked=True, of=table)\n",
        f"{TRACKS} {UPLOADS} -k refer",
    ),
    Guard(
        "updated_at is set by the write",
        "tracks.py",
        '            values["updated_at"] = self._now(updated.type)\n',
        "            pass\n",
        f"{CLEANUP} -k marked_failed",
    ),
    # -- one clock
    Guard(
        "the database's clock, not this machine's",
        "tracks.py",
        "        assert isinstance(now, datetime)\n        return now\n",
        "        from datetime import UTC\n\n        return datetime.now(UTC).replace(tzinfo=None)\n",
        f"{CLOCKS} -k hours_off",
    ),
    Guard(
        "a time without a zone is UTC on the server's clock",
        "tracks.py",
        '    now = connection.scalar(sa.select(sa.func.timezone("UTC", sa.func.now())))\n',
        "    now = connection.scalar(sa.select(sa.cast(sa.func.clock_timestamp(), sa.DateTime())))\n",
        f"{CLOCKS}",
    ),
    Guard(
        "times are compared in UTC",
        "tracks.py",
        '        return sa.func.timezone("UTC", moment) if _has_zone(self._created.type) else moment\n',
        '        return sa.func.timezone("Asia/Tokyo", moment) if _has_zone(self._created.type) else moment\n',
        f"{TRACKS} {CLEANUP}",
    ),
    Guard(
        "every transaction reads and writes times in UTC",
        "database.py",
        '        "timezone": "UTC",\n',
        "",
        "test_database.py storms/test_clocks.py test_tracks.py",
    ),
    Guard(
        "a statement is given up after a time",
        "database.py",
        '        "statement_timeout": f"{statement_timeout_seconds}s",\n',
        "",
        f"test_database.py {SERVER} -k 'time_outs or too_long'",
    ),
    Guard(
        "a lock on the table is given up after a time",
        "database.py",
        '        "lock_timeout": f"{lock_timeout_seconds}s",\n',
        "",
        f"test_database.py {SERVER} -k 'time_outs' --timeout 60",
    ),
    Guard(
        "settings are for the transaction only",
        "database.py",
        "    local = sa.true()\n",
        "    local = sa.false()\n",
        "test_database.py -k session",
    ),
    # -- batches, evidence, retries
    Guard(
        "each batch is committed on its own",
        "tracks.py",
        "            .where(sa.or_(rows.c.place % size == 0, rows.c.last))\n",
        "            .where(rows.c.last)\n",
        f"{TRACKS} -k batches",
    ),
    Guard(
        "a batch holds its own rows only",
        "tracks.py",
        "            bounds.append(self._keyset > self._bound(batch.after))\n",
        "            pass\n",
        f"{TRACKS} -k batches",
    ),
    Guard(
        "each part is a transaction of its own",
        "cleanup.py",
        "            yield replace(rest if at else self, missing=self.missing[at : at + WRITTEN_AT_ONCE])\n",
        "            yield replace(rest if at else self, missing=() if at else self.missing)\n",
        f"{PARTS} -k transaction",
    ),
    Guard(
        "what an earlier attempt committed is counted as its own",
        "ops.py",
        "    changes = [undo.changes_of(read(str(path))) for path in records.files(MARKED, batch)]\n",
        "    changes = []\n",
        f"{PARTS} {SERVER} -k 'counted or nobody_hears'",
    ),
    Guard(
        "what an earlier attempt committed is not judged again",
        "ops.py",
        "            done, checked = checked.split(earlier)\n",
        "            done, _ = checked.split(earlier)\n",
        f"{PARTS} -k 'counted or come_since'",
    ),
    Guard(
        "what others marked is not counted as written",
        "undo.py",
        "        and (track.file_path, track.updated_at) == (change.file_path, change.updated_at_after)\n",
        "",
        f"{PARTS} -k somebody_else",
    ),
    Guard(
        "evidence is on disk before the commit",
        "ops.py",
        "        if changes:\n"
        '            rows = (change._asdict() | {"why": reasons[change.id]} for change in changes)\n'
        "            records.write(MARKED, part.batch.number, rows)\n",
        "    if changes:\n"
        '        rows = (change._asdict() | {"why": reasons[change.id]} for change in changes)\n'
        "        records.write(MARKED, part.batch.number, rows)\n",
        f"{CLEANUP} storms/test_evidence.py -k evidence",
    ),
    Guard(
        "evidence is safe from a power cut",
        "evidence.py",
        "                    os.fsync(file.fileno())\n",
        "                    pass\n",
        "storms/test_evidence.py",
    ),
    Guard(
        "the folder of the evidence is safe from a power cut",
        "evidence.py",
        "                    _sync_folder(self.of_run.path)\n",
        "                    pass\n",
        "storms/test_evidence.py",
    ),
    Guard(
        "no attempt writes over the evidence of another",
        "evidence.py",
        '            path = self._new(f"{kind}-{batch:05}")\n',
        '            path = self.of_run / f"{kind}-{batch:05}.jsonl"\n',
        f"test_evidence.py {SERVER} -k 'evidence or during_the_commit'",
    ),
    Guard(
        "a passing fault is tried again",
        "ops.py",
        "        raise dg.Failure(description=str(error), allow_retries=error.passing) from None\n",
        "        raise dg.Failure(description=str(error), allow_retries=False) from None\n",
        "test_database.py -k 'cut or tried'",
    ),
    Guard(
        "a fault that stays is not tried again",
        "ops.py",
        "        raise dg.Failure(description=str(error), allow_retries=error.passing) from None\n",
        "        raise dg.Failure(description=str(error), allow_retries=True) from None\n",
        "test_database.py -k tried",
    ),
    Guard(
        "a dry run writes nothing",
        "ops.py",
        "            if part.missing and config.dry_run:\n",
        "            if False:\n",
        f"{CLEANUP} -k dry",
    ),
    Guard(
        "no password in an error",
        "database.py",
        '        said = said.replace(str(secret), "***")\n',
        "        pass\n",
        "test_database.py -k password",
    ),
    # -- the table
    Guard(
        "a missing column is named before anything is written",
        "tracks.py",
        "        if wrong:\n",
        "        if not wrong and False:\n",
        f"{TRACKS} -k named",
    ),
    Guard(
        "a server that takes no writes is named",
        "tracks.py",
        '    if read_only == "on":\n',
        '    if read_only == "never":\n',
        f"{TRACKS} -k takes_no_writes",
    ),
    # -- the undo
    Guard(
        "the undo takes only rows with our message",
        "tracks.py",
        '        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]\n',
        '        return [self._status_is("failed"), *self._not_deleted()]\n',
        f"{UNDO}",
    ),
    Guard(
        "the undo takes only failed rows",
        "tracks.py",
        '        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]\n',
        "        return [message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]\n",
        f"{UNDO}",
    ),
    Guard(
        "the undo leaves soft-deleted rows alone",
        "tracks.py",
        '        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]\n',
        '        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN)]\n',
        f"{UNDO}",
    ),
    Guard(
        "the undo takes only tracks whose file is there",
        "undo.py",
        "        if look.verdict is Verdict.PRESENT\n",
        "        if look\n",
        f"{UNDO}",
    ),
    Guard(
        "the undo of a run takes only rows that are as it left them",
        "undo.py",
        "        and (track.file_path, track.updated_at) == (change.file_path, change.updated_at_after)\n",
        "",
        f"{UNDO}",
    ),
    Guard(
        "the undo is a dry run by default",
        "undo_ops.py",
        "    dry_run: bool = Field(default=True,",
        "    dry_run: bool = Field(default=False,",
        f"{UNDO} -k default",
    ),
    # -- when it runs
    Guard(
        "the schedule piles no cleanup on another",
        "schedules.py",
        "statuses=UNFINISHED, ",
        "statuses=[dg.DagsterRunStatus.CANCELED], ",
        "test_schedules.py",
    ),
    Guard(
        "the daemon stands for a load, not the process that it replaces every minute",
        "sensors.py",
        "    if parent is not None and parent.is_daemon:\n",
        "    if parent is not None and parent.pid < 0:\n",
        "test_sensors.py",
    ),
    Guard(
        "a load has one cleanup",
        "sensors.py",
        "    elif context.cursor == load:\n",
        "    elif load is None:\n",
        "test_sensors.py",
    ),
    Guard(
        "a load waits for its database",
        "sensors.py",
        "        # The cursor stays, so that the load is still made good once there is a database.\n",
        "        context.update_cursor(load)\n",
        "test_sensors.py",
    ),
]
