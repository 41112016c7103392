"""An admin's acts on users.

A user's acts on the own account: password, PIN, second factor, language. Each one but the last asks for the password
again.

Prove who is there: a password or a code is looked at in turn, and refusals are counted and delay the next one.

A name that is no user's costs as much work and is delayed as a user's. A browser that a user has logged in from counts
by itself, so refusals elsewhere do not keep this user out of it; sessions go on in any case. Such a browser has a place
of its own, too, and waits behind one unknown log-in at most.

All accounts in memory, so that a request costs no query. Each change drops them; the next request reads them.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Concatenate, NoReturn, ParamSpec, TypeVar

from engine.features.access.rows import reading as accounts
from engine.features.access.rows import sessions, users
from engine.features.access.rows.sessions import Origin
from engine.features.access.rules.accounts import (
    FREE_OF_ADDRESS,
    FREE_OF_USER,
    LONGEST_DELAY_US,
    Credentials,
    Device,
    Known,
    User,
    hashed,
    name_key,
    network_of,
    shown_name,
)
from engine.features.access.service import passwords, second_factor
from engine.model.errors import BusyError, LabRelayError, LockedOutError, LogInError, RefusedError, StoreError
from engine.model.process.clock import Clock
from engine.model.site.actor import Actor
from engine.model.site.permissions import ROLE, ROLES
from engine.model.texts.phrases import R_
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal

T = TypeVar("T")
P = ParamSpec("P")


class Directory:
    """The accounts of one journal, for the one process that writes it.

    Attributes:
        changing: held by those who change what they have read: a log-in, new credentials.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.changing = asyncio.Lock()
        self._known: Known | None = None
        self._changes = 0
        self._reading = asyncio.Lock()

    async def known(self) -> Known:
        """The accounts after the last change.

        Raises:
            StoreError: they cannot be read.
        """
        while (found := self._known) is None:
            async with self._reading:
                changes = self._changes
                if self._known is None:
                    read = await asyncio.to_thread(accounts.known, self.journal)
                    if changes == self._changes:
                        self._known = read
        return found

    async def run(self, operation: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that changes accounts; when it is done, every request sees the change, also where its caller
        has stopped waiting.
        """
        done = self.journal.run(operation, *args, **kwargs)
        done.add_done_callback(self._drop)
        return await asyncio.shield(done)

    def _drop(self, done: "asyncio.Future[T]") -> None:
        self._changes += 1
        self._known = None

    def note(self, operation: Callable[Concatenate[Batch, P], None], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run an operation that only notes a time; neither a wait nor an error for the caller."""
        with suppress(StoreError):
            self.journal.run(operation, *args, **kwargs).add_done_callback(_ignore)


def _ignore(done: "asyncio.Future[None]") -> None:
    if not done.cancelled():
        done.exception()


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


class Users:
    """Adds, changes and removes users. ``by`` is who acts, an `Actor`.

    Each method raises LabRelayError where there is no user of that name, RefusedError where a rule is against it: the
    password is weak, the role is unknown, or it is the last admin.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def add(
        self,
        name: str,
        role: str,
        password: str,
        *,
        by: str,
        sees_patients: bool = False,
        first: bool = False,
        given: bool = False,
    ) -> User:
        """Add a user.

        Args:
            first: only while there is none.
            given: another person chose the password (`Credentials.given`).
        """
        shown = shown_name(name)
        _raise_if_unknown(role)
        passwords.raise_if_weak(password, shown)
        async with self._directory.changing:
            encoded = await asyncio.to_thread(passwords.hash_of, password)
            credentials = Credentials(password=encoded, given=given)
            number = await self._directory.run(
                users.add, shown, role, credentials, by, sees_patients=sees_patients, first=first
            )
        return (await self._directory.known()).users[number]

    async def list(self) -> list[User]:
        """All users, by name."""
        return list((await self._directory.known()).users.values())

    async def named(self, name: str) -> User:
        if (found := (await self._directory.known()).named(name)) is None:
            raise LabRelayError(f"there is no user {name}; labrelay user list shows all")
        return found

    async def _of_ours(self, name: str) -> User:
        """A user whose role and password are kept here."""
        user = await self.named(name)
        if user.issuer:
            raise RefusedError(
                R_("role, patients and password of this user are the identity provider's; change them there")
            )
        return user

    async def set_role(self, name: str, role: str, *, by: str) -> None:
        _raise_if_unknown(role)
        await self._directory.run(users.set_role, (await self._of_ours(name)).id, role, by)

    async def let_see_patients(self, name: str, sees: bool, *, by: str) -> None:
        await self._directory.run(users.let_see_patients, (await self._of_ours(name)).id, by, sees=sees)

    async def disable(self, name: str, disabled: bool, *, by: str) -> None:
        """Keep a user out at once, or let them in again."""
        await self._directory.run(users.disable, (await self.named(name)).id, by, disabled=disabled)

    async def remove(self, name: str, *, by: str) -> None:
        await self._directory.run(users.remove, (await self.named(name)).id, by)

    async def set_password(self, name: str, password: str, *, by: str, given: bool = False) -> None:
        """Give a user another password; all sessions of the user end, and a lock-out does. ``given``: as of `add`."""
        async with self._directory.changing:
            user = await self._of_ours(name)
            passwords.raise_if_weak(password, user.name)
            encoded = await asyncio.to_thread(passwords.hash_of, password)
            new = replace(user.credentials, password=encoded, given=given)
            await self._directory.run(users.set_credentials, user.id, new, by, "user-password", keeps=b"")

    async def drop_second_factor(self, name: str, *, by: str) -> None:
        """Take away a second factor whose phone is lost, with its recovery codes; all sessions of the user end."""
        async with self._directory.changing:
            user = await self._of_ours(name)
            if not user.credentials.totp:
                raise RefusedError(f"{user.name} has no second factor")
            new = replace(user.credentials, totp="", step=0, offered="", recovery=())
            await self._directory.run(users.set_credentials, user.id, new, by, "second-factor-off", keeps=b"")


def _raise_if_unknown(role: str) -> None:
    if not re.fullmatch(ROLE, role):
        raise RefusedError(f"there is no role {role}; roles: {', '.join(ROLES)}; in units: east:operator,west:viewer")


NO_SESSION = R_("the session has ended; log in again")


class OwnAccount:
    """Changes the account of the user whose session it is.

    Each method but `set_language` takes the secret of the session and the present password. It raises LogInError or
    LockedOutError where these are wrong, RefusedError where the new value is not allowed.

    Args:
        demands_second_factor: whether a user may not do without one.
    """

    def __init__(
        self, directory: Directory, prover: Prover, demands_second_factor: Callable[[User], bool] = lambda user: False
    ) -> None:
        self._directory = directory
        self._prover = prover
        self._demands_second_factor = demands_second_factor

    async def change_password(self, secret: str, password: str, new: str, *, address: str) -> None:
        """Take a new password; all other sessions of the user end."""
        async with self._proven(secret, password, address) as user:
            passwords.raise_if_weak(new, user.name)
            if user.credentials.given and new == password:
                raise RefusedError(R_("this is your present password; choose another one"))
            encoded = await asyncio.to_thread(passwords.hash_of, new)
            changed = replace(user.credentials, password=encoded, given=False)
            await self._put(user, address, "user-password", changed, keeps=hashed(secret))

    async def set_pin(self, secret: str, password: str, pin: str, *, address: str) -> None:
        """Take a new PIN for shared computers; empty: have none."""
        async with self._proven(secret, password, address) as user:
            if pin:
                passwords.raise_if_no_pin(pin)
            encoded = await asyncio.to_thread(passwords.hash_of, pin) if pin else ""
            await self._put(user, address, "pin-set" if pin else "pin-removed", replace(user.credentials, pin=encoded))

    async def set_language(self, user: User, language: str) -> None:
        """Show the pages in a language; empty: as the browser asks."""
        await self._directory.run(users.set_language, user.id, language)

    async def offer_second_factor(self, secret: str, password: str, *, address: str, site: str) -> tuple[str, str]:
        """Make a secret for the user's app; return its ``otpauth:`` address and the QR picture of it, SVG.

        It is in use from `confirm_second_factor` on; until then a present one stays.
        """
        async with self._proven(secret, password, address) as user:
            offered = second_factor.new_secret()
            await self._put(user, address, "second-factor-offered", replace(user.credentials, offered=offered))
            shown = second_factor.address_of(offered, user.name, site)
            return shown, second_factor.picture_of(shown)

    async def confirm_second_factor(self, secret: str, password: str, code: str, *, address: str) -> list[str]:
        """Take the offered secret into use, with a code of it; return the recovery codes, which are shown once.

        All other sessions of the user end.
        """
        async with self._proven(secret, password, address) as user:
            offered = user.credentials.offered
            step = second_factor.step_of(offered, code, self._prover.now_us() / 1e6, 0) if offered else 0
            if not step:
                raise RefusedError(R_("this is no code of the new second factor; look at the clock of the phone"))
            codes = second_factor.new_recovery_codes()
            hashes = tuple(map(second_factor.recovery_hash, codes))
            new = replace(user.credentials, totp=offered, step=step, offered="", recovery=hashes)
            await self._put(user, address, "second-factor-on", new, keeps=hashed(secret))
            return codes

    async def drop_second_factor(self, secret: str, password: str, *, address: str) -> None:
        """Go without a second factor; all other sessions of the user end."""
        async with self._proven(secret, password, address) as user:
            if self._demands_second_factor(user):
                raise RefusedError(R_("you cannot do without a second factor here; set up another phone"))
            without = replace(user.credentials, totp="", step=0, offered="", recovery=())
            await self._put(user, address, "second-factor-off", without, keeps=hashed(secret))

    @asynccontextmanager
    async def _proven(self, secret: str, password: str, address: str) -> AsyncIterator[User]:
        """The user of the session, once the password was given again."""

        async def look() -> tuple[User, int, list[Origin]]:
            known = await self._directory.known()
            session = known.sessions.get(hashed(secret))
            user = known.users.get(session.user) if session is not None else None
            if session is None or user is None or user.disabled:
                raise LogInError(NO_SESSION)
            if user.issuer:
                raise RefusedError(
                    R_("you log in at the identity provider, which keeps your password and second factor")
                )
            origins = self._prover.origins_in_session(user, session.number)
            await self._prover.raise_if_locked(user, origins)
            return user, session.number, origins

        _, number, _ = await look()
        async with self._prover.turn(address, f"session {number}"):
            user, _, origins = await look()
            if not await self._prover.is_right(user.credentials.password, password):
                await self._prover.refuse(user, address, origins, R_("the password is wrong"))
            yield user

    async def _put(self, user: User, address: str, verb: str, new: Credentials, *, keeps: bytes | None = None) -> None:
        actor = Actor(user.name, role=user.role, **{"from": address})
        await self._directory.run(users.set_credentials, user.id, new, actor, verb, keeps=keeps)
