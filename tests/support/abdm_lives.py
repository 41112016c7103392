"""A daemon in ABDM that is killed and started again, beside a simulator that repeats all that was not answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.abdm_reports import write_site
from tests.support.abdm_site import SECRET
from tests.support.failpoints import When
from tests.support.forking import Forked, live
from tests.support.ports import quiet_ports
from tests.support.senders import send_blocks
from tests.support.waiting import WITHIN_S
from workbench.abdm import AbdmSandbox, Settings

BOTH: tuple[When, When] = ("before", "after")


@dataclass
class Lives:
    """``callbacks`` and ``analyzer``: the ports of each life."""

    sandbox: AbdmSandbox
    site: Path
    log: Path
    callbacks: int
    analyzer: int

    async def live(self, *point: str) -> Forked:
        """One more life, which ends at a step, before or after it; without one it does not end by itself."""
        return await live(self.site, self.log, *point)


@asynccontextmanager
async def abdm_lives(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, sms: str = "", later: bool = False, **entry: object
) -> AsyncIterator[Lives]:
    """A site that no life has seen yet.

    Args:
        sms: the body of an SMS; with one the simulator takes them.
        later: patient numbers last, and reports without an ABHA wait for one.
        entry: keys of the destination.
    """
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.2, repeats=2000))
    await sandbox.start()
    try:
        callbacks, analyzer = quiet_ports(2)
        sandbox.state.bridge_url = f"http://127.0.0.1:{callbacks}/abdm"
        if sms:
            entry["sms"] = {"url": f"{sandbox.url}/sms", "body": sms}
        site = write_site(folder / "site", sandbox.url, callbacks, **entry)
        file = site / "channels" / "chem.yaml"
        channel = yaml.safe_load(file.read_text(encoding="utf-8"))
        channel["source"]["listen"] = f"127.0.0.1:{analyzer}"
        if later:
            channel["patient_numbers"] = "lasting"
            channel["settings"] |= {"abha": "later", "patient_system": "urn:example:patients"}
        file.write_text(yaml.safe_dump(channel), encoding="utf-8")
        yield Lives(sandbox, site, folder / "log", callbacks, analyzer)
    finally:
        await sandbox.stop()


def listening(port: int) -> bool:
    """Whether the daemon takes messages."""
    listens = f"0100007F:{port:04X} 00000000:0000 0A"  # proc(5): local and remote address, state
    return listens in Path("/proc/net/tcp").read_text(encoding="ascii")


async def feed(life: Forked, port: int, message: bytes) -> None:
    """Send a message until it is acknowledged, or the daemon has ended; the next life then gets other ones."""
    while life.returncode is None:
        try:
            async with asyncio.timeout(WITHIN_S):
                if await send_blocks(port, [message]):
                    return
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)
