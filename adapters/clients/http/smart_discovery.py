"""Find the token endpoint that a FHIR server declares: SMART App Launch 2.2, "Obtaining the server's SMART
configuration" (``[base]/.well-known/smart-configuration``).

A client's secret, or its signed assertion, goes to the address that this document names. So the address is believed
only where it is on the server's own host or on the one that the configuration names (``token_host``), and where it is
https; on loopback, where the server itself is there, http will do.
"""

import json

from yarl import URL

from adapters.clients.http.exchange import HttpExchange, retry_after_seconds
from engine.model.clock import Clock
from engine.model.errors import DestinationDownError, TransientDeliveryError
from engine.model.reasons import ReasonCode

PATH = ".well-known/smart-configuration"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


async def token_endpoint(http: HttpExchange, base: str, token_host: str | None, clock: Clock) -> URL:
    """Ask the server at ``base`` for the address that gives tokens.

    Raises:
        TransientDeliveryError: NO_TOKEN, it cannot say so now.
        DestinationDownError: NO_TOKEN, it does not say so, or names an address that is not believed.
    """
    where = URL(f"{base}/{PATH}", encoded=True)
    answer = await http.exchange("GET", where, {"Accept": "application/json"})
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise TransientDeliveryError(
            ReasonCode.NO_TOKEN,
            f"{PATH}: HTTP {answer.status}",
            retry_after=retry_after_seconds(answer.retry_after, clock.now()),
        )
    if answer.status != 200 or not answer.whole:
        raise _none(f"HTTP {answer.status}")
    return believed(answer.body, URL(base, encoded=True), token_host)


def believed(document: bytes, base: URL, token_host: str | None) -> URL:
    """The token endpoint that a SMART configuration names.

    Raises:
        DestinationDownError: NO_TOKEN, there is none, or none that secrets may be sent to.
    """
    try:
        said = json.loads(document)
    except (ValueError, RecursionError):
        said = None
    named = said.get("token_endpoint") if isinstance(said, dict) else None
    if not isinstance(named, str) or not named.isascii() or not named.isprintable():
        raise _none("no token_endpoint in it")
    try:
        url = URL(named, encoded=True)
        host, given = url.host, url.user is not None or url.password is not None or bool(url.raw_fragment)
    except ValueError:
        raise _none("its token_endpoint is no URL") from None
    if host is None or given:
        raise _none("its token_endpoint is no address of a server")
    if host not in {base.host, token_host}:
        raise _none(
            f"its token_endpoint is on {host[:100]}, and not on {base.host}: no secret is sent there; if that is "
            f"right, write `token_host: {host[:100]}`"
        )
    if url.scheme != "https" and not (url.scheme == "http" and host in LOOPBACK and base.host in LOOPBACK):
        raise _none("its token_endpoint is not https: no secret is sent there")
    return url


def _none(what: str) -> DestinationDownError:
    return DestinationDownError(ReasonCode.NO_TOKEN, f"{PATH}: {what}; or write token_url: yourself")
