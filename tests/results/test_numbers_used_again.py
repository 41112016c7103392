"""A number of a specimen is given again: the result of one specimen never stands over that of another one.

Each row of `HISTORIES` says what a laboratory has answered about its numbers, what an analyzer sends, and what the
receiver then holds. `number` is the same in all of them; a time is that of collection and measurement.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import ManualClock
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.command_line import labrelay
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_site
from tests.support.senders import AstmAnalyzer, lines, send_blocks
from tests.support.sites import CHANNEL_YAML, make_site
from tests.support.waiting import until

SETTINGS = {"patient_system": "urn:x:mrn"}
JANUARY, FEBRUARY, DECEMBER = "20240110", "20240204", "20241208"


@dataclass(frozen=True)
class Told:
    """A message: a result of the tube, of a day, and without a patient."""

    status: str
    value: str
    day: str
    code: str = "GLU"
    time: str = "0930"
    patient: str = ""
    tube: str = "S1"


@dataclass(frozen=True)
class History:
    """What is sent, how each message ends, and what the receiver has of each test."""

    shows: str
    answer: dict[str, str]
    told: tuple[Told, ...]
    ends: tuple[str, ...]
    results: dict[str, list[str]]


RESTART: dict[str, str] = {}
OF_A_DAY = {"specimen_ids": "day"}
UNIQUE = {"specimen_ids": "unique"}
FOR_LONGER = {"specimen_ids": "unique", "reuse_after": "60d"}
SHORTLY = {"specimen_ids": "unique", "reuse_after": "7d"}

HISTORIES = [
    History(
        "a site that has said nothing: eleven months later",
        RESTART,
        (Told("F", "5.5", JANUARY), Told("F", "9.5", DECEMBER)),
        ("delivered", "delivered"),
        {"GLU": ["final 5.5", "final 9.5"]},
    ),
    History(
        "a site that has said nothing: a named patient, eleven months later",
        RESTART,
        (Told("F", "5.5", JANUARY, patient="4711"), Told("F", "9.5", DECEMBER, patient="4711")),
        ("delivered", "delivered"),
        {"GLU": ["final 5.5", "final 9.5"]},
    ),
    History(
        "a site that has said nothing: a correction that may be of the old one",
        RESTART,
        (Told("F", "5.5", JANUARY), Told("C", "9.5", DECEMBER)),
        ("delivered", "held"),
        {"GLU": ["final 5.5"]},
    ),
    History(
        "a number of a day: a rerun at another minute is of the same specimen",
        OF_A_DAY,
        (Told("F", "5.5", JANUARY), Told("F", "6.5", JANUARY, time="1145")),
        ("delivered", "delivered"),
        {"GLU": ["amended 6.5"]},
    ),
    History(
        "a number of a day: the next day's is another specimen",
        OF_A_DAY,
        (Told("F", "5.5", JANUARY), Told("F", "9.5", "20240111")),
        ("delivered", "delivered"),
        {"GLU": ["final 5.5", "final 9.5"]},
    ),
    History(
        "a number of a day: what comes after midnight to correct it finds it",
        OF_A_DAY,
        (Told("F", "5.5", JANUARY, time="2350"), Told("C", "6.5", "20240111", time="0020")),
        ("delivered", "delivered"),
        {"GLU": ["corrected 6.5"]},
    ),
    History(
        "a number of a day: eleven months later, another test, too",
        OF_A_DAY,
        (Told("F", "5.5", JANUARY), Told("F", "9.5", DECEMBER), Told("F", "31", DECEMBER, code="UREA")),
        ("delivered", "delivered", "delivered"),
        {"GLU": ["final 5.5", "final 9.5"], "UREA": ["final 31"]},
    ),
    History(
        "a unique number: within its time it is the same specimen",
        UNIQUE,
        (Told("F", "5.5", JANUARY), Told("F", "6.5", FEBRUARY), Told("F", "31", FEBRUARY, code="UREA")),
        ("delivered", "delivered", "delivered"),
        {"GLU": ["amended 6.5"], "UREA": ["final 31"]},
    ),
    History(
        "a unique number: eleven months later, another value",
        UNIQUE,
        (Told("F", "5.5", JANUARY), Told("F", "9.5", DECEMBER)),
        ("delivered", "held"),
        {"GLU": ["final 5.5"]},
    ),
    History(
        "a unique number: eleven months later, a correction",
        UNIQUE,
        (Told("F", "5.5", JANUARY), Told("C", "9.5", DECEMBER)),
        ("delivered", "held"),
        {"GLU": ["final 5.5"]},
    ),
    History(
        "a unique number: eleven months later, another test",
        UNIQUE,
        (Told("F", "5.5", JANUARY), Told("F", "31", DECEMBER, code="UREA")),
        ("delivered", "held"),
        {"GLU": ["final 5.5"]},
    ),
    History(
        "a unique number: eleven months later, for a patient of its own",
        UNIQUE,
        (Told("F", "5.5", JANUARY, patient="4711"), Told("F", "9.5", DECEMBER, patient="4712")),
        ("delivered", "held"),
        {"GLU": ["final 5.5"]},
    ),
    History(
        "a unique number: an analyzer with last January's memory, while the number is in use again",
        UNIQUE,
        (Told("F", "9.5", DECEMBER), Told("F", "5.5", JANUARY)),
        ("delivered", "held"),
        {"GLU": ["final 9.5"]},
    ),
    History(
        "a unique number: each result within the time of the one before it",
        UNIQUE,
        (Told("P", "1", JANUARY), Told("P", "2", FEBRUARY), Told("F", "3", "20240301")),
        ("delivered", "delivered", "delivered"),
        {"GLU": ["final 3"]},
    ),
    History(
        "a unique number: the site says for how long it is one specimen's",
        FOR_LONGER,
        (Told("P", "5.5", JANUARY), Told("F", "9.5", "20240308")),
        ("delivered", "delivered"),
        {"GLU": ["final 9.5"]},
    ),
    History(
        "a unique number: given again after a week",
        SHORTLY,
        (Told("F", "5.5", JANUARY), Told("F", "9.5", FEBRUARY)),
        ("delivered", "held"),
        {"GLU": ["final 5.5"]},
    ),
]


def names(history: History) -> str:
    return history.shows


class Lab:
    """An analyzer that measures one tube."""

    def __init__(self, site: RunningSite, channel: str) -> None:
        self.site = site
        self.channel = channel
        self._numbers = count(1)

    async def tells(self, told: Told) -> str:
        """Send a message; how it ended."""
        if self.channel == "astm":
            number = next(self._numbers)
            played = await AstmAnalyzer(self.site.port("astm")).play(frames(*self._frames(told, number)))
            assert not played.gave_up
            await until(lambda: len(self.site.messages()) >= number)
        else:
            (answer,) = await send_blocks(self.site.port("hl7"), [self.block(told)])
            assert lines(answer)["MSA"][1] == "AA"
        await self.site.settled()
        return self.site.ends()[-1]

    def block(self, *told: Told) -> bytes:
        """An HL7 message of one patient's tubes, or of tubes without one."""
        first = told[0]
        segments = [
            f"MSH|^~\\&|AN|LAB|LIS|H|{first.day}{first.time}00||ORU^R01|M{next(self._numbers)}|P|2.5.1",
            f"PID|1||{first.patient}||Iyer^Meena||19550101|F" if first.patient else "PID|1",
        ]
        for one in told:
            at = f"{one.day}{one.time}00"
            segments += [
                f"OBR|1||{one.tube}|GLU^Panel^L|||{at}|||||||||||||||{at}||LAB|{one.status}",
                f"OBX|1|NM|{one.code}^{one.code}^L||{one.value}|mmol/L|||||{one.status}|||{at}",
            ]
        return "\r".join([*segments, ""]).encode()

    def _frames(self, told: Told, number: int) -> list[bytes]:
        at = f"{told.day}{told.time}00"
        records = (
            f"H|\\^&|{number}||AN|||||||P|1|{at}",
            f"P|1||{told.patient}||Iyer^Meena||19550101|F" if told.patient else "P|1",
            f"O|1|{told.tube}||^^^GLU|R||{at}||||N||||||||||||||F",
            f"R|1|^^^{told.code}|{told.value}|mmol/L||||{told.status}||||{at}",
            "L|1|N",
            "",
        )
        return one_record_a_frame("\r".join(records).encode())

    def results(self) -> dict[str, list[str]]:
        """Test -> what the receiver has of it."""
        found: dict[str, list[str]] = {}
        for one in self.site.sandbox.resources("Observation"):
            said = f"{one['status']} {one['valueQuantity']['value']:g}"
            found.setdefault(one["code"]["coding"][0]["code"], []).append(said)
        return {code: sorted(said) for code, said in found.items()}

    def unlisted(self) -> set[str]:
        """Results that stand in no report."""
        every = {f"Observation/{one['id']}" for one in self.site.sandbox.resources("Observation")}
        listed = {one["reference"] for report in self.site.sandbox.resources("DiagnosticReport")
                  for one in report.get("result", ())}  # fmt: skip
        return every - listed

    def causes(self) -> set[str]:
        return {one.cause for view in self.site.messages() for one in self.site.deliveries(view.id)
                if one.state == "held"}  # fmt: skip


def channels(answer: dict[str, str]) -> dict[str, object]:
    return {
        "hl7": hl7_channel(settings=SETTINGS, **answer),
        "astm": astm_channel(settings=SETTINGS, **answer),
    }


@pytest.mark.parametrize("channel", ["hl7", "astm"])
@pytest.mark.parametrize("history", HISTORIES, ids=names)
async def test_a_result_stands_over_no_other_specimens(tmp_path: Path, history: History, channel: str) -> None:
    async with running_site(tmp_path, channels(history.answer)) as site:
        lab = Lab(site, channel)
        ends = [await lab.tells(told) for told in history.told]
        assert (ends, lab.results(), lab.unlisted()) == (list(history.ends), history.results, set())


@pytest.mark.parametrize("large", [False, True])
async def test_what_is_released_is_another_specimens_and_what_follows_it_too(tmp_path: Path, large: bool) -> None:
    async with running_site(tmp_path, channels(UNIQUE), large=large) as site:
        lab = Lab(site, "hl7")
        await lab.tells(Told("F", "5.5", JANUARY))
        assert await lab.tells(Told("F", "9.5", DECEMBER)) == "held"
        assert await lab.tells(Told("F", "31", DECEMBER, code="UREA")) == "held"
        assert lab.causes() == {"NUMBER_AGAIN"}
        listed = (await site.labrelay("held", "list", "-o", "json")).json["held"]
        assert all("S1" not in one["why"] for one in listed)
        ran = await site.labrelay("held", "release", "--code", "NUMBER_AGAIN", "--reason", "a new tube", "--yes")
        assert ran.code == ExitCode.OK, ran.err
        await site.settled()
        assert lab.results() == {"GLU": ["final 5.5", "final 9.5"], "UREA": ["final 31"]}

        assert await lab.tells(Told("C", "9.7", DECEMBER, time="1000")) == "delivered"
        assert await lab.tells(Told("F", "9.5", DECEMBER)) == "ECHO"
        assert lab.results() == {"GLU": ["corrected 9.7", "final 5.5"], "UREA": ["final 31"]}
        assert lab.unlisted() == set()


async def test_what_is_rejected_leaves_the_number_with_the_first(tmp_path: Path) -> None:
    async with running_site(tmp_path, channels(UNIQUE)) as site:
        lab = Lab(site, "hl7")
        await lab.tells(Told("F", "5.5", JANUARY))
        assert await lab.tells(Told("F", "9.5", DECEMBER)) == "held"
        held = str(site.messages()[-1].id)
        ran = await site.labrelay("held", "reject", held, "--reason", "the label was wrong", "--yes")
        assert ran.code == ExitCode.OK, ran.err
        assert await lab.tells(Told("C", "5.7", "20240115")) == "delivered"
        assert await lab.tells(Told("F", "9.6", DECEMBER)) == "held"
        assert lab.results() == {"GLU": ["corrected 5.7"]}


async def test_processed_again_it_is_what_it_was(tmp_path: Path) -> None:
    async with running_site(tmp_path, channels(UNIQUE)) as site:
        lab = Lab(site, "hl7")
        await lab.tells(Told("F", "5.5", JANUARY))
        assert await lab.tells(Told("F", "9.5", DECEMBER)) == "held"
        held = str(site.messages()[-1].id)
        await site.labrelay("held", "release", held, "--reason", "a new tube", "--yes")
        await site.settled()
        ran = await site.labrelay("reprocess", "--channel", "hl7", "--since", "1h")
        assert "2 messages: 0 differ, 2 do not" in ran.out
        assert "the number was given again" in (await site.labrelay("explain", held)).out


async def test_a_number_is_never_forgotten(tmp_path: Path) -> None:
    """Other memories end after 90 days."""
    clock = ManualClock(datetime(2024, 1, 10, 6, tzinfo=UTC))
    async with running_site(tmp_path, channels(UNIQUE), clock=clock) as site:
        assert await Lab(site, "hl7").tells(Told("F", "5.5", JANUARY)) == "delivered"
    clock = ManualClock(datetime(2024, 12, 8, 6, tzinfo=UTC))
    async with running_site(tmp_path, channels(UNIQUE), clock=clock) as site:
        assert await Lab(site, "hl7").tells(Told("F", "9.5", DECEMBER)) == "held"


async def test_several_numbers_in_one_message_have_their_own_uses(tmp_path: Path) -> None:
    """One of two tubes has a number that was given again; the other one's results keep their ids."""
    async with running_site(tmp_path, channels(UNIQUE)) as site:
        lab = Lab(site, "hl7")
        await lab.tells(Told("F", "5.5", JANUARY))
        await lab.tells(Told("F", "7.1", DECEMBER, tube="S2"))
        two = lab.block(Told("F", "9.5", DECEMBER), Told("C", "7.2", DECEMBER, tube="S2"))
        (answer,) = await send_blocks(site.port("hl7"), [two])
        assert lines(answer)["MSA"][1] == "AA"
        await site.settled()
        assert lab.causes() == {"NUMBER_AGAIN"}
        held = str(site.messages()[-1].id)
        ran = await site.labrelay("held", "release", held, "--reason", "a new tube", "--yes")
        assert ran.code == ExitCode.OK, ran.err
        await site.settled()
        assert lab.results() == {"GLU": ["corrected 7.2", "final 5.5", "final 9.5"]}
        assert lab.unlisted() == set()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("specimen_ids: weekly\n", "specimen_ids"),
        ("reuse_after: 30d\nspecimen_ids: day\n", "is for specimen_ids: unique"),
        ("reuse_after: 30d\n", "is for specimen_ids: unique"),
        ("specimen_ids: unique\nreuse_after: 1h\n", "reuse_after"),
        ("specimen_ids: unique\nreuse_after: 400d\n", "reuse_after"),
        ("specimen_ids: unique\nreuse_after: a month\n", "expected a duration"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_line(tmp_path: Path, given: str, said: str) -> None:
    wrong = make_site(tmp_path, channels={"a.yaml": f"{CHANNEL_YAML}{given}"})
    ran = labrelay("check", site=wrong)
    assert ran.code != ExitCode.OK
    key = "specimen_ids" if "weekly" in given else "reuse_after"
    line = 1 + CHANNEL_YAML.count("\n") + given.split("\n").index(next(one for one in given.split("\n") if key in one))
    assert f"channels/a.yaml:{line}:" in ran.out
    assert said in ran.out


def test_what_can_be_meant_is_taken(tmp_path: Path) -> None:
    text = f"{CHANNEL_YAML}patient_numbers: counter\nspecimen_ids: unique\nreuse_after: 60d\n"
    assert labrelay("check", site=make_site(tmp_path, channels={"a.yaml": text})).code == ExitCode.OK
