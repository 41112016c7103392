"""The names of a message before it is mapped: the order across channels rests on them."""

from dataclasses import replace

import pytest

from adapters.codecs.astm import records
from adapters.codecs.astm.dialogue import dialogue
from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.message import FormatOptions, MapContext, Stored
from engine.processing import names
from engine.processing.process import ChannelRoutes
from engine.processing.turns import Names

MSH = "MSH|^~\\&|AN|LAB|LIS|H|20260301120000||ORU^R01|M1|P|2.5.1\r"
ORU = f"{MSH}PID|1||4711^^^HOSP||Iyer^Meena\rOBR|1|P-12|F1|CHEM\rOBX|1|NM|GLU||5|mmol/L|||||F\r"
ASTM = "H|\\^&|||AN\rP|1||4711\rO|1|T-9||^^^GLU\rR|1|^^^GLU|5.5|mmol/L||||F\rL|1|N\r"


def channel(message_format: object) -> ChannelRoutes:
    return ChannelRoutes(
        channel="chem", message_format=message_format, media_type="", options=FormatOptions(), routes=(),  # type: ignore[arg-type]
        context=MapContext(),
    )  # fmt: skip


def read(text: str, of: ChannelRoutes | None = None) -> tuple[Names | None, int]:
    """The names, and in how many pieces they were read."""
    of = of or channel(hl7v2 if text.startswith("MSH") else records)
    reading = names.names_of(Stored(id=1, channel="chem", seq=1, payload=text.encode(), received_us=0), of)
    pieces = 1
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value, pieces
        pieces += 1


def share(one: str, other: str) -> bool:
    first, second = read(one)[0], read(other)[0]
    assert first, second
    return bool(first & (second or set()))


def test_messages_share_their_order_specimen_or_patient_in_each_format() -> None:
    for other in (
        ORU.replace("F1", "F2").replace("P-12", ""),  # the patient
        ORU.replace("4711", "4712").replace("P-12", "p12"),  # the order, written another way
        ORU.replace("4711", "4712").replace("P-12", "").replace("F1", "00F1"),
        MSH + "PID|1||8\rSPM|1|x&A^F1&B\rOBR|1|9\rOBX|1|NM|GLU||5|mmol/L|||||F\r",
        MSH.replace("ORU^R01", "ADT^A40") + "PID|1||8\rMRG|4711\r",
        ASTM,
        ASTM.replace("4711", "8").replace("T-9", "3^7^F1^B"),  # Sysmex: rack ^ tube ^ number ^ attribute
    ):
        assert share(ORU, other), other
    assert not share(ORU, ORU.replace("4711", "4712").replace("F1", "F2").replace("P-12", "P-13"))
    assert not share(ASTM, ORU.replace("4711", "4712"))


@pytest.mark.parametrize("status", "ABCDWX")
def test_a_message_that_takes_back_a_result_has_no_names_that_count(status: str) -> None:
    assert read(ORU.replace("|||||F", f"|||||{status}"))[0] is None
    if status in "CX":
        assert read(ASTM.replace("||||F", f"||||{status}"))[0] is None
        assert read(ORU.replace("|CHEM", f"|CHEM{'|' * 21}{status}"))[0] is None
        assert read(ASTM.replace("|^^^GLU\rR", f"|^^^GLU{'|' * 21}{status}\rR"))[0] is None


@pytest.mark.parametrize(
    "text",
    [
        MSH + "OBR|1|||CHEM\rOBX|1|NM|GLU||5|mmol/L|||||F\r",  # no name
        ORU + "".join(f"OBR|{n}|N{n}\r" for n in range(300)),  # too many
        ORU.replace("|mmol/L", "|mmol\r/L"),  # a line that begins no segment
        ORU.replace("MSH", "\ufeffMSH"),
        ASTM.replace("P|1||4711\rO|1|T-9", "O|1|"),
        ASTM.replace("R|1", " R|1"),
        '{"order": "F1"}',
        "",
    ],
)
def test_a_message_that_may_have_other_names_waits_for_all(text: str) -> None:
    assert read(text)[0] is None


def test_a_question_waits_for_no_result() -> None:
    asks = replace(channel(records), dialogue=dialogue(None))
    question = "H|\\^&|||AN\rQ|1|^T-9||ALL\rL|1|N\r"
    assert read(question, asks)[0] == frozenset()
    assert read(question)[0] is None  # of a channel without orders it is any message
    assert read(ASTM, asks)[0]


def test_a_large_message_is_read_in_pieces_and_its_last_line_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PIECE", 100)
    many = ORU + "OBX|1|NM|GLU||5|mmol/L|||||F\r\n" * 50
    found, pieces = read(many + "PID|2||4712\r")
    assert pieces > 10
    assert found == (read(ORU)[0] or frozenset()) | (read(MSH + "PID|2||4712\r")[0] or frozenset())
    assert read(many + "OBX|1|NM|GLU||5|mmol/L|||||W\r")[0] is None
