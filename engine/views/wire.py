"""The traffic of a line, for `messages show --wire` and `messages line`: each frame in and out, with a verdict.

Contents are masked (letters x, digits 9), and shown with --unmask only.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from engine.diagnostics.lines.dialogue import Step, dialogue
from engine.model.journal.journal_views import Trace
from engine.model.process.clock import from_us
from engine.model.texts.signs import text
from engine.store.operations.line_trace import KEPT_SESSIONS, LineEntry, LineRecord, LineWay
from engine.store.queries.line import frames_of, line_of
from engine.views.view import local, picked, printable

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
