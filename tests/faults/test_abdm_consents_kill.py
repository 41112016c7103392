"""The daemon ends at each step of a notice of a consent: each consent ends as the gateway has it, each notice has its
answer, and the simulator sees nothing wrong but answers that were given twice.
"""

import random
from pathlib import Path

import aiohttp
import pytest

from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import Reader
from tests.faults.harness.trial import seeds
from tests.support.abdm_lives import BOTH, abdm_lives, feed, listening
from tests.support.abdm_reports import oru
from tests.support.abdm_site import FACILITY
from tests.support.failpoints import CONSENTS
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox
from workbench.abdm.people import PEOPLE

STEPS = (
    *CONSENTS, "prove a callback", "keep a callback", "fold a callback", "begin a call", "make a call",
    "note what the gateway answered", "commit",
)  # fmt: skip
# A process that ends before it has noted that its answer arrived gives it once more. All else is wrong.
AGAIN = ("failed", "ABDM-1030")
TWICE = ("answered-twice", "consent-on-notify")


@pytest.mark.parametrize("seed", seeds(1, 2))
async def test_each_consent_is_as_the_gateway_has_it_wherever_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    points = [(step, when, str(rng.randint(1, 3))) for step in STEPS for when in BOTH]
    rng.shuffle(points)
    async with abdm_lives(tmp_path, monkeypatch) as here, aiohttp.ClientSession() as http:
        sandbox, site = here.sandbox, here.site

        async def act(name: str, **said: object) -> str:
            async with http.post(f"{sandbox.url}/app/{name}", json=said) as answer:
                assert answer.status in (200, 202), await answer.text()
                return str((await answer.json())["consentId"])

        life = await here.live()
        await until(lambda: listening(here.analyzer))
        await feed(life, here.analyzer, oru("A-1"))
        await until(lambda: len(sandbox.state.linked) == 1)
        life.send_signal(15)
        assert await life.wait() == 0
        for point in [*points, None]:
            life = await here.live(*(point or ()))
            while life.returncode is None and (point is not None or not is_done(sandbox)):
                await until(lambda life=life: listening(here.callbacks) or life.returncode is not None)
                if point is not None:
                    consent = await act("grant", patient=PEOPLE[0].address, facility=FACILITY)
                    if rng.random() < 0.7:
                        await act(rng.choice(["revoke", "expire"]), consentId=consent)
                await until(lambda life=life: life.returncode is not None or is_done(sandbox))
            if point is None:
                life.send_signal(15)
            assert await life.wait() == (0 if point is None else -9), here.log.read_text()[-2000:]
    journal = Reader.beside(site / "var")
    try:
        rows = journal.rows("SELECT consent_id, state, reason, number FROM abdm_consent")
        calls = set(journal.rows("SELECT state, code FROM abdm_call WHERE name = 'consent-on-notify'"))
        again = "SELECT DISTINCT subject FROM abdm_call WHERE name = 'consent-on-notify' AND code = ? AND attempt > 1"
        unsure = {row[0] for row in journal.rows(again, (AGAIN[1],))}
    finally:
        journal.close()
    # Where the answer to a grant was given again, and refused for that, nothing shows that the gateway took it before.
    doubtful = {one for one, state, _, number in rows if state == "GRANTED" and number in unsure}
    assert {one: (state, reason) for one, state, reason, _ in rows} == {
        one.id: (one.state, "doubtful" if one.id in doubtful else "") for one in sandbox.state.consents.values()
    }
    assert calls <= {("done", ""), AGAIN}
    assert {(one["rule"], one["where"]) for one in sandbox.violations} <= {TWICE}
    assert verify(site / "var", deep=True) == []


def is_done(sandbox: AbdmSandbox) -> bool:
    """Whether each notice was answered."""
    return all(
        one.state in one.acknowledged and "GRANTED" in one.acknowledged for one in sandbox.state.consents.values()
    )
