"""A laboratory system orders over its own channel, and is told what became of each order: real sockets and journal.

ORC-1   of the worklist                                    ORC-1 of the answer
NW      on it                                              OK
NW      no analyzer has the test, no specimen number       UA
NW      the same order number and test, other content      UA, held
NW      another patient's orders are in the same tube      UA, both are held
XO      the new version waits                              XR
CA      an order that waits                                CR
CA      no such order                                      UC
"""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.processing.committing import Commits
from tests.support.asking import asking, fields, question
from tests.support.ordering_lis import answered, by_tube, kinds, order, ordering, segments
from tests.support.running import ASTM, MLLP, RunningSite, astm_channel, channel, hl7_channel, running_site
from tests.support.waiting import until

ANALYZER = astm_channel(source=ASTM, orders={"answer": "query", "codes": {"TSH": "TSH3", "FERR": "Ferritin"}})
HTTP = {"kind": "http", "listen": "127.0.0.1:0"}


OML, TESTS = ("O21", "O33", "O35"), ("TSH", "FERR")


def lis(source: dict[str, Any] = MLLP, mapping: str = "orders-hl7", **block: Any) -> dict[str, Any]:
    more = {"lis": {"deadline": "60s", **block}}
    return channel(source, {"mapping": mapping}, role="orders", settings={"order_specimen": "OBR-3"}, **more)


def tubes(**block: Any) -> dict[str, Any]:
    """A LIS that sends the tube in SAC-3."""
    return {**lis(**block), "settings": {}}


def states(site: RunningSite) -> list[tuple[str, str, str]]:
    """Test, state and reason of each item."""
    return [(one.line.test, one.state.value, one.reason.value) for one in read_items(site.journal, ItemFilter())][::-1]


async def test_an_order_of_the_lis_reaches_the_analyzer_that_asks(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis()}) as site,
        ordering(site.port("lis")) as his,
        asking(site.port("chemistry")) as analyzer,
    ):
        said = await his.ask(order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "FERR")))

        assert kinds([said]) == ["AA ORR"]
        assert answered(said) == ["OK", "OK"]
        assert states(site) == [("TSH", "waiting", ""), ("FERR", "waiting", "")]  # as soon as it is answered
        answer = await analyzer.ask(question("00042"))
        assert {code for one in fields(answer, "O") for code in one[4].split("\\")} == {"^^^TSH3", "^^^Ferritin"}
        await site.settled()
        assert site.ends("lis") == ["ORDERS"]


SAID = [
    ([order("M1", ("NW", "P1", "TSH"))], "OK", [("TSH", "waiting", "")]),
    ([order("M1", ("NW", "P1", "XYZ"))], "UA", [("XYZ", "rejected", "UNKNOWN_TEST")]),
    ([order("M1", ("NW", "P1", "TSH"), tube="")], "UA", [("TSH", "rejected", "NO_SPECIMEN")]),
    ([order("M1", ("ZZ", "P1", "TSH"))], "UA", [("TSH", "rejected", "UNKNOWN_ACTION")]),
    ([order("M1", ("NW", "P1", "TSH")), order("M2", ("CA", "P1", "TSH"))], "CR", [("TSH", "cancelled", "")]),
    ([order("M1", ("CA", "P1", "TSH"))], "UC", []),
    (
        [order("M1", ("NW", "P1", "TSH")), order("M2", ("NW", "P1", "TSH"), tube="00043")],
        "UA",
        [("TSH", "waiting", ""), ("TSH", "held", "ORDER_CONFLICT")],
    ),
    (
        [order("M1", ("NW", "P1", "TSH")), order("M2", ("XO", "P1", "TSH"), tube="00043")],
        "XR",
        [("TSH", "superseded", ""), ("TSH", "waiting", "")],
    ),
    (
        [order("M1", ("NW", "P1", "TSH")), order("M2", ("NW", "P2", "TSH"), patient="P-18")],
        "UA",
        [("TSH", "held", "SPECIMEN_CONFLICT"), ("TSH", "held", "SPECIMEN_CONFLICT")],
    ),
    *(  # a change ends the conflict; no other version stays beside it
        (
            [
                order("M1", ("NW", "P1", "TSH")),
                order("M2", ("NW", "P1", "TSH"), tube="00043"),
                order("M3", ("XO", "P1", "TSH"), tube=tube),
            ],
            "XR",
            [("TSH", "superseded", ""), ("TSH", "superseded", ""), ("TSH", "waiting", "")],
        )
        for tube in ("00043", "00044")
    ),
    ([order("M1", ("NW", "P1", "TSH")), order("M2", ("NW", "P1", "TSH"))], "OK", [("TSH", "waiting", "")]),
    ([order("M1", ("HD", "P1", "TSH"))], "HR", [("TSH", "held", "HELD_BY_LIS")]),
    (
        [order("M1", ("HD", "P1", "TSH")), order("M2", ("RL", "P1", "TSH"))],
        "OR",
        [("TSH", "waiting", "")],
    ),
    (  # the LIS sends it again, as another message; or it never was held
        [order("M1", ("HD", "P1", "TSH")), order("M2", ("RL", "P1", "TSH")), order("M3", ("RL", "P1", "TSH"))],
        "OR",
        [("TSH", "waiting", "")],
    ),
    ([order("M1", ("NW", "P1", "TSH")), order("M2", ("RL", "P1", "TSH"))], "OR", [("TSH", "waiting", "")]),
    ([order("M1", ("RL", "P1", "TSH"))], "UR", []),
]


@pytest.mark.parametrize(("messages", "code", "items"), SAID, ids=[f"{at}-{one[1]}" for at, one in enumerate(SAID)])
async def test_each_order_is_answered_with_what_became_of_it(
    tmp_path: Path, messages: list[bytes], code: str, items: list[tuple[str, str, str]]
) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis()}) as site,
        ordering(site.port("lis")) as his,
    ):
        for message in messages:
            said = await his.ask(message)
        assert answered(said) == [code]
        assert states(site) == items


NO_NUMBERS = ["42\x03", "4\n2", "@42", "4\ufffd2", "42\u202e", "4" * 81]


async def test_a_number_that_no_analyzer_can_name_is_none(tmp_path: Path) -> None:
    """It would wait for ever; and of two damaged numbers that look alike now the tubes would be one."""
    source = {**HTTP, "format": "json"}
    channels = {"chemistry": ANALYZER, "lis": channel(source, {"mapping": "orders-json"}, role="orders")}
    async with running_site(tmp_path, channels) as site, aiohttp.ClientSession() as http:
        for at, number in enumerate(NO_NUMBERS):
            order_of = {"placer": f"P{at}", "specimen": {"id": number}, "patient": {"id": "7"}, "tests": ["TSH"]}
            async with http.post(f"http://127.0.0.1:{site.port('lis')}/", json=order_of) as said:
                (told,) = (await said.json())["orders"]
                assert (told["done"], told["reason"]) == (False, "NO_SPECIMEN"), number
        added = await site.labrelay("orders", "add", " 42", "TSH")
        assert "NO_SPECIMEN" in added.out
        assert states(site) == [("TSH", "rejected", "NO_SPECIMEN")] * (len(NO_NUMBERS) + 1)


@pytest.mark.parametrize("tube", ["00042", "00043"])
async def test_an_order_again_after_a_cancel_that_is_pending_waits_for_its_end(tmp_path: Path, tube: str) -> None:
    # An analyzer that takes no cancel: while one is on the line, a person cannot close the order.
    deaf = {**ANALYZER, "dialect": "beckman-access"}
    async with (
        running_site(tmp_path, {"chemistry": deaf, "lis": lis()}) as site,
        ordering(site.port("lis")) as his,
        asking(site.port("chemistry")) as analyzer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        await analyzer.ask(question("00042"))
        await until(lambda: states(site) == [("TSH", "offered", "")])
        assert answered(await his.ask(order("M2", ("CA", "P1", "TSH")))) == ["CR"]
        assert answered(await his.ask(order("M3", ("NW", "P1", "TSH"), tube=tube))) == ["OK"]
        assert states(site) == [("TSH", "cancel_pending", ""), ("TSH", "waiting", "AFTER_CANCEL")]

        closed = await site.labrelay("orders", "cancel", "W1", "--reason", "tested")
        assert closed.code == 0, closed.err
        assert states(site) == [("TSH", "cancelled", ""), ("TSH", "waiting", "")]
        answer = await analyzer.ask(question(tube))
        assert [fields(answer, "O")[0][at] for at in (2, 4)] == [tube, "^^^TSH3"]


async def test_other_orders_of_the_message_are_taken(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis()}) as site,
        ordering(site.port("lis")) as his,
    ):
        said = await his.ask(order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "XYZ"), version="2.5.1"))
        assert answered(said) == ["OK", "UA"]
        (error,) = segments(said, "ERR")
        assert error[3].startswith("103^")
        assert "no analyzer here runs this test" in error[8]


@pytest.mark.parametrize(("kind", "answer"), [("O21", "O22"), ("O33", "O34"), ("O35", "O36")])
async def test_each_form_of_oml_has_its_answer(tmp_path: Path, kind: str, answer: str) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": tubes()}) as site,
        ordering(site.port("lis")) as his,
    ):
        said = await his.ask(by_tube(kind, "M1", "NW", "P1", "TSH"))
        assert segments(said, "MSH")[0][9] == f"ORL^{answer}^ORL_{answer}"
        assert answered(said) == ["OK"]
        (item,) = read_items(site.journal, ItemFilter())
        assert item.line.specimen == "00042"


async def test_the_same_bytes_again_get_the_same_answer_and_nothing_twice(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis()}) as site:
        first, cancel = order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "XYZ")), order("M2", ("CA", "P1", "TSH"))
        async with ordering(site.port("lis")) as his:
            told = [answered(await his.ask(message)) for message in (first, cancel)]
        async with ordering(site.port("lis")) as his:  # it never saw the answers
            again = [answered(await his.ask(message)) for message in (first, cancel)]
        assert told == again == [["OK", "UA"], ["CR"]]
        assert states(site) == [("TSH", "cancelled", ""), ("XYZ", "rejected", "UNKNOWN_TEST")]
        await site.settled()
        assert site.ends("lis") == ["ORDERS", "ORDERS", "REPEAT", "REPEAT"]


ASKED = [
    (("", ""), "TSH", ["AA ORR"]),
    (("NE", "AL"), "TSH", ["AA ORR"]),
    (("AL", "AL"), "TSH", ["CA ACK", "AA ORR"]),
    (("AL", "NE"), "TSH", ["CA ACK"]),
    (("AL", "ER"), "TSH", ["CA ACK"]),
    (("AL", "ER"), "XYZ", ["CA ACK", "AA ORR"]),
    (("AL", "SU"), "TSH", ["CA ACK", "AA ORR"]),
    (("AL", "SU"), "XYZ", ["CA ACK"]),
]


@pytest.mark.parametrize(("asks", "test", "wanted"), ASKED)
async def test_a_lis_gets_the_acknowledgements_that_it_asks_for(
    tmp_path: Path, asks: tuple[str, str], test: str, wanted: list[str]
) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis()}) as site,
        ordering(site.port("lis")) as his,
    ):
        await his.send(order("M1", ("NW", "P1", test), asks=asks))
        assert kinds([await his.hear() for _ in wanted]) == wanted
        said = await his.ask(order("M2", ("NW", "P2", "TSH")))  # nothing else came before it
        assert segments(said, "MSA")[0][2] == "M2"


async def test_what_cannot_be_read_is_refused_and_kept(tmp_path: Path) -> None:
    """The number of an order is cut off: no line is made, and the LIS must not think that it was taken."""
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis()}) as site,
        ordering(site.port("lis")) as his,
    ):
        training = order("M1", ("NW", "P1", "TSH")).replace(b"|P|2.3.1", b"|T|2.3.1")
        said = await his.ask(training)
        assert kinds([said]) == ["AR ACK"]
        assert "NOT_PRODUCTION" in segments(said, "MSA")[0][3]
        assert states(site) == []
        assert site.ends("lis") == ["NOT_PRODUCTION"]


@pytest.mark.parametrize("cut", [b"ORC", b"PID"])
async def test_an_order_message_without_an_order_is_refused_and_kept(tmp_path: Path, cut: bytes) -> None:
    """It reads well, and its orders are cut off: AA would tell the LIS that they were taken."""
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis()}) as site,
        ordering(site.port("lis")) as his,
    ):
        said = await his.ask(order("M1", ("NW", "P1", "TSH")).partition(cut)[0])
        assert kinds([said]) == ["AR ACK"]
        assert "REQUIRED_ABSENT" in segments(said, "MSA")[0][3]
        assert states(site) == []
        assert site.ends("lis") == ["REQUIRED_ABSENT"]


async def test_a_message_that_is_no_order_has_its_usual_acknowledgement(tmp_path: Path) -> None:
    both = {**lis(), "routes": [{"when": "=MSH-9.1 == 'ORM'", "mapping": "orders-hl7"}, hl7_channel()["routes"][0]]}
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": both}) as site,
        ordering(site.port("lis")) as his,
    ):
        adt = b"MSH|^~\\&|HIS|HOSP|||20261124100000||ADT^A08|M1|P|2.3.1\rPID|1||7\r"
        assert kinds([await his.ask(adt)]) == ["AA ACK"]
        assert kinds([await his.ask(order("M2", ("NW", "P1", "TSH")))]) == ["AA ORR"]
        await site.settled()


async def test_the_table_of_the_lis_is_strict(tmp_path: Path) -> None:
    """Its own code may be a code of the worklist by chance."""
    own = lis(codes={"1001": "TSH", "1002": "FERR"}, panels={"THY": ["1001", "1002"]})
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site,
        ordering(site.port("lis")) as his,
    ):
        said = await his.ask(order("M1", ("NW", "P1", "1001"), ("NW", "P2", "TSH"), ("NW", "P3", "THY")))
        assert answered(said) == ["OK", "UA", "OK"]
        assert [obr[4] for obr in segments(said, "OBR")] == ["1001", "TSH", "THY"]
        assert [one[:2] for one in states(site)] == [
            ("TSH", "waiting"),
            ("TSH", "rejected"),
            ("TSH", "waiting"),
            ("FERR", "waiting"),
        ]
        assert answered(await his.ask(order("M2", ("CA", "P1", "TSH"), ("CA", "P3", "THY")))) == ["UC", "CR"]
        assert [one[1] for one in states(site)] == ["waiting", "rejected", "cancelled", "cancelled"]


async def test_a_lis_orders_from_its_own_analyzers_alone(tmp_path: Path) -> None:
    other = astm_channel(source=ASTM, orders={"answer": "query", "codes": {"HIV": "HIV", "TSH": "T"}})
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "other": other, "lis": lis(targets=["chemistry"])}) as site,
        ordering(site.port("lis")) as his,
        asking(site.port("other")) as stranger,
        asking(site.port("chemistry")) as analyzer,
    ):
        assert answered(await his.ask(order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "HIV")))) == ["OK", "UA"]
        assert fields(await stranger.ask(question("00042")), "O") == []
        assert [one[4] for one in fields(await analyzer.ask(question("00042")), "O")] == ["^^^TSH3"]


async def test_the_number_of_a_control_gets_no_order(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis(control_numbers="QC*")}) as site,
        ordering(site.port("lis")) as his,
    ):
        assert answered(await his.ask(order("M1", ("NW", "P1", "TSH"), tube="QC-7"))) == ["UA"]
        assert states(site) == [("TSH", "rejected", "CONTROL_NUMBER")]


@pytest.mark.parametrize(("block", "code"), [({}, "UC"), ({"cancel": "specimen"}, "CR")])
async def test_a_cancel_without_a_number_is_of_the_tube_where_the_channel_says_so(
    tmp_path: Path, block: dict[str, Any], code: str
) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": tubes(**block)}) as site,
        ordering(site.port("lis")) as his,
    ):
        await his.ask(by_tube("O33", "M1", "NW", "P1", "TSH"))
        assert answered(await his.ask(by_tube("O33", "M2", "CA", "", ""))) == [code]


NAMELESS = [(order("M2", ("CA", "", "TSH")), lis()), *((by_tube(kind, "M2", "CA", "", "TSH"), tubes()) for kind in OML)]


@pytest.mark.parametrize(("cancel", "own"), NAMELESS, ids=["O01", *OML])
async def test_a_cancel_that_names_tube_and_test_alone_is_of_no_order(
    tmp_path: Path, cancel: bytes, own: dict[str, Any]
) -> None:
    """The number on the tube is no order number, also where the LIS has it in OBR-3: the tube may be a newer one."""
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site,
        ordering(site.port("lis")) as his,
    ):
        for at, placer in enumerate(("P1", "")):  # with a number of its own, and without one
            new = order(f"N{at}", ("NW", placer, "TSH"), ("NW", placer, "FERR"))
            parts = [new] if own == lis() else [by_tube("O21", f"N{at}{one}", "NW", placer, one) for one in TESTS]
            for part in parts:
                assert set(answered(await his.ask(part))) == {"OK"}
        before = states(site)

        said = await his.ask(cancel)

        assert answered(said) == ["UC"]
        assert b"there is no such order here" in said
        assert states(site) == before
        assert {one[1] for one in before} == {"waiting"}


def in_obr_2(control_id: str, *parts: tuple[str, str, str]) -> bytes:
    """ORM^O01 with the number on the tube in OBR-2."""
    message = order(control_id, *parts)
    for _, placer, _ in parts:
        message = message.replace(f"|{placer}|00042|".encode(), b"|00042||")
    return message


async def test_a_cancel_whose_only_number_is_that_of_the_tube_in_obr_2_is_of_no_order(tmp_path: Path) -> None:
    own = {**lis(), "settings": {"order_specimen": "OBR-2", "one_orc": "yes"}}
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site,
        ordering(site.port("lis")) as his,
    ):
        assert answered(await his.ask(in_obr_2("N1", ("NW", "", "TSH"), ("NW", "P1", "FERR")))) == ["OK", "OK"]
        before = states(site)
        one_orc = in_obr_2("C0", ("CA", "", "TSH"), ("CA", "", "FERR")).replace(b"ORC|CA|\rOBR|2", b"OBR|2")
        assert answered(await his.ask(one_orc)) == ["UC", "UC"]
        assert answered(await his.ask(in_obr_2("C1", ("CA", "", "TSH"), ("DC", "", "FERR")))) == ["UC", "UC"]
        assert answered(await his.ask(in_obr_2("C2", ("CA", "", "TSH"), ("NW", "", "TSH")))) == ["UC", "OK"]
        assert answered(await his.ask(in_obr_2("C3", ("HD", "", "TSH"), ("RL", "", "FERR")))) == ["UH", "UR"]
        assert states(site) == before
        assert answered(await his.ask(in_obr_2("C4", ("CA", "P1", "FERR"), ("CA", "", "TSH")))) == ["CR", "UC"]
        alone = in_obr_2("C5", ("CA", "P1", "FERR")) + b"OBR|2|00042||TSH\r"  # one ORC for both, with a number
        assert answered(await his.ask(alone)) == ["CR", "CR"]
        assert states(site) == [("TSH", "cancelled", ""), ("FERR", "cancelled", "")]


async def test_where_the_number_on_the_tube_is_in_obr_2_an_order_is_known_by_orc_2(tmp_path: Path) -> None:
    own = {**lis(), "settings": {"order_specimen": "OBR-2"}}
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site,
        ordering(site.port("lis")) as his,
    ):
        for placer in ("P1", "P2", ""):
            assert answered(await his.ask(in_obr_2(f"N{placer}", ("NW", placer, "TSH")))) == ["OK"]
        assert answered(await his.ask(in_obr_2("N9", ("NW", "P1", "TSH"), ("NW", "", "TSH")))) == ["OK", "OK"]
        assert [one[1] for one in states(site)] == ["waiting"] * 3  # each is the order that was there
        assert answered(await his.ask(in_obr_2("C1", ("CA", "P9", "TSH"), ("NW", "", "TSH")))) == ["UC", "OK"]
        assert answered(await his.ask(in_obr_2("C2", ("CA", "P2", "TSH"), ("CA", "", "TSH")))) == ["CR", "UC"]
        assert [one[1] for one in states(site)] == ["waiting", "cancelled", "waiting"]


async def test_nor_where_it_is_in_obr_2_and_in_obr_3(tmp_path: Path) -> None:
    """Without ORC-2 the tube's number is no order's."""

    def said(control: str) -> bytes:
        return order(f"M{control}", (control, "", "TSH")).replace(b"||00042|", b"|00042|00042|")

    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis()}) as site,
        ordering(site.port("lis")) as his,
    ):
        for control, code in (("NW", "OK"), ("CA", "UC"), ("HD", "UH"), ("RL", "UR")):
            assert answered(await his.ask(said(control))) == [code]
            assert states(site) == [("TSH", "waiting", "")]


@pytest.mark.parametrize(("placer", "codes", "state"), [("P1", ["UH", "UR"], "waiting"), ("", ["HR", "HR"], "held")])
async def test_a_hold_by_tube_and_test_is_of_no_order_that_has_a_number(
    tmp_path: Path, placer: str, codes: list[str], state: str
) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": tubes()}) as site,
        ordering(site.port("lis")) as his,
    ):
        await his.ask(by_tube("O33", "M1", "NW", placer, "TSH"))
        for at, control in enumerate(("HD", "RL") if placer else ("HD", "HD")):
            assert answered(await his.ask(by_tube("O33", f"H{at}", control, "", "TSH"))) == [codes[at]]
            assert [one[:2] for one in states(site)] == [("TSH", state)]


async def test_a_cancel_as_json_whose_number_is_that_of_the_tube_is_of_no_order(tmp_path: Path) -> None:
    own = lis({**HTTP, "format": "json"}, "orders-json")
    new = {"specimen": {"id": "00042"}, "filler": "00042", "patient": {"id": "P-17"}, "tests": ["TSH"]}
    async with running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site, aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{site.port('lis')}/"
        cancels = ({**new, "action": "cancel"}, {"filler": "00042", "action": "cancel"})
        for body, told in ((new, (True, None)), *((one, (False, "NO_SUCH_ORDER")) for one in cancels)):
            async with http.post(url, json=body) as response:
                assert response.status == 200
                (said,) = (await response.json())["orders"]
                assert (said["done"], said.get("reason")) == told
        assert states(site) == [("TSH", "waiting", "")]


async def test_an_order_does_not_wait_behind_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis(), "hl7": hl7_channel()}) as site,
        ordering(site.port("lis")) as his,
        ordering(site.port("hl7")) as results,
    ):
        await until(lambda: site.app.parts.intake._is_in_order)  # the mappings are compiled
        with monkeypatch.context() as patch:
            patch.setattr(Commits, "is_busy", True)  # as where the store is slow
            for number in range(3):
                message = f"MSH|^~\\&|A|B|||20261124100000||ADT^A08|R{number}|P|2.3.1\rPID|1||7\r"
                assert kinds([await results.ask(message.encode())]) == ["AA ACK"]

            assert answered(await his.ask(order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "FERR")))) == ["OK", "OK"]
            assert answered(await his.ask(order("M2", ("CA", "P1", "TSH")))) == ["CR"]

            assert site.app.parts.intake.waiting == 3
            assert site.ends("hl7") == ["stored"] * 3
            assert [one[1] for one in states(site)] == ["cancelled", "waiting"]


async def test_an_order_that_is_late_gets_a_commit_accept_or_no_answer(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis(deadline="0.5s")}) as site:
        intake = site.app.parts.intake
        plain, asks = order("M1", ("NW", "P1", "TSH")), order("M2", ("NW", "P2", "FERR"), asks=("AL", "AL"))
        async with intake.between_messages(), ordering(site.port("lis")) as his, ordering(site.port("lis")) as other:
            assert await his.ask(plain) == b""  # closed
            assert kinds([await other.ask(asks)]) == ["CA ACK"]
        await until(lambda: len(states(site)) == 2)
        async with ordering(site.port("lis")) as his:
            assert kinds([await his.ask(plain)]) == ["AA ORR"]
            await his.send(asks)
            assert kinds([await his.hear(), await his.hear()]) == ["CA ACK", "AA ORR"]
        assert states(site) == [("TSH", "waiting", ""), ("FERR", "waiting", "")]


async def test_a_large_order_takes_its_turn_and_is_read_elsewhere(tmp_path: Path) -> None:
    """Its lines come from another process, and are taken with the settings of this one."""
    own = lis(deadline="0.5s", codes={"1001": "TSH"})
    async with running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}, large=True) as site:
        message = order("M1", ("NW", "P1", "1001"))
        async with site.app.parts.intake.between_messages(), ordering(site.port("lis")) as his:
            assert await his.ask(message) == b""
        await until(lambda: states(site) == [("TSH", "waiting", "")])
        async with ordering(site.port("lis")) as his:
            assert answered(await his.ask(message)) == ["OK"]


JSON_ORDER = {"placer": "P1", "specimen": {"id": "00042"}, "patient": {"id": "P-17"}, "tests": ["TSH", "XYZ"]}


async def test_orders_as_json_are_answered_in_the_response(tmp_path: Path) -> None:
    source = {**HTTP, "format": "json"}
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis(source, "orders-json")}) as site,
        aiohttp.ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{site.port('lis')}/"
        for _ in range(2):  # the repeat as well
            async with http.post(url, json=JSON_ORDER) as response:
                assert response.status == 200
                said = await response.json()
            assert [(one["test"], one["done"], one.get("reason")) for one in said["orders"]] == [
                ("TSH", True, None),
                ("XYZ", False, "UNKNOWN_TEST"),
            ]
            assert said["orders"][0]["orders"] == ["W1"]
        assert len(states(site)) == 2
        async with http.post(url, json={**JSON_ORDER, "priority": "soon"}) as response:
            assert response.status == 422
            assert "BAD_VALUE" in (await response.json())["detail"]


NO_ORDERS: list[Any] = [
    {},
    [],
    {"hello": "world"},
    {"orders": []},
    {"orders": {}},
    [{"tests": ["TSH"]}],
    {"tests": ["TSH"]},
]


@pytest.mark.parametrize("body", NO_ORDERS, ids=[json.dumps(one) for one in NO_ORDERS])
async def test_a_post_without_the_keys_of_an_order_is_refused_with_the_keys_that_it_needs(
    tmp_path: Path, body: Any
) -> None:
    own = lis({**HTTP, "format": "json"}, "orders-json")
    async with running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site, aiohttp.ClientSession() as http:
        for _ in range(2):  # the repeat as well
            async with http.post(f"http://127.0.0.1:{site.port('lis')}/", json=body) as response:
                assert response.status == 422
                said = (await response.json())["detail"]
            assert "REQUIRED_ABSENT" in said
            assert all(key in said for key in ("placer", "filler", "specimen", "tests", "orders")), said
        assert states(site) == []
        assert site.ends("lis")[0] == "REQUIRED_ABSENT"


async def test_a_post_that_is_late_is_to_be_sent_again(tmp_path: Path) -> None:
    source = {**HTTP, "format": "json"}
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis(source, "orders-json", deadline="0.5s")}) as site,
        aiohttp.ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{site.port('lis')}/"
        async with site.app.parts.intake.between_messages(), http.post(url, json=JSON_ORDER) as response:
            assert (response.status, response.headers["LabRelay-Message"]) == (503, "1")
        await until(lambda: len(states(site)) == 2)
        async with http.post(url, json=JSON_ORDER) as response:
            assert response.status == 200
            assert [one["orders"] for one in (await response.json())["orders"]] == [["W1"], ["W2"]]


FHIR_ORDER = {
    "resourceType": "ServiceRequest", "status": "active", "intent": "order", "identifier": [{"value": "P1"}],
    "code": {"coding": [{"code": "TSH"}]}, "subject": {"identifier": {"value": "P-17"}},
    "specimen": [{"identifier": {"value": "00042"}}],
}  # fmt: skip


async def test_orders_as_fhir_are_answered_as_tasks(tmp_path: Path) -> None:
    request = FHIR_ORDER
    source = {**HTTP, "format": "fhir"}
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis(source, "orders-fhir")}) as site,
        aiohttp.ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{site.port('lis')}/"
        found = []
        for status, code in (("active", "TSH"), ("revoked", "TSH"), ("active", "XYZ")):
            body = {**request, "status": status, "code": {"coding": [{"code": code}]}}
            async with http.post(url, json=body, headers={"Content-Type": "application/fhir+json"}) as response:
                assert response.status == 200
                assert response.content_type == "application/fhir+json"
                found.append(await response.json())
        assert [one["status"] for one in found] == ["accepted", "cancelled", "rejected"]
        assert found[2]["statusReason"]["text"] == "no analyzer here runs this test"


FILES = [
    ("hl7v2", "orders-hl7", order("M1", ("NW", "P1", "TSH"))),
    ("json", "orders-json", json.dumps({**JSON_ORDER, "tests": ["TSH"]}).encode()),
    ("json", "orders-json", b"\xef\xbb\xbf" + json.dumps([{**JSON_ORDER, "tests": ["TSH"]}]).encode() + b"\r\n"),
    (
        "fhir",
        "orders-fhir",
        json.dumps({**FHIR_ORDER, "status": "active", "code": {"coding": [{"code": "TSH"}]}}).encode(),
    ),
]


@pytest.mark.parametrize(("form", "mapping", "content"), FILES, ids=["hl7", "json", "list", "fhir"])
async def test_orders_of_a_file_are_taken(tmp_path: Path, form: str, mapping: str, content: bytes) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    source = {"kind": "folder", "folder": str(inbox), "format": form, "settle": "0s", "every": "50ms"}
    async with running_site(tmp_path / "site", {"chemistry": ANALYZER, "lis": lis(source, mapping)}) as site:
        (inbox / "orders").write_bytes(content)
        await until(lambda: states(site) == [("TSH", "waiting", "")])
        (item,) = read_items(site.journal, ItemFilter())
        assert (item.line.placer, item.line.specimen, item.line.patient.number) == ("P1", "00042", "P-17")
        assert (inbox / "finished" / "orders").read_bytes() == content


async def test_a_file_that_was_cut_is_a_dead_letter(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    source = {"kind": "folder", "folder": str(inbox), "format": "json", "settle": "0s", "every": "50ms"}
    async with running_site(tmp_path / "site", {"chemistry": ANALYZER, "lis": lis(source, "orders-json")}) as site:
        (inbox / "orders").write_bytes(json.dumps(JSON_ORDER).encode()[:-9])
        await until(lambda: site.ends("lis") == ["UNREADABLE"])
        assert states(site) == []
