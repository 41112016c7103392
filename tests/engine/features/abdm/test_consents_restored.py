"""A restored journal is as old as its copy: a consent in it may have been revoked since."""

import asyncio
from pathlib import Path

import pytest

from engine.features.abdm.rows import contexts
from engine.features.abdm.rules.consents import Refusal
from engine.model.process.clock import SystemClock
from engine.store.integrity.verify import run as verify
from engine.store.lifecycle import erasure
from engine.store.operations import append
from tests.support.abdm_consents import Desk, word
from tests.support.abdm_site import of_number, report
from tests.support.copies import Place
from tests.support.journals import received


async def test_what_was_granted_is_suspended_and_what_has_ended_stays_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    desk = Desk(place.data, SystemClock())
    again = desk.grant("c-1")
    desk.notice(again)
    desk.notice(desk.grant("c-2"))
    desk.notice(word("REVOKED", "c-2"))
    desk.notice(desk.grant("c-3", careContexts=[]))
    waiting = desk.keep(again)
    desk.transfer()
    desk.journal.start(asyncio.get_running_loop())
    copy = await place.copy(desk.journal)
    await desk.journal.stop()
    lost = Desk(place.data, SystemClock(), fill=False)
    lost.notice(word("REVOKED", "c-1"))
    lost.journal.close()
    place.restore(copy, tmp_path / "new")

    found = Desk(tmp_path / "new" / "var", SystemClock(), fill=False)
    try:
        assert [found.consent(one) for one in ("c-1", "c-2", "c-3")] == [
            ("GRANTED", "suspended"), ("REVOKED", ""), ("GRANTED", "no_context"),
        ]  # fmt: skip
        assert found.refusal("c-1") is Refusal.NOT_GRANTED
        assert found.journal.rows("SELECT state, body FROM abdm_page") == [("failed", b"")]
        found.fold(waiting)  # of before the restore
        assert found.consent("c-1") == ("GRANTED", "suspended")
        found.notice(again)
        assert found.consent("c-1") == ("GRANTED", "")
        assert found.refusal("c-1") is None
    finally:
        found.journal.close()
    assert verify(tmp_path / "new" / "var", deep=True) == []


@pytest.mark.parametrize("rounds", [True, False])
async def test_who_was_erased_by_a_second_number_since_the_copy_is_erased_again(tmp_path: Path, rounds: bool) -> None:
    """His row at ABDM has the first number, and a report under that stays in the laboratory."""
    place = Place(tmp_path)
    desk = Desk(place.data, SystemClock())
    journal = desk.journal
    stored = journal.run_alone(append.store_message, received(), repeat_window_s=0.0)
    new = report("A-9", message_id=stored.id, reference="LR-C9", patient=1, content=of_number("B-2"))
    journal.run_alone(contexts.put, new)
    desk.notice(desk.grant("c-1"))
    journal.start(asyncio.get_running_loop())
    copy = await place.copy(journal)
    await journal.run(erasure.erase, [stored.id], ["B-2"], actor="a", reason="b", more={})
    (place.standing if rounds else place.rows)(copy)
    await journal.stop()
    place.restore(copy, tmp_path / "new")

    found = Desk(tmp_path / "new" / "var", SystemClock(), fill=False)
    try:
        assert found.consent("c-1") == ("REVOKED", "erased")
        assert found.journal.rows("SELECT number, state, content FROM abdm_patient WHERE address = x''") == [
            (1, "dropped", b"")
        ]
        assert found.journal.rows("SELECT reference, state FROM abdm_context") == [
            ("LR-C0", "dropped"), ("LR-C1", "linked"), ("LR-C9", "dropped"),
        ]  # fmt: skip
    finally:
        found.journal.close()


@pytest.mark.parametrize("rounds", [True, False])
async def test_who_was_erased_since_the_copy_is_erased_again_with_his_consents(tmp_path: Path, rounds: bool) -> None:
    place = Place(tmp_path)
    desk = Desk(place.data, SystemClock())
    journal = desk.journal
    stored = journal.run_alone(append.store_message, received(), repeat_window_s=0.0)
    new = report("A-9", message_id=stored.id, reference="LR-C9", patient=1)
    journal.run_alone(contexts.put, new)
    journal.run_alone(lambda batch: contexts.withdraw(batch, 1, "other-patient"))
    desk.notice(desk.grant("c-1"))
    desk.transfer()
    journal.start(asyncio.get_running_loop())
    copy = await place.copy(journal)
    await journal.run(erasure.erase, [stored.id], ["PID-0"], actor="a", reason="b", more={})
    (place.standing if rounds else place.rows)(copy)
    await journal.stop()
    place.restore(copy, tmp_path / "new")

    found = Desk(tmp_path / "new" / "var", SystemClock(), fill=False)
    try:
        assert found.consent("c-1") == ("REVOKED", "erased")
        for table, column in (("abdm_consent", "content"), ("abdm_transfer", "content"), ("abdm_page", "body")):
            assert found.journal.rows(f"SELECT {column} FROM {table}") == [(b"",)], table
        assert found.journal.rows("SELECT body FROM abdm_callback") == [(b"",)]
        assert found.journal.rows("SELECT state FROM abdm_patient WHERE number = 1") == [("dropped",)]
    finally:
        found.journal.close()
