"""From a stored message to its deliveries: order, memory, faults of ours, and what is read back from the store."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.actions.selection import Selection
from engine.actions.underway import Acts
from engine.features.rework.acts.verbs import retry_letters
from engine.model.errors import StoreError
from engine.model.journal.journal_views import Filter
from engine.model.message import FormatOptions, MapContext, Parsed, Reagent, Stored
from engine.model.routes import ChannelRoutes, Route
from engine.model.texts.reasons import ReasonCode
from engine.processing import committing
from engine.processing import intake as intake_module
from engine.processing.process import process
from engine.store.journal import Journal
from engine.store.operations import record_outcome
from engine.store.queries.lanes import list_channels
from engine.store.queries.messages import messages_page
from tests.support.plant import LineFormat, LineProgram, Plant, numbers, plant
from tests.support.waiting import until

FULL = "the journal cannot keep this: database or disk is full"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "STORE_RETRY_S", 0.01)


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path) as made:
        await made.destination("server")
        yield made


def outcomes(made: Plant) -> dict[int, tuple[str, str]]:
    return {view.id: (view.state, view.reason) for view in messages_page(made.journal, limit=10_000)}


# -- judging -------------------------------------------------------------------------------------------------------


def routes(*given: Route) -> ChannelRoutes:
    return ChannelRoutes(
        channel="chem",
        message_format=LineFormat(),
        media_type="text/plain",
        options=FormatOptions(),
        routes=given,
        context=MapContext(),
    )


def stored(text: str) -> Stored:
    return Stored(id=1, channel="chem", seq=1, payload=text.encode(), received_us=0)


def test_every_route_that_fits_takes_the_message_until_one_filters() -> None:
    raw, mapped = Route(when=None, program=None, to=("a",)), Route(when=None, program=LineProgram(), to=("b", "c"))
    never = Route(when=lambda parsed: False, program=None, to=("d",))
    unwanted = Route(when=None, program=None, filter=True)
    verdict = process(stored("1|r"), routes(raw, never, mapped, unwanted, raw))
    assert [(document.body, route.to) for document, route in verdict.documents] == [
        (b"1|r", ("a",)),
        (b"1|r", ("b", "c")),
    ]
    assert verdict.state == "mapped"
    assert verdict.mapping == "line@000000000000"
    assert process(stored("1"), routes(unwanted, raw)).reason is ReasonCode.FILTERED
    assert process(stored("1"), routes(never)).reason is ReasonCode.NO_ROUTE


def test_a_fault_in_reading_lots_costs_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(parsed: Parsed) -> tuple[Reagent, ...]:
        raise ValueError("empty separator")

    monkeypatch.setattr("engine.processing.process.reagents_in", fails)
    verdict = process(stored("1|r"), routes(Route(when=None, program=LineProgram(), to=("a",))))
    assert (verdict.state, verdict.reagents) == ("mapped", ())


@pytest.mark.parametrize(
    ("text", "state", "reason"),
    [
        ("?", "dead", ReasonCode.UNREADABLE),
        ("~1", "dead", ReasonCode.UNMAPPED_CODE),
        ("!1", "dead", ReasonCode.MAPPING_FAULT),
        ("-1", "filtered", ReasonCode.QUALITY_CONTROL),
        ("\udcff", "dead", ReasonCode.MAPPING_FAULT),
    ],
)
@pytest.mark.promise("P2")
def test_whatever_a_mapping_does_there_is_a_verdict(text: str, state: str, reason: ReasonCode) -> None:
    message = Stored(id=1, channel="chem", seq=1, payload=text.encode("utf-8", "surrogateescape"), received_us=0)
    verdict = process(message, routes(Route(when=None, program=LineProgram(), to=("a",))))
    assert (verdict.state, verdict.reason) == (state, reason)


# -- order and memory ----------------------------------------------------------------------------------------------


async def test_messages_of_several_channels_go_on_in_the_order_they_came(made: Plant) -> None:
    for channel in "ab":
        made.channel(channel, "server")
    for number in numbers(50):
        await made.send("a", number)
        await made.send("b", number)
    await made.drain()
    assert made.destinations["server"].of("a") == made.destinations["server"].of("b") == numbers(50)


@pytest.mark.parametrize("limit", ["MEMORY_MESSAGES", "MEMORY_BYTES", "COMMITTING", "COMMITTING_BYTES"])
async def test_what_memory_does_not_hold_is_read_back_in_order(
    made: Plant, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(committing if limit.startswith("COMMITTING") else intake_module, limit, 10)
    monkeypatch.setattr(intake_module, "READ_AT_ONCE", 7)
    for channel in "ab":
        made.channel(channel, "server")
    for start in range(1, 101, 20):
        both = [made.send(channel, *numbers(20, start=start)) for channel in "ab"]
        await asyncio.gather(*both)
        assert made.intake.waiting <= 2048 if limit.startswith("COMMITTING") else made.intake.waiting <= 11
    await made.drain()
    assert made.destinations["server"].of("a") == made.destinations["server"].of("b") == numbers(100)


async def test_a_start_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    async with plant(tmp_path) as made:
        await made.end_intake()
        made.channels = {}
        await made.send("a", *numbers(30))
    async with plant(tmp_path) as made:
        server = await made.destination("server")
        made.channel("a", "server")
        await made.send("a", *numbers(10, start=31))
        await made.drain()
        assert server.of("a") == numbers(40)
        assert len(server.taken) == 40


async def test_a_repeat_is_counted_and_not_processed(made: Plant) -> None:
    made.channel("a", "server")
    await made.send("a", "00001", "00001", "00002", "00001")
    await made.drain()
    assert made.destinations["server"].of("a") == ["00001", "00002"]
    assert len(made.destinations["server"].taken) == 2
    assert made.intake.counts.ended == {("a", "mapped"): 2, ("a", "repeat"): 2}
    assert [state for state, _ in outcomes(made).values()].count("filtered") == 2


async def test_damaged_rows_do_not_hide_those_behind_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "READ_AT_ONCE", 5)
    async with plant(tmp_path) as made:
        await made.end_intake()
        await made.send("a", *numbers(30))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("UPDATE journal SET body = zeroblob(length(body)) WHERE id BETWEEN 3 AND 14")
        connection.commit()
    async with plant(tmp_path) as made:
        server = await made.destination("server")
        made.channel("a", "server")
        await made.drain()
        assert server.of("a") == numbers(2) + numbers(16, start=15)
        assert [outcomes(made)[number] for number in (3, 14)] == [("dead", "DAMAGED")] * 2


# -- faults of ours ------------------------------------------------------------------------------------------------


async def test_one_poisonous_message_costs_itself(made: Plant) -> None:
    made.channel("a", "server")
    await made.send("a", "00001", "!00002", "~00003", "-00004", "?", "00006")
    await made.drain()
    assert made.destinations["server"].of("a") == ["00001", "00006"]
    assert list(outcomes(made).values())[::-1] == [
        ("mapped", ""),
        ("dead", "MAPPING_FAULT"),
        ("dead", "UNMAPPED_CODE"),
        ("filtered", "QUALITY_CONTROL"),
        ("dead", "UNREADABLE"),
        ("mapped", ""),
    ]
    assert made.intake.counts.dead == {("a", "MAPPING_FAULT"): 1, ("a", "UNMAPPED_CODE"): 1, ("a", "UNREADABLE"): 1}


@pytest.mark.promise("P4")
async def test_a_number_used_for_another_patient_is_dead_and_the_first_is_not_touched(made: Plant) -> None:
    made.channel("a", "server")
    await made.send("a", "00001|report|ann", "00002|report|bob", "00003|report|ann", "00004|other|bob")
    await made.drain()
    assert made.destinations["server"].of("a") == ["00001|report|ann", "00003|report|ann", "00004|other|bob"]
    assert outcomes(made)[2] == ("dead", "IDENTITY_CONFLICT")
    assert made.workers["server"].memory.deliveries == 0


async def test_a_dead_message_can_be_processed_again(made: Plant) -> None:
    made.channel("a", "server")
    await made.send("a", "00001", "~00002", "00003")
    await made.drain()
    # The mapping is mended: raw messages pass.
    made.channel("a", "server", raw=True)
    acts = Acts(
        made.journal,
        channels=lambda: made.channels,
        reclaim=lambda channel, destination: made.look_for_open(destination),
    )
    done = await retry_letters(acts, Selection(ids=(2,)), actor="ann")
    assert done["done"]["processed"] == 1
    await made.drain()
    assert made.destinations["server"].of("a") == ["00001", "00003", "~00002"]


# -- the store fails -----------------------------------------------------------------------------------------------


class Flaky:
    """A journal that fails to record an outcome where ``faults`` says so."""

    def __init__(self, journal: Journal, fault: Callable[[int], Exception | None], *, at_once: bool = False) -> None:
        self._journal = journal
        self.snapshot, self.vault = journal.snapshot, journal.vault
        self._fault = fault
        self._at_once = at_once
        self.asked: list[int] = []

    def run(self, function: Any, stored_id: int, *arguments: Any, **more: Any) -> "asyncio.Future[Any]":
        if function is not record_outcome.record:
            return self._journal.run(function, stored_id, *arguments, **more)
        self.asked.append(stored_id)
        error = self._fault(stored_id)
        if error is None:
            return self._journal.run(function, stored_id, *arguments, **more)
        if self._at_once:
            raise error

        def fail(batch: Any) -> Any:
            raise error

        return self._journal.writer.submit(fail)  # fails in its turn, within the same batch as its neighbours


@pytest.mark.parametrize("at_once", [False, True], ids=["by the disk", "by a full queue"])
@pytest.mark.parametrize("seed", range(3))
async def test_a_message_whose_outcome_cannot_be_stored_is_not_overtaken(
    tmp_path: Path, seed: int, at_once: bool
) -> None:
    rng = random.Random(seed)
    left = 25

    def fault(number: int) -> Exception | None:
        nonlocal left
        if left and rng.random() < 0.2:
            left -= 1
            return StoreError(FULL)
        return None

    async with plant(tmp_path, store=lambda journal: Flaky(journal, fault, at_once=at_once)) as made:
        server = await made.destination("server", memory_deliveries=rng.choice([3, 256]))
        for channel in "ab":
            made.channel(channel, "server")
        for start in range(1, 61, 20):
            for channel in "ab":
                await made.send(channel, *numbers(20, start=start))
        await made.drain(within_s=60.0)
        assert left < 20
        assert server.of("a") == server.of("b") == numbers(60)
        assert len(server.taken) == 120  # each once
        assert made.workers["server"].memory.deliveries == made.workers["server"].memory.bytes == 0
        assert made.intake.counts.ended == {("a", "mapped"): 60, ("b", "mapped"): 60}


async def test_while_nothing_can_be_stored_the_processor_is_not_kept_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "STORE_RETRY_S", 0.1)
    full = True
    flaky: list[Flaky] = []

    def between(journal: Journal) -> Flaky:
        flaky.append(Flaky(journal, lambda number: StoreError(FULL) if full else None))
        return flaky[0]

    async with plant(tmp_path, store=between) as made:
        server = await made.destination("server")
        made.channel("a", "server")
        began = asyncio.get_running_loop().time()
        await made.send("a", *numbers(3))
        await until(lambda: len(flaky[0].asked) > 3 * 3)
        # A fourth round of three messages comes after three pauses at least.
        assert asyncio.get_running_loop().time() - began >= 3 * intake_module.STORE_RETRY_S
        full = False
        await made.drain()
        assert server.of("a") == numbers(3)


async def test_an_outcome_that_can_never_be_written_makes_a_dead_letter(tmp_path: Path) -> None:
    def fault(number: int) -> Exception | None:
        return OverflowError("too large for SQLite") if number == 2 and flaky[0].asked.count(2) == 1 else None

    flaky: list[Flaky] = []

    def between(journal: Journal) -> Flaky:
        flaky.append(Flaky(journal, fault))
        return flaky[0]

    async with plant(tmp_path, store=between) as made:
        server = await made.destination("server")
        made.channel("a", "server")
        await made.send("a", *numbers(5))
        await made.drain()
        assert server.of("a") == ["00001", "00003", "00004", "00005"]
        assert outcomes(made)[2] == ("dead", "MAPPING_FAULT")
        assert made.workers["server"].memory.deliveries == 0


# -- configuration -------------------------------------------------------------------------------------------------


async def test_messages_of_a_channel_that_was_taken_away_wait_until_it_is_back(made: Plant) -> None:
    made.channel("a", "server")
    made.channel("b", "server")
    await made.send("a", *numbers(3))
    await made.drain()
    gone = made.channels.pop("a")
    made.intake.configure(dict(made.channels), made.workers)
    await made.send("a", *numbers(3, start=4))
    await made.send("b", *numbers(3))
    await made.settle()
    assert made.destinations["server"].of("a") == numbers(3)
    assert made.destinations["server"].of("b") == numbers(3)
    assert [view.stored for view in list_channels(made.journal) if view.name == "a"] == [3]
    made.channels["a"] = gone
    made.intake.configure(dict(made.channels), made.workers)
    await made.send("a", "00007")
    await made.drain()
    assert made.destinations["server"].of("a") == numbers(7)
    assert len(made.destinations["server"].taken) == 10


async def test_between_messages_nothing_is_half_way(made: Plant) -> None:
    made.channel("a", "server")
    worker = made.workers["server"]
    made.destinations["server"].gate.clear()
    sending = asyncio.create_task(made.send("a", *numbers(500)))
    for _ in range(5):
        async with made.intake.between_messages():
            held = len(messages_page(made.journal, Filter(state="mapped"), limit=10_000))
            assert all(lane.reserved == 0 for lane in worker.memory.lanes.values())
            await asyncio.sleep(0.005)
            assert len(messages_page(made.journal, Filter(state="mapped"), limit=10_000)) == held
        await asyncio.sleep(0.002)
    await sending
    made.destinations["server"].gate.set()
    await made.drain()
    assert made.destinations["server"].of("a") == numbers(500)


async def test_a_destination_can_be_swapped_under_load(made: Plant) -> None:
    made.channel("a", "server")
    made.channel("b", "server")
    total = 0
    taken: list[tuple[str, str]] = []
    for _ in range(6):
        for channel in "ab":
            await made.send(channel, *numbers(15, start=1 + total))
        total += 15
        old, old_destination = made.workers["server"], made.destinations["server"]
        old_destination.gate.clear()
        async with made.intake.between_messages():
            await made.destination("server", start=False, memory_deliveries=10)
            made.intake.configure(dict(made.channels), made.workers)
        await old.stop(0.0)
        taken += old_destination.taken
        made.look_for_open("server")
        await made.workers["server"].start()
    await made.drain()
    taken += made.destinations["server"].taken
    for channel in "ab":
        mine = [body for name, body in taken if name == channel]
        assert list(dict.fromkeys(mine)) == numbers(total)
    assert set(made.states("server")) == {"delivered"}
