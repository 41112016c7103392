"""One message with all that became of it, as a document for programs and as lines for people."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.decided import counted, decided
from engine.commands.shared.output import cell, printable
from engine.model.clock import from_us
from engine.model.records import Act, MessageView, Trace
from engine.store.queries.acts import acts_page
from engine.store.queries.contents import stored_document, stored_payload

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

ACTS_LOOKED_AT = 2000  # of the newest, for the acts about one message
ACTS_AT_ONCE = 500


def row_of(view: MessageView, end: str) -> dict[str, Any]:
    """The message itself; ``end``: what became of its deliveries."""
    flags = [
        *(["repeat"] if view.repeat_of else []),
        *([f"same bytes as {view.equal_to}"] if view.equal_to else []),
        *(["same id, other bytes"] if view.same_id_other_bytes else []),
    ]
    return {
        "id": view.id,
        "received": from_us(view.received_us),
        "channel": view.channel,
        "seq": view.seq,
        "type": view.message_type,
        "state": view.state,
        "reason": view.reason,
        "delivery": end,
        "bytes": view.size,
        "peer": view.peer,
        "notes": list(view.notes),
        "repeat_of": view.repeat_of,
        "equal_to": view.equal_to,
        "flags": flags,
    }


def document_of(trace: Trace, end: str, *, answers: bool) -> dict[str, Any]:
    def at(instant_us: int) -> Any:
        return from_us(instant_us) if instant_us else None

    deliveries = []
    for delivery in trace.deliveries:
        shown: dict[str, Any] = {
            "id": delivery.id,
            "destination": delivery.destination,
            "seq": delivery.seq,
            "document": delivery.document_id,
            "key": delivery.key,
            "state": delivery.shown_state,
            "claimed": delivery.claimed,
            "cause": delivery.cause,
            "detail": delivery.detail,
            "failed_attempts": delivery.attempt,
            "next_attempt": at(delivery.not_before_us) if delivery.shown_state == "waiting" else None,
            "settled": at(delivery.settled_us),
            "maybe_delivered": delivery.maybe_delivered,
            "manual": delivery.manual,
            "attempts": [
                {"n": tried.n, "at": at(tried.at_us), "cause": tried.cause, "detail": tried.detail}
                | ({"answer": _text(tried.answer)} if answers and tried.answer else {})
                for tried in delivery.attempts
            ],
        }
        if answers and delivery.answer:
            shown["answer"] = _text(delivery.answer)
        deliveries.append(shown)
    return {
        "message": row_of(trace.message, end),
        "edited_from": trace.edited_from or None,
        "edited_as": trace.edited_as or None,
        "times": trace.times,
        "last": at(trace.last_us) if trace.times > 1 else None,
        "mapping": trace.mapping,
        "processed": at(trace.processed_us),
        "detail": trace.detail,
        "issues": list(trace.issues),
        "decided": [{"document": place, **decided(facts)} for place, facts in trace.facts.items()],
        "session": trace.session or None,
        "frames": list(trace.frames),
        "documents": [
            {"id": made.id, "ordinal": made.ordinal, "media_type": made.media_type, "stored_bytes": made.stored_bytes}
            for made in trace.documents
        ],
        "deliveries": deliveries,
    }


def lines_of(document: dict[str, Any]) -> Iterator[str]:
    message = document["message"]
    yield click.style(f"message {message['id']} ({message['channel']} {message['seq']})", bold=True)
    for name in ("received", "peer", "type", "bytes", "notes", "flags", "repeat_of", "equal_to"):
        if message[name]:
            yield f"  {name.replace('_', ' '):<10} {cell(message[name])}"
    yield f"  {'state':<10} {message['state']}{' ' + message['reason'] if message['reason'] else ''}"
    if document["last"]:
        yield f"  {'came':<10} {document['times']} times, last {cell(document['last'])}; it is kept once"
    if document["edited_from"]:
        yield f"  {'edited':<10} by a person; as received it is message {document['edited_from']}"
    if document["edited_as"]:
        yield f"  {'edited':<10} by a person; it is message {document['edited_as']} now"
    for name in ("processed", "mapping", "detail", "frames"):
        if document[name]:
            yield f"  {name:<10} {cell(document[name])}"
    for issue in document["issues"]:
        place, rule = issue.get("place", ""), issue.get("rule", "")
        text = printable(f"{issue.get('code', '')} {issue.get('text', '')}".strip())
        yield (
            f"  {issue.get('severity', 'issue'):<10} {text}"
            + (f" at {place}" if place else "")
            + (f" (rule {rule})" if rule else "")
        )
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
        from engine.commands.shared.wire_lines import lines

        yield click.style("on the line", bold=True)
        if document["wire"]["note"]:
            yield f"  {document['wire']['note']}"
        yield from lines(document["wire"]["steps"], whole="payload" in document)
    if "payload" in document:
        yield click.style("received", bold=True)
        yield from (printable(line) for line in document["payload"].replace("\r", os.linesep).splitlines())
        for number, body in document["bodies"].items():
            yield click.style(f"document {number}", bold=True)
            yield from (printable(line) for line in body.replace("\r", os.linesep).splitlines())


def _delivery_lines(delivery: dict[str, Any]) -> Iterator[str]:
    when = delivery["settled"] or delivery["next_attempt"]
    ended = delivery["state"] in ("delivered", "superseded")  # its attempts tell why it failed before
    cause = f" {delivery['cause']}" if delivery["cause"] and not ended else ""
    flags = [name.replace("_", " ") for name in ("manual", "maybe_delivered") if delivery[name]]
    where = f"{delivery['id']} to {delivery['destination']} ({delivery['seq']})"
    yield (
        f"  {'delivery':<10} {where}: {delivery['state']}{' (claimed)' if delivery['claimed'] else ''}{cause}"
        + (f" {cell(when)}" if when else "")
        + (f" [{', '.join(flags)}]" if flags else "")
    )
    if delivery["detail"] and delivery["state"] in ("held", "superseded"):
        yield f"  {'':<10}   {printable(delivery['detail'])}"
    for tried in delivery["attempts"]:
        detail = f": {printable(tried['detail'])}" if tried["detail"] else ""
        yield f"  {'':<10}   attempt {tried['n']} {cell(tried['at'])} {tried['cause']}{detail}"
        if "answer" in tried:
            yield f"  {'':<10}   answer: {printable(tried['answer'])}"


def acts_about(reader: "Reader", message: int) -> list[dict[str, Any]]:
    """What people did about a message, oldest first: of the newest acts, for the trail has no index on messages."""
    from engine.actions.trail import entries, names_message
    from engine.model.errors import ConfigError

    def newest() -> Iterator[Act]:
        before: int | None = None
        for _ in range(ACTS_LOOKED_AT // ACTS_AT_ONCE):
            page = acts_page(reader, before_id=before, limit=ACTS_AT_ONCE)
            yield from page
            if not page or page[-1].id < message:  # an act names messages that were there before it
                return
            before = page[-1].id

    try:
        found = [entry for entry in entries(newest(), frozenset()) if names_message(entry, message)]
    except ConfigError:
        return []  # the key is not at hand: what is sealed stays so
    return [
        {
            "id": entry.id,
            "at": from_us(entry.at_us),
            "actor": entry.actor,
            "act": entry.verb,
            "reason": str(entry.what.get("reason") or ""),
        }
        for entry in reversed(found)
    ]


def contents_of(reader: "Reader", trace: Trace) -> dict[str, Any]:
    return {
        "payload": _text(stored_payload(reader, trace.message.id)),
        "bodies": {str(document.id): _text(stored_document(reader, document.id)) for document in trace.documents},
    }


def _text(content: bytes) -> str:
    """Bytes as text that can be read back: what is no UTF-8 stays as \\x.. escapes."""
    return content.decode("utf-8", "backslashreplace")
