"""What holds for every test: nothing from the developer's environment, and no skip that nobody knows of in CI."""

import os

import hypothesis
import pytest

from tests.support.skips import SkipGuard

# No deadline: it measures the machine, and a busy one makes good tests fail. Each test bounds its examples instead.
hypothesis.settings.register_profile("labrelay", deadline=None, print_blob=True)
hypothesis.settings.load_profile("labrelay")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(SkipGuard(), "skip-guard")


@pytest.fixture(autouse=True)
def no_site_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site and credentials of whoever runs the tests are not the tests'."""
    for name in ("LABRELAY_SITE", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"):
        monkeypatch.delenv(name, raising=False)
