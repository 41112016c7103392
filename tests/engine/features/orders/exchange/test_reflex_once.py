"""A reflex of a tube is ordered, or proposed, exactly once: whatever orders of its test were cancelled, made again or
given twice, and not where a person has ordered it.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.features.orders.rows import reading, reflex
from tests.engine.features.orders.exchange.test_reflex import AUTO, ORDERS, decide, send, site_of
from tests.support.asking import ContentionError, question
from tests.support.ordering_lis import order
from tests.support.waiting import until

TSH, FT4 = "TSH", "FT4"
# Steps behind the order P1 of TSH: `NW P3 TSH` of the LIS, `ask` and `60.0 F` of the analyzer, `decline 1` of a person.
# Then: proposals that wait for a person, and orders of FT4, by hand and by rule.
SCENES: dict[str, tuple[tuple[str, ...], int, int, bool]] = {
    "cancelled, and ordered again": (("CA P1 TSH", "NW P3 TSH", "ask", "60.0 F"), 0, 1, True),
    "discontinued, and ordered again": (("DC P1 TSH", "NW P3 TSH", "ask", "60.0 F"), 0, 1, True),
    "cancelled and again, a person decides": (("CA P1 TSH", "NW P3 TSH", "ask", "60.0 F"), 1, 0, False),
    "cancelled twice": (("CA P1 TSH", "NW P3 TSH", "CA P3 TSH", "NW P4 TSH", "ask", "60.0 F"), 0, 1, True),
    "cancelled twice, a person decides": (
        ("CA P1 TSH", "NW P3 TSH", "CA P3 TSH", "NW P4 TSH", "ask", "60.0 F"), 1, 0, False,
    ),
    "cancelled, and not again": (("CA P1 TSH", "60.0 F"), 1, 0, True),
    "ordered twice": (("NW P3 TSH", "ask", "60.0 F"), 0, 1, True),
    "ordered twice, a person decides": (("NW P3 TSH", "ask", "60.0 F"), 1, 0, False),
    "ordered once more behind its result": (("60.0 F", "NW P3 TSH", "ask", "61.0 F"), 1, 0, False),
    "by rule, and once more behind its result": (("60.0 F", "NW P3 TSH", "ask", "61.0 F"), 0, 1, True),
    "a person orders it before": (("NW P2 FT4", "60.0 F"), 0, 1, False),
    "a person orders it before, and TSH again": (
        ("NW P2 FT4", "CA P1 TSH", "NW P3 TSH", "ask", "60.0 F"), 0, 1, True,
    ),
    "a person orders it behind the proposal": (("60.0 F", "NW P2 FT4", "61.0 C"), 0, 1, False),
    "untrue, ordered by a person, true again": (("60.0 F", "40.0 C", "NW P2 FT4", "61.0 C"), 0, 1, False),
    "unsure, and ordered by a person": ((">45 F", "NW P2 FT4", "61.0 C"), 0, 1, False),
    "its order was cancelled": (("60.0 F", "NW P2 FT4", "CA P2 FT4", "61.0 C"), 1, 0, False),
    "declined, and TSH ordered again": (("60.0 F", "decline 1", "NW P3 TSH", "ask", "70.0 F"), 1, 0, False),
}  # fmt: skip


async def in_turn(act: Callable[[], Awaitable[object]]) -> None:
    """Once more, where ENQ has met ENQ: the host takes a cancelled order back at this moment."""
    try:
        await act()
    except ContentionError:
        await act()


@pytest.mark.parametrize("name", SCENES)
async def test_a_reflex_is_there_exactly_once(tmp_path: Path, name: str) -> None:
    steps, waits, ordered, auto = SCENES[name]
    orders: dict[str, Any] = AUTO if auto else ORDERS
    async with site_of(tmp_path, orders) as (site, his, peer):
        for number, step in enumerate(steps, 2):
            verb, *more = step.split()
            if verb == "ask":
                await in_turn(partial(peer.ask, question("00042")))
            elif verb == "decline":
                assert await decide(site, verb, int(more[0])) == 0
            elif len(more) == 2:
                await his.ask(order(f"M{number}", (verb, *more)))
            else:
                await in_turn(partial(send, site, peer, verb, more[0]))
            await site.settled()
        await until(lambda: not reflex.due(site.journal))
        assert [one.adds for one in reflex.proposals(site.journal)] == [FT4] * waits
        items = filter(None, (reading.item(site.journal, number) for number in range(1, 9)))
        alive = [one.item for one in items if one.item.line.test == FT4 and one.item.state != "cancelled"]
        assert len(alive) == ordered
