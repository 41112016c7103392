"""Where the results of an earlier message cannot be looked at, the new ones wait for a person: that nothing could be
compared never looks as if nothing were known.

Each history is told to a running site. The stored document of the first message is then made unreadable in the
journal's file.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.results.rows import judged, sent
from engine.store.core import connecting
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import DOCUMENT_KEYS
from engine.store.core.writing.batch import Batch, month_of
from engine.succession.judge import judging
from tests.results.test_reports_in_succession import say
from tests.results.test_results_in_succession import CHANNELS, Lab
from tests.support.running import RunningSite, running_site

Sealed = Callable[[bytes], bytes]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS) as site:
        yield site


@pytest.fixture(params=["hl7", "astm"])
def lab(request: pytest.FixtureRequest, site: RunningSite) -> Lab:
    return Lab(site, request.param, count(1))


def change(site: RunningSite, message: int, content: Callable[[bytes, Sealed], bytes]) -> None:
    """Put other bytes in the place of the stored document of a message; ``content`` gets the old ones and a seal."""
    (document,) = site.trace(message).documents
    channel = site.trace(message).message.channel
    vault = site.journal.vault

    def sealed(body: bytes) -> bytes:
        return vault.sealer(DOCUMENT_KEYS, month_of(site.app.clock.now_us())).seal(
            body, "document", document.id, channel
        )

    with closing(sqlite3.connect(site.folder / "var" / JOURNAL_NAME, timeout=15)) as connection, connection:
        (old,) = connection.execute("SELECT body FROM document WHERE id = ?", (document.id,)).fetchone()
        connection.execute("UPDATE document SET body = ? WHERE id = ?", (content(old, sealed), document.id))


def another_byte(old: bytes, _: Sealed) -> bytes:
    return old[:-1] + bytes([old[-1] ^ 1])


def of_a_key_that_is_lost(old: bytes, _: Sealed) -> bytes:
    return old[:1] + b"\xff\xff\xff\x7f" + old[5:]


def of_another_version(old: bytes, _: Sealed) -> bytes:
    return bytes([old[0] + 7]) + old[1:]


def cut_short(old: bytes, _: Sealed) -> bytes:
    return old[:4]


def no_json(_: bytes, sealed: Sealed) -> bytes:
    return sealed(b'{"resourceType":"Bundle","entry":[')


def no_bundle(_: bytes, sealed: Sealed) -> bytes:
    return sealed(b'{"resourceType":"Patient"}')


def without_an_address(_: bytes, sealed: Sealed) -> bytes:
    return sealed(b'{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{}}]}')


def of_another_shape(_: bytes, sealed: Sealed) -> bytes:
    return sealed(
        b'{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:1","request":{"method":"PUT",'
        b'"url":"Observation/1"},"resource":{"resourceType":"Observation","code":[]}}]}'
    )


UNREADABLE = [
    another_byte, of_a_key_that_is_lost, of_another_version, cut_short, no_json, no_bundle, without_an_address,
    of_another_shape,
]  # fmt: skip


def first(lab: Lab) -> int:
    return lab.site.messages()[0].id


@pytest.mark.parametrize("content", UNREADABLE)
async def test_what_cannot_be_compared_with_an_earlier_message_is_held(
    lab: Lab, content: Callable[[bytes, Sealed], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="labrelay")
    await lab.says("F GLU 9.9 09:30")
    change(lab.site, first(lab), content)
    assert await lab.says("P GLU 1.1 09:40") == "held"
    assert (lab.held(), lab.results()) == (["NOT_COMPARED"], {"GLU": "final 9.9"})
    (said,) = [one for one in caplog.records if (one.name, one.module) == ("labrelay.journal", "applying")]
    assert (said.earlier, said.journal_id) == (first(lab), lab.site.messages()[-1].id)  # type: ignore[attr-defined]


async def test_a_person_reads_which_message_it_is_and_decides(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="labrelay")
    await lab.says("F GLU 9.9 09:30")
    change(lab.site, first(lab), another_byte)
    await lab.says("C GLU 6.0 09:40")
    number = str(lab.site.messages()[-1].id)
    words = f"the document of message {first(lab)} cannot be read"
    listed = await lab.site.labrelay("held", "list", "--code", "NOT_COMPARED")
    assert words in listed.out
    assert words in (await lab.site.labrelay("explain", number)).out
    assert words in (await lab.site.labrelay("messages", "show", number)).out

    ran = await lab.site.labrelay("held", "release", number, "--reason", "compared at the analyzer", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await lab.site.settled()
    assert lab.results() == {"GLU": "corrected 6"}
    (said,) = [one for one in caplog.records if (one.name, one.module) == ("labrelay.journal", "report_lists")]
    assert (said.journal_id, said.earlier) == (int(number), first(lab))  # type: ignore[attr-defined]  # extra fields


async def test_another_order_and_a_receiver_that_never_had_it_are_not_concerned(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 9.9 09:30")
    site.sandbox.faults.next = ["422"]
    assert await lab.says("F NA 140 09:30", order="S2") == "REFUSED"
    change(site, first(lab), another_byte)
    change(site, site.messages()[1].id, another_byte)
    assert await lab.says("F GLU 5.5 09:40", order="S3") == "delivered"
    assert await lab.says("F GLU 5.5 09:40", order="S2") == "delivered"


async def test_what_is_compared_no_more_is_held(site: RunningSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that never moves would have each message compared with all before it."""
    monkeypatch.setattr(judged, "MOST_MESSAGES", 3)
    lab = Lab(site, "hl7", count(1))
    for minute in range(30, 33):
        assert await lab.says(f"F T{minute} 5.5 09:{minute}") == "delivered"
    assert await lab.says("F GLU 5.5 09:40") == "delivered"
    assert await lab.says("F NA 140 09:41") == "held"
    assert lab.held() == ["NOT_COMPARED"]
    assert "more than 3 messages" in (await site.labrelay("held", "list")).out


async def test_what_would_take_too_many_looks_is_held(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand corrections of one test may mean a thousand results each; meanwhile nothing is acknowledged."""
    minutes = range(10, 50)
    monkeypatch.setattr(judging, "MOST_PAIRS", 2_000)
    assert await lab.says(*(f"F GLU {minute}.5 09:{minute}" for minute in minutes)) == "delivered"
    assert await lab.says(*(f"F T{minute} {minute}.6 09:{minute}" for minute in minutes)) == "delivered"
    assert await lab.says(*(f"C GLU {minute}.6 10:{minute}" for minute in minutes), day="02") == "held"
    assert lab.held() == ["NOT_COMPARED"]
    assert "too many results of one test of its order" in (await lab.site.labrelay("held", "list")).out


async def test_what_makes_many_results_final_opens_their_document_once(
    site: RunningSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, opened = Lab(site, "hl7", count(1)), list[int]()

    def body_of(batch: Batch, document_id: int) -> bytes:
        opened.append(document_id)
        return connecting.body_of(batch, document_id)

    await lab.says(*(f"P T{number} {number}.5 09:30" for number in range(20)))
    monkeypatch.setattr(sent, "body_of", body_of)
    assert await lab.says(*(f"U T{number} - 09:30" for number in range(20))) == "delivered"
    assert lab.results() == {f"T{number}": f"final {number}.5" for number in range(20)}
    assert opened.count(1) <= 3, "as it is compared, joined and written anew"


async def test_an_order_of_another_patient_whose_document_cannot_be_read_is_asked_for(lab: Lab) -> None:
    await lab.says("F GLU 9.9 09:30")
    change(lab.site, first(lab), another_byte)
    assert await lab.says("C GLU 6.0 09:40", patient="4712") == "held"


async def test_three_hundred_tests_of_one_order_a_message_each_are_all_compared(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    for number in range(300):
        await lab.says(f"F T{number} 5.5 09:{number % 60:02}", wait=False)
    await site.settled()
    assert await lab.says("P T0 1.1 10:30") == "held"
    assert await lab.says("F T1 5.5 09:01") == "ECHO"
    assert await lab.says("C T2 6.6 10:40") == "delivered"
    assert lab.held() == ["STATUS_BACK"]
    results = lab.results()
    assert (len(results), results["T0"], results["T1"], results["T2"]) == (
        300,
        "final 5.5",
        "final 5.5",
        "corrected 6.6",
    )
    assert lab.unlisted() == []


async def test_a_report_that_goes_out_alone_for_a_damaged_one_is_told_of(
    site: RunningSite, caplog: pytest.LogCaptureFixture
) -> None:
    """What the first message tells is remembered; its PDF is read again when the report is sent, and is damaged now."""
    caplog.set_level(logging.WARNING, logger="labrelay")
    assert await say(site, "F", "F GLU 5.5", document="a chart") == "delivered"
    assert await say(site, "F", "F NA 140") == "delivered"
    change(site, site.messages()[0].id, another_byte)
    assert await say(site, "F", "F K 4.1") == "delivered"
    (said,) = [one for one in caplog.records if one.name == "labrelay.delivery"]
    assert said.journal_id == site.messages()[-1].id  # type: ignore[attr-defined]  # extra fields
    assert "a document of its order is damaged" in said.message
