"""`labrelay check`: what the daemon would refuse, with its place; nothing started, nothing changed."""

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.config.site import shipped
from engine.diagnostics import examine
from engine.diagnostics.examine import DAYS, budget
from tests.support.certificates import Authority
from tests.support.command_line import labrelay
from tests.support.sites import CHANNEL_YAML, MAPPING_YAML, SITE_YAML, make_site


def test_a_sound_site_has_no_problem(tmp_path: Path) -> None:
    ran = labrelay("check", site=make_site(tmp_path, answered=True))

    assert (ran.code, ran.out) == (ExitCode.OK, "")
    assert "no problem found in 1 channel" in ran.err
    assert not (tmp_path / "var").exists(), "looking changes nothing"


def test_whether_patient_numbers_last_is_asked_until_it_is_answered(tmp_path: Path) -> None:
    ran = labrelay("check", site=make_site(tmp_path))
    (line,) = ran.out.splitlines()
    assert ran.err.endswith(": 1 warning found in 1 channel\n")
    assert line.startswith("warning: config/labrelay.yaml: does a patient number stay with one person for good?")
    assert line.endswith("(channels: haematology)")

    for answer in ("lasting", "counter"):
        channels = {"a.yaml": f"{CHANNEL_YAML}patient_numbers: {answer}\n"}
        assert labrelay("check", site=make_site(tmp_path / answer, channels=channels)).out == ""
    wrong = make_site(tmp_path / "wrong", channels={"a.yaml": f"{CHANNEL_YAML}patient_numbers: yes\n"})
    assert "channels/a.yaml:7:18: patient_numbers" in labrelay("check", site=wrong).out


def test_rules_on_earlier_values_are_refused_where_patient_numbers_are_counters(tmp_path: Path) -> None:
    """Each value before would be unknown, and what is unknown is held: all of the channel."""
    channel = CHANNEL_YAML.replace("    to:", "    hold: =delta('30d') > 2\n    to:")
    for name, more, refused in (("a", "", True), ("b", "patient_numbers: lasting\n", False)):
        ran = labrelay("check", site=make_site(tmp_path / name, channels={"a.yaml": channel + more}))
        assert (ran.code == ExitCode.CONFIG) is refused, ran.out
        assert ("channels/a.yaml:6:11: a rule asks for the patient's earlier values" in ran.out) is refused


def test_every_problem_is_a_line_of_data(tmp_path: Path) -> None:
    folder = make_site(tmp_path, channels={"a.yaml": CHANNEL_YAML + "colour: red\n"}, site=SITE_YAML + "x: y\n")
    people, scripts = labrelay("check", site=folder), labrelay("check", "-o", "json", site=folder)

    assert people.code == scripts.code == ExitCode.CONFIG
    assert [line.split(": ")[0] for line in people.out.splitlines()] == [
        "channels/a.yaml:7:1",
        "config/labrelay.yaml:4:1",
    ]
    assert people.err.endswith(": 2 problems found\n")
    remark = scripts.json["remarks"][0]
    assert (remark["severity"], remark["file"], remark["line"], remark["column"]) == (
        "problem",
        "channels/a.yaml",
        7,
        1,
    )
    assert scripts.json["ok"] is False


def test_conditions_and_mappings_are_compiled_also_unused_ones(tmp_path: Path) -> None:
    folder = make_site(tmp_path, channels={"a.yaml": CHANNEL_YAML.replace("== 'ORU'", "== 'ORU")})
    (folder / "mappings" / "spare.yaml").write_text(MAPPING_YAML.replace("name: =MSH-4.1", "nmae: =MSH-4.1"))
    ran = labrelay("check", site=folder)

    assert ran.code == ExitCode.CONFIG
    files = {line.split(":")[0] for line in ran.out.splitlines()}
    assert any(name.endswith("a.yaml") for name in files), ran.out
    assert any(name.endswith("spare.yaml") for name in files), ran.out


def test_certificates_and_keys_are_looked_at(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    ours, other = authority.sign("ours"), authority.sign("other")
    text = tmp_path / "tls" / "text.pem"
    text.write_text("nothing of the kind\n")
    locked = tmp_path / "tls" / "locked.key"
    key = load_pem_private_key(ours.key.read_bytes(), password=None)
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))

    def said(cert: Path, key: Path, client_ca: Path = authority.ca, *, to: str = "") -> list[str]:
        tls = f", tls: {{cert: {cert}, key: {key}, client_ca: {client_ca}}}}}"
        channel = CHANNEL_YAML.replace('"127.0.0.1:0"}', '"127.0.0.1:0"' + tls)
        ran = labrelay(
            "check", site=make_site(tmp_path / "site", channels={"a.yaml": channel}, site=SITE_YAML + to, answered=True)
        )
        assert ran.code == (ExitCode.CONFIG if ran.out else ExitCode.OK)
        return [line.replace(str(tmp_path / "tls"), "tls") for line in ran.out.splitlines()]

    assert said(ours.cert, ours.key) == []
    assert said(text, ours.key) == [
        "channels/a.yaml:2:57: source.tls.cert: tls/text.pem is no PEM certificate; give the PEM file"
    ]
    assert (
        "source.tls.key: tls/none.key cannot be read: No such file" in said(ours.cert, tmp_path / "tls" / "none.key")[0]
    )
    assert "is no PEM private key" in said(ours.cert, text)[0]
    assert "tls/other.key is not the key of tls/ours.pem" in said(ours.cert, other.key)[0]
    assert "protected by a password" in said(ours.cert, locked)[0]
    assert "source.tls.client_ca: tls/text.pem is no PEM" in said(ours.cert, ours.key, text)[0]
    fhir = f"  lab: {{kind: fhir, url: 'https://localhost/fhir', tls: {{ca: {text}}}}}\n"
    (found,) = (line for line in said(ours.cert, ours.key, to=fhir) if "warning" not in line)
    assert "config/labrelay.yaml:4:" in found
    assert "destinations.lab.tls.ca: tls/text.pem is no PEM certificate" in found
    sink = f"{{kind: syslog, connect: 'localhost:6514', protocol: tcp, tls: {{ca: {text}}}}}"
    (found,) = said(ours.cert, ours.key, to=f"alerts: {{sinks: {{log: {sink}}}}}\n")
    assert "alerts.sinks.log.tls.ca: tls/text.pem is no PEM certificate" in found
    page = f"web: {{tls: {{cert: {ours.cert}, key: {other.key}}}}}\n"
    (found,) = (line for line in said(ours.cert, ours.key, to=page) if "warning" not in line)
    assert "web.tls.key: tls/other.key is not the key of tls/ours.pem" in found


def test_warnings_count_only_where_one_is_strict(tmp_path: Path) -> None:
    folder = make_site(tmp_path, site=SITE_YAML + "  spare: {kind: file, folder: x}\n")

    assert labrelay("check", site=folder).code == ExitCode.OK
    assert "warning: " in labrelay("check", site=folder).out
    assert labrelay("check", "--strict", site=folder).code == ExitCode.CONFIG


def test_a_backup_folder_that_takes_nothing_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(tmp_path, answered=True, site=f"{SITE_YAML}backup: {{folder: {tmp_path / 'copies'}}}\n")
    ran = labrelay("check", site=site)
    assert f"backup.folder: {tmp_path / 'copies'} is not there; mount it, or make it" in ran.out
    assert (ran.code, labrelay("check", "--strict", site=site).code) == (ExitCode.OK, ExitCode.CONFIG)
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert (
        "copies cannot be written by this user; let the service's user write there" in labrelay("check", site=site).out
    )


def test_a_channel_that_does_not_say_whose_its_codes_are_is_warned_of_once(tmp_path: Path) -> None:
    channel = CHANNEL_YAML.replace("mapping: results", "mapping: hl7-results")
    route = channel[channel.index("  - when") :]
    folder = make_site(tmp_path, answered=True, channels={"a.yaml": channel + route.replace("ORU", "OUL")})
    (line,) = labrelay("check", site=folder).out.splitlines()
    assert line.startswith("warning: channels/a.yaml:5:14: ")
    assert "settings: {local_system: ...}" in line

    named = make_site(tmp_path, answered=True, channels={"a.yaml": channel + "settings: {local_system: 'urn:x'}\n"})
    assert labrelay("check", site=named).out == ""


def test_a_secret_that_only_the_service_has_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LR_TEST_TOKEN", raising=False)
    site = SITE_YAML + "  b: {kind: http, url: 'http://x', auth: {bearer: {token: '${LR_TEST_TOKEN}'}}}\n"
    ran = labrelay("check", site=make_site(tmp_path, site=site))

    assert ran.code == ExitCode.OK
    assert "${LR_TEST_TOKEN} is not set" in ran.out


def test_files_narrow_what_is_shown(tmp_path: Path) -> None:
    bad = CHANNEL_YAML.replace("haematology", "other") + "colour: red\n"
    folder = make_site(tmp_path, channels={"a.yaml": CHANNEL_YAML + "x: y\n", "b.yaml": bad})
    ran = labrelay("check", str(folder / "channels" / "b.yaml"), site=folder)

    assert [line.split(":")[0] for line in ran.out.splitlines()] == ["channels/b.yaml"]
    assert labrelay("check", str(folder / "none.yaml"), site=folder).code == ExitCode.USAGE


def test_online_asks_the_destinations(tmp_path: Path, unused_tcp_port: int) -> None:
    site = SITE_YAML + f"  b: {{kind: fhir, url: 'http://127.0.0.1:{unused_tcp_port}/fhir'}}\n"
    channels = {"a.yaml": CHANNEL_YAML.replace("archive", "[archive, b]")}
    folder = make_site(tmp_path, site=site, channels=channels, answered=True)

    assert labrelay("check", site=folder).code == ExitCode.OK
    ran = labrelay("check", "--online", site=folder)
    assert ran.code == ExitCode.CONFIG
    assert ran.out.startswith("destination b: ")


OTHERS = """\
alerts:
  sinks:
    mail: {{kind: email, server: '{0}', security: none, sender: a@lab.example, to: [b@lab.example]}}
    chat: {{kind: http, url: 'http://{0}/hook', type: text, body: '{{text}}'}}
    bus: {{kind: mqtt, connect: '{0}', client_id: alerts, topic: lab/alerts}}
    log: {{kind: syslog, connect: '{0}', protocol: tcp}}
    over-udp: {{kind: syslog, connect: '{0}'}}
webhooks:
  erp: {{url: 'http://{0}/hook', secret: '${{ERP_HOOK}}', events: [alert]}}
"""


def test_online_connects_with_sinks_of_alerts_and_webhooks(tmp_path: Path, unused_tcp_port: int) -> None:
    folder = make_site(tmp_path, site=SITE_YAML + OTHERS.format(f"127.0.0.1:{unused_tcp_port}"), answered=True)
    assert labrelay("check", site=folder).code == ExitCode.OK
    remarks = labrelay("check", "--online", "-o", "json", site=folder).json["remarks"]
    problems = [one["text"].partition(":")[0] for one in remarks if one["severity"] == "problem"]
    assert problems == [*(f"sink of alerts {name}" for name in ("mail", "chat", "bus", "log")), "webhook erp"]


def test_online_posts_nothing_to_sinks_and_webhooks(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as server:
        others = OTHERS.format(f"127.0.0.1:{server.getsockname()[1]}").splitlines(keepends=True)
        site = "".join(line for line in others if "kind: email" not in line and "kind: mqtt" not in line)
        ran = labrelay("check", "--online", site=make_site(tmp_path, site=SITE_YAML + site, answered=True))
        assert ran.code == ExitCode.OK, ran.out
        server.settimeout(20)
        for _ in ("chat", "log", "erp"):
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                assert connection.recv(1) == b""


def test_the_log_of_a_bad_day_is_said_and_warned_of_where_the_disk_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_site(tmp_path, answered=True)
    log = budget(load_site(folder)).text
    people, scripts = labrelay("check", site=folder), labrelay("check", "-o", "json", site=folder)
    assert f"log: {log}\n" in people.err
    assert (scripts.json["log"], scripts.json["remarks"]) == (log, [])
    assert "log: " not in labrelay("check", str(folder / "channels" / "haematology.yaml"), site=folder).err

    real: Any = shutil.disk_usage
    monkeypatch.setattr(examine, "PLACES", (str(tmp_path),))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1))
    people, scripts = labrelay("check", site=folder), labrelay("check", "-o", "json", site=folder)
    (line,) = people.out.splitlines()
    assert line.startswith(f"warning: log: {log}; {DAYS} bad days do not fit")
    assert "log: " not in people.err
    assert [one["severity"] for one in scripts.json["remarks"]] == ["warning"]
    assert labrelay("check", "--strict", site=folder).code == ExitCode.CONFIG


def test_the_repositorys_own_site_passes() -> None:
    ran = labrelay("check", "--strict", site=Path(__file__).parents[3])

    assert (ran.code, ran.out) == (ExitCode.OK, "")


def test_what_stands_in_the_place_of_shipped_rows_and_files_is_a_note(tmp_path: Path) -> None:
    text = (
        "channel: a\nanalyzer: sysmex-xn\nsource: {kind: mllp, listen: '127.0.0.1:0'}\n"
        "routes: [{mapping: hl7-results, to: archive}]\n"
        "settings: {local_system: 'urn:x', tables: {analytes: [tables/mine.csv, sysmex-xn/codes.csv]}}\n"
    )
    folder = make_site(tmp_path, channels={"a.yaml": text}, answered=True)
    (folder / "mappings/tables").mkdir(exist_ok=True)
    (folder / "mappings/tables/mine.csv").write_text(
        "code,unit_in,loinc,display,type,unit,ucum\nWBC,10*3/uL,26464-8,Leukocytes [#/volume] in Blood,NM,,10*3/uL\n"
    )
    ours = shipped("mappings")
    assert ours is not None
    (folder / "mappings/hl7-lab.yaml").write_bytes((ours / "hl7-lab.yaml").read_bytes() + b"\n")
    ran = labrelay("check", "--strict", site=folder)

    assert ran.code == ExitCode.OK, ran.out
    assert "note: tables/mine.csv:2:1: WBC,10*3/uL takes the place of sysmex-xn/codes.csv:" in ran.out
    assert "; 26464-8 in 10*3/uL instead of 6690-2 in 10*3/uL" in ran.out
    assert (
        "note: mappings/hl7-lab.yaml:1:1: takes the place of the shipped one, and gets none of its changes" in ran.out
    )
    assert "no problem found in 1 channel" in ran.err
    remarks = labrelay("check", "-o", "json", site=folder).json["remarks"]
    assert {one["severity"] for one in remarks} == {"note"}


def test_settings_that_nothing_reads_and_fragments_that_nothing_uses_are_told(tmp_path: Path) -> None:
    text = CHANNEL_YAML + "settings: {on_missing: ded, unread_segment: ignore, local_sytem: 'urn:x', hospital: y}\n"
    mapping = MAPPING_YAML.replace("name: =MSH-4.1", "name: =setting('hospital') | setting('local_system')")
    folder = make_site(tmp_path, channels={"a.yaml": text}, mapping=mapping)
    (folder / "mappings/own.yaml").write_text(
        "mapping-library: own\nformat: labrelay-mapping/1\nfragments:\n"
        "  spare:\n    takes: [x]\n    body:\n      name: =x\n"
    )
    lines = labrelay("check", site=folder).out.splitlines()

    assert any("a.yaml:7:24: on_missing is one of local, dead, drop; 'ded' is taken as local" in line for line in lines)
    assert any("no rule reads the setting local_sytem; did you mean local_system?" in line for line in lines), lines
    assert any("own.yaml:4:3: fragment spare is used by no mapping; remove it" in line for line in lines)
    assert not any("hospital" in line or "unread_segment" in line for line in lines)


def test_a_route_makes_no_documents_of_facts(tmp_path: Path) -> None:
    source = 'source: {kind: mllp, listen: "127.0.0.1:0"}'
    channel = f"channel: lab\n{source}\nroutes:\n  - mapping: results-hl7\n    to: archive\n"
    ran = labrelay("check", site=make_site(tmp_path / "site", channels={"lab.yaml": channel}))
    assert ran.code == 3
    assert "mapping results-hl7 reads facts for LabRelay's own use, and makes no document" in ran.out + ran.err
