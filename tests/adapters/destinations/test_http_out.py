"""Documents to any web service: what is sent, and what the statuses mean."""

import pytest

from adapters.destinations import http_out
from adapters.destinations.http_out import HttpOut
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.deliveries import Settings, delivery
from tests.support.scripted_http import RESET, Script, http, scripted

pytestmark = pytest.mark.usefixtures("way")

HL7 = b"MSH|^~\\&|LAB|||||20260301||ORU^R01|1|P|2.5.1\r"


async def started(settings: Settings) -> HttpOut:
    built = http_out.build("archive", settings, ManualClock())
    await built.start()
    return built


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("answer", [http(200, b"anything"), http(201), http(204)])
async def test_any_2xx_is_delivered(method: str, answer: bytes) -> None:
    async with scripted(answer) as server:
        out = await started(Settings(url=server.url, method=method))
        await out.deliver(delivery(HL7, media_type="x-application/hl7-v2+er7"))
        await out.close()
    [request] = server.requests
    assert request.line == f"{method} /fhir HTTP/1.1"
    assert request.body == HL7
    assert request.headers["content-type"] == "x-application/hl7-v2+er7"
    assert request.headers["idempotency-key"] == delivery().key


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (http(302, b"", "Location: /x"), DestinationDownError, ReasonCode.WRONG_ADDRESS),
        (http(400), RefusedDeliveryError, ReasonCode.REFUSED),
        (http(401), DestinationDownError, ReasonCode.NOT_AUTHORIZED),
        (http(404), DestinationDownError, ReasonCode.WRONG_ADDRESS),
        (http(409), TransientDeliveryError, ReasonCode.CONFLICT),
        (http(412), RefusedDeliveryError, ReasonCode.REFUSED),
        (http(503), TransientDeliveryError, ReasonCode.BUSY),
        (RESET, TransientDeliveryError, ReasonCode.NO_ANSWER),
    ],
)
async def test_everything_else_has_its_meaning(answer: Script, kind: type[DeliveryError], reason: ReasonCode) -> None:
    async with scripted(answer) as server:
        out = await started(Settings(url=server.url))
        with pytest.raises(DeliveryError) as caught:
            await out.deliver(delivery(HL7))
        await out.close()
    assert type(caught.value) is kind
    assert caught.value.reason is reason


async def test_an_answer_of_200_counts_as_taken_only_where_it_says_so() -> None:
    """As the portal of invoices answers: 200 also to what it refuses."""
    refusal = b'{"Status":0,"ErrorDetails":[{"ErrorCode":"2150","ErrorMessage":"Duplicate IRN"}]}'
    async with scripted(http(200, refusal), http(200, b'{"Status":1,"Data":"x"}')) as server:
        out = await started(Settings(url=server.url, taken='"Status":1,'))
        with pytest.raises(RefusedDeliveryError) as caught:
            await out.deliver(delivery(HL7))
        await out.deliver(delivery(HL7))
        await out.close()
    assert (caught.value.reason, caught.value.answer) == (ReasonCode.REFUSED, refusal)
    assert "Duplicate" not in str(caught.value), "the answer's words are sealed, and in no log"


@pytest.mark.parametrize(("method", "sent"), [("POST", 1), ("PUT", 2)])
async def test_only_a_put_is_repeated_within_an_attempt(method: str, sent: int) -> None:
    """The client library repeats requests that HTTP calls idempotent, once, if no answer began."""
    async with scripted(RESET) as server:
        out = await started(Settings(url=server.url, method=method))
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(HL7, earlier=2))
        await out.close()
    assert len(server.requests) == sent
    assert {request.headers["x-request-id"] for request in server.requests} == {f"{delivery().key}.2"}


@pytest.mark.parametrize("status", [200, 404, 405, 501])
async def test_a_probe_sends_no_document(status: int) -> None:
    async with scripted(http(status)) as server:
        out = await started(Settings(url=server.url))
        if status >= 500:
            with pytest.raises(TransientDeliveryError):
                await out.probe()
        else:
            await out.probe()
        await out.close()
    assert [(request.line, request.body) for request in server.requests] == [("HEAD /fhir HTTP/1.1", b"")]
