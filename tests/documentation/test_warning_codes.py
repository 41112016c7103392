"""Every code of a warning is declared with its sentence, and each that is declared is given somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

from engine.model.tables import table_lines
from engine.model.texts import reasons
from tests.support.packages import PACKAGES

CHECKOUT = Path(__file__).parents[2]
GIVEN = (
    re.compile(r"\b_?(?:warn\(|note\(|moved\(run, row, fields,)\s*\"([\w-]+)\""),
    re.compile(r"\bIssue\(\s*code=\"([\w-]+)\""),
    re.compile(r"^WARNING = \"([\w-]+)\"", re.MULTILINE),
    re.compile(r"^    \"(NOT_PRODUCTION): marked as", re.MULTILINE),  # `labrelay map`
    re.compile(r"code, text = \(name, words.strip\(\)\) if known else \(\"(RULE)\""),
    re.compile(r"\bwarn: \"?([A-Z_]+):"),
    re.compile(r"\b_moved\(run, row, .*\"([A-Z_]+)\""),
)


def given() -> Iterator[str]:
    """The codes in the code and in shipped mappings."""
    for folder, kind in (*((package, "py") for package in PACKAGES), ("mappings", "yaml")):
        for path in (CHECKOUT / folder).rglob(f"*.{kind}"):
            text = path.read_text(encoding="utf-8")
            yield from (code for form in GIVEN for code in form.findall(text))


def test_the_list_of_warnings_is_whole() -> None:
    declared = [line.partition(": ")[0] for line in table_lines(reasons.__file__, "warning_codes.txt")]
    assert len(declared) == len(set(declared))
    assert set(declared) ^ set(given()) == set()
