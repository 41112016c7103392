"""A tee with a serial line at one end, or at both.

    analyzer  --cable--  us  --cable--  middleware
    analyzer  --cable--  us  <- TCP ->  middleware

A cable knows no connections: bytes sent while the other end is absent are lost, as at a cable that is plugged in on one
side only, and the listener does not get them. A TCP end is connected for as long as the cable's end is open. It is cut
when the cable is pulled. When the TCP end goes, the cable stays open and the next connection takes its place. Otherwise
as `tee`; a port is read in steps of 5 to 25 ms (`serial_device`).
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

from tenacity import RetryCallState

from adapters.transports.serial import LineStream, SerialLine
from adapters.transports.serial_lines.serial_device import open_device
from adapters.transports.sockets.tcp_stream import TcpStream
from adapters.transports.tcp import HostPort, TcpListener
from adapters.transports.tee_ends import End, Hearing, listen, reach, unreachable
from adapters.transports.waiting import finish
from engine.model.link_events import Direction
from engine.model.ports import StreamHandler, Transport
from engine.model.process import back_off

logger = logging.getLogger("labrelay.channel")

PassingStream = LineStream | TcpStream


class SerialTee:
    """One cable between two others (`engine.model.ports.Transport`): there is at most one line at a time."""

    def __init__(self, ends: Mapping[Direction, End], handler: StreamHandler) -> None:
        self._ends = ends
        self._handler = handler
        self._streams: dict[Direction, PassingStream] = {}
        self._hearing: Hearing | None = None
        self._listeners: set[asyncio.Task[None]] = set()
        self._unreachable = ""
        self._stopping = False
        self._transports = [made for way, end in ends.items() if (made := self._open(way, end)) is not None]

    def _open(self, way: Direction, end: End) -> Transport | None:
        if end.device is not None:
            return SerialLine(end.device, partial(open_device, end.device, end), partial(self._cable, way))
        if end.listen is not None:
            return TcpListener(end.listen.host, end.listen.port, partial(self._tcp, way))
        return None  # is connected to while the cable is open

    @property
    def fault(self) -> str:
        faults = [transport.fault for transport in self._transports]
        return "; ".join(fault for fault in [*faults, self._unreachable] if fault)

    async def start(self) -> int:
        port = 0
        for at, transport in enumerate(self._transports):
            try:
                port = max(port, await transport.start())
            except BaseException:
                await asyncio.gather(*(begun.stop(0.0) for begun in self._transports[:at]))
                raise
        return port

    async def stop(self, grace_s: float = 3.0) -> None:
        self._stopping = True
        for way in list(self._streams):
            self._streams[way].end()
        await asyncio.gather(*(transport.stop(grace_s) for transport in self._transports))
        if self._hearing is not None:
            self._hearing.end()
        await finish(self._listeners, grace_s)

    # -- ends that come and go ---------------------------------------------------------------------------------

    async def _cable(self, way: Direction, stream: LineStream) -> None:
        far = self._ends[way.other].connect
        reaching = asyncio.get_running_loop().create_task(self._keep_reaching(way.other, far)) if far else None
        try:
            await self._pass_on(way, stream)
        finally:
            if reaching is not None:
                reaching.cancel()
                await asyncio.gather(reaching, return_exceptions=True)

    async def _tcp(self, way: Direction, stream: TcpStream) -> None:
        if way in self._streams or way.other not in self._streams:
            reason = "the line has a connection already" if way in self._streams else "the cable's end is not open"
            logger.warning("a connection to a tee was refused", extra={"peer": stream.peer, "detail": reason})
            stream.reset()
            return
        stream.bear_with_slow_readers()
        try:
            await self._pass_on(way, stream)
        except OSError:
            stream.reset()
        finally:
            await stream.close()

    async def _keep_reaching(self, way: Direction, far: HostPort) -> None:
        note = partial(self._note_unreachable, way, far)
        while not self._stopping:
            stream: TcpStream = await back_off.trying(back_off.UNREACHABLE, before_sleep=note)(reach, far)
            self._unreachable = ""
            await self._tcp(way, stream)
            await asyncio.sleep(back_off.FIRST_S)

    def _note_unreachable(self, way: Direction, far: HostPort, state: RetryCallState) -> None:
        text = unreachable(way, far, back_off.error_of(state))
        if text != self._unreachable:  # the state changed; the same again is not worth a line
            logger.warning("the far end of a tee cannot be reached, will keep trying", extra={"detail": text})
        self._unreachable = text

    # -- what passes -------------------------------------------------------------------------------------------

    async def _pass_on(self, way: Direction, stream: PassingStream) -> None:
        """Pass on what comes from ``stream`` until it ends."""
        self._streams[way] = stream
        self._meet()
        try:
            while data := await stream.read():
                sink = self._streams.get(way.other)
                if sink is None:
                    continue
                if self._hearing is not None:
                    self._hearing.passed(way, data)
                try:
                    await sink.write(data)
                except OSError:  # its own reader sees that, too, and ends the line
                    logger.debug("a teed line broke while writing", extra={"peer": stream.peer})
        finally:
            del self._streams[way]
            self._part(way.other)

    def _meet(self) -> None:
        """Both ends are there: begin to listen."""
        if len(self._streams) < len(Direction):
            return
        self._hearing = Hearing(self._streams[Direction.ANALYZER].peer)
        task = asyncio.get_running_loop().create_task(listen(self._hearing, self._handler))
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)

    def _part(self, left: Direction) -> None:
        """One end is gone. A cable stays, a connection goes with it."""
        if self._hearing is not None:
            self._hearing.end()
            self._hearing = None
        stream = self._streams.get(left)
        if isinstance(stream, TcpStream):
            stream.reset()
