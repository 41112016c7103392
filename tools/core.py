"""The durable core: from a byte on the wire to its acknowledgement, and from the journal to a delivery that is settled.

What `core.yaml` lists is held to more than the rest: every line and every branch is reached by a test (`make coverage`,
which is this file run), and a sample of mutants is tried (`make mutants MUTANTS="--group core"`). `docs/quality.md` has
the method.

    python tools/core.py            fails below 100 %, and says which lines and branches no test reached
    python tools/core.py --all      runs every test of the project, and measures the core while those of the list run
    python tools/core.py --write    keeps the figures in docs/figures-tests.md
    python tools/core.py -k mllp    other arguments are pytest's; with fewer tests less is reached
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ALL, WRITE = "--all", "--write"

_LISTED = yaml.safe_load((ROOT / "tools" / "core.yaml").read_text(encoding="utf-8"))
CORE_MODULES: tuple[str, ...] = tuple(_LISTED["modules"])
CORE_TESTS: tuple[str, ...] = tuple(_LISTED["tests"])


def measure(more: list[str], *, every_test: bool = False, write: bool = False) -> int:
    """Runs the tests and reports; 0 where all is reached and nothing fails.

    Args:
        every_test: run all tests. Those that are not of the list count for nothing here; where they have left something
            in a process that hides a line from the list's, the list is run alone, and decides.
        write: keep the figures.
    """
    import coverage

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    from tools import run_tests

    tests = [] if every_test else ["-q", "-m", "not hypothesis", *CORE_TESTS]
    with tempfile.TemporaryDirectory() as kept:
        os.environ["PYTEST_PLUGINS"] = "tools.core_coverage"
        os.environ["LABRELAY_CORE_COVERAGE"] = data = f"{kept}/data"
        processes = ["--numprocesses=auto", "--dist=loadfile", "--no-loadscope-reorder"]
        failed = run_tests.run([*processes, *tests, *more])
        cov = coverage.Coverage(data_file=data, branch=True, include=list(CORE_MODULES), config_file=False)
        cov.combine([kept])
        reached = cov.report(show_missing=True, skip_covered=True, precision=2)
        if write and not failed and not (every_test and reached < 100):
            cov.json_report(outfile=f"{kept}/report")
            _keep(json.loads(Path(kept, "report").read_text(encoding="utf-8"))["totals"])
    if failed:
        return int(failed)
    if reached < 100 and every_test:
        more = [*more, WRITE] if write else more
        return subprocess.run([sys.executable, __file__, *more], check=False).returncode  # noqa: S603 - this file
    if reached < 100:
        print("A line or branch of the durable core is reached by no test: write one, or take the line out.")
        return 1
    return 0


def _keep(totals: dict[str, Any]) -> None:
    from tools import figures

    row = ("the durable core", totals["num_statements"], totals["num_branches"], f"{totals['percent_covered']:.2f} %")
    figures.write("tests", "Coverage", ("of", "statements", "branches", "reached"), [(*row, figures.measured())])


if __name__ == "__main__":
    asked = sys.argv[1:]
    more = [argument for argument in asked if argument not in (ALL, WRITE)]
    sys.exit(measure(more, every_test=ALL in asked, write=WRITE in asked))
