"""A destination fails for ten minutes under load: nothing is lost, order is kept, and the other one notices nothing.

The clock is the test's own, so ten minutes take as long as the work that is done in them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.codecs.astm.sender import frames_of
from engine.model.process.clock import ManualClock
from engine.runtime.app import App
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.letters import dead_letters
from tests.support.ports import quiet_ports
from tests.support.running import RunningSite, astm_channel, channel, hl7_channel, make_running_site, running_app
from tests.support.senders import AstmAnalyzer, send_blocks, session
from tests.support.waiting import until
from workbench.bench.messages import astm, control_id, oru
from workbench.sandbox import Faults, Sandbox

Json = dict[str, Any]

STEP_S = 20
STEPS = 30  # ten minutes
# 5 failures open the breaker; then one probe after 10, 20 and 40 s, and one a minute. Two lanes try side by side.
MOST_ATTEMPTS = 5 + 1 + 3 + 11
CHANNELS = {0: "haematology", 1: "chemistry"}
REFUSED = {(0, 4), (1, 7)}  # (channel, number) of messages whose documents the server refuses


@dataclass(frozen=True)
class Trouble:
    """One way of failing.

    Attributes:
        begin: makes the server fail; ``end`` makes it well again.
        reason: why attempts fail, as the page says.
        at_once: the first failure opens the breaker: the destination as a whole is at fault.
        kept: the server keeps what it fails to answer.
    """

    begin: Callable[[Sandbox], Any]
    reason: str
    at_once: bool = False
    kept: bool = False

    async def start(self, sandbox: Sandbox) -> None:
        if (waiting := self.begin(sandbox)) is not None:
            await waiting

    async def end(self, sandbox: Sandbox) -> None:
        sandbox.faults.change(Faults(fail=0.0, html=False, down=False))
        await sandbox.pause()
        await sandbox.start()


def _failing(**faults: Any) -> Callable[[Sandbox], None]:
    return lambda sandbox: sandbox.faults.change(Faults(**faults))


TROUBLES = {
    "port closed": Trouble(lambda sandbox: sandbox.pause(), "NO_ANSWER"),
    "503": Trouble(_failing(fail=1.0, kinds=("503",)), "BUSY"),
    "a page of HTML with 200": Trouble(_failing(html=True), "NOT_FHIR", at_once=True),
    "connections reset": Trouble(_failing(fail=1.0, kinds=("reset",)), "NO_ANSWER"),
    "answers lost": Trouble(_failing(fail=1.0, kinds=("lost",)), "NO_ANSWER", kept=True),
    "answers cut": Trouble(_failing(fail=1.0, kinds=("cut",)), "NO_ANSWER", kept=True),
}


@dataclass
class Laboratory:
    """Two analyzers, a server and an archive, and a clock that only the test moves."""

    site: RunningSite
    clock: ManualClock
    web: str
    sent: dict[int, int] = field(default_factory=lambda: dict.fromkeys(CHANNELS, 0))

    @property
    def app(self) -> App:
        return self.site.app

    async def measure(self, count: int = 1) -> None:
        """Each analyzer sends so many messages more, and gets them acknowledged."""
        for _ in range(count):
            for number in CHANNELS:
                self.sent[number] += 1
            await asyncio.gather(self._send_hl7(), self._send_astm())

    async def _send_hl7(self) -> None:
        message = oru(0, self.sent[0], Random(self.sent[0]))
        (answer,) = await send_blocks(self.site.port(CHANNELS[0]), [message])
        assert f"MSA|AA|{control_id(0, self.sent[0])}\r".encode() in answer

    async def _send_astm(self) -> None:
        records = b"".join(astm(1, self.sent[1], Random(self.sent[1])))
        played = await AstmAnalyzer(self.site.port(CHANNELS[1])).play(
            session(b"".join(frames_of(records, 240, "packed")))
        )
        assert not played.gave_up

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, and let everything act that is due."""
        self.clock.advance(seconds)
        for worker in self.app.parts.delivery_workers.values():
            worker.wake()
        await until(lambda: not any(worker.attempts.in_flight for worker in self.app.parts.delivery_workers.values()))

    async def recover(self) -> None:
        """Let time pass until nothing waits any more."""
        async with asyncio.timeout(240.0):
            while not self.site.is_settled():
                await self.pass_time(30)
                await asyncio.sleep(0)

    async def look(self, path: str) -> str:
        self.clock.advance(2.0)  # a snapshot is two seconds old at most
        async with aiohttp.ClientSession() as client, client.get(f"http://{self.web}{path}") as response:
            assert response.status == 200
            return await response.text()

    async def status(self, destination: str) -> Json:
        rows: list[Json] = json.loads(await self.look("/status.json"))["destinations"]
        return next(row for row in rows if row["name"] == destination)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels."""
        families = text_string_to_metric_families(await self.look("/metrics"))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        assert samples, name
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    # -- what came of it -------------------------------------------------------------------------------------------

    def order_on_server(self, name: str) -> list[int]:
        """Of each document of a channel that the server took: its number in its lane, in the order it first came."""
        keys = {
            delivery.key: delivery.seq
            for view in self.site.messages(name)
            for delivery in self.site.deliveries(view.id)
            if delivery.destination == "lab-fhir"
        }
        return [keys[key] for key in dict.fromkeys(self.site.sandbox.accepted) if key in keys]

    def has_all(self, destination: str) -> bool:
        """Whether everything journaled so far was delivered there."""
        if any(view.stored for view in list_channels(self.site.journal)):
            return False
        return not any(view.open for view in list_lanes(self.site.journal) if view.destination == destination)

    def ends(self, name: str, destination: str) -> list[str]:
        return [
            f"{delivery.state} {delivery.cause}" if delivery.state == "dead" else delivery.state
            for view in self.site.messages(name)
            for delivery in self.site.deliveries(view.id)
            if delivery.destination == destination
        ]


@pytest.fixture
async def laboratory(tmp_path: Path) -> AsyncIterator[Laboratory]:
    sandbox, clock = Sandbox(), ManualClock(datetime.now(UTC))  # the load is of these days
    await sandbox.start()
    (port,) = quiet_ports(1)
    both = {"to": ["lab-fhir", "archive"]}
    haematology, chemistry = hl7_channel(), astm_channel()
    channels = {
        "haematology": channel(haematology["source"], {**haematology["routes"][0], **both}),
        "chemistry": channel(chemistry["source"], {**chemistry["routes"][0], **both}),
    }
    destinations = {
        "lab-fhir": {"kind": "fhir", "url": sandbox.url, "timeout": "5s"},
        "archive": {"kind": "file", "folder": "var/archive"},
    }
    folder = make_running_site(tmp_path, channels, destinations, web=f"127.0.0.1:{port}")
    async with running_app(folder, clock=clock) as app:
        yield Laboratory(RunningSite(folder, app, sandbox), clock, f"127.0.0.1:{port}")
    await sandbox.stop()


def refuse(sandbox: Sandbox) -> None:
    """422 for the documents of `REFUSED`; the numbers of their orders or specimens stand in them."""
    sandbox.faults.refuse = frozenset(f"{'F' if number == 0 else ''}{number:03d}{n:08d}" for number, n in REFUSED)


@pytest.mark.parametrize("kind", TROUBLES)
async def test_after_an_outage_everything_arrives_in_order(laboratory: Laboratory, kind: str) -> None:
    trouble, sandbox = TROUBLES[kind], laboratory.site.sandbox
    refuse(sandbox)
    await laboratory.measure(2)
    await laboratory.site.settled()
    assert await laboratory.metric("labrelay_deliveries_total", destination="lab-fhir") == 4

    await trouble.start(sandbox)
    states = set()
    for _ in range(STEPS):
        await laboratory.measure()
        await laboratory.pass_time(STEP_S)
        states.add((await laboratory.status("lab-fhir"))["state"])
        # The healthy destination is not concerned: it has everything, at every moment.
        await until(lambda: laboratory.has_all("archive"))
    count = 2 + STEPS
    assert laboratory.ends("haematology", "archive") == ["delivered"] * count

    laboratory.app.observer.expire()  # the state of the last step may be from before the archive had it
    failing, healthy = await laboratory.status("lab-fhir"), await laboratory.status("archive")
    assert states <= {"retrying", "breaker_open", "probing"}
    assert "breaker_open" in states
    assert failing["waiting"] == 2 * STEPS
    assert failing["oldest_age_s"] >= STEPS * STEP_S - 1
    assert failing["last_error"]["code"] == failing["retrying"]["code"] == trouble.reason
    assert 1 < failing["retrying"]["attempt"] <= MOST_ATTEMPTS
    assert failing["breaker_until"] is not None
    assert (healthy["state"], healthy["waiting"], healthy["retrying"]) == ("ok", 0, None)
    attempts = await laboratory.metric(
        "labrelay_delivery_failures_total", destination="lab-fhir", reason=trouble.reason
    )
    assert (1 if trouble.at_once else 5) <= attempts <= MOST_ATTEMPTS
    assert await laboratory.metric("labrelay_breaker_opened_total", destination="lab-fhir") >= 1
    assert await laboratory.metric("labrelay_delivery_failures_total", destination="archive") == 0
    assert await laboratory.metric("labrelay_lane_waiting", destination="lab-fhir") == 2 * STEPS

    await trouble.end(sandbox)
    await laboratory.recover()
    for number, name in CHANNELS.items():
        refused = [n for of, n in sorted(REFUSED) if of == number]
        expected = ["dead REFUSED" if n in refused else "delivered" for n in range(1, count + 1)]
        assert laboratory.ends(name, "lab-fhir") == expected
        assert laboratory.order_on_server(name) == [n for n in range(1, count + 1) if n not in refused]
    assert sandbox.count("Provenance") == 2 * count - len(REFUSED)
    assert sandbox.count("Observation") == 20 * (2 * count - len(REFUSED))
    assert (await laboratory.status("lab-fhir"))["state"] == "ok"
    repeats = sum(times - 1 for times in sandbox.deliveries().values())
    assert (repeats > 0) == trouble.kept  # what was kept without an answer came again, under the same key


async def test_more_than_memory_holds_waits_and_arrives_in_order(laboratory: Laboratory) -> None:
    sandbox = laboratory.site.sandbox
    await sandbox.pause()
    await laboratory.measure(160)
    worker = laboratory.app.parts.delivery_workers["lab-fhir"]
    await until(lambda: sum(view.open for view in list_lanes(laboratory.site.journal)) >= 320)
    assert worker.memory.deliveries <= 256

    await sandbox.start()
    await laboratory.recover()
    for name in CHANNELS.values():
        assert laboratory.order_on_server(name) == list(range(1, 161))


async def test_what_the_server_said_of_a_refused_document_is_kept_and_sealed(laboratory: Laboratory) -> None:
    refuse(laboratory.site.sandbox)
    await laboratory.measure(8)
    await laboratory.site.settled()

    dead = [letter for letter in dead_letters(laboratory.site.journal) if letter.delivery_id]
    assert {(letter.channel, letter.reason) for letter in dead} == {(name, "REFUSED") for name in CHANNELS.values()}
    for letter in dead:
        (delivery,) = [one for one in laboratory.site.deliveries(letter.message_id) if one.id == letter.delivery_id]
        assert b'"resourceType":"OperationOutcome"' in delivery.answer
        assert b"refused on purpose" in delivery.answer
        (attempt,) = delivery.attempts
        assert (attempt.cause, attempt.answer) == ("REFUSED", delivery.answer)
    for file in (laboratory.site.folder / "var").glob("journal*"):
        content = file.read_bytes()
        assert b"OperationOutcome" not in content
        assert b"refused on purpose" not in content
    assert laboratory.order_on_server("haematology") == [1, 2, 3, 5, 6, 7, 8]
