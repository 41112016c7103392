"""Look at the server of a destination: the addresses of its name, and when its certificate ends. Blocks."""

import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from engine.monitoring.ends import FarEnd

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
