"""The part of a ``source:`` block that says which serial line, and how it is set.

source: {kind: astm-serial, device: /dev/serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0, baud: 9600}
source: {kind: astm-serial, device: "rfc2217://10.1.2.3:4001", bytesize: 7, parity: even}
source: {kind: hl7-serial, device: "socket://10.1.2.3:4001"}
"""

import os
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from engine.config.reading.values import Model, Whole, Words
from engine.model.texts.units import HostPort

SERVERS = ("rfc2217", "socket")
USE_BY_ID = "use its name in /dev/serial/by-id (labrelay ports shows it)"
_EXPECTED = (
    "expected a path, as /dev/serial/by-id/..., usb:0403:6001 or usb:0403:6001/SERIAL, or a device server, as "
    "rfc2217://10.1.2.3:4001 or socket://10.1.2.3:4001"
)


def _device(text: str) -> str:
    scheme, slashes, _ = text.partition("://")
    if slashes:
        return _server(text, scheme)
    if text.startswith("usb:"):
        if not re.fullmatch(r"usb:[0-9a-fA-F]{4}:[0-9a-fA-F]{4}(/.+)?", text):
            raise ValueError("expected vendor and product in four hexadecimal digits each, as usb:0403:6001")
        return text
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError(_EXPECTED)
    return text


def _server(text: str, scheme: str) -> str:
    if scheme not in SERVERS:
        raise ValueError(_EXPECTED)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"expected a device server as {scheme}://10.1.2.3:4001") from error
    if not parts.hostname or not port or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"expected a device server as {scheme}://10.1.2.3:4001, a host and a port and nothing else")
    return f"{scheme}://{HostPort(parts.hostname, port)}"


Device = Annotated[str, AfterValidator(_device), Words("device")]


def number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


class SerialPart(Model):
    """A source on a serial line: at a port of this machine, or at a device server."""

    transport: Literal["serial"] = "serial"
    """How bytes come: `serial`."""

    device: Device
    """The line. At this machine: a path (best one of `/dev/serial/by-id/`, which stays the same wherever the adapter
    is plugged in; a pattern with `*` must fit one name), or `usb:0403:6001` or `usb:0403:6001/SERIAL` by the
    adapter's numbers. At a device server: `rfc2217://host:port`, which is set as the keys below say, or
    `socket://host:port`, which sets its line itself. `labrelay ports` lists what there is."""

    baud: Whole = Field(default=9600, ge=50, le=4_000_000)
    """Bits a second, as the analyzer is set."""

    bytesize: Annotated[Literal[7, 8], BeforeValidator(number)] = 8
    """Data bits. With `7`, bit 7 of each byte that comes is cleared: it is parity, or nothing."""

    parity: Literal["none", "even", "odd", "mark", "space"] = "none"
    """Parity bit."""

    stopbits: Annotated[Literal[1, 2], BeforeValidator(number)] = 1
    """Stop bits."""

    flow: Literal["none", "xonxoff", "rtscts", "dsrdtr"] = "none"
    """Flow control: `none` as most analyzers have it, `xonxoff` by characters, `rtscts` or `dsrdtr` by wires of the
    cable."""

    @property
    def place(self) -> str:
        return self.device

    @property
    def is_remote(self) -> bool:
        """The line is at a device server."""
        return "://" in self.device

    @property
    def line(self) -> str:
        """Equal for two names of one line, as far as the names show now: their target, host and port."""
        if self.is_remote:
            return self.device.partition("://")[2]
        return os.path.realpath(self.device) if self.device.startswith("/") else self.device.lower()

    @property
    def wanders(self) -> bool:
        """The name is the number of a USB adapter, which depends on the order in which they were plugged in."""
        return self.device.startswith(("/dev/ttyUSB", "/dev/ttyACM"))

    @model_validator(mode="after")
    def _set_by_us(self) -> Self:
        given = sorted({"baud", "stopbits", "flow"} & self.model_fields_set)
        if self.device.startswith("socket://") and given:
            raise PydanticCustomError(
                "line_settings",
                f"{' and '.join(given)} of a socket:// line is set at the device server; take it out here, or use "
                "rfc2217:// if the server knows it",
            )
        return self
