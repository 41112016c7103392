"""Results that a rule of their route keeps back, in a running site: only a person lets them go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.store.queries.acts import acts_page
from tests.support.command_line import labrelay
from tests.support.large import all_large
from tests.support.mapping_texts import HL7
from tests.support.running import HL7_ROUTE, MLLP, QUICK, Json, RunningSite, channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks
from tests.support.values import mentions
from tests.support.waiting import until
from workbench.sandbox import Sandbox

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


def without_colour(text: bytes) -> bytes:
    """A message of one result."""
    return b"\r".join(line for line in text.split(b"\r") if not line.startswith((b"OBX|2", b"NTE")))


@contextlib.asynccontextmanager
async def running(folder: Path, sandbox: Sandbox, *routes: Mapping[str, Any]) -> AsyncIterator[RunningSite]:
    if not (folder / "config").exists():
        destinations: dict[str, Json] = {
            "archive": {"kind": "file", "folder": "archive"},
            "lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK},
            "second": {"kind": "file", "folder": "second"},
        }
        make_running_site(folder, {"lab": channel(MLLP, *routes)}, destinations)
    async with running_app(folder) as app:
        yield RunningSite(folder, app, sandbox)


def held_route(hold: Any = (CRITICAL,), **more: Any) -> Json:
    return {**HL7_ROUTE, "hold": list(hold) if isinstance(hold, tuple) else hold, **more}


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


def ends(site: RunningSite) -> list[str]:
    """What became of each message for the server, in the order they came."""
    return [states(site, view.id).get("lab-fhir", view.reason) for view in site.messages()]


def archived(site: RunningSite) -> int:
    return sum(path.is_file() for path in (site.folder / "archive").rglob("*"))


async def test_a_held_result_waits_for_a_person_and_nobody_waits_for_it(site: RunningSite) -> None:
    await send(site, message(1, "5.1"), message(2, "14.8"))

    assert states(site, 1) == {"archive": "delivered", "lab-fhir": "held"}  # the raw route has no rules
    assert site.app.parts.delivery_workers["lab-fhir"].memory.deliveries == 0
    assert states(site, 2) == {"archive": "delivered", "lab-fhir": "delivered"}
    assert (hemoglobins(site.sandbox), archived(site)) == (["14.8"], 2)
    (row,) = (await held(site, "list"))["held"]
    assert (row["message"], row["channel"], row["destination"]) == (1, "lab", "lab-fhir")
    assert (row["code"], row["why"]) == ("HELD_BY_RULE", "haemoglobin is critical (HGB)")

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
    assert site.app.parts.delivery_workers["lab-fhir"].counts.delivered == 1
    end, act, begun = acts_page(site.journal)
    assert (act.verb, act.what["reason"], act.what["released"]) == ("release", "looked at", 1)
    assert act.what["messages"] == [1]
    assert (begun.actor, begun.verb, begun.what["reason"]) == (act.actor, "release", "looked at")
    assert (end.ended, end.what) == (begun.id, {"released": 1})
    assert act.actor


async def test_a_rejected_result_is_never_delivered_and_stays(site: RunningSite) -> None:
    await send(site, message(1, "5.1"))
    done = await held(site, "reject", "1", "--reason", "clotted", "--yes")
    assert done["done"]["rejected"] == 1
    assert states(site, 1) == {"archive": "delivered", "lab-fhir": "rejected"}

    assert await site.replay(1) == {"requeued": 1}  # the raw message's
    nothing = await site.labrelay("held", "release", "--all", "--reason", "x", "--yes")
    assert nothing.code == ExitCode.OK
    assert (hemoglobins(site.sandbox), archived(site)) == ([], 1)
    (row,) = (await held(site, "list", "--rejected"))["held"]
    assert (row["message"], row["code"], row["why"]) == (1, "REJECTED", "haemoglobin is critical (HGB)")
    assert acts_page(site.journal)[-1].what["reason"] == "clotted"


async def test_neither_retry_nor_dismissal_of_dead_letters_touches_what_is_held(site: RunningSite) -> None:
    await send(site, message(1, "5.1"))
    for verb in (("retry",), ("dismiss", "--reason", "x")):
        ran = await site.labrelay("dlq", *verb, "--all", "--yes", "-o", "json")
        assert (ran.code, ran.json["count"]) == (ExitCode.OK, 0)
    assert (await site.labrelay("dlq", "list", "-o", "json")).json["dead_letters"] == []
    assert states(site, 1)["lab-fhir"] == "held"
    listed = await site.labrelay("messages", "list", "--state", "held", "-o", "json")
    assert [row["id"] for row in listed.json["messages"]] == [1]


async def test_what_is_held_is_shown_without_values_unless_somebody_asks(site: RunningSite) -> None:
    await send(site, message(1, "5.1"))
    masked = await site.labrelay("held", "show", "1", "-o", "json")
    people = await site.labrelay("held", "show", "1")

    (row,) = masked.json["held"]
    assert row["why"] == "haemoglobin is critical (HGB)"
    assert row["help"].startswith("A rule of the route")
    assert row["results"][0] == {
        "codes": ["HGB"],
        "flags": ["N"],
        "status": "final",
        "unit": "g/dL",
        "held": True,
    }
    assert not any(mentions(one, "5.1") or "Canary" in one for one in (masked.out, people.out))
    assert acts_page(site.journal) == []

    shown = (await site.labrelay("held", "show", "1", "--unmask", "--purpose", "a test", "-o", "json")).json
    assert shown["held"][0]["results"][0]["value"] == "5.1"
    assert "5.1 g/dL" in (await site.labrelay("held", "show", "1", "--unmask", "--purpose", "a test")).out
    assert [act.verb for act in acts_page(site.journal)] == ["unmask", "unmask"]
    assert (await site.labrelay("held", "show", "2")).code == ExitCode.FAILED


async def test_a_release_needs_a_reason_and_a_choice(site: RunningSite) -> None:
    await send(site, message(1, "5.1"), message(2, "5.2"), message(3, "5.3"))
    assert (await site.labrelay("held", "release", "1", "--yes")).code == ExitCode.USAGE
    assert (await site.labrelay("held", "release", "1", "--reason", " ", "--yes")).code == ExitCode.REFUSED
    assert (await site.labrelay("held", "release", "--reason", "x", "--yes")).code == ExitCode.USAGE
    assert (await site.labrelay("held", "release", "1", "--reason", "x")).code == ExitCode.REFUSED  # nobody was asked
    assert (await site.labrelay("held", "reject", "--reason", "x", "--yes")).code == ExitCode.USAGE
    assert (await held(site, "release", "--all", "--reason", "x", "--dry-run"))["count"] == 3
    assert hemoglobins(site.sandbox) == []

    done = (await held(site, "release", "--channel", "lab", "--code", "HELD_BY_RULE", "--reason", "x", "--yes"))["done"]
    assert done["released"] == 3
    assert hemoglobins(site.sandbox) == ["5.1", "5.2", "5.3"]


async def test_what_is_held_while_a_person_says_yes_is_not_released_with_the_rest(
    site: RunningSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(site, message(1, "6.1"))
    loop = asyncio.get_running_loop()

    def thinking_it_over(_question: str, *, yes: bool) -> None:
        asyncio.run_coroutine_threadsafe(send(site, message(2, "5.2")), loop).result(20)

    monkeypatch.setattr("engine.commands.shared.acting.consent", thinking_it_over)
    ran = await held(site, "release", "--all", "--reason", "looked at", "--yes")
    assert (ran["count"], ran["done"]["released"]) == (1, 1)
    assert site.ends("lab") == ["delivered", "held"]


async def test_it_stays_held_over_a_restart_and_is_released_without_a_daemon(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, held_route()) as site:
        await send(site, message(1, "5.1"), message(2, "5.2"))
    async with running(tmp_path, sandbox) as site:
        await send(site, message(3))
        assert [states(site, n) for n in (1, 2, 3)] == [{"lab-fhir": state} for state in ("held", "held", "delivered")]
    assert hemoglobins(sandbox) == ["14.8"]

    released = await asyncio.to_thread(
        labrelay, "held", "release", "1", "--reason", "seen", "--yes", "-o", "json", site=tmp_path
    )
    rejected = await asyncio.to_thread(labrelay, "held", "reject", "2", "--reason", "clot", "--yes", site=tmp_path)
    assert (released.json["done"]["released"], rejected.code) == (1, ExitCode.OK)
    assert hemoglobins(sandbox) == ["14.8"]
    async with running(tmp_path, sandbox) as site:
        await site.settled()
        assert hemoglobins(sandbox) == ["14.8", "5.1"]
        verbs = [act.verb for act in acts_page(site.journal)]
        assert verbs == ["", "reject", "reject", "", "release", "release"], "beginning, step and end of each operation"


async def test_each_route_has_rules_of_its_own(tmp_path: Path, sandbox: Sandbox) -> None:
    low, high = held_route("=code == 'HGB' and value < 7"), held_route("=code == 'HGB' and value > 20", to="second")
    async with running(tmp_path, sandbox, low, {**high, "when": "=MSH-9.1 == 'ORU'"}) as site:
        await send(site, message(1, "5.1"), message(2, "21"), message(3))
        found = [states(site, n) for n in (1, 2, 3)]
    assert found == [
        {"lab-fhir": "held", "second": "delivered"},
        {"lab-fhir": "delivered", "second": "held"},
        {"lab-fhir": "delivered", "second": "delivered"},
    ]


async def test_the_page_says_how_many_wait_and_for_how_long(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, held_route()) as site:

        def held_lanes() -> int:
            return sum(lane.held for one in site.app.observer.snapshot().channels for lane in one.lanes)

        await send(site, message(1, "5.1"), message(2, "5.2"))
        await until(lambda: held_lanes() == 2, 240.0)  # a look is kept for a moment
        told = (await site.labrelay("status", "-o", "json")).json
        (lane,) = told["channels"][0]["lanes"]
        assert (lane["held"], lane["waiting"], lane["dead"]) == (2, 0, 0)
        assert 0 <= lane["held_age_s"] < 600
        assert told["overall"]["level"] == "attention"
        assert any(one["words"].startswith("Held back: 2, the oldest for") for one in told["findings"])
        await release(site, 1)
        await held(site, "reject", "2", "--reason", "x", "--yes")
        await until(lambda: held_lanes() == 0, 240.0)
        (lane,) = (await site.labrelay("status", "-o", "json")).json["channels"][0]["lanes"]
        assert (lane["held"], lane["held_age_s"]) == (0, None)


# -- what comes meanwhile --------------------------------------------------------------------------------------------


async def test_a_correction_passes_and_the_older_one_is_not_sent_any_more(site: RunningSite) -> None:
    await send(site, message(1, "5.1", order="A", patient="9"))
    await send(site, message(2, "12.5", order="A", patient="9", status="C"))
    assert hemoglobins(site.sandbox) == ["12.5"]
    shown = (await site.labrelay("held", "show", "1", "-o", "json")).json["held"][0]
    assert shown["newer_delivered"] == "whole"

    assert await release(site, 1) == {"superseded": 1}
    assert states(site, 1)["lab-fhir"] == "superseded"
    assert hemoglobins(site.sandbox) == ["12.5"]


async def test_other_tests_of_the_order_pass_and_take_nothing_from_what_is_held(site: RunningSite) -> None:
    await send(site, message(1, "5.1", order="A", patient="9"))
    await send(site, without_colour(message(2, "300", order="A", patient="9", test="PLT^Platelets")))
    assert hemoglobins(site.sandbox) == ["300"]

    assert await release(site, 1) == {"released": 1}
    assert hemoglobins(site.sandbox) == ["300", "5.1"]


async def test_where_newer_messages_have_part_of_it_nothing_is_undone_and_nothing_lost(site: RunningSite) -> None:
    await send(site, message(1, "5.1", order="A", patient="9"))
    await send(site, without_colour(message(2, "12.5", order="A", patient="9", status="C")))
    assert hemoglobins(site.sandbox) == ["12.5"]

    ran = await site.labrelay("held", "release", "1", "--reason", "x", "--yes", "-o", "json")
    assert (ran.code, ran.json["done"]["overtaken"]) == (ExitCode.PARTLY, 1)
    (row,) = (await held(site, "list"))["held"]
    assert (row["code"], states(site, 1)["lab-fhir"]) == ("OVERTAKEN", "held")
    assert hemoglobins(site.sandbox) == ["12.5"]
    assert (await held(site, "reject", "1", "--reason", "sent again", "--yes"))["done"]["rejected"] == 1


async def test_a_newer_one_that_is_released_first_supersedes_the_older(site: RunningSite) -> None:
    await send(site, message(1, "5.1", order="A", patient="9"), message(2, "5.2", order="A", patient="9"))
    assert await release(site, 2) == {"released": 1}
    assert await release(site, 1) == {"superseded": 1}
    assert hemoglobins(site.sandbox) == ["5.2"]


async def test_released_together_they_go_in_their_order(site: RunningSite) -> None:
    await send(site, message(1, "5.1", order="A", patient="9"), message(2, "5.2", order="A", patient="9"))
    assert await release(site, 2, 1) == {"released": 2}
    assert hemoglobins(site.sandbox) == ["5.2"]
    assert [states(site, n)["lab-fhir"] for n in (1, 2)] == ["delivered", "delivered"]


async def test_the_same_bytes_are_a_repeat_while_held_and_held_again_after_a_rejection(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with running(tmp_path, sandbox, held_route()) as site:
        await send(site, message(1), message(2))  # now the control id is known to change
        await send(site, message(3, "5.1"), message(3, "5.1"))
        assert ends(site)[2:] == ["held", "REPEAT"]
        await held(site, "reject", "3", "--reason", "clotted", "--yes")
        await send(site, message(3, "5.1"))
        assert ends(site)[2:] == ["rejected", "REPEAT", "held"]
        (row,) = (await held(site, "list"))["held"]
        assert row["code"] == "REJECTED_BEFORE"
        assert "haemoglobin is critical" in row["why"]
        assert "message 3" in row["why"]


async def test_a_rejected_result_keeps_its_numbers_from_nobody(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, held_route()) as site:
        await send(site, message(1, "5.1", order="A", patient="8"))  # the wrong patient, typed at the analyzer
        await held(site, "reject", "1", "--reason", "wrong patient", "--yes")
        await send(site, message(2, "14.8", order="A", patient="9"))
        assert ends(site) == ["rejected", "delivered"]


# -- the past --------------------------------------------------------------------------------------------------------

DELTA = {"when": "=code == 'HGB' and previous('7d') and abs(delta('7d')) > 2", "reason": "changed by more than 2"}


def at(day: int) -> str:
    return f"202603{day:02}094500"


async def test_a_value_is_compared_with_the_last_one_of_the_patient(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, held_route((DELTA,))) as site:
        await send(
            site,
            message(1, "14.0", patient="9", at=at(1)),  # nothing before it
            message(2, "10.0", patient="8", at=at(2)),  # another patient
            message(3, "15.0", patient="9", at=at(2)),  # by 1.0
            message(4, "10.0", patient="9", at=at(3)),  # by 5.0
        )
        found = [states(site, n)["lab-fhir"] for n in range(1, 5)]
        assert found == ["delivered", "delivered", "delivered", "held"]
        shown = (await site.labrelay("held", "show", "4", "--unmask", "--purpose", "a test", "-o", "json")).json
        assert shown["held"][0]["results"][0]["earlier"] == "15.0"
    async with running(tmp_path, sandbox) as site:  # the memory is the journal's
        await send(
            site,
            message(5, "15.1", patient="9", at=at(4)),  # a held value is nothing to compare with
            message(6, "10.1", patient="9", at=at(12)),  # the last one is more than a week old
        )
        assert ends(site)[4:] == ["delivered", "delivered"]


async def test_a_released_value_is_what_the_next_is_compared_with_and_a_rejected_one_never(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with running(tmp_path, sandbox, held_route((DELTA,))) as site:
        await send(site, message(1, "14.0", patient="9", at=at(1)), message(2, "10.0", patient="9", at=at(2)))
        await send(site, message(3, "14.0", patient="8", at=at(1)), message(4, "10.0", patient="8", at=at(2)))
        assert await release(site, 2) == {"released": 1}
        await held(site, "reject", "4", "--reason", "swapped", "--yes")
        await send(site, message(5, "10.5", patient="9", at=at(3)), message(6, "10.5", patient="8", at=at(3)))
        assert ends(site)[4:] == ["delivered", "held"]


async def test_a_correction_is_not_compared_with_what_it_corrects(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, held_route((DELTA,))) as site:
        await send(
            site,
            message(1, "14.0", order="A", patient="9", at=at(1)),
            message(2, "17.0", order="A", patient="9", at=at(1), status="C"),
            message(3, "14.2", order="B", patient="9", at=at(2)),  # against the corrected 17.0
        )
        assert [states(site, n)["lab-fhir"] for n in (1, 2, 3)] == ["delivered", "delivered", "held"]


async def test_no_earlier_value_stands_in_the_journal_in_clear(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, held_route((DELTA,))) as site:
        await send(site, message(1, "14.123456", patient="9", at=at(1)))
    for path in (tmp_path / "var").glob("journal*"):
        assert b"14.123456" not in path.read_bytes()


async def test_limits_of_the_site_and_a_reload_takes_changed_ones(tmp_path: Path, sandbox: Sandbox) -> None:
    table = tmp_path / "mappings/tables/critical.csv"
    table.parent.mkdir(parents=True)
    table.write_text("code,unit,low,high\nHGB,g/dL,7,20\n")
    async with running(tmp_path, sandbox, held_route("=critical('critical')")) as site:
        await send(site, message(1, "7.5"), message(2, "6.9"))
        table.write_text("code,unit,low,high\nHGB,g/dL,8,20\n")
        assert (await site.labrelay("reload")).code == ExitCode.OK
        await send(site, message(3, "7.5"))
        assert ends(site) == ["delivered", "held", "held"]
        table.write_text("code,unit,low,high\nHGB,g/dL,eight,20\n")
        assert (await site.labrelay("reload")).code == ExitCode.CONFIG
        await send(site, message(4, "7.5"))
        assert ends(site)[-1] == "held"


# -- controls --------------------------------------------------------------------------------------------------------

QC = {"when": "=code == 'HGB' and qc_failed('24h')", "reason": "a control failed"}


def control(number: int, flag: str, level: str = "L1") -> bytes:
    """A control run, as analyzers mark one: OBR-15.7 is Q."""
    found = message(number, "14.0", order=f"QC-{level}").decode().split("\r")
    order = found[2].split("|")
    order += [""] * (16 - len(order))
    order[15] = "^^^^^^Q"
    found[2] = "|".join(order)
    return "\r".join(found).replace("|N|||F|", f"|{flag}|||F|").encode()


async def test_after_a_failed_control_results_wait_until_one_passes(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, held_route((QC,))) as site:
        await send(site, message(1))
        await send(site, control(2, "N"), message(3))
        await send(site, control(4, "H"), message(5), control(6, "N", level="L2"), message(7))
        await send(site, control(8, "N"), message(9))
        assert [site.end_of(n) for n in (2, 4, 6, 8)] == ["QUALITY_CONTROL"] * 4
        found = [(row["message"], row["code"]) for row in (await held(site, "list"))["held"]]
    assert found == [(7, "HELD_BY_RULE"), (5, "HELD_BY_RULE"), (1, "HOLD_UNDECIDED")]


# -- two processes, and messages that are processed again --------------------------------------------------------------


async def test_of_large_messages_the_same_is_held(tmp_path: Path, sandbox: Sandbox) -> None:
    destinations: dict[str, Json] = {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}}
    make_running_site(tmp_path, {"lab": channel(MLLP, held_route((CRITICAL, DELTA, QC)))}, destinations)
    with all_large():
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, sandbox)
            await send(site, control(1, "N"), message(2, "14.0", patient="9", at=at(1)))
            await send(site, message(3, "10.0", patient="9", at=at(2)), message(4, "5.0"), control(5, "H"), message(6))
            whys = {row["message"]: row["why"] for row in (await held(site, "list"))["held"]}
            assert states(site, 2) == {"lab-fhir": "delivered"}
    assert whys == {
        3: "changed by more than 2 (HGB)",
        4: "haemoglobin is critical (HGB)",
        6: "a control failed (HGB)",
    }


async def test_a_dead_message_that_is_retried_is_asked_about_as_well(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, {**held_route(), "when": "=MSH-9.1 == 'ADT'"}) as site:
        await send(site, message(1, "5.1"))
        assert site.end_of(1) == "NO_ROUTE"
    text = (tmp_path / "channels/lab.yaml").read_text().replace("ADT", "ORU")
    (tmp_path / "channels/lab.yaml").write_text(text)
    async with running(tmp_path, sandbox) as site:
        await site.retry(1)
        assert states(site, 1) == {"lab-fhir": "held"}
        assert hemoglobins(sandbox) == []


async def test_bytes_that_were_dismissed_are_held_also_where_a_retry_makes_their_documents(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with running(tmp_path, sandbox, {**HL7_ROUTE, "when": "=MSH-9.1 == 'ADT'"}) as site:
        await send(site, message(1))
        await site.labrelay("dlq", "dismiss", "1", "--reason", "wrong tube", "--yes")
        await send(site, message(1))
        (first, second) = (view.id for view in site.messages())
        assert site.end_of(second) == "NO_ROUTE"
    text = (tmp_path / "channels/lab.yaml").read_text().replace("ADT", "ORU")
    (tmp_path / "channels/lab.yaml").write_text(text)
    async with running(tmp_path, sandbox) as site:
        await site.retry(second)
        (row,) = (await held(site, "list"))["held"]
        assert (row["message"], row["code"]) == (second, "REJECTED_BEFORE")
        assert f"message {first}," in row["why"]
        assert hemoglobins(sandbox) == []


async def test_what_differs_after_a_new_mapping_is_asked_about_as_well(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox, held_route("=unit == 'g/L' and value > 140")) as site:
        await send(site, message(1))
        (tmp_path / "mappings/tables").mkdir(parents=True)
        (tmp_path / "mappings/tables/mine.csv").write_text(
            "code,unit_in,loinc,display,type,unit,ucum,factor,digits\n"
            "HGB,g/dL,718-7,Hemoglobin [Mass/volume] in Blood,NM,g/L,g/L,10,0\n"
        )
        text = (tmp_path / "channels/lab.yaml").read_text()
        (tmp_path / "channels/lab.yaml").write_text(text + "settings: {tables: {analytes: tables/mine.csv}}\n")
        assert (await site.labrelay("reload")).code == ExitCode.OK
        ran = await site.labrelay("reprocess", "--channel", "lab", "--since", "1h", "--apply", "--reason", "x", "--yes")
        assert (ran.code, ran.out.splitlines()[-3:]) == (
            ExitCode.PARTLY,
            [
                "1 message: 1 differs, 0 do not",
                "1 message mapped anew, and queued where it differs",
                "1 document is held: labrelay held list says why",
            ],
        )
        await site.settled()
        assert [one.state for one in site.deliveries(1)] == ["delivered", "held"]
        assert hemoglobins(sandbox) == ["14.8"]
        assert await release(site, 1) == {"released": 1}
        assert hemoglobins(sandbox) == ["148"]
