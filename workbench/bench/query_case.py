"""How fast a question for orders is answered, with a large worklist, and beside results.

In this process alone, on the journal: the CPU time of a look-up and of its answer, the commits of a question, the
CPU time of an item. Then with the daemon: from the last byte of a question to the first byte of its
answer, while results flow in. Both with and without items that have ended, on two worklists: those must cost nothing.
"""

import asyncio
import json
import random
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config import registry
from engine.features.orders import rows as worklist
from engine.model.message import FormatOptions
from engine.model.orders import AnswerContext, Asked, Question
from engine.model.ports import Dialogue, Format
from engine.model.process.clock import SystemClock
from engine.model.worklist import AskSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from workbench.bench.box import is_noisy, percentile, report, spread
from workbench.bench.cases import CHANNELS, Bench, Round, totals
from workbench.bench.processes import JsonProcess, free_ports
from workbench.bench.worklist import CLOSED_FROM, CODES, TESTS, fill, lines, settings, tube

ASKERS = 8
QUESTIONS_PER_S, RESULTS_PER_S = 50.0, 300.0
ALONE = 2_000  # questions that are looked up without a daemon; of a small worklist five for each tube
ORDERED = 200  # messages with an order for each test, for the cost of an item
NEW_FROM = 5_000_000  # numbers of their tubes
ASKING = """\
channel: a{number:03d}
source: {{kind: astm, listen: "127.0.0.1:{port}"}}
orders: {{answer: query, codes: {codes}}}
routes:
  - mapping: astm-results
    to: sink
"""
NAMES = tuple(f"a{number:03d}" for number in range(ASKERS))


def run(
    folder: Path, *, items: int, closed: int, seconds: float, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure, and return the report: a case without closed items, and one with them.

    Args:
        items: that are open. closed: that have their results.
    """
    return report(folder, _cases(folder / "query", items, closed, seconds, rounds, say))


def _cases(
    folder: Path, items: int, closed: int, seconds: float, rounds: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    tubes = max(1, items // len(TESTS))
    sites = {0: folder / "open"}
    fill(sites[0], NAMES, tubes=range(tubes), closed=False, say=say)
    if closed:
        sites[closed] = folder / "closed"
        shutil.copytree(sites[0], sites[closed])
        ended = range(CLOSED_FROM, CLOSED_FROM + closed // len(TESTS))
        fill(sites[closed], NAMES, tubes=ended, closed=True, say=say)
    alone: dict[int, list[_Alone]] = {with_closed: [] for with_closed in sites}
    for index in range(rounds):  # in turn, so that both meet the same machine
        for with_closed, site in sites.items():
            say(f"{tubes * len(TESTS)} open items, {with_closed} closed: look-ups alone, {index + 1} of {rounds}")
            alone[with_closed].append(asyncio.run(_alone(site / "var", tubes, index)))
    cases = []
    for with_closed, site in sites.items():
        say(f"{with_closed} closed: with the daemon, beside results")
        beside = _with_daemon(site, tubes, seconds, rounds, say)
        cases.append({"closed": with_closed, **_of_rounds(alone[with_closed], alone[0]), **beside})
    return cases


@dataclass(frozen=True, slots=True)
class _Alone:
    """One round of look-ups and orders on the journal alone: CPU times in ms, commits of a question."""

    look_ups: list[float]
    items: list[float]
    commits: float

    @property
    def look_up_p99(self) -> float:
        return percentile(self.look_ups, 99)

    @property
    def item(self) -> float:
        return sum(self.items) / len(self.items)


def _of_rounds(rounds: list[_Alone], beside: list[_Alone]) -> dict[str, Any]:
    """The figures of all rounds; ratios are medians over the rounds, each to the round of ``beside`` in its turn."""
    took = [one for each in rounds for one in each.look_ups]
    pairs = list(zip(rounds, beside, strict=True))
    return {
        "look_up_cpu_ms": {"p50": round(percentile(took, 50), 3), "p99": round(percentile(took, 99), 3)},
        "commits_per_question": round(sum(each.commits for each in rounds) / len(rounds), 2),
        "item_cpu_ms": round(sum(each.item for each in rounds) / len(rounds), 4),
        "cpu_ratio": round(statistics.median(one.look_up_p99 / other.look_up_p99 for one, other in pairs), 2),
        "item_ratio": round(statistics.median(one.item / other.item for one, other in pairs), 2),
    }


# -- the journal alone -------------------------------------------------------------------------------------------------


@operation(priority=Priority.SETTLE)
def _timed_answer(batch: Batch, message: int, question: Question, asking: AskSettings) -> tuple[Any, float]:
    began = time.thread_time()
    found = worklist.answer(batch, message, question, asking)
    return found, time.thread_time() - began


@operation(priority=Priority.SETTLE)
def _timed_orders(batch: Batch, number: int) -> float:
    began = time.thread_time()
    worklist.take_orders(batch, number, "", lines(number), settings(NAMES))
    return time.thread_time() - began


async def _alone(data: Path, tubes: int, index: int) -> _Alone:
    """``index``: of the round; each has questions and tubes of its own."""
    new = NEW_FROM + index * ORDERED
    journal = Journal.open(data, clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    records: Format = registry.load(registry.FORMATS, "astm")
    dialogue: Dialogue = registry.load(registry.DIALOGUES, "astm").dialogue(None)
    questions = min(ALONE, 5 * tubes)
    rng, took, context = random.Random(index), list[float](), AnswerContext(now="", control_id="Q1")
    try:
        before = journal.writer.stats.batches
        for number in range(questions):
            at = rng.randrange(tubes)
            channel = NAMES[at % ASKERS]
            began = time.thread_time()
            text = f"H|\\^&|||A^1|||||LIS||P|1\rQ|1|^{tube(at)}||ALL||||||||O\rL|1|N\r".encode()
            parsed = records.parse(text, FormatOptions())
            asked = dialogue.question(parsed)
            building = time.thread_time() - began
            assert asked is not None
            asking = AskSettings(channel=channel, codes=CODES)
            found, looking = await journal.run(_timed_answer, number + 1, asked, asking)
            began = time.thread_time()
            replies = dialogue.answer(parsed, asked, found.tubes, context)
            took.append((looking + building + time.thread_time() - began) * 1000)
            assert found.tubes[0].asked == Asked(specimen=tube(at), echo=asked.asked[0].echo)
            await journal.run(worklist.offered, found.query, replies[0].items, channel, time.time_ns() // 1000)
        commits = (journal.writer.stats.batches - before) / questions
        of_items = [await journal.run(_timed_orders, new + number) / len(TESTS) * 1000 for number in range(ORDERED)]
    finally:
        await journal.stop()
    return _Alone(took, of_items, commits)


# -- with the daemon ---------------------------------------------------------------------------------------------------


class _QueryBench(Bench):
    """A site whose analyzers ask, beside those that send results."""

    def __init__(self, folder: Path) -> None:
        web, *ports = free_ports(CHANNELS + ASKERS + 1)
        self.asking_ports, self._ports = ports[:ASKERS], ports[ASKERS:]
        (folder / "channels").mkdir(parents=True, exist_ok=True)
        for number, port in enumerate(self.asking_ports):
            text = ASKING.format(number=number, port=port, codes=json.dumps(CODES))
            (folder / "channels" / f"a{number:03d}.yaml").write_text(text)
        self.askers = JsonProcess("workbench.bench.askers")
        self.askers.hear()
        sender = JsonProcess("workbench.bench.load")
        sender.hear()
        sources = [(f'kind: mllp, listen: "127.0.0.1:{port}"', "hl7-results") for port in self._ports]
        super().__init__(folder, sender, sources, web=web, port=ports[-1])

    def close(self) -> None:
        self.askers.stop()
        super().close()

    def round(self, tubes: int, seconds: float) -> tuple[Round, dict[str, Any]]:
        """Questions beside results for so long; what came of the results, and of the questions."""
        count = max(1, round(QUESTIONS_PER_S * seconds / ASKERS))
        told = {
            "ports": self.asking_ports, "connections": ASKERS, "rate": QUESTIONS_PER_S, "count": count, "tubes": tubes,
            "seed": self.first,
        }  # fmt: skip
        self.askers.tell(json.dumps(told))
        self.askers.hear()
        each = max(1, round(RESULTS_PER_S * seconds / CHANNELS))
        ports = [(port, "mllp") for port in self._ports]
        results = {
            "ports": ports, "connections": CHANNELS, "first": self.first, "count": each, "rate": RESULTS_PER_S,
            "seed": self.first,
        }  # fmt: skip
        self.first += each
        played, _ = self.play(results)
        return played, self.askers.hear()


def _with_daemon(site: Path, tubes: int, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    bench = _QueryBench(site)
    try:
        bench.round(tubes, 1.0)  # what is loaded at the first question is loaded
        played, asked = list[Round](), list[dict[str, Any]]()
        for index in range(rounds):
            say(f"round {index + 1} of {rounds}")
            one, questions = bench.round(tubes, seconds)
            played.append(one)
            asked.append(questions)
        times = [value * 1000 for one in asked for value in one["answer_s"]]
        p99s = spread((percentile(one["answer_s"], 99) * 1000 for one in asked), 2)
        return {
            "scenario": "query",
            "rounds": rounds,
            "open": tubes * len(TESTS),
            "questions": len(times),
            "messages": sum(one.messages for one in played),
            "answer_ms": {"p50": round(percentile(times, 50), 2), "p99": round(percentile(times, 99), 2)},
            "unanswered": sum(one["unanswered"] for one in asked),
            "wrong": sum(one["wrong"] for one in asked),
            "rss_mib_max": round(bench.daemon.rss_mib("VmHWM"), 1),
            **totals(played, "lost", "repeats_same_key", "repeats_other_key", "reordered", "refused"),
            "noisy": is_noisy(p99s),
        }
    finally:
        bench.close()
