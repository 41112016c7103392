"""A site with a channel for every analyzer that can be simulated, and the count afterwards: what was sent, what came.

The daemon is a process of its own, the FHIR server runs in this one, and two analyzers share each channel. What must be
on the server follows from what was acknowledged, once through the channels' own mappings (which have tests of their
own) and once by reading numbers out of the messages with a regular expression.
"""

import asyncio
import os
import re
import tty
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml

from engine.config.load import load_site
from engine.model.errors import LabRelayError
from engine.model.journal.journal_views import Filter
from engine.model.message import Stored
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.units import HostPort
from engine.processing.process import process
from engine.runtime.build import build_site
from engine.store.journal import Journal
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader, stored_payload
from engine.succession.kinds import under
from tests.support.live import Daemon
from tests.support.packs import received
from tests.support.ports import quiet_ports
from workbench.sandbox import Faults, Sandbox
from workbench.simulator.astm import Habits
from workbench.simulator.dialogue import Dialogue, Tally
from workbench.simulator.faults import ALL
from workbench.simulator.packs import Model, find_model, names
from workbench.simulator.play import Analyzer, PlaySettings
from workbench.simulator.shift import Kind, PlannedMessage, shift
from workbench.simulator.wires import ClientWire, Serial, SerialLine, Wire

Json = dict[str, Any]

CHECKOUT = Path(__file__).parents[2]
ANALYZERS_EACH = 2  # on one port
BAUD = 115_200
START = datetime.combine(datetime.now().date() - timedelta(days=1), time(8))  # an analyzer's clock is right
PERSON = re.compile(rb"SIM-\d{5}")
LINKED = (
    "subject",
    "specimen",
    "device",
    "performer",
    "encounter",
    "id",
    "meta",
)  # other resources, or the server's own


def playable() -> Iterator[Model]:
    """Every shipped analyzer whose samples hold a result; those on a serial line last: the others tell who listens."""
    yield from sorted(_playable(), key=lambda model: not model.link.startswith("text"))


def _playable() -> Iterator[Model]:
    for name in names():
        if (CHECKOUT / "analyzers" / name / "channel.yaml").is_file():
            try:
                yield find_model(name)
            except LabRelayError:  # controls only
                continue


class SimulatedDaemon(Daemon):
    """`labrelay run` with the channels of packs, as their own files have them."""

    def __init__(self, folder: Path, models: list[Model], fhir: str) -> None:
        self.models = models
        self.lines: dict[int, int] = {}  # our end of each serial line
        super().__init__(
            folder, ["mllp"] * len(models), f'{{kind: fhir, url: "{fhir}", retry: {{first: 50ms, max: 500ms}}}}'
        )

    def __post_init__(self) -> None:
        self.web_port, *ports = quiet_ports(len(self.models) + 1)
        (self.folder / "config").mkdir(parents=True)
        (self.folder / "channels").mkdir()
        (self.folder / "config" / "labrelay.yaml").write_text(
            "site: {name: Test Lab, timezone: Asia/Kolkata}\n"
            f'web: {{listen: "127.0.0.1:{self.web_port}"}}\n'
            f"destinations:\n  lab-fhir: {self.destination}\n"
        )
        for number, (model, port) in enumerate(zip(self.models, ports, strict=True)):
            self.port_of[number] = port
            text = (CHECKOUT / "analyzers" / model.name / "channel.yaml").read_text(encoding="utf-8")
            channel: Json = yaml.safe_load(text)
            source = {key: value for key, value in channel["source"].items() if key not in ("listen", "connect")}
            if "device" in source:
                self.lines[number], device = os.openpty()
                tty.setraw(self.lines[number])
                tty.setraw(device)  # open here too, so that the line never hangs up
                source |= {"device": os.ttyname(device), "baud": BAUD}
            else:
                source["listen"] = f"127.0.0.1:{port}"
            if model.link == "e1381" and number % 2:
                source["commit"] = "message"
            channel["source"] = source
            channel["patient_numbers"] = "lasting"  # the simulated people keep theirs
            for route in channel["routes"]:
                if "to" in route:
                    route["to"] = ["lab-fhir"]
            (self.folder / "channels" / f"{model.name}.yaml").write_text(yaml.safe_dump(channel, allow_unicode=True))


class _Told(Dialogue):
    """A dialogue that says of each violation which analyzer met it, and what was said before."""

    def __init__(self, tally: Tally, name: str) -> None:
        self._said: deque[str] = deque(maxlen=12)
        super().__init__(self._said.append, tally)
        self._name = name

    def violation(self, text: str) -> None:
        before = "\n    ".join(self._said)
        super().violation(f"{self._name}: {text}, after\n    {before}")


@dataclass
class Simulation:
    """One run. ``sent`` is what was acknowledged, by channel, in no order between its analyzers."""

    daemon: SimulatedDaemon
    sandbox: Sandbox
    tally: Tally = field(default_factory=Tally)
    sent: dict[str, list[PlannedMessage]] = field(default_factory=lambda: defaultdict(list))

    async def play(self, sessions: int, seed: int) -> None:
        """At least so many messages over all channels, with every fault."""
        analyzers = len(self.daemon.models) * ANALYZERS_EACH
        each = -(-sessions // analyzers)
        await asyncio.gather(
            *(
                self._play_one(number, model, seed * 1000 + number * ANALYZERS_EACH + twin, each)
                for number, model in enumerate(self.daemon.models)
                for twin in range(1 if number in self.daemon.lines else ANALYZERS_EACH)
            )
        )

    async def _play_one(self, number: int, model: Model, seed: int, specimens: int) -> None:
        line = self.daemon.lines.get(number)
        wire: Wire = (
            ClientWire(HostPort("127.0.0.1", self.daemon.port_of[number]))
            if line is None
            else SerialLine(line, Serial(baud=BAUD))
        )
        # a busy machine may answer late: the patience of these analyzers is no part of what is shown
        how = PlaySettings(
            faults=ALL, seed=seed, habits=Habits(holds=0.002), again_after=0.05, trickle=0.0002, tries=100
        )
        analyzer = Analyzer(model.link, wire, _Told(self.tally, model.name), how)
        try:
            await analyzer.work(shift(model, seed=seed, start=START, specimens=specimens, controls=True))
        finally:
            await wire.close()
        self.sent[model.name] += analyzer.acknowledged

    async def delivered(self, within_s: float) -> None:
        """Wait until the daemon has nothing left to do.

        Two looks in a row say so: one may have begun before the last message came.
        """
        async with asyncio.timeout(within_s), aiohttp.ClientSession() as session:
            looks = 0
            while looks < 2:
                async with session.get(f"http://127.0.0.1:{self.daemon.web_port}/status.json") as answer:
                    status = await answer.json()
                waiting = sum(
                    channel["stored_waiting"] + sum(lane["waiting"] for lane in channel["lanes"])
                    for channel in status["channels"]
                )
                kept = {channel["name"]: channel["today_received"] for channel in status["channels"]}
                quiet = not waiting and all(kept[name] >= len(sent) for name, sent in self.sent.items())
                looks = looks + 1 if quiet else 0
                await asyncio.sleep(0.2)

    # -- the count -------------------------------------------------------------------------------------------------

    async def count(self) -> "Count":
        """Compare, once the daemon has ended."""
        count = Count()
        site = load_site(self.daemon.folder)
        journal = Reader.beside(self.daemon.folder / "var")
        try:
            assert journal.vault is not None
            built = build_site(site, identity_key=journal.vault.identity_key, clock=SystemClock()).channels
            expected: dict[tuple[str, str], Json] = {}
            for name in built:
                wanted = {sending.payload for sending in self.sent[name]}
                if find_model(name).link.startswith(
                    "text"
                ):  # framing is part of what is sent: taken off once, in peace
                    wanted = {text for payload in wanted for text in received(built[name], [payload])[0]}
                count.take_channel(name, wanted, journal, built[name].routes, expected)
        finally:
            journal.close()
        found = await self._stored("Observation")
        specimens = {one["id"]: one for one in await self._stored("Specimen")}
        patients = {one["id"]: one for one in await self._stored("Patient")}
        count.take_observations(expected, found, specimens, patients, self.sent)
        return count

    async def _stored(self, kind: str) -> list[Json]:
        """Every resource of one type, page by page."""
        found: list[Json] = []
        async with aiohttp.ClientSession() as session:
            url: str | None = f"{self.sandbox.url}/{kind}?_count=500"
            while url is not None:
                async with session.get(url) as answer:
                    bundle = orjson.loads(await answer.read())
                found += [entry["resource"] for entry in bundle.get("entry", [])]
                url = next((link["url"] for link in bundle.get("link", []) if link["relation"] == "next"), None)
        return found


@dataclass
class Count:
    """What is wrong, in words; and how much was looked at."""

    wrong: list[str] = field(default_factory=list)
    looked_at: Counter[str] = field(default_factory=Counter)

    def take_channel(
        self, name: str, wanted: set[bytes], journal: Journal, routes: Any, expected: dict[tuple[str, str], Json]
    ) -> None:
        """What the journal of a channel holds, against what was sent; adds to what the server must have."""
        standing: dict[tuple[str, str], set[str]] = defaultdict(set)  # number of a tube, test -> ids of results
        kept: Counter[bytes] = Counter()
        dead: set[bytes] = set()
        for view in _messages(journal, name):
            if view.reason in ("REPEAT", "ECHO"):  # the same bytes, or the same results
                self.looked_at["repeats"] += 1
                continue
            if view.state == "incomplete":
                self.looked_at["incomplete"] += 1
                continue
            payload = stored_payload(journal, view.id)
            kept[payload] += view.equal_to is None  # nothing shows that it is a repeat: taken, and flagged
            stored = Stored(
                id=view.id,
                channel=name,
                seq=view.seq,
                payload=payload,
                received_us=view.received_us,
                equal_to=view.equal_to,
            )
            verdict = process(stored, routes)
            state = verdict.reason.value if verdict.reason else verdict.state
            self.looked_at[state] += 1
            if verdict.state != "mapped":
                dead.add(payload)
            if (view.reason or view.state) != state:
                self.wrong.append(f"{name}: message {view.id} is {view.reason or view.state}, and should be {state}")
            trace = trace_of(journal, view.id)
            assert trace is not None
            made: dict[str, Json] = {}
            tests: dict[str, list[tuple[str, str]]] = {}
            for place, (document, route) in enumerate(verdict.documents, 1):
                # A correction has the id of the result that it corrects, also where its own would be another.
                body = under(document, route.form, trace.facts.get(place))
                entries = orjson.loads(body or b'{"entry": []}')["entry"]
                tubes = {entry["fullUrl"]: entry["resource"].get("identifier", []) for entry in entries}
                for entry in entries:
                    kind, _, ident = entry["request"]["url"].partition("/")
                    if kind == "Observation" and ident:
                        made[ident] = one = entry["resource"]
                        numbers = tubes.get(one.get("specimen", {}).get("reference"), [])
                        tests[ident] = [(number["value"], str(one["code"])) for number in numbers]
            nameless = not any(report.patient for document, _ in verdict.documents for report in document.reports)
            if nameless and any(one.cause == ReasonCode.CORRECTS_UNKNOWN.value for one in trace.deliveries):
                self.looked_at["held, for its tube has several such results"] += 1  # a person says which is meant
                if not any(len(standing[test]) > 1 for some in tests.values() for test in some):
                    self.wrong.append(f"{name}: message {view.id} is held, and its tube has no two results of a test")
                continue
            for ident, one in made.items():
                expected["Observation", ident] = one
                for test in tests[ident]:
                    standing[test].add(ident)
        self.looked_at["messages"] += len(wanted)
        self._note(f"{name}: acknowledged and not in the journal", wanted - set(kept))
        self._note(f"{name}: in the journal, and never sent", set(kept) - wanted)
        # What is dead or filtered may come again: it is no first copy, for nothing of it was delivered.
        self._note(f"{name}: taken more than once", {p for p, times in kept.items() if times > 1 and p not in dead})

    def _note(self, words: str, which: Collection[object]) -> None:
        if which:
            self.wrong.append(f"{words}: {len(which)}")

    def take_observations(
        self,
        expected: dict[tuple[str, str], Json],
        found: list[Json],
        specimens: dict[str, Json],
        patients: dict[str, Json],
        sent: dict[str, list[PlannedMessage]],
    ) -> None:
        """The results on the server, against those that were sent."""
        here = {("Observation", one["id"]): one for one in found}
        self.looked_at["results"] += len(here)
        self._note("results are missing", set(expected) - set(here))
        self._note("results were invented", set(here) - set(expected))
        for ident in set(expected) & set(here):
            if _plain(expected[ident]) != _plain(here[ident]):
                self.wrong.append(f"{ident[1]} differs from what was sent")
        person_of: dict[str, str] = {}
        for sendings in sent.values():
            for sending in sendings:
                people = set(PERSON.findall(sending.payload))
                if sending.kind is not Kind.CONTROL and len(people) == 1:
                    person_of |= dict.fromkeys(sending.numbers, people.pop().decode())
        for one in found:
            specimen = specimens.get(_target(one, "specimen"))
            numbers = {entry["value"] for entry in (specimen or {}).get("identifier", [])}
            person = next((person_of[number] for number in numbers if number in person_of), None)
            if person is None:
                continue
            self.looked_at["results of a known patient"] += 1
            patient = patients.get(_target(one, "subject"), {})
            if person not in {entry["value"] for entry in patient.get("identifier", [])}:
                self.wrong.append(f"a result of {sorted(numbers)} is not {person}'s")


def _messages(journal: Journal, channel: str) -> Iterator[Any]:
    """Oldest first."""
    views: list[Any] = []
    before: int | None = None
    while page := messages_page(journal, Filter(channel=channel), before_id=before, limit=500):
        views += page
        before = page[-1].id
    return reversed(views)


def _plain(resource: Json) -> Json:
    return {key: value for key, value in resource.items() if key not in LINKED}


def _target(resource: Json, name: str) -> str:
    """The id that a reference leads to."""
    return str(resource.get(name, {}).get("reference", "")).rpartition("/")[2]


def sandbox_in_trouble(seed: int) -> Sandbox:
    """A server that fails one write in twenty, before or after it was kept."""
    return Sandbox(host="127.0.0.1", port=0, faults=Faults(fail=0.05, kinds=("503", "reset", "lost")), seed=seed)
