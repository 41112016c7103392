"""Look at both ends of the lines of a running site, for the pages about one analyzer and one destination.

Connections belong to the event loop. Devices and names are looked at in threads: a name server that does not answer
costs a thread, and the person waits `PATIENCE_S` at most. What a look has found is kept for `KEPT_S`.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from engine.config import registry
from engine.config.destinations.destination_base import DAYS, DowntimeWindow
from engine.config.findings.tls_files import certificate_files
from engine.config.kafka_servers import KafkaServers
from engine.config.sources.source_serial import SerialPart
from engine.diagnostics import examine
from engine.model.process.clock import Clock
from engine.model.texts.units import HostPort
from engine.monitoring import ends
from engine.monitoring.ends import ChannelEnds, ConnectionEnds, DestinationEnds, DeviceEnd, FarEnd
from engine.receiving.channel_parts import Connection
from engine.runtime.parts import Parts

PATIENCE_S = 2.0
KEPT_S = 600.0
KEPT_TROUBLE_S = 15.0  # it may be mended meanwhile
DEFAULT_PORTS = {"https": 443, "http": 80}


class SeenEnds:
    """The ends as `engine.monitoring.ends.Ends` says. Used on the event loop."""

    def __init__(self, parts: Parts, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock
        # Of configured destinations: name, server, whether over TLS -> when the look began, and what it finds.
        self._looks: dict[tuple[str, HostPort, bool], tuple[float, asyncio.Future[FarEnd]]] = {}

    async def channel(self, name: str) -> ChannelEnds:
        source = self._parts.sources.get(name)
        if source is None:
            return ChannelEnds()
        connections = tuple(map(self._connection, source.channel.connections.values()))
        config = source.built.config.source
        device = await asyncio.to_thread(_device, config) if isinstance(config, SerialPart) else None
        return ChannelEnds(transport=config.transport, connections=connections, device=device)

    def _connection(self, connection: Connection) -> ConnectionEnds:
        open_s = self._clock.monotonic() - connection.opened
        return ConnectionEnds(
            own=getattr(connection.stream, "own", ""),
            peer=connection.peer,
            since=self._clock.now() - timedelta(seconds=open_s),
        )

    async def destination(self, name: str) -> DestinationEnds:
        site = self._parts.built.site
        config = site.config.destinations.get(name)
        if config is None:
            return DestinationEnds()
        ours = next((one for one in certificate_files(site) if one.owner == f"destination {name}"), None)
        now = self._clock.now()
        own = None if ours is None else await asyncio.to_thread(examine.certificate, ours.cert, ours.owner, now)
        server, tls = _server_of(config)
        return DestinationEnds(
            host="" if server is None else server.host,
            port=0 if server is None else server.port,
            far=FarEnd() if server is None else await self._far(name, server, tls=tls, ca=_authorities(config)),
            own_certificate="" if own is None else own.text,
            windows=tuple(map(_window, config.expected_downtime)),
        )

    async def _far(self, name: str, server: HostPort, *, tls: bool, ca: Any) -> FarEnd | None:
        """What a look has found; None while it goes on. A paused destination gets no connection."""
        worker = self._parts.delivery_workers.get(name)
        tls = tls and worker is not None and not worker.paused
        now, key = self._clock.monotonic(), (name, server, tls)
        began, look = self._looks.get(key, (now, None))
        if look is None or (look.done() and now - began >= (KEPT_TROUBLE_S if look.result().trouble else KEPT_S)):
            self._looks = {key: one for key, one in self._looks.items() if key[0] != name}
            look = in_thread(partial(ends.look, server.host, server.port, tls=tls, ca=ca))
            self._looks[key] = now, look
        await asyncio.wait([look], timeout=PATIENCE_S)
        return look.result() if look.done() else None


def in_thread(work: Callable[[], FarEnd]) -> asyncio.Future[FarEnd]:
    """Call ``work`` in a thread of its own, which no stop waits for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[FarEnd] = loop.create_future()

    def ended(found: FarEnd) -> None:
        if not future.done():
            future.set_result(found)

    def run() -> None:
        found = work()
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(ended, found)

    threading.Thread(target=run, name="far end", daemon=True).start()
    return future


def _device(source: SerialPart) -> DeviceEnd:
    settings = f"{source.baud} {source.bytesize}{source.parity[:1].upper()}{source.stopbits}"
    if source.flow != "none":
        settings = f"{settings} {source.flow}"
    if source.is_remote:
        at_server = source.device.startswith("socket://")
        return DeviceEnd(device=source.device, is_remote=True, settings="" if at_server else settings)
    try:
        port = registry.transport("serial").look(source.device)
    except OSError as error:
        return DeviceEnd(device=source.device, settings=settings, fault=str(error))
    return DeviceEnd(
        device=source.device,
        settings=settings,
        path=port.device,
        names=port.names,
        description=port.description,
        usb=port.usb,
        serial_number=port.serial_number,
        driver=port.driver,
    )


def _server_of(config: Any) -> tuple[HostPort | None, bool]:
    """Where a destination's server is, and whether it is asked over TLS; None: it is a folder."""
    if (connect := getattr(config, "connect", None)) is not None:
        return connect[0] if isinstance(config, KafkaServers) else connect, config.tls is not None
    url = urlsplit(getattr(config, "url", "") or getattr(config, "endpoint", ""))
    if not url.hostname:
        return None, False
    return HostPort(url.hostname, url.port or DEFAULT_PORTS.get(url.scheme, 0)), url.scheme == "https"


def _authorities(config: Any) -> Any:
    return getattr(getattr(config, "tls", None), "ca", None)


def _window(window: DowntimeWindow) -> str:
    days = "" if window.days == DAYS else f"{' '.join(window.days)} "
    return f"{days}{_clock(window.start)}-{_clock(window.end)}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
