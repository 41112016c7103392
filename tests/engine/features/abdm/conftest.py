"""One site for the tests that search all of it."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.abdm_history import Searched, searched_site
from tests.support.abdm_site import SECRET
from workbench.abdm import Settings


@pytest.fixture
async def searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Searched]:
    """A site whose log is kept whole, beside a simulator of ABDM."""
    monkeypatch.setenv(SECRET, Settings().secret)
    caplog.set_level(logging.DEBUG)
    async with searched_site(tmp_path) as place:
        yield place
