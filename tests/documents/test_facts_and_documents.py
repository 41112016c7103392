"""What facts say, documents say: place by place, of each sample, each test of a mapping and each captured message; and
hold rules are asked about the same results.

Facts are read by rules of their own, so that a mistake in either shows here.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.mapping_options import BARE_OPTIONS
from engine.mapping.measured import results_in
from engine.mapping.trying.inputs import FoundMessage, Mapper, differing, messages_in, own_time
from engine.mapping.trying.testing import read_tests
from engine.model.content.facts import Facts, unpacked
from engine.model.content.results import Result, results_of
from engine.model.errors import ContentError
from engine.model.message import MapContext, Parsed
from tests.documents.test_samples import MESSAGES, SAMPLES, run
from tests.support.corpus import CorpusFile, corpus_files, payloads
from tests.support.shipped import KEY, MAPPINGS, Recorder, program, reader_of

SETTINGS = {"processing_ids": ["T", "D"], "local_system": "urn:labrelay:codes:analyzer"}
RESULTS = (
    *("hl7-results", "hl7-oul-results", "hl7-to-csv", "hl7-to-json", "abdm-report"),
    *("hl7-oul-to-csv", "hl7-oul-to-json"),
    *("astm-results", "astm-to-csv", "astm-to-json", "astm-to-hl7"),
)
TIMES = re.compile(r"[0-9:T.+^-]*[0-9][0-9:T.+^-]*")
CAPTURED = corpus_files()
TESTS = sorted((MAPPINGS / "tests").glob("*.yaml"))


def differences(parsed: Parsed, context: MapContext) -> list[str]:
    """Of each shipped mapping that takes the message."""
    tables = tuple(sorted(context.settings.get("tables", {}).items()))
    try:
        read = program(reader_of(parsed.format), tables).apply(parsed, context)
    except ContentError:
        return []
    if not read.documents:
        return []
    facts = unpacked(read.documents[0].body)
    found = []
    for name in RESULTS:
        each = program(name, tables)
        if each.format != parsed.format or parsed.structure not in each.structures:
            continue
        try:
            mapped = each.apply(parsed, context)
        except ContentError:  # it is dead, and nothing is delivered
            continue
        found += [f"{name}: {one.place}: {one.text}" for one in differing(facts, mapped, parsed, each.target)]
        if each.target.kind == "fhir" and name != "abdm-report" and mapped.documents:
            asked = [one for one in results_in(facts, parsed, context, mapped.controls) if not one.beside]
            found += [f"{name}: {one}" for one in asked_otherwise(facts, asked, results_of(mapped.documents[0].body))]
    return found


def asked_otherwise(facts: Facts, asked: list[Result], written: list[Result]) -> list[str]:
    """What hold rules are asked about, where the document says another, or has another result."""
    left = list(asked)
    missing = []
    for one in written:
        same = next((at for at, other in enumerate(left) if is_same(one, other)), None)
        if same is None:
            missing.append(one)
        else:
            del left[same]
    return [f"only in the document: {one}" for one in missing] + [f"only in the facts: {one}" for one in left]


def is_same(written: Result, asked: Result) -> bool:
    """Whether a document and the facts say the same of a result, but for what is known better here."""
    # Of which tube it is, how far diluted, and computed of what, facts know alone.
    unlike: dict[str, Any] = {"run": asked.run, "tube": asked.tube, "dilution": asked.dilution}
    unlike["made_of"] = asked.made_of
    if not asked.subject:  # FHIR's Patient of one without a number is of this order and day; none has sex and birth
        unlike["subject"] = ""
    if not written.subject:
        unlike |= {"sex": asked.sex, "born": asked.born}
    if asked.text and TIMES.fullmatch(asked.text) and (not written.text or TIMES.fullmatch(written.text)):
        unlike["text"] = asked.text  # a time is as it was sent
    if asked.text and written.text and "\n" in asked.text:  # several numbers have their unit once
        unlike["text"] = asked.text if set(written.text.split()) == set(asked.text.split()) else written.text
    return replace(written, **unlike) == asked


@pytest.mark.parametrize("name", [str(path.relative_to(SAMPLES)) for path in MESSAGES])
def test_samples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    apply = Recorder.apply

    def compared(self: Recorder, parsed: Parsed, context: MapContext) -> object:
        seen.extend(differences(parsed, context))
        return apply(self, parsed, context)

    monkeypatch.setattr(Recorder, "apply", compared)
    run.__wrapped__(name)
    assert seen == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_messages_of_the_tests_of_mappings(path: Path) -> None:
    found: list[str] = []
    for test in read_tests(path):
        (message,) = messages_in(test.given)
        given = {name: value for name, value in test.settings.items() if name not in ("fix", "spm_obx", "charset")}
        known = ("channel", "timezone", "namespaces", "specimen_ids", "patient_numbers")
        kept = {name: given.pop(name) for name in known if name in given}
        context = MapContext(**{"channel": "test", "patient_numbers": "lasting", **kept}, settings=given)
        try:
            parsed = Mapper((), options=BARE_OPTIONS).read(message)
        except ContentError:
            continue
        if message.format in ("hl7v2", "astm"):
            found += [f"{test.name}: {one}" for one in _of(parsed, message, context)]
    assert found == []


@pytest.mark.corpus
@pytest.mark.parametrize("file", CAPTURED, ids=lambda file: file.name)
def test_captured_messages(file: CorpusFile) -> None:
    found: list[str] = []
    for payload in payloads(file):
        try:
            parsed = Mapper((), options=BARE_OPTIONS).read(FoundMessage(payload, file.format))
        except ContentError:
            continue
        context = MapContext(channel="analyzer", timezone="Asia/Kolkata", settings=SETTINGS)
        found += _of(parsed, FoundMessage(payload, file.format), context)
    assert found == []


def _of(parsed: Parsed, message: FoundMessage, context: MapContext) -> list[str]:
    if parsed.structure not in program(reader_of(parsed.format)).structures:
        return []
    return differences(
        parsed,
        MapContext(
            channel=context.channel,
            key=KEY,
            timezone=context.timezone,
            settings=context.settings,
            namespaces=context.namespaces,
            specimen_ids=context.specimen_ids,
            patient_numbers=context.patient_numbers,
            received_at=own_time(parsed, context.timezone),
            payload_hash=hashlib.sha256(message.payload).hexdigest(),
        ),
    )
