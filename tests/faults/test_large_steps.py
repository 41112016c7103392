"""The process for large messages is killed between any two of its steps, each named by what the main process sees.

Whatever is lost with it: each document is stored as it was sent, they arrive in order, each once, under one key.
"""

import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.store.integrity.verify import run as verify
from engine.store.queries.reader import stored_document
from tests.support.filled_journal import payload
from tests.support.http_answers import http_server, response
from tests.support.large import all_large
from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

MESSAGES = 8
KILLED_AT = 3  # the time a step comes at which the process is killed
KEY = re.compile(rb"\r\nIdempotency-Key: *(\w+)", re.IGNORECASE)


class Kill:
    """Ends the process when a step comes for the third time; a server keeps the documents in their order."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes]] = []
        self.killed: int | None = None
        self.site: RunningSite
        self._left = KILLED_AT

    async def answer(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        key = KEY.search(head)
        assert key is not None
        self.came.append((key[1].decode(), body))
        return response("200 OK")

    def before(self, owner: Any, name: str) -> None:
        """Each call of this method of the main process is the step."""
        method = getattr(owner, name)

        def called(*arguments: Any) -> Any:
            self._left -= 1
            process = self.site.app.parts.large.process
            if self._left == 0 and process.pid is not None:
                self.killed = process.pid
                os.kill(self.killed, signal.SIGKILL)
            return method(*arguments)

        setattr(owner, name, called)


@asynccontextmanager
async def killed_when(step: str, folder: Path) -> AsyncIterator[Kill]:
    """A site whose process for large messages is killed once."""
    kill = Kill()
    async with http_server(kill.answer) as port:
        destination = {"kind": "http", "url": f"http://127.0.0.1:{port}/in", **QUICK}
        route = {"mapping": "hl7-results", "to": "server"}
        make_running_site(folder, {"chem": channel(MLLP, route)}, {"server": destination})
        with all_large():
            async with running_app(folder) as app:
                kill.site = RunningSite(folder, app, Sandbox())
                process = app.parts.large.process
                match step:
                    case "a message is handed over":
                        kill.before(process.processor, "_hand_over")
                    case "an outcome has come":
                        kill.before(process.processor, "outcome")
                yield kill


async def all_delivered(kill: Kill) -> list[str]:
    """Send, let the process die and all be delivered; the keys of the deliveries, in the order of their messages."""
    await send_blocks(kill.site.port("chem"), [payload(number) for number in range(MESSAGES)])
    await until(lambda: kill.killed is not None, 240.0)
    await kill.site.settled(240.0)
    assert kill.site.ends() == ["delivered"] * MESSAGES
    rows = [row for view in kill.site.messages() for row in kill.site.deliveries(view.id)]
    bodies = {row.key: stored_document(kill.site.journal, row.document_id) for row in rows}
    assert len(bodies) == MESSAGES
    assert all(bodies[key] == body for key, body in kill.came), "a document was sent that is not the stored one"
    return [row.key for row in rows]


@pytest.mark.parametrize("step", ["a message is handed over", "an outcome has come"])
async def test_a_process_killed_between_two_steps_loses_nothing_and_nothing_comes_twice(
    tmp_path: Path, step: str
) -> None:
    async with killed_when(step, tmp_path) as kill:
        keys = await all_delivered(kill)
        assert [key for key, _ in kill.came] == keys, "out of order, or twice"
        assert not any(row.maybe_delivered for view in kill.site.messages() for row in kill.site.deliveries(view.id))
    assert verify(tmp_path / "var", deep=True) == []
