"""An alert of a critical value is open exactly while a receiver shows it, or it waits, and no person has taken it.

Two servers have the results of one analyzer; a row of `SCENES` is what happens there, and which messages ring at its
end. What the servers hold is asked, too: each critical value that is valid on one of them has an open alert.
"""

import contextlib
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.features.alerts.rows.reading import critical_values
from engine.store.queries.lanes import list_channels
from tests.support.running import HL7_ROUTE, MLLP, QUICK, Json, RunningSite, channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

HIGH, LOW = "F K 7.9 HH 0915", "P NA 118 LL 0915 SERUM"
RIGHT = "C K 4.1 N 0915"
RULE: Json = {"hold": [{"when": "=value < 5", "reason": "low"}]}
HELD_HIGH: Json = {"hold": [{"when": "=flags in ['HH']", "reason": "high"}]}


OF_REPORT = {"D": "C"}  # OBR-25 has no such status


@dataclass(frozen=True)
class Scene:
    """Steps: a message, as its results: status, code, value, flag, minute, panel, unit; ``422``: the second server
    refuses what comes next; ``away``, ``back``: of the second server; else what a person does to a message.

    ``second``, ``first``: what their routes have beside the others.
    """

    steps: tuple[str, ...]
    rings: tuple[int, ...] = ()
    words: str = ""
    first: Json | None = None
    second: Json | None = None


SCENES = {
    "serum and urine under one number": Scene((LOW, "F NA 40 N 0915 URINE"), (1,)),
    "and in one message": Scene((f"{LOW}, F NA 40 N 0915 URINE", "C NA 41 N 0915 URINE"), (1,)),
    "the urine comes first": Scene(("F NA 40 N 0915 URINE", LOW, "C NA 41 N 0915 URINE"), (2,)),
    "the serum's own final": Scene((LOW, "F NA 40 N 0915 URINE", "F NA 138 N 0930 SERUM")),
    "the urine is corrected": Scene((LOW, "F NA 40 N 0915 URINE", "C NA 45 N 0915 URINE"), (1,)),
    "the urine is withdrawn": Scene((LOW, "F NA 40 N 0915 URINE", "D NA 40 N 0915 URINE"), (1,)),
    "corrected": Scene((HIGH, RIGHT), words="message 1 is critical no more: message 2 says another"),
    "withdrawn": Scene((HIGH, "D K 7.9 HH 0915")),
    "corrected in words": Scene((HIGH, "C K haemolysed N 0915")),
    "corrected without a value": Scene((HIGH, "C K ---- N 0915"), (1,)),
    "corrected without a value, and released": Scene((HIGH, "C K ---- N 0915", "release 2")),
    "corrected without a value, and rejected": Scene((HIGH, "C K ---- N 0915", "reject 2"), (1,)),
    "corrected in another unit": Scene((HIGH, "C K 160 N 0915 SERUM mg/L")),
    "run again in another unit": Scene((HIGH, "F K 160 N 0940 SERUM mg/L")),
    "run again": Scene((HIGH, "F K 4.2 N 0940")),
    "run again, and critical": Scene((HIGH, "F K 8.8 HH 0940"), (2,), "message 1 is replaced: message 2 has another"),
    "corrected, and critical": Scene((HIGH, "C K 8.8 HH 0915"), (2,), "message 1 is replaced: message 2 has another"),
    "corrected twice": Scene((HIGH, "C K 8.8 HH 0915", RIGHT)),
    "called off, and it was right": Scene((HIGH, RIGHT, "C K 7.9 HH 0915"), (1,)),
    "another test is corrected": Scene((HIGH, "F NA 150 H 0915", "C NA 140 N 0915"), (1,)),
    "one of two is corrected": Scene((f"{HIGH}, F NA 118 LL 0915", RIGHT), (1,)),
    "both are corrected": Scene((f"{HIGH}, F NA 118 LL 0915", RIGHT, "C NA 138 N 0915")),
    "preliminary, and final as it was": Scene(("P K 7.9 HH 0915", HIGH), (1,)),
    "preliminary, final as it was, corrected": Scene(("P K 7.9 HH 0915", HIGH, RIGHT)),
    "preliminary, and a normal final": Scene(("P K 7.9 HH 0915", "F K 4.1 N 0930")),
    "a preliminary one that comes late": Scene((HIGH, "P K 4.1 N 0915"), (1,)),
    "it is sent again": Scene((HIGH, HIGH), (1,)),
    "it is sent again, and corrected": Scene((HIGH, f"{HIGH}, F UREA 5 N 0915", RIGHT)),
    "a memory behind the correction": Scene((HIGH, RIGHT, HIGH)),
    "one server waits for a person": Scene((HIGH, RIGHT), (1,), second=RULE),
    "one server waits, and a person releases": Scene((HIGH, RIGHT, "release 2"), second=RULE),
    "one server waits, and a person rejects": Scene((HIGH, RIGHT, "reject 2"), (1,), second=RULE),
    "both wait, and a person releases after a restart": Scene(
        (HIGH, RIGHT, "restart", "release 2"), first=RULE, second=RULE
    ),
    "one server does not get the correction": Scene(
        (HIGH, RIGHT), (1,), second={"when": "=MSH-10 != 'M2'"}
    ),
    "one server refuses the correction": Scene((HIGH, "422", RIGHT), (1,)),
    "one server refuses the correction, and a person tries again": Scene((HIGH, "422", RIGHT, "retry 2")),
    "one server refuses the correction, and a person leaves it": Scene((HIGH, "422", RIGHT, "dismiss 2"), (1,)),
    "one server refuses the value": Scene(("422", HIGH, RIGHT)),
    "one server is away": Scene((HIGH, "away", RIGHT, "restart", "back")),
    "it is held, and rejected": Scene((HIGH, "reject 1"), words="a person has rejected it", first=HELD_HIGH,
                                      second=HELD_HIGH),
    "it is held at one, and rejected there": Scene((HIGH, "reject 1"), (1,), second=HELD_HIGH),
    "it is held, and released": Scene((HIGH, "release 1"), (1,), first=HELD_HIGH, second=HELD_HIGH),
    "it is held, and its withdrawal, too": Scene((HIGH, "D K 7.9 HH 0915"), (1,), first=HELD_HIGH, second=HELD_HIGH),
    "it is held, and withdrawn": Scene((HIGH, 'D K "" N 0915'), first=HELD_HIGH, second=HELD_HIGH),
    "a restart before the correction": Scene((HIGH, "restart", RIGHT)),
    "a person has taken it": Scene((HIGH, "take 1"), ()),
    "a person has taken it, and it is corrected": Scene((HIGH, "take 1", RIGHT), words="message 1 is critical no more"),
    "a person has taken it, and it is final": Scene(("P K 7.9 HH 0915", "take 1", HIGH)),
    "the patient is erased before the correction": Scene((HIGH, "erase 4711", RIGHT), (1,)),
    "the patient is erased behind the correction": Scene((HIGH, RIGHT, "erase 4711", "F NA 140 N 0915")),
    "the value is sent again": Scene((HIGH, RIGHT, "replay 1")),
}  # fmt: skip


def block(number: int, results: str) -> bytes:
    rows = [[*row.split(), "SERUM", "mmol/L"] for row in results.split(", ")]
    segments = [
        f"MSH|^~\\&|AN|LAB|LIS|H|20240301093000||ORU^R01|M{number}|P|2.5.1",
        "PID|1||4711||Iyer^Meena||19550101|F",
    ]
    panel = ""
    for place, (status, code, content, flag, minute, *more) in enumerate(rows, 1):
        if more[0] != panel:
            panel = more[0]
            segments.append(
                f"OBR|1||F1|{panel}^{panel}^L|||20240301090000"
                + "|" * 15
                + f"20240301093{number}00||LAB|{OF_REPORT.get(status, status)}"
            )
        unit = more[1]
        kind = "NM" if content.replace(".", "").isdigit() else "ST"
        segments.append(f"OBX|{place}|{kind}|{code}^{code}^L||{content}|{unit}||{flag}|||{status}|||20240301{minute}00")
    return "\r".join([*segments, ""]).encode()


@dataclass
class Stage:
    """Two servers, and the site before them."""

    folder: Path
    first: Sandbox
    second: Sandbox
    site: RunningSite
    running: contextlib.AsyncExitStack

    async def restart(self) -> None:
        await self.running.aclose()
        self.site = RunningSite(
            self.folder, await self.running.enter_async_context(running_app(self.folder)), self.first
        )

    async def play(self, number: int, step: str) -> None:
        verb, _, message = step.partition(" ")
        person = {
            "release": f"held release {message} --reason seen --yes",
            "reject": f"held reject {message} --reason seen --yes",
            "dismiss": f"dlq dismiss {message} --reason seen --yes",
            "erase": f"erase --patient {message} --reason asked --authority x --force --no-compact --yes",
            "take": f"alert acknowledge critical/{message} --note phoned",
        }
        if step == "422":
            self.second.faults.next = ["422"]
        elif step in ("away", "back"):
            self.second.faults.down = step == "away"
        elif step == "restart":
            await self.restart()
        elif verb in ("retry", "replay"):
            await (self.site.retry if verb == "retry" else self.site.replay)(int(message))
        elif verb in person:
            ran = await self.site.labrelay(*person[verb].split())
            assert ran.code == 0, ran.err
        else:
            (answer,) = await send_blocks(self.site.port("hl7"), [block(number, step)])
            assert lines(answer)["MSA"][1] == "AA"
        if self.second.faults.down:
            await until(lambda: not any(view.stored for view in list_channels(self.site.journal)), 60)
        else:
            await self.site.settled()


@contextlib.asynccontextmanager
async def staged(folder: Path, scene: Scene) -> AsyncIterator[Stage]:
    first, second = Sandbox(), Sandbox()
    await first.start()
    await second.start()
    try:
        routes = [
            {**HL7_ROUTE, "to": "first", **deepcopy(scene.first or {})},
            {**HL7_ROUTE, "to": "second", **deepcopy(scene.second or {})},
        ]
        servers = {
            name: {"kind": "fhir", "url": server.url, **deepcopy(QUICK)}
            for name, server in (("first", first), ("second", second))
        }
        lab = channel(MLLP, *routes, settings={"patient_system": "urn:x:mrn"})
        make_running_site(folder, {"hl7": lab}, servers)
        async with contextlib.AsyncExitStack() as running:
            app = await running.enter_async_context(running_app(folder))
            yield Stage(folder, first, second, RunningSite(folder, app, first), running)
    finally:
        await first.stop()
        await second.stop()


def shown(*servers: Sandbox) -> set[float]:
    """The critical values that are valid there."""
    return {
        one["valueQuantity"]["value"]
        for server in servers
        for one in server.resources("Observation")
        if one["status"] not in ("entered-in-error", "cancelled") and "valueQuantity" in one
        and {code["code"] for flag in one.get("interpretation", ()) for code in flag["coding"]} & {"HH", "LL", "AA"}
    }  # fmt: skip


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
async def test_an_alert_is_open_while_a_receiver_shows_its_value(tmp_path: Path, scene: Scene) -> None:
    async with staged(tmp_path, scene) as stage:
        of_value: dict[float, int] = {}
        taken: set[int] = set()
        number = 0
        for step in scene.steps:
            is_message = step[1:2] == " "
            number += is_message
            await stage.play(number, step)
            if is_message:
                for row in step.split(", "):
                    _, _, content, flag, *_ = row.split()
                    if flag in ("HH", "LL"):
                        of_value.setdefault(float(content), number)
            elif step.startswith("take"):
                taken.add(int(step.partition(" ")[2]))
        found = critical_values(stage.site.journal)
        assert {one.message for one in found if not one.over_us} == set(scene.rings)
        live = {of_value[value] for value in shown(stage.first, stage.second)}
        assert live - taken <= set(scene.rings)
        said = [one.phrase.say() for one in found if one.over_us]
        assert not scene.words or any(scene.words in one for one in said)
