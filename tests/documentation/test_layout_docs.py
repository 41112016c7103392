"""docs/layouts.md: its examples do what it says, and every key of a layout is described."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.codecs.text.framing import CHECKSUMS, wire
from adapters.codecs.text.layout import TextFormat
from adapters.codecs.text.layout_reader import ACTIONS, RULE_KEYS, read_layout
from engine.config.reading.yaml_nodes import read
from engine.model.message import FormatOptions

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docs" / "layouts.md").read_text(encoding="utf-8")
SCHEMA = json.loads((CHECKOUT / "config" / "schema" / "layout.json").read_text(encoding="utf-8"))


LAYOUTS = re.findall(r"```yaml example\n(.*?)```", TEXT, re.DOTALL)
TEXTS = re.findall(r"```text example\n(.*?)```", TEXT, re.DOTALL)  # what is sent, and the records that it becomes


@pytest.mark.parametrize("number", range(len(LAYOUTS)))
def test_each_example_is_read_as_the_page_says(number: int) -> None:
    layout, (sent, records) = LAYOUTS[number], TEXTS[2 * number : 2 * number + 2]
    reads = TextFormat(read_layout(read(layout, "example.yaml")))
    found: list[str] = []
    for text in reads.split(wire(sent.replace("\n", ""))):
        parsed = reads.parse(text, FormatOptions())
        assert parsed.warnings == []
        lines = ["|".join(segment.fields[1:]) for segment in parsed.segments]
        found = [*found[:-1], *lines[1:]] if found else lines  # one after the other, as if they were one message

    assert len(TEXTS) == 2 * len(LAYOUTS) > 0
    assert found == records.splitlines()


def test_every_key_is_described() -> None:
    """Where `labrelay help layouts` and editors read it."""
    keys = {*RULE_KEYS, *ACTIONS}
    keys |= {"start", "end", "idle", "lines", "checksum", "answer", "replies", "between", "timeout", "covers", "place"}
    keys |= {"delimiter", "quote", "header", "key", "skip_lines", "optional", "ignore", "separator", "until", "ends"}
    keys |= {"take", "time", "words", "decimal", "required", "unread", "about", "evidence", "written", "check"}
    described = dict(_described(SCHEMA))
    assert [key for key in sorted(keys) if not described.get(key)] == []
    assert [kind for kind in CHECKSUMS if kind not in described["kind"]] == []


def _described(node: Any) -> Iterator[tuple[str, str]]:
    """Every key that a schema knows, with its description."""
    for inner in node if isinstance(node, list) else node.values() if isinstance(node, dict) else ():
        yield from _described(inner)
    if isinstance(node, dict) and isinstance(node.get("properties"), dict):
        yield from ((key, one.get("description", "")) for key, one in node["properties"].items())
