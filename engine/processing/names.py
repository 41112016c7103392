"""The names of a message before it is mapped: its orders, specimens and patients, for `engine.processing.turns`.

Only lines with such numbers are parsed, each once where several have the same: reading 20,000 results takes a fraction
of the time of their mapping. They are read in pieces, since each piece holds the interpreter.

    HL7 v2      PID-2, -3, -4; MRG-1 to -4; ORC-2, -3, -4; OBR-2, -3; SPM-2, -30; SAC-3, -4; TXA-12 to -15
    E1394       P-3, -4, -5; O-3, -4. A text with a layout is read as these
    JSON        each value, and each word of it; of a large one, and of another text, words that look like numbers

The dialect of the analyzer moves numbers before they are read. A number is compared without the signs and leading zeros
that some senders leave out, and whatever it is of: a patient's number may be that of a specimen.

Recording an outcome looks at earlier messages by the number of an order, a specimen or a patient alone, and by channel;
so two messages of two channels that share no number have the same outcomes in either order. A correction or a
withdrawal waits for all earlier ones: one of them may be its result under a number that was not read.
"""

import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from engine.model.errors import ContentError
from engine.model.message import Delimiters, Parsed, Stored
from engine.model.order_results import CORRECTS, WITHDRAWN, tube_of
from engine.model.search_keys import MAX_LENGTH
from engine.processing.process import ChannelRoutes, about_orders
from engine.processing.turns import Named

PIECE = 64 * 1024
LINES = 128  # that are parsed at once
MOST = 100_000  # of one message are kept in memory; the others wait for one that has more
_FIELDS = 7  # of a line are parsed at least: a dialect looks at the others, too
_BLANKS = b" \t\0"
_WORD = re.compile("[A-Za-z]+")

_PLACES: dict[str, dict[str, tuple[int, ...]]] = {
    "hl7v2": {
        "PID": (2, 3, 4),
        "MRG": (1, 2, 3, 4),
        "ORC": (2, 3, 4),
        "OBR": (2, 3),
        "SPM": (2, 30),
        "SAC": (3, 4),
        "TXA": (12, 13, 14, 15),
    },
    "astm": {"P": (3, 4, 5), "O": (3, 4)},
}
_REPORT_TAKES_BACK = frozenset("CX")
_STATUS = {  # a segment's name -> the field of its status, and the codes of a correction or a withdrawal
    "hl7v2": {"OBX": (11, CORRECTS["hl7v2"] | WITHDRAWN["hl7v2"]), "OBR": (25, _REPORT_TAKES_BACK)},
    "astm": {"R": (9, CORRECTS["astm"] | WITHDRAWN["astm"]), "O": (26, _REPORT_TAKES_BACK)},
}
_PAIRS = frozenset({("SPM", 2), ("SAC", 3), ("SAC", 4)})  # a number in each component


class _Form(NamedTuple):
    """How lines are written.

    Attributes:
        length: of a segment's name.
        places: a segment's name -> its fields with numbers, counted from the name as 0.
        result: the segment of a result.
        silent: segments that say nothing about a result, an order or a patient.
        status: as `_STATUS`.
    """

    format: str
    length: int
    places: dict[bytes, tuple[int, ...]]
    result: bytes
    silent: frozenset[bytes]
    status: dict[bytes, tuple[int, frozenset[str]]]


def _form(kind: str, length: int, first: int, result: bytes, silent: bytes) -> _Form:
    places = {name.encode(): tuple(at - first for at in fields) for name, fields in _PLACES[kind].items()}
    status = {name.encode(): (at - first, codes) for name, (at, codes) in _STATUS[kind].items()}
    return _Form(kind, length, places, result, frozenset(silent.split()), status)


_HL7 = _form(
    "hl7v2", 3, 0, b"OBX",
    b"MSH SFT UAC NTE MSA ERR EVN EQU ISD INV NDS ROL ECD ECR CNS TCC TCD SID QRD QRF QPD RCP QAK DSC",
)  # fmt: skip
_ASTM = _form("astm", 1, 1, b"R", b"H C M Q L")


def names_of(stored: Stored, channel: ChannelRoutes) -> Generator[None, None, Named]:
    """The names of a message, as hashes.

    A question for orders is without names: its outcome is the same at any time.
    """
    payload = stored.payload
    form = _HL7 if payload.startswith(b"MSH") else _ASTM if payload.startswith(b"H") else None
    if form is None:
        if len(payload) <= PIECE:
            return _in_whole(payload, channel)
        return (yield from _in_words(payload))
    found = _Lines(form, channel, payload[form.length : form.length + 1])
    for number, (lines, is_cut) in enumerate(_pieces(payload)):
        if number:
            yield
        kept = found.take(lines, is_cut=is_cut)
        for first in range(0, len(kept), LINES):
            if first:
                yield
            found.parse(kept[first : first + LINES])
        if len(found.names) > MOST:
            return Named(None)
    if len(payload) <= PIECE and (found.failed or (not found.has_results and channel.dialogue is not None)):
        return _in_whole(payload, channel)
    return found.named()


def _pieces(payload: bytes) -> Iterator[tuple[list[bytes], bool]]:
    """The lines of a message, some at a time; and whether they are the beginning of one line."""
    at, size = 0, len(payload)
    inside = False
    while at < size:
        end = min(at + PIECE, size)
        if inside:  # the rest of a long line
            ends = [found for sign in (b"\r", b"\n") if (found := payload.find(sign, at, end)) >= 0]
            at, inside = (min(ends), False) if ends else (end, True)
            if inside:
                yield [], False
            continue
        if end < size:
            last = max(payload.rfind(b"\r", at, end), payload.rfind(b"\n", at, end))
            inside = last < at
            end = end if inside else last + 1
        yield payload[at:end].replace(b"\n", b"\r").split(b"\r"), inside
        at = end


class _Lines:
    """Reads the lines of a message.

    Attributes:
        complete: False: there may be names that were not read, or it takes back a result.
        failed: a piece of it cannot be parsed.
    """

    def __init__(self, form: _Form, channel: ChannelRoutes, sign: bytes) -> None:
        self.names: set[int] = set()
        self.complete = True
        self.failed = self.has_results = False
        self._form = form
        self._channel = channel
        self._sign = sign
        self._header = b""
        self._before: dict[bytes, list[bytes]] = {}  # a segment's name -> its numbers where it was last
        self._is_named = False  # the last line is of a segment with numbers
        self._is_silent = True

    def named(self) -> Named:
        complete = self.complete and bool(self.names or self._is_silent)
        return Named(frozenset(self.names), complete=complete)

    def take(self, lines: list[bytes], *, is_cut: bool = False) -> list[bytes]:
        """Look at some lines, and return those to be parsed. ``is_cut``: of the last one this is the beginning."""
        form, sign = self._form, self._sign
        kept: list[bytes] = []
        for line in lines:
            name = line[: form.length]
            if line[form.length : form.length + 1] != sign or not name.isupper():
                line = line.strip(_BLANKS)
                name = line[: form.length].upper()
                if line[form.length : form.length + 1] != sign and len(line) != form.length:
                    self._no_segment(line)
                    continue
            self._header = self._header or line
            if self.complete and (status := form.status.get(name)) is not None:
                fields = line.split(sign, status[0] + 1)
                self.complete = len(fields) <= status[0] or not _takes_back(
                    fields[status[0]].decode("latin-1"), status[1]
                )
            wanted = form.places.get(name)
            self._is_named = wanted is not None
            if wanted is None:
                self.has_results = self.has_results or name == form.result
                self._is_silent = self._is_silent and name in form.silent
                continue
            self._is_silent = False
            most = max(_FIELDS, wanted[-1])
            fields = line.split(sign, most + 1)
            if is_cut and len(fields) <= wanted[-1] + 1:
                self.complete = False
            numbers = [fields[at] for at in wanted if at < len(fields)]
            if numbers != self._before.get(name):
                self._before[name] = numbers
                kept.append(sign.join(fields[: most + 1]))
        return kept

    def _no_segment(self, line: bytes) -> None:
        if not line:
            return
        self._is_silent = False
        if self._is_named:  # a part of the line before it
            self.complete = False
            self.names |= _words(line)

    def parse(self, lines: list[bytes]) -> None:
        text = b"\r".join([self._header, *lines])
        try:
            parsed = self._channel.message_format.parse(text, self._channel.options)
        except Exception:  # whatever is wrong with it, its mapping says it
            parsed = None
        if parsed is None or parsed.format != self._form.format:
            self.failed = True
            self.complete = False
            self.names |= _words(text)
            return
        self.complete = _add_numbers(parsed, self.names) and self.complete


def _takes_back(said: str, codes: frozenset[str]) -> bool:
    """Whether a field with a status says so, however it is written."""
    return said not in ("F", "") and any(part[0].upper() in codes for part in _WORD.findall(said))


def _add_numbers(parsed: Parsed, names: set[int]) -> bool:
    """Add the numbers of these segments; False: one of them is not readable, or they take back a result."""
    places = _PLACES[parsed.format]
    complete = True
    for segment in parsed.segments:
        if (status := _STATUS[parsed.format].get(segment.name)) and _takes_back(segment.get(status[0]), status[1]):
            complete = False
        for at in places.get(segment.name, ()):
            if not (field := segment.get(at)):
                continue
            for text in _texts(field, parsed.delimiters, segment.name, at):
                if len(text) > MAX_LENGTH or not text.isprintable():
                    complete = False
                elif text != '""' and (name := _bare(text)):
                    names.add(hash(name))
    return complete


def _texts(field: str, cut: Delimiters, segment: str, at: int) -> Iterator[str]:
    for repetition in field.split(cut.repetition) if cut.repetition else (field,):
        first = tube_of(repetition, cut, counted=True) if segment == "O" else ""
        components = repetition.split(cut.component) if cut.component else [repetition]
        if first:
            components = [first]
        if cut.subcomponent:
            components = [component.partition(cut.subcomponent)[0] for component in components]
        given = [text for component in components if (text := _plain(component, cut))]
        yield from given[: 3 if segment == "O" else 2 if (segment, at) in _PAIRS else 1]


def _plain(text: str, cut: Delimiters) -> str:
    """A text without its escapes; one that is no number where an escape is not known."""
    sign = cut.escape
    if not sign or sign not in text:
        return text.strip()
    first, *parts = text.split(sign)
    if len(parts) % 2:
        return "\0"
    known = {"F": cut.field, "S": cut.component, "T": cut.subcomponent, "R": cut.repetition, "E": sign}
    found = [first]
    for code, behind in zip(parts[::2], parts[1::2], strict=True):
        if code[:1] == "X":
            try:
                said = bytes.fromhex(code[1:]).decode()
            except ValueError:
                return "\0"
        else:
            said = known.get(code, "\0")
        found += [said, behind]
    return "".join(found).strip()


def _in_whole(payload: bytes, channel: ChannelRoutes) -> Named:
    """The names of a small message of any format."""
    try:
        parsed = channel.message_format.parse(payload, channel.options)
        if channel.dialogue is not None and about_orders(parsed, channel.dialogue):
            return Named(frozenset())
        names: set[int] = set()
        if parsed.format in _PLACES:
            complete = _add_numbers(parsed, names)
            form = _HL7 if parsed.format == "hl7v2" else _ASTM
            is_silent = all(segment.name.encode() in form.silent for segment in parsed.segments)
            return Named(frozenset(names), complete=complete and bool(names or is_silent))
        if parsed.tree is not None:
            names = _in_values(parsed.tree)
            return Named(frozenset(names), complete=bool(names))
    except ContentError:  # a dead letter, whatever came before it
        return Named(frozenset())
    except Exception:  # noqa: S110  its mapping says it
        pass
    return Named(frozenset(_words(payload)), complete=False)


def _in_values(tree: Any) -> set[int]:
    waiting, texts = [tree], []
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str):
            texts.append(one)
    whole = {hash(name) for one in texts if len(one) <= MAX_LENGTH and not one.isalnum() and (name := _bare(one))}
    return whole | _words(" ".join(texts).encode("utf-8", "replace"))


def _in_words(payload: bytes) -> Generator[None, None, Named]:
    """The words of a large text that look like numbers; its names may be other parts of it."""
    names: set[int] = set()
    at = 0
    while at < len(payload):
        if at:
            yield
        end = max(payload.rfind(sign, at, at + PIECE) for sign in (b" ", b'"', b",", b"\n", b"\r")) + 1
        end = end if end > at and at + PIECE < len(payload) else at + PIECE
        names |= _words(payload[at:end], least=4)
        if len(names) > MOST:
            return Named(None)
        at = end
    return Named(frozenset(names), complete=False)


_IN_WORDS = b"-_./"
_SPACES = bytes(code if code > 0x7F or chr(code).isalnum() else 0x20 for code in range(256))


def _words(text: bytes, *, least: int = 0) -> set[int]:
    """``least``: only words with a digit, of so many characters."""
    words = set(text.translate(_SPACES, _IN_WORDS).decode("utf-8", "ignore").upper().split())
    if least:
        words = {word for word in words if len(word) >= least and not word.isalpha()}
    return {hash(word.lstrip("0") or "0") for word in words}


def _bare(text: str) -> str:
    """A number as it is compared; empty: there is none."""
    found = "".join(filter(str.isalnum, text)).upper()
    return found.lstrip("0") or found[:1]
