"""Analyzers that speak HL7 v2 ask, get their orders, and confirm them: over real sockets, with a real journal.

Bytes are those that makers and public drivers print; MSH-7 and MSH-10 of ours are the only ones that differ.
"""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.codecs.hl7v2.dialogues import dialogue
from engine.features.orders import rows as worklist
from engine.features.orders.exchange.taking import take_settings
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import item as read_item
from engine.features.orders.rows.reading import items as read_items
from engine.model.orders import OrderedPatient, OrderLine, Question
from engine.model.worklist import Answered, AskSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.line import line_of
from engine.views.wire import exchange_of
from tests.support.asking_hl7 import asking_hl7, values
from tests.support.certificates import Authority
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, channel, hl7_channel, running_site
from tests.support.waiting import until

CODES = {"TSH": "1", "FT4": "3", "CBC": "CBC+5DIFF", "MRSA": "FT"}
ORDERS = {"answer": "query", "codes": CODES, "deadline": "60s", "demographics": True, "host": "LIS"}
TOM = OrderedPatient(number="123", given="Tom", birth_date="19620824", sex="M")

BS_QUERY = r"""MSH|^~\&|Mindray|BS-200E|||20070723170707||QRY^Q02|1|P|2.3.1||||||ASCII|||
QRD|20070723170707|R|D|1|||RD|34567743|OTH|||T|
QRF|BS-200E|20070723170749|20070723170749|||RCT|COR|ALL||"""
BS_ACK = r"""MSH|^~\&|Mindray|BS-200E|||20070723170708||ACK^Q03|2|P|2.3.1||||||ASCII|||
MSA|AA|1|Message accepted|||0|
ERR|0|"""
BC_QUERY = "MSH|^~\\&|BC-5380|Mindray|||20250220141500||ORM^O01|4|P|2.3.1||||||UNICODE\nORC|RF||SampleID1||IP"
GX_QUERY = r"""MSH|^~\&|GeneXpert PC^GeneXpert^1.9.32 demo||LIS||20071121133825||QBP^Z03^QBP_Z03|ODM-+ecJkZRA-07|P|2.5
QPD|Z03^HOST QUERY|ODM-+ecJkZRA-07||s1
RCP|I"""
A19_QUERY = "MSH|^~\\&|BGA||LIS||20260301||QRY^A19|7|P|2.4\nQRD|20260301|R|I|9|||1^RD|123|DEM"


def analyzer(dialect: str = "", source: Mapping[str, Any] = MLLP, **orders: Any) -> dict[str, Any]:
    more = {"dialect": dialect} if dialect else {}
    return {"lab": hl7_channel(source=source, orders={**ORDERS, **orders}, **more)}


async def ordered(site: RunningSite, *lines: OrderLine) -> list[int]:
    settings = take_settings(site.app.parts.built.site.channels)
    done = await site.app.journal.run(worklist.take_orders, 1, "", lines, settings)
    assert all(one.number for one in done), done
    return [one.number for one in done]


def line(specimen: str, test: str = "TSH", patient: OrderedPatient = TOM, **more: Any) -> OrderLine:
    return OrderLine(specimen=specimen, test=test, patient=patient, **more)


def states(site: RunningSite) -> list[str]:
    """Of all orders, oldest first."""
    return [one.state.value for one in reversed(read_items(site.journal, ItemFilter()))]


def reasons(site: RunningSite) -> list[str]:
    return [one.reason.value for one in reversed(read_items(site.journal, ItemFilter()))]


async def becomes(site: RunningSite, *wanted: str) -> None:
    await until(lambda: states(site) == list(wanted))


def without_ours(message: list[str]) -> list[str]:
    """The message with MSH-7 and MSH-10 of ours emptied."""
    head = message[0].split("|")
    head[6] = head[9] = ""
    return ["|".join(head), *message[1:]]


# -- Mindray BS --------------------------------------------------------------------------------------------------------


async def test_mindray_bs_asks_gets_its_tests_and_accepts_them(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("mindray-bs")) as site, asking_hl7(site.port("lab")) as bs:
        urine = {"specimen_type": "UR", "collected": "2007-07-23T16:00:00+08:00"}
        await ordered(site, line("34567743", "TSH", **urine), line("34567743", "FT4", **urine))

        check, display = await bs.ask(BS_QUERY), await bs.hear()

        accepted = ["MSA|AA|1|Message accepted|||0|", "ERR|0|", "QAK|SR|OK|"]
        now = values(check, "MSH", 7)[0]
        assert check == [rf"MSH|^~\&|||Mindray|BS-200E|{now}||QCK^Q02|1|P|2.3.1||||||ASCII|||", *accepted]
        said = {1: "123", 3: "Tom", 4: "19620824000000", 5: "M", 21: "34567743", 23: "20070723160000", 24: "N"}
        said |= {26: "urine", 29: "1^^^", 30: "3^^^"}
        assert display == [
            rf"MSH|^~\&|||Mindray|BS-200E|{now}||DSR^Q03|1|P|2.3.1||||||ASCII|||",
            *accepted,
            *BS_QUERY.split("\n")[1:],
            *(f"DSP|{at}||{said.get(at, '')}|||" for at in range(1, 31)),
            "DSC||",
        ]
        await becomes(site, "offered", "offered")

        bs.send(BS_ACK)
        await becomes(site, "accepted", "accepted")
        await site.settled()
        assert site.ends("lab") == ["QUESTION", "ORDER_ANSWER"]


async def test_mindray_bs_refuses_and_the_order_shows_its_words(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("mindray-bs")) as site, asking_hl7(site.port("lab")) as bs:
        (number,) = await ordered(site, line("34567743"))
        await bs.ask(BS_QUERY)
        await bs.hear()

        bs.send(BS_ACK.replace("MSA|AA|1|Message accepted|||0|", "MSA|AR|1|record locked|||206|"))

        await becomes(site, "refused")
        found = read_item(site.journal, number)
        assert found is not None
        assert found.history[-1].detail == "206 record locked"


async def test_mindray_bs_of_an_unknown_tube_hears_nf_and_nothing_more(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("mindray-bs")) as site, asking_hl7(site.port("lab")) as bs:
        await ordered(site, line("034567743"))

        first = await bs.ask(BS_QUERY)
        second = await bs.ask(BS_QUERY.replace("34567743", "034567743"))

        assert first[-1] == "QAK|SR|NF|"
        assert second[-1] == "QAK|SR|OK|"
        assert "DSP|21||034567743|||" in await bs.hear()


async def test_mindray_bs_takes_its_question_back_and_hears_that_once(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("mindray-bs")) as site, asking_hl7(site.port("lab")) as bs:
        await ordered(site, line("34567743"))

        answer = await bs.ask(BS_QUERY.replace("OTH", "CAN"))

        assert without_ours(answer)[0] == r"MSH|^~\&|||Mindray|BS-200E|||QCK^Q02||P|2.3.1||||||ASCII|||"
        assert (await bs.ask(BS_QUERY))[-1] == "QAK|SR|OK|"  # and no other answer came between
        assert states(site) == ["waiting"] or states(site) == ["offered"]


async def test_mindray_bs_without_a_bar_code_gets_the_tubes_of_a_time_and_no_more_than_the_limit(
    tmp_path: Path,
) -> None:
    """QRD-8 is empty: QRF-2 and QRF-3 are the first and the last second, in the zone of the channel."""
    async with running_site(tmp_path, analyzer("mindray-bs", all_limit=2)) as site, asking_hl7(site.port("lab")) as bs:
        await ordered(site, line("A1"), line("A2"), line("A3", priority="stat"))
        zone = ZoneInfo(site.app.parts.built.site.channels["lab"].timezone)
        now = datetime.now(zone)

        def of(since: int, until: int) -> str:
            ends = [(now + timedelta(minutes=one)).strftime("%Y%m%d%H%M%S") for one in (since, until)]
            return BS_QUERY.replace("34567743", "").replace("20070723170749|20070723170749", "|".join(ends))

        assert (await bs.ask(of(-20, -10)))[-1] == "QAK|SR|NF|"
        assert (await bs.ask(of(10, -10)))[-1] == "QAK|SR|NF|"
        assert (await bs.ask(of(-10, 10).replace(now.strftime("%Y%m%d"), "2026-1-1")))[-1] == "QAK|SR|NF|"

        assert (await bs.ask(of(-10, 10)))[-1] == "QAK|SR|OK|"
        first = await bs.hear()
        assert ("DSP|21||A3|||" in first, first[-1]) == (True, "DSC|1|")  # the urgent one
        bs.send(BS_ACK)
        second = await bs.hear()
        assert ("DSP|21||A2|||" in second, second[-1]) == (True, "DSC||")
        newest = queries(site.journal)[0]
        assert (newest.kind, newest.cut) == ("range", True)
        await becomes(site, "waiting", "offered", "accepted")


async def test_mindray_bs_counts_its_questions_anew_each_day_and_the_same_number_is_answered_anew(
    tmp_path: Path,
) -> None:
    async with running_site(tmp_path, analyzer("mindray-bs")) as site, asking_hl7(site.port("lab")) as bs:
        assert (await bs.ask(BS_QUERY))[-1] == "QAK|SR|NF|"
        await ordered(site, line("34567743"))
        assert (await bs.ask(BS_QUERY))[-1] == "QAK|SR|OK|"  # the same bytes
        assert "DSP|29||1^^^|||" in await bs.hear()


async def test_mindray_bs_gets_its_orders_unasked_and_confirms_them(tmp_path: Path) -> None:
    orders = {"download": "on_order", "settings": {"accept": "P"}}
    async with running_site(tmp_path, analyzer("mindray-bs", **orders)) as site, asking_hl7(site.port("lab")) as bs:
        await ordered(site, line("A1"), line("A2"))
        display = await bs.hear()
        assert (values(display, "MSH", 9), values(display, "MSH", 15)) == (["DSR^Q03"], ["P"])
        assert "DSP|21||A1|||" in display
        await becomes(site, "offered", "waiting")
        (number,) = values(display, "MSH", 10)
        bs.send(BS_ACK.replace("MSA|AA|1|", f"MSA|AA|{number}|"))
        assert "DSP|21||A2|||" in await bs.hear()  # not before the first was confirmed
        await becomes(site, "accepted", "offered")


# -- Mindray BC --------------------------------------------------------------------------------------------------------


async def test_mindray_bc_asks_with_an_order_message(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer(settings={"take_mode": "A"})) as site:
        who = OrderedPatient(number="ChartNo", given="Putri", birth_date="19900804", sex="F", ward="Hematology")
        await ordered(site, line("SampleID1", "CBC", who, collected="2025-02-20T10:30:00+07:00"))
        async with asking_hl7(site.port("lab")) as bc:
            answer = await bc.ask(BC_QUERY)

            assert without_ours(answer) == [
                r"MSH|^~\&|LIS||||||ORR^O02||P|2.3.1||||||UNICODE",
                "MSA|AA|4",
                "PID|1||ChartNo^^^^MR||^Putri||19900804|Female",
                "PV1|1||Hematology",
                "ORC|AF|SampleID1",
                "OBR|1|SampleID1||||20250220103000||||||||||||||||||HM",
                "OBX|1|IS|08001^Take Mode^99MRC||A||||||F",
                "OBX|2|IS|08003^Test Mode^99MRC||CBC+5DIFF||||||F",
            ]
            await becomes(site, "offered")
            assert (await bc.ask(BC_QUERY.replace("SampleID1", "SampleID2")))[1:] == ["MSA|AR|4"]


# -- GeneXpert ---------------------------------------------------------------------------------------------------------


async def test_genexpert_asks_for_a_specimen(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("cepheid-genexpert-hl7")) as site, asking_hl7(site.port("lab")) as gx:
        p1 = OrderedPatient(number="p1")
        await ordered(site, line("s1", "MRSA", p1, requested="2007-11-16T13:32:08Z"))

        answer = await gx.ask(GX_QUERY)

        assert without_ours(answer) == [
            r"MSH|^~\&|LIS||GeneXpert PC^GeneXpert^1.9.32 demo||||RSP^Z02||P|2.5|||NE|NE",
            "MSA|AA|ODM-+ecJkZRA-07",
            "QAK|ODM-+ecJkZRA-07|OK|Z03^HOST QUERY",
            "QPD|Z03^HOST QUERY|ODM-+ecJkZRA-07||s1",
            "PID|1||p1",
            *("ORC|NW|1|||||||20071116133208", "OBR|1|||FT|||||||A", "TQ1|||||||||R", "SPM|1|s1^||ORH|||||||P"),
        ]
        await becomes(site, "offered")


async def test_genexpert_asks_for_everything(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("cepheid-genexpert-hl7")) as site, asking_hl7(site.port("lab")) as gx:
        await ordered(site, line("s1", "MRSA"), line("s2", "TSH"))

        answer = await gx.ask(GX_QUERY.replace("Z03", "Z01").replace("||s1", "|ALL"))

        assert sorted(values(answer, "SPM", 2)) == ["s1^", "s2^"]
        await becomes(site, "offered", "offered")


async def test_genexpert_gets_none_of_a_specimen_whose_orders_name_a_patient_and_none(tmp_path: Path) -> None:
    """It would skip those without a number, and run the others."""
    async with running_site(tmp_path, analyzer("cepheid-genexpert-hl7")) as site, asking_hl7(site.port("lab")) as gx:
        await ordered(site, line("s1", "MRSA", OrderedPatient(number="p1")), line("s1", "TSH", OrderedPatient()))
        answer = await gx.ask(GX_QUERY)
        assert [one[:3] for one in answer] == ["MSH", "MSA", "QAK", "QPD"]
        assert reasons(site) == ["SPECIMEN_CONFLICT", "SPECIMEN_CONFLICT"]


async def test_genexpert_takes_its_question_back_and_hears_ca(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("cepheid-genexpert-hl7")) as site, asking_hl7(site.port("lab")) as gx:
        head = "MSH|^~\\&|GX||LIS||20070713||QCN^J01^QCN_J01|UDC000|P|2.5|||AL|NE\n"
        answer = await gx.ask(head + "QID|662f|N/D")
        assert without_ours(answer) == [r"MSH|^~\&|LIS||GX||||ACK||P|2.5|||NE|NE", "MSA|CA|UDC000"]
        await gx.ask(GX_QUERY)  # no second answer came before that of this question


async def test_genexpert_names_its_own_number_and_then_refuses(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("cepheid-genexpert-hl7")) as site, asking_hl7(site.port("lab")) as gx:
        (number,) = await ordered(site, line("S8", "MRSA"))
        await gx.ask(GX_QUERY.replace("s1", "S8"))
        head = "MSH|^~\\&|GX||LIS||20070713||{}|{}|P|2.5|||AL|NE\n"

        status = await gx.ask(head.format("SSU^U03^SSU_U03", "U1") + "EQU|GX\nSPM|1|S8^1105-2||ORH")
        assert values(status, "MSA", 1) == ["CA"]
        await becomes(site, "accepted")
        found = read_item(site.journal, number)
        assert found is not None
        assert found.history[-1].detail == "1105-2"

        refusal = "PID|1||123\nORC|OC|1\nOBR|1|||FT|||||||||||||||||||||X\nNTE|1|L|Error^E1^empty\nSPM|1|S8^1105-2"
        answer = await gx.ask(head.format("ORU^R32^ORU_R30", "U2") + refusal)
        assert values(answer, "MSA", 1) == ["CA"]  # a message of its own, acknowledged as any
        await becomes(site, "refused")
        await site.settled()
        assert site.ends("lab") == ["QUESTION", "ORDER_ANSWER", "ORDER_ANSWER"]


# -- a dilution --------------------------------------------------------------------------------------------------------


async def test_an_order_with_a_dilution_is_refused_and_never_left_out_unseen(tmp_path: Path) -> None:
    """None of these analyzers has a place for it here; the other test of the tube goes."""
    async with running_site(tmp_path, analyzer("mindray-bs")) as site, asking_hl7(site.port("lab")) as bs:
        await ordered(site, line("34567743", "TSH", dilution="1:10"), line("34567743", "FT4"))
        await bs.ask(BS_QUERY)
        display = await bs.hear()
        assert [one for one in display if one.startswith(("DSP|29|", "DSP|30|"))] == ["DSP|29||3^^^|||"]
        await becomes(site, "refused", "offered")
        assert reasons(site) == ["DILUTION_UNSUPPORTED", ""]


@pytest.mark.parametrize("dialect", [None, "mindray-bs", "cepheid-genexpert-hl7", "roche-cobas-6800"])
def test_each_dialogue_says_which_dilutions_it_can_write(dialect: str | None) -> None:
    assert dialogue(dialect).dilutions == {""}  # type: ignore[union-attr]


# -- demographics ------------------------------------------------------------------------------------------------------


async def test_demographics_say_who_a_patient_is_and_offer_nothing(tmp_path: Path) -> None:
    channels = {**analyzer(), "other": hl7_channel(orders={"codes": {"UREA": "7"}})}
    async with running_site(tmp_path, channels) as site, asking_hl7(site.port("lab")) as bga:
        await ordered(site, line("00042", "UREA"))  # a test that only the other analyzer runs

        answer = await bga.ask(A19_QUERY)
        stranger = await bga.ask(A19_QUERY.replace("123", "0123"))

        assert values(answer, "MSH", 9) == ["ADR^A19"]
        assert "PID|1||123||^Tom||19620824|M" in answer
        assert [part[:3] for part in stranger] == ["MSH", "MSA", "QRD"]
        assert states(site) == ["waiting"]
        assert [one.kind for one in queries(site.journal)] == ["demographics", "demographics"]


# -- acknowledgements, deadlines, lines --------------------------------------------------------------------------------


async def test_a_question_gets_a_commit_accept_only_where_it_asks_for_one(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer()) as site, asking_hl7(site.port("lab")) as bc:
        first = await bc.ask(BC_QUERY)
        assert values(first, "MSH", 9) == ["ORR^O02"]

        bc.send(BC_QUERY.replace("2.3.1||||||UNICODE", "2.3.1|||AL|AL||UNICODE"))
        commit, answer = await bc.hear(), await bc.hear()

        assert (values(commit, "MSH", 9), values(commit, "MSA", 1)) == (["ACK^O01"], ["CA"])
        assert values(answer, "MSH", 9) == ["ORR^O02"]


async def test_results_on_the_same_connection_are_acknowledged_as_ever(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer()) as site, asking_hl7(site.port("lab")) as bc:
        await ordered(site, line("SampleID1", "CBC"))
        await bc.ask(BC_QUERY)
        result = (
            "MSH|^~\\&|BC-5380|Mindray|||20250220150000||ORU^R01|5|P|2.3.1\nPID|1||123\nOBR|1||SampleID1|CBC+5DIFF\n"
            "OBX|1|NM|CBC+5DIFF||5.1|10*9/L|||||F"
        )

        answer = await bc.ask(result)

        assert (values(answer, "MSA", 1), values(answer, "MSA", 2)) == (["AA"], ["5"])
        await becomes(site, "resulted")


async def test_results_beside_a_question_take_their_usual_way(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer()) as site, asking_hl7(site.port("lab")) as bc:
        await ordered(site, line("SampleID1", "CBC"))
        answer = await bc.ask(BC_QUERY + "\nOBR|1||SampleID1|CBC\nOBX|1|NM|HGB||5.1|g/dL|||||F")

        assert values(answer, "MSA", 1) == ["AA"]
        await site.settled()
        assert "QUESTION" not in site.ends("lab")
        assert states(site) == ["waiting"]


async def test_a_batch_with_a_question_is_acknowledged_and_not_answered_twice(tmp_path: Path) -> None:
    """A result beside a question in one block keeps its acknowledgement."""
    async with running_site(tmp_path, analyzer()) as site, asking_hl7(site.port("lab")) as bc:
        result = "MSH|^~\\&|BC|M|||20250220150000||ORU^R01|5|P|2.3.1\nPID|1||9\nOBR|1||S|X\nOBX|1|NM|X||1||||||F"
        first = await bc.ask(result + "\n" + BC_QUERY)
        assert values(first, "MSA", 1) == ["AA"]
        assert values(await bc.hear(), "MSH", 9) == ["ORR^O02"]


async def test_over_tls_as_in_the_clear(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server = authority.sign("localhost")
    source = {**MLLP, "tls": {"cert": str(server.cert), "key": str(server.key)}}
    async with running_site(tmp_path, analyzer(source=source)) as site:
        await ordered(site, line("SampleID1", "CBC"))
        async with asking_hl7(site.port("lab"), authority.trust()) as bc:
            assert values(await bc.ask(BC_QUERY), "MSA", 1) == ["AA"]
            await becomes(site, "offered")


@pytest.mark.parametrize("commit", [False, True])
async def test_a_question_that_cannot_be_answered_ends_the_connection(tmp_path: Path, commit: bool) -> None:
    """With delimiters that no answer can be written with. After a commit accept the sender waits no more."""
    async with running_site(tmp_path, analyzer()) as site, asking_hl7(site.port("lab")) as bc:
        await ordered(site, line("SampleID1", "CBC"))
        odd = BC_QUERY.replace("^~\\&", "^~\\.")

        bc.send(odd.replace("2.3.1||||||UNICODE", "2.3.1|||AL|AL||UNICODE") if commit else odd)

        if commit:
            assert values(await bc.hear(), "MSA", 1) == ["CA"]
            assert values(await bc.ask(BC_QUERY), "MSA", 1) == ["AA"]  # on the same connection
        else:
            assert await bc.is_closed()
            await becomes(site, "waiting")
        assert len(site.messages("lab")) == (2 if commit else 1)


async def test_an_answer_that_is_late_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is busy from the question's commit until its deadline is over."""
    go_on, look_up = threading.Event(), worklist.answer

    @operation(priority=Priority.SETTLE)
    def busy(batch: Batch, message_id: int, question: Question, settings: AskSettings) -> Answered:
        go_on.wait(60.0)
        return look_up(batch, message_id, question, settings)

    async with running_site(tmp_path, analyzer(deadline="500ms")) as site, asking_hl7(site.port("lab")) as bc:
        await ordered(site, line("SampleID1", "CBC"))
        monkeypatch.setattr(worklist, "answer", busy)

        bc.send(BC_QUERY)

        try:
            assert await bc.is_closed()
        finally:
            go_on.set()
        await until(lambda: [one.outcome for one in queries(site.journal)] == ["late"])
        assert (states(site), reasons(site)) == (["waiting"], [""])


async def test_a_question_without_orders_in_its_channel_is_a_dead_letter(tmp_path: Path) -> None:
    routes = {"lab": channel(MLLP, HL7_ROUTE)}
    async with running_site(tmp_path, routes) as site, asking_hl7(site.port("lab")) as bc:
        assert values(await bc.ask(BC_QUERY), "MSA", 1) == ["AA"]
        await site.settled()
        assert site.ends("lab") == ["NO_ROUTE"]


async def test_the_connection_is_lost_before_the_tests_are_confirmed(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("mindray-bs")) as site:
        await ordered(site, line("34567743"))
        async with asking_hl7(site.port("lab")) as bs:
            await bs.ask(BS_QUERY)
            await bs.hear()
            await becomes(site, "offered")
        await becomes(site, "waiting")
        assert reasons(site) == ["MAYBE_KNOWN"]

        async with asking_hl7(site.port("lab")) as bs:
            await bs.ask(BS_QUERY)
            assert "DSP|29||1^^^|||" in await bs.hear()
            bs.send(BS_ACK)
            await becomes(site, "accepted")


async def test_of_several_tubes_the_next_follows_the_acknowledgement_of_the_one_before(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer("mindray-bs")) as site, asking_hl7(site.port("lab")) as bs:
        await ordered(site, line("A1"), line("A2"))

        await bs.ask(BS_QUERY.replace("34567743", "A1~A2"))
        first = await bs.hear()
        assert (first[-1], "DSP|21||A1|||" in first) == ("DSC|1|", True)
        await becomes(site, "offered", "waiting")
        bs.send(BS_ACK)
        second = await bs.hear()

        assert (second[-1], "DSP|21||A2|||" in second) == ("DSC||", True)
        await becomes(site, "accepted", "offered")


# -- what is kept of the line ------------------------------------------------------------------------------------------


async def test_the_answer_is_kept_with_its_time_and_no_result_twice(tmp_path: Path) -> None:
    """The journal has each message of the analyzer, so the trace of the line has our answers alone."""
    async with running_site(tmp_path, analyzer("mindray-bs")) as site, asking_hl7(site.port("lab")) as bs:
        await ordered(site, line("34567743"))
        await bs.ask(BS_QUERY)
        await bs.hear()
        await becomes(site, "offered")
        bs.send(BS_ACK)
        await becomes(site, "accepted")
        await site.settled()
        await until(lambda: len(line_of(site.journal, "lab")) == 2)
        (asked,) = queries(site.journal)
        steps = exchange_of(site.journal, "lab", 0, asked.at_us, asked.ended_us)
        assert [(step.way, b"QCK^Q02" in step.data, b"DSP|21||34567743" in step.data) for step in steps] == [
            ("out", True, False),
            ("out", False, True),
        ]
        assert asked.at_us <= steps[0].at_us <= steps[1].at_us <= asked.ended_us
        kept = b"".join(entry.data for record in line_of(site.journal, "lab") for entry in record.entries)
        assert (b"QRY^Q02" in kept, b"ACK^Q03" in kept) == (False, False)
