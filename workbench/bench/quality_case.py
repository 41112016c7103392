"""The cost of quality control, in this process alone: CPU time of its hooks for a message without controls, and of a
control with a history of 5,000.

    message    an ORU of 20 is processed and its outcome recorded, in turns with hooks that do nothing: what they take
    point      a control is stored and judged, in a transaction that is open; its commit is that of its message

Medians: other processes slow a message of many.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engine.config.load import load_site
from engine.features.quality_control.on_outcome import QualityControl
from engine.features.quality_control.rows import deciding, points, reading
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.model.content import quality_controls
from engine.model.message import Received
from engine.model.process.clock import SystemClock
from engine.model.routes import routed_by
from engine.processing.process import process
from engine.runtime.build import build_site
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from workbench.bench.box import is_noisy, report, spread
from workbench.bench.cases import CHANNEL, SITE
from workbench.bench.messages import oru

HISTORY, JUDGED = 5_000, 200
WARM_UP = 100
SHARE = 0.02  # of a message
POINT_US = 1_000.0
LEVELS = {"L1": "100", "L2": "200", "L3": "300"}
SOURCE = 'kind: mllp, listen: "127.0.0.1:2575"'  # nothing listens
BY = {"actor": "bench", "reason": "to measure"}
RUN_US = 3_600_000_000


def run(folder: Path, *, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report.

    Args:
        seconds: CPU time of messages for each round.
    """
    return report(folder, [_messages(folder / "messages", seconds, rounds, say), _points(folder, rounds, say)])


def _messages(folder: Path, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    (folder / "config").mkdir(parents=True)
    (folder / "channels").mkdir()
    (folder / "config" / "labrelay.yaml").write_text(SITE.format(web=0, workers=0, sink=9))
    text = CHANNEL.format(number=0, source=SOURCE, mapping="hl7-results")
    (folder / "channels" / "c000.yaml").write_text(text)
    clock = SystemClock()
    with closing(Journal.open(folder / "var", clock=clock)) as journal:
        built = build_site(load_site(folder), identity_key=journal.vault.identity_key, clock=clock)
        routes = built.channels["c000"].routes
        rng, number = random.Random(1), 0

        def one() -> float:
            nonlocal number
            number += 1
            got = Received(
                channel="c000", payload=oru(0, number, rng), received_us=clock.now_us(),
                control_id=str(number), message_type="ORU^R01",
            )  # fmt: skip
            stored = journal.run_alone(append.store_message, got, repeat_window_s=60.0)
            begun = time.process_time()
            outcome = process(stored, routes)
            routed = [routed_by(route, document) for document, route in outcome.documents]
            journal.run_alone(record_outcome.record, stored.id, outcome, routed)
            return time.process_time() - begun

        for _ in range(WARM_UP):
            one()
        gc.collect()
        taken, whole = list[float](), list[float]()
        for index in range(rounds):
            say(f"round {index + 1} of {rounds}: messages with and without hooks")
            pairs: list[tuple[float, float]] = []
            while not pairs or sum(map(sum, pairs)) < seconds * 1e6:
                took = dict.fromkeys(rng.sample((True, False), 2), 0.0)
                for has_hooks in took:
                    with nullcontext() if has_hooks else _no_hooks():
                        took[has_hooks] = one() * 1e6
                pairs.append((took[True], took[False]))
            taken.append(statistics.median(one - other for one, other in pairs))
            whole.append(statistics.median(other for _, other in pairs))
    each, without = spread(taken, 1), spread(whole, 1)
    return {
        "scenario": "quality",
        "case": "ORU, 20 OBX, without controls: of it quality control",
        "cpu_us": each,
        "whole_us": without,
        "target_us": round(SHARE * without["median"], 1),
        "share": round(each["median"] / without["median"], 4),
        "noisy": is_noisy(without),
    }


def _no_hooks() -> AbstractContextManager[object]:
    """Nothing looks for controls, and none of a message waits."""
    stack = ExitStack()
    for name in ("decide", "stored"):
        stack.enter_context(patch.object(QualityControl, name, lambda self: None))
    stack.enter_context(patch.object(quality_controls, "may_have_controls", lambda *_, **__: False))
    return stack


def _points(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"{JUDGED} controls behind {HISTORY}")
    with closing(Journal.open(folder / "points", clock=SystemClock())) as journal:
        lots = [Lot("chem", f"QC-{level}", "Control", level, "A7") for level in LEVELS]
        targets = [
            TargetRow("chem", "", "GLU", level, "A7", "mg/dL", mean, "5", "lab") for level, mean in LEVELS.items()
        ]
        journal.run_alone(deciding.load, lots, targets, file="bench", **BY)
        ids = [one.id for one in reading.list_targets(journal)]
        journal.run_alone(deciding.accept, ids, IN_FORCE, 1, **BY)
        begin = SystemClock().now_us() - (HISTORY + JUDGED * rounds) * RUN_US

        def measured(number: int) -> quality_controls.ControlResult:
            level, mean = list(LEVELS.items())[number % len(LEVELS)]
            return quality_controls.ControlResult(
                test="GLU", codes=("GLU",), number=f"QC-{level}", value=str(int(mean) + number % 2), unit="mg/dL",
                at_us=begin + number // len(LEVELS) * RUN_US + number,
            )  # fmt: skip

        def fill(batch: Batch) -> None:
            for number in range(HISTORY):
                points.add(batch, number + 1, "chem", batch.now_us, measured(number))

        def judge(batch: Batch, first: int) -> list[float]:
            took = []
            for number in range(first, first + JUDGED):
                control = measured(number)
                begun = time.thread_time()
                points.note(batch, number + 1, "chem", batch.now_us, [control])
                took.append((time.thread_time() - begun) * 1e6)
            return took

        journal.run_alone(fill)
        each = [journal.run_alone(judge, HISTORY + index * JUDGED) for index in range(rounds)]
    cpu = spread((statistics.median(one) for one in each), 1)
    return {
        "scenario": "quality",
        "case": f"a control behind {HISTORY:,}: stored and judged",
        "cpu_us": cpu,
        "judged_us": cpu,
        "target_us": POINT_US,
        "noisy": is_noisy(cpu),
    }
