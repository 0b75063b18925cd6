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


LOOK = "storage/test_look.py"
MANY = "storage/test_many.py"
PROOF = "storage/test_proof.py"
TABLE = "tracks/test_table.py"
PREFLIGHT = "tracks/test_preflight.py"
CLEANUP = "cleanup/test_cleanup.py"
UNDO = "undo/test_undo.py"
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
        "storage/disk.py",
        "    except OSError as error:\n        return unverifiable(in_words(error))\n",
        "    except OSError as error:\n        return Look(Verdict.MISSING, in_words(error))\n",
        f"{LOOK}",
    ),
    Guard(
        "a name that no file can have is not missing",
        "storage/disk.py",
        '        return unverifiable(f"no file can have this name: {error}")\n',
        "        return Look(Verdict.MISSING, str(error))\n",
        f"{LOOK}",
    ),
    Guard(
        "a dangling link is not missing",
        "storage/disk.py",
        "        if stat.S_ISLNK(os.lstat(path).st_mode) and not _leads_somewhere(path):\n"
        '            return unverifiable(f"{path} is a link to nowhere")\n',
        "        os.stat(path)\n",
        f"{LOOK} {NAMES} -k dangling",
    ),
    Guard(
        "a folder that is a dangling link has no missing files",
        "storage/disk.py",
        "        if dangling := _dangling_link_above(path, known_folders):\n",
        "        if (dangling := _dangling_link_above(path, known_folders)) is Ellipsis:\n",
        f"{LOOK} {NAMES} -k dangling",
    ),
    Guard(
        "what can't be looked at on the way is not missing",
        "storage/disk.py",
        "    except (OSError, ValueError) as error:\n        return unverifiable(str(error))\n",
        "    except (OSError, ValueError):\n        pass\n",
        f"{LOOK}",
    ),
    Guard(
        "another spelling of the name is not missing",
        "storage/disk.py",
        "            if os.path.lexists(other):\n",
        "            if not other:\n",
        f"{LOOK} {NAMES}",
    ),
    Guard(
        "a name in another Unicode normal form is another spelling",
        "storage/disk.py",
        "            spellings.add(os.path.join(folder, unicodedata.normalize(form, name)))\n",
        "            pass\n",
        f"{LOOK} {NAMES}",
    ),
    Guard(
        "a folder in another Unicode normal form is another spelling",
        "storage/disk.py",
        "            spellings.add(unicodedata.normalize(form, path))\n",
        "",
        f"{LOOK} {NAMES}",
    ),
    Guard(
        "a name in Latin-1 on disk is another spelling",
        "storage/disk.py",
        '            spellings.add(os.path.join(folder, os.fsdecode(name.encode("latin-1"))))\n',
        "            pass\n",
        f"{NAMES} -k utf8",
    ),
    Guard(
        "a row without a path is not missing",
        "storage/layout.py",
        '            return unverifiable("the row has no file_path")\n',
        '            return f"{self.root}/nowhere"\n',
        f"{LOOK} {NAMES}",
    ),
    Guard(
        "the address of another storage is not missing",
        "storage/layout.py",
        '            return unverifiable(f"no storage here serves {scheme[1]}:// addresses")\n',
        "            pass\n",
        f"{LOOK} {NAMES}",
    ),
    Guard(
        "a relative path without a root is not missing",
        "storage/layout.py",
        '                return unverifiable("the path is relative and no storage root is configured")\n',
        "                return file_path\n",
        f"{LOOK}",
    ),
    Guard(
        "a path that climbs out of the root is not followed",
        "storage/layout.py",
        "            if depth < 0:\n",
        "            if depth < -99:\n",
        f"{LOOK} {NAMES} -k climb",
    ),
    Guard(
        "path_map matches whole components only",
        "storage/layout.py",
        '            if file_path == head or file_path.startswith(f"{head}/"):\n',
        "            if file_path.startswith(head):\n",
        f"{LOOK}",
    ),
    Guard(
        "the longest prefix of path_map counts",
        "storage/layout.py",
        "        for prefix in sorted(self.path_map, key=len, reverse=True):\n",
        "        for prefix in sorted(self.path_map, key=len):\n",
        f"{LOOK}",
    ),
    Guard(
        "a relative root is refused",
        "storage/layout.py",
        "        if self.root and not os.path.isabs(self.root):\n",
        '        if self.root == "relative":\n',
        f"{LOOK} storms/test_wrong_place.py -k 'absolute or relative'",
    ),
    Guard(
        "a look that hangs is given up",
        "storage/many.py",
        "        return self.is_alive() and time.monotonic() - self.since > self._deadline_seconds\n",
        "        return self.is_alive() and time.monotonic() - self.since > 1e9\n",
        f"{MANY} -k hangs --timeout 20",
    ),
    # -- the proof of storage
    Guard(
        "the proof before the looks",
        "cleanup/rules.py",
        "    files.prove(sweep.sample)\n    looks =",
        "    looks =",
        f"{CLEANUP} {DISK} {UPLOADS}",
    ),
    Guard(
        "the proof after the looks",
        "cleanup/rules.py",
        "    proof = files.prove(sweep.sample)\n",
        "    proof = Proof(0, 0)\n",
        f"{DISK} -k 'mid_run_takes and moved'",
    ),
    Guard(
        "more than half of the sample must be seen",
        "storage/proof.py",
        "        if unseen and proof.seen * 2 <= proof.sampled:\n",
        "        if unseen and proof.seen == 0:\n",
        f"{PROOF}",
    ),
    Guard(
        "the storage that fails its proof is refused",
        "storage/proof.py",
        "        if unseen and proof.seen * 2 <= proof.sampled:\n",
        "        if unseen and proof.seen < 0:\n",
        f"{PROOF} -k proven",
    ),
    Guard(
        "only what is seen proves storage",
        "storage/proof.py",
        "        unseen = [look.reason for look in sample if look.verdict is not Verdict.PRESENT]\n",
        "        unseen = [look.reason for look in sample if look.verdict is Verdict.MISSING]\n",
        f"{PROOF}",
    ),
    Guard(
        "the root must be there",
        "storage/files.py",
        "        self.require_root()\n        return Proof.of",
        "        return Proof.of",
        f"{PROOF} -k root",
    ),
    Guard(
        "the root must be a folder",
        "storage/files.py",
        """        (look,) = self._look_at_all([f"{root.rstrip('/')}/."])\n""",
        "        (look,) = self._look_at_all([root])\n",
        f"{PROOF} -k root",
    ),
    Guard(
        "the sample is of tracks that listeners can play",
        "tracks/table.py",
        '        return [status.not_in(NOT_PLAYABLE), self.table.c.file_path != "", *self._not_deleted()]\n',
        '        return [self.table.c.file_path != "", *self._not_deleted()]\n',
        f"{TABLE} -k sample",
    ),
    # -- the second look
    Guard(
        "the second look",
        "cleanup/ops.py",
        "            part = rules.check_again(storage.files(), first_look)\n",
        "            part = first_look\n",
        f"{CLEANUP} {UPLOADS} -k 'file_that_comes or look'",
    ),
    Guard(
        "only what the second look misses as well is missing",
        "cleanup/rules.py",
        "        again, present=checked.present + again.present,",
        "        again, missing=checked.missing, present=checked.present + again.present,",
        f"{CLEANUP} {UPLOADS} -k 'file_that_comes or look'",
    ),
    # -- the guarded write
    Guard(
        "only a row that is still processing is written",
        "tracks/table.py",
        '        return [self._status_is("processing"), self._created < self._time(cutoff), *self._not_deleted()]\n',
        "        return [self._created < self._time(cutoff), *self._not_deleted()]\n",
        f"{TABLE} {CLEANUP}",
    ),
    Guard(
        "only a row older than the cutoff is written",
        "tracks/table.py",
        '        return [self._status_is("processing"), self._created < self._time(cutoff), *self._not_deleted()]\n',
        '        return [self._status_is("processing"), *self._not_deleted()]\n',
        f"{TABLE} {CLEANUP}",
    ),
    Guard(
        "a row that was soft-deleted is left alone",
        "tracks/table.py",
        '        return [self._status_is("processing"), self._created < self._time(cutoff), *self._not_deleted()]\n',
        '        return [self._status_is("processing"), self._created < self._time(cutoff)]\n',
        f"{TABLE}",
    ),
    Guard(
        "the write repeats the premise",
        "tracks/table.py",
        "            .where(*premise, *unchanged)\n",
        "            .where(*unchanged)\n",
        f"{TABLE} {UPLOADS} -k 'not_as_it_was or changes_after'",
    ),
    Guard(
        "a row whose file_path changed is left alone",
        "tracks/table.py",
        "        unchanged = [sa.cast(table.c.file_path, sa.Text) == checked.c.file_path]\n",
        "        unchanged = [sa.true()]\n",
        f"{TABLE} {UPLOADS} -k 'not_as_it_was or changes_after'",
    ),
    Guard(
        "a row whose updated_at changed is left alone",
        "tracks/table.py",
        "            unchanged.append(updated.is_not_distinct_from(checked.c.updated_at))\n",
        "            pass\n",
        f"{TABLE} {UPLOADS} -k 'not_as_it_was or changes_after'",
    ),
    Guard(
        "a row whose updated_at is null can be told from one that changed",
        "tracks/table.py",
        "            unchanged.append(updated.is_not_distinct_from(checked.c.updated_at))\n",
        "            unchanged.append(updated == checked.c.updated_at)\n",
        f"{TABLE} -k null",
    ),
    Guard(
        "a locked row is skipped, not waited for",
        "tracks/table.py",
        "            .with_for_update(key_share=True, skip_locked=True, of=table)\n",
        "            .with_for_update(key_share=True, of=table)\n",
        f"{TABLE} {UPLOADS} -k locked",
    ),
    Guard(
        "a row that others refer to is no locked row",
        "tracks/table.py",
        "            .with_for_update(key_share=True, skip_locked=True, of=table)\n",
        "            .with_for_update(skip_locked=True, of=table)\n",
        f"{TABLE} {UPLOADS} -k refer",
    ),
    Guard(
        "updated_at is set by the write",
        "tracks/table.py",
        '            values["updated_at"] = self._now(updated.type)\n',
        "            pass\n",
        f"{CLEANUP} -k marked_failed",
    ),
    # -- one clock
    Guard(
        "the database's clock, not this machine's",
        "tracks/table.py",
        "        assert isinstance(now, datetime)\n        return now\n",
        "        from datetime import UTC\n\n        return datetime.now(UTC).replace(tzinfo=None)\n",
        f"{CLOCKS} -k hours_off",
    ),
    Guard(
        "a time without a zone is UTC on the server's clock",
        "tracks/table.py",
        '    now = self.connection.scalar(sa.select(sa.func.timezone("UTC", sa.func.now())))\n',
        "    now = self.connection.scalar(sa.select(sa.cast(sa.func.clock_timestamp(), sa.DateTime())))\n",
        f"{CLOCKS}",
    ),
    Guard(
        "times are compared in UTC",
        "tracks/table.py",
        '        return sa.func.timezone("UTC", moment) if _has_zone(self._created.type) else moment\n',
        '        return sa.func.timezone("Asia/Tokyo", moment) if _has_zone(self._created.type) else moment\n',
        f"{TABLE} {CLEANUP}",
    ),
    Guard(
        "every transaction reads and writes times in UTC",
        "tracks/database.py",
        '        "timezone": "UTC",\n',
        "",
        "tracks/test_database.py storms/test_clocks.py tracks/test_table.py",
    ),
    Guard(
        "a statement is given up after a time",
        "tracks/database.py",
        '        "statement_timeout": f"{statement_timeout_seconds}s",\n',
        "",
        f"tracks/test_database.py {SERVER} -k 'time_outs or too_long'",
    ),
    Guard(
        "a lock on the table is given up after a time",
        "tracks/database.py",
        '        "lock_timeout": f"{lock_timeout_seconds}s",\n',
        "",
        f"tracks/test_database.py {SERVER} -k 'time_outs' --timeout 60",
    ),
    Guard(
        "settings are for the transaction only",
        "tracks/database.py",
        "    local = sa.true()\n",
        "    local = sa.false()\n",
        "tracks/test_database.py -k session",
    ),
    # -- batches, evidence, retries
    Guard(
        "each batch is committed on its own",
        "tracks/table.py",
        "            .where(sa.or_(rows.c.place % size == 0, rows.c.last))\n",
        "            .where(rows.c.last)\n",
        f"{TABLE} -k batches",
    ),
    Guard(
        "a batch holds its own rows only",
        "tracks/table.py",
        "            bounds.append(self._keyset > self._bound(batch.after))\n",
        "            pass\n",
        f"{TABLE} -k batches",
    ),
    Guard(
        "each part is a transaction of its own",
        "cleanup/rules.py",
        "            yield replace(rest if at else self, missing=self.missing[at : at + WRITTEN_AT_ONCE])\n",
        "            yield replace(rest if at else self, missing=() if at else self.missing)\n",
        f"{PARTS} -k transaction",
    ),
    Guard(
        "what an earlier attempt committed is counted as its own",
        "cleanup/ops.py",
        "    written = [read_changes(str(path)) for path in records.files(MARKED, batch)]\n",
        "    written = []\n",
        f"{PARTS} {SERVER} -k 'counted or nobody_hears'",
    ),
    Guard(
        "what an earlier attempt committed is not judged again",
        "cleanup/ops.py",
        "            done, checked = checked.split(earlier)\n",
        "            done, _ = checked.split(earlier)\n",
        f"{PARTS} -k 'counted or come_since'",
    ),
    Guard(
        "what others marked is not counted as written",
        "tracks/table.py",
        "            and (track.file_path, track.updated_at) == (change.file_path, change.updated_at_after)\n",
        "",
        f"{PARTS} -k somebody_else",
    ),
    Guard(
        "evidence is on disk before the commit",
        "cleanup/ops.py",
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
        "steps.py",
        "        raise dg.Failure(description=str(error), allow_retries=error.passing) from None\n",
        "        raise dg.Failure(description=str(error), allow_retries=False) from None\n",
        "tracks/test_database.py -k 'cut or tried'",
    ),
    Guard(
        "a fault that stays is not tried again",
        "steps.py",
        "        raise dg.Failure(description=str(error), allow_retries=error.passing) from None\n",
        "        raise dg.Failure(description=str(error), allow_retries=True) from None\n",
        "tracks/test_database.py -k tried",
    ),
    Guard(
        "a dry run writes nothing",
        "cleanup/ops.py",
        "            if part.missing and config.dry_run:\n",
        "            if False:\n",
        f"{CLEANUP} -k dry",
    ),
    Guard(
        "no password in an error",
        "tracks/database.py",
        '        said = said.replace(str(secret), "***")\n',
        "        pass\n",
        "tracks/test_database.py -k password",
    ),
    # -- the table
    Guard(
        "a missing column is named before anything is written",
        "tracks/preflight.py",
        "    if wrong:\n",
        "    if not wrong and False:\n",
        f"{PREFLIGHT} -k named",
    ),
    Guard(
        "a server that takes no writes is named",
        "tracks/preflight.py",
        '    if read_only == "on":\n',
        '    if read_only == "never":\n',
        f"{PREFLIGHT} -k takes_no_writes",
    ),
    # -- the undo
    Guard(
        "the undo takes only rows with our message",
        "tracks/table.py",
        '        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]\n',
        '        return [self._status_is("failed"), *self._not_deleted()]\n',
        f"{UNDO}",
    ),
    Guard(
        "the undo takes only failed rows",
        "tracks/table.py",
        '        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]\n',
        "        return [message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]\n",
        f"{UNDO}",
    ),
    Guard(
        "the undo leaves soft-deleted rows alone",
        "tracks/table.py",
        '        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN), *self._not_deleted()]\n',
        '        return [self._status_is("failed"), message.regexp_match(MESSAGE_PATTERN)]\n',
        f"{UNDO}",
    ),
    Guard(
        "the undo takes only tracks whose file is there",
        "undo/ops.py",
        "                restored = tracks.restore(looks.present, messages)\n",
        "                restored = tracks.restore([*looks.present, *(row for row, _ in looks.missing)], messages)\n",
        f"{UNDO}",
    ),
    Guard(
        "the undo of a run takes only rows that are as it left them",
        "tracks/table.py",
        "            and (track.file_path, track.updated_at) == (change.file_path, change.updated_at_after)\n",
        "",
        f"{UNDO}",
    ),
    Guard(
        "the undo is a dry run by default",
        "undo/ops.py",
        "    dry_run: bool = Field(default=True,",
        "    dry_run: bool = Field(default=False,",
        f"{UNDO} -k default",
    ),
    # -- when it runs
    Guard(
        "the schedule piles no cleanup on another",
        "cleanup/job.py",
        "statuses=UNFINISHED, ",
        "statuses=[dg.DagsterRunStatus.CANCELED], ",
        "cleanup/test_schedule.py",
    ),
    Guard(
        "the daemon stands for a load, not the process that it replaces every minute",
        "cleanup/loads.py",
        "    if parent is not None and parent.is_daemon:\n",
        "    if parent is not None and parent.pid < 0:\n",
        "cleanup/test_loads.py",
    ),
    Guard(
        "a load has one cleanup",
        "cleanup/loads.py",
        "    elif context.cursor == load:\n",
        "    elif load is None:\n",
        "cleanup/test_loads.py",
    ),
    Guard(
        "a load waits for its database",
        "cleanup/loads.py",
        "        # The cursor stays, so that the load is still made good once there is a database.\n",
        "        context.update_cursor(load)\n",
        "cleanup/test_loads.py",
    ),
    # -- beside other people's definitions
    Guard(
        "a run of somebody else's job in the same code location is not ours",
        "runs.py",
        "    return OURS.items() <= run.tags.items() or (",
        "    return bool(run) or (",
        "test_runs.py history/test_history.py",
    ),
    Guard(
        "checks of somebody else's are not ours",
        "runs.py",
        "checks <= CHECKS and ",
        "",
        "test_runs.py",
    ),
    Guard(
        "a secret is given as a reference only",
        "component.py",
        "        if name in secret:\n",
        "        if name in ():\n",
        "test_component.py",
    ),
    Guard(
        "an address with a password is refused in any other field",
        "component.py",
        "        if _ADDRESS_WITH_PASSWORD.search(str(value)):\n",
        "        if not name:\n",
        "test_component.py",
    ),
    Guard(
        "no other database is taken while a component's own isn't there",
        "component.py",
        "given | {name: reference(given[name].env_var_name) for name in secret & given.keys()})",
        "{n: v for n, v in given.items() if n not in secret or reference(v.env_var_name)})",
        "test_component.py -k nothing_to_do",
    ),
]
