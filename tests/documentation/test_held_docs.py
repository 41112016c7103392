"""The examples of docs/held.md are right: its rules compile with its tables, and its tests are tests."""

import re
from pathlib import Path

import yaml

from engine.config.reading.yaml_nodes import Node
from engine.mapping.hold_rules.rules import RuleText, compile_holding
from engine.mapping.trying.testing import read_tests

PAGE = Path(__file__).parents[2] / "docs/held.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`(=[^=`][^`]*)`")


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(PAGE.read_text("utf-8")) if name == language]


def with_tables(folder: Path) -> Path:
    """A `mappings` folder with the tables of the page."""
    for text in blocks("csv"):
        found = re.match(r"# mappings/(tables/\w+\.csv)", text)
        assert found is not None
        path = folder / found[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def rule(text: str) -> RuleText:
    return RuleText(Node(kind="scalar", file="held.md", line=1, column=1, value=text))


def test_the_rules_of_the_page_are_rules(tmp_path: Path) -> None:
    search = [with_tables(tmp_path)]
    (routes,) = [yaml.safe_load(text)["routes"] for text in blocks("yaml") if text.startswith("routes:")]
    given = [one if isinstance(one, str) else one["when"] for one in routes[0]["hold"]]
    made = compile_holding([rule(text) for text in given], "astm", "fhir/R4", search)
    assert len(made.rules) == 6

    prose = BLOCK.sub("", PAGE.read_text("utf-8"))
    inline = [text.replace("\\|", "|") for text in INLINE.findall(prose)]
    assert len(compile_holding([rule(text) for text in inline], "hl7v2", "fhir/R4", search).rules) >= 5


def test_the_test_of_the_page_is_a_test(tmp_path: Path) -> None:
    (text,) = [text for text in blocks("yaml") if "expect:" in text]
    (tmp_path / "held.yaml").write_text(text)
    (tmp_path / "hgb-14.8.hl7").write_bytes(b"MSH|")
    (one,) = read_tests(tmp_path / "held.yaml")
    assert one.name == "a jump of haemoglobin is held"
