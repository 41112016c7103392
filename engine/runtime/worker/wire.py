"""Frames between the main process and its worker. Pure: bytes in, frames out.

    4 bytes  length of the head          8 bytes together, big-endian
    4 bytes  length of all blobs
    head     JSON array: kind, [length of each blob], fields ...
    blobs    one after the other

Messages and documents travel as blobs, so no byte of them is escaped or parsed. Both ends are the same version of
LabRelay, started from the same files; there is no negotiation. A frame that breaks these rules is an error of ours,
after which the stream cannot be trusted any more.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

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
