"""The names of a message before it is mapped: the order across channels rests on them."""

from dataclasses import replace

import pytest

from adapters.codecs import json_tree
from adapters.codecs.astm import records
from adapters.codecs.astm.dialogue import dialogue
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.dialects import mindray_bs, roche_cobas_c311
from engine.model.message import FormatOptions, MapContext, Parsed, Stored
from engine.processing import names
from engine.processing.formats import InDialect
from engine.processing.process import ChannelRoutes
from engine.processing.turns import Named

MSH = "MSH|^~\\&|AN|LAB|LIS|H|20260301120000||ORU^R01|M1|P|2.5.1\r"
ORU = f"{MSH}PID|1||4711^^^HOSP||Iyer^Meena\rOBR|1|P-12|F1|CHEM\rOBX|1|NM|GLU||5|mmol/L|||||F\r"
ASTM = "H|\\^&|||AN\rP|1||4711\rO|1|T-9||^^^GLU\rR|1|^^^GLU|5.5|mmol/L||||F\rL|1|N\r"
NOTHING = Named(frozenset())


def channel(message_format: object) -> ChannelRoutes:
    return ChannelRoutes(
        channel="chem", message_format=message_format, media_type="", options=FormatOptions(), routes=(),  # type: ignore[arg-type]
        context=MapContext(),
    )  # fmt: skip


def read(text: str, of: ChannelRoutes | None = None) -> tuple[Named, int]:
    """The names, and in how many pieces they were read."""
    of = of or channel(hl7v2 if text.startswith("MSH") else json_tree if text.startswith("{") else records)
    reading = names.names_of(Stored(id=1, channel="chem", seq=1, payload=text.encode(), received_us=0), of)
    pieces = 1
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value, pieces
        pieces += 1


def of(*numbers: str) -> frozenset[int]:
    return frozenset(map(hash, numbers))


def share(one: str, other: str) -> bool:
    """Whether two messages have a name in common, and no others than those that were read."""
    first, second = read(one)[0], read(other)[0]
    assert first.names, one
    assert second.names, other
    assert first.complete, one
    assert second.complete, other
    return bool(first.names & second.names)


def test_messages_share_their_order_specimen_or_patient_in_each_format() -> None:
    for other in (
        ORU.replace("F1", "F2").replace("P-12", ""),  # the patient
        ORU.replace("4711", "4712").replace("P-12", "p12"),  # the order, written another way
        ORU.replace("4711", "4712").replace("P-12", "").replace("F1", "00F1"),
        MSH + "PID|1||8\rSPM|1|x&A^F1&B\rOBR|1|9\rOBX|1|NM|GLU||5|mmol/L|||||F\r",
        MSH.replace("ORU^R01", "ADT^A40") + "PID|1||8\rMRG|4711\r",
        MSH.replace("ORU^R01", "ADT^A40") + "PID|1||8\rMRG|9|||4711\r",
        MSH.replace("ORU^R01", "MDM^T11") + "PID|1||8\rTXA|1|LR|||||||||||||P-12|||CA\r",
        MSH.replace("ORU^R01", "ORM^O01") + "ORC|CA|P-12\r",
        MSH.replace("ORU^R01", "ORM^O01") + "ORC|OC||F1\r",
        ORU.replace("4711", "\\X34\\\\X373131\\").replace("P-12", "").replace("F1", "F2"),  # escaped
        ORU.replace("OBR|1|P-12|F1", "OBR|1|4711|9").replace("||4711^", "||8^"),  # a patient's number as an order's
        ASTM,
        ASTM.replace("4711", "8").replace("T-9", "3^7^F1^B"),  # Sysmex: rack ^ tube ^ number ^ attribute
        ASTM.replace("4711", "8").replace("T-9", "2^1^ F1^A"),  # counted by the analyzer
        ASTM.replace("4711", "8").replace("|T-9|", "||^^F1"),
        ASTM.replace("P|1||4711", "p|1||4711"),
        ASTM.replace("P|1||4711", "P|1||4711\0\0"),
        '{"order": {"number": "F1"}, "results": [{"code": "GLU", "value": 5.5}]}',
        '{"note": "of order F-1, urgent"}',
    ):
        assert share(ORU, other), other
    assert not share(ORU, ORU.replace("4711", "4712").replace("F1", "F2").replace("P-12", "P-13"))
    assert not share(ASTM, ORU.replace("4711", "4712"))
    assert not share(ASTM, '{"order": "F2"}')


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        *(("5.5|mmol/L||||F", f"5.5|mmol/L||||{said}") for said in ("C", "X", "C\\R", "C^x")),
        ("|^^^GLU\rR", f"|^^^GLU{'|' * 21}C\\F\rR"),
        *(("\rR|1|^^^GLU|5.5|mmol/L||||F", f"\r{name}|1|^^^GLU|5.5|mmol/L||||C") for name in ("r", "\0R")),
        *(("|||||F\r", f"|||||{said}\r") for said in ("A", "B", "C", "D", "W", "X", "C^x", "C~F", "c")),
        ("|CHEM", f"|CHEM{'|' * 21}C^x"),
    ],
)
def test_a_correction_waits_for_all_and_those_with_its_names_wait_for_it(was: str, becomes: str) -> None:
    """However it is written."""
    first = ORU if was in ORU else ASTM
    assert was in first
    assert read(first)[0].complete
    assert read(first.replace(was, becomes))[0] == read(first)[0]._replace(complete=False)


def test_another_status_takes_nothing_back() -> None:
    for said in ("", "P", "I", "R", "f", "Final", '""'):
        assert read(ORU.replace("|||||F\r", f"|||||{said}\r"))[0] == read(ORU)[0]
    for said in ("A", "F", "P"):  # HL7 table 0123, A: some results are available
        assert read(ORU.replace("|CHEM", f"|CHEM{'|' * 21}{said}"))[0] == read(ORU)[0]


@pytest.mark.parametrize(
    "text",
    [
        MSH + "OBR|1|||CHEM\rOBX|1|NM|GLU||5|mmol/L|||||F\r",  # no name
        ORU.replace("PID|1||4711", "PID|1||47\r11"),  # a line that begins no segment
        ORU.replace("F1", "F" * 101),
        ORU.replace("F1", "F\\X07\\1"),
        ORU.replace("F1", "F\\Zabc\\1"),
        ORU.replace("F1", "F\\1"),
        ASTM.replace("P|1||4711\rO|1|T-9", "O|1|"),
        ASTM.replace("P|1||4711\rO|1|T-9||^^^GLU\r", ""),
        '{"code": ""}',
    ],
)
def test_a_message_that_may_have_other_names_waits_for_all(text: str) -> None:
    assert not read(text)[0].complete


@pytest.mark.parametrize(
    "text",
    [
        MSH.replace("ORU^R01", "ESU^U01") + "EQU|AN|20260301120000|OP\r",
        MSH,
        "H|\\^&|||AN\rL|1|N\r",
        "H|\\^&|||AN\rC|1|I|cover open\rM|1|x\rL|1|N\r",
        ORU.replace("OBX|1", "5.5|1").replace("MSH", "\ufeffMSH"),  # a dead letter at any time
        "no header\r",
        "{",
        "",
    ],
)
def test_a_message_about_no_result_order_or_patient_waits_for_none(text: str) -> None:
    assert read(text)[0] == NOTHING


def test_all_numbers_of_a_message_are_its_names_until_memory_holds_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    many = MSH + "".join(f"OBR|{n}|N{n}\r" for n in range(1, 301))
    found = read(many)[0]
    assert found.complete
    assert found.names == of(*(f"N{n}" for n in range(1, 301)))
    monkeypatch.setattr(names, "MOST", 299)
    assert read(many)[0] == Named(None)


def test_numbers_are_read_as_the_dialect_leaves_them() -> None:
    counted = "H|\\^&|||AN\rP|1\rO|1|11625^CL-24-0370   ^1^^004|R1\rR|1|^^^685|5\rL|1\r"
    found = read(counted, channel(InDialect(records, roche_cobas_c311)))[0]
    assert of("CL240370") <= (found.names or of())
    bed = MSH + "PID|1|854||12|T\rOBR|1|00002|2|Mindray^BS-200E\rOBX|1|NM|2|t|5\r"
    assert read(bed, channel(InDialect(hl7v2, mindray_bs)))[0] == Named(of("854", "2"))


def test_a_question_waits_for_no_result() -> None:
    asks = replace(channel(records), dialogue=dialogue(None))
    question = "H|\\^&|||AN\rP|1||4711\rQ|1|^T-9||ALL\rL|1|N\r"
    assert read(question, asks)[0] == NOTHING
    assert read(question)[0] == Named(of("4711"))  # of a channel without orders it is any message
    assert read(ASTM, asks)[0] == read(ASTM)[0]


def test_a_large_message_is_read_in_pieces_and_its_last_line_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PIECE", 100)
    many = ORU + "OBX|1|NM|GLU||5|mmol/L|||||F\r\n" * 50
    found, pieces = read(many + "PID|2||4712\r")
    assert pieces > 10
    assert found == Named(of("4711", "P12", "F1", "4712"))
    large = "OBX|1|ED|PDF||" + "QUJD" * 100
    found, pieces = read(f"{ORU}{large}\rPID|2||4712\r")
    assert pieces > 5
    assert found == Named(of("4711", "P12", "F1", "4712"))
    found, _ = read(f"{ORU}PID|2||4712|||{'x' * 500}\rOBR|1|P-13\r")
    assert found == Named(of("4711", "P12", "F1", "4712", "P13"))
    assert not read(f"{ORU}PID|2||{'4712~' * 50}|7\rOBR|1|P-13\r")[0].complete
    text = '{"a": "' + "words of a text " * 50 + 'F-471, 47, order", "b": "00F-481"}'
    found, pieces = read(text)
    assert pieces > 5
    assert not found.complete
    assert found.names == of("F471", "F481")


def test_lines_with_the_same_numbers_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    class Counting:
        def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
            parsed.append(hl7v2.parse(payload, options))
            return parsed[-1]

    panel = "".join(f"OBR|{n}|P-12|F1|T{n}{'|' * 9}note {n}\rOBX|1|NM|T{n}||5|mmol/L|||||F\r" for n in range(1, 200))
    assert read(ORU + panel, channel(Counting()))[0] == read(ORU)[0]
    assert [segment.name for one in parsed for segment in one.segments] == ["MSH", "PID", "OBR"]
