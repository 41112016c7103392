"""Log-in, sessions, PINs, tokens and the set-up link, on a real journal with a clock that a test moves."""

import importlib.util
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pyotp
import pytest

from engine.features.access.rows import tokens, users
from engine.features.access.rules.accounts import FREE_OF_ADDRESS, FREE_OF_USER, LONGEST_DELAY_US
from engine.features.access.service import accounts as module
from engine.features.access.service import passwords
from engine.features.access.service.accounts import Accounts
from engine.features.access.service.tokens import FILE_NAME, LASTS_S
from engine.model.errors import LabRelayError, LockedOutError, LogInError, RefusedError
from engine.model.process.clock import ManualClock
from engine.model.site.actor import Actor
from engine.model.site.permissions import LOOKING, ROLES, SEEING_PATIENTS, WATCHING
from engine.store.journal import Journal
from engine.store.operations import audit
from engine.store.queries.acts import acts_page
from tests.support.journals import running

ROOT = Actor("root", role="root")
HERE, THERE = "10.0.0.5", "10.0.0.6"
GOOD, OTHER = "correct horse battery", "another staple entirely"
PIN = "274913"
DAY_US = 86_400_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def journal(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Journal]:
    async with running(tmp_path, clock=clock) as journal:
        yield journal


@pytest.fixture
async def accounts(journal: Journal, clock: ManualClock) -> Accounts:
    made = Accounts(journal, clock)
    await made.users.add("Anna", "admin", GOOD, by=ROOT)
    await made.users.add("Vik", "operator", GOOD, by=ROOT)
    return made


async def refused(accounts: Accounts, name: str, password: str = "wrong", *, address: str = HERE, **more: str) -> str:
    with pytest.raises(LogInError) as caught:
        await accounts.log_in(name, password, address=address, **more)
    return str(caught.value)


async def test_a_user_logs_in_and_acts_under_the_own_name(accounts: Accounts) -> None:
    done = await accounts.log_in("anna", GOOD, address=HERE)
    who = await accounts.principal_of_session(done.secret, address=THERE)

    assert who is not None
    assert (who.principal.actor, who.principal.permissions) == ("Anna", ROLES["admin"])
    assert who.principal.actor.by == {"role": "admin", "from": THERE}
    assert await accounts.principal_of_session("another", address=HERE) is None


async def test_a_refusal_does_not_say_what_was_wrong(accounts: Accounts) -> None:
    await accounts.users.disable("Vik", True, by=ROOT)
    assert await refused(accounts, "anna") == await refused(accounts, "none") == await refused(accounts, "Vik", GOOD)


async def test_names_differ_in_more_than_case_and_form(accounts: Accounts) -> None:
    for name in ("ANNA", "Ａnna", " anna "):
        with pytest.raises(RefusedError, match="already"):
            await accounts.users.add(name, "viewer", GOOD, by=ROOT)
        await accounts.log_in(name, GOOD, address=HERE)


@pytest.mark.parametrize("name", ["", "a" * 65, "a\x00b", "a\u202eb", "a:b", "LabRelay", "a\nb", "a  b"])
async def test_a_name_that_cannot_be_shown_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(RefusedError):
        await accounts.users.add(name, "viewer", GOOD, by=ROOT)


@pytest.mark.parametrize("password", ["short", "x" * 257, "aaaaaaaaaaaaaa", "Password1234", "meenakshi1234", "ab" * 8])
async def test_a_weak_password_is_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(RefusedError):
        await accounts.users.add("Meenakshi", "viewer", password, by=ROOT)


async def test_a_session_ends_when_it_is_idle_and_at_the_latest_after_twelve_hours(
    accounts: Accounts, clock: ManualClock
) -> None:
    done = await accounts.log_in("anna", GOOD, address=HERE)
    start_us = clock.now_us()
    step_s = module.IDLE_S - 1
    while (who := await accounts.principal_of_session(done.secret, address=HERE)) is not None:
        assert who.ends_us == min(clock.now_us() + 1e6 * module.IDLE_S, who.latest_us)
        clock.advance(step_s)
    assert 1e6 * module.LONGEST_S <= clock.now_us() - start_us < 1e6 * module.LONGEST_S + 1e6 * step_s

    done = await accounts.log_in("anna", GOOD, address=HERE)
    clock.advance(module.IDLE_S - 1)
    assert await accounts.principal_of_session(done.secret, address=HERE, by_person=False) is not None
    clock.advance(1)
    assert await accounts.principal_of_session(done.secret, address=HERE, by_person=False) is None


async def test_the_time_of_the_last_request_survives_a_restart(
    accounts: Accounts, journal: Journal, clock: ManualClock
) -> None:
    done = await accounts.log_in("anna", GOOD, address=HERE)
    clock.advance(20 * 60)
    assert await accounts.principal_of_session(done.secret, address=HERE) is not None
    await journal.run(audit.note, ROOT, "reload", {})  # times are noted with the next act
    clock.advance(20 * 60)

    after = Accounts(journal, clock)
    assert await after.principal_of_session(done.secret, address=HERE) is not None


async def test_requests_cost_no_query(accounts: Accounts, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    done = await accounts.log_in("anna", GOOD, address=HERE)
    await accounts.principal_of_session(done.secret, address=HERE)
    monkeypatch.setattr(journal, "snapshot", None)
    for _ in range(100):
        assert await accounts.principal_of_session(done.secret, address=HERE) is not None
        assert await accounts.principal_of_session("unknown", address=HERE) is None


async def test_what_ends_a_session_ends_it_at_once(accounts: Accounts) -> None:
    async def opened(name: str) -> tuple[str, int]:
        secret = (await accounts.log_in(name, GOOD, address=HERE)).secret
        who = await accounts.principal_of_session(secret, address=HERE)
        assert who is not None
        return secret, who.number

    async def gone(secret: str) -> bool:
        return await accounts.principal_of_session(secret, address=HERE) is None

    secret, _ = await opened("Vik")
    await accounts.log_out(secret, address=HERE)
    assert await gone(secret)
    await accounts.log_out(secret, address=HERE)

    secret, number = await opened("Vik")
    assert [(name, one.number) for name, one in await accounts.sessions("Vik")] == [("Vik", number)]
    assert await accounts.revoke(number, by=ROOT)
    assert not await accounts.revoke(number, by=ROOT)
    assert await gone(secret)
    assert await accounts.sessions("Vik") == []

    secret, _ = await opened("Vik")
    new = await accounts.rotate(secret)
    assert new is not None
    assert await gone(secret)
    assert not await gone(new)
    assert await accounts.rotate(secret) is None

    await accounts.users.set_role("Vik", "viewer", by=ROOT)
    who = await accounts.principal_of_session(new, address=HERE)
    assert who is not None
    assert who.principal.permissions == ROLES["viewer"]
    await accounts.users.let_see_patients("Vik", True, by=ROOT)
    who = await accounts.principal_of_session(new, address=HERE)
    assert who is not None
    assert who.principal.permissions == ROLES["viewer"] | SEEING_PATIENTS

    await accounts.users.disable("Vik", True, by=ROOT)
    assert await gone(new)
    await accounts.users.disable("Vik", False, by=ROOT)
    assert await gone(new)

    one, _ = await opened("Vik")
    other, _ = await opened("Vik")
    await accounts.own.change_password(one, GOOD, OTHER, address=HERE)
    assert await gone(other)
    assert not await gone(one)
    await accounts.users.set_password("Vik", GOOD, by=ROOT)
    assert await gone(one)

    last, _ = await opened("Vik")
    await accounts.users.remove("Vik", by=ROOT)
    assert await gone(last)


async def test_a_user_has_at_most_ten_sessions(accounts: Accounts) -> None:
    secrets = [(await accounts.log_in("anna", GOOD, address=HERE)).secret for _ in range(11)]
    open_ones = [await accounts.principal_of_session(secret, address=HERE) is not None for secret in secrets]
    assert open_ones == [False] + [True] * 10


async def test_wrong_log_ins_delay_the_next_one_for_a_user_as_for_an_unknown_name(
    accounts: Accounts, clock: ManualClock, journal: Journal
) -> None:
    for number, name in enumerate(("anna", "no such user")):
        address = f"10.0.1.{number}"
        for _ in range(FREE_OF_USER):
            assert "wrong" in await refused(accounts, name, address=address)
        assert "too many" in await refused(accounts, name, GOOD, address=address)
    clock.advance(15)
    assert "wrong" in await refused(accounts, "anna")
    for _ in range(20):  # a person who attacks for long waits no longer than this
        clock.advance(LONGEST_DELAY_US / 1e6)
        assert "wrong" in await refused(accounts, "anna")
        with pytest.raises(LockedOutError) as locked:
            await Accounts(journal, clock).log_in("anna", GOOD, address=HERE)  # a restart forgets nothing
        assert locked.value.until_us - clock.now_us() <= LONGEST_DELAY_US
    clock.advance(LONGEST_DELAY_US / 1e6)
    await accounts.log_in("anna", GOOD, address=THERE)
    for _ in range(FREE_OF_USER - 1):
        assert "wrong" in await refused(accounts, "anna", address=THERE)
    await accounts.log_in("anna", GOOD, address=THERE)


async def test_an_attacker_does_not_lock_out_a_user_who_works(accounts: Accounts) -> None:
    before = await accounts.log_in("anna", GOOD, address=HERE)
    for _ in range(FREE_OF_USER + 1):
        await refused(accounts, "anna", address=THERE)

    assert await accounts.principal_of_session(before.secret, address=HERE) is not None
    await accounts.log_in("anna", GOOD, address=THERE, device=before.device)
    assert "too many" in await refused(accounts, "anna", GOOD, address=HERE)


async def test_an_address_that_tries_many_names_has_to_wait(accounts: Accounts) -> None:
    for number in range(FREE_OF_ADDRESS):
        assert "wrong" in await refused(accounts, f"user {number}", address="2001:db8::1")
    assert "too many" in await refused(accounts, "anna", GOOD, address="2001:db8::2")
    await accounts.log_in("anna", GOOD, address="2001:db8:0:1::1")


def test_a_password_is_hashed_with_the_parameters_that_owasp_names() -> None:
    """In a copy of the module: that of the tests has others."""
    found = importlib.util.find_spec(passwords.__name__)
    assert found is not None
    assert found.loader is not None
    copy = importlib.util.module_from_spec(found)
    found.loader.exec_module(copy)
    made = copy.hash_of(GOOD)
    assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert copy.matches(made, GOOD)
    assert not copy.matches(made, GOOD.upper())
    assert not copy.is_outdated(made)
    assert copy.is_outdated(passwords.hash_of(GOOD))


async def test_a_password_with_other_parameters_is_hashed_anew(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (await accounts.users.named("anna")).credentials.password
    monkeypatch.setattr(passwords, "ROUNDS", 3)
    passwords._hasher.cache_clear()
    try:
        await accounts.log_in("anna", GOOD, address=HERE)
        after = (await accounts.users.named("anna")).credentials.password
        assert "t=1" in before
        assert "t=3" in after
        await accounts.log_in("anna", GOOD, address=HERE)
        assert (await accounts.users.named("anna")).credentials.password == after
    finally:
        passwords._hasher.cache_clear()


async def test_made_up_log_ins_elsewhere_keep_no_user_from_giving_a_code(
    accounts: Accounts, clock: ManualClock
) -> None:
    session = (await accounts.log_in("anna", GOOD, address=HERE)).secret
    shown, _ = await accounts.own.offer_second_factor(session, GOOD, address=HERE, site="Aarogya")
    app = pyotp.parse_uri(shown)
    assert isinstance(app, pyotp.TOTP)
    await accounts.own.confirm_second_factor(session, GOOD, app.at(int(clock.now_us() / 1e6)), address=HERE)
    clock.advance(30)
    half = await accounts.log_in("anna", GOOD, address=HERE)
    for number in range(FREE_OF_ADDRESS):
        with pytest.raises(LogInError, match="wrong"):
            await accounts.give_code(f"made up {number}", "123456", address=THERE)
    with pytest.raises(LockedOutError):
        await accounts.give_code("made up", "123456", address=THERE)
    done = await accounts.give_code(half.secret, app.at(int(clock.now_us() / 1e6)), address=HERE)
    assert await accounts.principal_of_session(done.secret, address=HERE) is not None


async def test_the_second_factor_is_asked_for_and_no_code_works_twice(accounts: Accounts, clock: ManualClock) -> None:
    session = (await accounts.log_in("anna", GOOD, address=HERE)).secret
    shown, picture = await accounts.own.offer_second_factor(session, GOOD, address=HERE, site="Aarogya")
    assert shown.startswith("otpauth://totp/LabRelay%20Aarogya:Anna?")
    assert picture.startswith("<svg")
    app = pyotp.parse_uri(shown)
    assert isinstance(app, pyotp.TOTP)

    def code() -> str:
        return app.at(int(clock.now_us() / 1e6))

    assert not (await accounts.log_in("anna", GOOD, address=HERE)).second_factor  # not in use yet
    with pytest.raises(RefusedError):
        await accounts.own.confirm_second_factor(session, GOOD, "000000", address=HERE)
    recovery = await accounts.own.confirm_second_factor(session, GOOD, code(), address=HERE)
    assert len(set(recovery)) == 10

    half = await accounts.log_in("anna", GOOD, address=HERE)
    assert half.second_factor
    assert await accounts.principal_of_session(half.secret, address=HERE) is None
    with pytest.raises(LogInError):  # the code that confirmed it
        await accounts.give_code(half.secret, code(), address=HERE)
    clock.advance(30)
    done = await accounts.give_code(half.secret, code(), address=HERE)
    assert await accounts.principal_of_session(done.secret, address=HERE) is not None
    with pytest.raises(LogInError):
        await accounts.give_code(half.secret, code(), address=HERE)
    await refused(accounts, "anna", GOOD, code=code())

    await accounts.log_in("anna", GOOD, address=HERE, code=recovery[3].upper().replace("-", " "))
    await refused(accounts, "anna", GOOD, code=recovery[3])
    await accounts.users.drop_second_factor("anna", by=ROOT)
    assert not (await accounts.log_in("anna", GOOD, address=HERE)).second_factor
    with pytest.raises(RefusedError, match="no second factor"):
        await accounts.users.drop_second_factor("anna", by=ROOT)


async def test_a_user_may_go_without_a_second_factor_again(accounts: Accounts, clock: ManualClock) -> None:
    session = (await accounts.log_in("anna", GOOD, address=HERE)).secret
    other = (await accounts.log_in("anna", GOOD, address=HERE)).secret
    shown, _ = await accounts.own.offer_second_factor(session, GOOD, address=HERE, site="")
    app = pyotp.parse_uri(shown)
    assert isinstance(app, pyotp.TOTP)
    await accounts.own.confirm_second_factor(session, GOOD, app.at(int(clock.now_us() / 1e6)), address=HERE)
    assert await accounts.principal_of_session(other, address=HERE) is None
    await accounts.own.drop_second_factor(session, GOOD, address=HERE)
    assert not (await accounts.log_in("anna", GOOD, address=HERE)).second_factor
    await accounts.own.set_pin(session, GOOD, PIN, address=HERE)
    await accounts.own.set_pin(session, GOOD, "", address=HERE)
    assert (await accounts.users.named("anna")).credentials.pin == ""


async def test_half_log_ins_are_kept_within_a_bound(
    accounts: Accounts, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_HALF", 3)
    session = (await accounts.log_in("anna", GOOD, address=HERE)).secret
    shown, _ = await accounts.own.offer_second_factor(session, GOOD, address=HERE, site="")
    app = pyotp.parse_uri(shown)
    assert isinstance(app, pyotp.TOTP)
    codes = await accounts.own.confirm_second_factor(session, GOOD, app.at(int(clock.now_us() / 1e6)), address=HERE)
    halves = [await accounts.log_in("anna", GOOD, address=HERE) for _ in range(4)]
    with pytest.raises(LogInError):
        await accounts.give_code(halves[0].secret, codes[0], address=HERE)
    await accounts.give_code(halves[1].secret, codes[0], address=HERE)


async def test_users_and_tokens_are_kept_within_a_bound(
    accounts: Accounts, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "MOST_USERS", 2)
    monkeypatch.setattr(tokens, "MOST_TOKENS", 1)
    with pytest.raises(RefusedError, match="there are 2 users"):
        await accounts.users.add("Eve", "viewer", GOOD, by=ROOT)
    await accounts.tokens.create("one", WATCHING, ends_us=0, by=ROOT)
    with pytest.raises(RefusedError, match="1 tokens"):
        await accounts.tokens.create("two", WATCHING, ends_us=0, by=ROOT)


async def test_times_of_sessions_that_have_ended_are_forgotten(accounts: Accounts, clock: ManualClock) -> None:
    for _ in range(30):
        done = await accounts.log_in("anna", GOOD, address=HERE)
        assert await accounts.principal_of_session(done.secret, address=HERE) is not None
        clock.advance(61)
        assert await accounts.principal_of_session(done.secret, address=HERE) is not None
    assert len(accounts._seen) == len(accounts._noted) == len(await accounts.sessions()) + 1


async def test_a_half_log_in_works_once_and_for_a_user_who_may_log_in(accounts: Accounts, clock: ManualClock) -> None:
    await accounts.users.set_role("Vik", "admin", by=ROOT)
    session = (await accounts.log_in("anna", GOOD, address=HERE)).secret
    shown, _ = await accounts.own.offer_second_factor(session, GOOD, address=HERE, site="")
    app = pyotp.parse_uri(shown)
    assert isinstance(app, pyotp.TOTP)
    codes = await accounts.own.confirm_second_factor(session, GOOD, app.at(int(clock.now_us() / 1e6)), address=HERE)
    half = await accounts.log_in("anna", GOOD, address=HERE)
    await accounts.give_code(half.secret, codes[0], address=HERE)
    with pytest.raises(LogInError):
        await accounts.give_code(half.secret, codes[1], address=HERE)
    half = await accounts.log_in("anna", GOOD, address=HERE)
    await accounts.users.disable("anna", True, by=ROOT)
    with pytest.raises(LogInError):
        await accounts.give_code(half.secret, codes[2], address=HERE)


async def test_a_new_password_ends_the_trust_in_browsers(accounts: Accounts) -> None:
    anna = await accounts.log_in("anna", GOOD, address=HERE)
    await accounts.own.set_pin(anna.secret, GOOD, PIN, address=HERE)
    await accounts.users.set_password("anna", OTHER, by=ROOT)
    with pytest.raises(LogInError):
        await accounts.switch("anna", PIN, address=HERE, device=anna.device)


async def test_a_clock_that_was_set_back_keeps_no_user_out(accounts: Accounts, clock: ManualClock) -> None:
    for _ in range(FREE_OF_USER):
        await refused(accounts, "anna")
    clock.advance(-86_400)
    await accounts.log_in("anna", GOOD, address=HERE)


async def test_an_own_log_in_does_not_begin_the_count_of_the_address_anew(accounts: Accounts) -> None:
    for number in range(FREE_OF_ADDRESS - 1):
        await refused(accounts, f"user {number}")
    await accounts.log_in("vik", GOOD, address=HERE)
    await refused(accounts, "another user")
    assert "too many" in await refused(accounts, "anna", GOOD)


async def test_a_half_log_in_waits_for_five_minutes(accounts: Accounts, clock: ManualClock) -> None:
    session = (await accounts.log_in("anna", GOOD, address=HERE)).secret
    shown, _ = await accounts.own.offer_second_factor(session, GOOD, address=HERE, site="")
    app = pyotp.parse_uri(shown)
    assert isinstance(app, pyotp.TOTP)
    await accounts.own.confirm_second_factor(session, GOOD, app.at(int(clock.now_us() / 1e6)), address=HERE)
    half = await accounts.log_in("anna", GOOD, address=HERE)
    clock.advance(300)
    with pytest.raises(LogInError):
        await accounts.give_code(half.secret, app.at(int(clock.now_us() / 1e6)), address=HERE)


async def test_a_pin_suffices_after_a_full_log_in_in_this_browser(accounts: Accounts, clock: ManualClock) -> None:
    anna = await accounts.log_in("anna", GOOD, address=HERE)
    await accounts.own.set_pin(anna.secret, GOOD, PIN, address=HERE)
    vik = await accounts.log_in("vik", GOOD, address=HERE, device=anna.device)
    device = vik.device
    assert await accounts.at_this_device(device) == ["Anna"]
    assert await accounts.at_this_device(anna.device) == []  # the old secret is worth nothing
    assert await accounts.at_this_device("") == []

    switched = await accounts.switch("anna", PIN, address=HERE, device=device, leaving=vik.secret)
    who = await accounts.principal_of_session(switched.secret, address=HERE)
    assert who is not None
    assert (who.user.name, who.how, who.latest_us) == ("Anna", "PIN", anna.ends_us)
    assert await accounts.principal_of_session(vik.secret, address=HERE) is None

    for elsewhere in ("", "another browser", device):
        with pytest.raises(LogInError):
            await accounts.switch("anna", PIN, address=THERE, device=elsewhere)
    clock.advance(module.LONGEST_S)
    with pytest.raises(LogInError):
        await accounts.switch("anna", PIN, address=HERE, device=switched.device)


async def test_wrong_pins_end_the_trust_in_a_browser(accounts: Accounts) -> None:
    anna = await accounts.log_in("anna", GOOD, address=HERE)
    await accounts.own.set_pin(anna.secret, GOOD, PIN, address=HERE)
    for _ in range(module.MOST_WRONG_PINS):
        with pytest.raises(LogInError):
            await accounts.switch("anna", "111222", address=HERE, device=anna.device)
    with pytest.raises(LogInError):
        await accounts.switch("anna", PIN, address=HERE, device=anna.device)
    again = await accounts.log_in("anna", GOOD, address=HERE, device=anna.device)
    await accounts.switch("anna", PIN, address=HERE, device=again.device)


@pytest.mark.parametrize("pin", ["12345", "111111", "123456", "987654", "12345a", "1" * 13, "१२३४५७"])
async def test_a_weak_pin_is_refused(accounts: Accounts, pin: str) -> None:
    anna = await accounts.log_in("anna", GOOD, address=HERE)
    with pytest.raises(RefusedError):
        await accounts.own.set_pin(anna.secret, GOOD, pin, address=HERE)


async def test_the_own_account_asks_for_the_password_again(accounts: Accounts) -> None:
    anna = await accounts.log_in("anna", GOOD, address=HERE)
    for _ in range(FREE_OF_USER):
        with pytest.raises(LogInError, match="password is wrong"):
            await accounts.own.set_pin(anna.secret, "wrong", PIN, address=HERE)
    with pytest.raises(LockedOutError):
        await accounts.own.set_pin(anna.secret, GOOD, PIN, address=HERE)
    with pytest.raises(LogInError, match="ended"):
        await accounts.own.set_pin("none", GOOD, PIN, address=HERE)


async def test_the_last_admin_stays(accounts: Accounts) -> None:
    for act in (
        accounts.users.disable("Anna", True, by=ROOT),
        accounts.users.remove("Anna", by=ROOT),
        accounts.users.set_role("Anna", "viewer", by=ROOT),
    ):
        with pytest.raises(RefusedError, match="Anna is the last admin"):
            await act
    await accounts.users.set_role("Vik", "admin", by=ROOT)
    await accounts.users.remove("Anna", by=ROOT)
    with pytest.raises(RefusedError, match="Vik is the last admin"):
        await accounts.users.disable("Vik", True, by=ROOT)
    with pytest.raises(LabRelayError, match="no user Anna"):
        await accounts.users.remove("Anna", by=ROOT)


async def test_a_token_has_a_scope_and_an_end(accounts: Accounts, clock: ManualClock) -> None:
    secret = await accounts.tokens.create("HIS", LOOKING, ends_us=clock.now_us() + DAY_US, by=ROOT)
    who = await accounts.principal_of_token(secret, address=THERE)
    assert who is not None
    assert (who.actor, who.permissions) == ("token:HIS", LOOKING | WATCHING)
    assert who.actor.by == {"role": "token", "from": THERE}
    assert await accounts.principal_of_token(secret + "x", address=THERE) is None
    with pytest.raises(RefusedError, match="already"):
        await accounts.tokens.create("HIS", LOOKING, ends_us=clock.now_us() + 1, by=ROOT)
    clock.advance(86_400)
    assert await accounts.principal_of_token(secret, address=THERE) is None
    await accounts.tokens.revoke("HIS", by=ROOT)
    with pytest.raises(LabRelayError, match="no token"):
        await accounts.tokens.revoke("HIS", by=ROOT)


async def test_only_a_token_of_a_wall_screen_has_no_end(
    accounts: Accounts, clock: ManualClock, journal: Journal
) -> None:
    for permissions, ends_us in (
        (LOOKING, 0),
        (frozenset(), 0),
        (WATCHING, clock.now_us()),
        (LOOKING, clock.now_us() + 400 * DAY_US),
    ):
        with pytest.raises(RefusedError):
            await accounts.tokens.create("x", permissions, ends_us=ends_us, by=ROOT)
    wall = await accounts.tokens.create("wall", WATCHING, ends_us=0, by=ROOT)
    clock.advance(5 * 366 * 86_400)
    assert await accounts.principal_of_token(wall, address=HERE) is not None
    await journal.run(audit.note, ROOT, "reload", {})
    (shown,) = await Accounts(journal, clock).tokens.list()
    assert (shown.used_from, shown.used_us) == (HERE, clock.now_us())
    await accounts.tokens.revoke("wall", by=ROOT)
    assert await accounts.principal_of_token(wall, address=HERE) is None


async def test_the_set_up_link_makes_one_admin_once(journal: Journal, clock: ManualClock, tmp_path: Path) -> None:
    accounts = Accounts(journal, clock)
    assert not accounts.has_users()
    link = await accounts.set_up.offer("http://127.0.0.1:8080/")
    path = tmp_path / FILE_NAME
    assert path.read_text() == f"{link}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = link.removeprefix("http://127.0.0.1:8080/set-up?code=")
    with pytest.raises(LogInError):
        await accounts.set_up.use("another", "Anna", GOOD, address=HERE)
    with pytest.raises(RefusedError):
        await accounts.set_up.use(secret, "Anna", "short", address=HERE)
    await accounts.set_up.use(secret, "Anna", GOOD, address=HERE)
    assert not path.exists()
    with pytest.raises(LogInError):
        await accounts.set_up.use(secret, "Eve", GOOD, address=HERE)
    assert await accounts.set_up.offer("http://127.0.0.1:8080") == ""
    assert accounts.has_users()
    await accounts.log_in("Anna", GOOD, address=HERE)


async def test_the_set_up_link_ends(journal: Journal, clock: ManualClock, tmp_path: Path) -> None:
    accounts = Accounts(journal, clock)
    old = (await accounts.set_up.offer("")).partition("=")[2]
    new = (await accounts.set_up.offer("")).partition("=")[2]
    assert (accounts.set_up.is_open(old), accounts.set_up.is_open(new)) == (False, True)
    clock.advance(LASTS_S)
    with pytest.raises(LogInError):
        await accounts.set_up.use(new, "Eve", GOOD, address=HERE)

    last = (await accounts.set_up.offer("")).partition("=")[2]
    await accounts.users.add("Anna", "admin", GOOD, by=ROOT)
    with pytest.raises(RefusedError, match="already"):
        await accounts.set_up.use(last, "Eve", GOOD, address=HERE)
    assert await Accounts(journal, clock).set_up.offer("") == ""
    assert not (tmp_path / FILE_NAME).exists()


async def test_brute_force_leaves_one_row_in_ten_minutes(
    accounts: Accounts, journal: Journal, clock: ManualClock
) -> None:
    for minute in range(30):
        for number in range(8):
            await refused(accounts, "anna", address=f"10.{minute}.0.{number}")
            await refused(accounts, f"no user {minute} {number}", address=f"10.{minute}.0.{number}")
        clock.advance(60)
    clock.advance(LONGEST_DELAY_US / 1e6)
    await accounts.log_in("anna", GOOD, address=HERE)

    rows = [act for act in acts_page(journal, limit=1000) if act.verb == "log-in-refused"]
    assert 2 <= len(rows) <= 6
    (log_in,) = [act for act in acts_page(journal, limit=1000) if act.verb == "log-in"]
    of_anna = sum(act.what["times"] for act in rows if act.what["user"]) + log_in.what["refused_before"]
    assert of_anna == 30 * 8
    assert all(act.actor == "unknown" and act.by["from"].startswith("10.") for act in rows)
