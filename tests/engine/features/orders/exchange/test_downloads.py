"""Orders go to the analyzer unasked: over real sockets, with a real journal.

situation                                           the analyzer gets            the order is then
an order waits, or comes, and the line is free      O-12 N, O-26 O               offered
one more test for a tube that it has                O-12 A                       offered
a rerun                                             O-12 A                       offered
it has a session of its own, or a question          that first                   waiting, then offered
the line breaks before the last frame               the rest after a reconnect   waiting, then offered
the line breaks before the last ACK                 it again after a reconnect   MAYBE_KNOWN until its result
it refuses one message                              the others                   waiting
one number, two patients                            nothing                      held
a dilution for which it has no form                 nothing                      refused
cancelled before it went                            nothing                      cancelled
cancelled after that                                O-12 C, once                 cancel_pending, until a result
"""

import itertools
from pathlib import Path
from typing import Any

from engine.features.orders import rows as worklist
from engine.features.orders.exchange.taking import take_settings
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import item as read_item
from engine.features.orders.rows.reading import items as read_items
from engine.model.orders import OrderedPatient, OrderLine
from tests.support.asking import AskingAnalyzer, asking, fields, question, result
from tests.support.astm_host import StrictHost
from tests.support.running import RunningSite, astm_channel, running_site
from tests.support.waiting import until

MESSAGES = itertools.count(-1_000)  # stand for rows of the LIS's messages; they come before those of results
ORDERS = {"download": "on_order", "codes": {"TSH": "TSH3", "FERR": "Ferritin"}, "deadline": "60s"}


def chemistry(**orders: Any) -> dict[str, Any]:
    return {"chemistry": astm_channel(orders={**ORDERS, **orders})}


async def taken(
    site: RunningSite, specimen: str, *tests: str, patient: str = "P-17", unsure: bool = False, **more: Any
) -> None:
    """Orders of a LIS. Each test has an order number of its own. ``unsure``: a cancel may name no order."""
    settings = take_settings(site.app.parts.built.site.channels)
    lines = [
        OrderLine(
            **{
                "specimen": specimen,
                "test": test,
                "placer": f"{specimen}-{test}",
                "patient": OrderedPatient(number=patient),
                **more,
            }
        )
        for test in tests
    ]
    message = next(MESSAGES)
    for one in await site.app.journal.run(worklist.take_orders, message, "", lines, settings):
        assert one.number or unsure, one.reason


def states(site: RunningSite) -> list[tuple[str, str]]:
    return [(one.state.value, one.reason.value) for one in read_items(site.journal, ItemFilter())][::-1]


async def becomes(site: RunningSite, *wanted: str) -> None:
    """The states of all orders, the oldest first, each with its reason behind a blank if it has one."""
    await until(lambda: [" ".join(filter(None, one)) for one in states(site)] == list(wanted))


def orders_in(message: bytes) -> list[tuple[str, str, str, str]]:
    """Tube, tests, O-12, O-26 of each O record."""
    return [(one[2], one[4], one[11], one[25]) for one in fields(message, "O")]


async def gone(site: RunningSite) -> None:
    await until(lambda: not site.app.parts.sources["chemistry"].channel.connections)


async def test_an_order_that_waits_goes_when_the_analyzer_connects(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "00042", "TSH", "FERR")
        async with asking(site.port("chemistry")) as analyzer:
            message = await analyzer.answer()
            assert orders_in(message) == [("00042", "^^^TSH3\\^^^Ferritin", "N", "O")]
            assert b"P-17" not in message
            await becomes(site, "offered", "offered")
            await analyzer.send(result("00042", "P-17", "TSH3", "1.20"))
            await becomes(site, "resulted", "offered")
            assert len(analyzer.answers) == 1


async def test_orders_that_come_later_go_one_tube_after_the_other(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await taken(site, "00042", "TSH")
        first = await analyzer.answer()
        await taken(site, "00043", "TSH")
        await taken(site, "00044", "FERR", priority="stat")
        second, third = await analyzer.answer(), await analyzer.answer()
        assert orders_in(first) == [("00042", "^^^TSH3", "N", "O")]
        assert {orders_in(second)[0][0], orders_in(third)[0][0]} == {"00043", "00044"}
        await becomes(site, "offered", "offered", "offered")


async def test_one_more_test_is_added_and_a_rerun_too(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await taken(site, "00042", "TSH")
        await analyzer.answer()
        await becomes(site, "offered")
        await taken(site, "00042", "FERR")
        assert orders_in(await analyzer.answer()) == [("00042", "^^^Ferritin", "A", "O")]
        await analyzer.send(result("00042", "P-17", "TSH3", "1.20"))
        await becomes(site, "resulted", "offered")
        await taken(site, "00042", "TSH", action="rerun")
        assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "A", "O")]
        await becomes(site, "resulted", "offered", "offered")
        again = read_item(site.journal, 3)
        assert again is not None
        assert (again.item.run, again.item.parent) == (2, 1)


async def test_on_connect_nothing_goes_until_the_next_connection(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry(download="on_connect")) as site:
        await taken(site, "00041", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("00041", "^^^TSH3", "N", "O")]
            await becomes(site, "offered")
            await taken(site, "00042", "TSH")
            await analyzer.ask(question("00099"))
            await becomes(site, "offered", "waiting")
        await gone(site)
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "N", "O")]
        await becomes(site, "offered", "offered")


async def test_what_the_analyzer_has_to_say_goes_first(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await analyzer.begin(result("00099", "P-99", "TSH3", "1.20"), follows=True)
        await until(lambda: len(site.messages("chemistry")) == 1)
        await taken(site, "00042", "TSH")
        assert not analyzer.answers
        await analyzer.go_on(question("00042"))

        answer = await analyzer.answer()

        assert orders_in(answer) == [("00042", "^^^TSH3", "N", "Q")]
        await becomes(site, "offered")


async def test_a_tube_that_is_asked_for_while_its_download_waits_is_answered_once(tmp_path: Path) -> None:
    """Both sides send ENQ: the analyzer wins, and its question is answered; nothing is left to download."""
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        analyzer.silent = True
        await taken(site, "00042", "TSH")
        assert await analyzer.hear() == b"\x05"
        analyzer.silent = False
        await analyzer.contend(question("00042"))

        answer = await analyzer.answer()

        assert orders_in(answer) == [("00042", "^^^TSH3", "N", "Q")]
        await becomes(site, "offered")
        await taken(site, "00043", "TSH")
        assert orders_in(await analyzer.answer()) == [("00043", "^^^TSH3", "N", "O")]


async def test_a_download_that_broke_off_goes_again_after_a_reconnect(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "00042", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            while b"P|1" not in await analyzer.hear():
                pass
        await gone(site)
        await becomes(site, "waiting")
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "N", "O")]
        await becomes(site, "offered")


async def broken_before_the_last_ack(site: RunningSite) -> None:
    async with asking(site.port("chemistry")) as analyzer:
        while b"L|1" not in await analyzer.hear():
            analyzer.silent = analyzer.host.frames >= 3  # H, P and O are acknowledged, and L is not


async def test_a_download_that_may_have_arrived_goes_again_with_that_mark(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "00042", "TSH")
        await broken_before_the_last_ack(site)
        await gone(site)
        await becomes(site, "waiting MAYBE_KNOWN")
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "N", "O")]
            await becomes(site, "offered MAYBE_KNOWN")
            await analyzer.send(result("00042", "P-17", "TSH3", "1.20"))
            await becomes(site, "resulted")


async def test_downloads_go_on_after_a_restart_and_none_goes_twice(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "00041", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            await analyzer.answer()
            await becomes(site, "offered")
        await gone(site)
        await taken(site, "00042", "TSH")
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "N", "O")]
        await becomes(site, "offered", "offered")
        assert len(analyzer.answers) == 1


class Choosy(StrictHost):
    """It refuses each frame with this text."""

    def _judge(self) -> bytes:
        if b"BAD" in self._frame:
            self._frame = b""
            self.bad += 1
            return b"\x15"
        return super()._judge()


async def test_a_message_that_is_refused_holds_up_no_other(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "BAD", "TSH")
        await taken(site, "00042", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            analyzer.host = Choosy()
            while not any(b"00042" in one for one in analyzer.answers):
                await analyzer.hear()
            await becomes(site, "waiting", "offered")
            assert analyzer.host.bad == 6


async def test_noise_on_the_line_holds_up_no_order(tmp_path: Path) -> None:
    """STX outside a session may begin a frame; where nothing follows it keeps the line for a second."""
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        analyzer.write(b"\x02")
        lines = site.app.parts.sources["chemistry"].channel.connections
        await until(lambda: any(one.last_byte > one.opened for one in lines.values()))
        await taken(site, "00042", "TSH")
        assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "N", "O")]


async def test_orders_of_two_patients_with_one_number_do_not_go(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "00042", "TSH", patient="P-17")
        await taken(site, "00042", "FERR", patient="P-18")
        await taken(site, "00043", "TSH", patient="P-19")
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("00043", "^^^TSH3", "N", "O")]
            await becomes(site, "held SPECIMEN_CONFLICT", "held SPECIMEN_CONFLICT", "offered")


async def test_an_order_is_never_sent_without_its_dilution(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "00042", "TSH", dilution="1:10")
        await taken(site, "00042", "FERR")
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("00042", "^^^Ferritin", "N", "O")]
            await becomes(site, "refused DILUTION_UNSUPPORTED", "offered")
            answer = await analyzer.ask(question("00042"))
            assert [one[1] for one in orders_in(answer)] == ["^^^Ferritin"]


async def test_an_order_that_no_record_can_hold_stays_and_stops_no_other(tmp_path: Path) -> None:
    channels = chemistry()
    channels["chemistry"]["charset"] = ["ascii"]
    async with running_site(tmp_path, channels) as site:
        await taken(site, "00\xe442", "TSH")
        await taken(site, "00043", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("00043", "^^^TSH3", "N", "O")]
            await becomes(site, "waiting", "offered")
            await taken(site, "00044", "TSH")
            await analyzer.answer()
            await becomes(site, "waiting", "offered", "offered")
            assert len(queries(site.journal)) == 3  # it was looked up once


async def test_an_order_that_the_analyzer_has_is_taken_back_once(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        async with asking(site.port("chemistry")) as analyzer:
            await taken(site, "00042", "TSH", "FERR")
            await analyzer.answer()
            await becomes(site, "offered", "offered")
            await taken(site, "00042", "TSH", action="cancel")
            assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "C", "O")]
            await becomes(site, "cancel_pending", "offered")
        await gone(site)
        async with asking(site.port("chemistry")) as analyzer:
            await taken(site, "00043", "TSH")
            assert orders_in(await analyzer.answer()) == [("00043", "^^^TSH3", "N", "O")]
            await analyzer.send(result("00042", "P-17", "TSH3", "1.20"))
            await becomes(site, "resulted", "offered", "offered")
            late = read_item(site.journal, 1)
            assert late is not None
            assert late.history[-1].late
            assert len(analyzer.answers) == 1


async def test_a_test_that_a_second_order_asks_for_is_not_taken_back(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "E1", "TSH")
        await taken(site, "E1", "TSH", placer="second")
        await taken(site, "E2", "FERR")
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("E1", "^^^TSH3", "N", "O")]
            assert orders_in(await analyzer.answer()) == [("E2", "^^^Ferritin", "N", "O")]
            await becomes(site, "offered", "offered", "offered")
            await taken(site, "E1", "TSH", action="cancel")
            await taken(site, "E2", "FERR", action="cancel")

            assert orders_in(await analyzer.answer()) == [("E2", "^^^Ferritin", "C", "O")]
            await becomes(site, "cancel_pending", "offered", "cancel_pending")
            await taken(site, "E1", "TSH", action="cancel", placer="second")
            assert orders_in(await analyzer.answer()) == [("E1", "^^^TSH3", "C", "O")]


async def test_an_analyzer_that_only_asks_is_told_of_a_cancel_too(tmp_path: Path) -> None:
    channels = {"chemistry": astm_channel(orders={"answer": "query", "codes": {"TSH": "TSH3"}})}
    async with running_site(tmp_path, channels) as site, asking(site.port("chemistry")) as analyzer:
        await taken(site, "00042", "TSH")
        assert orders_in(await analyzer.ask(question("00042"))) == [("00042", "^^^TSH3", "N", "Q")]
        await becomes(site, "offered")
        await taken(site, "00042", "TSH", action="cancel")
        assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "C", "O")]
        await becomes(site, "cancel_pending")


async def test_an_analyzer_whose_maker_has_no_cancel_is_told_of_none(tmp_path: Path) -> None:
    channels = {"chemistry": astm_channel(dialect="beckman-access", orders={**ORDERS})}
    async with running_site(tmp_path, channels) as site, asking(site.port("chemistry")) as analyzer:
        await taken(site, "00042", "TSH")
        await analyzer.answer()
        await becomes(site, "offered")
        await taken(site, "00042", "TSH", action="cancel")
        await taken(site, "00043", "TSH")
        assert fields(await analyzer.answer(), "O")[0][2] == "00043"
        await becomes(site, "cancel_pending", "offered")


async def test_an_order_cancelled_before_it_went_does_not_go(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await taken(site, "00042", "TSH")
        await taken(site, "00042", "TSH", action="cancel")
        await taken(site, "00043", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            assert orders_in(await analyzer.answer()) == [("00043", "^^^TSH3", "N", "O")]
            await becomes(site, "cancelled", "offered")


async def test_a_cancel_that_crosses_its_download_is_sent_after_it(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await taken(site, "00042", "TSH")
        while b"O|1" not in await hear_silently(analyzer):
            pass
        await taken(site, "00042", "TSH", action="cancel")
        await becomes(site, "cancel_pending")
        analyzer.answer_now()
        assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "N", "O")]
        assert orders_in(await analyzer.answer()) == [("00042", "^^^TSH3", "C", "O")]
        await becomes(site, "cancel_pending")


async def hear_silently(analyzer: AskingAnalyzer) -> bytes:
    """As `AskingAnalyzer.hear`; a frame of an order gets its ACK later."""
    analyzer.holds = b"O|1"
    return await analyzer.hear()
