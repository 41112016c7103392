"""From configuration to running parts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.model.process.clock import ManualClock
from engine.runtime.build import BuiltChannel, build_site, reassemble
from tests.support.astm_peer import one_record_a_frame, wire_frames
from tests.support.sites import make_site

CHANNELS = {
    "chem.yaml": """\
channel: chem
source: {kind: astm, listen: "127.0.0.1:0"%s}
routes:
  - to: archive
"""
}
FIRST = b"H|\\^&|1||XN\rP|1\rO|1|S1\rR|1|^^^WBC|5.1\rL|1|N\r"
SECOND = b"H|\\^&|2||XN\rP|1\rO|1|S2\rR|1|^^^WBC|6.1\rL|1|N\r"


def built(folder: Path, options: str = "") -> BuiltChannel:
    channels = {name: text % options for name, text in CHANNELS.items()}
    site = load_site(make_site(folder, channels=channels))
    return build_site(site, identity_key=bytes(32), clock=ManualClock()).channels["chem"]


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        ("Asia/Kolkata", "20260329062959+0530", "20260329063000+0530"),
        ("Europe/Berlin", "20260329015959+0100", "20260329030000+0200"),  # summer time begins
    ],
)
def test_an_answer_has_the_time_of_its_second_in_the_zone_of_the_channel(
    tmp_path: Path, zone: str, before: str, after: str
) -> None:
    clock = ManualClock(datetime(2026, 3, 29, 0, 59, 59, 400_000, UTC))
    source = f'timezone: {zone}\nsource: {{kind: mllp, listen: "127.0.0.1:0"}}'
    site = load_site(make_site(tmp_path, channels={"hl7.yaml": f"channel: hl7\n{source}\nroutes:\n  - to: archive\n"}))
    give = build_site(site, identity_key=bytes(32), clock=clock).channels["hl7"].answer
    assert give is not None
    message = b"MSH|^~\\&|A|B|||1||ORU^R01|1|P|2.5\r"
    times = []
    for _ in range(3):
        (answer,) = give(message, [message], stored=True, delivered=True)
        times.append(answer.split(b"|")[6].decode())
        clock.advance(0.4)
    assert times == [before, before, after]


def test_frames_of_a_cut_session_become_the_message_that_they_hold(tmp_path: Path) -> None:
    found = reassemble(built(tmp_path), "chem", one_record_a_frame(FIRST), 17)
    assert [(message.payload, message.control_id, message.received_us) for message in found.messages] == [
        (FIRST, "1", 17)
    ]
    assert found.rest is None


@pytest.mark.parametrize("first", [1, 4, 6], ids=lambda n: f"begins with frame {n}")
def test_frames_that_follow_a_message_of_the_same_session_are_read_whatever_their_numbers(
    tmp_path: Path, first: int
) -> None:
    """The message before them took the low numbers; what is left over is evidence as text, not as frames."""
    records = [(record + b"\r", "ETX") for record in SECOND.split(b"\r") if record]
    whole = reassemble(built(tmp_path), "chem", wire_frames(records, first), 17)
    assert [message.payload for message in whole.messages] == [SECOND]
    torn = reassemble(built(tmp_path / "2"), "chem", wire_frames(records[:3], first), 17)
    assert torn.messages == ()
    assert torn.rest is not None
    assert torn.rest.payload == b"H|\\^&|2||XN\rP|1\rO|1|S2\r"


def test_frames_of_a_channel_that_has_gone_are_left_to_the_journal(tmp_path: Path) -> None:
    found = reassemble(None, "chem", one_record_a_frame(FIRST), 17)
    assert (found.messages, found.rest) == ((), None)


@pytest.mark.parametrize(("key", "others"), [("O-3", False), ("O-19 | O-3 | '-'", True)])
def test_a_channel_whose_reports_are_known_by_other_numbers_is_known(tmp_path: Path, key: str, others: bool) -> None:
    mapping = (
        "mapping: results\nformat: labrelay-mapping/1\nfrom: astm/E1394\nto: fhir/R4\nsteps:\n"
        "  - each: PATIENT\n    do:\n      - each: ORDER\n        create: DiagnosticReport\n"
        f'        key: "=[{key}]"\n        body: {{status: final, code: {{text: report}}}}\n'
    )
    channels = {"chem.yaml": (CHANNELS["chem.yaml"] % "").replace("- to", "- mapping: results\n    to")}
    channels["raw.yaml"] = (CHANNELS["chem.yaml"] % "").replace("channel: chem", "channel: raw")
    site = load_site(make_site(tmp_path, channels=channels, mapping=mapping))
    built = build_site(site, identity_key=bytes(32), clock=ManualClock()).channels
    assert built["chem"].routes.has_other_numbers is others
    assert not built["raw"].routes.has_other_numbers


@pytest.mark.parametrize(
    ("source", "route", "faulty", "made"),
    [
        ("kind: astm", "to: archive", False, {"results-astm"}),
        ("kind: auto", "to: archive", False, {"results-astm", "results-hl7"}),
        ("kind: mllp", "{mapping: hl7-patients, to: archive}", False, {"hl7-patients"}),
        ("kind: astm", "to: archive", True, set()),
    ],
)
def test_what_reads_facts_is_made_for_results_alone_and_stops_no_start_where_it_is_wrong(
    tmp_path: Path, source: str, route: str, faulty: bool, made: set[str]
) -> None:
    channel = f'channel: one\nsource: {{{source}, listen: "127.0.0.1:0"}}\nroutes:\n  - {route}\n'
    folder = make_site(tmp_path, channels={"one.yaml": channel})
    if faulty:
        (folder / "mappings" / "results-astm.yaml").write_text("mapping: results-astm\n", encoding="utf-8")
    built = build_site(load_site(folder), identity_key=bytes(32), clock=ManualClock())
    built.made.make_readers()
    assert {program.name for program in built.programs} == made
