"""Log-in, log-out, and who a session's or a token's secret belongs to.

The identity provider of a site, where it has one (``access: oidc:``); what of it each site needs.

The code of OpenID Connect (`engine.features.access.client`) is read with the first log-in there.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING

from engine.features.access.config import AccessConfig
from engine.features.access.rows import reading as accounts
from engine.features.access.rows import sessions, tokens, users
from engine.features.access.rows.sessions import NewSession, Origin
from engine.features.access.rules.accounts import (
    Credentials,
    Device,
    Identity,
    Known,
    LogInSession,
    Units,
    User,
    hashed,
    principal_of,
)
from engine.features.access.service import passwords, second_factor
from engine.features.access.service.tokens import SetUpLink, Tokens
from engine.features.access.service.users import WRONG, Directory, OwnAccount, Prover, Users
from engine.model.errors import LogInError
from engine.model.process.clock import Clock
from engine.model.site.actor import Actor
from engine.model.site.permissions import Principal, parts_of
from engine.model.texts.phrases import N_, R_
from engine.store.journal import Journal
from engine.web.identity import Session

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


IDLE_S = 30 * 60.0
LONGEST_S = 12 * 3600.0
PIN_US = 12 * 3_600_000_000  # so long a PIN suffices after a full log-in, or as long as a session lasts
CODE_WITHIN_US = 5 * 60_000_000
MOST_HALF = 1000  # log-ins that wait for their code
MOST_WRONG_PINS = 5
NOTED_EVERY_US = 60_000_000  # how old the stored time of the last request may be
PROVIDER = N_("identity provider")
PASSWORD, SECOND_FACTOR = "password", "second-factor"
NO_PIN = R_("this PIN is wrong, or does not suffice here at present; log in with the password")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIn:
    """What a browser gets.

    Attributes:
        secret: of the session; where a code is still asked for: of the log-in that waits for it.
        device: the browser's own secret, to be kept for 90 days and given with its next log-in.
        second_factor: a code of the second factor is needed (`Accounts.give_code`), and nothing is open yet.
        ends_us: the latest end.
    """

    secret: str = field(repr=False)
    device: str = field(repr=False)
    second_factor: bool
    ends_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn(Session):
    """Who asks in a session, with all that pages of access show of it.

    Attributes:
        number: what people name the session by.
        how: "password", "second factor", "PIN", "set-up link" or "identity provider".
        first: what this person has to do before all else: choose a `PASSWORD`, set up a `SECOND_FACTOR`; or empty.
    """

    user: User
    number: int
    how: str
    first: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Half:
    """A log-in with the right password, which waits for its code."""

    user: int
    device: str = field(repr=False)
    until_us: int


class Accounts:
    """The accounts of one site, in the process that writes its journal.

    Args:
        idle_s: a session ends after so long without a request of the person.
        longest_s: it ends after so long in any case.
        rules: ``access:`` of the configuration in force; asked for at each use, since a reload replaces it.
        units: likewise, the channels of each unit of the site.

    Attributes:
        users: an admin's acts on users.
        own: a user's acts on the own account.
        tokens: tokens of programs and wall screens.
        set_up: how the first admin comes in.
        provider: where people log in who have no password here.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        *,
        idle_s: float = IDLE_S,
        longest_s: float = LONGEST_S,
        rules: Callable[[], AccessConfig] = AccessConfig,
        units: Callable[[], Units] = dict,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._rules = rules
        self._units = units
        self.last(idle_s, longest_s)
        self._directory = directory = Directory(journal)
        self._prover = Prover(directory, clock)
        self.users = Users(directory)
        self.own = OwnAccount(directory, self._prover, self._demands_second_factor)
        self.tokens = Tokens(directory, clock)
        self.set_up = SetUpLink(directory, self.users, clock)
        self.provider = IdentityProvider(journal, clock, rules)
        self._half: dict[bytes, _Half] = {}
        self._seen: dict[bytes, int] = {}  # SHA-256 of a secret -> when it was last used
        self._noted: dict[bytes, int] = {}  # likewise, as the store has it

    def last(self, idle_s: float, longest_s: float) -> None:
        """How long sessions last: idle ones from now on, in any case those that begin from now on."""
        self._idle_us, self._longest_us = int(idle_s * 1e6), int(longest_s * 1e6)

    def has_users(self) -> bool:
        """Whether a person can log in at all."""
        return accounts.has_users(self._journal)

    # -- log-in --------------------------------------------------------------------------------------------------

    async def log_in(self, name: str, password: str, *, address: str, code: str = "", device: str = "") -> LogIn:
        """Begin a session.

        Args:
            code: of the second factor, or a recovery code; empty: asked for afterwards, where the user has one.
            device: the browser's own secret (`LogIn.device`); empty: it has none.

        Raises:
            LogInError: refused; the text is for the page and does not say what is wrong.
            LockedOutError: refused without a look.
        """
        async with self._turn(name, address, device) as (known, user, _, origins):
            may = user is not None and not user.disabled
            right = await self._prover.is_right(user.credentials.password if user and may else "", password)
            if user is None or not right:
                await self._prover.refuse(user, address, origins)
            credentials = user.credentials
            if passwords.is_outdated(credentials.password):
                credentials = replace(credentials, password=await asyncio.to_thread(passwords.hash_of, password))
            if not credentials.totp:
                return await self._begin(known, user, N_("password"), address, device, credentials)
            if not code:
                return self._wait_for_code(user, device)
            return await self._take_code(known, user, code, address, device, credentials, origins)

    async def come_in(self, identity: Identity, *, kept: str, address: str, device: str) -> LogIn:
        """Begin the session of a person whom the identity provider has proven; the role is that of their groups today.

        Args:
            kept: with the session, for `log_out`.

        Raises:
            LogInError: the user is kept out here, or no admin has a password.
        """
        async with self._prover.turn(address, f"{identity.issuer} {identity.subject}"):
            number = await self._directory.run(users.take_in, identity, address)
            known = await self._directory.known()
            return await self._begin(known, known.users[number], PROVIDER, address, device, kept=kept)

    async def note_refused(self, address: str, *, tried: bool) -> None:
        """Count a log-in that the identity provider did not prove.

        Args:
            tried: an answer to a log-in that began here was refused, which delays the next log-in of the address. All
                else strangers cause at will; it delays no log-in.
        """
        if not tried:
            await self._prover.note(address)
            return
        with suppress(LogInError):
            await self._prover.refuse(None, address, self._prover.origins_of_address(address))

    async def raise_if_locked(self, address: str) -> None:
        """
        Raises:
            LockedOutError: too many log-ins of this address were refused.
        """
        await self._prover.raise_if_locked(None, self._prover.origins_of_address(address))

    async def give_code(self, secret: str, code: str, *, address: str) -> LogIn:
        """Begin the session of a log-in that waits for its code.

        Raises:
            LogInError, LockedOutError: as `log_in`; it has waited for more than five minutes.
        """
        half = self._half.get(hashed(secret))
        user = (await self._directory.known()).users.get(half.user) if half is not None else None
        name, device = (user.name, half.device) if user is not None and half is not None else ("", "")
        async with self._turn(name, address, device) as (known, user, _, origins):
            half = self._half.get(hashed(secret))
            if half is None or user is None or user.disabled or self._clock.now_us() >= half.until_us:
                await self._prover.refuse(None, address, self._prover.origins_of_address(address))
            done = await self._take_code(known, user, code, address, half.device, user.credentials, origins)
            self._half.pop(hashed(secret), None)
            return done

    async def switch(self, name: str, pin: str, *, address: str, device: str, leaving: str = "") -> LogIn:
        """Change the person at a shared computer, where a full log-in is not longer ago than twelve hours.

        Args:
            device: the browser's own secret.
            leaving: the secret of the session that ends with it.

        Raises:
            LogInError: refused; after five wrong PINs in a row only a full log-in helps.
        """
        async with self._turn(name, address, device) as (known, user, here, origins):
            ready = (
                user is not None and not user.disabled and here is not None and here.pin_until_us > self._clock.now_us()
            )
            right = await self._prover.is_right(user.credentials.pin if user and ready else "", pin)
            if user is None or here is None or not right:
                if user is not None and ready:
                    await self._directory.run(sessions.wrong_pin, hashed(device), user.id, MOST_WRONG_PINS)
                await self._prover.refuse(user, address, () if ready else origins, NO_PIN)
            return await self._begin(
                known, user, "PIN", address, device, ends_us=here.pin_until_us, leaves=hashed(leaving)
            )

    async def at_this_device(self, device: str) -> list[str]:
        """The names of users who may switch by PIN in this browser."""
        known, now_us = await self._directory.known(), self._clock.now_us()
        return [
            user.name
            for user in known.users.values()
            if not user.disabled
            and user.credentials.pin
            and (here := known.devices.get((hashed(device), user.id))) is not None
            and here.pin_until_us > now_us
        ]

    @asynccontextmanager
    async def _turn(
        self, name: str, address: str, device: str
    ) -> AsyncIterator[tuple[Known, User | None, Device | None, list[Origin]]]:
        """Wait for the ones before; whether a delay lasts is looked at before a place is taken, and again on its turn.

        Raises:
            LogInError: it does, or too many wait.
        """

        async def look() -> tuple[Known, User | None, Device | None, list[Origin]]:
            known = await self._directory.known()
            user = known.named(name)
            here = known.devices.get((hashed(device), user.id)) if user is not None else None
            origins = self._prover.origins(user, name, address, here)
            await self._prover.raise_if_locked(user, origins)
            return known, user, here, origins

        _, _, here, _ = await look()
        async with self._prover.turn(address, f"browser {here.number}" if here is not None else ""):
            yield await look()

    def _wait_for_code(self, user: User, device: str) -> LogIn:
        now_us = self._clock.now_us()
        self._half = {token: half for token, half in self._half.items() if half.until_us > now_us}
        while len(self._half) >= MOST_HALF:
            del self._half[next(iter(self._half))]
        secret, until_us = secrets.token_urlsafe(32), now_us + CODE_WITHIN_US
        self._half[hashed(secret)] = _Half(user=user.id, device=device, until_us=until_us)
        return LogIn(secret=secret, device=device, second_factor=True, ends_us=until_us)

    async def _take_code(
        self,
        known: Known,
        user: User,
        code: str,
        address: str,
        device: str,
        credentials: Credentials,
        origins: Sequence[Origin],
    ) -> LogIn:
        """Begin the session if the code is right; it is used up then."""
        left = second_factor.used(credentials, code, self._clock.now_us() / 1e6)
        if left is None:
            await self._prover.refuse(user, address, origins, WRONG)
        return await self._begin(known, user, N_("second factor"), address, device, left)

    async def _begin(
        self,
        known: Known,
        user: User,
        how: str,
        address: str,
        device: str,
        credentials: Credentials | None = None,
        *,
        ends_us: int = 0,
        leaves: bytes = b"",
        kept: str = "",
    ) -> LogIn:
        self._forget_ended(known)
        secret, new_device = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        now_us = self._clock.now_us()
        here = known.devices.get((hashed(device), user.id))
        new = NewSession(
            user=user.id,
            name=user.name,
            token=hashed(secret),
            device=hashed(new_device),
            was_device=hashed(device) if device else b"",
            address=address,
            how=how,
            ends_us=ends_us or now_us + self._longest_us,
            idle_us=self._idle_us,
            pin_until_us=0 if ends_us else now_us + min(self._longest_us, PIN_US),
            credentials=credentials if credentials != user.credentials else None,
            leaves=leaves,
            refused=self._prover.unseen(user),
            kept=kept,
        )
        # The count of the address goes on: else an attacker with an account of their own could begin it anew.
        origins = [origin for origin in self._prover.origins(user, user.name, address, here) if origin.user]
        actor = Actor(user.name, role=user.role, **{"from": address})
        await self._directory.run(sessions.begin, new, actor, [origin.token for origin in origins])
        return LogIn(secret=secret, device=new_device, second_factor=False, ends_us=new.ends_us)

    # -- who asks ------------------------------------------------------------------------------------------------

    async def principal_of_session(self, secret: str, *, address: str, by_person: bool = True) -> SignedIn | None:
        """Who asks in this session; None: it has ended, or there is none.

        Args:
            by_person: a person asks; a page that renews itself does not keep its session open.
        """
        known, token = await self._directory.known(), hashed(secret)
        session = known.sessions.get(token)
        user = known.users.get(session.user) if session is not None else None
        if session is None or user is None or user.disabled or not self.provider.knows(user.issuer):
            return None
        now_us = self._clock.now_us()
        ends_us = self._ends_us(session)
        if now_us >= ends_us:
            return None
        if by_person:
            self._seen[token] = now_us
            ends_us = min(now_us + self._idle_us, session.ends_us)
            if now_us - max(session.seen_us, self._noted.get(token, 0)) >= NOTED_EVERY_US:
                self._noted[token] = now_us
                self._directory.note(sessions.seen, token, now_us)
        actor = Actor(user.name, role=user.role, **{"from": address})
        first = self._first(user)
        return SignedIn(
            principal=principal_of(user, actor, self._units(), held_up=bool(first)),
            first=first,
            user=user,
            number=session.number,
            how=session.how,
            ends_us=ends_us,
            latest_us=session.ends_us,
        )

    async def principal_of_token(self, secret: str, *, address: str) -> Principal | None:
        """Which program asks with this token; None: it has ended, or there is none."""
        known, token = await self._directory.known(), hashed(secret)
        found = known.tokens.get(token)
        now_us = self._clock.now_us()
        if found is None or 0 < found.ends_us <= now_us:
            return None
        if now_us - max(found.used_us, self._noted.get(token, 0)) >= NOTED_EVERY_US:
            self._noted[token] = now_us
            self._directory.note(tokens.used, token, address, now_us)
        return principal_of(found, Actor(f"token:{found.name}", role="token", **{"from": address}), self._units())

    def _demands_second_factor(self, user: User) -> bool:
        roles = [role for _, role in parts_of(user.role)]
        return self._rules().demands_second_factor(roles, sees_patients=user.sees_patients)

    def _first(self, user: User) -> str:
        if user.issuer:  # the provider keeps both
            return ""
        if user.credentials.given:
            return PASSWORD
        return SECOND_FACTOR if not user.credentials.totp and self._demands_second_factor(user) else ""

    def _ends_us(self, session: LogInSession) -> int:
        return min(max(session.seen_us, self._seen.get(session.token, 0)) + self._idle_us, session.ends_us)

    def _forget_ended(self, known: Known) -> None:
        for times in (self._seen, self._noted):
            for token in times.keys() - known.sessions.keys() - known.tokens.keys():
                del times[token]

    # -- the end of a session ------------------------------------------------------------------------------------

    async def log_out(self, secret: str, *, address: str) -> str:
        """End this session; nothing where it has ended. Return what was kept of its log-in at the identity provider."""
        known = await self._directory.known()
        session = known.sessions.get(hashed(secret))
        if session is None:
            return ""
        user = known.users[session.user]
        actor = Actor(user.name, role=user.role, **{"from": address})
        await self._directory.run(sessions.end, session.number, actor, "log-out")
        return session.kept

    async def end_by_provider(self, is_ended: Callable[[User, LogInSession], bool], *, address: str) -> int:
        """End the sessions that the identity provider ends; return how many. ``address``: of the provider."""
        known, ended = await self._directory.known(), 0
        for session in known.sessions.values():
            if session.kept and is_ended(known.users[session.user], session):
                actor = Actor("labrelay", **{"from": address})
                ended += await self._directory.run(sessions.end, session.number, actor, "log-out-by-provider")
        return ended

    async def rotate(self, secret: str) -> str | None:
        """Give this session another secret, and return it; the old one ends. None: there is no such session."""
        new = secrets.token_urlsafe(32)
        return new if await self._directory.run(sessions.renew, hashed(secret), hashed(new)) else None

    async def sessions(self, user: str = "") -> list[tuple[str, LogInSession]]:
        """The open sessions with the names of their users, newest first; of one user where one is named."""
        known, now_us = await self._directory.known(), self._clock.now_us()
        only = known.named(user) if user else None
        found = [
            (known.users[one.user].name, replace(one, seen_us=max(one.seen_us, self._seen.get(one.token, 0))))
            for one in known.sessions.values()
            if self._ends_us(one) > now_us and (not user or (only is not None and one.user == only.id))
        ]
        return sorted(found, key=lambda pair: -pair[1].number)

    async def revoke(self, number: int, *, by: str) -> bool:
        """End the session of this number; False: it has ended before. ``by``: who ends it, an `Actor`."""
        return await self._directory.run(sessions.end, number, by, "session-revoked")
