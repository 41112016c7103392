"""The names of a message before it is mapped: the order across channels rests on them."""

import random
from dataclasses import replace

import pytest

from adapters.codecs import json_tree
from adapters.codecs.astm import records
from adapters.codecs.astm.dialogue import dialogue
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.dialects import mindray_bs, roche_cobas_c311
from engine.mapping.message.identity_fields import STANDARD
from engine.model.message import FormatOptions, MapContext, Parsed, Stored
from engine.model.routes import ChannelRoutes
from engine.processing import names
from engine.processing.formats import MEDIA_TYPES, InDialect
from engine.processing.turns import UNKNOWN, Named

MSH = "MSH|^~\\&|AN|LAB|LIS|H|20260301120000||ORU^R01|M1|P|2.5.1\r"
ORU = f"{MSH}PID|1||4711^^^HOSP||Iyer^Meena\rOBR|1|P-12|F1|CHEM\rOBX|1|NM|GLU||5|mmol/L|||||F\r"
ASTM = "H|\\^&|||AN\rP|1||4711\rO|1|T-9||^^^GLU\rR|1|^^^GLU|5.5|mmol/L||||F\rL|1|N\r"
NOTHING = Named(frozenset())


def channel(message_format: object, kind: str = "") -> ChannelRoutes:
    return ChannelRoutes(
        channel="chem", message_format=message_format, media_type=MEDIA_TYPES.get(kind, ""),  # type: ignore[arg-type]
        options=FormatOptions(), routes=(), context=MapContext(),
    )  # fmt: skip


def read(text: str, of: ChannelRoutes | None = None, encoding: str = "utf-8") -> tuple[Named, int]:
    """The names, and in how many pieces they were read."""
    of = of or (
        channel(json_tree, "json") if text.startswith("{") else channel(hl7v2 if text.startswith("MSH") else records)
    )
    payload = text.encode(encoding)
    reading = names.names_of(Stored(id=1, channel="chem", seq=1, payload=payload, received_us=0), of)
    pieces = 1
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value, pieces
        pieces += 1


def of(*numbers: str) -> frozenset[int]:
    return frozenset(hash(number) & 0xFFFF_FFFF for number in numbers)


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
        MSH.replace("ORU^R01", "ADT^A08") + f"PID|1||8\rPV1|1|I{'|' * 17}F1^^^H\r",
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


def test_a_correction_or_a_withdrawal_waits_for_those_with_its_names() -> None:
    for said in "ABCDPWX":
        assert read(ORU.replace("|||||F\r", f"|||||{said}\r"))[0] == read(ORU)[0]
    for said in "CX":
        assert read(ASTM.replace("5.5|mmol/L||||F", f"5.5|mmol/L||||{said}"))[0] == read(ASTM)[0]


@pytest.mark.parametrize(
    "text",
    [
        MSH + "OBR|1|||CHEM\rOBX|1|NM|GLU||5|mmol/L|||||F\r",  # no name
        ORU.replace("F1", "F" * 101),
        ORU.replace("F1", "F\\X07\\1"),
        ORU.replace("F1", "F\\Zabc\\1"),
        ORU.replace("F1", "F\\1"),
        ASTM.replace("P|1||4711\rO|1|T-9", "O|1|"),
        ASTM.replace("P|1||4711\rO|1|T-9||^^^GLU\r", ""),
        '{"code": ""}',
    ],
)
def test_a_message_that_may_have_other_names_keeps_its_place_among_all(text: str) -> None:
    assert read(text)[0] == UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        MSH.replace("ORU^R01", "ESU^U01") + "EQU|AN|20260301120000|OP\r",
        MSH,
        "H|\\^&|||AN\rL|1|N\r",
        "H|\\^&|||AN\rC|1|I|cover open\rM|1|x\rL|1|N\r",
        ORU.replace("OBX|1", "5.5|1").replace("MSH", "\ufeffMSH"),  # a dead letter at any time
        ORU.replace("PID|1||4711", "PID|1||47\r11"),
        "no header\r",
        '{"order": "F-\\x1"}',
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
    assert not found.names
    assert {name for piece in found.many for name in piece} == of(*(f"N{n}" for n in range(1, 301)))
    assert all(list(piece) == sorted(piece) for piece in found.many)
    monkeypatch.setattr(names, "MOST", 299)
    assert read(many)[0] == UNKNOWN


def test_numbers_are_read_as_the_dialect_leaves_them() -> None:
    counted = "H|\\^&|||AN\rP|1\rO|1|11625^CL-24-0370   ^1^^004|R1\rR|1|^^^685|5\rL|1\r"
    found = read(counted, channel(InDialect(records, roche_cobas_c311)))[0]
    assert of("CL240370") <= (found.names or of())
    bed = MSH + "PID|1|854||12|T\rOBR|1|00002|2|Mindray^BS-200E\rOBX|1|NM|2|t|5\r"
    assert read(bed, channel(InDialect(hl7v2, mindray_bs)))[0] == Named(of("854", "2"))


def test_a_channel_whose_reports_are_known_by_other_numbers_keeps_its_place() -> None:
    standard = STANDARD["hl7v2"]
    assert names.are_read("hl7v2", {("OBR", 3, 1), ("SPM", 2, 2), ("MSH", 9, 1), ("PV1", 0, 1)}, standard)
    for number in (("OBR", 20, 1), ("OBR", 3, 2), ("SPM", 2, 3), ("", 1, 1)):
        assert not names.are_read("hl7v2", {("OBR", 3, 1), number}, standard)
    assert not names.are_read("hl7v2", set(), replace(standard, order_number=(3, 18)))
    assert names.are_read("json", set(), STANDARD["json"])
    assert read(ORU, replace(channel(hl7v2), has_other_numbers=True))[0] == UNKNOWN


@pytest.mark.parametrize(
    ("text", "is_critical"),
    [
        (ORU.replace("L|||||F", "L||HH|||F"), True),
        (ORU.replace("L|||||F", "L||LL^Critical low^HL70078|||F"), True),
        (ORU.replace("L|||||F", "L||A~AA|||F"), True),
        (ORU.replace("||4711^^^HOSP", "||").replace("P-12|F1", "|").replace("L|||||F", "L||HH|||F"), True),  # no names
        (ASTM.replace("L||||F", "L||LL||F"), True),
        (ASTM.replace("L||||F", "L||N\\HH||F"), True),
        ('{"order": "F1", "flags": ["HH"]}', True),
        (ORU.replace("L|||||F", "L||H|||F"), False),
        (ORU.replace("L|||||F", "L||HHX|||F"), False),
        (ORU.replace("Iyer^Meena", "Haa^AAL"), False),
        (ORU + "OBX|2|ED|PDF||^application^pdf^Base64^QU/HH+JD=AA==|||||F\r", False),
        (ASTM, False),
        ("HH", False),
    ],
)
def test_a_critical_flag_is_seen_in_each_format(text: str, is_critical: bool) -> None:
    assert read(text)[0].is_critical is is_critical


def test_a_critical_flag_is_seen_wherever_the_pieces_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "FLAGS_PIECE", 50)
    text = ORU.replace("L|||||F", "L||HH|||F")
    for filled in range(50):
        found, pieces = read(f"{text[:-1]}\rNTE|1||{'x' * filled}".replace("Iyer", "I" * (filled + 1)))
        assert found == Named(of("4711", "P12", "F1"), is_critical=True)
        assert pieces > 2


def test_a_question_waits_for_no_result() -> None:
    asks = replace(channel(records), dialogue=dialogue(None))
    question = "H|\\^&|||AN\rP|1||4711\rQ|1|^T-9||ALL\rL|1|N\r"
    assert read(question, asks)[0] == NOTHING
    assert read(question)[0] == Named(of("4711"))  # of a channel without orders it is any message
    assert read(ASTM, asks)[0] == read(ASTM)[0]


def test_a_large_message_is_read_in_pieces_and_its_last_line_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PIECE", 100)
    monkeypatch.setattr(names, "SMALL", 100)
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
    assert read(f"{ORU}PID|2||{'4712~' * 50}|7\rOBR|1|P-13\r")[0] == UNKNOWN


def test_numbers_are_read_in_any_part_and_way_of_json() -> None:
    many = ", ".join(f'"n{n}": "no {n}"' for n in range(1_200))
    for text in (
        '{"order": "26\\/4711"}', '{"order": "26\\u002f\\u0034711"}', '{"order": 264711}', '{"a": ["x", "26-4711"]}',
        '{"order": "26.4711"}', '{"a": {"code": "order", "value": "26/4711"}}', '{"note": "of order 26/4711, urgent"}',
    ):  # fmt: skip
        for whole in (text, f"{text[:-1]}, {many}}}", f"{{{many}, {text[1:]}"):
            found, pieces = read(whole)
            of_all = found.names | {name for piece in found.many for name in piece}
            assert of("264711") <= of_all, whole[:80]
            assert found.complete
            assert (pieces > 4) == (whole != text) or pieces == 2


def test_values_and_codes_of_results_are_no_names() -> None:
    results = ", ".join(
        f'{{"code": "T{n}", "value": "{n / 7:.2f}", "unit": "10^9/L", "at": "2026-03-01T10:{n % 60:02d}:00Z"}}'
        for n in range(500)
    )
    assert read(f'{{"order": "F1", "results": [{results}]}}')[0] == Named(of("F1"))
    assert read('{"order": "F1", "type": {"system": "http://loinc.org", "code": "2345-7"}}')[0] == Named(of("F1"))


@pytest.mark.parametrize("text", ["HGB;F1;5.6\r", "H;F1;5\nP;1\n", "MSH;F1;5.6\n"])
def test_a_text_with_a_layout_is_read_as_its_layout_says_whatever_it_begins_with(text: str) -> None:
    class Layout:
        def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
            return records.parse(ASTM.encode(), options)

    assert read(text, channel(Layout(), "text"))[0] == read(ASTM)[0]
    assert read(text * 20_000, channel(Layout(), "text"))[0] == UNKNOWN


def test_a_large_message_in_another_encoding_keeps_its_place() -> None:
    assert read(ORU + "NTE|1||" + "lorem " * 12_000, channel(hl7v2, "hl7v2"), "utf-16")[0] == UNKNOWN


def test_a_correction_with_an_embedded_document_has_its_names() -> None:
    pdf = "OBX|2|ED|PDF||^application^pdf^Base64^" + "QUJD" * 30_000 + "||||||C\r"
    assert read(ORU + pdf)[0] == read(ORU)[0]
    assert read('{"order": "F1", "pdf": "' + "QUJD" * 30_000 + '"}')[0] == Named(of("F1"))
    assert read('{"order": "F1", "text": "' + "some words " * 30_000 + '"}')[0] == UNKNOWN


def test_numbers_are_the_same_whether_a_line_is_parsed_or_not() -> None:
    """The first piece of a message is parsed, and others are where a dialect may move numbers."""
    rng = random.Random(1)
    parts = ("4711", " 47", "A-1", "", "^", "~", "&", "\\F\\", "\\X41\\", "\\Z\\", '""', "x^y", "3^7^F1^B", "\u00c4")

    class Same:
        @staticmethod
        def adapt(parsed: Parsed) -> Parsed:
            return parsed

    for _ in range(4):
        for first, form, segments in ((MSH, hl7v2, ("PID", "OBR", "SPM", "ORC")), (ASTM[:13], records, ("P", "O"))):
            text = first + "".join(
                "|".join([rng.choice(segments), *("".join(rng.choices(parts, k=2)) for _ in range(8))]) + "\r"
                for _ in range(3 * names.LINES)
            )
            assert text.startswith(first)
            assert read(text, channel(form))[0] == read(text, channel(InDialect(form, Same)))[0]  # type: ignore[arg-type]


def test_a_message_with_more_lines_than_any_format_reads_is_not_read() -> None:
    assert read(MSH + "OBR|1|2|3\r" * (names.MOST_LINES + 1)) == (UNKNOWN, 1)


def test_lines_with_the_same_numbers_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    class Counting:
        def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
            parsed.append(hl7v2.parse(payload, options))
            return parsed[-1]

    panel = "".join(f"OBR|{n}|P-12|F1|T{n}{'|' * 9}note {n}\rOBX|1|NM|T{n}||5|mmol/L|||||F\r" for n in range(1, 200))
    assert read(ORU + panel, channel(Counting()))[0] == read(ORU)[0]
    assert [segment.name for one in parsed for segment in one.segments] == ["MSH", "PID", "OBR"]
