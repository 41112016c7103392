"""The contents of one message: fields by name, bytes as text and in hex, what passed on the line, documents, answers.

They show a patient. A person states a purpose in a form, once in a log-in; the audit trail has it before anything is
read. Then each part has an address of its own on the message's page (`engine.web.pages.message`). Bytes that no
encoding of the channel fits are shown as another one, or in hex: there is no dead end. A field leads to what the
mapping made of it, and an element of a document to its field and its rule, as rows that lead to each other. All of it
is the explanation that the mapping engine gives (`engine.views.as_sent`): nothing here knows a mapping.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import hdrs, web

from engine.config import registry
from engine.mapping.explanations.differences import differences
from engine.mapping.explanations.explain_text import chosen, missing, reason
from engine.mapping.explanations.explaining import RULE, Leaf
from engine.mapping.trying.inputs import ASTM, HL7, JSON, detect
from engine.model.errors import ContentError, LabRelayError
from engine.model.journal.journal_views import DeliveryView, Trace
from engine.model.message import FormatOptions, Parsed
from engine.model.routes import ChannelRoutes
from engine.model.texts.phrases import PageText
from engine.model.texts.signs import text
from engine.store.queries.reader import Reader, stored_document, stored_message
from engine.views.as_sent import Explained, explained
from engine.views.document_lines import Line, lines_of, pointer_of
from engine.views.message_tree import MessageTree, Place, counts_of, source_of
from engine.views.message_tree import shown as shown_name
from engine.views.messages import as_text
from engine.views.view import printable
from engine.views.wire import steps_of
from engine.web.asked import number
from engine.web.pages.doing import VERB, reveal
from engine.web.pages.frame import Asking, Channels, Frame, Values
from engine.web.pages.messages import PATH as LIST
from engine.web.pages.messages import asked_of
from engine.web.pages.panels import PANELS
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

MOST_FIELDS = 2000
MOST_LINES = 4000  # of a document
MOST_MADE = 4  # elements that are named beside a field
MOST_CHANGES = 200
LONGEST = 4096  # signs of one value
_SLUG = re.compile(r"[^A-Za-z0-9]+")
_NUMBER = re.compile(r"\[\d+\]")


class LinkedTrace:
    """One message and what the mapping makes of it today.

    Args:
        parsed: None: it cannot be read.
        documents: place -> number of the stored document there.
        at: a field or an element that is to be marked, with all that belongs to it; empty: none.
    """

    def __init__(self, parsed: Parsed | None, made: Sequence[Explained], documents: Mapping[int, int], at: str) -> None:
        self._parsed = parsed
        self._made = {documents[one.place]: one for one in made if one.place in documents}
        self._at = at
        self._leaves = [leaf for one in made for leaf in one.trace.leaves]
        self._of_leaf = {
            leaf: f"#{_anchor(number, leaf_pointer(leaf, one))}"
            for number, one in self._made.items()
            for leaf in one.trace.leaves
        }
        self._marked = set(chosen(self._leaves, at)) if at else set[Leaf]()
        self._counts = counts_of(parsed) if parsed is not None else {}
        self._places: Mapping[str, str] = {}
        self._why = [
            missing(one.trace, parsed, at)
            for one in made
            if parsed is not None and at and not chosen(one.trace.leaves, at)
        ]
        self._errors = [one.trace.error for one in made if one.trace.error is not None]

    def of_message(self, text: str) -> dict[str, Any]:
        """The fields, the lines of the text in pieces, and a sentence where nothing is as it was asked for."""
        if self._parsed is None:
            lines = [[(printable(line), None)] for line in text.split("\n")]
            return {"fields": [], "more_fields": False, "lines": lines, "nothing": "", "stopped": []}
        tree = MessageTree.of(self._parsed, self._leaves, most=MOST_FIELDS)
        self._places = tree.anchors
        fields = [self._field(place) for place in tree.places]
        by_anchor = {one["anchor"]: one for one in fields}
        return {
            "fields": fields,
            "more_fields": tree.more,
            "lines": [
                [(printable(piece.text), by_anchor[piece.place.anchor] if piece.place else None) for piece in line]
                for line in tree.pieces(text)
            ],
            "nothing": "" if self._marked or any(one["marked"] for one in fields) else "; ".join(self._why),
            "stopped": [_stopped(error) for error in self._errors],
        }

    def of_document(self, number: int, media_type: str, body: bytes) -> dict[str, Any]:
        """A stored document in lines; each that the mapping makes today, too, with its fields and its rule."""
        one = self._made.get(number)
        today = one.document if one is not None else None
        leaves = {leaf_pointer(leaf, one): leaf for leaf in one.trace.leaves} if one is not None else {}
        parts = (
            [(leaf.path, leaf.value) for leaf in leaves.values()] if today is not None and today.body == body else []
        )
        lines, more = _lines(body, media_type, parts)
        same = lines
        if today is not None and today.body != body:
            same, _ = _lines(today.body, media_type, [])
        alike = {(line.pointer, _bare(line)) for line in same if line.pointer}
        changes = differences(body, today.body) if today is not None else []
        return {
            "number": number,
            "kind": media_type,
            "rows": [
                self._line(number, line, leaves.get(line.pointer) if (line.pointer, _bare(line)) in alike else None)
                for line in lines
            ],
            "more": more,
            "explained": today is not None,
            "changes": [
                {"path": _short(change.path), "before": _short(change.before), "after": _short(change.after)}
                for change in changes[:MOST_CHANGES]
            ],
            "more_changes": len(changes) > MOST_CHANGES,
        }

    def _field(self, place: Place) -> dict[str, Any]:
        # What this field is the first source of, then what is of a rule, and made of the fewest fields.
        places, made = (place.name, f"{place.name}.1"), list(place.leaves)
        made.sort(key=lambda leaf: (source_of(leaf.sources[0]) not in places, leaf.origin != RULE, len(leaf.sources)))
        rules = list(dict.fromkeys(leaf.rule for leaf in made if leaf.rule))
        return {
            "place": printable(place.shown),
            "meaning": place.meaning,
            "value": _short(place.value),
            "level": place.level,
            "anchor": place.anchor,
            "marked": not self._marked.isdisjoint(place.leaves) or self._is_asked(place),
            "made": [
                (printable(leaf.path), self._of_leaf.get(leaf, ""), printable(reason(leaf)))
                for leaf in made[:MOST_MADE]
            ],
            "more": max(len(made) - MOST_MADE, 0),
            "title": " · ".join(filter(None, (printable(place.shown), place.meaning, *rules[:MOST_MADE]))),
        }

    def _is_asked(self, place: Place) -> bool:
        return bool(self._at) and self._at in (place.name, place.shown, _NUMBER.sub("", place.name))

    def _line(self, number: int, line: Line, leaf: Leaf | None) -> dict[str, Any]:
        sources = [name for name in map(source_of, leaf.sources) if name] if leaf is not None else []
        return {
            "text": "  " * line.depth + _short(line.text),
            "anchor": _anchor(number, line.pointer) if line.pointer else "",
            "marked": leaf is not None and leaf in self._marked,
            "sources": [
                (printable(shown_name(name, self._counts)), f"#{self._places[name]}" if name in self._places else "")
                for name in dict.fromkeys(sources)
            ],
            "rule": leaf.rule if leaf is not None else "",
            "why": printable(f"{leaf.path}: {reason(leaf)}") if leaf is not None else "",
        }


def leaf_pointer(leaf: Leaf, one: Explained) -> str:
    """The place of a value in its document, as `Line.pointer` has it."""
    in_json = one.document is not None and "json" in one.document.media_type
    return leaf.pointer or (pointer_of(leaf.path) if in_json else leaf.path)


def _lines(body: bytes, media_type: str, parts: Sequence[tuple[str, str]]) -> tuple[list[Line], bool]:
    try:
        lines, more = lines_of(body, media_type, parts)
    except (ValueError, RecursionError):  # no JSON after all, or objects in each other, too deep
        lines, more = lines_of(body, "text/plain", parts)
    return lines[:MOST_LINES], more or len(lines) > MOST_LINES


def _bare(line: Line) -> str:
    return line.text.removesuffix(",")


def _anchor(number: int, pointer: str) -> str:
    return f"e-{number}{_SLUG.sub('-', pointer)}"


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _stopped(error: ContentError) -> tuple[str, str]:
    place = f"{error.place}: " if error.place else ""
    return error.reason.value, printable(f"{place}{error.detail}")


PATH = "/messages/{number}/contents"
TRACE, BYTES, FIELDS, DOCUMENT = "trace", "bytes", "fields", "document"  # parts of a message's page
PARTS: Mapping[str, PageText] = {TRACE: "Time line", BYTES: "Text", FIELDS: "Fields", DOCUMENT: "Document"}
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
    def of(cls, query: Mapping[str, str]) -> "Reading":
        charset, form = query.get("charset", ""), query.get("as", "")
        at = shown(query.get("at", "").strip(), MOST_AT)
        return cls(charset if charset in CHARSETS else "", form if form in FORMATS else "", at)

    def query(self) -> Mapping[str, str]:
        return {"charset": self.charset, "as": self.form, "at": self.at}


def href_of(asking: Asking, part: str, *, path: str = "") -> str:
    """The address of a part of the message that is asked for, read as it is now, in the list that led there."""
    among, asked = asked_of(asking), f"{LIST}/{number(asking.found['number'])}"
    query = {**Reading.of(asking.query).query(), "part": part if part != TRACE else ""}
    return among.href(path=f"{asked}{path}", top=among.top, **query)


def routes(frame: Frame) -> Sequence[Route]:
    return frame.forms(PATH, VERB, _reveal)


async def _reveal(frame: Frame, request: web.Request) -> web.Response:
    """Note the purpose, and lead on to the part that it was stated for."""
    asking = frame.asking(request)
    words, asked = asking.words, number(asking.found["number"])
    form = await frame.desk.form(request)
    part = asking.query.get("part", "")
    status, trouble, _ = await reveal(frame, request, asked, form["purpose"], lambda reader, message: {})
    if not trouble:
        return web.Response(status=303, headers={hdrs.LOCATION: href_of(asking, part if part in PARTS else BYTES)})
    back = {"back": words.href(f"{LIST}/{asked}"), "back_words": words.say("Back to the message")}
    return await frame.desk.page(request, "done", status, title=words.say("Show the contents"), trouble=trouble, **back)


def contents_of(reader: Reader, channels: Channels, trace: Trace, part: str, asking: Asking) -> Values:
    """What a part shows.

    Raises:
        StoreError: it cannot be read.
    """
    words, reading, message = asking.words, Reading.of(asking.query), trace.message.id
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
    charset = reading.charset or _charset_of(parsed)
    values: dict[str, Any] = {
        "reading": reading,
        "charsets": CHARSETS,
        "formats": FORMATS,
        "hidden": {**asked_of(asking).values, "top": asked_of(asking).top, "part": part, "lang": words.language},
        "test": "".join(panels.test_of(words, message) for panels in PANELS.each()),
        "unread": printable(unread),
        **linked.of_message(_cut(_text(stored.payload, charset))),
        "charset": charset,
        "readable": _is_readable(stored.payload, charset),
    }
    if part == BYTES:
        cut = grouped(MOST_HEX) if len(stored.payload) > MOST_HEX else ""
        return values | {"hex": [*hex_rows(stored.payload[:MOST_HEX])], "hex_cut": cut, **_line(reader, trace, words)}
    if part == DOCUMENT:
        documents = ((one.id, one.media_type, stored_document(reader, one.id)) for one in trace.documents)
        values["documents"] = [linked.of_document(*one) for one in documents]
        values["answers"] = [answer for one in trace.deliveries for answer in _answers(one, words)]
    return values


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
        "passed": [
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
