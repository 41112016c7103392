"""Large messages, and those above `max_message`: of these keep the beginning and a hash, answer, discard the rest.

A sender without an answer repeats the message endlessly; a sender that reads "too large" can show it to a person. HL7
answers with an acknowledgement AR (table 0008) where the header was read: MSH is at the beginning. ASTM E1381 (8.3.2.4)
has NAK, which the link has answered. The connection is then closed, since there is no safe place to resume. It is
closed only after the peer could read the answer: closing a socket with unread bytes resets it, and the answer is lost.

Prepare a large message for the journal's writer: hash and compress it in a thread of its own.

The writer's thread commits for all channels. Compressing 40 MiB would take it 400 ms, in which no other message could
become durable, and no sender be answered; after this preparation it only seals and stores.

The heap may have holes of 30 MiB by then: Python compiles a mapping when the first message of its structure comes, and
keeps that memory. It is returned to the system first, since a large message needs several times its size.
"""

import asyncio
from dataclasses import replace
from hashlib import sha256

from engine.model.message import Given, Received, Truncation
from engine.model.packing import Packer
from engine.model.ports import Stream
from engine.model.process import allocator
from engine.model.texts.units import size_text

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


KEPT_BYTES = 64 * 1024
QUIET_S = 1.0  # a peer that has sent nothing for so long has read the answer, or will not
THROW_AWAY_S = 10.0  # what comes is thrown away for so long at most
IN_PLACE_BYTES = 1024 * 1024  # up to this size a hash costs less than a thread


async def beginning(received: Received, whole: bytes, max_message: int) -> Received:
    """``received`` as it is stored: its payload is the beginning of ``whole``, and its notes describe the rest."""
    digest = sha256(whole).digest() if len(whole) <= IN_PLACE_BYTES else await asyncio.to_thread(_digest, whole)
    note = (
        f"over max_message ({size_text(max_message)}): of {len(whole)} bytes that came the first"
        f" {len(received.payload)} are kept; SHA-256 of all {digest.hex()}"
    )
    return replace(received, notes=(*received.notes, note), cut=Truncation(size=len(whole), digest=digest))


def refusal(max_message: int) -> str:
    """The error text for the sender."""
    return f"the message is larger than max_message ({size_text(max_message)}); it was not accepted"


async def throw_away(stream: Stream) -> None:
    """Read what the peer still sends, and keep nothing of it."""
    with_deadline = asyncio.timeout(THROW_AWAY_S)
    try:
        async with with_deadline:
            while await stream.read(QUIET_S):
                pass
    except (TimeoutError, OSError):
        pass


def _digest(whole: bytes) -> bytes:
    return sha256(whole).digest()
