"""Texts that a device may send, on every page and in every export. The routes of the server are walked, so a new page
is walked by itself. What comes in is a table; what may come out is the same for all."""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from adapters.codecs.hl7v2 import message as hl7v2
from engine.features.orders import rows as worklist
from engine.model.journal.records import Routed
from engine.model.message import Document, FormatOptions, Issue, MapContext, Reagent, Received, Unmapped
from engine.model.orders import Asked, Confirmation, OrderedPatient, OrderLine, Question, item_id
from engine.model.outcome import Outcome
from engine.model.routes import ChannelRoutes, Route
from engine.model.site.actor import Actor
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import AskSettings, ResultOf, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.operations import append, audit, record_outcome
from engine.store.operations.outbox import attempts
from engine.web.pages.contents import PARTS
from engine.web.pages.contents import PATH as CONTENTS
from tests.support import access, shipped
from tests.support.access import Browser, Site
from tests.support.journals import NOW_US, opened
from tests.support.revealed import Known

CHANNEL, DESTINATION, TUBE = "chem", "archive", "T-1"
MARK = "DEVICE7"  # in each text, to see where texts of a device are shown
HOSTILE: dict[str, bytes] = {
    "script": b"DEVICE7<script>alert(1)</script>",
    "attribute": b"DEVICE7\"' onmouseover=alert(1) x='><img src=x onerror=alert(1)><!--",
    "end of text": b"DEVICE7</textarea></pre></title><svg onload=alert(1)>",
    "terminal": b"DEVICE7\x1b[31mred\x1b]0;title\x07\x08\x08\x7f",
    "direction": "DEVICE7\u202egnp.exe\u202c\u2066\u200f".encode(),
    "template": b"DEVICE7{{ 7 * 7 }}{% raw %}${7*7}",
    "formula": b"=cmd|' /C calc'!DEVICE7",
    "header": b"DEVICE7\r\nSet-Cookie: a=b\r\n\r\n<h1>",
    "not UTF-8": b"DEVICE7\xff\xfe\xc3\x28\xa0\x81",
    "NUL": b"DEVICE7\x00\x01\x02after",
    "wide": "DEVICE7\U0001f4a5\u0000\ufeff\ud7ff".encode(),
    "long": b"DEVICE7" + b"A" * 1_000_000,
}
LONGEST_NOTE = 3000  # of a control id, a place, a code: links and codecs let no longer ones pass
LONGEST_ANSWER = 4_000_000  # bytes of one page
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # a file of codes has them as they are sent
# Pages that must show such texts, or this test sees nothing.
SHOWN = {
    "GET /orders", "GET /order", "GET /messages", "GET /messages/{number}", "GET /codes", "GET /codes.csv", "GET /acts",
    "GET bytes", "GET fields", "GET document", "POST /try", "GET /reagents", "GET /reagents.json",
}  # fmt: skip
FORMS = {"/try"}  # that show something, and do nothing
QUERY = {
    "lang": "en",
    "item": "W1",
    "tab": "refused",
    "since": "all",
    "name": CHANNEL,
    "at": f"{MARK}<script>alert(1)</script>\u202e",
}


def planted(batch: Batch) -> None:
    """A message with each text in all that is kept of it, and a person's act with it; its delivery is dead."""
    for text in HOSTILE.values():
        note = text.decode("utf-8", "replace")[:LONGEST_NOTE]
        payload = b"MSH|^~\\&|" + text[:50] + b"||||20260301101530||ORU^R01|1|P|2.5\rPID|1||77||" + text
        payload += b"\rOBR|1|O1|F1|CBC\rOBX|1|ST|" + text[:50] + b"||" + text + b"|mg/dL|||||F\r"
        received = Received(
            channel=CHANNEL, payload=payload, received_us=NOW_US, control_id=note, message_type=note, peer=note
        )
        stored = append.store_message(batch, received, repeat_window_s=0.0)
        body = json.dumps({"resourceType": "Bundle", "text": note, note: [note]}).encode()
        routed = Routed(document=Document(body=body), destinations=(DESTINATION,), claimed=(True,))
        issue = Issue(code="BAD_VALUE", text=note, place=note, rule=note)
        outcome = Outcome(
            "mapped", detail=note, issues=(issue,), mapping=note,
            reagents=(Reagent(lot=note, name=note, tests=(note,)),),
            unmapped=(Unmapped(table="codes", code=note, unit=note, display=note),),
        )  # fmt: skip
        recorded = record_outcome.record(batch, stored.id, outcome, [routed])
        attempts.bury(
            batch, recorded.deliveries[0].id, reason=ReasonCode.REFUSED, detail=note, answer=text[:LONGEST_NOTE]
        )
        dead = append.store_message(batch, received, repeat_window_s=0.0)
        record_outcome.record(batch, dead.id, Outcome("dead", ReasonCode.BAD_VALUE, detail=note, issues=(issue,)))
        actor = Actor("asha", role="operator", **{"from": note})
        audit.note(batch, actor, "dismiss", {"message": stored.id, "reason": note, "purpose": note})
        plant_orders(batch, stored.id, note)


def plant_orders(batch: Batch, message: int, note: str) -> None:
    """An order with a text in all that is kept of it, the analyzer's words, and a result without an order."""
    patient = OrderedPatient(number=TUBE, family=note, given=note, ward=note)
    line = OrderLine(
        test=note, test_name=note, test_system=note, specimen=TUBE, placer=note, comment=note, patient=patient
    )
    settings = TakeSettings(known_channels={CHANNEL: frozenset({note})})
    (taken,) = worklist.take_orders(batch, message, CHANNEL, [line], settings)
    ask = AskSettings(channel=CHANNEL, codes={note: note})
    asked = worklist.answer(batch, message, Question(kind="specimens", asked=(Asked(specimen=TUBE),)), ask)
    worklist.not_offered(batch, asked.query, [taken.number], "late", maybe=False)
    said = Confirmation(
        of="", accepted=False, code=note, text=note, items=((item_id(taken.number), False, note, note),)
    )
    worklist.offered(batch, asked.query, [taken.number], CHANNEL, NOW_US)
    worklist.confirmed(batch, CHANNEL, message, said)
    worklist.result(batch, message, CHANNEL, TUBE, "", [ResultOf(code=f"{note}, no order")])


async def trial(*asked: Any) -> dict[str, Any]:
    """A trial of a mapping that finds each text everywhere."""
    notes = [text.decode("utf-8", "replace")[:LONGEST_NOTE] for text in HOSTILE.values()]
    issues = [{"code": one, "place": one, "text": one, "rule": one} for one in notes]
    return {
        "problems": [{"severity": "error", "file": one, "line": 1, "column": 1, "text": one} for one in notes],
        "mapping": {"name": notes[0], "hash": notes[1]},
        "dead": {"reason": "BAD_VALUE", "place": notes[2], "text": notes[3]},
        "issues": issues,
        "unmapped": [{"table": one, "code": one, "unit": one} for one in notes],
        "unread": notes,
        "lines": [[1, one, f"/{at}"] for at, one in enumerate(notes)],
        "leaves": [
            {"pointer": f"/{at}", "rule": one, "function": one, "sources": [one]} for at, one in enumerate(notes)
        ],
    }


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    def plant() -> None:
        journal = opened(tmp_path)
        journal.run_alone(planted)
        journal.close()

    await asyncio.to_thread(plant)
    context = MapContext(channel=CHANNEL, key=b"k" * 32, timezone="Asia/Kolkata")
    route = Route(when=None, program=shipped.program("hl7-results"), to=(DESTINATION,))
    options = FormatOptions(charsets=("utf-8", "latin-1"))
    routes = ChannelRoutes(
        channel=CHANNEL, message_format=hl7v2, media_type="", options=options, routes=(route,), context=context
    )
    async with access.site(tmp_path, verbs=Known().verbs, channels=lambda: {CHANNEL: routes}, trial=trial) as made:
        await made.add("all", "admin", sees_patients=True)
        yield made


class Markup(HTMLParser):
    """What a browser would run of a page, or take from elsewhere."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("img", "iframe", "object", "embed", "base") or (tag == "script" and "src" not in found):
            self.wrong.append(tag)
        for name, value in attrs:
            place = (value or "").strip().lower()
            if name.startswith("on") or name == "style":
                self.wrong.append(f"{tag} {name}")
            if name in ("href", "src", "action", "formaction") and not place.startswith(("/", "#", "?")):
                self.wrong.append(f"{tag} {name}={place[:40]}")


def wrong_with(kind: str, text: str) -> Iterator[str]:
    """What of a device's text could do something there."""
    if kind.endswith("json"):
        text = text.replace("\x7f", "")  # which JSON has as it is (RFC 8259, 7)
    if CONTROLS.search(text):
        yield f"a control character: {CONTROLS.findall(text)[:5]!r}"
    if kind == "text/html":
        page = Markup()
        page.feed(text)
        yield from page.wrong
        yield from DIRECTIONS.findall(text)
        if re.search(rf"{MARK}49", text):
            yield "a template"
    elif kind.endswith("json"):
        json.loads(text)
    elif kind == "text/csv":
        rows = csv.reader(io.StringIO(text))
        yield from (f"a formula: {cell[:20]}" for row in rows for cell in row if cell[:1] in ("=", "+", "@", "\t"))


def addresses(path: str) -> list[str]:
    """A path with each planted message in its gap; another gap gets a text that is no thing's name."""
    gaps = re.findall(r"\{(\w+)\}", path)
    if gaps in (["number"], ["message"]):
        return [path.replace(f"{{{gaps[0]}}}", str(2 * at + 1)) for at in range(len(HOSTILE))]
    return [re.sub(r"\{\w+\}", "page.css", path)]


async def looked_at(browser: Browser, method: str, path: str, form: dict[str, str], **more: str) -> tuple[str, str]:
    """The kind of an answer, and its text; the header is looked at here. ``more``: of the address."""
    address = URL(path).with_query(QUERY | more)
    asked = browser.client.get(address) if method == "GET" else browser.client.post(address, data=form)
    async with asked as answer:
        body = await answer.read()
        waits = answer.status == 503 and "Retry-After" in answer.headers  # no daemon runs
        assert answer.status < 500 or waits, f"{method} {path}"
        assert len(body) <= LONGEST_ANSWER, f"{method} {path}: {len(body)} bytes"
        assert "a=b" not in answer.headers.getall("Set-Cookie", []), path
        if body and answer.content_type.startswith("text/"):
            assert answer.headers.get("X-Content-Type-Options") == "nosniff", path
        return answer.content_type, body.decode("utf-8")


async def walked(browser: Browser, site: Site) -> AsyncIterator[tuple[str, str, str, str]]:
    """Every page, and what opens one message: route, address, kind, text."""
    _, page = await browser.get("/messages/1?part=bytes&lang=en")
    fields = Browser.hidden(page) | {
        "purpose": f"{MARK}<script>alert(1)</script>",
        "at": QUERY["at"],
        "message": f"{MARK}<script>alert(1)</script>",
    }
    for path, method in sorted(site.page.server.routes):
        if path == "/events" or method not in ("GET", "POST"):
            continue  # a stream, which the overview's own texts fill
        if method == "POST" and "{number}" not in path and path not in FORMS:
            continue  # an act, or a form of access
        for address in addresses(path):
            try:
                yield f"{method} {path}", address, *await looked_at(browser, method, address, fields)
                for part in PARTS if path == CONTENTS else ():
                    of = address.removesuffix("/contents")
                    yield f"GET {part}", of, *await looked_at(browser, "GET", of, {}, part=part)
            except aiohttp.ClientError as error:
                raise AssertionError(f"{method} {address}: {error}") from error


async def test_no_text_of_a_device_does_anything_anywhere(here: Site) -> None:
    shown = set()
    async with here.browser() as browser:
        await browser.log_in("all")
        async for route, address, kind, text in walked(browser, here):
            assert list(wrong_with(kind, text)) == [], f"{route}: {address}"
            if MARK in text.replace(QUERY["at"], ""):
                shown.add(route)
    assert SHOWN - shown == set()


@pytest.mark.parametrize(("kind", "text"), [
    ("text/html", "<p onclick=x>"), ("text/html", "<script>1</script>"), ("text/html", "<img src=/x>"),
    ("text/html", "<a href='javascript:x'>"), ("text/html", "\u202e"), ("text/plain", "\x1b[0m"),
    ("text/html", "DEVICE749"), ("text/csv", "a,=1\r\n"), ("text/html", "<base href=//x>"),
])  # fmt: skip
def test_what_would_do_something_is_seen(kind: str, text: str) -> None:
    assert list(wrong_with(kind, text)) != []
