"""Versions of our resources on a server: noted with the delivery, looked up by the next, forgotten in time."""

from functools import partial
from pathlib import Path

from engine.store.core.sweeping import SWEEP_ROWS, sweep
from engine.store.core.writing.batch import Batch
from engine.store.journal.upkeep import SWEEPS
from engine.store.operations.dedup import REPORT_MEMORY_US
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.servers import known_versions
from tests.support.journals import queue, running


async def test_a_version_is_noted_with_the_delivery_and_known_of_its_own_destination(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await queue(journal, b"1")
        (delivery,) = await journal.run(claims.claim, "chem", "fhir", 1)
        versions = (("Observation/a", "3"), ("Observation/b", 'W"'))
        await journal.run(attempts.settle, delivery.id, delivered_us=1, versions=versions)
        asked = ["Observation/a", "Observation/b", "Observation/c"]
        assert known_versions(journal, "fhir", asked) == {"Observation/a": "3"}, (
            "what cannot be a condition is not kept"
        )
        assert known_versions(journal, "other", asked) == {}
    async with running(tmp_path) as journal:
        assert known_versions(journal, "fhir", ["Observation/a"]) == {"Observation/a": "3"}


async def test_versions_are_swept_once_their_time_is_over(tmp_path: Path) -> None:
    swept = partial(sweep, table="server_version", key=("resource",))
    assert (swept.func, swept.keywords) in [(one.func, one.keywords) for one in SWEEPS if isinstance(one, partial)]
    async with running(tmp_path) as journal:
        await queue(journal, b"1")
        (delivery,) = await journal.run(claims.claim, "chem", "fhir", 1)
        many = tuple((f"Observation/{number}", "1") for number in range(SWEEP_ROWS + 10))
        await journal.run(attempts.settle, delivery.id, delivered_us=1, versions=many)
        assert not await journal.writer.submit(swept), "in steps"
        assert await journal.writer.submit(swept)
        assert known_versions(journal, "fhir", ["Observation/5"]) == {"Observation/5": "1"}

        def age(batch: Batch) -> None:
            batch.execute("UPDATE server_version SET until_us = until_us - ?", (2 * REPORT_MEMORY_US,))

        await journal.writer.submit(age)
        while not await journal.writer.submit(swept):
            pass
        assert known_versions(journal, "fhir", ["Observation/5"]) == {}
