"""Orders in conflict beside each other: of two patients under one specimen number, or one order with two contents."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.features.orders.pages import acts
from engine.features.orders.pages.orders import ONE
from engine.features.orders.pages.words import PRIORITIES
from engine.features.orders.rows.reading import ItemDetails
from engine.model.orders import OPEN_STATES, ItemReason, WorkItem, item_id
from engine.model.texts.phrases import PageText
from engine.web.cells import Badge
from engine.web.pages.frame import Asking
from engine.web.pages.words import Words, shown

MOST = 5  # orders beside one
CONFLICTS = frozenset({ItemReason.SPECIMEN_CONFLICT, ItemReason.ORDER_CONFLICT})
PERSON: Mapping[PageText, str] = {"Patient": "number", "Born": "birth_date", "Sex": "sex", "Ward": "ward"}


def beside(one: ItemDetails, all_items: Sequence[ItemDetails], asking: Asking, *, sees: bool) -> dict[str, Any]:
    """Each order that this one is in conflict with, and the answers; empty where it is in none.

    Args:
        sees: a purpose is stated, so persons are shown.
    """
    in_conflict = one.item.reason in CONFLICTS and one.item.state in OPEN_STATES
    others = [other.item for other in all_items if in_conflict and _against(one.item, other.item)][:MOST]
    compared = [_pair(one.item, other, asking.words, sees) for other in others]
    return {"compared": compared, "answers": _answers(asking, one) if compared else []}


def _against(one: WorkItem, other: WorkItem) -> bool:
    if other.number == one.number or other.state not in OPEN_STATES:
        return False
    if one.reason is ItemReason.ORDER_CONFLICT:
        return (one.line.placer, one.line.test) == (other.line.placer, other.line.test)
    return one.line.patient != other.line.patient


def _pair(one: WorkItem, other: WorkItem, words: Words, sees: bool) -> dict[str, Any]:
    rows = [
        _row(label, mine, theirs, is_shown, words) for label, mine, theirs, is_shown in _fields(one, other, words, sees)
    ]
    return {
        "heads": (item_id(one.number), item_id(other.number)),
        "rows": rows,
        "differ": words.say("{n} of {count} differ.", n=sum(row[-1] for row in rows), count=len(rows)),
        "other": words.say("Order {order}", order=item_id(other.number)),
        "href": words.href(ONE, item=item_id(other.number)),
    }


def _row(label: str, mine: str, theirs: str, is_shown: bool, words: Words) -> tuple[str, str, str, Badge, bool]:
    differs = mine != theirs
    says = Badge("attention", "problem", words.say("differs")) if differs else Badge("ok", "ok", words.say("the same"))
    sides = [(shown(text) or "-") if is_shown else words.say("hidden") for text in (mine, theirs)]
    return label, sides[0], sides[1], says, differs


def _fields(one: WorkItem, other: WorkItem, words: Words, sees: bool) -> Iterable[tuple[str, str, str, bool]]:
    """Label, both texts, and whether they may be shown; without those that neither has."""

    def of(item: WorkItem) -> list[tuple[str, str, bool]]:
        line, patient = item.line, item.line.patient
        said = [(words.say(label), str(getattr(patient, name)), sees) for label, name in PERSON.items()]
        name = " ".join(filter(None, (patient.given, patient.family)))
        return [
            *said[:1],
            (words.say("Name"), name, sees),
            *said[1:],
            (words.say("Order number"), line.placer, sees),
            (words.say("Specimen"), line.specimen, sees),
            (words.say("Test"), f"{line.test} {line.test_name}".strip(), True),
            (words.say("Priority"), words.say(PRIORITIES[line.priority]), True),
            (words.say("Collected"), line.collected, True),
            (words.say("Ordered"), words.time(item.created_us), True),
        ]

    for (label, mine, is_shown), (_, theirs, _) in zip(of(one), of(other), strict=True):
        if mine or theirs:
            yield label, mine, theirs, is_shown


def _answers(asking: Asking, one: ItemDetails) -> list[dict[str, Any]]:
    """The acts that its state allows, each with what it comes to."""
    found, words = [], asking.words
    for name, weight, icon in (("release", "plain", "send"), ("cancel", "danger", "reject")):
        deed = acts.DEEDS[name]
        if deed.verb in asking.may and one.item.state in deed.states:
            title = words.say(deed.button)
            found.append(
                {
                    "id": name,
                    "icon_name": icon,
                    "weight": weight,
                    "title": title,
                    "button": f"{title}: {one.item.item_id}",
                    "does": words.say(deed.then),
                    "action": acts.address(asking, name, one.item.number),
                }
            )
    return found
