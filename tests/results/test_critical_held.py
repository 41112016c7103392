"""A critical value that is held: people hear of it first, without a word about the patient.

The sender's flag says that it is critical (OBX-8, R-7: HH, LL, AA).
"""

from itertools import count
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.alerts.service import Alerting
from engine.model.message import Document
from engine.monitoring.snapshot.states import Level
from engine.succession.critical import tells_critical
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.running import ASTM, RunningSite, astm_channel, channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks
from tests.support.waiting import until

CHANNELS = {"hl7": hl7_channel(), "astm": astm_channel()}
NUMBERS = count(1)


def block(order: str, status: str, value: str, flag: str) -> bytes:
    number = next(NUMBERS)
    at = f"20240301093{number % 10}00"
    return (
        f"MSH|^~\\&|AN|LAB|LIS|H|{at}||ORU^R01|M{number}|P|2.5.1\r"
        f"PID|1||MR{order}||Iyer^Meena||19550101|F\r"
        f"OBR|1||{order}|K^Potassium^L|||20240301090000|||||||||||||||{at}||LAB|{status}\r"
        f"OBX|1|NM|K^Potassium^L||{value}|mmol/L||{flag}|||{status}|||20240301091500\r"
    ).encode()


def records(order: str, status: str, value: str, flag: str, *, counted: str = "") -> list[bytes]:
    number = next(NUMBERS)
    told = (
        f"H|\\^&|{number}||AN|||||||P|1|20240301093000",
        f"P|1||MR{order}||Iyer^Meena||19550101|F",
        f"O|1|{order}|{counted}|^^^K|R||20240301090000||||N||||||||||||||F",
        f"R|1|^^^K|{value}|mmol/L||{flag}||{status}||||20240301091500",
        "L|1|N",
        "",
    )
    return one_record_a_frame("\r".join(told).encode())


async def send(site: RunningSite, channel: str, *told: str) -> None:
    if channel == "hl7":
        (answer,) = await send_blocks(site.port("hl7"), [block(*told)])
        assert lines(answer)["MSA"][1] == "AA"
    else:
        before = len(site.messages())
        played = await AstmAnalyzer(site.port("astm")).play(frames(*records(*told)))
        assert not played.gave_up
        await until(lambda: len(site.messages()) > before)
    await site.settled()


async def test_without_alerts_a_critical_value_is_on_the_list_until_a_person_takes_it(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"hl7": hl7_channel()}) as site:
        assert site.app.service(Alerting).config is None
        await send(site, "hl7", "F1", "F", "7.9", "HH")
        await site.settled()
    async with running_site(tmp_path, {"hl7": hl7_channel()}) as site:  # a start takes none

        async def listed() -> list[str]:
            return [entry["key"] for entry in (await site.labrelay("todo", "list", "-o", "json")).json["todo"]]

        assert "critical/1" in await listed()
        other = await site.labrelay("alert", "acknowledge", "critical/2")
        assert (other.code, "no alert critical/2 is open" in other.err) == (ExitCode.REFUSED, True)
        done = await site.labrelay("alert", "acknowledge", "critical/1", "--note", "phoned ward 3, read back")
        assert done.code == ExitCode.OK, done.err
        assert "critical/1" not in await listed()
        again = await site.labrelay("alert", "acknowledge", "critical/1")
        assert "no alert critical/1 is open" in again.err


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("channel", ["hl7", "astm"])
@pytest.mark.parametrize("flag", ["HH", "LL", "AA"])
async def test_a_critical_value_that_is_held_stands_first_everywhere(
    tmp_path: Path, channel: str, flag: str, large: bool
) -> None:
    async with running_site(tmp_path, CHANNELS, large=large) as site:
        await send(site, channel, "S1", "F", "4.4", "N")
        await send(site, channel, "S2", "F", "4.5", "N")
        await send(site, channel, "S1", "P", "777.9", flag)  # no second of a time ends so
        await send(site, channel, "S2", "P", "5.2", "H")
        critical, other = site.messages()[-2].id, site.messages()[-1].id

        listed = (await site.labrelay("held", "list", "-o", "json")).json["held"]
        assert [(one["message"], one["critical"]) for one in listed] == [(critical, True), (other, False)]
        table = await site.labrelay("held", "list", "--limit", "1")
        heading, first, *_ = table.out.splitlines()
        assert ("CRITICAL" in heading, str(critical) in first, "yes" in first) == (True, True, True)
        shown = await site.labrelay("held", "show", str(critical))
        assert "critical" in shown.out

        site.app.observer.expire()
        page = site.app.observer.snapshot()
        assert (page.overall().level, str(page.overall().phrase)) == (Level.PROBLEM, "Critical results held back: 1")
        (destination,) = page.destinations
        assert (destination.held, destination.held_critical) == (2, 1)
        told = (await site.labrelay("status")).out
        assert "Critical results held back: 1" in told
        offline = (await site.labrelay("status", "--offline", "-o", "json")).json["lanes"]
        assert sum(lane["held_critical"] for lane in offline) == 1
        for said in (table.out, shown.out, told, str(listed)):
            assert not any(word in said for word in ("Iyer", "Meena", "777.9", "MRS1", "19550101", "1955-01-01"))

        ran = await site.labrelay("held", "reject", str(critical), "--reason", "haemolysed", "--yes")
        assert ran.code == ExitCode.OK, ran.err
        site.app.observer.expire()
        assert site.app.observer.snapshot().destinations[0].held_critical == 0


@pytest.mark.parametrize(
    ("flags", "critical"),
    [("HH", True), ("LL^Critical low^HL70078", True), ("A~AA", True), ("H", False), ("", False), ("HHX", False)],
)
def test_flags_of_hl7_results(flags: str, critical: bool) -> None:
    body = f"MSH|^~\\&|L\rOBX|1|NM|K^^L||7.9|mmol/L||{flags}|||F\r".encode()
    assert tells_critical(Document(body=body)) is critical


@pytest.mark.parametrize(("status", "critical"), [("F", True), ("X", True), ("D", False), ("W", False)])
def test_no_withdrawal_rings(status: str, critical: bool) -> None:
    """X is a measurement that failed, too."""
    body = f"MSH|^~\\&|L\rOBX|1|NM|K^^L||7.9|mmol/L||HH|||{status}\r"
    assert tells_critical(Document(body=body.encode())) is critical
    assert tells_critical(Document(body=f"{body}OBX|1|NM|K^^L||7.9|mmol/L||LL|||F\r".encode()))


@pytest.mark.parametrize(
    ("number", "counted", "states"), [("", "977", [True]), ("S1", "977", [True]), ("977", "5", [True, False])], ids=str
)
async def test_a_count_of_the_analyzer_is_no_number_of_a_control_in_what_a_mapping_made(
    tmp_path: Path, number: str, counted: str, states: list[bool]
) -> None:
    """The mapping looks for controls in O-3 alone, and OBR-3 has the count where O-3 is empty."""
    settings = {"control_numbers": ["9*"], "instrument_specimens": "alone", "specimen_segment": "no"}
    route = {"mapping": "astm-to-hl7", "to": "files"}
    files = {"kind": "file", "folder": str(tmp_path / "out")}
    channels = {"astm": channel(ASTM, route, settings=settings)}
    async with running_site(tmp_path / "site", channels, {"files": files}) as site:
        for sent, (status, flag) in enumerate((("F", "N"), ("P", "HH")), 1):
            told = records(number, status, f"7.{sent}", flag, counted=counted)
            await AstmAnalyzer(site.port("astm")).play(frames(*told))
            await until(lambda sent=sent: len(site.messages()) == sent)
            await site.settled()
        listed = (await site.labrelay("held", "list", "-o", "json")).json["held"]
        assert [one["critical"] for one in listed] == states


def test_what_cannot_be_read_tells_nothing() -> None:
    for body in (b"a,b\r\n1,HH\r\n", b'{"resourceType": "Patient"}', b'{"flag": "HH"', b'{"resourceType": "HH"}'):
        assert not tells_critical(Document(body=body))
