"""`make faults` and `make soak`: run the catalogue's tests one after the other, each in its share of the time.

    python -m tests.faults.harness [--only T1,T6] [--scale long|soak|quick] [--minutes 50] [--no-write]

The seed is drawn and printed, or taken from `LABRELAY_SEED`. Exit code 1 where a test has failed or was cut off.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.harness.catalogue import FAULTS, ROOT, Fault
from tests.faults.harness.plugin import GRACE_S
from tests.faults.harness.report import Json, entry, say, write
from tools.figures import measured

MINUTES = {"quick": 10.0, "long": 50.0, "soak": 24 * 60.0}
SOAK_SHARE = 60  # a fault's seconds of `make faults` are minutes of `make soak`


def main() -> int:
    asked = _arguments()
    seed = int(os.environ.get("LABRELAY_SEED", "0")) or random.SystemRandom().randrange(1, 10**8)
    minutes = asked.minutes or MINUTES[asked.scale]
    chosen = [fault for fault in FAULTS if not asked.only or fault.name in asked.only]
    say(f"LABRELAY_SEED={seed}  scale {asked.scale}, {len(chosen)} faults, at most {minutes:.0f} minutes")
    end = time.monotonic() + minutes * 60
    entries: list[Json] = []
    for fault in sorted(chosen, key=lambda fault: fault.takes_the_rest):
        share = float(fault.seconds) * (SOAK_SHARE if asked.scale == "soak" else 1)
        left = end - time.monotonic()
        if fault.takes_the_rest:
            share = max(share, left - GRACE_S)
        if left < min(share, 20.0):
            say(f"{fault.name:4} {fault.fault}: not run, the {minutes:.0f} minutes are over")
            continue
        found = _run(fault, asked.scale, seed, min(share, left), left)
        entries.append(found)
        if not asked.no_write:
            write([found])  # now: who ends the rest has this
        say(
            f"{fault.name:4} {fault.fault}: {found['result']} in {found['seconds']:.0f} s; "
            + ", ".join(f"{one['done']}/{one['goal']} {one['unit']}" for one in found["reached"])
        )
        if found["figures"]:
            say("     " + " ".join(f"{name}={value}" for name, value in found["figures"].items()))
        for failed in found["failed"]:
            say(f"     FAILED {failed['node']}: {failed['why']}")
    if not asked.no_write and entries:
        say("written: docs/figures-faults.md")
    return int(any(found["result"] != "passed" for found in entries))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__.partition("\n")[0])
    names = {fault.name for fault in FAULTS}
    parser.add_argument("--only", default=[], type=lambda text: text.upper().split(","), help="as T1,T6")
    parser.add_argument("--scale", choices=sorted(MINUTES), default=os.environ.get("LABRELAY_FAULTS", "long"))
    parser.add_argument("--minutes", type=float, default=0.0, help="for all together")
    parser.add_argument("--no-write", action="store_true", help="leave docs/figures-faults.md as it is")
    asked = parser.parse_args()
    unknown = [name for name in asked.only if name not in names]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}: wanted T1 to T{len(FAULTS)}")
    return asked


def _run(fault: Fault, scale: str, seed: int, budget_s: float, at_most_s: float) -> Json:
    """Run one fault's tests in a process of their own; end it by force if it outlives its time."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="labrelay-faults-") as scratch:
        records = Path(scratch) / "records"
        records.mkdir()
        environment = {
            **os.environ,
            "LABRELAY_FAULTS": scale,
            "LABRELAY_SEED": str(seed),
            "LABRELAY_BUDGET_S": str(budget_s),
            "LABRELAY_RECORDS": str(records),
        }
        began_on = measured(Path(scratch))
        log = Path(scratch) / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", "-p", "tests.faults.harness.plugin", "-p", "no:cacheprovider",
                 f"--basetemp={scratch}/tests", *fault.nodes],
                cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            cut = False
            try:
                process.wait(min(budget_s + GRACE_S, at_most_s))
            except subprocess.TimeoutExpired:
                cut = True
            except KeyboardInterrupt:
                _end(process)
                raise
            if cut:
                _end(process)
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(records.iterdir())]
        if process.returncode not in (0, None) and not any(one["outcome"] == "failed" for one in found):
            say(log.read_text(encoding="utf-8", errors="replace")[-4000:])
            cut = True
        seconds = time.monotonic() - began
        return entry(fault, found, seed=seed, seconds=seconds, cut=cut, measured=began_on)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The run of pytest and whatever it has started: they are one process group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
