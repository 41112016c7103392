"""The identity provider of a site, where it has one (``access: oidc:``); what of it each site needs.

The code of OpenID Connect (`engine.features.access.client`) is read with the first log-in there.
"""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from engine.features.access.config import AccessConfig
from engine.model.process.clock import Clock
from engine.store.journal import Journal

if TYPE_CHECKING:
    from engine.features.access.client.flow import Flow


class IdentityProvider:
    """Log-ins there, by the configuration in force."""

    def __init__(self, journal: Journal, clock: Clock, rules: Callable[[], AccessConfig]) -> None:
        self._journal = journal
        self._clock = clock
        self._rules = rules
        self._code: ModuleType | None = None
        self._flow: Flow | None = None

    @property
    def title(self) -> str:
        """What the link of the log-in page says; empty: there is no provider."""
        oidc = self._rules().oidc
        return oidc.title if oidc is not None else ""

    def knows(self, issuer: str) -> bool:
        """Whether a user of this issuer may be here; one with a password of ours (empty) always."""
        oidc = self._rules().oidc
        return not issuer or (oidc is not None and oidc.issuer == issuer)

    async def flow(self, log_in: str, log_out: str) -> "Flow | None":
        """Log-ins at the provider; None: there is none. The arguments: where it sends browsers back to."""
        oidc = self._rules().oidc
        if oidc is None:
            return None
        if self._code is None:
            self._code = await asyncio.to_thread(_load)
        ways = self._code.Ways(log_in, log_out)
        if self._flow is None or self._flow.config != oidc or self._flow.ways != ways:
            self._flow = self._code.Flow(oidc, ways, self._journal.vault, self._clock)
        return self._flow


def _load() -> ModuleType:
    from engine.features.access.client import flow

    return flow
