"""Worklists for paper, as text and as CSV: of each analyzer the tubes that wait, and their tests by its own codes."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.views.text import Head, csv_line, local, table
from engine.views.view import Field

Tube = Mapping[str, Any]
URGENT = "URGENT"
COLUMNS: tuple[Field[Tube], ...] = (
    Field("", "TUBE", of="specimen"),
    Field("", "PRIORITY", of=lambda tube: URGENT if tube["urgent"] else ""),
    Field("", "PATIENT", of=lambda tube: patient_words(tube["patient"])),
    Field("", "TESTS", of=lambda tube: ", ".join(map(test_words, tube["tests"]))),
)
CSV_COLUMNS = ("analyzer", "tube", "urgent", "patient", "family", "given", "birth_date", "sex", "order", "test", "code",
               "reason", "also")  # fmt: skip


def patient_words(patient: Mapping[str, str]) -> str:
    name = " ".join(filter(None, (patient["given"], patient["family"])))
    return ", ".join(filter(None, (patient["number"], name, patient["birth_date"], patient["sex"])))


def test_words(test: Mapping[str, Any]) -> str:
    """The analyzer's code, the LIS's where it is another, and a reason to look before it is ordered there by hand."""
    code, test_code, reason = test["code"], test["test"], test["reason"]
    more = [test_code] if code not in ("", test_code) else []
    more += [reason] if reason else []
    more += [f"also on {name}" for name in test["also"]]
    return str(code or test_code) + (f" ({'; '.join(more)})" if more else "")


def sheet_lines(sheets: Sequence[Mapping[str, Any]], printed: datetime) -> Iterator[str]:
    """Plain text, for a printer."""
    yield f"Worklist of {local(printed):%Y-%m-%d %H:%M %z}"
    if not sheets:
        yield "no order waits"
    for one in sheets:
        yield ""
        yield Head(one["channel"] or "no analyzer has a code for these tests")
        yield from table(one["tubes"], COLUMNS)


def sheet_csv(sheets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each test, with a heading."""
    yield ",".join(CSV_COLUMNS)
    for one in sheets:
        for tube in one["tubes"]:
            patient = tube["patient"]
            for test in tube["tests"]:
                yield csv_line(
                    (
                        *(one["channel"], tube["specimen"], "yes" if tube["urgent"] else ""),
                        *(patient[name] for name in ("number", "family", "given", "birth_date", "sex")),
                        *(test[name] for name in ("order", "test", "code", "reason")),
                        " ".join(test["also"]),
                    )
                )
