"""The results of a list that a mapping wrote (CSV, JSON), and the list as it goes out once they are judged. Pure.

A list does not say which column is the status, or the number of the order. The mapping says it (``results:``). What an
entry is of: patient, order, test and ``sub``; without a patient its time, too.

    results: {patient: patient, order: specimen, test: test, value: value, status: status, time: measured}   columns
    results: {patient: patients.id, order: orders.specimen, test: results.test, ...}       JSON: list and member

A status is a code of FHIR (Observation.status) or of HL7 table 0085, and goes out in the same words. Where there is no
status, or one in other words, a changed result cannot say that it is changed.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from hashlib import blake2b
from io import StringIO
from typing import Any

import orjson
from orjson import OPT_SORT_KEYS, Fragment

from engine.model.content.list_form import Form
from engine.model.journal.document_facts import DocumentFacts
from engine.succession.hl7_statements import CODE_OF, STATUS_OF, time_of
from engine.succession.statements import Resource
from engine.succession.steps import CANCELLED, RANK, WITHDRAWN

LISTS = frozenset({"text/csv; charset=utf-8", "application/json"})  # media types
_WORDS = frozenset({*RANK, CANCELLED, WITHDRAWN})


@dataclass(slots=True)
class _Row:
    """A result, with the records around it by the lists that contain them (CSV: under no name).

    Attributes:
        path: as of `engine.model.message.Document.places`.
    """

    around: dict[str, dict[str, Any]]
    path: str
    name: str = ""

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
        names: of results, by the number of their row or the path of their record; else by what they are of.

    Raises:
        ValueError: it is not such a list, or has no results where the form says.
    """

    def __init__(self, body: bytes, form: Form, zone: tzinfo, names: Mapping[str, str] | None = None) -> None:
        self._form, self._zone = form, zone
        self._document: Any = None
        if form.columns:
            self._rows = _lines(body, form)
        else:
            self._document = json.loads(body, parse_float=Fragment)
            if not isinstance(self._document, dict):
                raise ValueError("no JSON object")
            at = form.test.rpartition(".")[0]
            self._rows = [row for row in _records(self._document, {}, "") if names or _innermost(row.around) == at]
        if names:
            self._rows = [row for row in self._rows if form.columns or row.path in names]
        if not self._rows:
            raise ValueError("no results where the mapping says")
        seen: dict[str, int] = {}
        self.resources = [self._resource(row, seen, names) for row in self._rows]

    def _resource(self, row: _Row, seen: dict[str, int], names: Mapping[str, str] | None) -> Resource:
        form = self._form
        patient, time = row.text(form.patient), row.text(form.time)
        key = [patient, row.text(form.order), row.text(form.test), row.text(form.sub), "" if patient else time]
        name = _digest(key).hex()
        seen[name] = seen.get(name, 0) + 1
        name += f".{seen[name]}" if seen[name] > 1 else ""
        row.name = names.get(row.path, "") if names else f"Observation/{name}"
        said = row.text(form.status)
        status = said if said in _WORDS else STATUS_OF.get(said, "")
        values = [row.get(one) for one in form.value]
        meaning = [*values, *(row.get(one) for one in form.more)]
        return Resource(
            name=row.name,
            status=status or "final",
            said=status or "final",
            whole=b"",
            subject=name,
            meaning=_digest(meaning),
            time=time_of(time, self._zone) or time,
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
                row.around[at][member] = (
                    CODE_OF.get(facts.statuses[row.name], "C") if said in STATUS_OF else facts.statuses[row.name]
                )
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
    return [_Row({"": dict(zip(columns, row, strict=True))}, str(number)) for number, row in enumerate(rows, start=1)]


def _written(rows: list[_Row], form: Form) -> bytes:
    out = StringIO(newline="")
    writer = csv.writer(out, delimiter=form.delimiter, lineterminator="\r\n")
    records = [_record(row) for row in rows]
    if form.header and records:
        writer.writerow(records[0])
    writer.writerows(record.values() for record in records)
    return out.getvalue().encode("utf-8", "replace")


def _records(record: dict[str, Any], around: dict[str, dict[str, Any]], path: str) -> Iterator[_Row]:
    """The records in the lists of a JSON document, each with those around it, by the names of their lists."""
    for name, inner in record.items():
        for number, one in enumerate(inner if isinstance(inner, list) else ()):
            if isinstance(one, dict):
                here = {**around, name: one}
                yield _Row(here, f"{path}{name}/{number}")
                yield from _records(one, here, f"{path}{name}/{number}/")


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


def _digest(parts: list[Any]) -> bytes:
    return blake2b(orjson.dumps(parts, option=OPT_SORT_KEYS), digest_size=16).digest()
