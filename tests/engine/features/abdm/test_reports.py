"""From an analyzer's message to the patient's app, through the whole daemon."""

from pathlib import Path

import aiohttp
import pytest

from engine.store.integrity.verify import run as verify
from tests.support.abdm_reports import oru, write_site
from tests.support.abdm_site import SECRET
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Settings


async def test_a_report_of_an_analyzer_is_linked_and_amended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox(settings=Settings(repeat_after_s=0.05, repeats=3))
    await sandbox.start()
    (port,) = quiet_ports(1)
    try:
        site = write_site(tmp_path, sandbox.url, port)
        async with running_app(site) as app, aiohttp.ClientSession() as http:
            sandbox.state.bridge_url = f"http://127.0.0.1:{port}/abdm"
            source = app.parts.sources["chem"].port
            assert source is not None
            await send_blocks(source, [oru("A-1"), oru("A-1", minute=5, value="151"), oru("A-2", person=3)])
            journal = app.journal

            def told() -> list[tuple[int, int]]:
                return journal.rows("SELECT version, notified FROM abdm_context WHERE state = 'linked' ORDER BY number")

            await until(lambda: told() == [(2, 2), (1, 1)])
            async with http.get(f"http://127.0.0.1:{port}/abdm/health") as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
            assert len(sandbox.state.linked) == 2
            assert sandbox.violations == []
            await until(lambda: not journal.rows("SELECT 1 FROM abdm_call WHERE state <> 'done'"))
    finally:
        await sandbox.stop()
    assert verify(site / "var", deep=True) == []
    kept = b"".join(path.read_bytes() for path in (site / "var").iterdir() if path.is_file())
    for secret in (b"meera.iyer", b"91100000000016", b"9000000001", b"Meera", b"eyJ"):
        assert secret not in kept, secret


@pytest.mark.parametrize(("results_of", "contexts"), [("channel", [(1, 1), (1, 1)]), ("site", [(2, 2)])])
async def test_an_issue_of_another_analyzer_is_of_the_same_context_where_its_results_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results_of: str, contexts: list[tuple[int, int]]
) -> None:
    """Else the app would show the value that was corrected beside the new one."""
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox(settings=Settings())
    await sandbox.start()
    (port,) = quiet_ports(1)
    try:
        site = write_site(tmp_path, sandbox.url, port, "other", results_of=results_of)
        async with running_app(site) as app:
            sandbox.state.bridge_url = f"http://127.0.0.1:{port}/abdm"
            linked = "SELECT version, notified FROM abdm_context WHERE state = 'linked' ORDER BY number"
            for name, minute, wanted in (("chem", 0, [(1, 1)]), ("other", 5, contexts)):
                source = app.parts.sources[name].port
                assert source is not None
                await send_blocks(source, [oru("A-1", minute=minute, value=f"15{minute}")])
                await until(lambda wanted=wanted: app.journal.rows(linked) == wanted)  # type: ignore[misc]
            assert len(sandbox.state.linked) == len(contexts)
    finally:
        await sandbox.stop()
