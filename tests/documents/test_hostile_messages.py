"""What a sender may do to keep us busy, or to make us say what is nobody's business: very many of a thing, very long
things, numbers and dates that are none, bytes that are no text.

Work is counted in calls and memory in bytes; nothing is timed.
"""

import gc
import json
import logging
import re
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.config import registry
from engine.mapping.message.identity import BundleBuilder
from engine.mapping.message.message_context import MessageContext
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, MapContext, Mapped
from engine.model.texts.reasons import ReasonCode
from tests.support.shipped import KEY, RECEIVED, program

OPTIONS = FormatOptions(charsets=("utf-8", "cp1252"))
FORMATS = {"hl7-results": "hl7v2", "astm-results": "astm", "hl7-patients": "hl7v2", "hl7-orders": "hl7v2"}
RESULTS, ASTM, PATIENTS, ORDERS = FORMATS
MSH = "MSH|^~\\&|A|LAB|R|F|20260301101530||{}|1|P|2.5\r"
PID = "PID|1||7^^^H^MR||Doe^Jane||19800101|F\r"
OBR = "OBR|1|O1|F1|CBC^Panel^L|||20260301091500||||||||||||||||||F\r"
OBX = "OBX|{0}|NM|HGB^Hb^L|{1}|14.8|g/dL|13-17|N|||F\r"
H = "H|\\^&|||A^1|||||||P|1|20260301101530\rP|1||7\r"
R = "R|{}|^^^{}|1.2|g/L|1 to 2|N||F\r"


def outcome(mapping: str, payload: bytes, **given: Any) -> Mapped | ReasonCode:
    context = MapContext(channel="analyzer", key=KEY, timezone="Asia/Kolkata", received_at=RECEIVED, **given)
    codec = registry.load(registry.FORMATS, FORMATS[mapping])
    try:
        return program(mapping).apply(codec.parse(payload, OPTIONS), context)
    except ContentError as error:
        reason = error.reason
    assert reason is not ReasonCode.MAPPING_FAULT
    return reason


def oru(results: str, *, pid: str = PID, obr: str = OBR) -> bytes:
    return (MSH.format("ORU^R01") + pid + obr + results).encode()


def many(template: str, count: int) -> str:
    return "".join(template.format(number, number) for number in range(count))


def field(part: str) -> Callable[[int], bytes]:
    """A value of so many parts."""
    return lambda count: oru(f"OBX|1|ST|HGB^Hb^L||{part * count}|g/dL|13-17|N|||F\r")


GROWING: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "results that differ": (RESULTS, lambda n: oru(many(OBX, n // 8))),
    "one result again and again": (RESULTS, lambda n: oru(OBX.format(1, "") * (n // 8))),
    "results that cannot be read": (RESULTS, lambda n: oru(OBX.replace("14.8", "x").replace("|N|", "|?|") * (n // 8))),
    "comments": (RESULTS, lambda n: oru(OBX.format(1, "") + many("NTE|{}||words\r", n))),
    "one order again and again": (RESULTS, lambda n: oru((OBX + OBR) * (n // 16))),
    "one patient again and again": (RESULTS, lambda n: oru(OBX + (PID + OBR + OBX) * (n // 20))),
    "specimens": (RESULTS, lambda n: oru(OBX + many("SPM|{}|S{}||B\r", n // 4))),
    "segments nobody knows": (RESULTS, lambda n: oru(OBX + "ZZZ|1\rAL1|1\r" * n)),
    "enclosures": (RESULTS, lambda n: oru(many("OBX|{}|ED|P^r^L||^AP^PDF^Base64^JVBERi0=||||||F\r", n // 8))),
    "patient numbers": (RESULTS, lambda n: oru(OBX, pid=f"PID|1||{'1^^^H^MR~' * n}\r")),
    "names": (RESULTS, lambda n: oru(OBX, pid=f"PID|1||7^^^H^MR||{'Doe^J~' * n}\r")),
    "addresses": (RESULTS, lambda n: oru(OBX, pid=PID[:-1] + "|||" + "1 Road^^City~" * n + "\r")),
    "repetitions": (RESULTS, field("a~")),
    "components": (RESULTS, field("a^")),
    "subcomponents": (RESULTS, field("a&")),
    "escapes": (RESULTS, field("\\F\\")),
    "escapes in hexadecimal": (RESULTS, field("\\X41\\")),
    "escapes without end": (RESULTS, field("\\Q")),
    "signs of a failed measurement": (RESULTS, field("-.*")),
    "results of ASTM": (ASTM, lambda n: (H + "O|1|S1||^^^A\r" + many(R, n // 8) + "L|1\r").encode()),
    "one order of ASTM": (ASTM, lambda n: (H + ("O|1|S1||^^^A\r" + R.format(1, "A")) * (n // 16) + "L|1\r").encode()),
    "one patient of ASTM": (ASTM, lambda n: ((H[:40] + "\r") + (H[40:] + R) * (n // 16) + "L|1\r").encode()),
    "comments of ASTM": (ASTM, lambda n: (H + "O|1|S1\r" + R + "C|1|I|words\r" * n + "L|1\r").encode()),
    "merges": (PATIENTS, lambda n: (MSH.format("ADT^A40^ADT_A39") + (PID + "MRG|8^^^H^MR\r") * (n // 8)).encode()),
    "orders": (ORDERS, lambda n: (MSH.format("ORM^O01") + PID + ("ORC|NW|1\r" + OBR) * (n // 8)).encode()),
}


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, ours and those written in C, turns of generators among them."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def peak(work: Callable[[], object]) -> int:
    """Bytes in use at most, beyond those in use before."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", GROWING)
def test_work_and_memory_grow_with_the_message(what: str) -> None:
    mapping, make = GROWING[what]
    small, large = make(400), make(1600)
    assert len(large) > 2 * len(small)
    once = outcome(mapping, large)  # what is computed once for all messages
    assert not isinstance(once, ReasonCode) or once in (ReasonCode.NO_IDENTITY, ReasonCode.UNREADABLE), once
    of_small, of_large = partial(outcome, mapping, small), partial(outcome, mapping, large)
    assert calls(of_large) <= 4.4 * calls(of_small)
    assert peak(of_large) <= 4.6 * peak(of_small)


def test_a_list_that_grows_by_joining_is_not_copied_each_time() -> None:
    parsed = registry.load(registry.FORMATS, "hl7v2").parse(oru(OBX), OPTIONS)
    run = MessageContext(parsed, MapContext(key=KEY), lambda text, *_: text, lambda _: "", {})
    making = BundleBuilder(run, transaction=True)
    kept = [{"reference": "urn:a"}]
    for number in range(4):
        result = kept if number == 0 else [{"reference": f"urn:{number}"}, {"reference": "urn:a"}]
        making.put("DiagnosticReport", "1", {"resourceType": "DiagnosticReport", "result": result}, "update")
        joined = making.entries[0]["resource"]["result"]
        if number == 1:
            own = joined
        if number > 1:
            assert joined is own
    assert joined == [{"reference": "urn:a"}, *({"reference": f"urn:{number}"} for number in (1, 2, 3))]
    assert kept == [{"reference": "urn:a"}]  # it may stand in other resources, too


def test_a_field_of_ten_megabytes_is_mapped_whole() -> None:
    long = "x" * 10_000_000
    payload = oru(f"OBX|1|ST|HGB^Hb^L||{long}|g/dL|13-17|N|||F\r")
    del long
    found: list[Mapped | ReasonCode] = []
    used = peak(lambda: found.append(outcome(RESULTS, payload)))
    assert isinstance(found[0], Mapped)
    assert len(found[0].documents[0].body) > 10_000_000
    assert used < 16 * len(payload)


@pytest.mark.parametrize(
    "build",
    [
        lambda n: oru(f"NTE|1||{'q^' * n}\r" + "OBX|1|NM|HGB^Hb^L||14.8|g/dL|13-17|N|||F|||q\r" * n),
        lambda n: oru(f"NTE|1||{'q^' * n}\r" + "OBX|1|TS|HGB^Hb^L||q||||||F\r" * n),
        lambda n: oru(f"OBX|1|NM|HGB^Hb^L||14.8|g/dL|13-17|N|||F|||{'q^' * n}\r" * n),
    ],
    ids=["the text of a time in many places", "in a field of any type", "in components that no time has"],
)
def test_a_time_that_cannot_be_read_costs_its_share_however_often_it_comes(build: Callable[[int], bytes]) -> None:
    few, more = build(300), build(900)
    outcome(RESULTS, few)  # the mapping is compiled
    share = calls(lambda: outcome(RESULTS, few)) / len(few)
    assert calls(lambda: outcome(RESULTS, more)) <= 1.5 * share * len(more)


@pytest.mark.parametrize(
    "payload",
    [
        oru(OBX + "NTE|1||x\r" * 1_000_000),
        oru(OBX * 100_000),
        oru(f"OBX|1|ST|A^B^L||{'a~' * hl7v2.MAX_DELIMITERS}||||||F\r"),
    ],
    ids=["a million comments", "100,000 results", "more repetitions than there may be delimiters"],
)
def test_what_is_too_much_is_refused_before_it_is_taken_apart(payload: bytes) -> None:
    outcome(RESULTS, oru(OBX))  # the mapping is compiled
    assert calls(lambda: outcome(RESULTS, payload)) < 500
    assert outcome(RESULTS, payload) is ReasonCode.TOO_LARGE


def test_what_is_too_much_of_astm_is_refused_as_well() -> None:
    payload = (H + "C|1|I|x\r" * (astm_records.MAX_RECORDS + 1)).encode()
    outcome(ASTM, H.encode())  # the mapping is compiled
    assert calls(lambda: outcome(ASTM, payload)) < 500
    assert outcome(ASTM, payload) is ReasonCode.TOO_LARGE


@pytest.mark.parametrize(
    "value",
    [
        *(
            "9" * 1_000_000,
            "0." + "3" * 1_000_000,
            "1E999999999",
            "1e-999999999",
            "-1E+999999999",
            "1E" + "9" * 100_000,
        ),
        *("NaN", "Infinity", "-inf", "0x10", "1_000", "٣", "1 000", "1,5", "--5", "+5", "00", "5.", ".5", "1.2.3"),
    ],
    ids=lambda value: value[:12],
)
@pytest.mark.parametrize("place", ["value", "range"])
def test_a_number_that_is_none_never_becomes_one(value: str, place: str) -> None:
    fields = {"value": (value, "13-17"), "range": ("14.8", f"{value}-{value}")}[place]
    payload = oru("OBX|1|NM|HGB^Hb^L||{}|g/dL|{}|N|||F\r".format(*fields))
    found = outcome(RESULTS, payload)
    assert isinstance(found, Mapped)
    numbers: list[str] = []
    json.loads(found.documents[0].body, parse_int=numbers.append, parse_float=numbers.append)
    assert all(re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", text) and len(text) < 100 for text in numbers), numbers[:3]


@pytest.mark.parametrize("date", ["99999999", "20261301", "20260230", "9" * 100_000, "٢٠٢٦", "-1", "0x7e"])
def test_a_date_that_is_none_is_left_out(date: str) -> None:
    payload = oru(OBX, pid=f"PID|1||7^^^H^MR||Doe^J||{date}|F\r", obr=OBR.replace("20260301091500", date))
    found = outcome(RESULTS, payload)
    assert isinstance(found, Mapped)
    of_kind = {
        entry["resource"]["resourceType"]: entry["resource"] for entry in json.loads(found.documents[0].body)["entry"]
    }
    assert "birthDate" not in of_kind["Patient"]
    assert "effectiveDateTime" not in of_kind["DiagnosticReport"]
    assert "BAD_DATE" in {issue.code for issue in found.issues}


@pytest.mark.parametrize(
    "bad",
    [
        b"\xed\xa0\x80",
        b"\xed\xb2\xa9",
        b"\xff\xfe",
        b"\xc0\xaf",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xe2\x82",
        b"\x00",
        b"\x1b",
    ],
    ids=lambda bad: bad.hex(),
)
@pytest.mark.parametrize("place", [b"Doe", b"HGB", b"14.8", b"g/dL", b"13-17", b"|N|", b"O1", b"7^^^H"])
def test_bytes_that_are_no_text_give_a_document_that_is_text_or_a_reason(bad: bytes, place: bytes) -> None:
    payload = oru(OBX.format(1, "")).replace(place, place[:1] + bad + place[1:], 1)
    found = outcome(RESULTS, payload)
    if isinstance(found, Mapped):
        text = found.documents[0].body.decode("utf-8")
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|\\u00[01]|\\ud[89a-f]", text, re.IGNORECASE)


# -- what is said of a fault ---------------------------------------------------------------------------------------

PLANTED = "Zq7Xk9"
WHOLE = [line.split("|") for line in (oru(OBX.format(1, "") + "NTE|1||words\r")).decode().split("\r") if line]
PLACES = [(line, number) for line, fields in enumerate(WHOLE) for number in range(1, 20) if (line, number) > (0, 8)]


@pytest.mark.parametrize("shape", ["{}", "{}^{}^{}", "{}~{}", "{}&{}", "<{}", "2026{}", "{}-{}"])
def test_what_is_said_of_a_message_never_holds_a_value(shape: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    planted = shape.replace("{}", PLANTED)
    told = 0
    for line, number in PLACES:
        fields = [list(each) for each in WHOLE]
        fields[line] += [""] * (number + 1 - len(fields[line]))
        fields[line][number] = planted
        payload = "\r".join(map("|".join, fields)).encode()
        for settings in ({}, {"bad_value": "dead"}, {"on_missing": "dead", "on_missing_unit": "dead"}):
            codec = registry.load(registry.FORMATS, "hl7v2")
            try:
                context = MapContext(channel="analyzer", key=KEY, settings=settings, received_at=RECEIVED)
                mapped = program(RESULTS).apply(codec.parse(payload, OPTIONS), context)
                said = [(issue.code, issue.text, issue.place, issue.rule) for issue in mapped.issues]
            except ContentError as error:
                said = [(error.reason.value, str(error), error.place, "")]
            told += len(said)
            assert PLANTED.lower() not in repr(said).lower(), (line, number)
    assert told > 20
    assert PLANTED not in caplog.text


def test_a_fault_of_our_own_names_its_reason_rule_place_and_type_and_no_value(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_making: BundleBuilder, _kind: str, key: str) -> str:
        raise ValueError(f"cannot do anything with {key} {PLANTED}")

    monkeypatch.setattr(BundleBuilder, "own_id", broken)
    codec = registry.load(registry.FORMATS, "hl7v2")
    with pytest.raises(ContentError) as caught:
        program(RESULTS).apply(
            codec.parse(oru(OBX.format(1, PLANTED)), OPTIONS), MapContext(channel="analyzer", key=KEY)
        )
    error = caught.value
    assert error.reason is ReasonCode.MAPPING_FAULT
    assert re.fullmatch(r"MAPPING_FAULT at (OBR|OBX)\[1\]: ValueError in rule [a-z0-9-]+\.yaml:\d+", str(error))
    assert PLANTED not in caplog.text
