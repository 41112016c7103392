"""The contents of one message: fields by name, bytes as text and in hex, what passed on the line, documents.

They show a patient. A person states a purpose in a form; the audit trail has it before anything is read. Bytes that no
encoding of the channel fits are shown as another one, or in hex: there is no dead end.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import orjson
from aiohttp import hdrs, web

from engine.store.queries.contents import stored_document, stored_payload, why_absent
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from engine.views.letter_in_full import fields
from engine.views.messages import as_text
from engine.views.text import printable
from engine.views.wire import wire_of
from engine.web.access.desk import Desk
from engine.web.pages.asked import number
from engine.web.pages.frame import Frame
from engine.web.pages.messages import PATH as LIST
from engine.web.pages.revealing import VERB, reveal
from engine.web.pages.words import Words, grouped
from engine.web.routes import Route

PATH = "/messages/{number}/contents"
CHARSETS = ("utf-8", "latin-1", "cp1252", "cp437", "utf-16", "gb18030", "shift_jis")
MOST_SIGNS = 256 * 1024  # of one text
MOST_HEX = 16 * 1024  # bytes
HEX_ROW = 16
MOST_FIELDS = 2000


def routes(frame: Frame) -> Sequence[Route]:
    """None where no person can log in."""
    if frame.desk is None or VERB not in frame.verbs:
        return ()
    return (Route(PATH, partial(_reveal, frame, frame.desk), frame.verbs[VERB].needs, method=hdrs.METH_POST),)


async def _reveal(frame: Frame, desk: Desk, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    words, asked = asking.words, number(asking.found["number"])
    form = await desk.form(request)
    charset = form["charset"] if form["charset"] in CHARSETS else CHARSETS[0]
    around = {"number": asked, "back": words.href(f"{LIST}/{asked}"), "purpose": form["purpose"], "charset": charset}
    around |= {"charsets": CHARSETS, "action": words.href(PATH.replace("{number}", str(asked)))}
    read = partial(_contents, frame)
    status, trouble, found = await reveal(frame, request, asked, form["purpose"], read, charset, words)
    return await desk.page(request, "contents", status, **around, **found, trouble=trouble)


def _contents(frame: Frame, reader: Reader, message: int, charset: str, words: Words) -> dict[str, Any]:
    """
    Raises:
        StoreError: it cannot be read.
    """
    trace = trace_of(reader, message)
    if trace is None:  # retention took it meanwhile
        raise why_absent(reader, "message", message)
    payload = stored_payload(reader, message)
    named = fields(frame.channels().get(trace.message.channel), payload, frozenset(), masked=False)
    wire = wire_of(reader, trace, masked=False)
    return {
        "fields": [(one["place"], _cut(printable(one["value"]))) for one in named[:MOST_FIELDS]],
        "lines": [printable(line) for line in _cut(_text(payload, charset)).splitlines()],
        "readable": _is_readable(payload, charset),
        "hex": list(_hex(payload[:MOST_HEX])),
        "hex_cut": grouped(MOST_HEX) if len(payload) > MOST_HEX else "",
        "note": wire["note"],
        "steps": [
            {
                "at": words.exact(int(step["at"].timestamp() * 1e6)),
                "way": step["way"],
                "what": printable(step["what"]),
                "good": step["good"],
                "text": _cut(printable(step["text"])),
            }
            for step in wire["steps"]
        ],
        "documents": [(one.id, one.media_type, _document(stored_document(reader, one.id))) for one in trace.documents],
    }


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


def _hex(payload: bytes) -> Iterator[tuple[str, str, str]]:
    """Offset, bytes in hex, and the same as ASCII; of `HEX_ROW` bytes each."""
    for at in range(0, len(payload), HEX_ROW):
        row = payload[at : at + HEX_ROW]
        yield f"{at:06x}", row.hex(" "), "".join(chr(one) if 0x20 <= one < 0x7F else "." for one in row)


def _document(body: bytes) -> str:
    try:
        text = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the latter: objects in each other, 255 deep and more
        text = as_text(body).replace("\r", "\n")
    return _cut(printable(text))
