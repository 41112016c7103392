"""The daemon ends at each step of a transfer of records: each page arrives, under keys of its own, the end is reported
as it is, and the simulator sees nothing wrong.
"""

import json
import random
from pathlib import Path

import aiohttp
import pytest

from engine.devtools.abdm import AbdmSandbox, Settings
from engine.devtools.abdm.people import PEOPLE
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import Reader
from tests.faults.test_abdm_kill import BOTH, feed, listening
from tests.support.abdm_records import BEGIN
from tests.support.abdm_reports import oru, write_site
from tests.support.abdm_site import FACILITY, SECRET
from tests.support.failpoints import RECORDS
from tests.support.forking import Mother
from tests.support.ports import quiet_ports
from tests.support.waiting import until

REPORTS = 3
STEPS = (*RECORDS, "begin a call", "make a call", "note what the gateway answered", "fold a callback", "commit")
# A process that ends before it has noted that its answer arrived gives it once more. All else is wrong.
TWICE = {("answered-twice", "on-request"), ("answered-twice", "data-notify")}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_page_arrives_wherever_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv(SECRET, Settings().secret)
    rng = random.Random(seed)
    points = [(step, when, str(rng.randint(1, 2))) for step in STEPS for when in BOTH]
    rng.shuffle(points)
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.2, repeats=2000))
    await sandbox.start()
    callbacks, analyzer = quiet_ports(2)
    sandbox.state.bridge_url = f"http://127.0.0.1:{callbacks}/abdm"
    site = write_site(tmp_path / "site", sandbox.url, callbacks, push_private="127.0.0.1")
    file = site / "channels" / "chem.yaml"
    file.write_text(file.read_text().replace("127.0.0.1:0", f"127.0.0.1:{analyzer}"))
    mother = await Mother.start()
    asked: list[str] = []
    try:
        async with aiohttp.ClientSession() as http:

            async def act(name: str, **said: object) -> dict[str, str]:
                async with http.post(f"{sandbox.url}/app/{name}", json=said) as answer:
                    assert answer.status in (200, 202), await answer.text()
                    found: dict[str, str] = await answer.json()
                    return found

            life = await mother.live(site, tmp_path / "log")
            await until(lambda: listening(analyzer))
            for number in range(REPORTS):
                await feed(life, analyzer, oru(f"A-{number}"))
            await until(lambda: len(sandbox.state.linked) == REPORTS)
            consent = (await act("grant", patient=PEOPLE[0].address, facility=FACILITY, begin=BEGIN))["consentId"]
            await until(lambda: bool(sandbox.state.consents[consent].acknowledged))
            life.send_signal(15)
            assert await life.wait() == 0
            for point in [*points, None]:
                life = await mother.live(site, tmp_path / "log", *(point or ()))
                while life.returncode is None and (point is not None or not asked or not done(sandbox, asked)):
                    await until(lambda life=life: listening(callbacks) or life.returncode is not None)
                    asked.append((await act("pull", consentId=consent))["transactionId"])
                    await until(lambda life=life: life.returncode is not None or done(sandbox, asked))
                if point is None:
                    await until(lambda: done(sandbox, asked))
                    life.send_signal(15)
                assert await life.wait() == (0 if point is None else -9), (tmp_path / "log").read_text()[-2000:]
    finally:
        await mother.stop()
        await sandbox.stop()
    for one in asked:
        transfer = sandbox.state.transfers[one]
        assert (len(transfer.pages), len(transfer.arrived)) == (REPORTS, REPORTS)
        assert transfer.outcome is not None
        assert transfer.outcome["sessionStatus"] == "TRANSFERRED"
    assert {(one["rule"], one["where"]) for one in sandbox.violations} <= TWICE
    for one in sandbox.state.documents:
        assert json.loads(one.content)["resourceType"] == "Bundle"
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
