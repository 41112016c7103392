"""Results that a rule of their route keeps back, in a running site: only a person lets them go."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.commands.output import ExitCode
from engine.sandbox import Sandbox
from tests.support.mapping_texts import HL7
from tests.support.running import HL7_ROUTE, MLLP, QUICK, Json, RunningSite, channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks

CRITICAL = {"when": "=code == 'HGB' and value < 7", "reason": "haemoglobin is critical"}


def message(
    number: int,
    value: str = "14.8",
    *,
    order: str = "",
    patient: str = "",
    status: str = "F",
    test: str = "HGB^Hemoglobin",
    at: str = "20260301094500",
) -> bytes:
    text = HL7.replace("|M1|", f"|M{number}|").replace("|14.8|", f"|{value}|").replace("|N|||F|", f"|N|||{status}|")
    text = text.replace("4711", patient or f"47{number}").replace("Doe^Jane", f"Canary{patient or number}^Jane")
    text = text.replace("HGB^Hemoglobin", test).replace("20260301094500", at)
    order = order or f"O{number}"
    return text.replace("OBR|1|O1|F1|", f"OBR|1|{order}|F-{order}|").replace("\n", "\r").encode()


@contextlib.asynccontextmanager
async def running(
    folder: Path, sandbox: Sandbox, *routes: Mapping[str, Any], workers: int = 0
) -> AsyncIterator[RunningSite]:
    if not (folder / "config").exists():
        destinations: dict[str, Json] = {
            "archive": {"kind": "file", "folder": "archive"},
            "lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK},
        }
        make_running_site(folder, {"lab": channel(MLLP, *routes)}, destinations)
    async with running_app(folder) as app:
        yield RunningSite(folder, app, sandbox)


def held_route(hold: Any = (CRITICAL,), **more: Any) -> Json:
    return {**HL7_ROUTE, "hold": list(hold) if isinstance(hold, tuple) else hold, **more}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def site(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[RunningSite]:
    async with running(tmp_path, sandbox, {"to": "archive"}, held_route()) as site:
        yield site


async def send(site: RunningSite, *messages: bytes) -> None:
    for one in messages:
        (answer,) = await send_blocks(site.port("lab"), [one])
        assert lines(answer)["MSA"][1] == "AA"
    await site.settled()


async def held(site: RunningSite, *arguments: str) -> Any:
    ran = await site.labrelay("held", *arguments, "-o", "json")
    assert ran.code in {ExitCode.OK, ExitCode.PARTLY}, ran.err
    await site.settled()
    return ran.json


async def release(site: RunningSite, *messages: int) -> Json:
    found: Json = (await held(site, "release", *map(str, messages), "--reason", "looked at", "--yes"))["done"]
    return {name: count for name, count in found.items() if count}


def hemoglobins(sandbox: Sandbox) -> list[str]:
    found = [one for one in sandbox.resources("Observation") if "valueQuantity" in one]
    return sorted(str(one["valueQuantity"]["value"]) for one in found)


def states(site: RunningSite, message: int) -> dict[str, str]:
    return {one.destination: one.state for one in site.deliveries(message)}


def archived(site: RunningSite) -> int:
    return sum(path.is_file() for path in (site.folder / "archive").rglob("*"))


async def test_a_held_result_waits_for_a_person_and_nobody_waits_for_it(site: RunningSite) -> None:
    await send(site, message(1, "5.1"), message(2, "14.8"))

    assert states(site, 1) == {"archive": "delivered", "lab-fhir": "held"}  # the raw route has no rules
    assert states(site, 2) == {"archive": "delivered", "lab-fhir": "delivered"}
    assert (hemoglobins(site.sandbox), archived(site)) == (["14.8"], 2)
    (row,) = (await held(site, "list"))["held"]
    assert (row["message"], row["channel"], row["destination"]) == (1, "lab", "lab-fhir")
    assert (row["cause"], row["why"]) == ("HELD_BY_RULE", "haemoglobin is critical (HGB)")

    assert await release(site, 1) == {"released": 1}
    assert hemoglobins(site.sandbox) == ["14.8", "5.1"]
    assert states(site, 1)["lab-fhir"] == "delivered"
    assert (await held(site, "list"))["held"] == []


async def test_who_released_and_why_is_kept_and_a_second_time_does_nothing(site: RunningSite) -> None:
    await send(site, message(1, "5.1"))
    assert await release(site, 1) == {"released": 1}
    again = await site.labrelay("held", "release", "1", "--reason", "x", "--yes", "-o", "json")

    assert (again.code, again.json["count"]) == (ExitCode.FAILED, 0)
    assert hemoglobins(site.sandbox) == ["5.1"]
    assert site.app.workers["lab-fhir"].counts.delivered == 1
    (act,) = site.journal.acts()
    assert (act.verb, act.what["reason"], act.what["released"]) == ("release", "looked at", 1)
    assert act.actor


async def test_a_rejected_result_is_never_delivered_and_stays(site: RunningSite) -> None:
    await send(site, message(1, "5.1"))
    done = await held(site, "reject", "1", "--reason", "clotted", "--yes")
    assert done["done"]["rejected"] == 1
    assert states(site, 1) == {"archive": "delivered", "lab-fhir": "rejected"}

    assert (await site.replay(1))["deliveries"] == 1  # the raw message's
    nothing = await site.labrelay("held", "release", "--all", "--reason", "x", "--yes")
    assert nothing.code == ExitCode.OK
    assert (hemoglobins(site.sandbox), archived(site)) == ([], 1)
    (row,) = (await held(site, "list", "--rejected"))["held"]
    assert (row["message"], row["cause"], row["why"]) == (1, "REJECTED", "haemoglobin is critical (HGB)")
    assert site.journal.acts()[-1].what["reason"] == "clotted"
