"""What of a document waits while the control of a test has failed: the results of that test, and no others. Pure.

A document that can be written with some of its results goes on without them; they wait in one of their own. Held whole
are those that cannot: a copy as it came, a FHIR document, a list without the places of its results, a report that its
sender always sends whole or that has a text of its own, and cultures. A panel waits with each of its results. A
result that its sender withdraws never waits.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import TYPE_CHECKING, NamedTuple

from engine.model.content.quality_controls import spellings
from engine.model.journal.document_facts import DocumentFacts
from engine.model.journal.records import HoldReason, Routed, RuleAnswer, Rules
from engine.model.message import Document
from engine.model.packing import unpack
from engine.succession.kinds import OpenedDocument, opened
from engine.succession.statements import Resource, entries_in
from engine.succession.steps import WITHDRAWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.model.content.results import EarlierResults, Result

_DONE, _PART = "final", "partial"  # status of a report in FHIR


class Closed(NamedTuple):
    """What a message has of tests whose control failed.

    Attributes:
        codes: of these tests, each with the tests that it is of.
        tests: those that the message has results of; where that is not known, all.
        others: codes of its other results.
    """

    codes: Mapping[str, Collection[str]]
    tests: Collection[str]
    others: Collection[str] = ()


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


def parted(routed: Routed, closed: Closed, why: HoldReason, zone: tzinfo) -> Parts | Routed:
    """What goes on of a document, and what waits; the document as it is where none of it does, or all.

    Where it lacks a result of such a test by the codes that are known of it, what is not known to be another one waits.

    Args:
        zone: of times without an offset.
    """
    document = routed.document
    body = unpack(document.body) if document.packed else document.body
    found = _opened(body, routed, zone)
    if found is None:
        return _whole(routed, why) if closed.tests else routed
    results = [one for one in found.resources if one.kind == "Observation"]
    meant = {one.name for one in results if not codes_of(one).isdisjoint(closed.codes)}
    if _may_have_more(closed, found, [one for one in results if one.name in meant], results):
        return _whole(routed, why)
    waits = _with_panels({one.name for one in results if one.name in meant and one.said != WITHDRAWN}, results)
    if not waits:
        return routed
    others = {one.name for one in results} - waits
    if not others or _is_whole(routed, found, results):
        return _whole(routed, why)
    return _in_two(routed, body, found, (waits, others), why, zone)


def _whole(routed: Routed, why: HoldReason) -> Routed:
    return replace(routed, hold=Waits(why, routed.hold))


def _may_have_more(
    closed: Closed, found: OpenedDocument, meant: Sequence[Resource], results: Sequence[Resource]
) -> bool:
    """Whether a result of a closed test may be under a code that is not known as one of it."""
    seen = {test for one in meant for code in codes_of(one) for test in closed.codes.get(code, ())}
    if seen.issuperset(closed.tests):
        return False
    return (
        not results
        or any(one.texts for one in found.resources)
        or any(not one.members and one not in meant and codes_of(one).isdisjoint(closed.others) for one in results)
    )


def codes_of(one: Resource) -> set[str]:
    """Without their systems."""
    return {spelled for code in one.codes for spelled in spellings(code.partition("|")[2] or code)}


def _opened(body: bytes, routed: Routed, zone: tzinfo) -> OpenedDocument | None:
    if not routed.document.reports:
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


def _in_two(
    routed: Routed, body: bytes, found: OpenedDocument, names: tuple[set[str], set[str]], why: HoldReason, zone: tzinfo
) -> Parts:
    waits, others = names
    ids = {name.partition("/")[2] for name in waits}
    reports = [one for one in found.resources if one.kind == "DiagnosticReport" and not ids.isdisjoint(one.lists)]
    facts = DocumentFacts(waits=frozenset(waits), statuses={one.name: _PART for one in reports if one.status == _DONE})
    codes = frozenset().union(*(codes_of(one) for one in found.resources if one.name in waits))
    again = _opened(body, routed, zone)
    if again is None:
        raise ValueError("a document that could be read cannot be read again")
    first, second = found.write(facts), again.write(DocumentFacts(waits=frozenset(others)))
    rules = routed.hold
    return Parts(
        goes=replace(
            routed,
            document=_with_body(routed.document, first),
            hold=None if rules is None else rules.among(lambda one: not _is_one_of(one, codes)),
        ),
        waits=replace(
            routed,
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
