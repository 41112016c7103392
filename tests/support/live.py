"""The real daemon on a site of its own, analyzers that never give up, and a server that writes down what arrives.

For tests that end processes without warning and then count (docs/architecture.md, promises P1 to P4).
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from aiohttp import web

from engine.actions.control import SOCKET_NAME, short
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.watching import Watch
from tests.support import forking
from tests.support.ports import quiet_ports
from tests.support.serial_peers import Cable
from tests.support.waiting import until
from workbench.bench.messages import astm, control_id, oru

START_WITHIN_S = STOP_WITHIN_S = 120.0
LINE_ANSWER_S = 15.0  # as E1381 has it: who gives up earlier takes a late ACK for the answer to what it says next
LINE_QUIET_S = 0.1
ENQ, ACK, STX, ETX, EOT = b"\x05", b"\x06", b"\x02", b"\x03", b"\x04"


class Mood(Enum):
    """How the server answers."""

    WELL = "every document is taken"
    BUSY = "503"
    PROXY = "200 with a page of HTML"
    RESET = "the connection is reset before it is looked at"
    LOST = "taken, but the answer is lost"


@dataclass
class Server:
    """A destination in the test's own process.

    Attributes:
        arrived: per channel, the numbers of the messages in the order in which they were first taken.
        keys: delivery keys under which each (channel, number) came.
        refuse: messages that are answered 422 for ever.
        ledger: also told of every document taken, as destination ``name``.
        most_bytes: of a document; a larger one is answered 413.
    """

    mood: Mood = Mood.WELL
    refuse: set[tuple[int, int]] = field(default_factory=set)
    name: str = "server"
    ledger: Ledger = field(default_factory=Ledger)
    arrived: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[tuple[int, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    port: int = 0
    most_bytes: int = 1 << 24

    async def start(self) -> None:
        app = web.Application(client_max_size=self.most_bytes)
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.mood is Mood.BUSY:
            return web.Response(status=503, headers={"Retry-After": "0"})
        if self.mood is Mood.PROXY:
            return web.Response(text="<html>Please log in</html>", content_type="text/html")
        if self.mood is Mood.RESET:
            return self._cut(request)
        at = body.index(b"B0")
        channel, number = int(body[at + 1 : at + 4]), int(body[at + 5 : at + 13])
        if (channel, number) in self.refuse:
            return web.json_response({"resourceType": "OperationOutcome"}, status=422)
        keys = self.keys[channel, number]
        if not keys:
            self.arrived[channel].append(number)
        keys.append(request.headers.get("Idempotency-Key", ""))
        self.ledger.note_taken(self.name, keys[-1])
        if self.mood is Mood.LOST:
            return self._cut(request)
        entries = [{"response": {"status": "201 Created"}}] * body.count(b'"fullUrl":')
        return web.json_response({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    @staticmethod
    def _cut(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        transport.abort()
        return web.Response()


@dataclass
class Analyzer:
    """Sends numbered messages over MLLP or ASTM; each again and again until it is acknowledged.

    Attributes:
        protocol: ``mllp``, ``astm``, or ``pty``: ASTM on a serial line.
        cable: of ``pty``, where the daemon's `Daemon.cables` has its end.
        listening: whether anybody is at the other end of the cable; one has to wait long there to find out.
        acked: numbers that were acknowledged, in order.
        last: the number sent last. Where it was not acknowledged before `stop`, it may be in the journal or not.
        ledger: also told of everything sent and acknowledged, as channel ``c<number>``.
        last_number: after this one it stops by itself.
    """

    channel: int
    port: int
    protocol: str
    cable: Cable | None = None
    listening: Callable[[], bool] = lambda: True
    ledger: Ledger = field(default_factory=Ledger)
    last_number: int = 10**9
    acked: list[int] = field(default_factory=list)
    last: int = 0
    pause_s: float = 0.0
    gate: Callable[[], bool] = lambda: True  # the next message goes out once this holds
    _stopping: bool = False

    async def run(self) -> None:
        number = 0
        while not self._stopping and number < self.last_number:
            number += 1
            self.last = number
            await until(lambda: self._stopping or self.gate(), 240.0)
            while not self._stopping and not await self._try(number):  # noqa: ASYNC110  # no event: it is down
                await asyncio.sleep(0.02)
        await self._close()

    def stop(self) -> None:
        self._stopping = True

    _writer: asyncio.StreamWriter | None = None
    _reader: asyncio.StreamReader | None = None

    async def _try(self, number: int) -> bool:
        name = f"c{self.channel}"
        mllp = self.protocol == "mllp"
        records = self._records(number, random.Random(self.channel * 1_000_003 + number))
        payload = b"".join(records)
        self.ledger.note_sent(name, payload)
        try:
            async with asyncio.timeout(20.0):
                if self.cable is not None:
                    await until(self.listening, 15.0)
                    await self.cable.drop()  # at rest an analyzer heeds nothing but an ENQ, least of all a late ACK
                taken = await (self._mllp(number, payload) if mllp else self._astm(records))
                if taken:
                    self.acked.append(number)
                    self.ledger.note_acked(name, payload)
                    await asyncio.sleep(self.pause_s)
                    return True
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        await self._close()
        return False

    def _records(self, number: int, rng: random.Random) -> list[bytes]:
        """Those of a message; the same at each try."""
        return [oru(self.channel, number, rng)] if self.protocol == "mllp" else astm(self.channel, number, rng)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self._reader, self._writer

    async def _mllp(self, number: int, message: bytes) -> bool:
        reader, writer = await self._connect()
        writer.write(b"\x0b" + message + b"\x1c\r")
        answer = await reader.readuntil(b"\x1c\r")
        return f"MSA|AA|{control_id(self.channel, number)}\r".encode() in answer

    async def _astm(self, records: list[bytes]) -> bool:
        if await self._ask(ENQ) != ACK:
            return False
        for index, record in enumerate(records, 1):
            body = b"%d" % (index % 8) + record + ETX
            if await self._ask(STX + body + b"%02X\r\n" % (sum(body) % 256)) != ACK:
                return False
        await self._say(EOT)
        return True

    async def _ask(self, data: bytes) -> bytes:
        """Say something on the line; the one byte that is answered."""
        await self._say(data)
        if self.cable is None:
            assert self._reader is not None
            return await self._reader.readexactly(1)
        return await self.cable.receive(while_=self.listening, within_s=LINE_ANSWER_S)

    async def _say(self, data: bytes) -> None:
        if self.cable is None:
            _, writer = await self._connect()
            writer.write(data)
        else:
            await self.cable.send(data)

    async def _close(self) -> None:
        if self.cable is not None:
            with contextlib.suppress(OSError, TimeoutError):
                await self.cable.send(EOT)  # a serial line has no end that the other side could see
                await asyncio.sleep(LINE_QUIET_S)  # an answer that is still under way is nobody's any more
                await self.cable.drop()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = self._reader = None


@dataclass
class Daemon:
    """`labrelay run` on a made-up site.

    Attributes:
        interpreter: each of its lives is a new one; else they are forked (`tests.support.forking`).
        page: whether it has its page.
        wrapper: what the command of a new interpreter begins with, as `MemoryGroup.enter`.
        environ: of a forked life; by default the test's own.
        dies_at: of a forked life: a named step (`tests.support.failpoints`), ``before`` or ``after``, and the call.
        watch: what its lives cost, and how long each took to listen after a kill.
    """

    folder: Path
    protocols: list[str]
    destination: str
    mapped: bool = True
    port_of: dict[int, int] = field(default_factory=dict)
    web_port: int = 0
    cables: dict[int, Cable] = field(default_factory=dict)  # of the channels that are ``pty``
    watch: Watch = field(default_factory=Watch)
    interpreter: bool = False
    environ: Mapping[str, str] | None = None
    page: bool = True
    wrapper: list[str] = field(default_factory=list)
    dies_at: tuple[str, ...] = ()
    _process: asyncio.subprocess.Process | forking.Forked | None = None
    _was_killed: bool = False
    _listening: bool = False

    def __post_init__(self) -> None:
        self.web_port, *ports = quiet_ports(len(self.protocols) + 1)
        (self.folder / "config").mkdir(parents=True)
        (self.folder / "channels").mkdir()
        (self.folder / "config" / "labrelay.yaml").write_text(
            "site: {name: Test Lab, timezone: Asia/Kolkata}\n"
            + (f'web: {{listen: "127.0.0.1:{self.web_port}"}}\n' if self.page else "web: {enabled: false}\n")
            + f"destinations:\n  server: {self.destination}\n"
        )
        for number, (protocol, port) in enumerate(zip(self.protocols, ports, strict=True)):
            self.port_of[number] = port
            mapping = "hl7-results" if protocol == "mllp" else "astm-results"
            source = f'kind: {protocol}, listen: "127.0.0.1:{port}"'
            if protocol == "pty":
                cable = self.cables[number] = Cable()
                source = f"kind: astm-serial, device: {cable.path}, baud: 115200"
            (self.folder / "channels" / f"c{number}.yaml").write_text(
                f"channel: c{number}\n"
                f"source: {{{source}}}\n"
                "routes:\n"
                f"  - to: server\n    {f'mapping: {mapping}' if self.mapped else 'doubtful: pass'}\n"
            )

    @property
    def listening(self) -> bool:
        return self._listening and self._process is not None and self._process.returncode is None

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    async def launch(self) -> None:
        """Begin a life, and do not wait for anything."""
        if not self.interpreter:
            self._process = await forking.live(self.folder, self.log, *self.dies_at, environ=self.environ)
        else:
            with self.log.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *self.wrapper, sys.executable, "-m", "engine", "--site", str(self.folder), "run", "--log", "json",
                    stdout=output, stderr=output,
                )  # fmt: skip

    async def start(self) -> None:
        """Begin a life, and return once it listens."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.launch()
        assert self._process is not None
        last = max((n for n, protocol in enumerate(self.protocols) if protocol != "pty"), default=None)
        port = self.web_port if last is None else self.port_of[last]
        while loop.time() < began + START_WITHIN_S:
            assert self._process.returncode is None, self.log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                if self._was_killed:
                    self.watch.recovery_ms.append((loop.time() - began) * 1000)
                self._was_killed, self._listening = False, True
                return
            await asyncio.sleep(0.01)
        raise TimeoutError("the daemon does not listen")

    async def commanded(self) -> None:
        """Wait until it takes commands: its lines listen some moments earlier."""
        path = self.folder / "var" / SOCKET_NAME
        while True:
            assert self.listening, self.log.read_text()
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line, short(path) as address:
                line.connect(address)
                return
            await asyncio.sleep(0.01)

    def send(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def kill(self) -> None:
        """As a power cut: no signal that could be handled."""
        assert self._process is not None
        self.watch.look(self._process.pid)
        self._was_killed, self._listening = True, False
        self._process.kill()
        await self._process.wait()

    @property
    def code(self) -> int | None:
        """How its life ended: an exit code, or a signal's negative number; None while it goes on."""
        return None if self._process is None else self._process.returncode

    async def end(self) -> None:
        """Make sure that it has ended, whatever became of the test."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def terminate(self) -> int:
        """Ask it to stop, and wait for its end; how it ended, which is by a kill where it takes too long."""
        assert self._process is not None
        self.watch.look(self._process.pid)
        self._process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    def hang_up(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def large_pid(self) -> int | None:
        """The process for large messages that is there now, if there is one."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0]) if children else None
