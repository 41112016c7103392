"""T33: of what analyzers send over MLLP, ASTM and a serial line, one byte in a hundred is lost, changed or invented.

Each sends again until it is told that its message is kept. ASTM's sum has eight bits and lets about one spoilt frame in
256 pass, MLLP has no sum at all: so some of what is kept is not what was sent. Nothing can prevent that here; it is
counted, and so is how much of it showed: refused, dead, or with a warning.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine.store.integrity.verify import run as verify
from engine.store.journal import Journal
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader, stored_payload
from tests.faults.harness.trial import Trial
from tests.faults.test_daemon import status
from tests.support.astm_peer import cut_every, one_record_a_frame
from tests.support.live import Analyzer, Daemon
from tests.support.mllp_peer import END, VT
from workbench.bench.messages import astm, control_id, oru

RATE = 0.01  # of the bytes
ANSWER_S = 1.5  # a receiver answers a frame without an end once the line has been silent for 0.3 s
ENQ, ACK, EOT = b"\x05", b"\x06", b"\x04"
PROTOCOLS = ["mllp", "astm", "pty"]
FRAMES_AGAIN = 6


@dataclass
class Noise:
    """A bad line in one direction.

    Attributes:
        spoilt: pieces that did not arrive as they were sent.
    """

    chance: random.Random
    on: bool = True
    spoilt: int = 0

    def __call__(self, data: bytes) -> bytes:
        found = bytearray()
        for byte in data if self.on else b"":
            drawn = self.chance.random()
            if drawn >= RATE:
                found.append(byte)
            elif drawn >= RATE * 2 / 3:
                pass
            elif drawn >= RATE / 3:
                found.append(byte ^ 1 << self.chance.randrange(8))
            else:
                found += bytes([byte, self.chance.randrange(256)])
        heard = bytes(found) if self.on else data
        self.spoilt += heard != data
        return heard


@dataclass
class NoisyAnalyzer(Analyzer):
    """An analyzer at the end of a bad line.

    Attributes:
        kept: message number -> what it meant to send, of those that it was told to be kept.
        told: how often it was told that something is kept.
    """

    noise: Noise = field(default_factory=lambda: Noise(random.Random(0)))
    kept: dict[int, bytes] = field(default_factory=dict)
    told: int = 0

    async def _try(self, number: int) -> bool:
        rng = random.Random(self.channel * 1_000_003 + number)
        taken = False
        try:
            async with asyncio.timeout(240.0):
                if self.protocol == "mllp":
                    payload = oru(self.channel, number, rng, results=1)
                    taken = await self._block(number, payload)
                else:
                    payload = b"".join(astm(self.channel, number, rng)[:6]) + b"L|1|N\r"
                    taken = await self._session(payload)
                if taken:
                    self.kept[number] = payload
                    self.acked.append(number)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        if not taken:
            await self._close()
        return taken

    async def _block(self, number: int, payload: bytes) -> bool:
        reader, writer = await self._connect()
        writer.write(self.noise(VT + payload + END))
        answer = await asyncio.wait_for(reader.readuntil(END), ANSWER_S)
        if b"\rMSA|AA|" not in answer:
            return False
        self.told += 1
        return f"\rMSA|AA|{control_id(self.channel, number)}\r".encode() in answer

    async def _session(self, payload: bytes) -> bool:
        if await self._ask(ENQ) != ACK:
            return False
        frames = one_record_a_frame(payload) if self.channel % 2 else cut_every(payload, 60)
        for frame in frames:
            for _ in range(FRAMES_AGAIN):
                with suppress(TimeoutError):
                    if await self._ask(frame) == ACK:
                        break
            else:
                return False
        self.told += 1
        await self._say(EOT)
        return True

    async def _ask(self, data: bytes) -> bytes:
        async with asyncio.timeout(ANSWER_S):
            return await super()._ask(data)

    async def _say(self, data: bytes) -> None:
        await super()._say(self.noise(data))


async def test_what_a_bad_line_does_is_survived_and_told(tmp_path: Path, trial: Trial) -> None:
    wanted = trial.goal(quick=12, long=150, soak=10_000, unit="messages over each line")
    daemon = Daemon(tmp_path / "site", PROTOCOLS, "{kind: file, folder: var/archive}")
    await daemon.start()
    loop = asyncio.get_running_loop()
    try:
        analyzers = [
            NoisyAnalyzer(
                number, daemon.port_of[number], protocol, cable=daemon.cables.get(number), last_number=wanted,
                noise=Noise(random.Random(trial.chance.random())),
            )
            for number, protocol in enumerate(PROTOCOLS)
        ]  # fmt: skip
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        before = loop.time()
        while not all(task.done() for task in playing):
            await asyncio.sleep(0.1)
            if trial.time_is_up:
                for analyzer in analyzers:
                    analyzer.stop()
        await asyncio.gather(*playing)
        took = loop.time() - before
        for analyzer in analyzers:  # the line is good again: what was not kept is sent once more
            analyzer.noise.on = False
            assert await _until_taken(analyzer, analyzer.last + 1)
        found = await status(daemon)
        assert found["task_restarts"] == {}
        assert [text for text in found["alarms"] if "stored" in text] == []
        assert await daemon.terminate() == 0
    finally:
        await daemon.end()
        for cable in daemon.cables.values():
            cable.close()

    data = daemon.folder / "var"
    assert verify(data, deep=True) == []
    figures: Counter[str] = Counter()
    journal = Reader.beside(data)
    try:
        for analyzer in analyzers:
            rows = _rows(journal, f"c{analyzer.channel}")
            figures.update(_compare(analyzer, rows))
    finally:
        journal.close()
    assert figures["lost"] == 0
    assert figures["kept"] >= min(wanted, 3) * 3
    trial.figures(
        **{name: figures[name] for name in ("kept", "lost", "as_sent", "not_as_sent", "told_of", "not_told_of")},
        spoilt_pieces=sum(analyzer.noise.spoilt for analyzer in analyzers), seconds=round(took),
    )  # fmt: skip


async def _until_taken(analyzer: NoisyAnalyzer, number: int) -> bool:
    async with asyncio.timeout(240.0):
        while not await analyzer._try(number):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.1)
    await analyzer._close()
    return True


@dataclass(frozen=True)
class Row:
    payload: bytes
    told: bool  # refused, dead, incomplete, or with something that a person is shown


def _rows(journal: Journal, channel: str) -> list[Row]:
    """The messages of a channel, the evidence left out."""
    found, before = [], None
    while page := messages_page(journal, limit=500, before_id=before):
        before = page[-1].id
        for view in page:
            if view.channel != channel or view.state == "incomplete":
                continue
            trace = trace_of(journal, view.id)
            assert trace is not None
            shown = view.state in {"dead", "rejected"} or bool(trace.issues) or bool(view.notes)
            found.append(Row(stored_payload(journal, view.id), shown))
    return found


def _compare(analyzer: NoisyAnalyzer, rows: list[Row]) -> Counter[str]:
    """What became of the messages that the analyzer was told to be kept.

    Each time it was told so a message was journaled, be it another than it meant; where there are fewer, one is lost.
    """
    there = Counter(row.payload.translate(None, b"\r\n") for row in rows)
    meant = {payload.translate(None, b"\r\n") for payload in analyzer.kept.values()}
    as_sent = sum(there[payload] > 0 for payload in meant)
    other = [row for row in rows if row.payload.translate(None, b"\r\n") not in meant]
    return Counter(
        kept=len(meant),
        lost=max(0, analyzer.told - len(rows)),
        as_sent=as_sent,
        not_as_sent=len(meant) - as_sent,
        told_of=sum(row.told for row in other),
        not_told_of=sum(not row.told for row in other),
    )
