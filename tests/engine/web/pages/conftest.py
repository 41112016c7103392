"""People with an open browser on the site that a module has as `here`."""

from collections.abc import AsyncIterator

import pytest

from tests.support.access import Browser, Site


@pytest.fixture
async def operator(here: Site) -> AsyncIterator[Browser]:
    async with here.browser() as browser:
        assert (await browser.log_in("operator"))[0] == 200
        yield browser


@pytest.fixture
async def seer(here: Site) -> AsyncIterator[Browser]:
    async with here.browser() as browser:
        await browser.log_in("seer")
        yield browser
