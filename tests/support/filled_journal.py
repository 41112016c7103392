"""A journal with one message in each state, for tests of what people see and do."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from engine.model.journal.records import Routed
from engine.model.message import Document, Issue, Received, Unmapped
from engine.model.outcome import Outcome
from engine.model.process.clock import Clock, SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts

CANARY = "SHARMA"  # a patient's name; may be seen where a person unmasks, and nowhere else
CHANNEL, DESTINATION = "haematology", "archive"
DELIVERED, REFUSED, UNMAPPED, INCOMPLETE, WAITING = 1, 2, 3, 4, 5
WINDOW_S = 86_400.0


def payload(number: int) -> bytes:
    return (
        f"MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|C{number}|P|2.5\r"
        f"PID|1||{number}^^^HOSP^MR||{CANARY}^ANITA\r"
        f"OBR|1|O{number}|F{number}|CBC\r"
        f"OBX|1|NM|HGB^Hb^L||14.{number}|g/dL|||||F\r"
    ).encode()


def fill_journal(data: Path, clock: Clock | None = None, *, gaps: Sequence[Unmapped] = ()) -> None:
    """Make the journal in ``data``; the constants above are the numbers of its messages.

    Args:
        gaps: codes of the delivered message that no table had.
    """
    asyncio.run(_fill(data, clock or SystemClock(), gaps))


async def _fill(data: Path, clock: Clock, gaps: Sequence[Unmapped]) -> None:
    journal = Journal.open(data, clock=clock)
    recover(journal)
    journal.start(asyncio.get_running_loop())
    received = [
        Received(
            channel=CHANNEL,
            payload=payload(number),
            received_us=clock.now_us() + number,
            peer="127.0.0.1:5000",
            control_id=f"C{number}",
            message_type="ORU^R01",
        )
        for number in range(1, 6)
    ]
    for one in received[:3]:
        await journal.run(append.store_message, one, repeat_window_s=WINDOW_S)
    await journal.run(append.store_incomplete, received[3], ReasonCode.INCOMPLETE)
    await journal.run(append.store_message, received[4], repeat_window_s=WINDOW_S)
    for number in (DELIVERED, REFUSED, WAITING):
        body = f'{{"patient": "{CANARY}", "message": {number}}}'.encode()
        routed = Routed(document=Document(body=body), destinations=(DESTINATION,), claimed=(number != WAITING,))
        outcome = await journal.run(
            record_outcome.record,
            number,
            Outcome("mapped", mapping="results@0123456789ab", unmapped=gaps if number == DELIVERED else ()),
            [routed],
        )
        if number == DELIVERED:
            await journal.run(attempts.settle, outcome.deliveries[0].id, delivered_us=clock.now_us())
        elif number == REFUSED:
            await journal.run(
                attempts.bury,
                outcome.deliveries[0].id,
                reason=ReasonCode.REFUSED,
                detail="HTTP 422",
                answer=f"{CANARY} unknown".encode(),
            )
    issue = Issue(code="UNMAPPED_CODE", text="no row", place="OBX[1]-3", rule="lab.yaml:31", severity="dead")
    await journal.run(
        record_outcome.record, UNMAPPED, Outcome("dead", ReasonCode.UNMAPPED_CODE, "OBX[1]-3", issues=[issue])
    )
    await journal.stop()
