"""Documents stay compressed from where they are made to where they go."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import RefusedDeliveryError
from engine.model.journal.records import Routed
from engine.model.message import Delivery, Document
from engine.model.outcome import Outcome
from engine.model.packing import Packer, UnpackingDestination, unpack
from engine.model.texts.reasons import ReasonCode
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import claims
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_document
from tests.support.journals import WINDOW_S, opened, received

BUNDLE = b'{"resourceType":"Bundle","entry":[' + b'{"resource":{"resourceType":"Observation"}},' * 50 + b"{}]}"


def delivery(body: bytes, *, packed: bool) -> Delivery:
    return Delivery(
        id=1, message_id=1, channel="chem", destination="a", seq=1, key="00" * 16, body=body, packed=packed,
        media_type="application/fhir+json", received_us=0,
    )  # fmt: skip


def test_a_delivery_with_another_body_is_the_same_but_for_that() -> None:
    """Every attribute is another than its default here: one that was forgotten would show."""
    one = Delivery(
        id=1, message_id=2, channel="chem", destination="a", seq=3, key="00" * 16, body=b"packed", packed=True,
        media_type="application/fhir+json", received_us=4, attempt=5, not_before_us=6, maybe_delivered=True,
        manual=True, conditional=(b"c",), reports=(b"r",), entries=7, unconditional=True, message_type="ORU^R01",
        joins=True, known_order=True, earlier=8, traceparent="00-0-0-01",
    )  # fmt: skip
    assert all(getattr(one, field.name) != field.default for field in fields(Delivery))
    assert one.with_body(b"whole") == replace(one, body=b"whole", packed=False)


class Kept:
    """A destination that keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []

    async def start(self) -> None: ...

    async def deliver(self, delivery: Delivery) -> None:
        self.taken.append(delivery)

    async def probe(self) -> None: ...

    async def close(self) -> None: ...


@given(st.binary(max_size=2000))
def test_what_was_packed_comes_back_and_never_grows(content: bytes) -> None:
    smaller, packed = Packer().pack(content)
    assert len(smaller) <= len(content)
    assert (unpack(smaller) if packed else smaller) == content


def test_a_bundle_shrinks_to_less_than_a_fifth() -> None:
    smaller, packed = Packer().pack(BUNDLE)
    assert packed
    assert len(smaller) * 5 < len(BUNDLE)


def test_each_thread_unpacks_by_one_decompressor_of_its_own_also_after_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make one takes twice as long as to unpack a document by it."""
    made: list[int] = []

    def noted() -> zstandard.ZstdDecompressor:
        made.append(threading.get_ident())
        return decompressor()

    decompressor = zstandard.ZstdDecompressor
    monkeypatch.setattr(zstandard, "ZstdDecompressor", noted)
    smaller, _ = Packer().pack(BUNDLE)

    def unpacks() -> None:
        for _ in range(20):
            with pytest.raises(ValueError, match="damaged"):
                unpack(smaller[:-9])
            assert unpack(smaller) == BUNDLE

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for done in [one.submit(unpacks), other.submit(unpacks)]:
            done.result()
    assert len(made) == len(set(made)) == 2


@pytest.mark.parametrize("content", [b"", b"{}", BUNDLE])
async def test_a_destination_sees_documents_whole(content: bytes) -> None:
    kept = Kept()
    body, packed = Packer().pack(content)
    await UnpackingDestination(kept).deliver(delivery(body, packed=packed))
    assert [(one.body, one.packed) for one in kept.taken] == [(content, False)]


async def test_a_damaged_document_is_dead_and_not_sent() -> None:
    kept = Kept()
    body, _ = Packer().pack(BUNDLE)
    with pytest.raises(RefusedDeliveryError) as caught:
        await UnpackingDestination(kept).deliver(delivery(body[:-9], packed=True))
    assert caught.value.reason is ReasonCode.DAMAGED
    assert kept.taken == []


async def test_the_journal_keeps_a_packed_document_as_it_is_and_reads_it_whole(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.start(asyncio.get_running_loop())
    body, packed = Packer().pack(BUNDLE)
    assert packed
    stored = await journal.run(append.store_message, received(), repeat_window_s=WINDOW_S)
    routes = [
        Routed(document=Document(body=body, packed=True), destinations=("a", "b"), claimed=(True,)),
        Routed(document=Document(body=BUNDLE), destinations=("b",)),
    ]
    outcome = await journal.run(record_outcome.record, stored.id, Outcome("mapped"), routes)
    (born_claimed,) = outcome.deliveries
    assert (born_claimed.body, born_claimed.packed) == (body, True)
    claimed = await journal.run(claims.claim, "chem", "b", 10)
    assert [unpack(one.body) if one.packed else one.body for one in claimed] == [BUNDLE, BUNDLE]
    assert [one.packed for one in claimed] == [True, True]
    trace = trace_of(journal, stored.id)
    assert trace is not None
    assert [stored_document(journal, one.id) for one in trace.documents] == [BUNDLE, BUNDLE]
    await journal.stop()
