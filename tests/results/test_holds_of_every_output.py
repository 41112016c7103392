"""Which results a rule holds: what a message says of them decides, and not what becomes of it."""

from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from tests.results.test_critical_values import ABDM, MAPPINGS, folder, rung, send
from tests.support.command_line import labrelay
from tests.support.running import (
    ASTM,
    MLLP,
    Json,
    RunningSite,
    Sandbox,
    channel,
    make_running_site,
    running_app,
    running_site,
)

RULES: list[Json] = [
    {"when": "=code == 'K' and value > 7", "reason": "high"},
    {"when": "=flags in ['HH', 'LL', 'AA']", "reason": "flagged"},
    {"when": "=(abs(delta('7d')) | 0) > 2", "reason": "jump"},
    {"when": "=text == 'clotted'", "reason": "clot"},
    {"when": "=value and value < 1", "reason": "low"},
    {"when": "=known(low) and known(value) and value < low and unit != 'g/L'", "reason": "below"},
    {"when": "=code == 'NA' and delta('7d') > 5", "reason": "sodium"},
    {"when": "=sex == 'male' and age < 18 and status == 'preliminary'", "reason": "child"},
]
NO_PAST = "cannot be decided, delta('7d'): no earlier value of this patient with this code and unit in that time"
NO_NUMBER = "cannot be decided, value: the result is no number"
# name -> what the message says beside the usual; the cause and the words, or nothing
CASES: dict[str, tuple[Json, str]] = {
    "the first": ({"value": "4.0"}, ""),
    "high, and a jump": ({"value": "7.9", "flag": "H"}, "HELD_BY_RULE: high (K); jump (K)"),
    "a flag": ({"value": "4.2", "flag": "HH"}, "HELD_BY_RULE: flagged (K)"),
    "words": ({"value": "clotted", "kind": "ST", "flag": ""}, f"HELD_BY_RULE: high: {NO_NUMBER} (K); clot (K)"),
    "a bound": ({"value": "<0.5"}, "HELD_BY_RULE: low (K); below (K)"),
    "below its range": ({"value": "3.0"}, "HELD_BY_RULE: below (K)"),
    "a control": ({"value": "9.9", "flag": "HH", "role": "Q"}, ""),
    "held values are no earlier ones": ({"value": "4.3"}, ""),
    "nothing before it": ({"test": "NA", "value": "140", "range": ""}, f"HOLD_UNDECIDED: sodium: {NO_PAST} (NA)"),
    "a child": ({"value": "4.4", "patient": "MR2", "sex": "M", "born": "20200101", "status": "P"},
                "HELD_BY_RULE: child (K)"),
    "a correction": ({"value": "4.1", "like": 1, "status": "C"}, ""),
}  # fmt: skip
RELEASED = "high, and a jump"
AFTER: Json = {"value": "4.5", "like": 3}  # measured next: 7.9 is the value before


def message(source: str, number: int, said: Json) -> bytes:
    usual = {"test": "K", "kind": "SN" if "<" in said["value"] else "NM", "flag": "", "role": "", "patient": "MR1"}
    one: dict[str, Any] = {**usual, "sex": "F", "born": "19550101", "status": "F", "range": "3.5-5.1", **said}
    at = one.get("like", number)
    tube, taken, measured = f"S{at}", f"2024030109{at:02}00", f"202403{one.get('day', 1):02}10{at:02}00"
    if source == "astm":
        return (
            f"H|\\^&|{number}||AN|||||||P|1|2024030111{number:02}00\r"
            f"P|1||{one['patient']}||Iyer^Meena||{one['born']}|{one['sex']}\r"
            f"O|1|{tube}||^^^{one['test']}|R||{taken}||||{one['role']}\r"
            f"R|1|^^^{one['test']}|{one['value']}|mmol/L|{one['range']}|{one['flag']}||{one['status']}||||{measured}\r"
            "L|1|N\r"
        ).encode()
    value = one["value"].replace("<", "<^")
    head = f"MSH|^~\\&|AN|LAB|LIS|H|2024030111{number:02}00||"
    person = f"PID|1||{one['patient']}||Iyer^Meena||{one['born']}|{one['sex']}\r"
    order = f"OBR|1||{tube}|PANEL^Panel^L|||{taken}\r"
    result = f"OBX|1|{one['kind']}|{one['test']}^x^L||{value}|mmol/L|{one['range']}|{one['flag']}|||{one['status']}"
    result += f"|||{measured}\r"
    specimen = f"SPM|1|{tube}||SER|||||||{one['role']}||||||{taken}\r"
    if source == "oul":
        return f"{head}OUL^R22^OUL_R22|M{number}|P|2.5.1\r{person}{specimen}{order}{result}".encode()
    return f"{head}ORU^R01|M{number}|P|2.5.1\r{person}{order}{result}{specimen}".encode()


async def held(site: RunningSite, *arguments: str) -> Any:
    ran = await site.labrelay("held", *arguments, "-o", "json")
    assert ran.code == ExitCode.OK, ran.err
    await site.settled()
    return ran.json


async def why(site: RunningSite) -> list[str]:
    """Of each message, why it is held; empty: it is not."""
    rows = {row["message"]: f"{row['code']}: {row['why']}" for row in (await held(site, "list"))["held"]}
    return [rows.get(one.id, "") for one in site.messages()]


@pytest.mark.parametrize(("source", "output"), MAPPINGS)
async def test_a_rule_holds_the_same_in_the_same_words(tmp_path: Path, source: str, output: str) -> None:
    name = MAPPINGS[source, output]
    route: Json = {"to": "files", "hold": RULES} | ({"mapping": name} if name else {})
    settings = ABDM if output == "abdm" else {}
    lab = channel(ASTM if source == "astm" else MLLP, route, settings=settings)
    async with running_site(tmp_path / "site", {"lab": lab}, folder(tmp_path)) as site:
        for number, (said, _) in enumerate(CASES.values(), 1):
            await send(site, source, message(source, number, said))
        found = await why(site)
        released = [one.id for one in site.messages()][list(CASES).index(RELEASED)]
        await held(site, "release", str(released), "--reason", "seen", "--yes")
        await send(site, source, message(source, len(CASES) + 1, AFTER))
        last = (await why(site))[-1]
    assert dict(zip(CASES, found, strict=True)) == {name: text for name, (_, text) in CASES.items()}
    assert last == "HELD_BY_RULE: jump (K)"


@pytest.mark.parametrize(("source", "output"), [("oru", "fhir"), ("oru", "raw"), ("oul", "raw"), ("astm", "raw")])
async def test_what_is_corrected_on_the_next_day_is_no_earlier_value(tmp_path: Path, source: str, output: str) -> None:
    name = MAPPINGS[source, output]
    route: Json = {"to": "files", "hold": RULES} | ({"mapping": name} if name else {})
    said: list[Json] = [{"value": "4.0"}, {"value": "5.5"}, {"value": "6.5", "like": 2, "day": 2, "status": "C"}]
    lab = channel(ASTM if source == "astm" else MLLP, route)
    async with running_site(tmp_path / "site", {"lab": lab}, folder(tmp_path)) as site:
        for number, one in enumerate(said, 1):
            await send(site, source, message(source, number, one))
        assert await why(site) == ["", "", "HELD_BY_RULE: jump (K)"]


@pytest.mark.parametrize(
    ("source", "output", "said", "tests"),
    [
        ("astm", "fhir", {}, b"QC1\\^^^"),
        ("astm", "raw", {}, b"QC1\\^^^"),
    ],
)
async def test_what_is_sent_is_asked_about(tmp_path: Path, source: str, output: str, said: Json, tests: bytes) -> None:
    """Several tests of which one has the code of a control's order are sent."""
    rule: Json = {"when": "=code == 'K' and value > 7", "reason": "high"}
    name = MAPPINGS[source, output]
    route: Json = {"to": "files", "hold": [rule]} | ({"mapping": name} if name else {})
    lab = channel(ASTM if source == "astm" else MLLP, route, settings={"control_orders": ["QC*"]})
    given = message(source, 1, {"value": "7.9", **said}).replace(b"||^^^K|", b"||^^^" + tests + b"K|")
    async with running_site(tmp_path / "site", {"lab": lab}, folder(tmp_path)) as site:
        await send(site, source, given)
        assert await why(site) == ["HELD_BY_RULE: high (K)"]


@pytest.mark.parametrize(("source", "output"), [(one, output) for one, output in MAPPINGS if one != "astm"])
async def test_an_answer_at_order_entry_is_asked_about(tmp_path: Path, source: str, output: str) -> None:
    """Nobody measured it (OBX-29): it is held as a result is, and no critical value."""
    rule: Json = {"when": "=code == 'K' and value > 7", "reason": "high"}
    name = MAPPINGS[source, output]
    route: Json = {"to": "files", "hold": [rule]} | ({"mapping": name} if name else {})
    said = message(source, 1, {"value": "7.9", "flag": "HH"})
    beside = message(source, 1, {"value": "140", "test": "NA"})
    end = said.index(b"\rOBX") + 1
    asked = said[end:].split(b"\r")[0]
    given = said.replace(asked, asked + b"|" * 15 + b"QST\r" + beside[beside.index(b"\rOBX") + 1 :].split(b"\r")[0])
    lab = channel(MLLP, route, settings=ABDM if output == "abdm" else {})
    async with running_site(tmp_path / "site", {"lab": lab}, folder(tmp_path)) as site:
        await send(site, source, given)
        assert await why(site) == ["HELD_BY_RULE: high (K)"]
        assert rung(site) == [False]


OWN_TABLE = "code,unit_in,loinc,display\nK,mmol/L,2823-3,Potassium\n"
OWN_MAPPING = """
mapping: own
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
bundle: transaction
policies: {unread_segment: ignore}
tables:
  mine: {csv: tables/mine.csv, key: [code, unit_in]}
steps:
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            let: {row: "=lookup('mine', OBX-3.1, OBX-6.1)", number: "=decimal(OBX-5)"}
            create: Observation
            key: =[OBR-3.1 | '-', OBX-3.1 | '-']
            body:
              status: =lookup('0085', OBX-11)
              code: {coding: {system: "http://loinc.org", code: =row.loinc}}
              valueQuantity: =quantity(number, row, OBX-6)
"""


def with_own_table(site: Path) -> None:
    (site / "mappings/tables").mkdir(parents=True)
    (site / "mappings/tables/mine.csv").write_text(OWN_TABLE)
    (site / "mappings/own.yaml").write_text(OWN_MAPPING)


async def test_what_a_mapping_of_the_site_writes_is_asked_about(tmp_path: Path) -> None:
    """It may have codes that no reader of LabRelay knows."""
    with_own_table(tmp_path / "site")
    rule: Json = {"when": "=code == '2823-3' and value > 7", "reason": "high"}
    route: Json = {"to": "files", "hold": [rule], "mapping": "own"}
    make_running_site(tmp_path / "site", {"lab": channel(MLLP, route)}, folder(tmp_path))
    async with running_app(tmp_path / "site", own_tables=True) as app:
        site = RunningSite(tmp_path / "site", app, Sandbox())
        given = message("oru", 1, {"value": "7.9"})
        await send(site, "oru", given)
        assert await why(site) == ["HELD_BY_RULE: high (2823-3)"]
        (tmp_path / "k.hl7").write_bytes(given)
        ran = await site.labrelay("map", "--channel", "lab", str(tmp_path / "k.hl7"))
        assert "would be held: HELD_BY_RULE: high (2823-3)" in ran.err


async def test_what_a_mapping_of_the_site_would_write_is_asked_about(tmp_path: Path) -> None:
    with_own_table(tmp_path / "site")
    rule: Json = {"when": "=code == '2823-3' and value > 7", "reason": "high"}
    route: Json = {"to": "files", "hold": [rule], "mapping": "hl7-results"}
    async with running_site(tmp_path / "site", {"lab": channel(MLLP, route)}, folder(tmp_path)) as site:
        await send(site, "oru", message("oru", 1, {"value": "7.9"}))
        assert await why(site) == [""]
        own = str(tmp_path / "site/mappings/own.yaml")
        chosen = ("--channel", "lab", "--since", "1h", "--mapping-from", own, "--apply", "--reason", "own", "--yes")
        await site.labrelay("reprocess", *chosen)
        await site.settled()
        assert await why(site) == ["HELD_BY_RULE: high (2823-3)"]


def test_tables_that_the_facts_cannot_be_read_with_stop_the_check(tmp_path: Path) -> None:
    """Else the rules would be asked about other codes than the tables have."""
    (tmp_path / "mappings/tables").mkdir(parents=True)
    (tmp_path / "mappings/tables/mine.csv").write_text("code,loinc,display\nK,2823-3,Potassium\n")
    route: Json = {"to": "files", "hold": "=code == '2823-3' and value > 7"}
    lab = channel(MLLP, route, settings={"tables": {"analytes": "tables/mine.csv"}})
    make_running_site(tmp_path, {"lab": lab}, folder(tmp_path))
    ran = labrelay("check", site=tmp_path)
    assert (ran.code, "mine.csv:1:1: key column 'unit_in' is missing" in ran.out) == (ExitCode.CONFIG, True), ran.out
