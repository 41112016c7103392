"""Prepare a large message for the journal's writer: hash and compress it in a thread of its own.

The writer's thread commits for all channels. Compressing 40 MiB would take it 400 ms, in which no other message could
become durable, and no sender be answered; after this preparation it only seals and stores.

The heap may have holes of 30 MiB by then: Python compiles a mapping when the first message of its structure comes, and
keeps that memory. It is returned to the system first, since a large message needs several times its size.
"""

import asyncio
from dataclasses import replace
from hashlib import sha256

from engine.model.message import Given, Received
from engine.model.packing import Packer
from engine.model.process import allocator

LARGE_BYTES = 1024 * 1024


async def prepared(received: Received) -> Received:
    """The message with the values that the writer would have to compute; unchanged where that is fast anyway."""
    if len(received.payload) <= LARGE_BYTES:
        return received
    return await asyncio.to_thread(_prepare, received)


def _prepare(received: Received) -> Received:
    allocator.trim()
    smaller, packed = Packer().pack(received.payload)
    return replace(received, payload_hash=sha256(received.payload).digest(), packed=Given(smaller) if packed else None)
