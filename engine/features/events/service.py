"""Events as the daemon has them: its webhooks, and the states of its channels and destinations.

States are those that the page has: looked at every `STATES_S`, so a state that was over before the next look has no
event. A start begins with the state of each.

Webhooks of the running site: each reads the events from a position of its own and sends them, one after the other.

The position is durable once an event was taken, at most a second later. So a kill sends the events of that second once
more, under their own ids, and skips none. A receiver that is away holds up its own webhook alone, and costs the memory
of one page; events that are deleted meanwhile are one event `gap`.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from engine.config.findings.tls_files import hash_of
from engine.config.load import Site
from engine.delivery.retry import RetryPolicy
from engine.features.events import rows
from engine.features.events.config import WebhookConfig, webhooks_of
from engine.features.events.rows import FailingWebhook, StateChange, StoredWebhook, stored_webhooks
from engine.features.events.rules import Event, Position, position_of, wanted
from engine.model import errors
from engine.model.ports import EventReceiver
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.runtime.service import Loop, Service
from engine.store.journal import Journal
from engine.store.queries.within import Within

if TYPE_CHECKING:
    from engine.runtime.app import App

logger = logging.getLogger("labrelay.events")

CONFIGURED_S = 1.0  # between two looks at the configuration
LOOK_S = 0.25  # between two looks whether something has happened
KEPT_S = 1.0  # between two writes of a position
PASSED_S = 60.0  # the same, where only events have passed that are not wanted
AGAIN_S = 5.0  # after a failure of the journal, and with files that cannot be used
REFUSALS = 5  # of one event, before it is given up
REFUSING_S = 3600.0  # and, where the event before it was given up, too, not before it was refused for so long
RETRY = RetryPolicy(first=1.0, max=300.0)
AWAY_S = 60.0  # attempts that fail for so long are on the to-do list
GIVEN_UP_US = 86_400_000_000  # how long events that were given up are

Read = Callable[[Position], rows.Page]
_Wanted = tuple[WebhookConfig, str]  # and the content of its files (`engine.config.findings.tls_files`)


class Webhooks:
    """The webhooks of one site; ``configured`` gives those of the configuration in force. A machine that is not active
    sends nothing (``unproven``: see `engine.runtime.upkeep.spare_watch`).
    """

    def __init__(
        self,
        journal: Journal,
        configured: Callable[[], Mapping[str, WebhookConfig]],
        clock: Clock,
        unproven: Callable[[], Awaitable[None] | None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._unproven = unproven
        self._configured = configured
        self._clock = clock
        self._failing: dict[str, int] = {}  # name -> since when attempts fail
        self._oldest: dict[str, str] = {}  # name -> when the oldest event was that is not taken
        self.attempts: Counter[tuple[str, str]] = Counter()  # by webhook and result

    async def begin(self, configured: Mapping[str, WebhookConfig]) -> None:
        """Let each of these that has no position begin now: it gets all that happens from here on."""
        if configured:
            with suppress(errors.StoreError):  # reported elsewhere; each begins later, by itself
                await self._positions(configured)

    async def _positions(self, names: Collection[str]) -> dict[str, Position]:
        newest = await asyncio.to_thread(rows.newest, self._journal)
        kept = await self._journal.run(rows.begin, [*names], str(newest))
        return {name: position_of(position) for name, position in kept.items()}

    async def run(self) -> None:
        """Send until cancelled; follow the configuration.

        Raises:
            StoreError: the journal has failed for good.
        """
        running: dict[str, tuple[_Wanted, asyncio.Task[None]]] = {}
        names: set[str] | None = None
        read: Mapping[str, WebhookConfig] | None = None
        files: dict[str, str] = {}
        try:
            while True:
                if (now := self._configured()) is not read:  # a start, or a reload: certificates may be renewed
                    read, files = now, {name: hash_of(config) for name, config in now.items()}
                configured = {name: (config, files.get(name, "")) for name, config in now.items()}
                gone = [name for name, (one, _) in running.items() if configured.get(name) != one]
                await _end([running.pop(name)[1] for name in gone])
                if names != configured.keys():
                    with suppress(errors.StoreError):
                        await self._journal.run(rows.keep, list(configured))
                        names = set(configured)
                        self._failing = {name: us for name, us in self._failing.items() if name in names}
                        self._oldest = {name: at for name, at in self._oldest.items() if name in names}
                for name in configured.keys() - running.keys():
                    one = configured[name]
                    running[name] = one, asyncio.create_task(self._keep_sending(name, one[0]), name=f"to {name}")
                for _, task in running.values():
                    if task.done():
                        task.result()
                await asyncio.sleep(CONFIGURED_S)
        finally:
            await _end([task for _, task in running.values()])

    def untaken_since(self) -> dict[str, datetime | None]:
        """When the oldest event was that a webhook has not taken, by name; None: it has taken all."""
        since = {name: self._oldest.get(name) for name in self._configured()}
        return {name: None if at is None else datetime.fromisoformat(at) for name, at in since.items()}

    async def failing(self) -> list[FailingWebhook]:
        """Those that are for a person now."""
        now_us = self._clock.now_us()  # a time that is kept may be later: a clock is set back
        away = [
            FailingWebhook(name, since_us)
            for name, since_us in self._failing.items()
            if abs(now_us - since_us) >= AWAY_S * 1_000_000
        ]
        kept: Sequence[StoredWebhook] = ()
        if self._configured():
            with suppress(errors.StoreError):  # reported elsewhere
                kept = await asyncio.to_thread(stored_webhooks, self._journal)
        names = {one.name for one in away}
        return away + [
            FailingWebhook(one.name, one.given_up_us, one.given_up)
            for one in kept
            if one.name not in names and abs(now_us - one.given_up_us) < GIVEN_UP_US
        ]

    # -- one webhook -------------------------------------------------------------------------------------------------

    async def _keep_sending(self, name: str, config: WebhookConfig) -> None:
        while True:
            try:
                await self._send_all(name, config)
            except errors.OvertakenError:
                await asyncio.sleep(AGAIN_S)
                continue
            except (errors.ConfigError, errors.StoreError) as error:
                if isinstance(error, errors.StoreError) and error.fatal:
                    raise
                logger.error("events cannot be sent", extra={"destination": name, "detail": str(error)})
            except Exception as error:  # a fault of ours at one webhook keeps events from no other
                text = "a webhook failed by a fault of ours"
                logger.error(text, extra={"destination": name, "cause": type(error).__name__})
            self._failing.setdefault(name, self._clock.now_us())
            self._oldest.setdefault(name, self._clock.now().isoformat())  # which one it is, is not known
            await asyncio.sleep(AGAIN_S)

    async def _send_all(self, name: str, config: WebhookConfig) -> None:
        receiver: EventReceiver = config.build(name, self._clock)
        place = _Place(self._journal, name, (await self._positions([name]))[name])
        await receiver.start()
        try:
            whole, seen = self._journal, config.channels
            with nullcontext(whole) if seen is None else closing(Within(whole, frozenset(seen))) as reader:
                await self._follow(name, receiver, place, partial(rows.page, reader, wanted=wanted(config.events)))
        finally:
            await receiver.close()
            with suppress(errors.StoreError):  # then the events since are sent once more
                await place.keep()

    async def _follow(self, name: str, receiver: EventReceiver, place: "_Place", read: Read) -> None:
        seen: object = None
        taken = True
        while True:
            if (reached := self._journal.reached) == seen:
                self._oldest.pop(name, None)  # it has all
                self._failing.pop(name, None)
                await place.keep_if_due()
                await asyncio.sleep(LOOK_S)
                continue
            page = await asyncio.to_thread(read, place.position)
            seen = reached if page.is_last else None
            for event in page.events:
                self._oldest[name] = event.timestamp
                taken = await self._send(name, receiver, event, place, refusing_s=0.0 if taken else REFUSING_S)
                if taken:
                    place.taken(event.position)
                    await place.keep_if_due()
                else:
                    await place.given_up(event.position)
            place.passed(page.position)

    async def _send(
        self, name: str, receiver: EventReceiver, event: Event, place: "_Place", *, refusing_s: float
    ) -> bool:
        """Send one event until it is taken (True), or given up.

        Args:
            refusing_s: it is refused for so long before it is given up. A receiver that refuses one event after the
                other has another secret, or one of the two clocks is wrong.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + refusing_s
        attempt = refusals = 0
        body = event.encoded()
        while True:
            if (proof := self._unproven()) is not None:
                await proof
            try:
                await receiver.send(str(event.position), body)
            except errors.DeliveryError as error:
                failed: errors.DeliveryError = error
            except Exception as error:  # a fault of ours in the client
                failed = errors.TransientDeliveryError(ReasonCode.BUSY, type(error).__name__)
            else:
                if self._failing.pop(name, None) is not None:
                    logger.info("events reach a webhook again", extra={"destination": name})
                self.attempts[name, "taken"] += 1
                return True
            attempt += 1
            refusals += isinstance(failed, errors.RefusedDeliveryError)
            if name not in self._failing:
                self._failing[name] = self._clock.now_us()
                logger.warning("events do not reach a webhook", extra={"destination": name, "detail": str(failed)})
            if refusals >= REFUSALS and loop.time() >= until:
                said = {"destination": name, "detail": str(failed), "kind": event.type}
                logger.error("an event is given up: its webhook refuses it", extra=said)
                self._failing.pop(name)
                self.attempts[name, "refused"] += 1
                return False
            self.attempts[name, "failed"] += 1
            asked = failed.retry_after if isinstance(failed, errors.TransientDeliveryError) else None
            wait_s = RETRY.next_attempt(attempt=attempt, age=0.0, jitter=random.random(), retry_after=asked)
            assert wait_s is not None  # this policy never ends
            await place.keep_if_due()
            await asyncio.sleep(wait_s)


class _Place:
    """Where a webhook is, and how much of that is durable."""

    def __init__(self, journal: Journal, name: str, position: Position) -> None:
        self._journal = journal
        self._name = name
        self.position = self._kept = position
        self._due = 0.0

    def taken(self, position: Position) -> None:
        """An event was taken."""
        self._move(position, KEPT_S)

    def passed(self, position: Position) -> None:
        """Events that are not wanted were passed."""
        self._move(position, PASSED_S)

    def _move(self, position: Position, within_s: float) -> None:
        now = asyncio.get_running_loop().time()
        self._due = now + within_s if self.position == self._kept else min(self._due, now + within_s)
        self.position = position

    async def given_up(self, position: Position) -> None:
        self.position = self._kept = position
        await self._journal.run(rows.give_up, self._name, str(position))

    async def keep_if_due(self) -> None:
        if self.position != self._kept and asyncio.get_running_loop().time() >= self._due:
            await self.keep()

    async def keep(self) -> None:
        """Make the position durable."""
        if self.position != self._kept:
            position = self.position
            await self._journal.run(rows.reached, self._name, str(position))
            self._kept = position


async def _end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


STATES_S = 10.0

States = Mapping[tuple[str, str], str]


async def run(journal: Journal, snapshot: Callable[[], Awaitable[SiteSnapshot]]) -> None:
    """Look and note until cancelled."""
    known: States = {}
    while True:
        seen = states_of(await snapshot())
        if found := list(changes(known, seen)):
            with suppress(errors.StoreError):  # a full disk: the next look tries again
                await journal.run(rows.note, found)
                known = seen
        else:
            known = seen
        await asyncio.sleep(STATES_S)


def states_of(site: SiteSnapshot) -> States:
    """By kind and name."""
    return {
        **{("channel", one.name): one.state.value for one in site.channels},
        **{("destination", one.name): one.state.value for one in site.destinations},
    }


def changes(known: States, seen: States) -> Iterator[StateChange]:
    """Those that are new, or another than before."""
    for (kind, name), state in seen.items():
        if (was := known.get((kind, name), "")) != state:
            yield StateChange(kind, name, state, was)


class EventService(Service):
    """Of a running site."""

    def __init__(self, app: "App") -> None:
        self._app = app
        configured, unproven = lambda: webhooks_of(app.parts.built.site.config), app.backup.spare.unproven
        self.webhooks = Webhooks(app.journal, configured, app.clock, unproven)

    async def prepare(self, site: Site) -> None:
        await self.webhooks.begin(webhooks_of(site.config))

    def loops(self) -> dict[str, Loop]:
        return {"webhooks": self.webhooks.run, "states": self._note_states}

    async def _note_states(self) -> None:
        await run(self._app.journal, self._app.observer.present)
