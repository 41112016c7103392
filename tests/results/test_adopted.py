"""A result that the old machine received last comes in behind newer ones of the machine that took over: it takes the
place of none of them.
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.model.process.clock import SystemClock
from engine.store.journal import Journal
from engine.store.operations import incarnation
from engine.store.recovery import adopting
from tests.support.running import hl7_channel, running_site
from tests.support.senders import send_blocks

NOTHING = b""
AT = f"{datetime.now(UTC) - timedelta(hours=1):%Y%m%d%H%M}"  # long before its receipt it would be held as such


def oru(number: int, value: str, status: str = "F", test: str = "GLU", at: str = AT) -> bytes:
    return (
        f"MSH|^~\\&|CHEM|LAB|||{at}||ORU^R01|{number}|P|2.5\rPID|1||4711^^^LAB^MR||SHARMA^ANITA||19800101|F\r"
        f"OBR|1||S1|{test}^Test^99L\rOBX|1|NM|{test}^Test^99L||{value}|mg/dL|||||{status}|||{at}\r"
    ).encode()


async def sent(folder: Path, *messages: bytes) -> list[str]:
    """What became of all messages of the journal, after these were sent."""
    async with running_site(folder, {"chem": hl7_channel()}) as site:
        for message in messages:
            await send_blocks(site.port("chem"), [message])
        await site.settled()
        return [site.end_of(view.id) for view in site.messages()]


@pytest.mark.parametrize(
    ("known", "old", "new", "end"),
    [
        (NOTHING, oru(2, "90"), oru(3, "95"), "held"),
        (NOTHING, oru(2, "90"), oru(3, "95", "C"), "held"),
        (NOTHING, oru(2, "90", "C"), oru(3, "95", "C"), "held"),
        (NOTHING, oru(2, "90", "P"), oru(3, "95"), "held"),
        (oru(1, "80"), oru(2, "90", "W"), oru(3, "95", "C"), "held"),
        (oru(1, "80"), oru(2, "90", "C"), oru(3, "95", "C"), "held"),
        (oru(1, "80"), oru(2, "90", "C"), oru(3, "7", test="UREA"), "delivered"),
        (NOTHING, oru(2, "90"), oru(3, "95", test="UREA"), "delivered"),
        (oru(1, "80"), oru(2, "90", "C"), NOTHING, "delivered"),
    ],
    ids=[
        "another value", "a correction", "two corrections", "a preliminary one", "a withdrawal before a correction",
        "a correction of what both know", "another test", "another test, first word", "nothing new",
    ],
)  # fmt: skip
async def test_an_adopted_result_takes_the_place_of_no_newer_one(
    tmp_path: Path, known: bytes, old: bytes, new: bytes, end: str
) -> None:
    first, second = tmp_path / "old", tmp_path / "new"
    await sent(first, *filter(None, [oru(9, "1", test="NA"), known]))
    shutil.copytree(first, second)
    await sent(first, old)
    before = len(await sent(second, *filter(None, [new])))
    journal = Journal.open(second / "var", clock=SystemClock())
    try:
        journal.run_alone(incarnation.go_on, "anna", "a test", [])
        assert adopting.run(journal, first, "anna").messages == 1
    finally:
        journal.close()
    ends = await sent(second)
    assert ends[before:] == [end]
