"""The query log: each question of an analyzer, and how it was answered. No specimen number is shown."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from engine.features.orders.pages import orders
from engine.features.orders.pages.words import KINDS, none_of, outcome_of
from engine.features.orders.rows import order_questions
from engine.features.orders.rows.order_questions import MOST, AskedQuery, QueryFilter, unanswered
from engine.model.site.permissions import LOOKING
from engine.store.queries.reader import Reader
from engine.web.asked import PAGE, Asked, counted
from engine.web.pages.filters import page_of
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

NAMES = (orders.TAB, "channel")
CODES_SHOWN = 8  # of one answer


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(orders.QUESTIONS, partial(frame.show, page=_page, found=_found), LOOKING),)


def _asked(asking: Asking) -> Asked:
    return Asked.of(orders.QUESTIONS, asking.words.language, asking.query, NAMES)


def _page(asking: Asking) -> Page:
    page = page_of("questions", orders.QUESTIONS, NAMES, asking)
    is_known = page.values["asked"].get(orders.TAB) in (None, orders.ASKED_IN_VAIN)
    wrong = page.wrong if is_known else asking.words.say(orders.WRONG_TAB)
    return page._replace(values={**page.values, "tabs": []}, wrong=wrong)


def _found(reader: Reader, asking: Asking) -> Values:
    asked, words = _asked(asking), asking.words
    in_vain = asked.get(orders.TAB) == orders.ASKED_IN_VAIN
    wanted = replace(unanswered(orders.now_us(words)) if in_vain else QueryFilter(), channel=asked.get("channel") or "")
    found = order_questions.queries(reader, wanted, after=asked.before, limit=PAGE + 1)
    return {
        "tabs": orders.tabs_of(reader, asked, words, orders.ASKED_IN_VAIN if in_vain else "", asking.site),
        "rows": [question_row(one, words) for one in found[:PAGE]],
        "count": counted(order_questions.count_queries(reader, wanted, most=MOST + 1)),
        "older": asked.href(before=found[PAGE - 1].number) if len(found) > PAGE else "",
    }


def question_row(one: AskedQuery, words: Words) -> dict[str, Any]:
    outcome = outcome_of(one.outcome, one.ended_us, one.none, words, orders=len(one.items))
    at_us = one.received_us or one.at_us
    kind = KINDS.get(one.kind if one.message_id else "download", one.kind)
    return {
        "id": f"q-{one.number}",
        **words.when(at_us),
        "channel": one.channel,
        "kind": words.say(kind, n=grouped(one.asked)) if "{n}" in kind else words.say(kind),
        "orders": grouped(len(one.items)),
        "codes": [shown(code) for code in one.codes[:CODES_SHOWN]],
        "more": grouped(len(one.items) - CODES_SHOWN) if len(one.items) > CODES_SHOWN else "",
        "none": [none_of(none, words) for none in one.none],
        "cut": one.cut,
        "took": grouped(one.took_ms) if one.took_ms is not None else "",
        "outcome": outcome,
        "level": outcome.level,
        "message": one.message_id,
        "message_href": words.href(f"{orders.MESSAGES}/{one.message_id}") if one.message_id else "",
        "tube_href": words.href(orders.ONE, question=one.number),
    }
