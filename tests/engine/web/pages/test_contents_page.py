"""Contents of a message: shown to those alone who may see patients, for a purpose, after the audit row, whatever the
bytes are."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.journal.records import Routed
from engine.model.message import Document, FormatOptions, MapContext, Received
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.routes import ChannelRoutes
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.writing.batch import Batch
from engine.store.operations import append, record_outcome
from tests.support import access
from tests.support.access import Browser, Site
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.filled_journal import CANARY, CHANNEL, DELIVERED, REFUSED, WAITING, fill_journal
from tests.support.journals import NOW_US, WINDOW_S, opened
from tests.support.revealed import Known, reveal

UNREADABLE, WORST, NESTED = WAITING + 1, WAITING + 2, WAITING + 3
DEEP = b'{"a":' * 300 + b'"inmost"' + b"}" * 300  # more than JSON is written with


def planted(batch: Batch) -> None:
    for payload in (b"H|\\^&\rP|1||\xe9t\xe9\xff\x00\x81\r", "\r".join(EVIL).encode(), DEEP):
        received = Received(channel="c", payload=payload, received_us=NOW_US, control_id="", message_type="")
        append.store_message(batch, received, repeat_window_s=WINDOW_S)
    deep = Routed(document=Document(body=DEEP), destinations=("d",))
    record_outcome.record(batch, NESTED, Outcome("mapped", mapping="m@0"), [deep])


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def here(tmp_path: Path, known: Known) -> AsyncIterator[Site]:
    await asyncio.to_thread(fill_journal, tmp_path, ManualClock())
    journal = opened(tmp_path)
    journal.run_alone(planted)
    journal.close()
    routes = ChannelRoutes(
        channel=CHANNEL, message_format=hl7v2, media_type="", options=FormatOptions(), routes=(), context=MapContext()
    )
    async with access.site(tmp_path, verbs=known.verbs, channels=lambda: {CHANNEL: routes}) as made:
        await made.add("seer", "viewer", sees_patients=True)
        yield made


@pytest.mark.parametrize("person", ["viewer", "operator", "engineer", "admin"])
async def test_others_see_no_button_and_are_refused(here: Site, known: Known, person: str) -> None:
    async with here.browser() as browser:
        await browser.log_in(person)
        _, page = await browser.get(f"/messages/{DELIVERED}?lang=en")
        assert page.one("main").all("form") == []
        status, page = await browser.post(f"/messages/{DELIVERED}/contents", {"purpose": "x"})
    assert status == 403
    assert CANARY not in page.text
    assert known.reveals() == []


async def test_contents_are_shown_for_a_purpose_under_a_name(seer: Browser, known: Known) -> None:
    status, page = await reveal(seer, REFUSED, purpose="Dr. Rao asks")
    assert status == 200
    assert known.reveals() == [("seer", REFUSED, "Dr. Rao asks")]
    texts = [one.text for one in page.all("pre")]
    assert f"PID|1||{REFUSED}^^^HOSP^MR||{CANARY}^ANITA" in texts[0]
    assert "4d 53 48 7c" in texts[1]
    assert "Dr. Rao asks" in page.one("section", id="part").one("p", class_="attention").text
    assert "Some bytes" not in page.text
    _, page = await seer.get(f"/messages/{REFUSED}?part=document&lang=en")
    assert CANARY in page.one("ol", class_="document").text
    assert f"{CANARY} unknown" in page.all("pre")[-1].text  # the receiver's answer
    _, page = await seer.get(f"/messages/{REFUSED}?part=fields&lang=en")
    fields = {
        row.one("code").text: row.one("bdi").text for row in page.one("section", id="part").all("tbody")[0].all("tr")
    }
    assert fields["PID-5"] == f"{CANARY}^ANITA"
    assert fields["PID-5.1"] == CANARY
    assert fields["OBX-5"] == f"14.{REFUSED}"
    assert "Patient name" in page.one("tr", id="f-PID-1-5").text


async def test_each_look_is_noted_once_for_a_log_in(here: Site, seer: Browser, known: Known) -> None:
    for part in ("bytes", "fields", "document", "bytes"):
        status, page = await reveal(seer, DELIVERED, part=part)
        assert (status, page.all("input", id="purpose")) == (200, [])
    looks = [("seer", DELIVERED, "a call"), ("seer", DELIVERED, "results")]  # the newest first
    assert known.looks() == looks
    async with here.browser() as other:
        await other.log_in("seer")
        _, page = await other.get(f"/messages/{DELIVERED}?part=fields&lang=en")
        assert page.one("input", id="purpose")
        assert CANARY not in page.text
        await reveal(other, DELIVERED)
    assert known.looks() == looks * 2


@pytest.mark.parametrize("purpose", ["", "   "])
async def test_without_a_purpose_nothing_is_shown(seer: Browser, known: Known, purpose: str) -> None:
    status, page = await reveal(seer, DELIVERED, purpose=purpose)
    assert status == 400
    assert CANARY not in page.text
    assert page.one("main").one("p", role="alert").text == "Say what you look at it for."
    assert known.reveals() == []


async def test_a_form_that_is_not_ours_shows_nothing(seer: Browser, known: Known) -> None:
    status, page = await reveal(seer, DELIVERED, form="0")
    assert (status, known.reveals()) == (403, [])
    assert CANARY not in page.text


async def test_a_message_that_is_not_there_is_not_noted(seer: Browser, known: Known) -> None:
    _, page = await seer.get(f"/messages/{DELIVERED}?part=bytes&lang=en")
    status, page = await seer.post("/messages/999/contents?lang=en", {**Browser.hidden(page), "purpose": "x"})
    assert (status, known.reveals()) == (404, [])
    assert page.one("main").one("p", role="alert").text


@pytest.mark.parametrize(
    ("charset", "text", "fits"),
    [("", "\\xe9t\\xe9\\xff", False), ("latin-1", "été", True), ("cp1252", "été", False), ("nonsense", "\\xe9", False)],
)
async def test_bytes_that_cannot_be_read_are_shown_another_way(
    seer: Browser, charset: str, text: str, fits: bool
) -> None:
    status, page = await reveal(seer, UNREADABLE, charset=charset)
    assert status == 200
    assert text in page.all("pre")[0].text
    assert ("Some bytes do not fit" in page.text) is not fits
    assert "e9 74 e9 ff 00" in page.all("pre")[1].text
    assert len(page.one("select", id="charset").all("option")) > 5


async def test_texts_of_a_device_are_harmless(seer: Browser) -> None:
    _, page = await seer.get(f"/messages/{WORST}?part=bytes&lang=en")
    fields = {**Browser.hidden(page), "purpose": "<script>alert(1)</script>"}
    async with seer.client.post(f"/messages/{WORST}/contents", data=fields) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        text = await answer.text()
    assert [one for one in FORBIDDEN[:-1] if one in text] == []


async def test_objects_in_each_other_are_shown_however_deep(seer: Browser) -> None:
    status, page = await reveal(seer, NESTED)
    assert status == 200
    assert page.all("pre")[0].text.count("inmost") == 1
    _, page = await seer.get(f"/messages/{NESTED}?part=document&lang=en")
    assert page.one("ol", class_="document").text.count("inmost") == 1


async def test_without_the_key_the_page_says_so(seer: Browser, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    _, page = await seer.get(f"/messages/{DELIVERED}?part=bytes&lang=en")
    monkeypatch.setattr(known.journal, "keys", None)
    fields = {**Browser.hidden(page), "purpose": "a call"}
    status, page = await seer.post(f"/messages/{DELIVERED}/contents?lang=en", fields)
    assert (status, CANARY in page.text) == (200, False)
    assert "The key of the journal is not at hand" in page.one("main").one("p", role="alert").text


async def test_a_damaged_message_is_called_damaged(seer: Browser, known: Known) -> None:
    with closing(sqlite3.connect(known.journal.path.with_name(JOURNAL_NAME))) as connection, connection:
        connection.execute("UPDATE journal SET body = zeroblob(length(body)) WHERE id = ?", (DELIVERED,))
    _, page = await reveal(seer, DELIVERED)
    said = page.one("main").one("p", role="alert").text
    assert said in page.one("main").one("p", role="status").text, "of its results"
    assert "damaged" in said
    assert "labrelay verify" in said
    assert "backup" in said
