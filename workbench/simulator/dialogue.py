"""Show the dialogue on the line, and the peer's mistakes, for people.

> ENQ
< ACK
> <STX>1H|\\^&|||DEMO<CR><ETX>7E<CR><LF>
! damaged on its way: the peer must answer NAK
* the peer broke the protocol: ...
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

NAMES = {
    0x00: "NUL", 0x01: "SOH", 0x02: "STX", 0x03: "ETX", 0x04: "EOT", 0x05: "ENQ", 0x06: "ACK", 0x0A: "LF", 0x0B: "VT",
    0x0D: "CR", 0x10: "DLE", 0x11: "DC1", 0x12: "DC2", 0x13: "DC3", 0x14: "DC4", 0x15: "NAK", 0x16: "SYN", 0x17: "ETB",
    0x1C: "FS",
}  # fmt: skip
KEPT = 100  # violations that are kept in words; more are counted


def readable(data: bytes) -> str:
    """Bytes with their control characters named."""
    if len(data) == 1 and data[0] in NAMES:
        return NAMES[data[0]]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return "".join(sign if sign.isprintable() else f"<{NAMES.get(ord(sign)) or f'{ord(sign):02X}'}>" for sign in text)


@dataclass(slots=True)
class Tally:
    """The counts.

    Attributes:
        sessions: tries to send a message; ``acknowledged`` of them succeeded.
        repeated: frames or blocks that were sent again.
        naks: good frames or messages that the peer refused, which it may do.
        lost: connections that the peer ended.
        failed: messages that were given up.
        faults: the deliberate faults, by name.
        violations: the peer's violations of the protocol; ``broken`` counts them.
    """

    sessions: int = 0
    acknowledged: int = 0
    frames: int = 0
    repeated: int = 0
    naks: int = 0
    lost: int = 0
    failed: int = 0
    bytes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    broken: int = 0


@dataclass(slots=True)
class Dialogue:
    """The dialogue of one line. ``say`` prints a line; None: nothing is printed."""

    say: Callable[[str], None] | None = None
    tally: Tally = field(default_factory=Tally)

    def sent(self, data: bytes) -> None:
        self.tally.bytes += len(data)
        if self.say is not None:
            self._lines(">", data)

    def came(self, data: bytes) -> None:
        if self.say is not None:
            self._lines("<", data)

    def note(self, text: str) -> None:
        if self.say is not None:
            self.say(f"  {text}")

    def fault(self, name: str, text: str) -> None:
        """Something was done on purpose."""
        self.tally.faults[name] += 1
        if self.say is not None:
            self.say(f"! {text}")

    def violation(self, text: str) -> None:
        """The peer broke the protocol."""
        self.tally.broken += 1
        if len(self.tally.violations) < KEPT:
            self.tally.violations.append(text)
        if self.say is not None:
            self.say(f"* the peer broke the protocol: {text}")

    def _lines(self, arrow: str, data: bytes) -> None:
        """One line each segment of a block, one line anything else."""
        assert self.say is not None
        if data[:1] == b"\x0b" and data.count(b"\r") > 2:
            for number, line in enumerate(data.split(b"\r")[:-1]):
                self.say(f"{arrow if number == 0 else ' '} {readable(line + chr(13).encode())}")
        else:
            self.say(f"{arrow} {readable(data)}")
