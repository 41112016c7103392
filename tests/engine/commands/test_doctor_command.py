"""`labrelay doctor`: every line ok, or what to do about it."""

import os
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.store.core.files.lock import SiteLock
from tests.support.command_line import labrelay
from tests.support.filled_journal import fill_journal
from tests.support.sites import CHANNEL_YAML, SITE_YAML, make_site


def lines(ran_json: dict[str, object]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    listed = ran_json["lines"]
    assert isinstance(listed, list)
    for line in listed:
        found.setdefault(line["subject"], []).append(line)
    return found


def test_a_sound_site_has_a_line_for_everything_that_matters(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    fill_journal(folder / "var")
    ran = labrelay("doctor", "-o", "json", site=folder)
    found = lines(ran.json)

    assert ran.code in (ExitCode.OK, ExitCode.FAILED)  # the machine may have a full disk or no clock service
    assert set(found) >= {"package", "python", "sqlite", "clock", "data", "disk", "file system", "sync", "key", "port"}
    for line in ran.json["lines"]:
        assert line["health"] == "ok" or line["advice"], line
    assert found["key"][0]["health"] == "ok"
    assert found["daemon"][0]["text"] == "does not run"
    assert sorted(os.listdir(folder / "var"))[0].startswith("journal")


def test_what_fails_is_a_failure_with_advice(tmp_path: Path) -> None:
    folder = make_site(tmp_path, channels={"a.yaml": CHANNEL_YAML + "colour: red\n"})
    fill_journal(folder / "var")
    (folder / "var" / "labrelay.key").chmod(0o644)
    ran = labrelay("doctor", site=folder)

    assert ran.code == ExitCode.FAILED
    assert "-> labrelay check" in ran.out
    assert "-> chmod 600" in ran.out


def test_a_running_daemon_is_seen(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    (folder / "var").mkdir(mode=0o700)
    held = SiteLock.acquire(folder / "var")
    try:
        ran = labrelay("doctor", "-o", "json", site=folder)
    finally:
        held.release()

    assert lines(ran.json)["daemon"][0]["text"] == "runs, and holds the data folder"


def test_a_missing_secret_is_a_warning_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LR_TEST_TOKEN", raising=False)
    site = SITE_YAML + "  b: {kind: http, url: 'http://x', auth: {bearer: {token: '${LR_TEST_TOKEN}'}}}\n"
    found = lines(labrelay("doctor", "-o", "json", site=make_site(tmp_path, site=site)).json)

    assert found["secret"][0]["health"] == "warn"


def test_without_a_site_the_machine_is_examined_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("engine.config.site.SYSTEM_SITE", tmp_path / "none")
    ran = labrelay("doctor", "-o", "json")

    assert "python" in lines(ran.json)
    assert lines(ran.json)["site"][0]["health"] == "warn"
