"""What a FHIR server may answer, or fail to, and what becomes of the delivery: over real sockets."""

import asyncio
import base64
import gzip
import json
import socket
import ssl
import traceback
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.clients.http import exchange
from adapters.destinations import fhir_rest
from adapters.destinations.fhir_rest import FhirRest
from engine.model.errors import (
    ConfigError,
    DeliveryError,
    DestinationDownError,
    RefusedDeliveryError,
    TransientDeliveryError,
)
from engine.model.message import Delivery
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.certificates import Authority
from tests.support.deliveries import (
    Auth,
    Basic,
    Bearer,
    Secret,
    Settings,
    Tls,
    delivery,
    put,
    shared,
    transaction,
    transaction_response,
)
from tests.support.scripted_http import CLOSE, RESET, SILENCE, Script, http, scripted

pytestmark = pytest.mark.usefixtures("way")

PATIENT = shared("Patient", "00000000-0000-4000-8000-00000000000a", "urn:lab:pid", "PAT-4242")
GLUCOSE = put("Observation", "00000000-0000-4000-8000-00000000000b", status="final", code={"text": "Glucose"})
BODY = transaction(PATIENT, GLUCOSE)
GOOD = http(200, transaction_response("201 Created", "200 OK"))
OUTCOME = orjson.dumps({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]})

# No answer, error text or log may carry these.
SECRETS = ("PAT-4242", "hunter2", "tok-tok-tok")


@asynccontextmanager
async def destination(url: str, **changes: Any) -> AsyncIterator[FhirRest]:
    built = fhir_rest.build("lab-fhir", Settings(url=url).but(**changes), ManualClock())
    await built.start()
    try:
        yield built
    finally:
        await built.close()


async def outcome(script: Script, sent: Delivery | None = None, **changes: Any) -> DeliveryError | None:
    """The error of one delivery to a server that answers with ``script``, or None if it was delivered."""
    async with scripted(script) as server, destination(server.url, **changes) as lab:
        error = await attempt(lab, sent or delivery(BODY))
    assert not any(secret in str(error) for secret in SECRETS)
    return error


async def attempt(lab: FhirRest, sent: Delivery) -> DeliveryError | None:
    try:
        await lab.deliver(sent)
    except DeliveryError as error:
        return error
    return None


# -- conflicts ---------------------------------------------------------------------------------------------------

CONDITIONAL = transaction(GLUCOSE).replace(b'"url":"Observation/00', b'"ifMatch":"W/\\"1\\"","url":"Observation/00')


@pytest.mark.parametrize(
    ("answer", "reason", "kind"),
    [
        (http(503), ReasonCode.BUSY, TransientDeliveryError),
        (http(429), ReasonCode.BUSY, TransientDeliveryError),
        (http(403), ReasonCode.CONFLICT, TransientDeliveryError),
        (
            http(200, b'{"resourceType":"Observation","meta":{"versionId":"2\\""}}'),
            ReasonCode.CONFLICT,
            TransientDeliveryError,
        ),
        (http(404), ReasonCode.CONFLICT, RefusedDeliveryError),
    ],
)
async def test_what_cannot_be_read_back_is_no_conflict_yet(
    answer: bytes, reason: ReasonCode, kind: type[DeliveryError]
) -> None:
    async with scripted(http(412), answer) as server, destination(server.url, conflicts="check") as lab:
        error = await attempt(lab, delivery(CONDITIONAL))
    assert (type(error), error.reason if error is not None else None) == (kind, reason)
    assert server.requests[1].line.startswith("GET /fhir/Observation/00")


# -- delivered ---------------------------------------------------------------------------------------------------


async def test_a_transaction_response_with_2xx_everywhere_is_delivered() -> None:
    async with scripted(GOOD) as server, destination(server.url) as lab:
        await lab.deliver(delivery(BODY, attempt=3, earlier=4))
    [request] = server.requests
    assert request.line == "POST /fhir HTTP/1.1"
    assert request.body == BODY
    assert request.headers["content-type"] == "application/fhir+json"
    assert request.headers["accept"] == "application/fhir+json"
    assert request.headers["prefer"] == "return=minimal"
    assert request.headers["idempotency-key"] == "3f9c2a7e51d04b860123456789abcdef"
    assert request.headers["x-request-id"] == "3f9c2a7e51d04b860123456789abcdef.7"
    assert "authorization" not in request.headers


async def test_connections_are_kept() -> None:
    async with scripted(GOOD) as server, destination(server.url) as lab:
        for _ in range(5):
            await lab.deliver(delivery(BODY))
    assert len(server.requests) == 5
    assert server.connections == 1


async def test_a_bundle_written_with_spaces_counts_the_same() -> None:
    assert await outcome(GOOD, delivery(json.dumps(json.loads(BODY), indent=2).encode())) is None


async def test_the_entries_that_are_known_must_be_answered_too() -> None:
    assert await outcome(GOOD, delivery(BODY, entries=2)) is None
    error = await outcome(http(200, transaction_response("201 Created")), delivery(BODY, entries=2))
    assert isinstance(error, DestinationDownError)
    assert error.detail == "HTTP 200, 1 entries answered of 2 sent"


async def test_a_compressed_answer_is_read() -> None:
    packed = gzip.compress(transaction_response("201 Created", "200 OK"))
    assert await outcome(http(200, packed, "Content-Encoding: gzip"), gzip=True) is None


async def test_an_answer_in_chunks_is_read() -> None:
    content = transaction_response("201 Created", "200")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:7], content[7:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert await outcome((head, chunks, b"0\r\n\r\n")) is None


# -- 2xx that is not delivered: the destination as a whole --------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        http(200, b"<html>Log in to the hospital's network</html>", media_type="text/html"),
        http(204),
        http(202, b""),
        http(200, b'{"resourceType":"Bundle"'),
        http(200, b"[]"),
        http(200, b'"Bundle"'),
        http(200, b"\xff\xfe"),
        http(200, OUTCOME),
        http(200, transaction_response("201 Created")),
        http(200, transaction_response("201 Created", "200 OK", "200 OK")),
        http(200, transaction_response()),
        http(200, transaction_response("201 Created", "422 Unprocessable")),
        http(200, transaction_response("201 Created", "2")),
        http(200, transaction_response("201 Created", "")),
        http(200, transaction_response("201 Created", "2xx")),
        http(200, transaction_response("200", "200").replace(b"transaction-response", b"batch-response")),
        http(200, b'{"resourceType":"Bundle","type":"transaction-response","entry":[{},{}]}'),
        http(200, b'{"resourceType":"Bundle","type":"transaction-response","entry":[{"response":{"status":200}},{}]}'),
        http(200, b'{"resourceType":"Bundle","type":"transaction-response","entry":{"a":1,"b":2}}'),
        http(200, b'{"resourceType":"Bundle","type":"transaction-response","entry":null}'),
        http(302, b"", "Location: http://127.0.0.1:1/login"),
        http(307, b"", "Location: http://127.0.0.1:1/elsewhere"),
    ],
)
async def test_another_2xx_or_a_redirect_means_that_something_stands_in_between(answer: bytes) -> None:
    error = await outcome(answer)
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NOT_FHIR


async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_ANSWER_BYTES", 100_000)
    long = b"x" * 300_000
    for answer in (
        http(200, long),
        http(200, gzip.compress(long), "Content-Encoding: gzip"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", long, SILENCE),
    ):
        error = await outcome(answer, gzip=True)
        assert isinstance(error, DestinationDownError)
        assert error.reason is ReasonCode.NOT_FHIR
        assert len(error.answer) == exchange.MAX_KEPT_ANSWER_BYTES


# -- statuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, RefusedDeliveryError, ReasonCode.REFUSED),
        (401, DestinationDownError, ReasonCode.NOT_AUTHORIZED),
        (403, DestinationDownError, ReasonCode.NOT_AUTHORIZED),
        (404, DestinationDownError, ReasonCode.WRONG_ADDRESS),
        (405, DestinationDownError, ReasonCode.WRONG_ADDRESS),
        (408, TransientDeliveryError, ReasonCode.BUSY),
        (409, TransientDeliveryError, ReasonCode.CONFLICT),
        (410, RefusedDeliveryError, ReasonCode.REFUSED),
        (412, RefusedDeliveryError, ReasonCode.AMBIGUOUS_ON_SERVER),
        (413, RefusedDeliveryError, ReasonCode.REFUSED),
        (415, RefusedDeliveryError, ReasonCode.REFUSED),
        (422, RefusedDeliveryError, ReasonCode.REFUSED),
        (425, TransientDeliveryError, ReasonCode.BUSY),
        (429, TransientDeliveryError, ReasonCode.BUSY),
        (500, TransientDeliveryError, ReasonCode.BUSY),
        (501, TransientDeliveryError, ReasonCode.BUSY),
        (502, TransientDeliveryError, ReasonCode.BUSY),
        (503, TransientDeliveryError, ReasonCode.BUSY),
        (504, TransientDeliveryError, ReasonCode.BUSY),
    ],
)
async def test_each_status_has_its_meaning(status: int, kind: type[DeliveryError], reason: ReasonCode) -> None:
    error = await outcome(http(status, OUTCOME))
    assert type(error) is kind
    assert error.reason is reason
    assert error.answer == OUTCOME
    assert error.detail == f"HTTP {status}, invalid"
    if isinstance(error, TransientDeliveryError):
        assert error.limit == (5 if status == 409 else None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 120", 120.0),
        ("Retry-After: 0", 0.0),
        ("Retry-After: Sun, 01 Mar 2026 06:02:00 GMT", 120.0),
        ("Retry-After: Sun, 01 Mar 2026 05:00:00 GMT", 0.0),
        ("Retry-After: Sun, 01 Mar 2026 06:02:00 -0000", 120.0),
        ("Retry-After: soon", None),
        ("Retry-After: -5", None),
        ("Retry-After: ", None),
        ("X-Other: 1", None),
    ],
)
@pytest.mark.parametrize("status", [409, 429, 503])
async def test_retry_after_is_passed_on(status: int, header: str, seconds: float | None) -> None:
    error = await outcome(http(status, b"", header))
    assert isinstance(error, TransientDeliveryError)
    assert error.retry_after == seconds


async def test_a_long_refusal_is_kept_in_part() -> None:
    error = await outcome(http(422, OUTCOME + b" " * 200_000))
    assert error is not None
    assert len(error.answer) == exchange.MAX_KEPT_ANSWER_BYTES
    assert error.answer.startswith(OUTCOME)


async def test_a_redirect_is_not_followed() -> None:
    async with scripted(GOOD) as elsewhere:
        error = await outcome(http(308, b"", f"Location: {elsewhere.url}"))
    assert isinstance(error, DestinationDownError)
    assert elsewhere.connections == 0


# -- no answer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (RESET, "connection reset by peer"),
        (CLOSE, "the server closed the connection without an answer"),
        (SILENCE, "no answer within 0.3 s"),
        ((b"HTTP/1.1 200 OK\r\n", CLOSE), "the server closed the connection without an answer"),
        ((GOOD[:-10], RESET), "the connection broke in the middle of the answer|connection reset by peer"),
        ((GOOD[:-10], CLOSE), "the connection broke in the middle of the answer"),
        ((GOOD[:-10], SILENCE), "no answer within 0.3 s"),
        ((b"SSH-2.0-OpenSSH_9.2 PAT-4242\r\n\r\n", CLOSE), "the answer is not HTTP"),
        ((b"HTTP/1.1 PAT-4242\r\n\r\n", CLOSE), "the answer is not HTTP"),
        ((b"\x00\x01\x02", CLOSE), "the answer is not HTTP"),
    ],
)
async def test_a_broken_or_missing_answer_is_no_answer(script: Script, words: str) -> None:
    error = await outcome(script, timeout=0.3)
    assert type(error) is TransientDeliveryError
    assert error.reason is ReasonCode.NO_ANSWER
    assert error.detail in words.split("|")  # a reset may take back what was sent before it
    assert b"PAT-4242" not in "".join(traceback.format_exception(error)).encode()


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with destination(f"http://127.0.0.1:{unused.getsockname()[1]}/fhir") as lab:
            with pytest.raises(TransientDeliveryError, match="connection refused") as caught:
                await lab.deliver(delivery(BODY))
    assert caught.value.reason is ReasonCode.NO_ANSWER


async def test_a_name_that_does_not_exist() -> None:
    async with destination("http://nowhere.invalid/fhir") as lab:
        with pytest.raises(TransientDeliveryError, match="the host name cannot be resolved") as caught:
            await lab.deliver(delivery(BODY))
    assert caught.value.reason is ReasonCode.NO_ANSWER


async def test_after_a_reset_the_next_delivery_works() -> None:
    async with scripted(RESET, GOOD) as server, destination(server.url) as lab:
        with pytest.raises(TransientDeliveryError):
            await lab.deliver(delivery(BODY))
        await lab.deliver(delivery(BODY, attempt=1))
    assert [request.headers["idempotency-key"] for request in server.requests] == [delivery().key] * 2


async def test_a_cancelled_delivery_closes_its_connection() -> None:
    """The late answer to a cancelled request must never be credited to the next one."""
    async with scripted(SILENCE, GOOD) as server, destination(server.url) as lab:
        task = asyncio.create_task(lab.deliver(delivery(BODY)))
        await asyncio.wait_for(server.arrived.wait(), 240.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await lab.deliver(delivery(BODY))
        assert server.connections == 2


# -- options -----------------------------------------------------------------------------------------------------


async def test_gzip_packs_the_body() -> None:
    body = transaction(PATIENT, put("Observation", "b", note=[{"text": "x" * 2000}]))
    async with scripted(GOOD) as server, destination(server.url, gzip=True) as lab:
        await lab.deliver(delivery(body))
        await lab.deliver(delivery(BODY[:-1] + b" }"))
    packed, small = server.requests
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(body) / 2
    assert packed.content == body
    assert "content-encoding" in small.headers or len(small.body) < exchange.SMALLEST_GZIP_BYTES


async def test_a_body_of_several_megabytes_goes_out_whole() -> None:
    body = transaction(PATIENT, put("DiagnosticReport", "b", presentedForm=[{"data": "QUJD" * 800_000}]))
    async with scripted(GOOD) as server:
        for packed in (False, True):
            async with destination(server.url, gzip=packed) as lab:
                await lab.deliver(delivery(body))
    assert [request.content == body for request in server.requests] == [True, True]


async def test_basic_and_bearer() -> None:
    basic = Auth(basic=Basic("lab", Secret("hunter2:ü")))
    bearer = Auth(bearer=Bearer(Secret("tok-tok-tok")))
    async with scripted(GOOD) as server:
        for auth in (basic, bearer):
            async with destination(server.url, auth=auth) as lab:
                await lab.deliver(delivery(BODY))
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Basic " + base64.b64encode("lab:hunter2:ü".encode()).decode(), "Bearer tok-tok-tok"]


async def test_a_rotated_secret_is_read_after_a_401() -> None:
    class Rotating(Secret):
        def reveal(self) -> str:
            return next(tokens)

    tokens = iter(["old", "new"])
    auth = Auth(bearer=Bearer(Rotating("")))
    async with scripted(GOOD, http(401), GOOD) as server, destination(server.url, auth=auth) as lab:
        await lab.deliver(delivery(BODY))
        with pytest.raises(DestinationDownError):
            await lab.deliver(delivery(BODY))
        await lab.deliver(delivery(BODY))
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer old",
        "Bearer old",
        "Bearer new",
    ]


async def test_a_secret_that_is_not_set_is_the_destinations_fault() -> None:
    class Unset(Secret):
        def reveal(self) -> str:
            raise ConfigError("${TOKEN} is not set")

    async with scripted(GOOD) as server, destination(server.url, auth=Auth(bearer=Bearer(Unset("")))) as lab:
        with pytest.raises(DestinationDownError) as caught:
            await lab.deliver(delivery(BODY))
    assert caught.value.reason is ReasonCode.NOT_AUTHORIZED
    assert not server.requests


@pytest.mark.parametrize("token", ["tok-tok-tok\r", "tok-tok-tok\nX: y", "tok-tok-tok\x7f", "tök-tok-tok"])
async def test_a_token_that_no_header_can_have_is_the_destinations_fault_not_the_documents(token: str) -> None:
    auth = Auth(bearer=Bearer(Secret(token)))
    async with scripted(GOOD) as server, destination(server.url, auth=auth) as lab:
        error = await attempt(lab, delivery(BODY))
    assert isinstance(error, DestinationDownError)  # five attempts of a fault of ours would make a dead letter
    assert error.reason is ReasonCode.NOT_AUTHORIZED
    assert "auth.bearer.token" in error.detail
    assert "tok-tok" not in error.detail
    assert not server.requests


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await outcome(GOOD) is None


async def test_server_ids_become_conditional_updates() -> None:
    body = transaction(
        PATIENT,
        put(
            "Observation",
            "b",
            subject={"reference": PATIENT["fullUrl"]},
            valueQuantity={"value": 0},
            specimen={"reference": "Specimen/c"},
        ),
        put("Specimen", "c"),
        put("Provenance", "d", target=[{"reference": "urn:uuid:b"}]),
    ).replace(b'"value":0', b'"value":148.50')
    async with (
        scripted(http(200, transaction_response("200", "201", "201", "201"))) as server,
        destination(server.url, ids="server") as lab,
    ):
        await lab.deliver(delivery(body))
    assert b'"value":148.50}' in server.requests[0].body
    patient, observation, specimen, provenance = json.loads(server.requests[0].body)["entry"]
    assert patient == PATIENT
    assert observation["request"] == {"method": "PUT", "url": "Observation?identifier=urn:labrelay:id%7Cb"}
    assert "id" not in observation["resource"]
    assert observation["resource"]["identifier"] == [{"system": "urn:labrelay:id", "value": "b"}]
    assert observation["resource"]["subject"] == {"reference": PATIENT["fullUrl"]}
    assert observation["resource"]["specimen"] == {"reference": "urn:uuid:c"}
    assert specimen["fullUrl"] == "urn:uuid:c"
    assert provenance["request"] == {"method": "PUT", "url": "Provenance?_tag=urn:labrelay:id%7Cd"}
    assert provenance["resource"]["meta"]["tag"] == [{"system": "urn:labrelay:id", "code": "d"}]


# -- TLS ---------------------------------------------------------------------------------------------------------


async def tls_outcome(
    make: Callable[[Authority], tuple[bool, Tls | None]], folder: Path
) -> tuple[DeliveryError | None, int]:
    """Deliver to a TLS server; returns the error, and how many requests came through."""
    authority = Authority(folder / "ours")
    mutual, tls = make(authority)
    async with scripted(GOOD, tls=authority.server_context(demand_client=mutual)) as server:
        async with destination(server.url, tls=tls) as lab:
            error = await attempt(lab, delivery(BODY))
        return error, len(server.requests)


async def test_our_own_authority_is_trusted(tmp_path: Path) -> None:
    assert await tls_outcome(lambda ours: (False, Tls(ca=ours.ca)), tmp_path) == (None, 1)


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    def mutual(ours: Authority) -> tuple[bool, Tls]:
        pair = ours.sign("labrelay")
        return True, Tls(ca=ours.ca, cert=pair.cert, key=pair.key)

    assert await tls_outcome(mutual, tmp_path) == (None, 1)


async def test_without_a_client_certificate_nothing_passes(tmp_path: Path) -> None:
    error, requests = await tls_outcome(lambda ours: (True, Tls(ca=ours.ca)), tmp_path)
    assert isinstance(error, TransientDeliveryError)
    assert error.reason is ReasonCode.NO_ANSWER
    assert requests == 0


@pytest.mark.parametrize("trusted", ["system", "other"])
async def test_an_authority_that_we_do_not_trust_gets_nothing(tmp_path: Path, trusted: str) -> None:
    other = Tls(ca=Authority(tmp_path / "other").ca) if trusted == "other" else None
    error, requests = await tls_outcome(lambda ours: (False, other), tmp_path)
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NO_ANSWER
    assert "certificate is not trusted" in error.detail
    assert requests == 0


async def test_a_server_that_speaks_no_tls() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(400))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, destination(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/fhir") as lab:
        with pytest.raises(DestinationDownError, match="TLS failed") as caught:
            await lab.deliver(delivery(BODY))
    assert caught.value.reason is ReasonCode.NO_ANSWER


async def test_tls_before_1_2_is_not_spoken(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    old = ours.server_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    async with scripted(GOOD, tls=old) as server, destination(server.url, tls=Tls(ca=ours.ca)) as lab:
        error = await attempt(lab, delivery(BODY))
    assert isinstance(error, TransientDeliveryError)
    assert error.reason is ReasonCode.NO_ANSWER
    assert not server.requests


@pytest.mark.parametrize("fault", ["missing", "garbage", "encrypted"])
def test_a_certificate_file_that_cannot_be_used_is_a_fault_of_configuration(tmp_path: Path, fault: str) -> None:
    ours = Authority(tmp_path)
    pair = ours.sign("labrelay")
    tls = Tls(ca=ours.ca, cert=pair.cert, key=pair.key)
    if fault == "missing":
        pair.cert.unlink()
    elif fault == "garbage":
        ours.ca.write_text("no certificate")
    else:
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"passphrase"),
            )
        )
    with pytest.raises(ConfigError, match=r"destinations\.lab-fhir\.tls: "):
        fhir_rest.build("lab-fhir", Settings(url="https://127.0.0.1:1/fhir", tls=tls), ManualClock())


# -- probe -------------------------------------------------------------------------------------------------------


async def test_a_probe_asks_for_the_capability_statement() -> None:
    async with scripted(http(200, b'{"resourceType":"CapabilityStatement"}')) as server, destination(server.url) as lab:
        await lab.probe()
    assert server.requests[0].line == "GET /fhir/metadata?_summary=true HTTP/1.1"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(200, b"<html>"), ReasonCode.NOT_FHIR),
        (http(401), ReasonCode.NOT_AUTHORIZED),
        (http(404), ReasonCode.WRONG_ADDRESS),
        (http(400), ReasonCode.WRONG_ADDRESS),
        (http(503), ReasonCode.BUSY),
        (RESET, ReasonCode.NO_ANSWER),
    ],
)
async def test_a_failed_probe_says_why(answer: Script, reason: ReasonCode) -> None:
    async with scripted(answer) as server, destination(server.url) as lab:
        with pytest.raises(TransientDeliveryError) as caught:
            await lab.probe()
    assert caught.value.reason is reason
