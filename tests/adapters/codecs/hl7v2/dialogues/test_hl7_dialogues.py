"""Questions of analyzers over HL7 v2 and the answers to them, byte by byte as makers and public drivers print them."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.hl7v2.dialogues import ByMessage, Hl7Dialogue, dialogue
from adapters.codecs.hl7v2.dialogues.asked import Demographics
from adapters.codecs.hl7v2.dialogues.genexpert import GeneXpert
from adapters.codecs.hl7v2.dialogues.law import Law
from adapters.codecs.hl7v2.dialogues.mindray import MindrayBc, MindrayBs
from adapters.codecs.hl7v2.dialogues.sheet import sheet_for
from adapters.codecs.hl7v2.message import parse
from adapters.codecs.hl7v2.text import unescape
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Parsed
from engine.model.orders import (
    AnswerContext,
    Asked,
    ItemState,
    NoOrder,
    OrderedPatient,
    OrderLine,
    Question,
    Reply,
    Tube,
    WorkItem,
)
from tests.support.examples import examples

BS_QUERY = r"""MSH|^~\&|Mindray|BS-200E|||20070723170707||QRY^Q02|1|P|2.3.1||||||ASCII|||
QRD|20070723170707|R|D|1|||RD|34567743|OTH|||T|
QRF|BS-200E|20070723170749|20070723170749|||RCT|COR|ALL||"""
BC_QUERY = "MSH|^~\\&|BC-5380|Mindray|||20250220141500||ORM^O01|4|P|2.3.1||||||UNICODE\nORC|RF||SampleID1||IP"
GX_QUERY = r"""MSH|^~\&|GeneXpert PC^GeneXpert^1.9.32 demo||LIS||20071121133825||QBP^Z03^QBP_Z03|ODM-+ecJkZRA-07|P|2.5
QPD|Z03^HOST QUERY|ODM-+ecJkZRA-07||s1
RCP|I"""
LAW_QUERY = r"""MSH|^~\&|BA200|Bio|Host|HP|20250305||QBP^Q11^QBP_Q11|dd98|P|2.5.1|||ER|AL||UNICODE UTF-8|||LAB-27^IHE
QPD|WOS^Work Order Step^IHE_LABTF|dd980f|20250107000003
RCP|I||R"""
COBAS_QUERY = """MSH|^~\\&|cobas® pro||host||2016||QBP^Q11^QBP_Q11|1233|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-27R^ROCHE
QPD|INISEQ^^99ROC|query1233|123|50001|1|||||SERPLAS^^99ROC|SC^^99ROC|R
RCP|I|1|R^^HL70394"""
A19_QUERY = "MSH|^~\\&|BGA||LIS||20260301||QRY^A19|7|P|2.4\nQRD|20260301|R|I|9|||1^RD|P1^Meier|DEM"
QUERIES = {
    "bs": (dialogue("mindray-bs"), BS_QUERY),
    "bc": (dialogue(None), BC_QUERY),
    "genexpert": (dialogue("cepheid-genexpert-hl7"), GX_QUERY),
    "law": (dialogue(None), LAW_QUERY),
}


def read(text: str) -> Parsed:
    return parse(text.replace("\n", "\r").encode(), FormatOptions())


def context(now: str = "20070723170707", **more: Any) -> AnswerContext:
    return AnswerContext(**{"now": now, "control_id": "9", "demographics": True} | more)


def item(number: int, specimen: str, code: str, patient: OrderedPatient | None = None, **more: Any) -> WorkItem:
    line = OrderLine(specimen=specimen, test="T", patient=patient or OrderedPatient(number="123"), **more)
    return WorkItem(number=number, line=line, state=ItemState.WAITING, code=code)


def ask(which: Hl7Dialogue | None, text: str, *items: WorkItem, **more: Any) -> tuple[Question, list[Reply]]:
    assert which is not None
    parsed = read(text)
    question = which.question(parsed)
    assert question is not None
    found = question.asked or tuple(Asked(specimen=one) for one in dict.fromkeys(one.line.specimen for one in items))
    tubes = [Tube(asked=one, items=items, none=None if items else NoOrder.UNKNOWN) for one in found]
    return question, which.answer(parsed, question, tubes, context(**more))


def lines(reply: Reply) -> list[str]:
    assert reply.payload.endswith(b"\r")
    return reply.payload.decode().split("\r")[:-1]


# -- Mindray BS ----------------------------------------------------------------------------------------------------


def test_bs_answers_as_the_maker_prints_it() -> None:
    tom = OrderedPatient(number="123", given="Tom", birth_date="19620824", sex="M")
    ordered = {"specimen_type": "UR", "collected": "2007-07-23T16:00:00+08:00"}
    two = [item(n, "34567743", code, tom, **ordered) for n, code in ((1, "1"), (2, "3"))]
    question, (check, display) = ask(dialogue("mindray-bs"), BS_QUERY, *two)

    assert [one.specimen for one in question.asked] == ["34567743"]
    assert lines(check) == [
        r"MSH|^~\&|||Mindray|BS-200E|20070723170707||QCK^Q02|1|P|2.3.1||||||ASCII|||",
        "MSA|AA|1|Message accepted|||0|",
        "ERR|0|",
        "QAK|SR|OK|",
    ]
    said = {1: "123", 3: "Tom", 4: "19620824000000", 5: "M", 21: "34567743", 23: "20070723160000", 24: "N", 26: "urine"}
    said |= {29: "1^^^", 30: "3^^^"}
    assert lines(display) == [
        r"MSH|^~\&|||Mindray|BS-200E|20070723170707||DSR^Q03|1|P|2.3.1||||||ASCII|||",
        *lines(check)[1:],
        *BS_QUERY.split("\n")[1:],
        *(f"DSP|{at}||{said.get(at, '')}|||" for at in range(1, 31)),
        "DSC||",
    ]
    assert (display.items, display.control_id) == ((1, 2), "1")


def test_bs_no_order_is_nf_and_nothing_follows() -> None:
    _, (check,) = ask(dialogue("mindray-bs"), BS_QUERY)
    assert lines(check)[-1] == "QAK|SR|NF|"
    assert check.items == ()


@pytest.mark.parametrize(("code", "accepted"), [("AA", True), ("AE", False), ("AR", False)])
def test_bs_acknowledgement_confirms_or_refuses(code: str, accepted: bool) -> None:
    which = dialogue("mindray-bs")
    assert which is not None
    said = which.confirmation(read(f"MSH|^~\\&|M|B|||1||ACK^Q03|5|P|2.3.1\nMSA|{code}|1|words|||206|"))
    assert said is not None
    assert (said.of, said.accepted, said.code) == ("1", accepted, "206")


def test_bs_a_cancel_a_range_and_several_samples() -> None:
    which = dialogue("mindray-bs")
    assert which is not None
    cancel = which.question(read(BS_QUERY.replace("OTH", "CAN")))
    assert cancel is not None
    assert cancel.kind == "cancel"
    parsed = read(BS_QUERY.replace("34567743", ""))
    question = which.question(parsed)
    assert question is not None
    assert (question.kind, question.since) == ("range", "20070723170749")
    tubes = [Tube(asked=Asked(specimen=one), items=(item(n, one, "1"),)) for n, one in ((1, "A"), (2, "B"))]
    _, first, last = which.answer(parsed, question, tubes, context())
    assert (lines(first)[-1], lines(last)[-1]) == ("DSC|1|", "DSC||")
    assert first.control_id != last.control_id


@pytest.mark.parametrize("accept", ["", "P"])
def test_bs_a_download_is_a_dsr_without_a_question_and_says_msh_15_as_the_model_wants_it(accept: str) -> None:
    which, tube = MindrayBs(), Tube(asked=Asked(specimen="S1"), items=(item(1, "S1", "1"), item(2, "S1", "3")))
    (display,) = which.download(tube, context(settings=(("accept", accept),)))
    said = {1: "123", 21: "S1", 24: "N", 29: "1^^^", 30: "3^^^"}
    assert lines(display) == [
        rf"MSH|^~\&|||||20070723170707||DSR^Q03|9|P|2.3.1|||{accept}|||ASCII|||",
        "MSA|AA|9|Message accepted|||0|",
        "ERR|0|",
        "QAK|SR|OK|",
        "QRD|20070723170707|R|D|1|||RD||OTH|||T|",
        "QRF||20070723170707|20070723170707|||RCT|COR|ALL||",
        *(f"DSP|{at}||{said.get(at, '')}|||" for at in range(1, 31)),
        "DSC||",
    ]
    assert (display.items, display.control_id) == ((1, 2), "9")


def test_bs_look_alikes_have_their_own_lines_and_triggers() -> None:
    """CyanVision: number, names, one test in line 8, no QCK. A1000: QRY^Q01 is answered QCK^Q01 and DSR^Q01."""
    who = OrderedPatient(number="123", family="Rao", given="Asha", birth_date="19800412", sex="F")
    two = [item(1, "34567743", "1", who), item(2, "34567743", "3", who)]
    _, replies = ask(dialogue("mindray-bs"), BS_QUERY, *two, settings=(("form", "cyanvision"),))
    displays = [[line for line in lines(reply) if line.startswith("DSP")] for reply in replies]
    head = ["DSP|1||34567743|||", "DSP|2|||||", "DSP|3||Asha|||", "DSP|4||Rao|||", "DSP|5||F|||"]
    head += ["DSP|6||19800412000000|||", "DSP|7||1|||"]
    assert displays == [[*head, "DSP|8||1|||"], [*head, "DSP|8||3|||"]]
    assert [lines(reply)[-1] for reply in replies] == ["DSC|1|", "DSC||"]

    _, (check, display) = ask(dialogue("mindray-bs"), BS_QUERY.replace("QRY^Q02", "QRY^Q01"), *two)
    assert [lines(one)[0].split("|")[8] for one in (check, display)] == ["QCK^Q01", "DSR^Q01"]


# -- Mindray BC ----------------------------------------------------------------------------------------------------


def test_bc_answers_as_the_maker_prints_it() -> None:
    who = OrderedPatient(number="ChartNo", given="Putri", birth_date="19900804", sex="F", ward="Hematology")
    one = item(1, "SampleID1", "CBC+5DIFF", who, collected="2025-02-20T10:30:00+07:00")
    _, (reply,) = ask(dialogue(None), BC_QUERY, one, now="20250220141500", host="LIS", settings=(("take_mode", "A"),))
    assert lines(reply) == [
        r"MSH|^~\&|LIS||||20250220141500||ORR^O02|9|P|2.3.1||||||UNICODE",
        "MSA|AA|4",
        "PID|1||ChartNo^^^^MR||^Putri||19900804|Female",
        "PV1|1||Hematology",
        "ORC|AF|SampleID1",
        "OBR|1|SampleID1||||20250220103000||||||||||||||||||HM",
        "OBX|1|IS|08001^Take Mode^99MRC||A||||||F",
        "OBX|2|IS|08003^Test Mode^99MRC||CBC+5DIFF||||||F",
    ]


def test_bc_the_answer_is_due_within_its_2_seconds() -> None:
    question, _ = ask(dialogue(None), BC_QUERY)
    assert 0 < question.within_s < 2


def test_bc_no_order_and_modes_of_which_none_contains_the_others_are_ar() -> None:
    for items in ((), (item(1, "SampleID1", "CBC+RET"), item(2, "SampleID1", "CBC+5DIFF"))):
        _, (reply,) = ask(dialogue(None), BC_QUERY, *items, host="LIS")
        assert lines(reply)[1:] == ["MSA|AR|4"]
        assert reply.items == ()


def test_an_order_of_a_laboratory_system_is_no_question() -> None:
    which = dialogue(None)
    assert which is not None
    assert which.question(read(BC_QUERY.replace("RF", "NW"))) is None


# -- GeneXpert and demographics ------------------------------------------------------------------------------------


def test_genexpert_answers_as_the_maker_prints_it() -> None:
    p1 = OrderedPatient(number="p1")
    two = [item(1, "s1", "FT", p1, requested="2007-11-16T13:32:08Z"), item(2, "s1", "BC", p1)]
    question, (reply,) = ask(dialogue("cepheid-genexpert-hl7"), GX_QUERY, *two, now="20071121133826")
    assert question.tag == "ODM-+ecJkZRA-07"
    assert lines(reply) == [
        r"MSH|^~\&|LIS||GeneXpert PC^GeneXpert^1.9.32 demo||20071121133826||RSP^Z02|9|P|2.5|||NE|NE",
        "MSA|AA|ODM-+ecJkZRA-07",
        "QAK|ODM-+ecJkZRA-07|OK|Z03^HOST QUERY",
        "QPD|Z03^HOST QUERY|ODM-+ecJkZRA-07||s1",
        "PID|1||p1",
        *("ORC|NW|1|||||||20071116133208", "OBR|1|||FT|||||||A", "TQ1|||||||||R", "SPM|1|s1^||ORH|||||||P"),
        *("ORC|NW|2|||||||20071121133826", "OBR|2|||BC|||||||A", "TQ1|||||||||R", "SPM|2|s1^||ORH|||||||P"),
    ]
    _, (none,) = ask(dialogue("cepheid-genexpert-hl7"), GX_QUERY)
    assert [line[:3] for line in lines(none)] == ["MSH", "MSA", "QAK", "QPD"]


def test_genexpert_runs_an_assay_of_two_orders_once() -> None:
    p1 = OrderedPatient(number="p1")
    _, (reply,) = ask(
        dialogue("cepheid-genexpert-hl7"),
        GX_QUERY,
        item(1, "s1", "FT", p1),
        item(2, "s1", "BC", p1),
        item(3, "s1", "FT", p1, priority="stat"),
    )
    assert [line.split("|")[4] for line in lines(reply) if line.startswith("OBR")] == ["FT", "BC"]
    assert [line.split("|")[9] for line in lines(reply) if line.startswith("TQ1")] == ["S", "R"]
    assert reply.items == (1, 2, 3)


def test_genexpert_of_several_specimens_only_those_with_orders_are_listed_and_spm_is_last() -> None:
    which, text = dialogue("cepheid-genexpert-hl7"), GX_QUERY.replace("||s1", "||s1~s2~s3")
    assert which is not None
    question = which.question(read(text))
    assert question is not None
    assert [one.specimen for one in question.asked] == ["s1", "s2", "s3"]
    p1, p2 = OrderedPatient(number="p1"), OrderedPatient(number="p2")
    found = {"s1": (item(1, "s1", "FT", p1),), "s3": (item(2, "s3", "BC", p2),)}
    tubes = [Tube(asked=one, items=found.get(one.specimen, ())) for one in question.asked]
    (reply,) = which.answer(read(text), question, tubes, context())
    assert [line[:3] for line in lines(reply)[4:]] == ["PID", "ORC", "OBR", "TQ1", "SPM"] * 2
    assert [line.split("|")[2] for line in lines(reply) if line.startswith("SPM")] == ["s1^", "s3^"]


def test_genexpert_orders_of_another_patient_than_it_names_are_not_sent() -> None:
    text = GX_QUERY.replace("||s1", "|p1|s1")
    _, (own,) = ask(dialogue("cepheid-genexpert-hl7"), text, item(1, "s1", "FT", OrderedPatient(number="p1")))
    _, (other,) = ask(dialogue("cepheid-genexpert-hl7"), text, item(1, "s1", "FT", OrderedPatient(number="p2")))
    assert (own.items, other.items) == ((1,), ())
    assert [line[:3] for line in lines(other)] == ["MSH", "MSA", "QAK", "QPD"]


def test_genexpert_a_cancel_is_answered_ca_and_a_refusal_names_specimen_and_assay() -> None:
    start = "MSH|^~\\&|ICU||LIS||20070713||{}|UDC000|P|2.5|||AL|NE\n"
    which = dialogue("cepheid-genexpert-hl7")
    question, (reply,) = ask(which, start.format("QCN^J01^QCN_J01") + "QID|662f|N/D")
    assert (question.kind, question.tag, lines(reply)[1]) == ("cancel", "662f", "MSA|CA|UDC000")
    refusal = "PID|1||P\nORC|OC|1\nOBR|1|||MRSA IUO|||||||||||||||||||||X\nNTE|1|L|Error^bad^Words\nSPM|1|S8^I3||ORH"
    assert which is not None
    said = which.confirmation(read(start.format("ORU^R32^ORU_R30") + refusal))
    assert said is not None
    assert said.tests == (("S8", "MRSA IUO", False, "bad", "Words"),)
    assert said.of_items([1]) == {}


def test_demographics_are_never_answered_by_name_nor_where_two_share_a_number() -> None:
    which, anna = dialogue(None), OrderedPatient(number="P1", family="Meier", given="Anna")
    question, (reply,) = ask(which, A19_QUERY, item(1, "S", "1", anna))
    assert (question.kind, question.patients) == ("demographics", ("P1",))
    assert "PID|1||P1||Meier^Anna" in lines(reply)
    other = item(2, "S", "1", OrderedPatient(number="P1", family="Huber"))
    stranger = item(3, "S", "1", OrderedPatient(number="P2", family="Meier"))
    for items in ((item(1, "S", "1", anna), other), (stranger,), ()):
        _, (reply,) = ask(which, A19_QUERY, *items)
        assert [line[:3] for line in lines(reply)] == ["MSH", "MSA", "QRD"]


def test_demographics_of_an_unknown_patient_are_ae_where_the_setting_says_so_and_nothing_where_they_are_kept() -> None:
    which, anna = dialogue(None), OrderedPatient(number="P1", family="Meier", given="Anna")
    _, (reply,) = ask(which, A19_QUERY, settings=(("none", "error"),))
    assert lines(reply)[1] == "MSA|AE|7|unknown patient"
    _, (reply,) = ask(which, A19_QUERY, item(1, "S", "1", anna), demographics=False)
    assert [line[:3] for line in lines(reply)] == ["MSH", "MSA", "QRD"]


# -- IHE LAW -------------------------------------------------------------------------------------------------------


def test_law_response_and_work_are_as_printed() -> None:
    x800 = LAW_QUERY.replace("BA200", "X800 DM").replace("20250107000003", "sample123||||||||")
    x800 = x800.replace("sample123|", "sample123|S54|14")
    one = item(3821, "sample123", "72828-7^CT/NG^LN", OrderedPatient(), specimen_namespace="ROCHE", specimen_type="UR")
    _, (response, order) = ask(dialogue("roche-cobas-6800"), x800, one, now="20210915123330+0200")
    assert [line[:3] for line in lines(response)] == ["MSH", "MSA", "QAK", "QPD"]
    assert lines(order) == [
        r"MSH|^~\&|Host||X800 DM||20210915123330+0200||OML^O33^OML_O33|9.2|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-28^IHE",
        "SPM|1|sample123&ROCHE||UR^Urine^HL70487|||||||P^^HL70369",
        "SAC|||sample123|||||||S54|14",
        "ORC|NW||||||||20210915123330",
        "OBR||W3821||72828-7^CT/NG^LN",
        "TCD|72828-7^CT/NG^LN",
    ]


def test_law_no_work_is_ok_and_a_negative_answer_for_the_specimen_asked() -> None:
    _, (response, order) = ask(dialogue(None), LAW_QUERY, now="20250305201643+0000")
    assert lines(response) == [
        r"MSH|^~\&|Host||BA200||20250305201643+0000||RSP^K11^RSP_K11|9|P|2.5.1||||||UNICODE UTF-8|||LAB-27^IHE",
        "MSA|AA|dd98",
        "QAK|dd980f|OK|WOS^Work Order Step^IHE_LABTF",
        "QPD|WOS^Work Order Step^IHE_LABTF|dd980f|20250107000003",
    ]
    none = ["SPM|1||||||||||U^^HL70369", "SAC|||20250107000003", "ORC|DC||||||||20250305201643"]
    assert lines(order)[1:] == none
    assert order.items == ()


def test_law_for_one_specimen_asked_only_that_specimen_and_its_rack_and_profile_are_echoed() -> None:
    question, (_, order) = ask(dialogue(None), COBAS_QUERY, item(1, "123", "20490^^99ROC"))
    assert dict(question.asked[0].echo) == {"rack": "50001", "position": "1"}
    assert "SAC|||123|||||||50001|1" in lines(order)
    assert lines(order)[0].endswith("|LAB-28R^ROCHE")
    _, (_, order) = ask(dialogue(None), COBAS_QUERY, item(1, "0123", "20490^^99ROC"))
    assert lines(order)[-1].startswith("ORC|DC")


def test_law_wos_all_has_everything_open_in_several_oml() -> None:
    which, parsed = Law(), read(LAW_QUERY.replace("WOS^", "WOS_ALL^").replace("|20250107000003", ""))
    question = which.question(parsed)
    assert question is not None
    assert question.kind == "all"
    tubes = [Tube(asked=Asked(specimen=one), items=(item(n, one, "1"),)) for n, one in ((1, "A"), (2, "B"))]
    assert [one.items for one in which.answer(parsed, question, tubes, context())] == [(), (1,), (2,)]


def test_law_by_rack_or_tray_is_answered_only_if_the_lis_gave_positions_else_no_work() -> None:
    """The worklist knows where a tube is, by any of its orders; the answer has what it found, as a whole."""
    which = Law()
    there = Tube(asked=Asked(specimen="A"), items=(item(1, "A", "1", rack="R7", position="3"), item(2, "A", "2")))
    nothing = Tube(asked=Asked(specimen=""), none=NoOrder.UNKNOWN)
    for places, kind in (("|R7|3", "rack"), ("|||R7|3", "tray")):
        parsed = read(LAW_QUERY.replace("20250107000003", places))
        question = which.question(parsed)
        assert question is not None
        assert (question.kind, question.carrier, question.position) == (kind, "R7", "3")
        for tube, expected, codes in ((there, (1, 2), ["ORC|NW"] * 2), (nothing, (), ["ORC|DC"])):
            _, order = which.answer(parsed, question, [tube], context())
            assert order.items == expected
            assert [one[:6] for one in lines(order) if one[:3] == "ORC"] == codes


def test_law_cancel_has_ca_and_the_same_obr_2() -> None:
    tube = Tube(asked=Asked(specimen="A"), items=(item(7, "A", "1", action="cancel"),))
    (order,) = Law().download(tube, context())
    assert [line for line in lines(order) if line[:3] in ("ORC", "OBR")] == [
        "ORC|CA||||||||20070723170707",
        "OBR||W7||1",
    ]


ORL = "MSH|^~\\&|A||H||1||ORL^O34^ORL_O42|1|P|2.5.1\nMSA|AA|9.2\n"


def test_law_answers_name_each_step_and_ua_to_a_repeat_means_known_already() -> None:
    said = Law().confirmation(read(ORL + "SPM|1|A\nSAC|||A\nORC|OK|W1|||SC\nORC|UA|W2|||CA\nORC|ZZ|W3"))
    assert said is not None
    assert said.of == "9.2"
    assert said.of_items([1, 2, 3]) == {1: (True, "OK", ""), 2: (False, "UA", "")}
    assert said.of_items([1, 2, 3], again=[2]) == {1: (True, "OK", "")}


def test_law_an_empty_orc_2_is_read_by_position_only_if_the_counts_agree() -> None:
    said = Law().confirmation(read(ORL + "ORC|OK||||SC\nORC|UA||||CA"))
    assert said is not None
    assert said.of_items([4, 5]) == {4: (True, "OK", ""), 5: (False, "UA", "")}
    assert said.of_items([4, 5, 6]) == {}


def test_law_an_answer_says_nothing_of_items_that_its_message_did_not_have_nor_of_one_that_it_names_both_ways() -> None:
    said = Law().confirmation(read(ORL + "ORC|OK|W1\nORC|UA|W2\nORC|OK|W3\nORC|OK|W3\nORC|UA|W4\nORC|OK|W4"))
    assert said is not None
    assert said.of_items([1, 3, 4]) == {1: (True, "OK", ""), 3: (True, "OK", "")}
    assert said.of_items([]) == {}
    assert Law().confirmation(read(ORL.replace("|9.2", "|") + "ORC|OK|W1")) is None  # it answers no message


def test_law_a_cancel_is_answered_by_cr_and_uc_alone_and_an_order_by_ok_and_ua() -> None:
    said = Law().confirmation(read(ORL + "ORC|OK|W1\nORC|UA|W2\nORC|CR|W3\nORC|UC|W4"))
    assert said is not None
    assert said.of_items([1, 2, 3, 4], cancels=True) == {3: (True, "CR", ""), 4: (False, "UC", "")}
    assert said.of_items([1, 2, 3, 4]) == {1: (True, "OK", ""), 2: (False, "UA", "")}
    for code, expected in (("AA", {}), ("AE", {1: (False, "AE", "")})):  # the message came; nothing of its work steps
        said = Law().confirmation(read(ORL.replace("AA|", f"{code}|")))
        assert said is not None
        assert said.of_items([1], cancels=True) == expected


# What of the patient goes out: (without demographics, with them). A GeneXpert skips orders without a number.
OF_THE_PATIENT = {
    "bs": ("", "P-9 Rao 19800412"),
    "bc": ("", "P-9 Rao 19800412"),
    "genexpert": ("P-9", "P-9 Rao"),
    "law": ("", "P-9 Rao 19800412"),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("demographics", [False, True])
def test_nothing_of_the_patient_goes_out_without_demographics_but_the_number_to_a_genexpert(
    name: str, demographics: bool
) -> None:
    which, text = QUERIES[name]
    assert which is not None
    asks = which.question(read(text))
    assert asks is not None
    who = OrderedPatient(number="P-9", namespace="HIS", family="Rao", given="Asha", birth_date="19800412", sex="F")
    wanted = item(1, asks.asked[0].specimen, "1", who)
    _, replies = ask(which, text, wanted, demographics=demographics)
    sent = "".join(reply.payload.decode() for reply in replies)
    assert any(reply.items for reply in replies)
    assert [one for one in ("P-9", "Rao", "19800412") if one in sent] == OF_THE_PATIENT[name][demographics].split()


def test_law_the_answer_to_no_work_has_msa_alone_and_changes_no_item() -> None:
    for code in ("AA", "AR"):
        said = Law().confirmation(read(ORL.replace("AA|", f"{code}|")))
        assert said is not None
        assert said.of_items([]) == {}


# -- all of them ---------------------------------------------------------------------------------------------------

TEXTS = st.text(st.sampled_from("aZ09 |^&~\\\r\n\x0b\x1c\x00üßЖ\"'.-+#") | st.characters(), min_size=1, max_size=20)


@pytest.mark.parametrize("name", QUERIES)
@settings(max_examples=examples(60), deadline=None)
@given(code=TEXTS, family=TEXTS, given_name=TEXTS, number=TEXTS)
def test_no_text_of_an_order_adds_a_field_or_a_segment(
    name: str, code: str, family: str, given_name: str, number: str
) -> None:
    which, text = QUERIES[name]
    sheet = sheet_for(read(text))
    assert which is not None
    assert sheet is not None
    asks = which.question(read(text))
    assert asks is not None
    specimen = asks.asked[0].specimen
    code = code.replace("^", "").replace("+", "")
    patient = {"family": family, "given": given_name, "number": number}
    said = {key: text if sheet.says(text) else "" for key, text in patient.items()}
    plain = {key: "x" if text else "" for key, text in said.items()}
    if "" in (said["family"], said["given"]):
        plain |= {
            "family": "x" if name != "bs" and said["family"] else "",
            "given": "x" if name != "bs" and said["given"] else "",
        }
    _, replies = ask(which, text, item(1, specimen, code, OrderedPatient(**patient)))
    _, simple = ask(which, text, item(1, specimen, "x" if sheet.says(code) else "", OrderedPatient(**plain)))
    values = []
    for reply, other in zip(replies, simple, strict=True):
        one, two = parse(reply.payload, FormatOptions()), parse(other.payload, FormatOptions())
        shape = [(segment.name, len(segment.fields)) for segment in one.segments]
        assert shape == [(segment.name, len(segment.fields)) for segment in two.segments]
        parts = [part for segment in one.segments for field in segment.fields for part in field.split("^")]
        values += [unescape(part, one.delimiters, one.charset) for part in parts]
    if sheet.says(code):
        assert code in values
        assert said["number"] in values


KINDS = ("QRY^Q02", "QRY^Q01", "ORM^O01", "QBP^Z03", "QBP^Z01", "QCN^J01", "QBP^Q11", "QRY^A19", "ORU^R01", "ORU^R32")
ANSWERS = ("ACK^Q03", "ORL^O34^ORL_O42", "SSU^U03", "ORU^R32^ORU_R30", "ACK")
NAMES = ("QRD", "QRF", "QPD", "RCP", "ORC", "OBR", "OBX", "NTE", "SPM", "SAC", "MSA", "ERR", "QID", "PID", "ZZZ", "")
WORDS = st.sampled_from(["WOS", "CAN", "RF", "OC", "AA", "UA"])
FIELDS = st.lists(st.text(st.sampled_from('^~&\\|" WOSALCNX0123456789\x00é')) | WORDS, max_size=30)
SEGMENTS = st.lists(st.tuples(st.sampled_from(NAMES), FIELDS), max_size=6)


@settings(max_examples=examples(200), deadline=None)
@given(
    name=st.sampled_from([None, "mindray-bs", "cepheid-genexpert-hl7", "roche-cobas-6800"]),
    kind=st.sampled_from(KINDS + ANSWERS),
    signs=st.sampled_from(["|^~\\&", "|^~\\.", "|", "||||||", "^|~\\&", "#*?!%"]),
    charset=st.sampled_from(["", "ASCII", "UNICODE UTF-8", "?", "ISO IR87", "GB 18030-2000", "UNICODE UTF-16"]),
    segments=SEGMENTS,
)
def test_no_message_makes_a_dialogue_fail_but_by_the_error_of_its_content(
    name: str | None,
    kind: str,
    signs: str,
    charset: str,
    segments: list[tuple[str, list[str]]],
) -> None:
    """The parser may refuse it (`ContentError`). It is answered or not, and never with orders of another tube."""
    which, field = dialogue(name), signs[0]
    assert which is not None
    head = field.join([f"MSH{signs}", "A", "B", "", "", "1", "", kind, "7", "P", "2.5", "", "", "", "", "", charset])
    text = "\r".join([head, *(field.join([segment, *fields]) for segment, fields in segments)]) + "\r"
    try:
        parsed = parse(text.encode(), FormatOptions())
    except ContentError:
        return
    said = which.confirmation(parsed)
    if said is not None:
        assert set(said.of_items([1, 2], [2])) <= {1, 2}
        assert set(said.of_items([1, 2], cancels=True)) <= {1, 2}
    if hasattr(which, "ordered_as"):
        which.ordered_as(parsed)
    question = which.question(parsed)
    if question is None:
        return
    other = item(1, "another tube", "1")
    tubes = [Tube(asked=one, items=(other,)) for one in question.asked if one.specimen != "another tube"]
    for reply in which.answer(parsed, question, tubes, context()):
        assert reply.items == ()
        assert reply.payload


def test_a_name_that_the_character_set_cannot_write_is_not_said() -> None:
    who = OrderedPatient(number="1", family="Жукова", given="Anna")
    _, (_, display) = ask(dialogue("mindray-bs"), BS_QUERY, item(1, "34567743", "1", who))
    assert "DSP|3|||||" in lines(display)
    assert b"Anna" not in display.payload


def test_no_reply_has_the_tests_of_another_tube_or_of_two_patients() -> None:
    for which, text in QUERIES.values():
        assert which is not None
        asks = which.question(read(text))
        assert asks is not None
        own = asks.asked[0].specimen
        for items in ([item(1, own + "0", "1")], [item(1, own, "1"), item(2, own, "2", OrderedPatient(number="9"))]):
            _, replies = ask(which, text, *items)
            assert replies
            assert all(reply.items == () for reply in replies)


JUDGES = {
    Law: ("IHE LAW", "HAPI HL7v2 2.6"),
    MindrayBs: ("Mindray BS and relatives", "the bytes of the maker's example"),
    MindrayBc: ("Mindray BC", "the bytes of the maker's example"),
    GeneXpert: ("Cepheid GeneXpert", "the bytes of the maker's example"),
    Demographics: ("QRY^A19", "none: no example of a maker is known"),
}


def test_the_documents_say_who_judged_each_dialogue() -> None:
    """`test_bs_answers_as_the_maker_prints_it` and its like hold the bytes."""
    assert set(JUDGES) | {ByMessage} == set(get_args(Hl7Dialogue))
    text = (Path(__file__).parents[5] / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| HL7: (.+?) \| (.+?) \|", text, re.MULTILINE) == list(JUDGES.values())
