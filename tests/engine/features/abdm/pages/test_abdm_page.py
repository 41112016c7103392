"""The pages of ABDM: who waits, what was allowed, what went out; masked, and as the journal has it now."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.abdm.flows import linking, pages, requests
from engine.features.abdm.pages import words as abdm_words
from engine.features.abdm.rows import calls, consents, contexts, forgetting, leaving
from engine.features.abdm.rules.care_contexts import Gone, Hold, Wait
from engine.features.abdm.rules.consents import ConsentState, FrequencyUnit, Refusal, Unfit
from engine.features.abdm.rules.network import CallState, ContextState, PageState, TransferState
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import append
from tests.support.abdm_rows import COUNTED, FAILED, GRANTED, LINKED, OWN, REVOKED, WEST, fill, secrets
from tests.support.abdm_site import FACILITY, report
from tests.support.access import Browser
from tests.support.acting_pages import ActingSite, acting_site
from tests.support.journals import received
from tests.support.running import astm_channel

filled = operation(priority=Priority.SETTLE)(fill)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"chemistry": astm_channel()}) as site:
        yield site


async def text_of(browser: Browser, address: str, status: int = 200) -> str:
    answer, page = await browser.get(address)
    assert getattr(answer, "status", answer) == status, address
    return " ".join(page.one("main").text.split())


@operation(priority=Priority.SETTLE)
def _revoked(batch: Batch) -> None:
    consents.end(batch, GRANTED, ConsentState.REVOKED)


# Address -> the words that are there, and those that are not.
SHOWN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "/abdm": (
        (
            *(FACILITY, WEST, "look at it", "Could not be linked: 1", "Suspended consents: 1"),
            *("Taken from their patient by a correction: 1", "With the number of another patient's report: 1"),
            *("Callbacks that could not be used, in 7 days: 1", "Calls given up in 24 hours: 1", "ABDM-1022"),
        ),
        ("Calls that failed and are tried again",),
    ),
    "/abdm/contexts": (
        ("in all: 6", "A*** R***", "**-****-****-0032", "a***@sbx", "as the report says", "Version 2", "not linked"),
        (),
    ),
    f"/abdm/contexts?facility={WEST}": (("in all: 1", WEST), ("**-****-****-0032",)),
    "/abdm/contexts?state=linked": (("in all: 1", "linked"), ("**-****-****-0032",)),
    "/abdm/contexts?reason=moved": (("in all: 1", abdm_words.REASONS["moved"]), ("**-****-****-0032",)),
    "/abdm/contexts?message=2": (("Version 2",), ("**-****-****-0032",)),
    "/abdm/contexts?reason=left": (("No care context is in this list.",), ()),
    "/abdm/consents": (
        ("in all: 4", "revoked", "granted, nothing goes out", "Reports: 1", "signature is verified"),
        (),
    ),
    "/abdm/consents?reason=suspended": (("in all: 1", abdm_words.REASONS["suspended"]), ("Reports: 1",)),
    "/abdm/transfers": (("in all: 2", "1/2", abdm_words.REASONS["frequency"]), ()),
    "/abdm/transfers?state=refused": (("in all: 1",), ("1/2",)),
    f"/abdm/transfers?consent={OWN}": (("No request is in this list.",), ()),
    f"/abdm/context?number={LINKED}": (
        (
            *("Care context 1", "linked", "M*** I***", "**-****-****-0016", "m***@sbx", FACILITY),
            *("Versions of the report", "does not know it", "knows it"),
            *("The notice to the patient's app", "ABDM-1022", "A link token was asked for"),
            *("Sent to readers", "delivered"),
        ),
        (),
    ),
    f"/abdm/context?number={COUNTED}": (
        (abdm_words.REASONS["counted"], abdm_words.HELP["counted"], "as the report says", "A*** R***"),
        (),
    ),
    f"/abdm/context?number={FAILED}": (("ABDM-1036", "not sent", abdm_words.REASONS["patient_left"]), ()),
    f"/abdm/consent?number={GRANTED}": (
        (
            *("granted", "Care management", "Hospital HIU-1", "no limit", "DiagnosticReport"),
            *("not verified (bytes not published)", "c-1", "Request 1", "delivered", "HTTP 202", "Sent 1/2"),
            *(abdm_words.REASONS["patient_left"], abdm_words.REASONS["range"], "Request 2"),
            *(abdm_words.REASONS["frequency"], "M*** I***"),
        ),
        (),
    ),
    f"/abdm/consent?number={OWN}": (("Self requested", "HIU-2", "Nothing was asked for under it yet."), ()),
    f"/abdm/consent?number={REVOKED}": (("revoked", "no grant has come"), ("Purpose",)),
}
REFUSED = {
    "/abdm/contexts?state=none": (400, "There is no such state."),
    "/abdm/consents?state=linked": (400, "There is no such state."),
    "/abdm/context?number=99": (404, "There is no care context 99."),
    "/abdm/context": (404, "There is no care context 0."),
    "/abdm/consent?number=x": (404, "There is no consent 0."),
}


async def test_a_site_that_is_not_in_abdm_says_so(here: ActingSite) -> None:
    async with here.browser("viewer") as browser:
        assert "no destination of kind abdm" in await text_of(browser, "/abdm")


async def test_each_page_shows_what_the_table_says_and_no_patient(here: ActingSite) -> None:
    await here.site.journal.run(filled)
    for person in ("viewer", "operator"):  # who sees patients elsewhere, and who does not
        async with here.browser(person) as browser:
            for address, (there, absent) in SHOWN.items():
                text = await text_of(browser, address)
                assert [words for words in there if words not in text] == [], (address, text)
                assert [words for words in (*absent, *secrets()) if words in text] == [], (address, text)
            for address, (status, said) in REFUSED.items():
                assert said in await text_of(browser, address, status)


@operation(priority=Priority.SETTLE)
def _two_reports(batch: Batch, message: int) -> list[int]:
    return [contexts.put(batch, report(f"R-{n}", message_id=message)) for n in range(2)]


async def test_a_message_and_its_care_contexts_lead_to_each_other(here: ActingSite) -> None:
    """Who may look at one may look at the other; nothing of a patient is on the way."""
    journal = here.site.journal
    sent, other = [
        (await journal.run(append.store_message, received(payload), repeat_window_s=0.0)).id for payload in (b"1", b"2")
    ]
    numbers = await journal.run(_two_reports, sent)
    for person in ("viewer", "operator"):
        async with here.browser(person) as browser:
            links = await _links(browser, f"/messages/{sent}", "/abdm/context")
            assert links == {f"/abdm/context?number={n}&lang=en": f"Care context {n}" for n in numbers}
            for address in links:
                assert list(await _links(browser, address, f"/messages/{sent}")) == [f"/messages/{sent}?lang=en"]
            assert await _links(browser, f"/messages/{other}", "/abdm/context") == {}


async def _links(browser: Browser, address: str, to: str) -> dict[str, str]:
    """The links of a page whose address begins so, and their words."""
    status, page = await browser.get(address)
    assert status == 200
    found = [(one.attributes.get("href") or "", one.text) for one in page.one("main").all("a")]
    return {href: " ".join(text.split()) for href, text in found if href.startswith(to)}


async def test_a_consent_that_was_revoked_is_shown_so_at_once(here: ActingSite) -> None:
    await here.site.journal.run(filled)
    async with here.browser("viewer") as browser:
        assert "granted" in await text_of(browser, f"/abdm/consent?number={GRANTED}")
        await here.site.journal.run(_revoked)
        text = await text_of(browser, f"/abdm/consent?number={GRANTED}")
        assert "revoked" in text
        assert "granted" not in text


def test_each_state_and_reason_has_words() -> None:
    ours = {*Wait, *Gone, *Hold, *Refusal, *Unfit, *requests.WORDS, *pages.LEFT, requests.NOT_ACKNOWLEDGED}
    ours |= {forgetting.ERASED, forgetting.RETENTION, leaving.LEFT, consents.DISPUTED, consents.SUSPENDED}
    ours |= {linking.OTHER_ADDRESS, linking.RENEWED, linking.BLOCKED, linking.NOT_NOTIFIED, "not-linked", "no-token"}
    ours |= {calls.NO_RESULT, calls.ENDED, calls.DAMAGED, "changed"}
    assert {str(one) for one in ours} - set(abdm_words.REASONS) == set()
    assert {one for one in abdm_words.HELP if not one.startswith("ABDM-")} <= set(abdm_words.REASONS)
    assert set(abdm_words.CONTEXTS) == set(ContextState)
    assert set(abdm_words.TRANSFERS) == set(TransferState)
    assert set(abdm_words.CONSENTS) == set(ConsentState)
    assert set(abdm_words.PAGES) == set(PageState)
    assert set(abdm_words.CALLS) == set(CallState)
    assert set(abdm_words.UNITS) == set(FrequencyUnit)
    assert set(abdm_words.STEPS) == {linking.TOKEN, linking.LINK, linking.NOTIFY}
