"""The reference of functions says what the code declares."""

import importlib.util
from pathlib import Path

from engine.mapping.functions import FUNCTIONS
from engine.mapping.functions.code_maps import CODE_MAPS

CHECKOUT = Path(__file__).parents[3]


def test_the_page_is_what_the_code_declares() -> None:
    spec = importlib.util.spec_from_file_location("generate", CHECKOUT / "tools" / "generate_function_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (CHECKOUT / "docs" / "mapping-functions.md").read_text(encoding="utf-8")
    assert written == module.page(), "renew it with: python tools/generate_function_docs.py"
    assert all(f"### {name}\n" in written for name in FUNCTIONS)
    assert all(f"| `{name}` |" in written for name in CODE_MAPS)
