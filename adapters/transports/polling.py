"""Rounds over a folder, a server or a topic, until the channel stops; what all such transports have in common.

A round that fails says why nothing is taken, once in the log, and the next one comes after a pause that grows
(`engine.model.process.back_off`). Neither a fault nor a notice names a file, a resource or a record.
"""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod

from adapters.transports.errors import SearchError
from adapters.transports.whole_stream import WholeStream
from engine.model.errors import ConfigError, DeliveryError, StoreError
from engine.model.ports import PolledVersion, StreamHandler
from engine.model.process import back_off

logger = logging.getLogger("labrelay.channel")

ENDS_S = 1.0  # a round that was broken off


class Polling(ABC):
    """A `engine.model.ports.Transport` of rounds."""

    def __init__(self, peer: str, handler: StreamHandler) -> None:
        """``peer``: the place, for the log."""
        self._peer, self._handler = peer, handler
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._streams: set[WholeStream] = set()
        self._failures = 0  # in a row
        self._pause_s = 0.0  # the next round comes no sooner
        self._trouble = ""  # of the last round
        self._notices: dict[str, None] = {}  # in their order
        self._said = ""

    @property
    def fault(self) -> str:
        """Why nothing is taken just now."""
        return self._trouble

    @property
    def notice(self) -> str:
        """What a person should know while something is taken."""
        return "; ".join(self._notices)

    async def start(self) -> int:
        """Begin. The place may come later."""
        self._task = asyncio.get_running_loop().create_task(self._watch(), name=f"polling {self._peer}")
        return 0

    async def stop(self, grace_s: float = 3.0) -> None:
        """Take nothing more, let what is being stored finish."""
        self._stopping.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=grace_s)
            if not done:
                for stream in self._streams:
                    stream.end()
                await self._break_off(self._task)

    async def _break_off(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait({task}, timeout=ENDS_S)

    @abstractmethod
    async def _round(self) -> None:
        """Take what is there, and set how long to pause.

        Raises:
            DeliveryError, SearchError, StoreError, ConfigError: nothing can be taken now.
        """

    async def _watch(self) -> None:
        async for attempt in back_off.trying(back_off.ALWAYS, sleep=self._pause):
            if self._stopping.is_set():
                return
            with attempt:
                try:
                    await self._round()
                    self._works()
                except (DeliveryError, SearchError, StoreError) as error:
                    self._failed(str(error))
                except ConfigError as error:
                    self._failed("; ".join(error.problems).replace("destinations.source.", "source."))
                except Exception:
                    logger.exception("taking failed inside LabRelay", extra={"peer": self._peer})
                    self._failed("taking failed inside LabRelay; the log says why")
                self._say()
            back_off.begin_anew(attempt, self._failures)

    def _works(self) -> None:
        self._failures, self._trouble = 0, ""

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._trouble = why

    async def _pause(self, back_off_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            pause_s = max(self._pause_s, back_off_s) if self._failures else self._pause_s
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _hand_on(self, content: bytes, polled: PolledVersion | None = None) -> bytes:
        """Let the channel take a message; return its answer, as `WholeStream.answer`."""
        stream = WholeStream(self._peer, content, polled)
        self._streams.add(stream)
        try:
            await self._handler(stream)
        finally:
            self._streams.discard(stream)
        return stream.answer

    def _say(self) -> None:
        """One line in the log when what is wrong has changed."""
        trouble = "; ".join(filter(None, (self.fault, self.notice)))
        if trouble != self._said:
            self._said = trouble
            if trouble:
                logger.error("trouble with the source", extra={"peer": self._peer, "detail": trouble})
            else:
                logger.info("the source is read again", extra={"peer": self._peer})
