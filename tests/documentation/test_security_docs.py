"""docs/security.md: each test that it names is there."""

import ast
import re

from tests.documentation.test_docs import CHECKOUT


def test_each_attack_has_a_test_that_exists() -> None:
    text = (CHECKOUT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \|$", text.split("## OWASP")[0], re.MULTILINE)
    attacks = [row for row in rows if row != "| attack | defence | test |"]
    assert len(attacks) > 20
    assert [row for row in attacks if "`test_" not in row] == []
    there = {
        node.name
        for folder in ("adapters", "engine", "faults")
        for path in (CHECKOUT / "tests" / folder).rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert set(re.findall(r"`(test_\w+)`", text)) - there == set()


def test_each_line_of_the_requirements_names_its_test() -> None:
    text = (CHECKOUT / "docs" / "security.md").read_text(encoding="utf-8").split("## OWASP")[1]
    rows = [row for row in re.findall(r"^\| .* \|$", text, re.MULTILINE) if not row.endswith("| test |")]
    assert [row for row in rows if "`test_" not in row] == []
    assert {row.split("|")[1].strip() for row in rows} >= {
        "brute force",
        "session fixation",
        "CSRF",
        "access to an object of another role",
        "SSRF",
        "open redirect",
        "header injection",
        "host header",
        "request smuggling",
        "oversized forms",
    }
