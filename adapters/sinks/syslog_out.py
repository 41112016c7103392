"""Alerts to a syslog server (RFC 5424): one line for each message, over UDP (RFC 5426), or TCP with octet counting
(RFC 6587, 3.4.1) and TLS (RFC 5425).

    <PRI>1 TIME HOST labrelay PID alert [labrelay@32473 state="start" level="problem" key="silent/x" ...] BOM text

Facility 16 (local0); severity 2 (critical), where a critical value was seen 1 (alert), of a notice 4 (warning), of an
end 5 (notice). A syslog server acknowledges nothing. Over UDP a line counts as taken once it is sent; over TCP once the
server has closed the connection after it, or has left it open for `CLOSING_S`.
"""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from adapters.clients.http.log_in import Address, Tls
from adapters.clients.tls import cause_of, reach, tls_context
from engine.model.errors import TransientDeliveryError
from engine.model.process.clock import Clock
from engine.model.site.alerts import Notification
from engine.model.texts.reasons import ReasonCode

CLOSING_S = 3.0
LOCAL0 = 16
ALERT, CRITICAL, WARNING, NOTICE = 1, 2, 4, 5  # RFC 5424, table 2
LONGEST = 2048  # octets of a line over UDP; RFC 5426, 3.2: what receivers should take
OURS = "labrelay@32473"  # RFC 5424, 7.2.2: the number for examples, which no other program has
_OUTSIDE_NAMES = re.compile(r"[^!-~]")
_ESCAPED = re.compile(r'["\\\]]')


class Settings(Protocol):
    """As `engine.features.alerts.config.SyslogSink`."""

    connect: Address
    protocol: str
    tls: Tls | None
    timeout: float


class SyslogSink:
    """See `engine.model.ports.AlertSink`."""

    def __init__(self, name: str, config: Settings) -> None:
        self._config = config
        self._ssl = None if config.tls is None else tls_context(name, config.tls)

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None: ...

    async def probe(self) -> None:
        """Connect, and send nothing; over UDP the name alone can be looked up."""
        to, config = self._config.connect, self._config
        await reach(to.host, to.port, self._ssl, config.timeout, connects=config.protocol == "tcp")

    async def send(self, notification: Notification) -> Sequence[str]:
        said = line(notification, socket.gethostname(), os.getpid())
        try:
            async with asyncio.timeout(self._config.timeout):
                await (self._by_udp(said) if self._config.protocol == "udp" else self._by_tcp(said))
        except TimeoutError as error:
            seconds = f"{self._config.timeout:g} s"
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, f"no answer within {seconds}") from error
        except OSError as error:
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, f"no syslog there: {cause_of(error)}") from error
        return ()

    async def _by_udp(self, said: bytes) -> None:
        to = self._config.connect
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(to.host, to.port)
        )
        try:
            transport.sendto(shortened(said))
        finally:
            transport.close()

    async def _by_tcp(self, said: bytes) -> None:
        to = self._config.connect
        reader, writer = await asyncio.open_connection(to.host, to.port, ssl=self._ssl)
        try:
            writer.write(b"%d %s" % (len(said), said))
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSING_S):
                        await reader.read()  # the server closes once it has read all; one that is gone resets
        finally:
            writer.close()
            await writer.wait_closed()


def line(notification: Notification, host: str, process: int) -> bytes:
    """The line; each value of it is escaped."""
    severity = _severity(notification)
    at = datetime.fromtimestamp(notification.at_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    named = {name: value for name, value in notification.values.items() if name not in ("text", "subject")}
    head = f"<{LOCAL0 * 8 + severity}>1 {at} {_name(host, 255)} labrelay {process} alert"
    text = notification.text.replace("\n", " | ")
    return f"{head} [{OURS}{_data(named)}] ".encode() + b"\xef\xbb\xbf" + text.encode()


def shortened(said: bytes) -> bytes:
    """Cut to the length that each receiver takes, between two characters."""
    return said if len(said) <= LONGEST else said[:LONGEST].decode(errors="ignore").encode()


def _severity(notification: Notification) -> int:
    if notification.state in ("end", "test"):
        return NOTICE
    if notification.level != "problem":
        return WARNING
    return ALERT if notification.key.startswith("critical/") else CRITICAL


def _data(values: Mapping[str, str]) -> str:
    return "".join(f' {name}="{_ESCAPED.sub(lambda sign: chr(92) + sign[0], value)}"' for name, value in values.items())


def _name(text: str, longest: int) -> str:
    return _OUTSIDE_NAMES.sub("-", text)[:longest] or "-"


def build(name: str, config: Settings, clock: Clock) -> SyslogSink:
    """The sink ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return SyslogSink(name, config)
