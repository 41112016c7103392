"""Documents in their compressed form: zstd, level 1, as one frame that states its content's size.

A FHIR Bundle shrinks to a fifth or less, so a document is compressed once, where it is made, and stays compressed in
memory, between processes and in the journal; only a destination unpacks it. A document that does not shrink is stored
as it is. The flag ``packed`` beside the bytes says whether it is compressed.
"""

import threading
from typing import TYPE_CHECKING

import zstandard

from engine.model.errors import RefusedDeliveryError
from engine.model.spans import TRACEPARENT
from engine.model.texts.reasons import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from engine.model.message import Delivery, LateRefusal
    from engine.model.ports import Destination
    from engine.model.versions import Versions

LARGE_BYTES = 256 * 1024  # unpacked in a thread, which gives up the interpreter meanwhile
SMALLEST_BYTES = 128  # shorter texts do not shrink
LEVEL = 1  # 7 us for 3 kB; the next levels cost twice that for a few per cent


class Packer:
    """Compresses. One for each thread: the compressor is not made for two at once."""

    __slots__ = ("_compress",)

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(level=LEVEL).compress

    def pack(self, content: bytes) -> tuple[bytes, bool]:
        """``content`` compressed and True, or as it is and False where that would gain nothing."""
        if len(content) >= SMALLEST_BYTES:
            smaller = self._compress(content)
            if len(smaller) < len(content):
                return smaller, True
        return content, False


def pack_parts(parts: "Iterable[bytes]", size: int) -> bytes:
    """A large content that comes in parts, compressed. ``size``: of all of them together."""
    packing = zstandard.ZstdCompressor(level=LEVEL).compressobj(size=size)
    return b"".join([*map(packing.compress, parts), packing.flush()])


class _Unpacker(threading.local):
    """Decompresses; each thread has its own. To make a decompressor takes twice as long as to unpack 32 kB by it."""

    def __init__(self) -> None:
        self.decompress = zstandard.ZstdDecompressor().decompress


_unpacker = _Unpacker()


def unpack(content: bytes) -> bytes:
    """The document in its original form.

    Raises:
        ValueError: it is not what `Packer.pack` made.
    """
    try:
        return _unpacker.decompress(content)
    except zstandard.ZstdError as error:
        raise ValueError("not a zstd frame, or a damaged one") from error


class UnpackingDestination:
    """A destination that is handed documents whole; see `engine.model.ports.Destination`."""

    def __init__(self, destination: "Destination") -> None:
        self._destination = destination
        self.start = destination.start
        self.probe = destination.probe
        self.close = destination.close

    def hear_late(self, late: "Callable[[LateRefusal], None]") -> None:
        """Call ``late`` for a delivery that the destination refuses afterwards, if it can report that."""
        if hasattr(self._destination, "late"):
            self._destination.late = late

    def of_journal(self, said: "Callable[[], str]") -> None:
        """``said`` names the journal and its incarnation, for a destination that names them with each document."""
        if hasattr(self._destination, "journal"):
            self._destination.journal = said

    def withdraw(self, channel: str = "") -> None:
        """A person has changed what is delivered (of ``channel``): send nothing more of attempts that have ended, as
        far as that can be stopped.
        """
        if hasattr(self._destination, "withdraw"):
            self._destination.withdraw(channel)

    def hand_to(self, take: "Callable[[Delivery], Awaitable[None]]") -> None:
        """Have ``take`` keep the documents of a destination that sends nothing itself."""
        self._destination.take = take  # type: ignore[attr-defined]  # of `engine.features.abdm.client.destination`

    async def deliver(self, delivery: "Delivery") -> "Versions | None":
        if delivery.packed:
            try:
                if len(delivery.body) < LARGE_BYTES:
                    whole = unpack(delivery.body)
                else:
                    import asyncio  # here, for lists unpack too, and start without it

                    whole = await asyncio.to_thread(unpack, delivery.body)
                delivery = delivery.with_body(whole)
            except ValueError as error:
                raise RefusedDeliveryError(ReasonCode.DAMAGED, "the stored document cannot be unpacked") from error
        if delivery.traceparent:
            TRACEPARENT.set(delivery.traceparent)  # of this task, which is the attempt's own
        return await self._destination.deliver(delivery)
