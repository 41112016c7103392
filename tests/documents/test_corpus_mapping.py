"""Every message of the corpus through the path that `labrelay map` and the daemon take.

What it yields is what the index says it holds, or a deviation that is listed here with its reason. No result is lost,
nothing raises, every Bundle is valid.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from random import Random
from typing import Any

import pytest

from engine.commands.shared.mapping_options import BARE_OPTIONS, BARE_SETTINGS
from engine.mapping.message.facts import facts_of as holds
from engine.mapping.shipped import mapping_for
from engine.mapping.trying.inputs import FoundMessage, Mapper
from engine.model.errors import ContentError
from engine.model.message import MapContext, Mapped, Parsed
from engine.model.routes import Processed
from engine.model.texts.reasons import ReasonCode
from tests.support.corpus import CorpusFile, corpus_files, payloads
from tests.support.fhir_check import check_bundle, faults, resources
from tests.support.shipped import MAPPINGS, verdict_of

pytestmark = pytest.mark.corpus

Json = dict[str, Any]

# What a channel for this sender would say, where the defaults do not do.
SETTINGS: dict[str, dict[str, Any]] = {
    "hologic-panther-hpv.astm": {"test_code": "4/5"},  # all results share component 4 of R-3
    "cepheid-genexpert-french-latin1.astm": {"decimal_comma": "yes", "specimen_in_patient": "yes"},
    "cepheid-genexpert-french-utf8.astm": {"decimal_comma": "yes", "specimen_in_patient": "yes"},
    "cepheid-genexpert-hbv.astm": {"r4": "call^value"},
    "roche-e411-multiframe.astm": {"r4": "call^value"},
    "roche-e411-results.astm": {"r4": "call^value"},
    "roche-e411-results-wire.astm": {"r4": "call^value"},
    "own__charset_undeclared_cp1252.hl7": {"charset": ["utf-8", "cp1252"]},
}

# MSH-11 says training or debugging: dead NOT_PRODUCTION, unless the channel takes them.
TRAINING = {
    *("cdcdex__COVID19_ELR_01.hl7", "cdcdex__GenV1_Batch_No_headers_twoMSH.txt", "cdcdex__Genv2_2-0-1_TC08.txt"),
    *("cdcdex__RawHL7DataCELR.txt", "cdcdex__WI_v231.txt", "cdcdex__celr_ATillGenVersion251.txt"),
    *("cdcdex__exampleConcatNotes.txt", "cdcdex__exampleHL7Message.txt", "cdcdex__phlip-flu-batch.txt"),
    "gcp__oru_r01_ex6.hl7",
}
SETTINGS |= {name: {"processing_ids": ["T", "D"]} for name in TRAINING}

# Messages of a result type that give no results, by file and their number in it, and why.
NO_ID = "MSH-10 is missing: nothing could answer it"
SHIFTED = "fields stand one too far left, so that R-9 holds a date or a word"
NOT_MAPPED: dict[str, dict[int, tuple[str, str]]] = {
    "cdcdex__Hepatitis_V1_0_1_TM_TC02_HEP_B_ACUTE_MOD.hl7": {1: ("UNREADABLE", f"MSH ends at MSH-3; {NO_ID}")},
    "cdcdex__Lyme_WithBadDelimiters.txt": {1: ("UNREADABLE", "MSH-2 declares the same character four times")},
    "cdcdex__PHLIP_FLU_2.5.1_NO_MSH10.txt": {1: ("UNREADABLE", NO_ID)},
    "cdcdex__PHLIP_FLU_2.5.1_NO_MSH9.txt": {1: ("NO_ROUTE", "MSH-9 is missing: nothing says that it is a result")},
    "own__charset_declared_wrong.hl7": {1: ("UNKNOWN_CHARSET", "MSH-18 says UTF-8, the bytes are Latin-1")},
    "siemens-clinitek-qc.hl7": {1: ("QUALITY_CONTROL", "OBR-15 says that the specimen is a control")},
    "mindray-bc5380-qc.hl7": {1: ("QUALITY_CONTROL", "MSH-11 is Q")},
    "horiba-yumizen-h500.astm": {1: ("QUALITY_CONTROL", "H-12 is Q")},
    "sysmex-xn550-qc.astm": {1: ("QUALITY_CONTROL", "O-12 is Q")},
    "sysmex-xn550-qc-wire.astm": {1: ("QUALITY_CONTROL", "O-12 is Q")},
    "sysmex-xn350-background.astm": {1: ("QUALITY_CONTROL", "O-12 is Q")},
    "biomerieux-minividas-mock.astm": {1: ("UNMAPPED_STATUS", "an adapter wrote the answer (Positif) into R-9")},
    "oe-malformed.astm": {
        1: ("UNREADABLE", "scenario 1: no H record"),
        2: ("UNMAPPED_STATUS", f"scenario 2: {SHIFTED}"),
        3: ("UNREADABLE", "scenario 3: H declares no delimiters"),
        4: ("NO_IDENTITY", "scenario 4: R-3 is empty, so that nothing says what was measured"),
        5: ("UNMAPPED_STATUS", f"scenarios 5 to 8, which have one L between them: {SHIFTED}"),
        6: ("NO_ROUTE", "scenario 10: there is no result in it"),
    },
}

# Bytes that are no message of either format, or one that nothing can be read of.
UNREADABLE = {
    "biomerieux-minividas-native.bin": "a field protocol of its own",
    "arkray-spotchem-el-native.bin": "text for a printer",
    "siemens-348-printout.txt": "text for a printer",
    "nhapi__bad_HL7Exception_id_000064": "MSH-1 and MSH-2 are no delimiters",
    "nhapi__bad_HL7Exception_id_000087": "MSH-1 and MSH-2 are no delimiters",
    "nhapi__bad_HL7Exception_id_000119": "MSH-1 and MSH-2 are no delimiters",
    "nhapi__bad_HL7Exception_id_000123": "MSH-1 and MSH-2 are no delimiters",
    "nhapi__bad_HL7Exception_so5": "MSH-1 and MSH-2 are no delimiters",
    "nhapi__bad_NoException_id_000109": "lines that start no segment",
    "nhapi__bad_NoException_id_000168": "MSH-1 and MSH-2 are no delimiters",
    "nhapi__bad_HL7Exception_id_000092": "MSH-18 declares a character set called 0 (UNKNOWN_CHARSET)",
}
OTHER_NOT_READ = {("nhapi__OML_O21_messages.txt", 5): NO_ID, ("nhapi__OML_O21_messages.txt", 7): NO_ID}

NOTHING_READ = ("UNREADABLE", "UNKNOWN_CHARSET")

# Counts that differ from the index's, and why.
NAMELESS = "P holds neither a number nor a name of a patient"
DEVIATIONS: dict[str, dict[str, tuple[int, str]]] = {
    **{
        name: {"patients": (0, NAMELESS)}
        for name in (
            *("roche-c111.astm", "roche-c311.astm", "roche-e411-results.astm", "roche-e411-results-wire.astm"),
            *("roche-e411-multiframe.astm", "roche-e411-dribble.astm", "sysmex-xp100.astm", "sysmex-xn350-result.astm"),
            *("stago-satellite-max.astm", "abbott-m2000-session.astm", "abbott-m2000-below-limit.astm"),
            *("abbott-m2000-escape.astm", "cepheid-genexpert-mtb.astm", "hologic-panther-hpv.astm"),
            *("cepheid-guidance-hivvl-below40.astm", "cepheid-guidance-hivvl-error.astm"),
            "cepheid-guidance-cov2flursv.astm",
        )
    },
    "erba-em200-results.astm": {"patients": (0, "P-3 is 0: no number")},
    "erba-em200-results-wire.astm": {"patients": (0, "P-3 is 0: no number")},
    "cepheid-genexpert-french-latin1.astm": {"reports": (1, "R stands below P: a report all the same")},
    "cepheid-genexpert-french-utf8.astm": {"reports": (1, "R stands below P: a report all the same")},
    "cepheid-manual-oru-reject.hl7": {"patients": (1, "the second PID is empty")},
    **{
        f"cdcdex__{name}": {"patients": (0, "PID-3 is the number of the order, and there is no name")}
        for name in (
            *("2.3.1_HL7_Test_File_with_HHS_Data.txt", "AR_v251.txt", "Genv2_2-0-1_TC08.txt", "Tuleremia.hl7"),
            "WI_v231.txt",
        )
    },
    "roche-cobas-pro-c503-oul.hl7": {"patients": (0, "PID holds neither a number nor a name of a patient")},
    "roche-cobas-pro-e801-oul.hl7": {"patients": (0, "PID holds neither a number nor a name of a patient")},
    "oie__batch03.hl7": {"patients": (1, "the first message is an ADT, which no route takes")},
    "oie__large.hl7": {"reports": (9, "three OBR have the order number and code of one before them: one report")},
}


@dataclass
class Mapping:
    """What one file gave, message by message."""

    verdicts: list[Processed] = field(default_factory=list)
    mapped: list[Mapped] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """``mapped``, or the reason code."""
        return [verdict.reason.value if verdict.reason else verdict.state for verdict in self.verdicts]

    def bundles(self) -> list[Json]:
        return [check_bundle(body) for body in self.bodies]

    def all(self, kind: str) -> list[Json]:
        return [resource for bundle in self.bundles() for resource in resources(bundle, kind)]


@cache
def outcome_of(name: str) -> Mapping:
    file = next(file for file in FILES if file.name == name)
    outcome = Mapping()
    for payload in payloads(file):
        verdict, mapped = verdict_of(payload, file.format, SETTINGS.get(file.name, {}))
        outcome.verdicts.append(verdict)
        if mapped is not None:
            outcome.mapped.append(mapped)
        outcome.bodies += [document.body for document, _ in verdict.documents]
    return outcome


FILES = corpus_files()
each_file = pytest.mark.parametrize("name", [file.name for file in FILES])
facts_of = {file.name: file for file in FILES}


def _has_results(file: CorpusFile, payload: bytes) -> bool:
    """By a plain look at the bytes, independent of the codecs."""
    if file.format == "astm":
        return re.search(rb"(^|[\r\n])R[|;]", payload) is not None and re.search(rb"(^|[\r\n])H", payload) is not None
    fields = payload.lstrip(b"\xef\xbb\xbf").split(b"\r")[0].split(b"\n")[0].split(b"|")
    return len(fields) > 8 and fields[8].startswith((b"ORU^", b"OUL^"))


@each_file
def test_each_message_has_the_verdict_that_it_should(name: str) -> None:
    file = facts_of[name]
    for number, (payload, found) in enumerate(zip(payloads(file), outcome_of(name).reasons, strict=True), 1):
        if number in NOT_MAPPED.get(name, {}):
            expected, why = NOT_MAPPED[name][number]
            assert found == expected, f"message {number}: {why}"
        elif name in UNREADABLE or (name, number) in OTHER_NOT_READ:
            assert found in {"UNREADABLE", "UNKNOWN_CHARSET"}, f"message {number}"
        else:
            assert found == ("mapped" if _has_results(file, payload) else "NO_ROUTE"), f"message {number}"


@each_file
def test_every_bundle_is_valid(name: str) -> None:
    assert [faults(body) for body in outcome_of(name).bodies] == [[]] * len(outcome_of(name).bodies)


@each_file
def test_no_result_is_lost(name: str) -> None:
    for mapped in outcome_of(name).mapped:
        counts = mapped.counts
        declared = sum(count for kind, count in counts.items() if kind not in {"results_in", "observations"})
        assert counts["observations"] + declared == counts["results_in"]
    made = sum(mapped.counts["observations"] for mapped in outcome_of(name).mapped)
    assert len(outcome_of(name).all("Observation")) == made


RESULT_FILES = [file for file in FILES if any(_has_results(file, payload) for payload in payloads(file))]
each_result_file = pytest.mark.parametrize("name", [file.name for file in RESULT_FILES])


@each_result_file
def test_results_patients_and_reports_are_as_many_as_the_index_counts(name: str) -> None:
    file, outcome = facts_of[name], outcome_of(name)
    astm = file.format == "astm"
    if not outcome.bodies:
        assert name in NOT_MAPPED
        return
    found = {
        "results": sum(mapped.counts["results_in"] for mapped in outcome.mapped),
        "patients": len(outcome.all("Patient")),
        "reports": len(outcome.all("DiagnosticReport")),
    }
    index = {
        "results": file.number("R") if astm else file.number("obx") or file.number("OBX"),
        "patients": file.number("P") if astm else file.number("pid") or file.number("PID"),
        "reports": file.number("O") if astm else file.number("obr") or file.number("OBR"),
    }
    for kind, (count, _why) in DEVIATIONS.get(name, {}).items():
        assert index[kind] != count, f"{kind}: no deviation any more; remove it from the list"
        index[kind] = count
    assert found == index


@each_file
def test_what_a_message_holds_is_what_the_index_counts(name: str) -> None:
    """Every record that came is read, whatever becomes of it."""
    file = facts_of[name]
    read = [_read(payload, file.format) for payload in payloads(file)]
    not_read = {number for number, facts in enumerate(read, 1) if facts is None}
    if name in UNREADABLE:
        return
    listed = {number for number, (reason, _) in NOT_MAPPED.get(name, {}).items() if reason in NOTHING_READ}
    assert not_read == listed | {number for other, number in OTHER_NOT_READ if other == name}
    if not_read:
        return  # the index counts over the whole file
    names = ("P", "O", "R") if file.format == "astm" else ("pid", "obr", "obx")
    index = [file.number(kind) or (file.number(kind.upper()) if file.format == "hl7v2" else 0) for kind in names]
    assert [sum(counts) for counts in zip(*filter(None, read), strict=True)] == index


def _read(payload: bytes, message_format: str) -> tuple[int, int, int] | None:
    """Patients, orders and results of one message; None where it is unreadable."""
    try:
        parsed = Mapper((), options=BARE_OPTIONS).read(FoundMessage(payload, message_format))
    except ContentError:
        return None
    facts = holds(parsed)
    return facts.patients, facts.orders, facts.results


@each_result_file
def test_without_a_channel_all_that_is_a_result_is_mapped(name: str) -> None:
    """As by ``labrelay map FILE``: no channel says that training messages or another character set are wanted."""
    mapper = Mapper((MAPPINGS,), options=BARE_OPTIONS, context=MapContext(settings=BARE_SETTINGS))
    file = facts_of[name]
    for number, payload in enumerate(payloads(file), 1):
        if not _has_results(file, payload):
            continue
        # Seven results whose ids differ in component 5 alone: the pack says `test_code: 4/5`.
        expected = NOT_MAPPED.get(name, {}).get(number, ("SAME_CODE" if "panther-hpv" in name else "mapped", ""))[0]
        try:
            parsed = mapper.read(FoundMessage(payload, file.format))
            found = mapper.program_for(parsed).apply(parsed, mapper.context_for(parsed, payload))
            reason = "mapped" if found.filtered is None else found.filtered.value
        except ContentError as error:
            reason = error.reason.value
        assert reason == expected, f"message {number}"


# Types of which no shipped mapping makes anything: queries and their answers, statuses of instruments, events of ADT
# that concern no patient's record, a message that does not say what it is.
WITHOUT_MAPPING = {"ACK", "QBP^Q11", "QBP^Z03", "QCN^J01", "RSP^Z02", "SSU^U03", "ADT^A24", "ADT^O01", ""}
# Messages with a mapping that become no document, by file and their number in it.
ENDED = {
    ("oie__test-hl7-repetitions-input.txt", 1): "NO_IDENTITY",  # one OBX and no order
    ("oie__test-hl7-subcomponents-input.txt", 1): "NO_IDENTITY",
    ("siemens-clinitek-qc.hl7", 1): "QUALITY_CONTROL",
    ("mindray-bc5380-qc.hl7", 1): "QUALITY_CONTROL",
}


def _by_type(mapper: Mapper, payload: bytes) -> tuple[str, Parsed | None, Mapped | None]:
    """Why a message gives no document, or ``mapped``; what was read; and what its type's mapping gave."""
    parsed = None
    try:
        parsed = mapper.read(FoundMessage(payload, "hl7v2"))
        made = mapper.program_for(parsed).apply(parsed, mapper.context_for(parsed, payload))
    except ContentError as error:
        return error.reason.value, parsed, None
    return "mapped" if made.filtered is None else made.filtered.value, parsed, made


@pytest.mark.parametrize("name", [file.name for file in FILES if file.format == "hl7v2"])
def test_every_message_goes_through_the_mapping_of_its_type(name: str) -> None:
    """Of every kind: results, orders, patients, documents. No result of any is lost.

    The site says that patient numbers last: no message updates a Patient by a counter.
    """
    settings = {**BARE_SETTINGS, "tasks": "yes"}
    context = MapContext(channel="any", settings=settings, patient_numbers="lasting")
    mapper = Mapper((MAPPINGS,), options=BARE_OPTIONS, context=context)
    for number, payload in enumerate(payloads(facts_of[name]), 1):
        ended, parsed, made = _by_type(mapper, payload)
        if parsed is None:
            assert ended in NOTHING_READ
            continue
        assert bool(mapping_for(parsed)) != (parsed.message_type in WITHOUT_MAPPING)
        expected = ENDED.get((name, number), "mapped") if mapping_for(parsed) else "NO_ROUTE"
        assert ended == expected, f"message {number}"
        if made is None:
            continue
        counts = dict(made.counts)
        results = counts.pop("results_in")
        assert results == sum(segment.name == "OBX" for segment in parsed.segments) == sum(counts.values())
        written = [resources(check_bundle(document.body), "Observation") for document in made.documents]
        assert sum(map(len, written)) == counts["observations"]


# -- the sample result and specimen that the index names -----------------------------------------------------------


def shown(resource: Json) -> set[str]:
    """Every text, code and number in a resource."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)
        else:
            yield str(value)

    texts = set(walk(resource))
    if (quantity := resource.get("valueQuantity", {})).get("comparator"):
        texts |= {f"{quantity['comparator']}{blank}{quantity['value']}" for blank in ("", " ")}
    if "valueString" in resource:
        texts.add(resource["valueString"].partition(" ")[0])  # a number as text has its unit behind it
    return texts


@each_result_file
def test_the_sample_result_of_the_index_is_there(name: str) -> None:
    file, outcome = facts_of[name], outcome_of(name)
    sample = _sample(file)
    if sample is None or not outcome.bodies:
        assert sample is None or name in NOT_MAPPED
        return
    values, unit = sample
    observations = outcome.all("Observation")
    found = [one for one in observations if values <= shown(one)]
    assert found, values
    quantities = [one["valueQuantity"] for one in found if "valueQuantity" in one]
    if unit and quantities:  # a unit says something about numbers only
        assert any(quantity.get("unit") == unit for quantity in quantities), unit


def _sample(file: CorpusFile) -> tuple[set[str], str] | None:
    """The texts that must stand in one Observation, and the unit; None where the index names no result."""
    text = file.facts.get("sample_result", "")
    if file.format == "astm":
        match = re.fullmatch(r"R\.3=(.*) R\.4=(.*?) R\.5=(.*)", text)
        if match is None:
            return None
        return {part.strip() for part in match[2].split("^") if part.strip()}, match[3].strip()
    text = re.sub(r" \(OBX-4 .*\)$", "", text)
    if match := re.match(r"OBX-3=(.*?) (?:OBX-4=\S+ )?OBX-5(?:\.1)?=(.*?)(?: OBX-6=(.*))?$", text):
        return {part for part in match[2].split("^")[:1] if part}, (match[3] or "").split("^")[0]
    return _first_obx(file)


def _first_obx(file: CorpusFile) -> tuple[set[str], str] | None:
    value = file.facts.get("obx1.5", "")
    if not value or "\\" in value or len(value) >= 60:
        return None
    parts = value.split("^")
    wanted = [parts[1]] if file.facts.get("obx1.2") == "SN" and len(parts) > 1 else parts[:1]
    unit = file.facts.get("obx1.6", "").split("^")
    return {part.strip() for part in wanted if part.strip()}, unit[1] if len(unit) > 1 else unit[0]


@each_result_file
def test_the_first_specimen_of_the_index_is_there(name: str) -> None:
    file, outcome = facts_of[name], outcome_of(name)
    told = file.facts.get("first_specimen", "")
    if not told or not outcome.bodies or told.startswith(("none", "see ")):
        return
    values = re.findall(r"[A-Z][-.\d/A-Z]*=([^=]*?)(?= \(|, | [A-Z]\.|$)", told)
    wanted = {value.split("^")[0].replace("&E&", "&").strip() for value in values}
    numbers = {one["value"] for specimen in outcome.all("Specimen") for one in specimen["identifier"]}
    # O-4 has several components, and packs say which is the number; O-3 is a name without a digit
    has_none = name in ("roche-c111.astm", "siemens-dca-vantage.astm", "erba-em200-results.astm")
    assert wanted & numbers or (has_none and wanted.isdisjoint(numbers)), told


@pytest.mark.parametrize("name", sorted(TRAINING))
def test_training_messages_are_dead_unless_the_channel_takes_them(name: str) -> None:
    file = facts_of[name]
    reasons = {verdict_of(payload, file.format)[0].reason for payload in payloads(file)}
    assert ReasonCode.NOT_PRODUCTION in reasons


# -- every value ---------------------------------------------------------------------------------------------------


@each_result_file
def test_every_value_of_every_result_is_in_its_observation(name: str) -> None:
    """By a splitter of its own: the n-th result of a message against its n-th Observation."""
    file = facts_of[name]
    for number, payload in enumerate(payloads(file), 1):
        verdict, _ = verdict_of(payload, file.format, SETTINGS.get(name, {}))
        if number in NOT_MAPPED.get(name, {}) or not verdict.documents:
            continue
        observations = resources(check_bundle(verdict.documents[0][0].body), "Observation")
        values = list(_values(file, payload))
        assert len(values) == len(observations)
        for at, (value, observation) in enumerate(zip(values, observations, strict=True), 1):
            # Observations of a specimen (OBX behind SPM) stand before the results in the Bundle.
            texts = set.union(*map(shown, observations)) if name in WITH_SPECIMEN_RESULTS else shown(observation)
            missing = {text for text in value if not _is_shown(text, texts)}
            assert not missing, f"result {at} of message {number}"


def _values(file: CorpusFile, payload: bytes) -> Iterator[set[str]]:
    """What R-4 or OBX-5 says: each part of each repetition, without coding systems and comparators."""
    text = payload.removeprefix(b"\xef\xbb\xbf").decode(CHARSETS.get(file.name, "utf-8"))
    lines = re.split(r"[\r\n]+", text)
    if file.format == "astm":
        header = next(line for line in lines if line.startswith("H"))
        separator, component = header[1], header[3]
        for line in lines:
            if line.startswith(f"R{separator}"):
                value = (line.split(separator) + [""] * 4)[3].replace("&R&", "\\")
                yield {part.strip() for part in value.split(component) if part.strip()}
        return
    for line in lines:
        if line.startswith("OBX|"):
            fields = line.split("|") + [""] * 6
            kind, value = fields[2], fields[5]
            if re.search(r"\^S_(OTHER|RAW)\^", fields[3]) or (kind == "CE" and value.startswith("^^")):
                continue  # supplemental observations are dropped, and counted so
            if "\\" in value or value == '""':
                yield set()
                continue
            repetitions = [repetition.split("^") for repetition in value.split("~")]
            wanted = repetitions if kind in {"ST", "TX", "FT"} else repetitions[:1]
            parts = [parts[1::2] if kind == "SN" and len(parts) > 1 else parts[:2] for parts in wanted]
            yield {part.strip() for some in parts for part in some if part.strip()}


WITH_SPECIMEN_RESULTS = {"cdcdex__celr_ATillGenVersion251.txt"}
CHARSETS = {
    "cepheid-genexpert-french-latin1.astm": "latin-1",
    "own__charset_8859-1.hl7": "iso-8859-1",
    "own__charset_gb18030.hl7": "gb18030",
    "own__charset_koi_8859-5.hl7": "iso-8859-5",
    "own__charset_undeclared_cp1252.hl7": "cp1252",
}


def _is_shown(value: str, texts: set[str]) -> bool:
    if value in texts or any(value in text for text in texts if len(text) > len(value)):
        return True
    if re.fullmatch(r"\d{4,14}([+-]\d{4}|\.\d+)*", value):  # a date, with the precision that was sent
        digits = re.sub(r"[+-]\d{4}$", "", value)[:8].rstrip("0")
        return any(re.sub(r"\D", "", text).startswith(digits[:4]) for text in texts)
    number = re.fullmatch(r"[+]?([<>=]*)\s*0*(\d.*)", value)
    return number is not None and any(_same(number[2], text) for text in texts)


def _same(left: str, right: str) -> bool:
    try:
        return Decimal(left) == Decimal(right)
    except InvalidOperation:
        return False


@each_result_file
def test_explaining_a_message_maps_it_the_same_way(name: str) -> None:
    """`explain` runs code of its own, made from the same rules: it may not tell of another document."""
    file = facts_of[name]
    for payload in payloads(file):
        plain, _ = verdict_of(payload, file.format, SETTINGS.get(name, {}))
        traced, _ = verdict_of(payload, file.format, SETTINGS.get(name, {}), explained=True)
        assert [document.body for document, _ in traced.documents] == [document.body for document, _ in plain.documents]
        assert (traced.state, traced.reason, traced.detail) == (plain.state, plain.reason, plain.detail)


# -- damaged messages ----------------------------------------------------------------------------------------------

JUNK = [
    *(
        "",
        '""',
        "^",
        "~",
        "&",
        "\\",
        "<",
        "-",
        "^^^",
        "9" * 40,
        "1e5",
        "20261301",
        "a\tb",
        "Ω",
        "\x01",
        "~~",
        "5.",
        ".5",
    ),
    *("+7", "-0", "00", "<=", ">^", "1:2", "\\X0D\\", "null", "2026030110153", "T", "Q", "F", "X", "U", "W", "^1^:^8"),
]


def _damaged(payload: bytes, random: Random) -> bytes:
    """The message with one to six fields emptied, cut, replaced or taken from elsewhere, or a segment left out."""
    lines = re.split(r"([\r\n]+)", payload.decode())
    for _ in range(random.randint(1, 6)):
        at = random.randrange(0, len(lines), 2)
        fields = lines[at].split("|")
        if len(fields) < 4 or at + 1 >= len(lines):
            continue
        number = random.randrange(3 if at == 0 else 1, len(fields))
        match random.randrange(6):
            case 0 | 1:
                fields[number] = random.choice(JUNK)
            case 2:
                fields = fields[:number]
            case 3:
                fields[number] += random.choice(JUNK)
            case 4:
                fields[number] = random.choice(fields)
            case _:
                lines[at : at + 2] = []
                continue
        lines[at] = "|".join(fields)
    return "".join(lines).encode()


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_message_gives_a_verdict_and_never_a_broken_bundle(seed: int) -> None:
    """Whatever stands in the fields: a valid Bundle, or a reason that is not our own fault."""
    random = Random(seed)
    whole = [
        (file, payload)
        for file in RESULT_FILES
        if file.name not in CHARSETS and file.name not in NOT_MAPPED
        for payload in payloads(file)
    ]
    for _ in range(250):
        file, payload = random.choice(whole)
        damaged = _damaged(payload, random)
        verdict, _ = verdict_of(damaged, file.format, SETTINGS.get(file.name, {}))
        told = f"{file.name}: {verdict.reason} {verdict.detail}"
        assert verdict.reason not in {ReasonCode.MAPPING_FAULT, ReasonCode.COUNT_MISMATCH}, told
        for document, _route in verdict.documents:
            assert faults(document.body) == [], told
