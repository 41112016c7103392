"""Dates and times, with the precision that was sent (see `engine.mapping.values.local_time`)."""

import datetime as times
import re
from typing import Any

from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext

FIRST = "first_year"
_TIME = re.compile(r"(\d\d)(\d\d)?(?:(\d\d)(\.\d{1,9})?)?([+-]\d{4})?", re.ASCII)


@function("datetime(value: text) -> dateTime", method="to_datetime")
def datetime(run: MessageContext, text: str) -> str | None:
    """A TS, DTM or DT as a dateTime: precision kept, the offset its own, the message's or the channel's."""
    return run.times.datetime(text)


@function("event_time(value: text) -> dateTime", method="to_event_time", settings=(FIRST,))
def event_time(run: MessageContext, text: str) -> str | None:
    """As `datetime`, of what was measured, collected, reported or sent. One of a year before 1980 (setting
    `first_year`), or of more than a day after it came, is none: left out, with a warning."""
    return run.times.event(text)


@function("date(value: text) -> date")
def date(run: MessageContext, text: str) -> str | None:
    """The date part of a TS, DTM or DT; `00` parts cut the precision, an impossible date is left out."""
    return run.times.date(text)


@function("birth_date(value: text) -> date")
def birth_date(run: MessageContext, text: str) -> str | None:
    """As `date`, of a birth: one before 1850, or in the future, is left out, with a warning."""
    return run.times.birth(text)


@function("instant(value: text) -> instant", settings=(FIRST,))
def instant(run: MessageContext, text: str) -> str | None:
    """A time with seconds and offset, when something was reported; a less precise one is absent, never padded, and so
    is one that `event_time` leaves out."""
    return run.times.instant(text) if run.times.event(text) else None


@function("time(value: text) -> time")
def time(run: MessageContext, text: str) -> str | None:
    """A TM as a time of day; seconds are padded, an offset is dropped with a warning. A fraction of a second has three
    digits, as HL7's validator wants it; further ones are cut off, with a warning."""
    match = _TIME.fullmatch(text)
    if match is None or match[1] > "23" or (match[2] or "00") > "59" or (match[3] or "00") > "59":
        run.bad_value("not a time of the form HHMMSS; left out")
        return None
    if match[5]:
        run.warn("TIME_OFFSET", "a time of day has no offset in FHIR; it was dropped")
    fraction = (match[4] or "")[:4]
    if (match[4] or "")[4:].strip("0"):
        run.warn("TIME_FRACTION", "a time of day has thousandths of a second in FHIR; finer digits were cut off")
    return f"{match[1]}:{match[2] or '00'}:{match[3] or '00'}{fraction and fraction.ljust(4, '0')}"


@function("period(start: text?, end: text?) -> Period")
def period(run: MessageContext, start: str | None, end: str | None) -> dict[str, Any] | None:
    """A Period of two times, either of which may be absent; an end on a day before the start is left out."""
    return _period(run, run.times.period(start, end))


@function("event_period(start: text?, end: text?) -> Period", settings=(FIRST,))
def event_period(run: MessageContext, start: str | None, end: str | None) -> dict[str, Any] | None:
    """As `period`, of two times as `event_time` reads them."""
    known = (text if text and run.times.event(text) else None for text in (start, end))
    return _period(run, run.times.period(*known))


def _period(run: MessageContext, made: dict[str, Any] | None) -> dict[str, Any] | None:
    if made and len(made) > 1 and made["end"][:10] < made["start"][:10][: len(made["end"])]:
        run.bad_value("a period that ends before it starts; its end was left out")
        del made["end"]
    return made


@function("not_after(value: text, latest: text?) -> dateTime")
def not_after(run: MessageContext, text: str, latest: str | None) -> str | None:
    """A time that is not after another (an order is not written after its message); one that is, is left out."""
    value = run.times.event(text)
    limit = run.times.datetime(latest) if value and latest else None
    if value and limit and _is_after(value, limit):
        run.bad_value("a time that is after the one it cannot be after; it was left out")
        return None
    return value


def _is_after(value: str, limit: str) -> bool:
    """Of two times of FHIR; by the instant where both have one, else by as much of the day as both say."""
    if "T" in value and "T" in limit:
        return _instant(value) > _instant(limit)
    said = min(len(value), len(limit), len("2026-03-01"))
    return value[:said] > limit[:said]


def _instant(value: str) -> times.datetime:
    return times.datetime.fromisoformat(value.replace(":60", ":59"))  # a leap second


@function("message_time() -> dateTime")
def message_time(run: MessageContext) -> str | None:
    """The message's own time: MSH-7, H-14."""
    if run.trace is not None:
        run.trace.source(run.parsed.segments[0], 7 if run.hl7 else 14)
    return run.times.event(run.times.message_time) if run.times.message_time else None
