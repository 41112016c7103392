"""Of a running site: facts are stored in one process and with a worker, and those that were never read are read."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.results.rows import facts
from engine.store.core.writing.batch import Batch
from tests.support.running import RunningSite, hl7_channel, running_site
from tests.support.senders import lines, send_blocks

SETTINGS = {"patient_system": "urn:x:mrn"}
CHANNELS = {"first": hl7_channel(settings=SETTINGS), "second": hl7_channel(settings=SETTINGS)}


@pytest.fixture(params=[False, True], ids=["small", "large"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS, large=request.param) as site:
        yield site


async def says(site: RunningSite, channel: str, status: str, value: str, at: str) -> int:
    """A result of one order of one patient; its message."""
    content = "\r".join(
        [f"MSH|^~\\&|AN|LAB|LIS|H|{at}||ORU^R01|{at}|P|2.5.1", "PID|1||4711||Iyer^Meena||19550101|F",
         f"OBR|1||S1|CHEM^Panel^L|||{at}||||||||||||||||||F", f"OBX|1|NM|GLU||{value}|mmol/L|||||{status}|||{at}", ""]
    )  # fmt: skip
    (answer,) = await send_blocks(site.port(channel), [content.encode()])
    assert lines(answer)["MSA"][1] == "AA"
    await site.settled()
    return site.messages()[-1].id


async def values(site: RunningSite) -> list[str | None]:
    def stored(batch: Batch) -> list[str | None]:
        ids = [one for (one,) in batch.execute("SELECT message_id FROM fact ORDER BY message_id")]
        kept = facts.stored(batch, ids)
        return [result.value.sent for one in kept for _, _, result in one.facts.results()]

    return await site.journal.writer.submit(stored)


async def test_facts_that_are_missing_are_read_by_their_channel(site: RunningSite) -> None:
    first = await says(site, "first", "F", "5.5", "20260301080000")

    def forget(batch: Batch) -> int:
        return facts.forget(batch.execute, first)

    assert await site.journal.writer.submit(forget) == 1
    second = await says(site, "first", "C", "6.5", "20260301090000")
    assert await values(site) == ["5.5", "6.5"]
    assert [one.cause for one in site.deliveries(second)] == ["NOT_COMPARED"]
