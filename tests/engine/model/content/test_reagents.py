"""Which reagent lots a message names, and how they are found again."""

import asyncio
from pathlib import Path

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.features.reagents import rows as reagent_lots
from engine.model.content.reagents import lot_key, reagents_in
from engine.model.journal.journal_views import Filter
from engine.model.message import FormatOptions, Reagent
from engine.store.queries.messages import messages_page
from engine.store.queries.tallies import list_reagents
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_site
from tests.support.waiting import until

HOST = "127.0.0.1"


def hl7(*segments: str, sender: str = "cobas pro") -> str:
    return "\r".join([f"MSH|^~\\&|{sender}|L|H|L|20260301101530+0530||OUL^R22^OUL_R22|M1|P|2.5.1", *segments, ""])


def from_hl7(*segments: str, sender: str = "cobas pro") -> tuple[Reagent, ...]:
    return reagents_in(hl7v2.parse(hl7(*segments, sender=sender).encode(), FormatOptions()))


def from_astm(*records: str, sender: str = "Other^1") -> tuple[Reagent, ...]:
    text = "\r".join([f"H|\\^&|||{sender}|||||||P|1|20260301101530", *records, "L|1|N", ""])
    return reagents_in(astm_records.parse(text.encode(), FormatOptions()))


@pytest.mark.parametrize("declared", ["^", "^~", "^~\\"])
def test_a_sender_that_declares_few_delimiters_is_read_all_the_same(declared: str) -> None:
    text = f"MSH|{declared}|GeneXpert|L|H|L|20260301||ORU^R01|M1|P|2.5\rOBX|1|ST|HBV||1{'|' * 13}2026~LOT7\rINV|R\r"
    assert reagents_in(hl7v2.parse(text.encode(), FormatOptions())) == ()


def test_inventory_tells_what_is_left() -> None:
    inventory = "INV|R-7^Glucose^99M|OK|R1|1|1|1||80|64||mL^^UCUM|20271231||||LOT7"
    (found,) = from_hl7("SPM|1|S1", "OBR|1|S1||GLU^Glucose", "OBX|1|NM|GLU||5|mmol/L|||||F", inventory)
    assert found == Reagent(lot="LOT7", name="R-7 R1", expires="2027-12-31", tests=("GLU",), left="64 mL")


def test_substances_by_the_standard() -> None:
    (found,) = from_hl7("SPM|1|S1", "OBR|1|S1||GLU^Glucose", "OBX|1|NM|GLU||5|||||F", "SID|GLU^Method|L-55|C1|ACME")
    assert (found.lot, found.name, found.tests) == ("L-55", "GLU", ("GLU",))


@pytest.mark.parametrize("lot", ["", "unknown", "Rao^Anil", "x" * 41 + "1", '""', "1\x7f"])
def test_what_is_no_lot_is_not_taken_for_one(lot: str) -> None:
    assert from_hl7("OBR|1|S1||GLU", f"INV|R1||R1|||||||||20271231||||{lot}") == ()


def test_places_of_one_maker_mean_nothing_with_another() -> None:
    assert from_astm("M|1|SPT||||||STA-NEO CI PLUS 5^254169") == ()
    assert from_astm("P|1", "O|1||660^0090||^^^Alb", "R|1|^^^Alb|63.7|mg/L") == ()
    assert from_hl7("OBR|1||184|Multistix 10 SG||||||||||||||||004183|2019-07") == ()


def test_a_lot_for_several_tests_is_one() -> None:
    found = from_astm("M|1|SPT||||||NEO^254169", "M|1|SINR||||||NEO^254169", sender="STA_Max^1")
    assert found == (Reagent(lot="254169", name="NEO", tests=("SPT", "SINR")),)


def test_no_message_names_more_than_there_is_room_for() -> None:
    many = [f"M|1|T||||||N^{number}" for number in range(1000)]
    assert len(from_astm(*many, sender="STA_Max^1")) == 200


def test_a_lot_is_found_however_it_is_written() -> None:
    assert lot_key("221114I1*") == lot_key("221114i1") == lot_key(" 221-114 I1") == "221114I1"


# -- in a site --------------------------------------------------------------------------------------------------------


def result(number: int, lot: str, test: str = "GLU") -> bytes:
    return (
        f"MSH|^~\\&|A|L|H|L|20260301101530+0530||ORU^R01^ORU_R01|M{number}|P|2.5.1\r"
        f"PID|1||P{number}^^^HOSP^MR||Rao^Anil||19800101|M\r"
        f"OBR|1|S{number}||{test}^Test|||20260301100000\rOBX|1|NM|{test}^Test||5.4|mmol/L|4-10|N|||F\r"
        f"INV|R^{test}|OK|R1||||||{100 - number}|||20271231||||{lot}\r"
    ).encode()


async def send(site: RunningSite, *messages: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, site.port("chem"))
    for message in messages:
        writer.write(b"\x0b" + message + b"\x1c\r")
        await reader.readuntil(b"\x1c\r")
    writer.close()
    await site.settled()


CHANNEL = {"chem": hl7_channel()}


async def test_results_of_a_recalled_lot_are_found(tmp_path: Path) -> None:
    async with running_site(tmp_path, CHANNEL) as site:
        await send(site, result(1, "L-1"), result(2, "L-2"), result(3, "L-1", "NA"), result(4, "L-2"))
        (one,) = list_reagents(site.journal, lot="l1")
        assert (one.channel, one.lot, one.messages, one.tests, one.left) == ("chem", "L-1", 2, ("GLU", "NA"), "97")
        assert one.first_us < one.last_us
        found = messages_page(site.journal, Filter(lot="L-1"))
        assert [view.id for view in found] == [view.id for view in messages_page(site.journal) if view.seq in (1, 3)]
        assert [view.seq for view in messages_page(site.journal, Filter(lot="L1", channel="chem", state="mapped"))] == [
            3,
            1,
        ]
        assert messages_page(site.journal, Filter(lot="L1", channel="other")) == []
        (of_message,) = list_reagents(site.journal, message=found[0].id)
        assert (of_message.lot, of_message.tests) == ("L-1", ("NA",))

        listed = await site.labrelay("messages", "list", "--lot", "L-1", "-o", "json")
        assert [row["id"] for row in listed.json["messages"]] == [view.id for view in found]
        lots_listed = await site.labrelay("reagents", "--channel", "chem", "-o", "json")
        assert [row["lot"] for row in lots_listed.json["reagents"]] == ["L-2", "L-1"]
        nothing = await site.labrelay("reagents", "--lot", "L-9")
        assert "no message names this lot" in nothing.err + nothing.out
        assert "Rao" not in listed.out + lots_listed.out


async def test_a_repeat_is_no_second_use(tmp_path: Path) -> None:
    async with running_site(tmp_path, CHANNEL) as site:
        await send(site, result(1, "L-1"), result(2, "L-1"), result(3, "L-1"), result(3, "L-1"))
        (one,) = list_reagents(site.journal)
        assert one.messages == 3


async def test_a_message_that_is_processed_again_names_its_lots_once(tmp_path: Path) -> None:
    routes = [{"when": "=MSH-9.1 == 'OUL'", "mapping": "hl7-results", "to": "lab-fhir"}]
    channel = {"chem": {**hl7_channel(), "routes": routes}}
    async with running_site(tmp_path, channel) as site:
        await send(site, result(1, "L-1"))
        (view,) = site.messages()
        assert view.reason == "NO_ROUTE"
        assert [one.messages for one in list_reagents(site.journal)] == [1]
        await site.retry(view.id)
        assert [one.messages for one in list_reagents(site.journal)] == [1]


async def test_no_more_lots_are_kept_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reagent_lots, "REAGENT_ROWS", 2)
    async with running_site(tmp_path, CHANNEL) as site:
        await send(site, *(result(number, f"L-{number}") for number in range(1, 5)), result(5, "L-1"))
        assert {one.lot: one.messages for one in list_reagents(site.journal)} == {"L-1": 2, "L-2": 1}
        assert site.ends() == ["delivered"] * 5


async def test_astm_records_with_lots(tmp_path: Path) -> None:
    message = (
        b"H|\\^&|||STA_Max^1|||||||P|1|20260301101530\rP|1||P1\rO|1|S1||^^^SPT|R\r"
        b"R|1|^^^SPT|14.0|S||N||F||||20260301101000\rM|1|SPT||||||NEO CI^254169\rL|1|N\r"
    )
    async with running_site(tmp_path, {"chem": astm_channel()}) as site:
        reader, writer = await asyncio.open_connection(HOST, site.port("chem"))
        body = b"1" + message + b"\x03"
        for part in (b"\x05", b"\x02" + body + b"%02X\r\n" % (sum(body) % 256)):
            writer.write(part)
            assert await reader.readexactly(1) == b"\x06"
        writer.write(b"\x04")
        await until(lambda: len(site.messages()) == 1)
        await site.settled()
        writer.close()
        assert [(one.lot, one.name) for one in list_reagents(site.journal)] == [("254169", "NEO CI")]
