"""The names of a message before it is mapped: its orders, specimens and patients, for `engine.processing.turns`.

Only lines with such numbers are read, each once where several have the same: reading 20,000 results takes a fraction of
the time of their mapping. They are read in pieces, since each piece holds the interpreter.

    HL7 v2      PID-2, -3, -4; MRG-1 to -4; PV1-19; ORC-2, -3, -4; OBR-2, -3; SPM-2, -30; SAC-3, -4; TXA-12 to -15
    E1394       P-3, -4, -5; O-3, -4. A text with a layout is read as these
    JSON        each value with a digit, and each word of it; no times, short decimals, codes and values of results

The dialect of the analyzer moves numbers before they are read. A number is compared without the signs and leading zeros
that some senders leave out, and whatever it is of: a patient's number may be that of a specimen.

Recording an outcome looks at earlier messages by the number of an order, a specimen or a patient alone, and by channel;
so two messages of two channels that share no number have the same outcomes in either order, a correction or withdrawal
as any other. A message of which a number is not read keeps its place among all messages.
"""

import json
import re
from array import array
from collections.abc import Generator, Iterator, Set
from itertools import islice
from typing import NamedTuple

from engine.mapping.message.identity_fields import IdentityFields
from engine.model.content.search_keys import MAX_LENGTH
from engine.model.errors import ContentError
from engine.model.message import Delimiters, Parsed, Stored
from engine.model.routes import ChannelRoutes
from engine.processing.formats import MEDIA_TYPES, InDialect
from engine.processing.process import about_orders
from engine.processing.turns import UNKNOWN, Named
from engine.succession.critical import CRITICAL

SMALL = 64 * 1024  # a message up to this is read at once where its lines or texts are not enough
PIECE = 32 * 1024
LINES = 64  # that are parsed at once
TEXTS = 512  # of JSON, that are read at once
SORTED = 4096  # names that are sorted at once
FEW = 128  # names; those of a message with more are kept sorted, in 4 bytes each
MOST = 100_000  # of one message are kept in memory
MOST_LINES = 25_000  # no format reads more
FLAGS_PIECE = 256 * 1024
_ATTRIBUTES = frozenset("ABCM")  # Sysmex: counted, read, given by the host, typed in
_FIELDS = 7  # of a line are parsed at least: a dialect looks at the others, too
_BLANKS = b" \t\0"
# In a field, component or text of its own; signs of Base64 are none between fields.
_FLAGS = tuple(flag.encode() for flag in sorted(CRITICAL))
_FLAG = re.compile(rb"(?:%b)(?<=[^\w+/=]..)(?![\w+/=])" % b"|".join(_FLAGS))

_PLACES: dict[str, dict[str, tuple[int, ...]]] = {
    "hl7v2": {
        "PID": (2, 3, 4),
        "MRG": (1, 2, 3, 4),
        "PV1": (19,),
        "ORC": (2, 3, 4),
        "OBR": (2, 3),
        "SPM": (2, 30),
        "SAC": (3, 4),
        "TXA": (12, 13, 14, 15),
    },
    "astm": {"P": (3, 4, 5), "O": (3, 4)},
}
_HEADERS = frozenset({"MSH", "H"})  # they have no number of an order or patient
_PAIRS = frozenset({("SPM", 2), ("SAC", 3), ("SAC", 4)})  # a number in each component
_JSON = frozenset({MEDIA_TYPES["json"], MEDIA_TYPES["fhir"]})


class _Form(NamedTuple):
    """How lines are written.

    Attributes:
        length: of a segment's name.
        places: a segment's name -> its fields with numbers, counted from the name as 0.
        first: the number of the field that is counted as 0.
        result: the segment of a result.
        silent: segments that say nothing about a result, an order or a patient.
    """

    format: str
    length: int
    places: dict[bytes, tuple[int, ...]]
    first: int
    result: bytes
    silent: frozenset[bytes]


def _form(kind: str, length: int, first: int, result: bytes, silent: bytes) -> _Form:
    places = {name.encode(): tuple(at - first for at in fields) for name, fields in _PLACES[kind].items()}
    return _Form(kind, length, places, first, result, frozenset(silent.split()))


_HL7 = _form(
    "hl7v2", 3, 0, b"OBX",
    b"MSH SFT UAC NTE MSA ERR EVN EQU ISD INV NDS ROL ECD ECR CNS TCC TCD SID QRD QRF QPD RCP QAK DSC",
)  # fmt: skip
_ASTM = _form("astm", 1, 1, b"R", b"H C M Q L")
_FORMS = {MEDIA_TYPES["hl7v2"]: (_HL7,), MEDIA_TYPES["astm"]: (_ASTM,), "": (_HL7, _ASTM)}  # empty: either


def names_of(stored: Stored, channel: ChannelRoutes) -> Generator[None, None, Named]:
    """The names of a message, and whether it seems to have the flag of a critical value.

    A question for orders is without names: its outcome is the same at any time.
    """
    named = yield from _names_of(stored, channel)
    is_critical = yield from _is_critical(stored.payload)
    return named._replace(is_critical=True) if is_critical else named


def _is_critical(payload: bytes) -> Generator[None, None, bool]:
    """Whether it has such a flag anywhere: its turn comes sooner then, and nothing else rests on it."""
    for at in range(0, len(payload), FLAGS_PIECE):
        if at:
            yield
        first, end = max(0, at - 2), at + FLAGS_PIECE + 1
        if any(payload.find(flag, first, end) >= 0 for flag in _FLAGS) and _FLAG.search(payload, first, end):
            return True
    return False


def _names_of(stored: Stored, channel: ChannelRoutes) -> Generator[None, None, Named]:
    if channel.has_other_numbers:
        return UNKNOWN
    payload = stored.payload
    form = next(
        (one for one in _FORMS.get(channel.media_type, ()) if payload.startswith((b"MSH", b"H")[one.first])), None
    )
    if form is not None:
        names = yield from _in_lines(payload, channel, form)
    elif channel.media_type in _JSON:
        names = yield from _in_texts(payload)
    else:
        names = None
    if names is None and len(payload) <= SMALL:
        names = _in_whole(payload, channel)
    return UNKNOWN if names is None else (yield from _named(names))


def are_read(message_format: str, report_numbers: Set[tuple[str, int, int]], identity: IdentityFields) -> bool:
    """Whether all numbers are read here that a mapping knows its reports by: (segment, field, component)."""
    numbers = {*report_numbers, *((identity.order, at, 1) for at in identity.order_number)}
    places = _PLACES.get(message_format, {})
    return all(
        at in places.get(segment, ()) and component <= _components(segment, at)
        for segment, at, component in numbers
        if at and segment not in _HEADERS
    )


def _named(names: set[int]) -> Generator[None, None, Named]:
    if len(names) <= FEW:
        return Named(frozenset(names))
    if len(names) > MOST:
        return UNKNOWN
    left, many = iter(names), []
    while piece := sorted(islice(left, SORTED)):
        many.append(array("I", piece))
        yield
    return Named(frozenset(), many=tuple(many))


def _in_lines(payload: bytes, channel: ChannelRoutes, form: _Form) -> Generator[None, None, set[int] | None]:
    """None: they are not all known."""
    if max(payload.count(b"\r"), payload.count(b"\n")) > MOST_LINES:
        return None
    found = _Lines(form, channel, payload[form.length : form.length + 1])
    for number, (lines, is_cut) in enumerate(_pieces(payload)):
        if number:
            yield
        kept = found.take(lines, is_cut=is_cut)
        for first in range(0, len(kept), LINES):
            if first:
                yield
            found.read(kept[first : first + LINES])
        if not found.complete or len(found.names) > MOST:
            return None
    return found.names if found.are_all else None


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
        complete: False: there may be names that were not read.
    """

    def __init__(self, form: _Form, channel: ChannelRoutes, sign: bytes) -> None:
        self.names: set[int] = set()
        self.complete = True
        self._form = form
        self._channel = channel
        self._sign = sign
        self._header = b""
        self._before: dict[bytes, list[bytes]] = {}  # a segment's name -> its numbers where it was last
        self._cut: Delimiters | None = None  # once a line was parsed, and no dialect moves numbers
        self._has_results = False
        self._is_named = False  # the last line is of a segment with numbers
        self._is_silent = True

    @property
    def are_all(self) -> bool:
        """Whether the names found are all, and it is no question."""
        is_known = self._has_results or self._channel.dialogue is None
        return self.complete and is_known and bool(self.names or self._is_silent)

    def take(self, lines: list[bytes], *, is_cut: bool = False) -> list[bytes]:
        """Look at some lines, and return those to be read. ``is_cut``: of the last one this is the beginning."""
        form, sign = self._form, self._sign
        kept: list[bytes] = []
        result = form.result + sign
        for line in lines:
            if line.startswith(result):  # nearly all lines of a large message
                self._has_results, self._is_silent, self._is_named = True, False, False
                continue
            name = line[: form.length]
            if line[form.length : form.length + 1] != sign or not name.isupper():
                line = line.strip(_BLANKS)
                name = line[: form.length].upper()
                if line[form.length : form.length + 1] != sign and len(line) != form.length:
                    self._is_silent = self._is_silent and not line
                    self.complete = self.complete and not (line and self._is_named)  # it may be a part of that one
                    continue
            self._header = self._header or line
            wanted = form.places.get(name)
            self._is_named = wanted is not None
            if wanted is None:
                self._has_results = self._has_results or name == form.result
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

    def read(self, lines: list[bytes]) -> None:
        """Add the numbers of these lines."""
        if (cut := self._cut) is not None and all(map(bytes.isascii, lines)):
            for line in lines:
                fields = line.decode("ascii").split(cut.field)
                name = fields[0].strip().upper()
                for at in self._form.places[name.encode()]:
                    if at < len(fields):
                        self._add(fields[at], cut, name, at + self._form.first)
            return
        text = b"\r".join([self._header, *lines])
        try:
            parsed = self._channel.message_format.parse(text, self._channel.options)
        except Exception:  # whatever is wrong with it, its mapping says it
            self.complete = False
            return
        if parsed.format != self._form.format:
            self.complete = False
            return
        if not isinstance(self._channel.message_format, InDialect):
            self._cut = parsed.delimiters
        for segment in parsed.segments:
            for at in _PLACES[parsed.format].get(segment.name, ()):
                self._add(segment.get(at), parsed.delimiters, segment.name, at)

    def _add(self, field: str, cut: Delimiters, segment: str, at: int) -> None:
        self.complete = _add_number(field, cut, segment, at, self.names) and self.complete


def _add_number(field: str, cut: Delimiters, segment: str, at: int, names: set[int]) -> bool:
    """Add the numbers of a field; False: one of them is not readable."""
    complete = True
    for text in _texts(field, cut, segment, at) if field else ():
        if len(text) > MAX_LENGTH or not text.isprintable():
            complete = False
        elif text != '""' and (name := _bare(text)):
            names.add(_hash(name))
    return complete


def _texts(field: str, cut: Delimiters, segment: str, at: int) -> Iterator[str]:
    for repetition in field.split(cut.repetition) if cut.repetition else (field,):
        first = _tube(repetition, cut) if segment == "O" else ""
        components = repetition.split(cut.component) if cut.component else [repetition]
        if first:
            components = [first]
        if cut.subcomponent:
            components = [component.partition(cut.subcomponent)[0] for component in components]
        given = [text for component in components if (text := _plain(component, cut))]
        yield from given[: _components(segment, at)]


def _tube(field: str, cut: Delimiters) -> str:
    """The number of a tube. Of several components (Sysmex: rack ^ tube ^ number ^ attribute) it is the third, where the
    fourth is one of the maker's attributes; else the first."""
    parts = [part.strip() for part in field.split(cut.component)] if cut.component else [field.strip()]
    return parts[2] if len(parts) > 3 and parts[3] in _ATTRIBUTES else parts[0]


def _components(segment: str, at: int) -> int:
    """How many components of a field are read, the first that are not empty."""
    return 3 if segment == "O" else 2 if (segment, at) in _PAIRS else 1


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


def _in_whole(payload: bytes, channel: ChannelRoutes) -> set[int] | None:
    """The names of a small message of any format; None: they are not all known."""
    try:
        parsed = channel.message_format.parse(payload, channel.options)
        if channel.dialogue is not None and about_orders(parsed, channel.dialogue):
            return set()
        return _of_segments(parsed) if parsed.format in _PLACES else None
    except ContentError:  # a dead letter, whatever came before it
        return set()
    except Exception:  # its mapping says it
        return None


def _of_segments(parsed: Parsed) -> set[int] | None:
    """None: they are not all known."""
    names: set[int] = set()
    form = _HL7 if parsed.format == "hl7v2" else _ASTM
    for segment in parsed.segments:
        for at in _PLACES[parsed.format].get(segment.name, ()):
            if not _add_number(segment.get(at), parsed.delimiters, segment.name, at, names):
                return None
    is_silent = all(segment.name.encode() in form.silent for segment in parsed.segments)
    return names if names or is_silent else None


# -- JSON --------------------------------------------------------------------------------------------------------------

_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_VALUE = rb"(?:" + _TEXT + rb"|-?\d[\d.eE+-]*+)"


def _members(*names: bytes) -> bytes:
    """Members of one object, one after another."""
    return rb"\s*+,\s*+".join(rb'"' + name + rb'"\s*+:\s*+' + _VALUE for name in names)


_SOME_TEXTS = re.compile(  # and what is left of an object
    rb'(?:[^"]*+%b){1,%d}+(?:[^"}]*+%b){0,%d}+' % (_TEXT, TEXTS, _TEXT, TEXTS), re.DOTALL
)
_FOUND = re.compile(  # the name of a member, and the code and value of a result, are no names
    b"|".join(
        [
            _members(b"code", b"value", b"units?"),
            _members(b"system", b"code"),
            _TEXT + rb"\s*+:",
            rb"(" + _VALUE + rb")",
        ]
    ),
    re.DOTALL,
)
_NO_NUMBER = re.compile(r"[+-]?\d*[.,]\d+|\d{4}-\d\d-\d\d(?:[T ].*)?")
_DECIMAL = 6  # characters; a longer one may be a number of another kind
_IN_WORDS = b"-_./"
_SPACES = bytes(code if code > 0x7F or chr(code).isalnum() else 0x20 for code in range(256))


def _in_texts(payload: bytes) -> Generator[None, None, set[int] | None]:
    """None: they are not all known."""
    names: set[int] = set()
    at = 0
    while at < len(payload):
        some = _SOME_TEXTS.match(payload, at)
        end = some.end() if some is not None else len(payload)
        for value in set(_FOUND.findall(payload, at, end)):
            if len(value) > SMALL and b" " not in value:  # a file
                continue
            if len(value) > SMALL or not _add_words(value, names):
                return None
        if len(names) > MOST:
            return None
        at = end
        yield
    return names or None


def _add_words(value: bytes, names: set[int]) -> bool:
    """Add a value of JSON and its words; False: it cannot be read."""
    try:
        text = json.loads(value.decode()) if value[:1] == b'"' else value.decode()
    except ValueError:
        return False
    if _NO_NUMBER.fullmatch(text) and (len(text) <= _DECIMAL or text[4] == "-"):
        return True
    said = text.encode("utf-8", "replace")
    words = set(said.translate(_SPACES, _IN_WORDS).decode("utf-8", "ignore").upper().split())
    if len(text) <= MAX_LENGTH:
        words.add(_bare(text))
    names.update(_hash(word.lstrip("0") or "0") for word in words if not word.isalpha() and word)
    return True


def _bare(text: str) -> str:
    """A number as it is compared; empty: there is none."""
    found = "".join(filter(str.isalnum, text)).upper()
    return found.lstrip("0") or found[:1]


def _hash(name: str) -> int:
    return hash(name) & 0xFFFF_FFFF
