"""The daemon ends at each step of a link at ABDM: each report is linked and its patient told, once, and the simulator
sees nothing wrong.
"""

import random
from pathlib import Path

import pytest

from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import Reader
from tests.faults.harness.trial import seeds
from tests.support.abdm_lives import BOTH, abdm_lives, feed, listening
from tests.support.abdm_reports import oru
from tests.support.failpoints import ABDM
from tests.support.waiting import until

STEPS = (*ABDM, "settle", "commit", "anchor")
PEOPLE = 4


@pytest.mark.parametrize("seed", seeds(1, 2))
async def test_each_report_is_linked_wherever_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    points = [(step, when, str(rng.randint(1, 3))) for step in STEPS for when in BOTH]
    rng.shuffle(points)
    sent = 0
    async with abdm_lives(tmp_path, monkeypatch) as here:
        site, analyzer = here.site, here.analyzer
        for point in [*points, None]:
            life = await here.live(*(point or ()))
            await until(lambda life=life: listening(analyzer) or life.returncode is not None)
            while life.returncode is None and (point is not None or sent % 3):
                sent += 1
                await feed(life, analyzer, oru(f"A-{sent}", person=sent % PEOPLE))
                await until(lambda life=life: life.returncode is not None or is_done(site))
            if point is None:
                await until(lambda: is_done(site))
                life.send_signal(15)
            assert await life.wait() == (0 if point is None else -9), here.log.read_text()[-2000:]
    journal = Reader.beside(site / "var")
    try:
        found = journal.rows("SELECT reference, state, version, notified FROM abdm_context")
    finally:
        journal.close()
    assert {(state, version, notified) for _, state, version, notified in found} == {("linked", 1, 1)}
    assert {reference for _, _, reference in here.sandbox.state.linked} == {row[0] for row in found}
    assert len(found) <= sent
    assert here.sandbox.violations == []
    assert verify(site / "var", deep=True) == []


def is_done(site: Path) -> bool:
    """Whether each message has become a linked report of which its patient was told."""
    assert (site / "var" / JOURNAL_NAME).exists()
    journal = Reader.beside(site / "var")
    try:
        (messages,) = journal.row("SELECT count(*) FROM journal WHERE kind = 1")
        (told,) = journal.row("SELECT count(*) FROM abdm_context WHERE state = 'linked' AND notified = version")
        (open_calls,) = journal.row("SELECT count(*) FROM abdm_call WHERE state IN ('waiting', 'sending', 'accepted')")
        (stored,) = journal.row("SELECT count(*) FROM abdm_callback WHERE state = 'stored'")
        return bool(messages) and told == messages and not open_calls and not stored
    finally:
        journal.close()
