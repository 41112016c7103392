"""One consent of ABDM: what it allows, to whom and until when, and what was sent under it."""

from functools import partial
from typing import Any

from engine.features.abdm.pages import acts as abdm_acts
from engine.features.abdm.pages.context import One, detail, page_row
from engine.features.abdm.pages.listed import CONSENT, CONTEXT, consent_row, transfer_row
from engine.features.abdm.pages.words import PAGES, UNITS, purpose_of, reason_of
from engine.features.abdm.rows import details as abdm_details
from engine.features.abdm.rows.details import ConsentInFull, Sent
from engine.features.abdm.rules.consents import ConsentState, FrequencyUnit
from engine.features.abdm.rules.network import PageState
from engine.model.texts.phrases import N_
from engine.web.pages.frame import Asking, Values
from engine.web.pages.states import badge
from engine.web.pages.words import Words, shown

GONE = N_("There is no consent {n}.")
TITLE = N_("Consent {n}")
BACK = N_("To the consents")
MOST_SHOWN = 50  # care contexts of one consent


def _values(one: ConsentInFull, asking: Asking) -> Values:
    words, line = asking.words, one.line
    here = [each for each in one.contexts if each]
    return {
        "row": consent_row(line, words),
        "offers": abdm_acts.offers_of_consent(asking, line.number, ConsentState(line.state), line.reason),
        "is_kept": one.granted is not None,
        "contexts": [(each, words.href(CONTEXT, number=each)) for each in here[:MOST_SHOWN]],
        "more_contexts": max(len(here) - MOST_SHOWN, 0),
        "unknown_contexts": len(one.contexts) - len(here),
        "sent": [_sent(each, one, words) for each in one.sent],
        "left_state": badge(PAGES[PageState.FAILED], words),
    }


def _facts(one: ConsentInFull, words: Words) -> list[tuple[str, str]]:
    line, granted = one.line, one.granted
    facts = []
    if granted is not None:
        limit = words.say("no limit")
        if granted.frequency is not None:
            repeats, value, unit = granted.frequency
            every = words.say(UNITS[FrequencyUnit(unit)])
            limit = words.say("{n} times in {value} {unit}", n=repeats, value=value, unit=every)
        facts += [
            (words.say("Purpose"), purpose_of(granted.purpose, words)),
            (words.say("Reader"), f"{granted.reader_name} {granted.reader}".strip()),
            (words.say("Reports from"), words.time(granted.from_us)),
            (words.say("Reports until"), words.time(granted.until_us)),
            (words.say("How often"), limit),
            (words.say("Kinds of records"), ", ".join(granted.hi_types)),
            (words.say("Different grants"), str(one.grants) if one.grants > 1 else ""),
        ]
    return [
        *facts,
        (words.say("Ends at"), words.time(line.ends_us)),
        (words.say("Since"), words.time(line.made_us)),
        (words.say("Changed"), words.time(line.changed_us)),
        (words.say("Id"), line.consent_id),
        (words.say("Signature"), words.say("verified" if one.is_signed else "not verified (bytes not published)")),
    ]


def _sent(one: Sent, of: ConsentInFull, words: Words) -> dict[str, Any]:
    reader = f"{of.granted.reader_name} {of.granted.reader}".strip() if of.granted is not None else ""
    return transfer_row(one.line, words) | {
        "why": [reason_of(one.line.reason, words)] if one.line.reason else [],
        "reader": shown(reader),
        "sent": [page_row(each, words) for each in one.pages],
        "left": [
            (each.context, words.href(CONTEXT, number=each.context), reason_of(each.reason, words)) for each in one.left
        ],
        "ended": words.when(one.line.changed_us),
    }


_ONE = One(CONSENT, "abdm_consent", "consents", BACK, TITLE, GONE, abdm_details.consent, _values, _facts)
routes = partial(detail, of=_ONE)
