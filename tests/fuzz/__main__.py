"""`make fuzz`: a coverage-guided fuzzer (atheris, libFuzzer) on each parser, for so many seconds each.

    python -m tests.fuzz [--seconds 60] [--target mllp ...] [--keep] [--folder .fuzz]

It begins with the kept corpus and our own samples, and what reaches new code stays in ``FOLDER/TARGET`` for the next
run. ``--keep`` cuts that down to a small corpus and writes it to ``tests/fuzz/corpus``, which `make test` replays.
A crash, an input that takes more than 1 s without instrumentation, or 1 GiB of memory fails the run; the input is
printed as a line for ``tests/fuzz/corpus/found``.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

# Nothing of the product may be imported here: what is there before the fuzzer instruments it gives it no guidance.

NAMES = ("mllp", "astm_link", "e1394", "hl7", "json", "yaml", "expression", "mapping", "abdm")
INSTRUMENTED = [
    "adapters.codecs",
    "engine.features.abdm",
    "engine.mapping",
    "engine.config.reading.yaml_nodes",
    "engine.config",
]
HANG_S = 10  # with instrumentation and on a busy machine; replayed without, 1 s is the limit
LONGEST = 4096  # bytes
MEMORY_MIB = 1024
MOST_KEPT = 150


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the fuzzer's random numbers")
    parser.add_argument("--target", action="append", choices=NAMES, help="only these")
    parser.add_argument("--keep", action="store_true", help="renew the kept corpus from what was found")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="where a run's inputs are kept")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    faults = 0
    for name in arguments.target or NAMES:
        faults += _fuzz(name, arguments.folder / name, arguments.seconds, arguments.seed)
        if arguments.keep:
            _renew(name, arguments.folder / name)
    return 1 if faults else 0


def _fuzz(name: str, folder: Path, seconds: int, seed: int) -> int:
    """Run one target; how many faults it showed."""
    from tests.fuzz.kept import as_line, kept, seeds

    inputs, faults = folder / "inputs", folder / "faults"
    for made in (inputs, faults):
        made.mkdir(parents=True, exist_ok=True)
    for data in (*kept(name), *seeds(name)):
        (inputs / hashlib.sha256(data).hexdigest()[:20]).write_bytes(data[:LONGEST])
    before = set(faults.iterdir())
    ran = _child(
        name, f"-max_total_time={seconds}", f"-seed={seed % 2**31}", f"-artifact_prefix={faults}/", str(inputs)
    )
    done = re.search(r"(?:Done|stat::number_of_executed_units:) *(\d+)", ran.stdout)
    found = sorted(set(faults.iterdir()) - before)
    runs = done[1] if done else "?"
    print(f"{name}: {runs} inputs in {seconds} s, {len(list(inputs.iterdir()))} kept, {len(found)} faults", flush=True)
    if ran.returncode and not found:
        print(ran.stdout[-3000:])
        return 1
    for file in found:
        print(f"  {file.name}: {as_line(file.read_bytes())}")
        print("\n".join("    " + line for line in _why(ran.stdout)))
    return len(found)


def _why(log: str) -> list[str]:
    """The end of the traceback that stopped the fuzzer."""
    start = log.find("=== Uncaught Python exception: ===")
    return log[start:].splitlines()[:30] if start >= 0 else log.splitlines()[-12:]


def _renew(name: str, folder: Path) -> None:
    """Keep what reaches different code, the shortest inputs first.

    libFuzzer's own merge starts itself again by its name, which is a Python process's and cannot be started.
    """
    import coverage

    from tests.fuzz.kept import keep
    from tests.fuzz.targets import TARGETS

    rooms = [f"**/{module.replace('.', '/')}{end}" for module in INSTRUMENTED for end in ("/**", ".py")]
    reached: set[tuple[str, int, int]] = set()
    found: list[bytes] = []
    for data in sorted(
        (file.read_bytes() for file in (folder / "inputs").iterdir()), key=lambda data: (len(data), data)
    ):
        meter = coverage.Coverage(branch=True, data_file=None, config_file=False, include=rooms)
        meter.start()
        try:
            TARGETS[name](data)
        finally:
            meter.stop()
        seen = meter.get_data()
        arcs = {(file, *arc) for file in seen.measured_files() for arc in seen.arcs(file) or ()}
        if arcs - reached and len(found) < MOST_KEPT:
            reached |= arcs
            found.append(data)
    keep(name, found)
    print(f"{name}: {len(found)} inputs of {sum(map(len, found))} bytes reach all of it")


def _child(name: str, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--child", name, f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MIB}",
         f"-max_len={LONGEST}", "-print_final_stats=1", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, errors="replace",
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip


def _in_child(name: str, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris  # only here, and only for Linux: nothing else needs it

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([name, *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _in_child(sys.argv[2], sys.argv[3:])
    sys.exit(main())
