"""Documents to object storage: what is put under which name, and when it counts as delivered. Scripted answers over
real sockets; `tests/e2e/objects.py` speaks to a whole server."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from adapters.codecs.signatures import authorization
from adapters.destinations import s3_out
from adapters.destinations.s3_out import S3Out, bucket_address, object_name
from engine.config.destinations.destination import S3Destination, destination_type
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.certificates import Authority
from tests.support.deliveries import Secret, Tls, delivery
from tests.support.scripted_http import CLOSE, RESET, SILENCE, Request, Script, http, scripted

BODY = b'{"resourceType":"Bundle"}'
NAME = "2026/03/01/chemistry/0000004711-3f9c2a7e51d04b860123456789abcdef"
ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "hunter2/+secret"
OUR_ID, OUR_KEY = Secret(ACCESS_KEY), Secret(SECRET_KEY)


@dataclass(frozen=True, kw_only=True)
class Settings:
    endpoint: str
    bucket: str = "lab-archive"
    region: str = "ap-south-1"
    prefix: str = ""
    address: str = "path"
    access_key: Any = OUR_ID
    secret_key: Any = OUR_KEY
    attachments: bool = False
    tls: Tls | None = None
    timeout: float = 5.0
    concurrency: int = 8


@asynccontextmanager
async def destination(url: str, clock: ManualClock | None = None, **changes: Any) -> AsyncIterator[S3Out]:
    settings = Settings(endpoint=url.removesuffix("/fhir"), **changes)
    out = s3_out.build("archive", settings, clock or ManualClock())
    await out.start()
    try:
        yield out
    finally:
        await out.close()


async def outcome(script: Script, body: bytes = BODY, **changes: Any) -> DeliveryError | None:
    error = None
    async with scripted(script) as server, destination(server.url, **changes) as out:
        try:
            await out.deliver(delivery(body))
        except DeliveryError as raised:
            error = raised
    assert SECRET_KEY not in str(error)
    return error


def stored(content: bytes = BODY, *headers: str) -> bytes:
    """The answer of a storage that has just this content."""
    return http(200, b"", f'ETag: "{hashlib.md5(content).hexdigest()}"', *headers)


def checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def refusal(status: int, code: str, *headers: str) -> bytes:
    return http(status, f"<Error><Code>{code}</Code><Message>x</Message></Error>".encode(), *headers)


def check_signature(request: Request, at: str = "20260301T060000Z") -> None:
    """As a storage does it: from what came over the wire."""
    method, target, _ = request.line.split(" ")
    path, _, query = target.partition("?")
    digest = hashlib.sha256(request.body).hexdigest()
    assert request.headers["x-amz-content-sha256"] == digest
    assert request.headers["x-amz-date"] == at
    found = re.search(r"SignedHeaders=([^,]*)", request.headers["authorization"])
    assert found is not None
    names = found[1].split(";")
    assert {name for name in request.headers if name.startswith("x-amz-")} | {"host"} == set(names)
    assert request.headers["authorization"] == authorization(
        method, path, {name: request.headers[name] for name in names}, digest,
        access_key=ACCESS_KEY, secret_key=SECRET_KEY, region="ap-south-1", at=at, query=query,
    )  # fmt: skip


# -- delivered ---------------------------------------------------------------------------------------------------


async def test_a_document_is_one_object_with_its_checksum() -> None:
    async with scripted(stored()) as server, destination(server.url, prefix="results/") as out:
        await out.deliver(delivery(BODY))
        await out.deliver(delivery(BODY, attempt=1))
    first, again = server.requests
    assert first.line == again.line == f"PUT /lab-archive/results/{NAME}.json HTTP/1.1"
    assert first.body == again.body == BODY
    assert first.headers["content-type"] == "application/fhir+json"
    assert first.headers["x-amz-checksum-sha256"] == checksum(BODY)
    check_signature(first)


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [("x-application/hl7-v2+er7", ".hl7"), ("text/csv", ".csv"), ("application/json; x=y", ".json"), ("a/b", ".bin")],
)
async def test_the_suffix_says_what_it_is(media_type: str, suffix: str) -> None:
    async with scripted(stored()) as server, destination(server.url) as out:
        await out.deliver(delivery(BODY, media_type=media_type))
    assert server.requests[0].line == f"PUT /lab-archive/{NAME}{suffix} HTTP/1.1"


@pytest.mark.parametrize(
    "answer",
    [
        stored(),
        http(200, b"", f"x-amz-checksum-sha256: {checksum(BODY)}", 'ETag: "whatever-1"'),
        http(200, b"", 'ETag: "of-a-key"', "x-amz-server-side-encryption: aws:kms"),
    ],
)
async def test_a_confirmed_put_is_delivered(answer: bytes) -> None:
    assert await outcome(answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        http(200),
        http(200, b"<html>log in", 'ETag: "5e-1"'),
        stored(b"other bytes"),
        http(200, b"", f"x-amz-checksum-sha256: {checksum(b'other')}", f'ETag: "{hashlib.md5(BODY).hexdigest()}"'),
        http(200, b"", "x-amz-server-side-encryption: aws:kms"),
    ],
)
async def test_a_200_that_confirms_nothing_is_not(answer: bytes) -> None:
    error = await outcome(answer)
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.WRONG_ADDRESS
    assert "without the checksum" in error.detail


async def test_a_large_document(tmp_path: Path) -> None:
    body = bytes(3 * 1024 * 1024)
    assert await outcome(stored(body), body) is None


# -- attachments -------------------------------------------------------------------------------------------------

PDF = b"%PDF-1.7"
WITH_PDF = json.dumps(
    {
        "resourceType": "Bundle",
        "entry": [
            {
                "resource": {
                    "resourceType": "DiagnosticReport",
                    "presentedForm": [{"contentType": "application/pdf", "data": base64.b64encode(PDF).decode()}],
                }
            }
        ],
    }
).encode()


async def test_pdfs_are_objects_of_their_own_before_their_document() -> None:
    async with (
        scripted(stored(PDF), stored(WITH_PDF)) as server,
        destination(server.url, attachments=True) as out,
    ):
        await out.deliver(delivery(WITH_PDF))
    pdf, document = server.requests
    assert pdf.line == f"PUT /lab-archive/{NAME}-1.pdf HTTP/1.1"
    assert (pdf.body, pdf.headers["content-type"]) == (PDF, "application/pdf")
    assert document.line == f"PUT /lab-archive/{NAME}.json HTTP/1.1"
    assert document.body == WITH_PDF
    check_signature(pdf)


async def test_large_documents_are_taken_apart_one_after_the_other() -> None:
    pdf = bytes(2 * 1024 * 1024)
    enclosed = {"contentType": "application/pdf", "data": base64.b64encode(pdf).decode()}
    body = json.dumps({"resourceType": "DiagnosticReport", "presentedForm": [enclosed, enclosed]}).encode()
    async with scripted(stored(pdf)) as server, destination(server.url, attachments=True) as out:
        ended = await asyncio.gather(
            *(out.deliver(delivery(body, id=number, message_id=number)) for number in (1, 2)), return_exceptions=True
        )
    assert {type(error) for error in ended} == {DestinationDownError}  # for the server confirms the PDFs only
    names = [
        request.line.split(" ")[1].rpartition("/")[2][:10] for request in server.requests if b"%" not in request.body
    ]
    pdfs = [int(name) for name, request in zip(names, server.requests, strict=True) if request.body == pdf]
    assert pdfs == sorted(pdfs)
    assert len(pdfs) == 4


async def test_a_pdf_that_is_not_stored_keeps_its_document_back() -> None:
    async with (
        scripted(http(503), stored(PDF), stored(WITH_PDF)) as server,
        destination(server.url, attachments=True) as out,
    ):
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(WITH_PDF))
        assert len(server.requests) == 1
        await out.deliver(delivery(WITH_PDF, attempt=1))
    assert [request.line.split(" ")[1].rpartition("/")[2][-6:] for request in server.requests] == [
        "-1.pdf",
        "-1.pdf",
        "f.json",
    ]


async def test_without_the_setting_a_document_is_one_object() -> None:
    assert await outcome(stored(WITH_PDF), WITH_PDF) is None


# -- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "kind", "reason", "told"),
    [
        (refusal(403, "InvalidAccessKeyId"), DestinationDownError, ReasonCode.NOT_AUTHORIZED, "check access_key"),
        (refusal(403, "SignatureDoesNotMatch"), DestinationDownError, ReasonCode.NOT_AUTHORIZED, "and secret_key"),
        (
            refusal(403, "AccessDenied"),
            DestinationDownError,
            ReasonCode.NOT_AUTHORIZED,
            "HTTP 403 AccessDenied; check the",
        ),
        (refusal(400, "ExpiredToken"), DestinationDownError, ReasonCode.NOT_AUTHORIZED, "ExpiredToken"),
        (
            refusal(404, "NoSuchBucket"),
            DestinationDownError,
            ReasonCode.WRONG_ADDRESS,
            "HTTP 404 NoSuchBucket; check endp",
        ),
        (refusal(301, "PermanentRedirect"), DestinationDownError, ReasonCode.WRONG_ADDRESS, "region"),
        (refusal(400, "AuthorizationHeaderMalformed"), DestinationDownError, ReasonCode.WRONG_ADDRESS, "region"),
        (http(405), DestinationDownError, ReasonCode.WRONG_ADDRESS, "HTTP 405; check"),
        (http(201), DestinationDownError, ReasonCode.WRONG_ADDRESS, "HTTP 201"),
        (refusal(400, "EntityTooLarge"), RefusedDeliveryError, ReasonCode.REFUSED, "EntityTooLarge"),
        (http(413), RefusedDeliveryError, ReasonCode.REFUSED, "HTTP 413"),
        (refusal(400, "BadDigest"), TransientDeliveryError, ReasonCode.BUSY, "BadDigest"),
        (refusal(400, "RequestTimeout"), TransientDeliveryError, ReasonCode.BUSY, "RequestTimeout"),
        (refusal(503, "SlowDown", "Retry-After: 7"), TransientDeliveryError, ReasonCode.BUSY, "HTTP 503"),
        (refusal(409, "OperationAborted"), TransientDeliveryError, ReasonCode.CONFLICT, "HTTP 409"),
        (RESET, TransientDeliveryError, ReasonCode.NO_ANSWER, ""),
        (CLOSE, TransientDeliveryError, ReasonCode.NO_ANSWER, ""),
    ],
)
async def test_refusals_have_their_meaning(
    script: Script, kind: type[DeliveryError], reason: ReasonCode, told: str
) -> None:
    error = await outcome(script)
    assert type(error) is kind
    assert error.reason is reason
    assert told in error.detail


async def test_silence_is_no_answer() -> None:
    error = await outcome(SILENCE, timeout=0.2)
    assert type(error) is TransientDeliveryError
    assert error.reason is ReasonCode.NO_ANSWER


async def test_the_storages_clock_counts() -> None:
    clock = ManualClock()
    date = f"Date: {format_datetime(clock.now().replace(hour=9), usegmt=True)}"
    script = [refusal(403, "RequestTimeTooSkewed", date), stored()]
    async with scripted(*script) as server, destination(server.url, clock) as out:
        await out.deliver(delivery(BODY))
    assert [request.headers["x-amz-date"] for request in server.requests] == ["20260301T060000Z", "20260301T090000Z"]
    check_signature(server.requests[1], "20260301T090000Z")


async def test_a_secret_that_is_not_set_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.config.reading.secrets import Secret as ByName

    monkeypatch.delenv("LR_S3_KEY", raising=False)
    error = await outcome(stored(), secret_key=ByName("LR_S3_KEY"))
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NOT_AUTHORIZED
    assert "${LR_S3_KEY} is not set" in error.detail


async def test_an_id_of_a_key_that_no_header_can_have_is_the_destinations_fault() -> None:
    error = await outcome(stored(), access_key=Secret("AKIA-OURS\r"))
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NOT_AUTHORIZED
    assert "access_key" in error.detail
    assert "AKIA" not in error.detail


async def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with scripted(stored(), tls=ours.server_context()) as server:
        async with destination(server.url, tls=Tls(ca=ours.ca)) as out:
            await out.deliver(delivery(BODY))
        async with destination(server.url) as out:
            with pytest.raises(DestinationDownError, match="certificate is not trusted"):
                await out.deliver(delivery(BODY))
    assert len(server.requests) == 1


# -- the probe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [[http(200)], [http(403), refusal(403, "AccessDenied")]])
async def test_a_probe_puts_nothing(script: list[Script]) -> None:
    async with scripted(*script) as server, destination(server.url) as out:
        await out.probe()
    assert {request.line.split(" ")[0] for request in server.requests} <= {"HEAD", "GET"}
    for request in server.requests:
        check_signature(request)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([http(404)], ReasonCode.WRONG_ADDRESS),
        ([http(301)], ReasonCode.WRONG_ADDRESS),
        ([http(503)], ReasonCode.BUSY),
        ([http(403), refusal(403, "SignatureDoesNotMatch")], ReasonCode.NOT_AUTHORIZED),
    ],
)
async def test_a_failed_probe_says_why(script: list[Script], reason: ReasonCode) -> None:
    async with scripted(*script) as server, destination(server.url) as out:
        with pytest.raises(TransientDeliveryError) as caught:
            await out.probe()
    assert caught.value.reason is reason


# -- names and settings ------------------------------------------------------------------------------------------


def test_the_bucket_stands_in_the_path_or_before_the_host() -> None:
    assert bucket_address(Settings(endpoint="https://s3.example.org:9000")) == "https://s3.example.org:9000/lab-archive"
    host = Settings(endpoint="https://s3.example.org:9000", address="host")
    assert bucket_address(host) == "https://lab-archive.s3.example.org:9000"


def test_nothing_in_a_name_needs_encoding() -> None:
    name = object_name("results/", delivery(BODY, channel="a/b c%#?ä"))
    assert name == "results/2026/03/01/a_b_c____/0000004711-3f9c2a7e51d04b860123456789abcdef"


async def test_it_is_built_from_the_models_that_read_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LR_ID", ACCESS_KEY)
    monkeypatch.setenv("LR_KEY", SECRET_KEY)
    async with scripted(stored()) as server:
        config = TypeAdapter(destination_type()).validate_python(
            {
                "kind": "s3",
                "endpoint": server.url.removesuffix("fhir"),
                "bucket": "lab-archive",
                "region": "ap-south-1",
                "access_key": "${LR_ID}",
                "secret_key": "${LR_KEY}",
            }
        )
        assert isinstance(config, S3Destination)
        out = s3_out.build("archive", config, ManualClock())
        await out.start()
        await out.deliver(delivery(BODY))
        await out.close()
    check_signature(server.requests[0])
