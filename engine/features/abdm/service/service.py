"""ABDM as the daemon runs it: the gateway's client, the listener for callbacks, the dispatcher, reports that come, the
watchdog.

The watchdog of ABDM: it looks at our account by itself, so that a fault is known before a patient misses a report.

    look     the preflight, and whether callbacks come although the gateway took calls
    judge    a fault begins where two of the last three looks found it, and ends where the last two did not
    say      one line of the log at its begin and its end; the snapshot, and with it to-do list, status and metrics

One lost look changes nothing. A look that cannot see a fault counts neither for nor against it: while the gateway is
down no URL is known to be right. After a look that differs from what is known the next one follows soon, once: a
gateway that is down is asked no more often than that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from random import random
from typing import TYPE_CHECKING

from engine.config import registry
from engine.config.load import Site
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination, facilities_of, found_in
from engine.features.abdm.flows import consents, reports
from engine.features.abdm.flows.pushing import Pushing
from engine.features.abdm.flows.texting import Texting
from engine.features.abdm.rows import calls
from engine.features.abdm.rows import reading as queries
from engine.features.abdm.rules.account import AbdmFault, AbdmSnapshot
from engine.features.abdm.service.dispatcher import Dispatcher
from engine.features.abdm.service.listener import CallbackListener
from engine.features.abdm.service.preflight import HIDES, Caller, clocks, examine
from engine.model.errors import StoreError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.packing import UnpackingDestination
from engine.model.process import back_off
from engine.model.process.clock import Clock
from engine.model.texts.phrases import Phrase, Span
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.states import Level
from engine.runtime.service import Loop, Service
from engine.store.journal import Journal

if TYPE_CHECKING:
    from engine.runtime.app import App

FIRST_S = 30.0  # after the start: the listener opens first
SOON_S = 60.0
EVERY_S = 900.0
SILENT_AFTER_S = 1200.0  # the gateway repeats a callback that was not taken after some 16 minutes
JUMP_S = 30.0  # of the clock, by which no silence is measured
SILENT = "callbacks-silent"
ELSEWHERE = frozenset({"url-other", "url-missing"})
Key = tuple[str, str]  # code and facility


class Silence(Enum):
    """Whether callbacks are missed."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # nothing shows it


def silence(oldest_us: int, given_up: bool, *, listening_us: int, now_us: int, after_s: float) -> tuple[Silence, float]:
    """Whether callbacks are missed, and for how many seconds.

    Args:
        oldest_us: when the gateway took the oldest call that waits for a callback, of those since the last callback of
            any kind; 0: none does.
        given_up: a call was given up since then, as its callback never came.
        listening_us: since when callbacks can be heard at all.
    """
    after_us = after_s * 1_000_000
    if not oldest_us or now_us - oldest_us < after_us:
        return (Silence.UNKNOWN if given_up else Silence.NO), 0.0
    heard_us = now_us - max(oldest_us, listening_us)
    return (Silence.YES if heard_us >= after_us else Silence.UNKNOWN), heard_us / 1_000_000


@dataclass(frozen=True, slots=True)
class Track:
    """One fault over several looks.

    Attributes:
        seen: whether the last three looks that could see it found it, the newest last.
        fault: as it was found last.
    """

    fault: AbdmFault
    seen: tuple[bool, ...] = ()
    is_on: bool = False

    @property
    def is_unsure(self) -> bool:
        """Whether the last look differs from what is known."""
        return self.seen[-1] is not self.is_on

    def after(self, *, found: AbdmFault | None, now: datetime) -> "Track":
        """With one more look that could see it."""
        seen = (*self.seen, found is not None)[-3:]
        is_on = seen.count(True) >= 2 or (self.is_on and seen[-2:] != (False, False))
        since = self.fault.since if self.seen else now
        return Track(replace(found or self.fault, since=since), seen, is_on)


def judged(
    before: Mapping[Key, Track], found: Collection[AbdmFault], hidden: Collection[str], now: datetime
) -> dict[Key, Track]:
    """The tracks after one more look; one whose fault is over is gone.

    Args:
        hidden: codes of faults that this look could not see.
    """
    there = {(one.code, one.facility): one for one in found}
    after = {}
    for key, one in there.items():
        after[key] = before.get(key, Track(one)).after(found=one, now=now)
    for key, track in before.items():
        if key not in there:
            after[key] = track if key[0] in hidden else track.after(found=None, now=now)
    return {key: track for key, track in after.items() if any(track.seen[-2:])}


def is_soon(tracks: Mapping[Key, Track], was_soon: bool) -> bool:
    """Whether the next look follows soon; never twice in a row."""
    return not was_soon and any(track.is_unsure for track in tracks.values())


class Watch:
    """Of one site.

    Args:
        gateway: one that is started before `run`.
        fault_of: as `preflight.examine` has it.
    """

    def __init__(
        self,
        name: str,
        ours: AbdmDestination,
        gateway: Caller,
        journal: Journal,
        clock: Clock,
        fault_of: Callable[[str], Awaitable[str]],
    ) -> None:
        self._name, self._ours, self._gateway = name, ours, gateway
        self._journal, self._clock, self._fault_of = journal, clock, fault_of
        self._tracks: dict[Key, Track] = {}
        self._looked_at: datetime | None = None
        self._listening_us = clock.now_us()
        self._distance_s = self._offset_s()

    @property
    def snapshot(self) -> AbdmSnapshot:
        """The faults that are in force."""
        faults = [track.fault for _, track in sorted(self._tracks.items()) if track.is_on]
        if all(one.code != "clock-off" for one in faults):  # each answer of the gateway shows it: no look is needed
            faults += clocks(self._gateway.ahead_s)
        return AbdmSnapshot(destination=self._name, looked_at=self._looked_at, faults=tuple(faults))

    @property
    def is_elsewhere(self) -> bool:
        """Whether our callbacks go to another system, or to none."""
        return any(track.is_on and code in ELSEWHERE for (code, _), track in self._tracks.items())

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.sleep(FIRST_S * (0.5 + random()))
        soon = False
        while True:
            await self.look()
            soon = is_soon(self._tracks, soon)
            every_s = SOON_S if soon else EVERY_S
            await asyncio.sleep(every_s * (0.9 + random() / 5))

    async def look(self) -> None:
        """One look."""
        found = await examine(self._ours, self._gateway, self._fault_of)
        hidden = {code for one in found for code in HIDES.get(one.code, ())}
        missed, seconds = self._silence()
        if missed is Silence.YES:
            found.append(_silent(seconds))
        elif missed is Silence.UNKNOWN:
            hidden.add(SILENT)
        before, now = self._tracks, self._clock.now()
        self._tracks, self._looked_at = judged(before, found, hidden, now), now
        were = {key: track.fault for key, track in before.items() if track.is_on}
        are = {key: track.fault for key, track in self._tracks.items() if track.is_on}
        for key in sorted(are.keys() - were.keys()):
            level = logging.ERROR if are[key].level is Level.PROBLEM else logging.WARNING
            logger.log(level, "a fault of our account at ABDM has begun", extra={"reason": key[0], "detail": key[1]})
        for code, facility in sorted(were.keys() - are.keys()):
            logger.info("a fault of our account at ABDM is over", extra={"reason": code, "detail": facility})

    def _silence(self) -> tuple[Silence, float]:
        now_us = self._clock.now_us()
        if abs(self._offset_s() - self._distance_s) > JUMP_S:
            self._distance_s, self._listening_us = self._offset_s(), now_us
        try:
            oldest_us, given_up = queries.look(self._journal, calls.overdue)
        except StoreError:  # reported elsewhere
            return Silence.UNKNOWN, 0.0
        return silence(oldest_us, given_up, listening_us=self._listening_us, now_us=now_us, after_s=SILENT_AFTER_S)

    def _offset_s(self) -> float:
        return self._clock.now_us() / 1e6 - self._clock.monotonic()


def _silent(seconds: float) -> AbdmFault:
    text = Phrase("no callback for {age}, although the gateway took calls", {"age": Span(seconds)})
    remedy = Phrase(
        "look whether another system of this client_id takes them ({command}), and at the relay and the firewall",
        {"command": Phrase("labrelay abdm preflight")},
    )
    return AbdmFault(code=SILENT, text=text, remedy=remedy)


logger = logging.getLogger("labrelay.abdm")


class Abdm:
    """Of one site. A change of its configuration takes effect at the next start.

    Args:
        name: of the destination.

    Attributes:
        fault: why the listener is not open; empty: it is.
    """

    def __init__(self, name: str, ours: AbdmDestination, journal: Journal, clock: Clock) -> None:
        """
        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        self.name, self.ours = name, ours
        self._journal, self._clock = journal, clock
        self.gateway = registry.load(ABDM, "gateway").build(name, ours, clock)
        self.dispatcher = Dispatcher(journal, self.gateway, lambda: ours, clock)
        self.pushes = registry.load(ABDM, "pushes").build(name, ours)
        self.pushing = Pushing(journal, self.gateway, self.pushes, ours, clock, self.dispatcher.changed)
        self.dispatcher.follow(self.pushing.came)
        self.dispatcher.follow_calls(self.pushing.heard)
        table = self.dispatcher.table
        self.listener = CallbackListener(
            ours, self.gateway, journal, clock, table.paths, self.dispatcher.stored, table.refused
        )
        self.texts, self.texting = None, None
        if ours.sms is not None:
            self.texts = registry.load(ABDM, "texts").build(name, ours.sms, clock)
            self.texting = Texting(journal, self.texts, lambda: ours, clock, self.dispatcher.changed)
            self.dispatcher.follow(self.texting.changed)
        self.watch = Watch(name, ours, self.gateway, journal, clock, registry.load(ABDM, "gateway").fault_of)
        self.dispatcher.is_elsewhere = lambda: self.watch.is_elsewhere
        self.fault = ""

    async def start(self) -> None:
        """Before reports are delivered. The listener opens by `loops`."""
        await self.gateway.start()
        await self.pushes.start()
        await self.dispatcher.recover()
        if self.texts is not None and self.texting is not None:
            await self.texts.start()
            await self.texting.recover()

    @property
    def loops(self) -> dict[str, Loop]:
        """What runs until it is cancelled, by name."""
        return {
            "callbacks of ABDM": self.dispatcher.fold,
            "calls to ABDM": self.dispatcher.carry_out,
            "records to readers of ABDM": self.pushing.run,
            "listener for ABDM": self.listen,
            "watchdog of ABDM": self.watch.run,
            "ends of consents": lambda: consents.keep_time(self._journal, self._clock),
            **({"SMS of ABDM": self.texting.carry_out} if self.texting is not None else {}),
        }

    async def listen(self) -> None:
        """Keep the listener open; where it cannot open, try again."""
        if not self.listener.port:
            await back_off.trying(back_off.NOT_YET)(self._open)
        await asyncio.Event().wait()

    async def _open(self) -> bool:
        try:
            await self.listener.start()
        except (OSError, ValueError) as error:
            fault = getattr(error, "strerror", None) or type(error).__name__
            if fault != self.fault:
                logger.error(
                    "cannot listen for callbacks of ABDM, will keep trying",
                    extra={"peer": str(self.ours.callbacks.listen), "detail": fault},
                )
            self.fault = fault
            return False
        self.fault = ""
        return True

    async def stop(self) -> None:
        await self.listener.stop()
        await self.pushes.close()
        if self.texts is not None:
            await self.texts.close()
        await self.gateway.close()

    async def take(self, delivery: Delivery) -> None:
        """Keep a delivered report.

        Raises:
            DeliveryError: it is not kept.
        """
        found = reports.read(delivery.body)
        facility = reports.facility_of(self.ours, delivery)
        try:
            await self._journal.run(reports.take, self.ours, delivery.id, facility, delivery.channel, found)
        except StoreError as error:
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, str(error)) from error
        self.dispatcher.changed()


class AbdmService(Service):
    """ABDM of a running site.

    Attributes:
        abdm: None: the site is not in the network.
    """

    def __init__(self, app: "App") -> None:
        """
        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        self._app = app
        found = found_in(app.parts.built.site.config.destinations)
        self.abdm = None if found is None else Abdm(*found, app.journal, app.clock)

    def later(self, site: Site) -> list[str]:
        before = None if self.abdm is None else (self.abdm.name, self.abdm.ours)
        now = found_in(site.config.destinations)
        if before == now:
            return []
        name = (now or before or ("",))[0]
        return [f"config/labrelay.yaml: destinations: {name}: a change takes effect at the next start"]

    def made(self, name: str, destination: UnpackingDestination) -> None:
        if self.abdm is not None and self.abdm.name == name:
            destination.hand_to(self.abdm.take)

    async def start(self) -> None:
        if self.abdm is not None:
            await self.abdm.start()

    async def stop(self) -> None:
        if self.abdm is not None:
            await self.abdm.stop()

    def loops(self) -> dict[str, Loop]:
        return {} if self.abdm is None else self.abdm.loops | {"profiles shared by ABDM": self._announce}

    async def _announce(self) -> None:
        parts = self._app.parts
        await reports.run(self._app.journal, lambda: parts.built.site.channels, parts.stored)

    def shown(self, site: Site) -> dict[str, object]:
        return {
            "abdm": None if self.abdm is None else self.abdm.watch.snapshot,
            "facilities": facilities_of(site.config.destinations),
        }
