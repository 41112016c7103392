"""Readers of the page: one person's browsers, and programs. Run as ``python -m workbench.bench.readers``,
controlled by JSON lines.

A request that has its time is timed from then: a server that is slow is not asked more slowly. A reader without pause
asks again once it is answered.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp

from engine.runtime import event_loop

HIDDEN = re.compile(r'name="(form|once)" value="([^"]*)"')
ANSWER_WITHIN_S = 30.0
NO_ANSWER = 0


@dataclass(slots=True)
class Read:
    """The answers to one kind of request: seconds, how many had each status (0: none came), and their bytes."""

    answer_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    received: int = 0


async def log_in(session: aiohttp.ClientSession, name: str, password: str) -> None:
    """As a person does: fetch the form, and send it.

    Raises:
        RuntimeError: the log-in was refused.
    """
    async with session.get("/log-in") as shown:
        hidden = dict(HIDDEN.findall(await shown.text()))
    given = {**hidden, "name": name, "password": password, "next": "/"}
    async with session.post("/log-in", data=given, allow_redirects=False) as answer:
        if answer.status != 303:
            raise RuntimeError(f"log-in: {answer.status}")


async def ask(
    session: aiohttp.ClientSession, path: str, headers: dict[str, str], due: Iterable[float], into: Read
) -> None:
    """Fetch ``path`` at each moment of ``due``, one after the other, with the ETag of the answer before."""
    etag = ""
    for at in due:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        sent = {**headers, "If-None-Match": etag} if etag else headers
        status = NO_ANSWER
        try:
            async with session.get(path, headers=sent) as answer:
                into.received += len(await answer.read())
                status, etag = answer.status, answer.headers.get("ETag", "")
        except (TimeoutError, aiohttp.ClientError):
            etag = ""
        into.statuses[status] = into.statuses.get(status, 0) + 1
        into.answer_s.append(time.monotonic() - at)


def _moments(start: float, seconds: float, period_s: float, chance: random.Random) -> Iterable[float]:
    """One in each period, by chance: readers do not know of each other."""
    return [start + period_s * (turn + chance.random()) for turn in range(int(seconds / period_s))]


def _without_pause(start: float, seconds: float) -> Iterator[float]:
    yield start
    while (now := time.monotonic()) < start + seconds:
        yield now


async def run(wanted: dict[str, Any]) -> dict[str, Any]:
    """The answers of each kind.

    Args:
        wanted: address, name, password, token, seconds, and kinds: name -> path, readers, rate (0: without pause),
            with_token.
    """
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    found = {name: Read() for name in wanted["kinds"]}
    connector = aiohttp.TCPConnector(limit=0)
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(
        wanted["address"], timeout=timeout, connector=connector, cookie_jar=jar, auto_decompress=False
    ) as session:
        await log_in(session, wanted["name"], wanted["password"])
        print(json.dumps({"ready": True}), flush=True)
        start = time.monotonic() + 0.2
        async with asyncio.TaskGroup() as group:
            for name, (path, readers, rate, with_token) in wanted["kinds"].items():
                headers = {"Authorization": f"Bearer {wanted['token']}"} if with_token else {}
                for reader in range(readers):
                    due = (
                        _moments(start, wanted["seconds"], readers / rate, random.Random(f"{name} {reader}"))
                        if rate
                        else _without_pause(start, wanted["seconds"])
                    )
                    group.create_task(ask(session, path, headers, due, found[name]))
    return {name: asdict(read) for name, read in found.items()}


if __name__ == "__main__":
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(event_loop.run(run(json.loads(line)))), flush=True)
