"""`labrelay certificate make`: the page answers over TLS to who trusts the authority, and nothing is overwritten."""

import ipaddress
import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from engine.commands.shared.output import ExitCode
from engine.commands.upkeep import certificate
from engine.config.findings.tls_files import problems_of_page
from engine.config.load import load_site
from engine.model.errors import RefusedError
from tests.support.command_line import labrelay
from tests.support.running import running_app
from tests.support.sites import SITE_YAML, make_site

WEB = SITE_YAML + 'web:\n  idle: 1h   # long\n  listen: "127.0.0.1:0"   # here\npatient_numbers: lasting\n'


def names_in(cert: Path) -> set[str]:
    (own, _) = x509.load_pem_x509_certificates(cert.read_bytes())
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_files_are_for_this_machine_and_the_key_for_its_owner(tmp_path: Path, umask: int) -> None:
    site = make_site(tmp_path)
    before = (site / "config" / "labrelay.yaml").read_text()
    named = ("--name", "lab.example", "--name", "10.9.8.7", "--days", "90")
    earlier = os.umask(umask)
    try:
        ran = labrelay("certificate", "make", *named, site=site)
    finally:
        os.umask(earlier)
    assert ran.code == ExitCode.OK, ran.err
    tls = site / "tls"
    assert stat.S_IMODE(tls.stat().st_mode) == 0o755
    assert {"lab.example", "10.9.8.7", "localhost", "127.0.0.1"} <= names_in(tls / "page.pem")
    assert {one.name: stat.S_IMODE(one.stat().st_mode) for one in tls.iterdir()} == {
        "page.pem": 0o644,
        "page.key": 0o600,
        "authority.pem": 0o644,
    }
    ends = x509.load_pem_x509_certificate((tls / "page.pem").read_bytes()).not_valid_after_utc
    assert abs(ends - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=10)
    assert ran.out.splitlines()[0] == "web:"
    assert (site / "config" / "labrelay.yaml").read_text() == before, "printed, not written"
    # what it prints is what it needs
    (site / "config" / "labrelay.yaml").write_text(before + ran.out)
    made = load_site(site)
    assert made.config.web.listen.is_every_interface
    assert list(problems_of_page(made)) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (site / "tls").mkdir()
    (site / "tls" / "page.key").write_text("mine")
    before = (site / "config" / "labrelay.yaml").read_text()
    ran = labrelay("certificate", "make", "--write", site=site)
    assert ran.code == ExitCode.REFUSED
    assert "left as it is" in ran.err
    assert [one.read_text() for one in (site / "tls").iterdir()] == ["mine"]
    assert (site / "config" / "labrelay.yaml").read_text() == before
    assert [one.name for one in site.iterdir() if one.name.startswith(".")] == []


def test_only_the_lines_of_the_page_are_written(tmp_path: Path) -> None:
    site = make_site(tmp_path, site=WEB)
    file = site / "config" / "labrelay.yaml"
    file.chmod(0o640)
    assert labrelay("certificate", "make", "--write", "--name", "lab.example", site=site).code == ExitCode.OK
    lines = file.read_text().splitlines()
    assert lines[: lines.index("web:") + 2] == WEB.splitlines()[: lines.index("web:") + 2]
    assert lines[-4:] == [
        '  listen: "0.0.0.0:0"',
        '  names: "lab.example"',
        "  tls: {cert: tls/page.pem, key: tls/page.key}",
        "patient_numbers: lasting",
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(problems_of_page(load_site(site))) == []
    again = labrelay("certificate", "make", "--write", site=site)
    assert again.code == ExitCode.REFUSED
    assert file.read_text().splitlines() == lines


@pytest.mark.parametrize(("name", "place"), [("page.lab", "page.lab:0"), ("2001:db8::5", "[2001:db8::5]:0")])
def test_the_address_that_is_told_can_be_opened(tmp_path: Path, name: str, place: str) -> None:
    site = make_site(tmp_path, site=WEB)
    ran = labrelay("certificate", "make", "--write", "--name", "*.lab.example", "--name", name, site=site)
    assert ran.code == ExitCode.OK, ran.err
    assert f"https://{place}/ answers" in ran.err
    assert load_site(site).config.web.beyond_this_machine == f"https://{place}"


@pytest.mark.parametrize("web", ['web: {listen: "127.0.0.1:8580"}\n', "web: {}\n"])
def test_a_file_in_brackets_is_left_to_its_owner(tmp_path: Path, web: str) -> None:
    site = make_site(tmp_path, site=SITE_YAML + web)
    ran = labrelay("certificate", "make", "--write", site=site)
    assert ran.code == ExitCode.REFUSED
    assert "config/labrelay.yaml:4:6" in ran.err
    assert not (site / "tls").exists()


def test_a_page_that_has_tls_keeps_it(tmp_path: Path) -> None:
    tls = "web:\n  tls: {cert: own.pem, key: own.key}\n"
    site = make_site(tmp_path, site=SITE_YAML + tls)
    ran = labrelay("certificate", "make", "--write", site=site)
    assert ran.code == ExitCode.OK
    assert "the page has another certificate" in ran.err
    assert (site / "config" / "labrelay.yaml").read_text() == SITE_YAML + tls


def test_a_wrong_name_is_said(tmp_path: Path) -> None:
    ran = labrelay("certificate", "make", "--name", "https://x", site=make_site(tmp_path))
    assert ran.code == ExitCode.USAGE
    assert "--name https://x" in ran.err


def test_lines_are_set_without_web_too() -> None:
    lines = {"listen": "a", "names": "b"}
    assert certificate.with_page("site: {name: x}\n", lines) == "site: {name: x}\n\nweb:\n  listen: a\n  names: b\n"
    assert certificate.with_page("web:\n names: c\n", lines) == "web:\n listen: a\n names: c\n"
    with pytest.raises(RefusedError, match="one line"):
        certificate.with_page("web: 3\n", lines)


def test_the_machine_knows_its_own_names() -> None:
    found = list(certificate.names_of_this_machine())
    assert {"localhost", "127.0.0.1"} <= set(found)
    assert all(certificate.NAME.fullmatch(one) or ipaddress.ip_address(one) for one in found)


async def test_a_client_that_trusts_the_authority_reaches_the_page(tmp_path: Path) -> None:
    site = make_site(tmp_path, site=WEB)
    assert labrelay("certificate", "make", "--write", site=site).code == ExitCode.OK
    async with running_app(site, own_tables=True) as app, aiohttp.ClientSession() as client:
        assert app.page is not None
        port = app.page.port
        trust = ssl.create_default_context(cafile=site / "tls" / "authority.pem")
        async with client.get(f"https://127.0.0.1:{port}/healthz", ssl=trust) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await client.get(f"https://127.0.0.1:{port}/healthz")
