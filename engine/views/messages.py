"""Messages, their deliveries and attempts."""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.model.journal.journal_views import AttemptView, DeliveryView, DocumentView, MessageView
from engine.views.view import Field, View, at, cell, printable

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
