"""A page whose people log in at an identity provider on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.config.reading.secrets import Secret
from engine.config.web import WebConfig
from engine.features.access.config import AccessConfig, OidcConfig
from engine.model.texts.units import HostPort
from tests.support import identity_provider
from tests.support.access import Browser, Site, site
from tests.support.identity_provider import CLIENT, Provider
from tests.support.ports import quiet_ports
from tests.support.status_server import Element

GROUPS = {"lab": "operator", "lab-admins": "admin"}


class Place:
    """A page with a provider."""

    def __init__(self, site: Site, provider: Provider) -> None:
        self.site = site
        self.provider = provider

    def rule(self, **more: Any) -> None:
        """The configuration in force from now on."""
        given = {"issuer": self.provider.issuer, "client_id": CLIENT, "client_secret": Secret("OIDC"), "roles": GROUPS}
        rules = AccessConfig(oidc=OidcConfig(**{**given, "see_patients": ("doctors",), **more}))
        self.site.accounts._rules = self.site.accounts.provider._rules = lambda: rules

    async def log_in(self, browser: Browser, to: str = "/messages") -> tuple[int, Element]:
        """From our page to the provider, and back; the page where it ends."""
        async with browser.client.get("/log-in/oidc", params={"next": to}, allow_redirects=False) as answer:
            if answer.status != 303:
                return answer.status, (await browser.get("/log-in/oidc"))[1]
            address = answer.headers["Location"]
        return await browser.get(self.provider.approve(address))


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    (port,) = quiet_ports(1)
    config = WebConfig(listen=HostPort("127.0.0.1", port))
    async with site(folder, config=config) as here, identity_provider.running(here.clock) as provider:
        made = Place(here, provider)
        made.rule()
        yield made
