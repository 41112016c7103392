"""T13: the other end of a TCP connection is gone and has said nothing: no FIN, no RST, no ICMP.

The whole site runs inside one network namespace, the analyzers in another, and the cable between them is cut. In
`make test` the timers of the product are set to seconds; in `make faults` they are as they are, and it takes 90 s.
"""

import asyncio
import random
import socket
import time
from pathlib import Path

import pytest

from adapters.transports.sockets import tcp_stream
from engine.runtime.app import App
from engine.store.queries.messages import messages_page
from tests.faults.harness.trial import Trial
from tests.support import namespaces
from tests.support.running import channel, make_running_site, running_app
from tests.support.waiting import until
from workbench.bench.messages import oru

WITHIN_S = 90.0
ARCHIVE = {"kind": "file", "folder": "var/archive"}
WHY_NOT = namespaces.why_not()
VT, END = b"\x0b", b"\x1c\r"


def message(number: int) -> bytes:
    return oru(0, number, random.Random(number), results=2)


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_analyzers_that_vanished_free_their_places(
    tmp_path: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One was idle, one in mid-message, one never heard our answer. The listener serves the next one all the while."""
    trial.goal(quick=3, long=3, unit="connections")
    within_s, block_timeout = WITHIN_S, "60s"
    if trial.scale == "quick":
        for name, value in {"IDLE_S": 1, "INTERVAL_S": 1, "COUNT": 2}.items():
            monkeypatch.setattr(tcp_stream, f"KEEP_ALIVE_{name}", value)
        monkeypatch.setattr(tcp_stream, "USER_TIMEOUT_MS", 3_000)
        within_s, block_timeout = 60.0, "3s"
    with namespaces.cable() as cable:
        source = {"kind": "mllp", "listen": f"{cable.near.address}:0", "block_timeout": block_timeout}
        make_running_site(tmp_path, {"c0": channel(source, {"to": "archive"})}, {"archive": ARCHIVE})

        async def site() -> tuple[float, list[str]]:
            async with running_app(tmp_path) as app:
                port = app.parts.sources["c0"].port
                assert port is not None
                return await asyncio.to_thread(analyzers, app, asyncio.get_running_loop(), port)

        def analyzers(app: App, loop: asyncio.AbstractEventLoop, port: int) -> tuple[float, list[str]]:
            def connect() -> socket.socket:
                return cable.far.run(lambda: socket.create_connection((cable.near.address, port), timeout=10.0))

            def wait_for(count: int, seconds: float) -> None:
                served = app.parts.sources["c0"].channel
                done = asyncio.run_coroutine_threadsafe(until(lambda: len(served.connections) == count, seconds), loop)
                done.result()

            idle, halfway, deaf = connect(), connect(), connect()
            for analyzer in (idle, halfway, deaf):
                analyzer.sendall(VT + message(analyzer.fileno()) + END)
                assert b"MSA|AA" in analyzer.recv(4096)
            wait_for(3, 240.0)
            halfway.sendall(VT + message(900)[:100])
            cable.cut(cable.near, cable.far)
            deaf.sendall(VT + message(901) + END)  # arrives; what is answered does not
            deaf.settimeout(1.0)
            with pytest.raises(TimeoutError):
                deaf.recv(4096)
            cable.cut(cable.far, cable.near)
            began = time.monotonic()
            wait_for(0, within_s)
            took = time.monotonic() - began
            states = [f"{view.state} {view.reason}".strip() for view in messages_page(app.journal, limit=10)]
            for analyzer in (idle, halfway, deaf):
                analyzer.close()
            return took, states

        took, states = cable.near.run_loop(site)
    assert took < within_s
    # What was half-way is kept as evidence, what was answered in vain is kept as a message: its sender will repeat it.
    assert sorted(states) == ["incomplete INCOMPLETE", *["mapped"] * 4]
    trial.figures(freed_after_s=round(took, 1))
