"""What people read before they pause, resume or restart something: by the line, a table written by hand."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.actions import pause_resume as says
from engine.config.load import Site, load_site
from engine.model.journal.records import DELIVERIES, Target

LISTEN = "127.0.0.1:2575"
KEPT = (says.ANALYZER_KEEPS, says.STORED_GO_ON)
AGAIN = (says.LINE_RENEWED, says.UNACKNOWLEDGED)
TEE = {"listen": "127.0.0.1:2601", "connect": "127.0.0.1:2602"}
# source -> before a pause (None: it cannot be paused), before a resumption, before a restart
SOURCES: list[tuple[dict[str, Any], tuple[str, ...] | None, tuple[str, ...], tuple[str, ...]]] = [
    ({"kind": "mllp", "listen": LISTEN}, (says.PORT_CLOSED, *KEPT), (says.LINE_OPENS,), AGAIN),
    ({"kind": "mllp", "connect": LISTEN}, (says.CALL_ENDED, *KEPT), (says.LINE_OPENS,), AGAIN),
    ({"kind": "astm", "listen": LISTEN}, (says.PORT_CLOSED, *KEPT), (says.LINE_OPENS,), AGAIN),
    ({"kind": "astm", "listen": LISTEN, "acks": "none"}, (says.PORT_CLOSED, says.STORED_GO_ON), (says.LINE_OPENS,),
     (says.LINE_RENEWED,)),
    ({"kind": "astm-serial", "device": "/dev/ttyS0"}, (says.DEVICE_CLOSED, *KEPT), (says.LINE_OPENS,), AGAIN),
    ({"kind": "astm-serial", "device": "socket://10.1.2.3:4001"}, (says.DEVICE_CLOSED, *KEPT), (says.LINE_OPENS,),
     AGAIN),
    ({"kind": "folder", "folder": "in", "format": "hl7v2"}, (says.FOLDER_LEFT, says.STORED_GO_ON),
     (says.LINE_OPENS,), (says.LINE_RENEWED,)),
    ({"kind": "fhir-search", "url": "http://127.0.0.1:1/fhir"}, (says.SERVER_LEFT, says.STORED_GO_ON),
     (says.SERVER_ASKED,), (says.SERVER_ASKED,)),
    ({"kind": "http", "listen": LISTEN}, (says.SENDERS_REFUSED, says.STORED_GO_ON), (says.SENDERS_TAKEN,), AGAIN),
    ({"kind": "mllp", "tee": TEE}, None, (says.LINE_OPENS,), (says.TEE_RENEWED,)),
]  # fmt: skip


def site_of(folder: Path, source: dict[str, Any]) -> Site:
    for name in ("config", "channels"):
        (folder / name).mkdir(parents=True)
    site = {"site": {"name": "Lab", "timezone": "UTC"}, "destinations": {"out": {"kind": "file", "folder": "out"}}}
    (folder / "config" / "labrelay.yaml").write_text(yaml.safe_dump(site))
    channel = {"channel": "a", "source": source, "routes": [{"to": "out"}]}
    if source["kind"] == "fhir-search":
        channel |= {"role": "orders", "routes": [{"mapping": "orders-fhir"}]}
    (folder / "channels" / "a.yaml").write_text(yaml.safe_dump(channel))
    return load_site(folder)


@pytest.mark.parametrize(("source", "pause", "resume", "restart"), SOURCES)
def test_each_line_says_what_its_other_end_will_notice(
    tmp_path: Path,
    source: dict[str, Any],
    pause: tuple[str, ...] | None,
    resume: tuple[str, ...],
    restart: tuple[str, ...],
) -> None:
    site, target = site_of(tmp_path, source), Target(channel="a")
    if pause is not None:
        assert says.effects(site, "pause", target) == pause
    assert says.effects(site, "resume", target) == resume
    assert says.effects(site, "restart", target) == restart


def test_a_channel_that_is_configured_no_longer_can_be_resumed(tmp_path: Path) -> None:
    site = site_of(tmp_path, SOURCES[0][0])
    assert says.effects(site, "resume", Target(channel="gone")) == ()


@pytest.mark.parametrize("target", [Target(destination="out"), Target(channel="a", destination="out"), DELIVERIES])
def test_of_deliveries_results_wait_and_then_go(tmp_path: Path, target: Target) -> None:
    site = site_of(tmp_path, SOURCES[0][0])
    assert says.WAIT_HERE in says.effects(site, "pause", target)
    assert says.effects(site, "resume", target) == (says.SENT_NOW, says.WHERE_REACHABLE)
