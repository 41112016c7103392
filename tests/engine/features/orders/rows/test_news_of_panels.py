"""What a laboratory system hears of an order that came as a panel: a table, walked on a real journal.

It reads one order, and may believe each message by its OBR-4 and ORC-5 alone: the panel is never complete while a test
of it is open, and never refused, cancelled or expired while a test of it has a result, or may get one.

    O1 asks for the panel BMP: GLU (W1), UREA (W2), NA (W3); the LIS calls them 1001, 1002, 1003
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from adapters.codecs.hl7v2 import order_status
from engine.features.orders import rows as worklist
from engine.features.orders.rows import holding, items
from engine.features.orders.rows.announcing import Listener, announce
from engine.features.orders.rules.order_rules import ItemEvent
from engine.model.message import Received
from engine.model.orders import Confirmation, Status, StatusChange
from engine.model.process.clock import ManualClock
from engine.model.worklist import ResultOf, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from tests.engine.features.orders.rows.test_orders_in_and_out import TAKE, Desk, act, order
from tests.support.journals import received, started
from tests.support.ordering_lis import segments

TESTS = ("GLU", "UREA", "NA")
SETTINGS = TakeSettings(
    known_channels=TAKE.known_channels,
    codes={"1001": "GLU", "1002": "UREA", "1003": "NA", "1009": "HIV"},
    panels={"BMP": ("1001", "1002", "1003")},
)
DONE, BEGUN, AGAIN = ("SC", "CM", "BMP"), ("SC", "IP", "BMP"), ("SC", "SC", "BMP")
WITHOUT = {name: f"without a result: {code}" for name, code in zip(TESTS, ("1001", "1002", "1003"), strict=True)}

# What happens, and the news then: ORC-1, ORC-5, OBR-4, and NTE where there is one.
CASES: dict[str, list[tuple[str, list[tuple[str, ...]]]]] = {
    "complete with the last result": [
        ("final GLU", [BEGUN]),
        ("final NA", [BEGUN]),
        ("final UREA", [DONE]),
    ],
    "all in one message": [("final GLU UREA NA", [BEGUN, BEGUN, DONE])],
    "a preliminary one is none": [
        ("final GLU UREA", [BEGUN, BEGUN]),
        ("begun NA", [BEGUN]),
        ("final NA", [DONE]),
    ],
    "one is refused, and the others come": [
        ("final GLU", [BEGUN]),
        ("refuse UREA", [("UA", "CA", "1002", "E1 no reagent")]),
        ("final NA", [(*DONE, WITHOUT["UREA"])]),
    ],
    "the last one is refused": [
        ("final GLU UREA", [BEGUN, BEGUN]),
        ("refuse NA", [("UA", "CA", "1003", "E1 no reagent"), (*DONE, WITHOUT["NA"])]),
    ],
    "the last one is cancelled by a person": [
        ("final GLU UREA", [BEGUN, BEGUN]),
        ("cancel NA", [("OC", "CA", "1003"), (*DONE, WITHOUT["NA"])]),
    ],
    "the rest is cancelled by the LIS, which asked for that": [
        ("final GLU", [BEGUN]),
        ("LIS cancel", [(*DONE, "without a result: 1002, 1003")]),
    ],
    "the rest expires": [
        ("final GLU", [BEGUN]),
        ("expire UREA", [("OC", "CA", "1002")]),
        ("expire NA", [("OC", "CA", "1003"), (*DONE, "without a result: 1002, 1003")]),
    ],
    "none gets a result": [
        ("cancel GLU", [("OC", "CA", "1001")]),
        ("expire UREA", [("OC", "CA", "1002")]),
        ("refuse NA", [("UA", "CA", "BMP", "E1 no reagent")]),
    ],
    "the LIS has cancelled it": [("LIS cancel", [])],
    "a result is given up, and comes again": [
        ("final GLU UREA NA", [BEGUN, BEGUN, DONE]),
        ("give up NA", [AGAIN]),
        ("final NA", [DONE]),
    ],
    "a refused one is given up by a person": [
        ("final GLU UREA", [BEGUN, BEGUN]),
        ("refuse NA", [("UA", "CA", "1003", "E1 no reagent"), (*DONE, WITHOUT["NA"])]),
        ("cancel NA", [("OC", "CA", "1003")]),
    ],
    "a refused one is sent again": [
        ("final GLU UREA", [BEGUN, BEGUN]),
        ("refuse NA", [("UA", "CA", "1003", "E1 no reagent"), (*DONE, WITHOUT["NA"])]),
        ("resend NA", [AGAIN]),
        ("final NA", [DONE]),
    ],
}


@operation(priority=Priority.SETTLE)
def happens(batch: Batch, number: int, event: ItemEvent) -> None:
    one = items.by_number(batch, number)
    assert one is not None
    assert items.apply(batch, one, event).done


@operation(priority=Priority.SETTLE)
def given_up(batch: Batch, number: int) -> None:
    """The result that closed it goes out nowhere."""
    one = items.by_number(batch, number)
    assert one is not None
    (message,) = batch.execute(
        "SELECT max(message_id) FROM order_event WHERE item = ? AND event = 'final'", (number,)
    ).fetchone()
    holding.put_back(batch, one, message, "chem")


class Panel(Desk):
    """And the LIS that hears. ``updates``: of each beginning, too."""

    updates = True

    async def news(self) -> list[tuple[str, ...]]:
        heard: list[tuple[str, ...]] = []
        controls: list[str] = []

        def write(change: StatusChange) -> Received:
            payload = order_status.message(change, at="20260301060000", settings={})
            (orc,), (obr,) = segments(payload, "ORC"), segments(payload, "OBR")
            assert orc[2] == obr[2] == change.line.placer
            heard.append((orc[1], orc[5], obr[4].split("^")[0], *(note[3] for note in segments(payload, "NTE"))))
            controls.append(order_status.control_id(change))
            return received(payload, channel="news")

        await self.journal.run(announce, {"his": [Listener(channel="news", updates=self.updates, write=write)]})
        assert len(set(controls)) == len(controls)
        return heard

    async def let(self, step: str) -> None:
        verb, *tests = step.split(" ")
        if verb == "LIS":
            await self.take(order("BMP", action="cancel"), settings=SETTINGS)
            return
        if verb in ("final", "begun"):
            await self.result("S1", *(ResultOf(test=test, final=verb == "final") for test in tests))
            return
        number = TESTS.index(tests[-1]) + 1
        match verb:
            case "refuse":
                said = Confirmation(of="", accepted=False, items=((f"W{number}", False, "E1", "no reagent"),))
                await self.journal.run(worklist.confirmed, "chem", await self.message(), said)
            case "cancel":
                await act(self, worklist.cancel, number)
            case "resend":
                await act(self, worklist.resend, number)
            case "expire":
                await self.journal.run(happens, number, ItemEvent.EXPIRE)
            case "give":
                await self.journal.run(given_up, number)


@pytest.fixture
async def panel(tmp_path: Path) -> AsyncIterator[Panel]:
    clock = ManualClock()
    journal = await started(tmp_path / "data", clock=clock)
    try:
        yield Panel(journal, clock)
    finally:
        await journal.stop()


async def prepared(panel: Panel, steps: Sequence[str]) -> None:
    """The panel is ordered; what is refused later was given to the analyzer, the rest was not."""
    await panel.take(order("BMP"), settings=SETTINGS)
    if any(step.startswith("refuse") for step in steps):
        refused = [TESTS.index(step.split(" ")[-1]) + 1 for step in steps if step.startswith("refuse")]
        answered = await panel.ask("S1")
        await panel.journal.run(worklist.offered, answered.query, refused, "chem", 1)
        rest = [number for number in (1, 2, 3) if number not in refused]
        await panel.journal.run(worklist.not_offered, answered.query, rest, "no-answer", maybe=False)
    assert await panel.news() == []


@pytest.mark.parametrize("case", CASES)
async def test_a_panel_is_told_as_one_order(panel: Panel, case: str) -> None:
    await prepared(panel, [step for step, _ in CASES[case]])
    for step, wanted in CASES[case]:
        await panel.let(step)
        assert await panel.news() == wanted, step


@pytest.mark.parametrize("case", CASES)
async def test_beginnings_are_told_only_where_the_site_wants_them(panel: Panel, case: str) -> None:
    await prepared(panel, [step for step, _ in CASES[case]])
    panel.updates = False
    for step, wanted in CASES[case]:
        await panel.let(step)
        assert await panel.news() == [one for one in wanted if one != BEGUN], step


async def test_news_that_is_late_says_once_that_the_panel_is_complete(panel: Panel) -> None:
    """The messages are made after all of it has happened."""
    await prepared(panel, ["refuse UREA"])
    for step in ("final GLU", "refuse UREA", "final NA"):
        await panel.let(step)
    assert await panel.news() == [BEGUN, ("UA", "CA", "1002", "E1 no reagent"), (*DONE, WITHOUT["UREA"])]


async def test_a_panel_that_is_open_again_is_not_told_complete(panel: Panel) -> None:
    await prepared(panel, [])
    for step in ("final GLU UREA NA", "give up NA"):
        await panel.let(step)
    assert await panel.news() == [BEGUN, BEGUN, BEGUN, AGAIN]


async def test_the_same_panel_of_another_order_is_another_one(panel: Panel) -> None:
    await prepared(panel, [])
    await panel.take(order("BMP", specimen="S2", placer="O2"), settings=SETTINGS)
    await panel.let("final GLU UREA NA")
    assert (await panel.news())[-1] == DONE


async def test_a_test_that_can_never_run_does_not_keep_the_panel_open(panel: Panel) -> None:
    """The LIS was told so when it ordered."""
    settings = TakeSettings(
        known_channels=TAKE.known_channels, codes=SETTINGS.codes, panels={"BMP": ("1001", "1002", "1099")}
    )
    await panel.take(order("BMP"), settings=settings)
    await panel.let("final GLU UREA")
    assert await panel.news() == [BEGUN, DONE]


async def test_a_change_of_what_is_open_keeps_it_one_panel(panel: Panel) -> None:
    """The changed tests are of another message than the one that has its result."""
    await prepared(panel, [])
    await panel.let("final GLU")
    await panel.take(order("BMP", action="change", priority="stat"), settings=SETTINGS)
    assert panel.states() == ["resulted", "superseded", "superseded", "waiting", "waiting"]
    await panel.let("final UREA")
    assert await panel.news() == [BEGUN, BEGUN]
    await panel.let("final NA")
    assert await panel.news() == [DONE]


async def test_a_version_in_conflict_keeps_no_panel_open_but_the_one_that_it_is_alone_in(panel: Panel) -> None:
    await prepared(panel, [])
    await panel.take(order("BMP", priority="stat"), settings=SETTINGS)  # other content, and no change
    assert panel.states() == ["waiting"] * 3 + ["held"] * 3
    await panel.let("final GLU UREA NA")
    assert await panel.news() == [BEGUN, BEGUN, DONE]

    await panel.take(order("1001", specimen="S2", placer="O2"), settings=SETTINGS)
    await panel.take(order("BMP", specimen="S2", placer="O2", priority="stat"), settings=SETTINGS)
    assert panel.states()[6:] == ["waiting", "held", "waiting", "waiting"]
    await panel.result("S2", ResultOf(test="UREA"), ResultOf(test="NA"))
    assert await panel.news() == [BEGUN, BEGUN]


END = ("OC", "CA", "1001")
# W1, and W2 of the same number and test with other content, which is no change: the LIS heard UA of that.
CONFLICTS: dict[str, list[tuple[str, list[tuple[str, ...]]]]] = {
    "the version in conflict is cancelled, the order goes on": [
        ("cancel 2", []),
        ("final GLU", [("SC", "CM", "1001")]),
    ],
    "it expires": [("expire 2", []), ("cancel 1", [END])],
    "it is cancelled after the result": [("final GLU", [("SC", "CM", "1001")]), ("cancel 2", [])],
    "the order is cancelled, then the version": [("cancel 1", [END]), ("cancel 2", [END])],
    "the order is cancelled, the version goes on": [
        ("cancel 1", [END]),
        ("release 2", [("SC", "SC", "1001")]),
        ("expire 2", [END]),
    ],
    "a released version ends": [
        ("final GLU", [("SC", "CM", "1001")]),
        ("release 2", [("SC", "SC", "1001")]),
        ("cancel 2", [END]),
    ],
}


@pytest.mark.parametrize("case", CONFLICTS)
async def test_the_end_of_a_version_in_conflict_is_not_told_as_that_of_the_order(panel: Panel, case: str) -> None:
    await panel.take(order("1001"), settings=SETTINGS)
    await panel.take(order("1001", priority="stat"), settings=SETTINGS)
    assert panel.states() == ["waiting", "held"]
    for step, wanted in CONFLICTS[case]:
        verb, number = step.split(" ")
        match verb:
            case "final":
                await panel.tell("S1")
                await panel.let(step)
            case "expire":
                await panel.journal.run(happens, int(number), ItemEvent.EXPIRE)
            case _:
                await act(panel, {"cancel": worklist.cancel, "release": worklist.release}[verb], int(number))
        assert await panel.news() == wanted, step


async def test_the_end_of_a_test_in_conflict_completes_its_panel(panel: Panel) -> None:
    await panel.take(order("1001"), settings=SETTINGS)
    await panel.take(order("BMP", priority="stat"), settings=SETTINGS)
    await panel.let("final UREA NA")
    assert await panel.news() == [BEGUN, BEGUN]
    await act(panel, worklist.cancel, 2)
    assert await panel.news() == [(*DONE, WITHOUT["GLU"])]  # 1001 of that number goes on

    await panel.take(order("BMP", placer="O2"), settings=SETTINGS)
    await panel.take(order("BMP", placer="O2", priority="stat"), settings=SETTINGS)
    for number in (8, 9, 10):
        await act(panel, worklist.cancel, number)
    assert await panel.news() == []


async def test_a_plain_order_is_told_by_its_own_code(panel: Panel) -> None:
    await panel.take(order("1001"), settings=SETTINGS)
    await panel.let("final GLU")
    assert await panel.news() == [("SC", "CM", "1001")]


def test_what_ends_one_test_of_a_panel_says_so_in_words() -> None:
    line = order("UREA", ordered="1002", panel="BMP")
    for of_panel, words in ((False, "the analyzer has refused it; this test of BMP alone"),
                            (True, "the analyzer has refused it")):  # fmt: skip
        change = StatusChange(status=Status.REFUSED, item=2, n=3, at_us=0, line=line, of_panel=of_panel)
        (orc,) = segments(order_status.message(change, at="20260301060000", settings={}), "ORC")
        assert orc[16] == f"REFUSED^{words}^L"


async def test_the_name_of_the_panel_is_said_and_no_test_of_it_has_that_name(panel: Panel) -> None:
    said: list[str] = []

    def write(change: StatusChange) -> Received:
        payload = order_status.message(change, at="20260301060000", settings={})
        said.append(segments(payload, "OBR")[0][4])
        return received(payload, channel="news")

    await panel.take(order("BMP", test_name="Basic metabolic panel", test_system="L"), settings=SETTINGS)
    await panel.tell("S1")
    for step in ("final GLU", "refuse UREA", "final NA"):
        await panel.let(step)
        await panel.journal.run(announce, {"his": [Listener(channel="news", updates=True, write=write)]})
    assert said == ["BMP^Basic metabolic panel^L", "1002^^L", "BMP^Basic metabolic panel^L"]
