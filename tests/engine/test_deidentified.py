"""Messages to be shown to others: nothing of a patient survives, and the message stays what it was otherwise."""

import re
import string
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs import astm_records, hl7v2
from engine import registry
from engine.commands.exporting_deid import known_codes
from engine.deidentified import Deidentifier, UnknownFormatError
from engine.errors import ContentError
from engine.message import FormatOptions, MapContext
from tests.support.shipped import KEY, RECEIVED, program

ONE = bytes(32)
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
    return Deidentifier(key, **more).apply(payload)[0].decode("latin-1")


def survives(person: str, text: str) -> bool:
    plain = text.encode("latin-1").decode("utf-8", "replace").casefold()
    return any(part.casefold() in plain for part in (person, *person.split()))


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=60, deadline=None)
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
        Deidentifier(ONE).apply(payload)


def test_what_an_analyzer_says_is_kept() -> None:
    results = [
        "OBX|1|NM|718-7^Hemoglobin^LN||14.8|g/dL^^UCUM|13.0-17.0|N|||F|||20260301094500",
        "OBX|2|SN|X^Y^L||>^100|10*3/uL|< 5|HH~A|||P",
        "OBX|3|ST|HIV^HIV^L||Non-Reactive||||||F",
        "OBX|4|ST|T^T^L||seen by Dr Rao||||||F",
        "OBX|5|NM|VL^Load^L||12500000|{copies}/mL|||||F",
    ]
    lines = without(hl7("PID|1||77^^^H^MR||Rao^Anil||19800412|M", *results)).split("\r")
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
    one, days = export.apply(hl7("PID|1||77||A^B||19800412", "OBR|1|||GLU|||20260301091500"))
    two, same = export.apply(astm("P|1|77||||", "O|1|S||^^^GLU|R||20260301"))
    other = {export.apply(hl7(f"PID|1||{number}||||19800412"))[1] for number in range(50)}
    assert days == same
    assert -3000 <= days <= -30
    assert len(other) > 30
    assert b"19800412" not in one
    assert b"|20260301|" not in two


def test_faults_are_what_they_were() -> None:
    broken = b'\x0bMSH|^~\\&|AN|\xe9\xff||||\r\rPID|1||7\xff7|||\x01A^\xc3\xa9\n\nOBX|1|NM|GLU||5,1|""|||||F\r\x1c'
    done = Deidentifier(ONE).apply(broken)[0]
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
    folder = Path(__file__).parents[2] / "samples"
    codec, compiled, alike, looked = registry.load(registry.FORMATS, kind), program(mapping), 0, 0
    context = MapContext(channel="a", key=KEY, timezone="Asia/Kolkata", received_at=RECEIVED)
    known = known_codes(Path(__file__).parents[2])
    for file in sorted(folder.rglob("*.hl7" if kind == "hl7v2" else "*.astm")):
        payload = file.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        try:
            before = compiled.apply(codec.parse(payload, FormatOptions(("utf-8", "cp1252"))), context)
            after_bytes, _ = Deidentifier(ONE, known).apply(payload)
        except (ContentError, UnknownFormatError):
            continue
        if not before.documents:
            continue
        looked += 1
        after = compiled.apply(codec.parse(after_bytes, FormatOptions(("utf-8", "cp1252"))), context)
        assert len(after.documents) == len(before.documents), file.name
        alike += shape(after.documents[0].body) == shape(before.documents[0].body)
    assert looked > 5
    assert alike >= looked * 0.8


def test_every_module_agrees_what_a_record_is() -> None:
    assert hl7v2.header(without(hl7("PID|1||7")).encode()).message_type == "ORU^R01"
    assert astm_records.header(without(astm("P|1||7", "R|1|^^^GLU|5")).encode("latin-1")).message_type == "R"
