"""A certificate that ends soon is a note, one that has ended an alarm, and a renewed one neither."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.config.findings.tls_files import certificate_files
from engine.config.load import load_site
from engine.model.process.clock import ManualClock
from engine.runtime.upkeep import certificate_watch
from engine.runtime.upkeep.certificate_watch import CertificateWatch
from tests.support.certificates import Authority
from tests.support.running import hl7_channel, running_site
from tests.support.sites import CHANNEL_YAML, SITE_YAML, make_site
from tests.support.waiting import until

LISTEN = 'listen: "127.0.0.1:0"'


def test_each_certificate_that_the_site_shows_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "whsec_")
    pair = "{{cert: {0}.pem, key: {0}.key}}".format
    made = make_site(
        tmp_path,
        site=f"""{SITE_YAML}  a: {{kind: mllp, connect: "lis:2575", tls: {pair("client")}}}
  b:
    kind: http
    url: https://lab/r
    auth: {{oauth2: {{token_url: "https://idp/t", client_id: lab, key: client.key, tls: {pair("token")}}}}}
web: {{tls: {pair("page")}}}
webhooks: {{erp: {{url: "https://erp/", secret: "${{HOOK}}", events: [alert], tls: {pair("hook")}}}}}
traces: {{url: "https://collector", tls: {pair("traces")}}}
alerts: {{sinks: {{log: {{kind: syslog, connect: "log:6514", protocol: tcp, tls: {pair("sink")}}}}}}}
""",
        channels={
            "a.yaml": CHANNEL_YAML.replace(LISTEN, f"{LISTEN}, tls: {pair('source')}").replace(
                "to: archive", "to: [archive, a, b]"
            )
        },
    )
    found = [(one.owner, one.cert.name, one.key.name if one.key else "") for one in certificate_files(load_site(made))]
    assert found == [
        ("status page", "page.pem", "page.key"),
        ("channel haematology", "source.pem", "source.key"),
        ("destination a", "client.pem", "client.key"),
        ("destination b", "token.pem", "token.key"),
        ("sink log", "sink.pem", "sink.key"),
        ("webhook erp", "hook.pem", "hook.key"),
        ("traces", "traces.pem", "traces.key"),
    ]


async def test_a_certificate_is_noted_before_its_end_and_alarms_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_watch, "EVERY_S", 0.01)
    pair = Authority(tmp_path).sign("page")  # good for a day
    site = load_site(
        make_site(tmp_path / "site", site=f"{SITE_YAML}web: {{tls: {{cert: {pair.cert}, key: {pair.key}}}}}\n")
    )
    clock = ManualClock(datetime.now(UTC))
    watch = CertificateWatch(lambda: site, clock)
    assert [*watch.alarms(), *watch.notes()] == []
    task = asyncio.create_task(watch.run())
    try:
        await until(lambda: list(watch.notes()) != [])
        (note,) = watch.notes()
        assert note.startswith(f"the certificate {pair.cert} (status page) ends in ")
        assert list(watch.alarms()) == []
        clock.advance(timedelta(days=3).total_seconds())
        await until(lambda: list(watch.alarms()) != [])
        (alarm,) = watch.alarms()
        assert "ended on" in alarm
        assert list(watch.notes()) == []
        pair.cert.write_text("nothing")
        await until(lambda: "is no PEM certificate" in next(iter(watch.alarms())))
    finally:
        task.cancel()


async def test_it_is_an_entry_of_the_to_do_list(tmp_path: Path) -> None:
    pair = Authority(tmp_path).sign("channel")
    source = {"kind": "mllp", "listen": "127.0.0.1:0", "tls": {"cert": str(pair.cert), "key": str(pair.key)}}
    async with running_site(tmp_path / "site", {"haematology": hl7_channel(source=source)}) as site:
        await until(lambda: list(site.app.certificates.notes()) != [])
        site.app.observer.expire()
        found = {one["key"]: one for one in (await site.labrelay("todo", "list", "-o", "json")).json["todo"]}
        assert found["certificate"]["step"] == "labrelay doctor"
        assert "channel haematology" in found["certificate"]["words"]
