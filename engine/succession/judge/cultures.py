"""Cultures (rule 6): a report has all of it, so what it has no more is gone; growth and no growth exclude each other.

    before                          now                             decision
    isolates                        some of them, and others        those that it lacks are withdrawn with it
    growth, not yet identified      another organism                it is that growth: the first is withdrawn
    isolates                        another, of the same number     it was that one: the first is withdrawn
    isolates                        others alone                    they stand beside: sent one by one
    isolates, or growth in words    no isolate, or "no growth"      held: a person was treated for it, or will be
    "no growth", not finished       an isolate                      it has grown: the first is withdrawn
    "no growth", finished           an isolate                      held

Numbers of isolates (OBX-4) and orders (OBR-1) are given anew in each message: an isolate is known by its organism.
"""

import re
from collections.abc import Iterable, Sequence

from engine.model.content.facts import Result
from engine.succession.judge.rejected import plain
from engine.succession.judge.words import Ref, Said, Standing
from engine.succession.steps import CANCELLED, UNFINISHED, WITHDRAWN

# LOINC: bacteria, fungi, mycobacteria or microorganisms identified by culture.
_IDENTIFIED = frozenset(
    f"http://loinc.org|{code}"
    for code in (
        "600-7", "630-4", "625-4", "624-7", "6460-0", "606-4", "6462-6", "626-2", "609-8", "610-6", "611-4", "6463-4",
        "634-6", "635-3", "11475-1", "580-1", "543-9",
    )
)  # fmt: skip
_NO_GROWTH = re.compile(
    r"\bno\b.{0,40}\b(growth|grown|organisms?|bacteria|pathogens?|isolated?s?|fung(?:us|i)|mycobacteria)\b"
    r"|\bnot? (?:isolated|grown)\b|\bsterile\b|\bkein wachstum\b|\bsteril\b",
    re.IGNORECASE,
)
_LONGEST = 200  # characters in which it is looked for


def organism_of(result: Result, heads: Iterable[int]) -> str:
    """The organism of an isolate; empty: it is none."""
    is_one = result.isolate or not _IDENTIFIED.isdisjoint((*(result.measure.own or ()), *(result.measure.codes or ())))
    if not is_one and not (result.place in heads and _is_named(result)):
        return ""
    text = result.value.code or result.value.words or result.value.sent or ""
    return "" if is_no_growth(result.value.sent or "") else plain(text).casefold()


def _is_named(result: Result) -> bool:
    return result.value.number is None and bool(result.value.words or result.value.code)


def is_no_growth(value: str) -> bool:
    return _NO_GROWTH.search(value[:_LONGEST]) is not None


def is_contradiction(new: Said, message: Sequence[Said]) -> bool:
    """Whether a message has isolates of an order, and "no growth" of the same panel; for both of them."""
    if new.isolate:
        return any(is_no_growth(one.value) and one.panel == new.panel for one in message)
    return is_no_growth(new.value) and any(one.isolate and one.panel == new.panel for one in message)


def contradicted(new: Said, message: Sequence[Said], order: Sequence[Standing]) -> list[Standing]:
    """What of its order a result cannot be true beside; then it is held.

    Args:
        message: all results of it. order: what stands of the order, on its channel.
    """
    alive = [one for one in order if _is_alive(one)]
    if new.isolate:
        return [one for one in alive if is_no_growth(one.last.value) and one.last.version.said not in UNFINISHED]
    isolates = [one for one in alive if one.last.isolate]
    grown = [one for one in alive if one.last.isolate or _is_growth(one.last)]
    if is_no_growth(new.value):
        return [one for one in grown if one.last.key != new.key or one.last.isolate]
    if not isolates or new.organism or any(one.isolate for one in message):
        return []
    same_panel = [one for one in isolates if one.last.panel == new.panel]
    return [] if any(one.last.key == new.key for one in alive) else same_panel


def _is_growth(said: Said) -> bool:
    """Words that are no number, of a test that says what grew: nothing but a culture has "no growth" beside it."""
    return bool(said.value) and not any(map(str.isdigit, said.value)) and not is_no_growth(said.value)


def gone_with(message: Sequence[Said], order: Sequence[Standing]) -> list[Ref]:
    """What a report of a culture withdraws, for it has it no more.

    Args:
        message: the results of an order that go out. order: what stands of it, on their channel.
    """
    here = {one.organism for one in message if one.isolate}
    if not here:
        return []
    panels = {one.panel for one in message if one.isolate}
    named = {one.key for one in message}
    known = {one.last.organism for one in order if one.last.isolate}
    alive = [one for one in order if _is_alive(one) and one.last.key not in named]
    found = [one for one in alive if is_no_growth(one.last.value) and one.last.version.said in UNFINISHED]
    old = [one for one in alive if one.last.organism and one.last.panel in panels and one.last.organism not in here]
    counted = {(one.test, one.counted) for one in message if one.isolate and one.organism not in known}
    tested = {one.last.organism for one in old if not one.last.isolate}
    lost = {one.last.organism for one in old if one.last.isolate and (one.last.test, one.last.counted) in counted}
    in_common = any(one.last.isolate and one.last.organism in here for one in order if _is_alive(one))
    for one in old:
        identified = one.last.version.said in UNFINISHED and one.last.organism not in tested
        if in_common or identified or one.last.organism in lost:
            found.append(one)
    return [one.ref for one in found]


def _is_alive(one: Standing) -> bool:
    return one.last.version.said not in (WITHDRAWN, CANCELLED)
