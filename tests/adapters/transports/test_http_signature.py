"""Signed requests: each kind of sender, a wrong or old signature, a replay, and a sender that repeats rightly."""

import asyncio
import base64
import hmac
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.codecs.text.whole_link import ACK
from adapters.transports import http, http_auth
from adapters.transports.http_post import Post
from engine.model.link_events import LinkFault
from engine.model.process.clock import ManualClock
from engine.model.texts.units import HostPort
from tests.support.http_sender import HOST, Response, post, said, sender
from tests.support.waiting import until

SECRET = b"whsec-5f8a"
BODY = b'{"event":"payment.captured","amount":150000}'
NOW = int(ManualClock().now().timestamp())
SIGNED_WITH_TIME = {"timestamp": "X-Time", "signed": "{timestamp}.{body}"}


def digest(text: bytes, secret: bytes = SECRET, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret, text, algorithm).digest()


class Channel:
    """Stores each message, and answers when it is let."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.faults: list[str] = []
        self.stores = True
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, stream: Post) -> None:
        self.read.append(await stream.read())
        await self.go.wait()
        if self.stores:
            stream.unanswered.append(len(self.read))
            await stream.write(ACK)

    def turned_away(self, fault: LinkFault, peer: str) -> None:
        self.faults.append(fault.kind)


@asynccontextmanager
async def listening(channel: Channel, clock: ManualClock | None = None, **signature: object) -> AsyncIterator[int]:
    class Secret:
        def reveal(self) -> str:
            return SECRET.decode()

    usual = {
        "secret": Secret(), "signature": "X-Signature", "timestamp": None, "signed": "{body}",
        "algorithm": "sha256", "encoding": "hex", "prefix": "", "window": 300.0,
    }  # fmt: skip
    source: Any = SimpleNamespace(
        format="hl7v2", listen=HostPort(HOST, 0), path="/", allow=(), tls=None, max_connections=8, max_message=10_000,
        request_timeout=60.0, auth=SimpleNamespace(bearer=None, hmac=SimpleNamespace(**{**usual, **signature})),
    )  # fmt: skip
    listener = http.HttpListener(source, channel, channel.turned_away, clock or ManualClock())
    port = await listener.start()
    try:
        yield port
    finally:
        channel.go.set()
        await listener.stop(5.0)


def signed(at: int = NOW, body: bytes = BODY, **headers: str) -> bytes:
    signature = digest(b"%d.%b" % (at, body)).hex()
    return post(body, **{"X_Time": str(at), "X_Signature": signature, **headers})


async def status_of(port: int, request: bytes) -> int:
    answer = await said(port, request)
    assert answer is not None
    return answer.status


# -- kinds of senders ------------------------------------------------------------------------------------------------

HEX = digest(BODY).hex()
ID_TEXT = b"msg_1.%d.%b" % (NOW, BODY)
SENDERS: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "body in hex": ({}, {"X_Signature": HEX}),
    "capital hex": ({}, {"X_Signature": HEX.upper()}),
    "with a prefix": ({"prefix": "sha256="}, {"X_Signature": f"sha256={HEX}"}),
    "a header of its own": ({"signature": "X-Razorpay-Signature"}, {"x_razorpay_signature": HEX}),
    "base64": ({"encoding": "base64"}, {"X_Signature": base64.b64encode(digest(BODY)).decode()}),
    "sha512": ({"algorithm": "sha512"}, {"X_Signature": digest(BODY, algorithm="sha512").hex()}),
    "time and body": (
        SIGNED_WITH_TIME, {"X_Time": str(NOW), "X_Signature": digest(b"%d.%b" % (NOW, BODY)).hex()}),
    "milliseconds": (
        {"timestamp": "X-Time", "signed": "{timestamp}{body}", "encoding": "base64"},
        {"X_Time": f"{NOW}123", "X_Signature": base64.b64encode(digest(b"%d123%b" % (NOW, BODY))).decode()}),
    "id, time and body, two signatures": (
        {"signature": "webhook-signature", "timestamp": "webhook-timestamp", "prefix": "v1,", "encoding": "base64",
         "signed": "{webhook-id}.{timestamp}.{body}"},
        {"webhook_id": "msg_1", "webhook_timestamp": str(NOW),
         "webhook_signature": f"v1,AAAA v2,x v1,{base64.b64encode(digest(ID_TEXT)).decode()}"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SENDERS)
async def test_each_kind_of_signature_lets_its_sender_in_and_no_other(name: str) -> None:
    settings, headers = SENDERS[name]
    channel = Channel()
    async with listening(channel, **settings) as port:
        assert await status_of(port, post(BODY + b" ", **headers)) == 401
        assert await status_of(port, post(BODY)) == 401
        assert await status_of(port, post(BODY, **headers)) == 200
    assert channel.read == [BODY]
    assert channel.faults == ["unauthorized"] * 2


REFUSED: dict[str, bytes] = {
    "another secret": post(BODY, X_Time=str(NOW), X_Signature=digest(b"%d.%b" % (NOW, BODY), b"no").hex()),
    "the time not signed": post(BODY, X_Time=str(NOW), X_Signature=HEX),
    "another time than the signed one": signed(X_Time=str(NOW + 1)),
    "an old time": signed(NOW - 301),
    "a time to come": signed(NOW + 301),
    "no time": signed(X_Time=""),
    "a time that is none": signed(X_Time="yesterday"),
    "a time of many digits": signed(X_Time="9" * 400),
    "a time in other digits": signed(X_Time="١٢٣".encode().decode("latin-1")),
    "no signature": signed(X_Signature=""),
    "an empty signature": signed(X_Signature=" "),
    "a part of the signature": signed(X_Signature=digest(b"%d.%b" % (NOW, BODY)).hex()[:32]),
    "two times": signed().replace(b"Host", b"X-Time: 1\r\nHost"),
    "two signatures": signed().replace(b"Host", b"X-Signature: 1\r\nHost"),
    "the ninth signature": signed(X_Signature=" ".join(["x"] * 8 + [digest(b"%d.%b" % (NOW, BODY)).hex()])),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_proves_nothing_is_refused(name: str) -> None:
    channel = Channel()
    async with listening(channel, **SIGNED_WITH_TIME) as port:
        answer = await said(port, REFUSED[name])
        assert answer is not None
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "HMAC")
        assert HEX[:8] not in answer.body.decode()
        assert await status_of(port, signed()) == 200
    assert channel.read == [BODY]
    assert channel.faults == ["unauthorized"]


@pytest.mark.parametrize(
    "request_",
    [
        signed(NOW - 900, b""),
        signed(X_Signature=""),
        signed(X_Signature="x" * 64),
        signed(X_Signature="ab" * 31),
        signed(X_Signature="é" * 64),
        signed(X_Time=""),
    ],
)
async def test_the_head_is_looked_at_before_the_body_is_read(request_: bytes) -> None:
    head = request_.partition(b"\r\n\r\n")[0].replace(b"Content-Length: 0", b"Content-Length: 9000") + b"\r\n\r\n"
    async with listening(Channel(), **SIGNED_WITH_TIME) as port:
        assert await status_of(port, head) == 401


@pytest.mark.parametrize("off", [-299, 299])
async def test_clocks_may_differ_by_the_window(off: int) -> None:
    async with listening(Channel(), **SIGNED_WITH_TIME) as port:
        assert await status_of(port, signed(NOW + off)) == 200


# -- the same request once more --------------------------------------------------------------------------------------


async def test_a_replay_is_refused_for_as_long_as_its_time_is_good() -> None:
    channel, clock = Channel(), ManualClock()
    async with listening(channel, clock, **SIGNED_WITH_TIME) as port:
        ahead = signed(NOW + 299)  # a sender whose clock is ahead: good for two windows
        assert await status_of(port, ahead) == 200
        for _ in range(3):
            assert await status_of(port, ahead) == 409
            clock.advance(199)
        assert await status_of(port, ahead) == 409
        clock.advance(10)
        assert await status_of(port, ahead) == 401
    assert channel.read == [BODY]
    assert channel.faults == ["replayed"] * 4 + ["unauthorized"]


async def test_a_sender_that_signs_each_attempt_anew_is_answered_each_time() -> None:
    channel, clock = Channel(), ManualClock()
    async with listening(channel, clock, **SIGNED_WITH_TIME) as port:
        for at in range(3):
            assert await status_of(port, signed(NOW + at)) == 200
            clock.advance(1)
    assert channel.read == [BODY] * 3  # the journal notices the repeat


async def test_a_sender_without_a_time_is_answered_each_time() -> None:
    channel = Channel()
    async with listening(channel) as port:
        for _ in range(3):
            assert await status_of(port, post(BODY, X_Signature=HEX)) == 200
    assert channel.read == [BODY] * 3


async def test_a_request_that_was_not_stored_may_come_again() -> None:
    channel = Channel()
    channel.stores = False
    async with listening(channel, **SIGNED_WITH_TIME) as port:
        assert await status_of(port, signed()) == 503
        channel.stores = True
        assert await status_of(port, signed()) == 200
        assert await status_of(port, signed()) == 409


async def test_a_signed_request_without_a_message_is_refused_each_time() -> None:
    channel = Channel()
    async with listening(channel, **SIGNED_WITH_TIME) as port:
        for _ in range(2):
            assert await status_of(port, signed(body=b"")) == 422
    assert (channel.read, channel.faults) == ([], ["bad-request"] * 2)


async def test_a_request_without_its_answer_may_come_again() -> None:
    channel = Channel()
    channel.go.clear()
    async with listening(channel, **SIGNED_WITH_TIME) as port:
        async with sender(port) as one:
            await one.write(signed())
            await until(lambda: len(channel.read) == 1)
            one.writer.transport.abort()
            await one.ended()
        channel.go.set()
        assert await until_other_than(503, port) == 200
        assert await status_of(port, signed()) == 409


async def until_other_than(status: int, port: int) -> int:
    """The status of the signed request once it is no longer that of one under way."""
    async with asyncio.timeout(240.0):
        while (found := await status_of(port, signed())) == status:
            pass
    return found


async def test_of_two_at_the_same_time_one_is_taken() -> None:
    channel = Channel()
    channel.go.clear()
    async with listening(channel, **SIGNED_WITH_TIME) as port, sender(port) as one:
        await one.write(signed())
        await until(lambda: len(channel.read) == 1)
        other: Response | None = await said(port, signed())
        assert other is not None
        assert (other.status, other.headers["retry-after"]) == (503, "1")
        channel.go.set()
        answer = await one.response()
        assert answer is not None
        assert answer.status == 200
    assert channel.read == [BODY]


async def test_a_sender_that_has_ended_its_half_has_taken_its_answer() -> None:
    async with listening(Channel(), **SIGNED_WITH_TIME) as port:
        async with sender(port) as one:
            one.writer.write(signed())
            one.writer.write_eof()
            answer = await one.response()
            assert answer is not None
            assert answer.status == 200
        assert await status_of(port, signed()) == 409


async def test_used_signatures_are_forgotten_in_time_and_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_auth, "MAX_USED", 3)
    clock = ManualClock()
    settings: Any = SimpleNamespace(
        secret=SimpleNamespace(reveal=SECRET.decode), signature="X-Signature", algorithm="sha256", encoding="hex",
        prefix="", window=300.0, **SIGNED_WITH_TIME,
    )  # fmt: skip
    check = http_auth.SignatureCheck(settings, clock)
    numbers = itertools.count()

    class Headers:
        def __init__(self, at: int) -> None:
            text = digest(b"%d.%b" % (NOW, b"%d" % at)).hex()
            self.shown = {"X-Time": [str(NOW)], "X-Signature": [text]}

        def getall(self, key: str, default: list[str]) -> list[str]:
            return self.shown.get(key, default)

    for _ in range(5):
        at = next(numbers)
        check.over(check.body(Headers(at), b"%d" % at), taken=True)
    assert len(check._used) == 3
    clock.advance(601)
    at = next(numbers)
    check.over(check.body(Headers(at), b"%d" % at), taken=True)
    assert len(check._used) == 1
    assert check._under_way == set()


async def test_bodies_of_one_address_leave_room_for_other_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "UNPROVEN_BYTES", 10_000)
    channel = Channel()
    async with listening(channel) as port, sender(port) as stranger:
        looks_right = {"X_Signature": HEX, "Expect": "100-continue"}
        await stranger.write(post(b"x" * 6_000, Content_Length="9000", **looks_right))
        assert await stranger.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        body = b"y" * 6_000
        assert await status_of(port, post(body, X_Signature=digest(body).hex())) == 503
        async with sender(port, source="127.0.0.2") as other:
            await other.write(post(body, X_Signature=digest(body).hex()))
            answer = await other.response()
            assert answer is not None
            assert answer.status == 200
        await stranger.write(b"x" * 3_000)
        answer = await stranger.response()
        assert answer is not None
        assert answer.status == 401
        assert await status_of(port, post(body, X_Signature=digest(body).hex())) == 200  # its room is free again
    assert channel.faults == ["memory", "unauthorized"]


# addresses that are one sender, or not
ORIGINS = [
    ("10.1.2.3", "10.1.2.3", True),
    ("10.1.2.3", "10.1.2.4", False),
    ("10.1.2.3", "::ffff:10.1.2.3", True),
    ("2001:db8:1:2::7", "2001:db8:1:2:ffff::1", True),
    ("2001:db8:1:2::7", "2001:db8:1:3::7", False),
    ("fe80::1%eth0", "fe80::2", True),
    ("", "10.1.2.3", False),
]


@pytest.mark.parametrize(("one", "other", "same"), ORIGINS)
def test_addresses_of_one_sender(one: str, other: str, same: bool) -> None:
    assert (http.origin_of(one) == http.origin_of(other)) is same


def test_room_is_never_less_than_a_message_and_all_of_it_comes_back() -> None:
    most = http.UNFINISHED_BYTES
    bodies = http.UnfinishedBodies(most + 1)
    assert bodies.hold(most + 1, "a")
    assert not bodies.hold(1, "b")
    bodies.release(most + 1, "a")
    assert bodies.hold(most + 1, "")
