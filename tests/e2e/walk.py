"""Every page of the server in a browser: in each language, in both themes, on narrow and wide screens, by keyboard
alone, and with scripts off. The pages are those of the table of routes, so that a new one is walked, too.

axe-core takes most of the time, so not every combination has all of it. Each page is examined in each language where
words are most likely not to fit, on the narrowest screen, in light. Each page is examined in one language, another one
from page to page, in the other combinations of `REST`: contrast comes of the theme, whatever the width, and the layout
of tables of the width, whatever the theme. `WITH_AXE` says which rules are looked at where. The style sheet has no
colour of a language, and a theme changes nothing but colours.
"""

import asyncio
import gettext
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import pytest
from playwright.async_api import Browser

from engine.model.journal.journal_views import Filter
from engine.store.queries.messages import messages_page
from engine.web.languages import DEFAULT, LANGUAGES, catalogue
from tests.e2e.chromium import HasPage, Rules, Visitor, chromium, visitor
from tests.e2e.laboratory import (
    AWAY,
    CRITICAL,
    OTHER_PERSON,
    PASSWORD,
    REFUSED,
    TWO_PATIENTS,
    WAITING,
    Laboratory,
    laboratory,
)
from tests.engine.features.adding.test_engineers_day import ROWS
from tests.support.ports import quiet_ports
from tests.support.waiting import until

WIDTHS = (320, 768, 1440)
EVERY = tuple(LANGUAGES)
HALVES = (EVERY[::2], EVERY[1::2])  # two tests, for two cores
TWO = ("en", "hi")  # where a look takes long
FIRST = ("light", 320)  # in each language
REST = (*(("dark", width) for width in WIDTHS), *(("light", width) for width in WIDTHS[1:]))  # in one language
WITH_AXE = {FIRST: Rules.ALL, ("dark", 320): Rules.OF_COLOUR, ("light", 1440): Rules.ALL}
NOT_TRANSLATED = {"LOINC", "{text}", "%", "90 %", "95 %"}  # the same in all languages
HEIGHT = 900

DRAFT, SILENT = (
    "walked",
    "silent",
)  # analyzers that are being added: rows of one were recognised, none came of the other
ADDING = ("listen", "recognise", "codes", "code", "first")
CONTROL_VALUE = {"act": "enter", "channel": "chemistry", "test": "GLU", "number": "QC-1", "unit": "mmol/L"}
CONTROL_VALUE |= {"reason": "a strip"}
# Where the path alone shows nothing: addresses of the page that are looked at.
ADDRESSES = {
    "/": ("/", "/?wall"),
    "/analyzer": ("/analyzer?name=chemistry", "/analyzer?name=haematology", "/analyzer?name=coagulation"),
    "/messages": ("/messages", "/messages?state=dead&channel=haematology", "/messages?q=none"),
    "/messages/{number}": (
        *("/messages/{refused}?since=all&top=99", "/messages/{held}", "/messages/999", "/messages/{held}?part=bytes"),
        *("/messages/{framed}?part=bytes", "/messages/{refused}?part=fields", "/messages/{refused}?part=document"),
    ),
    "/conflicts/{number}": ("/conflicts/{two}", "/conflicts/999"),
    "/held/{number}": ("/held/{held}", "/held/{whose}", "/held/999"),
    "/messages/{number}/set-aside": ("/messages/{waiting}/set-aside",),
    "/destinations/{name}": ("/destinations/{name}", "/destinations/hospital"),
    "/replay": ("/replay", "/replay?channel=chemistry"),
    "/affected": ("/affected", "/affected?channel=chemistry"),
    "/todo": ("/todo?key=away/{name}", "/todo?key=none"),
    "/operations/{number}": ("/operations/{operation}",),
    "/add": ("/add", "/add?started=chemistry"),
    **{f"/add/{{name}}/{step}": (f"/add/{DRAFT}/{step}", f"/add/{SILENT}/{step}") for step in ADDING},
    "/add/{name}/code": (f"/add/{DRAFT}/code?code=HGB&unit=g/dL&search=glucose", f"/add/{DRAFT}/code?code=none"),
    **{f"/quality/{page}": (f"/quality/{page}?channel=chemistry&test=GLU",) for page in ("chart", "month", "targets")},
    "/codes/row": ("/codes/row?channel=haematology&code=6690-2",),
    "/codes/undo": ("{undo}",),
    "/user": ("/user?name=asha",),
    "/orders": (
        "/orders",
        "/orders?tab=held",
        "/orders?tab=without",
        "/orders?tab=analyzer&columns=since,specimen,test,channel,state,collected,run,result",
        "/orders?tab=after_all",
        "/orders?tab=none",
    ),
    "/help": ("/help", "/help?q=checksum"),
    "/help/{page}": ("/help/held", "/help/loggers", "/help/none"),
    "/abdm/contexts": ("/abdm/contexts", "/abdm/contexts?state=none"),
    "/abdm/context": ("/abdm/context?number=1", "/abdm/context?number=2", "/abdm/context?number=99"),
    "/abdm/consent": ("/abdm/consent?number=1", "/abdm/consent?number=3", "/abdm/consent?number=99"),
    "/abdm/link": ("/abdm/link?context=5", "/abdm/link?context=9"),
    "/abdm/withdraw": ("/abdm/withdraw?context=1",),
    "/abdm/retry": ("/abdm/retry?context=3",),
    "/abdm/resume": ("/abdm/resume?consent=2",),
    "/orders/worklist": ("/orders/worklist", "/orders/worklist?channel=none"),
    "/questions": ("/questions", "/questions?tab=questions"),
    "/order": ("/order?item=W1", "/order?question=3", "/order?message={without}", "/order?item=W999"),
    "/order/cancel": ("/order/cancel?item=W2", "/order/cancel?item=W3", "/order/cancel?item=W1"),
    "/order/release": ("/order/release?item=W4",),
    "/order/resend": ("/order/resend?item=W2",),
    "/order/match": ("/order/match?item=W8&message={without}",),
    "/order/unmatch": ("/order/unmatch?item=W1",),
    "/do/pause": ("/do/pause?kind=channel&name=chemistry",),
    "/do/resume": ("/do/resume?kind=channel&name=chemistry",),
    "/do/restart": ("/do/restart?kind=channel&name=chemistry",),
    "/do/retry": ("/do/retry?all=1", "/do/retry"),
    "/do/dismiss": ("/do/dismiss?all=1",),
    "/do/release": ("/do/release?all=1",),
    "/do/reject": ("/do/reject?ids=999",),
}
BEFORE_LOG_IN = ("/log-in", "/change-user", "/set-up", "/wall")
# Where a form is, and what is filled in there, one time after the other; the answer to each is looked at.
ASKED, WHY = {"purpose": "asked by the ward"}, {"reason": "tested in both languages"}
CODED = "/codes/row?channel=haematology&code=6690-2"
ROW = {"cell-unit_in": "10*9/L", "cell-loinc": "26464-8", "cell-unit": "10*9/L", "cell-ucum": "10*9/L"}
CARD = {"number": "91-1000-0000-0017", "name": "Made-up", "gender": "F", "year": "1980"}  # its check digit does not fit
ANSWERS: dict[str, tuple[Any, ...]] = {
    "/account": ("/account", {"act": "offer", "password": PASSWORD}),
    "/tokens": ("/tokens", {"act": "add", "name": "his"}),
    "/order": ("/order?item=W1", ASKED),
    "/messages/{number}/edit": ("/messages/{refused}/edit", ASKED, {"text": "MSH|^~\\&|BC-5380"}),
    "/do/retry": ("/do/retry?all=1", WHY),
    "/abdm/link": ("/abdm/link?context=5", WHY | CARD),
    "/codes/row": (CODED, ROW),
}
# Forms whose answer is a page that is walked, or leads to one.
LEAD_ON = {
    *("/log-in", "/log-in/code", "/change-user", "/set-up", "/wall", "/log-out", "/stay", "/users", "/user"),
    *("/add/new", *(f"/add/{{name}}/{step}" for step in ADDING)),
    *("/affected", "/affected/results", "/affected.csv", "/todo", "/alerts", "/operations/{number}"),
    *("/held/{number}", "/quality", "/quality/chart", "/quality/maintenance", "/quality/targets", "/reflexes"),
    *("/codes/row/do", "/codes/undo"),
    *(
        "/messages",
        "/messages/{number}/contents",
        "/replay",
        "/messages/{number}/set-aside",
        "/messages/{number}/edit/do",
        "/messages/{number}/test",
    ),
    *(f"/order/{act}" for act in ("cancel", "release", "resend", "match", "unmatch")),
    *(f"/abdm/{act}" for act in ("withdraw", "retry", "resume")),
    *(f"/do/{verb}" for verb in ("dismiss", "release", "reject", "pause", "resume", "restart")),
}
FOR_PROGRAMS = {"/log-in/oidc/ended"}  # no form is there: the identity provider sends it
NO_SUCH_PAGE, UNREADABLE = "/no-such-page", "/messages?from=wrong"
IN_ENGLISH = {"/api"}  # for those who write programs
NO_PAGES = (
    "/events",
    "/static/{name}",
    ".json",
    ".csv",
    "/oidc",
    "/oidc/back",
    "/oidc/out",
    "/oidc/ended",
)  # or lead to an identity provider
REFUSES = {
    "/messages/999",
    "/held/999",
    "/conflicts/999",
    "/do/retry",
    NO_SUCH_PAGE,
    "/set-up",
    UNREADABLE,
    "/todo?key=none",
    "/orders?tab=none",
    "/abdm/contexts?state=none",
    "/abdm/link?context=9",
    "/abdm/context?number=99",
    "/abdm/consent?number=99",
    "/orders/worklist?channel=none",
    "/order?item=W999",
    "/order/cancel?item=W1",
    "/help/none",
}


@pytest.fixture(autouse=True)
def untranslated() -> Iterator[None]:
    """Fails where a page said an English text that a catalogue lacks."""
    missing: set[str] = set()

    class Missing(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            missing.add(message)
            return message

    translations = [catalogue(language).__self__ for language in EVERY if language != DEFAULT]  # type: ignore[attr-defined]
    for one in translations:
        one.add_fallback(Missing())
    yield
    for one in translations:
        one._fallback = None
    said_twice = {text for text in missing if not text.isascii()}  # it is a translation
    assert missing - said_twice == missing & NOT_TRANSLATED


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path / "site") as made:
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


def in_language(address: str, language: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}lang={language}"


def fill_in(here: Laboratory, address: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """An address with its gaps filled; ``more``: gap -> text, besides the numbers of messages."""
    numbers = {
        "{refused}": REFUSED,
        "{held}": CRITICAL,
        "{whose}": OTHER_PERSON,
        "{waiting}": WAITING,
        "{two}": TWO_PATIENTS,
    }
    numbers |= {"{number}": REFUSED}
    gaps = {gap: str(here.number(control_id)) for gap, control_id in numbers.items()}
    gaps |= {
        "{framed}": str(here.newest("chemistry")),
        "{name}": AWAY,
        "{without}": str(here.newest("immunoassay")),
    } | more
    return re.sub(r"\{\w+\}", lambda gap: gaps[gap[0]], address)


async def acted(here: Laboratory, one: Visitor) -> Mapping[str, str]:
    """Addresses of things that are there after an act: an operation, and a correction that can be taken back. Contents
    of two messages are shown. Drafts are there, too.
    """
    for name, port in zip((SILENT, DRAFT), quiet_ports(2), strict=True):
        await one.open("/add/new?lang=en")
        await send(one, "/add/new", {"called": name, "address": "127.0.0.1", "port": str(port)})
        assert f"/add/{name}/recognise" in one.page.url
    _, writer = await asyncio.open_connection("127.0.0.1", here.port(DRAFT))
    writer.write(ROWS)
    await until(lambda: bool(messages_page(here.app.journal, Filter(channel=DRAFT))))
    writer.close()
    await one.open(f"/add/{DRAFT}/recognise?lang=en")
    await send(one, f"/add/{DRAFT}/recognise", {"column-time": "When", "time": "%Y-%m-%d %H:%M:%S"})
    for value in ("5.4", "5.6"):
        await one.open("/quality?lang=en")
        await send(one, "/quality", CONTROL_VALUE | {"value": value})
        assert "/quality/chart" in one.page.url
    await one.open("/do/retry?all=1&lang=en")
    await send(one, "/do/retry", WHY)
    operation = re.search(r"/operations/(\d+)", one.page.url)
    assert operation is not None
    await one.open(f"{CODED}&lang=en")
    await send(one, "/codes/row", ROW)
    await send(one, "/codes/row/do", WHY)
    undo = await one.page.locator("a[href^='/codes/undo']").first.get_attribute("href")
    assert undo is not None
    for gap in ("{framed}", "{refused}"):
        await one.open(fill_in(here, f"/messages/{gap}?part=bytes&lang=en"))
        await send(one, fill_in(here, f"/messages/{gap}/contents"), ASKED)
    return {"{operation}": operation[1], "{undo}": re.sub(r"&?lang=en", "", undo)}


async def pages(here: Laboratory, one: Visitor) -> list[str]:
    """The addresses to look at of each page that is for a person who is logged in."""
    assert here.app.page is not None
    more = await acted(here, one)
    found = [NO_SUCH_PAGE, UNREADABLE]
    for path, method in here.app.page.routes:
        if method != "GET" or path in BEFORE_LOG_IN or path.startswith("/api/") or path.endswith(NO_PAGES):
            continue
        addresses = [fill_in(here, address, more) for address in ADDRESSES.get(path, (path,))]
        answer = await one.page.request.get(here.base + addresses[0])
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        assert answer.ok, f"give {path} an address in ADDRESSES that shows something"
        found += addresses
    return found


async def look_at(one: Visitor, address: str, languages: Sequence[str], *, alone: str) -> list[str]:
    """What is wrong with a page in these languages; ``alone``: the one that has all combinations."""
    wrong = []
    for language in languages:
        status = await one.open(in_language(address, language))
        if (status >= 400) != (address in REFUSES):
            wrong.append(f"{address}: {status}")
        shown = DEFAULT if address in IN_ENGLISH else language
        wrong += await examine(one, address, shown, in_full=language == alone)
        if address in IN_ENGLISH:
            break
    return wrong


async def examine(one: Visitor, address: str, language: str, *, in_full: bool) -> list[str]:
    """What is wrong with the page that is open."""
    wrong = []
    if await one.page.locator("html").get_attribute("lang") != language:
        wrong.append(f"{address}: not in {language}")
    for theme, width in (*(REST if in_full else ()), FIRST):
        await one.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        await one.page.set_viewport_size({"width": width, "height": HEIGHT})
        found = [f"too wide: {element}" for element in await one.too_wide()]
        if rules := WITH_AXE.get((theme, width)):
            found += await one.violations(rules if in_full else Rules.OTHERS)
        wrong += [f"{address} {language} {theme} {width}: {fault}" for fault in found]
    return wrong


async def send(one: Visitor, path: str, typed: dict[str, str], *, by_keyboard: bool = False) -> None:
    """Fill in the form of the open page that goes to ``path``, and press its button; ``act``: the button's value.
    A form that is folded away is unfolded first.
    """
    form = one.page.locator(f"form[method=post][action^='{path}?']")
    if act := typed.get("act"):
        form = form.filter(has=one.page.locator(f"button[value='{act}']"))
    folded = one.page.locator("details:not([open])").filter(has=form.first)
    if await folded.count():
        await folded.locator("summary").press("Enter")
    for name, text in typed.items():
        if name != "act":
            field = form.first.locator(f"[name={name}]")
            is_choice = await field.evaluate("one => one.tagName") == "SELECT"
            await (field.select_option(text) if is_choice else field.fill(text))
    async with one.page.expect_navigation():
        button = form.first.locator(f"button[value='{act}']" if act else "button").first
        await (button.press("Enter") if by_keyboard else button.click())


@pytest.mark.timeout(1500)  # hundreds of pages, also on a busy machine
@pytest.mark.parametrize("languages", HALVES, ids=" ".join)
async def test_each_page_in_each_language_theme_and_width(
    here: Laboratory, browser: Browser, languages: Sequence[str]
) -> None:
    wrong = []
    async with visitor(browser, here) as stranger, visitor(browser, here) as admin:
        await admin.log_in("mohan")
        walked = [(stranger, address) for address in (*BEFORE_LOG_IN, await here.wall_link())]
        walked += [(admin, address) for address in await pages(here, admin)]
        for number, (one, address) in enumerate(walked):
            wrong += await look_at(one, address, languages, alone=EVERY[number % len(EVERY)])
    wrong += stranger.faults + admin.faults
    assert not wrong, "\n".join(wrong)


async def test_each_script_is_drawn_in_the_font_that_we_bring(here: Laboratory, browser: Browser) -> None:
    """Also where the machine has none for it, and the font comes once the text is drawn: at the first page of all."""
    for language in EVERY[1:]:
        async with visitor(browser, here) as stranger:
            await stranger.open(in_language("/log-in", language))
            await stranger.page.evaluate("() => document.fonts.ready.then(() => document.fonts.size)")
            for element in (
                "h1",
                "label",
                *(f".languages a:lang({other})" for other in EVERY[1:] if other != language),
            ):
                drawn = await stranger.fonts(element)
                assert any(one.startswith("Noto Sans ") for one in drawn), (language, element, drawn)


@pytest.mark.timeout(1500)  # some hundred pages, beside three other browsers
async def test_each_answer_to_a_form(here: Laboratory, browser: Browser) -> None:
    assert here.app.page is not None
    forms = {path for path, method in here.app.page.routes if method == "POST" and not path.startswith("/api/")}
    assert forms == {*ANSWERS} | LEAD_ON | FOR_PROGRAMS, (
        "give each new form its answer in ANSWERS, or its line in LEAD_ON"
    )
    wrong = []
    async with visitor(browser, here) as admin:
        await admin.log_in("mohan")
        for number, (path, (address, *steps)) in enumerate(ANSWERS.items()):
            for language in EVERY:
                await admin.open(in_language(fill_in(here, address), language))
                for typed in steps:
                    await send(admin, fill_in(here, path), typed)
                    in_full = language == EVERY[number % len(EVERY)]
                    wrong += await examine(admin, f"{path}, answered", language, in_full=in_full)
                wrong += [f"{path}, answered: does nothing: {element}" for element in await admin.need_scripts()]
                for link in await admin.page.locator("header nav a[hreflang]").all():
                    to = await link.get_attribute("href") or ""
                    if (status := (await admin.page.request.get(here.base + to)).status) != 200:
                        wrong.append(f"{path}, answered: its language link {to} leads to {status}")
        wrong += admin.faults
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("width", "height", "language"), [(1440, 900, "en"), (320, 480, "hi")])
async def test_each_page_by_keyboard_alone(
    here: Laboratory, browser: Browser, width: int, height: int, language: str
) -> None:
    wrong = []
    async with visitor(browser, here) as stranger, visitor(browser, here) as admin:
        await admin.log_in("mohan")
        walked = [(stranger, address) for address in BEFORE_LOG_IN]
        walked += [(admin, address) for address in await pages(here, admin)]
        for one, address in walked:
            await one.page.set_viewport_size({"width": width, "height": height})
            await one.open(in_language(address, language))
            wrong += [f"{address} {width}: {fault}" for fault in await one.by_keyboard()]
    assert not wrong, "\n".join(wrong)


async def test_a_page_that_loads_itself_anew_is_looked_at(browser: Browser) -> None:
    """No request to the browser takes for granted what an earlier one has put into the page."""
    anew = "<a href='/'>x</a><script>setTimeout(() => location.reload(), 30)</script>"
    async with visitor(browser, cast(HasPage, SimpleNamespace(base="http://127.0.0.1:9"))) as one:
        await one.page.route("**/*", lambda route: route.fulfill(body=anew, content_type="text/html"))
        await one.open("/")
        for _ in range(100):
            assert await one.too_wide() == []


# Acts that are refused, or done at once: where the form is, the path of the form, what is typed.
TOLD: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "/account",
        "/account",
        {"act": "password", "password": PASSWORD, "new": "long enough, one", "again": "another, too"},
    ),
    ("/account", "/account", {"act": "offer", "password": "wrong"}),
    ("/todo?key=away/{name}", "/todo", {"act": "note away/{name}", "text": ""}),
    (CODED, "/codes/row", {"cell-loinc": "1-1"}),
    (CODED, "/codes/row", ROW),
    ("/messages/{refused}?part=bytes", "/messages/{refused}/contents", ASKED),
    ("/order?item=W1", "/order", ASKED),
    ("/order?item=W1", "/order", {"purpose": " x "}),
    ("/messages/{refused}/edit", "/messages/{refused}/edit", ASKED),
    ("/do/pause?kind=channel&name=chemistry", "/do/pause", WHY),
    ("/do/resume?kind=channel&name=chemistry", "/do/resume", WHY),
    ("/tokens", "/tokens", {"act": "add", "name": "his"}),
    ("/tokens", "/tokens", {"act": "add", "name": "his"}),
)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_an_answer_takes_the_focus_of_the_keyboard(here: Laboratory, browser: Browser, scripts: bool) -> None:
    """The form is sent by Enter. Then the focus is on the message, which is in sight; its links lead to fields."""
    wrong = []
    async with visitor(browser, here, java_script_enabled=scripts) as admin:
        await admin.log_in("mohan")
        for address, path, typed in TOLD:
            await admin.open(in_language(fill_in(here, address), "en"))
            filled = {name: fill_in(here, text) for name, text in typed.items()}
            await send(admin, fill_in(here, path), filled, by_keyboard=True)
            focus = await admin.told()
            if focus:
                wrong.append(f"{path} {typed}: {focus}")
    assert not wrong, "\n".join(wrong)


async def test_each_page_with_scripts_off(here: Laboratory, browser: Browser) -> None:
    """It is there, fits the screen, and each of its controls is a link or belongs to a form."""
    wrong = []
    narrow = {"viewport": {"width": 320, "height": HEIGHT}, "java_script_enabled": False}
    async with visitor(browser, here, **narrow) as admin:
        await admin.log_in("mohan")
        for address in await pages(here, admin):
            for language in TWO:
                await admin.open(in_language(address, language))
                found = [f"too wide: {element}" for element in await admin.too_wide()]
                found += [f"does nothing: {element}" for element in await admin.need_scripts()]
                wrong += [f"{address} {language}: {fault}" for fault in found]
    wrong += admin.faults
    assert not wrong, "\n".join(wrong)
