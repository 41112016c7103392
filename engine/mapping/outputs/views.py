"""Documents of every kind as parts with places: for tests of mappings, for people, and for checks.

HL7 v2    {"resourceType": "OBX", "3.1": "718-7", "5": "148", "8[2]": "A"}      values unescaped
CSV       {"resourceType": "row", "code": "HGB"}
JSON      {"resourceType": "results", "value": "148"}       each object of each list, and "document", the whole
orders    {"resourceType": "lines", "specimen": "S1"}       each line
FHIR      the resources
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any

from engine.config import registry
from engine.mapping.fhir import validity
from engine.mapping.language.targets import DELIMITERS, MEDIA_TYPES, Target
from engine.mapping.values.json_text import as_text, indented
from engine.model.errors import ContentError
from engine.model.message import Delimiters, Document, FormatOptions, Parsed, Segment

KIND = "resourceType"
JSON_KINDS = frozenset({MEDIA_TYPES["fhir"], MEDIA_TYPES["json"]})
_CHARSETS = ("utf-8", "latin-1")  # of a document that declares none; our documents declare their own


@dataclass(frozen=True, slots=True)
class View:
    """One document, with what its mapping says of it."""

    document: Document
    target: Target
    columns: tuple[str, ...] = ()

    def parts(self) -> list[dict[str, Any]]:
        """Its parts, in order."""
        body = self.document.body
        match self.target.kind:
            case "fhir":
                return [entry["resource"] for entry in as_text(body).get("entry", ())]
            case "json":
                whole = as_text(body)
                return [{KIND: "document", **whole}, *_records(whole)]
            case "orders":
                return list(_records(as_text(body)))
            case "csv":
                return [{KIND: "row", **row} for row in self._rows(body.decode())]
        return [_segment(segment, self._parsed().delimiters) for segment in self._parsed().segments]

    def counts(self) -> dict[str, int]:
        """How many parts of each name, in the order of first occurrence."""
        return dict(Counter(part[KIND] for part in self.parts()))

    def text(self) -> str:
        """As people read it, and as golden files hold it: indented, or a segment a line."""
        body = self.document.body
        if self.document.media_type in JSON_KINDS:
            return indented(body.decode())
        if self.target.kind == "hl7v2":
            return body.decode(self._parsed().charset).replace("\r", "\n").removesuffix("\n")
        return body.decode().replace("\r\n", "\n").removesuffix("\n")

    def faults(self) -> list[str]:
        """Its problems, by place and never with a value."""
        if self.target.kind == "fhir":
            return validity.faults(self.document.body)
        if self.target.kind != "hl7v2":
            return []
        try:
            return [f"{issue.place}: {issue.text}" for issue in self._parsed().warnings]
        except ContentError as error:
            return [str(error)]

    def _parsed(self) -> Parsed:
        parsed: Parsed = registry.load(registry.FORMATS, "hl7v2").parse(
            self.document.body, FormatOptions(charsets=_CHARSETS)
        )
        return parsed

    def _rows(self, text: str) -> Iterator[dict[str, str]]:
        columns, form = list(self.columns), self.target.csv
        for delimiter in DELIMITERS.values():  # a channel may have chosen another one
            if next(csv.reader(StringIO(text, newline=""), delimiter=delimiter), None) == columns:
                yield from csv.DictReader(StringIO(text, newline=""), delimiter=delimiter)
                return
        yield from csv.DictReader(StringIO(text, newline=""), fieldnames=columns, delimiter=form.delimiter)


def _records(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in the lists of a JSON document, each under the name of its list."""
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if isinstance(inner, list):
            for one in inner:
                if isinstance(one, dict):
                    yield {KIND: name, **one}
                    yield from _records(one)
        else:
            yield from _records(inner)


def _segment(segment: Segment, delimiters: Delimiters) -> dict[str, Any]:
    """A segment by places: ``5``, ``3.1``, ``3.4.1``, ``8[2]``; an undivided field is also its own first component."""
    codec = registry.load(registry.FORMATS, "hl7v2")
    made: dict[str, Any] = {KIND: segment.name}
    first = 3 if segment.name == "MSH" else 1
    for number, raw in enumerate(segment.fields[first:], first):
        for at, repetition in enumerate(codec.repetitions(raw, delimiters), 1):
            name = str(number) if at == 1 else f"{number}[{at}]"
            components = codec.components(repetition, delimiters)
            if len(components) == 1 and repetition and delimiters.subcomponent not in repetition:
                made[name] = codec.unescape(repetition, delimiters)
            for place, component in enumerate(components, 1):
                parts = codec.subcomponents(component, delimiters)
                if component and len(parts) == 1:
                    made[f"{name}.{place}"] = codec.unescape(component, delimiters)
                for below, part in enumerate(parts, 1):
                    if part and len(parts) > 1:
                        made[f"{name}.{place}.{below}"] = codec.unescape(part, delimiters)
    return made
