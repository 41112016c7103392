"""What is generated is what the code says now: schemas for editors, tables of HL7 v2, catalogues."""

import pytest

from tools import generate


def test_nothing_that_is_generated_is_stale() -> None:
    stale = sorted(generate.outdated())
    if stale:
        pytest.fail(f"run make docs: {', '.join(stale)}", pytrace=False)
