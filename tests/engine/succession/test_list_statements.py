"""The results of CSV and JSON, each with what it is of; and the list as it goes out once they are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from typing import Any

import orjson
import pytest

from engine.model.content.list_form import Form
from engine.model.journal.document_facts import DocumentFacts
from engine.succession.list_statements import List
from engine.succession.statements import Resource

INDIA = timezone(timedelta(hours=5, minutes=30))
COLUMNS = ("patient", "order", "test", "sub", "value", "unit", "status", "time")
CSV = Form(
    patient="patient", order="order", test="test", sub="sub", value=("value",), more=("unit",), status="status",
    time="time", columns=COLUMNS,
)  # fmt: skip
GLU = ("900", "F1", "GLU", "1", "5.5", "mmol/L", "F", "202603010930")
NA = ("900", "F1", "NA", "1", "140", "mmol/L", "F", "202603010930")


def table(*rows: Sequence[str], form: Form = CSV) -> bytes:
    return "".join(
        f"{form.delimiter.join(row)}\r\n" for row in ((form.columns, *rows) if form.header else rows)
    ).encode()


def read(*rows: Sequence[str], form: Form = CSV) -> list[Resource]:
    return List(table(*rows, form=form), form, INDIA).resources


def other(**changed: str) -> tuple[str, ...]:
    return tuple(changed.get(name, value) for name, value in zip(COLUMNS, GLU, strict=True))


@pytest.mark.parametrize(
    ("said", "status", "mute"),
    [("F", "final", False), ("P", "preliminary", False), ("W", "entered-in-error", False), ("X", "cancelled", False),
     ("corrected", "corrected", False), ("cancelled", "cancelled", False),
     ("entered-in-error", "entered-in-error", False), ("", "final", True), ("ok", "final", True)],
)  # fmt: skip
def test_a_status_is_a_code_of_fhir_or_of_table_0085(said: str, status: str, mute: bool) -> None:
    (one,) = read(other(status=said))
    assert (one.status, one.said, one.mute, one.whole) == (status, status, mute, b"")


def test_without_a_column_for_the_status_it_is_final() -> None:
    (one,) = read(GLU, form=replace(CSV, status=""))
    assert (one.status, one.mute) == ("final", True)


@pytest.mark.parametrize(
    ("changed", "same"),
    [({"patient": "901"}, False), ({"order": "F2"}, False), ({"test": "NA"}, False), ({"sub": "2"}, False),
     ({"value": "6.5", "unit": "mg/dL", "status": "C", "time": "202603011030"}, True)],
)  # fmt: skip
def test_what_a_result_is_of(changed: dict[str, str], same: bool) -> None:
    ((one,), (another,)) = read(GLU), read(other(**changed))
    assert (one.subject == another.subject) is same
    assert one.name == f"Observation/{one.subject}"


def test_without_a_patient_its_time_is_part_of_what_it_is_of() -> None:
    ((one,), (again,), (later,)) = (
        read(other(patient="", time=time)) for time in ("202603010930", "202603010930", "202603011030")
    )
    assert one.subject == again.subject != later.subject


def test_results_of_one_test_have_names_of_their_own() -> None:
    first, second, third = read(GLU, GLU, other(value="7"))
    assert [second.subject, third.subject] == [f"{first.subject}.2", f"{first.subject}.3"]


@pytest.mark.parametrize(
    ("changed", "same"),
    [({"value": "5.50"}, False), ({"unit": "mg/dL"}, False), ({"status": "C", "time": "", "order": "F2"}, True)],
)
def test_the_meaning_of_a_result_is_its_value_and_what_a_receiver_reads_beside_it(
    changed: dict[str, str], same: bool
) -> None:
    ((one,), (another,)) = read(GLU), read(other(**changed))
    assert (one.meaning == another.meaning) is same


@pytest.mark.parametrize(
    ("said", "time"),
    [("202603010930", "2026-03-01T09:30:00+05:30"), ("2026-03-01T09:30:00Z", "2026-03-01T09:30:00Z"), ("", "")],
)
def test_a_time_is_of_hl7_or_iso(said: str, time: str) -> None:
    (one,) = read(other(time=said))
    assert (one.time, one.codes) == (time, frozenset({"|GLU"}))


REFUSED = {
    "no results": table(),
    "nothing": b"",
    "other columns": b"patient,order\r\n900,F1\r\n",
    "too few values": table(GLU[:-1]),
    "no end of a quote": table() + b'"900,F1\r\n',
    "no text": b"\xff\xfe\xff",
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_no_such_list_is_refused(how: str) -> None:
    with pytest.raises(ValueError, match=r"no CSV|other columns|no results|decode"):
        List(REFUSED[how], CSV, UTC)


def test_the_header_says_where_each_column_is() -> None:
    body = "\r\n".join(",".join(reversed(row)) for row in (COLUMNS, GLU)).encode()
    assert List(body, CSV, INDIA).resources == read(GLU)


# -- as it goes out ----------------------------------------------------------------------------------------------------

PLACES = {"1": "Result/1", "2": "Result/2"}


def written(body: bytes, form: Form, names: Mapping[str, str] = PLACES, **decided: Any) -> bytes:
    return List(body, form, UTC, names).write(DocumentFacts(**decided))


def test_results_have_the_names_of_their_rows() -> None:
    named = List(table(GLU, NA), CSV, UTC, {"2": "Result/7"}).resources
    assert [(one.name, one.codes) for one in named] == [("", frozenset({"|GLU"})), ("Result/7", frozenset({"|NA"}))]


@pytest.mark.parametrize("form", [CSV, replace(CSV, header=False), replace(CSV, delimiter=";")])
@pytest.mark.parametrize("left_out", ["echoes", "waits"])
def test_rows_that_are_left_out(form: Form, left_out: str) -> None:
    body = table(GLU, NA, form=form)
    assert written(body, form) == body
    assert written(body, form, **{left_out: frozenset({"Result/1"})}) == table(NA, form=form)
    assert written(body, form, **{left_out: frozenset(PLACES.values())}) == b""


def test_a_value_with_a_delimiter_stays_one() -> None:
    body = table(other(value='"a, ""b"""'))
    assert written(body, CSV, {"1": "Result/1"}) == body


@pytest.mark.parametrize(
    ("said", "decided", "out"),
    [("F", "corrected", "C"), ("F", "amended", "C"), ("F", "preliminary", "P"), ("F", "entered-in-error", "W"),
     ("final", "corrected", "corrected"), ("final", "amended", "amended"), ("", "amended", "amended")],
)  # fmt: skip
def test_a_status_goes_out_in_the_words_of_the_list(said: str, decided: str, out: str) -> None:
    body = table(other(status=said), NA)
    assert written(body, CSV, statuses={"Result/1": decided}) == table(other(status=out), NA)


# -- JSON --------------------------------------------------------------------------------------------------------------

JSON = Form(
    patient="patients.id", order="orders.number", test="results.test", value=("results.value",),
    status="results.status", time="results.time",
)  # fmt: skip


def result(test: str, value: Any, status: str = "final") -> dict[str, Any]:
    return {"test": test, "value": value, "status": status, "time": "2026-03-01T09:30:00Z"}


DOCUMENT = {
    "sent": "2026-03-01",
    "patients": [
        {
            "id": 900,
            "orders": [
                {"number": "F1", "results": [result("GLU", 5.5), result("NA", 140)]},
                {"number": "F2", "notes": [], "results": [result("K", None)]},
            ],
        },
        {"id": 901, "tags": ["a"], "orders": [{"number": "F3", "results": [result("CL", 99, "F")]}]},
    ],
}
PATHS = {
    f"patients/{patient}/orders/{order}/results/{place}": f"Result/{number}"
    for number, (patient, order, place) in enumerate(((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)), start=1)
}


def test_the_records_of_a_document_are_its_results() -> None:
    found = List(orjson.dumps(DOCUMENT), JSON, UTC).resources
    assert [next(iter(one.codes)) for one in found] == ["|GLU", "|NA", "|K", "|CL"]
    assert [one.time for one in found] == ["2026-03-01T09:30:00Z"] * 4
    assert len({one.subject for one in found}) == 4


def test_a_number_and_the_same_in_words_are_of_one_patient() -> None:
    """A sender writes either; the result is of one person."""
    text = orjson.dumps(DOCUMENT)
    found = [List(one, JSON, UTC).resources[0].subject for one in (text, text.replace(b"900", b'"900"'))]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"5", b"{", orjson.dumps({"patients": []}), orjson.dumps({"results": [5, "a"]})]
)
def test_a_document_without_such_records_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"no results|no JSON|Expecting"):
        List(body, JSON, UTC)


def test_records_have_the_names_of_their_paths() -> None:
    path = "patients/0/orders/1/results/0"
    (one,) = List(orjson.dumps(DOCUMENT), JSON, UTC, {path: "Result/3"}).resources
    assert (one.name, one.codes) == ("Result/3", frozenset({"|K"}))


def test_numbers_stay_as_they_are_written() -> None:
    body = orjson.dumps(DOCUMENT).replace(b"5.5", b"5.50")
    assert written(body, JSON, PATHS) == body


def of(document: dict[str, Any]) -> list[list[list[str]]]:
    """The tests of each order of each patient."""
    return [
        [[one["test"] for one in order["results"]] for order in patient["orders"]] for patient in document["patients"]
    ]


@pytest.mark.parametrize(
    ("gone", "left"),
    [((), [[["GLU", "NA"], ["K"]], [["CL"]]]), ((1,), [[["NA"], ["K"]], [["CL"]]]), ((3,), [[["GLU", "NA"]], [["CL"]]]),
     ((4,), [[["GLU", "NA"], ["K"]]]), ((1, 2, 3), [[["CL"]]])],
)  # fmt: skip
def test_what_contains_nothing_any_more_goes_too(gone: Sequence[int], left: list[list[list[str]]]) -> None:
    made = written(orjson.dumps(DOCUMENT), JSON, PATHS, echoes=frozenset(f"Result/{one}" for one in gone))
    document = orjson.loads(made)
    assert (of(document), document["sent"]) == (left, "2026-03-01")
    if 4 not in gone:
        assert document["patients"][-1]["tags"] == ["a"]


def test_nothing_is_left_of_a_document_of_echoes() -> None:
    assert written(orjson.dumps(DOCUMENT), JSON, PATHS, echoes=frozenset(PATHS.values())) == b"null"


def test_the_status_of_a_record_goes_out() -> None:
    made = orjson.loads(
        written(orjson.dumps(DOCUMENT), JSON, PATHS, statuses={"Result/1": "amended", "Result/4": "amended"})
    )
    first, last = (made["patients"][at]["orders"][0]["results"][0] for at in (0, 1))
    assert (first["status"], last["status"]) == ("amended", "C")
    assert made["patients"][0]["orders"][0]["results"][1]["status"] == "final"


def test_a_list_of_results_beside_another_one() -> None:
    """Only the records in the list that the mapping names are results."""
    document = {"results": [result("GLU", 5.5)], "controls": [result("QC", 1)], "more": {"results": [result("X", 1)]}}
    form = replace(JSON, patient="", order="results.order")
    assert [one.codes for one in List(orjson.dumps(document), form, UTC).resources] == [frozenset({"|GLU"})]
