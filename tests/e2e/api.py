"""Schemathesis against the API of a running daemon, by its own OpenAPI document: no request that it invents hangs, is
answered with a 5xx, or gets an answer that is not described."""

import asyncio
import sys
from functools import partial
from pathlib import Path

import pytest

from engine.features.access.service.service import AccessService
from engine.model.site.actor import Actor
from engine.model.site.permissions import ALL
from engine.web.api import service
from engine.web.api.service import OPENAPI, Buckets
from tests.support.filled_journal import fill_journal
from tests.support.running import hl7_channel, make_running_site, running_app

# Without a check of content types: a line that is too long is refused before the API sees it, in plain text.
CHECKS = "not_a_server_error,status_code_conformance,response_schema_conformance"
EXAMPLES = 25  # of each operation, beside those that walk the bounds of its arguments
WITHIN_S = 540.0  # of a busy machine


async def test_no_request_is_answered_with_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "Buckets", partial(Buckets, rate=1e9, burst=1e9))  # else most answers are 429
    away = {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"}}
    site = make_running_site(tmp_path / "site", {"lab": hl7_channel()}, away, web="127.0.0.1:0")
    await asyncio.to_thread(fill_journal, site / "var")
    async with running_app(site) as app:
        ends_us = app.clock.now_us() + 3_600_000_000
        token = await app.service(AccessService).accounts.tokens.create(
            "schemathesis", ALL, ends_us=ends_us, by=Actor("tester")
        )
        assert app.page is not None
        tester = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")), "run", str(OPENAPI),
            "--url", f"http://127.0.0.1:{app.page.port}/api/v1", "--header", f"Authorization: Bearer {token}",
            "--checks", CHECKS, "--max-examples", str(EXAMPLES), "--request-timeout", "20",
            "--phases", "examples,coverage,fuzzing", "--no-color", "--exclude-path", "/events",  # it has no end
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert tester.stdout is not None
        try:
            async with asyncio.timeout(WITHIN_S):
                said = (await tester.stdout.read()).decode()
                code = await tester.wait()
        except TimeoutError:
            tester.kill()
            raise
        assert app.page is not None
        assert app.ready
    assert code == 0, said
    assert "Tested:" in said
