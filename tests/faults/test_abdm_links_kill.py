"""The daemon ends at each step of links that patients make: each is linked in the end, to its person, and no choice
ever has two codes.

Patients search, choose and type one after the other; the daemon is killed at a step and started again meanwhile.
"""

import asyncio
import random
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.model.errors import StoreError
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import Reader
from tests.faults.harness.trial import seeds
from tests.support.abdm_finding import BODY
from tests.support.abdm_lives import BOTH, abdm_lives
from tests.support.abdm_site import FACILITY
from tests.support.failpoints import ABDM, SMS
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox

STEPS = (*SMS, *ABDM, "settle", "commit", "anchor")
CODE = re.compile("91([0-9]{10}).*?([0-9]{6}) links")


def oru(number: int) -> bytes:
    """A report without ABHA of the person with this number."""
    pid = f"PID|1||PID-{number}^^^LAB^MR||Test{letters(number)}^Person||19900101|F|||||{mobile(number)}"
    return "\r".join(
        [
            f"MSH|^~\\&|LIS|LAB|||20260301101500+0530||ORU^R01^ORU_R01|M-{number}|P|2.5.1||||||UNICODE UTF-8",
            pid,
            f"OBR|1||A-{number}|GLU^Glucose^L|||20260301091500|||||||||||||||20260301101500+0530||CH|F",
            "OBX|1|NM|2345-7^Glucose^LN||148.50|mg/dL|70-110|H|||F|||20260301094500",
            "",
        ]
    ).encode()


def letters(number: int) -> str:
    """A name of its own for each."""
    return "".join(chr(ord("b") + int(digit)) for digit in f"{number:03}")


def mobile(number: int) -> str:
    return f"9100000{number:03}"


def address(number: int) -> str:
    return f"person.{number:03}@sbx"


class Patients:
    """They link their reports, wherever the daemon ends.

    Attributes:
        done: how many have.
    """

    def __init__(self, sandbox: AbdmSandbox, http: aiohttp.ClientSession, site: Path, port: int) -> None:
        self._sandbox, self._http, self._site, self._port = sandbox, http, site, port
        self.done = 0
        self.goes_on = True

    async def link_all(self) -> None:
        while self.goes_on:
            await self._link(self.done + 1)
            self.done += 1

    async def _ask(self, act: str, body: Any) -> Any:
        async with self._http.post(f"{self._sandbox.url}/app/{act}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def _moved(self, transaction: str, before: str) -> str:
        found = self._sandbox.state.discoveries[transaction]
        await until(lambda: found.state != before, 240.0)
        return found.state

    async def _link(self, number: int) -> None:
        person = {"address": address(number), "name": f"Test{letters(number)} Person", "gender": "F"}
        await self._ask("people", person | {"birth": (1990, 1, 1), "mobile": mobile(number)})
        await self._report(number)
        search = {"patient": address(number), "facility": FACILITY}
        transaction = (await self._ask("discover", search))["transactionId"]
        assert await self._moved(transaction, "asked") == "found"
        await self._ask("init", {"transactionId": transaction})
        assert await self._moved(transaction, "chosen") == "otp-sent"
        codes = self.codes(number)
        assert len(codes) == 1, "a choice has one code"
        await self._ask("confirm", {"transactionId": transaction, "otp": min(codes)})
        assert await self._moved(transaction, "typed") == "linked"
        await until(
            lambda: rows(self._site, "SELECT count(*) FROM abdm_context WHERE notified = 1") == [(number,)], 240.0
        )
        assert self.codes(number) == codes

    def codes(self, number: int) -> set[str]:
        found = [CODE.search(one["text"]) for one in self._sandbox.state.texts]
        return {one[2] for one in found if one is not None and one[1] == mobile(number)}

    async def _report(self, number: int) -> None:
        """Send it until it is a care context."""
        while rows(self._site, "SELECT count(*) FROM abdm_context") != [(number,)]:
            try:
                async with asyncio.timeout(5):
                    await send_blocks(self._port, [oru(number)])
                    await until(lambda: rows(self._site, "SELECT count(*) FROM abdm_context") == [(number,)], 5.0)
            except (OSError, TimeoutError, AssertionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)


def assert_nothing_wrong_but_repeats(sandbox: AbdmSandbox, site: Path) -> None:
    """An answer whose coming was not noted goes out again, as a program that was killed may do. So does the question
    for a link token; where the machine is slow, its token has come meanwhile."""
    asked_again = rows(site, "SELECT count(*) FROM abdm_call WHERE name = 'generate-token' AND attempt > 1")[0][0]
    rules = Counter(one["rule"] for one in sandbox.violations)
    assert rules.pop("link-token-asked-twice", 0) <= asked_again
    assert set(rules) <= {"answered-twice"}


def rows(site: Path, select: str) -> list[Any]:
    """What the journal has; nothing where there is none yet."""
    try:
        journal = Reader.beside(site / "var")
    except (StoreError, OSError):
        return []
    try:
        return journal.rows(select)
    except (StoreError, sqlite3.Error):
        return []
    finally:
        journal.close()


@pytest.mark.parametrize("seed", seeds(1, 2))
async def test_each_link_is_made_once_wherever_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    points = [(step, when, str(1 if step in SMS else rng.randint(1, 3))) for step in STEPS for when in BOTH]
    rng.shuffle(points)
    async with (
        abdm_lives(tmp_path, monkeypatch, sms=BODY, later=True) as here,
        aiohttp.ClientSession() as http,
    ):
        sandbox, site = here.sandbox, here.site
        patients = Patients(sandbox, http, site, here.analyzer)
        linking, life = asyncio.create_task(patients.link_all()), None
        try:
            for point in [*points, None]:
                life = await here.live(*(point or ()))
                if point is None:
                    patients.goes_on = False
                    await asyncio.wait({linking}, timeout=240)
                    life.send_signal(15)
                else:
                    await until(lambda life=life: life.returncode is not None or linking.done(), 240.0)
                if linking.done():
                    linking.result()
                log = here.log.read_text()[-3000:]
                assert await life.wait() == (0 if point is None else -9), (point, log)
            await linking
        finally:
            linking.cancel()
            await asyncio.gather(linking, return_exceptions=True)
            if life is not None and life.returncode is None:
                life.send_signal(9)
    count = patients.done
    assert rows(site, "SELECT state, count(*) FROM abdm_context GROUP BY state") == [("linked", count)]
    assert rows(site, "SELECT DISTINCT state, length(text) FROM abdm_code") == [("linked", 0)]
    assert len({address for address, _, _ in sandbox.state.linked}) == len(sandbox.state.linked) == count
    assert_nothing_wrong_but_repeats(sandbox, site)
    log = here.log.read_text()
    assert not [word for number in range(count) for word in (mobile(number), address(number)) if word in log]
    assert verify(site / "var", deep=True) == []
