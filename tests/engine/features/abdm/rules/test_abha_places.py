"""The ABHA of a patient, wherever messages carry it: a table of records, and what a person at the desk may expect."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs import json_tree
from adapters.codecs.astm import records
from adapters.codecs.hl7v2 import message as hl7
from engine.features.abdm.rules.abha import AbhaNumber
from engine.features.abdm.rules.abha_places import Captured, Place, captured, place_of
from engine.model.message import FormatOptions, Parsed

NUMBER, OTHER = "91-1234-5678-9015", "91-1234-5678-9023"

# PID and the places that the channel names -> numbers, addresses, how many are unreadable
HL7: dict[str, tuple[str, list[str], tuple[list[str], list[str], int]]] = {
    "a list of numbers": (f"||7^^^HOSP^MR~{NUMBER}^^^NDHM^HIN~meera@sbx^^^^ABHA", [], ([NUMBER], ["meera@sbx"], 0)),
    "without dashes, in PID-2": ("|91123456789015^^^NDHM^HIN|7", [], ([NUMBER], [], 0)),
    "in PID-4": (f"||7|{NUMBER}^^^^HIN", [], ([NUMBER], [], 0)),
    "the number as ABHA": (f"||{NUMBER}^^^^ABHA", [], ([NUMBER], [], 0)),
    "the same number twice": (f"||{NUMBER}^^^^HIN~91123456789015^^^^HIN", [], ([NUMBER], [], 0)),
    "two numbers": (f"||{NUMBER}^^^^HIN~{OTHER}^^^^HIN", [], ([NUMBER, OTHER], [], 0)),
    "fourteen digits without a type": (f"||{NUMBER}", [], ([], [], 0)),
    "fourteen digits of another type": (f"||{NUMBER}^^^HOSP^MR", [], ([], [], 0)),
    "thirteen digits": ("||91-1234-5678-901^^^^HIN", [], ([], [], 1)),
    "a word for none": ("||NA^^^^HIN", [], ([], [], 0)),
    "zeros": ("||00-0000-0000-0000^^^^HIN", [], ([], [], 0)),
    "an address without its end": ("||meera@^^^^ABHA", [], ([], [], 1)),
    "an empty repetition": ('||""^^^^HIN~^^^^HIN', [], ([], [], 0)),
    "a field that the channel names": (f"||7{'|' * 16}{NUMBER}", ["PID-19"], ([NUMBER], [], 0)),
    "a field that the channel does not name": (f"||7{'|' * 16}{NUMBER}", [], ([], [], 0)),
    "PID-3 named, without types": ("||meera@sbx", ["PID-3"], ([], ["meera@sbx"], 0)),
    "a place of ASTM": (f"||7{'|' * 16}{NUMBER}", ["P-4"], ([], [], 0)),
    "no patient number at all": ("", [], ([], [], 0)),
}
# P and the places -> the same
ASTM: dict[str, tuple[str, list[str], tuple[list[str], list[str], int]]] = {
    "a field that the channel names": (f"P|1||7|{NUMBER}", ["P-5"], ([NUMBER], [], 0)),
    "another field of it": (f"P|1|{NUMBER}|7", ["P-3"], ([NUMBER], [], 0)),
    "an address": ("P|1||meera@sbx", ["P-4"], ([], ["meera@sbx"], 0)),
    "no field that it names": (f"P|1||7|{NUMBER}", [], ([], [], 0)),
    "a counter in it": ("P|1||7", ["P-4"], ([], [], 1)),
    "two patients": (f"P|1||{NUMBER}\rP|2||{OTHER}", ["P-4"], ([NUMBER], [], 0)),
}
# body and the places -> the same
JSON: dict[str, tuple[object, list[str], tuple[list[str], list[str], int]]] = {
    "a path": ({"patient": {"abha": NUMBER}}, ["$.patient.abha"], ([NUMBER], [], 0)),
    "two paths": (
        {"patient": {"abha": NUMBER, "address": "meera@sbx"}},
        ["$.patient.abha", "$.patient.address"],
        ([NUMBER], ["meera@sbx"], 0),
    ),
    "a number without dashes": ({"abha": 91123456789015}, ["$.abha"], ([NUMBER], [], 0)),
    "a list": ({"ids": [{"abha": NUMBER}, {"other": "x"}]}, ["$.ids.abha"], ([NUMBER], [], 0)),
    "null, and of another type": ({"a": None, "b": {"c": 1}, "c": True}, ["$.a", "$.b", "$.c"], ([], [], 0)),
    "no path": ({"abha": NUMBER}, [], ([], [], 0)),
    "a word": ({"abha": "none"}, ["$.abha"], ([], [], 0)),
    "a short number": ({"abha": "91-12"}, ["$.abha"], ([], [], 1)),
}


def found(parsed: Parsed, places: list[str]) -> tuple[Captured, ...]:
    return captured(parsed, [place_of(one) for one in places])


def words(one: Captured) -> tuple[list[str], list[str], int]:
    return sorted(number.dashed for number in one.numbers), sorted(a.text for a in one.addresses), one.unreadable


@pytest.mark.parametrize("name", HL7)
def test_of_hl7(name: str) -> None:
    fields, places, expected = HL7[name]
    message = f"MSH|^~\\&|LIS|CITY|||20260301||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1{fields}\rOBR|1\r"
    (one,) = found(hl7.parse(message.encode(), FormatOptions()), places)
    assert words(one) == expected


@pytest.mark.parametrize("name", ASTM)
def test_of_astm(name: str) -> None:
    record, places, expected = ASTM[name]
    one, *others = found(records.parse(f"H|\\^&\r{record}\rL|1\r".encode(), FormatOptions()), places)
    assert words(one) == expected
    assert [words(one)[0] for one in others] == ([[OTHER]] if name == "two patients" else [])


@pytest.mark.parametrize("name", JSON)
def test_of_json(name: str) -> None:
    body, places, expected = JSON[name]
    (one,) = found(json_tree.parse(json.dumps(body).encode(), FormatOptions()), places)
    assert words(one) == expected


@pytest.mark.parametrize(
    ("numbers", "unreadable", "number", "doubtful"),
    [
        ((), 0, None, False),
        ((NUMBER,), 0, NUMBER, False),
        ((NUMBER, OTHER), 0, None, True),
        (("91-1234-5678-9012",), 0, None, True),
        ((NUMBER,), 1, None, True),
        ((), 1, None, True),
    ],
)
def test_only_one_number_that_fits_is_the_patients(
    numbers: tuple[str, ...], unreadable: int, number: str | None, doubtful: bool
) -> None:
    made = Captured(frozenset(filter(None, map(AbhaNumber.read, numbers))), frozenset(), unreadable)
    assert (made.number.dashed if made.number else None, made.is_doubtful) == (number, doubtful)
    assert not any(part in repr(made) for part in ("1234", "5678"))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("PID-19", Place(record="PID", number=19)),
        ("P-4", Place(record="P", number=4)),
        ("$.patient.abha", Place(path=("patient", "abha"))),
    ],
)
def test_a_place_is_read(text: str, place: Place) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize("text", ["", "PID", "PID-0", "OBX-5", "P-100", "$", "$.", "$.a b", "patient.abha", "PID-3 "])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a field"):
        place_of(text)


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60),
    st.sampled_from(["PID-3", "PID-19", "P-4", "$.a"]),
)
def test_any_record_has_one_or_none(text: str, place: str) -> None:
    message = f"MSH|^~\\&|L|C|||2026||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||{text}\rOBR|1\r".encode("utf-8", "replace")
    assert all(isinstance(one, Captured) for one in found(hl7.parse(message, FormatOptions()), [place]))
