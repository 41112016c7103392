"""Frames between the main process and the one for large messages. Pure: bytes in, frames out.

    4 bytes  length of the head          8 bytes together, big-endian
    4 bytes  length of all blobs
    head     JSON array: kind, [length of each blob], fields ...
    blobs    one after the other

Messages and documents travel as blobs, so no byte of them is escaped or parsed. Both ends are the same version of
LabRelay, started from the same files; there is no negotiation. A frame that breaks these rules is an error of ours,
after which the stream cannot be trusted any more.

The socket between the two: frames out as they are sent, in as they come.
"""

import asyncio
import logging
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import orjson

from engine.model.errors import ProtocolError

MAX_HEAD_BYTES = 16 * 1024 * 1024
MAX_BLOBS_BYTES = 2**31 - 1  # all documents of the largest message, compressed, and what was noted of it

_LENGTHS = struct.Struct(">II")


class Frame(NamedTuple):
    """One frame as it was sent. ``fields`` are JSON values."""

    kind: str
    fields: list[Any]
    blobs: list[bytes]


def encode(kind: str, fields: Sequence[Any] = (), blobs: Sequence[bytes] = ()) -> list[bytes]:
    """The parts of a frame, to be written one after the other.

    Raises:
        TypeError: a field is no JSON value (for example a text with half a surrogate pair).
        ProtocolError: the frame is over a limit.
    """
    sizes = [*map(len, blobs)]
    head, size = orjson.dumps((kind, sizes, *fields)), sum(sizes)
    if len(head) > MAX_HEAD_BYTES or size > MAX_BLOBS_BYTES:
        raise ProtocolError(f"a frame of {len(head)} + {size} bytes")
    return [_LENGTHS.pack(len(head), size), head, *blobs]


class Decoder:
    """Split a byte stream into frames, however the bytes were cut on the way."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = _LENGTHS.size  # bytes that ``_rest`` must have before the next check is worth it

    def feed(self, data: bytes | bytearray) -> list[Frame]:
        """Every frame that ``data`` completes, in order.

        Raises:
            ProtocolError: it is no frame of ours; the rest of the stream cannot be read.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            data, self._rest = self._rest, bytearray()  # not copied: it may be large
        frames: list[Frame] = []
        at, end = 0, len(data)
        self._wanted = _LENGTHS.size
        while end - at >= _LENGTHS.size:
            head_bytes, blobs_bytes = _LENGTHS.unpack_from(data, at)
            if head_bytes > MAX_HEAD_BYTES or blobs_bytes > MAX_BLOBS_BYTES:
                raise ProtocolError(f"a frame of {head_bytes} + {blobs_bytes} bytes")
            head_at = at + _LENGTHS.size
            blobs_at = head_at + head_bytes
            after = blobs_at + blobs_bytes
            if after > end:
                self._wanted = after - at
                break
            frames.append(_read(data, head_at, blobs_at, after))
            at = after
        if at < end:
            self._rest += memoryview(data)[at:]
        return frames


def _read(data: bytes | bytearray, head_at: int, blobs_at: int, after: int) -> Frame:
    whole = memoryview(data)
    try:
        kind, sizes, *fields = orjson.loads(whole[head_at:blobs_at])
    except (ValueError, TypeError) as error:
        raise ProtocolError("a frame without kind and lengths") from error
    if not isinstance(kind, str) or not isinstance(sizes, list):
        raise ProtocolError("a frame without kind and lengths")
    blobs = []
    for size in sizes:
        if type(size) is not int or size < 0:
            raise ProtocolError("a blob without a length")
        blobs.append(bytes(whole[blobs_at : blobs_at + size]))
        blobs_at += size
    if blobs_at != after:
        raise ProtocolError("the lengths of a frame disagree")
    return Frame(kind, fields, blobs)


logger = logging.getLogger("labrelay.large")

JOINED_BYTES = 256 * 1024  # of a frame that is written in one piece


class Pipe(asyncio.Protocol):
    """One end. ``received`` is called for each frame, ``lost`` once when the other side is gone."""

    def __init__(self, received: Callable[[Frame], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None

    def send(self, parts: list[bytes]) -> None:
        """Send a frame; does nothing after the other side is gone."""
        if self._transport is None:
            return
        if sum(map(len, parts)) <= JOINED_BYTES:
            self._transport.write(b"".join(parts))
        else:  # a copy of a large message takes longer than a write
            self._transport.writelines(parts)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has its methods, but is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._received(frame)
        except ProtocolError:
            logger.exception("the other process cannot be understood")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lost()
