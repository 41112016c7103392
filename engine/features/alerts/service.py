"""Alerts of the running site: it looks at the to-do list, keeps what changes, and sends it to the sinks.

Each look is one transaction (`engine.features.alerts.rows.changes`). Each sink has a task of its own, so a slow one
delays no other. What a sink does not take is tried again for a day, and the sink itself is an entry of the to-do list.

A reload that changes ``alerts:`` builds the sinks anew; nothing that waits is lost, but for sinks that are gone.
"""

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from engine.config.findings.tls_files import hash_of
from engine.config.load import Site
from engine.features.alerts.config import AlertsConfig, alerts_of
from engine.features.alerts.rows import changes as alerts
from engine.features.alerts.rows import reading as rows
from engine.features.alerts.rules.causes import causes
from engine.features.alerts.rules.machine import AlertsSnapshot, step
from engine.features.alerts.rules.wording import inactive, lines_of_a_test, notification, settings_of
from engine.features.todo.service import TodoList
from engine.model import errors
from engine.model.ports import AlertSink
from engine.model.process.clock import Clock
from engine.model.site.alerts import Alert, Changes, Message, Notification, Silence
from engine.model.site.downtime_windows import open_until
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry
from engine.runtime.service import Loop, Service
from engine.store.journal import Journal
from engine.web.languages import catalogue

if TYPE_CHECKING:
    from engine.runtime.app import App
    from engine.runtime.pages import Seen

logger = logging.getLogger("labrelay.alerts")
T = TypeVar("T")

LOOK_S = 10.0
AT_MOST_A_TENTH = 10.0  # of the time is spent looking, where the to-do list takes long to make
TIDY_S = 600.0
IDLE_S = 30.0
FIRST_S, LONGEST_S = 5.0, 60.0  # between two attempts
AT_MOST_US = 24 * 3_600_000_000  # for so long a line is tried: an alert of yesterday rings no bell
_CRITICAL = alerts.CRITICAL_KEY.format("")  # how the keys of critical values begin
REFUSALS = 5  # of one message, before it is given up; one about a critical value is tried for the whole day
_NOT_REACHED = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH})


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a test.

    Attributes:
        detail: why the sink has not taken it; empty: it has.
    """

    sink: str
    place: str
    detail: str


class Alerting(Service):
    """Alerts of one running site.

    Args:
        entries: the to-do list as it is now.
        site: the configuration in force.
        unproven: see `engine.runtime.upkeep.spare_watch`. A machine that is not active says that alone, once.
    """

    def __init__(
        self,
        journal: Journal,
        entries: Callable[[], Awaitable[Sequence[Entry]]],
        snapshot: Callable[[], SiteSnapshot],
        site: Callable[[], Site],
        clock: Clock,
        unproven: Callable[[], Awaitable[None] | None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._unproven = unproven
        self._told: set[str] = set()  # sinks that know that this machine is not active
        self._entries = entries
        self._snapshot = snapshot
        self._site = site
        self._clock = clock
        self._reading = asyncio.Lock()
        self._look_now = asyncio.Event()
        self._due: dict[str, asyncio.Event] = {}
        self._sinks: dict[str, AlertSink] = {}
        self._failing: set[str] = set()
        self._tidied = -TIDY_S
        self.subjects: Sequence[str] = ()  # of open alerts that no person has taken
        self.notifications: Counter[tuple[str, str]] = Counter()  # attempts, by sink and result
        self.seen: AlertsSnapshot | None = None  # None: the site has no alerts

    @property
    def config(self) -> AlertsConfig | None:
        return alerts_of(self._site().config)

    async def _read(self, work: Callable[..., T], *given: Any) -> T:
        """``work(journal, *given)`` in a thread; one at a time, so that many sinks need no more threads than one."""
        async with self._reading:
            return await asyncio.to_thread(work, self._journal, *given)

    # -- moments of the site -----------------------------------------------------------------------------------------

    def configured(self, site: Site) -> None:
        config = alerts_of(site.config)
        self._journal.upkeep.notes_critical = config is None or config.wants_critical

    def loops(self) -> dict[str, Loop]:
        return {"alerts": self.run}

    def of_pages(self, seen: "Seen | None") -> dict[str, Any]:
        return {"bell": lambda: sum(seen is None or one in seen.channels for one in self.subjects)}

    # -- tasks -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look and send until cancelled.

        Raises:
            StoreError: the journal has failed for good.
        """
        while True:
            config = self.config
            if config is None:
                await self._without()
                continue
            async with AsyncExitStack() as opened:
                await self.open(config, opened)
                senders = [
                    asyncio.create_task(self._keep_sending(name), name=f"alerts to {name}") for name in self._due
                ]
                looks = asyncio.create_task(self._keep_looking(config))
                try:
                    await asyncio.wait({looks, *senders}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (looks, *senders):
                        task.cancel()
                    ended = await asyncio.gather(looks, *senders, return_exceptions=True)
            for error in ended:
                if isinstance(error, Exception):
                    raise error

    async def open(self, config: AlertsConfig, opened: AsyncExitStack) -> None:
        """Build and start the sinks; one that cannot be built is one that takes nothing."""
        self._due = {name: asyncio.Event() for name in config.sinks}
        self._failing.clear()
        self._tidied = -TIDY_S
        sinks: Mapping[str, AlertSink] = {
            name: self._built(name, partial(sink.build, name, self._clock)) for name, sink in config.sinks.items()
        }
        for name, sink in sinks.items():
            await sink.start()
            opened.push_async_callback(sink.close)
            self._sinks[name] = sink
        opened.callback(self._sinks.clear)

    def _built(self, name: str, build: Callable[[], AlertSink]) -> AlertSink:
        try:
            return build()
        except errors.ConfigError as error:
            logger.error("a sink of alerts cannot be used", extra={"destination": name, "detail": str(error)})
            return _Unusable(str(error))

    async def _without(self) -> None:
        """No alerts are configured: none is open any more. Critical values stay until a person takes them."""
        with suppress(errors.StoreError):
            kept = await self._read(rows.anything_kept)
            if kept:
                await self._journal.run(alerts.forget)
        self.subjects, self.seen = (), None
        while self.config is None:
            await self._pause(LOOK_S)

    async def _keep_looking(self, config: AlertsConfig) -> None:
        """Until other alerts are configured, or a reload finds another certificate of a sink."""
        files = _files(config)
        while (now := self.config) is config or (now == config and _files(now) == files):
            config = now
            began = self._clock.monotonic()
            try:
                await self._proven()
                await self.look()
            except errors.StoreError as error:
                if error.fatal:
                    raise
            except Exception as error:  # a fault of ours in the to-do list keeps back nothing that waits to be sent
                logger.error("a look for alerts failed by a fault of ours", extra={"cause": type(error).__name__})
            await self._pause(max(LOOK_S, AT_MOST_A_TENTH * (self._clock.monotonic() - began)))

    async def _pause(self, seconds: float) -> None:
        await _until(self._look_now, seconds)
        self._look_now.clear()

    async def _keep_sending(self, name: str) -> None:
        while True:
            self._due[name].clear()
            try:
                await self._proven()
                self._told.discard(name)
                while await self.send_due(name):
                    await self._proven()
                wait_s = await self._until_due_s(name)
            except errors.OvertakenError:
                wait_s = await self._tell_inactive(name)
            except errors.StoreError as error:
                if error.fatal:
                    raise
                wait_s = FIRST_S
            await _until(self._due[name], wait_s)

    async def _proven(self) -> None:
        """Raises OvertakenError where the journal goes on elsewhere."""
        if (proof := self._unproven()) is not None:
            await proof

    async def _tell_inactive(self, name: str) -> float:
        """Tell a sink that another machine goes on; how long to wait then."""
        if name not in self._told:
            with suppress(errors.DeliveryError):
                await self._sinks[name].send(self._in_words(inactive(name, self._clock.now_us())))
                self._told.add(name)
        return FIRST_S

    # -- one look ----------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Carry the alerts on, and queue what is to be sent.

        Raises:
            StoreError: the journal cannot be read, or takes nothing.
        """
        config = self.config
        if config is None:
            return
        settings = settings_of(config)
        entries, site, now_us = await self._entries(), self._snapshot(), self._clock.now_us()

        def decide(kept: Mapping[str, Alert], silences: Sequence[Silence]) -> Changes:
            found = causes(entries, settings.rules, kept, site, now_us)
            return step(kept, found, settings, silences, now_us)

        kept, silences = await self._read(rows.kept, now_us)
        if decide(kept, silences):
            await self._journal.run(alerts.look, decide)
            kept, _ = await self._read(rows.kept, now_us)
            for due in self._due.values():
                due.set()
        self.subjects = [one.subject for one in kept.values() if one.is_open and not one.taken]
        open_now = Counter((one.rule, one.level) for one in kept.values() if one.is_open)
        levels = (Level.PROBLEM.value, Level.ATTENTION.value)
        quiet = [name for name in config.sinks if self._quiet_until_us(name) is not None]
        since_us = await self._read(rows.unsent_since, quiet)
        self.seen = AlertsSnapshot(
            open={(name, level): 0 for name, rule in settings.rules.items() if rule.enabled for level in levels}
            | open_now,
            unsent_since_us={name: since_us.get(name) for name in config.sinks},
        )
        await self._tidy(config)

    async def _tidy(self, config: AlertsConfig) -> None:
        now = self._clock.monotonic()
        if now - self._tidied < TIDY_S:
            return
        self._tidied = now
        before_us = self._clock.now_us() - AT_MOST_US
        quiet = [name for name in config.sinks if self._was_quiet(name)]
        given_up = await self._journal.run(alerts.give_up, before_us=before_us, sinks=list(config.sinks), quiet=quiet)
        if given_up:
            logger.error("alerts were given up: their sinks took nothing for a day", extra={"count": given_up})
        await self._journal.run(alerts.tidy)
        if not config.wants_critical:
            await self._journal.run(alerts.close_critical)

    # -- one message -------------------------------------------------------------------------------------------------

    async def send_due(self, name: str) -> bool:
        """Make one attempt to send a sink what is due; whether there was anything.

        Raises:
            StoreError: the journal takes nothing.
        """
        held = self._quiet_until_us(name) is not None
        now_us = self._clock.now_us()
        due_us = await self._read(rows.next_due_us, name, held, now_us)
        if due_us is None or due_us > now_us:
            return False
        message = await self._journal.run(alerts.claim, name, held=held)
        if message is None:
            return False
        try:
            refused = await self._sinks[name].send(self._in_words(message))
        except errors.DeliveryError as error:
            await self._failed(message, error)
            return True
        except Exception as error:  # a fault of ours at one sink keeps alerts from no other
            text = "a sink of alerts failed by a fault of ours"
            logger.error(text, extra={"destination": name, "cause": type(error).__name__})
            await self._failed(message, errors.TransientDeliveryError(ReasonCode.BUSY, type(error).__name__))
            return True
        config = self.config
        place = config.sinks[name].place if config is not None and name in config.sinks else ""
        await self._journal.run(alerts.sent, message, place, refused)
        if refused:
            logger.warning(
                "a sink has refused some addresses of an alert", extra={"destination": name, "count": len(refused)}
            )
        self.notifications[name, "taken"] += 1
        if name in self._failing:
            self._failing.discard(name)
            logger.info("alerts reach a sink again", extra={"destination": name})
        return True

    def _in_words(self, message: Message) -> Notification:
        site, config = self._site().config, self.config
        language = config.language_of(message.sink) if config is not None else "en"
        digits, zone = self._journal.journal_id.hex()[:8], ZoneInfo(site.site.timezone or "UTC")
        page = site.web.beyond_this_machine
        return notification(message, site.site.name, digits, catalogue(language), zone=zone, page=page)

    async def _failed(self, message: Message, error: errors.DeliveryError) -> None:
        name = message.sink
        if name not in self._failing:
            self._failing.add(name)
            logger.warning("alerts do not reach a sink", extra={"destination": name, "detail": str(error)})
        urgent = any(line.urgent for line in message.lines)
        if isinstance(error, errors.RefusedDeliveryError) and message.attempt >= REFUSALS and not urgent:
            logger.error("an alert is given up: its sink refuses it", extra={"destination": name, "detail": str(error)})
            await self._journal.run(alerts.refused, message)
            self.notifications[name, "refused"] += 1
            return
        wait_s = min(FIRST_S * 2 ** min(message.attempt - 1, 10), LONGEST_S)
        due_us = self._clock.now_us() + round(wait_s * 1e6)
        self.notifications[name, "failed"] += 1
        await self._journal.run(alerts.postpone, message, due_us, reached=_may_have_reached(error))

    async def _until_due_s(self, name: str) -> float:
        quiet_us = self._quiet_until_us(name)
        now_us = self._clock.now_us()
        due_us = await self._read(rows.next_due_us, name, quiet_us is not None, now_us)
        found = [at_us for at_us in (due_us, quiet_us) if at_us is not None]
        if not found:
            return IDLE_S
        return min(max((min(found) - self._clock.now_us()) / 1e6, 0.01), IDLE_S)

    def _was_quiet(self, name: str) -> bool:
        """Whether a quiet window of the sink is open, or has just ended: what it held may wait still."""
        return any(self._quiet_until_us(name, ago_s) is not None for ago_s in (0.0, 2 * TIDY_S))

    def _quiet_until_us(self, name: str, ago_s: float = 0.0) -> int | None:
        """When the sink's quiet window ends that is open now, or was open then; None outside of any."""
        site = self._site().config
        alerts = alerts_of(site)
        sink = alerts.sinks.get(name) if alerts is not None else None
        if sink is None or not sink.quiet:
            return None
        zone = ZoneInfo(site.site.timezone or "UTC")
        until = open_until([one.window for one in sink.quiet], zone, self._clock.now() - timedelta(seconds=ago_s))
        return None if until is None else round(until.timestamp() * 1e6)

    # -- people ------------------------------------------------------------------------------------------------------

    async def test(self, name: str = "") -> list[Tested]:
        """Send a test to one sink, or to all.

        Raises:
            RefusedError: there is no such sink, or none at all.
        """
        config = self._configured()
        if name and name not in config.sinks:
            raise errors.RefusedError(f"no sink has the name {name}; there are {', '.join(config.sinks)}")
        names = [name] if name else list(config.sinks)
        return list(await asyncio.gather(*map(self._tested, names)))

    async def _tested(self, name: str) -> Tested:
        config, now_us = self._configured(), self._clock.now_us()
        lines = lines_of_a_test([name], now_us)
        said = self._in_words(Message(number=now_us, sink=name, lines=tuple(lines)))
        try:
            refused = await self._sinks[name].send(replace(said, id=f"{said.id}-test"))
            detail = f"refused for {', '.join(refused)}" if refused else ""
        except errors.DeliveryError as error:
            detail = str(error)
        except KeyError:
            detail = "it is being opened; try again"
        return Tested(name, config.sinks[name].place, detail)

    async def acknowledge(self, key: str, actor: str, note: str) -> tuple[str, int]:
        """Take an alert; returns its key, and the id of the audit row. ``key`` may be its beginning, but not of a
        critical value: the number of one message begins as that of another patient's does.

        Raises:
            RefusedError: there is none, or several.
        """
        number = key.removeprefix(_CRITICAL)
        if self.config is None and number != key and number.isdecimal() and len(number) < 19:
            return key, await self._journal.run(alerts.take_critical, int(number), actor, note)
        self._configured()
        kept, _ = await self._read(rows.kept, self._clock.now_us())
        found = [one for one, alert in kept.items() if alert.is_open]
        near = [key] if key in found else [one for one in found if one.startswith(key) and not kept[one].urgent]
        if len(near) != 1:
            there = ", ".join(near or found) or "none"
            wrong = "several alerts begin with" if near else "no open alert is"
            raise errors.RefusedError(f"{wrong} {key}; there are: {there}")
        act = await self._journal.run(alerts.acknowledge, near[0], actor, note)
        self._look_now.set()
        return near[0], act

    async def silence(self, pattern: str, actor: str, reason: str, seconds: float) -> int:
        """Send nothing of these alerts for a time; returns the id of the audit row, which is the silence's number.

        Raises:
            RefusedError: they are critical values, or there are too many silences.
        """
        self._configured()
        return await self._journal.run(alerts.silence, pattern, actor, reason, seconds=seconds)

    async def unsilence(self, number: int, actor: str) -> int:
        """End a silence; returns the id of the audit row.

        Raises:
            RefusedError: there is none with this number.
        """
        act = await self._journal.run(alerts.unsilence, number, actor)
        self._look_now.set()
        return act

    def _configured(self) -> AlertsConfig:
        config = self.config
        if config is None:
            raise errors.RefusedError(
                "no alerts are configured; write alerts: into config/labrelay.yaml (docs/alerts.md)"
            )
        return config


class _Unusable:
    """A sink that could not be built."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def send(self, notification: Notification) -> Sequence[str]:
        raise errors.DestinationDownError(ReasonCode.WRONG_ADDRESS, self._why)


def _files(config: AlertsConfig) -> list[str]:
    """The content of the certificate files of each sink."""
    return [hash_of(sink) for sink in config.sinks.values()]


def _may_have_reached(error: errors.DeliveryError) -> bool:
    """Whether the sink may have taken the message all the same: it was there, and its answer is missing."""
    if error.reason is not ReasonCode.NO_ANSWER:
        return False
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, ConnectionRefusedError | socket.gaierror):
            return False
        if isinstance(at, OSError) and at.errno in _NOT_REACHED:
            return False
        at = at.__cause__ or at.__context__
    return True


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def alerting(app: "App") -> Alerting:
    """Of a running site."""

    async def entries() -> Sequence[Entry]:
        return await app.service(TodoList).entries(certain=True)

    unproven = app.backup.spare.unproven
    return Alerting(app.journal, entries, app.observer.snapshot, lambda: app.parts.built.site, app.clock, unproven)
