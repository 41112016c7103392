"""Which results ring: what a message says of them decides, and not what becomes of it.

The sender's flag says that a value is critical (OBX-8, R-7: HH, LL, AA).
"""

from pathlib import Path
from typing import Any

import pytest

from engine.features.alerts.rows.reading import critical_values
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.running import ASTM, MLLP, Json, RunningSite, channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks
from tests.support.waiting import until

MAPPINGS = {
    ("oru", "fhir"): "hl7-results", ("oru", "csv"): "hl7-to-csv", ("oru", "json"): "hl7-to-json",
    ("oru", "abdm"): "abdm-report", ("oru", "raw"): "",
    ("oul", "fhir"): "hl7-oul-results", ("oul", "raw"): "",
    ("astm", "fhir"): "astm-results", ("astm", "hl7"): "astm-to-hl7", ("astm", "csv"): "astm-to-csv",
    ("astm", "json"): "astm-to-json", ("astm", "raw"): "",
}  # fmt: skip
ABDM = {"lab": "Lab", "hfr_id": "IN1", "hfr_system": "urn:hfr", "abha_system": "urn:abha", "abha": "later"}
SETTINGS: Json = {"control_numbers": ["LEVEL*"]}
CASES = {  # name -> flag, role of the specimen, its number, status; whether it rings
    "a patient's": ("HH", "P", "S1", "F", True),
    "a patient's, low": ("LL", "", "S2", "F", True),
    "abnormal words": ("AA", "", "S3", "F", True),
    "preliminary": ("HH", "", "S4", "P", True),
    "no flag": ("", "P", "S5", "F", False),
    "not critical": ("H", "P", "S6", "F", False),
    "a control": ("HH", "Q", "S7", "F", False),
    "a control by its number": ("HH", "", "LEVEL2", "F", False),
    "a blank": ("HH", "", "Background", "F", False),
    "withdrawn": ("HH", "P", "S8", "X", False),
}
OF_HL7 = {
    "a pool": ("HH", "L", "S9", "F", False),
    "a group": ("HH", "G", "S10", "F", False),
    "taken back": ("HH", "P", "S11", "D", False),
    "wrong": ("HH", "P", "S12", "W", False),
}


def oru(number: int, flag: str, role: str, tube: str, status: str) -> bytes:
    return (
        f"MSH|^~\\&|AN|LAB|LIS|H|2024030109{number:02}00||ORU^R01|M{number}|P|2.5.1\r"
        f"PID|1||MR{number}||Iyer^Meena||19550101|F\rOBR|1||{tube}|K^Potassium^L|||20240301090000\r"
        f"OBX|1|NM|K^Potassium^L||{number}.9|mmol/L||{flag}|||{status}|||20240301091500\r"
        f"SPM|1|{tube}||SER|||||||{role}||||||20240301090000\r"
    ).encode()


def oul(number: int, flag: str, role: str, tube: str, status: str) -> bytes:
    return (
        f"MSH|^~\\&|AN|LAB|LIS|H|2024030109{number:02}00||OUL^R22^OUL_R22|M{number}|P|2.5.1\r"
        f"PID|1||MR{number}||Iyer^Meena||19550101|F\rSPM|1|{tube}||SER|||||||{role}||||||20240301090000\r"
        f"OBR|1||{tube}|K^Potassium^L|||20240301090000\r"
        f"OBX|1|NM|K^Potassium^L||{number}.9|mmol/L||{flag}|||{status}|||20240301091500\r"
    ).encode()


def astm(number: int, flag: str, role: str, tube: str, status: str) -> bytes:
    return (
        f"H|\\^&|{number}||AN|||||||P|1|2024030109{number:02}00\rP|1||MR{number}||Iyer^Meena||19550101|F\r"
        f"O|1|{tube}||^^^K|R||20240301090000||||{role if role == 'Q' else ''}\r"
        f"R|1|^^^K|{number}.9|mmol/L||{flag}||{status}||||20240301091500\rL|1|N\r"
    ).encode()


WRITTEN = {"oru": oru, "oul": oul, "astm": astm}


def site_channel(source: str, *outputs: str) -> Json:
    routes = [{"mapping": MAPPINGS[source, one], "to": "files"} if one != "raw" else {"to": "files"} for one in outputs]
    settings = SETTINGS | (ABDM if "abdm" in outputs else {})
    return channel(ASTM if source == "astm" else MLLP, *routes, settings=settings)


async def send(site: RunningSite, source: str, message: bytes) -> None:
    before = len(site.messages())
    if source == "astm":
        played = await AstmAnalyzer(site.port("lab")).play(frames(*one_record_a_frame(message)))
        assert not played.gave_up
    else:
        (answer,) = await send_blocks(site.port("lab"), [message])
        assert lines(answer)["MSA"][1] == "AA"
    await until(lambda: len(site.messages()) > before)
    await site.settled()


def rung(site: RunningSite) -> list[bool]:
    """Of each message, whether it has."""
    found = {one.message for one in critical_values(site.journal)}
    return [one.id in found for one in site.messages()]


def folder(tmp_path: Path) -> Json:
    return {"files": {"kind": "file", "folder": str(tmp_path / "out")}}


@pytest.mark.parametrize(("source", "output"), MAPPINGS)
async def test_what_rings_is_the_same_whatever_goes_out(tmp_path: Path, source: str, output: str) -> None:
    cases = CASES | (OF_HL7 if source != "astm" else {})
    async with running_site(tmp_path / "site", {"lab": site_channel(source, output)}, folder(tmp_path)) as site:
        for number, (*case, _) in enumerate(cases.values(), 1):
            await send(site, source, WRITTEN[source](number, *case))
        heard = rung(site)
    assert dict(zip(cases, heard, strict=True)) == {name: case[-1] for name, case in cases.items()}


def said(site: RunningSite) -> list[str]:
    """The entries, in words."""
    return [one.phrase.say() for one in critical_values(site.journal)]


async def test_two_routes_and_what_is_sent_again_ring_once(tmp_path: Path) -> None:
    outputs = {"oru": ("fhir", "csv", "raw"), "astm": ("raw",)}
    for source, routes in outputs.items():
        site_folder, files = tmp_path / source, folder(tmp_path / source)
        async with running_site(site_folder, {"lab": site_channel(source, *routes)}, files) as site:
            message = WRITTEN[source](7, "HH", "", "S1", "F")
            await send(site, source, message)
            await send(site, source, message.replace(b"M7|P", b"M8|P").replace(b"|7||AN", b"|8||AN"))
            await send(site, source, message.replace(b"7.9|", b"8.9|"))
            assert rung(site) == [True, False, True], source
            untimed = message.replace(b"20240301091500", b"").replace(b"20240301090000", b"").replace(b"S1", b"S2")
            for number in (b"4", b"5"):  # the analyzer may count anew: they may be of two tubes
                again = untimed.replace(b"M7|P", b"M%b|P" % number).replace(b"|7||AN", b"|%b||AN" % number)
                await send(site, source, again.replace(b"09070", b"09%b0" % (number * 2)))
            assert rung(site)[3:] == [True, True], source


@pytest.mark.parametrize(("source", "output"), [(one, output) for one, output in MAPPINGS if output != "abdm"])
async def test_what_is_critical_no_more_is_said_under_its_entry(tmp_path: Path, source: str, output: str) -> None:
    async with running_site(tmp_path / "site", {"lab": site_channel(source, output)}, folder(tmp_path)) as site:
        first, other, corrected = (
            WRITTEN[source](7, *case) for case in (("HH", "", "S1", "F"), ("LL", "", "S2", "F"), ("N", "", "S1", "C"))
        )
        for message in (first, other):
            await send(site, source, message)
        ids = [one.id for one in site.messages()]
        await site.labrelay("alert", "acknowledge", f"critical/{ids[0]}", "--note", "phoned the ward")
        assert said(site) == [f"lab: message {ids[1]} has a critical value"]
        await send(site, source, corrected.replace(b"7.9|", b"4.1|"))
        third = site.messages()[-1].id
        assert said(site) == [
            f"lab: message {ids[0]} is critical no more: message {third} says another",
            f"lab: message {ids[1]} has a critical value",
        ]
        await send(site, source, corrected.replace(b"7.9|", b"4.2|"))  # it says nothing new of that
        assert said(site)[0].endswith(f"message {third} says another")


NEIGHBOURS = {
    "another order": ("N", "", "S9", "C"),
    "another test": ("N", "", "S1", "C", (b"K^Potassium", b"NA^Sodium")),
    "another patient": ("N", "", "S1", "C", (b"MR7", b"MR8"), (b"Iyer^Meena", b"Rao^Asha")),
    "a later run": ("N", "", "S1", "F", (b"20240301091500", b"20240301111500")),
    "it is critical still": ("HH", "", "S1", "C"),
}


@pytest.mark.parametrize("case", NEIGHBOURS.values(), ids=NEIGHBOURS)
async def test_what_stays_critical(tmp_path: Path, case: Any) -> None:
    flag, role, tube, status, *changes = case
    async with running_site(tmp_path / "site", {"lab": site_channel("oru", "raw")}, folder(tmp_path)) as site:
        await send(site, "oru", oru(7, "HH", "", "S1", "F"))
        later = oru(7, flag, role, tube, status)
        for before, after in changes:
            assert before in later
            later = later.replace(before, after)
        await send(site, "oru", later.replace(b"|M7|", b"|M9|"))
        assert said(site) == ["lab: message 1 has a critical value"]


async def test_a_correction_that_waits_for_a_person_ends_none_and_a_rejection_does(tmp_path: Path) -> None:
    lab = channel(MLLP, {"mapping": "hl7-results", "to": "files", "hold": [{"when": "=value > 5", "reason": "x"}]})
    async with running_site(tmp_path / "site", {"lab": lab}, folder(tmp_path)) as site:
        await send(site, "oru", oru(7, "HH", "", "S1", "F"))
        await send(site, "oru", oru(8, "H", "", "S1", "C").replace(b"MR8", b"MR7"))
        assert [site.end_of(one.id) for one in site.messages()] == ["held", "held"]
        assert said(site) == ["lab: message 1 has a critical value"]
        ran = await site.labrelay("held", "reject", "1", "--reason", "haemolysed", "--yes")
        assert ran.code == 0, ran.err
        assert said(site) == ["lab: message 1 is critical no more: a person has rejected it"]
