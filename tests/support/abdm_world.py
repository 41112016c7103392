"""The ABDM simulator and a small laboratory beside it, both on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from tests.support.abdm_habits import Heard, Record
from tests.support.abdm_hip import Hip, running_hip
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Faults, Settings
from workbench.abdm.people import PEOPLE

FACILITY = "IN0000000001"


def record(reference: str = "LR-1", person: int = 0, **other: Any) -> Record:
    """A report of one of the made-up people; `PID-1` is the laboratory's number of the first."""
    one = PEOPLE[person]
    said = {"issued": datetime.now(UTC)} | other
    return Record(
        reference, f"PID-{person}", one.address, one.number, one.name, one.gender, one.year, one.mobile, **said
    )


@dataclass
class World:
    sandbox: AbdmSandbox
    hip: Hip
    http: aiohttp.ClientSession

    async def ask(self, path: str, body: Any = None) -> Any:
        """An address of the simulator that is for tests: GET, or POST with a body."""
        method = "GET" if body is None else "POST"
        async with self.http.request(method, self.sandbox.url + path, json=body) as answer:
            assert answer.status in (200, 202, 204), (answer.status, await answer.text())
            return await answer.json() if answer.status == 200 else None

    async def rules(self) -> set[str]:
        return {one["rule"] for one in await self.ask("/violations")}

    async def is_clean(self) -> None:
        """No violation, and nothing that waits for the laboratory."""
        await until(lambda: not self.sandbox.state.pending())
        assert await self.ask("/violations") == []
        assert await self.ask("/pending") == []

    async def grant(self, **args: Any) -> str:
        """A consent that the laboratory has acknowledged."""
        said = {"patient": PEOPLE[0].address, "facility": FACILITY} | args
        consent: str = (await self.ask("/app/grant", said))["consentId"]
        await until(lambda: bool(self.sandbox.state.consents[consent].acknowledged))
        return consent

    async def pull(self, consent: str, **args: Any) -> Any:
        """A request for records, once the laboratory is done with it."""
        transaction = (await self.ask("/app/pull", {"consentId": consent} | args))["transactionId"]
        await until(lambda: self.sandbox.state.transfers[transaction].state in ("done", "refused"))
        return await self.ask(f"/transfers/{transaction}")

    async def discovered(self, person: int = 0, **args: Any) -> tuple[str, Any]:
        said = {"patient": PEOPLE[person].address, "facility": FACILITY} | args
        transaction = (await self.ask("/app/discover", said))["transactionId"]
        await self.moved(transaction, "asked")
        return transaction, await self.ask(f"/discoveries/{transaction}")

    async def moved(self, transaction: str, before: str) -> str:
        """The state of a discovery that is ``before`` no more."""
        await until(lambda: self.sandbox.state.discoveries[transaction].state != before)
        return self.sandbox.state.discoveries[transaction].state

    async def linked_by_patient(self, otp: str, person: int = 0) -> str:
        transaction, found = await self.discovered(person)
        assert found["state"] == "found", found
        await self.ask("/app/init", {"transactionId": transaction})
        assert await self.moved(transaction, "chosen") == "otp-sent"
        await self.ask("/app/confirm", {"transactionId": transaction, "otp": otp})
        return await self.moved(transaction, "typed")

    async def fail(self, **faults: Any) -> None:
        await self.ask("/faults", faults)


@asynccontextmanager
async def abdm_world(faults: Faults | None = None, **settings: Any) -> AsyncIterator[World]:
    given = Settings(**({"repeat_after_s": 0.05, "repeats": 3} | settings))
    sandbox = AbdmSandbox(settings=given, faults=faults)
    await sandbox.start()
    try:
        async with (
            aiohttp.ClientSession() as http,
            running_hip(sandbox.url, given.client, given.secret, FACILITY) as hip,
        ):
            yield World(sandbox, hip, http)
    finally:
        await sandbox.stop()


__all__ = ["FACILITY", "Heard", "World", "abdm_world", "record"]
