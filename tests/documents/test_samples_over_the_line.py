"""The samples of each pack through the pack's own channel, as bytes on its line: they give what the file gives; a
damaged frame is no result; a wrong text is dead with its reason.

Captures of analyzers go the same way (`test_analyzer_packs.py`).
"""

import json
import re
from typing import Any

import pytest

from engine.config.pack import packs
from engine.runtime.build import BuiltChannel
from tests.support.astm_peer import cut_every, one_record_a_frame, session
from tests.support.packs import Told, channel_of, judged, payloads_of, received
from tests.support.samples import FOLDER, SampleFile, sample_files

PACKS = {pack.name for pack in packs()}
SAMPLES = [sample for sample in sample_files("hl7v2", "astm", "text") if sample.folder in PACKS]
each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
# One record a frame; frames of 240 characters, as E1381 has them at most; a frame for the message.
FRAMINGS = {
    "records": one_record_a_frame,
    "cut": lambda text: cut_every(text, 240),
    "whole": lambda text: cut_every(text, 64_000),
}


def payloads(built: BuiltChannel, sample: SampleFile) -> list[bytes]:
    found = payloads_of(built, sample.path.read_bytes())
    return found if sample.format == "text" else [b"".join(line + b"\r" for line in one.splitlines()) for one in found]


def on_the_line(built: BuiltChannel, sample: SampleFile, framing: str = "records") -> bytes:
    """As the analyzer sends it. A text of its own is framed in its file."""
    if sample.format == "text":
        ends = b"\x04" if sample.folder == "biomerieux-minividas" else b""  # of a session
        return sample.path.read_bytes() + ends
    if sample.format == "hl7v2":
        return b"".join(b"\x0b" + one + b"\x1c\r" for one in payloads(built, sample))
    return b"".join(session(*FRAMINGS[framing](one)) for one in payloads(built, sample))


def in_sevens(data: bytes) -> list[bytes]:
    return [data[at : at + 7] for at in range(0, len(data), 7)]


def results(found: list[Told]) -> list[Any]:
    """Each result: its code and what was measured, as it goes out."""
    values = ("valueQuantity", "valueString", "valueCodeableConcept", "dataAbsentReason", "status")
    return [
        json.dumps([one["code"], *(one.get(name) for name in values)], default=str)
        for message in found
        for one in message.all("Observation")
    ]


@each_sample
def test_a_sample_over_the_line_gives_the_same_as_its_file(sample: SampleFile) -> None:
    built = channel_of(sample.folder)
    of_file = [judged(built, one) for one in payloads(built, sample)]
    assert of_file
    for framing in FRAMINGS if sample.format == "astm" else ("",):
        messages, faults = received(built, in_sevens(on_the_line(built, sample, framing)))
        over_the_line = [judged(built, one) for one in messages]
        assert faults == [], framing
        assert [one.outcome for one in over_the_line] == [one.outcome for one in of_file], framing
        assert [one.results_in for one in over_the_line] == [one.results_in for one in of_file], framing
        assert results(over_the_line) == results(of_file), framing


@pytest.mark.parametrize("sample", [one for one in SAMPLES if one.format == "astm"], ids=lambda sample: sample.name)
def test_a_frame_with_a_changed_digit_is_no_result(sample: SampleFile) -> None:
    built = channel_of(sample.folder)
    data = on_the_line(built, sample)
    at = data.index(b"R|1|")
    digit = re.search(rb"[0-9]", data[at + 4 :])
    assert digit is not None
    at += 4 + digit.start()
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    messages, faults = received(built, in_sevens(changed))
    assert "bad-checksum" in {fault.kind for fault in faults}
    damaged = changed[changed.rindex(b"\x02", 0, at) + 2 : changed.index(b"\x03", at)]
    assert not any(damaged in one for one in messages)


@each_sample
def test_a_message_that_is_cut_off_is_no_message(sample: SampleFile) -> None:
    built = channel_of(sample.folder)
    data = on_the_line(built, sample)
    messages, _ = received(built, in_sevens(data[: len(data) * 2 // 3]))
    whole, _ = received(built, in_sevens(data))
    assert messages == whole[: len(messages)] != whole


WRONG = [
    ("roche_cobas_c111/01-chemistry.astm", (b"|N||F||$SYS$", b"|N||Z||$SYS$"), "UNMAPPED_STATUS"),
    ("abbott_m2000/01-below-limit.astm", (b"||||F||asha", b"||||Y||asha"), "UNMAPPED_STATUS"),
    ("siemens_dca_vantage/01-albumin-creatinine.astm", (b"mg/L||H||F|", b"mg/L||H||5.0|"), "UNMAPPED_STATUS"),
    ("siemens_clinitek/01-strip.hl7", (b"Negative||||||F", b"Negative||||||?"), "UNMAPPED_STATUS"),
    ("roche_cobas_pro/01-chemistry.hl7", (b"H^^HL70078|||F", b"H^^HL70078|||U"), "mapped"),
    # With the value that was sent before; dead where the journal knows none.
    (
        "roche_cobas_pro/01-chemistry.hl7",
        (b"|1|32.20|mg/L^^99ROC||H^^HL70078|||F", b"|1||mg/L^^99ROC||H^^HL70078|||U"),
        "mapped",
    ),
    ("cepheid_genexpert/02-error.astm", (b"^^^VL1^Xpert HIV-1 Viral Load XC^3^^|", b"|"), "NO_IDENTITY"),
    ("abbott_afinion_2/01-hba1c.astm", (b"|P|1|2026", b"|Q|1|2026"), "QUALITY_CONTROL"),
    ("siemens_dca_vantage/01-albumin-creatinine.astm", (b"|P||2026", b"|D||2026"), "NOT_PRODUCTION"),
    ("cepheid_genexpert/08-off-the-scale.astm", (b"L|1|N", b"L|1|E"), "SENDER_ABORTED"),
    ("arkray_spotchem_el/01-electrolytes.txt", (b"139", b"1\x7f9"), "UNREADABLE"),
    ("siemens_rapidlab_348/01-blood-gas.txt", (b"pH", b"p\x7f"), "UNREADABLE"),
    ("horiba_micros60/01-blood-count.astm", (b"H|\\^&", b"H||"), "UNREADABLE"),  # no delimiters declared
    ("horiba_micros60/01-blood-count.astm", (b"R|1|^^^WBC|", b"R|1||"), "NO_IDENTITY"),
]


@pytest.mark.parametrize(("name", "damage", "outcome"), WRONG)
def test_what_is_wrong_in_a_message_is_its_reason(name: str, damage: tuple[bytes, bytes], outcome: str) -> None:
    sample = SampleFile(FOLDER / name)
    built = channel_of(sample.folder)
    data = sample.path.read_bytes()
    assert damage[0] in data
    assert {judged(built, one).outcome for one in payloads_of(built, data)} == {"mapped"}
    assert {judged(built, one).outcome for one in payloads_of(built, data.replace(*damage))} == {outcome}
