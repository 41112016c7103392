"""A time that cannot be is used for nothing: not in a document, not to part samples, not to sort. Until a person has
released a result of that clock each one is held; in one process and without sockets.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.succession.judge import clock
from tests.histories.beside import ZONE
from tests.histories.samples.site import ABDM
from tests.results.test_judged_by_place import BOTH, NOON, Desk, desk
from tests.results.test_judged_in_time import said_of
from tests.support.running import HL7_ROUTE, MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from workbench.sandbox import Sandbox

TODAY, LAST_YEAR, TO_COME = "20260301", "20250301", "20260321"
TIMES = ("MSH-7", "OBX-14", "OBR-7", "SPM-17", "OBR-22", "R-13", "R-12", "O-8", "O-23")
HELD, SENT = "CLOCK", "delivered"


@pytest.fixture(autouse=True)
def half_a_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "OLD", timedelta(days=182))  # tests have a longer one


@contextmanager
def clocks(folder: Path, mapping: str | None, *, astm: bool = False, **more: Any) -> Iterator[Desk]:
    """A channel ``hl7`` or ``astm`` with one output. ``mapping``: None: a copy."""
    route = {"to": "out1"} if mapping is None else {"mapping": mapping, "to": "out1"}
    if mapping == "abdm-report":
        more["settings"] = ABDM
    with desk(folder, route, own=BOTH if mapping == "own" else "", is_astm=astm, **more) as it:
        yield it


def time_of(day: str, hour: str, number: int) -> str:
    return f"{day}{hour}{number:02}00" if len(day) == len(TODAY) else day  # a month or a year alone


def oru(number: int, day: str, *fields: str, result: str = "F K 4.1", order: str = "", hour: str = "10") -> bytes:
    """One result of an order of its own; ``fields``: those with the day of the wrong clock; others have today's."""
    at = {name: time_of(day if name in fields else TODAY, hour, number) for name in TIMES}
    status, test, text = result.split()
    kind = "OUL^R22" if {"SPM-17", "OUL"}.intersection(fields) else "ORU^R01"
    issued = "|" * 15 + at["OBR-22"] + "||LAB|F"
    drawn = at["OBR-7"].replace("1000", "0900") if "OBR-7" in fields else ""
    lines = [
        f"MSH|^~\\&|AN|LAB|LIS|H|{at['MSH-7']}||{kind}|M{number}|P|2.5.1",
        f"PID|1||47{order or number}^^^HOSP^MR||Iyer^Meena||19550101|F",
        *([f"SPM|1|T{number}||SER^Serum|||||||P||||||{at['SPM-17']}"] if kind == "OUL^R22" else []),
        f"OBR|1||S{order or number}|CHEM^Panel^L|||{drawn}{issued}",
        f"OBX|1|NM|{test}||{text}|mmol/L|||||{status}|||{at['OBX-14'] if 'none' not in fields else ''}",
    ]
    return "\r".join([*lines, ""]).encode()


def astm(number: int, day: str, *fields: str, result: str = "F K 4.1", hour: str = "10") -> bytes:
    at = {name: time_of(day if name in fields else TODAY, hour, number) for name in TIMES}
    status, test, text = result.split()
    begins, drawn, issued = (at[name] if name in fields else "" for name in ("R-12", "O-8", "O-23"))
    lines = [
        f"H|\\^&|||AN^1|||||||P|E1394-97|{TODAY}{hour}{number:02}30",
        f"P|1||47{number}||Iyer^Meena||19550101|F",
        f"O|1|S{number}||^^^{test}|||{drawn}|||||||||||||||{issued}|||F",
        f"R|1|^^^{test}|{text}|mmol/L|||||{status}|||{begins}|{at['R-13']}".replace("|||||" + status, "||||" + status),
        "L|1|N",
    ]
    return "\r".join([*lines, ""]).encode()


def says(desk: Desk, content: bytes, minutes: int = 0) -> str:
    desk.told += 1
    name = next(iter(desk.routes))
    desk.last = desk.say(name, content, NOON + timedelta(minutes=desk.told + minutes))
    return " ".join(dict.fromkeys(desk.ended()))


OUTPUTS = [
    (astm_sent, mapping, fields)
    for astm_sent, mapping, fields in [
        (False, "hl7-results", ("OBX-14",)), (False, "hl7-results", ("OBX-14", "OBR-7")),
        (False, "hl7-results", ("OBX-14", "OBR-7", "OBR-22")), (False, "hl7-results", ("OBR-7", "none")),
        (False, "hl7-to-csv", ("OBX-14", "OBR-7", "OBR-22")), (False, "hl7-to-json", ("MSH-7", "OBX-14", "OBR-22")),
        (False, "own", ("OBX-14", "OBR-7")), (False, "abdm-report", ("MSH-7", "OBX-14", "OBR-7", "OBR-22")),
        (False, "hl7-oul-results", ("OBX-14", "SPM-17")), (False, "hl7-oul-to-json", ("MSH-7", "OBX-14", "SPM-17")),
        (False, "hl7-oul-to-csv", ("OBX-14", "SPM-17")),
        (True, "astm-results", ("R-13",)), (True, "astm-results", ("R-12", "R-13", "O-8")),
        (True, "astm-to-csv", ("R-13", "O-8")), (True, "astm-to-json", ("R-12", "R-13")),
        (True, "astm-to-hl7", ("R-13", "O-8")),
    ]
]  # fmt: skip


@pytest.mark.parametrize(
    "day", [LAST_YEAR, TO_COME, "20000101", "2000", "202612"], ids=["behind", "ahead", "reset", "year", "month"]
)
@pytest.mark.parametrize(("is_astm", "mapping", "fields"), OUTPUTS, ids=lambda one: str(one))
def test_each_is_held_until_a_person_has_released_one_and_no_document_has_the_time(
    tmp_path: Path, day: str, is_astm: bool, mapping: str, fields: tuple[str, ...]
) -> None:
    made = astm if is_astm else oru
    with clocks(tmp_path, mapping, astm=is_astm) as desk:
        assert [says(desk, made(number, day, *fields)) for number in (1, 2, 3)] == [HELD] * 3
        desk.decide("release", first := desk.last)
        assert says(desk, made(4, day, *fields)) == SENT
        for message in (first, desk.last):
            desk.last = message
            (document,) = desk.documents()
            assert not [time for time in times_in(document) if time.replace("-", "")[:8] != TODAY], document
            assert mapping == "own" or f"a time that cannot be right; it was left out: {day}" in document
            assert "4.1" in document
        assert says(desk, made(5, TODAY, *fields)) == SENT
        assert says(desk, made(6, "20250601" if day == LAST_YEAR else LAST_YEAR, *fields)) == HELD  # another fault


def times_in(document: str) -> list[str]:
    """All times after the birth of the patient, but for those in words; an id may have the same digits."""
    document = re.sub(r"left out: \d+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}", "", document)
    return re.findall(r"(?<!\d)20[0-2]\d-?[01]\d-?[0-3]\d", document)


def test_of_a_person_that_only_rejects_no_other_result_is_let_go(tmp_path: Path) -> None:
    with clocks(tmp_path, "hl7-results") as desk:
        assert says(desk, oru(1, LAST_YEAR, "OBX-14")) == HELD
        desk.decide("reject", desk.last)
        assert says(desk, oru(2, LAST_YEAR, "OBX-14")) == HELD


def test_a_fhir_result_has_no_time_and_was_issued_when_it_came(tmp_path: Path) -> None:
    with clocks(tmp_path, "hl7-results") as desk:
        assert says(desk, oru(1, TO_COME, "OBX-14", "OBR-7", "OBR-22")) == HELD
        desk.decide("release", desk.last)
        told = {one["resource"]["resourceType"]: one["resource"] for one in json.loads(desk.documents()[0])["entry"]}
        result, report = told["Observation"], told["DiagnosticReport"]
        assert "effectiveDateTime" not in result
        assert "effectiveDateTime" not in report
        assert result["issued"] == report["issued"] == "2026-03-01T12:01:00+05:30"
        assert TO_COME in result["note"][0]["text"]


def test_a_copy_has_the_time_and_is_held_each_time(tmp_path: Path) -> None:
    with clocks(tmp_path, None) as desk:
        for number in (1, 2):
            assert says(desk, oru(number, LAST_YEAR, "OBX-14")) == HELD
            desk.decide("release", desk.last)
        assert says(desk, oru(3, TODAY, "OBX-14")) == SENT


@pytest.mark.parametrize(
    ("day", "off", "became"),
    [
        (LAST_YEAR, "365d", "2026-03-01T10:01:00+05:30"),
        (TO_COME, "20d", "2026-03-01T10:01:00+05:30"),
        (LAST_YEAR, "900d", HELD),
        (TODAY, "20d", "2026-03-01T10:01:00+05:30"),  # the clock is right again
    ],
)
def test_a_person_states_how_far_the_clock_is_off(tmp_path: Path, day: str, off: str, became: str) -> None:
    with clocks(tmp_path, "hl7-results", clock_offset=off) as desk:
        ends = says(desk, oru(1, day, "OBX-14", "OBR-22"))
        if became == HELD:
            assert ends == HELD
            return
        assert ends == SENT
        told = {one["resource"]["resourceType"]: one["resource"] for one in json.loads(desk.documents()[0])["entry"]}
        assert told["Observation"]["effectiveDateTime"] == became == told["Observation"]["issued"]
        assert ("corrected by" in json.dumps(told["Observation"])) is (day != TODAY)


@pytest.mark.parametrize(
    ("first", "then", "ends"),
    [
        ("F K 4.1", "F K 5.5", "SAMPLE_UNKNOWN"),  # a rerun, or another sample: no time says which
        ("F K 4.1", "F NA 140", SENT),
        ("P K 4.1", "F K 4.2", SENT),  # what is not finished is finished
        ("F K 4.1", "C K 5.5", SENT),  # its sender says what it is
    ],
)
def test_the_right_time_after_one_that_was_left_out(tmp_path: Path, first: str, then: str, ends: str) -> None:
    with clocks(tmp_path, "hl7-results") as desk:
        assert says(desk, oru(1, TO_COME, "OBX-14", result=first, order="1")) == HELD
        desk.decide("release", desk.last)
        assert says(desk, oru(2, TODAY, result=then, order="1")) == ends


def test_two_of_one_order_by_a_wrong_clock_are_asked_about_each_time(tmp_path: Path) -> None:
    """Their times, a year back and an hour apart, part no samples."""
    with clocks(tmp_path, "hl7-results") as desk:
        assert says(desk, oru(1, LAST_YEAR, "OBX-14", "OBR-7", order="1")) == HELD
        desk.decide("release", desk.last)
        assert says(desk, oru(2, LAST_YEAR, "OBX-14", "OBR-7", order="1", result="F K 5.5", hour="11")) == HELD
        assert (
            says(desk, oru(1, LAST_YEAR, "OBX-14", "OBR-7", order="1").replace(b"|M1|", b"|M9|")) == "ECHO"
        )  # its memory


def test_a_sample_may_be_old_and_keeps_its_time(tmp_path: Path) -> None:
    with clocks(tmp_path, "hl7-results") as desk:
        assert says(desk, oru(1, "20200301", "OBR-7")) == SENT
        assert "2020-03-01" in desk.documents()[0]
        assert "note" not in desk.documents()[0]


@pytest.mark.parametrize("apart", [timedelta(0), timedelta(days=2)])
def test_it_is_the_same_clock_as_long_as_it_is_off_by_as_many_days(tmp_path: Path, apart: timedelta) -> None:
    with clocks(tmp_path, "hl7-results") as desk:
        assert says(desk, oru(1, LAST_YEAR, "OBX-14")) == HELD
        desk.decide("release", desk.last)
        other = (datetime(2025, 3, 1) + apart).strftime("%Y%m%d")
        assert says(desk, oru(2, other, "OBX-14")) == (HELD if apart else SENT)
        assert says(desk, oru(3, LAST_YEAR, "OBX-14"), minutes=60 * 24 * 3) == HELD  # it stands still


async def test_in_a_running_site(tmp_path: Path, sandbox: Sandbox) -> None:
    """Messages that come apart, so that none shares its write batch with another."""
    destinations = {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}}
    make_running_site(tmp_path, {"lab": channel(MLLP, HL7_ROUTE)}, destinations)
    now = datetime.now(ZONE)
    days = {True: f"{now - timedelta(days=365):%Y%m%d}", False: f"{now:%Y%m%d}"}
    async with running_app(tmp_path) as app:
        site = RunningSite(tmp_path, app, sandbox)

        async def send(number: int, *, wrong: bool) -> str:
            content = oru(number, days[wrong], "OBX-14", "OBR-22", hour=f"{now:%H}").replace(
                TODAY.encode(), days[False].encode()
            )
            await send_blocks(site.port("lab"), [content])
            await site.settled()
            return site.deliveries(site.messages()[-1].id)[0].state

        assert [await send(number, wrong=True) for number in (1, 2)] == ["held", "held"]
        (entry,) = [
            one for one in (await site.labrelay("todo", "list", "-o", "json")).json["todo"] if "clock" in one["key"]
        ]
        assert "A release sends them" in str(entry), entry
        assert len((await site.labrelay(*entry["step"].split()[1:], "-o", "json")).json["held"]) == 2
        first = str(site.messages()[0].id)
        assert (await site.labrelay("held", "release", first, "--reason", "its clock", "--yes")).code == ExitCode.OK
        await site.settled()
        assert await send(3, wrong=True) == "delivered"
        assert await send(4, wrong=False) == "delivered"
    results = sandbox.resources("Observation")
    assert sorted("effectiveDateTime" in one for one in results) == [False, False, True]
    assert {one["issued"][:10] for one in results} == {f"{now:%Y-%m-%d}"}


@pytest.mark.parametrize(
    ("born", "drawn", "early"),
    [
        ("19550101", "20260301095900", False), ("19550101", "20260301101000", False),  # clocks differ by minutes
        ("19550101", "20260301103000", True), ("20260301", "", False), ("20260302", "", True), ("", "", False),
        ("19550101", "20260301", False),
    ],
)  # fmt: skip
def test_what_was_measured_before_its_collection_or_the_birth_is_warned_of(
    tmp_path: Path, born: str, drawn: str, early: bool
) -> None:
    with clocks(tmp_path, "hl7-results") as desk:
        content = (
            oru(1, TODAY)
            .replace(b"|19550101|", f"|{born}|".encode())
            .replace(b"Panel^L|||", f"Panel^L|||{drawn}".encode())
        )
        assert says(desk, content) == SENT
        assert ("EARLY" in said_of(desk)) is early
