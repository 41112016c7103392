"""An order is added, the analyzer asks, gets it, sends its result: over real sockets, with a real journal."""

from pathlib import Path
from typing import Any

from engine.features.orders import rows as worklist
from engine.features.orders.exchange.taking import take_settings
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.orders import OrderLine
from tests.support.asking import asking, fields, question, result
from tests.support.running import ASTM, ASTM_ROUTE, RunningSite, astm_channel, channel, running_site
from tests.support.waiting import until

ORDERS = {"answer": "query", "codes": {"TSH": "TSH3", "FERR": "Ferritin"}, "deadline": "60s"}


def chemistry(**orders: Any) -> dict[str, Any]:
    return {"chemistry": astm_channel(orders={**ORDERS, **orders})}


async def added(
    site: RunningSite, specimen: str, *tests: str, patient: str = "P-17", more: tuple[str, ...] = ()
) -> None:
    ran = await site.labrelay("orders", "add", specimen, *tests, "--patient", patient, *more)
    assert ran.code == 0, ran.err


async def cancelled(site: RunningSite, placer: str) -> None:
    """The LIS takes an order back."""
    line = OrderLine(action="cancel", placer=placer)
    settings = take_settings(site.app.parts.built.site.channels)
    (done,) = await site.app.journal.run(worklist.take_orders, 1, "", [line], settings)
    assert done.number, done.reason


async def items(site: RunningSite) -> list[dict[str, Any]]:
    ran = await site.labrelay("orders", "list", "--all", "-o", "json")
    assert ran.code == 0, ran.err
    return list(ran.json["orders"])


async def states(site: RunningSite) -> list[str]:
    return [one["state"] for one in await items(site)]


def states_now(site: RunningSite) -> list[str]:
    return [one.state.value for one in read_items(site.journal, ItemFilter())]


async def log(site: RunningSite) -> list[dict[str, Any]]:
    ran = await site.labrelay("orders", "log", "-o", "json")
    assert ran.code == 0, ran.err
    return list(ran.json["questions"])


async def becomes(site: RunningSite, wanted: list[str]) -> None:
    await until(lambda: states_now(site) == wanted)


async def test_an_order_is_asked_for_measured_and_closed(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, chemistry(demographics=True)) as site,
        asking(site.port("chemistry")) as analyzer,
    ):
        await added(site, "00042", "TSH", "FERR")

        answer = await analyzer.ask(question("00042"))

        assert {code for order in fields(answer, "O") for code in order[4].split("\\")} == {"^^^TSH3", "^^^Ferritin"}
        assert {order[2] for order in fields(answer, "O")} == {"00042"}
        assert [patient[2] for patient in fields(answer, "P")] == ["P-17"]
        await becomes(site, ["offered", "offered"])

        await analyzer.send(result("00042", "P-17", "TSH3", "1.20"))
        await site.settled()

        assert sorted(await states(site)) == ["offered", "resulted"]
        await site.settled()
        assert site.ends("chemistry") == ["QUESTION", "delivered"]
        (asked,) = await log(site)
        assert (asked["channel"], asked["orders"], asked["outcome"]) == ("chemistry", ["W1", "W2"], "sent")


async def test_a_name_goes_to_the_analyzer_only_where_the_channel_says_so(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH", more=("--family", "Rao", "--given", "Meera"))
        answer = await analyzer.ask(question("00042"))
        assert b"Rao" not in answer
        assert b"P-17" not in answer


async def test_an_unknown_tube_gets_none_in_the_makers_form(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")

        answer = await analyzer.ask(question("42"))

        assert fields(answer, "O") == []
        assert await states(site) == ["waiting"]
        assert [one["none"] for one in await log(site)] == [["unknown"]]


async def test_two_patients_with_one_tube_get_none(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH", patient="P-17")
        await added(site, "00042", "TSH", patient="P-18")

        answer = await analyzer.ask(question("00042"))

        assert fields(answer, "O") == []
        assert await states(site) == ["held", "held"]
        assert [one["none"] for one in await log(site)] == [["conflict"]]


async def test_the_same_question_again_is_answered_again(tmp_path: Path) -> None:
    """The tube was loaded again: the bytes are a repeat, and the answer is not."""
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")

        first, second = await analyzer.ask(question("00042")), await analyzer.ask(question("00042"))

        assert fields(first, "O") != []
        assert [order[2:5] for order in fields(first, "O")] == [order[2:5] for order in fields(second, "O")]
        assert len(await log(site)) == 2


async def test_a_question_without_orders_in_its_channel_stays_a_dead_letter_with_a_hint(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, {"chemistry": channel(ASTM, {**ASTM_ROUTE, "when": "=R"})}) as site,
        asking(site.port("chemistry")) as analyzer,
    ):
        await analyzer.send(question("00042"))
        await site.settled()

        assert site.ends("chemistry") == ["NO_ROUTE"]
        ran = await site.labrelay("dlq", "list", "-o", "json")
        assert "orders:" in ran.out


async def test_a_cancelled_order_is_not_offered(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH", more=("--placer", "LIS-1"))
        await added(site, "00042", "FERR", more=("--placer", "LIS-2"))
        await cancelled(site, "LIS-1")

        answer = await analyzer.ask(question("00042"))

        assert [order[4] for order in fields(answer, "O")] == ["^^^Ferritin"]


async def test_a_reconnect_amid_an_answer_is_asked_for_anew(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await added(site, "00042", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            analyzer.silent = True
            await analyzer.send(question("00042"))
            assert await analyzer.hear() == b"\x05"  # and goes, before it has answered
        await until(lambda: not site.app.parts.sources["chemistry"].channel.connections)
        await becomes(site, ["waiting"])

        async with asking(site.port("chemistry")) as analyzer:
            assert fields(await analyzer.ask(question("00042")), "O") != []
        await becomes(site, ["offered"])


async def test_an_answer_cut_off_in_its_last_frame_may_be_known(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await added(site, "00042", "TSH")
        async with asking(site.port("chemistry")) as analyzer:
            await analyzer.send(question("00042"))
            while b"L|1" not in await analyzer.hear():
                analyzer.silent = analyzer.host.frames >= 3  # H, P and O are acknowledged, and L is not
        await until(lambda: not site.app.parts.sources["chemistry"].channel.connections)
        await until(lambda: [one.reason for one in read_items(site.journal, ItemFilter())] == ["MAYBE_KNOWN"])
        assert await states(site) == ["waiting"]


def taken_back(specimen: str) -> bytes:
    return question(specimen, "A").replace(b"L|1|F", b"L|1|T")


async def test_a_question_that_is_taken_back_is_not_answered(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        await added(site, "00043", "FERR")
        await analyzer.send(question("00042"), taken_back("00042"))

        answer = await analyzer.ask(question("00043"))

        assert [order[2] for order in fields(answer, "O")] == ["00043"]
        assert len(analyzer.answers) == 1
        await becomes(site, ["offered", "waiting"])


async def test_a_newer_question_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        await added(site, "00043", "FERR")
        await analyzer.send(question("00042"), question("00043"))

        answer = await analyzer.answer()

        assert [order[2] for order in fields(answer, "O")] == ["00043"]
        await becomes(site, ["offered", "waiting"])


async def test_an_answer_that_waited_behind_a_result_is_looked_up_anew(tmp_path: Path) -> None:
    """The order is cancelled after the question was looked up and before the line is free."""
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH", more=("--placer", "LIS-1"))
        await added(site, "00042", "FERR", more=("--placer", "LIS-2"))
        await analyzer.begin(question("00042"), follows=True)
        await until(lambda: len(site.messages("chemistry")) == 1)
        await until(lambda: bool(queries(site.journal)))
        await cancelled(site, "LIS-1")
        await analyzer.go_on(result("00099", "P-99", "TSH3", "1.20"))

        answer = await analyzer.answer()

        assert [order[4] for order in fields(answer, "O")] == ["^^^Ferritin"]


async def done(site: RunningSite, verb: str, order: str) -> str:
    ran = await site.labrelay("orders", verb, order, "--reason", "asked the ward", "-o", "json")
    assert ran.code == 0, ran.err
    return str(ran.json["state"])


async def test_a_person_says_whose_the_tube_is(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry(demographics=True)) as site:
        await added(site, "00042", "TSH", patient="P-17")
        await added(site, "00042", "TSH", patient="P-18")

        assert await done(site, "cancel", "W1") == "cancelled"
        assert await done(site, "release", "W2") == "waiting"

        async with asking(site.port("chemistry")) as analyzer:
            answer = await analyzer.ask(question("00042"))
            assert [patient[2] for patient in fields(answer, "P")] == ["P-18"]
        refused = await site.labrelay("orders", "release", "W1", "--reason", "again")
        assert refused.code != 0
        assert "W1 is cancelled" in refused.err


async def test_an_order_whose_tube_the_analyzer_lost_waits_again(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        await analyzer.ask(question("00042"))
        await becomes(site, ["offered"])

        assert await done(site, "resend", "W1") == "waiting"
        assert await done(site, "cancel", "w1") in ("cancelled", "cancel_pending")


async def taken(site: RunningSite, *lines: OrderLine) -> None:
    settings = take_settings(site.app.parts.built.site.channels)
    for number, line in enumerate(lines, 1):
        (done,) = await site.app.journal.run(worklist.take_orders, number, "", [line], settings)
        assert done.number, done.reason


async def test_an_order_that_came_on_hold_is_offered_once_it_is_released(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        order = OrderLine(action="hold", placer="LIS-1", specimen="00042", test="TSH")
        await taken(site, order)
        assert fields(await analyzer.ask(question("00042")), "O") == []
        await taken(site, order, OrderLine(action="release", placer="LIS-1", test="TSH"))

        answer = await analyzer.ask(question("00042"))

        assert [order[4] for order in fields(answer, "O")] == ["^^^TSH3"]
        await becomes(site, ["offered"])


async def test_a_result_whose_code_stands_behind_component_4_closes_its_order(tmp_path: Path) -> None:
    """Sysmex: component 5 of R-3."""
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        await analyzer.ask(question("00042"))
        await analyzer.send(result("00042", "P-17", "^TSH3^1", "1.20"))
        await site.settled()
        assert await states(site) == ["resulted"]


async def test_every_question_is_in_the_log_with_what_became_of_it(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        assert fields(await analyzer.ask(question("@12")), "O") == []
        await analyzer.send(question("00042"), taken_back("00042"))
        await analyzer.ask(question("00043", "O").replace(b"^00043", b"ALL"))
        await site.settled()
        await until(lambda: all(one.outcome for one in queries(site.journal)))

        found = [(one["kind"], one["none"], one["outcome"]) for one in reversed(await log(site))]
        assert found == [
            ("specimens", ["unread"], "sent"),
            ("specimens", ["unknown"], "cancelled"),
            ("cancel", [], "taken_back"),
            ("all", ["unknown"], "sent"),
        ]
