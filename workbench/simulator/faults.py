"""The faults of one session, decided before it begins: the same seed damages the same bytes.

fault         on an E1381 link                                   on MLLP
bad-checksum  a frame is damaged, so the peer must say NAK       a block breaks off and is begun again
lost-ack      an ACK does not arrive, so the frame comes again   an answer does not arrive, so the message comes again
drop          the connection breaks in a frame, or before its    the same, in or behind a block
              ACK, and the whole message is sent again
contention    both sides want the line, so ENQ is sent again     the next message before the answer to the first
slow          bytes trickle                                      the same
garbage       noise before the session                           noise between blocks
split         a write is cut anywhere                            the same
"""

import random
from dataclasses import dataclass
from enum import Enum

SHARE = 0.3  # of sessions that each fault strikes
NOISE_BYTES = 12
NOT_NOISE = frozenset(b"\x02\x05\x0b")  # STX, ENQ, VT begin something: an answer to them would be right
SLOW_PIECES = 24  # how many pieces a transmission trickles in,
TRICKLE_S = 0.004  # and how long after one another


class Fault(Enum):
    BAD_CHECKSUM = "bad-checksum"
    LOST_ACK = "lost-ack"
    DROP = "drop"
    CONTENTION = "contention"
    SLOW = "slow"
    GARBAGE = "garbage"
    SPLIT = "split"


ALL = frozenset(Fault)


@dataclass(frozen=True, slots=True)
class Plan:
    """The faults of one session, one kind each at most.

    Attributes:
        damaged, deaf: the transmission (frame or block, from 0) that is damaged, or whose ACK is lost.
        dropped: (transmission, share of it that still goes out; 1.0: all of it, but no answer is waited for).
        noise: bytes before the session.
        pause_s: seconds between two pieces of what trickles.
        rng: for where exactly; of this session only.
    """

    rng: random.Random
    damaged: int | None = None
    deaf: int | None = None
    dropped: tuple[int, float] | None = None
    contended: bool = False
    slow: bool = False
    split: bool = False
    noise: bytes = b""
    pause_s: float = 0.0

    def pieces(self, data: bytes) -> list[bytes]:
        """``data`` as it is written: whole, in pieces anywhere, or in many small ones."""
        if self.slow:
            size = max(1, len(data) // SLOW_PIECES)
            return [data[at : at + size] for at in range(0, len(data), size)]
        if self.split and len(data) > 1:
            cuts = sorted(self.rng.sample(range(1, len(data)), min(len(data) - 1, self.rng.randrange(1, 5))))
            return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        return [data]


def plan_of(
    enabled: frozenset[Fault], *, seed: int, session: int, transmissions: int, trickle_s: float = TRICKLE_S
) -> Plan:
    """Plan the faults of a session of so many frames (or blocks)."""
    rng = random.Random(f"{seed} {session}")
    hit = {fault for fault in Fault if rng.random() < SHARE and fault in enabled}

    def somewhere() -> int:
        return rng.randrange(max(1, transmissions))

    return Plan(
        rng=rng,
        damaged=somewhere() if Fault.BAD_CHECKSUM in hit else None,
        deaf=somewhere() if Fault.LOST_ACK in hit else None,
        dropped=(somewhere(), rng.choice((rng.random(), 1.0))) if Fault.DROP in hit else None,
        contended=Fault.CONTENTION in hit,
        slow=Fault.SLOW in hit,
        split=Fault.SPLIT in hit,
        noise=_noise(rng) if Fault.GARBAGE in hit else b"",
        pause_s=trickle_s if Fault.SLOW in hit else 0.0,
    )


def damage(frame: bytes, rng: random.Random) -> bytes:
    """``frame`` with a wrong sum, even if it stays readable: no receiver may accept it."""
    end = max(frame.rfind(b"\x03"), frame.rfind(b"\x17"))
    how = rng.randrange(3)
    if how == 0 and end > 2:  # a character of the text becomes another one, printable, one bit off
        at = rng.randrange(2, end)
        if 0x22 <= frame[at] < 0x7E:
            return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
    if how == 1 and end > 3:  # one is lost
        at = rng.randrange(2, end)
        if frame[at]:
            return frame[:at] + frame[at + 1 :]
    digit = frame[end + 1 : end + 2]
    return frame[: end + 1] + (b"0" if digit != b"0" else b"1") + frame[end + 2 :]


def _noise(rng: random.Random) -> bytes:
    drawn = (rng.randrange(256) for _ in range(rng.randrange(1, NOISE_BYTES)))
    return bytes(byte for byte in drawn if byte not in NOT_NOISE)
