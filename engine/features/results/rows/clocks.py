"""Clocks of analyzers that are wrong: what waits for one, and which of them a person has let go on.

A person decides of a clock by releasing a result of it. It is the same clock as long as it is off by as many days.
"""

from contextlib import suppress
from typing import NamedTuple

from engine.features.results.rows import facts
from engine.model.errors import IntegrityError
from engine.model.process.clock import from_us
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.operations.recording import Recording
from engine.store.queries.reader import Reader
from engine.succession.judge.reading import said_in
from engine.succession.judge.words import Judgement, Receipt

RELEASED = "clock_released "  # a counter, with days: results of a channel that a person released, so far behind
DAYS = 30  # a later fault of the clock is another one
_DAY_US = 86_400_000_000


class WrongClock(NamedTuple):
    """How many results of a channel wait for it, and since when."""

    channel: str
    deliveries: int
    first_us: int


def wrong_clocks(reader: Reader) -> list[WrongClock]:
    rows = reader.rows(
        "SELECT l.channel, count(*), min(d.settled_us) FROM lane l JOIN delivery d ON d.lane = l.id"
        " WHERE d.state = 'held' AND d.cause = ? GROUP BY l.channel ORDER BY l.channel",
        (ReasonCode.CLOCK.value,),
    )
    return [WrongClock._make(row) for row in rows]


def note_released(batch: Batch, message_id: int) -> None:
    """A person has released a message that was held for its clock; without its facts the next one is asked about."""
    with suppress(IntegrityError, ValueError, TypeError):
        for stored in facts.stored(batch, [message_id]):
            receipt = Receipt(stored.message, stored.channel, from_us(stored.received_us), is_hl7=stored.is_hl7)
            for days in {said.behind for said, _ in said_in(stored.facts, receipt, judged=True) if said.unsure}:
                batch.count(stored.channel, "", f"{RELEASED}{days}")


def is_released(now: Recording, judgement: Judgement) -> bool:
    """Whether a person has released a result of each clock of a message."""
    since = now.batch.day_of(now.batch.now_us - DAYS * _DAY_US)
    names = "SELECT name FROM counter WHERE day >= ? AND channel = ? AND destination = '' AND name GLOB ?"
    rows = now.batch.execute(names, (since, now.channel, f"{RELEASED}*")).fetchall()
    released = [int(name.removeprefix(RELEASED)) for (name,) in rows]
    wrong = {said.behind for said in judgement.said.values() if said.unsure}
    return all(any(abs(days - before) <= 1 for before in released) for days in wrong)
