"""A site whose journal is copied nowhere: the page and `labrelay doctor` say so in red, with the next step, until there
is a folder or a reason why there is none."""

import asyncio
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.monitoring.snapshot.states import Level
from tests.support.command_line import labrelay
from tests.support.running import hl7_channel, make_running_site, running_app

FHIR = {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"}}
RED = "No backup is configured: set backup.folder to a folder on another disk"


def site_with(folder: Path, *, practice: bool = False, more: str = "") -> Path:
    site = make_running_site(folder, {"cells": hl7_channel()}, FHIR, practice=practice)
    file = site / "config" / "labrelay.yaml"
    file.write_text(file.read_text(encoding="utf-8") + more, encoding="utf-8")
    return site


@pytest.mark.parametrize(
    ("practice", "more", "red", "doctor"),
    [
        (False, "", True, "FAIL  backup: no folder for copies is configured"),
        (False, "backup: {without: the whole machine is copied each night}\n", False,
         "ok    backup: none is made: the whole machine is copied each night"),
        (True, "", False, "ok    backup: none is made: this site is for practice"),
        (False, "backup: {folder: copies}\n", False, "WARN  backup: "),
    ],
)  # fmt: skip
async def test_no_copies_and_no_reason_are_a_problem(
    practice: bool, more: str, red: bool, doctor: str, tmp_path: Path
) -> None:
    (tmp_path / "copies").mkdir()
    site = site_with(tmp_path, practice=practice, more=more)
    async with running_app(site) as app:
        page = app.observer.snapshot()
    found = [one for one in page.findings() if str(one.phrase) == RED]
    assert [one.level for one in found] == [Level.PROBLEM] * red
    assert page.to_json()["backup"]["missing"] is red
    assert doctor.lower() in (await asyncio.to_thread(labrelay, "doctor", site=site)).out.lower()


def test_a_folder_and_a_reason_for_none_contradict_each_other(tmp_path: Path) -> None:
    site = site_with(tmp_path, more="backup: {folder: copies, without: no need}\n")
    ran = labrelay("check", site=site)
    assert ran.code == ExitCode.CONFIG
    assert "folder and without contradict each other; give one" in ran.out
