"""A journal with many messages an hour apart, of three channels, in all states."""

import random
from functools import partial
from pathlib import Path

from engine.model.content.search_keys import Number
from engine.model.journal.records import Routed
from engine.model.message import Document, Received
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome, search_index
from engine.store.operations.outbox import attempts, decisions
from tests.support.journals import NOW_US, WINDOW_S, opened

CHANNELS = ("chem", "haema", "urine")
TYPES = ("ORU^R01", "ORU^R01", "ORU^R01", "QRY^A19")
HOUR_US = 3_600_000_000


def store(batch: Batch, *, numbers: range, rng: random.Random) -> None:
    """Messages an hour apart, in all states."""
    for number in numbers:
        received = Received(
            channel=rng.choice(CHANNELS),
            payload=b"%d" % number,
            received_us=NOW_US + number * HOUR_US,
            control_id=f"C{number}",
            message_type=rng.choice(TYPES),
        )
        stored = append.store_message(batch, received, repeat_window_s=WINDOW_S)
        done = partial(record_outcome.record, batch, stored.id)
        outcome = partial(Outcome, numbers=(Number("specimen", f"S{number % 50}"), Number("control", f"C{number}")))
        chance = rng.random()
        if chance < 0.1:
            done(outcome("dead", rng.choice((ReasonCode.NO_ROUTE, ReasonCode.UNMAPPED_CODE))))
        elif chance < 0.2:
            done(outcome("filtered", ReasonCode.QUALITY_CONTROL))
        elif chance < 0.95:
            routed = Routed(document=Document(body=b"{}"), destinations=("a", "b"), claimed=(True, True))
            made = done(outcome("mapped"), [routed]).deliveries
            for delivery in made:
                if chance < 0.25:
                    attempts.bury(batch, delivery.id, ReasonCode.REFUSED, "HTTP 422" if delivery.id % 2 else "", b"")
                elif chance < 0.3:
                    decisions.hold(batch, (delivery.id,), ReasonCode.HELD_BY_RULE)
                elif chance < 0.35 and delivery is made[-1]:
                    attempts.postpone(
                        batch,
                        delivery.id,
                        attempt=1,
                        not_before_us=0,
                        cause=ReasonCode.NO_ANSWER,
                        detail="",
                        answer=b"",
                    )
                else:
                    attempts.settle(batch, delivery.id, NOW_US)
        if chance < 0.02:
            record_outcome.dismiss(batch, (stored.id,), "test")


def fill(data: Path, count: int, seed: int = 1) -> Journal:
    journal = opened(data, clock=ManualClock())
    journal.run_alone(partial(store, numbers=range(count), rng=random.Random(seed)))
    while journal.tail.unindexed >= search_index.ADDED_AT_ONCE:  # as the writer's thread does between batches
        journal.upkeep.idle()
    return journal
