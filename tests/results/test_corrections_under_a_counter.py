"""Patient numbers that begin anew: which result of the day before a message means.

Order 7 of the first patient of last night may be the one that is meant, or another person's order 7 of today. Who the
message is about decides: the name with a birth date, or a family and a given name, as they stood there last night.
"""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks
from tests.support.waiting import until

MEENA = "Iyer^Meena||19550101|F"
NIGHT, MORNING = "20240301 2330", "20240302 0730"


@dataclass(frozen=True)
class Row:
    """What is told of order 7 of patient 1, how the last message ends, and what the receiver has then."""

    shows: str
    told: tuple[tuple[str, str, str, str], ...]  # status, value, time, person
    end: str
    results: tuple[str, ...]
    people: int = 1


ROWS = [
    Row(
        "a correction in the morning",
        (("F", "5.5", NIGHT, MEENA), ("C", "6.5", MORNING, MEENA)),
        "delivered",
        ("corrected 6.5",),
    ),
    Row(
        "a correction of the correction",
        (("F", "5.5", NIGHT, MEENA), ("C", "6.5", MORNING, MEENA), ("C", "6.7", "20240302 0900", MEENA)),
        "delivered",
        ("corrected 6.7",),
    ),
    Row(
        "withdrawn in the morning",
        (("F", "5.5", NIGHT, MEENA), ("D", "5.5", MORNING, MEENA)),
        "delivered",
        ("entered-in-error 5.5",),
    ),
    Row(
        "a preliminary result is finished in the morning",
        (("P", "5.5", NIGHT, MEENA), ("F", "6.5", MORNING, MEENA)),
        "delivered",
        ("final 6.5",),
    ),
    Row(
        "a final one is measured in the morning: order 7 of today",
        (("F", "5.5", NIGHT, MEENA), ("F", "6.5", MORNING, MEENA)),
        "delivered",
        ("final 5.5", "final 6.5"),
        people=2,
    ),
    Row(
        "another person has the number in the morning",
        (("F", "5.5", NIGHT, MEENA), ("C", "6.5", MORNING, "Sharma^Anita||19800302|F")),
        "held",
        ("final 5.5",),
    ),
    Row(
        "another person's preliminary result stays theirs",
        (("P", "5.5", NIGHT, MEENA), ("F", "6.5", MORNING, "Sharma^Anita||19800302|F")),
        "delivered",
        ("final 6.5", "preliminary 5.5"),
        people=2,
    ),
    Row(
        "a name that is written in another way may be another person's",
        (("F", "5.5", NIGHT, MEENA), ("C", "6.5", MORNING, "Iyer^Mina||19550101|F")),
        "held",
        ("final 5.5",),
    ),
    Row(
        "no person is named",
        (("F", "5.5", NIGHT, "^||"), ("C", "6.5", MORNING, "^||")),
        "held",
        ("final 5.5",),
    ),
    Row(
        "only a sex is told",
        (("F", "5.5", NIGHT, "^|||F"), ("C", "6.5", MORNING, "^|||F")),
        "held",
        ("final 5.5",),
    ),
    Row(
        "one word of a name is told",
        (("F", "5.5", NIGHT, "Meena|||F"), ("C", "6.5", MORNING, "Meena|||F")),
        "held",
        ("final 5.5",),
    ),
    Row(
        "a whole name without a birth date is told",
        (("F", "5.5", NIGHT, "Iyer^Meena|||F"), ("C", "6.5", MORNING, "Iyer^Meena|||F")),
        "delivered",
        ("corrected 6.5",),
    ),
    Row(
        "more than 36 hours later",
        (("F", "5.5", "20240301 0730", MEENA), ("C", "6.5", "20240302 2130", MEENA)),
        "held",
        ("final 5.5",),
    ),
]


def shows(row: Row) -> str:
    return row.shows


def block(number: int, status: str, value: str, at: str, person: str) -> bytes:
    time = f"{at.replace(' ', '')}00"
    return (
        f"MSH|^~\\&|AN|LAB|LIS|H|{time}||ORU^R01|M{number}|P|2.5.1\r"
        f"PID|1||1||{person}\r"
        f"OBR|1||7|GLU^Panel^L|||{time}|||||||||||||||{time}||LAB|{'F' if status == 'D' else status}\r"
        f"OBX|1|NM|GLU^GLU^L||{value}|mmol/L|||||{status}|||{time}\r"
    ).encode()


def records(number: int, status: str, value: str, at: str, person: str) -> list[bytes]:
    time = f"{at.replace(' ', '')}00"
    told = (
        f"H|\\^&|{number}||AN|||||||P|1|{time}",
        f"P|1||1||{person}",
        f"O|1|7||^^^GLU|R||{time}||||N||||||||||||||F",
        f"R|1|^^^GLU|{value}|mmol/L||||{status}||||{time}",
        "L|1|N",
        "",
    )
    return one_record_a_frame("\r".join(told).encode())


async def send(site: RunningSite, channel: str, number: int, told: tuple[str, str, str, str]) -> str:
    if channel == "astm":
        played = await AstmAnalyzer(site.port("astm")).play(frames(*records(number, *told)))
        assert not played.gave_up
        await until(lambda: len(site.messages()) >= number)
    else:
        (answer,) = await send_blocks(site.port("hl7"), [block(number, *told)])
        assert lines(answer)["MSA"][1] == "AA"
    await site.settled()
    return site.ends()[-1]


def results(site: RunningSite) -> tuple[str, ...]:
    return tuple(
        sorted(f"{one['status']} {one['valueQuantity']['value']:g}" for one in site.sandbox.resources("Observation"))
    )


def unlisted(site: RunningSite) -> set[str]:
    every = {f"Observation/{one['id']}" for one in site.sandbox.resources("Observation")}
    reports = site.sandbox.resources("DiagnosticReport")
    return every - {one["reference"] for report in reports for one in report.get("result", ())}


@pytest.mark.parametrize("channel", ["hl7", "astm"])
@pytest.mark.parametrize("row", ROWS, ids=shows)
async def test_a_correction_under_a_counter_finds_the_result_of_the_same_person(
    tmp_path: Path, row: Row, channel: str
) -> None:
    if channel == "astm" and any(told[0] == "D" for told in row.told):
        channel = "hl7"  # E1394 has no status for it
    channels = {"hl7": hl7_channel(patient_numbers="counter"), "astm": astm_channel(patient_numbers="counter")}
    async with running_site(tmp_path, channels, patient_numbers=None) as site:
        numbers = count(1)
        ends = [await send(site, channel, next(numbers), told) for told in row.told]
        assert (ends[-1], results(site), unlisted(site)) == (row.end, row.results, set())
        assert len(site.sandbox.resources("Patient")) == row.people
        subjects = {one["subject"]["reference"] for one in site.sandbox.resources("Observation")}
        assert len(subjects) == row.people


async def test_two_results_of_the_night_may_be_meant(tmp_path: Path) -> None:
    """Two runs of one test in one order: the correction names none of them."""
    channels = {"hl7": hl7_channel(patient_numbers="counter")}
    async with running_site(tmp_path, channels, patient_numbers=None) as site:
        first = block(1, "F", "5.5", NIGHT, MEENA)
        run = first.split(b"\r")[-2].replace(b"OBX|1", b"OBX|2").replace(b"5.5", b"5.6")
        (answer,) = await send_blocks(site.port("hl7"), [first + run + b"\r"])
        assert lines(answer)["MSA"][1] == "AA"
        await site.settled()
        assert await send(site, "hl7", 2, ("C", "6.5", MORNING, MEENA)) == "held"
        assert results(site) == ("final 5.5", "final 5.6")
