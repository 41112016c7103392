"""One message in all forms that the shipped mappings make of it says the same of each result: what is one, whose it is,
of which specimen, what was measured, with which status and which value.

The FHIR transaction is what the other forms are held against. `MEANT` has the differences that a form makes on purpose,
each with its reason.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.pack import find_pack
from engine.mapping.trying.inputs import messages_in
from engine.mapping.trying.testing import read_tests
from engine.model.routes import Processed
from engine.model.texts.reasons import ReasonCode
from tests.documents.test_corpus_mapping import SETTINGS
from tests.documents.test_samples import FORMATS, MESSAGES
from tests.support import shipped
from tests.support.corpus import CORPUS, FOLDERS, corpus_files, payloads
from tests.support.outputs_read import Read, csv_results, fhir_results, hl7_results, json_results
from tests.support.shipped import MAPPINGS, verdict_of
from tests.validation.documents import GOLDEN, message_type

Json = dict[str, Any]
# Name of a message, its format, the settings of its channel, and what else of the channel counts.
Given = tuple[str, bytes, str, Json, Json]

# By the format of the message: the FHIR transaction, then every other form of results that is made of it.
HL7 = {
    "hl7-results": fhir_results,
    "hl7-to-csv": csv_results,
    "hl7-to-json": json_results,
    "abdm-report": fhir_results,
}
OUL = {
    "hl7-oul-results": fhir_results,
    "hl7-oul-to-csv": csv_results,
    "hl7-oul-to-json": json_results,
}
ASTM = {
    "astm-results": fhir_results,
    "astm-to-csv": csv_results,
    "astm-to-json": json_results,
    "astm-to-hl7": hl7_results,
}
FORMS: dict[str, dict[str, Callable[[bytes], list[Read]]]] = {"ORU": HL7, "OUL": OUL, "astm": ASTM, "text": ASTM}
LISTS = ("hl7-to-csv", "hl7-to-json", "hl7-oul-to-csv", "hl7-oul-to-json", "astm-to-csv", "astm-to-json")
AS_SENT = (*LISTS, "astm-to-hl7")

ABDM = {
    "lab": "City Lab",
    "hfr_id": "IN2710001234",
    "hfr_system": "https://facility.abdm.gov.in",
    "abha_system": "https://healthid.abdm.gov.in",
    "abha": "later",
}
READABLE = {"csv_guard": "no", "csv_header": "yes", "csv_delimiter": ","}


@dataclass(frozen=True)
class Pair:
    """A result in FHIR, and in another form."""

    fhir: Read
    form: str
    other: Read


# What differs -> why it may, and when.
MEANT: dict[str, list[tuple[str, Callable[[Pair], bool]]]] = {
    "specimen": [
        (
            "a document for ABDM has a specimen only where the message says when it was received (NO_SPECIMEN)",
            lambda pair: pair.form == "abdm-report" and not pair.other.specimens,
        ),
        (
            "a list names a result by the number of its order, where no single specimen has one",
            lambda pair: pair.form in LISTS and not pair.fhir.specimens and pair.other.specimens <= pair.fhir.orders,
        ),
    ],
    "patient": [
        ("no digit: it does not last", lambda pair: re.fullmatch(r"\D+", "".join(pair.other.patients)) is not None)
    ],
    "loinc": [
        (
            "beside values as they were sent a term of the code table stands only where it does not convert, and one "
            "that the sender says is the code of the test",
            lambda pair: pair.form in AS_SENT and (not pair.other.loinc or not pair.fhir.loinc),
        ),
        (
            "a document for ABDM has a code of the sender's only with its display",
            lambda pair: pair.form == "abdm-report" and not pair.other.loinc and pair.fhir.loinc in pair.other.tests,
        ),
    ],
    "status": [
        (
            "HL7 v2 has no place for a reason beside a status: a result without a value is X there",
            lambda pair: pair.form == "astm-to-hl7" and bool(pair.fhir.none) and pair.other.status == "cancelled",
        ),
        (
            "nor has a list: a measurement that failed is cancelled there, without number or words",
            lambda pair: (
                pair.form in LISTS
                and pair.fhir.none == "error"
                and pair.other.status == "cancelled"
                and not (pair.other.number or pair.other.words)
            ),
        ),
    ],
    "number": [
        (
            "FHIR converts where the code table says so; a value as it was sent has no LOINC code then",
            lambda pair: pair.form in AS_SENT and bool(pair.fhir.number and pair.other.number) and not pair.other.loinc,
        ),
        (
            "a text (ST) that is a number is a text in FHIR; JSON has the number beside it",
            lambda pair: (
                pair.form in ("hl7-to-json", "hl7-oul-to-json") and not pair.fhir.number and not pair.fhir.none
            ),
        ),
        (
            "of a ratio, a range and a quantity (CQ) a list has the text, and so has HL7 v2 for receivers without SN",
            lambda pair: pair.form in AS_SENT and not pair.other.number and within(pair.fhir.number, pair.other.words),
        ),
    ],
    "words": [
        (
            "times are as they were sent in lists",
            lambda pair: pair.form in LISTS and one_time(digits(pair.fhir.words), digits(pair.other.words)),
        ),
        (
            "of several coded answers a list has the whole text, with their systems",
            lambda pair: pair.form in LISTS and tokens(pair.fhir.words) <= tokens([*pair.other.words, pair.other.unit]),
        ),
    ],
}


def within(number: str, words: Iterable[str]) -> bool:
    return any(word == number or word.startswith(f"{number} ") for word in words)


def digits(words: Iterable[str]) -> str:
    """The digits of a time, to the second, or of the two of a period."""
    return "".join(re.sub(r"[^0-9]", "", word[:19]) for word in sorted(words))


def one_time(first: str, second: str) -> bool:
    return len(second) >= 4 and (first.startswith(second) or second.startswith(first) != "")


def tokens(texts: Iterable[str]) -> set[str]:
    return {part for text in texts for part in re.split(r"[\s^&]+", text) if part}


def alike(fhir: Read, other: Read) -> bool:
    """Whether the words of a value are the same: all that the other says is in FHIR, and one whole form of it is there,
    but for the unit and the call that FHIR keeps beside a value."""
    said = tokens(other.words)
    if not said:
        return not fhir.words or bool(fhir.none)
    beside = tokens([other.unit])
    known = tokens([*fhir.words, *fhir.calls]) | beside
    return said <= known and any(tokens([one]) - beside <= said for one in fhir.words)


def unlike(pair: Pair) -> Iterator[str]:
    """What differs between the two, by name."""
    fhir, other = pair.fhir, pair.other
    for name, one, two in (("patient", fhir.patients, other.patients), ("specimen", fhir.specimens, other.specimens)):
        if (one or two) and not one & two:
            yield name
    if not fhir.tests & other.tests:
        yield "test"
    if fhir.loinc != other.loinc:
        yield "loinc"
    if fhir.status != other.status:
        yield "status"
    if pair.form == "abdm-report" and fhir.none != other.none:
        yield "no value"
    # A line has the value as text; that is compared with the JSON document.
    if fhir.number != other.number and not (pair.form.endswith("-csv") and not fhir.none):
        yield "number"
    if not fhir.number and not alike(fhir, other):
        yield "words"


def kind_of(message_format: str, payload: bytes) -> str:
    """Which forms there are of a message, by `FORMS`; another word where there are none."""
    return message_type(payload) if message_format == "hl7v2" else message_format


def forms_of(given: Given) -> dict[str, list[Read]]:
    """The results of a message in each form that it has; none where the form has no document."""
    _, payload, message_format, settings, more = given
    made: dict[str, list[Read]] = {}
    for form, read in FORMS[kind_of(message_format, payload)].items():
        asked = {**ABDM, **settings} if form == "abdm-report" else {**settings, **READABLE}
        verdict, _ = verdict_of(payload, message_format, asked, mapping=form, **more)
        if verdict.documents:
            made[form] = read(verdict.documents[0][0].body)
        elif not made or not needs_more(form, verdict):
            made[form] = []
    return made


def disagreements(made: dict[str, list[Read]]) -> list[str]:
    """What the forms of one message say differently, but for what is meant."""
    (first, fhir), *others = made.items()
    found = []
    for form, results in others:
        if len(results) != len(fhir):
            found.append(f"{form}: {len(results)} results, and {len(fhir)} in {first}")
            continue
        for number, pair in enumerate(map(Pair, fhir, [form] * len(fhir), results), 1):
            for name in unlike(pair):
                if not any(holds(pair) for _, holds in MEANT.get(name, ())):
                    found.append(f"{form}: result {number}: {name}: {pair.other}, and in {first} {pair.fhir}")
    lists = [[one.words for one in made[form]] for form in made if form in LISTS]
    if len(lists) == 2 and lists[0] != lists[1]:
        found.append(f"CSV and JSON: {lists}")
    return found


def needs_more(form: str, verdict: Processed) -> bool:
    """Whether a form is dead for a reason of its own: ABDM needs more than others; a receiver's character set may lack
    a sign; of a final status without its value (U) only FHIR gets the value that was accepted before."""
    own = form == "abdm-report" or verdict.reason in (ReasonCode.UNKNOWN_CHARSET, ReasonCode.NO_VALUE)
    return verdict.state == "dead" and own


def of_samples() -> Iterator[Given]:
    for path in MESSAGES:
        channel = yaml.safe_load((path.parent / "settings.yaml").read_text(encoding="utf-8"))
        if "analyzer" in channel:
            find_pack(channel["analyzer"]).fill(channel)
        message_format = FORMATS[path.suffix]
        settings = channel["settings"] | ({"charset": channel["charset"]} if "charset" in channel else {})
        more = {name: channel[name] for name in ("timezone", "dialect", "layout") if name in channel}
        if channel["mapping"] in FORMS.get(kind_of(message_format, path.read_bytes()), ()):
            yield f"{path.parent.name}/{path.name}", path.read_bytes(), message_format, settings, more


def of_golden_documents() -> Iterator[Given]:
    for path in sorted(GOLDEN.iterdir()):
        if path.suffix == ".astm" or (path.suffix == ".hl7" and message_type(path.read_bytes()) in FORMS):
            yield path.name, path.read_bytes(), FORMATS[path.suffix], {"processing_ids": ["T", "D"]}, {}


def of_mapping_tests() -> Iterator[Given]:
    of_the_channel = ("timezone", "channel", "specimen_ids", "patient_numbers")
    for path in sorted((MAPPINGS / "tests").glob("*.yaml")):
        for case in read_tests(path):
            message_format = "astm" if case.mapping.startswith("astm") else "hl7v2"
            (message,) = messages_in(case.given)
            if case.mapping in FORMS.get(kind_of(message_format, message.payload), ()):
                left_out = (*of_the_channel, "namespaces", "received", "fix", "spm_obx", "abdm_shape")
                settings = {name: value for name, value in case.settings.items() if name not in left_out}
                more = {name: case.settings[name] for name in of_the_channel if name in case.settings}
                yield case.place, message.payload, message_format, settings, more


def of_corpus(folder: str) -> Iterator[Given]:
    if folder == "field3":
        paths = sorted(path for path in (CORPUS / folder).iterdir() if path.suffix in FORMATS)
        files = [
            (one.name, FORMATS[one.suffix], [found.payload for found in messages_in(one.read_bytes())]) for one in paths
        ]
    else:
        files = [(file.name, file.format, payloads(file)) for file in corpus_files() if file.folder == folder]
    for name, message_format, messages in files:
        for number, payload in enumerate(messages, 1):
            if kind_of(message_format, payload) in FORMS:
                yield f"{name} {number}", payload, message_format, SETTINGS.get(name, {}), {}


# Files of the corpus whose forms differ, and why.
STATUS_OF_THE_ORDER = "a line with a status of its own does not read O-26, whose code no table has"
KNOWN = {"o26-unknown.astm 1": STATUS_OF_THE_ORDER}


def compared(messages: Iterable[Given]) -> dict[str, list[str]]:
    found = {given[0]: disagreements(forms_of(given)) for given in messages}
    assert found
    return {name: said for name, said in found.items() if said and name not in KNOWN}


ORDER = "OBR|{0}|O{0}|F{0}|GLU^Glucose^L|||20260301091500|||||||20260301093000||||||||202603011015||LAB|F\n"
HEAD = rf"""MSH|^~\&|LIS|CITYLAB|||20260301101530||ORU^R01^ORU_R01|1|P|2.5.1
PID|1||MR-1001^^^HOSP^MR||Rao^Asha||19800412|F
{ORDER.format(1)}"""
RECORDS = r"""H|\^&|||GeneXpert|||||||P|1|20260301101500
P|1||MR-1001||Rao^Asha
O|1|S1||^^^HIV|||20260301091500||||||||{}
"""
SERUM = "SPM|1|S1||SER^Serum^HL70487|||||||||||||20260301091500|20260301093000\n"
URINE = "SPM|1|S2||UR^Urine^HL70487|||||||||||||20260301091500|20260301093000\n"
TWO_SPECIMENS = SERUM.replace("S1", "{}") + URINE.replace("SPM|1|S2", "SPM|2|{}")
MATERIALS = """code,unit_in,specimen,loinc,display,type,ucum,source
GLU,mg/dL,SER,2345-7,Glucose [Mass/volume] in Serum or Plasma,NM,mg/dL,a test
GLU,mg/dL,UR,2350-7,Glucose [Mass/volume] in Urine,NM,mg/dL,a test
HIV,cop/mL,UR,2350-7,Glucose [Mass/volume] in Urine,NM,mg/dL,a test
"""
GLUCOSE = "OBX|1|NM|GLU^Glucose^L||50|mg/dL|||||F\n"
# Name -> the message, the settings, and of each result: specimen, LOINC code, status, number, why it has none.
PLANTED: dict[str, tuple[str, Json, list[tuple[str, str, str, str, str]]]] = {
    "of two specimens neither is named": (
        HEAD + GLUCOSE + TWO_SPECIMENS.format("S1", "S2"),
        {},
        [("", "", "final", "50", "")],
    ),
    "nor where they have no numbers": (
        HEAD + GLUCOSE + TWO_SPECIMENS.format("", ""),
        {},
        [("", "", "final", "50", "")],
    ),
    "each order has its own specimen, and the last has none": (
        HEAD
        + GLUCOSE
        + SERUM
        + ORDER.format(2)
        + GLUCOSE
        + URINE
        + ORDER.format(3).replace("20260301093000", "")
        + GLUCOSE,
        {},
        [("S1", "2345-7", "final", "50", ""), ("S2", "2350-7", "final", "50", ""), ("F3", "", "final", "50", "")],
    ),
    "one specimen chooses its row": (
        HEAD + GLUCOSE + URINE,
        {},
        [("S2", "2350-7", "final", "50", "")],
    ),
    "and so does the one of ASTM": (
        RECORDS.format("UR") + "R|1|^^^GLU|50|mg/dL||||F\n",
        {},
        [("S1", "2350-7", "final", "50", "")],
    ),
    "a row of another material is not taken": (
        RECORDS.format("PLAS") + "R|1|^^^HIV|50|cop/mL||||F\n",
        {},
        [("S1", "", "final", "50", "")],
    ),
    "a flag says that there is no value": (
        HEAD
        + "OBX|1|NM|HIV^HIV^L||0|cop/mL||INVALID|||F\n"
        + "OBX|2|NM|HCV^HCV^L||0|IU/mL||A~invalid|||F\n"
        + "OBX|3|NM|HBV^HBV^L||0|IU/mL||INVALID~A|||F\n"
        + "OBX|4|NM|CMV^CMV^L||0|IU/mL||A|||F\n",
        {"no_result": ["INVALID"]},
        [*[("F1", "", "final", "", "error")] * 3, ("F1", "", "final", "0", "")],
    ),
    "a call says that there is no value": (
        RECORDS.format("PLAS") + "R|1|^^^HIV|ERREUR^0|cop/mL||||F\nR|2|^^^HCV|DETECTED^12|IU/mL||||F\n",
        {"no_result": ["ERREUR"], "r4": "call^value"},
        [("S1", "", "final", "", "error"), ("S1", "", "final", "12", "")],
    ),
    "an answer at order entry is no result": (
        HEAD
        + "OBX|1|ST|PREG^Pregnant^L||yes||||||F||||||||||||||||||QST\n"
        + "OBX|2|NM|WT^Weight^L||61|kg|||||F||||||||||||||||||SCI\n"
        + "OBX|3|NM|GLU^Glucose^L||50|mg/dL|||||F||||||||||||||||||RSLT\n",
        {},
        [("F1", "", "final", "50", "")],
    ),
    "not performed, not asked": (
        HEAD + "OBX|1|NM|A^a^L||0|mg/dL|||||X\n" + "OBX|2|NM|B^b^L||0|mg/dL|||||N\n",
        {},
        [("F1", "", "cancelled", "", "not-performed"), ("F1", "", "final", "", "not-asked")],
    ),
    "not performed over ASTM": (
        RECORDS.format("PLAS") + "R|1|^^^HIV|0|cop/mL||||X\n",
        {},
        [("S1", "", "cancelled", "", "not-performed")],
    ),
    "values of several parts": (
        HEAD
        + "OBX|1|NR|A^a^L||1^5||||||F\n"
        + "OBX|2|CX|B^b^L||47138^^^REGISTRY||||||F\n"
        + "OBX|3|CWE|C^c^L||HE^H&E stain||||||F\n"
        + "OBX|4|CWE|D^d^L||^^^^^^^^Fulton||||||F\n",
        {},
        [("F1", "", "final", "1-5", ""), *[("F1", "", "final", "", "")] * 3],
    ),
    "the first number of a patient that is one": (
        HEAD.replace("MR-1001^", "UNKNOWN^^^HOSP^MR~MR-1001^") + GLUCOSE,
        {},
        [("F1", "", "final", "50", "")],
    ),
    "times at the ends of the calendar": (
        RECORDS.format("PLAS") + "R|1|^^^HIV|50|cop/mL||||F||||00010101000000\n",
        {},
        [("S1", "", "final", "50", "")],
    ),
}


def test_each_form_of_a_planted_message_has_the_right_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "materials.csv").write_text(MATERIALS, encoding="utf-8")
    monkeypatch.setattr(shipped, "ANALYZERS", tmp_path)
    wrong = {}
    for name, (text, given, expected) in PLANTED.items():
        message_format = "astm" if text.startswith("H|") else "hl7v2"
        settings = {**given, "tables": {"analytes": "materials.csv"}}
        made = forms_of((name, text.replace("\n", "\r").encode(), message_format, settings, {}))
        fhir = next(iter(made.values()))
        said = [("".join(one.specimens), one.loinc, one.status, one.number, one.none) for one in fhir]
        found = said, disagreements(made), list(made)
        if found != (expected, [], list(FORMS["astm" if message_format == "astm" else "ORU"])):
            wrong[name] = found
    assert wrong == {}


def test_all_forms_of_the_samples_say_the_same() -> None:
    assert compared(of_samples()) == {}


def test_all_forms_of_golden_documents_say_the_same() -> None:
    assert compared(of_golden_documents()) == {}


def test_all_forms_of_the_messages_of_mapping_tests_say_the_same() -> None:
    assert compared(of_mapping_tests()) == {}


@pytest.mark.corpus
@pytest.mark.parametrize("folder", [*FOLDERS, "field3"])
def test_all_forms_of_the_corpus_say_the_same(folder: str) -> None:
    assert compared(of_corpus(folder)) == {}
