"""TLS towards destinations: its settings, whether a server can be reached, and why a connection failed."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from adapters.clients.http.log_in import Tls
from engine.model.errors import ConfigError, DestinationDownError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode


def tls_context(name: str, tls: Tls | None) -> ssl.SSLContext:
    """Verify the server against the configured authorities, or the system's; TLS 1.2 at least. It may be shared with
    other connections, so change nothing of it.

    Raises:
        ConfigError: a file cannot be read, or is no certificate or key.
    """
    if tls is None or (tls.ca is None and tls.cert is None):
        return _of_the_system(_system_authorities())
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert is not None:
            # A key with a passphrase would make OpenSSL ask on the terminal: an empty one fails instead.
            context.load_cert_chain(tls.cert, tls.key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = ", ".join(str(path) for path in (tls.ca, tls.cert, tls.key) if path is not None)
        raise ConfigError(
            f"destinations.{name}.tls: {cause_of(error)}; expected PEM files that we may read: {files}"
        ) from (error)
    return context


@lru_cache(maxsize=1)
def _of_the_system(authorities: tuple[object, ...]) -> ssl.SSLContext:
    """One context for all: each would hold the system's authorities, 0.8 MiB.

    Args:
        authorities: where they are others, the context is another.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _system_authorities() -> tuple[object, ...]:
    """Where they are, and the state of file and folder there."""
    paths = ssl.get_default_verify_paths()
    states: list[object] = []
    for path in (paths.cafile, paths.capath):
        with suppress(OSError, TypeError):  # there is none
            found = os.stat(path)
            states.append((path, found.st_mtime_ns, found.st_size, found.st_ino))
    return tuple(states)


def cause_of(error: BaseException, known: Iterable[tuple[type[Exception], str]] = ()) -> str:
    """Why a connection failed, in the operating system's or OpenSSL's own words for it: never the peer's.

    Args:
        known: the words for errors of a library that have no cause of the system's.
    """
    at: BaseException | None = error
    while at is not None:
        # Some of the library's classes derive from SSLError without having its attributes.
        reason = getattr(at, "reason", None) if isinstance(at, ssl.SSLError) else None
        if isinstance(reason, str):
            return reason.replace("_", " ").lower()
        if isinstance(at, OSError) and at.errno and at.errno > 0:
            return os.strerror(at.errno).lower()
        at = at.__cause__
    return next((words for kind, words in known if isinstance(error, kind)), type(error).__name__)


CLOSING_S = 1.0
CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "the host name cannot be resolved"),
    (UnicodeError, "the host name cannot be resolved"),  # one that is none
    (OSError, "no connection could be made"),  # to any address of the host, for more than one cause
)


async def reach(host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float, *, connects: bool = True) -> None:
    """
    Args:
        connects: false: the name alone is looked up, as of a server that is spoken to over UDP.

    Raises:
        DeliveryError: it cannot be reached.
    """
    try:
        async with asyncio.timeout(timeout_s):
            if not connects:
                await asyncio.get_running_loop().getaddrinfo(host, port)
                return
            _, writer = await asyncio.open_connection(host, port, ssl=tls)
    except TimeoutError as error:
        why = f"no answer within {timeout_s:g} s" if error.errno is None else cause_of(error)
        raise TransientDeliveryError(ReasonCode.NO_ANSWER, why) from error
    except ssl.SSLCertVerificationError as error:
        why = f"the server's certificate is not trusted: {error.verify_message}"
        raise DestinationDownError(ReasonCode.NO_ANSWER, why) from error
    except ssl.SSLError as error:
        raise DestinationDownError(ReasonCode.NO_ANSWER, f"TLS failed: {cause_of(error)}") from error
    except (OSError, UnicodeError) as error:
        raise TransientDeliveryError(ReasonCode.NO_ANSWER, cause_of(error, CAUSES)) from error
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSING_S):
            await writer.wait_closed()
