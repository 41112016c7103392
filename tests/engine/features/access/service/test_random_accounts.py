"""Any history of accounts: who is let in, whose session and token is open, and how long a refused one has to wait.

The model is written from the promises of docs/users.md alone. It knows passwords and PINs in clear, counts in seconds,
and never looks at how the product decides.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.features.access.service import passwords
from engine.features.access.service.accounts import Accounts, LogIn
from engine.model.errors import LabRelayError, LockedOutError, LogInError, RefusedError
from engine.model.process.clock import ManualClock
from engine.model.site.actor import Actor
from engine.model.site.permissions import LOOKING, WATCHING
from engine.store import journal as journal_module
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from tests.support.examples import examples
from tests.support.journals import opened

T = TypeVar("T")
ROOT = Actor("root", role="root")
WORDS = ["correct horse battery", "another staple entirely"]
PINS = ["274913", "830462"]
NAMES = ["Anna", "Vik", "ghost"]
ADDRESSES = ["10.0.0.5", "10.0.0.6"]
IDLE_S, LONGEST_S = 1800.0, 43_200.0
FREE = {"user": 5, "address": 20}
MAY = {
    "viewer": {"watch", "look"},
    "operator": {"watch", "look", "act"},
    "admin": {"watch", "look", "act", "change", "administer"},
}


@dataclass
class Person:
    password: str
    role: str
    disabled: bool = False
    sees: bool = False
    pin: str = ""


@dataclass
class Trust:
    """What a browser has of one user."""

    seen_s: float
    pin_until_s: float
    wrong_pins: int = 0
    wrong: "Wrong" = field(default_factory=lambda: Wrong())


@dataclass
class Wrong:
    """Refusals in a row."""

    n: int = 0
    last_s: float = -1e9
    until_s: float = 0.0

    def count(self, now_s: float, free: int) -> None:
        self.n = 1 + (self.n if now_s - self.last_s < 3600 else 0)
        self.last_s = now_s
        self.until_s = now_s + (min(15.0 * 2 ** (self.n - free), 900.0) if self.n >= free else 0.0)


@dataclass
class Open:
    """A session."""

    name: str
    secret: str
    number: int
    began_s: float
    seen_s: float
    noted_s: float
    ends_s: float
    wrong: Wrong = field(default_factory=Wrong)

    def is_open(self, now_s: float) -> bool:
        return now_s < min(self.seen_s + IDLE_S, self.ends_s)


class AccountHistory(RuleBasedStateMachine):
    """A site with three names, two addresses, browsers, tokens; hours and restarts between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.patches: list[Any] = [
            mock.patch.object(journal_module, "STOP_S", 120.0),  # a stop is in order on a busy machine, too
            mock.patch.object(passwords, "MEMORY_KIB", 8),
            mock.patch.object(passwords, "ROUNDS", 1),
        ]
        for patch in self.patches:
            patch.start()
        passwords._hasher.cache_clear()
        self.clock = ManualClock()
        self.loop = asyncio.new_event_loop()
        self.people: dict[str, Person] = {}
        self.sessions: list[Open] = []
        self.devices: dict[str, dict[str, Trust]] = {}  # browser's secret -> user -> trust
        self.wrong_users: dict[str, Wrong] = {}
        self.wrong_addresses: dict[str, Wrong] = {}
        self.tokens: dict[str, tuple[str, set[str], float]] = {}  # name -> secret, permissions, end
        self.dead_tokens: list[str] = []
        self.start()
        # A shared computer, at which both have logged in today.
        self.add("Anna", 0, "admin")
        self.add("Vik", 1, "operator")
        self.logs_in("Anna", 0, ADDRESSES[0], -1, 1)
        self.sets_a_pin(0, 0, 0)
        self.logs_in("Vik", 1, ADDRESSES[0], 0, 1)

    def start(self) -> None:
        self.journal: Journal = opened(Path(self.folder.name), clock=self.clock)

        async def begin() -> None:
            recover(self.journal)
            self.journal.start(asyncio.get_running_loop())
            self.accounts = Accounts(self.journal, self.clock)

        self.loop.run_until_complete(begin())

    def teardown(self) -> None:
        self.loop.run_until_complete(self.journal.stop())
        self.loop.close()
        for patch in self.patches:
            patch.stop()
        passwords._hasher.cache_clear()
        self.folder.cleanup()

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work()

        return self.loop.run_until_complete(run())

    def is_refused(self, work: Callable[[], Awaitable[Any]], error: type[LabRelayError]) -> bool:
        try:
            self.do(work)
        except error:
            return True
        return False

    @property
    def now_s(self) -> float:
        return self.clock.monotonic()

    # -- who is let in -------------------------------------------------------------------------------------------

    def counts(self, name: str, address: str, device: str) -> list[tuple[Wrong, str]]:
        here = self.devices.get(device, {}).get(name) if name in self.people else None
        if here is not None:
            return [(here.wrong, "user")]
        of_name = self.wrong_users.setdefault(name, Wrong())
        return [(of_name, "user"), (self.wrong_addresses.setdefault(address, Wrong()), "address")]

    def proves(
        self, work: Callable[[], Awaitable[T]], *, right: bool, counts: list[tuple[Wrong, str]], counted: bool = True
    ) -> T | None:
        """Do it, and compare with the model; None where it is refused."""
        locked = any(one.until_s > self.now_s for one, _ in counts)
        try:
            found = self.do(work)
        except LockedOutError as error:
            assert locked
            assert error.until_us - self.clock.now_us() <= 900e6  # noqa: PT017
            return None
        except LogInError:
            assert not locked
            assert not right
            if counted:
                for one, kind in counts:
                    one.count(self.now_s, FREE[kind])
            return None
        assert right, "let in"
        assert not locked, "let in, but a wait was due"
        return found

    def opened(self, name: str, done: LogIn, device: str, pin_until_s: float, ends_s: float) -> None:
        assert not done.second_factor
        trusts = self.devices.pop(device, {})
        self.devices[done.device] = trusts
        here = trusts.setdefault(name, Trust(self.now_s, 0.0))
        here.seen_s, here.wrong_pins, here.wrong = self.now_s, 0, Wrong()
        here.pin_until_s = max(here.pin_until_s, pin_until_s)
        of_name = sorted((one[name].seen_s, key) for key, one in self.devices.items() if name in one)
        for _, key in of_name[:-20]:
            del self.devices[key][name]
        who = self.do(lambda: self.accounts.principal_of_session(done.secret, address="", by_person=False))
        assert who is not None
        self.sessions.append(Open(name, done.secret, who.number, self.now_s, self.now_s, self.now_s, ends_s))
        mine = [one for one in self.sessions if one.name == name and one.is_open(self.now_s)]
        for one in mine[:-10]:
            self.sessions.remove(one)

    @rule(
        name=st.sampled_from(NAMES),
        word=st.integers(0, 1),
        address=st.sampled_from(ADDRESSES),
        browser=st.integers(-1, 4),
        times=st.sampled_from([1, 1, 1, 3, 6]),
    )
    def logs_in(self, name: str, word: int, address: str, browser: int, times: int) -> None:
        for _ in range(times):
            self.clock.advance(0.001)
            device = self.browser(browser)
            person = self.people.get(name)
            right = person is not None and not person.disabled and person.password == WORDS[word]
            counts = self.counts(name, address, device)
            done = self.proves(
                lambda device=device: self.accounts.log_in(  # type: ignore[misc]
                    name.upper(), WORDS[word], address=address, device=device
                ),
                right=right,
                counts=counts,
            )
            if done is not None:
                if counts[0][0] is self.wrong_users.get(name):
                    del self.wrong_users[name]
                self.opened(name, done, device, self.now_s + LONGEST_S, self.now_s + LONGEST_S)
                return

    @rule(
        name=st.sampled_from(NAMES),
        pin=st.integers(0, 1),
        browser=st.integers(-1, 4),
        leaving=st.integers(-1, 3),
        times=st.sampled_from([1, 1, 5]),
    )
    def switches(self, name: str, pin: int, browser: int, leaving: int, times: int) -> None:
        for _ in range(times):
            self.clock.advance(0.001)
            device, left = self.browser(browser), self.session(leaving)
            person = self.people.get(name)
            here = self.devices.get(device, {}).get(name)
            ready = person is not None and not person.disabled and here is not None and here.pin_until_s > self.now_s
            right = ready and person is not None and person.pin == PINS[pin]
            counts = self.counts(name, ADDRESSES[0], device)
            locked = any(one.until_s > self.now_s for one, _ in counts)
            done = self.proves(
                lambda device=device, left=left: self.accounts.switch(  # type: ignore[misc]
                    name,
                    PINS[pin],
                    address=ADDRESSES[0],
                    device=device,
                    leaving=left.secret if left is not None else "",
                ),
                right=right,
                counts=counts,
                counted=not ready,
            )
            if done is None:
                if ready and here is not None and not locked:
                    here.wrong_pins += 1
                    if here.wrong_pins >= 5:
                        here.pin_until_s = 0.0
                continue
            assert here is not None
            if left is not None:
                self.sessions.remove(left)
            self.opened(name, done, device, 0.0, here.pin_until_s)
            return

    def browser(self, number: int) -> str:
        known = list(self.devices)
        return known[-1 - number] if 0 <= number < len(known) else "" if number == -1 else "of no browser"

    def session(self, number: int) -> Open | None:
        return self.sessions[-1 - number] if 0 <= number < len(self.sessions) else None

    # -- what ends it --------------------------------------------------------------------------------------------

    def end_all(self, name: str, but: Open | None = None) -> None:
        self.sessions = [one for one in self.sessions if one.name != name or one is but]
        for trusts in self.devices.values():
            trusts.pop(name, None)

    @rule(number=st.integers(0, 5))
    def looks(self, number: int) -> None:
        """A person asks for a page."""
        one = self.session(number)
        if one is not None and one.is_open(self.now_s):
            self.do(lambda: self.accounts.principal_of_session(one.secret, address=""))
            one.seen_s = self.now_s
            if self.now_s - one.noted_s >= 60:
                one.noted_s = self.now_s

    @rule(number=st.integers(0, 5), by=st.sampled_from(["log out", "revoke", "rotate"]))
    def ends(self, number: int, by: str) -> None:
        one = self.session(number)
        if one is None:
            return
        if by == "rotate":
            if one.is_open(self.now_s):
                new = self.do(lambda: self.accounts.rotate(one.secret))
                assert new is not None
                one.secret, one.seen_s = new, one.noted_s
            return
        if by == "log out":
            self.do(lambda: self.accounts.log_out(one.secret, address=""))
        else:
            self.do(lambda: self.accounts.revoke(one.number, by=ROOT))
        self.sessions.remove(one)

    @rule(number=st.integers(0, 5), old=st.integers(0, 1), new=st.integers(0, 1))
    def changes_the_own_password(self, number: int, old: int, new: int) -> None:
        self.own(
            number,
            old,
            lambda one: self.accounts.own.change_password(one.secret, WORDS[old], WORDS[new], address=ADDRESSES[1]),
            lambda person: self.has_new_password(person, WORDS[new], self.session(number)),
        )

    @rule(number=st.integers(0, 5), word=st.integers(0, 1), pin=st.integers(0, 1))
    def sets_a_pin(self, number: int, word: int, pin: int) -> None:
        self.own(
            number,
            word,
            lambda one: self.accounts.own.set_pin(one.secret, WORDS[word], PINS[pin], address=ADDRESSES[1]),
            lambda person: setattr(person, "pin", PINS[pin]),
        )

    def own(
        self, number: int, word: int, work: Callable[[Open], Awaitable[Any]], then: Callable[[Person], None]
    ) -> None:
        one = self.session(number)
        if one is None or not one.is_open(self.now_s):
            return
        person = self.people[one.name]
        right = person.password == WORDS[word]
        counts = [(one.wrong, "user")]

        async def changed() -> bool:
            await work(one)
            return True

        if self.proves(changed, right=right, counts=counts):
            then(person)

    def has_new_password(self, person: Person, password: str, but: Open | None) -> None:
        person.password = password
        (name,) = (name for name, one in self.people.items() if one is person)
        self.end_all(name, but)
        self.wrong_users.pop(name, None)
        if but is not None:
            but.wrong = Wrong()

    # -- an admin ------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES[:2]), word=st.integers(0, 1), role=st.sampled_from(list(MAY)))
    def add(self, name: str, word: int, role: str) -> None:
        refused = self.is_refused(lambda: self.accounts.users.add(name, role, WORDS[word], by=ROOT), RefusedError)
        assert refused == (name in self.people)
        if not refused:
            self.people[name] = Person(WORDS[word], role)
            self.wrong_users.pop(name, None)  # those of the name, while it was no user's

    def is_last_admin(self, name: str) -> bool:
        return [one for one, person in self.people.items() if person.role == "admin" and not person.disabled] == [name]

    def administers(self, name: str, work: Callable[[], Awaitable[Any]], *, last_admin_may: bool = False) -> bool:
        if name not in self.people:
            assert self.is_refused(work, LabRelayError)
            return False
        refused = self.is_refused(work, RefusedError)
        assert refused == (self.is_last_admin(name) and not last_admin_may)
        return not refused

    @rule(name=st.sampled_from(NAMES), disabled=st.booleans())
    def disables(self, name: str, disabled: bool) -> None:
        done = self.administers(
            name, lambda: self.accounts.users.disable(name, disabled, by=ROOT), last_admin_may=not disabled
        )
        if done:
            self.people[name].disabled = disabled
            if disabled:
                self.end_all(name)

    @rule(name=st.sampled_from(NAMES))
    def removes(self, name: str) -> None:
        if self.administers(name, lambda: self.accounts.users.remove(name, by=ROOT)):
            del self.people[name]
            self.end_all(name)
            self.wrong_users.pop(name, None)

    @rule(name=st.sampled_from(NAMES), role=st.sampled_from(list(MAY)))
    def gives_a_role(self, name: str, role: str) -> None:
        done = self.administers(
            name, lambda: self.accounts.users.set_role(name, role, by=ROOT), last_admin_may=role == "admin"
        )
        if done:
            self.people[name].role = role

    @rule(name=st.sampled_from(NAMES), sees=st.booleans())
    def shows_patients(self, name: str, sees: bool) -> None:
        work = lambda: self.accounts.users.let_see_patients(name, sees, by=ROOT)  # noqa: E731
        if self.administers(name, work, last_admin_may=True):
            self.people[name].sees = sees

    @rule(name=st.sampled_from(NAMES), word=st.integers(0, 1))
    def gives_a_password(self, name: str, word: int) -> None:
        work = lambda: self.accounts.users.set_password(name, WORDS[word], by=ROOT)  # noqa: E731
        if self.administers(name, work, last_admin_may=True):
            self.has_new_password(self.people[name], WORDS[word], None)

    @rule(name=st.sampled_from(["HIS", "wall"]), hours=st.integers(0, 3))
    def makes_a_token(self, name: str, hours: int) -> None:
        ends_us = self.clock.now_us() + hours * 3_600_000_000 if hours else 0
        permissions = LOOKING | WATCHING if hours else WATCHING
        try:
            secret = self.do(lambda: self.accounts.tokens.create(name, permissions, ends_us=ends_us, by=ROOT))
        except RefusedError:
            assert name in self.tokens
            return
        assert name not in self.tokens
        self.tokens[name] = secret, {str(one) for one in permissions}, self.now_s + 3600 * hours if hours else 1e12

    @precondition(lambda self: self.tokens)
    @rule(name=st.sampled_from(["HIS", "wall"]))
    def revokes_a_token(self, name: str) -> None:
        refused = self.is_refused(lambda: self.accounts.tokens.revoke(name, by=ROOT), LabRelayError)
        assert refused == (name not in self.tokens)
        if not refused:
            self.dead_tokens.append(self.tokens.pop(name)[0])

    # -- time ----------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 20.0, 70.0, 900.0, 1700.0, 1900.0, 3600.0, 20_000.0]))
    def waits(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restarts(self) -> None:
        self.loop.run_until_complete(self.journal.stop())
        self.start()
        for one in self.sessions:
            one.seen_s = one.noted_s

    @invariant()
    def each_session_and_token_is_as_expected(self) -> None:
        async def compare() -> None:
            for one in self.sessions:
                who = await self.accounts.principal_of_session(one.secret, address="", by_person=False)
                assert (who is not None) == one.is_open(self.now_s), one
                if who is not None:
                    person = self.people[one.name]
                    assert who.user.name == who.principal.actor == one.name
                    assert who.principal.permissions == MAY[person.role] | (
                        {"look", "see-patients"} if person.sees else set()
                    )
            for secret, permissions, ends_s in self.tokens.values():
                program = await self.accounts.principal_of_token(secret, address="")
                assert (program is not None) == (self.now_s < ends_s)
                assert program is None or program.permissions == permissions
            for secret in self.dead_tokens:
                assert await self.accounts.principal_of_token(secret, address="") is None
            listed = {name: user.role for user in await self.accounts.users.list() for name in [user.name]}
            assert listed == {name: person.role for name, person in self.people.items()}
            open_ones = {one.number for one in self.sessions if one.is_open(self.now_s)}
            assert {one.number for _, one in await self.accounts.sessions()} == open_ones

        self.do(compare)


TestAccountHistory = AccountHistory.TestCase
TestAccountHistory.settings = settings(max_examples=examples(20), stateful_step_count=40, deadline=None)
