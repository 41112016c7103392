"""Nothing of a patient is where it may not be of all that is refused, or fails, at ABDM.

Callbacks of the gateway that cannot be used are full of patients; the gateway, the SMS service and the reader quote
what they got in their errors. The to-do list has what alerts send.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.support.abdm_history import SHOWN, VALUE, History, Searched, shown, without_abha, written
from tests.support.abdm_reports import oru
from tests.support.abdm_site import FACILITY
from tests.support.running import running_app
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox
from workbench.abdm.app import Discover, Init, Pull
from workbench.abdm.people import PEOPLE

MEERA = PEOPLE[0]
QUOTED = f"of {MEERA.name} {MEERA.address} {MEERA.number} {MEERA.mobile}"
PERSON = {"id": MEERA.address, "name": MEERA.name, "mobile": MEERA.mobile, "abhaNumber": MEERA.number}
PATHS = (
    "/v3/hip/token/on-generate-token", "/v3/link/on_carecontext", "/v3/links/context/on-notify",
    "/v3/patients/sms/on-notify", "/v3/hip/patient/care-context/discover", "/v3/hip/link/care-context/init",
    "/v3/hip/link/care-context/confirm", "/v3/consent/request/hip/notify", "/v3/hip/health-information/request",
    "/v3/hip/patient/share", "/v3/patients/status/notify",
)  # fmt: skip
BODIES = (
    json.dumps({"patient": PERSON, "notification": PERSON, "confirmation": PERSON, "profile": {"patient": PERSON}}),
    json.dumps({"transactionId": [PERSON], "response": PERSON, "error": {"code": QUOTED, "message": QUOTED}}),
    json.dumps({"notification": {"status": QUOTED, "consentDetail": PERSON}, "hiRequest": PERSON, "intent": QUOTED}),
    json.dumps({MEERA.address: {MEERA.name: MEERA.number}}),
    json.dumps(PERSON)[:-1],
    f"<html>{QUOTED}</html>",
)


@asynccontextmanager
async def quoting() -> AsyncIterator[str]:
    """A service that refuses all, and says what it got; its URL."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=422, text=f"cannot take {await request.text()} {QUOTED}")

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def come(sandbox: AbdmSandbox, base: str) -> set[int]:
    """Each body to each path, as the gateway's own; and to paths that name a patient. The statuses of the answers."""
    found = set()
    async with aiohttp.ClientSession() as http:
        for path in (*PATHS, f"/v3/{MEERA.address}", f"/v3/hip/patient/share/{MEERA.name}"):
            for body in BODIES:
                token = sandbox._signer.callback(sandbox.state.now_s())
                headers = {"Authorization": token, "REQUEST-ID": str(uuid4()), "X-HIP-ID": FACILITY}
                async with http.post(base + path, data=body.encode(), headers=headers) as answer:
                    found.add(answer.status)
                    said = await answer.text()
                    assert [text for text in (MEERA.name, MEERA.address, MEERA.mobile) if text in said] == []
        for wrong in ({"X-HIP-ID": MEERA.address}, {"REQUEST-ID": QUOTED}, {"Authorization": f"Bearer {QUOTED}"}):
            async with http.post(base + PATHS[0], data=BODIES[0].encode(), headers=headers | wrong) as answer:
                found.add(answer.status)
    return found


async def test_nothing_of_a_patient_is_in_what_is_refused_or_fails(
    searched: Searched, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox, site, found = searched.sandbox, searched.site, searched.found
    async with quoting() as service:
        file = site / "config" / "labrelay.yaml"
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        config["destinations"]["abdm"]["sms"]["url"] = f"{service}/sms"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        async with running_app(site) as app:
            here = History(sandbox, app)
            await here.sends(oru("A-1", value=VALUE), reports=1, linked=1)
            consent = await here.grants(0)
            push = f"{service}/push"
            pulled = sandbox.app.pull(Pull(consent_id=consent, push_url=push))["transactionId"]
            await until(lambda: sandbox.state.transfers[pulled].state == "done")
            sandbox.faults.calls = {"link": [f"ABDM-1099 {QUOTED}"]}
            sandbox.faults.callbacks = {"on-generate-token": [f"ABDM-1036 {QUOTED}"]}
            await here.sends(oru("A-2", person=1), without_abha(oru("A-3", person=2)), reports=3, linked=1)
            await here.sends(oru("A-4", value=f"{VALUE}1"), reports=4, linked=1)
            search = sandbox.app.discover(Discover(patient=PEOPLE[2].address, facility=FACILITY))
            one = sandbox.state.discoveries[search["transactionId"]]
            await until(lambda: one.state == "found")
            sandbox.app.init(Init(transaction_id=one.transaction))
            await until(lambda: one.state == "init-failed")
            assert await come(sandbox, searched.callbacks) == {202, 400, 401, 403, 404}
            await here.quiet()
            reasons = here.rows("DISTINCT reason FROM abdm_callback WHERE state = 'refused'")
            assert len(reasons) > 5, reasons
            async with aiohttp.ClientSession() as http, http.get(f"{searched.page}/metrics") as answer:
                found["/metrics"] = await answer.text()
            found |= await shown(app, searched.page, "/abdm")
            searched.read_files("running")
        await searched.run_commands(*SHOWN, ("abdm", "context", "3"), ("abdm", "transfers"))
    searched.read_files("stopped")
    found["log"] = written(caplog.records)
    assert searched.leaks(here.secrets()) == []
