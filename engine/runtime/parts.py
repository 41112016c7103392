"""The parts of a running site that follow its configuration: the sources, the intake, and the destination workers.

A reload reads, compiles and checks everything first; only then it stops, replaces and starts the sources and workers
that differ. Unchanged ones go on untouched, including their connections.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from zoneinfo import ZoneInfo

from engine.config import registry
from engine.config.destinations.destination import DestinationConfig
from engine.config.findings.changes import same_link
from engine.config.findings.tls_files import fingerprints
from engine.config.load import Site
from engine.config.sources.source_kafka import KafkaPart
from engine.delivery.breaker import Breaker
from engine.delivery.conditional_keys import ConditionalGuard, Conditions
from engine.delivery.events import DeliveryEvents, Setup
from engine.delivery.lane import Limits
from engine.delivery.retry import RetryPolicy
from engine.delivery.worker import DestinationWorker
from engine.model.errors import StoreError
from engine.model.journal.records import DELIVERIES, Pause, Recorded, Recovery, Target
from engine.model.message import Delivery, Stored
from engine.model.process.clock import Clock
from engine.model.process.receive_memory import ReceiveMemory
from engine.model.routes import ChannelRoutes, Processed
from engine.model.site.downtime_windows import DowntimeCalendar, Window
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.taps import Taps
from engine.processing.intake import Intake
from engine.processing.scoring import Scoring
from engine.receiving.channel import Channel
from engine.receiving.outcomes import Outcomes
from engine.receiving.tee import TeeChannel
from engine.runtime.build import BuiltChannel, BuiltSite, build_destination, reassemble
from engine.runtime.large.messages import LargeMessages
from engine.runtime.large.process import LargeProcess
from engine.runtime.service import Service, Witness
from engine.runtime.sources import ChannelSource
from engine.store.journal import Journal
from engine.store.lifecycle.retention import Policy
from engine.store.operations import append, incarnation
from engine.store.operations.outbox import attempts
from engine.store.queries.lanes import list_lanes, list_pauses
from engine.store.queries.messages import trace_of

logger = logging.getLogger("labrelay.site")

STOP_SOURCES_S = 2.0  # with the following grace periods well within ten seconds altogether
STOP_WORKERS_S = 2.0
STORE_RETRY_S = 1.0
CONFIRMED_KEYS = 20_000  # conditional keys remembered per destination, about 4 MB at most
STRICTEST_FIRST = ("channel", "specimen", "none")


class Parts:
    """The parts of one running site. Lives on the event loop.

    Attributes:
        built: the configuration in force.
        reloading: held while sources or workers are replaced, or a source is opened or closed.
        services: what features run; given before `begin`. unproven: of the journal, as `engine.delivery.events.Setup`.
        pauses: in force, by target; only `engine.runtime.switching` changes them.
    """

    def __init__(
        self,
        journal: Journal,
        built: BuiltSite,
        clock: Clock,
        recovery: Recovery,
        settled: Callable[[Delivery, ReasonCode | None], None],
    ) -> None:
        """
        Args:
            settled: called with each delivery that ended: delivered (None), or dead or closed for this reason.
        """
        self.journal = journal
        self.clock = clock
        self._on_settled = settled
        self._certificates = fingerprints(built.site)
        self._memory = ReceiveMemory()
        self.built = built
        self.reloading = asyncio.Lock()
        self.sources: dict[str, ChannelSource] = {}
        self.delivery_workers: dict[str, DestinationWorker] = {}
        self.pauses: dict[Target, Pause] = {pause.target: pause for pause in list_pauses(journal)}
        self.taps = Taps(clock, self.routes)
        self.services: Collection[Service] = ()
        self.unproven: Callable[[], Awaitable[None] | None] = lambda: None
        self._witnesses: Sequence[Witness] = ()
        self.outcomes = Outcomes(partial(trace_of, journal))
        self.large = LargeMessages(LargeProcess(journal.vault.identity_key))
        self.scores = registry.load(registry.SCORES, "http").build()
        self.scoring = Scoring(self.large, self._routes_of, self.scores.ask)
        self.large.process.configure(built.site)
        self.intake = Intake(
            journal,
            clock=clock,
            outcomes=self.outcomes,
            asked=self._asked,
            mapped=self._processed,
            warily=recovery.killed,
            aside=self.scoring,
        )

    def routes(self) -> dict[str, ChannelRoutes]:
        """The compiled routes in force, by channel."""
        return {name: channel.routes for name, channel in self.built.channels.items()}

    def _routes_of(self, name: str) -> ChannelRoutes | None:
        channel = self.built.channels.get(name)
        return None if channel is None else channel.routes

    def attempts_of(self, message_id: int) -> list[str]:
        """The destinations with an attempt under way to deliver a message."""
        return [name for name, worker in self.delivery_workers.items() if worker.attempts_of(message_id)]

    # -- start and stop ----------------------------------------------------------------------------------------------

    async def begin(self, *, unfinished_sessions: bool) -> None:
        """Make all workers and sources; they are started by the caller, in its order.

        Args:
            unfinished_sessions: the journal has frames that the last run had no time to process.
        """
        for name, config in self.built.site.config.destinations.items():
            self.delivery_workers[name] = self._worker(name, config)
        self._follow_configuration()
        if unfinished_sessions:
            await self._assemble()
        await self._let_lanes_go()
        self._read_lanes(self.delivery_workers)

    async def prepare(self, site: Site) -> None:
        """Have the services get ready for a configuration."""
        for service in self.services:
            await service.prepare(site)

    async def stop_sources(self, sources: Iterable[ChannelSource], grace_s: float = STOP_SOURCES_S) -> None:
        await asyncio.gather(*(source.stop(grace_s) for source in sources))

    async def stop_workers(self, grace_s: float) -> None:
        await asyncio.gather(*(worker.stop(grace_s) for worker in self.delivery_workers.values()))
        self.scoring.close()
        self.scores.close()

    # -- a new configuration -------------------------------------------------------------------------------------------

    async def swap(self, built: BuiltSite) -> None:
        """Follow a new configuration; the caller holds `reloading`.

        Raises:
            ConfigError: a certificate or key file is unusable; nothing was changed.
        """
        old, new = self.built.site.config.destinations, built.site.config.destinations
        certificates = fingerprints(built.site)
        renewed = {key for key, found in certificates.items() if self._certificates.get(key) != found}
        changed = {name for name in {*old, *new} if old.get(name) != new.get(name) or ("destination", name) in renewed}
        leaving = [
            source
            for name, source in self.sources.items()
            if ("channel", name) in renewed or not _same_link(source.built, built.channels.get(name))
        ]
        await self.replace(changed, built, leaving)
        self._certificates = certificates
        for names in await self._let_lanes_go():
            self.read_lane(*names)
        for source in self.sources.values():
            if source.idle:
                await source.start()
        logger.info("configuration reloaded", extra={"config_hash": built.site.hash[:12]})

    async def replace(
        self, names: set[str], built: BuiltSite, leaving: Sequence[ChannelSource] = (), *, at_once: bool = False
    ) -> None:
        """Replace the workers of these destinations, and sources, by those of a configuration.

        Args:
            leaving: sources that end.
            at_once: the new workers do not wait for the rest of a back-off.

        Raises:
            ConfigError: as `swap`.
        """
        config = built.site.config.destinations
        made = {name: self._worker(name, config[name]) for name in names & config.keys()}
        await self.stop_sources(leaving)
        for source in leaving:
            del self.sources[source.built.config.channel]
        # No message is half-way now, so none has a place at a worker that leaves. New workers take deliveries into the
        # store only, until they have claimed the rows that the old ones gave back: so the lanes keep their order.
        async with self.intake.between_messages():
            replaced = [worker for name, worker in self.delivery_workers.items() if name in names]
            for name in names - made.keys():
                self.delivery_workers.pop(name, None)
            self.delivery_workers.update(made)
            self.follow_pauses(made)
            if built is not self.built:
                self.built = built
                self.large.process.configure(built.site)
            self._follow_configuration()
            for source in leaving:
                self._hand_over_unstored(source)
        await asyncio.gather(*(worker.stop(STOP_WORKERS_S) for worker in replaced))
        await self._read_lanes_for_sure(names)
        for worker in made.values():
            if at_once:
                worker.try_now()
            await worker.start()
        for service in self.services:
            service.replaced()

    def _hand_over_unstored(self, source: ChannelSource) -> None:
        """Hand a channel's unstored data to the channel that replaces it; no sender would send it again."""
        if (new := self.sources.get(source.built.config.channel)) is not None:
            new.channel.unkept.take_over(source.channel.unkept)
        else:
            log_lost_data(source)

    def _follow_configuration(self) -> None:
        """Give journal, intake and lanes the configuration, and create sources for channels without one."""
        config, channels = self.built.site.config, self.built.channels
        self.journal.upkeep.config_hash = self.built.site.hash[:12]
        for service in self.services:
            service.configured(self.built.site)
        self._witnesses = [one.witness for one in self.services if one.witness is not None]
        self.journal.upkeep.policy = Policy.of(config.retention)
        self.journal.tail.incomplete_bytes = config.limits.incomplete
        self.journal.tail.incomplete_us = round(config.retention.incomplete * 1_000_000)
        largest = max((channel.config.source.max_message for channel in channels.values()), default=0)
        self._memory.limit = max(config.limits.receive_memory, largest)
        for name, channel in channels.items():
            for destination in {to for route in channel.routes.routes for to in route.to}:
                self._configure_lane(channel, destination)
            if name in self.sources:
                self.sources[name].built = channel
            else:
                self.sources[name] = self._source(channel)
                self.sources[name].paused = Target(channel=name) in self.pauses
        self.intake.configure(self.routes(), self.delivery_workers)

    def _configure_lane(self, channel: BuiltChannel, destination: str) -> None:
        """Several routes into one lane: the strictest of them applies to all."""
        worker = self.delivery_workers[destination]
        name = channel.config.channel
        lane = worker.lane(name)
        lane.fed = isinstance(channel.config.source, KafkaPart)
        routes = [route for route in channel.routes.routes if destination in route.to]
        lane.order = min((route.order for route in routes), key=STRICTEST_FIRST.index)
        lane.hold_on_dead = any(route.hold_on_dead for route in routes)
        newest_first = all(route.newest_first for route in routes)
        if lane.newest_first != newest_first:
            lane.newest_first = newest_first
            worker.reclaim(name)  # deliveries in memory were taken in another order

    async def _assemble(self) -> None:
        """Assemble messages from committed frames that the last run had no time to process."""
        channels = self.built.channels
        made = await self.journal.run(
            append.assemble,
            lambda channel, frames, at_us: reassemble(channels.get(channel), channel, frames, at_us),
            repeat_window_s=min((c.settings.repeat_window_s for c in channels.values()), default=86_400.0),
            before=self.journal.first_session,
        )
        logger.info("frames of the last run assembled", extra={"count": len(made)})

    # -- lanes and pauses ----------------------------------------------------------------------------------------------

    async def _read_lanes_for_sure(self, names: set[str]) -> None:
        """As `_read_lanes`; a worker must not start without knowing which of its lanes are held."""
        while True:
            try:
                self._read_lanes(names)
                return
            except StoreError as error:
                logger.error("cannot read the outbox, will try again", extra={"detail": str(error)})
                await asyncio.sleep(STORE_RETRY_S)

    async def _let_lanes_go(self) -> list[tuple[str, str]]:
        """Lanes that a dead letter holds go on where their routes say ``on_dead: hold`` no more; return those."""
        wanted = {
            (name, destination): self.delivery_workers[destination].lane(name).hold_on_dead
            for name, channel in self.built.channels.items()
            for route in channel.routes.routes
            for destination in route.to
        }
        try:
            there = [(view.channel, view.destination) for view in list_lanes(self.journal)]
            # Behind all that the writer has to do yet: a dead letter on its way may hold its lane.
            gone = await self.journal.run(attempts.let_go, [names for names in there if wanted.get(names) is False])
        except StoreError as error:
            logger.error("lanes may be held that need not be; a reload tries again", extra={"detail": str(error)})
            return []
        for channel, destination in gone:
            said = {"channel": channel, "destination": destination}
            logger.warning("a lane goes on past its dead letter: on_dead is hold no more", extra=said)
        return gone

    def _read_lanes(self, names: Iterable[str]) -> None:
        """Give the workers in ``names`` the state of their lanes in the store."""
        for view in list_lanes(self.journal):
            if view.destination in names and (worker := self.delivery_workers.get(view.destination)) is not None:
                worker.lane(view.channel).held = bool(view.held_by) or view.paused
                if view.open:
                    worker.reclaim(view.channel)

    def read_lane(self, channel: str, destination: str) -> None:
        """A person's action changed rows of a lane; a lane without its destination waits in the store."""
        if (worker := self.delivery_workers.get(destination)) is None:
            return
        for view in list_lanes(self.journal):
            if (view.channel, view.destination) == (channel, destination):
                worker.lane(channel).held = bool(view.held_by) or view.paused
        worker.reclaim(channel)

    def follow_pauses(self, names: Iterable[str]) -> None:
        """Pause or resume the workers of these destinations, as ordered."""
        for name in names:
            worker, paused = self.delivery_workers[name], self._is_paused(name)
            if paused and not worker.paused:
                worker.pause()
            elif worker.paused and not paused:
                worker.resume()

    def _is_paused(self, destination: str) -> bool:
        return Target(destination=destination) in self.pauses or DELIVERIES in self.pauses

    # -- making --------------------------------------------------------------------------------------------------------

    def _worker(self, name: str, config: DestinationConfig) -> DestinationWorker:
        """A worker for one destination; `start` opens it.

        Raises:
            ConfigError: a certificate or key file is unusable.
        """
        destination = build_destination(name, config, self.clock)
        destination.of_journal(partial(incarnation.named, self.journal.snapshot, self.journal.journal_id))
        for service in self.services:
            service.made(name, destination)
        setup = Setup(
            name=name,
            destination=destination,
            journal=self.journal,
            clock=self.clock,
            limits=Limits(concurrency=getattr(config, "concurrency", 1), rate=config.rate),
            retry=RetryPolicy(first=config.retry.first, max=config.retry.max, give_up_after=config.retry.give_up_after),
            breaker=Breaker(threshold=config.breaker.failures, first_open=config.breaker.probe_after),
            guard=ConditionalGuard(CONFIRMED_KEYS),
            conditions=Conditions(name, self.journal) if getattr(config, "conflicts", "off") == "check" else None,
            downtime=DowntimeCalendar(partial(self._downtime, name)),
            withdraw=destination.withdraw,
            unproven=self._unproven,
            events=DeliveryEvents(settled=self._settled, postponed=self._postponed, begun=self._begun),
        )
        made = DestinationWorker(setup)
        destination.hear_late(made.settlement.refused_late)
        if self._is_paused(name):
            made.pause()
        return made

    def _unproven(self, delivery: Delivery) -> Awaitable[None] | None:
        if not delivery.manual and (source := self.sources.get(delivery.channel)) is not None:
            source.raise_if_not_ours()
        return self.unproven()

    def _downtime(self, destination: str) -> tuple[list[Window], ZoneInfo]:
        site = self.built.site.config
        config = site.destinations.get(destination)
        windows = [given.window for given in config.expected_downtime] if config is not None else []
        return windows, ZoneInfo(site.site.timezone or "UTC")

    def _source(self, built: BuiltChannel) -> ChannelSource:
        name = built.config.channel
        found = [one.desks(built, lambda: self.built.channels[name]) for one in self.services]
        questions = next((one.questions for one in found if one.questions is not None), None)
        answers = next((one.answers for one in found if one.answers is not None), None)
        polled = next((one.polled for one in found if one.polled is not None), None)
        make = (
            partial(TeeChannel, new_listener=built.new_listener)
            if built.new_listener is not None
            else partial(
                Channel,
                new_link=built.new_link,
                answer=built.answer,
                outcomes=self.outcomes,
                desk=questions,
                orders=answers,
                answered=self._answered,
                unjudged=self.journal.unjudged,
            )
        )
        channel: Channel = make(
            built.settings,
            message_format=built.message_format,
            journal=self.journal,
            stored=self.stored,
            clock=self.clock,
            memory=self._memory,
        )
        return ChannelSource(built, channel, questions, answers, polled)

    def _processed(self, stored: Stored, outcome: Processed, recorded: Recorded) -> None:
        """The outcome of a message is durable."""
        source = self.sources.get(stored.channel)
        if source is not None and source.answers is not None:
            source.answers.recorded(stored, recorded)
        self.taps.mapped(stored, outcome, recorded)
        for witness in self._witnesses:
            witness.mapped(stored, recorded)

    def stored(self, stored: Stored) -> None:
        """A message is durable; called in the order of the journal."""
        for witness in self._witnesses:
            witness.stored(stored)
        self.intake.accept(stored)
        self.taps.raw(stored)

    def _answered(self, channel: str, message_ids: Sequence[int]) -> None:
        for witness in self._witnesses:
            witness.answered(channel, message_ids)

    def _asked(self, stored: Stored) -> None:
        for witness in self._witnesses:
            witness.asked(stored)

    def _begun(self, delivery: Delivery) -> Delivery:
        for witness in self._witnesses:
            delivery = witness.begun(delivery)
        return delivery

    def _postponed(self, delivery: Delivery, reason: ReasonCode) -> None:
        self.taps.postponed(delivery, reason)
        for witness in self._witnesses:
            witness.postponed(delivery, reason)

    def _settled(self, delivery: Delivery, reason: ReasonCode | None) -> None:
        self._on_settled(delivery, reason)
        self.taps.ended(delivery, reason)
        for witness in self._witnesses:
            witness.ended(delivery, reason)
        if reason is not ReasonCode.OVERTAKEN:  # held: a person decides, and until then it is open
            self.outcomes.ended(delivery.message_id, delivery.id, dead=reason not in (None, ReasonCode.SUPERSEDED))


def log_lost_data(source: ChannelSource) -> None:
    """Log the size of a source's unstored data, which ends with it."""
    if size := source.channel.unkept.waiting_bytes:
        logger.error(
            "data that a channel could not store is lost; its acknowledged frames are in the journal",
            extra={"channel": source.built.config.channel, "detail": f"{size} bytes"},
        )


def _same_link(old: BuiltChannel, new: BuiltChannel | None) -> bool:
    return new is not None and same_link(old.config, new.config)
