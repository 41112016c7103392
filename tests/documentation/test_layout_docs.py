"""docs/layouts.md: its example does what it says, and its tables know every key."""

import re
from pathlib import Path

import pytest

from adapters.codecs.text.framing import CHECKSUMS, wire
from adapters.codecs.text.layout import TextFormat
from adapters.codecs.text.layout_reader import read_layout
from adapters.codecs.text.layout_rules import ACTIONS, RULE_KEYS
from engine.config.yaml_nodes import read
from engine.model.message import FormatOptions

TEXT = (Path(__file__).parents[2] / "docs" / "layouts.md").read_text(encoding="utf-8")


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
    keys = {*RULE_KEYS, *ACTIONS, *CHECKSUMS}
    keys |= {"start", "end", "idle", "lines", "checksum", "answer", "replies", "between", "timeout", "covers", "place"}
    keys |= {"delimiter", "quote", "header", "key", "skip_lines", "optional", "ignore", "separator", "until", "ends"}
    keys |= {"take", "time", "words", "decimal", "required", "unread", "about", "evidence", "written", "check"}
    assert [key for key in sorted(keys) if f"`{key}`" not in TEXT and f"`{key}:" not in TEXT] == []
