"""Send the spans of `engine.features.traces.service.spans` to the site's collector, in batches, beside the path of
messages.

A batch that the collector does not take now is tried again, later and later; meanwhile the queue drops the oldest
spans. One that it refuses is dropped. The log has one line for each change of that, and the metrics count both.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from engine.config.load import Site
from engine.config.renewal import hash_of
from engine.delivery.retry import LONGEST_RETRY_AFTER_S
from engine.features.traces.config import TracesConfig, traces_of
from engine.features.traces.service.spans import Tracer
from engine.model.clock import Clock
from engine.model.errors import ConfigError, DeliveryError, RefusedDeliveryError
from engine.model.spans import Span
from engine.runtime.service import Loop, Service
from engine.store.journal import Journal

if TYPE_CHECKING:
    from engine.runtime.app import App

logger = logging.getLogger("labrelay.traces")

EVERY_S = 2.0  # spans wait so long for others that go with them
FIRST_S, LONGEST_S = 1.0, 60.0  # between two attempts, where the collector names no time
STOP_S = 2.0  # for the last spans, at a stop


class Tracing(Service):
    """The traces of one running site.

    Attributes:
        witness: takes the steps of messages; None: the site has no traces.
        sent: spans that the collector has taken.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._config: TracesConfig | None = None
        self._files = ""  # the content of its certificate files
        self._changed = asyncio.Event()
        self._batch: list[Span] = []  # the collector has not taken it yet
        self._empty = asyncio.Event()
        self._failing = False
        self._lost = 0
        self.witness: Tracer | None = None
        self.sent = 0

    @property
    def dropped(self) -> int:
        """Spans that reach no collector: there was no room, or it refused them."""
        return self._lost + (self.witness.dropped if self.witness is not None else 0)

    def follow(self, config: TracesConfig | None) -> None:
        """Take over the configuration, at start and at a reload; spans that wait go to the collector of now."""
        files = hash_of(config)
        if (config, files) == (self._config, self._files):
            return
        self._config, self._files = config, files
        if config is None:
            self._lost = self.dropped + len(self._batch) + (self.witness.waiting if self.witness is not None else 0)
            self._batch, self.witness, self._failing = [], None, False
        elif self.witness is not None:
            self.witness.follow(config.sample)
        else:
            key = self._journal.vault.identity_key
            self.witness = Tracer(key, self._journal.journal_id, self._clock, config.sample)
        self._changed.set()

    def configured(self, site: Site) -> None:
        self.follow(traces_of(site.config))

    def loops(self) -> dict[str, Loop]:
        return {"traces": self.run}

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._changed.clear()
            config, tracer = self._config, self.witness
            if config is None or tracer is None:
                await self._changed.wait()
                continue
            try:
                collector = config.build(self._clock, self._resource())
            except ConfigError as error:
                logger.error("traces cannot be sent", extra={"detail": str(error)})
                await self._changed.wait()
                continue
            await collector.start()
            sending = asyncio.create_task(self._keep_sending(collector, tracer), name="traces")
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait({sending, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, changed):
                    task.cancel()
                ended = await asyncio.gather(sending, changed, return_exceptions=True)
                await collector.close()
            if isinstance(ended[0], Exception):
                self._lost += len(self._batch)  # it may be the cause, and holds up no other
                self._batch = []
                raise ended[0]

    async def stop(self) -> None:
        """Send what waits, unless the collector is away; for `STOP_S` at most."""
        tracer = self.witness
        if tracer is None or self._failing or not (tracer.waiting or self._batch):
            return
        self._empty.clear()
        tracer.many.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._empty.wait()

    async def _keep_sending(self, collector: Any, tracer: Tracer) -> None:
        wait_s = FIRST_S
        while True:
            if not self._batch:
                await tracer.some.wait()
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await tracer.many.wait()
                self._batch = tracer.take()
            try:
                refused = await collector.send(self._batch)
            except RefusedDeliveryError as error:
                self._failed(error)
                self._lost += len(self._batch)
            except DeliveryError as error:
                self._failed(error)
                asked_s = getattr(error, "retry_after", None) or 0.0
                await asyncio.sleep(max(wait_s, min(asked_s, LONGEST_RETRY_AFTER_S)))
                wait_s = min(2 * wait_s, LONGEST_S)
                continue
            else:
                self.sent += len(self._batch) - refused
                self._lost += refused
                wait_s = FIRST_S
                if self._failing:
                    self._failing = False
                    logger.info("traces reach their collector again")
            self._batch = []
            if not tracer.waiting:
                self._empty.set()

    def _failed(self, error: DeliveryError) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("traces do not reach their collector", extra={"reason": error.reason, "detail": str(error)})

    def _resource(self) -> Mapping[str, str]:
        """The program, as OpenTelemetry's conventions name its parts; the instance is this journal."""
        try:
            of_program = version("labrelay")
        except PackageNotFoundError:
            of_program = "unknown"
        instance = self._journal.journal_id.hex()[:8]
        return {"service.name": "labrelay", "service.version": of_program, "service.instance.id": instance}


def tracing(app: "App") -> Tracing:
    """Of a running site."""
    return Tracing(app.journal, app.clock)
