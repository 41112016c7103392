"""Controls of four makers through their packs: each of their results is a point, on every kind of route.

The samples are those of `samples/`; those of the corpus are read where it is there.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.model.message import Stored
from engine.model.routes import ChannelRoutes, Route
from engine.processing.process import process
from tests.support.corpus import CORPUS
from tests.support.packs import channel_of, payloads_of
from tests.support.shipped import program

SAMPLES = Path(__file__).parents[2] / "samples"
# test, number, level, lot, value, unit; the mark of a control
EXPECTED = {
    "horiba-yumizen-h500/01-quality-control.astm": [
        ("WBC", "PX440N", "", "", "7.1", "10E3/uL", "processing"),
        ("HGB", "PX440N", "", "", "12.0", "g/dL", "processing"),
    ],
    "mindray-bc5380/04-quality-control.hl7": [
        ("6690-2", "6", "M", "88231", "7.12", "10*9/L", "processing"),
        ("718-7", "6", "M", "88231", "121", "g/L", "processing"),
    ],
    "mindray-bs200/03-quality-control.hl7": [
        ("14", "CONTROL-N", "M", "LOT-17", "41.200000", "U/L", "processing"),
    ],
    "roche-cobas-6800/02-quality-control.hl7": [("70241-5", "HPC-0192", "", "", "", "", "role")],
    "roche-cobas-c111/03-quality-control.astm": [("413", "1300", "", "", "31.2", "g/L", "role")],
    "roche-cobas-c311/04-quality-control.astm": [("717/", "PCCC1", "", "", "5.60", "mmol/l", "role")],
    "roche-cobas-e411/02-quality-control.astm": [("8/1/not", "PCTSH", "", "", "1.51", "uIU/ml", "role")],
    "roche-cobas-pro/02-quality-control.hl7": [("20490", "PCCC2", "", "", "25.1", "mg/L", "role")],
    "siemens-dca-vantage/03-quality-control.astm": [("Alb", "CONTROL1", "", "", "31.2", "mg/L", "role")],
    "snibe-maglumi/01-immunoassay.astm": [("TSH II", "#31207044Q1#", "Q1", "31207044", "0.48", "uIU/mL", "number")],
    "snibe-maglumi/02-quality-control.astm": [("FT4 II", "#31207044Q2#", "Q2", "31207044", "3.92", "ng/dL", "number")],
}  # fmt: skip
NO_CONTROLS = ("mindray-bc5380/01-blood-count.hl7", "sysmex-xn/01-blood-count.astm", "roche-cobas-pro/01-chemistry.hl7")


# What a channel's own route makes of results -> the other documents that LabRelay has mappings for
DOCUMENTS = {
    "astm-results": {"HL7 v2": "astm-to-hl7", "CSV": "astm-to-csv", "JSON": "astm-to-json"},
    "hl7-results": {"CSV": "hl7-to-csv", "JSON": "hl7-to-json", "ABDM": "abdm-report"},
    "hl7-oul-results": {"CSV": "hl7-oul-to-csv", "JSON": "hl7-oul-to-json"},
}
OF_ABDM = {"lab": "City", "hfr_id": "IN1", "hfr_system": "urn:hfr", "abha_system": "urn:abha", "abha": "later"}
# As `sysmex-xn550-qc.astm` of the corpus writes them: a control by its number and role, and a blank.
SYSMEX = b"".join(
    b"H|\\^&|||    XN-550^00-19^14718^^^^BD634545||||||||E1394-97\rP|1||||^^|||U\r"
    b"O|1||1^1^%22s^B|^^^^WBC\\^^^^HGB|||||||%s||||||||||||||F\rR|1|^^^^%s^1|%s||N||F||||20181106093509\rL|1|N\r" % one
    for one in ((b"QC-82151403", b"Q", b"WBC", b"16.74|10*3/uL"), (b"BACKGROUNDCHECK", b"N", b"HGB", b"0.0|g/dL"))
)
SYSMEX_POINTS = [
    ("WBC", "QC-82151403", "", "", "16.74", "10*3/uL", "role"),
    ("HGB", "BACKGROUNDCHECK", "", "", "0.0", "g/dL", "role"),
]


def on_every_route(channel: ChannelRoutes) -> dict[str, ChannelRoutes]:
    """The channel with its own routes (FHIR), with each other document, with a copy of all as it came, with both, and
    with one that sends none."""
    copy = Route(when=None, program=None, to=("archive",))
    context = channel.context
    channel = replace(channel, context=replace(context, settings={**context.settings, **OF_ABDM}))
    (name,) = {route.program.name for route in channel.routes if route.program is not None}
    others = {kind: replace(copy, program=program(other)) for kind, other in DOCUMENTS[name].items()}
    return {
        "FHIR": channel,
        **{kind: replace(channel, routes=(route,)) for kind, route in others.items()},
        "copied": replace(channel, routes=(copy,)),
        "all": replace(channel, routes=(copy, *others.values(), *channel.routes)),
        "not wanted": replace(channel, routes=(replace(copy, filter=True, to=()),)),
    }


def told(payload: bytes, channel: ChannelRoutes) -> list[tuple]:
    """Its points. No document that a mapping makes has one of them."""
    stored = Stored(id=1, channel=channel.channel, seq=1, payload=payload, received_us=1_772_900_000_000_000)
    found = process(stored, channel)
    assert found.state != "dead", (found.reason, found.detail)
    made = b"".join(document.body for document, route in found.documents if route.program is not None)
    assert not [one.number for one in found.controls if one.number.encode() in made]
    return [(one.test, one.number, one.level, one.lot, one.value, one.unit, one.mark) for one in found.controls]


@pytest.mark.compiles
@pytest.mark.parametrize("name", EXPECTED)
def test_each_result_of_a_control_is_a_point_on_every_kind_of_route(name: str) -> None:
    pack, _, file = name.partition("/")
    payload = (SAMPLES / pack.replace("-", "_") / file).read_bytes()
    found = {kind: told(payload, one) for kind, one in on_every_route(channel_of(pack).routes).items()}
    assert found == dict.fromkeys(found, EXPECTED[name])


@pytest.mark.compiles
def test_so_is_each_of_a_sysmex() -> None:
    channel = channel_of("sysmex-xn")
    for payload, point in zip(payloads_of(channel, SYSMEX), SYSMEX_POINTS, strict=True):
        found = {kind: told(payload, one) for kind, one in on_every_route(channel.routes).items()}
        assert found == {kind: [point] for kind in found}


def test_four_makers_have_each_kind_of_document() -> None:
    """Of HL7 v2 there is the copy; over ASTM and as OUL there is no document of ABDM."""
    makers = {"sysmex": "sysmex-xn", "mindray": "mindray-bc5380", "roche": "roche-cobas-pro", "snibe": "snibe-maglumi"}
    walked = {pack.partition("/")[0] for pack in EXPECTED} | {"sysmex-xn"}
    assert set(makers.values()) <= walked
    kinds = {kind for pack in makers.values() for kind in on_every_route(channel_of(pack).routes)}
    assert kinds == {"FHIR", "HL7 v2", "CSV", "JSON", "ABDM", "copied", "all", "not wanted"}


@pytest.mark.compiles
@pytest.mark.parametrize("name", NO_CONTROLS)
def test_a_patients_result_is_none(name: str) -> None:
    pack, _, file = name.partition("/")
    payload = (SAMPLES / pack.replace("-", "_") / file).read_bytes()
    assert not any(told(payload, one) for one in on_every_route(channel_of(pack).routes).values())


@pytest.mark.compiles
def test_the_target_of_a_control_is_read_where_the_analyzer_sends_it() -> None:
    payload = (SAMPLES / "mindray_bs200" / "03-quality-control.hl7").read_bytes()
    stored = Stored(id=1, channel="bs", seq=1, payload=payload, received_us=1_772_900_000_000_000)
    (one,) = process(stored, channel_of("mindray-bs200").routes).controls
    assert (one.mean, one.sd, one.expires, one.codes) == ("40.000000", "2.000000", "20261231000000", ("14", "ALT"))


@pytest.mark.corpus
@pytest.mark.compiles
@pytest.mark.parametrize(
    ("pack", "file", "count", "number"),
    [
        ("sysmex-xn", "astm/sysmex-xn550-qc.astm", 29, "QC-82151403"),
        ("sysmex-xn", "astm/sysmex-xn350-background.astm", 5, "BACKGROUNDCHECK"),
        ("mindray-bc5380", "hl7-analyzers/mindray-bc5380-qc.hl7", 5, ""),
        ("snibe-maglumi", "field3/maglumi-qc-hash.astm", 1, "#"),
        ("snibe-maglumi", "field3/qc-hash-behind-patient.astm", 1, "#"),
    ],
)
def test_captured_controls_are_points_on_every_kind_of_route(pack: str, file: str, count: int, number: str) -> None:
    path, channel = CORPUS / file, channel_of(pack)
    for payload in payloads_of(channel, path.read_bytes()):
        found = {kind: told(payload, one) for kind, one in on_every_route(channel.routes).items()}
        assert len({str(one) for one in found.values()}) == 1
        assert len(found["FHIR"]) == count
        assert all(number in one[1] for one in found["FHIR"])


@pytest.mark.compiles
def test_a_control_is_a_point_also_where_no_route_takes_its_message() -> None:
    """The message is dead, and the control in it has failed or passed all the same."""
    payload = (SAMPLES / "roche_cobas_pro" / "02-quality-control.hl7").read_bytes()
    channel = channel_of("roche-cobas-pro").routes
    none = replace(channel, routes=tuple(replace(one, when=lambda parsed: False) for one in channel.routes))
    found = process(Stored(id=1, channel="pro", seq=1, payload=payload, received_us=1_772_900_000_000_000), none)
    assert (found.state, [one.number for one in found.controls]) == ("dead", ["PCCC2"])
