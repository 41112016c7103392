"""One message as a time line: each step of its life in its order, and nothing of a patient."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from engine.model.message import Issue, Received
from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.model.site.actor import Actor
from engine.model.texts.phrases import Phrase
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.operations import append, audit, record_outcome
from engine.store.queries.reader import Reader
from engine.web.desk import sentence
from engine.web.languages import LANGUAGES, catalogue
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.filled_journal import CANARY, DELIVERED, INCOMPLETE, REFUSED, UNMAPPED, WAITING, fill_journal
from tests.support.journals import WINDOW_S, opened
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site

# message -> its state, and the sentences of its time line
LINES = {
    DELIVERED: ("delivered", ["Received and stored", "Mapped by results@0123456789ab mapped",
                              "Delivery to archive delivered"]),
    REFUSED: ("dead letter", ["Received and stored", "Mapped by results@0123456789ab mapped",
                              "Attempt 1 to send it to archive failed", "Delivery to archive dead letter"]),
    UNMAPPED: ("dead letter", ["Received and stored", "Processed dead letter"]),
    INCOMPLETE: ("incomplete", ["Received and stored", "Processed incomplete"]),
    WAITING: ("waiting", ["Received and stored", "Mapped by results@0123456789ab mapped",
                          "Delivery to archive waiting"]),
}  # fmt: skip


def planted(batch: Batch) -> int:
    """A message with a device's worst texts in all that is shown of it."""
    text = "".join(EVIL)
    received = Received(
        channel="chem", payload=b"\xff\xfe", received_us=batch.now_us, control_id=text, message_type=text, peer=text
    )
    stored = append.store_message(batch, received, repeat_window_s=WINDOW_S)
    issue = Issue(code="BAD_VALUE", text=text, place=text, rule=text, severity="dead")
    record_outcome.record(
        batch, stored.id, Outcome("dead", ReasonCode.BAD_VALUE, detail=text, issues=(issue,), mapping=text)
    )
    return stored.id


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    await asyncio.to_thread(fill_journal, tmp_path)
    journal = opened(tmp_path, clock=SystemClock())
    actor = Actor("asha", role="operator")
    journal.run_alone(partial(audit.note, actor=actor, verb="dismiss", what={"message": REFUSED, "reason": "<b>why"}))
    journal.run_alone(planted)
    journal.close()
    reader = Reader.beside(tmp_path)
    async with running(quiet_site(), reader=reader) as started:
        yield started
    reader.close()


async def shown(page: Page, number: int) -> tuple[Element, str]:
    answer, text = await page.get(f"/messages/{number}?lang=en")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return read_html(text), text


def steps(html: Element) -> list[str]:
    return [f"{one.one('strong').text} {''.join(b.text for b in one.all('span', class_='badge'))}".strip()
            for one in html.one("ol", class_="timeline").all("li")]  # fmt: skip


@pytest.mark.parametrize("number", LINES)
async def test_each_step_is_there_in_its_order(page: Page, number: int) -> None:
    html, text = await shown(page, number)
    state, lines = LINES[number]
    assert html.one("h1").text == f"Message {number} {state}"
    said = steps(html)
    assert said[: len(lines)] == lines
    assert said[len(lines) :] == (["asha: closed"] if number == REFUSED else [])
    moments = [one.attributes["datetime"] for one in html.one("ol", class_="timeline").all("time")]
    assert moments == sorted(moments)
    assert all(datetime.fromisoformat(one).tzinfo for one in moments)
    assert len(moments) == len(said) - (number == WAITING)
    assert CANARY not in text


async def test_reasons_are_explained(page: Page) -> None:
    html, _ = await shown(page, REFUSED)
    said = html.one("ol", class_="timeline").text
    for words in ("HTTP 422", "REFUSED", "The destination refused this document"):
        assert words in said
    assert "<b>why" not in said, "a person's reason may name a patient"
    html, _ = await shown(page, UNMAPPED)
    assert "UNMAPPED_CODE no row at OBX[1]-3 (rule lab.yaml:31)" in html.one("ol", class_="timeline").text


async def test_texts_of_a_device_are_harmless(page: Page) -> None:
    _, text = await shown(page, WAITING + 2)
    assert [one for one in FORBIDDEN if one != "A" * 250 and one in text] == []
    assert "A" * 600 not in text


@pytest.mark.parametrize(
    "path", ["/messages/999", "/messages/0", "/messages/x", "/messages/-1", "/messages/" + "9" * 40]
)
async def test_a_message_that_is_not_there(page: Page, path: str) -> None:
    answer, text = await page.get(f"{path}?lang=en")
    assert answer.status == 404
    assert read_html(text).one("p", role="alert").text


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_number_of_no_message_is_answered_in_the_language_of_the_reader(page: Page, language: str) -> None:
    _, text = await page.get(f"/messages/999?lang={language}")
    said = Phrase("there is no message {n}", {"n": 999}).say(catalogue(language))
    assert read_html(text).one("p", role="alert").text == sentence(said)
