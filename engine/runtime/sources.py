"""Keep the source of one channel open: listening, or connected to an analyzer that is itself the server.

An address in use, an unreadable certificate, an interface that is not up yet: the channel shows the error on the page
and tries again; other channels are not affected (P7).
"""

import asyncio
import errno
import logging
from functools import partial
from typing import Any

from engine.config import registry
from engine.config.channel import own_line
from engine.config.sources.source import TcpPart
from engine.config.sources.source_fhir import FhirSearchPart
from engine.config.sources.source_http import HttpPart
from engine.config.sources.source_kafka import KafkaPart
from engine.config.sources.source_tee import TeePart
from engine.model.errors import StoreError
from engine.model.ports import PollMemory, Transport
from engine.model.process import back_off
from engine.receiving.channel import Channel
from engine.receiving.channel_parts import OrderAnswers, QuestionDesk
from engine.runtime.build import BuiltChannel

logger = logging.getLogger("labrelay.channel")

WHOLE = "whole"  # the link of files and of requests: a stream is one of them, not a connection

# Remedies for errors of an address; the system's own text names a function call.
ADDRESS_TROUBLE = {
    errno.EADDRINUSE: "the address is in use by another program; stop it, or take another port (labrelay doctor)",
    errno.EADDRNOTAVAIL: "this machine has no such address; `ip address` lists those it has",
}


class ChannelSource:
    """A channel and the transport that feeds it.

    Args:
        desk: of one whose analyzer gets orders.
        answers: of one that brings orders, which are answered.
        polled: what it has taken, of one that asks a server.
    """

    def __init__(
        self,
        built: BuiltChannel,
        channel: Channel,
        desk: QuestionDesk | None = None,
        answers: OrderAnswers | None = None,
        polled: PollMemory | None = None,
    ) -> None:
        self.built = built
        self.channel = channel
        self.desk = desk
        self.answers = answers
        self._polled = polled
        self._fault = ""  # why it cannot open
        self.paused = False  # by a person: nothing is taken
        self.port: int | None = None
        self._transport: Transport | None = None
        self._own_line: Transport | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def fault(self) -> str:
        """Why it is not open, or why there is no line at present; for the page."""
        return self._fault or (self._transport.fault if self._transport is not None else "")

    @property
    def notice(self) -> str:
        """A task for a person although bytes come, where the transport knows one: files of a folder."""
        return str(getattr(self._transport, "notice", ""))

    @property
    def waits(self) -> dict[str, Any]:
        """Of a topic that it reads, the fields of `ChannelSnapshot` that say what waits there and what is lost."""
        if not isinstance(self.built.config.source, KafkaPart):
            return {}
        return {one: getattr(self._transport, one, None) or 0 for one in ("unread", "lost")} | {
            "unread_age_s": getattr(self._transport, "unread_age_s", None)
        }

    def raise_if_not_ours(self) -> None:
        """Right before a document is sent that came from a topic: raises StoreError where another feeder may have sent
        newer ones, or where that is not known.
        """
        if isinstance(self.built.config.source, KafkaPart):
            if self._transport is None:
                raise StoreError("the topic is not read now")
            self._transport.raise_if_not_ours()  # type: ignore[attr-defined]

    @property
    def listens(self) -> bool:
        """Whether it waits for an analyzer to connect, instead of connecting itself."""
        source = self.built.config.source
        if isinstance(source, TeePart):
            return source.tee.ends[0].listen is not None
        return isinstance(source, TcpPart | HttpPart) and source.listen is not None

    @property
    def connected(self) -> bool:
        """Whether there is a line at present; a folder or an address of HTTP is one between messages, too."""
        if self.paused:
            return False
        if self.built.config.source.link == WHOLE:
            return self._transport is not None
        return bool(self.channel.connections)

    @property
    def idle(self) -> bool:
        """Neither open nor trying to open."""
        return self._transport is None and self._task is None

    async def start(self) -> None:
        """Open, or begin to try; returns after the first attempt, successful or not.

        While it is paused only an address of HTTP is open: its senders get an answer, and nothing is taken.
        """
        if not self.built.config.enabled or (self.paused and not isinstance(self.built.config.source, HttpPart)):
            return
        if not self.paused:
            self.channel.begin()
        if not await self._open():
            self._task = asyncio.get_running_loop().create_task(self._keep_trying())

    async def stop(self, grace_s: float = 3.0) -> None:
        self.channel.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)
            self._task = None
        for transport in (self._own_line, self._transport):
            if transport is not None:
                await transport.stop(grace_s)
        self._own_line = self._transport = None
        self._fault = ""

    async def _keep_trying(self) -> None:
        await back_off.trying(back_off.NOT_YET)(self._open)

    async def _open(self) -> bool:
        source = self.built.config.source
        module = registry.transport(source.transport)
        more: dict[str, Any] = (
            {"turned_away": self.channel.monitor.fault} if isinstance(source, TcpPart | HttpPart) else {}
        )
        if isinstance(source, HttpPart):
            more["paused"] = self.paused
        if isinstance(source, FhirSearchPart | KafkaPart):
            more["memory"] = self._polled
        transport: Transport = module.build(source, self.channel.handle, **more)
        try:
            self.port = await transport.start()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; an invalid host name is a ValueError
            fault = why_not_open(error)
            if fault != self._fault:  # the state changed; a repetition is not logged
                logger.error(
                    "cannot open the source, will keep trying",
                    extra={"channel": self.built.config.channel, "peer": source.place, "detail": fault},
                )
            self._fault = fault
            return False
        self._transport = transport
        self._fault = ""
        await self._open_own_line()
        return True

    async def _open_own_line(self) -> None:
        """Begin to connect to where the analyzer takes orders."""
        if (ours := own_line(self.built.config)) is not None:
            address, tls = ours
            self._own_line = registry.transport("tcp").connector(address, partial(self.channel.handle, own=True), tls)
            await self._own_line.start()


def why_not_open(error: OSError | ValueError) -> str:
    """Why a source cannot open, as text."""
    number = getattr(error, "errno", None)
    return ADDRESS_TROUBLE.get(number or 0) or getattr(error, "strerror", None) or type(error).__name__
