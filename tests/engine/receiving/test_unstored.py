"""What a channel could not keep is tried by whoever comes next: in its order, once each, counted until it is durable.

Half-sent MLLP messages whose connection has ended serve as evidence: nobody will send those bytes again.
"""

import asyncio

import pytest

from engine.model.errors import StoreError
from engine.receiving import unstored as unkept_module
from engine.receiving.channel import Channel
from tests.support.channels import MemoryStream, ScriptedStore, block, channel, hl7
from tests.support.waiting import until

FULL = StoreError("the journal cannot keep this: database or disk is full")
FOR_EVER = 100_000


def half(number: int) -> bytes:
    return hl7(str(number), "x" * 10 * number)[:-1]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unkept_module, "STORE_RETRY_S", 0.01)


def connect(made: Channel) -> tuple[MemoryStream, "asyncio.Task[None]"]:
    stream = MemoryStream()
    return stream, asyncio.create_task(made.handle(stream))


def hang_up_amid(made: Channel, number: int) -> "asyncio.Task[None]":
    stream, task = connect(made)
    stream.feed(block(half(number))[:-2])
    stream.end()
    return task


async def leave(made: Channel, store: ScriptedStore, numbers: range) -> None:
    """Have evidence that a pause left unkept."""
    store.faults = [FULL] * FOR_EVER
    made.stop()
    for number in numbers:
        await asyncio.wait_for(hang_up_amid(made, number), 240.0)
    store.faults = []
    made.begin()


async def cut_off(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=60.0)
    assert task.done()


async def hang_up(stream: MemoryStream, task: "asyncio.Task[None]") -> None:
    stream.end()
    await asyncio.wait_for(task, 240.0)


def kept(store: ScriptedStore) -> list[bytes]:
    return [received.payload for received in store.incomplete]


def size(numbers: range) -> int:
    return sum(len(half(number)) for number in numbers)


async def test_a_connection_that_is_cut_off_while_it_keeps_what_was_left_forgets_nothing() -> None:
    store = ScriptedStore()
    made = channel(store)
    await leave(made, store, range(1, 5))
    assert made.unkept.waiting_bytes == size(range(1, 5))
    store.faults = [None, *[FULL] * FOR_EVER]
    _, task = connect(made)
    await until(lambda: len(store.faults) < FOR_EVER - 1)  # the first is kept, the second was tried twice
    assert made.unkept.waiting_bytes == size(range(2, 5))
    await cut_off(task)
    assert made.unkept.waiting_bytes == size(range(2, 5))
    store.faults = []
    again = connect(made)
    await until(lambda: len(store.incomplete) == 4)
    assert kept(store) == [half(number) for number in range(1, 5)]
    assert made.unkept.waiting_bytes == 0
    await hang_up(*again)


async def test_a_second_pause_leaves_what_the_first_left_in_its_order() -> None:
    store = ScriptedStore()
    made = channel(store)
    await leave(made, store, range(1, 4))
    store.faults = [FULL, FULL, *[None] * 10]
    made.stop()
    await hang_up(*connect(made))  # the first cannot be kept: those behind it wait for it
    assert kept(store) == []
    assert made.unkept.waiting_bytes == size(range(1, 4))
    store.faults = []
    made.begin()
    again = connect(made)
    await until(lambda: len(store.incomplete) == 3)
    assert kept(store) == [half(number) for number in range(1, 4)]
    await hang_up(*again)


@pytest.mark.parametrize("fault", [None, FULL])
async def test_what_was_on_its_way_to_the_journal_when_its_connection_was_cut_off_is_kept_once(
    fault: StoreError | None,
) -> None:
    store = ScriptedStore()
    made = channel(store)
    await leave(made, store, range(1, 3))
    store.manual, store.faults = True, [fault]
    _, task = connect(made)
    await until(lambda: len(store.waiting) == 1)
    await cut_off(task)
    again = connect(made)  # before it is known what comes of the attempt
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(store.waiting) == 1
    assert made.unkept.waiting_bytes == size(range(1, 3))
    store.manual = False
    store.release()
    await until(lambda: len(store.incomplete) == 2)
    assert kept(store) == [half(1), half(2)]
    assert made.unkept.waiting_bytes == 0
    await hang_up(*again)


async def test_what_becomes_durable_after_its_connection_was_cut_off_counts_no_more() -> None:
    store = ScriptedStore(manual=True)
    made = channel(store)
    task = hang_up_amid(made, 1)
    await until(lambda: len(store.waiting) == 1)
    await cut_off(task)
    assert made.unkept.waiting_bytes == size(range(1, 2))
    store.release()
    await until(lambda: made.unkept.waiting_bytes == 0)
    assert kept(store) == [half(1)]


async def test_a_connection_that_is_cut_off_leaves_what_it_came_with_to_the_next() -> None:
    store = ScriptedStore(faults=[FULL] * FOR_EVER)
    made = channel(store)
    task = hang_up_amid(made, 1)
    await until(lambda: len(store.faults) < FOR_EVER - 1)
    await cut_off(task)
    assert made.unkept.waiting_bytes == size(range(1, 2))
    store.faults = []
    again = connect(made)
    await until(lambda: made.unkept.waiting_bytes == 0)
    assert kept(store) == [half(1)]
    await hang_up(*again)


async def test_two_connections_do_not_mix_up_what_was_left() -> None:
    """The one that came second serves its peer meanwhile."""
    store = ScriptedStore()
    made = channel(store)
    await leave(made, store, range(1, 4))
    store.manual = True
    first, second = connect(made), connect(made)
    await until(lambda: len(store.waiting) == 1)
    second[0].feed(block(hl7("9")))
    await until(lambda: len(store.waiting) == 2)
    store.release(2)
    await until(lambda: second[0].codes == ["AA"])
    store.manual = False
    await until(lambda: len(store.waiting) == 1)
    store.release()
    await until(lambda: len(store.incomplete) == 3)
    assert kept(store) == [half(number) for number in range(1, 4)]
    await hang_up(*first)
    await hang_up(*second)


async def test_what_its_own_connection_still_tries_is_tried_by_no_other() -> None:
    store = ScriptedStore(manual=True)
    made = channel(store)
    own = hang_up_amid(made, 1)
    await until(lambda: len(store.waiting) == 1)
    other = connect(made)
    other[0].feed(block(hl7("9")))
    await until(lambda: len(store.waiting) == 2)
    store.release(2)
    await asyncio.wait_for(own, 240.0)
    await hang_up(*other)
    assert (other[0].codes, kept(store)) == (["AA"], [half(1)])


async def test_what_was_left_keeps_its_room_while_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ScriptedStore()
    made = channel(store, max_connections=9)
    await leave(made, store, range(2, 4))
    monkeypatch.setattr(unkept_module, "INSIST_BYTES", size(range(2, 4)))
    store.manual, store.faults = True, [FULL, FULL]
    again = connect(made)
    await until(lambda: len(store.waiting) == 1)
    newcomer = hang_up_amid(made, 1)  # what it has would have room, were the other one forgotten while it is tried
    await until(lambda: len(store.waiting) == 2)
    store.manual = False
    store.waiting.pop()()  # it is the first to hear that it failed
    await asyncio.wait_for(newcomer, 240.0)
    store.release()
    assert made.counts.faults["evidence-not-kept"] == 1
    await until(lambda: len(store.incomplete) == 2)
    assert kept(store) == [half(2), half(3)]
    await hang_up(*again)


@pytest.mark.parametrize("fault", [None, FULL])
async def test_a_channel_that_is_configured_anew_keeps_what_the_old_one_left(fault: StoreError | None) -> None:
    """An attempt that the old one began may end later: what it kept is not kept again."""
    store = ScriptedStore()
    old, made = channel(store), channel(store)
    await leave(old, store, range(1, 4))
    store.manual, store.faults = True, [fault]
    _, task = connect(old)
    await until(lambda: len(store.waiting) == 1)
    await cut_off(task)
    made.unkept.take_over(old.unkept)
    assert made.unkept.waiting_bytes == size(range(1, 4))
    again = connect(made)
    store.manual = False
    store.release()
    await until(lambda: made.unkept.waiting_bytes == 0)
    assert kept(store) == [half(number) for number in range(1, 4)]
    await hang_up(*again)


async def test_what_has_no_room_is_tried_once_and_kept_where_that_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unkept_module, "INSIST_BYTES", 1)
    store = ScriptedStore()
    made = channel(store)
    await asyncio.wait_for(hang_up_amid(made, 1), 240.0)
    assert kept(store) == [half(1)]
    assert made.counts.faults["evidence-not-kept"] == 0
    assert made.unkept.waiting_bytes == 0


async def test_a_full_queue_is_a_failed_attempt_like_any_other() -> None:
    store = ScriptedStore(faults=[FULL, FULL], at_once=True)
    made = channel(store)
    await asyncio.wait_for(hang_up_amid(made, 1), 240.0)
    assert kept(store) == [half(1)]
    assert made.counts.faults["not-stored"] == 2


async def test_a_fault_of_ours_costs_what_it_concerns_and_holds_up_nothing_else() -> None:
    store = ScriptedStore()
    made = channel(store)
    await leave(made, store, range(1, 4))
    store.faults = [None, ValueError("cannot be sealed"), None]  # type: ignore[list-item]  # no fault of the store
    stream, task = connect(made)
    await asyncio.wait({task}, timeout=60.0)
    assert isinstance(task.exception(), ValueError)  # the transport says it, and ends this connection
    assert made.unkept.waiting_bytes == len(half(3))
    again = connect(made)
    await until(lambda: len(store.incomplete) == 2)
    assert kept(store) == [half(1), half(3)]
    assert made.unkept.waiting_bytes == 0
    assert stream.closed
    await hang_up(*again)
