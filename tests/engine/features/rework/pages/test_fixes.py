"""The likely fix of dead letters: who gets which button, and that each leads to a page that is there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.model.message import Received
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import append, record_outcome
from engine.store.queries.letters import dead_letters
from tests.support.acting_pages import ActingSite, acting_site, offers
from tests.support.journals import NOW_US, WINDOW_S
from tests.support.running import hl7_channel

AGAIN, CLOSE = "Try again", "Close, send nothing"
CODES, MAPPING = "Unmapped codes", "How a mapping is corrected"
# reason -> the buttons of an operator, and those that an engineer has besides
ORACLE: dict[ReasonCode, tuple[set[str], set[str]]] = {
    ReasonCode.NO_ROUTE: ({AGAIN, CLOSE}, set()),
    ReasonCode.UNMAPPED_CODE: ({AGAIN, CLOSE, CODES}, set()),
    ReasonCode.UNMAPPED_UNIT: ({AGAIN, CLOSE, CODES}, set()),
    ReasonCode.REQUIRED_ABSENT: ({AGAIN, CLOSE}, {MAPPING}),
    ReasonCode.NOT_PRODUCTION: ({CLOSE}, set()),  # training is never sent
    ReasonCode.IDENTITY_CONFLICT: ({CLOSE, "Compare"}, set()),  # a person compares the messages of each
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"lab": hl7_channel()}) as site:
        await site.site.journal.run(operation(priority=Priority.SETTLE)(_planted))
        yield site


def _planted(batch: Batch) -> None:
    for n, reason in enumerate(ORACLE):
        received = Received(channel="lab", payload=b"%d" % n, received_us=NOW_US, control_id=str(n), message_type="ORU")
        stored = append.store_message(batch, received, repeat_window_s=WINDOW_S)
        record_outcome.record(batch, stored.id, Outcome("dead", reason, detail="x"))


@pytest.mark.parametrize("person", ["operator", "engineer"])
async def test_the_fix_is_a_button_and_the_command_is_for_engineers(here: ActingSite, person: str) -> None:
    async with here.browser(person) as browser:
        for reason, (buttons, more) in ORACLE.items():
            _, page = await browser.get(f"/dead-letters?code={reason.value}&lang=en")
            found = offers(page)
            assert set(found) == buttons | (more if person == "engineer" else set()), reason
            for words in found.keys() & {CODES, MAPPING}:
                assert (await browser.get(found[words]))[0] == 200, words
            assert ("labrelay" in page.one("main").one("table").text) is (person == "engineer"), reason


async def test_training_is_not_tried_again_from_its_message_either(here: ActingSite) -> None:
    async with here.browser("operator") as browser:
        for one in dead_letters(here.site.journal):
            found = offers((await browser.get(f"/messages/{one.message_id}?lang=en"))[1])
            assert (AGAIN in found) is (one.reason != ReasonCode.NOT_PRODUCTION.value), one.reason
