"""The daemon ends at each step of a transfer of records: each page arrives, under keys of its own, the end is reported
as it is, and the simulator sees nothing wrong.
"""

import json
import random
from pathlib import Path

import aiohttp
import pytest

from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import Reader
from tests.faults.harness.trial import seeds
from tests.support.abdm_lives import BOTH, abdm_lives, feed, listening
from tests.support.abdm_records import BEGIN
from tests.support.abdm_reports import oru
from tests.support.abdm_site import FACILITY
from tests.support.failpoints import RECORDS
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox
from workbench.abdm.people import PEOPLE

REPORTS = 3
STEPS = (*RECORDS, "begin a call", "make a call", "note what the gateway answered", "fold a callback", "commit")
# A process that ends before it has noted that its answer arrived gives it once more. All else is wrong.
TWICE = {("answered-twice", "on-request"), ("answered-twice", "data-notify")}


@pytest.mark.parametrize("seed", seeds(1, 2))
async def test_each_page_arrives_wherever_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    points = [(step, when, str(rng.randint(1, 2))) for step in STEPS for when in BOTH]
    rng.shuffle(points)
    asked: list[str] = []
    async with abdm_lives(tmp_path, monkeypatch, push_private="127.0.0.1") as here, aiohttp.ClientSession() as http:
        sandbox, site = here.sandbox, here.site

        async def act(name: str, **said: object) -> dict[str, str]:
            async with http.post(f"{sandbox.url}/app/{name}", json=said) as answer:
                assert answer.status in (200, 202), await answer.text()
                found: dict[str, str] = await answer.json()
                return found

        life = await here.live()
        await until(lambda: listening(here.analyzer))
        for number in range(REPORTS):
            await feed(life, here.analyzer, oru(f"A-{number}"))
        await until(lambda: len(sandbox.state.linked) == REPORTS)
        consent = (await act("grant", patient=PEOPLE[0].address, facility=FACILITY, begin=BEGIN))["consentId"]
        await until(lambda: bool(sandbox.state.consents[consent].acknowledged))
        life.send_signal(15)
        assert await life.wait() == 0
        for point in [*points, None]:
            life = await here.live(*(point or ()))
            while life.returncode is None and (point is not None or not asked or not done(sandbox, asked)):
                await until(lambda life=life: listening(here.callbacks) or life.returncode is not None)
                asked.append((await act("pull", consentId=consent))["transactionId"])
                await until(lambda life=life: life.returncode is not None or done(sandbox, asked))
            if point is None:
                await until(lambda: done(sandbox, asked))
                life.send_signal(15)
            assert await life.wait() == (0 if point is None else -9), here.log.read_text()[-2000:]
    for transaction in asked:
        transfer = sandbox.state.transfers[transaction]
        assert (len(transfer.pages), len(transfer.arrived)) == (REPORTS, REPORTS)
        assert transfer.outcome is not None
        assert transfer.outcome["sessionStatus"] == "TRANSFERRED"
    assert {(one["rule"], one["where"]) for one in sandbox.violations} <= TWICE
    for document in sandbox.state.documents:
        assert json.loads(document.content)["resourceType"] == "Bundle"
    assert verify(site / "var", deep=True) == []
    assert (site / "var" / JOURNAL_NAME).exists()
    journal = Reader.beside(site / "var")
    try:
        assert journal.rows("SELECT 1 FROM abdm_page WHERE body <> x''") == []
        assert journal.rows("SELECT DISTINCT state FROM abdm_transfer") == [("ended",)]
    finally:
        journal.close()


def done(sandbox: AbdmSandbox, asked: list[str]) -> bool:
    return all(sandbox.state.transfers[one].state == "done" for one in asked)
