"""Spans of the steps of messages: what each has, which messages are traced, and what the queue has no room for."""

from dataclasses import fields, replace
from typing import Any

import pytest

from engine.features.traces import service as traces
from engine.features.traces.service import BATCH, QUEUED_SPANS, UNDER_WAY, Tracer
from engine.model.journal.records import Recorded
from engine.model.message import Stored
from engine.model.process.clock import ManualClock
from engine.model.spans import ATTRIBUTES, PREFIX, Span
from engine.model.texts.reasons import ReasonCode
from tests.support.deliveries import delivery

KEY, JOURNAL = b"k" * 32, b"j" * 16


def tracer(*, sample: int = 100, key: bytes = KEY, journal: bytes = JOURNAL) -> Tracer:
    return Tracer(key, journal, ManualClock(), sample)


def stored(number: int, **more: Any) -> Stored:
    return Stored(id=number, channel="chem", seq=number, payload=b"PID|1||PAT9", received_us=1, control_id="C9", **more)


def of_all_steps(made: Tracer) -> list[Span]:
    """A message that is delivered at its second attempt, a repeat of it, and one that is dead at once."""
    sent = delivery(b"secret", message_id=7, key="idempotency", message_type="ORU^R01")
    made.stored(stored(7))
    made.asked(stored(7))
    made.mapped(stored(7), Recorded(state="mapped", deliveries=(sent,)))
    made.answered("chem", [7])
    made.begun(sent)
    again = replace(sent, attempt=1)
    made.postponed(again, ReasonCode.BUSY)
    made.begun(again)
    made.ended(again, None)
    made.stored(stored(8, repeat_of=7))
    made.mapped(stored(9), Recorded(state="dead", reason=ReasonCode.NO_ROUTE))
    made.ended(replace(sent, message_id=10), ReasonCode.OVERTAKEN)
    return made.take()


def test_a_span_has_what_is_listed_and_nothing_of_a_message() -> None:
    spans = of_all_steps(tracer())
    assert {key for one in spans for key, _ in one.attributes} == ATTRIBUTES
    names = {"chem", "chemistry", "lab-fhir"}
    words = {"delivered", "postponed", "overtaken", "repeat", "mapped", "dead"}
    codes = {reason.value for reason in ReasonCode}
    texts = {value for one in spans for _, value in one.attributes if isinstance(value, str)}
    assert texts <= names | words | codes
    assert {one.name for one in spans} == {"receive", "journal", "acknowledge", "map", "deliver"}
    assert {field.name for field in fields(Span)} == {
        *("name", "kind", "trace", "span", "parent", "start_us", "end_us", "attributes", "failed")
    }, "a field that is new here is new on the wire: look at what it may hold"


def test_ids_are_the_same_after_a_restart_and_others_in_another_journal() -> None:
    first, second = of_all_steps(tracer()), of_all_steps(tracer())
    assert first == second
    others = [of_all_steps(tracer(key=b"l" * 32)), of_all_steps(tracer(journal=b"i" * 16))]
    mine = {one.trace for one in first}
    assert all(mine.isdisjoint(one.trace for one in other) for other in others)
    assert len(mine) == len({dict(one.attributes)[f"{PREFIX}message"] for one in first})


def test_so_many_per_cent_of_the_messages_are_traced_whole() -> None:
    some, all_of_them = tracer(sample=25), tracer()
    kept: dict[int, int] = {}
    for number in range(1, 2001):
        for made in (some, all_of_them):
            made.stored(stored(number))
            made.ended(some.begun(delivery(message_id=number)), None)
            if made is some and (spans := made.take()):
                kept[number] = len(spans)
    assert 400 < len(kept) < 600
    assert set(kept.values()) == {3}
    assert "traceparent" not in some.begun(delivery(message_id=min(set(range(1, 2001)) - kept.keys()))).traceparent


def test_what_the_queue_has_no_room_for_is_dropped_oldest_first_and_counted() -> None:
    made = tracer()
    for number in range(QUEUED_SPANS):
        made.ended(delivery(id=number, message_id=number), None)
    assert (made.waiting, made.dropped) == (QUEUED_SPANS, 0)
    for number in range(QUEUED_SPANS, QUEUED_SPANS + 3):
        made.ended(delivery(id=number, message_id=number), None)
    assert (made.waiting, made.dropped) == (QUEUED_SPANS, 3)
    batch = made.take()
    assert len(batch) == BATCH
    assert dict(batch[0].attributes)[f"{PREFIX}message"] == 3


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "UNDER_WAY", 10)
    made = tracer()
    for number in range(1, 50):
        made.stored(stored(number))
        made.begun(delivery(id=number, message_id=number))
    assert (len(made._messages), len(made._attempts)) == (10, 10)
    assert UNDER_WAY >= BATCH
