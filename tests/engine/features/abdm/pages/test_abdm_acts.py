"""Forms by which a person acts at ABDM: what pages offer, and each act of the whole daemon beside the simulator."""

from pathlib import Path

import pytest

from engine.features.abdm.pages.acts import acts_of_consent, acts_of_context
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState
from engine.store.queries.acts import acts_page
from tests.engine.features.abdm.test_acts import CONSENTS, REPORTS
from tests.support.abdm_daemon import AbdmDaemon, abdm_daemon
from tests.support.abdm_site import person, report
from tests.support.access import Browser
from tests.support.acting_pages import alert, offers
from workbench.abdm.people import PEOPLE

ONE = PEOPLE[0]
CARD = {
    "number": ONE.number or "", "address": ONE.address, "name": ONE.name, "gender": ONE.gender, "year": str(ONE.year),
}  # fmt: skip
WHY = {"reason": "card seen"}
# Rows of the table where an act is taken, and no page offers it: the report is on its way, or the patient's already.
NOT_OFFERED = {
    ("ready", "", "link"), ("ready", "", "retry"), ("linking", "", "link"), ("linked", "", "link"),
    ("linked", "not-notified", "link"), ("dropped", "left", "withdraw"),
}  # fmt: skip


def test_a_page_offers_what_is_taken() -> None:
    """By the table of states and acts, which is the oracle of the acts themselves."""
    for (state, reason), said in REPORTS.items():
        for is_told in (True, False):
            offered = set(acts_of_context(state, reason, is_told=is_told))
            taken = {
                name
                for name, words in zip(("link", "withdraw", "retry"), said, strict=True)
                if words.startswith("ok") and (state.value, reason, name) not in NOT_OFFERED
            }
            if (state, reason) == (ContextState.FAILED, "ABDM-1036"):
                taken.add("retry")  # it asks to confirm
            if is_told and state is ContextState.LINKED:
                taken.discard("retry")
            assert offered == taken, (state, reason, is_told)
    for (consent, reason), words in CONSENTS.items():
        assert acts_of_consent(consent, reason) == (("resume",) if words == "ok" else ()), (consent, reason)


async def send(browser: Browser, path: str, **typed: str) -> str:
    """Fill in the form of a page; the alert of the page that follows."""
    _, page = await browser.send(path, "", "/abdm", **typed)
    return alert(page)


async def test_a_clerk_links_retries_withdraws_and_resumes_by_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_daemon(tmp_path, monkeypatch) as daemon, daemon.acting.browser("operator") as browser:
        number = await daemon.offer(report(), None)
        _, page = await browser.get(f"/abdm/context?number={number}")
        links = offers(page)
        assert list(links) == ["Link with a patient", "Withdraw"]
        refused = await send(browser, links["Link with a patient"], **CARD, **WHY)
        assert refused.startswith("The report says otherwise: name")
        await links_after_a_look(browser, links["Link with a patient"])
        await daemon.becomes(number, "linked", "", 1)

        _, page = await browser.get(f"/abdm/context?number={number}")
        assert list(offers(page)) == ["Withdraw"]
        assert await send(browser, offers(page)["Withdraw"], **WHY) == ""
        assert browser.path == f"/abdm/context?number={number}"
        assert daemon.context(number)[:2] == ("dropped", "withdrawn")

        await retries(daemon, browser)
        await resumes(daemon, browser)
        acts = [act for act in acts_page(daemon.app.journal) if act.verb.startswith("abdm-")]
        assert [(act.verb, act.actor.split()[0]) for act in reversed(acts)] == [
            (verb, acts[0].actor.split()[0])
            for verb in ("abdm-link", "abdm-withdraw", "abdm-retry", "abdm-consent-resumed")
        ]


async def links_after_a_look(browser: Browser, path: str) -> None:
    """The form comes back with what was typed, and then has boxes to confirm."""
    action, fields = await browser.fields(path, "", "/abdm")
    _, page = await browser.post(action, fields | CARD | WHY)
    inputs = {one.attributes["name"]: one for one in page.one("main").all("input")}
    assert inputs["name"].attributes["value"] == CARD["name"]
    assert inputs["year"].attributes["value"] == CARD["year"]
    again = browser.hidden(page)
    assert {"confirmed", "readmit"} <= inputs.keys()
    status, page = await browser.post(action, again | CARD | WHY | {"confirmed": "yes"})
    assert (status, alert(page)) == (200, "")


async def retries(daemon: AbdmDaemon, browser: Browser) -> None:
    await daemon.fail(calls={"generate-token": ["ABDM-1036"]})
    failed = await daemon.offer(report("A-2", message_id=2), person(1))
    await daemon.becomes(failed, "failed", "ABDM-1036", 0)
    path = f"/abdm/retry?context={failed}"
    assert "three mistakes" in await send(browser, path, **WHY)
    assert await send(browser, path, **WHY, confirmed="yes") == ""
    await daemon.becomes(failed, "linked", "", 1)
    assert "state does not allow" in alert((await browser.get(path))[1])


async def resumes(daemon: AbdmDaemon, browser: Browser) -> None:
    consent = await daemon.suspended()
    _, page = await browser.get(f"/abdm/consent?number={consent}")
    path = offers(page)["Put in force again"]
    assert "own list" in await send(browser, path, **WHY)
    assert await send(browser, path, **WHY, looked="yes") == ""
    assert daemon.app.journal.rows("SELECT state, reason FROM abdm_consent") == [(ConsentState.GRANTED.value, "")]


async def test_the_forms_are_in_hindi_and_for_those_who_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_daemon(tmp_path, monkeypatch) as daemon:
        number = await daemon.offer(report(), None)
        async with daemon.acting.browser("operator") as browser:
            path = f"/abdm/link?context={number}&lang=hi"
            _, page = await browser.get(path)
            assert "केयर कॉन्टेक्स्ट" in page.one("h1").text
            action, fields = await browser.fields(path, "", "/abdm")
            _, page = await browser.post(action, fields | CARD | WHY)
            assert alert(page).startswith("रिपोर्ट में कुछ और है: नाम")
            for path in ("/abdm/link?context=99", "/abdm/resume?consent=7", "/abdm/retry?call=1", "/abdm/link"):
                assert alert((await browser.get(path))[1]) == "There is no such row.", path
        async with daemon.acting.browser("viewer") as viewer:
            assert (await viewer.get(f"/abdm/link?context={number}"))[0] == 403
            assert offers((await viewer.get(f"/abdm/context?number={number}"))[1]) == {}
