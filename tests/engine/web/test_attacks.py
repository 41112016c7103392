"""Attacks on the log-in and on the pages behind it, over real connections. `docs/security.md` names these tests."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock
from urllib.parse import urlencode

import pyotp
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from yarl import URL

from engine.features.access.pages import log_in
from engine.features.access.rules.accounts import FREE_OF_USER
from engine.features.access.service import passwords, users
from engine.features.access.service.accounts import Accounts
from engine.store.operations import append
from engine.web import forms, guard, sender
from engine.web.desk import local_path
from tests.support.access import GOOD, ROOT, Site, site
from tests.support.journals import received

FORM_TYPE = "application/x-www-form-urlencoded"
EVIL = "<script>alert('x')</script>"
OTHER_SITES = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as made:
        yield made


async def speak(here: Site, *requests: bytes) -> bytes:
    """What the server answers to these bytes until it closes, or until it has answered and waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.page.server.port)
    answer = b""
    try:
        for request in requests:
            writer.write(request)
        while part := await asyncio.wait_for(reader.read(65536), 240.0):
            answer += part
        return answer
    finally:
        writer.close()


# -- passwords ---------------------------------------------------------------------------------------------------------


async def test_brute_force_is_delayed_also_for_the_right_password(here: Site) -> None:
    async with here.browser() as user, here.browser() as attacker:
        await user.log_in("viewer")
        for _ in range(FREE_OF_USER):
            assert (await attacker.log_in("viewer", "wrong"))[0] == 403
        status, page = await attacker.log_in("viewer")
        assert status == 429
        assert "Too many wrong log-ins." in page.one("main").one(role="alert").text
        assert (await user.get("/account"))[0] == 200, "the user who works goes on"
        here.clock.advance(16 * 60)
        assert (await attacker.log_in("viewer"))[0] == 200


async def test_codes_cannot_be_tried_and_none_works_twice(here: Site) -> None:
    async with here.browser() as user, here.browser() as attacker:
        await user.log_in("engineer")
        _, page = await user.send("/account", "offer", password=GOOD)
        totp = pyotp.TOTP(page.one("code", class_="key").text)
        code = totp.at(int(here.clock.now_us() / 1e6))
        await user.post("/account", user.hidden(page) | {"act": "confirm", "password": GOOD, "code": code})
        _, page = await attacker.log_in("engineer")
        status, page = await attacker.post("/log-in/code", attacker.hidden(page) | {"code": code})
        assert status == 403, "it was used when it was set up"
        for _ in range(FREE_OF_USER - 1):
            status, page = await attacker.post("/log-in/code", attacker.hidden(page) | {"code": "000000"})
            assert status == 403
        later = totp.at(int(here.clock.now_us() / 1e6) + 30)  # within the drift of a phone's clock
        status, _ = await attacker.post("/log-in/code", attacker.hidden(page) | {"code": later})
        assert status == 429, "the right one, too, is not looked at"
        assert attacker.cookie("labrelay") == ""


async def test_a_name_that_is_no_users_costs_the_same_work(here: Site) -> None:
    async with here.browser() as attacker:
        with mock.patch.object(passwords, "matches", wraps=passwords.matches) as looked:
            await attacker.log_in("viewer", "wrong")
            await attacker.log_in("no such user", "wrong")
            await here.accounts.users.disable("operator", True, by=ROOT)
            await attacker.log_in("operator")
        assert looked.call_count == 3


async def test_log_ins_beyond_a_few_that_wait_are_turned_away(here: Site) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(_encoded: str, _secret: str) -> bool:
        began.set()
        return go_on.wait(240.0)

    async with here.browser() as one, here.browser() as other, here.browser() as third:
        action, fields = await third.fields("/log-in")
        with (
            mock.patch.object(passwords, "matches", slow),
            mock.patch.object(users, "MOST_WAITING", 1),
            mock.patch.object(log_in, "LATE_S", 0.2),
        ):
            first = asyncio.create_task(one.log_in("viewer"))
            assert await asyncio.to_thread(began.wait, 240.0)
            at = time.monotonic()
            status, page = await third.post(action, fields | {"name": "viewer", "password": GOOD})
            assert (status, "in a few seconds" in page.one("main").one(role="alert").text) == (503, True)
            assert time.monotonic() - at >= 0.2, "a flood of these costs little"
            assert (await other.get("/healthz"))[0] == 200
            go_on.set()
            assert (await first)[0] == 200


async def test_no_password_and_no_code_is_in_the_log(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with here.browser() as browser:
        await browser.log_in("viewer", "the wrong password")
        await browser.log_in("viewer", GOOD)
        await browser.send("/account", "pin", password=GOOD, pin="274913")
        await browser.send("/account", "password", password=GOOD, new="a new passphrase", again="a new passphrase")
        async with here.browser() as other:
            with mock.patch.object(Accounts, "log_in", side_effect=RuntimeError("a fault")):
                assert (await other.log_in("viewer", "a third password"))[0] == 500
        cookies = [one.value for one in browser.client.cookie_jar]
    said = caplog.text + "".join(
        str(record.__dict__) for record in caplog.records if record.name.startswith("labrelay")
    )
    for secret in ("the wrong password", GOOD, "274913", "a new passphrase", "a third password", *cookies):
        assert secret not in said


@pytest.mark.parametrize(
    ("forwarded", "named"),
    [
        ([], ""),
        (["192.0.2.9"], "192.0.2.9"),
        (["203.0.113.1, 192.0.2.9"], "192.0.2.9"),
        (["203.0.113.1", "192.0.2.9, 10.1.0.2"], "10.1.0.2"),
        (["192.0.2.9:4711"], "192.0.2.9"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["203.0.113.1, unknown"], ""),
        (["192.0.2.9, "], ""),
        (["2001:db8::7"], "2001:db8::7"),
    ],
)
def test_behind_a_relay_the_last_address_is_the_senders(forwarded: list[str], named: str) -> None:
    transport = mock.Mock()
    transport.get_extra_info = {"peername": ("::ffff:127.0.0.1", 5)}.get
    headers = CIMultiDict[str]([(sender.HEADER, one) for one in forwarded])
    request = make_mocked_request("GET", "/", headers=headers, transport=transport)
    relays = sender.networks(["127.0.0.1", "10.1.0.0/24"])
    assert sender.named(request, relays).removeprefix("::ffff:") == named
    assert sender.named(request, sender.networks(["10.1.0.0/24"])) == "::ffff:127.0.0.1", "its connection is no relay's"


async def test_a_log_in_is_of_the_address_that_a_listed_relay_names(here: Site) -> None:
    for relays, address in ((), "127.0.0.1"), (("127.0.0.1",), "192.0.2.9"):
        here.page.server.follow(here.page.server.config.model_copy(update={"relays": relays}))
        async with here.browser(**{sender.HEADER: "203.0.113.1, 192.0.2.9"}) as browser:
            await browser.log_in("viewer")
            assert next(session.address for _, session in await here.accounts.sessions()) == address


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_a_session_that_was_set_before_the_log_in_is_of_no_use(here: Site) -> None:
    planted = {"labrelay": "planted", "labrelay-browser": "planted too"}
    async with here.browser() as victim, here.browser() as attacker:
        victim.client.cookie_jar.update_cookies(planted, URL(here.base))
        assert (await victim.log_in("viewer"))[0] == 200
        assert planted["labrelay"] != victim.cookie("labrelay")
        assert planted["labrelay-browser"] != victim.cookie("labrelay-browser")
        attacker.client.cookie_jar.update_cookies(planted, URL(here.base))
        assert (await attacker.get("/account"))[1].one("h1").text == "Log in"


async def test_each_log_in_has_a_new_session_and_the_one_before_ends(here: Site) -> None:
    async with here.browser() as browser, here.browser() as thief:
        await browser.log_in("viewer")
        before = browser.cookie("labrelay")
        action, fields = await browser.fields("/", to="/log-out")
        await browser.post(action, fields)
        await browser.log_in("viewer")
        assert browser.cookie("labrelay") != before
        thief.client.cookie_jar.update_cookies({"labrelay": before}, URL(here.base))
        assert (await thief.get("/account"))[1].one("h1").text == "Log in"


async def test_no_page_has_the_secret_of_a_cookie(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("admin")
        for path in ("/", "/account", "/users", "/user?name=admin", "/tokens", "/change-user"):
            async with browser.client.get(path) as answer:
                text = await answer.text()
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["X-Frame-Options"] == "DENY"
            for one in browser.client.cookie_jar:
                assert one.value not in text, path


@pytest.mark.parametrize("value", ["", "x" * 3000, "\u00e4\u00f6", "a b", '"', "../../etc/passwd", "0"])
async def test_a_made_up_cookie_is_none(here: Site, value: str) -> None:
    async with here.browser() as browser:
        for name in ("labrelay", "labrelay-wall"):
            async with browser.client.get("/status.json", headers={"Cookie": f"{name}={value}"}) as answer:
                assert answer.status in (400, 401)


# -- forms of other sites and of other people --------------------------------------------------------------------------


async def test_a_form_without_our_token_or_with_another_ones_is_refused(here: Site) -> None:
    async with here.browser() as victim, here.browser() as attacker:
        before = (await victim.fields("/log-in"))[1]["form"]
        await victim.log_in("admin")
        await attacker.log_in("viewer")
        action, mine = await victim.fields("/users", "add")
        theirs = (await attacker.fields("/account", "pin"))[1]["form"]
        typed = {"act": "add", "name": "mallory", "password": GOOD, "role": "admin"}
        for token in ("", "x", theirs, before):
            status, page = await victim.post(action, mine | typed | {"form": token})
            assert (status, page.one("h1").text) == (403, "This form is too old. Please open the page again.")
        assert len(await here.accounts.users.list()) == 4
        assert (await victim.post(action, mine | typed))[0] == 200


@pytest.mark.parametrize("headers", OTHER_SITES, ids=lambda given: " ".join(f"{key}: {given[key]}" for key in given))
async def test_a_page_of_another_site_changes_nothing(here: Site, headers: dict[str, str]) -> None:
    async with here.browser() as victim:
        await victim.log_in("admin")
        action, fields = await victim.fields("/users", "add")
        typed = {"name": "mallory", "password": GOOD, "role": "admin"}
        assert (await victim.post(action, fields | typed, headers=headers))[0] == 403
        for path, methods in (("/log-in", "POST"), ("/api/v1/acts/retry", "POST")):
            async with victim.client.request(methods, path, headers=headers) as answer:
                assert answer.status == 403
        assert len(await here.accounts.users.list()) == 4


async def test_our_own_page_may(here: Site) -> None:
    async with here.browser() as browser:
        action, fields = await browser.fields("/log-in")
        own = {"Origin": here.base, "Sec-Fetch-Site": "same-origin"}
        assert (await browser.post(action, fields | {"name": "viewer", "password": GOOD}, headers=own))[0] == 200


async def test_a_user_ends_no_session_of_another_one(here: Site) -> None:
    async with here.browser() as viewer, here.browser() as admin:
        await admin.log_in("admin")
        await viewer.log_in("viewer")
        async with here.browser() as second:
            await second.log_in("viewer")
            ((_, theirs),) = await here.accounts.sessions("admin")
            action, fields = await viewer.fields("/account", "end")
            assert (await viewer.post(action, fields | {"number": str(theirs.number)}))[0] == 404
            assert (await admin.get("/account"))[0] == 200
            assert (await viewer.post(action, fields))[0] == 200
            assert (await second.get("/account"))[1].one("h1").text == "Log in"


async def test_a_user_administers_nothing_by_a_form_that_was_made_up(here: Site) -> None:
    async with here.browser() as operator:
        await operator.log_in("operator")
        token = (await operator.fields("/account", "pin"))[1]["form"]
        for path, fields in (
            ("/users", {"act": "add", "name": "mallory", "password": GOOD, "role": "admin"}),
            ("/user?name=operator", {"act": "role", "role": "admin"}),
            ("/user?name=operator", {"act": "patients", "sees": "yes"}),
            ("/tokens", {"act": "add", "name": "x", "scope": "admin", "days": "30"}),
        ):
            assert (await operator.post(path, {"form": token, "once": "1"} | fields))[0] == 403
        (me,) = [user for user in await here.accounts.users.list() if user.name == "operator"]
        assert (me.role, me.sees_patients) == ("operator", False)


async def test_a_name_is_text_wherever_it_is_shown(here: Site) -> None:
    await here.add(EVIL, "admin")
    async with here.browser() as browser:
        await browser.log_in(EVIL)
        for path in ("/", "/account", "/users", f"/user?{urlencode({'name': EVIL})}"):
            _, page = await browser.get(path)
            assert all(script.text == "" for script in page.all("script")), path
            assert EVIL in page.text


@pytest.mark.parametrize("path", ["/log-in", "/change-user"])
async def test_pages_of_access_are_not_compressed(here: Site, path: str) -> None:
    async with here.browser() as browser, browser.client.get(path, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.status == 200
        assert "Content-Encoding" not in answer.headers


# -- addresses and headers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "to",
    [
        *("https://evil.example", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example"),
        *("/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "http:evil.example", "evil.example"),
        *("/x\r\nSet-Cookie: a=b", "/%0d%0aSet-Cookie: a=b", " //evil.example", "/a\\b", "", "/log-in", "/\u00e4"),
    ],
)
async def test_the_log_in_leads_to_no_other_site(here: Site, to: str) -> None:
    async with here.browser() as browser:
        action, fields = await browser.fields(f"/log-in?{urlencode({'next': to})}")
        typed = fields | {"name": "viewer", "password": GOOD, "next": to}
        async with browser.client.post(action, data=typed, allow_redirects=False) as answer:
            assert answer.status == 303
            target = answer.headers["Location"]
            assert target.startswith("/")
            assert not target.startswith(("//", "/\\"))
            assert set(answer.cookies) == {"labrelay", "labrelay-browser"}
            assert URL(here.base).join(URL(target)).host == "127.0.0.1"


def test_a_path_of_ours_is_kept() -> None:
    assert local_path("/messages?state=dead&since=7d") == "/messages?state=dead&since=7d"


@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r", "\0", "\x0b", "\x85", "\u2028", "\u560d\u560a"])
def test_nothing_typed_becomes_a_header(ending: str) -> None:
    """An address to lead on to becomes a header; our own code refuses one with a line end, in any charset."""
    for typed in (f"/messages{ending}X-Evil: 1", f"/messages?state=dead{ending}X-Evil: 1", f"/{ending}/evil.example"):
        assert forms.local(typed) == "/"
        assert local_path(typed) == "/"


async def test_another_host_name_gets_no_log_in(here: Site) -> None:
    async with here.browser() as browser:
        action, fields = await browser.fields("/log-in")
        typed = fields | {"name": "admin", "password": GOOD}
        for headers in ({"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": ""}):
            status, _ = await browser.post(action, typed, headers=headers)
            assert status in (400, 421), headers
        await browser.log_in("admin")
        status, page = await browser.send("/tokens", "add", name="lobby", scope="wall screen", days="30")
        assert page.one("code", class_="key").text.startswith(f"{here.base}/wall?token="), (
            "a link is under our own name"
        )
    two = b"GET /log-in HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert b"evil.example" not in await speak(here, two)


# -- requests ----------------------------------------------------------------------------------------------------------

HEAD = f"POST /log-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {FORM_TYPE}\r\n"
SECOND = "GET /status.json HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Second: yes\r\n\r\n"


@pytest.mark.parametrize(
    "request_text",
    [
        f"{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SECOND}",
        f"{HEAD}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{SECOND}",
        f"{HEAD}Content-Length: 5\r\nContent-Length: 0\r\n\r\n{SECOND}",
        f"{HEAD}Content-Length: 5, 0\r\n\r\n{SECOND}",
        f"{HEAD}Content-Length: +5\r\n\r\n{SECOND}",
        f"{HEAD}Content-Length: -1\r\n\r\n{SECOND}",
        f"{HEAD}Content-Length : 0\r\n\r\n{SECOND}",
        f"{HEAD}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SECOND}",
        f"{HEAD}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{SECOND}",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{SECOND}",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{SECOND}",
        f"{HEAD}X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{SECOND}"[:40] + "\x00\r\n\r\n",
    ],
)
async def test_a_request_of_two_lengths_is_one_request_and_the_last(here: Site, request_text: str) -> None:
    answer = await speak(here, request_text.encode())
    assert answer.count(b"HTTP/1.") == 1, "a second request, hidden in the first one's body, gets an answer"
    assert answer.split(b" ")[1] in (b"400", b"413", b"415", b"501"), answer[:100]


async def test_a_form_over_the_limit_is_refused_before_anything_is_looked_at(here: Site) -> None:
    async with here.browser() as browser:
        action, fields = await browser.fields("/log-in")
        with mock.patch.object(passwords, "matches") as looked:
            status, _ = await browser.post(action, fields | {"name": "admin", "password": "x" * forms.MAX_FORM})
        assert status == 413
        looked.assert_not_called()


async def test_slow_forms_keep_no_one_out_and_delay_no_message(tmp_path: Path) -> None:
    async with site(tmp_path, MAX_CONNECTIONS=6, PATIENCE_S=0.0) as here:
        slow = [await asyncio.open_connection("127.0.0.1", here.page.server.port) for _ in range(20)]
        for _, writer in slow:
            writer.write(f"{HEAD}Content-Length: 500\r\n\r\nform=".encode())
        journal = here.journal
        stored = await asyncio.wait_for(journal.run(append.store_message, received(), repeat_window_s=60.0), 240.0)
        assert stored is not None
        async with here.browser() as browser:
            assert (await browser.log_in("viewer"))[0] == 200
        assert len(here.page.server.listener.followers) == 0
        for _, writer in slow:
            writer.close()


async def test_one_address_with_all_connections_keeps_no_other_out(tmp_path: Path) -> None:
    async with site(tmp_path, MAX_CONNECTIONS=6) as here:
        address = ("127.0.0.2", 0)
        slow = [
            await asyncio.open_connection("127.0.0.1", here.page.server.port, local_addr=address) for _ in range(12)
        ]
        for _, writer in slow:
            writer.write(f"{HEAD}Content-Length: 500\r\n\r\nform=".encode())
        async with here.browser() as browser:
            assert (await browser.log_in("viewer"))[0] == 200, "without a wait for the slow ones"
        for _, writer in slow:
            writer.close()


async def test_forms_of_strangers_put_out_no_answer_of_a_user(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "ANSWERS_KEPT", 3)
    async with here.browser() as admin, here.browser() as stranger:
        await admin.log_in("admin")
        action, fields = await admin.fields("/tokens", "add")
        typed = fields | {"name": "his", "scope": "viewer", "days": "30"}
        _, first = await admin.post(action, typed)
        for _ in range(5):
            await stranger.log_in("admin", "not the right password")
        _, again = await admin.post(action, typed)
        assert again.one("code").text == first.one("code").text
        assert len(await here.accounts.tokens.list()) == 1


async def test_an_answer_that_asks_to_wait_says_for_how_long(here: Site) -> None:
    async with here.browser() as browser:
        for _ in range(6):
            action, fields = await browser.fields("/log-in")
            async with browser.client.post(action, data=fields | {"name": "viewer", "password": "wrong"}) as answer:
                last = answer.status, answer.headers.get("Retry-After")
        assert last == (429, "15")
        here.page.missing = ["the journal is not open"]
        async with browser.client.get("/readyz") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /messages?q=Meera%20Nair" + b"x" * 4096 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Name: Meera Nair" + b"x" * 4096 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00Meera Nair\r\n\r\n",
        b"GET /Meera Nair Meera HTTP/1.1\r\n\r\n",
    ],
    ids=["long line", "long header", "TLS", "no request"],
)
async def test_what_is_no_request_gets_an_answer_with_our_headers_and_none_of_its_words(
    here: Site, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    head, _, body = (await speak(here, sent)).decode().partition("\r\n\r\n")
    assert head.split()[1] == "400"
    assert {f"{name}: {value}" for name, value in guard.HEADERS.items()} <= set(head.split("\r\n"))
    assert "Cache-Control: no-store" in head
    assert "Server: LabRelay" in head, "and not the versions of what it is made of"
    assert body == "This request cannot be understood.\n"
    assert "Meera" not in caplog.text
