"""A batch of histories on one daemon, with sockets, a journal, a server, folders and a ward; step by step."""

import asyncio
import base64
import json
import shutil
from collections import defaultdict
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
from tests.histories.samples.site import MARKER, Site, channel, folder, orders_channel
from tests.histories.senders import Sender
from tests.histories.two_way import Lis
from workbench.sandbox import Faults, Sandbox

QUIET_WITHIN_S = 300.0
LOOK_EVERY_S = 0.05
OPEN = frozenset({"held", "dead", "waiting", "sending"})
ALERTED = "e"
NOWHERE = "http://127.0.0.1:9/"
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
    """Play them on a new site in ``work``, and ask the five questions of each.

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
        played = await _Player(histories, site, server, Ward(), work, is_called=True).play()
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
        *,
        is_called: bool = False,
    ) -> None:
        self._histories, self._site, self._sandbox, self._ward, self._work = histories, site, sandbox, ward, work
        self._morning = datetime.now(ZONE).replace(hour=8, minute=0, second=0, microsecond=0) - timedelta(days=2)
        self._is_called = is_called  # then nothing alerts
        self._clocks: dict[int, Clock] = {}
        self._senders: dict[str, Sender | Lis] = {}
        self._markers = 0

    async def play(self) -> list[Played]:
        for place, history in enumerate(self._histories):
            for number, protocol in enumerate(history.protocols):
                self._line(channel(place, number), protocol)
            if history.has_orders:
                self._senders[orders_channel(place)] = Lis(self._site.host, self._site.ports[orders_channel(place)])
        self._line(MARKER, "hl7")
        await self._site.start()
        for steps in zip_longest(*(history.steps for history in self._histories)):
            await self._column(steps)
        await self._alerted()
        for sender in self._senders.values():
            await sender.close()
        messages = await self._site.messages()
        return [self._ending(place, history, messages) for place, history in enumerate(self._histories)]

    def _line(self, name: str, protocol: str) -> None:
        self._senders[name] = self._site.sender(name, protocol)

    async def _column(self, steps: tuple[Step | None, ...]) -> None:
        """The next step of each history; then all comes to rest."""
        refused = {
            here(one.sample.order, at) for at, one in enumerate(steps) if isinstance(one, Message) and one.refused
        }
        self._sandbox.faults.change(Faults(refuse=frozenset(refused)))
        async with asyncio.TaskGroup() as group:
            for place, step in enumerate(steps):
                if isinstance(step, Message):
                    group.create_task(self._say(place, step))
                elif isinstance(step, Ordered):
                    group.create_task(self._order(place, step))
        await self._rest()
        if any(isinstance(one, Message) and one.critical for one in steps):
            await self._alerted()  # it is true now, and need not be so after the next step
        decisions = [(place, step) for place, step in enumerate(steps) if isinstance(step, Decision)]
        messages = await self._site.messages() if decisions else []
        for place, step in decisions:
            data = self._bytes(place, self._histories[place].steps[step.of])
            await self._site.act(Act(act=step.act), [one for one in messages if _is(one, data)])
        await self._rest()

    async def _say(self, place: int, message: Message) -> None:
        await self._senders[channel(place, message.shown.channel)].send(message.id, self._bytes(place, message))

    async def _order(self, place: int, step: Ordered) -> None:
        system = self._senders[orders_channel(place)]
        assert isinstance(system, Lis)
        await system.order(step.sample.id, ordering(ordered(step), place))

    def _bytes(self, place: int, message: Step) -> bytes:
        assert isinstance(message, Message)
        return payload(message, self._histories[place].protocols[message.shown.channel], self._clock(place), place)

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
        if self._is_called:
            return
        place = len(self._histories)
        self._markers += 1
        sample = Sample(id=0, person=0, order=f"LAST{self._markers}", at=0)
        last = Message(
            id=0, of=0, control=str(self._markers), sample=sample, about="K", value="9.9", status="F", at=1, sent=1,
            flag="HH", shown=Shown(code="K"),
        )  # fmt: skip
        await self._senders[MARKER].send(0, payload(last, "hl7", self._clock(place), place))
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
            data = self._bytes(place, message)
            rows[message.id] = tuple(self._row(one) for one in own if _is(one, data))
        ended = Ended(place=place, clock=self._clock(place), believed=self._believed(place, history, own), rows=rows)
        return Played(history=history, findings=tuple(judge(history, ended)))

    def _row(self, message: Json) -> Row:
        states = [one["state"] for one in message["deliveries"]]
        causes = [one["cause"] for one in message["deliveries"] if one["cause"]]
        shown = message["state"] in ("dead", "held", "stored", "incomplete") or not OPEN.isdisjoint(states)
        shown |= any(word in code for code in message["issues"] for word in CLOCKS)
        state = " ".join([message["reason"] or message["state"], *states, *causes])
        return Row(shown=shown, state=state, told=tuple(self._ward.told[f"critical/{message['id']}"]))

    def _believed(self, place: int, history: History, messages: list[Json]) -> Believed:
        if history.output != "fhir":
            return in_folder(history.output, self._site.folder / folder(place))
        documents = [json.loads(text) for one in messages for text in one["documents"].values()]
        entries = [entry for document in documents for entry in document.get("entry", ())]
        return on_server(self._work / "server", frozenset(_ident(entry) for entry in entries))


def _is(message: Json, data: bytes) -> bool:
    return base64.b64decode(message["payload"]) == data


def _ident(entry: Json) -> str:
    return str(entry["resource"].get("id") or entry["request"]["url"].rpartition("/")[2])
