"""Who may give which verb: each verb and each kind of account, over a real socket, by processes of these accounts."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from engine.actions import admission
from engine.actions.admission import MAX_REFUSED, UNSEEN, Admission, Person, roles_of
from engine.actions.control import Request, call, follow
from engine.actions.control_server import MAX_OF_ANOTHER, ControlServer
from engine.actions.verbs import FOLLOWED, all_acts, needs
from engine.config.reading import values
from engine.model.errors import LabRelayError, RefusedError, StoreError
from engine.model.site.actor import Actor
from engine.model.site.permissions import ALL, ROLES, Permission, permissions_of
from tests.support import oracle
from tests.support.other_accounts import as_account, become

SERVICE = "daemon"  # the account of the service
GIVEN = {
    "games": ["viewer"],
    "mail": ["operator"],
    "news": ["engineer"],
    "backup": ["admin"],
    "lp": ["viewer", "see-patients"],
    "uucp": ["operator", "see-patients"],
    "%www-data": ["viewer"],
}
# Each kind of account -> the account of it here.
VIEWER, OPERATOR, ENGINEER, ADMIN, SEEING_VIEWER, SEEING_OPERATOR, GROUP, NO_ROLE = (
    "games", "mail", "news", "backup", "lp", "uucp", "www-data", "irc",
)  # fmt: skip
KINDS = (VIEWER, OPERATOR, ENGINEER, ADMIN, SEEING_VIEWER, SEEING_OPERATOR, GROUP, NO_ROLE)
ACCOUNTS = {
    oracle.LOOK: {VIEWER, OPERATOR, ENGINEER, ADMIN, SEEING_VIEWER, SEEING_OPERATOR, GROUP},
    oracle.ACT: {OPERATOR, ENGINEER, ADMIN, SEEING_OPERATOR},
    oracle.CHANGE: {ENGINEER, ADMIN},
    oracle.ADMIN: {ADMIN},
    oracle.SEE: {SEEING_VIEWER, SEEING_OPERATOR},
    oracle.EDIT: {SEEING_OPERATOR},
    oracle.NEITHER: set[str](),
}
# Verb -> who may give it, besides root and the service's user, who may give all.
MAY = {verb: ACCOUNTS[may] for verb, may in oracle.gathered("ACTS").items()}

real_accounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the service's account, which others may pass through to what they may open."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir(mode=0o700)
    account = pwd.getpwnam(SERVICE)
    os.chown(data, account.pw_uid, account.pw_gid)
    yield data
    shutil.rmtree(folder)


@pytest.fixture
def served(place: Path) -> Iterator[Path]:
    """The socket of a server that runs under the service's account; its handlers only answer."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        become(SERVICE)
        try:
            asyncio.run(_serve(place, writing))
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(reading, 5) == b"ready"
    os.close(reading)
    yield place / "s.sock"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


async def _serve(place: Path, ready: int) -> None:
    async def answer(request: Request) -> dict[str, Any]:
        return {"by": request.actor, "role": request.actor.by["role"]} if isinstance(request.actor, Actor) else {}

    async def items(request: Request) -> Any:
        yield {"by": request.actor}

    async def note(actor: Actor, what: dict[str, Any]) -> None:
        with (place / "rows").open("a") as file:
            file.write(json.dumps([actor, dict(actor.by), what]) + "\n")

    server = ControlServer(
        place / "s.sock",
        dict.fromkeys(all_acts(), answer),
        followers=dict.fromkeys(FOLLOWED, items),
        admission=Admission(needs(), lambda: GIVEN, note),
    )
    await server.start()
    server.open_to_group(True)
    os.write(ready, b"ready")
    await asyncio.Event().wait()


def _asked(path: Path, verb: str) -> str:
    """``allowed``, or why not."""
    try:
        if verb in FOLLOWED:
            next(follow(path, verb))
        else:
            call(path, verb)
    except RefusedError as error:
        return str(error)
    return "allowed"


def _all_asked(path: Path) -> dict[str, str]:
    return {verb: _asked(path, verb) for verb in [*all_acts(), *FOLLOWED]}


@real_accounts
def test_each_verb_and_each_kind_of_account(served: Path) -> None:
    assert set(MAY) == set(all_acts()) | set(FOLLOWED), "give each act its line in ACTS of an oracle"
    for account in ("root", SERVICE):
        answers = as_account(account, do=partial(_all_asked, served))
        assert set(answers.values()) == {"allowed"}, account
    for account in KINDS:
        answers = as_account(account, SERVICE, do=partial(_all_asked, served))
        assert {verb for verb, answer in answers.items() if answer == "allowed"} == {
            verb for verb, accounts in MAY.items() if account in accounts
        }, account
        refused = [answer for answer in answers.values() if answer != "allowed"]
        assert all(answer.startswith(account) and "access: system_users" in answer for answer in refused)
        assert all(("no role" in answer) is (account == NO_ROLE) for answer in refused)
    rows = [json.loads(line) for line in (served.parent / "rows").read_text().splitlines()]
    assert [row[0] for row in rows] == list(KINDS), "one row a minute of each account"
    assert rows[0][1]["role"] == "viewer"
    assert rows[0][2] == {"verb": "retry", "missing": ["act"]}
    assert rows[-1][1]["role"] == "no role"


@real_accounts
def test_the_reason_names_what_is_missing_and_who_can_give_it(served: Path) -> None:
    answers = as_account(VIEWER, SERVICE, do=partial(_all_asked, served))
    assert answers["retry"] == (
        "games (viewer) lacks the permission act; "
        "the person who keeps config/labrelay.yaml can give it (access: system_users)"
    )
    assert "lacks the permission act and see-patients;" in answers["edit"]
    answers = as_account(NO_ROLE, SERVICE, do=partial(_all_asked, served))
    assert answers["status"].startswith("irc has no role here; ")


@real_accounts
def test_an_account_outside_of_the_services_group_cannot_connect(served: Path) -> None:
    answer = as_account(VIEWER, do=partial(_asked, served, "status"))
    assert "is closed to this account" in answer
    assert "group of the service" in answer


@real_accounts
def test_the_trail_has_the_account_and_its_role(served: Path) -> None:
    said = as_account(OPERATOR, SERVICE, do=partial(call, served, "retry"))
    assert said["role"] == "operator"
    said = as_account(GROUP, SERVICE, do=partial(call, served, "status"))
    assert said["role"] == "viewer"


@real_accounts
def test_open_to_the_group_the_socket_is_reached_and_no_other_file(place: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    async def modes() -> list[int]:
        server = ControlServer(place / "s.sock", {})
        await server.start()
        found = [mode(place / "s.sock"), mode(place)]
        for is_open in (True, False):
            server.open_to_group(is_open)
            found += [mode(place / "s.sock"), mode(place)]
        await server.stop()
        server.open_to_group(True)  # a reload at the very end: there is no socket to open
        return found

    assert asyncio.run(modes()) == [0o600, 0o700, 0o660, 0o710, 0o600, 0o710]


def test_roles_of_the_keys_of_the_site_are_those_of_the_product() -> None:
    literal = get_args(get_args(get_args(values.Roles)[0])[0])
    assert set(literal) == {*ROLES, Permission.PATIENTS.value}
    assert permissions_of(["operator", "see-patients"]) == ROLES["operator"] | {Permission.PATIENTS}
    assert permissions_of([]) == frozenset()


def test_roles_come_from_the_account_and_its_groups_each_once() -> None:
    games = pwd.getpwnam("games").pw_uid
    assert roles_of(games, {"games": ["operator"], "%games": ["viewer", "operator"]}) == ["operator", "viewer"]
    assert roles_of(games, {"%lab": ["admin"], "mail": ["admin"]}) == []
    assert roles_of(4_000_000_000, {"games": ["admin"]}) == []


async def test_accounts_that_the_service_cannot_tell_apart_have_no_role() -> None:
    assert roles_of(UNSEEN, {"nobody": ["admin"], "%nogroup": ["admin"]}) == []
    gate = Admission({}, dict)
    with pytest.raises(RefusedError, match="cannot see which account asks"):
        await gate.admit(await gate.person(UNSEEN), "status", Actor("nobody"))


async def test_a_verb_that_the_table_does_not_name_needs_everything() -> None:
    gate = Admission({}, dict)
    await gate.admit(Person(0, "", ALL), "new", Actor("root"))
    with pytest.raises(RefusedError):
        await gate.admit(Person(9, "admin", ROLES["admin"]), "new", Actor("games"))


async def test_refusals_are_counted_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rows = [1000.0], list[tuple[str, dict[str, Any]]]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    async def note(actor: Actor, what: dict[str, Any]) -> None:
        if actor == "full":
            raise StoreError("no room")
        rows.append((actor, what))

    gate = Admission({"retry": ROLES["operator"]}, dict, note)

    async def refused(uid: int, name: str = "games") -> None:
        with pytest.raises(LabRelayError):
            await gate.admit(Person(uid, "viewer", ROLES["viewer"]), "retry", Actor(name))

    for _ in range(5):
        await refused(7)
    await refused(8, "full")  # the trail cannot be written: it is refused all the same
    now[0] += 60.0
    await refused(7)
    assert rows == [
        ("games", {"verb": "retry", "missing": ["act"]}),
        ("games", {"verb": "retry", "missing": ["act"], "left_out": 4}),
    ]
    for uid in range(MAX_REFUSED * 2):
        await refused(1000 + uid)
    assert len(gate._refusals._refused) == MAX_REFUSED


async def test_one_account_cannot_take_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root is served while another account holds as many requests open as it may."""
    go_on, begun, uids = asyncio.Event(), asyncio.Event(), [7] * (MAX_OF_ANOTHER + 1)
    monkeypatch.setattr("engine.actions.control_server._peer", lambda _line: (uids.pop() if uids else 0, 1))
    count = 0

    async def slow(_request: Request) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count == MAX_OF_ANOTHER:
            begun.set()
        if count <= MAX_OF_ANOTHER:
            await go_on.wait()
        return {}

    monkeypatch.setattr(admission, "roles_of", lambda _uid, _given: ["viewer"])
    gate = Admission({"status": ROLES["viewer"]}, dict)
    server = ControlServer(tmp_path / "s.sock", {"status": slow}, admission=gate)
    await server.start()
    asking = [
        asyncio.create_task(asyncio.to_thread(call, tmp_path / "s.sock", "status", timeout=240.0))
        for _ in range(MAX_OF_ANOTHER)
    ]
    await asyncio.wait_for(begun.wait(), 240.0)
    with pytest.raises(LabRelayError, match="too many requests at once"):
        await asyncio.to_thread(call, tmp_path / "s.sock", "status")
    assert await asyncio.to_thread(call, tmp_path / "s.sock", "status", timeout=240.0) == {}
    go_on.set()
    await asyncio.gather(*asking)
    assert not server._asking
    await server.stop()
