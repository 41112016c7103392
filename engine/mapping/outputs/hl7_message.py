r"""Segments to an HL7 v2 message: MSH, set IDs, control id, and the bytes that are sent.

    MSH-1, 2     |^~\&, where the mapping does not say otherwise
    MSH-7        the message's own time, else the time of receipt
    MSH-9        the event of ``to:``, with its structure; a mapping may give MSH-9.2, another event of the structure
    MSH-10       20 characters: a keyed hash of the message that was read and of all that is written
    MSH-11, 12   P, 2.5.1
    MSH-18       UNICODE UTF-8

So a retry, a replay and a second run of the same mapping carry the same control id, and a document that differs in
anything carries another one: a receiver that recognises repeats by MSH-10 accepts a correction and accepts nothing
twice.

Values as HL7 v2 writes them: fields of the message that was read carried over, and times.
"""

import re
from base64 import b32encode
from datetime import UTC, datetime
from functools import cache, lru_cache
from hashlib import blake2b
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

from engine.config import registry
from engine.mapping.language.targets import Target
from engine.mapping.message.message_context import MessageContext
from engine.mapping.outputs.collected import MessageParts
from engine.mapping.values.local_time import LocalTimes
from engine.model.texts.reasons import ReasonCode

_MAX_FRACTION = 5  # the point and four digits: HL7 v2.5.1, 2.A.22 DTM
_OFFSET = re.compile(r"(Z|[+-]\d\d:\d\d)$")


def carried(run: MessageContext, raw: str) -> Any:
    """A field as it was sent, with its components and subcomponents, as content of a field that is written.

    Each part is a text again, unescaped: it will be escaped in the delimiters of the message that is written.
    """
    if run.C not in raw and run.S not in raw:
        return run.text(raw)
    parts = {}
    for number, component in enumerate(raw.split(run.C), 1):
        if run.S in component:
            inner = {
                at: text for at, one in enumerate(component.split(run.S), 1) if (text := run.text(one)) is not None
            }
            if inner:
                parts[number] = inner[1] if list(inner) == [1] else inner
        elif (text := run.text(component)) is not None:
            parts[number] = text
    return parts or None


def carried_all(run: MessageContext, raws: list[str]) -> list[Any] | None:
    """Several repetitions."""
    return [made for raw in raws if (made := carried(run, raw)) is not None] or None


def undivided(run: MessageContext, raw: str) -> str | None:
    """A whole field as one text, delimiters included; a field with nothing but delimiters is absent."""
    if run.C not in raw and run.S not in raw:
        return run.text(raw)
    text = run.whole(raw)
    return text.strip() if text is not None and text.strip(run.C + run.S + " ") else None


def undivided_all(run: MessageContext, raws: list[str]) -> list[str] | None:
    """Several repetitions."""
    return [made for raw in raws if (made := undivided(run, raw)) is not None] or None


def time_text(run: MessageContext, value: str) -> str:
    """A FHIR date, dateTime, instant or time as HL7's DTM, DT or TM, as precise as it is.

    The offset of the channel's own zone is left out, since many receivers know local times only; any other offset
    stays, and with the setting ``time_offsets: yes`` every one.
    """
    if "T" not in value:
        return value.replace("-", "").replace(":", "")
    keep = str(run.settings.get("time_offsets", "")).lower() in ("yes", "true")
    return _time_text(value, run.context.timezone, keep)


def times_text(run: MessageContext, values: list[str]) -> list[str]:
    return [time_text(run, value) for value in values]


@lru_cache(maxsize=1024)
def _time_text(value: str, zone: str, keep: bool) -> str:
    found = _OFFSET.search(value)
    offset = found[0] if found else ""
    clock, point, fraction = value[: len(value) - len(offset)].partition(".")
    text = re.sub(r"[-:T]", "", clock) + (point + fraction)[:_MAX_FRACTION]
    if not offset:
        return text
    if not keep and _is_of(zone, datetime.fromisoformat(value)):
        return text
    return text + ("+0000" if offset == "Z" else offset.replace(":", ""))


def _is_of(zone: str, at: datetime) -> bool:
    try:
        return at.astimezone(ZoneInfo(zone)).utcoffset() == at.utcoffset()
    except OverflowError:  # the first day of the year 1, and the last of 9999
        return False


DEFAULT_VERSION = "2.5.1"
DEFAULT_CHARSET = "UNICODE UTF-8"
SENDING_APPLICATION = "LABRELAY"
CONTROL_ID_LENGTH = 20  # MSH-10 in versions before 2.6

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


@cache
def writer() -> ModuleType:
    """The codec that writes HL7 v2."""
    return registry.load(registry.WRITERS, "hl7v2")


def assemble(run: MessageContext, making: MessageParts, target: Target, mapping: str) -> bytes:
    """The message of everything that was made.

    Raises:
        ContentError: a field without which a segment means nothing, a character that MSH-18 does not have.
    """
    codec = writer()
    making.check_owners()
    made = [part for part in making.parts if part.name == "MSH"]
    header: dict[int, Any] = {}
    for part in made:
        header = part.content | header
    counts: dict[str, int] = {}
    segments = [codec.Written("MSH", _header(run, header, target))]
    for part in making.parts:
        if part.name != "MSH":
            counts[part.name] = counts.get(part.name, 0) + 1
            segments.append(codec.Written(part.name, part.content, counts[part.name]))
    for issue in codec.number(segments, target.event):
        run.at = None
        run.warn(issue.code, f"{issue.place} of the message that is written: {issue.text}")
    for segment in segments[1:]:
        _check(run, segment)
    delimiters = codec.delimiters_of(header.get(1, "|"), header.get(2, "^~\\&"))
    fields = segments[0].fields
    charset = fields[18] if isinstance(fields[18], str) else DEFAULT_CHARSET
    lines = codec.lines_of(segments, delimiters)
    if not fields.get(10):
        fields[10] = _control_id(run, codec.text_of_lines(lines), mapping)
        lines[0] = codec.lines_of(segments[:1], delimiters)[0]
    making.header = fields
    return bytes(codec.encode(codec.text_of_lines(lines), charset))


def _header(run: MessageContext, given: dict[int, Any], target: Target) -> dict[int, Any]:
    """MSH, with what the mapping leaves to LabRelay."""
    fields = {number: content for number, content in given.items() if number > 2}
    version = fields.setdefault(12, DEFAULT_VERSION)
    kind = dict(enumerate(writer().event_type(target.event, version if isinstance(version, str) else ""), 1))
    said = fields.get(9)
    fields[9] = kind | said if isinstance(said, dict) else kind
    fields.setdefault(3, SENDING_APPLICATION)
    if 7 not in fields and (time := _time(run)):
        fields[7] = time
    fields.setdefault(11, "P")
    fields.setdefault(18, DEFAULT_CHARSET)
    return fields


def _time(run: MessageContext) -> str | None:
    """When the message was made; where it does not say that, when it was received."""
    times: LocalTimes = run.times
    said = times.event(times.message_time) if times.message_time else None
    if said is None and run.context.received_at is not None:
        said = run.context.received_at.astimezone(UTC).isoformat(timespec="seconds")
    return None if said is None else time_text(run, said)


def _control_id(run: MessageContext, text: str, mapping: str) -> str:
    state = blake2b(digest_size=13, key=run.context.key)
    for part in (mapping, run.context.payload_hash or run.parsed.control_id, text):
        state.update(part.encode("utf-8", "surrogatepass"))
        state.update(b"\x1f")
    return b32encode(state.digest()).decode()[:CONTROL_ID_LENGTH]


def _check(run: MessageContext, segment: Any) -> None:
    """Check for missing fields without which a segment has no meaning, and for numbers that are none."""
    codec = writer()
    for number in codec.REQUIRED.get(segment.name, ()):
        if number not in segment.fields:
            run.at = None
            raise run.dead(
                ReasonCode.REQUIRED_ABSENT, f"{segment.place}-{number} of the message that is written is empty"
            )
    for number in codec.EXPECTED.get(segment.name, ()):
        if number not in segment.fields:
            run.at = None
            run.warn("REQUIRED_ABSENT", f"{segment.place}-{number} of the message that is written is empty")
    if segment.name != "OBX" or 5 not in segment.fields:
        return
    kind, value = segment.fields.get(2), segment.fields[5]
    run.at = None
    if kind is None:
        raise run.dead(ReasonCode.REQUIRED_ABSENT, f"{segment.place}-2 names the type of OBX-5, and is empty")
    numbers = value if isinstance(value, list) else [value]
    if kind == "NM" and not all(isinstance(one, str) and _NUMBER.fullmatch(one) for one in numbers):
        run.warn("NOT_A_NUMBER", f"{segment.place}-5 of the message that is written is no number, and OBX-2 says NM")
