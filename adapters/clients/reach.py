"""Whether a server can be reached: its name, a connection, TLS where it speaks that. Nothing is sent there."""

import asyncio
import contextlib
import socket
import ssl

from adapters.clients.tls import cause_of
from engine.model.errors import DestinationDownError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode

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
