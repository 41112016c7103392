"""Only an accepted control keeps a test open: the forms in which an analyzer sends one that says nothing good.

Each scene is a test of its own with mean 1.00 and SD 0.10 mg/dL, in force since two days. Its control was accepted;
then comes the form of the scene, then a patient. On real sockets.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count, product
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.features.quality_control.rows import deciding, reading
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.controls import send
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, astm_channel, channel, running_site
from tests.support.senders import AstmAnalyzer
from tests.support.waiting import until

BY = {"actor": "Asha", "reason": "the insert"}
OUL = {"when": "=MSH-9.1 == 'OUL'", "mapping": "hl7-oul-results", "to": "lab-fhir"}
ZONE = ZoneInfo("Asia/Kolkata")  # of a site
NUMBERS = count(1)
NO_TIME = 10**6


class Form(NamedTuple):
    """A result of a control. ``ago``: minutes; `NO_TIME`: it says none. ``also``: values beside it, without a unit.
    ``hers``: OBX-3 of the patient's result, with the code of the test."""

    value: str = "1.02"
    unit: str = "mg/dL"
    flag: str = ""
    status: str = "F"
    number: str = "QC-1"
    role: str = "Q"
    ago: int = 40
    by: str = "ORU"
    also: str = ""
    hers: str = "{0}^{0}^L"


YEAR = 365 * 24 * 60
FAILED = ("QCF", "1-3s", "13S", "1_3s", "2-2s", "22S", "R-4s", "4-1s", "10x", "QC FAIL", "OUT", "H~1:3s")
CLOSES = {  # the form of the control after the accepted one -> the patient's result waits
    "a bound far above": Form(">20"),
    "a bound that says nothing": Form("<1.2"),
    "a bound with components": Form(">^20"),
    "a bound by ASTM": Form(">20", by="ASTM"),
    "dashes": Form("----"),
    "a word": Form("NEG"),
    "a decimal comma": Form("1,02"),
    "empty": Form(""),
    "not obtained": Form("", status="X"),
    "not obtained, with a number": Form(status="X"),
    "not obtained, by ASTM": Form("", status="X", by="ASTM"),
    "withdrawn": Form(status="W", ago=60),
    "deleted": Form('""', status="D", ago=60),
    "corrected": Form("1.60", status="C", ago=60),
    **{f"flagged {flag}": Form(flag=flag) for flag in FAILED},
    "off scale": Form("1.05", flag=">"),
    "an error of the analyzer": Form(flag="H~CalErr"),
    "an error by ASTM": Form(flag="R.ERR", by="ASTM"),
    "another unit": Form("90", unit="umol/L"),
    "another unit, the number fits": Form(unit="mmol/L"),
    "no unit": Form(unit=""),
    "another lot": Form(number="#77777Q1#"),
    "a number of no list": Form(number="QC-NEW"),
    "a lot without a target": Form(number="QC-2"),
    "an expired lot": Form(number="QC-3"),
    "late": Form("----", ago=8 * 60),
    "no time": Form("1.60", ago=NO_TIME),
    "a clock of last year": Form("1.60", ago=YEAR),
    "a clock before the target": Form("1.60", ago=3 * 24 * 60),
    "an error beside the number": Form(also="INVALID", unit="mg/dL"),
    "dashes beside the number": Form(also="----"),
    "the patient has its code behind that of LOINC": Form("1.60", hers="2160-0^Creatinine^LN^{}^Crea^L"),
    "the patient has its code behind another one": Form("1.60", by="OUL", hers="CREA^Crea^L^{}^Crea^L"),
    "expected NEG": Form("POS", unit=""),
    "expected NEG, empty": Form("", unit=""),
}
STAYS = {
    "accepted": Form("1.01"),
    "out of the range of patients": Form("1.19", flag="H"),
    **{f"flagged {flag}": Form(flag=flag) for flag in ("N", "A", "*", "1-2s", "7T", "L~1-2s")},
    "another spelling of the unit": Form(unit="mg/dl"),
    "a clock of last year": Form("1.01", ago=YEAR),
    "a clock before the target": Form("1.01", ago=3 * 24 * 60),
    "still to come": Form("", status="I"),
    "final now": Form("", status="U", ago=60),
    "sent again": Form(ago=60),
    "a proficiency test": Form("1.70", number="PT-1", role="F"),
    "a word beside the number": Form(also="NORMAL"),
    "never had a target": Form(">20"),
    "the patient has its code behind another one": Form("1.01", hers="CREA^Crea^L^{}^Crea^L"),
    "expected NEG": Form("NEG", unit=""),
    "expected NEG, coded": Form("NEG^Negative^L", unit=""),
    "expected NEG, below the scale": Form("NEG", unit="", flag="<"),
}


def time_of(ago: int) -> str:
    return "" if ago == NO_TIME else f"{datetime.now(ZONE) - timedelta(minutes=ago):%Y%m%d%H%M%S}"


def message_of(test: str, form: Form, patient: str = "") -> bytes:
    number, at = f"M{next(NUMBERS)}", time_of(form.ago)
    role = "" if patient else form.role
    kind = "SN" if form.value.startswith(">^") else "NM"
    code = form.hers.format(test)
    more = f"OBX|2|ST|{test}^{test}^L||{form.also}||||||F|||{at}\r" if form.also else ""
    result = f"OBX|1|{kind}|{code}||{form.value}|{form.unit}||{form.flag}|||{form.status}|||{at}\r{more}"
    order = f"OBR|1||{form.number}|CHEM^Chemistry^L|||{at}\r"
    if form.by == "ASTM":
        person = f"P|1||{patient}||Iyer^Meena||19550101|F\r" if patient else "P|1\r"
        said = f"O|1|{form.number}||^^^{test}|R||||||{role}\r"
        row = f"R|1|^^^{test}|{form.value}|{form.unit}||{form.flag}||{form.status}||||{at}\r"
        return f"H|\\^&|{number}||AN|||||||P|1|{time_of(0)}\r{person}{said}{row}L|1|N\r".encode()
    head = f"MSH|^~\\&|AN|LAB|LIS|H|{time_of(0)}||{{}}|{number}|P|2.5.1\r"
    person = f"PID|1||{patient}||Iyer^Meena||19550101|F\r" if patient else ""
    specimen = f"SPM|1|{form.number}||SER|||||||{role or 'P'}\r"
    if form.by == "OUL":
        return f"{head.format('OUL^R22^OUL_R22')}{person}{specimen}{order}{result}".encode()
    return f"{head.format('ORU^R01^ORU_R01')}{person}{order}{result}{specimen}".encode()


async def send_form(site: RunningSite, test: str, form: Form, patient: str = "") -> int:
    sent = message_of(test, form, patient)
    if form.by != "ASTM":
        (one,) = await send(site, sent)
        return one
    before = len(site.messages("astm"))
    assert not (await AstmAnalyzer(site.port("astm")).play(frames(*one_record_a_frame(sent)))).gave_up
    await until(lambda: len(site.messages("astm")) > before)
    await site.settled()
    return site.messages("astm")[-1].id


def targets_of(scenes: Sequence[tuple[str, str, Form]]) -> list[TargetRow]:
    rows = []
    for test, name, form in scenes:
        known = ("", "NEG", "") if name.startswith("expected NEG") else ("mg/dL", "1.00", "0.10")
        if not name.startswith("never"):
            rows.append(TargetRow("astm" if form.by == "ASTM" else "chem", "", test, "L1", "A7", *known, "lab"))
            rows.append(rows[-1]._replace(lot="OLD"))
    return rows


async def set_up(site: RunningSite, scenes: Sequence[tuple[str, str, Form]]) -> None:
    numbers = {"QC-1": ("L1", "A7", ""), "QC-2": ("L1", "B8", ""), "QC-3": ("L1", "OLD", "2020-01-31")}
    lots = [Lot(to, number, "Chemtrol", *of) for to in ("chem", "astm") for number, of in numbers.items()]
    await site.journal.run(deciding.load, lots, targets_of(scenes), file="controls.csv", **BY)
    since = int((datetime.now(ZONE) - timedelta(days=2)).timestamp() * 1e6)
    ids = [one.id for one in reading.list_targets(site.journal)]
    await site.journal.run(deciding.accept, ids, IN_FORCE, since, **BY)


def state_of(site: RunningSite, message: int) -> str:
    (delivery,) = site.deliveries(message)
    return f"{delivery.state} {delivery.cause}".strip()


async def test_only_an_accepted_control_keeps_a_test_open(tmp_path: Path) -> None:
    scenes = [(f"T{n}", name, form) for n, (name, form) in enumerate((*CLOSES.items(), *STAYS.items()))]
    shut = {test for test, _, _ in scenes[: len(CLOSES)]}
    found, wanted = {}, {}
    channels = {"chem": channel(MLLP, HL7_ROUTE, OUL), "astm": astm_channel()}
    async with running_site(tmp_path, channels) as site:
        await set_up(site, scenes)
        for test, name, form in scenes:
            good = Form("NEG" if name.startswith("expected NEG") else "1.02", "" if "NEG" in name else "mg/dL")
            await send_form(site, test, good._replace(by=form.by, ago=60))
            await send_form(site, test, form._replace(hers=Form().hers))
            hers = Form("0.9", number=f"S{test}", ago=5, by=form.by, hers=form.hers)
            sent = await send_form(site, test, hers, patient=f"P{test}")
            found[f"{test} {name}"] = state_of(site, sent)
            wanted[f"{test} {name}"] = "held CONTROL_FAILED" if test in shut else "delivered"
        assert found == wanted
        todo = (await site.labrelay("todo", "list", "-o", "json")).json["todo"]
        told = [one for one in todo if one["key"].startswith("control-failed/")]
        levels = [one["level"] for one in told]  # of the rule `control`, whose alert is sent at once
        assert levels == ["problem"] * len(shut)

        for test, name, form in scenes[: len(CLOSES)]:
            good = Form("NEG", "") if name.startswith("expected NEG") else Form()
            await send_form(site, test, good._replace(by=form.by, ago=-5))  # behind what is judged by its receipt
        failures = reading.list_failures(site.journal)
        assert [one.test for one in failures if not one.repeat] == []
        for one in failures:
            await site.journal.run(deciding.open_test, one.id, cause="air", action="primed", **BY)
        assert not [one for one in reading.list_failures(site.journal) if not one.until_us]


async def test_a_control_that_cannot_be_read_is_a_dead_letter_and_closes_its_test(tmp_path: Path) -> None:
    """No mapping says what its status means."""
    channels = {"chem": channel(MLLP, HL7_ROUTE, OUL), "astm": astm_channel()}
    async with running_site(tmp_path, channels) as site:
        ways = {"A": "ORU", "B": "OUL", "C": "ASTM", "D": "ORU"}
        await set_up(site, [(test, "never" if test == "D" else "", Form(by=by)) for test, by in ways.items()])
        ends = [site.end_of(await send_form(site, test, Form(status="Z", by=by))) for test, by in ways.items()]
        assert ends == ["UNMAPPED_STATUS"] * 4
        hers = [await send_form(site, test, Form("0.9", number=f"S{test}", ago=5, by=by), patient=f"P{test}")
                for test, by in ways.items()]  # fmt: skip
        assert [state_of(site, one) for one in hers] == ["held CONTROL_FAILED"] * 3 + ["delivered"]


async def test_a_control_on_another_connection_of_the_analyzer_closes_its_tests(tmp_path: Path) -> None:
    """On either of the two; and no other channel's."""
    own = {"controls_of": "chem"}
    channels = {
        "chem": channel(MLLP, HL7_ROUTE),
        "results": channel(MLLP, HL7_ROUTE, **own),
        "astm": astm_channel(**own),
        "other": channel(MLLP, HL7_ROUTE),
    }
    scenes = [(test, "", Form()) for test in ("A", "B", "C")]
    async with running_site(tmp_path, channels) as site:
        await set_up(site, scenes)

        async def measured(test: str, to: str) -> str:
            (hers,) = await send(site, message_of(test, Form(number=f"S{to}{test}", ago=5), f"P{to}{test}"), channel=to)
            return state_of(site, hers)

        await send_form(site, "A", Form("1.60"))
        await send_form(site, "B", Form("1.60", by="ASTM"))
        await send_form(site, "C", Form())
        found = {(test, to): await measured(test, to) for test in "ABC" for to in ("chem", "results", "other")}
        assert {one for one in found if found[one] == "held CONTROL_FAILED"} == {*product("AB", ("chem", "results"))}
        assert {one.channel for one in reading.list_failures(site.journal)} == {"chem"}
