"""What a person has paused is a row of the journal, with the act that made it so."""

from pathlib import Path

import pytest

from engine.model.journal.records import DELIVERIES, Target
from engine.model.process.clock import ManualClock
from engine.runtime.observing import notices
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.integrity import rollback
from engine.store.journal import Journal
from engine.store.operations import pauses
from engine.store.operations.outbox import claims
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_lanes, list_pauses
from engine.store.queries.reader import Reader
from engine.store.recovery.salvage import saving
from tests.support.copies import Place
from tests.support.journals import queue, running

CHANNEL = Target(channel="chem")
DESTINATION = Target(destination="fhir")
LANE = Target(channel="chem", destination="fhir")


@pytest.mark.parametrize("target", [CHANNEL, DESTINATION, LANE], ids=lambda target: target.kind)
async def test_a_pause_is_kept_with_who_when_and_why_until_it_is_resumed(tmp_path: Path, target: Target) -> None:
    async with running(tmp_path) as journal:
        act = await journal.run(pauses.pause, target, actor="anita", reason="new firmware")
        at_us = acts_page(journal, limit=1)[0].at_us
    async with running(tmp_path) as journal:
        (pause,) = list_pauses(journal)
        assert (pause.target, pause.actor, pause.reason) == (target, "anita", "new firmware")
        assert pause.since_us == at_us
        noted = acts_page(journal, limit=1)[0]
        assert (noted.id, noted.verb, noted.actor) == (act, "pause", "anita")
        assert noted.what == {"what": target.kind, "name": target.name, "reason": "new firmware"}

        assert await journal.run(pauses.resume, target, actor="bela", reason="done") is not None
        assert list_pauses(journal) == []
        noted = acts_page(journal, limit=1)[0]
        assert (noted.verb, noted.actor, noted.what["reason"]) == ("resume", "bela", "done")


async def test_a_persons_reason_is_in_clear_neither_in_the_journal_nor_in_a_copy_nor_in_an_alarm(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    async with running(place.data) as journal:
        copy = await place.copy(journal)
        for target in (CHANNEL, DESTINATION, LANE, DELIVERIES):  # by the account of the service, which has our name
            await journal.run(pauses.pause, target, actor="labrelay", reason="Meera Nair complains")
        assert place.standing(copy)
        paused = {pause.target: pause for pause in list_pauses(journal)}
        assert paused[DELIVERIES].reason == "Meera Nair complains"
        said = [str(notice) for notice in notices.standstill(paused)]
        assert said == ["Nothing is delivered: paused by labrelay"]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240
    assert any(path.suffix == ".state" for path in written)
    assert [path for path in written if b"Meera Nair" in path.read_bytes()] == []


async def test_the_reason_of_a_rolled_back_journal_is_in_the_alarm(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await journal.run(rollback.note, rollback.Rollback("rows are missing"))
        (pause,) = list_pauses(journal)
        assert "rows are missing" in str(next(notices.standstill({pause.target: pause})))


async def test_what_changes_nothing_is_no_act(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await journal.run(pauses.resume, LANE, actor="anita", reason="why not") is None
        await journal.run(pauses.pause, LANE, actor="anita", reason="first")
        assert await journal.run(pauses.pause, LANE, actor="bela", reason="second") is None
        assert [pause.reason for pause in list_pauses(journal)] == ["first"]
        assert len(acts_page(journal)) == 1


async def test_a_lane_its_channel_and_its_destination_are_paused_each_for_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for target in (CHANNEL, DESTINATION, LANE):
            await journal.run(pauses.pause, target, actor="anita", reason=target.kind)
        await journal.run(pauses.resume, DESTINATION, actor="anita", reason="on")
        assert {pause.target.kind: pause.reason for pause in list_pauses(journal)} == {
            "channel": "channel",
            "lane": "lane",
        }
        assert [(lane.destination, lane.paused) for lane in list_lanes(journal)] == [("fhir", True)]


async def test_without_the_key_it_is_known_what_is_paused_and_not_why(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await journal.run(pauses.pause, DESTINATION, actor="anita", reason="Mrs Sharma asked")
    (tmp_path / KEY_NAME).rename(tmp_path / "elsewhere")
    journal = Reader.beside(tmp_path)
    (pause,) = list_pauses(journal)
    journal.close()
    assert (pause.target, pause.actor, pause.reason) == (DESTINATION, "", "")
    assert b"Sharma" not in (tmp_path / JOURNAL_NAME).read_bytes()


async def test_what_is_paused_is_still_so_in_a_salvaged_journal(tmp_path: Path) -> None:
    async with running(tmp_path / "old") as journal:
        await queue(journal, b"1")
        await journal.run(pauses.pause, LANE, actor="anita", reason="lane")
        await journal.run(pauses.pause, CHANNEL, actor="anita", reason="channel")
    saving.run(tmp_path / "old", tmp_path / "new", clock=ManualClock(), actor="anita", reason="test")
    async with running(tmp_path / "new") as again:
        assert _kinds(again) == {"channel": "channel", "lane": "lane"}
        assert await again.run(claims.claim, "chem", "fhir", 5) == []


def _kinds(journal: Journal) -> dict[str, str]:
    return {pause.target.kind: pause.reason for pause in list_pauses(journal)}
