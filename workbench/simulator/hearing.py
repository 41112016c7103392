"""One message of the host over E1381, as the analyzer takes it: strictly, and with words for what breaks the protocol.

    host  ENQ      frame 1      frame 2      EOT
    we        ACK          ACK          ACK

A frame with a wrong sum, number or length is refused (NAK). Written apart from the receiver of the engine, which is the
other end of the line here.
"""

import asyncio
import re

from workbench.simulator.dialogue import Dialogue, readable
from workbench.simulator.wires import Wire

ENQ, ACK, NAK, EOT, STX = b"\x05", b"\x06", b"\x15", b"\x04", b"\x02"
FRAME_WITHIN_S = 30.0  # the receiver's timer of E1381
_FRAME = re.compile(rb"\x02([0-7])([^\x02\x03\x17]*)([\x03\x17])([0-9A-F]{2})\r\n\Z", re.DOTALL)
_OVER = re.compile(rb"[\x03\x17][^\r]{2}\r\n\Z")


class Hearing:
    """Reads what the host says. ``frame_limit``: bytes of text in a frame.

    ``refuses``: the first good frame is refused once, as if it had come damaged.
    """

    def __init__(self, wire: Wire, dialogue: Dialogue, *, frame_limit: int, refuses: bool = False) -> None:
        self._wire, self._talk = wire, dialogue
        self._limit = frame_limit
        self._refuses = refuses
        self._text, self._frame = b"", b""
        self._expected, self._last = 1, b""
        self._in_session = False

    async def message(self, within_s: float) -> bytes | None:
        """The host's next message; None: it does not ask for the line in time, or gives up in the middle.

        Raises:
            OSError: the line broke.
        """
        clock = asyncio.get_running_loop().time
        due = clock() + within_s
        while True:
            try:
                data = await self._wire.read(max(0.0, due - clock()))
            except TimeoutError:
                if self._in_session:
                    self._talk.violation(f"nothing within {FRAME_WITHIN_S:g} s in the middle of a session")
                return None
            self._talk.came(data)
            for byte in data:
                answer = self._byte(bytes([byte]))
                if answer is None:
                    return self._text or None
                if answer:
                    self._talk.sent(answer)
                    await self._wire.write([answer])
            if self._in_session:
                due = clock() + FRAME_WITHIN_S

    def _byte(self, byte: bytes) -> bytes | None:
        """What is answered to it; None: the session is over."""
        if self._frame:
            self._frame += byte
            return self._judged() if _OVER.search(self._frame) else b""
        if byte == ENQ and not self._in_session:
            self._in_session = True
            return ACK
        if not self._in_session:
            self._talk.violation(f"{readable(byte)} before ENQ")
            return b""
        if byte == EOT:
            return None
        if byte == STX:
            self._frame = byte
        else:
            self._talk.violation(f"{readable(byte)} between two frames")
        return b""

    def _judged(self) -> bytes:
        frame, self._frame = self._frame, b""
        found = _FRAME.match(frame)
        if found is None or int(found[4], 16) != sum(frame[1:-4]) % 256:
            self._talk.violation(f"a frame with a wrong sum or form: {readable(frame)}")
            return NAK
        if frame == self._last:
            return ACK
        if int(found[1]) != self._expected:
            self._talk.violation(f"frame {found[1].decode()} where {self._expected} is due")
            return NAK
        if len(found[2]) > self._limit:
            self._talk.violation(f"a frame of {len(found[2])} bytes; this analyzer takes {self._limit}")
            return NAK
        if self._refuses:
            self._refuses = False
            self._talk.fault("bad-checksum", "taken as damaged on its way: the host must send it again")
            return NAK
        self._last, self._expected = frame, (self._expected + 1) % 8
        self._text += found[2]
        return ACK
