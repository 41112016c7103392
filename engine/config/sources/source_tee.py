"""The part of a ``source:`` block that puts LabRelay between an analyzer and the middleware that it talks to today.

source: {kind: astm, tee: {listen: "0.0.0.0:5100", connect: "10.0.0.5:5100"}}       the analyzer connects
source: {kind: astm, tee: {analyzer: {connect: "10.0.0.9:5100"}, middleware: {listen: "0.0.0.0:5100"}}}
source: {kind: astm, tee: {analyzer: {device: /dev/ttyS0}, middleware: {device: /dev/ttyS1}}}
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from engine.config.reading.values import Address, Model, Whole
from engine.config.sources.source_serial import Device, SerialPart, number
from engine.model.texts.units import HostPort


class TeeEnd(Model):
    """One end of a teed line, as that end is reached: one of `listen`, `connect` and `device`."""

    listen: Address | None = None
    """It connects to us: address to listen on."""

    connect: Address | None = None
    """It is a TCP server: its address."""

    device: Device | None = None
    """It is at a serial port of this machine, named as the `device` of a serial source."""

    baud: Whole = Field(default=9600, ge=50, le=4_000_000)
    """With `device`: bits a second."""

    bytesize: Annotated[Literal[7, 8], BeforeValidator(number)] = 8
    """With `device`: data bits."""

    parity: Literal["none", "even", "odd", "mark", "space"] = "none"
    """With `device`: parity bit."""

    stopbits: Annotated[Literal[1, 2], BeforeValidator(number)] = 1
    """With `device`: stop bits."""

    flow: Literal["none", "xonxoff", "rtscts", "dsrdtr"] = "none"
    """With `device`: flow control."""

    @property
    def place(self) -> str:
        return self.device or str(self.listen or self.connect)

    @property
    def serial(self) -> SerialPart | None:
        """The serial line at this end, if there is one."""
        if self.device is None:
            return None
        return SerialPart.model_validate(self.model_dump(exclude={"listen", "connect"}))

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if [self.listen, self.connect, self.device].count(None) != 2:
            raise PydanticCustomError(
                "tee_end", "give one of listen (it connects to us), connect (it is a server) and device (a serial port)"
            )
        if self.connect is not None and self.connect.port == 0:
            raise PydanticCustomError("tee_end", "connect needs a port, not 0")
        if self.device is not None and "://" in self.device:
            raise PydanticCustomError(
                "tee_end",
                "a device server is a TCP server: have it pass bytes on raw, and write connect: with its address",
            )
        return self


class TeeEnds(Model):
    """The two ends of a line through LabRelay. `{listen: A, connect: B}` is short for `{analyzer: {listen: A},
    middleware: {connect: B}}`."""

    listen: Address | None = None
    """Where the analyzer connects to us, in the place of the middleware. With `connect`."""

    connect: Address | None = None
    """Address of the middleware, where we connect."""

    analyzer: TeeEnd | None = None
    """The analyzer's end; with `middleware`."""

    middleware: TeeEnd | None = None
    """The middleware's end; with `analyzer`."""

    @property
    def ends(self) -> tuple[TeeEnd, TeeEnd]:
        """The analyzer's and the middleware's."""
        if self.analyzer is not None and self.middleware is not None:
            return self.analyzer, self.middleware
        return TeeEnd(listen=self.listen), TeeEnd(connect=self.connect)

    @property
    def listens_on(self) -> HostPort | None:
        """The address that one of the ends connects to."""
        return next((end.listen for end in self.ends if end.listen is not None), None)

    @model_validator(mode="after")
    def _both(self) -> Self:
        short = (self.listen, self.connect)
        long = (self.analyzer, self.middleware)
        if any(short) == any(long) or not (all(short) or all(long)):
            raise PydanticCustomError(
                "tee_ends",
                "give either listen (where the analyzer connects) and connect (the middleware's address), or analyzer "
                "and middleware with a block each",
            )
        if self.connect is not None and self.connect.port == 0:
            raise PydanticCustomError("tee_ends", "connect needs the middleware's port, not 0")
        analyzer, middleware = self.ends
        tcp = analyzer.device is None and middleware.device is None
        if tcp and (analyzer.listen is None) == (middleware.listen is None):
            raise PydanticCustomError(
                "tee_ends",
                "one end connects and the other is the TCP server today, so here one has listen and the other connect",
            )
        listens, connects = self.listens_on, analyzer.connect or middleware.connect
        if listens is not None and connects is not None and _is_the_same(listens, connects):
            raise PydanticCustomError("tee_ends", "connect is the address that we listen on ourselves")
        return self


def _is_the_same(listens: HostPort, connects: HostPort) -> bool:
    """Whether connecting there would reach our own listener, as far as the addresses show."""
    here = listens.is_every_interface and connects.host in ("localhost", "127.0.0.1", "::1")
    return listens.port == connects.port and (listens.host == connects.host or here)


class TeePart(Model):
    """A line between an analyzer and its middleware, to listen to."""

    transport: Literal["tee"] = "tee"
    """How bytes come: `tee`."""

    tee: TeeEnds
    """The two ends of the line."""

    max_connections: Whole = Field(default=32, ge=1, le=10_000)
    """Connections through the tee at once; one more is refused."""

    @property
    def place(self) -> str:
        analyzer, middleware = self.tee.ends
        return f"{analyzer.place} <-> {middleware.place}"

    @model_validator(mode="before")
    @classmethod
    def _is_tee(cls, given: Any) -> Any:
        return {"transport": "tee"} | given if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _never_closed_by_us(self) -> Self:
        if getattr(self, "idle_timeout", None) is not None:
            raise PydanticCustomError("tee_idle", "a tee never ends a line by itself; take idle_timeout out")
        return self
