"""The ways out that log in or are acknowledged elsewhere, on a whole site: what a fault of theirs may not do is lose a
document, make a dead letter of it, credit one that nobody has, or show a secret."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from engine.store.queries.lanes import list_lanes
from tests.support.mqtt_peer import ACK, CLOSE, DROP, Disconnect, mqtt_peer
from tests.support.running import MLLP, QUICK, RunningSite, channel, hl7_channel, make_running_site, running_app
from tests.support.scripted_http import RESET, http, scripted
from tests.support.senders import send_blocks
from workbench.bench.messages import oru

MESSAGES = 12
SECRET = "hunter2-is-the-secret"
TOKEN = "tok-of-the-server"


def messages() -> list[bytes]:
    rng = random.Random(7)
    return [oru(0, number, rng, results=2) for number in range(MESSAGES)]


async def everything_said(site: RunningSite, capfd: pytest.CaptureFixture[str]) -> str:
    """All that commands, logs and the database's files tell."""
    said = []
    for arguments in (
        ("status", "-o", "json"),
        ("messages", "list", "-o", "json"),
        ("messages", "show", "1", "-o", "json"),
        ("dlq", "list", "-o", "json"),
        ("doctor", "-o", "json"),
    ):
        ran = await site.labrelay(*arguments)
        said += [ran.out, ran.err]
    captured = capfd.readouterr()
    stored = [path.read_bytes().decode("latin-1") for path in (site.folder / "var").glob("*") if path.is_file()]
    return "".join([*said, captured.out, captured.err, *stored])


@pytest.mark.parametrize("secret", ["client_secret", "hmac"])
async def test_a_token_server_that_is_down_at_first_makes_documents_wait(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    secret: str,
) -> None:
    monkeypatch.setenv("LR_SECRET", SECRET)
    granted = http(200, json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}).encode())
    tokens = [RESET, http(503), http(200, b"<html>log in"), http(401, b'{"error": "invalid_client"}'), granted]
    answers = [http(401), http(503), http(201)]
    async with scripted(*tokens) as gives, scripted(*answers) as takes:
        auth: dict[str, Any] = {"hmac": {"key_id": "k1", "secret": "${LR_SECRET}"}}
        if secret == "client_secret":
            oauth2 = {"token_url": gives.url, "client_id": "lab", "client_secret": "${LR_SECRET}"}
            auth = {"oauth2": oauth2}
        make_running_site(
            tmp_path,
            {"chem": channel(MLLP, {"to": "lab-fhir"}), "haem": channel(MLLP, {"to": "lab-fhir"})},
            {"lab-fhir": {"kind": "http", "url": takes.url, "auth": auth, **QUICK}},
        )
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, None)  # type: ignore[arg-type]  # nothing here asks the sandbox
            for name in ("chem", "haem"):
                await send_blocks(site.port(name), messages())
            await site.settled()
            ends = site.ends()
            lanes = list_lanes(site.journal)
            said = await everything_said(site, capfd)
    assert ends == ["delivered"] * (2 * MESSAGES)
    assert [lane.dead for lane in lanes] == [0, 0]
    if secret == "client_secret":
        assert len(gives.requests) == len(tokens) + 1  # and one more for the 401 of the destination
        assert {request.headers["authorization"] for request in takes.requests} == {f"Bearer {TOKEN}"}
    assert SECRET not in said + caplog.text
    assert TOKEN not in said + caplog.text


async def test_a_broker_with_every_fault_loses_and_credits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LR_SECRET", SECRET)
    script = [DROP, ACK, CLOSE, 0x97, ACK, Disconnect(0x8B), DROP, 0x10, ACK, 0x80, CLOSE, ACK]
    async with mqtt_peer(*script) as peer:
        make_running_site(
            tmp_path,
            {"chem": hl7_channel(), "haem": hl7_channel()},
            {
                "lab-fhir": {
                    "kind": "mqtt",
                    "connect": f"127.0.0.1:{peer.port}",
                    "client_id": "labrelay-test",
                    "topic": "lab/{channel}/{message_type}",
                    "auth": {"basic": {"user": "lab", "password": "${LR_SECRET}"}},
                    "timeout": "500ms",
                    **QUICK,
                }
            },
        )
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, None)  # type: ignore[arg-type]  # nothing here asks the sandbox
            for name in ("chem", "haem"):
                await send_blocks(site.port(name), messages())
            await site.settled()
            ends = site.ends()
            keys = {delivery.key for view in site.messages() for delivery in site.deliveries(view.id)}
            said = await everything_said(site, capfd)
    assert ends == ["delivered"] * (2 * MESSAGES)
    acknowledged = [sent.properties[0x26][0][1] for sent in peer.acknowledged]  # type: ignore[index]  # a pair
    assert set(acknowledged) == keys
    assert len(keys) == 2 * MESSAGES
    assert {sent.topic for sent in peer.published} == {"lab/chem/ORU-R01", "lab/haem/ORU-R01"}
    assert SECRET not in said
