"""A question that was not looked up, because the process ended before, is in the log of questions all the same."""

from pathlib import Path

from engine.features.orders import rows as worklist
from engine.features.orders.rows.order_questions import queries
from engine.model.orders import Asked, Question
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import AskSettings
from engine.store.operations import record_outcome
from tests.support.journals import running, store

QUESTION = Question(kind="specimens", asked=(Asked(specimen="00042"),))
SETTINGS = AskSettings(channel="chem", codes={"GLU": "10"})


async def test_a_question_is_noted_once_looked_up_or_not(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal:
        lost, asked = await store(journal, b"H|\\^&\rQ|1|^00042\r", b"H|\\^&\rQ|1|^00042||ALL\r")
        await journal.run(worklist.answer, asked.id, QUESTION, SETTINGS)
        for one in (lost, asked):
            await journal.run(record_outcome.record, one.id, Outcome("filtered", ReasonCode.QUESTION), [])

        found = {one.message_id: (one.kind, one.none, one.outcome, one.ended_us > 0) for one in queries(journal)}
        assert found == {
            lost.id: ("", (), "interrupted", True),
            asked.id: ("specimens", ("unknown",), "", True),
        }
