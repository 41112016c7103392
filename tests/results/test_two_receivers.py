"""Two servers have the results of one analyzer: each ends with the last word, also where the other took another.

A result that one server refused was never told there, though the other one has it. Each row of `DAYS` is one day: what
the analyzer sends, what the second server does meanwhile, what a person does, and what both servers then hold.
"""

import contextlib
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.store.queries.lanes import list_channels
from tests.support.running import HL7_ROUTE, MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

F, C, P = "F GLU 5.5 0930", "C GLU 6.5 0932", "P GLU 1.1 0940"
RERUN = "F GLU 7.5 0950"
UREA = "F UREA 31 0935"


@dataclass(frozen=True)
class Day:
    """Steps: a message, as its results; ``422``: the second server refuses what comes next; ``away``, ``back``: of the
    second server; ``same bytes``: of the last message; ``retry 1``, ``replay 1``: what a person does to a message."""

    shows: str
    steps: tuple[str, ...]
    holds: dict[str, str]


DAYS = [
    Day(
        "the analyzer sends its memory once the second server takes it",
        ("422", F, F),
        {"GLU": "final 5.5"},
    ),
    Day("the same bytes come again", ("422", F, "same bytes"), {"GLU": "final 5.5"}),
    Day(
        "the memory comes together with a new test",
        ("422", F, f"{F}, {UREA}"),
        {"GLU": "final 5.5", "UREA": "final 31"},
    ),
    Day(
        "a correction comes behind what was refused, and a person tries that again",
        ("422", F, C, "retry 1"),
        {"GLU": "corrected 6.5"},
    ),
    Day(
        "the correction is refused; the memory has both",
        (F, "422", C, F, C),
        {"GLU": "corrected 6.5"},
    ),
    Day(
        "the correction is refused, and tried again behind the memory",
        (F, "422", C, F, "retry 2"),
        {"GLU": "corrected 6.5"},
    ),
    Day(
        "a rerun that was refused comes again",
        (F, "422", RERUN, RERUN),
        {"GLU": "amended 7.5"},
    ),
    Day(
        "the second server is away for hours: correction and memory wait for it",
        ("away", F, C, F, "back"),
        {"GLU": "corrected 6.5"},
    ),
    Day(
        "the second server is away for a rerun, and gets the first one's replay",
        (F, "away", RERUN, "back", "replay 1"),
        {"GLU": "amended 7.5"},
    ),
    Day(
        "a preliminary result behind a final one that one server refused waits for a person",
        ("422", F, P, "retry 1"),
        {"GLU": "final 5.5"},
    ),
    Day(
        "a new test alone, of an order of which the second server refused the first",
        ("422", F, UREA, "retry 1"),
        {"GLU": "final 5.5", "UREA": "final 31"},
    ),
]


def shows(day: Day) -> str:
    return day.shows


def block(number: int, results: str) -> bytes:
    told = [one.split() for one in results.split(", ")]
    status = told[0][0]
    segments = [
        f"MSH|^~\\&|AN|LAB|LIS|H|20240301{told[0][3]}00||ORU^R01|M{number}|P|2.5.1",
        "PID|1||4711||Iyer^Meena||19550101|F",
        f"OBR|1||S1|GLU^Panel^L|||20240301090000|||||||||||||||20240301{told[0][3]}00||LAB|{status}",
    ]
    for place, (said, code, value, time) in enumerate(told, 1):
        segments.append(f"OBX|{place}|NM|{code}^{code}^L||{value}|mmol/L|||||{said}|||20240301{time}00")
    return "\r".join([*segments, ""]).encode()


def held_by(server: Sandbox) -> dict[str, str]:
    return {
        one["code"]["coding"][0]["code"]: f"{one['status']} {one['valueQuantity']['value']:g}"
        for one in server.resources("Observation")
    }


def unlisted(server: Sandbox) -> set[str]:
    every = {f"Observation/{one['id']}" for one in server.resources("Observation")}
    return every - {one["reference"] for report in server.resources("DiagnosticReport")
                    for one in report.get("result", ())}  # fmt: skip


@contextlib.asynccontextmanager
async def two_servers(folder: Path) -> AsyncIterator[tuple[RunningSite, Sandbox]]:
    first, second = Sandbox(), Sandbox()
    await first.start()
    await second.start()
    try:
        route = {**HL7_ROUTE, "to": ["first", "second"]}
        servers = {
            name: {"kind": "fhir", "url": one.url, **deepcopy(QUICK)}
            for name, one in (("first", first), ("second", second))
        }
        lab = channel(MLLP, route, settings={"patient_system": "urn:x:mrn"})
        make_running_site(folder, {"hl7": lab}, servers)
        async with running_app(folder) as app:
            yield RunningSite(folder, app, first), second
    finally:
        await first.stop()
        await second.stop()


@pytest.mark.parametrize("day", DAYS, ids=shows)
async def test_each_receiver_ends_with_the_last_word(tmp_path: Path, day: Day) -> None:
    async with two_servers(tmp_path) as (site, second):
        sent = b""
        for number, step in enumerate(day.steps):
            verb, _, message = step.partition(" ")
            if step == "422":
                second.faults.next = ["422"]
                continue
            if step in ("away", "back"):
                second.faults.down = step == "away"
            elif verb == "retry":
                await site.retry(int(message))
            elif verb == "replay":
                await site.replay(int(message))
            else:
                sent = sent if step == "same bytes" else block(number, step)
                (answer,) = await send_blocks(site.port("hl7"), [sent])
                assert lines(answer)["MSA"][1] == "AA"
            if second.faults.down:
                await until(lambda: not any(view.stored for view in list_channels(site.journal)), 60)
                continue
            await site.settled()
        assert (held_by(site.sandbox), held_by(second)) == (day.holds, day.holds)
        assert (unlisted(site.sandbox), unlisted(second)) == (set(), set())
