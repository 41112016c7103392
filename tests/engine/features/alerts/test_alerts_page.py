"""The page of alerts: what is open, who took it, silences, and what was sent; the acts of those who may."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from engine.actions.declaring import Verb
from engine.actions.verbs import verbs_of
from engine.features.alerts.rows import changes as alerts
from engine.features.alerts.rows import reading as rows
from engine.model.site.alerts import Alert, Changes, Line, What
from engine.model.texts.phrases import Phrase
from engine.store.journal import Journal
from engine.web.languages import LANGUAGES, catalogue
from tests.support import access
from tests.support.access import Browser, Site
from tests.support.journals import NOW_US, opened
from tests.support.running import running_app
from tests.support.sites import SITE_YAML, make_site
from tests.support.status_server import Element, read_html
from tests.support.status_sites import quiet_site

AWAY = Alert(
    key="away/lis",
    rule="destination",
    level="problem",
    phrase=Phrase("{name} not reachable", {"name": "lis <b>"}),
    since_us=NOW_US,
    fired_us=NOW_US,
    sent_us=NOW_US,
    sent_to=("mail",),
)
START = Line(
    sink="mail", key=AWAY.key, what=What.START, level="problem", phrase=AWAY.phrase, at_us=NOW_US, due_us=NOW_US
)


class Known:
    """The journal behind a running page; its alerts are given."""

    journal: Journal

    def verbs(self, journal: Journal) -> dict[str, Verb]:
        self.journal = journal

        async def acknowledge(key: str, actor: str, note: str) -> tuple[str, int]:
            if key.startswith("critical/"):  # as of a site without alerts
                return key, await journal.run(alerts.take_critical, int(key.partition("/")[2]), actor, note)
            return key, await journal.run(alerts.acknowledge, key, actor, note)

        async def silence(pattern: str, actor: str, reason: str, seconds: float) -> int:
            return await journal.run(alerts.silence, pattern, actor, reason, seconds=seconds)

        async def unsilence(number: int, actor: str) -> int:
            return await journal.run(alerts.unsilence, number, actor)

        alerting = SimpleNamespace(acknowledge=acknowledge, silence=silence, unsilence=unsilence)
        site: Any = SimpleNamespace(service=lambda kind: alerting)
        return {name: verb for name, verb in verbs_of(site).items() if name.startswith("alert_")}


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def here(tmp_path: Path, known: Known) -> AsyncIterator[Site]:
    journal = opened(tmp_path)
    journal.run_alone(alerts.note_critical, 7, "chem")
    journal.close()
    async with access.site(tmp_path, verbs=known.verbs) as made:
        await known.journal.run(alerts.look, lambda kept, silences: Changes([AWAY], [], [START]))
        yield made


@pytest.fixture
async def operator(here: Site) -> AsyncIterator[Browser]:
    async with here.browser() as browser:
        assert (await browser.log_in("operator"))[0] == 200
        yield browser


def hidden(page: Element) -> dict[str, str]:
    """The hidden fields of one of the page's forms: each has a number of its own."""
    fields = page.one("main").all("form")[0].all("input", type="hidden")
    return {one.attributes["name"]: one.attributes["value"] for one in fields}


async def test_an_open_alert_is_shown_and_taken_under_the_persons_name(operator: Browser, known: Known) -> None:
    status, page = await operator.get("/alerts?lang=en")
    assert status == 200
    assert "lis <b> not reachable" in page.text
    assert "mail" in page.text
    given = {**hidden(page), "act": "take away/lis", "note": "the network is mended"}
    assert (await operator.post("/alerts?lang=en", given))[0] == 200
    kept, _ = rows.kept(known.journal, NOW_US)
    assert rows.takers(known.journal, kept)["away/lis"].by == "operator"
    _, page = await operator.get("/alerts?lang=en")
    assert not [one for one in page.all("button") if one.attributes.get("value", "").startswith("take ")]


async def test_an_alert_is_in_the_language_of_the_reader(operator: Browser, known: Known) -> None:
    phrase = Phrase("{name} {state}", {"name": "his", "state": Phrase("not reachable")})
    other = replace(AWAY, key="away/his", phrase=phrase)
    sent = replace(START, key=other.key, phrase=phrase)
    await known.journal.run(alerts.look, lambda kept, silences: Changes([other], [], [sent]))
    message = await known.journal.run(alerts.claim, "mail", held=False)
    assert message is not None
    await known.journal.run(alerts.sent, message, "a@x.example, b@x.example", ["b@x.example: SMTP 550"])
    for language in LANGUAGES:
        _, page = await operator.get(f"/alerts?lang={language}")
        assert page.text.count(phrase.say(catalogue(language))) == 2, language
        assert Phrase("refused for {who}", {"who": "b@x.example: SMTP 550"}).say(catalogue(language)) in page.text


async def test_a_silence_is_made_shown_and_ended(operator: Browser, known: Known) -> None:
    _, page = await operator.get("/alerts?lang=en")
    assert [one.attributes["value"] for one in page.one("datalist").all("option")] == ["away/lis"]
    given = {**hidden(page), "act": "silence", "pattern": "away/*", "time": "604800", "reason": "they move"}
    assert (await operator.post("/alerts?lang=en", given))[0] == 200
    _, page = await operator.get("/alerts?lang=en")
    assert "they move" in page.text
    (end,) = [one for one in page.all("button") if one.attributes.get("value", "").startswith("end ")]
    given = {**hidden(page), "act": end.attributes["value"]}
    assert (await operator.post("/alerts?lang=en", given))[0] == 200
    assert known.journal.rows("SELECT * FROM alert_silence") == []


@pytest.mark.parametrize(
    ("pattern", "reason", "status"), [("", "x", 403), ("critical/*", "x", 403), ("away/*", "", 403)]
)
async def test_a_silence_without_words_or_of_a_critical_value_is_refused(
    operator: Browser, known: Known, pattern: str, reason: str, status: int
) -> None:
    _, page = await operator.get("/alerts?lang=en")
    given = {**hidden(page), "act": "silence", "pattern": pattern, "time": "3600", "reason": reason}
    answered, page = await operator.post("/alerts?lang=en", given)
    assert (answered, bool(page.all("p", role="alert"))) == (status, True)


@pytest.mark.parametrize("act", ["end", "end ²", f"end {'9' * 30}", f"end {'9' * 5000}", "silence", "erase x"])
async def test_what_is_no_act_of_the_page_is_refused(operator: Browser, act: str) -> None:
    _, page = await operator.get("/alerts?lang=en")
    assert (await operator.post("/alerts?lang=en", {**hidden(page), "act": act}))[0] == 400


async def test_a_viewer_sees_the_list_and_no_buttons(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("viewer")
        _, page = await browser.get("/alerts?lang=en")
        assert "away/lis" in page.text
        assert page.one("main").all("button") == []


async def test_a_critical_value_is_taken_where_no_person_is_notified(here: Site, operator: Browser) -> None:
    here.page.site = replace(quiet_site(), notifies=False)
    _, page = await operator.get("/alerts?lang=en")
    assert "chem: message 7 has a critical value" in page.one("main").text
    given = {**hidden(page), "act": "take critical/7", "note": "told the ward"}
    assert (await operator.post("/alerts?lang=en", given))[0] == 200
    _, page = await operator.get("/alerts?lang=en")
    assert "has a critical value" not in page.one("main").text


async def test_enter_in_the_note_takes_no_alert(operator: Browser) -> None:
    """A browser then presses the first button of the form: here one that cannot be pressed."""
    _, page = await operator.get("/alerts?lang=en")
    first, second = page.one("main").all("form")[0].all("button")
    assert ("disabled" in first.attributes, second.attributes["value"]) == (True, "take away/lis")


async def test_where_no_person_is_notified_the_page_says_so_and_how_to_begin(here: Site, operator: Browser) -> None:
    here.page.site = replace(quiet_site(), notifies=True)
    assert (await operator.get("/alerts?lang=en"))[1].all("p", id="no-alerts") == []
    here.page.site = replace(quiet_site(), notifies=False)
    (said,) = (await operator.get("/alerts?lang=en"))[1].all("p", id="no-alerts")
    assert "No person is notified: no alerts are configured." in said.text
    assert said.one("a").attributes["href"].startswith("/help/alerts?")


async def test_where_no_person_is_notified_the_verdict_of_a_calm_site_says_so(tmp_path: Path) -> None:
    calm = SITE_YAML.replace("timezone", "practice: true, timezone")
    alerts_yaml = "alerts: {sinks: {chat: {kind: http, url: 'http://127.0.0.1:9/', type: text, body: '{text}'}}}\n"
    for more, says in (("", True), (alerts_yaml, False)):
        site = make_site(tmp_path, site=f"{calm}web: {{listen: '127.0.0.1:0'}}\n{more}", channels={}, answered=True)
        async with running_app(site) as app, aiohttp.ClientSession() as client:
            assert app.page is not None
            async with client.get(f"http://127.0.0.1:{app.page.port}/?lang=en") as answer:
                page = read_html(await answer.text())
        strip = page.one("section", id="strip")
        headline, words = strip.one("h1").text, "No person is notified: no alerts are configured."
        assert (words in headline) is says, headline
        assert any("/help/alerts?" in one.attributes["href"] for one in strip.all("a", class_="main")) is says
