"""The daemon is killed again and again while controls and patients come: each control is one point, no verdict is lost
or another one, and behind a failed control no result of its test goes out.

`LABRELAY_KILLS=100 pytest tests/faults/test_quality_kill.py` for a longer run.

In each round one more test has controls. It is accepted, fails amid the patients, and stays failed. Each patient has a
result of it, and one of a test without controls, which goes out all the same. Another program gives each result a low
number: it loses none that is asked for while the daemon is killed, and releases none.
"""

import asyncio
import os
import random
import re
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.actions.control import SOCKET_NAME, call
from engine.features.quality_control.rows import reading
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import Reader
from tests.engine.processing.test_scoring import program
from tests.support.killed import Daemon
from tests.support.ports import quiet_ports
from tests.support.waiting import until

KILLS = int(os.environ.get("LABRELAY_KILLS", "5"))
PATIENTS = 30  # of a round
SITE = """\
site: {name: Test Lab, timezone: UTC}
web: {enabled: false}
destinations:
  out: {kind: file, folder: out}
"""
CHANNEL = """\
channel: chem
source: {kind: mllp, listen: "127.0.0.1:PORT"}
settings: {local_system: "urn:x", control_numbers: [QC]}
routes:
  - mapping: hl7-results
    to: out
    hold: [{when: =score > 0.9, name: model, score: "PROGRAM"}]
"""
LOTS = "analyzer,number,material,level,lot,expires\nchem,QC,Chemtrol,L1,A7,2099-01-31\n"
ROW = "chem,,T{},L1,A7,mg/dL,100,5,lab\n"
TARGETS = "analyzer,module,test,level,lot,unit,mean,sd,source\n" + "".join(ROW.format(one) for one in range(KILLS))
BEGUN = datetime.now(UTC) - timedelta(hours=2)


def message(number: int, specimen: str, *results: tuple[str, str]) -> bytes:
    at = f"{BEGUN + timedelta(seconds=number):%Y%m%d%H%M%S}+0000"
    patient = f"PID|1||P{specimen}||Test^Person\r" if specimen != "QC" else ""
    lines = "".join(
        f"OBX|{n}|NM|{code}||{value}|mg/dL|||||F|||{at}\r" for n, (code, value) in enumerate(results, start=1)
    )
    head = f"MSH|^~\\&|CHEM||||{at}||ORU^R01|{number}|P|2.5.1\r"
    return f"\v{head}{patient}OBR|1||{specimen}|PANEL|||{at}\r{lines}\x1c\r".encode()


@dataclass
class Analyzer:
    """Sends a message until it is acknowledged, on a connection that it opens anew after a kill."""

    port: int
    acked: list[int] = field(default_factory=list)
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, number: int, block: bytes) -> None:
        async with asyncio.timeout(240.0):
            while number not in self.acked:
                with suppress(OSError, asyncio.IncompleteReadError):
                    if self._streams is None:
                        self._streams = await asyncio.open_connection("127.0.0.1", self.port)
                    reader, writer = self._streams
                    writer.write(block)
                    if b"MSA|AA" in await reader.readuntil(b"\x1c\r"):
                        self.acked.append(number)
                        continue
                await self.close()
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()
        self._streams = None


def verdicts(data: Path) -> dict[tuple[int, int], tuple[str, str, str]]:
    journal = Reader.beside(data)
    try:
        rows = journal.rows("SELECT run, version, verdict, fired, why FROM qc_verdict")
        return {(row[0], row[1]): row[2:] for row in rows}
    finally:
        journal.close()


def delivered(folder: Path) -> dict[str, set[str]]:
    """The tests of each specimen that went out."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file() and (text := path.read_text()):
            (specimen,) = set(re.findall(r'"value":"(S\d+)"', text))
            found.setdefault(specimen, set()).update(re.findall(r'"code":"(T\d+|FREE)"', text))
    return found


async def test_behind_a_failed_control_no_result_goes_out_however_often_the_daemon_is_killed(tmp_path: Path) -> None:
    rng = random.Random(4711)
    (port,) = quiet_ports(1)
    data, daemon, analyzer = tmp_path / "var", Daemon(tmp_path), Analyzer(port)
    expected: dict[str, set[str]] = {}
    controls: list[int] = []
    number = 0

    async def round_of(test: str) -> None:
        nonlocal number
        failing = rng.randrange(PATIENTS)
        for place in range(-1, PATIENTS):
            if place in (-1, failing):
                number += 1
                await analyzer.send(number, message(number, "QC", (test, "101" if place < 0 else "130")))
                controls.append(number)
            if place >= 0:
                number += 1
                await analyzer.send(number, message(number, f"S{number}", (test, "90"), ("FREE", "5")))
                expected[f"S{number}"] = {"FREE"} | ({test} if place < failing else set())

    async with AsyncExitStack() as stack:
        model, url = await stack.enter_async_context(program())
        channel = CHANNEL.replace("PORT", str(port)).replace("PROGRAM", url)
        for name, file, text in (("config", "labrelay", SITE), ("channels", "chem", channel)):
            (tmp_path / name).mkdir()
            (tmp_path / name / f"{file}.yaml").write_text(text)
        stack.push_async_callback(daemon.kill)
        stack.push_async_callback(analyzer.close)
        await daemon.start()
        await until(lambda: (data / SOCKET_NAME).exists(), 240.0)
        why = {"reason": "the insert"}
        for table in (LOTS, TARGETS):
            await asyncio.to_thread(call, data / SOCKET_NAME, "quality_load", {"text": table, **why}, timeout=60.0)
        accepted = {"targets": list(range(1, KILLS + 1)), "from_us": 1, **why}
        await asyncio.to_thread(call, data / SOCKET_NAME, "quality_accept", accepted, timeout=60.0)
        for kill in range(KILLS):
            playing = asyncio.create_task(round_of(f"T{kill}"))
            before = number
            wait_for = before + rng.randrange(3, PATIENTS)
            await until(lambda: len(analyzer.acked) >= wait_for or playing.done(), 240.0)  # noqa: B023 - awaited here
            await asyncio.sleep(rng.uniform(0.0, 0.03))  # the moment of the kill is meant to be any moment
            await daemon.kill()
            known = verdicts(data)
            await daemon.start()
            await playing
            assert known.items() <= verdicts(data).items()
        await until(lambda: delivered(tmp_path / "out").keys() == expected.keys(), 240.0)
    assert delivered(tmp_path / "out") == expected
    assert len(model.asked) >= len(expected)
    journal = Reader.beside(data)
    try:
        points = reading.list_points(journal, limit=1000)
        failures = reading.list_failures(journal)
        looks = {failure.test: len(reading.list_looks(journal, failure.id)) for failure in failures}
    finally:
        journal.close()
    assert len(points) == len({one.message for one in points}) == len(controls)
    assert sorted(failure.test for failure in failures) == sorted(f"T{kill}" for kill in range(KILLS))
    for test, count in looks.items():
        assert count == sum(test in tests for tests in expected.values())
    assert {row[0] for row in verdicts(data).values()} == {"accept", "reject"}
    assert verify(data, deep=True) == []
