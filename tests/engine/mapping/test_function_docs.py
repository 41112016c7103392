"""The reference of functions has every function and table."""

from pathlib import Path

from engine.mapping.functions import FUNCTIONS
from engine.mapping.functions.code_maps import CODE_MAPS

CHECKOUT = Path(__file__).parents[3]


def test_the_page_has_what_the_code_declares() -> None:
    written = (CHECKOUT / "docs" / "mapping-functions.md").read_text(encoding="utf-8")
    assert all(f"### {name}\n" in written for name in FUNCTIONS)
    assert all(f"| `{name}` |" in written for name in CODE_MAPS)
