"""Orders and questions of analyzers, as the API reads them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from engine.features.orders.lists import ORDER, QUESTION, REFLEX, WITHOUT_ORDER, in_full
from engine.features.orders.rows import order_questions, reading, reflex
from engine.features.orders.rows.order_questions import TABS, AskedQuery, QueryFilter, filter_of, unanswered
from engine.features.orders.rows.reading import ItemFilter, WithoutOrder
from engine.features.orders.rows.reflex import ReflexView
from engine.model.errors import ProblemError
from engine.model.orders import ItemReason, ItemState, WorkItem, item_number
from engine.web.api.lists import Asked, Document, Resource
from engine.web.api.parameters import Nothing, Paged, Word, one_of

STATES = tuple(state.value for state in ItemState)
REASONS = tuple(reason.value for reason in ItemReason if reason.value)


class Orders(Paged):
    state: Annotated[str, one_of(STATES), Field(json_schema_extra={"enum": [*STATES]})] | None = None
    reason: Annotated[str, one_of(REASONS), Field(json_schema_extra={"enum": [*REASONS]})] | None = None
    tab: Annotated[str, one_of([*TABS]), Field(json_schema_extra={"enum": [*TABS]})] | None = Field(
        None, description="Those of a list of the page; with it neither a state nor a reason is given."
    )
    channel: Word | None = Field(None, description="That this analyzer has, or may run.")
    specimen: Word | None = Field(None, description="Exactly this number of a specimen.")
    placer: Word | None = Field(None, description="Exactly this number of the order at the one who ordered it.")


class OneOrder(Nothing):
    item: Annotated[str, Field(pattern="^W[1-9][0-9]{0,18}$", examples=["W17"])]


class OfChannel(Paged):
    channel: Word | None = None


class Questions(Paged):
    channel: Word | None = None
    unanswered: bool = Field(
        False,
        description="Those of the last 24 hours without an answer, or without orders for a tube that is not done.",
    )


def orders(asked: Asked[Orders]) -> Sequence[WorkItem]:
    given = asked.arguments
    if given.tab and (given.state or given.reason):
        errors = [{"parameter": "tab", "detail": "give it without state and reason"}]
        raise ProblemError("arguments", "wrong: tab", errors=errors)
    after_s = asked.sources.present.snapshot().unsent_after_s
    wanted = filter_of(given.tab, asked.now_us, after_s) if given.tab else ItemFilter()
    wanted = replace(
        wanted,
        states=(ItemState(given.state),) if given.state else wanted.states,
        reasons=(ItemReason(given.reason),) if given.reason else wanted.reasons,
        channel=given.channel or "",
        specimen=given.specimen or "",
        placer=given.placer or "",
    )
    return reading.items(asked.journal, wanted, after=asked.before or 0, limit=asked.limit)


def order(asked: Asked[OneOrder]) -> Document:
    """Without tube, patient and the analyzer's words."""
    found = reading.item(asked.journal, item_number(asked.arguments.item) or 0)
    if found is None:
        raise ProblemError("not-found", f"there is no order {asked.arguments.item}")
    return in_full(found, unmask=False)[0]


def results_without_order(asked: Asked[OfChannel]) -> Sequence[WithoutOrder]:
    channel = asked.arguments.channel or ""
    return reading.without_order(asked.journal, channel=channel, after=asked.before or 0, limit=asked.limit)


class Reflexes(Paged):
    all: bool = Field(default=False, description="Also those that are decided or withdrawn.")


def reflexes(asked: Asked[Reflexes]) -> Sequence[ReflexView]:
    return reflex.proposals(asked.journal, all_of_them=asked.arguments.all, after=asked.before or 0, limit=asked.limit)


def questions(asked: Asked[Questions]) -> Sequence[AskedQuery]:
    wanted = unanswered(asked.now_us) if asked.arguments.unanswered else QueryFilter()
    wanted = replace(wanted, channel=asked.arguments.channel or "")
    return order_questions.queries(asked.journal, wanted, after=asked.before or 0, limit=asked.limit)


LISTS = (
    Resource(
        "/orders", "orders for analyzers, newest first; no specimen, no patient", orders, ORDER, key="number", place=100
    ),
    Resource("/orders/{item}", "one order with each change of it", order),
    Resource(
        "/results-without-order",
        "messages of two-way analyzers with results that no order is there for, newest first",
        results_without_order,
        WITHOUT_ORDER,
        key="message_id",
    ),
    Resource(
        "/reflexes",
        "tests that a result proposes, newest first; no specimen, no patient",
        reflexes,
        REFLEX,
        key="id",
        verb="orders reflexes",
    ),
    Resource(
        "/questions",
        "questions of analyzers, newest first: which orders were given, or why none",
        questions,
        QUESTION,
        key="number",
    ),
)
