"""A batch of histories on one daemon, with sockets, a journal, a server, folders and a ward; step by step."""

import asyncio
import base64
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path

from tests.histories.called import CalledServer
from tests.histories.history import Act, Json
from tests.histories.play import ZONE
from tests.histories.render import here, ordering
from tests.histories.samples.called import CalledSite
from tests.histories.samples.facts import Decision, History, Message, Ordered, Sample, Shown, Step
from tests.histories.samples.oracle import Ended, Finding, Row, judge
from tests.histories.samples.receivers import Believed, in_folder, on_server
from tests.histories.samples.render import Clock, ordered, payload
from tests.histories.samples.site import MARKER, Site, channel, folder, orders_channel, output_of
from tests.histories.senders import Sender
from tests.histories.two_way import Lis
from workbench.sandbox import Faults, Sandbox

QUIET_WITHIN_S = 300.0
LOOK_EVERY_S = 0.05
OPEN = frozenset({"held", "dead", "waiting", "sending"})
ALERTED = "e"
NOWHERE = "http://127.0.0.1:9/"
EARLIER = timedelta(days=5)  # than the first morning a site begins, and targets are in force
OF_LISTS = ("SAMPLE_UNKNOWN", "CHANGE_UNSAID", "OVERTAKEN")  # causes that documents with identifiers do not have
CLOCKS = ("CLOCK", "TIME")  # of a remark that a time is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    history: History
    findings: tuple[Finding, ...]

    @property
    def questions(self) -> frozenset[str]:
        return frozenset(one.question for one in self.findings)


class Ward:
    """Takes alerts, and keeps them by key, each as (state, text)."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length:")[2].partition("\r\n")[0])
            said = json.loads(await reader.readexactly(size))
            self.told[said["key"]].append((said["state"], said["text"]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def play_alone(histories: tuple[History, ...], checkout: Path, work: Path, called: bool = False) -> list[Played]:
    """The same for a process of its own. Nothing is left of ``work``."""
    try:
        return asyncio.run((play_called if called else play)(histories, checkout, work))
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def play(histories: tuple[History, ...], checkout: Path, work: Path) -> list[Played]:
    """Play them on a new site in ``work``, and ask the nine questions of each.

    Raises:
        RuntimeError: the program does not start, or refuses the site.
        TimeoutError: something has no answer, or does not come to rest.
    """
    sandbox, ward = Sandbox(folder=work / "server", seed=1), Ward()
    await sandbox.start()
    site = Site(checkout, work / "site")
    try:
        site.write(histories, sandbox.url, await ward.start())
        return await _Player(histories, site, sandbox, ward, work).play()
    finally:
        await site.stop()
        await sandbox.stop()
        await ward.stop()


async def play_called(histories: tuple[History, ...], checkout: Path, work: Path) -> list[Played]:
    """The same in this process, without a daemon: of histories without orders, and question e is not asked."""
    server = CalledServer(work / "server")
    site = CalledSite(checkout, work / "site", server)
    try:
        site.write(histories, server.url, NOWHERE)
        played = await _Player(histories, site, server, Ward(), work).play()
    finally:
        await site.stop()
        await server.stop()
    asked = ([finding for finding in one.findings if finding.question != ALERTED] for one in played)
    return [replace(one, findings=tuple(findings)) for one, findings in zip(played, asked, strict=True)]


class _Player:
    def __init__(
        self,
        histories: tuple[History, ...],
        site: Site,
        sandbox: Sandbox | CalledServer,
        ward: Ward,
        work: Path,
    ) -> None:
        self._histories, self._site, self._sandbox, self._ward, self._work = histories, site, sandbox, ward, work
        self._morning = datetime.now(ZONE).replace(hour=8, minute=0, second=0, microsecond=0) - timedelta(days=2)
        self._clocks: dict[int, Clock] = {}
        self._senders: dict[str, Sender | Lis] = {}
        self._markers = 0
        self._undone: set[tuple[int, int]] = set()
        self._alarms: dict[int, bool] = {}

    async def play(self) -> list[Played]:
        for place, history in enumerate(self._histories):
            for number, protocol in enumerate(history.protocols):
                self._line(channel(place, number), protocol)
            if history.has_orders:
                self._senders[orders_channel(place)] = Lis(self._site.host, self._site.ports[orders_channel(place)])
        self._line(MARKER, "hl7")
        if isinstance(self._site, CalledSite):
            self._site.begin(self._morning - EARLIER)
        await self._site.start()
        await self._site.set_targets(self._histories, self._morning - EARLIER)
        for steps in self._columns():
            await self._column(steps)
        await self._alerted()
        self._alarms = await self._site.alarms()
        for sender in self._senders.values():
            await sender.close()
        messages = await self._site.messages()
        return [self._ending(place, history, messages) for place, history in enumerate(self._histories)]

    def _line(self, name: str, protocol: str) -> None:
        self._senders[name] = self._site.sender(name, protocol)

    def _columns(self) -> Iterator[dict[int, Step]]:
        """Steps of histories by their places, at once or, by calls, each at its time."""
        whole = [
            [one for one in history.steps if not isinstance(one, Message) or one.carrier == one.id]
            for history in self._histories
        ]
        if not isinstance(self._site, CalledSite):
            for steps in zip_longest(*whole):
                yield {place: step for place, step in enumerate(steps) if step is not None}
            return
        timed: list[tuple[int, int, int, Step]] = []
        for place, some in enumerate(whole):
            minute = 0
            for number, step in enumerate(some):
                minute = step.sent if isinstance(step, Message) else minute
                timed.append((minute, place, number, step))
        for minute, place, _, step in sorted(timed, key=lambda one: one[:3]):
            self._site.set_clock(self._clock(place).instant(minute))
            yield {place: step}

    async def _column(self, steps: dict[int, Step]) -> None:
        """Steps of histories; then all comes to rest."""
        refused = {here(one.sample.order, at) for at, one in steps.items() if isinstance(one, Message) and one.refused}
        self._sandbox.faults.change(Faults(refuse=frozenset(refused)))
        async with asyncio.TaskGroup() as group:
            for place, step in steps.items():
                if isinstance(step, Message):
                    group.create_task(self._say(place, step))
                elif isinstance(step, Ordered):
                    group.create_task(self._order(place, step))
        await self._rest()
        if any(isinstance(one, Message) and one.critical for one in steps.values()):
            await self._alerted()  # it is true now, and need not be so after the next step
        decisions = [(place, step) for place, step in steps.items() if isinstance(step, Decision)]
        for place, step in decisions:
            await self._decide(place, step)
        if decisions:
            await self._rest()

    async def _decide(self, place: int, step: Decision) -> None:
        about = self._histories[place].steps[step.of]
        assert isinstance(about, Message)
        name, data = channel(place, about.shown.channel), self._bytes(place, about)
        if step.act == "close":
            await self._site.close_failures(name)
            return
        messages = [one for one in await self._site.messages([name]) if _is(one, data)]
        if step.act == "take":
            await self._site.take_alerts(one["id"] for one in messages)
        elif not await self._site.act(Act(act=step.act), messages):
            self._undone.add((place, step.of))

    async def _say(self, place: int, message: Message) -> None:
        await self._senders[channel(place, message.shown.channel)].send(message.id, self._bytes(place, message))

    async def _order(self, place: int, step: Ordered) -> None:
        system = self._senders[orders_channel(place)]
        assert isinstance(system, Lis)
        await system.order(step.sample.id, ordering(ordered(step), place))

    def _bytes(self, place: int, message: Step) -> bytes:
        assert isinstance(message, Message)
        if place == len(self._histories):
            return payload([message], "hl7", self._clock(place), place)
        history = self._histories[place]
        return payload(history.carried(message), history.protocols[message.shown.channel], self._clock(place), place)

    def _clock(self, place: int) -> Clock:
        """It begins with the first message about a result."""
        if place not in self._clocks:
            quick = place < len(self._histories) and self._histories[place].has_orders
            self._clocks[place] = Clock(datetime.now(ZONE) if quick else self._morning, quick=quick)
        return self._clocks[place]

    async def _rest(self) -> None:
        async with asyncio.timeout(QUIET_WITHIN_S):
            while not await self._site.is_settled():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(LOOK_EVERY_S)

    async def _alerted(self) -> None:
        """Wait until a last critical value has its alert: then no other has one to come."""
        if isinstance(self._site, CalledSite):
            return
        place = len(self._histories)
        self._markers += 1
        sample = Sample(id=0, person=0, order=f"LAST{self._markers}", at=0)
        last = Message(
            id=0, of=0, carrier=0, control=str(self._markers), sample=sample, about="K", value="9.9", status="F", at=1,
            sent=1, flag="HH", shown=Shown(code="K"),
        )  # fmt: skip
        await self._senders[MARKER].send(0, self._bytes(place, last))
        await self._rest()
        newest = await self._site.newest()
        async with asyncio.timeout(QUIET_WITHIN_S):
            while f"critical/{newest}" not in self._ward.told or await self._site.has_alerts_to_send():
                await self._site.look_for_alerts()

    # -- the end -------------------------------------------------------------------------------------------------------

    def _ending(self, place: int, history: History, messages: list[Json]) -> Played:
        own = [one for one in messages if one["channel"].startswith(channel(place, 0)[:-1])]
        rows: dict[int, tuple[Row, ...]] = {}
        for message in history.messages:
            if message.carrier == message.id:
                data = self._bytes(place, message)
                rows[message.id] = tuple(self._row(one) for one in own if _is(one, data))
        believed, *beside = (self._believed(place, output, own) for output in history.outputs)
        undone = frozenset(of for at, of in self._undone if at == place)
        ended = Ended(
            place=place, clock=self._clock(place), believed=believed, rows=rows, beside=tuple(beside), undone=undone
        )
        return Played(history=history, findings=tuple(judge(history, ended)))

    def _row(self, message: Json) -> Row:
        number, states = message["id"], [one["state"] for one in message["deliveries"]]
        causes = [one["cause"] for one in message["deliveries"] if one["cause"]]
        waits = message["state"] in ("dead", "held", "stored", "incomplete") or not OPEN.isdisjoint(states)
        shown = waits or any(word in code for code in message["issues"] for word in CLOCKS)
        state = " ".join([message["reason"] or message["state"], *states, *causes])
        alarm = {None: "", True: "open", False: "over"}[self._alarms.get(number)]
        doubted = {one["to"] for one in message["deliveries"] if one["state"] == "held" and one["cause"] in OF_LISTS}
        return Row(
            shown=shown, state=state, waits=waits, alarm=alarm, doubted=frozenset(map(output_of, doubted)),
            told=tuple(self._ward.told[f"critical/{number}"]),
        )  # fmt: skip

    def _believed(self, place: int, output: str, messages: list[Json]) -> Believed:
        if output != "fhir":
            return in_folder(output, self._site.folder / folder(place, output))
        documents = [
            json.loads(text)
            for one in messages
            for text in one["documents"].values()
            if text.startswith('{"resourceType"')
        ]
        entries = [entry for document in documents for entry in document.get("entry", ())]
        return on_server(self._work / "server", frozenset(_ident(entry) for entry in entries))


def _is(message: Json, data: bytes) -> bool:
    return base64.b64decode(message["payload"]) == data


def _ident(entry: Json) -> str:
    return str(entry["resource"].get("id") or entry["request"]["url"].rpartition("/")[2])
