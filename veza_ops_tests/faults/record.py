"""How often each kind of fault struck, and what it broke: kept by each worker, put together in the documentation."""

import json
import os
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "VEZA_OPS_FAULTS_RECORD"
"""The variable that names where workers leave their part."""
_FOLDER = os.environ.get(FOLDER)  # as it is before each test gets an environment of its own


@dataclass
class Record:
    """Runs and violations by job and kind of fault."""

    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, job: str, kind: str, violations: int) -> None:
        """Note one run."""
        self.runs[job, kind] += 1
        self.violations[job, kind] += bool(violations)

    def save(self) -> None:
        """Leave this part where it is collected, if anybody does."""
        if _FOLDER:
            rows = [[*key, self.runs[key], self.violations[key]] for key in self.runs]
            Path(_FOLDER, f"{uuid.uuid4()}.json").write_text(json.dumps(rows))

    @classmethod
    def collected(cls, folder: Path) -> "Record":
        """All parts together."""
        record = cls()
        for part in folder.glob("*.json"):
            for job, kind, runs, violations in json.loads(part.read_text()):
                record.runs[job, kind] += runs
                record.violations[job, kind] += violations
        return record

    @property
    def table(self) -> str:
        """As the documentation has it: a row for each kind, a column for each job, and where both meet the runs."""
        jobs = list(dict.fromkeys(job for job, _ in sorted(self.runs)))
        by_kind: dict[str, dict[str, str]] = defaultdict(dict)
        for (job, kind), runs in self.runs.items():
            broken = self.violations[job, kind]
            by_kind[kind][job] = f"{runs}, **{broken} violations**" if broken else str(runs)
        lines = [f"| Fault | {' | '.join(jobs)} |", f"|---|{'---|' * len(jobs)}"]
        in_order = sorted(by_kind.items(), key=lambda each: each[0].casefold())
        lines += [f"| {kind} | {' | '.join(row.get(job, '') for job in jobs)} |" for kind, row in in_order]
        totals = [sum(runs for (of, _), runs in self.runs.items() if of == job) for job in jobs]
        lines.append(f"| all | {' | '.join(map(str, totals))} |")
        return "\n".join(lines) + "\n"
