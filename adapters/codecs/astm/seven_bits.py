"""Lines of seven data bits, where a byte carries the parity in bit 7, or nothing.

A UART that is set to seven bits hands on bytes whose bit 7 is clear. Some lines have none: a device server whose port
is set to 8N1 passes the analyzer's parity bit on as bit 7 of each byte, and a checksum over such bytes is wrong
although no bit was damaged. So bit 7 of every byte from a line of seven bits is cleared, which changes nothing where a
UART has done it already.

On the way out the parity goes into bit 7: a server that is set to seven bits drops it and makes its own, one that is
set to eight sends it as it is. The analyzer receives the right parity in both cases.
"""

_CLEAR = bytes(byte & 0x7F for byte in range(256))
_EVEN = bytes((byte & 0x7F) | (((byte & 0x7F).bit_count() & 1) << 7) for byte in range(256))
_PARITY = {
    "none": _CLEAR,
    "space": _CLEAR,
    "even": _EVEN,
    "odd": bytes(byte ^ 0x80 for byte in _EVEN),
    "mark": bytes(byte | 0x80 for byte in _CLEAR),
}


def strip(data: bytes) -> bytes:
    """``data`` with bit 7 of each byte clear."""
    return data.translate(_CLEAR)


def with_parity(data: bytes, parity: str) -> bytes:
    """``data`` as seven bits with the parity in bit 7.

    Args:
        parity: ``none``, ``even``, ``odd``, ``mark`` or ``space``; bit 7 is clear for ``none`` and ``space``.
    """
    return data.translate(_PARITY[parity])
