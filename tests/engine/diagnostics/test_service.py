"""The drop-in of the systemd unit: what each part of a configuration needs of it, and what `doctor` says of it."""

import ipaddress
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config import site as sites
from engine.config.load import load_site
from engine.diagnostics import service
from engine.features.access.config import AccessConfig
from engine.features.alerts.config import SINK_KINDS
from engine.model.site.health import Health
from tests.support.command_line import labrelay
from tests.support.running import channel, hl7_channel, make_running_site

UNIT = Path(__file__).parents[3] / "systemd" / "labrelay.service"
FILE = {"kind": "file", "folder": "var/archive"}

# A host of a destination, and the address line that it needs beyond the unit's own.
HOSTS = [
    ("http://127.0.0.1:8581/fhir", None),
    ("http://localhost:8581/fhir", None),
    ("http://[::1]:8581/fhir", None),
    ("https://192.168.7.20/fhir", "192.168.7.20"),
    ("https://[fd00::7]/fhir", "fd00::7"),
    ("https://203.0.113.17/fhir", "203.0.113.17"),
    ("https://lis/fhir", None),
    ("https://lis.local/fhir", None),
    ("https://fhir.hospital.home.arpa/fhir", None),
    ("https://fhir.example.org/fhir", "any"),
    ("https://FHIR.example.org./fhir", "any"),
    ("https://notlocal.example/fhir", "any"),
]


@pytest.mark.parametrize(("url", "line"), HOSTS)
def test_what_a_destination_needs(url: str, line: str | None, tmp_path: Path) -> None:
    site = load_site(make_running_site(tmp_path, {}, {"lab": {"kind": "fhir", "url": url}}))
    found = [(need.key, need.value) for need in service.needs(site)]
    assert found == ([] if line is None else [("IPAddressAllow", line)])


def test_a_name_without_a_line_is_one_of_the_networks_that_the_unit_allows() -> None:
    """The unit has the private networks, so an address of one of them is in the drop-in for people alone."""
    (allowed,) = re.findall(r"(?m)^IPAddressAllow=(.*)$", UNIT.read_text(encoding="utf-8"))
    networks = [ipaddress.ip_network(one) for one in allowed.split() if one != "localhost"]
    for private in ("10.1.2.3", "172.31.0.1", "192.168.7.20", "169.254.1.1", "fd00::7", "fe80::1"):
        address = ipaddress.ip_address(private)
        assert any(address in network for network in networks if network.version == address.version)


@pytest.mark.parametrize(
    ("issuer", "line"), [("https://login.example.org", "any"), ("https://10.1.2.3/realm", "10.1.2.3")]
)
def test_what_an_identity_provider_needs(issuer: str, line: str, tmp_path: Path) -> None:
    oidc = {"issuer": issuer, "client_id": "a", "roles": {"lab": "viewer"}}
    site = load_site(make_running_site(tmp_path, {}, {}))
    config = site.config.model_copy(update={"access": AccessConfig.model_validate({"oidc": oidc})})
    (need,) = service.needs(replace(site, config=config))
    assert (need.directive, "access: oidc" in need.why) == (f"IPAddressAllow={line}", True)


def whole_site(folder: Path) -> Path:
    """A site with each part that needs a line."""
    source = {"kind": "mllp", "listen": "0.0.0.0:2575", "allow": ["192.168.7.0/24", "8.8.4.0/24", "9.9.9.9"]}
    channels = {
        "cells": hl7_channel(source=source),
        "dialled": hl7_channel(source={"kind": "mllp", "connect": "analyzer.example.net:2576"}),
        "cable": channel(
            {"kind": "astm-serial", "device": "socket://10.1.2.3:4001"}, {"mapping": "astm-results", "to": "lab"}
        ),
        "files": channel(
            {"kind": "folder", "format": "hl7v2", "folder": "/srv/in box"}, {"mapping": "hl7-results", "to": "lab"}
        ),
    }
    token = {"oauth2": {"token_url": "https://login.example.org/token", "client_id": "x", "client_secret": "${S}"}}
    destinations = {
        "lab": {"kind": "fhir", "url": "https://192.168.7.20/fhir", "auth": token},
        "old": {"kind": "mllp", "connect": "203.0.113.17:6661"},
        "own": FILE,
        "share": {"kind": "file", "folder": "/srv/100%"},
    }
    for one in channels.values():
        for route in one["routes"]:
            route["to"] = "lab"
    site = make_running_site(folder, channels, destinations)
    file = site / "config" / "labrelay.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "backup: {folder: /mnt/backup}\n", encoding="utf-8")
    return site


SINKS = {
    "email": "{kind: email, server: '203.0.113.1:587', sender: l@x.example, to: a@x.example}",
    "http": "{kind: http, url: 'https://203.0.113.2/hook', body: '\"{text}\"'}",
    "mqtt": "{kind: mqtt, connect: '203.0.113.3:8883', client_id: relay, topic: lab/alerts}",
    "syslog": "{kind: syslog, connect: '203.0.113.4:514'}",
}


def test_each_kind_of_sink_a_webhook_and_traces_get_their_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SINKS.keys() == SINK_KINDS.keys()
    monkeypatch.setenv("KEY", "whsec_" + "A" * 32)
    text = "alerts: {sinks: {" + ", ".join(f"{kind}: {sink}" for kind, sink in SINKS.items()) + "}}\n"
    text += "webhooks: {lis: {url: 'https://203.0.113.5/in', secret: '${KEY}', events: delivery.dead}}\n"
    text += "traces: {url: 'http://203.0.113.6:4318'}\n"
    folder = make_running_site(tmp_path, {}, {})
    with (folder / "config" / "labrelay.yaml").open("a") as file:
        file.write(text)
    found = {need.value: need.why for need in service.needs(load_site(folder))}
    assert found.keys() == {f"203.0.113.{number}" for number in range(1, 7)}
    assert found["203.0.113.1"].startswith("sink of alerts email")


def test_each_part_that_needs_a_line_has_one_with_its_reason(tmp_path: Path) -> None:
    site = load_site(whole_site(tmp_path), require_secrets=False)
    assert [(need.directive, need.why.partition(":")[0]) for need in service.needs(site)] == [
        ("IPAddressAllow=192.168.7.20", "destination lab"),
        ("IPAddressAllow=any", "destination lab, its tokens"),
        ("IPAddressAllow=203.0.113.17", "destination old"),
        ("IPAddressAllow=10.1.2.3", "channel cable"),
        ("IPAddressAllow=8.8.4.0/24", "channel cells"),
        ("IPAddressAllow=9.9.9.9", "channel cells"),
        ("ReadWritePaths=-/mnt/backup", "backup"),
        ("ReadWritePaths=-/srv/100%%", "destination share"),
        ('ReadWritePaths="-/srv/in box"', "channel files"),
    ]
    text = service.drop_in(site)
    assert "# destination lab, its tokens: login.example.org is a public name" in text
    assert text.index("[Service]") < text.index("IPAddressAllow=192.168.7.20")


def test_each_broker_of_a_topic_has_its_address(tmp_path: Path) -> None:
    log = {"kind": "kafka", "connect": ["203.0.113.1:9093", "203.0.113.2:9093"], "topic": "t", "gateway": "g"}
    found = service.needs(load_site(make_running_site(tmp_path, {}, {"log": log})))
    assert [need.value for need in found] == ["203.0.113.1", "203.0.113.2"]


def test_a_site_that_needs_nothing_says_so(tmp_path: Path) -> None:
    text = service.drop_in(load_site(make_running_site(tmp_path, {}, {"own": FILE})))
    assert text.endswith("[Service]\n# Nothing: the unit allows all that this site needs.\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with the unit, whose site is in this folder."""
    unit = tmp_path / "systemd" / "labrelay.service"
    unit.parent.mkdir()
    unit.write_text(UNIT.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(service, "UNIT_FILE", unit)
    monkeypatch.setattr(service, "DROP_IN", unit.with_name("labrelay.service.d") / "50-site.conf")
    monkeypatch.setattr(sites, "SYSTEM_SITE", tmp_path / "site")
    return make_running_site(tmp_path / "site", {}, {"lab": {"kind": "fhir", "url": "https://fhir.example.org/r4"}})


def told(site: Path) -> list[tuple[str, str, str]]:
    lines = labrelay("doctor", "-o", "json", site=site).json["lines"]
    return [(line["health"], line["text"], line["advice"]) for line in lines if line["subject"] == "service"]


def test_doctor_compares_the_drop_in_with_the_configuration(installed: Path) -> None:
    ((health, text, advice),) = told(installed)
    assert (health, advice) == (Health.WARN.value, service.RENEW)
    assert text.startswith("IPAddressAllow=any is missing for destination lab: fhir.example.org is a public name")

    assert labrelay("service", "--write", "--to", str(service.DROP_IN), site=installed).code == ExitCode.OK
    ((health, text, _),) = told(installed)
    assert (health, "it may talk to any address, because of destination lab" in text) == (Health.OK.value, True)

    file = installed / "config" / "labrelay.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("fhir.example.org", "192.168.7.20"), encoding="utf-8")
    found = told(installed)
    assert [line[0] for line in found] == [Health.WARN.value] * 2
    assert found[0][1].startswith("IPAddressAllow=192.168.7.20 is missing")
    assert found[1][1].startswith("IPAddressAllow=any of ")
    assert all(line[2] == service.RENEW for line in found)

    assert labrelay("service", "--write", "--to", str(service.DROP_IN), site=installed).code == ExitCode.OK
    assert [line[0] for line in told(installed)] == [Health.OK.value]


def test_a_line_of_another_drop_in_counts(installed: Path) -> None:
    own = service.DROP_IN.with_name("override.conf")
    own.parent.mkdir()
    own.write_text("[Service]\nIPAddressAllow=any\n", encoding="utf-8")
    assert [line[0] for line in told(installed)] == [Health.OK.value]


def test_doctor_says_nothing_of_a_service_that_is_not_installed(installed: Path) -> None:
    service.UNIT_FILE.unlink()
    assert told(installed) == []


def test_it_is_shown_without_being_written(installed: Path) -> None:
    ran = labrelay("service", site=installed)
    assert (ran.code, ran.out) == (ExitCode.OK, service.drop_in(load_site(installed)))
    assert not service.DROP_IN.exists()
    assert labrelay("service", "--to", str(service.DROP_IN), site=installed).code == ExitCode.USAGE
