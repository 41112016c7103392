"""Messages to be shown to others: nothing of a patient survives, and the message stays what it was otherwise."""

import re
import string
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.commands.shared.exporting_deid import known_codes
from engine.config import registry
from engine.diagnostics.deidentified import Deidentifier, Survey
from engine.model.errors import ContentError, UnknownFormatError
from engine.model.message import FormatOptions, MapContext
from tests.support.examples import examples
from tests.support.shipped import KEY, RECEIVED, program

ONE = bytes(32)
DAY = date(2026, 3, 1)
ANOTHER_PATIENT = re.compile(rb"([\r\n](?:PID\|[^|]*\|[^|]*\||P\|[^|]*\|))(?=[^|\r\n]*)")
MSH = "MSH|^~\\&|AN|LAB|||20260301101530||ORU^R01|1|P|2.5.1"
HL7_SEGMENTS = {"PID": 39, "PV1": 52, "ORC": 30, "OBR": 50, "NK1": 39, "IN1": 53, "NTE": 6}
ASTM_RECORDS = {"P": 35, "O": 31, "C": 5}

names = st.text(string.ascii_letters, min_size=6, max_size=14)
people = st.one_of(
    names,
    st.builds(lambda family, given: f"{family} {given}", names, names),
    st.from_regex(r"[A-Z]{2}-?[0-9]{6,10}", fullmatch=True),
    st.from_regex(r"(\+91 ?)?[6-9][0-9]{9}", fullmatch=True),
    st.from_regex(r"[0-9]{12}", fullmatch=True),
    st.text("अआइकखगéüßñÅ", min_size=6, max_size=12),
)


def hl7(*segments: str) -> bytes:
    return "\r".join([MSH, *segments, ""]).encode()


def astm(*records: str) -> bytes:
    return "\r".join(["H|\\^&|||AN^1|||||||P|1|20260301101530", *records, "L|1|N", ""]).encode()


def without(payload: bytes, key: bytes = ONE, **more: Any) -> str:
    return Deidentifier(key, **more).apply(payload, DAY)[0].decode("latin-1")


def survives(person: str, text: str) -> bool:
    plain = text.encode("latin-1").decode("utf-8", "replace").casefold()
    return any(part.casefold() in plain for part in (person, *person.split()))


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_no_field_of_a_patient_or_an_order_lets_a_person_through(data: st.DataObject) -> None:
    person = data.draw(people)
    cut = data.draw(st.sampled_from(["", "^", "&", "~", "^^"]))
    value = f"x{cut}{person}" if cut else person
    segments = ["|".join([name, *[value] * count]) for name, count in HL7_SEGMENTS.items()]
    text = without(hl7(*segments, "OBX|1|NM|GLU^Glucose||5.1|mmol/L|||||F"))
    assert not survives(person, text)
    value = value.replace("~", "\\").replace("&", "^")
    records = ["|".join([name, *[value] * count]) for name, count in ASTM_RECORDS.items()]
    assert not survives(person, without(astm(*records, "R|1|^^^GLU|5.1|mmol/L")))


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_no_odd_place_lets_a_person_through(data: st.DataObject) -> None:
    person = data.draw(people)
    odd = data.draw(
        st.sampled_from(
            ["ZPI|1|{}", "{}", "{}|1|x", "NTE|1||a\n{}\nb", "OBX|1|ST|C||{}", "OBX|1|TX|C||{} is 5.1", "XYZ{}|1",
             "OBX|1|CWE|C||{}^{}", "OBX|1||C||{}", "OBX|9|XPN|C||{}", "PID|1||||{}|||{}|{}",
             "OBX|1|NM|C||5|{}|{}|{}||{}|{}||{}|{}|{}", "MSH|^~\\&|A|{}||{}||{}",
             "\x01{}", "PI D|{}", "pid|{}", "OBX|1|ED|C||^AP^^Base64^{}"]
        )
    )  # fmt: skip
    assert not survives(person, without(hl7("PID|1||7", odd.format(*[person] * odd.count("{}")))))


@pytest.mark.parametrize("payload", [b"", b"GARBAGE", b'{"a": 1}', b"PID|1||7", b"xMSH|^~\\&|", b"HELLO|x"])
def test_what_nobody_can_read_is_refused(payload: bytes) -> None:
    with pytest.raises(UnknownFormatError, match="neither HL7 v2 nor"):
        Deidentifier(ONE).apply(payload, DAY)


def test_what_an_analyzer_says_is_kept() -> None:
    results = [
        "OBX|1|NM|718-7^Hemoglobin^LN||14.8|g/dL^^UCUM|13.0-17.0|N|||F|||20260301094500",
        "OBX|2|SN|X^Y^L||>^100|10*3/uL|< 5|HH~A|||P",
        "OBX|3|ST|HIV^HIV^L||Non-Reactive||||||F",
        "OBX|4|ST|T^T^L||seen by Dr Rao||||||F",
        "OBX|5|NM|VL^Load^L||12500000|{copies}/mL|||||F",
    ]
    codes = frozenset({"718-7", "hemoglobin", "x", "y", "hiv", "t", "vl", "load", "{copies}/ml"})
    lines = without(hl7("PID|1||77^^^H^MR||Rao^Anil||19800412|M", *results), known=codes).split("\r")
    assert lines[2].startswith("OBX|1|NM|718-7^Hemoglobin^LN||14.8|g/dL^^UCUM|13.0-17.0|N|||F|||")
    assert "20260301094500" not in lines[2]
    assert lines[3] == results[1]
    assert lines[4] == results[2]
    assert "|text|" in lines[5]
    assert "12500000" in lines[6]
    assert lines[1].endswith("|M")


@pytest.mark.parametrize("born", ["19830512", "12051983", "05121983", "198305120930"])
def test_a_birth_date_that_is_a_result_is_none_any_more(born: str) -> None:
    assert born not in without(hl7("PID|1||77", f"OBX|1|DT|21112-8^Birth date^LN||{born}||||||F"))
    assert born not in without(hl7("PID|1||77", f"OBX|1|NM|DOB||{born}"))
    assert born not in without(astm("P|1|77", f"R|1|^^^DOB|{born}"))


@pytest.mark.parametrize("header", ["H|Kumari|x", "MSH|Kumari|Asha", "FHS|Kumari^Asha", "BHS|Kum"])
def test_what_looks_like_another_header_lets_nobody_through(header: str) -> None:
    for text in (without(hl7("PID|1||77", header)), without(astm("P|1|77", header))):
        assert "Kum" not in text
        assert "Asha" not in text
    assert "\rMSH|^~\\&#|" in without(hl7("PID|1||77", "MSH|^~\\&#|AN|LAB"))


def test_a_text_is_the_same_wherever_it_stands_and_in_no_other_export() -> None:
    first = without(hl7("PID|1||PX77^^^H||Rao^Anil", "ORC|RE|PX77"))
    pid, orc = first.split("\r")[1:3]
    assert pid.split("|")[3].split("^")[0] == orc.split("|")[2]
    assert pid.split("|")[3].count("^") == 3
    other = without(hl7("PID|1||PX77^^^H||Rao^Anil"), bytes(31) + b"x")
    assert other.split("\r")[1].split("|")[3] != pid.split("|")[3]
    digits = without(hl7("PID|1||4711471147")).split("\r")[1].split("|")[3]
    assert re.fullmatch("[0-9]{10}", digits)
    assert digits != "4711471147"


def test_dates_of_a_patient_move_together() -> None:
    export = Deidentifier(ONE)
    one, days = export.apply(hl7("PID|1||77||A^B||19800412", "OBR|1|||GLU|||20260301091500"), DAY)
    two, same = export.apply(astm("P|1|77||||", "O|1|S||^^^GLU|R||20260301"), DAY)
    other = {export.apply(hl7(f"PID|1||{number}||||19800412"), DAY)[1] for number in range(50)}
    assert days == same
    assert -3000 <= days <= -30
    assert len(other) > 30
    assert b"19800412" not in one
    assert b"|20260301|" not in two


def test_faults_are_what_they_were() -> None:
    broken = b'\x0bMSH|^~\\&|AN|\xe9\xff||||\r\rPID|1||7\xff7|||\x01A^\xc3\xa9\n\nOBX|1|NM|GLU||5,1|""|||||F\r\x1c'
    done = Deidentifier(ONE, frozenset({"glu"})).apply(broken, DAY)[0]
    assert re.findall(rb"[\r\n\x0b\x1c]+", done) == re.findall(rb"[\r\n\x0b\x1c]+", broken)
    assert [line.count(b"|") for line in re.split(rb"[\r\n]", done)] == [
        line.count(b"|") for line in re.split(rb"[\r\n]", broken)
    ]
    assert b'OBX|1|NM|GLU||5,1|""|||||F' in done
    with pytest.raises(UnicodeDecodeError):
        done.decode("utf-8")


def test_codes_of_tables_are_kept_where_codes_belong() -> None:
    text = without(hl7("PID|1||cbc", "OBR|1|||CBC^Blood count^L"), known=frozenset({"cbc"}))
    assert "|CBC^T" in text
    assert "|cbc" not in text


def shape(bundle: bytes) -> list[Any]:
    found = []
    for entry in orjson.loads(bundle)["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] == "Observation":
            found.append([resource.get(name) for name in ("code", "valueQuantity", "interpretation", "referenceRange")])
        elif resource["resourceType"] != "DocumentReference":  # what was enclosed is gone, and nobody knows what it was
            found.append(resource["resourceType"])
    return found


@pytest.mark.parametrize(("mapping", "kind"), [("hl7-results", "hl7v2"), ("astm-results", "astm")])
def test_captured_messages_map_alike(mapping: str, kind: str) -> None:
    folder = Path(__file__).parents[3] / "samples"
    codec, compiled, alike, looked = registry.load(registry.FORMATS, kind), program(mapping), 0, 0
    context = MapContext(channel="a", key=KEY, timezone="Asia/Kolkata", received_at=RECEIVED)
    known, survey = known_codes(Path(__file__).parents[3]), Survey()
    files = sorted(folder.rglob("*.hl7" if kind == "hl7v2" else "*.astm"))
    payloads = {file: file.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r") for file in files}
    for payload in payloads.values():  # each analyzer tells of one patient here; another has the same codes
        with suppress(UnknownFormatError):
            survey.look(payload)
            survey.look(ANOTHER_PATIENT.sub(rb"\1Q7", payload, count=1))
    for file, payload in payloads.items():
        try:
            before = compiled.apply(codec.parse(payload, FormatOptions(("utf-8", "cp1252"))), context)
            after_bytes, _ = Deidentifier(ONE, known, survey.shared).apply(payload, DAY)
        except (ContentError, UnknownFormatError):
            continue
        if not before.documents:
            continue
        looked += 1
        after = compiled.apply(codec.parse(after_bytes, FormatOptions(("utf-8", "cp1252"))), context)
        assert len(after.documents) == len(before.documents), file.name
        alike += shape(after.documents[0].body) == shape(before.documents[0].body)
    assert looked > 5
    assert alike >= looked * 0.7


def test_every_module_agrees_what_a_record_is() -> None:
    assert hl7v2.header(without(hl7("PID|1||7")).encode()).message_type == "ORU^R01"
    assert astm_records.header(without(astm("P|1||7", "R|1|^^^GLU|5")).encode("latin-1")).message_type == "R"


# -- what a reader who looks for a person may find -----------------------------------------------------------------

# Places where a code belongs and a name has been seen: nothing of it may survive.
HL7_PLACES = {
    "MSH-3": r"MSH|^~\&|{}|LAB|||20260301101530||ORU^R01|1|P|2.5.1",
    "MSH-4": r"MSH|^~\&|AN|{}|||20260301101530||ORU^R01|1|P|2.5.1",
    "MSH-5": r"MSH|^~\&|AN|LAB|{}||20260301101530||ORU^R01|1|P|2.5.1",
    "MSH-6": r"MSH|^~\&|AN|LAB||{}|20260301101530||ORU^R01|1|P|2.5.1",
    "MSH-9": r"MSH|^~\&|AN|LAB|||20260301101530||ORU^R01^{}|1|P|2.5.1",
    "MSH-12": r"MSH|^~\&|AN|LAB|||20260301101530||ORU^R01|1|P|{}",
    "MSH-18": r"MSH|^~\&|AN|LAB|||20260301101530||ORU^R01|1|P|2.5.1||||||{}",
    "MSH-21": r"MSH|^~\&|AN|LAB|||20260301101530||ORU^R01|1|P|2.5.1|||||||||{}",
    "OBR-4": "OBR|1|||GLU^{}^L",
    "OBX-3.1": "OBX|1|NM|{}||5",
    "OBX-3.2": "OBX|1|NM|GLU^{}^L||5",
    "OBX-4": "OBX|1|NM|GLU|{}|5",
    "OBX-6": "OBX|1|NM|GLU||5|{0}/{0}",
    "OBX-8": "OBX|1|NM|GLU||5|||{}",
    "OBX-17": "OBX|1|NM|GLU||5|||||||||||{}",
    "OBX-18": "OBX|1|NM|GLU||5||||||||||||{}",
    "INV-1": "INV|{}",
    "TCD-1": "TCD|{}",
    "Z segment": "{}|1|x",
}
ASTM_PLACES = {
    "H-5": "H|\\^&|||{}^1|||||||P|1|20260301101530",
    "H-13": "H|\\^&|||AN^1|||||||P|{}|20260301101530",
    "O-5": "O|1|S||^^^GLU^{}|R",
    "R-3": "R|1|^^^GLU^{}|5",
    "R-5": "R|1|^^^GLU|5|{}",
    "R-7": "R|1|^^^GLU|5|||{}",
    "R-14": "R|1|^^^GLU|5||||||||||{}",
}
WHO = ("SHARMA", "RAM", "Lal", "ZIA", "SHARMA ANITA", "A-4711", "Anita.S")


def in_place(place: str, who: str) -> bytes:
    line = {**HL7_PLACES, **ASTM_PLACES}[place].format(who)
    if place in ASTM_PLACES:
        records = ["P|1|77||||", line, "L|1|N"]
        return ("\r".join([line, *records[::2]] if line.startswith("H|") else [ASTM_HEADER, *records]) + "\r").encode()
    segments = ["PID|1||77", line]
    return ("\r".join([line, segments[0]] if line.startswith("MSH") else [MSH, *segments]) + "\r").encode()


ASTM_HEADER = "H|\\^&|||AN^1|||||||P|1|20260301101530"


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("place", [*HL7_PLACES, *ASTM_PLACES])
def test_a_name_where_a_code_belongs_does_not_survive(place: str, who: str) -> None:
    payload = in_place(place, who)
    if place == "Z segment" and " " in who:
        payload = payload.replace(b" ", b"")
    survey = Survey()
    for _ in range(2):  # also where the patient's messages have it twice
        survey.look(payload)
    shown = Deidentifier(ONE, frozenset({"glu"}), survey.shared).apply(payload, DAY)[0].decode()
    assert re.search(rf"(?<![A-Za-z0-9]){re.escape(who)}(?![A-Za-z0-9])", shown) is None, shown


def test_what_several_patients_have_is_the_analyzers_and_kept() -> None:
    """But not what is a part of a patient's name: a ward of that name, and two patients of it."""
    survey = Survey()
    lines = "OBX|1|NM|WEIRD^Strange test^99X||5|foo/bar|||||F|||||||AN-7", "OBX|2|NM|RAO||5"
    messages = [hl7(f"PID|1||{number}||Rao^{name}", *lines) for number, name in ((77, "Anil"), (78, "Sunil"))]
    for message in messages:
        survey.look(message)
    shown = Deidentifier(ONE, frozenset(), survey.shared).apply(messages[0], DAY)[0].decode()
    assert "WEIRD^Strange test^99X" in shown
    assert "|foo/bar|" in shown
    assert "|AN-7" in shown
    assert "RAO" not in shown


@pytest.mark.parametrize(
    ("born", "years"),
    [("19800412", 46), ("198004120730", 46), ("1980", 46), ("198004", 46), ("19360301", 90), ("19200101", 90),
     ("19110505", 90), ("20260228", 0)],
)  # fmt: skip
def test_of_a_birth_date_the_year_is_left_and_from_ninety_on_they_are_one(born: str, years: int) -> None:
    """Wherever it stands; and although the dates of messages may tell by how much all are shifted."""
    export = Deidentifier(ONE)
    for payload, place in (
        (hl7(f"PID|1||77||A^B||{born}", f"OBX|1|DT|DOB||{born}"), 7),
        (astm(f"P|1|77||||x|{born}", f"R|1|^^^DOB|{born}"), 7),
    ):
        content, days = export.apply(payload, DAY)
        shown = content.decode().split("\r")[1].split("|")[place]
        assert shown[4:] in ("", "01", "0101", "01010000")
        now = DAY.toordinal() + days
        assert abs(date.fromordinal(now).year - int(shown[:4]) - years) <= 1
        if years == 90:
            assert int(shown[:4]) == date.fromordinal(now).year - 90
        assert born[4:8] == "0101" or len(born) < 8 or (date_of(born, days) not in content.decode())


def date_of(born: str, days: int) -> str:
    """What an exact shift would show: from it, and one known date, each reader has the day of birth."""
    day = date(int(born[:4]), int(born[4:6]), int(born[6:8]))
    return f"{date.fromordinal(day.toordinal() + days):%Y%m%d}"


def test_times_of_day_are_coarse() -> None:
    text = without(hl7("PID|1||77", "OBR|1|||GLU|||20260301091559|20260301235959.1234|202603010701+0530"))
    times = re.findall(r"20[0-9]{6}([0-9]{2,6}(?:\.[0-9]+)?)", text)
    assert len(times) == 4
    assert set(times) <= {"060000", "180000.0000", "0600"}
