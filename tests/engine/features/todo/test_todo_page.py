"""The to-do list on the page: what each person sees of it and can do, and that acts are those of the verbs."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.actions.control import Request
from engine.actions.declaring import Verb
from engine.actions.verbs import verbs_of
from engine.config.web import WebConfig
from engine.features.todo import service
from engine.features.todo.pages import until
from engine.features.todo.service import TodoList, TodoLooks
from engine.model.errors import RefusedError
from engine.model.journal.records import Target
from engine.model.message import Received
from engine.model.outcome import Outcome
from engine.model.process.clock import from_us
from engine.model.site.permissions import ROLES, WATCHING, Permission, Principal
from engine.model.site.todo import Since
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import LaneSnapshot
from engine.monitoring.snapshot.site import About, BackupSnapshot, Notice, SiteSnapshot
from engine.monitoring.todo import Todo
from engine.store.journal import Journal
from engine.store.operations import append, pauses, record_outcome
from engine.store.queries.acts import acts_page
from engine.views.site import PAUSE
from engine.web.api import reads
from engine.web.api.lists import Asked
from engine.web.api.parameters import Nothing
from tests.engine.web.test_paused_and_expected import paused_site
from tests.support import access
from tests.support.access import ROOT, Browser, Site
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.journals import NOW_US, WINDOW_S
from tests.support.status_server import Element
from tests.support.status_sites import quiet_site, troubled_site

SILENT = "silent/haematology-1"
ROW = "t-silent~2fhaematology-1"
WORDS = "see SHARMA about it"


class Lists:
    """The to-do list behind a running page."""

    def __init__(self) -> None:
        self.site: Site
        self.list: TodoList
        self.looks: TodoLooks
        self.journal: Journal

    def verbs(self, journal: Journal) -> dict[str, Verb]:
        self.journal = journal
        self.list = TodoList(journal, self.snapshot, self)  # type: ignore[arg-type]  # the clock of the page
        self.looks = TodoLooks(journal, self.latest, self)  # type: ignore[arg-type]
        running: Any = SimpleNamespace(service=lambda kind: self.list)
        return {name: verb for name, verb in verbs_of(running).items() if name.startswith("todo")}

    def snapshot(self) -> SiteSnapshot:
        return self.site.page.site

    def now_us(self) -> int:
        return self.site.clock.now_us()

    async def latest(self) -> Sequence[Todo]:
        return await self.list.latest()

    async def look(self, user: int, *, by_person: bool) -> Since | None:
        return await self.looks.look(user, by_person=by_person)

    def acts(self) -> list[tuple[str, str, str]]:
        """The acts that the trail has, the latest first: who, what, why."""
        return [
            (act.actor, act.verb, act.what.get("reason", act.what.get("only", "")))
            for act in acts_page(self.journal, limit=500)
            if act.verb.startswith("todo-")
        ]


def shown_site() -> SiteSnapshot:
    return replace(troubled_site(), now=from_us(NOW_US), dead_total=0, incomplete_total=0, unmapped_total=0)


@pytest.fixture
def lists() -> Lists:
    return Lists()


@pytest.fixture
async def here(tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(service, "SAME_FOR_S", 0.0)
    async with access.site(tmp_path, verbs=lists.verbs, todo=lists.latest, look=lists.look) as made:
        lists.site = made
        made.page.site = shown_site()
        yield made


@pytest.fixture
async def operator(here: Site) -> AsyncIterator[Browser]:
    async with here.browser() as browser:
        assert (await browser.log_in("operator"))[0] == 200
        yield browser


async def home(browser: Browser, path: str = "/?lang=en") -> Element:
    status, page = await browser.get(path)
    assert status == 200
    return page


async def of_entry(browser: Browser, act: str, **typed: str) -> tuple[int, Element]:
    return await browser.send(f"/todo?key={SILENT}&lang=en", f"{act} {SILENT}", "/todo", **typed)


# What each kind of person sees of an entry that an operator has taken, with a note: buttons, links, its words.
SEEN = {
    "viewer": (False, True, False),
    "operator": (True, True, True),
    "engineer": (True, True, True),
    "admin": (True, True, True),
}


@pytest.mark.parametrize("person", SEEN)
async def test_each_person_sees_what_is_theirs(here: Site, operator: Browser, person: str) -> None:
    await of_entry(operator, "note", text=WORDS)
    await of_entry(operator, "take")
    buttons, links, words = SEEN[person]
    async with here.browser() as browser:
        await browser.log_in(person)
        entry = (await home(browser)).one("li", id=ROW)
        one = await home(browser, f"/todo?key={SILENT}&lang=en")
        wall = await home(browser, "/?wall&lang=en")
    assert bool(entry.all("button")) is buttons
    assert bool(entry.all("a")) is links
    assert bool(one.one("main").all("form")) is buttons
    for shown in (entry, one.one("main")):
        assert (WORDS in shown.text) is words
        assert "taken by operator" in shown.text
        assert "note by operator" in shown.text
    assert WORDS not in wall.text
    assert "taken by operator" in wall.one("section", id="todo-wall").text
    for tag in ("a", "form", "button"):
        assert wall.one("section", id="todo-wall").all(tag) == []


async def test_a_wall_screen_gets_the_list_without_a_note_and_nothing_to_press(here: Site, operator: Browser) -> None:
    await of_entry(operator, "note", text=WORDS)
    secret = await here.accounts.tokens.create("lobby", WATCHING, ends_us=0, by=ROOT)
    async with here.browser() as screen:
        await screen.send(f"/wall?token={secret}")
        for path in ("/?lang=en", "/?wall&lang=en"):
            page = await home(screen, path)
            assert len(page.one("section", id="todo-wall").all("li")) == 8
            assert WORDS not in page.text
            assert page.one("main").all("form") == []
        async with screen.client.get("/live.json?lang=en") as answer:
            assert WORDS not in await answer.text()


async def test_an_entry_says_how_bad_what_since_when_and_what_to_do(operator: Browser) -> None:
    page = await home(operator)
    section = page.one("section", id="todo")
    entries = section.one("ul", id="todo-list").all("li")
    assert section.attributes["data-ids"].split() == [one.attributes["id"] for one in entries]
    assert section.one("header").text == f"To do {len(entries)}" == "To do 8"
    levels = [one.attributes["class"] for one in entries]
    assert levels == sorted(levels, reverse=True), "problems come first"
    for one in entries:
        assert one.one("div", class_="what").one("span", class_="hidden").text in {"Problem:", "Attention:"}
        assert one.all("svg")[0].attributes["aria-hidden"] == "true"
        assert len(one.all("a", class_="offer")) + len(one.all("code", class_="copy")) == 1, "one next step"
        assert one.one("button").text == f"I do it: {one.one('strong').text}"
    silent = page.one("li", id=ROW)
    assert silent.one("time").attributes["datetime"]
    assert silent.one("a", class_="offer").attributes["href"] == "/analyzer?name=haematology-1&lang=en"


async def test_each_step_leads_to_a_page(operator: Browser) -> None:
    for link in (await home(operator)).one("ul", id="todo-list").all("a", class_="offer"):
        status, _ = await operator.get(link.attributes["href"])
        assert status == 200, link.attributes["href"]


async def test_nothing_to_do_is_green_and_says_so(here: Site, operator: Browser) -> None:
    here.page.site = replace(quiet_site(), backup=BackupSnapshot(folder="/mnt/backup"))
    page = await home(operator)
    assert page.one("p", id="todo-list").text == "Nothing to do"
    assert "ok" in page.one("p", id="todo-list").attributes["class"].split()
    assert "कोई काम बाक़ी नहीं" in (await home(operator, "/?lang=hi")).one("p", id="todo-list").text


async def test_it_is_taken_and_given_back_on_the_list_itself(operator: Browser, lists: Lists) -> None:
    status, page = await operator.send("/?lang=en", f"take {SILENT}", "/todo")
    assert (status, operator.path) == (200, "/")
    assert "taken by operator, 11:30" in page.one("li", id=ROW).text
    assert page.one("li", id=ROW).one("button").attributes["value"] == f"give-back {SILENT}"
    _, page = await operator.send("/?lang=en", f"give-back {SILENT}", "/todo")
    assert "taken" not in page.one("li", id=ROW).text
    assert lists.acts() == [("operator", "todo-drop", "taken"), ("operator", "todo-take", "")]


async def test_pages_share_a_list_until_a_person_acts(
    here: Site, operator: Browser, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SAME_FOR_S", 3600.0)
    first = await lists.latest()
    assert await lists.latest() is first
    await lists.list.take(SILENT, "asha")
    again = await lists.latest()
    assert {one.state.taken.by for one in again if one.state.taken is not None} == {"asha"}
    assert await lists.latest() is again


async def test_a_note_and_a_snooze_are_given_back_one_by_one(operator: Browser, lists: Lists) -> None:
    await of_entry(operator, "take")
    await of_entry(operator, "note", text="a fitter comes")
    _, page = await of_entry(operator, "shift", reason="after lunch")
    assert ROW not in page.one("section", id="todo").attributes["data-ids"].split()
    off = page.one("details", id="todo-off")
    assert off.all("summary")[0].text == "Put off: 1"
    said = off.one("li", id=ROW).text
    for words in ("put off by operator, 11:30, until 14:00: after lunch", "a fitter comes", "taken by operator"):
        assert words in said
    _, page = await of_entry(operator, "wake")
    said = page.one("ul", id="todo-list").one("li", id=ROW).text
    assert "a fitter comes" in said
    assert "put off by" not in said
    _, page = await of_entry(operator, "no-note")
    assert "a fitter comes" not in page.one("li", id=ROW).text
    assert "taken by operator" in page.one("li", id=ROW).text
    assert [what for _, what, _ in lists.acts()] == [
        "todo-drop", "todo-drop", "todo-snooze", "todo-note", "todo-take",
    ]  # fmt: skip


@pytest.mark.parametrize(("act", "typed"), [("note", {"text": " "}), ("hour", {"reason": ""})])
async def test_without_words_nothing_is_kept(operator: Browser, lists: Lists, act: str, typed: dict[str, str]) -> None:
    status, page = await of_entry(operator, act, **typed)
    assert (status, page.one("main").one("p", role="alert").text) == (403, "Write a few words first.")
    assert lists.acts() == []


async def test_what_is_gone_says_so(operator: Browser, here: Site, lists: Lists) -> None:
    status, page = await operator.get("/todo?key=silent/nothing&lang=en")
    assert (status, page.one("main").one("p", role="alert").text) == (404, "This is not on the list any more.")
    action, fields = await operator.fields(f"/todo?key={SILENT}&lang=en", f"take {SILENT}", "/todo")
    here.page.site = quiet_site()
    status, page = await operator.post(action, fields)
    assert status == 403
    assert page.one("main").one("p", role="alert").text.startswith(f"No entry is {SILENT}")
    assert lists.acts() == []


async def test_only_acts_of_this_page_are_taken(operator: Browser) -> None:
    action, fields = await operator.fields(f"/todo?key={SILENT}&lang=en", f"take {SILENT}", "/todo")
    for act in ("", "take", "erase 1", f"drop {SILENT}"):
        status, _ = await operator.post(action, {**fields, "act": act})
        assert status in (400, 403), act


async def test_peoples_words_are_text_whatever_is_in_them(operator: Browser) -> None:
    for text in EVIL:
        await of_entry(operator, "note", text=text[:500])
        async with operator.client.get("/?lang=en") as answer:
            got = await answer.text()
        assert [one for one in FORBIDDEN if one in got and len(one) < 100] == []  # a note has at most 500 signs


KOLKATA = ZoneInfo("Asia/Kolkata")
# Now on the site's clock -> the end of the shift, and the morning.
TIMES = {
    "2026-03-02T05:59": ("2026-03-02T06:00", "2026-03-02T08:00"),
    "2026-03-02T01:00": ("2026-03-02T06:00", "2026-03-02T08:00"),
    "2026-03-02T06:00": ("2026-03-02T14:00", "2026-03-02T08:00"),
    "2026-03-02T07:59": ("2026-03-02T14:00", "2026-03-02T08:00"),
    "2026-03-02T08:00": ("2026-03-02T14:00", "2026-03-03T08:00"),
    "2026-03-02T13:00": ("2026-03-02T14:00", "2026-03-03T08:00"),
    "2026-03-02T21:59": ("2026-03-02T22:00", "2026-03-03T08:00"),
    "2026-03-02T23:30": ("2026-03-03T06:00", "2026-03-03T08:00"),
}


@pytest.mark.parametrize("now", TIMES)
def test_the_times_that_an_entry_is_put_off_for(now: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=KOLKATA).astimezone(UTC)
    found = until(at, WebConfig().shifts, KOLKATA)
    assert found["hour"] == at + timedelta(hours=1)
    shift, morning = (datetime.fromisoformat(text).replace(tzinfo=KOLKATA) for text in TIMES[now])
    assert (found["shift"], found["morning"]) == (shift, morning)


async def test_a_critical_result_is_put_off_until_the_end_of_the_shift_at_most(
    here: Site, operator: Browser, lists: Lists
) -> None:
    quiet = quiet_site()
    held = (LaneSnapshot(destination="lab-fhir", held=1, held_critical=1),)
    channels = (replace(quiet.channels[0], lanes=held),)
    here.page.site = replace(quiet, now=from_us(NOW_US), channels=channels)
    key = "held/chemistry/lab-fhir"
    page = await home(operator, f"/todo?key={key}&lang=en")
    offered = [one.attributes.get("value", "") for one in page.one("main").all("button")]
    assert f"hour {key}" in offered
    assert f"shift {key}" in offered
    assert f"morning {key}" not in offered
    with pytest.raises(RefusedError, match="until the end of the shift at most: 14:00"):
        await lists.list.snooze(key, "asha", WORDS, 9_121)  # it is 11:30
    assert lists.acts() == []
    for seconds in (9_000, 9_001, 9_120):  # of a page that is up to two minutes old
        await lists.list.snooze(key, "asha", WORDS, seconds)
        kept = [todo for todo in await lists.list.look() if todo.entry.key == key]
        assert [(todo.is_snoozed, todo.state.snooze and todo.state.snooze.until_us) for todo in kept] == [
            (True, NOW_US + 9_000_000_000)
        ]


# -- since a person last looked --------------------------------------------------------------------------------------


async def test_the_page_says_what_came_and_went_since_this_person_last_looked(
    here: Site, operator: Browser, lists: Lists
) -> None:
    assert (await home(operator)).all("div", id="looked") == [], "the first visit"
    here.clock.advance(1200)
    for payload in (b"1", b"2", b"3"):
        received = Received(
            channel="chemistry", payload=payload, received_us=here.clock.now_us(), control_id="", message_type="x"
        )
        stored = await lists.journal.run(append.store_message, received, repeat_window_s=WINDOW_S)
        await lists.journal.run(record_outcome.record, stored.id, Outcome("dead", reason=ReasonCode.NO_ROUTE))
    site = shown_site()
    here.page.site = replace(
        site, now=from_us(here.clock.now_us()), notes=(Notice("The key has no sheet", About.KEY),), disk_days_left=None
    )
    looked = (await home(operator)).one("div", id="looked")
    assert looked.one("p").text == "Since you last looked: 11:30"
    facts = {one.one("dt").text: one.one("a") for one in looked.all("div") if one.all("dt")}
    assert {label: one.text for label, one in facts.items()} == {
        "New to do": "1", "Messages received": "3", "New dead letters": "3",
    }  # fmt: skip
    assert facts["New to do"].attributes["href"] == "#t-key"
    for label in ("Messages received", "New dead letters"):
        status, page = await operator.get(facts[label].attributes["href"])
        assert status == 200
        assert len(page.one("main").one("tbody").all("tr")) == 3, label
    gone = looked.one("details", id="looked-gone")
    assert (gone.one("summary").text, [one.text for one in gone.all("li")]) == ("Gone: 2", ["clock", "disk"])
    assert (await home(operator)).one("div", id="looked").text == looked.text, "it stays for this visit"
    async with here.browser() as browser:
        await browser.log_in("viewer")
        for path in ("/?lang=en", "/?lang=en&wall"):
            assert (await home(browser, path)).all("div", id="looked") == []


async def test_a_page_that_reloads_itself_is_no_look(here: Site, operator: Browser, lists: Lists) -> None:
    await home(operator)
    await lists.list.take(SILENT, "asha")  # behind the look, which is stored by then
    here.clock.advance(700)
    for _ in range(2):
        assert (await home(operator, "/?lang=en&auto")).one("div", id="looked").one("p").text.endswith("11:30")
        here.clock.advance(601)


# -- who reads people's words ----------------------------------------------------------------------------------------

NOTES = {
    **{role: role != "viewer" for role in ROLES},
    "watch": False,
    "look": False,
    "act": True,
    "see-patients": False,  # with look it is the row below
    "look see-patients": True,
    "administer": True,
}


@pytest.mark.parametrize("who", NOTES)
def test_notes_are_for_those_who_work_here(who: str) -> None:
    permissions = ROLES.get(who) or frozenset(map(Permission, who.split()))
    assert Principal(ROOT, permissions).reads_notes is NOTES[who]


@pytest.mark.parametrize("person", ROLES)
async def test_the_reason_of_a_pause_is_shown_to_those_alone(here: Site, person: str) -> None:
    here.page.site = paused_site()
    async with here.browser() as browser:
        await browser.log_in(person)
        for path in ("/", "/analyzer?name=chemistry", "/analyzer.json?name=chemistry", "/status.json", "/live.json"):
            async with browser.client.get(path) as answer:
                assert ("new firmware" in await answer.text()) is NOTES[person], path
                assert answer.status == 200


@pytest.mark.parametrize("may_read", [False, True])
async def test_the_verb_of_socket_and_api_has_notes_for_those_alone(here: Site, lists: Lists, may_read: bool) -> None:
    await lists.list.annotate(SILENT, "asha", WORDS)
    await lists.list.snooze(SILENT, "asha", WORDS, 3600)
    work = lists.verbs(lists.journal)["todo"].work
    said = await work(Request(verb="todo", actor="look", reads_notes=may_read))
    (entry,) = [one for one in said["todo"] if one["key"] == SILENT]
    assert (entry["note_by"], entry["snoozed_by"]) == ("asha", "asha")
    assert {entry["note"], entry["snoozed_for"]} == ({WORDS} if may_read else {""})


@pytest.mark.parametrize("person", ROLES)
async def test_the_system_page_and_the_resource_of_pauses_keep_to_it(here: Site, lists: Lists, person: str) -> None:
    await lists.journal.run(pauses.pause, Target(destination="lab-fhir"), "anita", "new firmware")
    async with here.browser() as browser:
        await browser.log_in(person)
        assert ("new firmware" in (await home(browser, "/system?lang=en")).text) is NOTES[person]
    asked = Asked(SimpleNamespace(journal=lists.journal), here.page.site, Nothing(), Principal(ROOT, ROLES[person]))  # type: ignore[arg-type]
    (found,) = PAUSE.rows(reads.pauses(asked))
    assert (found["by"], found["reason"]) == ("anita", "new firmware" if NOTES[person] else "")
