"""A whole history of a laboratory at ABDM, and nothing of its patients is where it may not be.

Reports are linked, amended, found by the patient with a code, granted, pulled and taken back; a patient scans, another
one leaves. Then all that other people may see or copy is searched: log, metrics, commands without ``--unmask``, each
page and each resource of the API as people read them who see patients and who do not, each file of the data folder
(with the write-ahead log, as a copy of the disk would have it) and of a backup.
"""

import asyncio
import json
import logging
from pathlib import Path

import aiohttp
import pytest

from engine.commands.shared.output import ExitCode
from tests.support.abdm_history import (
    PEOPLE_HERE,
    SHOWN,
    SMS,
    VALUE,
    History,
    Searched,
    files,
    shown,
    stands_in,
    without_abha,
    written,
)
from tests.support.abdm_reports import oru
from tests.support.abdm_site import FACILITY
from tests.support.command_line import labrelay
from tests.support.running import running_app
from workbench.abdm.app import End, Share, Status
from workbench.abdm.people import PEOPLE


async def test_nothing_of_a_patient_is_where_it_may_not_be(
    searched: Searched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox, site, found = searched.sandbox, searched.site, searched.found
    async with running_app(site) as app:
        here = History(sandbox, app)
        sandbox.faults.calls = {
            "link": ["ABDM-1022 of Meera Iyer meera.iyer@sbx", "html"],
            "generate-token": ["503"],
        }
        await here.sends(
            oru("A-1", value=VALUE),
            oru("A-1", minute=5, value=f"{VALUE}1"),
            oru("A-2", person=1),
            reports=2,
            linked=2,
        )
        await here.sends(without_abha(oru("A-3", person=2, value=VALUE)), reports=3, linked=2)
        await here.finds_and_links(2)
        for who in (0, 2):
            await here.pulls(await here.grants(who))
        sandbox.app.end(End(consent_id=next(iter(sandbox.state.consents))), "REVOKED")
        sandbox.app.share(Share(patient=PEOPLE[3].address, facility=FACILITY))
        sandbox.app.status(Status(patient=PEOPLE[1].address, status="DEACTIVATED"))
        await here.quiet()
        assert sandbox.violations == []
        secrets = here.secrets()
        assert len(secrets) > 20
        assert len(here.codes()) == 1
        async with aiohttp.ClientSession() as http:
            for path in ("/metrics", "/healthz", "/readyz"):
                async with http.get(f"{searched.page}{path}") as answer:
                    found[path] = await answer.text()
            async with http.get(f"{searched.callbacks}/health") as answer:
                found["health of callbacks"] = await answer.text()
        assert "labrelay_" in str(found["/metrics"])
        pages = await shown(app, searched.page)
        for address in ("/abdm/contexts?number=1", "/abdm/consent?number=1", "/api/v1/abdm/consents/1"):
            assert "M*** I***" in next(text for name, text in pages.items() if f"200 {address}" in name), address
        found |= pages
        searched.read_files("running")
    await searched.run_commands(*SHOWN)
    copied = await asyncio.to_thread(labrelay, "backup", "now", site=site)
    assert copied.code == ExitCode.OK, copied.err
    searched.read_files("stopped")
    copies = dict(files(tmp_path / "copies"))
    assert copies
    found |= {f"copy: {name}": content for name, content in copies.items()}
    found["log"] = written(caplog.records)
    assert "labrelay.abdm" in str(found["log"])
    # The page of a message names its tests for all who log in, and shows their values to those who see patients.
    told = {name: (VALUE, "Glucose") if sees else ("Glucose",) for name, (_, sees) in PEOPLE_HERE.items()}
    allowed = {
        (f"{name} 200 /messages/{n}", text) for name, texts in told.items() for text in texts for n in range(1, 5)
    }
    leaked = set(searched.leaks(secrets))
    assert leaked - allowed == set()
    assert any(text == VALUE for _, text in leaked)


def test_a_leak_would_be_found() -> None:
    """The search itself: the texts that are looked for are those that the patients have."""
    assert without_abha(oru("A-3", person=2)).count(b"sbx") == 0
    assert PEOPLE[2].mobile.encode() in without_abha(oru("A-3", person=2))
    record = logging.LogRecord("labrelay.abdm", 20, "", 1, "%s", ("Meera Iyer",), None)
    assert "Meera Iyer" in written([record])
    mobile = PEOPLE[0].mobile
    assert stands_in(mobile, f'{{"to": "+91{mobile}"}}')
    assert stands_in(mobile, f"a number: {mobile}.")
    assert not stands_in(mobile, f"labrelay_seconds_sum 0.1{mobile}")
    assert json.dumps(SMS)
