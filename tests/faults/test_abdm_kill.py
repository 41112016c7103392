"""The daemon ends at each step of a link at ABDM: each report is linked and its patient told, once, and the simulator
sees nothing wrong.
"""

import asyncio
import random
from pathlib import Path

import pytest

from engine.devtools.abdm import AbdmSandbox, Settings
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import Reader
from tests.support.abdm_reports import oru, write_site
from tests.support.abdm_site import SECRET
from tests.support.failpoints import ABDM, When
from tests.support.forking import Life, Mother
from tests.support.ports import quiet_ports
from tests.support.senders import send_blocks
from tests.support.waiting import WITHIN_S, until

BOTH: tuple[When, When] = ("before", "after")
STEPS = (*ABDM, "settle", "commit", "anchor")
PEOPLE = 4


def listening(port: int) -> bool:
    """Whether the daemon takes messages."""
    listens = f"0100007F:{port:04X} 00000000:0000 0A"  # proc(5): local and remote address, state
    return listens in Path("/proc/net/tcp").read_text(encoding="ascii")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_report_is_linked_wherever_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv(SECRET, Settings().secret)
    rng = random.Random(seed)
    points = [(step, when, str(rng.randint(1, 3))) for step in STEPS for when in BOTH]
    rng.shuffle(points)
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.2, repeats=2000))
    await sandbox.start()
    callbacks, analyzer = quiet_ports(2)
    sandbox.state.bridge_url = f"http://127.0.0.1:{callbacks}/abdm"
    site = write_site(tmp_path / "site", sandbox.url, callbacks)
    file = site / "channels" / "chem.yaml"
    file.write_text(file.read_text().replace("127.0.0.1:0", f"127.0.0.1:{analyzer}"))
    mother = await Mother.start()
    sent = 0
    try:
        for point in [*points, None]:
            life = await mother.live(site, tmp_path / "log", *(point or ()))
            await until(lambda life=life: listening(analyzer) or life.returncode is not None)
            while life.returncode is None and (point is not None or sent % 3):
                sent += 1
                await feed(life, analyzer, oru(f"A-{sent}", person=sent % PEOPLE))
                await until(lambda life=life: life.returncode is not None or is_done(site))
            if point is None:
                await until(lambda: is_done(site))
                life.send_signal(15)
            assert await life.wait() == (0 if point is None else -9), (tmp_path / "log").read_text()[-2000:]
    finally:
        await mother.stop()
        await sandbox.stop()
    journal = Reader.beside(site / "var")
    try:
        found = journal.rows("SELECT reference, state, version, notified FROM abdm_context")
    finally:
        journal.close()
    assert {(state, version, notified) for _, state, version, notified in found} == {("linked", 1, 1)}
    assert {reference for _, _, reference in sandbox.state.linked} == {row[0] for row in found}
    assert len(found) <= sent
    assert sandbox.violations == []
    assert verify(site / "var", deep=True) == []


async def feed(life: Life, port: int, message: bytes) -> None:
    """Send a message until it is acknowledged, or the daemon has ended; the next life then gets other ones."""
    while life.returncode is None:
        try:
            async with asyncio.timeout(WITHIN_S):
                if await send_blocks(port, [message]):
                    return
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)


def is_done(site: Path) -> bool:
    """Whether each message has become a linked report of which its patient was told."""
    assert (site / "var" / JOURNAL_NAME).exists()
    journal = Reader.beside(site / "var")
    try:
        (messages,) = journal.row("SELECT count(*) FROM journal WHERE kind = 1")
        (told,) = journal.row("SELECT count(*) FROM abdm_context WHERE state = 'linked' AND notified = version")
        (open_calls,) = journal.row("SELECT count(*) FROM abdm_call WHERE state IN ('waiting', 'sending', 'accepted')")
        (stored,) = journal.row("SELECT count(*) FROM abdm_callback WHERE state = 'stored'")
        return bool(messages) and told == messages and not open_calls and not stored
    finally:
        journal.close()
