"""Search parameters (FHIR R4, search.html): the indexed parts of a resource, and the reading of queries.

The few parameters that a laboratory's results need, for every type that has the element:

    token      identifier code category status _tag     system|value, |value (no system), value
    reference  subject patient encounter specimen based-on result target     Type/id, or the id alone
    include    _include, _include:iterate     ServiceRequest:subject, ServiceRequest:specimen, Task:focus, Task:patient
    special    _id, _lastUpdated (eq gt ge lt le), _count, _offset, _sort=[-]_lastUpdated, _summary=count

An unknown parameter is refused rather than ignored: a test that asks for the wrong thing should not get everything.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from workbench.errors import RefusalError
from workbench.sandbox.store import Condition, Term

TOKENS = ("identifier", "code", "category", "status", "_tag")
REFERENCES = {
    "subject": "subject",
    "patient": "patient",
    "encounter": "encounter",
    "specimen": "specimen",
    "basedOn": "based-on",
    "result": "result",
    "target": "target",
}
# The elements that a parameter of _include follows.
INCLUDED = {
    "ServiceRequest:subject": ("subject",),
    "ServiceRequest:patient": ("subject",),
    "ServiceRequest:specimen": ("specimen",),
    "Task:focus": ("focus",),
    "Task:patient": ("for",),
}
REFERENCE_PARAMETERS = frozenset(REFERENCES.values())
IGNORED = frozenset({"_format", "_pretty"})
COMPARISONS = {"eq": "=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
DEFAULT_COUNT = 50
# A backslash takes the meaning from the comma, bar or dollar after it (search.html, 3.1.1.4.0.4).
_ALTERNATIVES = re.compile(r"(?:\\.|[^,\\]|\\$)+")
_BAR = re.compile(r"(?<!\\)((?:\\\\)*)\|")
_ESCAPE = re.compile(r"\\([\\,$|])")
_MARK = "\x00"
MAX_COUNT = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """A search as read from its URL."""

    conditions: list[Condition]
    count: int = DEFAULT_COUNT
    offset: int = 0
    newest_first: bool = True
    only_total: bool = False
    includes: tuple[str, ...] = ()


def terms_of(resource: dict[str, Any], resolve: dict[str, str]) -> list[Term]:
    """The index terms of a resource, sorted.

    Args:
        resolve: references as the resource has them -> their targets on this server.
    """
    terms: set[Term] = set()
    for identifier in _each(resource.get("identifier")):
        _add_token(terms, "identifier", identifier.get("value"), identifier.get("system"))
    for name in ("code", "category"):
        for concept in _each(resource.get(name)):
            for coding in _each(concept.get("coding")):
                _add_token(terms, name, coding.get("code"), coding.get("system"))
    status = resource.get("status")
    _add_token(terms, "status", status, None)
    meta = resource.get("meta")
    for tag in _each(meta.get("tag") if isinstance(meta, dict) else None):
        _add_token(terms, "_tag", tag.get("code"), tag.get("system"))
    for element, name in REFERENCES.items():
        for reference in _each(resource.get(element)):
            target = reference.get("reference")
            if isinstance(target, str):
                target = resolve.get(target, target)
                terms.add((name, target, ""))
                if name == "subject" and target.startswith("Patient/"):
                    terms.add(("patient", target, ""))
    return sorted(terms)


def read_query(text: str) -> Query:
    """Read the query part of a search URL.

    Raises:
        RefusalError: 400, an unknown parameter or a value that it cannot have.
    """
    settings: dict[str, Any] = {}
    conditions: list[Condition] = []
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name in IGNORED:
            continue
        if name in ("_count", "_offset"):
            if not value.isdigit():
                raise _bad(f"{name} needs a whole number")
            settings[name[1:]] = min(int(value), MAX_COUNT) if name == "_count" else int(value)
        elif name in ("_include", "_include:iterate"):
            if value not in INCLUDED:
                raise _bad(f"{name} knows " + ", ".join(INCLUDED))
            settings["includes"] = (*settings.get("includes", ()), value)
        elif name == "_sort":
            if value not in ("_lastUpdated", "-_lastUpdated"):
                raise _bad("_sort knows _lastUpdated and -_lastUpdated")
            settings["newest_first"] = value.startswith("-")
        elif name == "_summary":
            if value not in ("count", "false"):
                raise _bad("_summary knows count")
            settings["only_total"] = value == "count"
        else:
            conditions.append(_condition(name, value))
    return Query(conditions, **settings)


def read_conditions(text: str) -> list[Condition]:
    """The conditions of a conditional create, update or reference: at least one, and nothing else.

    Raises:
        RefusalError: 400.
    """
    conditions = [_condition(name, value) for name, value in parse_qsl(text, keep_blank_values=True)]
    if not conditions:
        raise _bad("a conditional request needs at least one search parameter")
    return conditions


def _condition(name: str, value: str) -> Condition:
    values = [part for part in _ALTERNATIVES.findall(value) if part]
    if not values:
        raise _bad(f"{name} has no value")
    if name == "_id":
        return Condition(name, tuple((part, None) for part in values))
    if name == "_lastUpdated":
        return Condition(name, tuple(_instant(part) for part in values))
    if name in TOKENS:
        return Condition(name, tuple(_token(name, part) for part in values))
    if name in REFERENCE_PARAMETERS:
        return Condition(name, tuple((_reference(name, part), None) for part in values))
    raise _bad("unknown search parameter; the sandbox knows " + ", ".join((*TOKENS, *sorted(REFERENCE_PARAMETERS))))


def _token(name: str, text: str) -> tuple[str, str | None]:
    system, bar, code = _BAR.sub(r"\1" + _MARK, text).rpartition(_MARK)
    if not code:
        raise _bad(f"{name}: system| without a value is not supported")
    return _unescaped(code), _unescaped(system) if bar else None


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)


def _reference(name: str, text: str) -> str:
    if "/" in text:
        return text
    if name in ("patient", "subject"):
        return f"Patient/{text}"
    if name in ("encounter", "specimen"):
        return f"{name.capitalize()}/{text}"
    raise _bad(f"{name} needs Type/id")


def _instant(text: str) -> tuple[str, str]:
    comparison = COMPARISONS.get(text[:2])
    if comparison is not None:
        text = text[2:]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _bad("_lastUpdated needs a date or an instant, with eq, gt, ge, lt or le before it") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return str((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)), comparison or "="


def included(resource: dict[str, Any], includes: Iterable[str]) -> list[str]:
    """The resources, as ``Type/id``, that `Query.includes` follows from one."""
    found: list[str] = []
    for name in includes:
        kind, _, _ = name.partition(":")
        if resource.get("resourceType") != kind:
            continue
        for element in INCLUDED[name]:
            references = (one.get("reference") for one in _each(resource.get(element)))
            found += [one for one in references if isinstance(one, str)]
    return found


def _each(value: Any) -> Iterable[dict[str, Any]]:
    """The objects of an element that may be absent, one, or a list."""
    if isinstance(value, dict):
        return (value,)
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _add_token(terms: set[Term], name: str, code: Any, system: Any) -> None:
    if isinstance(code, str):
        terms.add((name, code, system if isinstance(system, str) else ""))


def _bad(text: str) -> RefusalError:
    return RefusalError(400, "invalid", text)
