"""The contents of one message: fields by name, bytes as text and in hex, what passed on the line, documents, answers.

They show a patient. A person states a purpose in a form; the audit trail has it before anything is read. Bytes that no
encoding of the channel fits are shown as another one, or in hex: there is no dead end. A field leads to what the
mapping made of it, and an element of a document to its field and its rule (`engine.web.pages.linked`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiohttp import hdrs, web

from engine.config import registry
from engine.mapping.trying.inputs import ASTM, HL7, JSON, detect
from engine.model.errors import ContentError, LabRelayError
from engine.model.journal.journal_views import DeliveryView, Trace
from engine.model.message import FormatOptions, Parsed
from engine.model.routes import ChannelRoutes
from engine.model.texts.signs import text
from engine.store.queries.contents import stored_document, stored_message, why_absent
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from engine.views.as_sent import Explained, explained
from engine.views.messages import as_text
from engine.views.text import printable
from engine.views.wire import steps_of
from engine.web.asked import number
from engine.web.desk import Desk
from engine.web.forms import Form
from engine.web.pages.frame import Channels, Frame
from engine.web.pages.linked import LinkedTrace
from engine.web.pages.messages import PATH as LIST
from engine.web.pages.panels import PANELS
from engine.web.pages.revealing import VERB, reveal
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

PATH = "/messages/{number}/contents"
CHARSETS = ("utf-8", "latin-1", "cp1252", "cp437", "utf-16", "gb18030", "shift_jis")
FORMATS = {HL7: "HL7 v2", ASTM: "ASTM", JSON: "JSON"}
MOST_SIGNS = 256 * 1024  # of one text
MOST_EXPLAINED = 64 * 1024  # bytes of a message: to explain so much takes some 2 s of the daemon's processor
MOST_HEX = 16 * 1024  # bytes
MOST_STEP = 1024  # bytes in hex of one frame
HEX_ROW = 16
MOST_AT = 200  # signs


class Reading(NamedTuple):
    """How a person wants a message to be read.

    Attributes:
        charset, form: empty: as the channel reads it.
        at: the field or element that is asked for; empty: none.
    """

    charset: str = ""
    form: str = ""
    at: str = ""

    @classmethod
    def of(cls, fields: Form) -> "Reading":
        charset, form = fields["charset"], fields["as"]
        at = shown(fields["at"], MOST_AT)
        return cls(charset if charset in CHARSETS else "", form if form in FORMATS else "", at)


def routes(frame: Frame) -> Sequence[Route]:
    """None where no person can log in."""
    if frame.desk is None or VERB not in frame.verbs:
        return ()
    return (Route(PATH, partial(_reveal, frame, frame.desk), frame.verbs[VERB].needs, method=hdrs.METH_POST),)


async def _reveal(frame: Frame, desk: Desk, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    words, asked = asking.words, number(asking.found["number"])
    form = await desk.form(request)
    reading = Reading.of(form)
    around = {"number": asked, "back": words.href(f"{LIST}/{asked}"), "purpose": form["purpose"], "reading": reading}
    around |= {"charsets": CHARSETS, "formats": FORMATS, "action": words.href(PATH.replace("{number}", str(asked)))}
    around["test"] = "".join(panels.test_of(words, asked) for panels in PANELS.each())
    read = partial(_contents, frame.channels)
    status, trouble, found = await reveal(frame, request, asked, form["purpose"], read, reading, words)
    return await desk.page(request, "contents", status, **around, **found, trouble=trouble)


def _contents(channels: Channels, reader: Reader, message: int, reading: Reading, words: Words) -> Mapping[str, Any]:
    """
    Raises:
        StoreError: it cannot be read.
    """
    trace = trace_of(reader, message)
    if trace is None:  # retention took it meanwhile
        raise why_absent(reader, "message", message)
    stored = stored_message(reader, message)
    known = channels().get(trace.message.channel)
    parsed, unread = parsed_as(stored.payload, known, reading)
    made: Sequence[Explained] = ()
    if known is not None and parsed is not None and not (reading.charset or reading.form):
        if len(stored.payload) <= MOST_EXPLAINED:
            try:
                made = tuple(explained(stored, parsed, known, trace.facts))
            except ContentError as error:
                unread = f"{error.place}: {error.detail}" if error.place else error.detail
        else:
            unread = words.say("It is too large to be explained here; `labrelay explain {n}` does it.", n=message)
    linked = LinkedTrace(parsed, made, {one.ordinal: one.id for one in trace.documents}, reading.at)
    documents = ((one.id, one.media_type, stored_document(reader, one.id)) for one in trace.documents)
    charset = reading.charset or _charset_of(parsed)
    return {
        "unread": printable(unread),
        **linked.of_message(_cut(_text(stored.payload, charset))),
        "documents": [linked.of_document(*one) for one in documents],
        "charset": charset,
        "readable": _is_readable(stored.payload, charset),
        "hex": list(hex_rows(stored.payload[:MOST_HEX])),
        "hex_cut": grouped(MOST_HEX) if len(stored.payload) > MOST_HEX else "",
        **_line(reader, trace, words),
        "answers": [answer for one in trace.deliveries for answer in _answers(one, words)],
    }


def parsed_as(payload: bytes, routes: ChannelRoutes | None, reading: Reading) -> tuple[Parsed | None, str]:
    """A message as its channel reads it, or as a person asks; and why it cannot be read.

    Without a channel, and where it does not fit, the form is that which the bytes look like.
    """
    options = routes.options if routes is not None else FormatOptions()
    if reading.charset:
        options = FormatOptions(charsets=(reading.charset,), fixes=options.fixes, spm_obx=options.spm_obx)
    name = reading.form or ("" if routes is not None else detect(payload))
    if routes is None and not name:
        return None, ""
    codec: Any = registry.load(registry.FORMATS, name) if name or routes is None else routes.message_format
    try:
        if problem := codec.header(payload).problem:
            return None, problem
        return codec.parse(payload, options), ""
    except LabRelayError as error:
        return None, str(error)


def _line(reader: Reader, trace: Trace, words: Words) -> Mapping[str, Any]:
    note, steps = steps_of(reader, trace)
    return {
        "note": note,
        "steps": [
            {
                "at": words.exact(step.at_us),
                "way": step.way,
                "what": printable(step.what),
                "good": step.good,
                "text": _cut(printable(text(step.data, masked=False))) if len(step.data) > 1 else "",
                "hex": list(hex_rows(step.data[:MOST_STEP])),
            }
            for step in steps
        ],
    }


def _answers(one: DeliveryView, words: Words) -> Iterator[tuple[str, str, str, str]]:
    """Of each attempt with an answer: what it was, when, its reason code, and the receiver's own words."""
    for tried in one.attempts:
        if tried.answer:
            what = words.say("Attempt {n} to send it to {destination}", n=tried.n, destination=one.destination)
            yield what, words.exact(tried.at_us), tried.cause, _cut(printable(as_text(tried.answer)))
    if one.answer and one.answer not in {tried.answer for tried in one.attempts}:
        what = words.say("Delivery to {destination}", destination=one.destination)
        yield what, words.exact(one.settled_us), one.cause, _cut(printable(as_text(one.answer)))


def _charset_of(parsed: Parsed | None) -> str:
    """That which the message fits; where it fits none that it may have, a person sees which bytes do not."""
    if parsed is None or any(issue.code == "charset" for issue in parsed.warnings):
        return CHARSETS[0]
    return parsed.charset


def _text(payload: bytes, charset: str) -> str:
    return payload.decode(charset, "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")


def _is_readable(payload: bytes, charset: str) -> bool:
    try:
        payload.decode(charset)
    except UnicodeDecodeError:
        return False
    return True


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SIGNS else f"{text[:MOST_SIGNS]}…"


def hex_rows(payload: bytes) -> Iterator[tuple[str, str, str]]:
    """Offset, bytes in hex, and the same as ASCII; of `HEX_ROW` bytes each."""
    for at in range(0, len(payload), HEX_ROW):
        row = payload[at : at + HEX_ROW]
        yield f"{at:06x}", row.hex(" "), "".join(chr(one) if 0x20 <= one < 0x7F else "." for one in row)
