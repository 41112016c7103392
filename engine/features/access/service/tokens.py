"""Tokens of programs, with a scope and an end; and of wall screens, which only watch and have none."""

import secrets
from collections.abc import Sequence, Set

from engine.features.access.rows import tokens
from engine.features.access.rules.accounts import ApiToken, hashed, shown_name
from engine.features.access.service.users import Directory
from engine.model.errors import RefusedError
from engine.model.process.clock import Clock
from engine.model.site.actor import Actor
from engine.model.site.permissions import OF_UNITS, WATCHING, Permission
from engine.model.texts.phrases import R_

PREFIX = "labrelay_"  # a search for secrets that were left in files finds it
LONGEST_US = 366 * 86_400_000_000


class Tokens:
    """Makes, lists and revokes tokens."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def create(
        self, name: str, permissions: Set[Permission], *, ends_us: int, by: str, units: Sequence[str] = ()
    ) -> str:
        """Make a token; return its secret, which is shown once and not stored.

        Args:
            ends_us: at most a year ahead; 0: no end, for a token that only watches.
            by: who makes it, an `Actor`.

        Raises:
            RefusedError: the name is taken or cannot be used, or the end is not allowed.
        """
        now_us = self._clock.now_us()
        if units and not permissions <= OF_UNITS:
            raise RefusedError("a token of a unit may watch, look, act and see patients, and no more")
        if not permissions:
            raise RefusedError(R_("a token needs at least one permission"))
        if not ends_us and permissions != WATCHING:
            raise RefusedError(R_("only the token of a wall screen has no end; give one, at most a year ahead"))
        if ends_us and not now_us < ends_us <= now_us + LONGEST_US:
            raise RefusedError(R_("a token ends in the future, at most a year ahead"))
        secret = PREFIX + secrets.token_urlsafe(32)
        new = ApiToken(
            name=shown_name(name),
            token=hashed(secret),
            permissions=frozenset(permissions | WATCHING),
            made_by=str(by),
            created_us=now_us,
            ends_us=ends_us,
            used_us=0,
            used_from="",
            units=tuple(units),
        )
        await self._directory.run(tokens.add, new, by)
        return secret

    async def exchange(self, secret: str, *, address: str) -> str:
        """Another secret for the token of a wall screen; this one, which was in a link, ends. Empty: it is none."""
        found = (await self._directory.known()).tokens.get(hashed(secret))
        if found is None or found.permissions != WATCHING or 0 < found.ends_us <= self._clock.now_us():
            return ""
        new = PREFIX + secrets.token_urlsafe(32)
        actor = Actor(f"token:{found.name}", role="token", **{"from": address})
        done = await self._directory.run(tokens.exchange, found.name, found.token, hashed(new), actor)
        return new if done else ""

    async def list(self) -> list[ApiToken]:
        """All tokens by name, also those that have ended."""
        return list((await self._directory.known()).tokens.values())

    async def revoke(self, name: str, *, by: str) -> None:
        """End a token at once.

        Raises:
            LabRelayError: there is none of that name.
        """
        await self._directory.run(tokens.revoke, name, by)
