"""Every ASTM message that becomes FHIR also becomes HL7 v2 and says the same, read back by three parsers.

Compared are what the two mappings make, which share how records are read and nothing of how documents are written:
codes, numbers with every digit, comparators, words, units, flags, times, patient numbers, specimen numbers. Ours and
python-hl7 read every value; hl7apy holds each message against the structure that the standard gives ORU^R01.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hl7
import pytest
import yaml

from engine.commands.shared import sampling
from engine.config.pack import find_pack
from engine.mapping.values.json_text import as_text
from engine.model.journal.document_facts import OWN_SYSTEM
from engine.model.message import Document
from engine.model.routes import Processed
from engine.model.texts.reasons import ReasonCode
from tests.documents.test_corpus_mapping import SETTINGS
from tests.support.corpus import corpus_files, payloads
from tests.support.shipped import program, verdict_of

SAMPLES = Path(__file__).parents[2] / "samples"
FORMATS = {".astm": "astm", ".txt": "text"}
MESSAGES = sorted(path.relative_to(SAMPLES).as_posix() for path in SAMPLES.glob("*/*") if path.suffix in FORMATS)
CAPTURES = [file.name for file in corpus_files() if file.format == "astm"]
TARGET = "astm-to-hl7"

Json = dict[str, Any]
# Code, comparator, value, unit, flags, time: of one result.
Result = tuple[str, str, str, str, tuple[str, ...], str]


def both(payload: bytes, message_format: str, settings: Json, **more: Any) -> tuple[Processed, Processed]:
    """One message as FHIR and as HL7, without a code table: tables convert for FHIR only."""
    given = {name: value for name, value in settings.items() if name != "tables"}
    return tuple(  # type: ignore[return-value]  # two of them
        verdict_of(payload, message_format, given, mapping=mapping, **more)[0] for mapping in ("astm-results", TARGET)
    )


@cache
def of_sample(name: str) -> list[tuple[Processed, Processed]]:
    path = SAMPLES / name
    channel = yaml.safe_load((path.parent / "settings.yaml").read_text(encoding="utf-8"))
    if "analyzer" in channel:
        find_pack(channel["analyzer"]).fill(channel)
    settings = channel["settings"] | ({"charset": channel["charset"]} if "charset" in channel else {})
    more = {"dialect": channel.get("dialect"), "layout": channel.get("layout"), "timezone": channel["timezone"]}
    return [both(path.read_bytes(), FORMATS[path.suffix], settings, **more)]


@cache
def of_capture(name: str) -> list[tuple[Processed, Processed]]:
    file = next(file for file in corpus_files() if file.name == name)
    return [both(payload, "astm", SETTINGS.get(name, {})) for payload in payloads(file)]


# -- what FHIR says ------------------------------------------------------------------------------------------------


def fhir_results(bundle: Json) -> list[Result]:
    return [_fhir_result(one) for one in _of_type(bundle, "Observation")]


def _fhir_result(one: Json) -> Result:
    code = one["code"]["coding"][-1]["code"]
    comparator, value, unit = "", "", ""
    if "valueQuantity" in one:
        comparator, value = one["valueQuantity"].get("comparator", ""), one["valueQuantity"]["value"]
        unit = one["valueQuantity"].get("unit", "")
    elif "valueRange" in one:
        value = f"{one['valueRange']['low']['value']}-{one['valueRange']['high']['value']}"
    elif "valueRatio" in one:
        value = ":".join(one["valueRatio"][part]["value"] for part in ("numerator", "denominator"))
    elif "valueString" in one:
        value = one["valueString"] if one["valueString"].strip("^") else "(none)"
    else:
        value = "(none)"
    flags = tuple(
        flag["coding"][0]["code"] if "coding" in flag else flag["text"] for flag in one.get("interpretation", ())
    )
    return code, comparator, value, unit, flags, _digits(one.get("effectiveDateTime", ""))


def _digits(time: str) -> str:
    """``20260302101100`` of a dateTime: the local time as it was sent."""
    return time[:19].replace("-", "").replace("T", "").replace(":", "").partition(".")[0]


def _of_type(bundle: Json, kind: str) -> list[Json]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def _numbers(bundle: Json, kind: str) -> set[str]:
    """Those that a sender gave; not the identifiers of our own."""
    identifiers = [one for resource in _of_type(bundle, kind) for one in resource.get("identifier", ())]
    return {one["value"] for one in identifiers if one.get("system") != OWN_SYSTEM}


# -- what HL7 says, read by two parsers ----------------------------------------------------------------------------


def ours(body: bytes) -> list[Json]:
    """Segments as `labrelay test` sees them: places to unescaped texts."""
    return program(TARGET).view(Document(body=body)).parts()


def theirs(body: bytes) -> list[Json]:
    """The same by python-hl7."""
    message = hl7.parse(body.decode())
    found = []
    counts: Counter[str] = Counter()
    for segment in message:
        name = str(segment[0])
        counts[name] += 1
        made: Json = {"resourceType": name}
        for number in range(3 if name == "MSH" else 1, len(segment)):
            for at, repetition in enumerate(segment[number], 1):
                place = str(number) if at == 1 else f"{number}[{at}]"
                parts = repetition if isinstance(repetition, hl7.Repetition) else [repetition]
                if len(parts) == 1 and str(parts[0]):
                    made[place] = message.unescape(str(parts[0]))
                for component, part in enumerate(parts, 1):
                    if str(part):
                        made[f"{place}.{component}"] = message.unescape(str(part))
        found.append(made)
    return found


def hl7_results(segments: list[Json]) -> list[Result]:
    """OBX by OBX; a word beside a number, which is an OBX of its own, becomes the last flag, as it is in FHIR."""
    found: list[Result] = []
    word: str | None = None
    for one in segments:
        if one["resourceType"] != "OBX":
            continue
        if one.get("4") == "1":
            word = one["5"]
            continue
        flags = tuple(one[place] for place in _repeated(one, "8"))
        if word is not None:
            flags, word = (*flags, word), None
        comparator, value = _value(one)
        found.append((one["3.1"], comparator, value, one.get("6", ""), flags, one.get("14", "")))
    return found


def _value(one: Json) -> tuple[str, str]:
    if one["11"] == "X":
        return "", "(none)"
    if one["2"] != "SN":
        return "", "\n".join(one[place] for place in _repeated(one, "5"))
    if separator := one.get("5.3"):
        return "", f"{one['5.2']}{separator}{one['5.4']}"
    return one["5.1"], one["5.2"]


def _repeated(one: Json, number: str) -> Iterator[str]:
    """The places of a field's repetitions."""
    at = 1
    while (place := number if at == 1 else f"{number}[{at}]") in one:
        yield place
        at += 1


# -- the same ------------------------------------------------------------------------------------------------------


def compare(fhir: Processed, written: Processed) -> None:
    bundle = as_text(fhir.documents[0][0].body) if fhir.documents else {"entry": ()}
    if fhir.documents and not fhir_results(bundle):  # patients without results: nothing for an ORU
        assert written.reason is ReasonCode.FILTERED
        return
    assert (written.state, written.reason) == (fhir.state, fhir.reason)
    if not fhir.documents:
        return
    body = written.documents[0][0].body
    segments = ours(body)
    assert segments == theirs(body)
    assert set(sampling.hl7_departures(body.decode())[0]) <= DEPARTURES
    expected, found = fhir_results(bundle), hl7_results(segments)
    assert len(found) == len(expected)
    for wanted, got in zip(expected, found, strict=True):
        _same_result(wanted, got)
    patients = {one[key] for one in segments if one["resourceType"] == "PID" for key in one if key in PATIENT_PLACES}
    assert patients == _numbers(bundle, "Patient")
    specimens = {one[key] for one in segments if one["resourceType"] == "SPM" for key in one if key in ("2.1", "2.2")}
    assert specimens == _numbers(bundle, "Specimen")


DEPARTURES = {
    "PID.PID_3 is required",  # not every sender has a number of the patient, and it is warned of
    "ORU_R01_PATIENT_RESULT.ORU_R01_PATIENT occurs too often",  # hl7apy says so of every second PID
}
PATIENT_PLACES = {"3.1", "3[2].1", "3[3].1"}


def _same_result(wanted: Result, got: Result) -> None:
    code, comparator, value, unit, flags, time = wanted
    assert got[0] == code
    assert got[4] == flags
    assert got[5] == time
    assert got[1] == comparator
    if got[2] != value:  # FHIR puts the unit behind a number that is a text
        assert f"{got[2]} {got[3]}" == value
    if unit:
        assert got[3] == unit


@pytest.mark.parametrize("name", MESSAGES)
def test_a_sample_says_the_same_in_hl7(name: str) -> None:
    for fhir, written in of_sample(name):
        compare(fhir, written)


@pytest.mark.corpus
@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_says_the_same_in_hl7(name: str) -> None:
    for fhir, written in of_capture(name):
        compare(fhir, written)


def test_there_are_samples() -> None:
    assert sum(bool(fhir.documents) for name in MESSAGES for fhir, _ in of_sample(name)) > 25


@pytest.mark.corpus
def test_there_are_captures() -> None:
    assert sum(bool(fhir.documents) for name in CAPTURES for fhir, _ in of_capture(name)) > 25
