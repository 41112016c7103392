"""Results that are held, as rows of a page."""

from collections.abc import Iterable
from typing import Any

from engine.features.results.lists.held_results import FLAGS
from engine.succession.critical import CRITICAL
from engine.views.view import Row
from engine.web.cells import Badge
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.words import Words, shown

MOST_TOLD = 3  # results that a button names


def row_of(one: Row, words: Words) -> dict[str, Any]:
    before = one["earlier_message"]
    share = f" ({one['percent']} %)" if one["percent"] else ""
    return {
        "unread": False,
        "test": shown(one["name"] or one["test"] or ", ".join(one["codes"])),
        "codes": shown(", ".join(dict.fromkeys(filter(None, (one["loinc"], one["test"]))))),
        "held": one["held"],
        "critical": one["critical"],
        "specimen": shown(one["specimen"]),
        "value": shown(one["value"], 200) or words.say("none"),  # "-" may be a result: negative
        "unit": shown(one["unit"]),
        "sends": shown(one["sends"]),
        "flags": [_badge(flag, words) for flag in one["flags"]],
        "range": shown(one["range"]),
        "earlier": shown(one["earlier"] or ""),
        "earlier_at": _moment(one["earlier_at"]),
        "earlier_in": words.say("Message {n}", n=before) if before else "",
        "earlier_href": words.href(f"{MESSAGES}/{before}") if before else "",
        "change": shown(f"{one['change']}{share}"),
        "at": _moment(one["at"]),
        "status": one["status"],
    }


def told(rows: Iterable[Row], words: Words) -> str:
    """What a button sends: those that the decision is about, each with its value, unit and first flag."""
    found = list(rows)
    named = [one for one in found if one["held"] or one["critical"]] or found
    more = f" +{len(found) - len(named[:MOST_TOLD])}" if len(found) > len(named[:MOST_TOLD]) else ""
    return "; ".join(_told(one, words) for one in named[:MOST_TOLD]) + more


def _told(one: Row, words: Words) -> str:
    value = one["sends"] or f"{one['value'] or words.say('none')} {one['unit']}".rstrip()
    flag = next((words.say(FLAGS[flag]) for flag in one["flags"] if flag in FLAGS and flag != "N"), "")
    told = f"{one['name'] or one['test'] or ', '.join(one['codes'])} {value}"
    return shown(f"{told}, {flag}" if flag else told, 120)


def _badge(flag: str, words: Words) -> Badge:
    text = f"{flag} {words.say(FLAGS[flag])}" if flag in FLAGS else shown(flag)
    if flag in CRITICAL:
        return Badge("critical", "problem", text)
    return Badge("calm", "ok", text) if flag == "N" else Badge("attention", "attention", text)


def _moment(text: str | None) -> str:
    """FHIR's dateTime to the minute, as the analyzer's clock had it."""
    return (text or "").replace("T", " ")[:16]
