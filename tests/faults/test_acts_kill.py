"""The daemon is killed around an act that a form or a program gives: sent again, it has the same answer, and is done
once. Where the answer is lost with the daemon, the act is not begun again, and its person is told to look."""

import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.features.access.service.accounts import Accounts
from engine.model.process.clock import SystemClock
from engine.model.site.permissions import ACTING, LOOKING
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support import journals
from tests.support.access import GOOD, ROOT, Browser
from tests.support.failpoints import When
from tests.support.live import Daemon
from tests.support.waiting import until

FILE = "{kind: file, folder: var/archive}"
PAUSED, CUT_SHORT = "paused", "cut short"
# Where it is killed; what the same form or key has after the restart; how many acts the audit trail has then.
TABLE: dict[str, tuple[tuple[str, When] | None, str, int]] = {
    "before the key is there": (("note the key", "before"), PAUSED, 1),
    "before the act": (("carry it out", "before"), CUT_SHORT, 0),
    "before its answer is there": (("keep the answer", "before"), CUT_SHORT, 1),
    "once it is answered": (None, PAUSED, 1),
}


class Lab:
    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.token = ""
        self.form: tuple[str, dict[str, str]] = "", {}

    async def persons(self) -> None:
        """A person, and a program, of a site that has not run yet."""
        clock = SystemClock()
        async with journals.running(self.daemon.folder / "var", clock=clock) as journal:
            accounts = Accounts(journal, clock)
            await accounts.users.add("asha", "operator", GOOD, by=ROOT)
            ends_us = clock.now_us() + 3_600_000_000
            self.token = await accounts.tokens.create("program", LOOKING | ACTING, ends_us=ends_us, by=ROOT)

    @property
    def acts(self) -> int:
        """Pauses in the audit trail."""
        reader = Reader.beside(self.daemon.folder / "var")
        try:
            return len([act for act in acts_page(reader, limit=500) if act.verb == "pause"])
        finally:
            reader.close()

    async def life(self, *dies_at: str) -> str:
        """Begin a life; the address of its page."""
        self.daemon.dies_at = (*dies_at, "1") if dies_at else ()
        await self.daemon.start()
        await until(self._answers, 240.0)
        return f"http://127.0.0.1:{self.daemon.web_port}"

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.daemon.web_port), timeout=1.0):
            return True
        return False


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(Daemon(tmp_path / "site", ["mllp"], FILE))
    try:
        await made.persons()
        yield made
    finally:
        await made.daemon.end()


@pytest.mark.parametrize("case", TABLE)
async def test_a_form_sent_again_after_a_kill(lab: Lab, case: str) -> None:
    dies_at, after, acts = TABLE[case]
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(await lab.life(*(dies_at or ())), cookie_jar=jar) as client:
        browser = Browser(client)
        await browser.log_in("asha")
        to, fields = await browser.fields("/do/pause?kind=destination&name=server&lang=en")
        sent: dict[str, Any] = {"to": to, "fields": fields | {"reason": "service"}}
        first = None
        with suppress(aiohttp.ClientError):
            first = (await browser.post(**sent))[0]
        if dies_at is None:
            assert first == 200
            await lab.daemon.kill()
        await until(lambda: lab.daemon.code == -9, 240.0)
        await lab.life()
        for _ in range(2):
            status, page = await browser.post(**sent)
            assert (status, CUT_SHORT in page.text) == ((200, False) if after == PAUSED else (403, True))
            assert lab.acts == acts


@pytest.mark.parametrize("case", TABLE)
async def test_a_program_asks_again_after_a_kill(lab: Lab, case: str) -> None:
    dies_at, after, acts = TABLE[case]
    headers = {"Authorization": f"Bearer {lab.token}", "Idempotency-Key": "k1"}
    asked = {"kind": "destination", "name": "server", "reason": "service"}
    found: list[tuple[int, bytes]] = []
    async with aiohttp.ClientSession(await lab.life(*(dies_at or ())), headers=headers) as client:
        for tried in range(3):
            with suppress(aiohttp.ClientError):
                async with client.post("/api/v1/acts/pause", json=asked) as answer:
                    found.append((answer.status, await answer.read()))
            if tried == 0:
                if dies_at is None:
                    await lab.daemon.kill()
                await until(lambda: lab.daemon.code == -9, 240.0)
                await lab.life()
    assert [status for status, _ in found] == [200 if after == PAUSED else 409] * (2 if dies_at else 3)
    assert len({body for status, body in found if status == 200}) <= 1
    assert lab.acts == acts
