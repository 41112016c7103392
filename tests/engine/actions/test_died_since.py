"""An operation deals with a letter once, and only as its person saw it: not where it died, or was held, again since."""

import pytest

from engine.actions.selection import Selection
from engine.actions.verbs import bulk_acts
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.operations import bulk
from engine.store.operations.bulk import Done, Member
from engine.store.operations.outbox import decisions
from engine.store.queries.bulk import operation_if
from engine.store.queries.messages import deliveries_of
from tests.engine.actions.test_actions import Site, site
from tests.support.filled_journal import REFUSED, UNMAPPED, WAITING

__all__ = ["site"]


async def letter(site: Site, verb: str, of: str) -> tuple[Member, int]:
    """A letter for this act, and the moment since which it is one."""
    if of == "message":
        with site.journal.snapshot() as execute:
            (at_us,) = execute("SELECT at_us FROM message_state WHERE id = ?", (UNMAPPED,)).fetchone()
        return Member(UNMAPPED), at_us
    message = WAITING if verb in ("release", "reject") else REFUSED
    (delivery,) = deliveries_of(site.journal, [message])
    if message == WAITING:
        await site.journal.run(decisions.hold, [delivery.id], ReasonCode.HELD_BY_RULE)
    with site.journal.snapshot() as execute:
        (at_us,) = execute("SELECT settled_us FROM delivery WHERE id = ?", (delivery.id,)).fetchone()
    return Member(message, delivery.id), at_us


@pytest.mark.parametrize("since", [0, 1], ids=["as it was counted", "died since"])
@pytest.mark.parametrize(
    ("verb", "of", "done"),
    [
        ("retry", "delivery", "requeued"),
        ("retry", "message", "processed"),
        ("dismiss", "delivery", "dismissed"),
        ("dismiss", "message", "dismissed"),
        ("release", "delivery", "released"),
        ("reject", "delivery", "rejected"),
    ],
)
async def test_a_letter_that_died_since_its_person_saw_the_count_is_left(
    site: Site, verb: str, of: str, done: str, since: int
) -> None:
    member, at_us = await letter(site, verb, of)
    what = {"selection": Selection(ids=(member.message_id,)).to_json(), "count": 1, "reason": "known"}
    number = await site.journal.run(
        bulk.begin, verb, [member], last=site.journal.last_id, counted_us=at_us - since, actor="anita", what=what
    )
    before = (site.state(member.message_id), site.deliveries(member.message_id))
    site.acts.operations.take_up(bulk_acts(site.acts))
    assert await site.acts.operations.wait(number, 60.0)

    found = operation_if(site.journal, number)
    assert found is not None
    assert {name: count for name, count in found.outcomes.items() if count} == {"skipped" if since else done: 1}
    after = (site.state(member.message_id), site.deliveries(member.message_id))
    assert (after == before) == bool(since)


async def test_a_step_that_is_given_again_does_nothing(site: Site) -> None:
    """As where it was stored, and its answer was lost: the letters after it are others."""
    steps: list[int] = []

    def work(batch: Batch) -> Done:
        steps.append(1)
        return bulk.counts("skipped")(batch)

    number = await site.journal.run(
        bulk.begin, "dismiss", [Member(1), Member(2)], last=1, counted_us=1, actor="anita", what={}
    )
    for position, is_done in ((0, True), (0, False), (2, False), (1, True), (1, False)):
        done = await site.journal.run(bulk.step, number, position, 1, work, payload=0)
        assert (done is not None) == is_done, position
    assert len(steps) == 2
    found = operation_if(site.journal, number)
    assert found is not None
    assert (found.stage, found.outcomes) == ("ended", {"skipped": 2})
