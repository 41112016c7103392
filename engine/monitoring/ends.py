"""Both ends of a line, as they are now: looked at when a person asks, never for the snapshot of each second.

Look at the server of a destination: the addresses of its name, and when its certificate ends. Blocks.
"""

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEnds:
    """One open connection of a channel.

    Attributes:
        own: our address; empty where the line has none.
    """

    own: str
    peer: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEnd:
    """The serial line of a channel.

    Attributes:
        device: as configured.
        path: the kernel's name of the port that this means now; empty: there is none, or it is at a device server.
        names: its other names, the most lasting first.
        settings: as ``9600 8N1``.
        usb: vendor and product number.
        fault: why there is no such port.
    """

    device: str
    settings: str = ""
    path: str = ""
    names: tuple[str, ...] = ()
    description: str = ""
    usb: str = ""
    serial_number: str = ""
    driver: str = ""
    is_remote: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelEnds:
    """
    Attributes:
        transport: of the source, as its YAML has it; empty: not known.
        device: None where the line is no serial one.
    """

    transport: str = ""
    connections: tuple[ConnectionEnds, ...] = ()
    device: DeviceEnd | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FarEnd:
    """The server of a destination.

    Attributes:
        addresses: that its name means now.
        certificate_until: when the certificate that it shows ends; None: it shows none, or it was not asked.
        trouble: why one of these is not known.
    """

    addresses: tuple[str, ...] = ()
    certificate_until: datetime | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationEnds:
    """
    Attributes:
        host, port: of its server; empty where it is a folder.
        far: None while the look at it goes on.
        own_certificate: when ours ends, as `engine.diagnostics.examine.certificate` says it; empty: none is shown.
        windows: of expected downtime, as ``mon tue 02:00-04:00``.
    """

    host: str = ""
    port: int = 0
    far: FarEnd | None = field(default_factory=FarEnd)
    own_certificate: str = ""
    windows: tuple[str, ...] = ()


class Ends(Protocol):
    """Who looks at them. For a name that is not configured both are empty."""

    async def channel(self, name: str) -> ChannelEnds: ...

    async def destination(self, name: str) -> DestinationEnds: ...


class NoEnds:
    """Nothing runs that could be looked at."""

    async def channel(self, name: str) -> ChannelEnds:
        return ChannelEnds()

    async def destination(self, name: str) -> DestinationEnds:
        return DestinationEnds()


TIMEOUT_S = 5.0  # for the connection, and again for the handshake


def look(host: str, port: int, *, tls: bool, ca: Path | None = None) -> FarEnd:
    """
    Args:
        tls: ask for its certificate, too: one connection, without a request.
        ca: authorities to trust; None: the system's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # a name that is none is a UnicodeError
        return FarEnd(trouble=getattr(error, "strerror", None) or "the name means no address")
    addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in found))
    if not tls:
        return FarEnd(addresses=addresses)
    try:
        return FarEnd(addresses=addresses, certificate_until=_certificate_until(host, port, ca))
    except ssl.SSLCertVerificationError as error:
        return FarEnd(addresses=addresses, trouble=error.verify_message)
    except (OSError, ValueError) as error:
        return FarEnd(addresses=addresses, trouble=getattr(error, "strerror", None) or "it does not answer")


def _certificate_until(host: str, port: int, ca: Path | None) -> datetime | None:
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as line,
    ):
        shown = (line.getpeercert() or {}).get("notAfter")
        with suppress(OSError):  # it may want a certificate of ours first
            line.unwrap()
    return None if not isinstance(shown, str) else datetime.fromtimestamp(ssl.cert_time_to_seconds(shown), UTC)
