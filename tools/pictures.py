"""`make pictures`: the pictures of the README, of the demo with trouble, in Chromium. The same program gives the same
picture: its clock is moved by hand.

    pictures/overview.png     the overview on a desk
    pictures/phone-hindi.png  the to-do list on a phone, in Hindi
"""

import asyncio
import re
import shutil
import socket
import subprocess
import tempfile
from collections import namedtuple
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

from engine.config.load import Site, load_site
from engine.model.process.clock import ManualClock
from engine.runtime.app import App
from workbench.demo import trouble
from workbench.demo.parts import get_json
from workbench.demo.show import PLAYED
from workbench.sandbox import Sandbox
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.packs import read_model
from workbench.simulator.play import Analyzer, PlaySettings
from workbench.simulator.shift import BETWEEN, Kind, PlannedMessage, shift
from workbench.simulator.wires import ClientWire

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "pictures"
BEGIN = datetime(2026, 3, 2, 3, 43, tzinfo=UTC)  # a Monday morning, 09:13 in the demo's laboratory
SILENT_FOR = timedelta(minutes=44)
END = BEGIN + timedelta(minutes=47, seconds=30)
WITHIN_S = 120.0
# Name, size in points, pixels a point, path of the page.
SHOTS = (("overview", (1280, 800), 1, "/?lang=en"), ("phone-hindi", (500, 900), 1, "/?lang=hi"))
Usage = namedtuple("Usage", "total used free")


async def _send(site: Site, name: str, clock: ManualClock, count: int) -> None:
    """Messages of one of the demo's analyzers, its trouble first."""
    model, folder, files = PLAYED[name]
    samples = ROOT / "samples"
    played = read_model(model, [samples / folder / file for file in files]).in_dialect(site.channels[name].dialect)
    first = trouble.first_message(name, samples)
    source = site.channels[name].source
    wire = ClientWire(source.listen)
    analyzer = Analyzer(source.link, wire, Dialogue(), PlaySettings(tries=5))
    planned = [PlannedMessage(Kind.RESULT, "trouble", (), first)] if first else []
    start = clock.now().astimezone(ZoneInfo(site.config.site.timezone)) - (count + 1) * BETWEEN
    planned += islice(shift(played, seed=7, start=start, specimens=0), count)
    try:
        for number, message in enumerate(planned):
            await analyzer.deliver(message, number)
    finally:
        await wire.close()


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


async def _until_it_shows(port: int, clock: ManualClock, sent: int) -> None:
    """Until all that was sent is where it belongs; then the clock is at `END`, however long that took."""
    async with asyncio.timeout(WITHIN_S):
        while not _is_whole(await _status(port), sent):
            clock.advance(0.5)
            await asyncio.sleep(0.2)
        clock.advance((END - clock.now()).total_seconds())
        while True:
            if datetime.fromisoformat((await _status(port))["now"]) == END:
                return
            await asyncio.sleep(0.2)


async def _status(port: int) -> dict[str, Any]:
    return await get_json("127.0.0.1", port, "/status.json")


def _is_whole(status: dict[str, Any], sent: int) -> bool:
    channels = status["channels"]
    waiting = sum(one["stored_waiting"] + sum(lane["waiting"] for lane in one["lanes"]) for one in channels)
    return trouble.shows(status) and not waiting and sum(one["today_received"] for one in channels) == sent


def _shoot(chromium: str, address: str, file: Path, size: tuple[int, int], scale: int) -> None:
    """One picture; Chromium gets a profile of its own."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(  # noqa: S603
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}",
                f"--force-device-scale-factor={scale}",
                "--timeout=5000", f"--screenshot={file}", address,
            ],
            check=True, capture_output=True, timeout=WITHIN_S,
        )  # fmt: skip


def _site(folder: Path) -> Site:
    """A copy of the demo's site with the rules that show trouble, on other ports: the demo may run beside."""
    for kind in ("config", "channels"):
        shutil.copytree(ROOT / kind, folder / kind)
    trouble.prepare(folder)
    for file in folder.rglob("*.yaml"):
        file.write_text(
            re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{_free_port()}", file.read_text("utf-8")), "utf-8"
        )
    return load_site(folder)


async def draw(folder: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("make pictures needs Chromium. On Debian or Ubuntu: apt install chromium")
    clock, site = ManualClock(BEGIN), _site(folder)
    async with AsyncExitStack() as parts:
        sandbox = Sandbox(
            port=int(site.config.destinations["lab-fhir"].url.split(":")[2].partition("/")[0]), clock=clock
        )
        await sandbox.start()
        parts.push_async_callback(sandbox.stop)
        app, up = App(folder, clock=clock), asyncio.Event()
        running = asyncio.create_task(app.run(lambda _: up.set()))
        try:
            await asyncio.wait({running, asyncio.ensure_future(up.wait())}, return_when=asyncio.FIRST_COMPLETED)
            await _send(site, trouble.SEROLOGY, clock, 3)
            clock.advance(SILENT_FOR.total_seconds())
            await _send(site, trouble.HAEMATOLOGY, clock, 20)
            await _send(site, trouble.CHEMISTRY, clock, 12)
            assert app.page is not None
            await _until_it_shows(app.page.port, clock, 3 + 21 + 13)
            for name, size, scale, path in SHOTS:
                address = f"http://127.0.0.1:{app.page.port}{path}"
                await asyncio.to_thread(_shoot, chromium, address, PICTURES / f"{name}.png", size, scale)
        finally:
            app.stop()
            await running


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    room = Usage(64 << 30, 22 << 30, 42 << 30)  # the same on each machine
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(shutil, "disk_usage", return_value=room):
        asyncio.run(draw(Path(folder)))


if __name__ == "__main__":
    main()
