"""What a rule for documents can say: of a node, which of its members break it. Pure.

A `Rule` is about the nodes at a place of each resource of one type; its test yields the members there that break it,
as paths from the node, empty for the node itself. Tests take any JSON, and say of what has a wrong type that it is
absent. A fault has the place and the rule's words, and no value of the document.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from engine.features.abdm.rules.abha import PROFILES, Profile
from engine.model.values import value

Json = dict[str, Any]
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@value()
class Fault:
    """A rule that a document breaks.

    Attributes:
        rule: its name.
        path: where, as ``$.entry[3].resource.code.coding[0]``.
        words: the rule, for a person.
    """

    rule: str
    path: str
    words: str


@dataclass(frozen=True, slots=True)
class Document:
    """A Bundle. ``kinds``: the type of each resource in it, by its fullUrl."""

    bundle: Json
    kinds: dict[str, str]

    @classmethod
    def of(cls, bundle: Json) -> "Document":
        kinds = {
            url: kind
            for entry in listed(bundle.get("entry"))
            if (url := text(entry, "fullUrl")) and (kind := text(member(entry, "resource"), "resourceType"))
        }
        return cls(bundle, kinds)

    def resources(self) -> Iterator[tuple[str, Json]]:
        """Each with its path, the Bundle first."""
        yield "$", self.bundle
        for number, entry in enumerate(listed(self.bundle.get("entry"))):
            if resource := member(entry, "resource"):
                yield f"$.entry[{number}].resource", resource


Test = Callable[[Json, Document], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        at: the nodes there, as names with dots; empty: the resource itself. Of a list each one.
        profiles: in which it holds.
    """

    name: str
    test: Test
    words: str
    at: str = ""
    profiles: tuple[Profile, ...] = PROFILES

    def faults(self, document: Document, path: str, resource: Json) -> Iterator[Fault]:
        for place, node in nodes(resource, self.at, path) if self.at else ((path, resource),):
            for inner in self.test(node, document):
                yield Fault(self.name, f"{place}.{inner}" if inner else place, self.words)


# -- reading ---------------------------------------------------------------------------------------------------------


def text(node: Any, name: str) -> str:
    said = node.get(name) if isinstance(node, dict) else None
    return said.strip() if isinstance(said, str) else ""


def member(node: Any, name: str) -> Json:
    said = node.get(name) if isinstance(node, dict) else None
    return said if isinstance(said, dict) else {}


def listed(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [] if said is None else [said]


def is_there(node: Any, name: str) -> bool:
    said = node.get(name) if isinstance(node, dict) else None
    return said is not None and said not in ("", [], {}) and not (isinstance(said, str) and not said.strip())


def each(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The values of a member, with their paths."""
    said = node.get(name) if isinstance(node, dict) else None
    if isinstance(said, list):
        for number, one in enumerate(said):
            yield f"{name}[{number}]", one
    elif said is not None:
        yield name, said


def nodes(node: Any, at: str, path: str = "") -> Iterator[tuple[str, Json]]:
    """The objects at a place."""
    name, _, rest = at.partition(".")
    if not name:
        if isinstance(node, dict):
            yield path, node
        return
    for inner, one in each(node, name):
        yield from nodes(one, rest, f"{path}.{inner}" if path else inner)


# -- tests -----------------------------------------------------------------------------------------------------------


def has(name: str, most: int | None = None) -> Test:
    """The member is there, ``most`` times at most."""

    def test(node: Json, _: Document) -> Iterator[str]:
        if not is_there(node, name) or (most is not None and len(listed(node[name])) > most):
            yield name

    return test


def has_none(name: str) -> Test:
    """The member is not there."""

    def test(node: Json, _: Document) -> Iterator[str]:
        if name in node:
            yield name

    return test


def is_in(name: str, *words: str) -> Test:
    """The member is one of these texts."""

    def test(node: Json, _: Document) -> Iterator[str]:
        if text(node, name) not in words:
            yield name

    return test


def is_in_if_there(name: str, *words: str) -> Test:
    """The member is absent, or one of these texts."""

    def test(node: Json, _: Document) -> Iterator[str]:
        if name in node and text(node, name) not in words:
            yield name

    return test


def lists(name: str, word: str) -> Test:
    """The member is a list with this text in it."""

    def test(node: Json, _: Document) -> Iterator[str]:
        if word not in listed(node.get(name)):
            yield name

    return test


def fits(name: str, is_right: Callable[[str], bool]) -> Test:
    """The member is absent, or a text of a form."""

    def test(node: Json, _: Document) -> Iterator[str]:
        if name in node and not is_right(text(node, name)):
            yield name

    return test


def coded(name: str, *systems: str) -> Test:
    """Each coding of the concepts is of one of these systems (none: of any) and has code and display."""

    def test(node: Json, _: Document) -> Iterator[str]:
        for path, concept in each(node, name):
            for inner, coding in each(concept, "coding"):
                of_system = text(coding, "system") in systems if systems else bool(text(coding, "system"))
                if not (of_system and text(coding, "code") and text(coding, "display")):
                    yield f"{path}.{inner}"

    return test


def refers(name: str, *kinds: str) -> Test:
    """Each reference of the member leads to a resource in the document, of one of these types."""

    def test(node: Json, document: Document) -> Iterator[str]:
        for path, one in each(node, name):
            if document.kinds.get(text(one, "reference")) not in kinds:
                yield f"{path}.reference"

    return test


def both(*tests: Test) -> Test:
    """All of the tests hold."""

    def test(node: Json, document: Document) -> Iterator[str]:
        found = (path for one in tests for path in one(node, document))
        yield from dict.fromkeys(found)

    return test


def leads(name: str, *kinds: str) -> Test:
    """The member is there, and `refers` to these types."""
    return both(has(name), refers(name, *kinds))


def has_fit(name: str, is_right: Callable[[str], bool]) -> Test:
    """The member is there, and `fits`."""
    return both(has(name), fits(name, is_right))


def within(name: str, *tests: Test) -> Test:
    """All of the tests hold of a member that is an object; of one that is absent, too."""

    def test(node: Json, document: Document) -> Iterator[str]:
        yield from (f"{name}.{path}" for path in both(*tests)(member(node, name), document))

    return test


def is_instant(said: str) -> bool:
    """A time with its zone, to the second."""
    try:
        return bool(_INSTANT.fullmatch(said) and datetime.fromisoformat(said))
    except ValueError:
        return False


def is_date(said: str) -> bool:
    """A date of FHIR: year, month, or day."""
    if not _DATE.fullmatch(said):
        return False
    try:
        date.fromisoformat(f"{said}-01-01"[:10])
    except ValueError:
        return False
    return True


def is_time(said: str) -> bool:
    """A dateTime of FHIR: a date, or a time with its zone."""
    return is_instant(said) or is_date(said)


def is_url_of(entry: Json) -> bool:
    """Whether an entry is named ``urn:uuid:...``, or by type and id."""
    url, resource = text(entry, "fullUrl"), member(entry, "resource")
    named = f"{text(resource, 'resourceType')}/{text(resource, 'id')}"
    return bool(_UUID.fullmatch(url)) or (bool(text(resource, "id")) and url == named)
