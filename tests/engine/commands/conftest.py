"""A site with messages in every state."""

from pathlib import Path

import pytest

from tests.support.filled_journal import fill_journal
from tests.support.sites import make_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = make_site(tmp_path)
    fill_journal(folder / "var")
    return folder
