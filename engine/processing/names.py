"""The names of a message before it is mapped: its orders, specimens and patients, for `engine.processing.turns`.

Results and comments are left out before the rest is parsed, so that reading 20,000 results takes a fraction of the time
of their mapping. They are read in pieces, since each piece holds the interpreter.
"""

from collections.abc import Generator
from contextlib import suppress
from typing import NamedTuple

from engine.model.message import Parsed, Stored
from engine.model.order_results import CORRECTS, WITHDRAWN, tube_of
from engine.model.search_keys import NOT_ALL, numbers_in
from engine.processing.process import ChannelRoutes, about_orders
from engine.processing.turns import Names

PIECE = 256 * 1024


class _Form(NamedTuple):
    """How results are written.

    Attributes:
        length: of a segment's name.
        left_out: segments that are not parsed.
        result: the segment of a result; ``status_at``: its status, counted from the name as 0.
        takes_back: the codes there that take back a result.
        report: the segment of a report; ``report_at``: its status, as the standard counts.
    """

    length: int
    left_out: frozenset[bytes]
    result: bytes
    status_at: int
    takes_back: frozenset[bytes]
    report: str
    report_at: int


def _codes(kind: str) -> frozenset[bytes]:
    return frozenset(code.encode() for code in CORRECTS[kind] | WITHDRAWN[kind])


_HL7 = _Form(3, frozenset({b"OBX", b"NTE"}), b"OBX", 11, _codes("hl7v2"), "OBR", 25)
_ASTM = _Form(1, frozenset(b"R C M".split()), b"R", 8, _codes("astm"), "O", 26)
_REPORT_TAKES_BACK = frozenset("CX")


def names_of(stored: Stored, channel: ChannelRoutes) -> Generator[None, None, Names | None]:
    """The names of a message, as hashes; None where it may have others, has none, or takes back a result.

    A question for orders is without names and no message waits for it: its outcome is the same at any time.
    """
    payload = stored.payload
    form = _HL7 if payload.startswith(b"MSH") else _ASTM if payload.startswith(b"H") else None
    if form is None:
        return None
    sign = payload[form.length : form.length + 1]
    kept: list[bytes] = []
    has_results = False
    at = 0
    while at < len(payload):
        end = min(found for cr in b"\r\n" if (found := payload.find(cr, at + PIECE) + 1 or len(payload)))
        for line in payload[at:end].replace(b"\n", b"\r").split(b"\r"):
            name = line[: form.length]
            if line[form.length : form.length + 1] != sign and line.strip() != name:
                return None  # perhaps a part of the line before it
            if name not in form.left_out:
                kept.append(line)
            elif name == form.result:
                has_results = True
                fields = line.split(sign, form.status_at + 1)
                if len(fields) > form.status_at and fields[form.status_at].strip() in form.takes_back:
                    return None
        at = end
        if at < len(payload):
            yield
    with suppress(Exception):  # whatever is wrong with it, its mapping says it
        parsed = channel.message_format.parse(b"\r".join(kept), channel.options)
        if not has_results and channel.dialogue is not None and about_orders(parsed, channel.dialogue):
            return frozenset()
        return _names_in(parsed, form)
    return None


def _names_in(parsed: Parsed, form: _Form) -> Names | None:
    numbers = numbers_in(parsed)
    found = {(number.kind, number.text) for number in numbers}
    for segment in parsed.segments:
        if segment.name != form.report:
            continue
        if segment.get(form.report_at).strip() in _REPORT_TAKES_BACK:
            return None
        if form is _ASTM:
            found |= {("specimen", tube_of(segment.get(at), parsed.delimiters).upper()) for at in (3, 4)}
    names = frozenset(hash((kind, name)) for kind, text in found if (name := _bare(text)))
    return None if NOT_ALL in numbers or not names else names


def _bare(text: str) -> str:
    """A number as it is compared: some senders write it with zeros or signs that others leave out."""
    return "".join(filter(str.isalnum, text)).lstrip("0")
