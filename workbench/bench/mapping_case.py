"""The cost of a message by itself: parsed, mapped by a shipped mapping and serialised, in this process alone.

Nothing is received, stored or sent, so the figure is CPU time of this one thread. Every message differs, and none comes
twice: values, times, flags, numbers and patients vary as from a real feed, and each round has messages of its own.
Values that an analyzer repeats (codes, units, ranges) may be cached since the warm-up; where ranges *change*, every
result has a new one.

    messages   parse + map + serialise, and the same with tracing, as `explain` does it
    sizes      one message of 20 to 10,000 OBX: the time for each, which must not grow
    compile    from the files of a mapping to a checked one, each alone and all together as at a start; and to code that
               has run through Python's compiler, which happens when the first message of a structure comes
"""

import gc
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.config import registry
from engine.config.site import mapping_path
from engine.mapping import Program, load
from engine.model.message import FormatOptions, MapContext
from engine.model.process import allocator
from workbench.bench.box import is_noisy, report, spread
from workbench.bench.messages import astm, oru

BATCH = 100  # messages between two looks at the clock
WARM_UP = 300
RESULTS = 20_000  # of all messages of a size and round together
TRACED_PART = 4  # a traced message costs several times as much: fewer are made in the same time
SIZES = (20, 1_000, 10_000)  # a message of 400,000 delimiters, some 20,000 results, is refused (TOO_LARGE)
MESSAGE_US = 250.0
TRACED_TIMES = 5.0
COMPILE_MS = 150.0
CONTEXT = MapContext(
    channel="bench",
    key=bytes(range(32)),
    timezone="Asia/Kolkata",
    received_at=datetime.now(UTC),
    payload_hash="0" * 64,
)
# Compiles in an interpreter of its own, where nothing is yet: prints CPU ms for all names, and with their code.
COMPILE = """
import sys, time
from engine.mapping import load
from engine.config.site import mapping_path
import engine.mapping.functions
search = mapping_path(None)
start = time.process_time()
programs = [load(name, search) for name in sys.argv[1:]]
loaded = time.process_time()
for program in programs:
    for generated in program.plain.values():
        generated.made
print((loaded - start) * 1000, (time.process_time() - start) * 1000)
"""


@dataclass(frozen=True, slots=True)
class Feed:
    """Messages of one kind, without end.

    Attributes:
        make: the message of a number.
    """

    name: str
    format: str
    mapping: str
    make: Callable[[int, random.Random], bytes]


FEEDS = (
    Feed("ORU, 20 OBX", "hl7v2", "hl7-results", lambda n, rng: oru(n % 32, n, rng)),
    Feed("ORU, 20 OBX, changing ranges", "hl7v2", "hl7-results", lambda n, rng: oru(n % 32, n, rng, changing=True)),
    Feed("ASTM, 20 R", "astm", "astm-results", lambda n, rng: b"".join(astm(n % 32, n, rng))),
    Feed(
        "ASTM, 20 R, changing ranges",
        "astm",
        "astm-results",
        lambda n, rng: b"".join(astm(n % 32, n, rng, changing=True)),
    ),
)


def run(folder: Path, *, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report.

    Args:
        folder: on the disk whose sync time is reported; nothing is written for the cases.
        seconds: CPU time for each case and round; sizes and compiling take what they take.
    """
    return report(folder, _cases(seconds, rounds, say))


def _cases(seconds: float, rounds: int, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    search = mapping_path(None)
    programs = {name: load(name, search) for name in dict.fromkeys(feed.mapping for feed in FEEDS)}
    numbers = {feed.name: 0 for feed in FEEDS}
    measured: dict[str, list[tuple[float, float, float, int]]] = {feed.name: [] for feed in FEEDS}
    for index in range(-1, rounds):
        if index == 0:
            allocator.settle()  # as the daemon does once its mappings are compiled
        for feed in FEEDS:
            say("warm-up" if index < 0 else f"round {index + 1} of {rounds}: {feed.name}")
            found = _round(feed, programs[feed.mapping], numbers, seconds if index >= 0 else 0.0)
            if index >= 0:
                measured[feed.name].append(found)
    yield from (_message_case(feed, measured[feed.name]) for feed in FEEDS)
    say(f"one message of up to {max(SIZES):,} results")
    yield from (_size_case(size, programs["hl7-results"], rounds) for size in SIZES)
    names = shipped_mappings(search)
    for chosen in (*([name] for name in names), names):
        say(f"compile {chosen[0] if len(chosen) == 1 else 'all shipped mappings'}")
        yield _compile_case(chosen, rounds)


def shipped_mappings(search: Sequence[Path]) -> list[str]:
    """Names of the mappings in the folders, libraries left out."""
    return sorted(
        path.stem
        for folder in search
        for path in folder.glob("*.yaml")
        if any(line.startswith("mapping:") for line in path.read_text(encoding="utf-8").splitlines())
    )


def _round(feed: Feed, program: Program, numbers: dict[str, int], seconds: float) -> tuple[float, float, float, int]:
    """CPU us for a message: parse, parse + map + serialise, the same traced; and how many there were."""
    codec = registry.load(registry.FORMATS, feed.format)
    options = FormatOptions()
    parse_s = whole_s = traced_s = 0.0
    count = traced = size = 0
    while whole_s < seconds or count < WARM_UP:
        first = numbers[feed.name]
        numbers[feed.name] += BATCH
        rng = random.Random(f"{feed.name} {first}")
        payloads = [feed.make(first + at, rng) for at in range(BATCH)]
        gc.collect()  # what the making left behind is not the mapping's to collect
        start = time.process_time()
        for payload in payloads:
            codec.parse(payload, options)
        parsed = time.process_time()
        for payload in payloads:
            mapped = program.apply(codec.parse(payload, options), CONTEXT)
        mapped_at = time.process_time()
        size = len(mapped.documents[0].body)
        for payload in payloads[: BATCH // TRACED_PART]:
            program.explain(codec.parse(payload, options), CONTEXT)
        parse_s += parsed - start
        whole_s += mapped_at - parsed
        traced_s += time.process_time() - mapped_at
        count += BATCH
        traced += BATCH // TRACED_PART
    return parse_s / count * 1e6, whole_s / count * 1e6, traced_s / traced * 1e6, size


def _message_case(feed: Feed, found: list[tuple[float, float, float, int]]) -> dict[str, Any]:
    whole = spread((each[1] for each in found), 1)
    traced = spread((each[2] for each in found), 1)
    return {
        "scenario": "mapping",
        "kind": "message",
        "case": f"{feed.name}: parse + {feed.mapping} + JSON",
        "bytes_of_json": found[-1][3],
        "parse_us": spread((each[0] for each in found), 1),
        "cpu_us": whole,
        "target_us": MESSAGE_US,
        "traced_us": traced,
        "traced_times": round(traced["median"] / whole["median"], 2),
        "target_times": TRACED_TIMES,
        "noisy": is_noisy(whole),
    }


def _size_case(size: int, program: Program, rounds: int) -> dict[str, Any]:
    """One message of ``size`` results, as often as makes `RESULTS` of them."""
    codec = registry.load(registry.FORMATS, "hl7v2")
    options = FormatOptions()
    rng = random.Random(f"one message of {size}")
    times = []
    for index in range(rounds):
        payloads = [oru(0, index * 1000 + at, rng, results=size) for at in range(max(1, RESULTS // size))]
        gc.collect()
        start = time.process_time()
        for payload in payloads:
            program.apply(codec.parse(payload, options), CONTEXT)
        times.append((time.process_time() - start) / len(payloads) / size * 1e6)
    each = spread(times, 1)
    return {
        "scenario": "mapping",
        "kind": "size",
        "case": f"{size:,} OBX in one message, for each OBX",
        "results": size,
        "cpu_us": each,
        "noisy": is_noisy(each),
    }


def _compile_case(names: list[str], rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-c", COMPILE, *names]
    found = [subprocess.check_output(command).split() for _ in range(rounds)]  # noqa: S603  (our own program)
    loading = spread((float(loaded) for loaded, _ in found), 1)
    return {
        "scenario": "mapping",
        "kind": "compile",
        "case": f"compile {names[0]}" if len(names) == 1 else f"compile all {len(names)} shipped mappings",
        "cpu_ms": loading,
        "with_code_ms": spread((float(made) for _, made in found), 1),
        "target_ms": COMPILE_MS if len(names) > 1 else None,
        "noisy": is_noisy(loading),
    }
