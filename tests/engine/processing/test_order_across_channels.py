"""Outcomes do not depend on the order of messages without a name in common, corrections and withdrawals included.

Oracle: messages of three analyzers are recorded in the order in which they came, and in an order that turns allow. Each
has the same state, reason, documents and deliveries in the end.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.content.facts import packed
from engine.model.message import FormatOptions, MapContext, Stored
from engine.model.outcome import ReadResults
from engine.model.routes import ChannelRoutes, Route, routed_by
from engine.processing.names import names_of
from engine.processing.process import process
from engine.processing.turns import Named, Turns, Waiting
from engine.store.core.connecting import body_of
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import record_outcome
from tests.histories.samples.judged import facts_of
from tests.support.journals import running, store
from tests.support.shipped import KEY, program

CHANNELS = "abc"
RESULT = (
    "MSH|^~\\&|AN|LAB|LIS|H|20260301120000||ORU^R01|M{number}|P|2.5.1\r{patient}"
    "OBR|1|P-{order}|F{order}|CHEM^Panel^L|||20260301100000|||||||||||||||20260301101000||LAB|F\r"
    "OBX|1|NM|GLU^Glucose^L||{value}|mmol/L|||||{status}|||20260301100500\r"
)


def routes(channel: str) -> ChannelRoutes:
    context = MapContext(channel=channel, key=KEY, timezone="UTC", results_of="site", patient_numbers="lasting")
    route = Route(when=None, program=program("hl7-results"), to=("fhir",), of_site=True)
    return ChannelRoutes(
        channel=channel, message_format=hl7v2, media_type="", options=FormatOptions(), routes=(route,), context=context,  # type: ignore[arg-type]
    )  # fmt: skip


def text(number: int, rng: random.Random) -> bytes:
    order = rng.randrange(4)
    patient = f"PID|1||471{order % 2}^^^HOSP||Iyer^Meena||19550101|F\r" if rng.random() < 0.8 else ""
    said = {"value": rng.choice("56"), "status": rng.choice("FFFPCDWXA")}
    return RESULT.format(number=number, order=order, patient=patient, **said).encode()


def named(stored: Stored) -> Named:
    reading = names_of(stored, routes(stored.channel))
    with pytest.raises(StopIteration) as end:
        next(reading)
    found: Named = end.value.value
    assert found.names
    return found


def another_order(messages: Sequence[Stored], rng: random.Random) -> list[Stored]:
    """As turns have them end where some are processed aside, and others by a worker that answers in order."""
    turns, under_way, ended = Turns(), [], []
    for one in messages:
        turns.add(Waiting(stored=one, size=rng.randrange(5_000), named=named(one), large=rng.random() < 0.5))
    while len(turns):
        if (waiting := turns.next()) is not None and (not under_way or rng.random() < 0.7):
            turns.begin(waiting)
            under_way.append(waiting)
            continue
        waiting = rng.choice(under_way)
        if not waiting.large:
            waiting = next(one for one in under_way if not one.large)
        under_way.remove(waiting)
        turns.done(waiting)
        ended.append(waiting.stored)
    return ended


async def recorded(folder: Path, seed: int, *, again: bool) -> tuple[list[int], list[Any]]:
    """The order of recording, and all that there is of each message afterwards."""
    rng = random.Random(seed)
    async with running(folder) as journal:
        messages = [
            (await store(journal, text(number, rng), channel=rng.choice(CHANNELS), control_id=f"M{number}"))[0]
            for number in range(1, 13)
        ]
        order = another_order(messages, rng) if again else messages
        for one in order:
            facts = packed(facts_of(one.payload, "hl7"))
            outcome = replace(process(one, routes(one.channel)), read=ReadResults(facts, "results-hl7@1", of_site=True))
            made = [routed_by(route, document) for document, route in outcome.documents]
            await journal.run(record_outcome.record, one.id, outcome, made)
        return [one.id for one in order], [await there_is(journal, one.id) for one in messages]


async def there_is(journal: Journal, message_id: int) -> Any:
    def look(batch: Batch) -> Any:
        documents = [
            (body_of(batch, number), reports)
            for number, reports in batch.execute(
                "SELECT id, reports FROM document WHERE message_id = ? ORDER BY id", (message_id,)
            ).fetchall()
        ]
        state = batch.execute("SELECT state, reason FROM message_state WHERE id = ?", (message_id,)).fetchall()
        sent = batch.execute("SELECT state FROM delivery WHERE message_id = ? ORDER BY id", (message_id,)).fetchall()
        return state, sent, documents

    return await journal.writer.submit(look)


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_that_turns_allow_gives_the_same_outcomes(tmp_path: Path, seed: int) -> None:
    order, expected = await recorded(tmp_path / "one", seed, again=False)
    other, found = await recorded(tmp_path / "other", seed, again=True)
    assert found == expected
    assert other != order == sorted(order)
    assert len({str(one[:2]) for one in found}) > 1
