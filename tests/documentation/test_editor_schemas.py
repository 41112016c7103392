"""config/schema/*.json: right about everything that ships, and wrong about nothing that is right.

Documents are looked at twice: with every scalar as its text, as LabRelay reads them, and with numbers and booleans, as
an editor does.
"""

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.codecs.text import layout_reader
from engine.mapping.language import rules, targets
from engine.mapping.language.rule_files import IDENTITY_KEYS
from engine.mapping.trying import testing
from tests.documentation.test_docs import EXAMPLES
from tests.support.json_schema import marks

CHECKOUT = Path(__file__).parents[2]
FILES = {
    "channel.json": [*CHECKOUT.glob("channels/*.yaml"), *CHECKOUT.glob("analyzers/*/channel.yaml")],
    "site.json": [CHECKOUT / "config/labrelay.yaml"],
    "pack.json": list(CHECKOUT.glob("analyzers/*/pack.yaml")),
    "layout.json": [*CHECKOUT.glob("layouts/*.yaml"), *CHECKOUT.glob("analyzers/*/layout.yaml")],
    "mapping.json": list(CHECKOUT.glob("mappings/*.yaml")),
    "test.json": [*CHECKOUT.glob("mappings/tests/*.yaml"), *CHECKOUT.glob("analyzers/*/tests/*.yaml")],
}
SHIPPED = [(name, path) for name, paths in FILES.items() for path in sorted(paths)]


@cache
def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHECKOUT / "config/schema" / name).read_text(encoding="utf-8"))
    return loaded


def marked(name: str, text: str) -> list[str]:
    """What an editor would mark, whichever way it reads scalars."""
    # libyaml, as LabRelay: the parser in Python takes `[code, device?]` for something else.
    as_text = marks(schema(name), yaml.load(text, Loader=yaml.CBaseLoader))
    return as_text + marks(schema(name), yaml.load(text, Loader=yaml.CSafeLoader))


@pytest.mark.parametrize(("name", "path"), SHIPPED, ids=[str(path.relative_to(CHECKOUT)) for _, path in SHIPPED])
def test_nothing_that_ships_is_marked(name: str, path: Path) -> None:
    assert marked(name, path.read_text(encoding="utf-8")) == []


def test_no_example_of_the_documents_is_marked() -> None:
    seen = 0
    for page, examples in EXAMPLES.items():
        for file, text in examples:
            name = "channel.json" if file.startswith("channels/") else "site.json"
            if file.startswith(("channels/", "config/")):
                seen += 1
                assert marked(name, text) == [], f"{page}: {file}"
    assert seen > 5


SITE = "site: {name: Lab, timezone: Asia/Kolkata}\n"
CHANNEL = 'channel: a\nsource: {kind: mllp, listen: "127.0.0.1:2575"}\nroutes: [{to: x}]\n'
MAPPING = "mapping: m\nformat: labrelay-mapping/1\nfrom: hl7v2/ORU_R01\nsteps:\n  - create: Patient\n    body: {BODY}\n"
LAYOUT = 'layout: l\ntext: {as: lines}\nrules:\n  - {line: "(?P<a>.*)", new: R, set: {R-4: "{a}"}}\n'

TEST = "test: t\nmapping: m\nsettings: {timezone: UTC}\ngiven: MSH|x\nexpect: {counts: {Patient: 1}, issues: []}\n"

RIGHT = [
    ("site.json", SITE + "limits: {receive_memory: 64MiB}\n"),
    ("site.json", SITE + 'destinations: {a: {kind: fhir, url: "${URL}", auth: {bearer: {token: "${T}"}}}}\n'),
    ("site.json", "site: {name: 12}\nweb: {enabled: false}\n"),
    ("channel.json", CHANNEL),
    ("channel.json", CHANNEL + "enabled: ${ON}\nrepeat_window: 1h30m\ncharset: [utf-8, cp1252]\n"),
    ("channel.json", CHANNEL.replace("kind: mllp", "kind: mllp, format: astm")),
    ("channel.json", CHANNEL.replace("kind: mllp", "transport: tcp, link: e1381")),
    ("channel.json", CHANNEL.replace('listen: "127.0.0.1:2575"', 'tee: {listen: "0.0.0.0:1", connect: "10.0.0.1:2"}')),
    ("channel.json", CHANNEL.replace("kind: mllp, listen", 'kind: astm-serial, bytesize: "7", device')),
    ("channel.json", CHANNEL.replace("{to: x}", '{to: x, mapping: m, hold: "=value < 7"}')),
    ("channel.json", CHANNEL.replace("{to: x}", "{to: x, mapping: m, hold: [=flags, {when: =low, reason: r}]}")),
    ("mapping.json", MAPPING.replace("BODY", "active: true, name: =xpn(PID-5), gender: male")),
    ("mapping.json", MAPPING.replace("BODY", "$use: person, _birthDate: {extension: []}")),
    ("mapping.json", "mapping-library: lab\nformat: labrelay-mapping/1\nfragments: {a: {takes: [x], body: {y: =x}}}\n"),
    ("layout.json", LAYOUT),
    ("test.json", TEST),
    (
        "test.json",
        f"- {TEST.replace(chr(10), chr(10) + '  ').rstrip()}\n- {{file: a.hl7, expect: {{dead: NO_PATIENT}}}}\n",
    ),
    ("test.json", TEST + "hold: =value < 7\nearlier: {718-7: '10.2'}\n"),
]
WRONG = [
    ("site.json", SITE + "limts: {}\n", ".limts: not allowed"),
    ("site.json", "site: {timezone: Asia/Kolkata}\n", ".site.name: is missing"),
    ("site.json", SITE + "destinations: {a: {kind: ftp}}\n", ".destinations.a.kind: none of"),
    ("site.json", SITE + "destinations: {a: {kind: file, folder: x, url: y}}\n", ".destinations.a.url: not allowed"),
    ("site.json", SITE + "destinations: {a: {kind: fhir, url: http://x, auth: {bearer: {token: x}}}}\n", ".token: not"),
    ("channel.json", CHANNEL + "colour: red\n", ".colour: not allowed"),
    ("channel.json", CHANNEL.replace(":2575", ""), ".source.listen: not of the form"),
    ("channel.json", CHANNEL.replace("kind: mllp", "kind: mlp"), ".source.kind: none of"),
    ("channel.json", CHANNEL.replace("kind: mllp", "kind: mllp, checksum: warn"), ".source.checksum: not allowed"),
    ("channel.json", CHANNEL + "repeat_window: 30\n", ".repeat_window"),
    ("channel.json", CHANNEL.replace("{to: x}", "{to: x, order: chanel}"), ".routes[0].order: fits none"),
    ("channel.json", CHANNEL.replace("{to: x}", "{to: x, hold: value}"), ".routes[0].hold: fits none"),
    ("channel.json", "channel: a\nroutes: [{to: x}]\n", ".source: is missing"),
    ("mapping.json", MAPPING.replace("BODY", "nmae: x"), ".steps[0].body.nmae: not allowed"),
    ("mapping.json", MAPPING.replace("BODY", "gender: m"), ".steps[0].body.gender: fits none"),
    ("mapping.json", MAPPING.replace("hl7v2/ORU_R01", "hl7v2/ORU_R99"), ".from: fits none"),
    ("mapping.json", MAPPING.replace("create: Patient", "creat: Patient"), ".steps[0].creat: not allowed"),
    ("layout.json", LAYOUT.replace("new: R", "news: R"), ".rules[0].news: not allowed"),
    ("test.json", TEST.replace("given", "givn"), ".givn: not allowed"),
    ("test.json", TEST.replace("counts", "count"), ".expect.count: not allowed"),
    ("test.json", TEST.replace("expect", "expects"), ".expect: is missing"),
    ("test.json", TEST.replace("given: MSH|x\n", ""), "fits none"),
    ("test.json", "given: x\nexpect: {dead: NO_REASON}\n", ".expect.dead: none of"),
    ("test.json", TEST + "controls: {HGB: good}\n", ".controls.HGB: none of"),
    ("layout.json", LAYOUT.replace("R-4", "X-4"), ".rules[0].set.X-4 (key): not of the form"),
]


@pytest.mark.parametrize(("name", "text"), RIGHT)
def test_what_is_right_is_not_marked(name: str, text: str) -> None:
    assert marked(name, text) == []


@pytest.mark.parametrize(("name", "text", "says"), WRONG)
def test_slips_are_marked_where_they_are(name: str, text: str, says: str) -> None:
    found = marks(schema(name), yaml.safe_load(text))
    assert any(says in one for one in found), found


def test_every_key_says_what_it_means() -> None:
    """What an editor shows where somebody points at a key; a key alone is told by the list of its values."""
    keys = 0
    for name in FILES:
        whole = schema(name)
        for path, inner in _properties(whole, name):
            target = whole.get("definitions", {}).get(inner.get("$ref", "").removeprefix("#/definitions/"), {})
            keys += 1
            described = inner.keys() == {"const"} or inner.get("description") or target.get("description")
            assert described, f"{path}: give the key a description, of its field in engine/config or in tools/schemas/"
    assert keys > 1000


def _properties(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key that a schema describes, with what it says of it."""
    if isinstance(value, list):
        for inner in value:
            yield from _properties(inner, path)
    elif isinstance(value, dict):
        for name, inner in value.get("properties", {}).items():
            yield f"{path}.{name}", inner
            yield from _properties(inner, f"{path}.{name}")
        for name, inner in value.items():
            if name != "properties":
                yield from _properties(inner, path)


def test_the_keys_of_layouts_are_those_that_are_read() -> None:
    """They are read by hand: the names in the reader's calls are the names of the schema."""
    read = set(layout_reader.RULE_KEYS).union(*layout_reader.TEXT_KEYS.values())
    for module in (layout_reader, layout_reader):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "block":
                read |= {one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    assert _names(schema("layout.json")) == read, "describe each key in tools/schemas/layout.yaml, then run make docs"


def test_the_keys_of_mappings_and_of_their_tests_are_those_that_are_read() -> None:
    mapping = schema("mapping.json")["else"]["properties"]
    test = schema("test.json")["definitions"]["test"]["properties"]
    assert mapping["csv"]["properties"].keys() == set(targets._CSV_KEYS)
    assert mapping["identity"]["properties"].keys() == set(IDENTITY_KEYS)
    assert mapping["policies"]["properties"].keys() == rules.POLICIES.keys()
    assert mapping["results"]["anyOf"][1]["properties"].keys() == set(targets.RESULT_KEYS)
    assert test.keys() == set(testing.KEYS)
    assert test["expect"]["properties"].keys() == set(testing.EXPECT_KEYS)


def _names(value: Any) -> set[str]:
    """Every name of a property that a schema knows."""
    if isinstance(value, list):
        return set().union(*map(_names, value))
    if not isinstance(value, dict):
        return set()
    found = set(value.get("properties", {}))
    return found.union(*(_names(inner) for inner in value.values()))
