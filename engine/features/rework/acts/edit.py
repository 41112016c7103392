r"""Edit a dead message: a person's corrected bytes are checked as intake does, and journaled as a new message.

A message as text that any editor can keep, and back to the same bytes. Pure.

    MSH|^~\&|XN|...        a line is a segment or record: its end means the message's own (CR, CR LF or LF)
    OBX|1|TX|||a<0A>b      <HH>, two upper-case hexadecimal digits: one byte that an editor would hide or change
    <3C>0A>                text that only looks so: its first character is written as a byte

Control characters, other line ends, bytes that are not text in the message's character set, and invisible characters (a
byte order mark, marks that change the writing direction) are written as bytes. Everything else is shown as it is, in
UTF-8, and encoded in the message's own character set again. Unchanged text gives the same bytes, whatever they were.

Set aside one delivery that its destination never takes, so that those behind it are sent.
"""

import asyncio
import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.actions.underway import Acts, answer
from engine.features.rework.rows import dismissal
from engine.features.rework.rows import edit_message as edit_message_ops
from engine.features.rework.rows.edit_message import EditResult
from engine.model.content.tested_results import corrects
from engine.model.errors import EditedTextError, ErasedError, IntegrityError, LabRelayError, RefusedError
from engine.model.journal.journal_views import DeliveryView, Trace
from engine.model.message import Received, Stored
from engine.model.routes import ChannelRoutes, Processed
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader, stored_document, stored_payload, why_absent

RECONFIGURED = "the configuration has changed since the outcome of the edit was seen; look at it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An edited message as intake would take it now; nothing is stored.

    Attributes:
        before: the bytes of the dead message.
        outcome: ``dead`` where the edit would be refused.
    """

    trace: Trace
    channel: ChannelRoutes
    before: bytes
    received: Received
    outcome: Processed

    @property
    def code(self) -> str:
        return self.outcome.reason.value if self.outcome.reason is not None else ""

    @property
    def to(self) -> list[str]:
        """The destinations that its documents would go to."""
        return sorted({name for _, route in self.outcome.documents for name in route.to})


def tried(
    reader: Reader, channels: Mapping[str, ChannelRoutes], message: int, content: bytes, received_us: int
) -> Trial:
    """Process a person's correction as intake does.

    Args:
        content: the whole corrected message.

    Raises:
        LabRelayError: the message cannot be edited, or not to these bytes; its text has the reason.
    """
    trace = trace_of(reader, message)
    if trace is None:
        raise why_absent(reader, "message", message)
    raise_if_not_editable(trace)
    channel = channels.get(trace.message.channel)
    if channel is None:
        raise LabRelayError(f"its channel {trace.message.channel} is not configured any more")
    before = stored_payload(reader, message)
    if content == before:
        raise LabRelayError("nothing was changed, so nothing is done")
    _raise_if_not_one(content, channel)
    header = channel.message_format.header(content)
    received = Received(
        channel=channel.channel,
        payload=content,
        received_us=received_us,
        control_id=header.control_id,
        message_type=header.message_type,
        notes=("edited by a person",),
    )
    outcome = process(_as_stored(message, received), channel)
    return Trial(trace=trace, channel=channel, before=before, received=received, outcome=outcome)


async def edit_message(
    acts: Acts,
    message: int,
    content: bytes,
    *,
    actor: str,
    reason: str,
    seen_with: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Journal a person's correction of a dead letter as a new message, and close the dead letter.

    An edit that would be a dead letter again is refused: the present one stays as it is. A delivery attempt of the
    wrong version cannot be called back: it is waited for (``awaited``: its destinations), so that its result is known,
    and nothing of the corrected message can be sent before it.

    Args:
        content: the whole corrected message.
        seen_with: hash of the configuration with which the person has seen its outcome, as ``config_hash`` of the dry
            run says it; None: it was not looked at.

    Raises:
        RefusedError: it has no reason, or another configuration is in force.
        LabRelayError: nothing was changed; its text has the reason.
    """
    if not dry_run and not reason.strip():
        raise RefusedError("an edit needs a reason")
    config = acts.journal.upkeep.config_hash  # before the trial: one of a later configuration is looked at again
    if seen_with is not None and seen_with[: len(config)] != config:
        raise RefusedError(RECONFIGURED)
    # In a thread: analyzers are answered meanwhile.
    trial = await asyncio.to_thread(tried, acts.journal, acts.channels(), message, content, acts.now_us())
    if trial.outcome.state == "dead":
        detail = f": {trial.outcome.detail}" if trial.outcome.detail else ""
        raise LabRelayError(f"the edited message would be a dead letter again: {trial.code}{detail}")
    details = {"verdict": trial.outcome.state, "code": trial.code, "to": trial.to, "config_hash": config}
    if dry_run:
        return {**answer(1, None, {}), "message": None, "awaited": [], **details}
    awaited = await acts.let_attempts_end(message)
    if acts.journal.upkeep.config_hash != config:
        raise RefusedError(RECONFIGURED)
    for lane in {(one.channel, one.destination) for one in trial.trace.deliveries}:
        acts.reclaim(*lane)  # deliveries in memory are closed with their rows, and from here on no attempt begins
    future = acts.journal.run(
        edit_message_ops.correct, message, trial.received, before=trial.before, actor=actor, reason=reason
    )
    future.add_done_callback(partial(_corrected, acts))  # in journal order, also without a waiting caller
    corrected = await asyncio.shield(future)
    if corrected.stored is None:
        raise LabRelayError(corrected.refused)
    for lane in corrected.lanes:
        acts.reclaim(*lane)  # a dead letter may have held its lane
    return {**answer(1, None, {"edited": 1}), "message": corrected.stored.id, "awaited": awaited, **details}


def charsets_of(routes: ChannelRoutes | None, payload: bytes) -> tuple[str, ...]:
    """The character sets that a message of a channel may be in, the likeliest first; none without the channel."""
    if routes is None:
        return ()
    with suppress(LabRelayError):  # often why it is dead
        return (routes.message_format.parse(payload, routes.options).charset, *routes.options.charsets)
    return tuple(routes.options.charsets)


def _corrected(acts: Acts, done: "asyncio.Future[EditResult]") -> None:
    if not done.cancelled() and done.exception() is None and (stored := done.result().stored) is not None:
        acts.accept(stored)


def raise_if_not_editable(trace: Trace) -> None:
    """Raises LabRelayError where a message is not an editable dead letter."""
    number = trace.message.id
    if trace.edited_as:
        raise LabRelayError(f"message {number} was edited already: it is message {trace.edited_as} now")
    if trace.message.state == "incomplete":
        raise LabRelayError(f"message {number} is incomplete, so it is never a result; have the analyzer send it again")
    if trace.message.state != "dead" and not any(delivery.state == "dead" for delivery in trace.deliveries):
        raise LabRelayError(f"message {number} is no dead letter ({trace.message.state}); only these are edited")


def _raise_if_not_one(content: bytes, channel: ChannelRoutes) -> None:
    """Raises LabRelayError where the bytes are not one message of the channel."""
    if not content.strip():
        raise LabRelayError("the edited message is empty; to close a dead letter, use: labrelay dlq dismiss")
    try:
        parts = len(channel.message_format.split(content))
    except Exception as error:  # an error of ours; its details are not examined here
        raise LabRelayError("the edited text cannot be read as a message") from error
    if parts != 1:
        raise LabRelayError(f"the edited text holds {parts} messages; one dead letter becomes one message")


def _as_stored(message: int, received: Received) -> Stored:
    return Stored(
        id=message,
        channel=received.channel,
        seq=0,
        payload=received.payload,
        received_us=received.received_us,
        control_id=received.control_id,
        message_type=received.message_type,
    )


HEAD = "# labrelay: "  # lines at the top with this prefix are ours and no part of the message
CR = "\r"

_BREAK = re.compile(r"\r\n|\r|\n")
_BYTE = re.compile(r"<([0-9A-F]{2})>")
_BYTE_MARK = "\ufeff"
_SURROGATES = 0xDC00  # where the error handler "surrogateescape" keeps a byte that does not decode (PEP 383)


@dataclass(frozen=True, slots=True)
class Shape:
    """Properties of a message that its text does not show.

    Attributes:
        charset: Python's name of it.
        line_end: the bytes of a line end.
        ended: the last line has one, too.
    """

    charset: str
    line_end: str = CR
    ended: bool = True


def shown(payload: bytes, charsets: Iterable[str] = ()) -> tuple[str, Shape]:
    """A message as text, and the shape that `read` needs to restore its bytes.

    Args:
        charsets: Python's names of its possible character sets, the likeliest first; UTF-8 comes after them.
    """
    for charset in (*charsets, "utf-8"):
        try:
            codecs.lookup(charset)  # an empty payload decodes in any, also an unknown one
            decoded = payload.decode(charset)
        except (UnicodeDecodeError, LookupError):
            continue
        if (found := _shown(payload, decoded, charset)) is not None:
            return found
    found = _shown(payload, payload.decode("utf-8", "surrogateescape"), "utf-8")
    return found or _as_ascii(payload)


def _as_ascii(payload: bytes) -> tuple[str, Shape]:
    found = _shown(payload, payload.decode("ascii", "surrogateescape"), "ascii")
    assert found is not None, "each byte is a sign or is written as a byte"
    return found


def read(text: str, shape: Shape) -> bytes:
    """The bytes of an edited text.

    Raises:
        EditedTextError: it has a character that the message's character set lacks.
    """
    lines = _BREAK.sub("\n", text.removeprefix(_BYTE_MARK)).split("\n")
    ours = next((number for number, line in enumerate(lines) if not line.startswith(HEAD)), len(lines))
    del lines[:ours]
    if len(lines) > 1 and not lines[-1]:
        del lines[-1]  # the end of the last line is no line of its own
    signs = shape.line_end.join(_BYTE.sub(_signs_of, line) for line in lines)
    if shape.ended:
        signs += shape.line_end
    try:
        return signs.encode(shape.charset, "surrogateescape")
    except UnicodeEncodeError as error:
        sign = signs[error.start]
        number = signs.count(shape.line_end, 0, error.start) + 1
        raise EditedTextError(
            f"line {number}: the sign {sign!r} (U+{ord(sign):04X}) is not in the message's character set "
            f"({shape.charset}); write another one, or its bytes as <HH>"
        ) from None


def _shown(payload: bytes, decoded: str, charset: str) -> tuple[str, Shape] | None:
    """None where the way back would give other bytes."""
    ends = Counter(_BREAK.findall(decoded))
    line_end = ends.most_common(1)[0][0] if ends else CR
    lines = decoded.split(line_end)
    ended = len(lines) > 1 and not lines[-1]
    if ended:
        del lines[-1]
    shape = Shape(charset, line_end, ended)
    text = "".join(f"{_plain(line, charset)}\n" for line in lines)
    try:
        return (text, shape) if read(text, shape) == payload else None
    except EditedTextError:
        return None


def _plain(line: str, charset: str) -> str:
    if "<" in line:
        line = _BYTE.sub(lambda found: f"<3C>{found[1]}>", line)
    if line.startswith(HEAD):
        line = f"<23>{line[1:]}"
    if line.isprintable():
        return line
    return "".join(sign if _is_seen(sign) else _bytes_of(sign, charset) for sign in line)


def _is_seen(sign: str) -> bool:
    return sign.isprintable() or unicodedata.category(sign) == "Zs"


def _bytes_of(sign: str, charset: str) -> str:
    code = ord(sign)
    if code < 0x80:
        return f"<{code:02X}>"
    return "".join(f"<{byte:02X}>" for byte in sign.encode(charset, "surrogateescape"))


def _signs_of(found: re.Match[str]) -> str:
    byte = int(found[1], 16)
    return chr(byte if byte < 0x80 else _SURROGATES + byte)


OPEN = ("waiting", "sending")


async def set_aside_delivery(
    acts: Acts, message: int, destination: str = "", *, actor: str, reason: str, dry_run: bool = False
) -> dict[str, Any]:
    """Set aside the delivery of a message that has failed and waits for its next attempt.

    An attempt under way cannot be called back, and is waited for. The delivery becomes a dead letter: retried, it is
    sent in its old place, and newer results that were delivered meanwhile keep it back as always.

    Args:
        destination: of the delivery; empty where the message waits for one destination only.

    Raises:
        LabRelayError: nothing was changed; its text has the reason.
    """
    if not dry_run and not reason.strip():
        raise RefusedError("setting a delivery aside needs a reason")
    trace = await asyncio.to_thread(trace_of, acts.journal, message)
    if trace is None:
        raise await asyncio.to_thread(why_absent, acts.journal, "message", message)
    chosen = which(trace, destination)
    correction = await asyncio.to_thread(_corrects, acts, trace, chosen)
    code = ReasonCode.CORRECTION_SET_ASIDE if correction else ReasonCode.SET_ASIDE
    details = {"message": message, "destination": chosen.destination, "code": code.value}
    if dry_run:
        return {**answer(1, None, {}), **details}
    await acts.let_attempts_end(message)
    acts.reclaim(chosen.channel, chosen.destination)  # gives back deliveries that wait in memory
    done = await acts.journal.run(dismissal.set_aside, chosen.id, correction=correction, actor=actor, reason=reason)
    acts.reclaim(chosen.channel, chosen.destination)
    if not done:
        raise LabRelayError(
            f"message {message} waits for {chosen.destination} no more: labrelay messages show {message}"
        )
    return {**answer(1, None, {"set_aside": 1}), **details}


def _corrects(acts: Acts, trace: Trace, delivery: DeliveryView) -> bool:
    """Whether the document corrects or withdraws results; True also where that is unknown."""
    try:
        known = corrects(stored_document(acts.journal, delivery.document_id))
        if known is None:  # no document with readable results; the message may show it
            known = corrects(stored_payload(acts.journal, trace.message.id))
    except (ErasedError, IntegrityError):
        return True
    return known is not False


def which(trace: Trace, destination: str) -> DeliveryView:
    """Find the delivery to set aside.

    Raises:
        LabRelayError: there is none, or several match.
    """
    number = trace.message.id
    waiting = [one for one in trace.deliveries if one.state in OPEN and destination in ("", one.destination)]
    where = f" for {destination}" if destination else ""
    if not waiting:
        raise LabRelayError(f"nothing of message {number} waits{where}: labrelay messages show {number}")
    tried = [one for one in waiting if one.attempts]
    if not tried:
        raise LabRelayError(
            f"no attempt to deliver message {number}{where} has failed: it waits behind another one. labrelay status "
            "says for which message a destination waits"
        )
    places = _places(tried)
    if len(places) > 1:
        raise LabRelayError(f"message {number} waits for {', '.join(places)}; say which: --destination NAME")
    return tried[0]


def _places(deliveries: Sequence[DeliveryView]) -> list[str]:
    return sorted({one.destination for one in deliveries})
