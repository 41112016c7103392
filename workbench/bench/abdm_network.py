"""ABDM's network for a benchmark: the simulator, with people who grant consents and ask for their records all at once.

A line of JSON on standard input is a wish, a line on standard output its result. It is as strict as ever: its
violations are counted. Run as ``python -m workbench.bench.abdm_network CALLBACK_URL``.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from engine.runtime import event_loop
from workbench.abdm import AbdmSandbox, Settings
from workbench.abdm.app import Grant, NewPerson, Pull

FACILITY = "IN0000000001"
WITHIN_S = 120.0
FIRST_NUMBER = 9_000_000_000_000  # ABHA numbers without their check digit


class Network:
    def __init__(self, sandbox: AbdmSandbox) -> None:
        self.sandbox = sandbox
        self.consents: list[str] = []
        self.wishes: dict[str, Callable[[Any], Any]] = {
            "people": self.people,
            "linked": self.linked,
            "grant": self.grant,
            "pull": self.pull,
        }

    async def people(self, count: int) -> dict[str, Any]:
        """So many made-up people."""
        for index in range(count):
            self.sandbox.app.add(NewPerson(**person(index)))
        return {"people": count}

    async def linked(self, count: int) -> dict[str, Any]:
        """Wait until so many reports are linked."""
        await _until(lambda: len(self.sandbox.state.linked) >= count)
        return {"linked": len(self.sandbox.state.linked)}

    async def grant(self, count: int) -> dict[str, Any]:
        """A consent of each of the first people, for all that is linked to them; wait until it was taken."""
        app, state = self.sandbox.app, self.sandbox.state
        self.consents = [
            app.grant(Grant(patient=person(index)["address"], facility=FACILITY))["consentId"] for index in range(count)
        ]
        await _until(lambda: all(state.consents[one].acknowledged for one in self.consents))
        return {"acknowledged": sum(bool(state.consents[one].acknowledged) for one in self.consents)}

    async def pull(self, _: int) -> dict[str, Any]:
        """Ask for the records of all consents at once, and wait for the reports of their transfers."""
        app, state = self.sandbox.app, self.sandbox.state
        asked = [app.pull(Pull(consent_id=one))["transactionId"] for one in self.consents]
        transfers = [state.transfers[one] for one in asked]
        await _until(lambda: all(one.state in ("done", "refused") for one in transfers))
        first = [(one.first_at - one.asked_at).total_seconds() for one in transfers if one.first_at is not None]
        return {
            "first_s": first,
            "pages": sum(len(one.pages) for one in transfers),
            "states": dict(Counter(one.state for one in transfers)),
            "bytes": sum(len(one.content) for one in state.documents if one.transaction in set(asked)),
            "violations": [f"{one['rule']}: {one['detail']}" for one in self.sandbox.violations],
        }


def person(index: int) -> dict[str, Any]:
    """A made-up person, as ``POST /app/people`` takes one."""
    plain = str(FIRST_NUMBER + index)
    return {
        "address": f"made.up{index}@sbx",
        "number": plain + _check_digit(plain),
        "name": f"Given{_letters(index)} Family{_letters(index // 26)}",
        "gender": "FM"[index % 2],
        "birth": (1950 + index % 60, 1 + index % 12, 1 + index % 28),
        "mobile": f"90000{index:05d}",
    }


def _letters(number: int) -> str:
    return chr(ord("a") + number % 26)


def _check_digit(plain: str) -> str:
    """Luhn's."""
    digits = [int(one) * (2 if place % 2 == 0 else 1) for place, one in enumerate(reversed(plain))]
    return str(-sum(one // 10 + one % 10 for one in digits) % 10)


async def _until(condition: Callable[[], bool]) -> None:
    """Wait, but not longer than `WITHIN_S`: the result then says what is missing."""
    end = asyncio.get_running_loop().time() + WITHIN_S
    while not condition() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110  # it has no event to wait for
        await asyncio.sleep(0.01)


async def serve(callbacks: str) -> None:
    """Serve until standard input ends."""
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=1.0, repeats=30))
    await sandbox.start()
    sandbox.state.bridge_url = callbacks
    network = Network(sandbox)
    print(json.dumps({"url": sandbox.url}), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).strip():
        [(name, argument)] = json.loads(line).items()
        print(json.dumps(await network.wishes[name](argument)), flush=True)
    await sandbox.stop()


if __name__ == "__main__":
    event_loop.run(serve(sys.argv[1]))
