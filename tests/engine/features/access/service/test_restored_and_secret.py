"""Accounts after a restore; no secret in a row, a log or the files; bounds that attackers cannot break."""

import asyncio
import io
import json
import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pyotp
import pytest

from engine.features.access.rows import sessions
from engine.features.access.rows.sessions import Origin
from engine.features.access.rules.accounts import FORGOTTEN_US, FREE_OF_ADDRESS, FREE_OF_USER
from engine.features.access.service import passwords
from engine.features.access.service.accounts import Accounts
from engine.features.access.service.users import MOST_OF_ONE, MOST_WAITING
from engine.model.errors import BusyError, LockedOutError, LogInError
from engine.model.process.clock import Clock, ManualClock
from engine.model.site.actor import Actor
from engine.model.site.permissions import LOOKING, ROLES, WATCHING
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import verify
from engine.store.operations import audit
from engine.store.queries.acts import acts_page
from engine.store.recovery.backups.restoring import RestoreResult
from tests.support.copies import Place
from tests.support.journals import running
from tests.support.waiting import until

ROOT = Actor("root", role="root")
HERE = "10.0.0.5"
GOOD, OTHER, PIN = "correct horse battery", "another staple entirely", "274913"
DAY_US = 86_400_000_000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_restore_ends_sessions_and_brings_users_and_tokens_as_they_were(place: Place) -> None:
    clock = ManualClock()
    async with running(place.data, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        await accounts.users.add("Anna", "admin", GOOD, by=ROOT)
        before = await accounts.log_in("Anna", GOOD, address=HERE)
        await accounts.own.set_pin(before.secret, GOOD, PIN, address=HERE)
        old = await accounts.tokens.create("old", LOOKING, ends_us=clock.now_us() + DAY_US, by=ROOT)
        copy = await place.copy(journal)
        await accounts.users.add("Vik", "operator", GOOD, by=ROOT)
        await accounts.users.set_role("Vik", "viewer", by=ROOT)
        await accounts.users.set_password("Anna", OTHER, by=ROOT)
        later = await accounts.log_in("Vik", GOOD, address=HERE)
        new = await accounts.tokens.create("new", LOOKING, ends_us=clock.now_us() + DAY_US, by=ROOT)
        await accounts.tokens.revoke("old", by=ROOT)
        assert place.standing(copy)
    done: RestoreResult = await asyncio.to_thread(place.restore, copy, place.site.parent / "new")
    assert done.findings == []

    async with running(place.site.parent / "new" / "var", clock=clock) as journal:
        accounts = Accounts(journal, clock)
        for secret in (before.secret, later.secret):
            assert await accounts.principal_of_session(secret, address=HERE) is None
        assert await accounts.at_this_device(before.device) == []
        assert [user.name for user in await accounts.users.list()] == ["Anna", "Vik"]
        assert await accounts.principal_of_token(old, address=HERE) is None
        assert await accounts.principal_of_token(new, address=HERE) is not None
        with pytest.raises(LogInError):
            await accounts.log_in("Anna", GOOD, address=HERE)
        again = await accounts.log_in("Anna", OTHER, address=HERE)
        who = await accounts.principal_of_session(again.secret, address=HERE)
        assert who is not None
        assert who.principal.permissions == ROLES["admin"]


async def test_access_that_was_taken_away_last_is_taken_away_again(place: Place) -> None:
    """A crash came before the state of the accounts was copied; the rows of the audit trail were."""
    clock = ManualClock()
    async with running(place.data, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        for name in ("Anna", "Vik", "Eve", "Tom"):
            await accounts.users.add(name, "admin", GOOD, by=ROOT, sees_patients=True)
        token = await accounts.tokens.create("old", LOOKING, ends_us=clock.now_us() + DAY_US, by=ROOT)
        copy = await place.copy(journal)
        await accounts.users.let_see_patients("Anna", False, by=ROOT)
        await accounts.users.disable("Vik", True, by=ROOT)
        await accounts.users.remove("Eve", by=ROOT)
        await accounts.users.disable("Tom", True, by=ROOT)
        await accounts.users.disable("Tom", False, by=ROOT)
        await accounts.users.set_role("Anna", "east:operator,west:viewer", by=ROOT)
        await accounts.tokens.revoke("old", by=ROOT)
        place.rows(copy)
    await asyncio.to_thread(place.restore, copy, place.site.parent / "new")

    async with running(place.site.parent / "new" / "var", clock=clock) as journal:
        accounts = Accounts(journal, clock)
        found = {user.name: (user.role, user.sees_patients, user.disabled) for user in await accounts.users.list()}
        assert found == {
            "Anna": ("east:operator,west:viewer", False, False),
            "Tom": ("admin", True, False),
            "Vik": ("admin", True, True),
        }
        assert await accounts.principal_of_token(token, address=HERE) is None


async def test_a_link_of_a_wall_screen_that_was_used_opens_nothing_after_a_restore(place: Place) -> None:
    clock = ManualClock()
    async with running(place.data, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        link = await accounts.tokens.create("lobby", WATCHING, ends_us=0, by=ROOT)
        copy = await place.copy(journal)
        assert await accounts.tokens.exchange(link, address=HERE)
        place.rows(copy)
    await asyncio.to_thread(place.restore, copy, place.site.parent / "new")

    async with running(place.site.parent / "new" / "var", clock=clock) as journal:
        accounts = Accounts(journal, clock)
        assert await accounts.principal_of_token(link, address=HERE) is None
        assert await accounts.tokens.exchange(link, address=HERE) == ""


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    level, _ = root.level, root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def in_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def test_no_secret_is_stored_or_logged(tmp_path: Path, log: io.StringIO) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        link = (await accounts.set_up.offer("http://127.0.0.1:1")).partition("=")[2]
        await accounts.set_up.use(link, "Anna", GOOD, address=HERE)
        first = await accounts.log_in("Anna", GOOD, address=HERE)
        await accounts.own.set_pin(first.secret, GOOD, PIN, address=HERE)
        shown, _ = await accounts.own.offer_second_factor(first.secret, GOOD, address=HERE, site="X")
        app = pyotp.parse_uri(shown)
        assert isinstance(app, pyotp.TOTP)
        code = app.at(int(clock.now_us() / 1e6))
        recovery = await accounts.own.confirm_second_factor(first.secret, GOOD, code, address=HERE)
        half = await accounts.log_in("Anna", GOOD, address=HERE, device=first.device)
        second = await accounts.give_code(half.secret, recovery[0], address=HERE)
        switched = await accounts.switch("Anna", PIN, address=HERE, device=second.device)
        with pytest.raises(LogInError):
            await accounts.log_in(OTHER, "typed in the wrong field", address=HERE)
        token = await accounts.tokens.create("HIS", LOOKING, ends_us=clock.now_us() + DAY_US, by=ROOT)
        rotated = await accounts.rotate(switched.secret)
        await accounts.principal_of_token(token, address=HERE)
        known = await accounts.users.named("Anna")
        said = orjson.dumps([[act.actor, act.verb, act.what, dict(act.by)] for act in acts_page(journal, limit=100)])
        shown_in_errors = repr([known, await accounts.sessions(), await accounts.tokens.list(), first, half])
        hashes = [known.credentials.password, known.credentials.pin, *known.credentials.recovery]
    stored = in_files(tmp_path)

    secrets = [GOOD, OTHER, PIN, link, app.secret, *recovery, token, "typed in the wrong field", rotated or ""]
    for one in (first, half, second, switched):
        secrets += [one.secret, one.device]
    for secret in filter(None, secrets):
        assert secret.encode() not in said
        assert secret not in log.getvalue()
        assert secret not in shown_in_errors
        assert secret.encode() not in stored or secret == PIN  # six digits may be anywhere
    for encoded in hashes:  # sealed: a stolen journal without its key gives nothing to try passwords on
        assert encoded.encode() not in stored
    assert verify.run(tmp_path) == []


async def test_guesses_at_once_count_as_guesses_in_turn(tmp_path: Path) -> None:
    async with busy(tmp_path) as (accounts, others):
        guesses = [asyncio.create_task(accounts.log_in("Anna", f"guess {n}", address=f"10.0.0.{n}")) for n in range(60)]
        await until(lambda: sum(guess.done() for guess in guesses) == 60 - MOST_WAITING)  # all have come
        others.end()
        found = await asyncio.gather(*guesses, return_exceptions=True)
        assert all(isinstance(one, LogInError) for one in found)
        assert sum(not isinstance(one, LockedOutError) for one in found) == FREE_OF_USER
        assert sum("at this moment" in str(one) for one in found) == 60 - MOST_WAITING


class Busy:
    """Other people's log-ins, of which the first is looked at until `end`: of each address as many as have a place."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts, self.looked, self._go_on, self._matches = (
            accounts,
            list[str](),
            threading.Event(),
            passwords.matches,
        )

    def matches(self, encoded: str, secret: str) -> bool:
        self.looked.append(secret)
        if secret.startswith("guess"):
            assert self._go_on.wait(240.0)
            return False
        return self._matches(encoded, secret)

    async def fill(self, addresses: list[str]) -> list["asyncio.Task[Any]"]:
        """Begin log-ins until each further one is turned away at once."""
        tasks = [
            asyncio.create_task(self.accounts.log_in(f"nobody {n}", f"guess {n}", address=address))
            for n, address in enumerate(addresses)
        ]
        await until(lambda: sum(task.done() for task in tasks) == len(tasks) - self.places(addresses))
        return tasks

    def waiting(self) -> tuple[int, int]:
        """Log-ins that hold a place: of strangers, and of those known."""
        found = self.accounts._prover._waiting
        return found[False].total(), found[True].total()

    @staticmethod
    def places(addresses: list[str]) -> int:
        return min(MOST_WAITING, sum(min(many, MOST_OF_ONE) for many in Counter(addresses).values()))

    def end(self) -> None:
        self._go_on.set()


@asynccontextmanager
async def busy(folder: Path) -> AsyncIterator[tuple[Accounts, Busy]]:
    clock = ManualClock()
    async with running(folder, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        await accounts.users.add("Anna", "admin", GOOD, by=ROOT)
        others = Busy(accounts)
        with mock.patch.object(passwords, "matches", others.matches):
            try:
                yield accounts, others
            finally:
                others.end()


async def test_a_known_browser_is_next_while_strangers_hold_all_places(tmp_path: Path) -> None:
    async with busy(tmp_path) as (accounts, others):
        known = await accounts.log_in("Anna", GOOD, address=HERE)
        others.looked.clear()
        tasks = await others.fill([f"10.0.{n}.1" for n in range(40)])
        assert len(others.looked) == 1
        with pytest.raises(BusyError):
            await accounts.log_in("Anna", GOOD, address=HERE)
        mine = asyncio.create_task(accounts.log_in("Anna", GOOD, address=HERE, device=known.device))
        again = asyncio.create_task(accounts.own.set_pin(known.secret, GOOD, PIN, address=HERE))
        await until(lambda: others.waiting() == (MOST_WAITING, 2))
        others.end()
        assert (await mine).secret
        await again
        assert others.looked[1:3] == [GOOD, GOOD], "after the one that was looked at already"
        await asyncio.gather(*tasks, return_exceptions=True)
        assert others.waiting() == (0, 0)


async def test_one_address_leaves_places_to_the_others_and_a_known_browser_to_other_browsers(tmp_path: Path) -> None:
    async with busy(tmp_path) as (accounts, others):
        known = await accounts.log_in("Anna", GOOD, address=HERE)
        tasks = await others.fill(["10.0.0.1", "2001:db8::1"] * 20)
        with pytest.raises(BusyError):
            await accounts.log_in("Anna", GOOD, address="2001:db8::2")
        guesses = {
            asyncio.create_task(accounts.log_in("Anna", "guess", address=HERE, device=known.device)) for _ in range(20)
        }
        await until(lambda: sum(task.done() for task in guesses) == 20 - MOST_OF_ONE)
        elsewhere = asyncio.create_task(accounts.log_in("Anna", GOOD, address=HERE))
        await until(lambda: others.waiting() == (2 * MOST_OF_ONE + 1, MOST_OF_ONE))
        others.end()
        assert (await elsewhere).secret
        await asyncio.gather(*tasks, *guesses, return_exceptions=True)


async def test_a_log_in_that_is_given_up_leaves_its_place(tmp_path: Path) -> None:
    async with busy(tmp_path) as (_, others):
        first, *held = [task for task in await others.fill([f"10.0.{n}.1" for n in range(40)]) if not task.done()]
        assert others.waiting() == (MOST_WAITING, 0)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert others.waiting() == (1, 0)
        others.end()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_delay_is_looked_at_before_a_place_is_taken(tmp_path: Path) -> None:
    async with busy(tmp_path) as (accounts, others):
        for _ in range(FREE_OF_USER):
            with pytest.raises(LogInError):
                await accounts.log_in("Anna", "wrong", address=HERE)
        tasks = await others.fill([f"10.0.{n}.1" for n in range(40)])
        with pytest.raises(LockedOutError):
            await accounts.log_in("Anna", GOOD, address=HERE)
        with pytest.raises(LockedOutError):
            await accounts.switch("Anna", PIN, address=HERE, device="")
        others.end()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_code_in_a_known_browser_is_looked_at_while_its_address_is_locked(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        await accounts.users.add("Anna", "admin", GOOD, by=ROOT)
        known = await accounts.log_in("Anna", GOOD, address=HERE)
        shown, _ = await accounts.own.offer_second_factor(known.secret, GOOD, address=HERE, site="X")
        app = pyotp.parse_uri(shown)
        assert isinstance(app, pyotp.TOTP)
        now_s = int(clock.now_us() / 1e6)
        codes = await accounts.own.confirm_second_factor(known.secret, GOOD, app.at(now_s), address=HERE)
        known = await accounts.log_in("Anna", GOOD, address=HERE, code=codes[1])
        unknown = await accounts.log_in("Anna", GOOD, address=HERE)
        for n in range(FREE_OF_ADDRESS):
            with pytest.raises(LogInError):
                await accounts.log_in(f"nobody {n}", "guess", address=HERE)
        with pytest.raises(LockedOutError):
            await accounts.give_code(unknown.secret, codes[0], address=HERE)
        half = await accounts.log_in("Anna", GOOD, address=HERE, device=known.device)
        assert not (await accounts.give_code(half.secret, codes[0], address=HERE)).second_factor


async def test_a_code_given_twice_at_once_opens_one_session(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        await accounts.users.add("Anna", "admin", GOOD, by=ROOT)
        first = await accounts.log_in("Anna", GOOD, address=HERE)
        shown, _ = await accounts.own.offer_second_factor(first.secret, GOOD, address=HERE, site="X")
        app = pyotp.parse_uri(shown)
        assert isinstance(app, pyotp.TOTP)
        now_s = int(clock.now_us() / 1e6)
        (code, *_) = await accounts.own.confirm_second_factor(first.secret, GOOD, app.at(now_s), address=HERE)
        tries = [accounts.log_in("Anna", GOOD, address=HERE, code=code) for _ in range(4)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(one, LogInError) for one in found) == 3


async def test_an_admin_who_gives_a_password_during_a_log_in_wins(tmp_path: Path) -> None:
    clock: Clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        await accounts.users.add("Anna", "admin", GOOD, by=ROOT)
        for _ in range(3):
            await asyncio.gather(
                accounts.log_in("Anna", GOOD, address=HERE),
                accounts.users.set_password("Anna", OTHER, by=ROOT),
                return_exceptions=True,
            )
            assert await accounts.sessions() == []
            await accounts.log_in("Anna", OTHER, address=HERE)
            await accounts.users.set_password("Anna", GOOD, by=ROOT)


async def test_refused_names_and_addresses_are_kept_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_ORIGINS", 20)
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        await journal.run(sessions.refuse, 7, "Anna", ROOT, [Origin(b"of a user", 7, 5)])
        for number in range(50):
            clock.advance(1)
            await journal.run(sessions.refuse, 0, "", ROOT, [Origin(b"%d" % number, 0, 5)])
        await journal.run(audit.note, ROOT, "reload", {})
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
        kept = [row[0] for row in connection.execute("SELECT origin FROM failed_log_in ORDER BY last_us")]
    assert kept == [b"of a user", *(b"%d" % number for number in range(30, 50))]


async def test_refusals_are_forgotten_after_an_hour(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        await journal.run(sessions.refuse, 7, "Anna", ROOT, [Origin(b"of a user", 7, 5)])
        clock.advance(FORGOTTEN_US / 1e6)
        await journal.run(sessions.refuse, 8, "Vik", ROOT, [Origin(b"of another", 8, 5)])
        assert journal.rows("SELECT origin FROM failed_log_in") == [(b"of another",)]


async def test_a_change_works_although_its_caller_has_gone(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        await accounts.users.add("Anna", "admin", GOOD, by=ROOT)
        done = await accounts.log_in("Anna", GOOD, address=HERE)
        who = await accounts.principal_of_session(done.secret, address=HERE)
        assert who is not None
        ending = asyncio.ensure_future(accounts.revoke(who.number, by=ROOT))
        await asyncio.sleep(0)
        ending.cancel()
        await journal.run(audit.note, ROOT, "reload", {})
        assert await accounts.principal_of_session(done.secret, address=HERE) is None


async def test_damaged_credentials_keep_out_one_user_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        for name in ("Anna", "Vik"):
            await accounts.users.add(name, "admin", GOOD, by=ROOT)
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
        connection.execute("UPDATE app_user SET credentials = zeroblob(99) WHERE name = 'Anna'")
        connection.commit()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        with pytest.raises(LogInError):
            await accounts.log_in("Anna", GOOD, address=HERE)
        await accounts.log_in("Vik", GOOD, address=HERE)
        await accounts.users.set_password("Anna", OTHER, by=ROOT)
        await accounts.log_in("Anna", OTHER, address=HERE)


async def test_wrong_log_ins_elsewhere_do_not_keep_a_user_from_the_own_account(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        await accounts.users.add("Anna", "admin", GOOD, by=ROOT)
        done = await accounts.log_in("Anna", GOOD, address=HERE)
        for _ in range(FREE_OF_USER + 1):
            with pytest.raises(LogInError):
                await accounts.log_in("Anna", "wrong", address=HERE)
        await accounts.own.change_password(done.secret, GOOD, OTHER, address=HERE)


async def test_a_refused_name_is_no_text_of_the_journal(tmp_path: Path) -> None:
    """A password that was typed into the field of the name."""
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        with pytest.raises(LogInError):
            await accounts.log_in("my secret password", "x", address=HERE)
        assert "my secret password" not in json.dumps([dict(act.what) for act in acts_page(journal)])
