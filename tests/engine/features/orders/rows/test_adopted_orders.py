"""Order messages that the old machine received last, and that come in behind newer ones: an order does not come back
after its cancellation, and no older word takes the place of a newer one.

| both knew | the old machine | meanwhile, here | then |
|---|---|---|---|
| - | new | - | it is on the worklist; an analyzer may have it |
| - | new | cancel, which found none | cancelled, once no analyzer has it |
| - | new | the same again | one order |
| new | new, again | cancel; or a person cancels it | cancelled |
| new | cancel | - | cancelled |
| new | cancel | new, again | stays |
| new | hold | new, again | stays |
| new | release | hold | held |
| new | change | change | that of here |
| new | change | cancel | cancelled |
| new | a place | another place | that of here |
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.rows import reading
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.model.values import changed
from engine.model.worklist import Ordered, TakeSettings
from engine.store.journal import Journal
from engine.store.operations import incarnation, record_outcome
from engine.store.recovery import adopting
from tests.support.journals import running, store

TAKE = TakeSettings(known_channels={"chem": frozenset({"GLU"})})
NEW = OrderLine(test="GLU", specimen="S1", placer="A", patient=OrderedPatient(number="P1"))
CANCEL, HOLD, RELEASE = (changed(NEW, action=action) for action in ("cancel", "hold", "release"))
STAT, URGENT = changed(NEW, action="change", priority="stat"), changed(NEW, action="change", priority="asap")
HERE, THERE = changed(NEW, rack="R2", position="2"), changed(NEW, rack="R1", position="1")
PERSON = "a person cancels it"

Words = Sequence[OrderLine | str]


async def said(journal: Journal, message: int, line: OrderLine) -> None:
    """The outcome of a message with this line."""
    outcome: Outcome[Any] = Outcome("filtered", reason=ReasonCode.ORDERS, ordered=Ordered(lines=(line,), settings=TAKE))
    await journal.run(record_outcome.record, message, outcome, [])


async def came(journal: Journal, words: Words) -> None:
    for n, word in enumerate(words):
        if isinstance(word, str):
            await journal.run(worklist.cancel, 1, actor="asha", reason="looked")
        else:
            (stored,) = await store(journal, b"%d of %d" % (n, journal.last_id), channel="his")
            await said(journal, stored.id, word)


@pytest.mark.parametrize(
    ("known", "old", "meanwhile", "then"),
    [
        ([], NEW, [], ["waiting MAYBE_KNOWN"]),
        ([], NEW, [CANCEL], ["cancel_pending"]),
        ([], NEW, [NEW], ["waiting"]),
        ([NEW], NEW, [CANCEL], ["cancelled"]),
        ([NEW], NEW, [PERSON], ["cancelled"]),
        ([NEW], STAT, [CANCEL], ["cancelled"]),
        ([NEW], CANCEL, [], ["cancelled"]),
        ([NEW], CANCEL, [NEW], ["waiting"]),
        ([NEW], HOLD, [NEW], ["waiting"]),
        ([NEW], RELEASE, [HOLD], ["held HELD_BY_LIS"]),
        ([NEW], STAT, [URGENT], ["superseded", "waiting"]),
        ([NEW], THERE, [HERE], ["waiting"]),
    ],
)
async def test_an_adopted_order_is_older_than_what_came_meanwhile(
    tmp_path: Path, known: Words, old: OrderLine, meanwhile: Words, then: list[str]
) -> None:
    first, second = tmp_path / "old" / "var", tmp_path / "new" / "var"
    async with running(first) as journal:
        await store(journal, b"both", channel="his")
        await came(journal, known)
    shutil.copytree(first, second)
    async with running(first) as journal:
        await store(journal, b"old", channel="his")
    async with running(second) as journal:
        await came(journal, meanwhile)
    journal = Journal.open(second, clock=SystemClock())
    try:
        journal.run_alone(incarnation.go_on, "anna", "a test", [])
        assert adopting.run(journal, first, "anna").messages == 1
    finally:
        journal.close()
    async with running(second) as journal:
        await said(journal, journal.tail.adopted.ranges[0][2], old)
        found = sorted(reading.items(journal, reading.ItemFilter()), key=lambda one: one.number)
    assert [f"{one.state} {one.reason}".strip() for one in found] == then
    if old is THERE:
        assert found[0].line.rack == HERE.rack
