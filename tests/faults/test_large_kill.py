"""The process for large messages and its daemon, each as an installation starts it: it ends with its daemon, also where
it hangs, and a signal to both is a stop in order.
"""

import os
import random
import signal
from pathlib import Path

import pytest

from engine.runtime.large.messages import MANY_LINES
from engine.store.integrity.verify import run as verify
from tests.support.live import Daemon, Server
from tests.support.senders import lines, send_blocks
from tests.support.waiting import until
from workbench.bench.messages import oru

RETRY = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 200ms}"
NOTES = b"NTE|1|L|a note\r" * MANY_LINES


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # or it ends between the two calls
        return False


async def large_of(daemon: Daemon, server: Server, number: int) -> int:
    """The process, after it has mapped a large message."""
    (answer,) = await send_blocks(daemon.port_of[0], [oru(0, number, random.Random(number)) + NOTES])
    assert lines(answer)["MSA"][1] == "AA"
    await until(lambda: number in server.arrived[0], 60.0)
    pid = daemon.large_pid()
    assert pid is not None
    return pid


@pytest.mark.parametrize("hangs", [False, True])
async def test_it_goes_with_its_main_process_even_if_it_hangs(tmp_path: Path, hangs: bool) -> None:
    server = Server()
    await server.start()
    destination = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir", {RETRY}}}'
    daemon = Daemon(tmp_path / "site", ["mllp"], destination, page=False)
    try:
        await daemon.start()
        pid = await large_of(daemon, server, 1)
        if hangs:
            os.kill(pid, signal.SIGSTOP)
        await daemon.kill()
        await until(lambda: not alive(pid), 60.0)
        await daemon.start()
        pid = await large_of(daemon, server, 2)
        assert server.arrived[0] == [1, 2]
        os.kill(pid, signal.SIGTERM)  # as where systemd stops both
        assert await daemon.terminate() == 0
        assert not alive(pid)
        assert "is replaced" not in daemon.log.read_text()
    finally:
        await daemon.end()
        await server.stop()
    assert verify(tmp_path / "site" / "var", deep=True) == []
