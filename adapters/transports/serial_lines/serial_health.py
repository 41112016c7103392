"""Whether the bytes of a line arrive undamaged: a UART notices bytes that do not fit its speed, bits or parity.

The driver counts them (TIOCGICOUNT), and so does a device server that speaks RFC 2217. A few are noise; where they are
a large part of all that comes, the line is set another way than the analyzer, and nothing on it can be believed.
"""

import fcntl
import struct

TIOCGICOUNT = 0x545D  # linux/serial.h, the same on all architectures LabRelay's packages exist for
# cts, dsr, rng, dcd, rx, tx, frame, overrun, parity, brk, buf_overrun, and nine that are reserved
_COUNTERS = struct.Struct("20i")
_RX, _FRAME, _PARITY, _BREAK = 4, 6, 8, 9

FEWEST_ERRORS = 5
SHARE = 0.1  # of all bytes; even at the wrong speed many bytes fit by chance


class LineHealth:
    """The state of one line, from counters that only grow."""

    def __init__(self) -> None:
        self._received = 0
        self._errors = 0
        self._trouble = ""

    def look(self, received: int, errors: int) -> str:
        """The problem of the line, in words; empty while there is none. A silent line keeps its state.

        Args:
            received: bytes that came since the line was opened.
            errors: those that came with a framing or parity error, and breaks.
        """
        came, bad = received - self._received, errors - self._errors
        self._received, self._errors = received, errors
        if bad >= FEWEST_ERRORS and bad >= came * SHARE:
            self._trouble = (
                f"the bytes do not fit the line's settings ({bad} errors in {came} bytes); check baud, bytesize, "
                "parity and stopbits against the analyzer's, and the cable"
            )
        elif came > 0:
            self._trouble = ""
        return self._trouble


def counters(fd: int) -> tuple[int, int] | None:
    """Bytes received and errors, as the driver counts them; None where it does not (a pty, for one)."""
    try:
        counted = _COUNTERS.unpack(fcntl.ioctl(fd, TIOCGICOUNT, bytes(_COUNTERS.size)))
    except OSError:
        return None
    return counted[_RX], counted[_FRAME] + counted[_PARITY] + counted[_BREAK]
