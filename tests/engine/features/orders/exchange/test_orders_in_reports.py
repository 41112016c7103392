"""The document of a result names its order: on a whole site, over real sockets, also where each message is large.

an order of the LIS              basedOn of Observation and report: its order number, with who gave it
the test is ordered twice        other numbers: none is named, and a warning says so; the same number: it is named
no order                         nothing
cancelled, and measured          it is delivered with a note
the same result once more        an echo, as without an order
beside a result that is new      its report does not name the order for a rerun
two results have its code        of two patients, measured before and after it came, of two code lists: none is named
processed again, explained       the same document
HL7 v2 output                    ORC-2 and OBR-2, where they are empty; NTE for a late one
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.store.queries.reader import stored_document
from tests.engine.features.orders.exchange.test_law import answer_to, law, query
from tests.engine.features.orders.exchange.test_law import result as measured_by_law
from tests.engine.features.orders.exchange.test_orders_of_a_lis import lis, states
from tests.support.asking import asking, question, result
from tests.support.asking_hl7 import asking_hl7, values
from tests.support.ordering_lis import order, ordering, segments
from tests.support.running import ASTM, RunningSite, astm_channel, channel, running_site
from tests.support.waiting import until

CODES = {"TSH": "TSH3", "FERR": "Ferritin"}
ORDERS = {"answer": "query", "codes": CODES, "deadline": "60s"}


def site_of() -> dict[str, Any]:
    return {"chemistry": astm_channel(orders=ORDERS), "his": lis()}


def based_on(site: RunningSite, message: int) -> dict[str, list[str]]:
    """The order numbers that each kind of resource names."""
    found: dict[str, list[str]] = {}
    for entry in site.bundles(message)[-1]["entry"]:
        resource = entry["resource"]
        for one in resource.get("basedOn", ()):
            if "identifier" in one:
                found.setdefault(resource["resourceType"], []).append(one["identifier"]["value"])
    return found


def notes(site: RunningSite, message: int) -> list[str]:
    entries = site.bundles(message)[-1]["entry"]
    return [note["text"] for entry in entries for note in entry["resource"].get("note", ())]


def newest(site: RunningSite, name: str = "chemistry") -> int:
    return site.messages(name)[-1].id


async def measured(site: RunningSite, peer: Any, message: bytes) -> int:
    before = len(site.messages("chemistry"))
    await peer.send(message)
    await until(lambda: len(site.messages("chemistry")) > before and site.is_settled())
    return newest(site)


@pytest.mark.parametrize("large", [False, True])
async def test_a_report_names_the_order(large: bool, tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of(), large=large) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        await peer.ask(question("00042"))

        message = await measured(site, peer, result("00042", "P-17", "TSH3", "1.20"))

        assert states(site) == [("TSH", "resulted", "")]
        assert based_on(site, message) == {"Observation": ["P1"], "DiagnosticReport": ["P1"]}
        assert notes(site, message) == []
        first = site.bundles(message)[-1]
        ran = await site.labrelay("explain", str(message), "--show-values", "--purpose", "tested")
        assert ran.code == 0, ran.err
        assert "of the order on the worklist that it is a result of" in ran.out
        ran = await site.labrelay("reprocess", "--channel", "chemistry", "--since", "1d", "-o", "json")
        assert ran.json["outcomes"]["unchanged"] == 2, ran.json  # the question, too
        assert site.bundles(message)[-1] == first


async def test_two_orders_that_disagree_are_not_named(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of()) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        await his.ask(order("M2", ("NW", "P2", "TSH")))
        await peer.ask(question("00042"))

        message = await measured(site, peer, result("00042", "P-17", "TSH3", "1.20"))

        assert based_on(site, message) == {}
        assert "TWO_ORDERS" in [one["code"] for one in site.trace(message).issues]


@pytest.mark.parametrize(
    ("patient", "named"), [("", {}), ("P-17", {"Observation": ["P1"], "DiagnosticReport": ["P1"]})]
)
async def test_of_a_tube_with_orders_of_two_patients_a_result_that_names_nobody_names_no_order(
    patient: str, named: dict[str, list[str]], tmp_path: Path
) -> None:
    """The test is ordered for one of them alone, but the tube may be the other's."""
    async with (
        running_site(tmp_path, site_of()) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        await his.ask(order("M2", ("NW", "P2", "FERR"), patient="P-18"))

        message = await measured(site, peer, result("00042", patient, "TSH3", "1.20"))

        assert based_on(site, message) == named


async def test_without_an_order_nothing_is_named(tmp_path: Path) -> None:
    async with running_site(tmp_path, site_of()) as site, asking(site.port("chemistry")) as peer:
        message = await measured(site, peer, result("00042", "P-17", "TSH3", "1.20"))
        assert based_on(site, message) == {}
        assert site.trace(message).facts == {}


async def test_the_same_result_once_more_is_an_echo(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of()) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        now = result("00042", "P-17", "TSH3", "1.20")
        await measured(site, peer, now)
        await his.ask(order("M2", ("RO", "P9", "TSH")))

        later = now.replace(b"|20261124100000\r", b"|20261124100500\r")  # the message, not the measurement
        message = await measured(site, peer, later)

        assert site.end_of(message) == "ECHO"
        assert [state for _, state, _ in states(site)] == ["resulted", "waiting"]


@pytest.mark.parametrize("again", ["RO", "NW"])
async def test_the_same_result_once_more_without_its_patient_is_of_its_first_order(again: str, tmp_path: Path) -> None:
    """The result repeats that one, so its report alone names an order; the number on the tube is in use again."""
    async with (
        running_site(tmp_path, site_of()) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        await peer.ask(question("00042"))
        first = result("00042", "P-17", "TSH3", "1.20")
        await measured(site, peer, first)
        await his.ask(order("M2", (again, "P9", "TSH")))
        await peer.ask(question("00042"))

        message = await measured(site, peer, first.replace(b"|P-17\r", b"|\r"))

        assert site.end_of(message) == "delivered"
        assert [state for _, state, _ in states(site)] == ["resulted", "offered"]
        assert based_on(site, message) == {"DiagnosticReport": ["P1"]}

        await measured(site, peer, result("00042", "", "TSH3", "1.30", at=in_minutes(1)))
        assert [state for _, state, _ in states(site)] == ["resulted", "in_progress"]  # a person says whose it is


@pytest.mark.parametrize("ahead_min", [0, 1], ids=["", "the analyzer's clock is ahead"])
async def test_a_result_that_is_repeated_beside_a_new_one_is_of_no_rerun(ahead_min: int, tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of()) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "FERR")))
        first = result("00042", "P-17", "TSH3", "1.20", at=in_minutes(ahead_min))
        await measured(site, peer, first)
        await his.ask(order("M2", ("RO", "P9", "TSH")))

        message = await measured(site, peer, beside(first, "R|2|^^^Ferritin|40|ug/L||N||F"))

        assert based_on(site, message) == {"Observation": ["P2"], "DiagnosticReport": ["P1", "P2"]}
        assert [state for _, state, _ in states(site)] == ["resulted", "resulted", "waiting"]
        ran = await site.labrelay("reprocess", "--channel", "chemistry", "--since", "1d", "-o", "json")
        assert ran.json["outcomes"] == {"unchanged": 2}, ran.json


async def test_a_result_that_is_repeated_beside_a_new_one_is_of_its_order_still(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of()) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "FERR")))
        first = result("00042", "P-17", "TSH3", "1.20")
        await measured(site, peer, first)

        message = await measured(site, peer, beside(first, "R|2|^^^Ferritin|40|ug/L||N||F"))

        assert based_on(site, message) == {"Observation": ["P2"], "DiagnosticReport": ["P1", "P2"]}
        assert [state for _, state, _ in states(site)] == ["resulted", "resulted"]


def in_minutes(number: int) -> str:
    return f"{datetime.now(ZoneInfo('Asia/Kolkata')) + timedelta(minutes=number):%Y%m%d%H%M%S}"


def beside(message: bytes, *records: str) -> bytes:
    """The message with more records."""
    return message.replace(b"L|1|F", "\r".join([*records, "L|1|F"]).encode())


OTHERS = {
    "another patient has the tube": ("P|2|P-99", "O|1|00042||^^^TSH3|||||||||||Serum", "R|1|^^^TSH3|9.9|mIU/L||N||F"),
    "it was measured before the order came": ("R|2|^^^TSH3|9.9|mIU/L||N||F||||20200101100000",),
    "its code is one of the other list": ("R|2|^^^TSH|9.9|mIU/L||N||F",),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_a_result_beside_it_never_names_its_order(name: str, tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of()) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))

        message = await measured(site, peer, beside(result("00042", "P-17", "TSH3", "1.20"), *OTHERS[name]))

        assert site.end_of(message) == "delivered"
        assert states(site) == [("TSH", "resulted", "")]
        entries = [one["resource"] for one in site.bundles(message)[-1]["entry"]]
        (other,) = [one for one in entries if one.get("valueQuantity", {}).get("value") == 9.9]
        assert "basedOn" not in other


async def test_of_two_orders_for_one_test_each_result_names_that_of_its_work_step(tmp_path: Path) -> None:
    """Over IHE LAW, in one message, and in its correction."""
    channels = {**law(), "his": lis()}
    async with (
        running_site(tmp_path, channels) as site,
        ordering(site.port("his")) as his,
        asking_hl7(site.port("lab")) as analyzer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "TSH")))
        await analyzer.ask(query("00042"))
        asked = await analyzer.hear()
        assert values(asked, "OBR", 2) == ["W1", "W2"]
        analyzer.send(answer_to(asked, ("W1", "OK"), ("W2", "OK")))
        for status, number in (("F", "r1"), ("C", "r2")):
            first = measured_by_law("W1", "00042", "658^TSH^99ABT", "1.2", number=number).replace(
                "PID|||P1", "PID|||P-17"
            )
            second = f"OBR|2|W2||658^TSH^99ABT\nORC|SC||||CM\n{first.splitlines()[-1].replace('|1.2|', '|1.4|')}"
            both = f"{first}\n{second}".replace("|||||F|", f"|||||{status}|").replace("1.2", f"1.2{number[1]}")
            assert values(await analyzer.ask(both), "MSA", 1) == ["AA"]
            await site.settled()

            message = newest(site, "lab")
            assert site.end_of(message) == "delivered"
            entries = [one["resource"] for one in site.bundles(message)[-1]["entry"]]
            named = {
                one["valueQuantity"]["value"]: [
                    each["identifier"]["value"] for each in one["basedOn"] if "identifier" in each
                ]
                for one in entries
                if one["resourceType"] == "Observation"
            }
            assert sorted(named.values()) == [["P1"], ["P2"]], named
        assert states(site) == [("TSH", "resulted", "")] * 2


async def test_a_late_result_says_that_its_order_was_cancelled(tmp_path: Path) -> None:
    async with (
        running_site(tmp_path, site_of()) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH"), ("NW", "P2", "FERR")))
        await his.ask(order("M2", ("CA", "P1", "TSH")))

        message = await measured(site, peer, result("00042", "P-17", "TSH3", "1.20"))

        assert site.end_of(message) == "delivered"
        assert based_on(site, message) == {"Observation": ["P1"], "DiagnosticReport": ["P1"]}
        (note,) = notes(site, message)
        assert note.startswith("ordered, cancelled at 20")
        assert note.endswith(", measured")


async def test_an_hl7_output_has_the_numbers_of_the_order(tmp_path: Path) -> None:
    out = {"out": {"kind": "file", "folder": "var/out"}}
    chemistry = channel(ASTM, {"mapping": "astm-to-hl7", "to": "out"}, orders=ORDERS)
    async with (
        running_site(tmp_path, {"chemistry": chemistry, "his": lis()}, out) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        await peer.ask(question("00042"))

        first = await measured(site, peer, result("00042", "P-17", "TSH3", "1.20"))

        text = stored_document(site.journal, site.trace(first).documents[-1].id)
        (obr,) = segments(text, "OBR")
        assert obr[2] == "P1"
        assert obr[3] == "00042"  # the message has it
        again = await measured(site, peer, result("00042", "P-17", "TSH3", "1.30"))
        assert segments(stored_document(site.journal, site.trace(again).documents[-1].id), "OBX")[0][11] == "C"
