"""HL7 v2 posted over HTTP to a running site: from the request to the delivered results, and repeats on the way."""

from pathlib import Path
from typing import Any

import pytest

from engine.monitoring.snapshot.states import ChannelState
from tests.support.http_sender import post, said, sender
from tests.support.ports import quiet_ports
from tests.support.running import channel, hl7_channel, running_site

HTTP: dict[str, Any] = {"kind": "http", "listen": "127.0.0.1:0", "auth": {"bearer": {"token": "${HIS_TOKEN}"}}}
TOKEN = {"Authorization": "Bearer s3cret"}


def result(control_id: str, minute: int, value: str = "5.1") -> bytes:
    return (
        f"MSH|^~\\&|HIS|HOSP|LR|LAB|2026030110{minute:02}30||ORU^R01|{control_id}|P|2.5.1\r"
        "PID|1||7^^^HOSP^MR||Rao^Asha||19800412|F\r"
        f"OBR|1|O{control_id}|F1|GLU\rOBX|1|NM|GLU^Glucose^L||{value}|mmol/L|||||F\r"
    ).encode()


async def test_a_posted_result_is_delivered_and_named_in_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIS_TOKEN", "s3cret")
    async with running_site(tmp_path, {"his": hl7_channel(source=HTTP)}) as site:
        port = site.port("his")
        stranger = await said(port, post(result("M0", 1)))
        assert stranger is not None
        assert stranger.status == 401
        async with sender(port) as his:
            for number in range(1, 4):
                answer = await his.post(result(f"M{number}", number), **TOKEN)
                assert answer is not None
                assert answer.status == 200
                assert f"MSA|AA|M{number}\r".encode() in answer.body
                assert answer.headers["labrelay-message"] == str(number)
            again = await his.post(result("M3", 3), **TOKEN)  # its answer was lost on the way
            assert again is not None
            assert again.status == 200
            assert b"MSA|AA|M3\r" in again.body
            assert again.headers["labrelay-message"] == "3"  # the first of the two
            torn = await his.post(b"no message", **TOKEN)
            assert torn is not None
            assert torn.status == 422
            assert b"MSA|AR|" in torn.body
        await site.settled()
        assert site.ends() == ["delivered"] * 3 + ["REPEAT", "UNREADABLE"]
        faults = site.app.parts.sources["his"].channel.counts.faults
        assert faults == {"unauthorized": 1}


async def test_with_ack_on_delivery_the_response_waits_for_the_destination(tmp_path: Path) -> None:
    here = {"kind": "http", "listen": "127.0.0.1:0"}
    waiting = hl7_channel(source=here, ack="on_delivery", ack_timeout="60s")
    async with running_site(tmp_path, {"his": waiting}) as site, sender(site.port("his")) as his:
        answer = await his.post(result("M1", 1))
        assert answer is not None
        assert answer.status == 200
        assert site.sandbox.count("Observation") == 1
        refused = await his.post(result("M2", 2).replace(b"ORU^R01", b"XXX^X01"))  # no route takes it
        assert refused is not None
        assert refused.status == 503
        assert b"MSA|AE|M2" in refused.body
        assert refused.headers["labrelay-message"] == "2"


async def test_a_reload_gives_the_address_another_path_and_a_pause_answers_that_it_takes_nothing(
    tmp_path: Path,
) -> None:
    (port,) = quiet_ports(1)
    source = {"kind": "http", "listen": f"127.0.0.1:{port}", "path": "/a"}
    async with running_site(tmp_path, {"his": hl7_channel(source=source)}) as site:
        for path, status in (("/a", 200), ("/b", 404)):
            answer = await said(port, post(result("M1", 1), path))
            assert answer is not None
            assert answer.status == status
        file = tmp_path / "channels" / "his.yaml"
        file.write_text(file.read_text(encoding="utf-8").replace("path: /a", "path: /b"), encoding="utf-8")
        assert (await site.labrelay("reload")).code == 0
        for path, status in (("/a", 404), ("/b", 200)):
            answer = await said(port, post(result("M2", 2), path))
            assert answer is not None
            assert answer.status == status
        assert (await site.labrelay("pause", "channel", "his", "--yes", "--reason", "a trial")).code == 0
        assert (await site.labrelay("reload")).code == 0
        for path, status in (("/a", 404), ("/b", 503)):
            answer = await said(port, post(result("M3", 3), path))
            assert answer is not None
            assert answer.status == status
        assert answer.headers["retry-after"] == "60"
        (seen,) = site.app.observer.take().channels
        assert (seen.state, seen.connections) == (ChannelState.PAUSED, ())
        assert seen.link_faults["paused"] == 1
        assert (await site.labrelay("restart", "channel", "his", "--yes", "--reason", "x")).code != 0
        assert (await site.labrelay("resume", "channel", "his", "--yes", "--reason", "it is over")).code == 0
        answer = await said(port, post(result("M3", 3), "/b"))
        assert answer is not None
        assert answer.status == 200


async def test_json_passes_on_as_it_came_and_fhir_has_its_own_type(tmp_path: Path) -> None:
    channels = {
        "notices": channel(
            {"kind": "http", "listen": "127.0.0.1:0", "format": "json", "message_type": "$.event"},
            {"when": "=$.event == 'paid' and $.amount > 10", "to": "folder"},
            {"when": "=$.event == 'opened'", "filter": "only what is paid"},
        ),
        "clinic": channel({"kind": "http", "listen": "127.0.0.1:0", "format": "fhir"}, {"to": "folder"}),
    }
    folder = {"kind": "file", "folder": str(tmp_path / "out")}
    posted = [
        ("notices", b'{"event": "paid",  "amount": 10.50}', "delivered"),
        ("notices", b'{"event": "opened"}', "FILTERED"),
        ("notices", b'{"event": "lost"}', "NO_ROUTE"),
        ("notices", b'{"event": "paid"', "UNREADABLE"),
        ("notices", b'{"event": "paid", "event": "lost"}', "UNREADABLE"),
        ("clinic", b'{"resourceType": "Patient", "id": "7"}', "delivered"),
    ]
    async with running_site(tmp_path, channels, {"folder": folder}) as site:
        for number, (name, body, end) in enumerate(posted, 1):
            kind = "application/fhir+json" if name == "clinic" else "application/json"
            answer = await said(site.port(name), post(body, Content_Type=kind))
            assert answer is not None
            assert answer.headers["labrelay-message"] == str(number)
            assert answer.status == (422 if end == "UNREADABLE" else 200)
        await site.settled()
        assert site.ends() == [end for _, _, end in posted]
        assert [view.message_type for view in site.messages()] == ["paid", "opened", "lost", "", "", "Patient"]
        wrong = await said(site.port("clinic"), post(b"{}", Content_Type="text/plain"))
        assert wrong is not None
        assert (wrong.status, wrong.headers["accept"]) == (415, "application/fhir+json, application/json")
    assert sorted(path.read_bytes() for path in (tmp_path / "out").iterdir()) == sorted([posted[0][1], posted[-1][1]])
