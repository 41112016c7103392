"""Why a destination cannot be reached, in the few words that say whom to ask: from the system's own error. Pure.

The words are the same whatever the destination speaks; an attempt that failed in another way has none, and its reason
code says more.
"""

import errno
import re
import socket
import ssl

from engine.model.errors import DeliveryError
from engine.model.phrases import N_

REFUSED, NO_NAME, TLS, TIMED_OUT = N_(("connection refused", "host name unknown", "TLS failed", "timed out"))
AWAY = (REFUSED, NO_NAME, TLS, TIMED_OUT)
_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, REFUSED),
    (socket.gaierror, NO_NAME),
    (UnicodeError, NO_NAME),  # a name that is none
    (ssl.SSLError, TLS),
    (ssl.CertificateError, TLS),
    (TimeoutError, TIMED_OUT),
)
_NUMBER = re.compile(r"\[Errno (\d+)\]")


def away_of(error: DeliveryError) -> str:
    """One of `AWAY`, or empty."""
    at: BaseException | None = error
    found = error.away
    while at is not None and not found:
        found = next((words for kind, words in _KINDS if isinstance(at, kind)), "")
        if not found and type(at) is OSError and set(_NUMBER.findall(str(at))) == {str(errno.ECONNREFUSED)}:
            found = REFUSED  # by each address of the host
        at = at.__cause__
    return found
