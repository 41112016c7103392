"""The other side of each kind of destination: real, and on this machine.

A kind joins the suite by a function here with `counterpart`, which declares what the kind has: TLS, secrets that may go
in clear, a bound on answers. `First` says how it answers the first document; it takes every later one.
"""

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from adapters.clients.http.exchange import MAX_ANSWER_BYTES
from adapters.destinations import mllp_out
from adapters.destinations.file_out import file_name
from engine.model.errors import TransientDeliveryError
from engine.model.message import Delivery
from engine.model.spans import TRACEPARENT
from engine.model.texts.reasons import ReasonCode
from tests.support import kafka_peer
from tests.support.deliveries import delivery, put, transaction, transaction_response
from tests.support.mllp_peer import CLOSE as HANG_UP
from tests.support.mllp_peer import SILENCE as SAY_NOTHING
from tests.support.mllp_peer import ack, mllp_peer
from tests.support.mqtt_peer import ACK, CLOSE, DROP, mqtt_peer
from tests.support.scripted_http import RESET, SILENCE, Script, http, scripted

PATIENT = ("Zebedee", "QUAINT")
SECRET = "hunter2"
IN_ANSWERS = f"no patient {' '.join(PATIENT)} here"


class First(Enum):
    """The end of the first document.

    A kind without answers fails in the writing itself: with an error for CUT; for SILENCE and STALL, which are alike to
    it, with a write that does not end (`_file`).
    """

    TAKEN = auto()
    CUT = auto()  # the connection ends in the middle of the answer
    SILENCE = auto()  # no answer, and the connection stays
    STALL = auto()  # an answer that begins and does not end
    ECHO = auto()  # a refusal for now, in words that name the patient
    FLOOD = auto()  # an answer over the bound of the kind, which does not end


def _nothing() -> None:
    """The script goes on by itself."""


@dataclass(frozen=True, kw_only=True)
class Counterpart:
    """One that is there.

    Attributes:
        keys: of its entry in ``destinations:``, beside ``kind``; a secret is ``${SECRET}``.
        where: the address that a person must see.
        sent: a document that it takes, with the name of a `PATIENT`.
        arrived: how many documents have come, those that were not taken too, and no TLS hello. A folder counts none: 1.
        check: raises unless the first document came as the keys say.
        go_on: end the silence or the fault of the first document.
        take: what keeps the documents of a kind that sends none itself, while it is there.
    """

    keys: dict[str, Any]
    where: str
    sent: Delivery
    arrived: Callable[[], int]
    check: Callable[[], None]
    go_on: Callable[[], None] = field(default=_nothing)
    take: Callable[[], Callable[[Delivery], Awaitable[None]] | None] = field(default=lambda: None)


Made = Callable[[First, Path, ssl.SSLContext | None], AsyncIterator[Counterpart]]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a kind of destination has, of that which all kinds are asked for.

    A text in the place of one of these says why the kind has none; the suite compares that with its model.

    Attributes:
        tls: whether it may speak TLS. The counterpart then does so with the context that it gets.
        in_clear: keys that take the place of the counterpart's, so that secrets or results go to another machine in
            clear; and keys that then put TLS in between.
        bound: bytes of an answer that are read at most.
    """

    made: Callable[..., AbstractAsyncContextManager[Counterpart]]
    tls: bool | str
    in_clear: tuple[dict[str, Any], dict[str, Any]] | str
    bound: int | str


COUNTERPARTS: dict[str, Kind] = {}


def counterpart(kind: str, **has: Any) -> Callable[[Made], None]:
    """``has``: the declarations of `Kind`."""

    def kept(made: Made) -> None:
        COUNTERPARTS[kind] = Kind(made=asynccontextmanager(made), **has)

    return kept


def _http_script(first: First, taken: bytes) -> list[Script]:
    steps: dict[First, list[Script]] = {
        First.TAKEN: [],
        First.CUT: [(http(200, b"never whole")[:-1], RESET)],
        First.SILENCE: [SILENCE],
        First.STALL: [(http(200, b"never whole")[:-1], SILENCE)],
        First.ECHO: [http(503, IN_ANSWERS.encode())],
        First.FLOOD: [(b"HTTP/1.1 503 Scripted\r\n\r\n", b"x" * (MAX_ANSWER_BYTES + 1), SILENCE)],
    }
    return [*steps[first], taken]


HTTP = {"tls": True, "bound": MAX_ANSWER_BYTES}


@counterpart("fhir", **HTTP, in_clear=({"url": "http://lab/fhir"}, {"url": "https://lab/fhir"}))
async def _fhir(first: First, folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[Counterpart]:
    sent = transaction(put("Patient", "p", name=[{"given": [PATIENT[0]], "family": PATIENT[1]}]))
    async with scripted(*_http_script(first, http(200, transaction_response("201"))), tls=tls) as server:

        def check() -> None:
            request = server.requests[0]
            assert request.headers.get("traceparent", "") == TRACEPARENT.get()
            assert (request.line, request.content) == ("POST /fhir HTTP/1.1", sent)
            assert request.headers["authorization"] == "Basic bGFiOmh1bnRlcjI="

        yield Counterpart(
            keys={
                "url": f"{server.url}/",
                "auth": {"basic": {"user": "lab", "password": "${SECRET}"}},
                "gzip": "true",
            },
            where=server.url,
            sent=delivery(sent),
            arrived=lambda: len(server.requests),
            check=check,
        )


@counterpart("http", **HTTP, in_clear=({"url": "http://lab/results"}, {"url": "https://lab/results"}))
async def _http(first: First, folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[Counterpart]:
    async with scripted(*_http_script(first, http(204)), tls=tls) as server:

        def check() -> None:
            assert server.requests[0].headers.get("traceparent", "") == TRACEPARENT.get()
            assert server.requests[0].line == "PUT /fhir HTTP/1.1"
            assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"

        yield Counterpart(
            keys={"url": server.url, "method": "PUT", "auth": {"bearer": {"token": "${SECRET}"}}},
            where=server.url,
            sent=delivery(" ".join(PATIENT).encode()),
            arrived=lambda: len(server.requests),
            check=check,
        )


@counterpart(
    "mllp",
    tls=True,
    in_clear="it sends no secret, and MLLP within a hospital's own network is in clear nearly everywhere",
    bound=mllp_out.MAX_ANSWER_BYTES,
)
async def _mllp(first: First, folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[Counterpart]:
    message = f"MSH|^~\\&|LAB|LAB|LIS|HOSP|20260301||ORU^R01|1|P|2.5\rPID|1||7||{PATIENT[1]}^{PATIENT[0]}\r".encode()
    steps = {
        First.TAKEN: ack(),
        First.CUT: (ack()[:30], HANG_UP),
        First.SILENCE: SAY_NOTHING,
        First.STALL: (ack()[:30], SAY_NOTHING),
        First.ECHO: ack("AE", "{id}", f"ERR||PID^1^5|204|E||||{IN_ANSWERS}"),
        First.FLOOD: (ack()[:30], b"x" * mllp_out.MAX_ANSWER_BYTES, SAY_NOTHING),
    }
    async with mllp_peer(steps[first], ack(), tls=tls) as peer:

        def check() -> None:
            assert peer.messages[0] == message

        yield Counterpart(
            keys={"connect": f"127.0.0.1:{peer.port}"},
            where=f"127.0.0.1:{peer.port}",
            sent=delivery(message, media_type="x-application/hl7-v2+er7"),
            arrived=lambda: len(peer.messages),
            check=check,
        )


@counterpart(
    "mqtt",
    tls=True,
    in_clear=({"connect": "broker:1883"}, {"connect": "broker:8883", "tls": {}}),
    bound="Paho reads each packet in the length that it names, which MQTT ends at 256 MiB",
)
async def _mqtt(first: First, folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[Counterpart]:
    reason = b"\x1f" + len(IN_ANSWERS).to_bytes(2, "big") + IN_ANSWERS.encode()  # the reason string of a PUBACK
    refusal = b"\x00\x01\x80" + bytes((len(reason),)) + reason  # of packet 1, for an unspecified error
    steps = {
        First.TAKEN: ACK,
        First.CUT: CLOSE,
        First.SILENCE: DROP,
        First.STALL: b"\x40\x03\x00",
        First.ECHO: b"\x40" + bytes((len(refusal),)) + refusal,
    }
    async with mqtt_peer(steps[first], ACK, tls=tls) as peer:

        def check() -> None:
            assert (peer.connects[0].user, peer.connects[0].password) == ("lab", SECRET)
            assert peer.published[0].topic == "lab/lab-fhir"

        yield Counterpart(
            keys={
                "connect": f"127.0.0.1:{peer.port}",
                "client_id": "labrelay-main",
                "topic": "lab/{destination}",
                "auth": {"basic": {"user": "lab", "password": "${SECRET}"}},
            },
            where=f"127.0.0.1:{peer.port}",
            sent=delivery(" ".join(PATIENT).encode()),
            arrived=lambda: len(peer.published),
            check=check,
        )


@counterpart(
    "kafka",
    tls=True,
    in_clear=({"connect": ["broker:9092"]}, {"connect": ["broker:9093"], "tls": {}}),
    bound="librdkafka ends a connection whose answer is over receive.message.max.bytes (100 MB)",
)
async def _kafka(first: First, folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[Counterpart]:
    not_enough_replicas = 19
    faults = {
        First.TAKEN: None,
        First.CUT: kafka_peer.CUT,
        First.SILENCE: kafka_peer.SILENCE,
        First.STALL: kafka_peer.STALL,
        First.ECHO: not_enough_replicas,
    }
    async with kafka_peer.kafka_peer(tls, fault=faults[first]) as peer:

        def check() -> None:
            taken = peer.kept[0]
            assert (taken.key, taken.value) == ("city-lab/chemistry", " ".join(PATIENT).encode())
            assert taken.headers["Idempotency-Key"] == sent.key

        sent = delivery(" ".join(PATIENT).encode())
        yield Counterpart(
            keys={
                "connect": [f"127.0.0.1:{peer.port}"],
                "topic": peer.topic,
                "gateway": "city-lab",
                "timeout": "6s",  # the library tries again for as long
            },
            where=f"127.0.0.1:{peer.port}/{peer.topic}",
            sent=sent,
            arrived=lambda: len(peer.came),
            check=check,
            go_on=peer.go_on,
        )


@counterpart("s3", **HTTP, in_clear=({"endpoint": "http://store"}, {"endpoint": "https://store"}))
async def _s3(first: First, folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[Counterpart]:
    sent = " ".join(PATIENT).encode()
    taken = http(200, b"", f'ETag: "{hashlib.md5(sent).hexdigest()}"')
    async with scripted(*_http_script(first, taken), tls=tls) as server:
        endpoint = server.url.removesuffix("/fhir")

        def check() -> None:
            assert server.requests[0].headers.get("traceparent", "") == TRACEPARENT.get()
            assert server.requests[0].line.startswith("PUT /lab-archive/results/2026/03/01/chemistry/0000004711-")
            assert f"Credential={SECRET}/" in server.requests[0].headers["authorization"]

        yield Counterpart(
            keys={
                "endpoint": endpoint,
                "bucket": "lab-archive",
                "prefix": "results/",
                "access_key": "${SECRET}",
                "secret_key": "${SECRET}",
            },
            where=f"{endpoint}/lab-archive/results/",
            sent=delivery(sent),
            arrived=lambda: len(server.requests),
            check=check,
        )


@counterpart(
    "file",
    tls="it writes into a folder of this machine",
    in_clear="nothing of it leaves this machine",
    bound="a folder gives no answers",
)
async def _file(first: First, folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[Counterpart]:
    """A pipe that nothing reads is a drive that hangs; a folder in the way of the file breaks the writing of it."""
    out = folder / "drive" / "out"
    sent = delivery(" ".join(PATIENT).encode())
    hidden = out / f".{file_name(sent)}.part"
    out.mkdir(parents=True)
    if first in (First.SILENCE, First.STALL):
        os.mkfifo(hidden)
    elif first is not First.TAKEN:
        hidden.mkdir()

    def check() -> None:
        assert [path.read_bytes() for path in out.iterdir()] == [sent.body]

    def go_on() -> None:
        if hidden.is_fifo():
            reader = os.open(hidden, os.O_RDONLY | os.O_NONBLOCK)
            hidden.unlink(missing_ok=True)  # the writer may have taken it away
            os.close(reader)
        elif hidden.is_dir():
            hidden.rmdir()

    try:
        yield Counterpart(
            keys={"folder": str(out)}, where=str(out), sent=sent, arrived=lambda: 1, check=check, go_on=go_on
        )
    finally:
        go_on()
    out.rename(folder / "unplugged")
    out.parent.rmdir()
    out.parent.write_text("no drive here any more")


@counterpart(
    "abdm",
    tls="a document is kept in this process, and engine.features.abdm alone sends it",
    in_clear=({"gateway": "http://gateway.example.org"}, {"gateway": "https://gateway.example.org"}),
    bound="this process gives no answers",
)
async def _abdm(first: First, folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[Counterpart]:
    sent = delivery(" ".join(PATIENT).encode())
    came: list[Delivery] = []
    goes_on = asyncio.Event()
    is_there = True

    async def take(one: Delivery) -> None:
        came.append(one)
        if first in (First.SILENCE, First.STALL) and len(came) == 1:
            await goes_on.wait()
        elif first is not First.TAKEN and not goes_on.is_set():
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, "the journal takes nothing")

    def check() -> None:
        assert came[0] is sent

    there = Counterpart(
        keys={
            "environment": "sbx",
            "gateway": "http://127.0.0.1:9",
            "client_id": "SBX_000001",
            "client_secret": "${SECRET}",
            "facilities": {"IN0000000001": {"name": "Made-up Laboratory"}},
            "callbacks": {"url": "http://127.0.0.1:9/abdm", "listen": "127.0.0.1:0"},
        },
        where="http://127.0.0.1:9",
        sent=sent,
        arrived=lambda: len(came),
        check=check,
        go_on=goes_on.set,
        take=lambda: take if is_there else None,
    )
    yield there
    is_there = False
