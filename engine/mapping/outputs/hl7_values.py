"""Values as HL7 v2 writes them: fields of the message that was read carried over, and times."""

import re
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from engine.mapping.message.message_context import MessageContext

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
