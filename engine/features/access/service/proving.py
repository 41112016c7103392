"""Prove who is there: a password or a code is looked at in turn, and refusals are counted and delay the next one.

A name that is no user's costs as much work and is delayed as a user's. A browser that a user has logged in from counts
by itself, so refusals elsewhere do not keep this user out of it; sessions go on in any case. Such a browser has a place
of its own, too, and waits behind one unknown log-in at most.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import NoReturn

from engine.features.access.rows import reading as accounts
from engine.features.access.rows import sessions
from engine.features.access.rows.sessions import Origin
from engine.features.access.rules.accounts import (
    FREE_OF_ADDRESS,
    FREE_OF_USER,
    LONGEST_DELAY_US,
    Device,
    User,
    name_key,
    network_of,
)
from engine.features.access.service import passwords
from engine.features.access.service.directory import Directory
from engine.model.errors import BusyError, LockedOutError, LogInError
from engine.model.process.clock import Clock
from engine.model.site.actor import Actor
from engine.model.texts.phrases import R_

MOST_WAITING = 20  # log-ins, of those known and of others each; one takes some 30 ms
MOST_OF_ONE = 4  # of them from one address, or one known browser
BUSY_US = 5_000_000
WRONG = R_("the name, the password or the code is wrong")
NOTED_EVERY_US = 60_000_000
_LONGEST_NAME = 200  # characters of a typed name that count


class Prover:
    """Looks at passwords and codes, and counts refusals."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._waiting: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}  # known or not -> who waits
        self._unknown = asyncio.Lock()
        self._unseen: Counter[int] = Counter()  # user -> refused without a look, not in the store yet
        self._noted_us = -NOTED_EVERY_US

    @asynccontextmanager
    async def turn(self, address: str, known: str = "") -> AsyncIterator[None]:
        """Wait for the ones before; those known come before the others.

        Args:
            known: the session of the sender, or the browser that this user has logged in from; empty: neither.

        Raises:
            BusyError: too many wait.
        """
        waiting, one = self._waiting[bool(known)], known or network_of(address)
        if waiting.total() >= MOST_WAITING or waiting[one] >= MOST_OF_ONE:
            raise BusyError(R_("many log in at this moment; try again in a few seconds"), self.now_us() + BUSY_US)
        waiting[one] += 1
        try:
            async with nullcontext() if known else self._unknown, self._directory.changing:
                yield
        finally:
            waiting[one] -= 1
            if not waiting[one]:
                del waiting[one]

    def now_us(self) -> int:
        return self._clock.now_us()

    def origins(self, user: User | None, name: str, address: str, device: Device | None) -> list[Origin]:
        """What a refusal of this log-in is counted by.

        Args:
            device: the browser, where this user has logged in from it.
        """
        token = self._directory.journal.vault.log_in_token
        if user is not None and device is not None:
            return [Origin(token("device", str(device.number)), user.id, FREE_OF_USER)]
        by_name = (
            Origin(token("user", str(user.id)), user.id, FREE_OF_USER)
            if user is not None
            else Origin(token("name", name_key(name[:_LONGEST_NAME])), 0, FREE_OF_USER)
        )
        return [by_name, *self.origins_of_address(address)]

    def origins_of_address(self, address: str) -> list[Origin]:
        """What a refusal is counted by where no name was given: what is tried elsewhere does not count."""
        token = self._directory.journal.vault.log_in_token("address", network_of(address))
        return [Origin(token, 0, FREE_OF_ADDRESS)]

    def origins_in_session(self, user: User, number: int) -> list[Origin]:
        """What a refusal is counted by where a session asks for the password again: refusals elsewhere do not count."""
        return [Origin(self._directory.journal.vault.log_in_token("session", str(number)), user.id, FREE_OF_USER)]

    async def raise_if_locked(self, user: User | None, origins: Sequence[Origin]) -> None:
        """Refuse without a look while the delay lasts.

        Raises:
            LockedOutError: it does.
        """
        tokens = [origin.token for origin in origins]
        until_us = await asyncio.to_thread(accounts.locked_until_us, self._directory.journal, tokens)
        if 0 < (left_us := until_us - self.now_us()) <= LONGEST_DELAY_US:
            self._unseen[user.id if user else 0] += 1
            minutes = -(-left_us // 60_000_000)
            raise LockedOutError(f"too many wrong log-ins; the next one is looked at in {minutes} min", until_us)

    async def is_right(self, encoded: str, secret: str) -> bool:
        return await asyncio.to_thread(passwords.matches, encoded, secret)

    def unseen(self, user: User) -> int:
        """Refusals that the store has not counted; from here on the caller has."""
        return self._unseen.pop(user.id, 0)

    async def note(self, address: str) -> None:
        """Count a refusal of what tried nothing: it delays no log-in, and is stored at most once a minute."""
        now_us = self.now_us()
        if 0 <= now_us - self._noted_us < NOTED_EVERY_US:
            self._unseen[0] += 1
            return
        self._noted_us = now_us
        with suppress(LogInError):
            await self.refuse(None, address)

    async def refuse(
        self, user: User | None, address: str, origins: Sequence[Origin] = (), text: str = WRONG
    ) -> NoReturn:
        """Count the refusal.

        Raises:
            LogInError: always.
        """
        number, name = (user.id, user.name) if user is not None else (0, "")
        times = 1 + self._unseen.pop(number, 0)
        actor = Actor("unknown", **{"from": address})
        await self._directory.journal.run(sessions.refuse, number, name, actor, origins, times)
        raise LogInError(text)
