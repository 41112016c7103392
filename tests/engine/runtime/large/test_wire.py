"""Frames between the two processes survive any cutting, and nothing else passes for one."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import ProtocolError
from engine.runtime.large.wire import MAX_BLOBS_BYTES, MAX_HEAD_BYTES, Decoder, Frame, encode

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
fields = st.recursive(scalars | texts, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
frames = st.builds(Frame, texts, st.lists(fields, max_size=5), st.lists(st.binary(max_size=300), max_size=4))


def on_the_wire(frame: Frame) -> bytes:
    return b"".join(encode(frame.kind, frame.fields, frame.blobs))


@given(st.lists(frames, max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_chunking_gives_the_same_frames(sent: list[Frame], sizes: list[int]) -> None:
    wire = b"".join(map(on_the_wire, sent))
    decoder, read, at = Decoder(), [], 0
    turn = 0
    while at < len(wire):
        size = sizes[turn % len(sizes)]
        read += decoder.feed(wire[at : at + size])
        at, turn = at + size, turn + 1
    assert read == sent
    assert not decoder._rest


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_frame_or_our_own_error(data: bytes) -> None:
    decoder = Decoder()
    try:
        for frame in decoder.feed(data):
            assert isinstance(frame.kind, str)
    except ProtocolError:
        pass


def frame_of(head: bytes, blobs: bytes = b"") -> bytes:
    return struct.pack(">II", len(head), len(blobs)) + head + blobs


@pytest.mark.parametrize(
    "wire",
    [
        frame_of(b"{}"),
        frame_of(b"[]"),
        frame_of(b'["map"]'),
        frame_of(b'["map", 3]'),
        frame_of(b"[1, []]"),
        frame_of(b'["map", [4]]', b"abc"),
        frame_of(b'["map", [2]]', b"abc"),
        frame_of(b'["map", [-1, 4]]', b"abc"),
        frame_of(b'["map", [true]]', b"a"),
        frame_of(b'["map", [1.0]]', b"a"),
        frame_of(b"no JSON"),
        struct.pack(">II", MAX_HEAD_BYTES + 1, 0),
        struct.pack(">II", 2, MAX_BLOBS_BYTES + 1),
    ],
)
def test_what_is_no_frame_is_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder().feed(wire)


@pytest.mark.parametrize("field", ["\ud800", b"bytes", {1, 2}])
def test_what_json_cannot_carry_is_refused_before_it_is_sent(field: Any) -> None:
    with pytest.raises(TypeError):
        encode("map", [field])


def test_a_large_frame_in_many_small_reads_is_not_copied_each_time() -> None:
    """4 MiB in reads of 1 KiB: with a copy at each of them, 8 GiB would be moved."""
    blob = bytes(4 * 1024 * 1024)
    wire = on_the_wire(Frame("map", [], [blob]))
    decoder = Decoder()
    looks = 0
    for at in range(0, len(wire), 1024):
        before = len(decoder._rest)
        found = decoder.feed(wire[at : at + 1024])
        looks += len(decoder._rest) < before
        if found:
            assert found == [Frame("map", [], [blob])]
    assert looks == 1  # only the last read made it take the buffer apart
