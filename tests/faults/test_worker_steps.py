"""`workers: 1`: the worker is killed between any two of its steps, and while the main process delivers in its place.

Each step is named by what the main process or the destination sees. Whatever is lost with the worker: each document is
stored as it was sent, they arrive in order, each under one key, and one of them a second time, marked, only where its
answer was lost.
"""

import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.worker import process as worker_process
from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import stored_document
from tests.support.filled_journal import payload
from tests.support.forking import forked_workers
from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from tests.support.workers import http_server, response
from workbench.sandbox import Sandbox

MESSAGES = 8
KILLED_AT = 3  # the time a step comes at which the worker is killed
KEY = re.compile(rb"\r\nIdempotency-Key: *(\w+)", re.IGNORECASE)


class Kill:
    """Ends the worker when a step comes for the third time; a server keeps the documents in their order."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes]] = []
        self.step = ""
        self.killed: int | None = None
        self.site: RunningSite
        self._left = KILLED_AT

    async def answer(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        key = KEY.search(head)
        assert key is not None
        self.came.append((key[1].decode(), body))
        if self.step == "a request has come":
            self.now(signal.SIGKILL)
        elif self.step == "an answer is under way":
            self.now(signal.SIGSTOP)  # it gets the answer, and cannot pass it on
        return response("200 OK")

    def now(self, number: signal.Signals) -> None:
        self._left -= 1
        process = self.site.app.parts.worker_process
        if self._left == 0 and process is not None and process.pid is not None:
            self.killed = process.pid
            os.kill(self.killed, number)

    def before(self, owner: Any, name: str) -> None:
        """Each call of this method of the main process is the step."""
        method = getattr(owner, name)

        def called(*arguments: Any) -> Any:
            self.now(signal.SIGKILL)
            return method(*arguments)

        setattr(owner, name, called)


@asynccontextmanager
async def killed_when(step: str, folder: Path) -> AsyncIterator[Kill]:
    """A site with a worker that is killed once."""
    kill = Kill()
    async with http_server(kill.answer) as port:
        destination = {"kind": "http", "url": f"http://127.0.0.1:{port}/in", **QUICK}
        route = {"mapping": "hl7-results", "to": "server"}
        make_running_site(folder, {"chem": channel(MLLP, route)}, {"server": destination}, workers=1)
        with forked_workers():
            async with running_app(folder) as app:
                kill.site = RunningSite(folder, app, Sandbox())
                process = app.parts.worker_process
                assert process is not None
                await until(lambda: process.ready, 240.0)
                kill.step = step
                match step:
                    case "a message is handed over":
                        kill.before(process.processor, "_hand_over")
                    case "an outcome has come":
                        kill.before(process.processor, "outcome")
                    case "a delivery is handed over":
                        kill.before(process, "deliver")
                    case "an end has come":
                        kill.before(process, "_settle")
                yield kill


async def all_delivered(kill: Kill) -> list[str]:
    """Send, let the worker die and all be delivered; the keys of the deliveries, in the order of their messages."""
    await send_blocks(kill.site.port("chem"), [payload(number) for number in range(MESSAGES)])
    await until(lambda: kill.killed is not None, 240.0)
    if kill.step == "an answer is under way":
        assert kill.killed is not None
        os.kill(kill.killed, signal.SIGKILL)
    await kill.site.settled(240.0)
    assert kill.site.ends() == ["delivered"] * MESSAGES
    rows = [row for view in kill.site.messages() for row in kill.site.deliveries(view.id)]
    bodies = {row.key: stored_document(kill.site.journal, row.document_id) for row in rows}
    assert len(bodies) == MESSAGES
    assert all(bodies[key] == body for key, body in kill.came), "a document was sent that is not the stored one"
    return [row.key for row in rows]


@pytest.mark.parametrize(
    ("step", "twice"),
    [
        ("a message is handed over", False),
        ("an outcome has come", False),
        ("a delivery is handed over", False),
        ("a request has come", True),
        ("an answer is under way", True),
        ("an end has come", False),
    ],
)
async def test_a_worker_killed_between_two_steps_loses_nothing_and_sends_nothing_twice_unnoticed(
    tmp_path: Path, step: str, twice: bool
) -> None:
    async with killed_when(step, tmp_path) as kill:
        keys = await all_delivered(kill)
        times = Counter(key for key, _ in kill.came)
        assert list(times) == keys, "out of order"
        again = {key for key, count in times.items() if count > 1}
        # whichever step it dies at, the worker may just have sent one more document, whose answer is lost with it
        assert twice <= len(again) <= 1
        rows = [row for view in kill.site.messages() for row in kill.site.deliveries(view.id)]
        assert again <= {row.key for row in rows if row.maybe_delivered}
    assert verify(tmp_path / "var", deep=True) == []


@pytest.mark.parametrize("step", ["a message is handed over", "an outcome has come", "a request has come"])
async def test_what_the_main_process_delivers_for_a_worker_that_is_behind_does_not_die_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(worker_process, "BEHIND_MESSAGES", 0)
    async with killed_when(step, tmp_path) as kill:
        keys = await all_delivered(kill)
        assert [key for key, _ in kill.came] == keys, "out of order, or twice"
        assert not any(row.maybe_delivered for view in kill.site.messages() for row in kill.site.deliveries(view.id))
    assert verify(tmp_path / "var", deep=True) == []
