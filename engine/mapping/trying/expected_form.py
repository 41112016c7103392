"""Check the form of a mapping test: report misspellings, with line and column, before anything runs.

A test that names an element that does not exist would never pass, or (``valueQuanttiy: $absent``) never fail.

Compare the expectations of a mapping test with the result: subsets of resources, differences by path.

A map matches where each of its keys matches; other keys of the value are ignored. A list matches element by element
in order; the value may be longer. ``$absent`` must not be there, ``$any`` must be there, ``$match pattern`` is
found in the text. Numbers are compared as they are written: 148 is not 148.0.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from engine.config.reading.yaml_nodes import Node
from engine.mapping.fhir.r4 import ELEMENTS, PRIMITIVES, RESOURCES
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.spelling import suggestion

ABSENT, ANY, MATCH = "$absent", "$any", "$match"
_MISSING = object()


def plain(node: Node) -> Any:
    """A node as dictionaries, lists and texts."""
    if node.kind == "map":
        return {key.value: plain(value) for key, value in node.pairs}
    return [plain(item) for item in node.items] if node.kind == "list" else node.value


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Where a value is not as expected: ``valueQuantity.unit: expected g/L, got g/dL``."""
    if expected == ABSENT:
        if actual is not _MISSING:
            yield f"{path}: expected to be absent, got {shown(actual)}"
    elif actual is _MISSING:
        yield f"{path}: expected {shown(expected)}, and it is not there"
    elif expected == ANY:
        return
    elif (pattern := _pattern_in(expected)) is not None:
        if not isinstance(actual, str) or not re.search(pattern, actual, re.DOTALL):
            yield f"{path}: expected something that matches {pattern}, got {shown(actual)}"
    elif isinstance(expected, dict):
        if not isinstance(actual, dict):
            yield f"{path}: expected an object, got {shown(actual)}"
            return
        for name, value in expected.items():
            yield from differences(value, actual.get(name, _MISSING), f"{path}.{name}" if path else name)
    elif isinstance(expected, list):
        if not isinstance(actual, list):
            yield f"{path}: expected a list, got {shown(actual)}"
            return
        for at, value in enumerate(expected):
            yield from differences(value, actual[at] if at < len(actual) else _MISSING, f"{path}[{at}]")
    elif expected != actual:
        yield f"{path}: expected {shown(expected)}, got {shown(actual)}"


def _pattern_in(expected: Any) -> str | None:
    """The pattern of ``$match pattern`` or ``{$match: pattern}``."""
    if isinstance(expected, str) and expected.startswith(MATCH + " "):
        return expected[len(MATCH) + 1 :]
    if isinstance(expected, dict) and expected.keys() == {MATCH}:
        return str(expected[MATCH])
    return None


def changes(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Every difference of two whole documents."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in [*expected, *(name for name in actual if name not in expected)]:
            where = f"{path}.{name}" if path else name
            if name not in actual:
                yield f"{where}: expected {shown(expected[name])}, and it is not there"
            elif name not in expected:
                yield f"{where}: not expected, got {shown(actual[name])}"
            else:
                yield from changes(expected[name], actual[name], where)
    elif isinstance(expected, list) and isinstance(actual, list):
        for at in range(max(len(expected), len(actual))):
            where = f"{path}[{at}]"
            if at >= len(actual):
                yield f"{where}: expected {shown(expected[at])}, and it is not there"
            elif at >= len(expected):
                yield f"{where}: not expected, got {shown(actual[at])}"
            else:
                yield from changes(expected[at], actual[at], where)
    elif expected != actual:
        yield f"{path}: expected {shown(expected)}, got {shown(actual)}"


def shown(value: Any) -> str:
    """A value in a few words. Test data is made up, so it may be shown."""
    if isinstance(value, dict):
        return f"an object with {', '.join(list(value)[:6])}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value) if isinstance(value, str) and (not value or value != value.strip()) else str(value)


PARTS = ("resources", "segments", "rows", "records")  # one thing, as each kind of document calls it
EXPECT_KEYS = ("counts", *PARTS, "issues", "unmapped", "unread", "dead", "filtered", "held", "golden")
_ISSUE_KEYS = ("code", "place", "rule", "text", "severity")
_CHOICES = {
    "specimen_ids": ("restart", "day", "unique"),
    "patient_numbers": ("lasting", "counter"),
    "spm_obx": ("result", "specimen"),
}
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_FIELD = re.compile(r"[A-Z][A-Z0-9]{0,2}-[0-9]+", re.ASCII)


def check(test: Node) -> Iterator[str]:
    """Problems in the form of a test."""
    for name in ("test", "description", "mapping", "given", "file"):
        if (node := test.get(name)) is not None and node.kind != "scalar":
            yield node.problem(f"{name}: is one text")
    if (settings := test.get("settings")) is not None:
        if settings.kind != "map":
            yield settings.problem("settings: is a map")
        yield from _settings(settings)
    expect = test.get("expect")
    if expect is None or expect.kind != "map" or not expect.pairs:
        yield (expect or test).problem("expect: is missing; a test that expects nothing cannot fail")
        return
    for key, value in expect.pairs:
        if key.value not in EXPECT_KEYS:
            yield key.problem(f"expect: has no key '{key.value}'{suggestion(key.value, EXPECT_KEYS)}")
        elif (form := _FORMS.get(key.value)) is not None:
            yield from form(value)
        if key.value not in ("dead", "unread", "held") and expect.get("dead") is not None:
            yield key.problem(f"{key.value}: is never looked at beside dead:, which leaves no document; remove one")


# -- settings ------------------------------------------------------------------------------------------------------


def _settings(settings: Node) -> Iterator[str]:
    for key, value in settings.pairs:
        name = key.value
        if name == "timezone" and not _takes(ZoneInfo, value):
            yield value.problem(f"'{value.value}' is no time zone; write one of IANA's, as Asia/Kolkata")
        elif name == "received" and not _takes(datetime.fromisoformat, value):
            yield value.problem(f"'{value.value}' is no time; write it as 2026-03-01T10:15:30+05:30")
        elif name == "charset":
            for item in value.items if value.kind == "list" else (value,):
                if not _takes(codecs.lookup, item):
                    yield item.problem(f"'{item.value}' is no character set that Python knows, as utf-8 or cp1252")
        elif name in ("namespaces", "tables") and value.kind != "map":
            yield value.problem(f"{name}: is a map of names and values")
        elif name in _CHOICES and value.value not in _CHOICES[name]:
            yield value.problem(f"{name} is one of {', '.join(_CHOICES[name])}, not '{value.value}'")


def _takes(read: Callable[[str], object], node: Node) -> bool:
    if node.kind != "scalar":
        return False
    try:
        read(node.value)
    except (ValueError, LookupError, OSError):  # what ZoneInfo, fromisoformat and lookup raise
        return False
    return True


# -- expectations ----------------------------------------------------------------------------------------------------


def _counts(node: Node) -> Iterator[str]:
    if node.kind != "map":
        yield node.problem("counts: is a map, as {Observation: 2, results_in: 2}")
    for name, count in node.pairs:
        known = name.value in RESOURCES or _SEGMENT.fullmatch(name.value) or not name.value[:1].isupper()
        if not known:
            yield name.problem(f"no resource is called {name.value}{suggestion(name.value, RESOURCES)}")
        if not _NUMBER.fullmatch(count.value):
            yield count.problem(f"counts.{name.value}: a whole number is expected, not '{count.value}'")


def _resources(node: Node) -> Iterator[str]:
    for one in _maps(node):
        kind = one.get("find")
        if kind is None or kind.value not in RESOURCES:
            yield (kind or one).problem(
                "find: is missing; it names a type of resource"
                if kind is None
                else f"no resource is called {kind.value}{suggestion(kind.value, RESOURCES)}"
            )
        elif (has := one.get("has")) is not None:
            yield from _elements(has, kind.value, kind.value)
    yield from _parts(node)


def _parts(node: Node) -> Iterator[str]:
    """Maps of find: and has:, for any resource."""
    if node.kind != "list" or any(item.kind != "map" for item in node.items):
        yield node.problem("a list is expected, as [{find: Observation, has: {status: final}}]")
    for one in _maps(node):
        for key, _ in one.pairs:
            if key.value not in ("find", "has"):
                yield key.problem(f"no key is called '{key.value}' here{suggestion(key.value, ('find', 'has'))}")
        if (has := one.get("has")) is not None:
            if has.kind != "map":
                yield has.problem("has: is a map of elements and what they are")
            yield from _signs(has)


def _maps(node: Node) -> Iterator[Node]:
    for item in node.items:
        if item.kind == "map":
            yield item


def _elements(node: Node, kind: str, path: str) -> Iterator[str]:
    """Names of elements below ``node``, which is a value of the FHIR type ``kind``."""
    known = ELEMENTS.get(kind)
    if known is None or kind == "Resource":
        return
    for key, value in node.pairs:
        name = key.value.removeprefix("_")
        element = known.get(name)
        if key.value.startswith("$") or key.value == "resourceType":
            continue
        if element is None:
            yield key.problem(f"{path} has no element {key.value}{suggestion(name, known)}")
        elif not key.value.startswith("_") and element.type not in PRIMITIVES:
            for item in value.items if value.kind == "list" else (value,):
                yield from _elements(item, element.type, f"{path}.{name}")


def _signs(node: Node) -> Iterator[str]:
    """``$absent``, ``$any`` and ``$match`` anywhere below."""
    for key, value in node.pairs:
        if key.value == MATCH:
            yield from _pattern(value, value.value)
        yield from _signs(value)
    for item in node.items:
        yield from _signs(item)
    if node.kind == "scalar" and node.value.startswith("$"):
        word, _, pattern = node.value.partition(" ")
        if word == MATCH:
            yield from _pattern(node, pattern)
        elif node.value not in (ABSENT, ANY):
            yield node.problem(f"'{word}' means nothing here{suggestion(word, (ABSENT, ANY, MATCH))}")


def _pattern(node: Node, pattern: str) -> Iterator[str]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield node.problem(f"not a regular expression: {error}")


def _issues(node: Node) -> Iterator[str]:
    yield from _list("issues", "[UNMAPPED_CODE, {code: X, place: 'OBX[1]'}]")(node)
    for item in node.items:
        for key, _ in item.pairs:
            if key.value not in _ISSUE_KEYS:
                yield key.problem(f"an issue has no {key.value}{suggestion(key.value, _ISSUE_KEYS)}")


def _unread(node: Node) -> Iterator[str]:
    yield from _list("unread", "[OBX-1, PID-18]")(node)
    for item in node.items:
        if not _FIELD.fullmatch(item.value):
            yield item.problem(f"'{item.value}' is no field; write one as OBX-1 or R-2")


def _list(name: str, example: str) -> Callable[[Node], Iterator[str]]:
    def form(node: Node) -> Iterator[str]:
        if node.kind != "list":
            yield node.problem(f"{name}: is a list, as {example}")

    return form


def _reason(node: Node) -> Iterator[str]:
    known: Sequence[str] = [reason.value for reason in ReasonCode]
    if node.kind != "scalar" or node.value not in known:
        yield node.problem(f"no reason is called '{node.value}'{suggestion(node.value, known)}")


def _golden(node: Node) -> Iterator[str]:
    if node.kind != "scalar" or not node.value or "/" in node.value or "\\" in node.value or node.value == "..":
        yield node.problem("golden: is the name of a file beside the test, as x.expected.json")


_FORMS: dict[str, Callable[[Node], Iterator[str]]] = {
    "counts": _counts,
    "resources": _resources,
    "segments": _parts,
    "rows": _parts,
    "records": _parts,
    "issues": _issues,
    "unmapped": _list("unmapped", "[HGB]"),
    "unread": _unread,
    "dead": _reason,
    "filtered": _reason,
    "golden": _golden,
}
