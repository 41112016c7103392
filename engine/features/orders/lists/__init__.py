"""The lists of this feature: their fields, as tables and JSON have them.

Orders of the worklist, and questions of analyzers. Tubes and patients are shown where that is asked for alone.

Worklists for paper, as text and as CSV: of each analyzer the tubes that wait, and their tests by its own codes.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.features.orders.rows.order_questions import AskedQuery
from engine.features.orders.rows.reading import ItemDetails, ItemHistory, WithoutOrder
from engine.features.orders.rows.reflex import ReflexView
from engine.model.orders import WorkItem, item_id
from engine.views.text import Head, cell, csv_line, local, table
from engine.views.view import Field, View, at, or_none

REFLEX = View[ReflexView](
    "reflexes",
    Field("proposal", "PROPOSAL", of="id", right=True),
    Field("order", "ORDER", of=lambda one: item_id(one.parent)),
    Field("test", "TEST"),
    Field("adds", "ADDS"),
    Field("rule", "RULE"),
    Field("state", "STATE"),
    Field("channel", "CHANNEL"),
    Field("message", "MESSAGE", right=True),
    Field("since", "SINCE", of=at("at_us")),
    Field("made", "MADE", of=lambda one: item_id(one.item) if one.item else None),
    Field("restored"),
    Field("version"),
    Field("auto"),
)
ORDER = View[WorkItem](
    "orders",
    Field("order", "ORDER", of="item_id"),
    Field("since", "SINCE", of=at("created_us")),
    Field("test", "TEST", of=lambda one: one.line.test),
    Field("priority", "PRIORITY", of=lambda one: one.line.priority),
    Field("state", "STATE", of=lambda one: one.state.value),
    Field("reason", "REASON", of=lambda one: one.reason.value),
    Field("channel", "CHANNEL"),
    Field("code", of="code"),
    Field("changed", "CHANGED", of=at("changed_us")),
    Field("given", of=at("given_us")),
    Field("collected", of=lambda one: one.line.collected or None),
    Field("expires", of=at("expires_us")),
    Field("message", "MESSAGE", of="message_id", right=True),
    Field("run"),
    Field("origin"),
)


QUESTION = View[AskedQuery](
    "questions",
    Field("question", "QUESTION", of="number", right=True),
    Field("asked_at", "ASKED", of=at("at_us")),
    Field("channel", "CHANNEL"),
    Field("kind", "KIND"),
    Field("tubes", "TUBES", of="asked", right=True),
    Field("orders", "ORDERS", of=lambda one: [*map(item_id, one.items)], shown=lambda one: len(one.items)),
    Field("none", "NONE", of=lambda one: list(one.none), shown=lambda one: ", ".join(one.none)),
    Field("outcome", "OUTCOME"),
    Field("codes", of=lambda one: list(one.codes)),
    Field("cut"),
    Field("ended", of=at("ended_us")),
    Field("took_ms", "MS", right=True),
    Field("message", "MESSAGE", of=or_none("message_id"), right=True),
)

WITHOUT_ORDER = View[WithoutOrder](
    "results",
    Field("message", "MESSAGE", of="message_id", right=True),
    Field("at", "AT", of=at("at_us")),
    Field("channel", "CHANNEL"),
    Field("results", "RESULTS", right=True),
    Field("codes", "CODES"),
    Field("older"),
)

CHANGE = View[ItemHistory](
    "history",
    Field("at", "AT", of=at("at_us")),
    Field("event", "EVENT"),
    Field("state", "STATE", of=lambda one: one.state.value),
    Field("reason", "REASON", of=lambda one: one.reason.value),
    Field("late", of="late"),
    Field("channel", "CHANNEL"),
    Field("question", "QUESTION", of=or_none("query"), right=True),
    Field("message", "MESSAGE", of=or_none("message_id"), right=True),
    Field("cause", "CAUSE"),
)


def in_full(found: ItemDetails, *, unmask: bool) -> tuple[dict[str, Any], list[str]]:
    """An order with its history, as JSON and as lines. ``unmask``: with tube, patient and the analyzer's words."""
    document = {
        **ORDER.row(found.item),
        "for": list(found.targets),
        "from": found.item.channel if found.item.origin == "analyzer" else found.source,
        "after": item_id(found.after) if found.after else None,
        "parent": item_id(found.item.parent) if found.item.parent else None,
        "history": CHANGE.rows(found.history),
    }
    if unmask:
        line = found.item.line
        document |= {name: getattr(line, name) for name in ("specimen", "specimen_type", "placer", "filler", "comment")}
        document["patient"] = {
            name: getattr(line.patient, name) for name in ("number", "family", "given", "birth_date", "sex", "ward")
        }
        for row, one in zip(document["history"], found.history, strict=True):
            row["detail"] = one.detail
    return document, [Head(f"order {found.item.item_id}"), *_lines(document), *table(found.history, CHANGE.columns)]


def _lines(document: dict[str, Any]) -> Iterator[str]:
    for name, said in document.items():
        if name == "patient":
            said = ", ".join(filter(None, said.values()))
        if said and name not in ("order", "history"):
            yield f"  {name:<14} {cell(said)}"


Tube = Mapping[str, Any]
URGENT = "URGENT"
COLUMNS: tuple[Field[Tube], ...] = (
    Field("", "TUBE", of="specimen"),
    Field("", "PRIORITY", of=lambda tube: URGENT if tube["urgent"] else ""),
    Field("", "PATIENT", of=lambda tube: patient_words(tube["patient"])),
    Field("", "TESTS", of=lambda tube: ", ".join(map(test_words, tube["tests"]))),
)
CSV_COLUMNS = ("analyzer", "tube", "urgent", "patient", "family", "given", "birth_date", "sex", "order", "test", "code",
               "reason", "also")  # fmt: skip


def patient_words(patient: Mapping[str, str]) -> str:
    name = " ".join(filter(None, (patient["given"], patient["family"])))
    return ", ".join(filter(None, (patient["number"], name, patient["birth_date"], patient["sex"])))


def test_words(test: Mapping[str, Any]) -> str:
    """The analyzer's code, the LIS's where it is another, and a reason to look before it is ordered there by hand."""
    code, test_code, reason = test["code"], test["test"], test["reason"]
    more = [test_code] if code not in ("", test_code) else []
    more += [reason] if reason else []
    more += [f"also on {name}" for name in test["also"]]
    return str(code or test_code) + (f" ({'; '.join(more)})" if more else "")


def sheet_lines(sheets: Sequence[Mapping[str, Any]], printed: datetime) -> Iterator[str]:
    """Plain text, for a printer."""
    yield f"Worklist of {local(printed):%Y-%m-%d %H:%M %z}"
    if not sheets:
        yield "no order waits"
    for one in sheets:
        yield ""
        yield Head(one["channel"] or "no analyzer has a code for these tests")
        yield from table(one["tubes"], COLUMNS)


def sheet_csv(sheets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each test, with a heading."""
    yield ",".join(CSV_COLUMNS)
    for one in sheets:
        for tube in one["tubes"]:
            patient = tube["patient"]
            for test in tube["tests"]:
                yield csv_line(
                    (
                        *(one["channel"], tube["specimen"], "yes" if tube["urgent"] else ""),
                        *(patient[name] for name in ("number", "family", "given", "birth_date", "sex")),
                        *(test[name] for name in ("order", "test", "code", "reason")),
                        " ".join(test["also"]),
                    )
                )
