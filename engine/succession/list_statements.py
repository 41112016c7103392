"""The results of a list that a mapping wrote (CSV, JSON), as they are compared with those of other messages. Pure.

A list does not say which column is the status, or the number of the order. The mapping says it (``results:``). Entries
of two lists are the same result where patient, order, test and ``sub`` are equal; without a patient the time must be
equal, too.

    results: {patient: patient, order: specimen, test: test, value: value, status: status, time: measured}   columns
    results: {patient: patients.id, order: orders.specimen, test: results.test, ...}       JSON: list and member

A status is a code of FHIR (Observation.status) or of HL7 table 0085, and goes out in the same words. Where there is no
status, or one in other words, all results count as final, and a changed one cannot say that it is changed.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from hashlib import blake2b
from io import StringIO
from typing import Any

import orjson
from orjson import OPT_SORT_KEYS, Fragment

from engine.model.content.list_form import Form
from engine.model.journal.document_facts import DocumentFacts
from engine.succession.hl7_statements import STATUS_OF, time_of
from engine.succession.statements import NO_VALUE, Resource
from engine.succession.steps import CANCELLED, RANK, WITHDRAWN

LISTS = frozenset({"text/csv; charset=utf-8", "application/json"})  # media types
_WORDS = frozenset({*RANK, CANCELLED, WITHDRAWN})


@dataclass(slots=True)
class _Row:
    """A result, with the records around it by the lists that contain them (CSV: under no name)."""

    around: dict[str, dict[str, Any]]
    name: str = ""
    said: dict[str, Any] = field(default_factory=dict)

    def get(self, path: str) -> Any:
        at, _, member = path.rpartition(".")
        return self.around.get(at, {}).get(member)

    def text(self, path: str) -> str:
        value = self.get(path) if path else None
        if value is None:
            return ""
        return value if isinstance(value, str) else orjson.dumps(value).decode()


class List:
    """A list, opened.

    Attributes:
        resources: its results, in its order.

    Args:
        zone: of times without an offset, where they are written as in HL7 v2; else they are ISO 8601.

    Raises:
        ValueError: it is not such a list, or has no results where the form says.
    """

    def __init__(self, body: bytes, form: Form, zone: tzinfo) -> None:
        self._form, self._zone = form, zone
        self._document: Any = None
        if form.columns:
            self._rows = _lines(body, form)
        else:
            self._document = json.loads(body, parse_float=Fragment)
            if not isinstance(self._document, dict):
                raise ValueError("no JSON object")
            at = form.test.rpartition(".")[0]
            self._rows = [_Row(around) for around in _records(self._document, {}) if _innermost(around) == at]
        if not self._rows:
            raise ValueError("no results where the mapping says")
        seen: dict[str, int] = {}
        self.resources = [self._resource(row, seen) for row in self._rows]

    def _resource(self, row: _Row, seen: dict[str, int]) -> Resource:
        form = self._form
        patient, time = row.text(form.patient), row.text(form.time)
        key = [patient, row.text(form.order), row.text(form.test), row.text(form.sub), "" if patient else time]
        name = _digest(key).hex()
        seen[name] = seen.get(name, 0) + 1
        row.name = f"Observation/{name}" + (f".{seen[name]}" if seen[name] > 1 else "")
        said = row.text(form.status)
        status = said if said in _WORDS else STATUS_OF.get(said, "")
        values = [row.get(one) for one in form.value]
        meaning = [*values, *(row.get(one) for one in form.more)]
        return Resource(
            name=row.name,
            status=status or "final",
            said=status or "final",
            whole=_digest([*key, time, *meaning, "" if status else said]),
            meaning=_digest(meaning),
            time=time_of(time, self._zone) or time,
            has_value=any(_is_value(one) for one in values),
            codes=frozenset({f"|{row.text(form.test)}"}),
            mute=not status,
        )

    def write(self, facts: DocumentFacts) -> bytes:
        """The list as it goes out under ``facts``: without echoes, and with the statuses of these."""
        form = self._form
        at, _, member = form.status.rpartition(".")
        for row in self._rows:
            if row.name in facts.statuses:
                said = row.text(form.status)
                row.around[at][member] = "C" if said in STATUS_OF else facts.statuses[row.name]
        kept = [row for row in self._rows if row.name not in facts.echoes | facts.waits]
        if form.columns:
            return _written(kept, form)
        gone = {id(_record(row)) for row in self._rows} - {id(_record(row)) for row in kept}
        return orjson.dumps(_without(self._document, gone))


def _lines(body: bytes, form: Form) -> list[_Row]:
    try:
        rows = list(csv.reader(StringIO(body.decode("utf-8"), newline=""), delimiter=form.delimiter, strict=True))
    except csv.Error as error:
        raise ValueError("no CSV") from error
    columns = rows.pop(0) if form.header and rows else list(form.columns)
    if not {*form.names} <= {*columns} or any(len(row) != len(columns) for row in rows):
        raise ValueError("other columns")
    return [_Row({"": dict(zip(columns, row, strict=True))}) for row in rows]


def _written(rows: list[_Row], form: Form) -> bytes:
    out = StringIO(newline="")
    writer = csv.writer(out, delimiter=form.delimiter, lineterminator="\r\n")
    records = [_record(row) for row in rows]
    if form.header and records:
        writer.writerow(records[0])
    writer.writerows(record.values() for record in records)
    return out.getvalue().encode("utf-8", "replace")


def _records(record: dict[str, Any], around: dict[str, dict[str, Any]]) -> Iterator[dict[str, dict[str, Any]]]:
    """The records in the lists of a JSON document, each with those around it, by the names of their lists."""
    for name, inner in record.items():
        for one in inner if isinstance(inner, list) else ():
            if isinstance(one, dict):
                here = {**around, name: one}
                yield here
                yield from _records(one, here)


def _innermost(around: dict[str, dict[str, Any]]) -> str:
    return next(reversed(around))


def _record(row: _Row) -> dict[str, Any]:
    return row.around[_innermost(row.around)]


def _without(record: dict[str, Any], gone: set[int]) -> dict[str, Any] | None:
    """A record without those that are gone; None where nothing stays in the lists that it had."""
    made: dict[str, Any] = {}
    had = False
    kept = False
    for name, inner in record.items():
        if not (isinstance(inner, list) and inner and isinstance(inner[0], dict)):
            made[name] = inner
            continue
        had = True
        stays = [left for one in inner if id(one) not in gone and (left := _without(one, gone)) is not None]
        if stays:
            made[name] = stays
            kept = True
    return made if kept or not had else None


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and NO_VALUE.fullmatch(value.strip()) is None
    return value is not None


def _digest(parts: list[Any]) -> bytes:
    return blake2b(orjson.dumps(parts, option=OPT_SORT_KEYS), digest_size=16).digest()
