"""Requests that outlast a right, searches that would confirm a patient, and bytes that are no request."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from aiohttp import web

from engine.actions.declaring import Verb
from engine.actions.pause_resume import Switches
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import verbs_of
from engine.features.rework.rows import dismissal
from engine.model.content.search_keys import Number
from engine.model.errors import LogInError
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.site.actor import Actor
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, audit, record_outcome
from engine.store.queries.acts import acts_page
from engine.web import forms
from tests.support import access
from tests.support.access import GOOD, ROOT, Site
from tests.support.api import served
from tests.support.filled_journal import REFUSED, UNMAPPED, fill_journal
from tests.support.journals import WINDOW_S, opened, received

PATIENT, SPECIMEN, CONTROL, WHY = "MRN-4711", "S-4711", "CTRL-4711", "Anita S. asks"


def planted(batch: Batch) -> None:
    stored = append.store_message(batch, received(b"of a patient"), repeat_window_s=WINDOW_S)
    numbers = (Number("patient", PATIENT), Number("specimen", SPECIMEN), Number("control", CONTROL))
    record_outcome.record(batch, stored.id, Outcome("filtered", numbers=numbers))
    audit.note(batch, Actor("asha", role="operator"), "dismiss", {"message": REFUSED, "reason": WHY})


def verbs(journal: Journal) -> dict[str, Verb]:
    site = RunningSite(
        acts=Acts(journal, channels=dict),
        switches=Switches(journal),
        data=journal.path.parent,
        loaded=lambda: SimpleNamespace(channels={}),  # type: ignore[arg-type, return-value]  # names
    )
    return dict(verbs_of(site))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    await asyncio.to_thread(fill_journal, tmp_path, ManualClock())
    journal = opened(tmp_path)
    journal.run_alone(planted)
    journal.close()
    async with access.site(tmp_path, verbs=verbs) as made:
        await made.add("seer", "viewer", sees_patients=True)
        yield made


async def speak(here: Site, *pieces: bytes) -> str:
    """The status line of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.page.server.port)
    try:
        for piece in pieces:
            writer.write(piece)
        return (await asyncio.wait_for(reader.readline(), 240.0)).decode("latin-1")
    finally:
        writer.close()


# -- patients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "number", "found"),
    [(role, PATIENT, 0) for role in ("seer", "viewer", "operator", "engineer", "admin")]
    + [("seer", SPECIMEN, 1), ("viewer", SPECIMEN, 1)],
)
async def test_an_address_with_a_number_in_clear_confirms_no_patient(
    here: Site, person: str, number: str, found: int
) -> None:
    async with here.browser() as browser:
        await browser.log_in(person)
        _, page = await browser.get(f"/messages?{urlencode({'q': number, 'since': 'all', 'lang': 'en'})}")
        rows = [row for row in page.all("tr") if row.attributes.get("id", "").startswith("m-")]
        assert len(rows) == found
        news = f"/messages.json?{urlencode({'q': number, 'since': 'all', 'lang': 'en'})}"
        async with browser.client.get(news) as answer:
            assert (await answer.json())["words"] == ("1 new" if found else "")
        labels = [one.text for one in page.all("label")]
        assert ("patient" in " ".join(labels)) is (person == "seer")


@pytest.mark.parametrize(("number", "found"), [(PATIENT, 1), (SPECIMEN, 1), ("2", 1), ("no one's", 0)])
async def test_a_search_of_those_who_see_patients_is_in_the_trail_and_its_number_in_no_address(
    here: Site, number: str, found: int
) -> None:
    async with here.browser() as browser, here.browser() as other:
        await browser.log_in("seer")
        _, page = await browser.send("/messages?lang=en", q=number)
        address = browser.path
        assert ("sealed=" in address, urlencode({"q": number}) in address) == (True, False)
        rows = [row for row in page.all("tr") if row.attributes.get("id", "").startswith("m-")]
        assert len(rows) == found
        assert page.one("input", id="q").attributes["value"] == number
        searches = [act for act in acts_page(here.journal, limit=50) if act.verb == "search"]
        token = here.journal.vault.search_token("patient", number.upper()).hex()
        assert [(act.actor, act.what) for act in searches] == [("seer", {"patient_token": token})]
        await browser.get(address)
        assert len([act for act in acts_page(here.journal, limit=50) if act.verb == "search"]) == 2
        async with browser.client.get(address.replace("/messages?", "/messages.json?")) as answer:
            assert answer.status == 200
        await other.log_in("admin")
        for path in (address, address.replace("/messages?", "/messages.json?")):
            assert (await other.get(path))[0] == 403
        assert len([act for act in acts_page(here.journal, limit=50) if act.verb == "search"]) == 2


@pytest.mark.parametrize("page", ["/", "/system", "/dead-letters", "/account"])
@pytest.mark.parametrize(
    ("person", "number", "found"),
    [("viewer", SPECIMEN, 1), ("viewer", "2", 1), ("viewer", CONTROL, 1), ("viewer", PATIENT, 0), ("seer", PATIENT, 1)],
)
async def test_the_box_of_each_page_finds_a_number_and_leaves_it_in_no_address(
    here: Site, page: str, person: str, number: str, found: int
) -> None:
    """Only those who may see patients open an address of one who may; others find no patient by it."""
    async with here.browser() as browser, here.browser() as other:
        await browser.log_in(person)
        _, html = await browser.get(page)
        box = html.one("header", class_="bar").one("form", role="search")
        assert [one.attributes["name"] for one in box.all("input") if "type" not in one.attributes] == ["q"]
        _, html = await browser.send(page, to="/messages", q=number)
        assert number not in dict(parse_qsl(urlsplit(browser.path).query)).values()
        assert len(html.one("tbody").all("tr") if found else html.all("tr")) == found
        await other.log_in("admin")
        status, html = await other.get(browser.path)
        assert status == (403 if person == "seer" else 200)
        renamed = browser.path.replace("found=", "sealed=") if person == "viewer" else ""
        async with here.browser() as seer:
            await seer.log_in("seer")
            assert not renamed or (await seer.get(renamed))[0] == 400


async def test_an_address_of_a_search_that_is_cut_short_is_said(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("seer")
        for sealed in ("x", "abcd" * 20, "\u00e4"):
            status, page = await browser.get(f"/messages?{urlencode({'sealed': sealed, 'lang': 'en'})}")
            assert (status, "This address is not whole" in page.text) == (400, True)
        assert [act for act in acts_page(here.journal, limit=50) if act.verb == "search"] == []


@pytest.mark.parametrize(
    ("person", "reads"), [("viewer", False), ("operator", False), ("engineer", False), ("admin", True), ("seer", True)]
)
async def test_a_persons_reason_is_shown_as_the_api_shows_it(here: Site, person: str, reads: bool) -> None:
    async with here.browser() as browser:
        await browser.log_in(person)
        _, page = await browser.get(f"/messages/{REFUSED}?lang=en")
    assert "asha: closed" in page.text
    assert (WHY in page.text) is reads


@pytest.mark.parametrize(("person", "reads"), [("viewer", False), ("operator", False), ("admin", True)])
async def test_a_dismissals_reason_is_in_no_detail(here: Site, person: str, reads: bool) -> None:
    for messages, deliveries in (((UNMAPPED,), ()), ((), (2,))):
        await here.journal.run(
            dismissal.dismiss, messages=messages, deliveries=deliveries, actor=Actor("ravi"), reason="A. Sharma asks"
        )
    async with here.browser() as browser, served(here.journal) as api:
        await browser.log_in(person)
        for number in (UNMAPPED, REFUSED):
            _, page = await browser.get(f"/messages/{number}?lang=en")
            assert ("Sharma" in page.text) is reads
            assert ("Sharma" in str((await api.ask(f"/messages/{number}", person)).body)) is reads
        answer = await api.ask(f"/messages/{REFUSED}/deliveries", person)
        assert ("Sharma" in str(answer.body)) is reads
        assert "dismissed" in str(answer.body)


# -- a right that ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loses", ["the session", "the role", "the user"])
async def test_a_slow_form_does_nothing_once_the_right_is_gone(
    here: Site, loses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head comes while the right is there, the body after it was taken away."""
    async with here.browser() as browser:
        await browser.log_in("operator")
        _, fields = await browser.fields("/do/dismiss?ids=2&lang=en", to="/do/")
        cookies = f"labrelay={browser.cookie('labrelay')}"
    body = urlencode({**fields, "reason": "none"}).encode()
    head = (
        f"POST /do/dismiss HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    waits, read = asyncio.Event(), forms._read

    async def waiting(request: web.Request, most: int) -> bytes:
        waits.set()
        return await read(request, most)

    monkeypatch.setattr(forms, "_read", waiting)
    reader, writer = await asyncio.open_connection("127.0.0.1", here.page.server.port)
    writer.write(head.encode() + body[:10])
    await asyncio.wait_for(waits.wait(), 240.0)
    match loses:
        case "the session":
            await here.accounts.users.disable("operator", True, by=ROOT)
        case "the role":
            await here.accounts.users.set_role("operator", "viewer", by=ROOT)
        case _:
            await here.accounts.users.remove("operator", by=ROOT)
    writer.write(body[10:])
    status = (await asyncio.wait_for(reader.readline(), 240.0)).split()[1]
    writer.close()
    assert status == (b"403" if loses == "the role" else b"401")
    assert [act for act in acts_page(here.journal, limit=50) if act.verb == "dismiss" and act.actor != "asha"] == []


async def test_a_log_in_that_a_disabling_overtakes_begins_no_session(here: Site) -> None:
    """The password is looked at for some 30 ms; the user must not be in again when they are enabled."""
    known = await here.accounts.users.named("operator")

    run, done = here.accounts._directory.run, asyncio.Event()

    async def overtaken(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not done.is_set():
            done.set()
            await here.accounts.users.disable("operator", True, by=ROOT)
        return await run(operation, *args, **kwargs)

    here.accounts._directory.run = overtaken  # type: ignore[method-assign]
    with pytest.raises(LogInError):
        await here.accounts.log_in("operator", GOOD, address="127.0.0.1")
    await here.accounts.users.disable("operator", False, by=ROOT)
    assert await here.accounts.sessions(known.name) == []


# -- what is no request ------------------------------------------------------------------------------------------------

HEAD = "Host: 127.0.0.1\r\nConnection: close\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


@pytest.mark.parametrize(
    "request_text",
    [
        f"POST /log-in HTTP/1.1\r\n{HEAD}Origin: http://[\r\nContent-Length: 0\r\n\r\n",
        f"GET /log-in?next=//%5B HTTP/1.1\r\n{HEAD}\r\n",
        f"GET /log-in HTTP/1.1\r\n{HEAD}Cookie: labrelay-browser=\xff\xfe\r\n\r\n",
        f"POST /log-in HTTP/1.1\r\n{HEAD}{FORM}Cookie: labrelay-browser=\xff\r\nContent-Length: 3\r\n\r\na=b",
        f"POST /log-in HTTP/1.1\r\n{HEAD}{FORM}Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\na=b",
        f"POST /log-in HTTP/1.1\r\n{HEAD}{FORM}Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\nZZ\r\n",
    ],
)
async def test_bad_input_is_refused_and_is_no_error_of_ours(
    here: Site, request_text: str, caplog: pytest.LogCaptureFixture
) -> None:
    status = (await speak(here, request_text.encode("latin-1"))).split()[1]
    assert status in ("200", "400", "403"), status
    assert [one for one in caplog.records if one.levelname == "ERROR" and one.name.startswith("labrelay")] == []
