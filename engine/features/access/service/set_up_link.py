"""The set-up link: how the first admin comes in. There is no default password.

The link is random, works once and for 15 minutes, and only while there is no user. It is in a file of the data folder
that only the daemon's user and root can read, never in a log or in the journal; this process has a hash of it.
"""

import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path

from engine.features.access.rules.accounts import User, hashed, shown_name
from engine.features.access.service.users import Directory, Users
from engine.model.errors import LogInError
from engine.model.process.clock import Clock
from engine.model.site.actor import Actor
from engine.model.texts.phrases import R_

FILE_NAME = "set-up-link"  # in the data folder
LASTS_S = 15 * 60
PAGE = "/set-up"
GONE = R_("this link has been used, or is older than 15 minutes; start LabRelay again, or give labrelay user add")


class SetUpLink:
    """Makes the link, and lets the first admin in by it."""

    def __init__(self, directory: Directory, users: Users, clock: Clock) -> None:
        self._directory = directory
        self._users = users
        self._clock = clock
        self._path: Path = directory.journal.path.with_name(FILE_NAME)
        self._token = b""
        self._until_us = 0
        self._timer: asyncio.TimerHandle | None = None

    async def offer(self, base: str) -> str:
        """Make a link, and write it to the file; return it. Empty: there is a user already.

        Args:
            base: where the page is, ``http://127.0.0.1:8080``.

        Raises:
            OSError: the file cannot be written.
        """
        self.withdraw()
        if (await self._directory.known()).users:
            return ""
        secret = secrets.token_urlsafe(32)
        link = f"{base.rstrip('/')}{PAGE}?code={secret}"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{link}\n")
        self._token, self._until_us = hashed(secret), self._clock.now_us() + LASTS_S * 1_000_000
        self._timer = asyncio.get_running_loop().call_later(LASTS_S, self.withdraw)
        return link

    def withdraw(self) -> None:
        """End the link, and remove its file, also one that an earlier process left; a file that stays opens nothing."""
        self._token = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with suppress(OSError):
            self._path.unlink()

    def is_open(self, secret: str) -> bool:
        """Whether this is the secret of the link, and it still works."""
        right = secrets.compare_digest(self._token, hashed(secret))
        return right and self._clock.now_us() < self._until_us

    async def use(self, secret: str, name: str, password: str, *, address: str) -> User:
        """Make the first admin; the link ends. The admin logs in afterwards.

        Raises:
            LogInError: it is not the link, or it has ended.
            RefusedError: name or password are not allowed: the link stays.
        """
        if not self.is_open(secret):
            raise LogInError(GONE)
        actor = Actor(shown_name(name), role="admin", **{"from": address})
        user = await self._users.add(name, "admin", password, by=actor, first=True)
        self.withdraw()
        return user
