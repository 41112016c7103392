"""A worklist to ask: tubes with orders that wait, and others whose orders have their results.

Made by the store's own operations, some thousand items a second.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from engine.features.orders import rows as worklist
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.process.clock import SystemClock
from engine.model.worklist import ResultOf, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.journal.starting import recover

CODES = {"GLU": "10", "UREA": "20", "CREA": "30", "NA": "40"}  # code of the LIS: code of the analyzer
TESTS = tuple(CODES)
AT_ONCE = 500  # tubes of one transaction
CLOSED_FROM = 10_000_000  # numbers of tubes whose orders have ended
LIS = "c000"


def tube(number: int) -> str:
    return f"T{number:010d}"


def settings(channels: tuple[str, ...]) -> TakeSettings:
    return TakeSettings(known_channels={name: frozenset(CODES) for name in channels})


def lines(number: int) -> list[OrderLine]:
    """The orders of one tube."""
    patient = OrderedPatient(number=f"MR{number:08d}", family="Rao", given="Asha", birth_date="19700102", sex="F")
    return [
        OrderLine(placer=f"LIS-{number}", specimen=tube(number), specimen_type="SER", test=test, patient=patient)
        for test in TESTS
    ]


def fill(folder: Path, channels: tuple[str, ...], *, tubes: range, closed: bool, say: Callable[[str], None]) -> None:
    """Add the orders of these tubes to the journal in ``folder/var``.

    Args:
        closed: each gets its results, too.
    """
    journal = Journal.open(folder / "var", clock=SystemClock())
    try:
        recover(journal)
        for first in range(tubes.start, tubes.stop, AT_ONCE):
            some = range(first, min(first + AT_ONCE, tubes.stop))
            journal.run_alone(partial(_add, tubes=some, taking=settings(channels), closed=closed))
            if first % 100_000 == 0:
                say(f"{(first - tubes.start) * len(TESTS)} of {len(tubes) * len(TESTS)} items")
    finally:
        journal.close()


def _add(batch: Batch, *, tubes: range, taking: TakeSettings, closed: bool) -> None:
    for number in tubes:
        worklist.take_orders(batch, number + 1, LIS, lines(number), taking)
        if closed:
            channel = min(taking.known_channels)
            worklist.result(batch, number + 2, channel, tube(number), "", [ResultOf(test=test) for test in TESTS])
