"""Each kind of fault at each place of each job: ``python -m veza_ops_tests.faults [WORDS]``.

Takes its time. With WORDS, only what pytest's ``-k`` finds by them; without, the table goes into docs/guarantees.md.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from veza_ops_tests.faults.record import FOLDER, Record

DOCS = Path(__file__).parent.parent.parent / "docs" / "guarantees.md"
BEGIN, END = "<!-- made by `make faults` -->\n", "<!-- end of what it made -->\n"


def main(words: str) -> int:
    """Run all, put the table together, and say whether a promise was broken."""
    with tempfile.TemporaryDirectory(prefix="veza-ops-faults-") as folder:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "4", "--maxschedchunk", "1", "--timeout", "0"]
        command += ["--show-capture=no", "-p", "no:logging", str(Path(__file__).parent)]
        command += ["-k", words] if words else []
        places = {"VEZA_OPS_FAULTS": os.environ.get("VEZA_OPS_FAULTS", "all")}
        code = subprocess.run(command, env=os.environ | places | {FOLDER: folder}, check=False).returncode
        table = Record.collected(Path(folder)).table
    print(table)
    if not words:
        before, _, rest = DOCS.read_text().partition(BEGIN)
        DOCS.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")
    return code


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
