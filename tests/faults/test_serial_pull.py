"""T21: a serial line is pulled out in mid-frame, comes back as another device, and is full of noise.

A pseudo-terminal in place of the adapter, with a link that leads to it as udev makes them; the real daemon.
"""

import asyncio
import os
import random
import re
from pathlib import Path

from engine.store.integrity.verify import run as verify
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader, stored_payload
from tests.faults.harness.trial import Trial
from tests.faults.test_daemon import shown, status
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.live import Daemon, Server
from tests.support.serial_peers import Cable
from tests.support.waiting import until
from workbench.bench.messages import astm

MOST_CPU = 0.05
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of a processor that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def used(pid: int, seconds: float) -> float:
    """The share of one processor that a process uses while the test only waits."""
    before, loop = cpu_s(pid), asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(seconds)
    return (cpu_s(pid) - before) / (loop.time() - began)


def wire(number: int) -> bytes:
    return session(*one_record_a_frame(b"".join(astm(0, number, random.Random(number)))))


async def test_a_pulled_line_costs_no_processor_and_nothing_that_was_sent(tmp_path: Path, trial: Trial) -> None:
    seconds = trial.goal(quick=1, long=6, unit="seconds of looking, three times")
    server = Server()
    await server.start()
    daemon = Daemon(tmp_path / "site", ["pty"], f'{{kind: http, url: "http://127.0.0.1:{server.port}/"}}', mapped=False)
    link = tmp_path / "ttyAnalyzer"
    daemon.cables[0].close()
    cable = daemon.cables[0] = Cable(link)
    file = daemon.folder / "channels" / "c0.yaml"
    file.write_text(re.sub(r"device: [^,]+", f"device: {link}", file.read_text()))
    await daemon.start()
    try:
        await shown(daemon, lambda found: found["channels"][0]["state"] != "faulted")
        assert not (await cable.play(wire(1))).gave_up
        await until(lambda: server.arrived[0] == [1], 240.0)
        idle = await used(daemon.pid, seconds)

        whole = wire(2)
        await cable.send(whole[:1])
        assert await cable.receive() == b"\x06"
        first, rest = whole[1:].split(b"\x02", 2)[1:]
        await cable.send(b"\x02" + first)  # one frame, and half of the next
        assert await cable.receive() == b"\x06"
        await cable.send(b"\x02" + rest[:40])
        cable.pull()
        await shown(daemon, lambda found: found["channels"][0]["state"] == "faulted")
        pulled = await used(daemon.pid, seconds)

        cable.plug()  # another device number, the same name
        await shown(daemon, lambda found: found["channels"][0]["state"] != "faulted")
        noise = random.Random(1)
        sending = asyncio.create_task(_noise(cable, noise, seconds))
        noisy = await used(daemon.pid, seconds)
        await sending
        await cable.send(b"\x04")
        await cable.drop()
        async with asyncio.timeout(240.0):  # what came of the noise is over once the line is silent, as E1381 says
            while (await cable.play(wire(2))).gave_up:
                await cable.drop()
        await until(lambda: server.arrived[0] == [1, 2], 240.0)
        assert (await status(daemon))["task_restarts"] == {}
        assert await daemon.terminate() == 0
    finally:
        await daemon.end()
        await server.stop()
        cable.close()
    assert idle < MOST_CPU
    assert pulled < MOST_CPU
    data = daemon.folder / "var"
    journal = Reader.beside(data)
    try:
        kept = [view for view in messages_page(journal, limit=1000) if view.state == "incomplete"]
        assert any(stored_payload(journal, view.id).startswith(b"H|") for view in kept), (
            "what was half-way is not there"
        )
    finally:
        journal.close()
    assert verify(data, deep=True) == []
    assert all(len(set(keys)) == 1 for keys in server.keys.values())
    trial.figures(cpu_idle=f"{idle:.1%}", cpu_pulled=f"{pulled:.1%}", cpu_in_noise=f"{noisy:.1%}", incomplete=len(kept))


async def _noise(cable: Cable, chance: random.Random, seconds: float) -> None:
    """As a line at the wrong speed: about 1,000 bytes a second of anything."""
    for _ in range(int(seconds * 20)):
        await cable.send(bytes(byte for byte in chance.randbytes(50) if byte not in b"\x02\x05"))
        await asyncio.sleep(0.05)
