"""Why a destination cannot be reached, from the errors that adapters raise."""

import socket
import ssl

import pytest

from engine.config.destinations.destination import HttpDestination, MllpDestination
from engine.delivery.settlement import NO_NAME, REFUSED, TIMED_OUT, TLS, away_of
from engine.model.errors import DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.deliveries import delivery
from tests.support.ports import quiet_ports

KINDS = [
    (ConnectionRefusedError(111, "Connection refused"), REFUSED),
    (
        OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed"),
        REFUSED,
    ),
    (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 101] no route"), ""),
    (socket.gaierror(-2, "Name or service not known"), NO_NAME),
    (UnicodeError("label too long"), NO_NAME),
    (ssl.SSLCertVerificationError("self-signed certificate"), TLS),
    (ssl.SSLError("wrong version number"), TLS),
    (TimeoutError(), TIMED_OUT),
    (ConnectionResetError(104, "reset"), ""),
]


@pytest.mark.parametrize(("cause", "words"), KINDS)
def test_the_cause_of_an_error_says_why(cause: Exception, words: str) -> None:
    between = OSError("the library's own")
    between.__cause__ = cause
    for under in (cause, between):
        error = DestinationDownError(ReasonCode.NO_ANSWER, "TLS failed")
        error.__cause__ = under
        assert away_of(error) == words
    assert away_of(TransientDeliveryError(ReasonCode.BUSY, "HTTP 503")) == ""


@pytest.mark.parametrize("kind", ["mllp", "http"])
async def test_a_port_that_is_closed_has_refused(kind: str) -> None:
    (port,) = quiet_ports(1)
    config: MllpDestination | HttpDestination
    if kind == "mllp":
        config = MllpDestination.model_validate({"kind": "mllp", "connect": f"127.0.0.1:{port}"})
    else:
        config = HttpDestination.model_validate({"kind": "http", "url": f"http://127.0.0.1:{port}/x"})
    destination = config.build("away", ManualClock())
    await destination.start()
    try:
        with pytest.raises(DeliveryError) as failed:
            await destination.deliver(delivery(b"MSH|^~\\&|a|b|||20260101||ORU^R01|1|P|2.5\r"))
    finally:
        await destination.close()
    assert away_of(failed.value) == REFUSED
