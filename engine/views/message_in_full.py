"""One message with its complete history, as a document for programs and as lines for people."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.model.errors import ConfigError
from engine.model.journal.journal_views import Act, Trace
from engine.model.process.clock import from_us
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import stored_document, stored_payload
from engine.views import wire
from engine.views.decided import counted, decided
from engine.views.messages import DELIVERY, DOCUMENT, MESSAGE, answer, as_text, attempt_words, attempts, issue_words
from engine.views.text import Head, cell, printable
from engine.views.trail import ACT, entries, names_message, reason
from engine.views.view import Field, View, at, or_none

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

ACTS_LOOKED_AT = 2000  # of the newest, searched for actions about one message
ACTS_AT_ONCE = 500
# Of a message: its heading, its state, its deliveries.
ON_OTHER_LINES = frozenset(("id", "channel", "seq", "state", "code", "delivery"))

TRACE = View[Trace](
    "messages",
    Field("message", of=lambda one: MESSAGE.row(one.message)),
    Field("edited_from", of=or_none("edited_from")),
    Field("edited_as", of=or_none("edited_as")),
    Field("times"),
    Field("last", of=lambda one: from_us(one.last_us) if one.times > 1 else None),
    Field("mapping"),
    Field("config", of=or_none("config")),
    Field("processed", of=at("processed_us")),
    Field("detail"),
    Field("issues", of=lambda one: list(one.issues)),
    Field("decided", of=lambda one: [{"document": place, **decided(facts)} for place, facts in one.facts.items()]),
    Field("session", of=or_none("session")),
    Field("frames", of=lambda one: list(one.frames)),
    Field("documents", of=lambda one: DOCUMENT.rows(one.documents)),
)


def document_of(trace: Trace, *, answers: bool) -> dict[str, Any]:
    deliveries = [
        {**DELIVERY.row(one), "attempts": attempts(one, answers=answers), **answer(one, answers)}
        for one in trace.deliveries
    ]
    return {**TRACE.row(trace), "deliveries": deliveries}


def without_reasons(trace: Trace) -> Trace:
    """The same without a dismissal's reason, which is kept as the detail: a person's reason may name a patient."""
    deliveries = tuple(one._replace(detail="") if one.state == "dismissed" else one for one in trace.deliveries)
    detail = "" if trace.message.state == "dismissed" else trace.detail
    return trace._replace(detail=detail, deliveries=deliveries)


def lines_of(document: dict[str, Any]) -> Iterator[str]:
    message = document["message"]
    yield Head(f"message {message['id']} ({message['channel']} {message['seq']})")
    for name in message:
        if name not in ON_OTHER_LINES and message[name]:
            yield f"  {name.replace('_', ' '):<10} {cell(message[name])}"
    yield f"  {'state':<10} {message['state']}{' ' + message['code'] if message['code'] else ''}"
    if document["last"]:
        yield f"  {'came':<10} {document['times']} times, last {cell(document['last'])}; it is kept once"
    if document["edited_from"]:
        yield f"  {'edited':<10} by a person; as received it is message {document['edited_from']}"
    if document["edited_as"]:
        yield f"  {'edited':<10} by a person; it is message {document['edited_as']} now"
    for name in ("processed", "mapping", "config", "detail", "frames"):
        if document[name]:
            yield f"  {name:<10} {cell(document[name])}"
    yield from (f"  {issue.get('severity', 'issue'):<10} {issue_words(issue)}" for issue in document["issues"])
    for said in document["decided"]:
        yield from (f"  {'decided':<10} {text}" for text in counted(said))
    for made in document["documents"]:
        yield f"  {'document':<10} {made['id']} {made['media_type']}, {made['stored_bytes']} bytes stored"
    for delivery in document["deliveries"]:
        yield from _delivery_lines(delivery)
    for act in document["acts"]:
        reason = f": {printable(act['reason'])}" if act["reason"] else ""
        yield f"  {'act':<10} {act['id']} {cell(act['at'])} {act['act']} by {printable(act['actor'])}{reason}"
    if "wire" in document:
        yield Head("on the line")
        if document["wire"]["note"]:
            yield f"  {document['wire']['note']}"
        yield from wire.lines(document["wire"]["steps"], whole="payload" in document)
    if "payload" in document:
        yield Head("received")
        yield from (printable(line) for line in document["payload"].replace("\r", os.linesep).splitlines())
        for number, body in document["bodies"].items():
            yield Head(f"document {number}")
            yield from (printable(line) for line in body.replace("\r", os.linesep).splitlines())


def _delivery_lines(delivery: dict[str, Any]) -> Iterator[str]:
    when = delivery["settled"] or delivery["next_attempt"]
    ended = delivery["state"] in ("delivered", "superseded")  # its attempts show why it failed before
    code = f" {delivery['code']}" if delivery["code"] and not ended else ""
    flags = [name.replace("_", " ") for name in ("manual", "maybe_delivered") if delivery[name]]
    where = f"{delivery['id']} to {delivery['destination']} ({delivery['seq']})"
    yield (
        f"  {'delivery':<10} {where}: {delivery['state']}{' (claimed)' if delivery['claimed'] else ''}{code}"
        + (f" {cell(when)}" if when else "")
        + (f" [{', '.join(flags)}]" if flags else "")
    )
    if delivery["detail"] and delivery["state"] in ("held", "superseded"):
        yield f"  {'':<10}   {printable(delivery['detail'])}"
    for tried in delivery["attempts"]:
        yield f"  {'':<10}   {attempt_words(tried)}"
        if "answer" in tried:
            yield f"  {'':<10}   answer: {printable(tried['answer'])}"


def acts_about(reader: "Reader", message: int) -> list[dict[str, Any]]:
    """People's actions on a message, oldest first: among the newest, for the trail has no index on messages."""

    def newest() -> Iterator[Act]:
        before: int | None = None
        for _ in range(ACTS_LOOKED_AT // ACTS_AT_ONCE):
            page = acts_page(reader, before_id=before, limit=ACTS_AT_ONCE)
            yield from page
            if not page or page[-1].id < message:  # an action names messages that existed before it
                return
            before = page[-1].id

    try:
        found = [entry for entry in entries(newest(), frozenset()) if names_message(entry, message)]
    except ConfigError:
        return []  # without the key sealed columns stay closed
    return [
        {**ACT.row(entry, {"id", "actor", "act"}), "at": from_us(entry.at_us), "reason": reason(entry)}
        for entry in reversed(found)
    ]


def contents_of(reader: "Reader", trace: Trace) -> dict[str, Any]:
    return {
        "payload": as_text(stored_payload(reader, trace.message.id)),
        "bodies": {str(document.id): as_text(stored_document(reader, document.id)) for document in trace.documents},
    }
