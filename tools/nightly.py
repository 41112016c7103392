"""`make nightly`: what continuous integration has no time for. Each step that passes leaves its date and commit.

    python -m tools.nightly                 every step
    python -m tools.nightly e2e mutants     these
    python -m tools.nightly --last          when each passed last

Who keeps the project runs it, by a timer or by hand, and commits `tests/nightly.tsv`, which has the last pass of each
step and since when it fails; `.ci/run` prints it. All steps run, also behind one that fails; the exit code is 1 then. A
skip that `tests/known-skips.txt` does not list fails its step. A pass is of one commit: nothing may change meanwhile.
"""

import argparse
import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tools.history import git
from tools.size import ROOT

FILE = Path("tests/nightly.tsv")
HEAD = "# step\tlast passed\tcommit\tminutes\tfails since\n"
STEPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "collector": (("collector",),),
    "e2e": (("e2e",),),
    "validators": (("validate-astm",), ("validate-hapi",)),
    "mutants": (
        ("mutants", "MUTANTS=--sample 16 --most 8 --seconds 600 --floor 40"),
        ("mutants", "MUTANTS=--group judge --sample 160 --most 10 --seconds 600 --floor 85"),
    ),
    "brokers": (("soak-kafka",),),
    "costs": (("bench-against",),),
    "faults": (("faults",),),
    "soak": (("soak",),),
}
"""Step -> calls of `make`, one after the other. `docs/quality.md` says where the floors of mutants come from."""


WRITTEN = (FILE, "docs/figures-*.md")  # by the run and by its steps
OF_MAKE = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "PYTEST_ADDOPTS"}


@dataclass(frozen=True, slots=True)
class Last:
    """What became of a step.

    Attributes:
        date, commit, minutes: of its last pass; empty where it has never passed.
        fails_since: date and commit of the first failure after that; empty where there was none.
    """

    date: str = ""
    commit: str = ""
    minutes: str = ""
    fails_since: str = ""

    def __str__(self) -> str:
        passed = f"passed {self.date} on {self.commit} in {self.minutes} min" if self.date else "NOT YET"
        return f"{passed}, FAILS since {self.fails_since}" if self.fails_since else passed


def read(text: str) -> dict[str, Last]:
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return {step: Last(*cells) for step, *cells in rows}


def written(steps: Mapping[str, Last]) -> str:
    rows = (
        f"{step}\t{last.date}\t{last.commit}\t{last.minutes}\t{last.fails_since}".rstrip("\t") + "\n"
        for step, last in steps.items()
        if step in STEPS
    )
    return HEAD + "".join(rows)


def report(steps: Mapping[str, Last]) -> Iterator[str]:
    """A line for each step, also for one that has never run."""
    return (f"{step:12}{steps.get(step, Last())}" for step in STEPS)


def main(arguments: list[str], root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("step", nargs="*", choices=[*STEPS, []], help="these alone")
    parser.add_argument("--last", action="store_true", help="show when each step passed last")
    options = parser.parse_args(arguments)
    if options.last:
        print(*report(_noted(root)), sep="\n")
        return 0
    try:
        with (root / "Makefile").open(encoding="utf-8") as makefile:
            fcntl.flock(makefile, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _run(root, options.step or STEPS, environment(os.environ, makefile.read()))
    except BlockingIOError:
        parser.error("another run is under way in this checkout")
    except ValueError as error:
        parser.error(str(error))


def _run(root: Path, steps: Iterable[str], environ: dict[str, str]) -> int:
    """
    Raises:
        ValueError: the checkout is not as committed, or it changed while a step ran, which has not passed then.
    """
    commit = _commit(root)
    failed = []
    for step in steps:
        began = time.monotonic()
        print(f"== {step}", flush=True)
        passed = all(
            subprocess.run(["make", *call], cwd=root, env=environ, check=False).returncode == 0  # noqa: S603, S607
            for call in STEPS[step]
        )
        if _commit(root) != commit:
            raise ValueError(f"HEAD moved while {step} ran: a pass is of a commit")
        noted, today = _noted(root), f"{datetime.now(UTC):%Y-%m-%d}"
        if passed:
            noted[step] = Last(today, commit, str(round((time.monotonic() - began) / 60)))
        else:
            failed.append(step)
            last = noted.get(step, Last())
            noted[step] = replace(last, fails_since=last.fails_since or f"{today} {commit}")
        (root / FILE).write_text(written(noted), encoding="utf-8")
    print(*(f"== FAILED: {step}" for step in failed), *report(_noted(root)), sep="\n", flush=True)
    return 1 if failed else 0


def _commit(root: Path) -> str:
    """HEAD, of which the checkout has all and nothing else."""
    if git(root, "status", "--porcelain", "--", ".", *(f":!{path}" for path in WRITTEN)):
        raise ValueError("the checkout has files that are not as committed: a pass is of a commit")
    return git(root, "rev-parse", "--short=12", "HEAD")


def _noted(root: Path) -> dict[str, Last]:
    return read((root / FILE).read_text(encoding="utf-8")) if (root / FILE).exists() else {}


def environment(outer: Mapping[str, str], makefile: str) -> dict[str, str]:
    """Without what would change a step: flags of `make` and pytest, and each variable that the Makefile reads."""
    taken = (OF_MAKE | set(re.findall(r"\$\((?:or \$\()?(\w+)", makefile))) - {"PYTHON"}
    return {name: text for name, text in outer.items() if name not in taken} | {"CI": "1"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
