"""The daemon ends at each step of a patient who leaves the network, and of an invitation: one who has left is gone in
the end, with all that links him, and no later report links him; each patient without ABHA is invited.

Patients are linked and leave one after the other; the daemon is killed at a step and started again meanwhile.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.features.abdm.flows.inviting import MOST_ATTEMPTS
from engine.store.integrity.verify import run as verify
from tests.faults.test_abdm_links_kill import address, assert_nothing_wrong_but_repeats, letters, mobile, rows
from tests.support.abdm_lives import BOTH, abdm_lives, listening
from tests.support.failpoints import INVITATIONS, LEAVING
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox

CALLS = ("begin a call", "make a call", "note what the gateway answered", "keep a callback", "fold a callback")
STEPS = (*LEAVING, *INVITATIONS, *CALLS, "commit")


def oru(accession: str, number: int, *, has_abha: bool) -> bytes:
    """A report of the person with this number."""
    abha = f"~{address(number)}^^^NDHM^ABHA" if has_abha else ""
    phone = "" if has_abha else f"|||||{mobile(number)}"
    return "\r".join(
        [
            f"MSH|^~\\&|LIS|LAB|||20260301101500+0530||ORU^R01^ORU_R01|M-{accession}|P|2.5.1||||||UNICODE UTF-8",
            f"PID|1||PID-{number}^^^LAB^MR{abha}||Test{letters(number)}^Person||19900101|F{phone}",
            f"OBR|1||{accession}|GLU^Glucose^L|||20260301091500|||||||||||||||20260301101500+0530||CH|F",
            "OBX|1|NM|2345-7^Glucose^LN||148.50|mg/dL|70-110|H|||F|||20260301094500",
            "",
        ]
    ).encode()


class Patients:
    """One after the other: linked, left, and a report that comes after that; and a neighbour without ABHA.

    Attributes:
        done: how many.
    """

    def __init__(self, sandbox: AbdmSandbox, http: aiohttp.ClientSession, site: Path, port: int) -> None:
        self._sandbox, self._http, self._site, self._port = sandbox, http, site, port
        self._sent = 0
        self.done = 0
        self.goes_on = True

    async def leave_all(self) -> None:
        while self.goes_on:
            await self._leave(2 * self.done)
            self.done += 1

    async def _leave(self, number: int) -> None:
        person = {"address": address(number), "name": f"Person Test{letters(number)}", "gender": "F"}
        await self._ask("people", person | {"birth": (1990, 1, 1), "mobile": mobile(900 - number)})
        await self._send(oru(f"A-{number}", number, has_abha=True))
        await self._until("abdm_context WHERE state = 'linked' AND notified = 1", 1)
        await self._send(oru(f"I-{number}", number + 1, has_abha=False))
        await self._ask("status", {"patient": address(number), "status": "DEACTIVATED"})
        await self._until("abdm_context WHERE state = 'dropped' AND reason = 'left'", self.done + 1)
        await self._until("abdm_call WHERE name = 'status-on-notify' AND state IN ('done', 'failed')", self.done + 1)
        await self._send(oru(f"L-{number}", number, has_abha=True))
        await self._until("abdm_context WHERE state = 'waiting' AND reason = 'left'", self.done + 1)
        await self._until("abdm_context WHERE reason = 'invited'", self.done + 1)

    async def _ask(self, act: str, body: Any) -> None:
        async with self._http.post(f"{self._sandbox.url}/app/{act}", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def _until(self, table: str, count: int) -> None:
        await until(lambda: rows(self._site, f"SELECT count(*) FROM {table}") == [(count,)])

    async def _send(self, message: bytes) -> None:
        """Until it is a care context."""
        self._sent += 1
        there = [(self._sent,)]
        while rows(self._site, "SELECT count(*) FROM abdm_context") != there:
            try:
                async with asyncio.timeout(5):
                    await send_blocks(self._port, [message])
                    await until(lambda: rows(self._site, "SELECT count(*) FROM abdm_context") == there, 5.0)
            except (OSError, TimeoutError, AssertionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)


async def test_who_leaves_is_gone_and_who_is_invited_hears_of_it_wherever_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [(step, when, "9" if step == "commit" else "1") for step in STEPS for when in BOTH]
    random.Random(1).shuffle(points)
    async with (
        abdm_lives(tmp_path, monkeypatch, invite=True, later=True) as here,
        aiohttp.ClientSession() as http,
    ):
        sandbox, site, analyzer = here.sandbox, here.site, here.analyzer
        life = await here.live()
        await until(lambda: listening(analyzer))  # there is a journal
        life.send_signal(15)
        assert await life.wait() == 0
        patients = Patients(sandbox, http, site, analyzer)
        leaving = asyncio.create_task(patients.leave_all())
        try:
            for point in [*points, None]:
                life = await here.live(*(point or ()))
                if point is None:
                    patients.goes_on = False
                    await asyncio.wait({leaving})  # each of its steps has an end
                    life.send_signal(15)
                else:
                    await until(lambda life=life: life.returncode is not None or leaving.done())
                assert not leaving.done() or leaving.exception() is None, leaving.exception()
                log = here.log.read_text()[-3000:]
                assert await life.wait() == (0 if point is None else -9), (point, log)
            await leaving
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            if life.returncode is None:
                life.send_signal(9)
    count = patients.done
    found = "SELECT state, reason, content = x'', count(*) FROM abdm_context GROUP BY 1, 2, 3 ORDER BY 1, 2"
    assert rows(site, found) == [
        ("dropped", "left", 1, count), ("waiting", "invited", 0, count), ("waiting", "left", 0, count),
    ]  # fmt: skip
    assert rows(site, "SELECT DISTINCT state, content = x'', abha = x'' FROM abdm_patient") == [("dropped", 1, 1)]
    assert rows(site, "SELECT 1 FROM abdm_link_token") == []
    assert rows(site, "SELECT 1 FROM abdm_call WHERE state IN ('waiting', 'sending', 'accepted')") == []
    asked = [one for one in sandbox.state.calls if one["call"] == "sms-notify"]
    assert count <= len(asked) <= count * MOST_ATTEMPTS
    assert_nothing_wrong_but_repeats(sandbox, site)
    log = here.log.read_text()
    assert not [word for number in range(count) for word in (mobile(number), address(number)) if word in log]
    assert verify(site / "var", deep=True) == []
