"""`make nightly`: what continuous integration has no time for. Each step that passes leaves its date and commit.

    python -m tools.nightly                 every step
    python -m tools.nightly e2e mutants     these
    python -m tools.nightly --last          when each passed last

All steps run, also behind one that fails; the exit code is 1 then. `tests/nightly.tsv` has the last pass of each step;
`.ci/run` prints it.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tools.size import ROOT

FILE = Path("tests/nightly.tsv")
HEAD = "# step\tlast passed\tcommit\tminutes\n"
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


@dataclass(frozen=True, slots=True)
class Pass:
    """The last time that a step passed; ``minutes`` is how long it took."""

    date: str
    commit: str
    minutes: int


def read(text: str) -> dict[str, Pass]:
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return {step: Pass(date, commit, int(minutes)) for step, date, commit, minutes in rows}


def written(passes: Mapping[str, Pass]) -> str:
    rows = (f"{step}\t{last.date}\t{last.commit}\t{last.minutes}\n" for step, last in passes.items() if step in STEPS)
    return HEAD + "".join(rows)


def report(passes: Mapping[str, Pass]) -> Iterator[str]:
    """A line for each step, also for one that has never passed."""
    for step in STEPS:
        last = passes.get(step)
        yield f"{step:12}passed {last.date} on {last.commit} in {last.minutes} min" if last else f"{step:12}NOT YET"


def main(arguments: list[str], root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("step", nargs="*", choices=[*STEPS, []], help="these alone")
    parser.add_argument("--last", action="store_true", help="show when each step passed last")
    options = parser.parse_args(arguments)
    passes = read((root / FILE).read_text(encoding="utf-8")) if (root / FILE).exists() else {}
    if options.last:
        print(*report(passes), sep="\n")
        return 0
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{FILE}"):
        parser.error("the checkout has changes that are not committed: a pass is of a commit")
    failed = []
    for step in options.step or STEPS:
        began = time.monotonic()
        print(f"== {step}", flush=True)
        if all(subprocess.run(["make", *call], cwd=root, check=False).returncode == 0 for call in STEPS[step]):  # noqa: S603, S607
            passes[step] = Pass(f"{datetime.now(UTC):%Y-%m-%d}", commit, round((time.monotonic() - began) / 60))
            (root / FILE).write_text(written(passes), encoding="utf-8")
        else:
            failed.append(step)
    print(*(f"== FAILED: {step}" for step in failed), *report(passes), sep="\n", flush=True)
    return 1 if failed else 0


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603, S607


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
