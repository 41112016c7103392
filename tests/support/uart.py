"""A serial line, bit by bit: what a receiver reads whose speed or parity is not the sender's."""

from collections.abc import Iterator


def levels(data: bytes, *, parity: str = "none", idle: int = 3) -> Iterator[int]:
    """The line while ``data`` is sent, one level a bit time: start 0, bits from the lowest, parity, stop 1.

    With a parity there are 7 data bits.
    """
    for byte in data:
        bits = [byte >> n & 1 for n in range(7 if parity != "none" else 8)]
        if parity != "none":
            bits.append(sum(bits) % 2 if parity == "even" else 1 - sum(bits) % 2 if parity == "odd" else 1)
        yield from (0, *bits, 1, *[1] * idle)


def read_back(line: list[int], *, oversample: int, per_bit: float) -> bytes:
    """What an 8N1 receiver makes of ``line``, sampled ``oversample`` times a sender's bit.

    Args:
        per_bit: samples in one bit time of the receiver; ``oversample`` for the right speed.
    """
    samples = [level for level in line for _ in range(oversample)]
    found, at = bytearray(), 0
    while at < len(samples):
        if samples[at]:
            at += 1
            continue
        middles = [round(at + per_bit * (n + 1.5)) for n in range(8)]
        if middles[-1] >= len(samples):
            break
        found.append(sum(samples[middle] << n for n, middle in enumerate(middles)))
        at = round(at + per_bit * 9.5)
        while at < len(samples) and not samples[at]:  # a framing error: wait for the line to rest
            at += 1
    return bytes(found)


def with_parity(data: bytes, parity: str) -> bytes:
    """What an 8N1 receiver reads of 7-bit data at the right speed."""
    return read_back(list(levels(data, parity=parity)), oversample=16, per_bit=16)


def at_speed(data: bytes, ratio: float) -> bytes:
    """What a receiver reads that is ``ratio`` times as fast as the sender."""
    return read_back(list(levels(data)), oversample=48, per_bit=48 / ratio)
