"""How many messages were delivered today: stories, with the number that a person expects to read after each step.

A message counts once, when the last of its deliveries was made or superseded by one that was; nothing takes it back.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model.journal.records import Decision, Routed
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts, decisions, queueing
from engine.store.queries.tallies import counters_of
from tests.support.journals import NOW_US, WINDOW_S, opened, received, routed

Step = Callable[[Batch], object]
ONE = [routed(b"{}", "a")]
BOTH = [routed(b"{}", "a", "b")]
TWO_DOCUMENTS = [routed(b"{}", "a"), routed(b"{1}", "a")]


def arrives(number: int, routes: list[Routed], *, again: bool = False) -> Step:
    """Message ``number``, which is the one of that number in the journal, is mapped (once more)."""

    def step(batch: Batch) -> None:
        if not again:
            one = received(b"%d" % number, control_id=f"C{number}", at_us=NOW_US + number)
            append.store_message(batch, one, repeat_window_s=WINDOW_S)
        record_outcome.record(batch, number, Outcome("mapped"), routes, decision=Decision(again=again))

    return step


def of(message: int, destination: str, nth: int = -1) -> Callable[[Batch], int]:
    """The delivery of a message to a destination, the newest one if nothing else is said."""

    def find(batch: Batch) -> int:
        rows = batch.execute(
            "SELECT d.id FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.message_id = ? AND l.destination = ?"
            " ORDER BY d.id",
            (message, destination),
        ).fetchall()
        return int(rows[nth][0])

    return find


def delivered(message: int, destination: str, nth: int = -1) -> Step:
    return lambda batch: attempts.settle(batch, of(message, destination, nth)(batch), NOW_US)


def refused(message: int, destination: str) -> Step:
    return lambda batch: attempts.bury(batch, of(message, destination)(batch), ReasonCode.REFUSED, "", b"")


def superseded(message: int, destination: str) -> Step:
    return lambda batch: decisions.supersede(batch, [of(message, destination)(batch)], "a newer one")


def dismissed(message: int, destination: str) -> Step:
    return lambda batch: decisions.dismiss(batch, [of(message, destination)(batch)], "wrong")


def replayed(message: int, to: str = "") -> Step:
    return lambda batch: queueing.replay(batch, [message], None, to=to)


def rejected_after_a_hold(message: int, destination: str) -> Step:
    def step(batch: Batch) -> None:
        delivery = of(message, destination)(batch)
        decisions.hold(batch, [delivery], ReasonCode.HELD_BY_RULE)
        decisions.reject(batch, delivery)

    return step


STORIES: dict[str, list[tuple[Step, int]]] = {
    "one destination": [(arrives(1, ONE), 0), (delivered(1, "a"), 1)],
    "two destinations": [(arrives(1, BOTH), 0), (delivered(1, "b"), 0), (delivered(1, "a"), 1)],
    "two documents for one destination": [
        (arrives(1, TWO_DOCUMENTS), 0),
        (delivered(1, "a", 0), 0),
        (delivered(1, "a", 1), 1),
    ],
    "two routes, each with a destination of its own": [
        (arrives(1, [routed(b"{}", "a")]), 0),
        (arrives(2, [routed(b"{}", "b")]), 0),
        (arrives(3, [routed(b"{}", "a")]), 0),
        (arrives(4, [routed(b"{}", "a")]), 0),
        (delivered(1, "a"), 1),
        (delivered(2, "b"), 2),
        (delivered(3, "a"), 3),
        (delivered(4, "a"), 4),
    ],
    "replayed to where it went": [
        (arrives(1, BOTH), 0),
        (delivered(1, "a"), 0),
        (delivered(1, "b"), 1),
        (replayed(1), 1),
        (delivered(1, "a"), 1),
        (delivered(1, "b"), 1),
    ],
    "replayed to another destination": [
        (arrives(1, ONE), 0),
        (delivered(1, "a"), 1),
        (replayed(1, "new"), 1),
        (delivered(1, "new"), 1),
    ],
    "replayed to another destination before the first one has it": [
        (arrives(1, BOTH), 0),
        (delivered(1, "a"), 0),
        (replayed(1, "new"), 0),
        (delivered(1, "new"), 0),
        (delivered(1, "b"), 1),
    ],
    "superseded by a newer result": [(arrives(1, ONE), 0), (superseded(1, "a"), 1)],
    "superseded at one of two": [(arrives(1, BOTH), 0), (superseded(1, "a"), 0), (delivered(1, "b"), 1)],
    "superseded while an attempt was under way, which succeeds": [
        (arrives(1, ONE), 0),
        (superseded(1, "a"), 1),
        (delivered(1, "a"), 1),
    ],
    "refused, and processed again": [
        (arrives(1, ONE), 0),
        (refused(1, "a"), 0),
        (arrives(1, ONE, again=True), 0),
        (delivered(1, "a"), 1),
    ],
    "refused by one of two, and processed again": [
        (arrives(1, BOTH), 0),
        (refused(1, "a"), 0),
        (delivered(1, "b"), 0),
        (arrives(1, ONE, again=True), 0),
        (delivered(1, "a"), 1),
    ],
    "delivered, and processed again with another mapping": [
        (arrives(1, ONE), 0),
        (delivered(1, "a"), 1),
        (arrives(1, ONE, again=True), 1),
        (delivered(1, "a"), 1),
    ],
    "one of two documents refused, and sent as it is made now": [
        (arrives(1, TWO_DOCUMENTS), 0),
        (delivered(1, "a", 0), 0),
        (refused(1, "a"), 0),
        (arrives(1, [replace(routed(b"{}"), destinations=()), routed(b"{2}", "a")], again=True), 0),
        (delivered(1, "a"), 1),
    ],
    "dismissed by a person": [(arrives(1, BOTH), 0), (dismissed(1, "a"), 0), (delivered(1, "b"), 0)],
    "rejected by a person": [(arrives(1, ONE), 0), (rejected_after_a_hold(1, "a"), 0)],
    "dismissed, and sent again": [
        (arrives(1, ONE), 0),
        (dismissed(1, "a"), 0),
        (replayed(1), 0),
        (delivered(1, "a"), 1),
    ],
}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = opened(tmp_path, clock=ManualClock())
    yield made
    made.close()


@pytest.mark.parametrize("name", STORIES)
def test_a_message_counts_once_when_all_of_it_is_delivered(journal: Journal, name: str) -> None:
    day = ManualClock().now().strftime("%Y-%m-%d")
    for at, (step, expected) in enumerate(STORIES[name]):
        journal.run_alone(step)
        counted = {(one.destination, one.name): one.n for one in counters_of(journal, day)}
        assert counted.get(("", "delivered"), 0) == expected, f"step {at + 1}"
