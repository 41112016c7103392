"""One message with its complete history, as a document for programs and as lines for people.

Messages, their deliveries and attempts.

The traffic of a line, for `messages show --wire` and `messages line`: each frame in and out, with a verdict.

Contents are masked (letters x, digits 9), and shown with --unmask only.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.diagnostics.lines.dialogue import Step, dialogue
from engine.model.errors import ConfigError
from engine.model.journal.journal_views import Act, AttemptView, DeliveryView, DocumentView, MessageView, Trace
from engine.model.process.clock import from_us
from engine.model.texts.signs import text
from engine.store.operations.line_trace import KEPT_SESSIONS, LineEntry, LineRecord, LineWay
from engine.store.queries.acts import acts_page
from engine.store.queries.line import frames_of, line_of
from engine.store.queries.reader import stored_document, stored_payload
from engine.views.decided import counted, decided
from engine.views.trail import ACT, entries, names_message, reason
from engine.views.view import Field, Head, View, at, cell, local, or_none, picked, printable

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

NEAR = 20  # sessions before the end of an answer in which it is looked for
LONGEST_SIGN = 8  # bytes that are no frame: ENQ, ACK, EOT
LONGEST = 160  # signs of a frame that people are shown at once

WHOLE_BLOCK = "it came as one whole block; the answer to it is not kept"
TOO_OLD = (
    f"answers and refused frames are not kept any more (only of a channel's last {KEPT_SESSIONS} sessions): these "
    "are the frames that were taken"
)


def wire_of(reader: "Reader", trace: Trace, *, masked: bool) -> dict[str, Any]:
    """The part ``wire`` of a message's document: its session's steps, and a note where they are not all."""
    note, steps = steps_of(reader, trace)
    return {"note": note, "steps": rows(steps, masked=masked)}


def steps_of(reader: "Reader", trace: Trace) -> tuple[str, list[Step]]:
    """The note of `wire_of`, and the steps themselves, which are patient data."""
    message = trace.message
    records = line_of(reader, message.channel, session=trace.session) if trace.session else []
    if records:
        return "", [step for record in reversed(records) for step in dialogue(record.entries)]
    if not trace.frames:
        return WHOLE_BLOCK, [Step(at_us=message.received_us, way="in", what=f"block, {message.size} bytes of content")]
    frames = frames_of(reader, trace.session, message.channel, trace.frames[0], trace.frames[-1])
    return TOO_OLD, list(dialogue(LineEntry(LineWay.IN, at_us, raw) for at_us, raw in frames))


def exchange_of(reader: "Reader", channel: str, session: int, since_us: int, until_us: int) -> list[Step]:
    """A question and its answer, in order: all of the question's session, and of those in which we sent something the
    steps of this time. The steps are patient data.

    Args:
        session: of the question; 0: it came as a whole block, or LabRelay began.
        since_us, until_us: the orders were looked up, and the end of the answer was noted. A line has one answer under
            way at a time, so no other answer of it is in between.
    """
    own = line_of(reader, channel, session=session) if session else []
    near = line_of(reader, channel, before_us=until_us + 1, limit=NEAR)
    found = [step for record in own for step in dialogue(record.entries)]
    for record in near:
        if record in own or not any(_is_frame_of_ours(one) for one in record.entries):
            continue
        found += [step for step in dialogue(record.entries) if since_us <= step.at_us <= until_us]
    return sorted(found, key=lambda step: step.at_us)


def _is_frame_of_ours(one: LineEntry) -> bool:
    return one.way is LineWay.OUT and len(one.data) > LONGEST_SIGN


def sessions_of(records: Sequence[LineRecord], *, masked: bool) -> list[dict[str, Any]]:
    """Sessions of a channel, as documents; newest first, as they come."""
    return [
        {"session": record.session or None, "steps": rows(list(dialogue(record.entries)), masked=masked)}
        for record in records
    ]


def rows(steps: Sequence[Step], *, masked: bool) -> list[dict[str, Any]]:
    return [
        {
            "at": from_us(step.at_us),
            **picked(step, "way what number expected good"),
            "checksum": step.sum_given or None,
            "computed": step.sum_computed or None,
            "text": text(step.data, masked=masked) if len(step.data) > 1 else "",
        }
        for step in steps
    ]


def lines(steps: Sequence[dict[str, Any]], *, whole: bool) -> Iterator[str]:
    """The steps as people read them. ``whole``: no frame is cut short."""
    for step in steps:
        at = local(step["at"])
        when = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}" if step["way"] != "--" else ""
        yield f"  {when:<12}  {step['way']:<3}  {printable(step['what'])}"
        shown = step["text"]
        if shown:
            cut = shown if whole or len(shown) <= LONGEST else f"{shown[:LONGEST]} ..."
            yield f"  {'':<12}  {'':<3}    {printable(cut)}"


NOT_BEFORE = at("not_before_us")

MESSAGE = View[MessageView](
    "messages",
    Field("id", "ID", right=True),
    Field("received", "RECEIVED", of=at("received_us")),
    Field("channel", "CHANNEL"),
    Field("seq"),
    Field("type", "TYPE", of="message_type"),
    Field("state", "STATE"),
    Field("code", "CODE", of="reason"),
    Field("delivery", "DELIVERY", of="end"),
    Field("bytes", "BYTES", of="size", right=True),
    Field("peer"),
    Field("notes", of=lambda one: list(one.notes)),
    Field("repeat_of"),
    Field("equal_to"),
    Field("flags", "FLAGS", of=lambda one: list(_flags(one))),
)
ATTEMPT = View[AttemptView](
    "attempts", Field("n"), Field("at", of=at("at_us")), Field("code", of="cause"), Field("detail")
)
DELIVERY = View[DeliveryView](
    "deliveries",
    Field("id"),
    Field("destination"),
    Field("seq"),
    Field("document", of="document_id"),
    Field("key"),
    Field("state", of="shown_state"),
    Field("claimed"),
    Field("code", of="cause"),
    Field("detail"),
    Field("failed_attempts", of="attempt"),
    Field("next_attempt", of=lambda one: NOT_BEFORE(one) if one.shown_state == "waiting" else None),
    Field("settled", of=at("settled_us")),
    Field("maybe_delivered"),
    Field("manual"),
)
DOCUMENT = View[DocumentView]("documents", Field("id"), Field("ordinal"), Field("media_type"), Field("stored_bytes"))


def _flags(one: MessageView) -> Iterator[str]:
    if one.repeat_of:
        yield "repeat"
    if one.equal_to:
        yield f"same bytes as {one.equal_to}"
    if one.same_id_other_bytes:
        yield "same id, other bytes"


def attempts(delivery: DeliveryView, *, answers: bool) -> list[dict[str, Any]]:
    """The failed ones. ``answers``: with the destination's own text, which may name a patient."""
    return [ATTEMPT.row(tried) | answer(tried, answers) for tried in delivery.attempts]


def answer(one: DeliveryView | AttemptView, answers: bool) -> dict[str, str]:
    return {"answer": as_text(one.answer)} if answers and one.answer else {}


def issue_words(issue: Mapping[str, Any]) -> str:
    """A remark of a mapping about a message, with the place and the rule."""
    said = printable(f"{issue.get('code', '')} {issue.get('text', '')}".strip())
    place = f" at {issue['place']}" if issue.get("place") else ""
    return said + place + (f" (rule {issue['rule']})" if issue.get("rule") else "")


def attempt_words(tried: Mapping[str, Any]) -> str:
    detail = f": {printable(tried['detail'])}" if tried["detail"] else ""
    return f"attempt {tried['n']} {cell(tried['at'])} {tried['code']}{detail}"


def as_text(content: bytes) -> str:
    """Bytes as reversible text: bytes that are no UTF-8 become \\x.. escapes."""
    return content.decode("utf-8", "backslashreplace")


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
        yield from lines(document["wire"]["steps"], whole="payload" in document)
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
