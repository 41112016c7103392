"""Orders of a damaged worklist: what is proven comes over, the others are named and ordered again, as maybe known."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.features.orders.rows.forgetting import RESERVED
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.process.clock import SystemClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.recovery.salvage import saving
from engine.store.recovery.salvage.found import Salvage, sentences
from tests.engine.features.orders.exchange.test_orders_of_a_lis import ANALYZER, lis
from tests.faults.test_salvage import pages_of, spoil
from tests.support.asking import asking, question
from tests.support.ordering_lis import order, ordering
from tests.support.running import RunningSite, running_site
from tests.support.waiting import until

SITE = {"chemistry": ANALYZER, "lis": lis()}
Change = Callable[[sqlite3.Connection], object]
NEXT = 4 + RESERVED  # after a salvage of four orders


async def fill(folder: Path) -> None:
    """W1 was given to the analyzer, W2 waits, W3 was cancelled, W4 waits."""
    async with (
        running_site(folder, SITE) as site,
        ordering(site.port("lis")) as his,
        asking(site.port("chemistry")) as analyzer,
    ):
        for number in (1, 2, 3, 4):
            await his.ask(order(f"M{number}", ("NW", f"P{number}", "TSH"), tube=f"T{number}", patient=f"MR{number}"))
        await his.ask(order("M5", ("CA", "P3", "TSH"), tube="T3", patient="MR3"))
        await analyzer.ask(question("T1"))
        wanted = {1: "P1 offered", 2: "P2 waiting", 3: "P3 cancelled", 4: "P4 waiting"}
        await until(lambda: states(site) == wanted)
        await site.settled()


def states(site: RunningSite) -> dict[int, str]:
    found = reversed(read_items(site.journal, ItemFilter()))
    return {one.number: f"{one.line.placer} {one.state} {one.reason}".strip() for one in found}


def damaged(folder: Path, change: Change) -> Salvage:
    """Change the journal behind its back, and salvage it into its place."""
    with closing(sqlite3.connect(folder / "var" / JOURNAL_NAME)) as connection, connection:
        change(connection)
    return salvaged(folder)


def salvaged(folder: Path) -> Salvage:
    found = saving.run(folder / "var", folder / "new", clock=SystemClock(), actor="ann", reason="a bad page")
    (folder / "var").rename(folder / "old")
    (folder / "new").rename(folder / "var")
    return found


def told(found: Salvage) -> str:
    return "\n".join(sentences(found, Path("new")))


def lost(*numbers: int, history: bool) -> Change:
    marks = ", ".join(map(str, numbers))

    def change(connection: sqlite3.Connection) -> None:
        connection.execute(f"DELETE FROM order_item WHERE number IN ({marks})")
        if history:
            connection.execute(f"DELETE FROM order_event WHERE item IN ({marks})")

    return change


@pytest.mark.parametrize("history", [False, True], ids=["its history is there", "its history is lost, too"])
async def test_an_order_that_is_lost_is_named_and_ordered_again_as_maybe_known(tmp_path: Path, history: bool) -> None:
    await fill(tmp_path)
    found = damaged(tmp_path, lost(1, 2, history=history))
    (one,) = found.orders
    assert (one.first, one.last, one.again, found.findings) == (1, 2, True, [])
    assert one.states == ({} if history else {"W1": "offered", "W2": "waiting"})
    assert "orders W1 to W2 are missing" in told(found)
    assert "P1" not in told(found)
    async with running_site(tmp_path, SITE) as site:
        await site.settled()
        again = {number: text for number, text in states(site).items() if number >= NEXT + 1}
        assert sorted(again.values()) == ["P1 waiting MAYBE_KNOWN", "P2 waiting MAYBE_KNOWN"]
        assert {number: text for number, text in states(site).items() if number < NEXT} == {
            3: "P3 cancelled",
            4: "P4 waiting MAYBE_KNOWN",
        }


async def test_what_had_ended_is_not_ordered_again(tmp_path: Path) -> None:
    await fill(tmp_path)
    found = damaged(tmp_path, lost(3, history=False))
    assert [(one.first, one.last, one.states, one.again) for one in found.orders] == [
        (3, 3, {"W3": "cancelled"}, False)
    ]
    assert (found.ordered_again, found.findings) == ([], [])
    async with running_site(tmp_path, SITE) as site:
        await site.settled()
        assert set(states(site)) == {1, 2, 4}


async def test_a_cancel_behind_a_lost_order_is_processed_again_with_it(tmp_path: Path) -> None:
    await fill(tmp_path)
    found = damaged(tmp_path, lost(3, history=True))
    assert [one.again for one in found.orders] == [True]
    async with running_site(tmp_path, SITE) as site:
        await site.settled()
        assert [text for number, text in states(site).items() if number > 4] == ["P3 cancel_pending"]


@pytest.mark.parametrize(
    ("change", "mended"),
    [
        ("UPDATE order_item SET state = 'wa?ting' WHERE number = 2", [2]),
        ("UPDATE order_item SET state = 'offered' WHERE number = 2", [2]),
        ("UPDATE order_item SET specimen = x'00' WHERE number = 2", [2]),
        ("UPDATE order_item SET events = events - 1 WHERE number = 3", [3]),
        ("DELETE FROM order_event WHERE item = 3", [3]),
    ],
)
async def test_an_order_that_is_damaged_in_part_is_as_it_was(tmp_path: Path, change: str, mended: list[int]) -> None:
    await fill(tmp_path)
    found = damaged(tmp_path, lambda connection: connection.execute(change))
    assert (found.orders, found.mended_orders, found.findings) == ([], mended, [])
    async with running_site(tmp_path, SITE) as site:
        assert states(site) == {
            1: "P1 offered",
            2: "P2 waiting MAYBE_KNOWN",
            3: "P3 cancelled",
            4: "P4 waiting MAYBE_KNOWN",
        }


async def test_an_order_whose_line_is_not_as_it_was_sealed_is_missing(tmp_path: Path) -> None:
    await fill(tmp_path)
    found = damaged(
        tmp_path,
        lambda connection: connection.execute(
            "UPDATE order_item SET content = zeroblob(length(content)) WHERE number = 2"
        ),
    )
    assert [(one.first, one.last, one.again) for one in found.orders] == [(2, 2, True)]
    assert found.findings == []


async def test_a_spoilt_page_of_orders_costs_no_order(tmp_path: Path) -> None:
    """All of them were on it, and their messages are there."""
    await fill(tmp_path)
    for page in pages_of(tmp_path / "var", "order_item"):
        spoil(tmp_path / "var", page)
    found = salvaged(tmp_path)
    assert [(one.first, one.last, one.again) for one in found.orders] == [(1, 4, True)]
    assert found.findings == []
    async with running_site(tmp_path, SITE) as site:
        await site.settled()
        kept = sorted(states(site).values())
        assert kept == [
            "P1 waiting MAYBE_KNOWN",
            "P2 waiting MAYBE_KNOWN",
            "P3 cancel_pending",
            "P4 waiting MAYBE_KNOWN",
        ]


async def test_a_row_that_only_a_damaged_page_leads_to_is_read(tmp_path: Path) -> None:
    async with running_site(tmp_path, SITE) as site, ordering(site.port("lis")) as his:
        for number in range(60):
            await his.ask(order(f"M{number}", ("NW", f"P{number}", "TSH"), tube=f"T{number}", patient=f"MR{number}"))
        await site.settled()
        before = len(states(site))
    (inner,) = pages_of(tmp_path / "var", "order_item", "inner")
    with (tmp_path / "var" / JOURNAL_NAME).open("r+b") as file:
        file.seek((inner - 1) * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    found = salvaged(tmp_path)
    assert (found.orders, found.tables["order_item"], found.findings) == ([], before, [])
