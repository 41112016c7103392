"""States of messages and deliveries as a page shows them: icon, word and colour together."""

from collections.abc import Iterable
from typing import NamedTuple

from engine.model.texts.phrases import PageText
from engine.web.cells import Badge
from engine.web.pages.words import Words


class Look(NamedTuple):
    """
    Attributes:
        words: English.
        level: of a badge.
    """

    words: PageText
    level: str
    icon: str


MESSAGE = {
    "stored": Look("not mapped yet", "attention", "retry"),
    "mapped": Look("mapped", "ok", "ok"),
    "filtered": Look("filtered", "calm", "quiet"),
    "dead": Look("dead letter", "attention", "dead"),
    "incomplete": Look("incomplete", "attention", "dead"),
    "dismissed": Look("dismissed", "calm", "quiet"),
}
DELIVERY = {
    "waiting": Look("waiting", "calm", "retry"),
    "delivered": Look("delivered", "ok", "ok"),
    "held": Look("held back", "attention", "pause"),
    "dead": Look("dead letter", "attention", "dead"),
    "rejected": Look("rejected", "calm", "off"),
    "dismissed": Look("dismissed", "calm", "quiet"),
    "superseded": Look("replaced by a newer one", "ok", "ok"),
}


def badge(look: Look, words: Words) -> Badge:
    return Badge(look.level, look.icon, words.say(look.words))


def message(state: str, words: Words, end: str = "") -> Badge:
    """``end``: of its deliveries, which says more than that it is mapped."""
    return badge(DELIVERY[end] if state == "mapped" and end else MESSAGE[state], words)


def delivery(state: str, words: Words) -> Badge:
    return badge(DELIVERY[state], words)


def together(ways: Iterable[tuple[Badge, str]]) -> list[tuple[Badge, str]]:
    """Names of destinations by state, those that are not reached first."""
    found: dict[Badge, list[str]] = {}
    for state, name in ways:
        found.setdefault(state, []).append(name)
    return sorted(((state, ", ".join(names)) for state, names in found.items()), key=lambda one: one[0].level == "ok")


def word(state: str, words: Words) -> str:
    """Of a state that an address asks for; as it is there where it is none."""
    look = (DELIVERY | MESSAGE).get(state)
    return state if look is None else words.say(look.words)
