"""The transport of HTTP on real sockets: which requests reach the channel, and what each sender is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.codecs import json_tree
from adapters.codecs.text.whole_link import ACK, NAK
from adapters.transports import http
from adapters.transports.http_post import Post
from engine.model.errors import ConfigError
from engine.model.link_events import LinkFault
from engine.model.texts.units import HostPort
from tests.support.certificates import Authority
from tests.support.http_sender import HL7_TYPE, HOST, post, said, sender
from tests.support.waiting import until

BODY = b"MSH|^~\\&|A|L|R|L|20260301101530||ORU^R01|7|P|2.5\r"
AA = b"MSH|^~\\&|R|L|A|L|20260301101531||ACK|1|P|2.5\rMSA|AA|7\r"


class Channel:
    """Stands for the channel: notes each body, numbers it and answers as it is told."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers or (AA, ACK)
        self.read: list[bytes] = []
        self.faults: list[str] = []
        self.posts: list[Post] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, stream: Post) -> None:
        self.posts.append(stream)
        self.read.append(await stream.read())
        assert await stream.read(0.0) == b""
        await self.go.wait()
        if ACK in self.answers:
            stream.unanswered.append(len(self.read))
        with contextlib.suppress(OSError):  # as the channel does
            for answer in self.answers:
                await stream.write(answer)
        await stream.close()

    def turned_away(self, fault: LinkFault, peer: str) -> None:
        assert peer.startswith(HOST)
        self.faults.append(fault.kind)


class Token:
    """A secret that may be missing."""

    def __init__(self, value: str = "s3cret") -> None:
        self.value = value

    def reveal(self) -> str:
        return self.value


def bearer(value: str = "s3cret") -> Any:
    return SimpleNamespace(bearer=SimpleNamespace(token=Token(value)), hmac=None)


@asynccontextmanager
async def listening(channel: Channel, *, paused: bool = False, **changes: object) -> AsyncIterator[int]:
    usual = {
        "format": "hl7v2", "listen": HostPort(HOST, 0), "path": "/", "allow": (), "tls": None, "auth": None,
        "max_connections": 8, "max_message": 10_000, "request_timeout": 60.0,
    }  # fmt: skip
    source: Any = SimpleNamespace(**{**usual, **changes})
    listener = http.build(source, channel, channel.turned_away, paused=paused)
    port = await listener.start()
    try:
        yield port
    finally:
        channel.go.set()
        await listener.stop(5.0)


# -- what each sender is told ----------------------------------------------------------------------------------------

CHUNKED = {"Transfer_Encoding": "chunked", "Content_Length": ""}
# request, status, fault counted; only 200 reaches the channel
REQUESTS: dict[str, tuple[bytes, int, str]] = {
    "a message": (post(BODY), 200, ""),
    "its type with a character set": (post(BODY, Content_Type="application/hl7-v2; charset=utf-8"), 200, ""),
    "plain text": (post(BODY, Content_Type="text/plain"), 200, ""),
    "no type": (post(BODY, Content_Type=""), 200, ""),
    "in chunks": (post(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), **CHUNKED), 200, ""),
    "nothing": (post(b""), 422, "bad-request"),
    "nothing, of no length": (post(b"", Content_Length=""), 422, "bad-request"),
    "nothing, in chunks": (post(b"0\r\n\r\n", **CHUNKED), 422, "bad-request"),
    "another type": (post(BODY, Content_Type="application/pdf"), 415, "bad-request"),
    "compressed": (post(BODY, Content_Encoding="gzip"), 415, "bad-request"),
    "another path": (post(BODY, "/else"), 404, "bad-request"),
    "a look": (post(b"", method="GET"), 405, "bad-request"),
    "a deletion": (post(b"", method="DELETE"), 405, "bad-request"),
    "a page in a browser": (post(BODY, Origin="https://evil.example", Content_Type="text/plain"), 403, "browser"),
    "a page of this machine": (post(BODY, Sec_Fetch_Site="same-origin"), 403, "browser"),
    "too large by its own word": (post(b"", Content_Length="10001"), 413, "too-large"),
    "too large in chunks": (post(b"2711\r\n" + b"x" * 10_001, **CHUNKED), 413, "too-large"),
    "two lengths": (post(BODY, Transfer_Encoding="chunked"), 400, "bad-request"),
    "length twice": (post(BODY).replace(b"Host", b"Content-Length: 3\r\nHost"), 400, "bad-request"),
    "negative length": (post(b"", Content_Length="-1"), 400, "bad-request"),
    "gzip, then chunks": (
        post(b"0\r\n\r\n", Transfer_Encoding="gzip, chunked", Content_Length=""), 400, "bad-request"),
    "chunks of no size": (post(b"zz\r\n\r\n", **CHUNKED), 400, "bad-request"),
    "HTTP/0.9": (b"POST /\r\n\r\n", 505, "bad-request"),
    "HTTP/9.9": (post(BODY).replace(b"HTTP/1.1", b"HTTP/9.9"), 400, "bad-request"),
    "a long header": (post(BODY, X="x" * 20_000), 400, "bad-request"),
    "many headers": (post(BODY, **{f"X{n}": "1" for n in range(200)}), 400, "bad-request"),
    "a header in two lines": (post(BODY).replace(b"lab\r\n", b"lab\r\n folded\r\n"), 400, "bad-request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400, "bad-request"),
    "MLLP": (b"\x0b" + BODY + b"\x1c\r", 400, "bad-request"),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
async def test_each_request_is_taken_or_told_why_not(name: str) -> None:
    request, status, fault = REQUESTS[name]
    channel = Channel()
    async with listening(channel) as port:
        answer = await said(port, request)
        assert answer is not None
        assert answer.status == status
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json["status"] == status
            assert "MSH" not in answer.body.decode()
        assert channel.read == ([BODY] if status == 200 else [])
        assert channel.faults == ([fault] if fault else [])
        # and the next sender is served as ever
        after = await said(port, post(BODY))
        assert after is not None
        assert after.status == 200


async def test_a_request_that_hides_another_one_is_refused_whole() -> None:
    channel = Channel()
    hidden = b"0\r\n\r\n" + post(BODY)
    async with listening(channel) as port, sender(port) as one:
        await one.write(post(hidden, Transfer_Encoding="chunked"))
        first = await one.response()
        assert first is not None
        assert first.status == 400
        assert await one.response() is None
    assert channel.read == []


# channel's answers, Accept -> status, type, what the body has
ANSWERS: dict[str, tuple[tuple[bytes, ...], str, int, str, bytes]] = {
    "accepted": ((AA, ACK), "", 200, HL7_TYPE, AA),
    "accepted, any type": ((AA, ACK), "text/html, */*;q=0.1", 200, HL7_TYPE, AA),
    "accepted, JSON wanted": ((AA, ACK), "application/json", 200, "application/json", b'{"messages": [1]}'),
    "no answer in HL7": ((ACK,), "", 200, "application/json", b'{"messages": [1]}'),
    "not delivered in time": ((AA.replace(b"AA", b"AE"), ACK), "", 503, HL7_TYPE, b"MSA|AE"),
    "not delivered, JSON wanted": (
        (AA.replace(b"AA", b"AE"), ACK), "application/json", 503, "application/problem+json", b"not delivered in time"),
    "cannot be read": ((AA.replace(b"AA", b"AR"), ACK), "", 422, HL7_TYPE, b"MSA|AR"),
    "no message in it": ((NAK,), "", 422, "application/problem+json", b"no whole message"),
    "not stored": ((b"",), "", 503, "application/problem+json", b"could not be stored"),
    "not stored, told so": ((AA.replace(b"AA", b"AE"),), "", 503, HL7_TYPE, b"MSA|AE"),
    "a batch of answers": ((b"BHS|^~\\&\r" + AA + b"BTS|1\r", ACK), "", 200, HL7_TYPE, b"BTS|1"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_channels_answer_becomes_the_response(name: str) -> None:
    answers, accept, status, media_type, words = ANSWERS[name]
    async with listening(Channel(*answers)) as port, sender(port) as one:
        answer = await one.post(BODY, Accept=accept)
        assert answer is not None
        assert (answer.status, answer.headers["content-type"]) == (status, media_type)
        assert words in answer.body
        assert ("retry-after" in answer.headers) == (status == 503)
        assert answer.headers.get("labrelay-message") == ("1" if ACK in answers else None)


JSON = '{"a": [1, "x"]}'
# body, format, status: bytes that are stored and cannot be read are not answered as taken
BODIES: dict[str, tuple[bytes, str, int]] = {
    "an object": (JSON.encode(), "json", 200),
    "with a byte order mark": (b"\xef\xbb\xbf" + JSON.encode(), "json", 200),
    "a resource": (b'{"resourceType": "Patient"}', "fhir", 200),
    "cut off": (JSON.encode()[:-1], "json", 422),
    "a resource cut off": (b'{"resourceType": "Patient"', "fhir", 422),
    "two of them": (JSON.encode() * 2, "json", 422),
    "a number": (b"1", "json", 422),
    "HL7": (BODY, "json", 422),
    "another character set": (JSON.encode("utf-16"), "json", 422),
    "a name twice": (b'{"a": 1, "a": 2}', "json", 422),
    "no number": (b'{"a": NaN}', "json", 422),
    "too deep": (b"[" * 70 + b"]" * 70, "json", 422),
    "deeper than Python": (b"[" * 9000, "json", 422),
    "blanks": (b"  ", "json", 422),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("large", [False, True])  # a large one is read beside the event loop
async def test_what_is_kept_and_cannot_be_read_is_answered_so(
    name: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(json_tree, "HEADER_BYTES", 0)
    body, content, status = BODIES[name]
    channel = Channel(ACK)
    async with listening(channel, format=content) as port:
        answer = await said(port, post(body, Content_Type=""))
    assert answer is not None
    assert answer.status == status
    assert answer.headers["labrelay-message"] == "1"
    if status == 422:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert answer.json["detail"] == "the message is kept, but it cannot be read"
    assert channel.read == [body]
    assert [one.taken for one in channel.posts] == [status == 200]


# request and status: who sends is looked at first, then each sender hears that it must send again
WHILE_PAUSED: dict[str, tuple[bytes, int, str]] = {
    "a message": (post(BODY, Authorization="Bearer s3cret"), 503, "paused"),
    "a head, of which the body is waited for": (
        post(b"", Authorization="Bearer s3cret", Content_Length="9000", Expect="100-continue"), 503, "paused"),
    "a stranger": (post(BODY), 401, "unauthorized"),
    "a page in a browser": (post(BODY, Origin="https://evil.example"), 403, "browser"),
    "another path": (post(BODY, "/else", Authorization="Bearer s3cret"), 404, "bad-request"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHILE_PAUSED)
async def test_a_paused_channel_answers_and_takes_nothing(name: str) -> None:
    request, status, fault = WHILE_PAUSED[name]
    channel = Channel()
    async with listening(channel, paused=True, auth=bearer()) as port:
        answer = await said(port, request)
    assert answer is not None
    assert answer.status == status
    assert answer.headers.get("retry-after") == ("60" if status == 503 else None)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json["status"] == status
    assert channel.read == []
    assert channel.faults == [fault]


async def test_one_connection_carries_many_messages() -> None:
    channel = Channel()
    async with listening(channel) as port, sender(port) as one:
        for number in range(1, 4):
            answer = await one.post(b"%d" % number)
            assert answer is not None
            assert answer.headers["labrelay-message"] == str(number)
    assert channel.read == [b"1", b"2", b"3"]


async def test_a_sender_that_asks_first_is_told_to_go_on() -> None:
    channel = Channel()
    async with listening(channel) as port, sender(port) as one:
        await one.write(post(BODY, Expect="100-continue")[: -len(BODY)])
        assert await one.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await one.write(BODY)
        answer = await one.response()
        assert answer is not None
        assert answer.status == 200
    assert channel.read == [BODY]


# -- who may send ----------------------------------------------------------------------------------------------------

SHOWN = {
    "the token": ("Bearer s3cret", 200),
    "another case of the scheme": ("bearer s3cret", 200),
    "none": ("", 401),
    "another": ("Bearer s3cre7", 401),
    "its beginning": ("Bearer s3cre", 401),
    "more than it": ("Bearer s3cret ", 200),  # blanks around a header's value are no part of it
    "a user and password": ("Basic czNjcmV0", 401),
    "the token alone": ("s3cret", 401),
    "no characters": ("Bearer \xff\xfe", 401),
}


@pytest.mark.parametrize("name", SHOWN)
async def test_only_the_token_lets_a_message_in(name: str) -> None:
    shown, status = SHOWN[name]
    channel = Channel()
    async with listening(channel, auth=bearer()) as port, sender(port) as one:
        answer = await one.post(BODY, Authorization=shown)
        assert answer is not None
        assert answer.status == status
        assert len(channel.read) == (status == 200)
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
            assert b"s3cre" not in answer.body
            assert channel.faults == ["unauthorized"]


async def test_two_tokens_are_none() -> None:
    channel = Channel()
    request = post(BODY, Authorization="Bearer s3cret").replace(b"Host", b"Authorization: Bearer x\r\nHost")
    async with listening(channel, auth=bearer()) as port:
        answer = await said(port, request)
    assert answer is not None
    assert answer.status == 401


async def test_a_stranger_is_refused_before_the_body_is_read() -> None:
    """Also where the path does not exist: nothing is learned from the difference."""
    channel = Channel()
    async with listening(channel, auth=bearer()) as port, sender(port) as one:
        await one.write(post(b"", "/else", Content_Length="9999"))
        answer = await one.response()  # without a byte of the body
        assert answer is not None
        assert answer.status == 401


async def test_without_our_own_secret_nothing_is_taken() -> None:
    class Unset:
        def reveal(self) -> str:
            raise ConfigError("${TOKEN} is not set")

    channel = Channel()
    async with listening(channel, auth=SimpleNamespace(bearer=SimpleNamespace(token=Unset()), hmac=None)) as port:
        answer = await said(port, post(BODY, Authorization="Bearer "))
    assert answer is not None
    assert (answer.status, channel.read) == (503, [])
    assert b"TOKEN" not in answer.body


async def test_over_tls_with_a_certificate_of_the_sender(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours = authority.sign("lab")
    files = SimpleNamespace(cert=ours.cert, key=ours.key, client_ca=authority.ca, client_names=())
    channel = Channel()
    async with listening(channel, tls=files) as port:
        with_certificate = authority.trust()
        his = authority.sign("his")
        with_certificate.load_cert_chain(his.cert, his.key)
        async with sender(port, with_certificate) as one:
            answer = await one.post(BODY)
            assert answer is not None
            assert answer.status == 200
        with contextlib.suppress(OSError):
            async with sender(port, authority.trust()) as stranger:
                assert await stranger.post(BODY) is None
        assert await said(port, post(BODY)) is None  # in clear
    assert channel.read == [BODY]


async def test_an_address_that_may_not_connect_is_cut_off() -> None:
    channel = Channel()
    async with listening(channel, allow=("10.1.2.3",)) as port:
        assert await said(port, post(BODY)) is None
    assert (channel.read, channel.faults) == ([], ["not-allowed"])


# -- limits, and connections that break ------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [b"POST / HT", post(BODY)[:-5], post(b"5\r\nab", **CHUNKED)])
async def test_a_request_that_does_not_end_is_given_up(part: bytes) -> None:
    channel = Channel()
    async with listening(channel, request_timeout=0.2) as port, sender(port) as one:
        await one.write(part)
        assert await one.ended()
    assert channel.read == []
    assert channel.faults in ([], ["block-timeout"])


async def test_a_slow_body_is_answered_with_its_time() -> None:
    async with listening(Channel(), request_timeout=0.2) as port:
        answer = await said(port, post(BODY)[:-5])
    assert answer is not None
    assert answer.status == 408


async def test_a_body_that_breaks_off_is_no_message() -> None:
    channel = Channel()
    async with listening(channel) as port:
        async with sender(port) as one:
            await one.write(post(BODY)[:-5])
        async with sender(port) as one:
            await one.write(post(BODY)[:-5])
            one.writer.write_eof()
            one.writer.transport.abort()
        answer = await said(port, post(b"next"))
        assert answer is not None
        assert answer.status == 200
    assert channel.read == [b"next"]


# what came before the sender ended its half, and the answers to it
ENDED: dict[str, tuple[bytes, list[int]]] = {
    "nothing": (b"", []),
    "a part of the head": (b"POST / HT", []),
    "the head alone": (post(b"", Content_Length="9"), [400]),
    "a part of the body": (post(BODY)[:-5], [400]),
    "a part of the chunks": (post(b"5\r\nabcde\r\n", **CHUNKED), [400]),
    "a message": (post(BODY), [200]),
    "a message in chunks": (post(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), **CHUNKED), [200]),
    "what is refused": (post(BODY, "/else"), [404]),
}


@pytest.mark.parametrize("name", ENDED)
async def test_what_comes_whole_is_answered_and_the_rest_is_not_waited_for(name: str) -> None:
    sent, answers = ENDED[name]
    channel = Channel()
    async with listening(channel, request_timeout=600.0) as port, sender(port) as one:
        one.writer.write(sent)
        one.writer.write_eof()
        found = []
        while (answer := await one.response()) is not None:
            found.append(answer.status)
        assert found == answers
    assert channel.read == ([BODY] if answers == [200] else [])


async def test_what_is_not_stored_is_answered_to_a_sender_that_has_ended_its_half() -> None:
    async with listening(Channel(b""), request_timeout=600.0) as port, sender(port) as one:
        one.writer.write(post(BODY))
        one.writer.write_eof()
        answer = await one.response()
        assert answer is not None
        assert answer.status == 503
        assert await one.ended()


async def test_a_sender_that_ends_its_half_still_gets_its_answer() -> None:
    channel = Channel()
    async with listening(channel) as port, sender(port) as one:
        one.writer.write(post(BODY))
        one.writer.write_eof()
        answer = await one.response()
        assert answer is not None
        assert answer.status == 200
        assert await one.ended()


async def test_a_connection_without_a_request_gives_way_and_one_with_a_message_does_not() -> None:
    channel = Channel()
    channel.go.clear()
    async with listening(channel, max_connections=2) as port, sender(port) as busy, sender(port) as idle:
        await busy.write(post(BODY))
        await until(lambda: len(channel.read) == 1)
        await idle.write(b"POST / HTTP/1.1\r\n")
        async with sender(port) as third:
            await third.write(post(BODY))
            assert await idle.ended()
            await until(lambda: len(channel.read) == 2)
            assert channel.faults == ["evicted"]
            async with sender(port) as fourth:  # all places hold a message
                await fourth.ended()
            assert channel.faults == ["evicted", "busy"]
            channel.go.set()
            for one in (busy, third):
                answer = await one.response()
                assert answer is not None
                assert answer.status == 200


async def test_a_body_of_a_proven_sender_gives_way_to_no_stranger() -> None:
    channel = Channel()
    async with listening(channel, max_connections=1, auth=bearer()) as port, sender(port) as his:
        head = post(BODY, Authorization="Bearer s3cret", Expect="100-continue")[: -len(BODY)]
        await his.write(head)
        assert await his.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        async with sender(port) as stranger:
            assert await stranger.ended()
        await his.write(BODY)
        answer = await his.response()
        assert answer is not None
        assert answer.status == 200
    assert channel.faults == ["busy"]


async def test_bodies_that_are_not_whole_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "UNFINISHED_BYTES", 10_000)
    channel = Channel()
    async with listening(channel) as port, sender(port) as first, sender(port) as second:
        await first.write(post(b"x" * 6_000, Expect="100-continue", Content_Length="9000"))
        assert await first.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        answer = await second.post(b"y" * 6_000)
        assert answer is not None
        assert (answer.status, answer.headers["retry-after"]) == (503, "10")
        await first.write(b"x" * 3_000)
        answer = await first.response()
        assert answer is not None
        assert answer.status == 200
        async with sender(port) as third:  # its room is free again
            answer = await third.post(b"y" * 9_000)
            assert answer is not None
            assert answer.status == 200
    assert channel.faults == ["memory"]


async def test_the_answer_counts_as_taken_by_the_sender_who_reads_it() -> None:
    channel = Channel()
    async with listening(channel) as port, sender(port) as one:
        assert await one.post(BODY) is not None
        assert not channel.posts[0].gone
        assert await channel.posts[0].took()


async def test_a_message_under_way_is_answered_at_a_stop() -> None:
    channel = Channel()
    channel.go.clear()
    async with contextlib.AsyncExitStack() as started:
        port = await started.enter_async_context(listening(channel))
        async with sender(port) as one, sender(port) as idle:
            await one.write(post(BODY))
            await until(lambda: len(channel.read) == 1)
            await started.aclose()
            answer = await one.response()
            assert answer is not None
            assert answer.status == 200
            assert await one.ended()
            assert await idle.ended()


async def test_a_fault_of_ours_costs_one_request() -> None:
    class Failing(Channel):
        async def __call__(self, stream: Post) -> None:
            if not self.read:
                self.read.append(b"")
                raise RuntimeError("a fault")
            await super().__call__(stream)

    channel = Failing()
    async with listening(channel) as port:
        for status in (503, 200):
            answer = await said(port, post(BODY))
            assert answer is not None
            assert answer.status == status
