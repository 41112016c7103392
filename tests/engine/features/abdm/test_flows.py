"""Across the flows of ABDM: forms of errors, results that never come, the app that asks by itself, both profiles."""

import asyncio
import json
from base64 import b64decode, b64encode
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.flows import reports
from tests.documents.test_abdm_documents import verdict
from tests.engine.features.abdm.test_records import BOTH, WEST, of, two
from tests.support import abdm_records as records
from tests.support.abdm_reports import SETTINGS, oru, write_site
from tests.support.abdm_site import FACILITY, SECRET, AbdmSite, abdm_site, destination, person, report
from tests.support.clocks import MovedClock
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Faults, Settings
from workbench.abdm.faults import ANSWERS, ARRIVALS, FORGED, PUSHES, SHAPES
from workbench.abdm.people import PEOPLE

CALLS = {"generate-token": "on-generate-token", "link": "on-link", "context-notify": "on-context-notify"}
PDF = b"%PDF-1.4\n" + bytes(range(256)) * 8


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("shape", [*SHAPES, "empty"])
async def test_each_form_of_an_error_ends_in_a_link_or_in_a_failure_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shape: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={name: [shape]})) as site:
        await site.ours.offer(report(), person())
        await until(lambda: site.sandbox.state.counts[f"call {name}"] > 0)
        await site.is_clean()

        ((state, reason),) = site.ours.rows("abdm_context", "state, reason")
        assert state in ("linked", "failed")
        assert (state == "linked") == bool(site.sandbox.state.linked)
        assert state == "linked" or reason


@pytest.mark.parametrize("name", CALLS)
async def test_a_result_that_never_comes_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    faults, clock = Faults(callbacks={CALLS[name]: ["dropped"]}), MovedClock()
    both: dict[str, Any] = {"clock": clock, "gateway_clock": clock}
    async with abdm_site(tmp_path, monkeypatch, faults, config=PATIENT, **both) as site:
        number = await site.ours.offer(report(), person())
        await no_result(site, clock, name, 1)
        await site.ours.is_told(number)

        assert site.sandbox.state.counts[f"call {name}"] == 2
        assert len(site.sandbox.state.linked) == 1
        assert await site.ask("/violations") == []


PATIENT = partial(destination, answer_within="5m")


async def no_result(site: AbdmSite, clock: MovedClock, name: str, attempt: int) -> None:
    """The time in which the result of an attempt is waited for passes."""
    await until(
        lambda: site.ours.rows(f"abdm_call WHERE name = '{name}' AND state = 'accepted' AND attempt = {attempt}")
    )
    clock.passed_s += 301
    site.ours.dispatcher.changed()


@pytest.mark.parametrize("name", CALLS)
async def test_a_result_that_comes_after_its_call_was_given_up_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    faults, clock = Faults(callbacks={CALLS[name]: [None, "dropped", "dropped"]}), MovedClock()
    both: dict[str, Any] = {"clock": clock, "gateway_clock": clock}
    async with abdm_site(tmp_path, monkeypatch, faults, config=PATIENT, **both) as site:
        deliver, held, over = site.sandbox._callbacks.deliver, list[Any](), asyncio.Event()

        async def first_late(callback: Any, kind: str) -> None:
            if callback.name == CALLS[name] and not held:
                held.append(callback)
                await over.wait()
            await deliver(callback, kind)

        monkeypatch.setattr(site.sandbox._callbacks, "deliver", first_late)
        number = await site.ours.offer(report(), person())
        for attempt in (1, 2, 3):
            await no_result(site, clock, name, attempt)
        await until(lambda: site.ours.rows("abdm_call WHERE code = 'NO_CALLBACK'"))
        over.set()
        await site.ours.is_told(number)

        assert len(site.sandbox.state.linked) == 1
        assert await site.ask("/violations") == []


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_clock_that_is_set_back_puts_no_call_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    faults, clock = Faults(calls={"generate-token": ["503"] * 1000}), MovedClock(jumped_s=366 * 86_400)
    async with abdm_site(tmp_path, monkeypatch, faults, clock=clock) as site:
        number = await site.ours.offer(report(), person())
        await until(lambda: site.ours.rows("abdm_call WHERE attempt > 3 AND state = 'waiting'"))
        clock.jumped_s = 0.0
        await site.fail(calls={})
        if restarts:
            await site.restart()
        site.ours.dispatcher.changed()
        await site.ours.is_told(number)


async def test_the_app_asks_by_itself_after_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, pull_after_s=0.0) as site:
        await records.published(site, "A-1", value="0.0500")
        await until(lambda: len(site.sandbox.state.documents) == 1)
        await until(lambda: all(one.state == "done" for one in site.sandbox.state.transfers.values()))
        await site.is_clean()

        (shown,) = await records.documents(site)
        assert "0.0500" in json.dumps((await site.ask(f"/app/{PEOPLE[0].address}"))["documents"])
        assert shown["type"] == "document"


def pdf_alone(report: str) -> bytes:
    """The document of a report that is a PDF and nothing else."""
    lines = oru(report).decode().split("\r")
    pdf = f"OBX|1|ED|PDF^Report^L||^application^PDF^Base64^{b64encode(PDF).decode()}||||||F"
    payload = "\r".join([pdf if line.startswith("OBX") else line for line in lines]).encode()
    return bytes(verdict(payload, **SETTINGS).documents[0][0].body)


@pytest.mark.parametrize("pushes", [[], ["503", "html", "reset"], ["lost", "429-after", "lost", "401"]])
async def test_a_report_that_is_a_pdf_alone_arrives_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pushes: list[str]
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(pushes=pushes, retry_after_s=0)) as site:
        await records.published(site, "A-1", body=pdf_alone("A-1"))
        await records.published(site, "A-2", body=pdf_alone("A-2"))
        done = await records.pulled(site, await records.granted(site))
        await site.is_clean()

        assert (done["pages"], done["outcome"]["sessionStatus"]) == (2, "TRANSFERRED")
        shown = await records.documents(site)
        assert [[b64decode(text) for text in texts(one, "data")] for one in shown] == [[PDF], [PDF]]
        assert len(site.sandbox.state.page_keys) == 2


async def test_a_report_that_is_a_pdf_alone_arrives_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1", body=pdf_alone("A-1"))
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        await site.restart()
        await site.fail(reader="up")
        assert (await records.done(site, transaction))["outcome"]["sessionStatus"] == "TRANSFERRED"
        await site.is_clean()

        (shown,) = await records.documents(site)
        assert [b64decode(text) for text in texts(shown, "data")] == [PDF]


async def arrived(site: AbdmSite, facility: str, payload: bytes) -> int:
    """A report of a laboratory as the daemon takes it; the number of its context."""
    body = bytes(verdict(payload, **SETTINGS | {"hfr_id": facility}).documents[0][0].body)
    message_id, document_id = await records.kept(site.ours.journal, body, payload)
    channel = {FACILITY: "chem", WEST: "west"}[facility]
    came = reports.Arrival(facility=facility, channel=channel, message_id=message_id, document_id=document_id)
    number: int = await site.ours.journal.run(reports.keep, site.config, came, reports.read(body))
    site.ours.dispatcher.changed()
    return number


async def test_two_laboratories_that_count_alike_are_apart_from_the_report_to_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accession and patient number are the same in both, and are two people's."""
    async with abdm_site(tmp_path, monkeypatch, config=two, facilities=BOTH) as site:
        hers = await arrived(site, FACILITY, oru("A-1"))
        his = await arrived(site, WEST, oru("A-1", 1, value="99.00").replace(b"PID-1^", b"PID-0^"))
        await site.ours.is_told(hers, his)
        corrected = oru("A-1", 1, value="98.00", minute=9).replace(b"PID-1^", b"PID-0^").replace(b"||CH|F", b"||CH|C")
        assert await arrived(site, WEST, corrected) == his, "a correction is of its own laboratory's report"
        await site.ours.is_told(hers, his)

        assert site.ours.rows("abdm_context ORDER BY number", "state, version") == [("linked", 1), ("linked", 2)]
        assert {key[:2] for key in site.sandbox.state.linked} == {
            (PEOPLE[0].address, FACILITY), (PEOPLE[1].address, WEST),
        }  # fmt: skip
        for who, facility, value in ((0, FACILITY, 148.5), (1, WEST, 98)):
            done = await records.pulled(site, await records.granted(site, who, facility=facility))
            assert (done["pages"], done["outcome"]["sessionStatus"]) == (1, "TRANSFERRED")
            (shown,) = await records.documents(site, who=who)
            assert of(shown, "Observation")[0]["valueQuantity"]["value"] == value
        await site.ask("/app/status", {"patient": PEOPLE[1].address, "status": "DEACTIVATED"})
        await until(lambda: site.ours.states().count("dropped") == 1)
        assert site.ours.rows(f"abdm_context WHERE number = {hers}", "state") == [("linked",)]
        await site.is_clean()


@pytest.mark.parametrize("profile", ["2.0.1", "6.5"])
async def test_records_go_out_in_the_profile_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=partial(destination, profile=profile)) as site:
        await records.published(site, "A-1")
        await records.pulled(site, await records.granted(site))
        await site.is_clean()

        (shown,) = await records.documents(site)
        (patient,) = [one["resource"] for one in shown["entry"] if one["resource"]["resourceType"] == "Patient"]
        types = {code for one in patient["identifier"] for code in texts(one.get("type", {}), "code")}
        assert PEOPLE[0].address in [one["value"] for one in patient["identifier"]]
        assert ("ABHA" in types) == (profile == "6.5"), types


async def test_a_number_with_dashes_goes_out_as_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway answers a number with dashes by 400 without a body."""
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.05, repeats=3))
    await sandbox.start()
    (port,) = quiet_ports(1)
    try:
        async with running_app(write_site(tmp_path, sandbox.url, port)) as app:
            sandbox.state.bridge_url = f"http://127.0.0.1:{port}/abdm"
            source = app.parts.sources["chem"].port
            assert source is not None
            plain = oru("A-1")
            dashed = plain.replace(b"91100000000016", b"91-1000-0000-0016")
            assert dashed != plain
            await send_blocks(source, [dashed])
            await until(lambda: len(sandbox.state.linked) == 1)
            await until(lambda: not app.journal.rows("SELECT 1 FROM abdm_call WHERE state <> 'done'"))
            assert sandbox.violations == []
    finally:
        await sandbox.stop()


# What the simulator can do wrong -> where a flow of the product meets it.
MET = ("test_linking", "test_records", "test_consents", "test_discovery", "test_flows")


def test_each_fault_of_the_simulator_is_met_by_a_flow() -> None:
    sources = "".join((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8") for name in MET)
    kinds = {*ANSWERS, *ARRIVALS, *FORGED, *PUSHES} - set(SHAPES)  # those by their own name above
    assert {kind for kind in kinds if f'"{kind}"' not in sources} == set()


def texts(tree: Any, name: str) -> list[str]:
    """Each text of this name, wherever it is."""
    if isinstance(tree, dict):
        own = [tree[name]] if isinstance(tree.get(name), str) else []
        return own + [text for inner in tree.values() for text in texts(inner, name)]
    return [text for inner in tree for text in texts(inner, name)] if isinstance(tree, list) else []
