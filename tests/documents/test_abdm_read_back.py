"""A reader of a document sees what the analyzer measured: values, units, ranges, flags, times, one by one.

Both sides are read by `tests.support.read_back`, which has no code of the product: of each message of the corpus, and
of messages that are made up. It is the document that goes out, in both profiles.
"""

import copy
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features.abdm.rules.abha import PROFILES, Profile
from engine.features.abdm.wire.profile_rules import faults
from tests.documents.test_abdm_documents import FILES, SETTINGS, STRUCTURED, _with_number, verdict
from tests.support.abdm_documents import prepared
from tests.support.corpus import CorpusFile, payloads
from tests.support.examples import examples
from tests.support.read_back import compared, decoded

Json = dict[str, Any]
ROOM = 5 * 1024 * 1024
DOCUMENTS_OF_THE_CORPUS = 31


def read_back(payload: bytes, profile: Profile) -> list[str] | None:
    """What differs for a reader; None: no document is made."""
    said = verdict(payload)
    if not said.documents:
        return None
    ((made, _),) = said.documents
    system = SETTINGS["abha_system"]
    sent = prepared(made.body, version=3, max_bytes=ROOM, profile=profile, system=system).body
    broken = [f"{fault.rule} at {fault.path}" for fault in faults(sent, profile)]
    return broken + compared(decoded(payload), json.loads(sent, parse_float=str, parse_int=str))


def test_a_report_reads_as_its_message() -> None:
    assert read_back(STRUCTURED, "6.5") == []


Change = Callable[[Json], Any]
LIES: dict[str, Change] = {
    "result 1: number": lambda it: it["valueQuantity"].update(value="148.5"),
    "result 1: comparator": lambda it: it["valueQuantity"].update(comparator="<"),
    "result 1: unit": lambda it: it["valueQuantity"].update(unit="mmol/L", code="mmol/L"),
    "result 1: range": lambda it: it["referenceRange"][0]["high"].update(value="111"),
    "result 1: flags": lambda it: it.pop("interpretation"),
    "result 1: at": lambda it: it.update(effectiveDateTime="2026-03-01T09:46:00+05:30"),
    "result 1: status": lambda it: it.update(status="preliminary"),
    "result 1: test": lambda it: it.update(code={"text": "Sodium"}),
    "result 1: absent": lambda it: it.update(dataAbsentReason={"text": "x"}),
}


@pytest.mark.parametrize("difference", LIES)
def test_a_document_that_says_another_thing_is_found_out(difference: str) -> None:
    ((made, _),) = verdict(STRUCTURED).documents
    bundle = json.loads(made.body, parse_float=str, parse_int=str)
    first = next(one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Observation")
    LIES[difference](first)
    assert compared(STRUCTURED.decode(), bundle) == [difference]


def test_a_result_that_is_left_out_or_stands_at_another_place_is_found_out() -> None:
    ((made, _),) = verdict(STRUCTURED).documents
    whole = json.loads(made.body, parse_float=str, parse_int=str)
    for change in (lambda listed: listed[:-1], lambda listed: listed[::-1]):
        bundle = copy.deepcopy(whole)
        report = next(one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"].startswith("Diag"))
        report["result"] = change(report["result"])
        assert compared(STRUCTURED.decode(), bundle)


@pytest.mark.corpus
def test_each_document_of_the_corpus_reads_as_its_message() -> None:
    made, wrong = 0, []
    for file in FILES:
        for number, found in _of_a_file(file):
            made += found is not None
            wrong += [f"{file.name}, message {number}: {one}" for one in found or ()]
    assert wrong == []
    assert made >= DOCUMENTS_OF_THE_CORPUS


def _of_a_file(file: CorpusFile) -> list[tuple[int, list[str] | None]]:
    messages = [one for one in payloads(file) if b"ORU^R01" in one[:500]]
    return [(number, read_back(_with_number(one), "6.5")) for number, one in enumerate(messages, 1)]


# -- made-up messages --------------------------------------------------------------------------------------------------

digits = st.from_regex(r"\A(0|[1-9][0-9]{0,5})(\.[0-9]{1,4})?\Z")
times = st.datetimes(datetime(1950, 1, 1), datetime(2030, 1, 1)).flatmap(
    lambda at: st.sampled_from(
        [
            at.strftime("%Y%m%d%H%M%S"),
            at.strftime("%Y%m%d%H%M"),
            at.strftime("%Y%m%d"),
            f"{at:%Y%m%d%H%M%S}+0100",
            "",
        ]
    )
)
units = st.sampled_from(
    ["mg/dL", "mmol/L", "g/L", "%", "10*9/L", "10^9/L", "fL", "U/L", "IU/mL", "Ratio", "furlong", ""]
)
words = st.sampled_from(
    ["Negative", "POSITIVE", "1+", "A\\T\\B", "see note", "12 - 14", "1:80", "Non-reactive", "पॉज़िटिव", "x\\F\\y"]
)
ranges = st.one_of(
    st.tuples(st.integers(0, 50), st.integers(51, 900)).map(lambda pair: f"{pair[0]}-{pair[1]}"),
    st.tuples(digits, st.integers(10**6, 10**7)).map(lambda pair: f"{pair[0]} - {pair[1]}"),
    st.sampled_from(["", "Negative", "Non-reactive", "see note"]),
)
flags = st.lists(st.sampled_from(["H", "L", "HH", "LL", "N", "A"]), max_size=2, unique=True).map("~".join)


@st.composite
def results(draw: st.DrawFn, number: int) -> str:
    """One OBX, as analyzers and laboratory systems write it."""
    kind = draw(st.sampled_from(["NM", "NM", "SN", "ST"]))
    sign = draw(st.sampled_from(["", "", "", "<", ">", "<=", ">="]))
    value = {
        "NM": f"{sign}{draw(digits)}",
        "SN": f"{sign}^{draw(digits)}",
        "ST": draw(words),
    }[kind]
    status = draw(st.sampled_from(["F", "F", "C", "P"]))
    fields = [
        *("OBX", str(number), kind, f"T{number}^Test {number}^L", "", value, draw(units) if kind != "ST" else ""),
        *(draw(ranges), draw(flags), "", "", status, "", "", draw(times)),
    ]
    return "|".join(fields)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    count = draw(st.integers(1, 6))
    rows = [draw(results(number)) for number in range(1, count + 1)]
    zone = draw(st.sampled_from(["", "+0530", "-0500"]))
    head = [
        rf"MSH|^~\&|LIS|CITYLAB|||20260301101530{zone}||ORU^R01^ORU_R01|1|P|2.5.1||||||UNICODE UTF-8",
        "PID|1||MR-1^^^CITYLAB^MR~91-1234-5678-9015^^^NDHM^HIN||Rao^Meera||19840219|F",
        f"OBR|1|O1|F1|X^Panel^L|||20260301091500{zone}|||||||||||||||20260301101500{zone}||CH|F",
    ]
    return "\r".join([*head, *rows, ""]).encode()


@settings(max_examples=examples(150), deadline=None)
@given(messages(), st.sampled_from(PROFILES))
def test_any_report_reads_as_its_message(payload: bytes, profile: Profile) -> None:
    assert read_back(payload, profile) == []
