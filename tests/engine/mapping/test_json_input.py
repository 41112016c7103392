"""Mappings that read JSON: paths, loops, values as they were sent, what is refused, and where each value came from."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.mapping import Program
from engine.mapping.conditions import compile_condition
from engine.mapping.language.rules import TreePath
from engine.mapping.language.syntax import parse as parse_expression
from engine.model.errors import ConfigError, ExpressionError
from tests.support.mapping_texts import Workshop, apply, context, parse

ORDER = b"""{
  "id": "ord_7", "total": 148.50, "paid": true, "note": null, "blank": "  ",
  "buyer": {"name": "  Asha Rao ", "pin code": 560001},
  "items": [
    {"name": "CBC", "price": 100.50, "tags": ["blood", "urgent"], "parts": [{"code": "WBC"}, {"code": "RBC"}]},
    {"name": "ESR", "price": 48.00, "tags": [], "parts": {"code": "ESR"}},
    "free text"
  ]
}"""
JSON, HL7 = "from: json\nto: json\n", "from: hl7v2/ORU_R01\nto: json\n"
TO_FHIR = JSON.replace("to: json", "to: fhir/R4")
HEAD = "mapping: m\nformat: labrelay-mapping/1\nfrom: json\nto: json\nsteps:\n"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def document(program: Program, message: bytes = ORDER) -> Any:
    return apply(program, message).document


def value(workshop: Workshop, expression: str, message: bytes = ORDER) -> Any:
    made = workshop.load(f'{HEAD}  - document: {{id: =$.id, value: "={expression}"}}\n')
    return document(made, message).get("value")


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        ("$.id", "ord_7"),
        ("$.total", "148.50"),
        ("decimal_of($.total).value", "148.50"),
        ("$.total + 1", "149.50"),
        ("$.paid", "true"),
        ("concat($.paid)", "true"),
        ("$.paid == 'true'", "true"),
        ("$.note", None),
        ("$.blank", None),
        ("$.missing.deeper", None),
        ("$.buyer", None),
        ("$.buyer.name", "Asha Rao"),
        ("$.buyer['pin code']", "560001"),
        ("$.items[1].name", "ESR"),
        ("$.items[9].name", None),
        ("$.items[*].name", ["CBC", "ESR"]),
        ("$.items[*].tags[*]", ["blood", "urgent"]),
        ("join($.items[*].name, ', ')", "CBC, ESR"),
        ("$.missing | $.id", "ord_7"),
        ("'x' if $.total > 148.4 else 'y'", "x"),
        ("'x' if $.note else 'y'", "y"),
        ("'x' if $.id in ['ord_7'] else 'y'", "x"),
        ("$.items[*].name ++ $.id", ["CBC", "ESR", "ord_7"]),
        ("@.id", "ord_7"),
        ("first($.items[*].tags[*])", "blood"),
    ],
)
def test_an_expression_reads_a_path(workshop: Workshop, expression: str, meant: Any) -> None:
    assert value(workshop, expression) == meant


def test_loops_go_through_lists_inside_lists(workshop: Workshop) -> None:
    made = workshop.load(
        HEAD
        + """\
  - document: {order: =$.id}
  - each: $.items
    where: =@.name
    let: {shown: "=concat($.id, '/', @.name)"}
    record: lines
    body: {shown: =shown, price: =decimal_of(@.price).value, twice: =@.price * 2, tags: "=@.tags[*]"}
    do:
      - each: '@.parts'
        record: parts
        body: {code: =@.code, of: =shown, order: =$.id}
"""
    )
    assert document(made) == {
        "order": "ord_7",
        "lines": [
            {
                "shown": "ord_7/CBC",
                "price": "100.50",
                "twice": "201.00",
                "tags": ["blood", "urgent"],
                "parts": [
                    {"code": "WBC", "of": "ord_7/CBC", "order": "ord_7"},
                    {"code": "RBC", "of": "ord_7/CBC", "order": "ord_7"},
                ],
            },
            {
                "shown": "ord_7/ESR",
                "price": "48.00",
                "twice": "96.00",
                "parts": [{"code": "ESR", "of": "ord_7/ESR", "order": "ord_7"}],
            },
        ],
    }


def test_a_list_at_the_top_and_values_that_are_no_objects(workshop: Workshop) -> None:
    made = workshop.load(f"{HEAD}  - each: $\n    record: all\n    body: {{text: =@, first: '=@[0]'}}\n")
    assert document(made, b'["a", 1.0, null, [7], {"b": 1}]') == {
        "all": [{"text": "a"}, {"text": "1.0"}, {"first": "7"}]
    }


def test_a_path_alone_keeps_its_type_and_all_else_is_text(workshop: Workshop) -> None:
    made = workshop.load(
        HEAD
        + """\
  - document:
      alone: {number: =$.n, text: =$.t, flag: =$.b, list: "=$.l[*]"}
      not: {number: =concat($.n), flag: "=$.b | 'x'", calculated: =$.n + 0}
      literal: 1.50
"""
    )
    message = b'{"n": -1.50E+400, "t": "1.50", "b": false, "l": [1, "1", true, null, {}]}'
    (written,) = made.apply(parse(message), context()).documents
    assert written.body.startswith(
        b'{"alone":{"number":-1.50E+400,"text":"1.50","flag":false,"list":[1,"1",true]},'
        b'"not":{"number":"-1.50E+400","flag":"false"'
    )
    assert written.media_type == "application/json"
    assert made.explain(parse(message), context()).mapped is not None


def test_csv_is_written_of_json(workshop: Workshop) -> None:
    made = workshop.load(
        HEAD.replace("to: json", "to: csv\ncsv: {header: no}")
        + "  - each: $.items\n    row: {a: =@.name, b: =@.price}\n"
    )
    parsed = parse(ORDER)
    (written,) = made.apply(parsed, context()).documents
    assert written.body == b"CBC,100.50\r\nESR,48.00\r\n"


def test_each_value_says_where_it_came_from(workshop: Workshop) -> None:
    made = workshop.load(
        HEAD
        + """\
  - document: {buyer: "=$.buyer['pin code']"}
  - each: $.items
    record: lines
    body: {name: =@.name}
    do:
      - each: '@.parts'
        record: parts
        body: {code: =@.code}
"""
    )
    trace = made.explain(parse(ORDER), context())
    assert trace.error is None
    found = {leaf.path: leaf.sources for leaf in trace.leaves}
    assert found == {
        "buyer": ("$.buyer['pin code']",),
        "lines[0].name": ("$.items[0].name",),
        "lines[0].parts[0].code": ("$.items[0].parts[0].code",),
        "lines[0].parts[1].code": ("$.items[0].parts[1].code",),
        "lines[1].name": ("$.items[1].name",),
        "lines[1].parts[0].code": ("$.items[1].parts[0].code",),
    }


def test_braces_in_a_name_are_its_own(workshop: Workshop) -> None:
    made = workshop.load(f"{HEAD}  - document: {{a: \"=$['{{x}}']\"}}\n")
    trace = made.explain(parse(b'{"{x}": "1"}'), context())
    assert [leaf.sources for leaf in trace.leaves] == [("$['{x}']",)]


@pytest.mark.parametrize(
    ("head", "steps", "words"),
    [
        (TO_FHIR, "create: Patient\n    key: =$.id\n    body: {active: true}", "writes json, csv, orders or results/1"),
        (HL7, "document: {a: =$.id}", "$.id is a path into JSON, and this reads hl7v2"),
        (JSON, "document: {a: =PID-3.1}", "JSON has no segments; write the path"),
        (JSON, "document: {a: =PID}", "JSON has no segments"),
        (JSON, "document: {a: yes}\n    when: =PID", "JSON has no segments"),
        (JSON, "document: {a: yes}\n    when: =PID-3", "JSON has no segments"),
        (JSON, "each: PATIENT\n    record: a\n    body: {b: =@.c}", "'PATIENT' is no list of JSON"),
        (JSON, "each: $.a[*]\n    record: a\n    body: {b: =@.c}", "is no list of JSON"),
        (JSON, "each: $.a\n    filter: {when: =@.b, as: qc}\n    record: a\n    body: {}", "leave values out by where"),
        (JSON.replace("json\nto", "[json, hl7v2/ORU_R01]\nto"), "document: {a: =$.id}", "one mapping reads one format"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_what_to_do(workshop: Workshop, head: str, steps: str, words: str) -> None:
    problems = workshop.problems(f"mapping: m\nformat: labrelay-mapping/1\n{head}steps:\n  - {steps}\n")
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize("text", ["$.", "$..a", "$.a[", "$.a[x]", "$.a['b]", "$['']", "$.a-", "$a", "$.a[-1]"])
def test_what_is_no_path_is_no_expression(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_expression(text)


def test_a_path_is_one_token() -> None:
    assert parse_expression("$.a['b c'][*].d") == TreePath(0, "$.a['b c'][*].d")


def test_a_route_asks_for_a_value() -> None:
    holds = compile_condition("=$.id == 'ord_7' and $.items[1].price < 50", "json", place="a.yaml:1:1")
    assert holds(parse(ORDER))
    assert not holds(parse(b'{"id": "ord_7"}'))
    assert not holds(parse(orjson.dumps([1])))
    with pytest.raises(ConfigError, match="JSON has no segments"):
        compile_condition("=MSH-9.1 == 'ORU'", "json", place="a.yaml:1:1")
