"""Keep the source of one channel open: listening, or connected to an analyzer that is itself the server.

An address in use, a certificate that cannot be read, an interface that is not up yet: the channel says what is wrong
on the page and tries again; the other channels are not concerned (P7).
"""

import asyncio
import logging
from typing import Protocol

from engine import registry
from engine.build import BuiltChannel
from engine.channel import Channel

logger = logging.getLogger("labrelay." + __name__)

REOPEN_FIRST_S = 1.0
REOPEN_MAX_S = 30.0


class Transport(Protocol):
    async def start(self) -> int: ...
    async def stop(self, grace_s: float = 3.0) -> None: ...


class ChannelSource:
    """A channel and the transport that feeds it."""

    def __init__(self, built: BuiltChannel, channel: Channel) -> None:
        self.built = built
        self.channel = channel
        self.fault = ""  # why it is not open, for the page
        self.port: int | None = None
        self._transport: Transport | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def listens(self) -> bool:
        return self.built.config.source.listen is not None

    @property
    def idle(self) -> bool:
        """Neither open nor trying to open."""
        return self._transport is None and self._task is None

    async def start(self) -> None:
        """Open, or begin to try; returns after the first attempt, whatever came of it."""
        if not self.built.config.enabled:
            return
        if not await self._open():
            self._task = asyncio.get_running_loop().create_task(self._keep_trying())

    async def stop(self, grace_s: float = 3.0) -> None:
        self.channel.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)
            self._task = None
        if self._transport is not None:
            await self._transport.stop(grace_s)
            self._transport = None

    async def _keep_trying(self) -> None:
        delay = REOPEN_FIRST_S
        while not await self._open():
            await asyncio.sleep(delay)
            delay = min(delay * 2, REOPEN_MAX_S)

    async def _open(self) -> bool:
        source = self.built.config.source
        module = registry.load(registry.TRANSPORTS, source.transport)
        tls = None
        if source.tls is not None:
            tls = module.TlsFiles(
                cert=str(source.tls.cert),
                key=str(source.tls.key),
                ca=str(source.tls.client_ca) if source.tls.client_ca else None,
            )
        address = source.address
        kind = module.TcpListener if self.listens else module.TcpConnector
        transport: Transport = kind(address.host, address.port, self.channel.handle, tls=tls)
        try:
            self.port = await transport.start()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; a host name that is none, a ValueError
            fault = getattr(error, "strerror", None) or type(error).__name__
            if fault != self.fault:  # the state changed; the same again is not worth a line
                logger.error(
                    "cannot open the source, will keep trying",
                    extra={"channel": self.built.config.channel, "peer": str(address), "detail": fault},
                )
            self.fault = fault
            return False
        self._transport = transport
        self.fault = ""
        return True
