"""The memory that unfinished messages of all connections share (P10)."""

import asyncio

import pytest

from engine.model.process.receive_memory import SMALL_BYTES, ReceiveMemory
from tests.support.channels import ACK, ENQ, MemoryStream, ScriptedStore, astm_link_of, block, channel, hl7, mllp_link
from tests.support.waiting import until

KiB = 1024


class Peer:
    def __init__(self) -> None:
        self.held = 0
        self.cut = 0

    def end(self) -> None:
        self.cut += 1


def test_the_largest_is_cut_once_and_counts_until_it_is_gone() -> None:
    memory = ReceiveMemory(limit=1000 * KiB)
    small, middle, large = Peer(), Peer(), Peer()
    for peer, held in ((small, 200 * KiB), (middle, 300 * KiB), (large, 400 * KiB)):
        memory.note(peer, held, peer.end)
    assert memory.held == 900 * KiB
    memory.note(small, 350 * KiB, small.end)
    assert [peer.cut for peer in (small, middle, large)] == [0, 0, 1]
    assert memory.held == 1050 * KiB  # it is not gone yet
    memory.forget(large)
    assert memory.held == 650 * KiB
    for peer in (small, middle):
        memory.forget(peer)
    assert (memory.held, memory.cut) == (0, 1)


def test_who_lets_go_while_those_that_were_cut_still_count_cuts_nobody() -> None:
    memory = ReceiveMemory(limit=1000 * KiB)
    slow, slower, done, bystander = Peer(), Peer(), Peer(), Peer()
    memory.note(done, 100 * KiB, done.end)
    memory.note(bystander, 100 * KiB, bystander.end)
    memory.note(slow, 450 * KiB, slow.end)
    memory.note(slower, 400 * KiB, slower.end)
    memory.note(slower, 560 * KiB, slower.end)  # both put aside what they have, and the journal takes its time
    assert (slow.cut, slower.cut) == (1, 1)
    memory.note(done, 0, done.end)  # its message is whole
    memory.note(bystander, 0, bystander.end)
    assert (done.cut, bystander.cut, memory.cut) == (0, 0, 2)


def test_small_holders_cost_nothing_and_are_never_cut() -> None:
    memory = ReceiveMemory(limit=SMALL_BYTES)
    peers = [Peer() for _ in range(100)]
    for peer in peers:
        memory.note(peer, SMALL_BYTES - 1, peer.end)
    assert memory.held == 0
    assert not any(peer.cut for peer in peers)


@pytest.mark.parametrize("protocol", ["mllp", "astm"])
async def test_of_many_messages_without_end_one_is_cut_and_kept_as_evidence(protocol: str) -> None:
    memory = ReceiveMemory(limit=500 * KiB)
    store = ScriptedStore()
    new_link = mllp_link if protocol == "mllp" else astm_link_of(max_frame=1 << 20)
    made = channel(store, new_link=new_link, memory=memory, max_connections=8)
    streams = [MemoryStream() for _ in range(3)]
    tasks = [asyncio.create_task(made.handle(stream)) for stream in streams]
    begin = b"\x0bMSH|^~\\&|" if protocol == "mllp" else ENQ + b"\x021H|\\^&|"
    for stream, size in zip(streams, (100, 150, 240), strict=True):
        stream.feed(begin + b"x" * size * KiB)
    await until(lambda: memory.held > 489 * KiB)
    streams[0].feed(b"x" * 50 * KiB)
    await asyncio.wait_for(tasks[2], 240.0)
    assert made.counts.faults["memory"] == 1
    assert memory.held < 310 * KiB
    streams[1].end()
    await asyncio.wait_for(tasks[1], 240.0)
    assert not tasks[0].done()
    if protocol == "mllp":  # the others go on as ever
        other = MemoryStream()
        serving = asyncio.create_task(made.handle(other))
        other.feed(block(hl7("1")))
        await until(lambda: b"MSA|AA" in other.written)
        other.end()
        await serving
    else:
        await until(lambda: ACK in streams[0].written)
    streams[0].end()
    await asyncio.wait_for(tasks[0], 240.0)
    assert memory.held == 0
