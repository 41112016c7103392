"""What of a document waits while the control of a test has failed: the results of that test, and no others. Pure.

A document that can be written with some of its results goes on without them; they wait in one of their own. Held whole
are those that cannot: a copy as it came, a FHIR document, a list without the places of its results, a report that its
sender always sends whole or that has a text of its own, and cultures. A panel waits with each of its results. A
result that its sender withdraws never waits.

Which results these are the message says, so that each output of it has the same ones; only of a part that is none of
its results, by the mapping, the codes decide.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from engine.model.content.quality_controls import spellings
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.journal.records import HoldReason, Routed, RuleAnswer, Rules
from engine.model.message import Document
from engine.model.packing import unpack
from engine.succession.kinds import RESULT, OpenedDocument, has_ids, opened
from engine.succession.order_names import with_orders
from engine.succession.statements import Resource, entries_in
from engine.succession.steps import WITHDRAWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.model.content.results import EarlierResults, Result

_DONE, _PART = "final", "partial"  # status of a report in FHIR
_OBSERVATION = "Observation/"
_KINDS = frozenset({_OBSERVATION[:-1], RESULT[:-1]})


class Measured(NamedTuple):
    """A result of a message.

    Attributes:
        tests: the closed ones that it is of, or its panel has; none: it is of others.
        codes: as sent and as meant, without their systems.
    """

    tests: frozenset[str]
    codes: frozenset[str]


class Closed(NamedTuple):
    """What a message has of tests whose control failed.

    Attributes:
        codes: of these tests, each with the tests that it is of.
        tests: those that the message has results of; where that is not known, all.
        others: codes of its other results.
        results: by place, as far as they are known. has_culture: one of them is of a culture.
    """

    codes: Mapping[str, Collection[str]]
    tests: Collection[str]
    others: Collection[str] = ()
    results: Mapping[int, Measured] = MappingProxyType({})
    has_culture: bool = False


class Parts(NamedTuple):
    """A document in two.

    Attributes:
        goes, waits: without the results of these tests, and with them alone.
        facts: of the first one.
        codes: of the results that wait.
    """

    goes: Routed
    waits: Routed
    facts: DocumentFacts
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Waits:
    """Holds a document for a failed control; the rules of its route say what more there is."""

    why: HoldReason
    rules: Rules | None = None

    @property
    def results(self) -> "Sequence[Result]":
        return () if self.rules is None else self.rules.results

    @property
    def answers(self) -> "Sequence[RuleAnswer]":
        return () if self.rules is None else self.rules.answers

    @property
    def tests(self) -> Sequence[str]:
        return () if self.rules is None else self.rules.tests

    def among(self, wanted: "Callable[[Result], bool]") -> "Waits":
        return self if self.rules is None else replace(self, rules=self.rules.among(wanted))

    def decide(self, earlier: "EarlierResults", now_us: int) -> HoldReason:
        more = None if self.rules is None else self.rules.decide(earlier, now_us)
        return self.why if more is None else replace(self.why, text=f"{self.why.text}; {more.text}")


class _Cut(NamedTuple):
    """Where a document is parted: its body, opened once; names of the results that wait, and of the others; codes that
    only results which wait have; what was decided about it, and is not written in it yet."""

    body: bytes
    document: OpenedDocument
    waits: frozenset[str]
    others: frozenset[str]
    codes: frozenset[str]
    decided: DocumentFacts


def parted(
    routed: Routed, closed: Closed, why: HoldReason, zone: tzinfo, decided: DocumentFacts = NOTHING
) -> Parts | Routed:
    """What goes on of a document, and what waits; the document as it is where none of it does, or all.

    Where it lacks a result of such a test by the codes that are known of it, what is not known to be another one waits.

    Args:
        zone: of times without an offset.
        decided: what was decided about the document, where that is not written in it yet.
    """
    document = routed.document
    body = unpack(document.body) if document.packed else document.body
    if decided.orders:
        body = with_orders(body, document.media_type, decided.orders)
    found = _opened(body, routed, zone)
    if found is None or not all(part.name for part in found.resources):  # else a row may be of several results
        return _whole(routed, why) if closed.tests else routed
    measured = {name: closed.results[place] for place, name in _names(document) if place in closed.results}
    results = [part for part in found.resources if part.kind in _KINDS and part.name not in decided.echoes]
    tests = {result.name: _tests_of(result, measured, closed) for result in results}
    if _may_have_more(closed, found, [result for result in results if result.name not in measured], tests):
        return _whole(routed, why)
    waits = _with_panels({part.name for part in results if tests[part.name] and part.said != WITHDRAWN}, results)
    if not waits:
        return routed
    others = {result.name for result in results} - waits
    if not others or closed.has_culture or _is_whole(routed, found, results):
        return _whole(routed, why)
    mine, theirs = (
        frozenset(code for result in results if result.name in some for code in _codes(result, measured))
        for some in (waits, others)
    )
    cut = _Cut(body, found, frozenset(waits), frozenset(others), mine - theirs or mine, decided)
    return _in_two(routed, cut, why, zone)


def _names(document: Document) -> list[tuple[int, str]]:
    """The places of results, each with the name of its part."""
    of_ids = has_ids(document.media_type)
    return [(place, f"{_OBSERVATION}{part}" if of_ids else f"{RESULT}{place}") for place, part in document.places]


def _whole(routed: Routed, why: HoldReason) -> Routed:
    return replace(routed, hold=Waits(why, routed.hold))


def _tests_of(result: Resource, measured: Mapping[str, Measured], closed: Closed) -> Collection[str]:
    if result.name in measured:
        return measured[result.name].tests
    return {test for code in codes_of(result) for test in closed.codes.get(code, ())}


def _codes(result: Resource, measured: Mapping[str, Measured]) -> Collection[str]:
    return codes_of(result) | (measured[result.name].codes if result.name in measured else set())


def _may_have_more(
    closed: Closed, found: OpenedDocument, unknown: Sequence[Resource], tests: Mapping[str, Collection[str]]
) -> bool:
    """Whether a result of a closed test may be under a code that is not known as one of it.

    Args:
        unknown: parts that are none of the results of the message. tests: closed ones of each result.
    """
    if {test for some in tests.values() for test in some}.issuperset(closed.tests):
        return False
    return (
        not tests
        or any(resource.texts for resource in found.resources)
        or any(not one.members and not tests[one.name] and codes_of(one).isdisjoint(closed.others) for one in unknown)
    )


def codes_of(one: Resource) -> set[str]:
    """Without their systems."""
    return {spelled for code in one.codes for spelled in spellings(code.partition("|")[2] or code)}


def _opened(body: bytes, routed: Routed, zone: tzinfo) -> OpenedDocument | None:
    if not (routed.document.reports or routed.document.places):
        return None
    try:
        return opened(body, routed.document.media_type, routed.form, zone, routed.document.places)
    except ValueError:
        return None


def _is_whole(routed: Routed, found: OpenedDocument, results: Sequence[Resource]) -> bool:
    if found.whole or not routed.joins or any(one.isolate or one.susceptible for one in results):
        return True
    return any(one.texts for one in found.resources)


def _with_panels(waits: set[str], results: Sequence[Resource]) -> set[str]:
    found = set(waits)
    while True:
        panels = [one for one in results if one.members]
        more = {
            name
            for one in panels
            for name in (one.name, *(f"Observation/{member}" for member in one.members))
            if not found.isdisjoint((one.name, *(f"Observation/{member}" for member in one.members)))
        }
        if more <= found:
            return found
        found |= more


def _in_two(routed: Routed, cut: _Cut, why: HoldReason, zone: tzinfo) -> Parts:
    decided = cut.decided
    ids = {name.partition("/")[2] for name in cut.waits}
    partial = {
        resource.name: _PART
        for resource in cut.document.resources
        if resource.kind == "DiagnosticReport" and resource.status == _DONE and not ids.isdisjoint(resource.lists)
    }
    facts = replace(decided, waits=cut.waits, statuses={**decided.statuses, **partial})
    copy = _opened(cut.body, routed, zone)
    if copy is None:
        raise ValueError("a document that could be read cannot be read again")
    first = cut.document.write(facts)
    if has_ids(routed.document.media_type):
        without = replace(decided, waits=cut.others)
    else:  # the part that waits says that its order is complete once it goes out
        without = replace(decided, echoes=decided.echoes | cut.others)
    second = copy.write(without)
    rules, codes = routed.hold, cut.codes
    mine, theirs = (
        frozenset(place for place, name in _names(routed.document) if name in some) for some in (cut.waits, cut.others)
    )
    return Parts(
        goes=replace(
            routed,
            lacks=mine - theirs,
            document=_with_body(routed.document, first),
            hold=None if rules is None else rules.among(lambda one: not _is_one_of(one, codes)),
        ),
        waits=replace(
            routed,
            lacks=theirs - mine,
            document=_with_body(routed.document, second),
            claimed=(),
            hold=Waits(why, None if rules is None else rules.among(lambda one: _is_one_of(one, codes))),
        ),
        facts=facts,
        codes=codes,
    )


def _is_one_of(one: "Result", codes: Collection[str]) -> bool:
    return any(code in codes for _, code in one.codes)


def _with_body(document: Document, body: bytes) -> Document:
    return replace(document, body=body, packed=False, entries=entries_in(body) if document.entries else 0)
