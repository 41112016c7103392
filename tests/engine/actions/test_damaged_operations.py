"""Operations of which a part is lost or damaged: they end, keep no daemon from starting, and say what they left out."""

import logging
from collections.abc import Awaitable, Callable

import pytest

from engine.actions.bulk_acts import bulk_acts
from engine.actions.hold_decisions import dismiss_letters, reject_held, release_held
from engine.actions.retry import retry_letters
from engine.actions.selection import Selection
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.lifecycle import erasure
from engine.store.operations import bulk
from engine.store.operations.bulk import Done, Member
from engine.store.operations.outbox import decisions
from engine.store.queries.acts import open_acts
from engine.store.queries.bulk import members_from, operation_if, operations_page, running_operations
from engine.store.queries.messages import deliveries_of
from tests.engine.actions.test_actions import Site, site
from tests.support.filled_journal import REFUSED, UNMAPPED, WAITING
from tests.support.journals import replaced

__all__ = ["site"]

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
        assert [await stage(site, one) for one in (before, bad, after)] == ["ended", "cancelled", "ended"]

    assert [(one.number, one.shown) for one in operations_page(site.journal)] == [
        (after, "ended"),
        (bad, "damaged"),
        (before, "ended"),
    ]
    assert open_acts(site.journal) == []
    (said,) = caplog.records
    assert (said.getMessage(), vars(said)["act"]) == ("an operation was cancelled, a part of it is lost", bad)


@pytest.mark.parametrize("lost", ["position >= 0", "position = 0", "position = 500", "position = 1000"])
async def test_an_operation_that_has_lost_members_ends(site: Site, lost: str) -> None:
    number = await begun(site, 1200)
    await changed(site, f"DELETE FROM operation_part WHERE operation = ? AND {lost}", number)
    site.acts.operations.take_up(bulk_acts(site.acts))

    assert await stage(site, number) == "cancelled"
    found = operation_if(site.journal, number)
    assert found is not None
    assert found.position == {"position = 500": 500, "position = 1000": 1000}.get(lost, 0)
    assert open_acts(site.journal) == []
    assert running_operations(site.journal) == []


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
    assert not await site.journal.run(bulk.abandon, number)


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
        await site.journal.run(decisions.hold, [delivery.id])

    async def erased_before(run: Callable[..., Awaitable[Done]], *given: object, **more: object) -> Done:
        await site.journal.run(erasure.erase, [message], ["5"], actor="bela", reason="asked", more={})
        return await run(*given, **more)

    replaced(monkeypatch, site.journal, bulk.step, by=erased_before)
    answer = await act(site.acts, Selection(ids=(message,)), actor="anita", reason="known")
    assert answer["done"] == {"erased": 1}
