"""A form is acted on once, over restarts: what a person gets who sends it again, by what happened in between."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.actions.control import Request
from engine.actions.declaring import NoArguments, Verb
from engine.model.errors import (
    AbsentError,
    ConfigError,
    LabRelayError,
    NoRoomError,
    OccupiedError,
    RefusedError,
    StoreError,
    UnreachableError,
)
from engine.model.site.permissions import ACTING
from engine.model.texts.phrases import R_, Said
from engine.store.queries.acts import acts_page
from tests.support import access
from tests.support.access import GOOD, Browser, Site

TAKE, OF_VIEWER = "todo_take", "/user?name=viewer"
CUT_SHORT = "This was cut short, and may have been done. Look before you do it again."
UNREADABLE, INSIDE = "The journal cannot be read just now.", "LabRelay could not make this page. Its log says why."
SAID = (
    CUT_SHORT,
    UNREADABLE,
    INSIDE,
    "Not c1.",
    "It is not open.",
    "A.yaml:1:1: no.",
    "There is no such page.",
    "Wait.",
)
NEVER = R_("not {name}")
Shown = tuple[int, str, str]  # status, where it leads, the sentence

DONE: Shown = (303, "/?lang=en", "")


@dataclass
class Lab:
    """A page and its person, over restarts; ``ends``: how each try of the act ends."""

    folder: Path
    ends: list[Exception | None] = field(default_factory=list)
    acts: list[Mapping[str, Any]] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    fields: dict[str, str] = field(default_factory=dict)
    cookies: Any = None
    person: str = "operator"
    sent: tuple[str, dict[str, str]] | None = None

    async def work(self, request: Request) -> dict[str, Any]:
        self.acts.append(request.args)
        self.began.set()
        await self.goes_on.wait()
        if self.ends and (error := self.ends.pop(0)) is not None:
            raise error
        return {"key": request.args.get("key", ""), "act": len(self.acts)}

    @asynccontextmanager
    async def life(self) -> AsyncIterator[tuple[Site, Browser]]:
        """The server between a start and a stop; the browser keeps its page and its cookies."""
        first = self.cookies is None
        verbs = {name: Verb(ACTING, NoArguments, self.work) for of, _ in TAKING.values() for name in of.split()}
        async with (
            access.site(self.folder, users=first, verbs=lambda journal: verbs) as site,
            site.browser() as browser,
        ):
            if first:
                await browser.log_in(self.person)
                _, fields = await browser.fields("/", to="/log-out")
                self.fields = fields | {"act": "take lane c1/server"}
            else:
                browser.client.cookie_jar.update_cookies(self.cookies)
            yield site, browser
            self.cookies = {one.key: one.value for one in browser.client.cookie_jar}

    async def send(self, browser: Browser, path: str = "/todo?lang=en", /, **other: str) -> Shown:
        async with browser.client.post(path, data=self.fields | other, allow_redirects=False) as answer:
            text = access.read_html(await answer.text() or "<p></p>").text
            return answer.status, answer.headers.get("Location", ""), next((one for one in SAID if one in text), "")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.goes_on.set()
    return made


async def test_while_the_first_runs_a_second_one_waits_for_its_answer(lab: Lab) -> None:
    lab.goes_on.clear()
    async with lab.life() as (_, browser):
        both = [asyncio.create_task(lab.send(browser)) for _ in range(2)]
        await asyncio.wait_for(lab.began.wait(), 240.0)
        lab.goes_on.set()
        assert await asyncio.gather(*both) == [DONE, DONE]
    assert len(lab.acts) == 1


# How the act ended; what its person was shown, and is shown for the same form: at once, and after a restart; how often
# it was carried out then.
TABLE: dict[str, tuple[Exception | None, Shown, Shown, Shown, int]] = {
    "done": (None, DONE, DONE, DONE, 1),
    "refused": (RefusedError(Said(NEVER, name="c1")), *[(403, "", "Not c1.")] * 3, 1),
    "not possible": (LabRelayError("it is not open"), *[(403, "", "It is not open.")] * 3, 1),
    "wrong files": (ConfigError("a.yaml:1:1: no"), *[(403, "", "A.yaml:1:1: no.")] * 3, 1),
    "a row that is gone": (AbsentError("there is no such key"), *[(404, "", "There is no such page.")] * 3, 1),
    "a fault of ours": (ValueError("?"), *[(500, "", INSIDE)] * 3, 1),
    "not begun: others wait": (OccupiedError("wait"), (503, "", "Wait."), DONE, DONE, 2),
    "not begun: no daemon": (UnreachableError("wait"), (503, "", "Wait."), DONE, DONE, 2),
    "not begun: no room": (NoRoomError("the disk is full"), (503, "", UNREADABLE), DONE, DONE, 2),
    "the store failed amid it": (StoreError("failed"), (503, "", UNREADABLE), *[(403, "", CUT_SHORT)] * 2, 1),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
async def test_the_same_form_has_the_same_answer_and_nothing_is_done_twice(lab: Lab, case: str) -> None:
    error, first, again, restarted, acts = TABLE[case]
    lab.ends = [error]
    async with lab.life() as (_, browser):
        assert await lab.send(browser) == first
        assert await lab.send(browser) == again
    async with lab.life() as (_, browser):
        for _ in range(2):
            assert await lab.send(browser) == restarted
    assert len(lab.acts) == acts


async def test_an_act_that_a_stop_cut_short_is_not_begun_again(lab: Lab) -> None:
    lab.goes_on.clear()
    async with lab.life() as (_, browser):
        sent = asyncio.create_task(lab.send(browser))
        await asyncio.wait_for(lab.began.wait(), 240.0)
    assert (await asyncio.gather(sent, return_exceptions=True))[0] != DONE
    lab.goes_on.set()
    async with lab.life() as (_, browser):
        assert await lab.send(browser) == (403, "", CUT_SHORT)
        _, fields = await browser.fields("/", to="/log-out")  # what the person sends after a look is a form of its own
        assert await lab.send(browser, once=fields["once"]) == DONE
    assert len(lab.acts) == 2


async def test_another_content_is_another_act_and_another_person_gets_nothing(lab: Lab) -> None:
    async with lab.life() as (_, browser):
        assert await lab.send(browser) == DONE
    async with lab.life() as (site, browser):
        assert await lab.send(browser, act="take lane c2/server") == DONE
        assert await lab.send(browser) == DONE
        async with site.browser() as other:
            await other.log_in("engineer")
            assert (await lab.send(other))[0] == 403
    assert [one["key"] for one in lab.acts] == ["lane c1/server", "lane c2/server"]


async def test_what_is_kept_of_a_form_has_its_answer_alone(lab: Lab) -> None:
    async with lab.life() as (site, browser):
        assert await lab.send(browser) == DONE
        ((key, request, answer),) = site.journal.rows("SELECT key, request, answer FROM kept_answer")
    assert (len(key), len(request), answer) == (16, 16, b'{"result":{"key":"lane c1/server","act":1}}')


# Each page that takes its form by `Frame.take`: its address, the verbs of its route and its form, and what is sent.
REASON = {"reason": "looked at"}
TAKING: dict[str, tuple[str, dict[str, str]]] = {
    "/alerts": ("alert_acknowledge", {"act": "take silent c1", "note": ""}),
    "/todo": (TAKE, {"act": "take lane c1/server"}),
    "/quality": ("quality_enter", {"act": "enter", "channel": "c1", "test": "GLU"}),
    "/quality/chart?channel=c1&test=GLU": ("quality_exclude", {"act": "exclude 1", "cause": "other", **REASON}),
    "/quality/maintenance": ("quality_done", {"act": "wash", "channel": "c1", **REASON}),
    "/quality/targets": ("quality_load quality_end", {"act": "end 1", "channel": "c1", "from": "", **REASON}),
    "/operations/1": ("operation_cancel", {}),
    "/messages/1/set-aside": ("set_aside", {"destination": "server", **REASON}),
    "/order/cancel?item=1": ("order_cancel", REASON),
    "/reflexes": ("reflex_confirm", {"act": "reflex_confirm 1", **REASON}),
}  # fmt: skip


@pytest.mark.parametrize("path", TAKING)
@pytest.mark.parametrize("error", [NoRoomError("the disk is full"), OccupiedError("wait")])
async def test_what_could_not_be_done_just_now_is_done_when_the_same_form_comes_again(
    lab: Lab, path: str, error: Exception
) -> None:
    """On each page alike: no answer of the failed one is given again."""
    _, fields = TAKING[path]
    lab.ends = [error]
    async with lab.life() as (_, browser):
        lab.fields = {name: lab.fields[name] for name in ("form", "once")} | fields
        found = [(await lab.send(browser, path))[0] for _ in range(3)]
    assert (found, len(lab.acts)) == ([503, 303, 303], 2)


# A form of the pages of users and tokens, which gives no verb: its page, its button, what is typed, where it leads.
ACCESS = {
    "a user": ("/users", "add", {"name": "ravi", "role": "viewer", "password": GOOD}, "/users?lang=en&done=added"),
    "a role": (OF_VIEWER, "role", {"role": "operator"}, "/user?lang=en&name=viewer&done=role"),
    "an end": (OF_VIEWER, "disable", {"disabled": "yes"}, "/user?lang=en&name=viewer&done=disabled"),
    "a password": (OF_VIEWER, "password", {"new": f"{GOOD}!"}, "/user?lang=en&name=viewer&done=password"),
    "a token": ("/tokens", "add", {"name": "lis", "scope": "viewer", "days": "30"}, "/tokens?lang=en"),
    "no such scope": ("/tokens", "add", {"name": "lis", "scope": "x", "days": "30"}, ""),
    "no such role": (OF_VIEWER, "role", {"role": "x"}, ""),
}


@pytest.mark.parametrize("case", ACCESS)
async def test_users_and_tokens_are_changed_once(lab: Lab, case: str) -> None:
    path, button, typed, to = ACCESS[case]
    found: list[tuple[int, str]] = []
    trail: list[int] = []
    lab.person = "admin"
    for _ in range(2):
        async with lab.life() as (site, browser):
            if not lab.sent:
                action, fields = await browser.fields(path, button)
                lab.sent = action, fields | typed
            async with browser.client.post(lab.sent[0], data=lab.sent[1], allow_redirects=False) as answer:
                found.append((answer.status, answer.headers.get("Location", "")))
            trail.append(len(acts_page(site.journal, limit=500)))
    first, again = found
    assert again == ((303, to) if to else first)
    assert first[0] in ((200, 303) if to else (403, 404))
    assert trail[0] == trail[1], "the audit trail has it once"
