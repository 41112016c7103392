"""On which site the demo plays."""

from pathlib import Path

import pytest

from engine.commands.shared.session import Session
from engine.config import site as sites
from tests.support.running import hl7_channel, make_running_site
from workbench.demo.commands.demo import _site

DESTINATIONS = {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"}}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In an empty folder, on a machine that has a site of its own."""
    monkeypatch.delenv(sites.SITE_VARIABLE, raising=False)
    folder = make_running_site(tmp_path / "etc", {"real": hl7_channel()}, DESTINATIONS)
    monkeypatch.setattr(sites, "SYSTEM_SITE", folder)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return folder


def test_where_there_is_no_site_it_makes_one_and_takes_it_away() -> None:
    with _site(Session()) as site:
        assert set(site.channels) >= {"haematology", "chemistry"}
        folder = site.folder
        assert folder.is_dir()
    assert not folder.exists()


def test_invented_patients_never_go_into_the_real_site_unless_that_was_named(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _site(Session()) as site:
        assert site.folder != elsewhere
    with _site(Session(site=str(elsewhere))) as site:
        assert site.folder == elsewhere
    monkeypatch.setenv(sites.SITE_VARIABLE, str(elsewhere))
    with _site(Session()) as site:
        assert site.folder == elsewhere


def test_a_site_is_played_on_where_one_stands_in_it(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(elsewhere)
    with _site(Session()) as site:
        assert site.folder == elsewhere
