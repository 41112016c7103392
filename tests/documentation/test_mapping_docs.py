"""The first mapping of docs/mapping.md maps its message as its test says."""

import re
from pathlib import Path

import pytest

from engine.mapping.trying.testing import Runner, read_tests
from tests.support.repository import write

CHECKOUT = Path(__file__).parents[2]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


@pytest.fixture
def mappings(tmp_path: Path) -> Path:
    """The `mappings` folder of the page: its files, and the first table of codes."""
    blocks = BLOCK.findall((CHECKOUT / "docs" / "mapping.md").read_text("utf-8"))
    files = {found[1]: text for _, text in blocks if (found := re.match(r"# (mappings/\S+)", text))}
    files["mappings/tables/urine.csv"] = next(text for language, text in blocks if language == "csv")
    write(tmp_path, files)
    return tmp_path / "mappings"


def test_the_first_mapping_of_the_page_passes_its_test(mappings: Path) -> None:
    (test,) = read_tests(mappings / "tests" / "urine.yaml")
    outcome = Runner().run(test, [mappings, CHECKOUT / "mappings"])

    assert outcome.failures == []
    assert outcome.program is not None
