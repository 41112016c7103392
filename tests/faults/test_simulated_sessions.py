"""Every analyzer that ships, simulated, with every fault on its line: results on the server are those that were sent.

None is missing, none is there twice, none was invented, and none is another patient's. Two analyzers share each port;
half of the ASTM channels hold each ACK until the frame is durable, half that of the last one only; the server fails one
write in twenty. `LABRELAY_SESSIONS=10000 pytest tests/faults/test_simulated_sessions.py -s` (or `make sessions`) for a
longer run; LABRELAY_SEED for another one; LABRELAY_FIGURES=1 keeps the figures in docs/figures-histories.md.
"""

import os
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engine.store.integrity.verify import run as verify
from tests.support.examples import examples
from tests.support.simulated_site import SimulatedDaemon, Simulation, playable, sandbox_in_trouble
from tests.support.waiting import WITHIN_S
from tools import figures

SESSIONS = int(os.environ.get("LABRELAY_SESSIONS") or examples(200, least=50))
SEED = int(os.environ.get("LABRELAY_SEED", "20260302"))
FAULTS = {"bad-checksum", "lost-ack", "drop", "contention", "slow", "garbage", "split"}


@pytest.mark.timeout(600 + SESSIONS)
@pytest.mark.promise("session")
async def test_results_on_the_server_are_those_that_were_sent(tmp_path: Path) -> None:
    async with AsyncExitStack() as ending:
        sandbox = sandbox_in_trouble(SEED)
        await sandbox.start()
        ending.push_async_callback(sandbox.stop)
        daemon = SimulatedDaemon(tmp_path / "site", list(playable()), sandbox.url)
        ending.push_async_callback(daemon.end)
        await daemon.start()
        run = Simulation(daemon, sandbox)
        began, began_on = time.monotonic(), figures.measured(tmp_path)
        await run.play(SESSIONS, SEED)
        await run.delivered(WITHIN_S + SESSIONS / 20)
        took = time.monotonic() - began
        assert await daemon.terminate() == 0
        count = await run.count()
    tally = run.tally
    print(
        f"\n{tally.acknowledged} messages in {tally.sessions} sessions, {tally.frames} frames or blocks, {took:.0f} s"
    )
    print(f"done on purpose: {dict(sorted(tally.faults.items()))}")
    print(f"in the journal and on the server: {dict(sorted(count.looked_at.items()))}")
    assert tally.violations == []
    assert tally.failed == 0
    assert count.wrong == [], "\n".join(count.wrong)
    assert set(tally.faults) == FAULTS
    assert count.looked_at["messages"] >= SESSIONS
    assert count.looked_at["results of a known patient"] > count.looked_at["results"] / 2
    assert verify(tmp_path / "site" / "var", deep=True) == []
    if os.environ.get("LABRELAY_FIGURES"):
        done = ", ".join(f"{number} {name}" for name, number in sorted(tally.faults.items()))
        row = ("sessions", SEED, tally.sessions, tally.acknowledged, tally.frames, done, f"{took:.0f} s", began_on)
        heads = ("played", "seed", "number", "messages", "frames or blocks", "done on purpose", "time")
        figures.write("histories", "Sessions of simulated analyzers", heads, [row])
