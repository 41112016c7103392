"""The ``traces:`` of a site: each mistake has its place, and says what to do."""

from pathlib import Path

import pytest

from engine.config.findings import tls_files
from engine.config.load import load_site
from engine.diagnostics.service import needs
from engine.features.traces.config import traces_of
from engine.model.errors import ConfigError
from tests.support.sites import SITE_YAML, make_site

WRONG = {
    "no address": ("{sample: 10}", "traces.url: is missing"),
    "no web address": ("{url: 'collector:4318'}", "traces.url: "),
    "no share": ("{url: 'http://c:4318', sample: 0}", "traces.sample: "),
    "a secret that is written out": (
        "{url: 'https://c', headers: [{name: Authorization, secret: hunter2}]}", "a secret is never written here",
    ),
    "a header of ours": ("{url: 'https://c', headers: [{name: Host, secret: '${A}'}]}", "headers: Host is not for"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_named_with_its_place(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "a")
    text, said = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        load_site(make_site(tmp_path, site=f"{SITE_YAML}traces: {text}\n"))
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/mine", "https://c/otlp/mine"),
    ],
)
def test_an_address_without_a_path_gets_the_usual_one(given: str, address: str, tmp_path: Path) -> None:
    config = load_site(make_site(tmp_path, site=f"{SITE_YAML}traces: {{url: '{given}'}}\n")).config
    traces = traces_of(config)
    assert traces is not None
    assert traces.address == address


def test_a_secret_in_clear_is_a_warning_and_the_unit_gets_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", "a")
    text = "{url: 'http://203.0.113.7:4318', headers: [{name: X-Key, secret: '${A}'}]}"
    site = load_site(make_site(tmp_path, site=f"{SITE_YAML}traces: {text}\n"))
    assert [one for one in site.warnings if "traces.headers" in one and "203.0.113.7 in clear" in one]
    assert "IPAddressAllow=203.0.113.7" in [one.directive for one in needs(site)]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    site = load_site(make_site(tmp_path, site=f"{SITE_YAML}traces: {{url: 'https://c', tls: {{ca: nowhere.pem}}}}\n"))
    assert [one for one in tls_files.problems(site) if "traces.tls.ca" in one and "nowhere.pem" in one]
