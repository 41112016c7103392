"""The fields that ids are made of are those that the mapping names; `explain` tells them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.mapping import Program
from engine.mapping.explanations.explaining import IDENTITY
from tests.support.mapping_texts import ASTM, HEAD, Made, Workshop, apply, context, parse

STEPS = """\
steps:
  - each: PATIENT
    do:
      - create: Patient
        as: patient
        when: =P-3
        key: =P-3
        request: create_if_none
        body: {identifier: {system: "urn:p", value: "=P-3"}, name: "=astm_name(P-17)", birthDate: "=date(P-18)"}
      - each: ORDER
        do:
          - each: RESULT
            create: Observation
            as: results
            key: =[O-3, R-3.4]
            body: {status: final, code: {text: "=R-3.4"}, subject: "=ref(patient)"}
          - create: DiagnosticReport
            key: =[O-3, '-']
            body: {status: final, code: {text: report}, subject: "=ref(patient)", result: "=ref(results)"}
"""
NAMED = "identity: {order_time: O-9, result_time: [R-10], name: P-17, birth_date: P-18}\n"
HERE = HEAD.replace("hl7v2/ORU_R01", "astm/E1394")


def message(
    *, sent: str, taken: str = "", measured: str = "", patient: str = "4711", name: str = "", born: str = ""
) -> str:
    """With its times in O-9 and R-10, name and birth date in P-17 and P-18, and nothing where the standard has them."""
    return (
        f"H|\\^&|||AN|||||||P|1|{sent}\n"
        f"P|1|{patient}|{'|' * 13}{name}|{born}\n"
        f"O|1|S1||^^^GLU||||{taken}\n"
        f"R|1|^^^GLU|5.5||||||{measured}\n"
        "L|1|N\n"
    )


def program(folder: Path, identity: str) -> Program:
    return Workshop(folder).load(HERE + identity + STEPS)


def ids(made: Made) -> Mapping[str, str]:
    made_by_us = (entry["resource"] for entry in made.document["entry"] if "id" in entry["resource"])
    return {resource["resourceType"]: resource["id"] for resource in made_by_us}


def test_the_numbers_that_reports_are_known_by_are_known(tmp_path: Path) -> None:
    patient = {("P", 3, 1)}
    assert program(tmp_path, NAMED).report_numbers == patient | {("O", 3, 1)}

    def numbers(key: str, lets: str = "a: =O-19 | O-3") -> set[tuple[str, int, int]]:
        steps = STEPS.replace("key: =[O-3, '-']", f'let: {{{lets}}}\n            key: "={key}"')
        return set(Workshop(tmp_path).load(HERE + steps).report_numbers) - patient

    both, elsewhere = {("O", 19, 1), ("O", 3, 1)}, {("", 1, 1)}
    assert numbers("[a | '-', O-5 | '-']") == numbers("a") == both
    assert numbers("[join([upper(a)], '@') if O-5 == 'x' else '-', '-']") == both
    assert numbers("[b.2, '-']", "b: =O-3 | O-4") == {("O", 3, 2), ("O", 4, 2)}
    for cut in (
        "left(O-3, 8)",
        "before(O-3, '-')",
        "replace(O-3, '-', '')",
        "join([O-3, O-4], '')",
        "concat(O-3, O-4)",
    ):
        assert elsewhere <= numbers(f"[{cut} | '-', '-']"), cut
    assert numbers("[setting('site') | 'x', O-3]") == elsewhere
    assert numbers("[a, '-']", "a: x") == elsewhere


@pytest.mark.parametrize(
    ("target", "step", "expected"),
    [
        ("csv\nresults: {order: tube, test: t, value: v, patient: p}", "row: {tube: =O-19, t: =R-3, v: =R-4, p: =P-9}",
         {("O", 19, 1), ("P", 9, 1)}),
        ("csv\nresults: none", "row: {tube: =O-19, t: =R-3, v: =R-4}", set()),
        ("json\nresults: {order: all.tube, test: all.t, value: all.v}",
         "record: all\n            body: {tube: =O-19, t: =R-3, v: =R-4}", {("O", 19, 1)}),
        ("hl7v2/ORU_R01", "segment: OBR\n            fields: {3: {1: =O-19.2}, 4: =O-5, 7: =O-8}", {("O", 19, 2)}),
    ],
)  # fmt: skip
def test_the_numbers_of_other_outputs_are_known(
    tmp_path: Path, target: str, step: str, expected: set[tuple[str, int, int]]
) -> None:
    text = (
        f"{HERE.replace('fhir/R4', target)}steps:\n  - each: PATIENT\n    do:\n      - each: ORDER\n        do:\n"
        f"          - each: RESULT\n            {step}\n"
    )
    assert Workshop(tmp_path).load(text).report_numbers == expected


@pytest.mark.parametrize("where", ["taken", "measured"])
@pytest.mark.parametrize("patient", ["4711", ""], ids=["with a patient", "without one"])
def test_a_correction_of_the_next_day_has_the_ids_of_its_result(tmp_path: Path, where: str, patient: str) -> None:
    named = program(tmp_path, NAMED)
    times = {where: "20260301093000", "patient": patient}
    first = apply(named, message(sent="20260301101500", **times))
    corrected = apply(named, message(sent="20260302081500", **times))
    other = apply(named, message(sent="20260302081500", **{**times, where: "20260302080000"}))
    assert ids(corrected) == ids(first)
    assert ids(other)["DiagnosticReport"] != ids(first)["DiagnosticReport"]
    assert [one.key for one in corrected.mapped.documents[0].reports] == [
        one.key for one in first.mapped.documents[0].reports
    ]


def test_without_the_block_the_fields_are_those_of_the_standard(tmp_path: Path) -> None:
    standard = ASTM.replace("^^^^", "^^^")
    assert ids(apply(program(tmp_path, "identity: {order_time: O-8}\n"), standard)) == ids(
        apply(program(tmp_path, ""), standard)
    )


def test_the_person_is_remembered_by_the_fields_that_are_named(tmp_path: Path) -> None:
    named = program(tmp_path, NAMED)
    persons = {
        name: apply(named, message(sent="20260301101500", name=name, born="19600203"))
        .mapped.documents[0]
        .reports[0]
        .person
        for name in ("RAO^MEERA", "KHAN^ALI")
    }
    assert all(persons.values())
    assert persons["RAO^MEERA"] != persons["KHAN^ALI"]


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({"taken": "20260301093000"}, "O[1]-9"),
        ({"measured": "20260301094500"}, "R[1]-10"),
        ({}, "H[1]-14"),
    ],
)
def test_explain_tells_which_time_an_id_holds(tmp_path: Path, times: dict[str, str], field: str) -> None:
    trace = program(tmp_path, NAMED).explain(parse(message(sent="20260301101500", **times)), context())
    told = {leaf.path: leaf for leaf in trace.leaves if leaf.origin == IDENTITY}
    assert told["Observation[1].id"].sources == ("O[1]-3", "R[1]-3.4", field)
    assert told["DiagnosticReport[1].id"].sources == ("O[1]-3", field)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("identity: {order_time: R-10}", "order_time: names whole fields of O, as O-8"),
        ("identity: {result_time: [R-13.1]}", "result_time: names whole fields of R, as R-8"),
        ("identity: {time: O-9}", "identity: has no key 'time'"),
        ("identity: {name: [P-6, P-7]}", "name: is one field"),
        ("identity: O-9", "identity: is a map of keys and values"),
    ],
)
def test_what_is_no_field_is_refused_with_its_place(tmp_path: Path, block: str, says: str) -> None:
    (problem,) = Workshop(tmp_path).problems(f"{HERE}{block}\n{STEPS}")
    assert problem.startswith("m.yaml:5:")
    assert says in problem
