"""Both ways of a request over HTTP."""

import pytest

from adapters.clients.http import exchange


@pytest.fixture(params=["posts", "client"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A POST goes through `adapters.clients.http.posts`, as most do, or through the library's client."""
    if request.param == "client":
        monkeypatch.setattr(exchange, "MOST_POSTED_BYTES", -1)
    return str(request.param)
