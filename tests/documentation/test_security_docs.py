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
        for folder in ("adapters", "engine")
        for path in (CHECKOUT / "tests" / folder).rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert set(re.findall(r"`(test_\w+)`", text)) - there == set()
