"""Operations of which a part is lost or damaged: they end, keep no daemon from starting, and say what they left out."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.actions import operations
from engine.actions.selection import Selection
from engine.actions.verbs import bulk_acts
from engine.features.results.acts import dismiss_letters, reject_held, release_held
from engine.features.rework.acts.verbs import retry_letters
from engine.model.errors import StoreError
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.lifecycle import erasure
from engine.store.operations import bulk
from engine.store.operations.bulk import Done, Member
from engine.store.operations.outbox import decisions
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.bulk import members_from, operation_if, operations_page, running_operations
from engine.store.queries.messages import deliveries_of
from tests.engine.actions.test_actions import Site, site
from tests.support.filled_journal import REFUSED, UNMAPPED, WAITING
from tests.support.journals import replaced

__all__ = ["site"]

FAILED = "an operation has failed"
WHAT = {"selection": {"all": True}, "count": 1200, "reason": "old"}


async def begun(site: Site, members: int = 1) -> int:
    wanted = [Member(10_000 + n) for n in range(members)]
    return await site.journal.run(bulk.begin, "dismiss", wanted, last=1, counted_us=1, actor="anita", what=WHAT)


async def changed(site: Site, statement: str, *values: object) -> None:
    @operation(priority=Priority.SETTLE)
    def change(batch: Batch) -> None:
        batch.execute(statement, values)

    await site.journal.run(change)


async def damaged(site: Site, row: int) -> None:
    await changed(site, "UPDATE journal SET body = zeroblob(length(body)) WHERE id = ?", row)


async def stage(site: Site, number: int) -> str:
    await site.acts.operations.wait(number, 60.0)
    found = operation_if(site.journal, number)
    assert found is not None
    return found.stage


async def test_a_damaged_first_row_ends_its_operation_and_no_other(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    before, bad, after = await begun(site), await begun(site), await begun(site)
    await damaged(site, bad)

    with caplog.at_level(logging.ERROR, "labrelay.actions"):
        assert site.acts.operations.take_up(bulk_acts(site.acts)) == {before, bad, after}
        assert [await stage(site, one) for one in (before, bad, after)] == ["ended", "failed", "ended"]

    assert [(one.number, one.shown) for one in operations_page(site.journal)] == [
        (after, "ended"),
        (bad, "damaged"),
        (before, "ended"),
    ]
    assert open_acts(site.journal) == []
    (said,) = caplog.records
    assert (said.getMessage(), vars(said)["act"], vars(said)["detail"]) == (FAILED, bad, "first_row")


LOST_ROWS = ("DELETE FROM journal WHERE id = ?", "UPDATE journal SET kind = 1 WHERE id = ?")


@pytest.mark.parametrize("lost", LOST_ROWS, ids=["lost", "of another kind"])
async def test_an_operation_whose_first_row_is_lost_ends_and_is_shown(site: Site, lost: str) -> None:
    gone, other = await begun(site), await begun(site)
    await changed(site, lost, gone)
    assert site.acts.operations.take_up(bulk_acts(site.acts)) == {gone, other}

    assert [await stage(site, one) for one in (gone, other)] == ["failed", "ended"]
    assert [(one.number, one.shown, one.fault) for one in operations_page(site.journal)] == [
        (other, "ended", ""),
        (gone, "damaged", "first_row"),
    ]
    assert (running_operations(site.journal), open_acts(site.journal)) == ([], [])


async def test_an_operation_that_has_ended_goes_with_its_first_row(site: Site) -> None:
    number = await begun(site)
    site.acts.operations.take_up(bulk_acts(site.acts))
    assert await stage(site, number) == "ended"
    await changed(site, LOST_ROWS[0], number)
    assert operations_page(site.journal) == []


@pytest.mark.parametrize("lost", ["position >= 0", "position = 0", "position = 500", "position = 1000"])
async def test_an_operation_that_has_lost_members_ends(site: Site, lost: str) -> None:
    number = await begun(site, 1200)
    await changed(site, f"DELETE FROM operation_part WHERE operation = ? AND {lost}", number)
    site.acts.operations.take_up(bulk_acts(site.acts))

    assert await stage(site, number) == "failed"
    found = operation_if(site.journal, number)
    assert found is not None
    assert found.fault == "letters"
    assert found.position == {"position = 500": 500, "position = 1000": 1000}.get(lost, 0)
    assert open_acts(site.journal) == []
    assert running_operations(site.journal) == []


DAMAGED_PARTS = {
    "shorter by a sign": "substr(members, 1, length(members) - 1)",
    "shorter by a letter": "substr(members, 17)",
    "longer": "CAST(members || x'00' AS BLOB)",
    "empty": "x''",
    "no bytes": "'letters'",
    "no text": "CAST(x'ff' AS TEXT)",
    "another letter": "CAST(x'01' || substr(members, 2) AS BLOB)",
    "of another place": "(SELECT members FROM operation_part WHERE position = 0)",
}


@pytest.mark.parametrize("became", DAMAGED_PARTS.values(), ids=DAMAGED_PARTS)
async def test_an_operation_whose_list_of_letters_is_damaged_fails_once(
    site: Site, became: str, caplog: pytest.LogCaptureFixture
) -> None:
    number = await begun(site, 600)
    await changed(site, f"UPDATE operation_part SET members = {became} WHERE operation = ? AND position = 500", number)
    with caplog.at_level(logging.WARNING, "labrelay.actions"):
        site.acts.operations.take_up(bulk_acts(site.acts))
        assert await stage(site, number) == "failed"

    found = operation_if(site.journal, number)
    assert found is not None
    assert (found.fault, found.position) == ("letters", 500)
    assert [(one.getMessage(), vars(one)["detail"]) for one in caplog.records] == [(FAILED, "letters")]
    end = acts_page(site.journal)[0]
    assert (end.ended, end.what) == (number, {"skipped": 500, "abandoned": True, "left": 100, "fault": "letters"})
    site.acts.operations.take_up(bulk_acts(site.acts))
    assert acts_page(site.journal)[0] == end, "it has ended"


@pytest.mark.parametrize(
    "damage",
    [
        "outcomes = 'x'",
        "outcomes = CAST(x'ff' AS TEXT)",
        "outcomes = '[1]'",
        """outcomes = '{"skipped": -1}'""",
        "total = -1",
        "verb = 'rtry'",
    ],
)
async def test_an_operation_whose_own_row_is_damaged_fails_and_no_other(site: Site, damage: str) -> None:
    bad, other = await begun(site), await begun(site)
    await changed(site, f"UPDATE operation SET {damage} WHERE number = ?", bad)
    site.acts.operations.take_up(bulk_acts(site.acts))

    assert [await stage(site, one) for one in (bad, other)] == ["failed", "ended"]
    assert {one.number: one.fault for one in operations_page(site.journal)} == {bad: "own_row", other: ""}
    assert open_acts(site.journal) == []


async def test_a_row_that_is_damaged_under_way_ends_its_operation(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def damaged_before(run: Callable[..., Awaitable[Done | None]], *given: object, **more: object) -> Done | None:
        await changed(site, "UPDATE operation SET outcomes = '' WHERE number = ?", given[0])
        return await run(*given, **more)

    replaced(monkeypatch, site.journal, bulk.step, by=damaged_before)
    number = await begun(site)
    site.acts.operations.take_up(bulk_acts(site.acts))
    assert await stage(site, number) == "failed"
    assert open_acts(site.journal) == []


async def test_an_operation_of_which_no_step_can_be_stored_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(run: Callable[..., Awaitable[Done]], *given: object, **more: object) -> Done:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(operations, "TRY_AGAIN_S", 0.0)
    replaced(monkeypatch, site.journal, bulk.step, by=broken)
    number = await begun(site)
    site.acts.operations.take_up(bulk_acts(site.acts))
    assert await stage(site, number) == "failed"
    (found,) = operations_page(site.journal)
    assert found.fault == "steps"


@pytest.mark.parametrize("end", ["ended", "cancelled", "failed"])
async def test_an_operation_ends_also_where_the_row_that_it_is_under_way_is_lost(site: Site, end: str) -> None:
    number = await begun(site)
    await changed(site, "DELETE FROM open_act WHERE id = ?", number)
    if end == "cancelled":
        assert await site.journal.run(bulk.cancel, number, actor="bela")
    else:
        if end == "failed":
            await changed(site, "DELETE FROM operation_part WHERE operation = ?", number)
        site.acts.operations.take_up(bulk_acts(site.acts))

    assert await stage(site, number) == end
    (found,) = operations_page(site.journal)
    assert found.fault == ("letters" if end == "failed" else "open_act")
    (said,) = [act for act in acts_page(site.journal) if act.ended == number]
    assert said.what["fault"] == found.fault


@pytest.mark.parametrize("position", [0, 10, 499, 500, 999, 1000])
async def test_no_member_is_taken_for_another_where_a_part_is_lost(site: Site, position: int) -> None:
    number = await begun(site, 1200)
    await changed(site, "DELETE FROM operation_part WHERE operation = ? AND position IN (0, 1000)", number)
    found = members_from(site.journal, number, position, 50)
    assert [one.message_id - 10_000 for one in found] == [
        at for at in range(position, position + 50) if position >= 500 and at < 1000
    ]


async def test_an_operation_that_a_person_has_cancelled_is_not_abandoned(site: Site) -> None:
    number = await begun(site)
    assert await site.journal.run(bulk.cancel, number, actor="bela")
    assert not await site.journal.run(bulk.abandon, number, "letters")


async def outcomes_of_a_retry(site: Site, message: int) -> object:
    answer = await retry_letters(site.acts, Selection(ids=(message,)), actor="anita", reason="again")
    return answer["done"]


async def test_a_retry_says_that_a_message_is_damaged(site: Site) -> None:
    await damaged(site, UNMAPPED)
    assert await outcomes_of_a_retry(site, UNMAPPED) == {"damaged": 1}
    assert site.state(UNMAPPED) == "dead"


async def test_a_retry_says_that_an_analyzer_is_not_configured_any_more(site: Site) -> None:
    site.routes = {}
    assert await outcomes_of_a_retry(site, UNMAPPED) == {"no_channel": 1}
    assert site.state(UNMAPPED) == "dead"


@pytest.mark.parametrize("verb", ["retry", "dismiss", "release", "reject"])
async def test_an_act_says_that_a_letter_was_erased(site: Site, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is erased between the count and the step."""
    act = {"retry": retry_letters, "dismiss": dismiss_letters, "release": release_held, "reject": reject_held}[verb]
    message = REFUSED
    if verb in ("release", "reject"):
        message = WAITING
        (delivery,) = deliveries_of(site.journal, [WAITING])
        await site.journal.run(decisions.hold, [delivery.id], ReasonCode.HELD_BY_RULE)

    async def erased_before(run: Callable[..., Awaitable[Done]], *given: object, **more: object) -> Done:
        await site.journal.run(erasure.erase, [message], ["5"], actor="bela", reason="asked", more={})
        return await run(*given, **more)

    replaced(monkeypatch, site.journal, bulk.step, by=erased_before)
    answer = await act(site.acts, Selection(ids=(message,)), actor="anita", reason="known")
    assert answer["done"] == {"erased": 1}


async def test_a_retry_says_that_a_message_was_erased(site: Site) -> None:
    """It is erased after its person saw the count, before the operation comes to it."""
    wanted, what = [Member(UNMAPPED)], {"selection": {"all": True}, "count": 1}
    counted_us = site.acts.now_us()
    number = await site.journal.run(
        bulk.begin, "retry", wanted, last=site.journal.last_id, counted_us=counted_us, actor="anita", what=what
    )
    await site.journal.run(erasure.erase, [UNMAPPED], ["5"], actor="bela", reason="asked", more={})
    site.acts.operations.take_up(bulk_acts(site.acts))

    assert await stage(site, number) == "ended"
    found = operation_if(site.journal, number)
    assert found is not None
    assert found.outcomes == {"erased": 1}


async def test_an_operation_that_was_begun_goes_on_where_the_journal_cannot_be_read_just_then(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its person is told its number, and does not begin it once more."""
    rows, refused = site.journal.rows, []

    def unreadable(statement: str, *given: Any) -> Any:
        if "FROM operation o" in statement:
            refused.append(statement)
            raise StoreError("the disk does not answer")
        return rows(statement, *given)

    with monkeypatch.context() as fault:
        fault.setattr(site.journal, "rows", unreadable)
        begun = await dismiss_letters(site.acts, Selection(ids=(UNMAPPED,)), actor="anita", reason="a test")
    assert (begun["operation"], begun["count"]) == (begun["act"], 1)
    assert await stage(site, begun["operation"]) == "ended"
    assert site.state(UNMAPPED) == "dismissed"
    assert refused, "the journal could not be read"
