"""The mutants that mean the same as the code, or nothing that is promised: each with the reason why no test notices."""

EQUIVALENTS = {
    "evidence.py digest: one more: 8": "A digest of any size will do that is kept as a number.",
    "looks.py Looking._sample: operand 2 dropped: self.database and (not learned.sample.is_all) and any((area not in "
    "learned.sample.areas for area in ": "`draw_for` gives back a sample that is all there is: it costs a transaction.",
    "tracks/playable.py PlayableTracks._can_hold: if False: if facts_of(self.table).encoding in TAKES_ANY_NAME: return "
    "True": "The database, asked in its stead, says that it takes any text: it costs a question.",
    "looks.py Looking._sample: operand 1 dropped: self.database and (not learned.sample.is_all) and any((area not in "
    "learned.sample.areas for area in ": "Looks without a database have no sample, and then `is_all` is true.",
    "storage/likeness.py _without_query: break/continue: break": "Where nothing was taken off, nothing more is: the "
    "other rounds take time only.",
    "storage/client.py client_of: max_pool_connections dropped: Config(connect_timeout=min(one_try, 5), "
    "read_timeout=one_try, retries={'total_max_attempts': 2, 'mod": "Fewer connections take time only.",
    "storage/files.py Files: one less: 32": "Any number of threads will do.",
    "storage/likeness.py fold_plain: if True: [key or _NOTHING for key in folded] if '' in folded else folded": "The "
    "same list, where no name is empty: it costs time only.",
    "storage/objects.py Prefix._listed: operand 2 dropped: len(page) >= PAGE and len(set(names)) == 1 and (names[0] in "
    "self._prefixes)": "What is listed again of such a page is taken once: it costs questions only.",
    "storage/order.py Order.has_next: comparison: f'{key}/' > last": "A key that is the last "
    "one but for a slash is not above it, with the slash or without.",
    "storage/rows.py Rows.__init__: comparison: '..' in groups.get('', ())": "It says whether anything is looked at "
    "closer, and a path of nothing but dots is never missing: it costs time only.",
    "storage/search.py Search._again: if True: _ASKED_FIRST if self.backend(wanted.folder).asks_first else "
    "_ASKED_AT_ONCE": "So many questions in a task: it costs time only.",
    "storage/wanted.py Node.is_of: comparison: each not in (None, wanted)": "It says where less has to be compared: "
    "without, all is, which takes time only.",
    "archive.py Archive.newest: if True: self._claims(ids) if ids else ()": "Of no ids, no evidence tells anything: it "
    "costs a reading.",
    "cleanup/rules.py total: one less: 0 #2": "A proof of nothing only begins a sum, of which the largest counts.",
    "storage/objects.py Objects._client: if True: if bucket not in self._clients: self._clients[bucket] = "
    "client_of(bucket, store, self.requests, self": "A client made anew costs time only.",
    "storage/pages.py module: one more: 1000": "A store gives a thousand keys in a page at most, whatever it is asked "
    "for.",
    "storage/reading.py Reader.end: statement dropped: names = [name for key, name in zip(keys, names, strict=True) if "
    "key in taken or len(key) > shortest]": "It leaves out names that can be like none: without, all "
    "are compared, which takes time only.",
    "storage/spelling.py module: one less: 1": "What comes before the first sign is the same, however "
    "often it is split.",
    "tracks/database.py _refused: text: ': ' #2": "Words between two others.",
    "tracks/database.py create_engine: one less: 2": "What a pool of one has no room for is connected anew each time: "
    "it costs time only.",
    "tracks/database.py create_engine: one more: 2": "No step has more than two transactions at a time.",
    "tracks/playable.py module: one more: 4": "So many areas are asked for one by one: it costs time only.",
    "tracks/table.py Tracks.batches: order_by dropped: sa.func.lead(1).over(order_by=order)": "PostgreSQL sorts once, "
    "and goes through the rows in that order for both windows.",
    "tracks/writing.py _Dividing.next_part: comparison: time.monotonic() - self.began > DIVIDING_SECONDS": "No two "
    "readings of a clock differ by just so much.",
    "witnesses.py module: one more: 3": "So few witnesses of each of thousands of areas, or one "
    "more: either proves it.",
    "tracks/writing.py _Dividing.refuse: statement dropped: self.began = self.began or time.monotonic()": "What a "
    "trigger makes of rows shows at once; the time counts for one that we don't know.",
    "tracks/database.py _refused: text: ' says: '": "Words between two others.",
    "undo/rules.py Undone: one less: 0": "A proof of nothing only begins a sum, of which the largest counts.",
    "witnesses.py draw: if False: if not size: return Sample()": "Nothing is asked of a sample without a size: drawing "
    "it costs a question.",
    "witnesses.py draw_for: operand 2 dropped: not unknown or not sample.size or sample.is_all": "Without a size, "
    "none is read of any area: it costs a question.",
}
"""By the mutant's key, as `python -m veza_ops_tests.mutants.sampler` says it."""
