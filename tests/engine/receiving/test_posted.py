"""A request over HTTP and the channel behind it: when it is answered, and with which number (P1, P3)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

from adapters.codecs.text.whole_link import WholeLink
from adapters.transports import http
from engine.model.errors import StoreError
from engine.model.texts.units import HostPort
from tests.support.channels import ScriptedStore, channel, hl7
from tests.support.http_sender import HOST, Sender, post, sender
from tests.support.waiting import until

FULL = StoreError("the journal cannot keep this: database or disk is full")


@asynccontextmanager
async def senders(store: ScriptedStore, number: int = 1, **changes: Any) -> AsyncIterator[list[Sender]]:
    """So many connections to a channel that listens on HTTP."""
    source: Any = SimpleNamespace(
        format="hl7v2", listen=HostPort(HOST, 0), path="/", allow=(), tls=None, auth=None,
        max_connections=4, max_message=10_000, request_timeout=60.0,
    )  # fmt: skip
    made = channel(store, new_link=lambda: WholeLink("hl7v2"), hl7_spoken=True, **changes)
    listener = http.build(source, made.handle, made.monitor.fault)
    port = await listener.start()
    try:
        async with AsyncExitStack() as opened:
            yield [await opened.enter_async_context(sender(port)) for _ in range(number)]
    finally:
        await listener.stop(5.0)


async def test_nothing_is_answered_before_the_message_is_durable() -> None:
    store = ScriptedStore(manual=True)
    async with senders(store) as (one,):
        await one.write(post(hl7("4711")))
        await until(lambda: len(store.waiting) == 1)
        assert one.reader._buffer == b""  # type: ignore[attr-defined]  # not a byte
        assert store.answers == []
        store.release()
        answer = await one.response()
        assert answer is not None
        assert answer.status == 200
        assert b"MSA|AA|4711" in answer.body
        assert answer.headers["labrelay-message"] == "1"
        await until(lambda: store.answers == [1])


async def test_each_request_has_the_number_of_its_own_message() -> None:
    store = ScriptedStore(manual=True)
    async with senders(store, 2) as (one, two):
        await one.write(post(hl7("first")))
        await until(lambda: len(store.waiting) == 1)
        await two.write(post(hl7("second")))
        await until(lambda: len(store.waiting) == 2)
        store.release(2)
        for sent_by, name, number in ((two, b"second", "2"), (one, b"first", "1")):
            answer = await sent_by.response()
            assert answer is not None
            assert name in answer.body
            assert answer.headers["labrelay-message"] == number
    assert [message.control_id for message in store.messages] == ["first", "second"]


async def test_a_batch_is_answered_once_all_of_it_is_durable() -> None:
    store = ScriptedStore(manual=True)
    async with senders(store) as (one,):
        await one.write(post(hl7("a") + hl7("b")))
        await until(lambda: len(store.waiting) == 2)
        store.release()
        assert one.reader._buffer == b""  # type: ignore[attr-defined]
        store.release()
        answer = await one.response()
        assert answer is not None
        assert (answer.status, answer.headers["labrelay-message"]) == (200, "1, 2")


async def test_what_could_not_be_stored_is_answered_so_that_it_comes_again() -> None:
    for answers_fault, words in ((False, b"could not be stored"), (True, b"MSA|AE")):
        store = ScriptedStore(faults=[FULL])
        async with senders(store, answer_store_fault=answers_fault) as (one,):
            answer = await one.post(hl7("1"))
            assert answer is not None
            assert (answer.status, answer.headers["retry-after"]) == (503, "10")
            assert "labrelay-message" not in answer.headers
            assert words in answer.body
            again = await one.post(hl7("1"))  # on the same connection
            assert again is not None
            assert again.status == 200
        assert len(store.messages) == 1


async def test_a_sender_that_hangs_up_is_not_taken_for_one_that_has_its_answer() -> None:
    store = ScriptedStore(manual=True)
    async with senders(store) as (one,):
        await one.write(post(hl7("1")))
        await until(lambda: len(store.waiting) == 1)
        one.writer.transport.abort()
        await one.ended()
        store.release()
        await until(lambda: len(store.messages) == 1)
    assert store.answers == []
    assert store.messages[0].line is not None
    assert store.messages[0].line.ended_us is not None
