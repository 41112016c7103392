"""A site's history: messages of the last 90 days in all their states, by the store's own operations.

Delivered, filtered, dead, refused by the destination, dismissed. Five thousand messages a second and more.
"""

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from engine.model.content.search_keys import Number
from engine.model.journal.records import Routed
from engine.model.message import Document, Received, Report
from engine.model.outcome import Outcome
from engine.model.packing import Packer
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, record_outcome, search_index
from engine.store.operations.outbox import attempts
from engine.store.queries.lanes import list_channels
from workbench.bench.cases import CHANNELS
from workbench.bench.messages import control_id, oru

DAY_US = 86_400_000_000
DAYS = 90
FIRST_NUMBER = 50_000_000  # so that a load's own numbers are new
AT_ONCE = 2_000
OPEN_FOR = 50_000  # messages: the journal's log is taken into its file when it is closed
RESULTS = 5
WINDOW_S = 30 * 86_400.0
# What dead letters say: each a cause of its own, whatever number it names.
DETAILS = (
    *(f"OBX[{{n}}]-{field}: table {table} has no such code" for field in (3, 5, 6, 8) for table in "abcde"),
    "no route takes message {n}",
    "",
)
ANSWERS = (*(f"HTTP {status}" for status in (400, 404, 409, 412, 413, 422)), "Patient/{n:016x} is not known")


def fill(folder: Path, messages: int, say: Callable[[str], None]) -> None:
    """Make a journal with so many messages in ``folder/var``; one that is there is gone on with."""
    maker, done = _Maker(messages), -1
    while done < messages:
        began, journal = time.monotonic(), Journal.open(folder / "var", clock=SystemClock())
        try:
            recover(journal)
            first = done = sum(view.last_seq for view in list_channels(journal))
            while done < min(first + OPEN_FOR, messages):
                count = min(AT_ONCE, messages - done)
                journal.run_alone(partial(maker.store, first=done, count=count))
                done += count
        finally:
            journal.close()
        say(f"{done} of {messages} messages, {(done - first) / (time.monotonic() - began):.0f} a second")


class _Maker:
    """Messages, and what became of them."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._rng = random.Random(7)
        self._begin_us = time.time_ns() // 1000 - DAYS * DAY_US
        entry = '{"resource":{"resourceType":"Observation","status":"final","valueQuantity":{"value":%d}}}'
        body = '{"resourceType":"Bundle","type":"transaction","entry":[' + ",".join(entry % n for n in range(40)) + "]}"
        self._body, self._packed = Packer().pack(body.encode())

    def store(self, batch: Batch, *, first: int, count: int) -> None:
        for number in range(first, first + count):
            self._one(batch, number)
        while batch.unindexed >= search_index.ADDED_AT_ONCE:  # as the upkeep does, which does not run here
            search_index.add(batch)

    def _one(self, batch: Batch, number: int) -> None:
        rng, channel, own = self._rng, number % CHANNELS, FIRST_NUMBER + number // CHANNELS
        received = Received(
            channel=f"c{channel:03d}",
            payload=oru(channel, own, random.Random(own), results=RESULTS),
            received_us=self._begin_us + number * DAYS * DAY_US // self._total,
            peer="127.0.0.1:5000",
            control_id=control_id(channel, own),
            message_type="ORU^R01" if rng.random() < 0.999 else "ORU^R30",
        )
        stored = append.store_message(batch, received, repeat_window_s=WINDOW_S)
        numbers = (Number("patient", f"P{number % 200_000}"), Number("specimen", f"S{number}"))
        chance = rng.random()
        done = partial(record_outcome.record, batch, stored.id)
        outcome = partial(Outcome, mapping="results@0123456789ab", numbers=numbers)
        if chance < 0.005:
            reason = rng.choice((ReasonCode.NO_ROUTE, ReasonCode.UNMAPPED_CODE, ReasonCode.UNREADABLE))
            done(outcome("dead", reason, rng.choice(DETAILS).format(n=number % 60)))
            if chance < 0.001:
                record_outcome.dismiss(batch, (stored.id,), "made up")
            return
        if chance < 0.02:
            done(outcome("filtered", ReasonCode.QUALITY_CONTROL))
            return
        report = Report(rng.randbytes(16), rng.randbytes(16))
        document = Document(body=self._body, packed=self._packed, reports=(report,), conditional=(rng.randbytes(16),))
        routed = Routed(document=document, destinations=("sink",), claimed=(True,))
        for delivery in done(outcome("mapped"), [routed]).deliveries:
            if chance < 0.023:
                attempts.bury(
                    batch, delivery.id, ReasonCode.REFUSED, rng.choice(ANSWERS).format(n=number), b"unknown patient"
                )
            else:
                attempts.settle(batch, delivery.id, received.received_us + 100_000)
