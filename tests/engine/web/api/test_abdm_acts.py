"""Acts at ABDM by a program: a whole daemon, its API with real tokens, and the simulator, which shows their effect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from engine.features.abdm.rows import consents
from engine.features.access.service.service import AccessService
from engine.model.site.actor import Actor
from engine.model.site.permissions import ACTING, LOOKING, SEEING_PATIENTS
from engine.runtime.app import App
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.acts import acts_page
from tests.support.abdm_reports import oru, write_site
from tests.support.abdm_site import FACILITY, SECRET
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Settings
from workbench.abdm.app import Grant, Pull
from workbench.abdm.people import PEOPLE

suspend = operation(priority=Priority.SETTLE)(consents.suspend)
WHY = {"reason": "card seen"}
ACTS: dict[str, dict[str, Any]] = {
    "abdm_link": {"context": 1, "name": "x", "gender": "F", "year": 1990, "address": "x@sbx"},
    "abdm_withdraw": {"context": 1},
    "abdm_retry": {"context": 1},
    "abdm_resume": {"consent": 1, "looked": True},
}


@dataclass
class Here:
    """A running daemon, the simulator, and a client of the API."""

    app: App
    sandbox: AbdmSandbox
    http: aiohttp.ClientSession

    async def token(self, name: str, permissions: frozenset[Any]) -> str:
        ends_us = self.app.clock.now_us() + 3_600_000_000
        return await self.app.service(AccessService).accounts.tokens.create(
            name, permissions, ends_us=ends_us, by=Actor("root")
        )

    async def act(self, token: str, verb: str, key: str = "", /, **said: Any) -> tuple[int, Any, bool]:
        """Status, answer, and whether it was given before."""
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key or f"{verb} {said}"}
        async with self.http.post(f"/api/v1/acts/{verb}", json=said | WHY, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None), "Idempotency-Replayed" in answer.headers

    async def sends(self, message: bytes) -> None:
        port = self.app.parts.sources["chem"].port
        assert port is not None
        await send_blocks(port, [message])

    def rows(self, select: str) -> list[Any]:
        return self.app.journal.rows(f"SELECT {select}")

    async def becomes(self, number: int, *wanted: Any) -> None:
        """State, reason and version that the app knows."""
        select = f"state, reason, notified FROM abdm_context WHERE number = {number}"
        await until(lambda: self.rows(select) == [wanted])
        await until(lambda: not self.rows("1 FROM abdm_call WHERE state IN ('waiting', 'sending', 'accepted')"))

    def linked(self) -> dict[str, int]:
        """By address, in the simulator."""
        owners = [address for address, _, _ in self.sandbox.state.linked]
        return {address: owners.count(address) for address in owners}

    def told(self, who: int) -> int:
        """How often a patient's app was told of a report."""
        return sum(one["kind"] == "context" for one in self.sandbox.state.notices.get(PEOPLE[who].address, ()))

    async def granted(self, who: int) -> str:
        said = Grant(patient=PEOPLE[who].address, facility=FACILITY, begin="2026-01-01T00:00:00Z")  # type: ignore[arg-type]
        consent = str(self.sandbox.app.grant(said)["consentId"])
        await until(lambda: bool(self.sandbox.state.consents[consent].acknowledged))
        return consent

    async def pulled(self, consent: str) -> Any:
        """A request of a reader, once we are done with it."""
        asked = self.sandbox.app.pull(Pull(consent_id=consent))["transactionId"]
        transfer = self.sandbox.state.transfers[asked]
        await until(lambda: transfer.state in ("done", "refused"))
        return transfer


@asynccontextmanager
async def daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.05, repeats=3))
    await sandbox.start()
    (port,) = quiet_ports(1)
    try:
        site = write_site(folder, sandbox.url, port, push_private="127.0.0.1")
        change(site / "config" / "labrelay.yaml", "web", listen="127.0.0.1:0", enabled=True)
        change(site / "channels" / "chem.yaml", "settings", abha="later", patient_system="urn:example:patients")
        sandbox.state.bridge_url = f"http://127.0.0.1:{port}/abdm"
        async with running_app(site) as app:
            assert app.page is not None
            async with aiohttp.ClientSession(f"http://127.0.0.1:{app.page.port}") as http:
                yield Here(app, sandbox, http)
    finally:
        await sandbox.stop()


def change(file: Path, section: str, **keys: Any) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content[section] |= keys
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


def without_abha(message: bytes) -> bytes:
    return b"\r".join(
        b"|".join(b"PID-0^^^LAB^MR" if n == 3 and line.startswith(b"PID") else field for n, field in enumerate(fields))
        for line in message.split(b"\r")
        for fields in [line.split(b"|")]
    )


async def test_a_program_links_withdraws_retries_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with daemon(tmp_path, monkeypatch) as here:
        token = await here.token("desk", ACTING)
        one = PEOPLE[0]
        card = {"number": one.number, "address": one.address, "name": one.name, "gender": one.gender, "year": one.year}

        await here.sends(without_abha(oru("A-1")))
        await here.becomes(1, "waiting", "no_abha", 0)
        link = {"context": 1, "confirmed": True} | card
        status, said, _ = await here.act(token, "abdm_link", "k-1", **link)
        assert (status, said["context"], said["was"]) == (200, 1, 1), said
        await here.becomes(1, "linked", "", 1)
        assert (here.linked(), here.told(0)) == ({one.address: 1}, 1)
        assert (await here.act(token, "abdm_link", "k-1", **link))[::2] == (200, True)

        consent = await here.granted(0)
        transfer = await here.pulled(consent)
        assert (len(transfer.pages), transfer.outcome["sessionStatus"]) == (1, "TRANSFERRED")
        assert (await here.act(token, "abdm_withdraw", context=1))[0] == 200
        await here.becomes(1, "dropped", "withdrawn", 1)
        transfer = await here.pulled(consent)
        assert (len(transfer.pages), transfer.outcome["sessionStatus"]) == (0, "FAILED")
        await here.sends(without_abha(oru("A-1", minute=5, value="151.00")))
        await until(lambda: here.rows("version FROM abdm_context WHERE number = 1") == [(2,)])
        await here.becomes(1, "dropped", "withdrawn", 1)
        assert here.told(0) == 1

        here.sandbox.faults.callbacks = {"on-context-notify": ["ABDM-1038"]}
        await here.sends(oru("B-1", person=1))
        await here.becomes(2, "linked", "not-notified", 0)
        assert (await here.act(token, "abdm_retry", context=2))[0] == 200
        await here.becomes(2, "linked", "", 1)
        assert (here.linked()[PEOPLE[1].address], here.told(1)) == (1, 1)

        consent = await here.granted(1)
        ((number,),) = here.rows("max(number) FROM abdm_consent")
        await here.app.journal.run(suspend, number)
        assert (await here.pulled(consent)).state == "refused"
        assert (await here.act(token, "abdm_resume", "r-1", consent=number))[0] == 409
        assert (await here.act(token, "abdm_resume", "r-2", consent=number, looked=True))[0] == 200
        transfer = await here.pulled(consent)
        assert (len(transfer.pages), transfer.outcome["sessionStatus"]) == (1, "TRANSFERRED")

        assert here.sandbox.violations == []
        noted(here, consent)


def noted(here: Here, consent: str) -> None:
    """Each act once, by the token's name, with its context or the id of its consent, and no patient."""
    acts = [act for act in acts_page(here.app.journal) if act.verb.startswith("abdm-")]
    mine = [act for act in reversed(acts) if "disclosed" not in act.verb]
    assert [act.verb for act in mine] == ["abdm-link", "abdm-withdraw", "abdm-retry", "abdm-consent-resumed"]
    assert {act.actor for act in mine} == {"token:desk"}, mine
    numbers = [act.what.get("context", act.what.get("consent")) for act in mine]
    assert numbers == [1, 1, 2, consent], mine
    said = " ".join(str(act) for act in acts).casefold()
    assert said.count("card seen") == 4
    for one in PEOPLE[:2]:
        assert not [
            text for text in (one.name, one.address, one.number, one.mobile) if text and text.casefold() in said
        ]


@pytest.mark.parametrize("verb", ACTS)
async def test_a_token_that_may_only_look_gives_no_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    async with daemon(tmp_path, monkeypatch) as here:
        await here.sends(without_abha(oru("A-1")))
        await here.becomes(1, "waiting", "no_abha", 0)
        before = len(acts_page(here.app.journal))
        only = await here.token("screen", LOOKING | SEEING_PATIENTS)
        assert (await here.act(only, verb, **ACTS[verb]))[0] == 403
        assert (await here.act("labrelay_no-such-token", verb, **ACTS[verb]))[0] == 401
        await here.becomes(1, "waiting", "no_abha", 0)
        assert here.rows("1 FROM abdm_call") == []
        assert here.sandbox.state.counts["call generate-token"] == 0
        assert not [act for act in acts_page(here.app.journal)[: -before or None] if act.verb.startswith("abdm")]
