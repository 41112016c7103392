"""Durations, sizes and addresses as people write them: ``30s``, ``16MiB``, ``127.0.0.1:2575``.

Inside, a duration is float seconds and a size is int bytes; only here do units have names. `duration_text` and
`size_text` say a value the way it would be written.

    duration  NUMBER (ms | s | m | h | d | w), several may follow each other: 1h30m
    size      NUMBER (B | KiB | MiB | GiB | kB | MB | GB)      binary and decimal units are different
    address   HOST:PORT, an IPv6 host in brackets: [::1]:2575
"""

import ipaddress
import re
from dataclasses import dataclass
from fractions import Fraction

DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
SIZE_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhdw]))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMG]i?B|B)")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


@dataclass(frozen=True, slots=True)
class HostPort:
    """Where to listen or connect. ``port`` 0, for listening only, is any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Reachable from this machine alone. A name other than ``localhost`` is not: it may point anywhere."""
        return self.host == "localhost" or _is_ip(self.host, "is_loopback")

    @property
    def is_every_interface(self) -> bool:
        return _is_ip(self.host, "is_unspecified")

    def collides_with(self, other: "HostPort") -> bool:
        """Two listeners cannot both have these."""
        is_same_host = self.host == other.host or self.is_every_interface or other.is_every_interface
        return is_same_host and self.port == other.port != 0


def parse_duration(text: str) -> float:
    """Seconds.

    Raises:
        ValueError: not a duration; the text says what one looks like.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError("expected a duration with its unit, as 30s, 5m, 1h30m or 30d")
    return sum(float(number) * DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def parse_size(text: str) -> int:
    """Bytes.

    Raises:
        ValueError: not a size.
    """
    match = _SIZE.fullmatch(text)
    factor = SIZE_UNITS.get(match[2]) if match else None
    if match is None or factor is None:
        raise ValueError("expected a size with its unit, as 64KiB or 16MiB")
    return round(Fraction(match[1]) * factor)


def parse_host_port(text: str) -> HostPort:
    """An address.

    Raises:
        ValueError: not host:port.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected host:port, as 127.0.0.1:2575")
    if not host:
        raise ValueError(f"the host is missing: 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for all")
    if host.startswith("[") and host.endswith("]"):
        if not _is_ip(host[1:-1], "version"):
            raise ValueError("expected an IPv6 address between the brackets, as [::1]:2575")
        return HostPort(host[1:-1], int(port))
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets, as [::1]:2575")
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("expected host:port, as 127.0.0.1:2575")
    return HostPort(host, int(port))


def duration_text(seconds: float) -> str:
    """``1h30m``; the shortest way to write it exactly."""
    rest = round(seconds * 1000)
    if rest == 0:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, round(DURATION_UNITS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def size_text(size: int) -> str:
    """``16MiB``; in the largest binary unit that divides it."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def size_words(size: float) -> str:
    """``1.4 GiB``: for people, in the largest binary unit that is not larger than the value."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= SIZE_UNITS[unit]:
            return f"{size / SIZE_UNITS[unit]:.1f} {unit}"
    return f"{size:.0f} B"


def _is_ip(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False
