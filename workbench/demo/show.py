"""The demo's story: start the parts, let the analyzers play, count, and describe the events in plain words."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.load import Site
from engine.config.sources.source import TcpPart
from engine.model.errors import LabRelayError
from workbench.demo import trouble
from workbench.demo.analyzers import Analyzer
from workbench.demo.parts import Part, command_for, get_json, plain_environment, port_is_taken
from workbench.simulator.packs import read_model
from workbench.simulator.play import new_seed

# Which samples each channel of the repository's site plays: results only, so that every message ends on the server, and
# only tests that the channel's pack has a LOINC code for, so that the page has nothing to report.
PLAYED = {
    "haematology": ("Mindray BC-5380", "mindray_bc5380", ("05-all-coded.hl7", "06-hindi-name-coded.hl7")),
    "chemistry": ("Siemens DCA Vantage", "siemens_dca_vantage", ("01-albumin-creatinine.astm",)),
    "serology": ("Abbott Architect", "abbott_architect", ("03-all-coded.hl7",)),
}
DRAIN_WITHIN_S = 60.0
PAGE_WITHIN_S = 10.0


@dataclass(slots=True)
class Progress:
    """The progress at one moment; ``page`` is the headline of the status page."""

    sent: int = 0
    delivered: int = 0
    waiting: int = 0
    dead: int = 0
    held: int = 0
    page: str = ""


class Demo:
    """One run of the demo on ``site``."""

    def __init__(
        self,
        site: Site,
        *,
        samples: Path,
        messages: int | None,
        leave: bool,
        say: Callable[[str], None],
        show_trouble: bool = False,
    ) -> None:
        """
        Args:
            messages: how many to send in all; None: without end.
            leave: end once the work is done, instead of at Ctrl-C.
            show_trouble: the site is one that `trouble.prepare` made; bring the troubles, and no ``messages``.
        """
        self._site = site
        self._show_trouble = show_trouble
        self._messages = messages
        self._leave = leave
        self._say = say
        self._logs = site.config.data / "demo"
        server = next(d for d in site.config.destinations.values() if d.kind == "fhir")
        host_port = server.url.split("//", 1)[1].split("/", 1)[0]
        self._sandbox_host, _, port = host_port.rpartition(":")
        self._sandbox_port = int(port)
        self._base = "/" + server.url.split("//", 1)[1].partition("/")[2]
        self._web = site.config.web.listen
        self._stop = asyncio.Event()
        self._analyzers = list(_analyzers(site, samples, new_seed(), show_trouble=show_trouble))
        if not self._analyzers:
            raise LabRelayError(f"the site has none of the demo's channels ({', '.join(PLAYED)})")

    async def run(self) -> int:
        """Play to the end, or until Ctrl-C. 0 if every message is on the sandbox, else 1."""
        taken = [
            f"{name} ({host}:{port})"
            for name, host, port in (
                ("sandbox", self._sandbox_host, self._sandbox_port),
                ("status page", self._web.host, self._web.port),
                *((a.channel, a.address.host, a.address.port) for a in self._analyzers),
            )
            if port_is_taken(host, port)
        ]
        if taken:
            raise LabRelayError(
                f"already in use: {', '.join(taken)}; is another demo or daemon running? Stop it, then try again"
            )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
            loop.add_signal_handler(number, self._stop.set)
        listen = f"{self._sandbox_host}:{self._sandbox_port}"
        sandbox = Part("the sandbox", ["sandbox", "--listen", listen], self._logs / "sandbox.log")
        daemon = Part("the daemon", ["--site", str(self._site.folder), "run"], self._logs / "daemon.log")
        try:
            self._say(f"Starting a FHIR server to receive results (the sandbox) on http://{listen}{self._base}")
            await sandbox.start(self._sandbox_host, self._sandbox_port)
            self._say(f"Starting LabRelay on the site in {self._site.folder}")
            last = self._analyzers[-1].address
            await daemon.start(last.host, last.port)
            self._say(f"The status page: http://{self._web.host}:{self._web.port}/")
            self._say(f"The same in another terminal: {command_for(self._site.folder)} status")
            self._say(f"To act on the page: {command_for(self._site.folder)} user add NAME --role admin; then log in")
            for one in self._analyzers:
                self._say(f"A simulated {one.name} connects to {one.address} ({one.protocol})")
            return await self._play(daemon, sandbox)
        except RuntimeError as error:
            self._say(str(error))
            return 1
        finally:
            for analyzer in self._analyzers:
                await analyzer.close()
            self._say("Stopping ...")
            await daemon.stop()
            await sandbox.stop()

    async def _play(self, daemon: Part, sandbox: Part) -> int:
        began = time.monotonic()
        try:
            before = await self._on_sandbox()
        except (OSError, ValueError) as error:
            raise RuntimeError("the sandbox does not answer any more") from error
        progress = Progress()
        shares = self._shares()
        quick = self._messages is not None
        tasks = [
            asyncio.create_task(
                analyzer.play(count=share, pause_s=(lambda: 0.0) if quick else (lambda: random.uniform(0.5, 2.0)))
            )
            for analyzer, share in zip(self._analyzers, shares, strict=True)
        ]
        watch = asyncio.create_task(self._watch(progress, before))
        stopped = asyncio.create_task(self._stop.wait())
        everything = asyncio.gather(*tasks)
        goal: asyncio.Future[Any] = everything
        if self._show_trouble:
            goal = asyncio.ensure_future(self._trouble_shows(progress, before))
        try:
            ends: set[asyncio.Future[Any]] = {goal, stopped}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if goal.done():
                goal.result()
            if not self._stop.is_set() and self._leave:
                for player in tasks:
                    player.cancel()
                await self._drained(progress, before, daemon, sandbox)
            elif not self._stop.is_set():
                done = "The analyzers go on" if self._show_trouble else "All messages are sent; the parts go on"
                self._say(f"{done} until you press Ctrl-C.")
                await stopped
        finally:
            for task in (*tasks, watch, stopped, goal):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await everything
        await self._look_anew(progress, before)
        return self._sum_up(progress, time.monotonic() - began)

    async def _drained(self, progress: Progress, before: int, daemon: Part, sandbox: Part) -> None:
        """Wait until everything sent is where it belongs, a part has ended, or it takes too long."""
        deadline = time.monotonic() + DRAIN_WITHIN_S
        while time.monotonic() < deadline and not (self._stop.is_set() or daemon.ended or sandbox.ended):
            await self._look(progress, before)
            if self._missing(progress) <= 0:
                return
            await asyncio.sleep(0.1)

    async def _trouble_shows(self, progress: Progress, before: int) -> None:
        """Wait until the page shows each trouble once, and say the next steps.

        Raises:
            RuntimeError: it takes too long.
        """
        deadline = time.monotonic() + trouble.SHOWS_WITHIN_S
        while time.monotonic() < deadline:
            status = await self._look(progress, before)
            if status is not None and trouble.shows(status):
                for line in trouble.in_words(command_for(self._site.folder)):
                    self._say(line)
                return
            await asyncio.sleep(0.5)
        raise RuntimeError(f"the page does not show the trouble after {trouble.SHOWS_WITHIN_S:.0f} s: {progress.page}")

    def _missing(self, progress: Progress) -> int:
        """How many acknowledged messages are neither on the server nor, where trouble is shown, with a person."""
        with_a_person = progress.dead + progress.held if self._show_trouble else 0
        return progress.sent - progress.delivered - with_a_person

    async def _watch(self, progress: Progress, before: int) -> None:
        in_place = plain_environment()
        every = 0.5 if in_place else 5.0
        while True:
            await self._look(progress, before)
            self._say(
                ("\r" if in_place else "")
                + f"  sent and acknowledged {progress.sent:5d}   on the FHIR server {progress.delivered:5d}   "
                f"waiting {progress.waiting:4d}   dead {progress.dead:3d}"
            )
            await asyncio.sleep(every)

    async def _look(self, progress: Progress, before: int) -> dict[str, Any] | None:
        """Renew ``progress``, and return the daemon's status; None where it does not answer."""
        progress.sent = sum(analyzer.acknowledged for analyzer in self._analyzers)
        with contextlib.suppress(OSError, ValueError):
            progress.delivered = await self._on_sandbox() - before
        with contextlib.suppress(OSError, ValueError, KeyError):
            status = await get_json(self._web.host, self._web.port, "/status.json")
            lanes = [lane for channel in status["channels"] for lane in channel["lanes"]]
            progress.dead = status["dead_total"]
            progress.held = sum(lane["held"] for lane in lanes)
            progress.waiting = sum(channel["stored_waiting"] for channel in status["channels"])
            progress.waiting += sum(lane["waiting"] for lane in lanes)
            progress.page = status["overall"]["words"]
            return status
        return None

    async def _look_anew(self, progress: Progress, before: int) -> None:
        """As `_look`, with a status of after this moment: the page keeps one for a second."""
        last, deadline = await self._look(progress, before), time.monotonic() + PAGE_WITHIN_S
        while last is not None and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            now = await self._look(progress, before)
            if now is None or now["now"] != last["now"]:
                return

    async def _on_sandbox(self) -> int:
        """How many messages the sandbox has results of: each leaves one Provenance."""
        found = await get_json(self._sandbox_host, self._sandbox_port, f"{self._base}/Provenance?_summary=count")
        return int(found["total"])

    def _sum_up(self, progress: Progress, took_s: float) -> int:
        self._say("")
        self._say(f"{'analyzer':<20}{'channel':<14}{'sent':>6}{'acknowledged':>14}{'sent again':>12}")
        for one in self._analyzers:
            self._say(f"{one.name:<20}{one.channel:<14}{one.sent:>6}{one.acknowledged:>14}{one.repeated:>12}")
        complete = self._missing(progress) <= 0 and (
            self._messages is None or progress.sent >= self._messages or self._stop.is_set()
        )
        verdict = "nothing lost" if complete else f"MISSING {self._missing(progress)}"
        held = f"{progress.held} held, " if progress.held else ""
        self._say(
            f"{progress.sent} messages acknowledged, {progress.delivered} on the FHIR server, {progress.dead} dead, "
            f"{held}in {took_s:.1f} s: {verdict}"
        )
        self._say(f"The status page says: {progress.page}")
        if self._messages is not None and not self._stop.is_set():
            return 0 if complete and progress.delivered == self._messages else 1
        return 0 if complete or self._stop.is_set() else 1

    def _shares(self) -> list[int | None]:
        """How many messages each analyzer sends; None: without end."""
        players = len(self._analyzers)
        if self._show_trouble:
            silent = trouble.SEROLOGY
            return [trouble.MESSAGES_BEFORE_SILENCE if one.channel == silent else None for one in self._analyzers]
        if self._messages is None:
            return [None] * players
        return [self._messages // players + (index < self._messages % players) for index in range(players)]


def _analyzers(site: Site, samples: Path, seed: int, *, show_trouble: bool) -> Iterator[Analyzer]:
    for index, (name, (model, folder, files)) in enumerate(PLAYED.items()):
        channel = site.channels.get(name)
        if channel is None or not channel.enabled or not isinstance(channel.source, TcpPart):
            continue
        if (address := channel.source.listen) is not None:
            played = read_model(model, [samples / folder / file for file in files]).in_dialect(channel.dialect)
            first = trouble.first_message(name, samples) if show_trouble else b""
            yield Analyzer(
                played, channel, protocol=channel.source.link, address=address, seed=seed + index, first=first
            )
