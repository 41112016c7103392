"""The client's side of RFC 2217, serial lines of a device server over Telnet. Pure: bytes in, bytes out.

    IAC SB COM-PORT-OPTION command value IAC SE        255 250 44 c v... 255 240
    IAC WILL | WONT | DO | DONT option                 255 251..254 o
    IAC IAC                                            one byte 255 of the line

Telnet's options are negotiated so that there is no loop (RFC 1143 describes those): we ask for each option once, and
one that was refused stays refused, so each can change its state twice at most. The options:

- COM-PORT-OPTION (44): we WILL, the server answers DO. Some servers offer it themselves; that counts as well.
- BINARY (0) and SUPPRESS-GO-AHEAD (3), both ways. Where a server refuses them, bytes pass as they are all the same: a
  serial line has no line ends to translate.
- Every other option is refused, ECHO among them.

Once the option is agreed, the line's settings go out together, and each answer is compared with what was asked. Speed,
data bits, parity and stop bits must be confirmed before the line is ready; the answer to flow control and the modem
lines is not waited for, since some servers give none.

The server's buffer is never purged: of an analyzer that sends without waiting for answers, it may hold the only copy.
"""

from collections import Counter
from typing import Protocol

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44

SET_BAUDRATE, SET_DATASIZE, SET_PARITY, SET_STOPSIZE, SET_CONTROL = 1, 2, 3, 4, 5
NOTIFY_LINESTATE, NOTIFY_MODEMSTATE, FLOW_SUSPEND, FLOW_RESUME, SET_LINESTATE_MASK = 6, 7, 8, 9, 10
FROM_SERVER = 100  # a server's command is the client's plus this

PARITY = {"none": 1, "odd": 2, "even": 3, "mark": 4, "space": 5}
STOPSIZE = {1: 1, 2: 2}
DTR_ON, RTS_ON = 8, 11
# SET-CONTROL values: the first three speak for both directions; DSR is for what we send, DTR for what we get.
FLOW = {"none": (1,), "xonxoff": (2,), "rtscts": (3,), "dsrdtr": (19, 18)}
BAUD_TOLERANCE = 0.025  # servers answer with the speed their clock gives; a UART reads a byte right within 4 %
# Bits of NOTIFY-LINESTATE that report errors.
LINE_ERRORS = {0x02: "overrun", 0x04: "parity", 0x08: "framing", 0x10: "break"}

MAX_SUBNEGOTIATION = 256  # bytes; every known one has less than ten

_SIDES = ("ours", "theirs")
_OURS = frozenset({BINARY, SUPPRESS_GO_AHEAD, COM_PORT})
_THEIRS = frozenset({BINARY, SUPPRESS_GO_AHEAD})
_CHECKED = {SET_BAUDRATE: "baud", SET_DATASIZE: "bytesize", SET_PARITY: "parity", SET_STOPSIZE: "stopbits"}


class LineSettings(Protocol):
    """How a line is set: ``parity`` and ``flow`` in words, ``baud`` in bits a second."""

    baud: int
    bytesize: int
    parity: str
    stopbits: int
    flow: str


class ComPortClient:
    """One connection to a device server.

    Attributes:
        refusal: why the line cannot be used as it was asked for, in words; empty while all is well.
        speaks: the server has agreed to the option at all.
        suspended: the server has asked us to send nothing until it says so.
        line_errors: errors of the line that the server has reported: framing, parity, overrun, break.
    """

    def __init__(self, settings: LineSettings) -> None:
        self._wanted = {
            SET_BAUDRATE: settings.baud.to_bytes(4, "big"),
            SET_DATASIZE: bytes([settings.bytesize]),
            SET_PARITY: bytes([PARITY[settings.parity]]),
            SET_STOPSIZE: bytes([STOPSIZE[settings.stopbits]]),
        }
        self._flow = settings.flow
        self._confirmed: set[int] = set()
        self._agreed: dict[tuple[str, int], bool] = {}  # ("ours" or "theirs", option); False: refused, for good
        self._asked: set[tuple[str, int]] = set()
        self.speaks = False
        self._out = bytearray()
        self._command: int | None = None  # after IAC: 0 while the command is to come, else WILL ... DONT
        self._inside: bytearray | None = None  # a subnegotiation
        self.refusal = ""
        self.suspended = False
        self.line_errors: Counter[str] = Counter()
        for side, option in (("ours", COM_PORT), *((s, o) for o in (BINARY, SUPPRESS_GO_AHEAD) for s in _SIDES)):
            self._ask(side, option)

    @property
    def ready(self) -> bool:
        """The server has confirmed every setting."""
        return not self.refusal and self._confirmed >= _CHECKED.keys()

    @property
    def errors(self) -> int:
        """Bytes that did not fit the line's settings, and breaks."""
        return sum(self.line_errors[name] for name in ("framing", "parity", "break"))

    def outgoing(self) -> bytes:
        """Return and clear the negotiation bytes to send now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def encode(self, data: bytes) -> bytes:
        """``data`` for the line, as it goes over Telnet."""
        return data.replace(b"\xff", b"\xff\xff")

    def receive(self, data: bytes) -> bytes:
        """The bytes of the line in what the server sent."""
        if self._command is None and self._inside is None and IAC not in data:
            return data
        line = bytearray()
        for byte in data:
            if self._command is None:
                if byte == IAC:
                    self._command = 0
                else:
                    self._keep(byte, line)
            elif self._command != 0:
                self._option(self._command, byte)
                self._command = None
            elif byte in (WILL, WONT, DO, DONT):
                self._command = byte
            else:
                self._command = None
                self._one_byte_command(byte, line)
        return bytes(line)

    # -- Telnet ------------------------------------------------------------------------------------------------

    def _keep(self, byte: int, line: bytearray) -> None:
        if self._inside is None:
            line.append(byte)
        elif len(self._inside) <= MAX_SUBNEGOTIATION:
            self._inside.append(byte)

    def _one_byte_command(self, byte: int, line: bytearray) -> None:
        if byte == IAC:
            self._keep(IAC, line)
        elif byte == SB:
            self._inside = bytearray()
        elif byte == SE and self._inside is not None:
            inside, self._inside = bytes(self._inside), None
            if len(inside) >= 2 and inside[0] == COM_PORT and len(inside) <= MAX_SUBNEGOTIATION:
                self._notified(inside[1], inside[2:])

    def _ask(self, side: str, option: int) -> None:
        self._asked.add((side, option))
        self._say(WILL if side == "ours" else DO, option)

    def _say(self, command: int, option: int) -> None:
        self._out += bytes((IAC, command, option))

    def _option(self, command: int, option: int) -> None:
        """WILL and WONT speak of the server's side, DO and DONT of ours."""
        side = "theirs" if command in (WILL, WONT) else "ours"
        yes, no = (DO, DONT) if side == "theirs" else (WILL, WONT)
        key = (side, option)
        stood = self._agreed.get(key)
        if command in (WILL, DO):
            wanted = option in (_THEIRS if side == "theirs" else _OURS) or key == ("theirs", COM_PORT)
            if not wanted or stood is False:
                self._say(no, option)
                return
            if stood is None and key not in self._asked:
                self._say(yes, option)
            self._agreed[key] = True
        else:
            if stood:
                self._say(no, option)
            self._agreed[key] = False
            if key == ("ours", COM_PORT) and not self.speaks:
                self.refusal = "the server does not offer RFC 2217 on this port; use socket:// if it is a raw one"
        self._asked.discard(key)
        if option == COM_PORT and self._agreed[key] and not self.speaks:
            self._set_line()

    # -- COM-PORT-OPTION ---------------------------------------------------------------------------------------

    def _set_line(self) -> None:
        self.speaks = True
        for command, value in self._wanted.items():
            self._send_command(command, value)
        for control in FLOW[self._flow]:
            self._send_command(SET_CONTROL, bytes([control]))
        if self._flow != "dsrdtr":
            self._send_command(SET_CONTROL, bytes([DTR_ON]))
        if self._flow != "rtscts":
            self._send_command(SET_CONTROL, bytes([RTS_ON]))
        self._send_command(SET_LINESTATE_MASK, bytes([sum(LINE_ERRORS)]))

    def _send_command(self, command: int, value: bytes) -> None:
        self._out += bytes((IAC, SB, COM_PORT, command)) + self.encode(value) + bytes((IAC, SE))

    def _notified(self, command: int, value: bytes) -> None:
        command -= FROM_SERVER
        if command in self._wanted:
            if _agree(command, self._wanted[command], value):
                self._confirmed.add(command)
            else:
                wanted = _shown(command, self._wanted[command])
                self.refusal = f"the server sets {_CHECKED[command]} to {_shown(command, value)}, not to {wanted}"
        elif command == NOTIFY_LINESTATE and value:
            self.line_errors.update(name for bit, name in LINE_ERRORS.items() if value[0] & bit)
        elif command in (FLOW_SUSPEND, FLOW_RESUME):
            self.suspended = command == FLOW_SUSPEND


def _agree(command: int, wanted: bytes, answered: bytes) -> bool:
    if command == SET_BAUDRATE:
        asked = int.from_bytes(wanted, "big")
        return abs(int.from_bytes(answered[:4], "big") - asked) <= asked * BAUD_TOLERANCE
    return answered[: len(wanted)] == wanted


def _shown(command: int, value: bytes) -> str:
    number = int.from_bytes(value[:4], "big")
    words = {code: word for word, code in PARITY.items()} if command == SET_PARITY else {}
    return words.get(number, str(number))
