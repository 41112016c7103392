"""The API of a running daemon: tokens, problems in the place of pages, an act in the audit trail, a stop."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from engine.actions import running_site
from engine.features.access.service.service import AccessService
from engine.model.site.actor import Actor
from engine.model.site.permissions import ACTING, LOOKING
from engine.store.queries.acts import acts_page
from tests.support.filled_journal import UNMAPPED, fill_journal
from tests.support.running import hl7_channel, make_running_site, running_app
from tests.support.waiting import WITHIN_S

AWAY = {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"}}


async def test_a_program_reads_and_acts_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_site, "ANSWER_S", WITHIN_S)  # an act is answered once it has ended, however busy it is
    site = make_running_site(tmp_path, {"lab": hl7_channel()}, AWAY, web="127.0.0.1:0")
    await asyncio.to_thread(fill_journal, site / "var")
    async with running_app(site) as app:
        assert app.page is not None
        ends_us = app.clock.now_us() + 3_600_000_000
        secret = await app.service(AccessService).accounts.tokens.create(
            "middleware", LOOKING | ACTING, ends_us=ends_us, by=Actor("meena")
        )
        reader = await app.service(AccessService).accounts.tokens.create(
            "reader", LOOKING, ends_us=ends_us, by=Actor("meena")
        )
        async with aiohttp.ClientSession(f"http://127.0.0.1:{app.page.port}") as http:

            async def ask(path: str, token: str = secret, method: str = "GET", **more: object) -> tuple[int, dict]:
                headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k1", **more.pop("headers", {})}  # type: ignore[dict-item]  # headers
                async with http.request(method, path, headers=headers, **more) as answer:  # type: ignore[arg-type]  # aiohttp's own
                    kind = "application/json" if answer.status < 400 else "application/problem+json"
                    assert answer.content_type == kind, (path, answer.status)
                    return answer.status, await answer.json(content_type=None)

            status, said = await ask("/api/v1/status")
            assert (status, said["site_name"], said["daemon"]) == (200, "Test Lab", True)
            status, said = await ask("/api/v1/todo")
            assert (status, bool(said["todo"])) == (200, True)
            for path, token, method, expected in (
                ("/api/v1/status", "wrong", "GET", 401),
                ("/api/v1/acts", secret, "GET", 403),
                ("/api/v1/nothing", secret, "GET", 404),
                ("/api/v1/status", secret, "PUT", 405),
                ("/api/v1/acts/reload", secret, "POST", 403),
                ("/api/v1/acts/dismiss", reader, "POST", 403),
            ):
                assert (await ask(path, token, method))[0] == expected, path
            assert (await ask("/api/v1/status", headers={"Host": "evil.example"}))[0] == 421

            chosen = {"selection": {"ids": [UNMAPPED]}, "reason": "seen"}
            status, said = await ask("/api/v1/acts/dismiss", method="POST", json=chosen)
            assert (status, said["done"]) == (200, {"dismissed": 1})
        step, operation = (act for act in acts_page(app.journal) if act.verb == "dismiss")
        assert (operation.what["selection"], step.what["messages"]) == ({"ids": [UNMAPPED]}, [UNMAPPED])
        for act in (step, operation):
            assert (act.actor, dict(act.by)) == ("token:middleware", {"role": "token", "from": "127.0.0.1"})
