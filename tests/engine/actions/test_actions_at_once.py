"""Several people at once, and what takes its time: what an act has chosen may be another's by the time it is done."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adapters.codecs.hl7v2 import message as hl7v2
from engine.actions.selection import Selection
from engine.actions.underway import Acts
from engine.features.results.acts import dismiss_letters
from engine.features.results.rows import superseding
from engine.features.rework.acts.edit import edit_message
from engine.features.rework.acts.verbs import retry_letters
from engine.model.journal.records import Decision, Routed
from engine.model.message import Document, FormatOptions, MapContext, Mapped, Parsed, Report
from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.model.routes import ChannelRoutes, Route
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, bulk, record_outcome
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.messages import trace_of
from tests.support.channels import MemoryStream, block, channel, hl7
from tests.support.filled_journal import (
    CHANNEL,
    DESTINATION,
    REFUSED,
    UNMAPPED,
    WINDOW_S,
    fill_journal,
    payload,
)
from tests.support.journals import received, replaced
from tests.support.plant import LineProgram
from tests.support.waiting import until

ROUTES = ChannelRoutes(
    channel=CHANNEL,
    message_format=hl7v2,
    media_type="x-application/hl7-v2+er7",
    options=FormatOptions(),
    routes=(Route(when=None, program=None, to=(DESTINATION,)),),
    context=MapContext(channel=CHANNEL),
)
HGB = Report(key=b"order-1-today---", patient=b"ann-------------")


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    await asyncio.to_thread(fill_journal, tmp_path)
    journal = Journal.open(tmp_path, clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    yield journal
    await journal.stop()


@pytest_asyncio.fixture
async def acts(journal: Journal) -> AsyncIterator[Acts]:
    acts = Acts(journal, channels=lambda: {CHANNEL: ROUTES})
    yield acts
    await acts.stop()


def states(journal: Journal, message: int) -> tuple[str, list[str]]:
    trace = trace_of(journal, message)
    assert trace is not None
    return trace.message.state, [delivery.state for delivery in trace.deliveries]


def between(journal: Journal, monkeypatch: pytest.MonkeyPatch, what: Callable[[], Any]) -> None:
    """Let ``what`` happen once: after a retry has chosen, as the row of its operation is stored."""
    happened: list[int] = []

    async def first(run: Any, *args: Any, **more: Any) -> int:
        number: int = await run(*args, **more)
        if not happened:
            happened.append(number)
            await what()
        return number

    replaced(monkeypatch, journal, bulk.begin, by=first)


async def edit(acts: Acts, message: int, before: bytes, after: bytes) -> int:
    answer = await edit_message(
        acts, message, payload(message).replace(before, after), actor="bela", reason="wrong tube"
    )
    return int(answer["message"])


async def test_what_was_corrected_meanwhile_is_not_processed_again(
    journal: Journal, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    between(journal, monkeypatch, lambda: edit(acts, UNMAPPED, b"F3", b"F33"))
    answer = await retry_letters(acts, Selection(ids=(UNMAPPED,)), actor="anita")

    assert states(journal, UNMAPPED) == ("dismissed", []), "the corrected message has taken its place"
    assert answer["done"] == {"skipped": 1}


async def test_what_was_dismissed_meanwhile_stays_so(
    journal: Journal, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    between(
        journal,
        monkeypatch,
        lambda: dismiss_letters(acts, Selection(ids=(UNMAPPED,)), actor="bela", reason="another patient"),
    )
    answer = await retry_letters(acts, Selection(ids=(UNMAPPED,)), actor="anita")

    assert states(journal, UNMAPPED) == ("dismissed", [])
    assert answer["done"]["skipped"] == 1


async def test_two_who_retry_the_same_message_have_it_sent_once(journal: Journal, acts: Acts) -> None:
    first, second = await asyncio.gather(
        retry_letters(acts, Selection(ids=(UNMAPPED,)), actor="anita"),
        retry_letters(acts, Selection(ids=(UNMAPPED,)), actor="bela"),
    )

    assert sorted([*first["done"], *second["done"]]) == ["processed", "skipped"]
    assert states(journal, UNMAPPED) == ("mapped", ["waiting"])


async def test_a_dead_delivery_that_was_replaced_meanwhile_is_not_sent(
    journal: Journal, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reprocessed() -> None:
        """As `labrelay reprocess --apply` stores it: a newer revision, which is delivered."""
        route = Routed(document=Document(body=b'{"newer": true}'), destinations=(DESTINATION,))
        await journal.run(record_outcome.record, REFUSED, Outcome("mapped"), [route], decision=Decision(again=True))
        for delivery in await journal.run(claims.claim, CHANNEL, DESTINATION, 10):
            await journal.run(attempts.settle, delivery.id, delivered_us=1)

    between(journal, monkeypatch, reprocessed)
    answer = await retry_letters(acts, Selection(ids=(REFUSED,)), actor="anita")

    assert states(journal, REFUSED) == ("mapped", ["superseded", "delivered"])
    assert answer["done"]["skipped"] == 1


async def test_what_was_corrected_is_not_mapped_again_in_its_old_words(journal: Journal, acts: Acts) -> None:
    """Its dead delivery was closed by the correction, and what of it was delivered stands as it is."""
    new = await edit(acts, REFUSED, b"F2", b"F22")
    before = states(journal, REFUSED)
    route = Routed(document=Document(body=b'{"newer": true}'), destinations=(DESTINATION,))
    outcome = await journal.run(
        record_outcome.record, REFUSED, Outcome("mapped"), [route], decision=Decision(again=True)
    )

    assert outcome.already
    assert states(journal, REFUSED) == before
    assert states(journal, new)[0] == "stored"


async def test_what_still_waits_of_a_corrected_message_is_not_sent(journal: Journal, acts: Acts) -> None:
    """Refused by one destination, on its way to another that is down: there, too, it would be what was wrong."""
    stored = await journal.run(
        append.store_message, received(payload(9), channel=CHANNEL, control_id="C9"), repeat_window_s=WINDOW_S
    )
    route = Routed(document=Document(body=b"{}"), destinations=(DESTINATION, "down"))
    await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [route])
    for delivery in await journal.run(claims.claim, CHANNEL, DESTINATION, 10):
        if delivery.message_id == stored.id:
            await journal.run(attempts.bury, delivery.id, reason=ReasonCode.REFUSED, detail="422", answer=b"")
    looked: list[tuple[str, str]] = []
    acts.reclaim = lambda *lane: looked.append(lane)

    answer = await edit_message(acts, stored.id, payload(9).replace(b"F9", b"F99"), actor="bela", reason="wrong tube")
    assert states(journal, stored.id) == ("mapped", ["dismissed", "dismissed"])
    assert states(journal, int(answer["message"])) == ("stored", [])
    assert (CHANNEL, "down") in looked, "what waits in memory is given back, and not found again"
    assert await journal.run(claims.claim, CHANNEL, "down", 10) == []


async def _deliver(journal: Journal, message: int) -> None:
    """Deliver what waits of a message."""
    claimed = await journal.run(claims.claim, CHANNEL, DESTINATION, 10)
    for delivery in claimed:
        if delivery.message_id == message:
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
    await journal.run(claims.unclaim, [delivery.id for delivery in claimed if delivery.message_id != message])


async def _map(journal: Journal, message: int) -> None:
    route = Routed(document=Document(body=b"%d" % message, reports=(HGB,)), destinations=(DESTINATION,))
    await journal.run(record_outcome.record, message, Outcome("mapped"), [route])


async def _newer(journal: Journal) -> int:
    stored = await journal.run(
        append.store_message, received(b"MSH|newer", channel=CHANNEL, control_id="N"), repeat_window_s=WINDOW_S
    )
    await _map(journal, stored.id)
    return stored.id


async def test_a_correction_of_an_older_result_does_not_replace_a_newer_one(journal: Journal, acts: Acts) -> None:
    newer = await _newer(journal)
    await _deliver(journal, newer)
    corrected = await edit(acts, UNMAPPED, b"14.3", b"13.3")
    await _map(journal, corrected)

    (delivery,) = [
        one for one in await journal.run(claims.claim, CHANNEL, DESTINATION, 10) if one.message_id == corrected
    ]
    assert delivery.manual, "the guard is asked before it is sent"
    assert await journal.run(superseding.overtaken_before_sent, delivery.id)


async def test_a_newer_result_is_sent_after_the_correction_of_an_older_one(journal: Journal, acts: Acts) -> None:
    newer = await _newer(journal)
    for delivery in await journal.run(claims.claim, CHANNEL, DESTINATION, 10):
        if delivery.message_id == newer:
            await journal.run(attempts.bury, delivery.id, reason=ReasonCode.REFUSED, detail="422", answer=b"")
    corrected = await edit(acts, UNMAPPED, b"14.3", b"13.3")
    await _map(journal, corrected)
    await _deliver(journal, corrected)

    await retry_letters(acts, Selection(ids=(newer,)), actor="anita")
    (delivery,) = [one for one in await journal.run(claims.claim, CHANNEL, DESTINATION, 10) if one.message_id == newer]
    assert not await journal.run(superseding.overtaken_before_sent, delivery.id), (
        "the corrected message is as old as what it was made of"
    )


async def test_a_correction_replaces_what_came_before_its_original(journal: Journal, acts: Acts) -> None:
    """And a correction of a correction stands where the first of them stood."""
    first = await edit(acts, UNMAPPED, b"14.3", b"13.3")
    await journal.run(record_outcome.record, first, Outcome("dead", ReasonCode.UNMAPPED_CODE))
    newer = await _newer(journal)
    await _deliver(journal, newer)
    content = payload(UNMAPPED).replace(b"14.3", b"12.3")
    second = int((await edit_message(acts, first, content, actor="bela", reason="again"))["message"])
    await _map(journal, second)
    (delivery,) = [one for one in await journal.run(claims.claim, CHANNEL, DESTINATION, 10) if one.message_id == second]
    assert await journal.run(superseding.overtaken_before_sent, delivery.id)
    await journal.run(claims.unclaim, [delivery.id])


class HeldUp(LineProgram):
    """A mapping that takes until the test lets it go on; so does one of ten thousand messages, for whoever waits."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.was_let_go = False

    def apply(self, parsed: Parsed, context: MapContext) -> Mapped:
        self.begun.set()
        self.was_let_go = self.go_on.wait(60.0)
        return Mapped(documents=(Document(body=b"mapped"),))


async def test_analyzers_are_answered_while_dead_messages_are_mapped_again(journal: Journal) -> None:
    mapping = HeldUp()
    routes = replace(ROUTES, routes=(Route(when=None, program=mapping, to=(DESTINATION,)),))
    acts = Acts(journal, channels=lambda: {CHANNEL: routes})
    stream, listening = MemoryStream(), channel(journal)
    serving = asyncio.create_task(listening.handle(stream))
    retrying = asyncio.create_task(retry_letters(acts, Selection(ids=(UNMAPPED,)), actor="anita"))
    await until(mapping.begun.is_set)
    stream.feed(block(hl7("4711")))
    await until(lambda: stream.codes == ["AA"])
    assert not retrying.done()
    mapping.go_on.set()
    assert (await retrying)["done"]["processed"] == 1
    assert mapping.was_let_go, "nothing else could be done while it mapped"
    stream.end()
    await serving
    await acts.stop()
