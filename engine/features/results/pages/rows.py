"""Results that are held, as rows of a page."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from engine.features.results.lists.held_results import FLAGS, LEFT_OUT, MOST, Said
from engine.features.results.lists.shown import Shown
from engine.model.texts.phrases import N_, PageText, Span
from engine.succession.critical import CRITICAL
from engine.views.charts import Chart, curves
from engine.views.view import Row
from engine.web.cells import Badge
from engine.web.pages import states
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.words import Words, grouped, shown

NUMBER = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,12})?")
RANGE = re.compile(rf"\s*({NUMBER.pattern})\s*-\s*({NUMBER.pattern})\s*")
MARGIN = 8.0  # per cent of a bar that are outside of all its numbers
MOST_TOLD = 3  # results that a button names
NO_VALUE: PageText = N_("no value")
MORE: PageText = N_("... and {n} more")
OWN_CODES = N_("No table has a code for {tests}: it is sent under the analyzer's own code.")
WHOLE = 100_000  # signs: what is decided about is never cut
STATES: dict[str, PageText] = {  # FHIR's, of an Observation
    "registered": "registered",
    "preliminary": "preliminary",
    "final": "final",
    "amended": "amended",
    "corrected": "corrected",
    "cancelled": "cancelled",
    "entered-in-error": "withdrawn",
    "unknown": "unknown",
}


def row_of(one: Row, words: Words) -> dict[str, Any]:
    before = one["earlier_message"]
    share = f" ({one['percent']} %)" if one["percent"] else ""
    return {
        "unread": False,
        "test": shown(one["name"] or one["test"] or ", ".join(one["codes"])),
        "own": shown(one["test"]),
        "loinc": shown(one["loinc"]),
        "codes": shown(", ".join(dict.fromkeys(filter(None, (one["loinc"], one["test"]))))),
        "held": one["held"],
        "critical": one["critical"],
        "specimen": shown(one["specimen"]),
        "asked_by": shown(one.get("asked_by", "")),
        "value": shown(one["value"], WHOLE) or words.say("none"),  # "-" may be a result: negative
        "unit": shown(one["unit"]),
        "sends": shown(one["sends"], WHOLE),
        "flags": [*_lacks(one, words), *(_badge(flag, words) for flag in _worst_first(one["flags"]))],
        "range": shown(one["range"]),
        "limits": shown(one["limits"]),
        "collected": _moment(one["collected"], words),
        "age": _age(one["collected"], one["at"], words),
        "bar": bar(one),
        "curve": _curve(one["series"], words) if "series" in one else None,
        "earlier": shown(one["earlier"] or "", WHOLE),
        "earlier_at": _moment(one["earlier_at"], words),
        "earlier_in": words.say("Message {n}", n=before) if before else "",
        "earlier_href": words.href(f"{MESSAGES}/{before}") if before else "",
        "change": shown(f"{one['change']}{share}"),
        "at": _moment(one["at"], words),
        "status": words.say(STATES[one["status"]]) if one["status"] in STATES else shown(one["status"]),
        "changed": one["status"] not in ("", "final"),
    }


def bar(one: Row) -> tuple[float, float, float, float | None, bool] | None:
    """Where value and earlier value are beside the range, in per cent of a bar: its low and high end, the value, the
    earlier one, and whether the value is outside. None: not all three are plain numbers."""
    ends = RANGE.fullmatch(one["range"])
    if ends is None or not NUMBER.fullmatch(one["value"]):
        return None
    low, high, value = float(ends[1]), float(ends[2]), float(one["value"])
    if low >= high:
        return None
    was = float(one["earlier"]) if NUMBER.fullmatch(one["earlier"] or "") else None
    known = [low, high, value, *([] if was is None else [was])]
    least, wide = min(known), max(known) - min(known)

    def at(x: float) -> float:
        return round(MARGIN + (x - least) / wide * (100 - 2 * MARGIN), 1)

    return at(low), at(high), at(value), None if was is None else at(was), not low <= value <= high


def _curve(one: Shown, words: Words) -> Chart | None:
    """The values of the patient before this one, and this one at the end."""
    if not one.series or min(value for _, value in one.series) < 0:
        return None
    places = max(max(0, -int(value.as_tuple().exponent)) for _, value in one.series)
    values = [int(value.scaleb(places)) for _, value in one.series]
    *before, now = [words.time(at_us)[:-3] for at_us, _ in one.series]
    title = words.say("Before")
    return curves(
        f"{title}: {shown(one.series_unit)}",
        (words.say("Time"), title, words.say("Held back")),
        (*before, now),
        ([*values[:-1], None], [*[None] * len(before), values[-1]]),
        every=max(1, len(values) - 1),
        height=120,
        shown=lambda value: str(Decimal(value).scaleb(-places)),
    )


def _lacks(one: Row, words: Words) -> Sequence[Badge]:
    """A sign in the place of a number looks like one."""
    return (Badge("attention", "attention", words.say(NO_VALUE)),) if one.get("missing") else ()


def row_of_message(told: Said, words: Words) -> dict[str, Any]:
    """As `row_of`, with where it went: names of destinations by state, those that it did not reach first."""
    left_out = Badge("calm", "off", words.say("left out"))
    went = [
        (left_out if state == LEFT_OUT else states.delivery(state, words), name) for name, state in told.went.items()
    ]
    patient, patients = told.patient
    return row_of(told.row, words) | {
        "control": told.control,
        "hidden": told.hidden,
        "patient": words.say("{n} of {count}", n=patient, count=patients) if patients > 1 else "",
        "went": states.together(went),
    }


def parts(first: int, count: int, href: Callable[..., str], words: Words) -> dict[str, Any]:
    """How many results there are, and the parts before and behind the one that begins with ``first``."""
    others = (("Previous", first - MOST, "prev"), ("Next", first + MOST, "next"))
    shown = f"{first + 1}-{min(first + MOST, count)}"
    return {
        "count": grouped(count) if count <= MOST else words.say("{n} of {count}", n=shown, count=grouped(count)),
        "pages": [(words.say(name), href(first=max(to, 0)), rel) for name, to, rel in others if -MOST < to < count],
    }


def own_codes(rows: Iterable[Mapping[str, Any]], words: Words) -> str:
    """Which results no table has a code for, beside others that have one, and that they go out; empty: none."""
    coded, tests = False, list[str]()
    for row in rows:
        coded |= bool(row["loinc"])
        tests += [] if row["loinc"] else [row["test"]]
    return words.say(OWN_CODES, tests=", ".join(dict.fromkeys(tests))) if coded and tests else ""


def told(rows: Iterable[Row], words: Words) -> str:
    """What a button sends: those that the decision is about, each with its value, unit and first flag."""
    found = list(rows)
    named = [one for one in found if one["held"] or one["critical"]] or found
    told = "; ".join(_told(one, words) for one in named[:MOST_TOLD])
    return f"{told} {more(len(found) - len(named[:MOST_TOLD]), words)}".rstrip()


def more(count: int, words: Words) -> str:
    return words.say(MORE, n=count) if count > 0 else ""


def in_words(one: Row, words: Words) -> str:
    """A result with its range and the value before it."""
    share = f" ({one['percent']} %)" if one["percent"] else ""
    before = f"{words.say('Before')} {one['earlier']}" if one["earlier"] else ""
    said = (_told(one, words), one["range"], before, f"{one['change']}{share}")
    return ", ".join(shown(text, WHOLE) for text in said if text)


def _told(one: Row, words: Words) -> str:
    value = one["sends"] or f"{one['value'] or words.say('none')} {one['unit']}".rstrip()
    flag = next((words.say(FLAGS[flag]) for flag in _worst_first(one["flags"]) if flag in FLAGS and flag != "N"), "")
    told = f"{shown(one['name'] or one['test'] or ', '.join(one['codes']))} {shown(value)}"
    return f"{told}, {flag}" if flag else told


def _worst_first(flags: Iterable[str]) -> Sequence[str]:
    """Critical ones, and *normal* last: the first one is beside the value."""
    return sorted(flags, key=lambda flag: (flag not in CRITICAL, flag == "N"))


def _badge(flag: str, words: Words) -> Badge:
    text = f"{flag} {words.say(FLAGS[flag])}" if flag in FLAGS else shown(flag)
    if flag in CRITICAL:
        return Badge("critical", "problem", text)
    return Badge("calm", "ok", text) if flag == "N" else Badge("attention", "attention", text)


def _age(collected: str, at: str, words: Words) -> str:
    """How old the specimen was when it was measured; empty: unknown."""
    if "T" not in collected or "T" not in at:
        return ""
    taken, measured = datetime.fromisoformat(collected), datetime.fromisoformat(at)
    if taken.tzinfo is None or measured.tzinfo is None or measured < taken:
        return ""
    return words.say("{age} before the measurement", age=Span((measured - taken).total_seconds()))


def _moment(text: str | None, words: Words) -> str:
    """FHIR's dateTime to the minute, as people here read it."""
    said = text or ""
    if "T" not in said:
        return said
    at = datetime.fromisoformat(said)
    return (at if at.tzinfo is None else at.astimezone(words.zone)).strftime("%Y-%m-%d %H:%M")
