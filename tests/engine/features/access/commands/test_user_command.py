"""`labrelay user` and `labrelay token`, with and without a daemon."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from engine.commands.shared.output import ExitCode
from engine.features.access.service.accounts import Accounts
from engine.model.errors import LogInError
from engine.model.process.clock import SystemClock
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import fill_journal
from tests.support.sites import make_site

GOOD, OTHER = "correct horse battery", "another staple entirely"
T = TypeVar("T")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = make_site(tmp_path)
    fill_journal(folder / "var")
    return folder


def add(site: Path, name: str, role: str, *more: str) -> Ran:
    return labrelay("user", "add", name, "--role", role, "--password-stdin", *more, site=site, given=f"{GOOD}\n")


def done(ran: Ran) -> str:
    assert ran.code == ExitCode.OK, ran.err
    return ran.err.strip()


def with_accounts(site: Path, work: Callable[[Accounts], Awaitable[T]]) -> T:
    async def run() -> T:
        journal = Journal.open(site / "var", clock=SystemClock())
        journal.start(asyncio.get_running_loop())
        try:
            return await work(Accounts(journal, SystemClock()))
        finally:
            await journal.stop()

    return asyncio.run(run())


def can_log_in(site: Path, name: str, password: str) -> bool:
    async def look(accounts: Accounts) -> bool:
        try:
            return bool(await accounts.log_in(name, password, address="10.0.0.5"))
        except LogInError:
            return False

    return with_accounts(site, look)


def test_a_user_is_added_changed_and_removed(site: Path) -> None:
    assert "no users" in labrelay("user", "list", site=site).err
    assert done(add(site, "Anna", "admin")) == "Anna may log in as admin"
    done(add(site, "Vik", "operator", "--see-patients"))
    assert can_log_in(site, "vik", GOOD)

    rows = labrelay("user", "list", "-o", "json", site=site).json["users"]
    assert [(row["name"], row["role"], row["sees_patients"], row["disabled"]) for row in rows] == [
        ("Anna", "admin", False, False),
        ("Vik", "operator", True, False),
    ]
    shown = labrelay("user", "show", "VIK", "-o", "json", site=site).json
    assert [(one["how"], one["from"]) for one in shown["sessions"]] == [("password", "10.0.0.5")]
    assert "10.0.0.5" in labrelay("user", "show", "vik", site=site).out

    assert "engineer" in done(labrelay("user", "role", "vik", "engineer", site=site))
    done(labrelay("user", "grant", "vik", "see-patients", "--take-back", site=site))
    shown = labrelay("user", "show", "vik", "-o", "json", site=site).json
    assert (shown["role"], shown["sees_patients"]) == ("engineer", False)

    done(labrelay("user", "disable", "vik", site=site))
    assert not can_log_in(site, "vik", GOOD)
    done(labrelay("user", "enable", "vik", site=site))
    done(labrelay("user", "password", "vik", "--password-stdin", site=site, given=f"{OTHER}\n"))
    assert (can_log_in(site, "vik", GOOD), can_log_in(site, "vik", OTHER)) == (False, True)

    assert labrelay("user", "remove", "vik", site=site).code == ExitCode.REFUSED
    done(labrelay("user", "remove", "vik", "--yes", site=site))
    assert labrelay("user", "show", "vik", site=site).code == ExitCode.FAILED


def test_each_change_is_in_the_audit_trail_without_a_secret(site: Path) -> None:
    add(site, "Anna", "admin")
    add(site, "Vik", "viewer")
    labrelay("user", "password", "vik", "--password-stdin", site=site, given=f"{OTHER}\n")
    secret = labrelay("token", "add", "HIS", "-o", "json", site=site).json["secret"]
    labrelay("token", "revoke", "HIS", site=site)
    reader = Reader.beside(site / "var")
    try:
        acts = [act for act in acts_page(reader) if "user" in act.what or "token" in act.what]
    finally:
        reader.close()
    assert [act.verb for act in acts] == ["token-revoked", "token-created", "user-password", "user-added", "user-added"]
    assert not any(hidden in str(act) for act in acts for hidden in (GOOD, OTHER, secret))


def test_log_ins_and_changes_of_users_have_their_kind_in_an_export(site: Path, tmp_path: Path) -> None:
    add(site, "Anna", "admin")
    assert can_log_in(site, "anna", GOOD)
    assert not can_log_in(site, "anna", OTHER)
    file = tmp_path / "trail.json"
    assert labrelay("audit", "export", "--to", str(file), site=site).code == ExitCode.OK
    events = [AuditEvent.model_validate(entry["resource"]) for entry in json.loads(file.read_text())["entry"]]
    found = {one.subtype[0].code: (one.type.code, one.outcome, one.agent[0].who.display) for one in events}
    assert found["log-in"] == ("110114", "0", "Anna")
    assert found["log-in-refused"] == ("110114", "4", "unknown")
    assert found["user-added"][0] == "110136"


@pytest.mark.parametrize(
    "arguments", [("disable", "anna"), ("remove", "anna", "--yes"), ("role", "anna", "viewer")], ids=lambda a: a[0]
)
def test_the_last_admin_stays(site: Path, arguments: tuple[str, ...]) -> None:
    add(site, "Anna", "admin")
    ran = labrelay("user", *arguments, site=site)
    assert ran.code == ExitCode.REFUSED
    assert "Anna is the last admin: make another user an admin first" in ran.err


def test_what_cannot_be_done_is_said(site: Path) -> None:
    for arguments, given, code, words in (
        (("user", "add", "Anna", "--password-stdin"), "short\n", ExitCode.REFUSED, "12 to 256 characters"),
        (("user", "add", "Anna"), "", ExitCode.REFUSED, "--password-stdin"),
        (("user", "add", "a:b", "--password-stdin"), f"{GOOD}\n", ExitCode.REFUSED, "no colon"),
        (("user", "role", "anna", "admin"), "", ExitCode.FAILED, "there is no user anna"),
        (("user", "second-factor", "anna", "--off", "--yes"), "", ExitCode.FAILED, "there is no user anna"),
        (("token", "revoke", "HIS"), "", ExitCode.FAILED, "there is no token HIS"),
        (("token", "add", "HIS", "--expires", "400d"), "", ExitCode.REFUSED, "at most a year"),
    ):
        ran = labrelay(*arguments, site=site, given=given)
        assert ran.code == code, (arguments, ran.err)
        assert words in ran.err


def test_a_token_is_shown_once(site: Path) -> None:
    made = labrelay("token", "add", "HIS", "--may", "look", "--may", "act", site=site)
    secret = made.out.strip()
    wall = labrelay("token", "add", "wall", "--wall-screen", "-o", "json", site=site).json["secret"]

    listed = labrelay("token", "list", "-o", "json", site=site)
    assert [(row["name"], row["permissions"]) for row in listed.json["tokens"]] == [
        ("HIS", ["act", "look", "watch"]),
        ("wall", ["watch"]),
    ]
    assert [row["ends"] is None for row in listed.json["tokens"]] == [False, True]
    assert secret not in listed.out

    async def may(accounts: Accounts) -> list[bool]:
        return [await accounts.principal_of_token(one, address="") is not None for one in (secret, wall)]

    assert with_accounts(site, may) == [True, True]
    done(labrelay("token", "revoke", "HIS", site=site))
    assert with_accounts(site, may) == [False, True]


def test_a_password_is_typed_twice_on_a_terminal_and_not_shown(site: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "engine", "--site", str(site), "user", "add", "Anna", "--role", "admin"]
    asking = {name: value for name, value in os.environ.items() if name != "CI"}  # where CI is set it asks nothing
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=asking, start_new_session=True
    ) as process:
        os.close(slave)
        shown = b""

        def read_until(words: bytes) -> None:
            nonlocal shown
            while words not in shown:
                try:
                    shown += os.read(master, 4096)
                except OSError:  # no process has the terminal any more
                    pytest.fail(f"it ended without {words!r}: {shown!r}")

        for asked in (b"new password of Anna", b"once more"):
            read_until(asked)
            os.write(master, f"{GOOD}\n".encode())
        read_until(b"may log in")
        assert process.wait(timeout=60) == 0
    os.close(master)
    assert GOOD.encode() not in shown
    assert can_log_in(site, "anna", GOOD)


def test_a_user_and_a_token_of_a_unit(site: Path) -> None:
    written = site / "config" / "labrelay.yaml"
    text = written.read_text(encoding="utf-8").replace("Asia/Kolkata", "Asia/Kolkata, units: {east: [], west: []}")
    written.write_text(text, encoding="utf-8")
    assert "no unit none" in add(site, "asha", "none:operator").err
    done(add(site, "asha", "east:operator"))
    for unknown in ("east:admin", "east:", ":viewer", "viewer,east:viewer", "east:operator,", "viewer\n"):
        assert "there is no role" in labrelay("user", "role", "asha", unknown, site=site).err
    assert "no unit none" in labrelay("user", "role", "asha", "east:viewer,none:viewer", site=site).err
    both = "east:operator,west:viewer"
    assert done(labrelay("user", "role", "asha", both, site=site)) == f"asha is {both} now"
    (found,) = labrelay("user", "list", "-o", "json", site=site).json["users"]
    assert found["role"] == both
    assert done(labrelay("user", "role", "asha", "engineer", site=site)) == "asha is engineer now"
    labrelay("token", "add", "his", "--unit", "east", site=site)
    assert "and no more" in labrelay("token", "add", "b", "--may", "change", "--unit", "east", site=site).err
    (token,) = labrelay("token", "list", "-o", "json", site=site).json["tokens"]
    assert token["units"] == ["east"]
