"""Documents to a real MQTT broker: Eclipse Mosquitto, with a subscriber of its own session as the witness."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from adapters.destinations import mqtt_out
from adapters.destinations.mqtt_out import MqttOut
from engine.commands.shared.output import ExitCode
from engine.model.errors import DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.units import HostPort
from tests.adapters.destinations.test_mqtt_out import Settings
from tests.e2e.counterparts import mosquitto
from tests.support.certificates import Authority
from tests.support.command_line import labrelay
from tests.support.deliveries import Auth, Basic, Secret, Tls, delivery
from tests.support.ports import quiet_ports
from tests.support.sites import SITE_YAML, make_site

OPEN = "listener {port} 127.0.0.1\nallow_anonymous true\n"
BODY = b'{"resourceType":"Bundle"}'


@asynccontextmanager
async def destination(port: int, **changes: Any) -> AsyncIterator[MqttOut]:
    out = mqtt_out.build("feed", Settings(connect=HostPort("127.0.0.1", port), **changes), SystemClock())
    await out.start()
    try:
        yield out
    finally:
        await out.close()


@asynccontextmanager
async def subscriber(port: int) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client("127.0.0.1", port, identifier="witness", protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("lab/#", qos=1)
        yield client


async def heard(client: aiomqtt.Client, count: int) -> list[aiomqtt.Message]:
    found: list[aiomqtt.Message] = []
    async with asyncio.timeout(20):
        async for message in client.messages:
            found.append(message)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_what_is_delivered_arrives_once(tmp_path: Path, version: str) -> None:
    (port,) = quiet_ports(1)
    with mosquitto(tmp_path, port, OPEN.format(port=port)):
        async with subscriber(port) as witness, destination(port, version=version) as out:
            await asyncio.gather(
                *(out.deliver(delivery(b"%d" % number, id=number, message_type="ORU^R01")) for number in range(200))
            )
            messages = await heard(witness, 200)
    assert sorted(int(bytes(message.payload)) for message in messages) == list(range(200))  # type: ignore[arg-type]
    assert {str(message.topic) for message in messages} == {"lab/chemistry/ORU-R01"}
    assert {(message.qos, message.retain) for message in messages} == {(1, False)}
    if version == "5":
        said = messages[0].properties
        assert said is not None
        assert vars(said)["ContentType"] == "application/fhir+json"
        assert dict(vars(said)["UserProperty"])["Idempotency-Key"] == delivery().key


async def test_a_restarted_broker_loses_nothing_that_was_delivered(tmp_path: Path) -> None:
    """Killed in the middle of deliveries, with a session of a subscriber that it keeps on disk."""
    (port,) = quiet_ports(1)
    settings = OPEN.format(port=port) + f"persistence true\npersistence_location {tmp_path}/\nautosave_interval 1\n"
    settings += "autosave_on_changes true\n" + _as_us()
    with mosquitto(tmp_path, port, settings) as broker:
        async with subscriber(port) as witness, destination(port, timeout=5.0) as out:
            for number in range(50):
                await out.deliver(delivery(b"%d" % number, id=number))
            first = await heard(witness, 50)
            broker.kill()
            broker.wait()
            with pytest.raises(TransientDeliveryError) as caught:
                await out.deliver(delivery(b"50", id=50))
            assert caught.value.reason is ReasonCode.NO_ANSWER
            with mosquitto(tmp_path, port, settings):
                async with subscriber(port) as again:
                    for number in range(50, 100):
                        await _delivered(out, number)
                    second = await heard(again, 50)
            with pytest.raises(aiomqtt.MqttError):  # the witness of the killed broker
                await heard(witness, 1)
    assert {int(bytes(message.payload)) for message in (*first, *second)} == set(range(100))  # type: ignore[arg-type]


async def _delivered(out: MqttOut, number: int) -> None:
    """As the daemon does: again, until it is delivered."""
    async with asyncio.timeout(10):
        while True:
            try:
                await out.deliver(delivery(b"%d" % number, id=number))
                return
            except TransientDeliveryError:
                await asyncio.sleep(0.05)


async def test_nobody_listens(tmp_path: Path) -> None:
    (port,) = quiet_ports(1)
    with mosquitto(tmp_path, port, OPEN.format(port=port)):
        async with destination(port) as out:
            with pytest.raises(TransientDeliveryError) as caught:
                await out.deliver(delivery(BODY))
        async with destination(port, no_subscriber="deliver") as out:
            await out.deliver(delivery(BODY))
    assert caught.value.reason is ReasonCode.NO_SUBSCRIBER


async def test_user_password_and_rights(tmp_path: Path) -> None:
    (port,) = quiet_ports(1)
    passwords, rights = _users(tmp_path)
    settings = (
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nacl_file {rights}\n{_as_us()}"
    )

    async def outcome(password: str, topic: str, **changes: Any) -> DeliveryError | None:
        auth = Auth(basic=Basic("lab", Secret(password)))
        async with destination(port, auth=auth, topic=topic, no_subscriber="deliver", **changes) as out:
            try:
                await out.deliver(delivery(BODY))
            except DeliveryError as error:
                return error
        return None

    with mosquitto(tmp_path, port, settings):
        assert await outcome("right", "lab/x") is None
        wrong_password = await outcome("wrong", "lab/x")
        wrong_topic = await outcome("right", "elsewhere")
        old = await outcome("wrong", "lab/x", version="3.1.1")
    for error in (wrong_password, wrong_topic, old):
        assert isinstance(error, DestinationDownError)
        assert error.reason is ReasonCode.NOT_AUTHORIZED


async def test_tls_with_client_certificates(tmp_path: Path) -> None:
    (port,) = quiet_ports(1)
    authority = Authority(tmp_path / "ca")
    server, ours = authority.sign("server"), authority.sign("labrelay")
    settings = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\n"
        f"cafile {authority.ca}\ncertfile {server.cert}\nkeyfile {server.key}\n{_as_us()}"
    )
    with mosquitto(tmp_path, port, settings):
        tls = Tls(ca=authority.ca, cert=ours.cert, key=ours.key)
        async with destination(port, tls=tls, no_subscriber="deliver") as out:
            for _ in range(3):
                await out.deliver(delivery(bytes(300_000)))
        async with destination(port, tls=Tls(ca=authority.ca), timeout=3.0) as out:
            with pytest.raises(TransientDeliveryError) as caught:
                await out.deliver(delivery(BODY))
    assert caught.value.reason is ReasonCode.NO_ANSWER


async def test_another_client_with_our_name_is_told(tmp_path: Path) -> None:
    (port,) = quiet_ports(1)
    with mosquitto(tmp_path, port, OPEN.format(port=port)):
        async with destination(port, no_subscriber="deliver") as one, destination(port, no_subscriber="deliver") as two:
            await one.deliver(delivery(BODY))
            await one.probe()  # does not end its own connection
            await one.deliver(delivery(BODY))
            await two.deliver(delivery(BODY))  # takes it over
            await _delivered(one, 1)
    log = (tmp_path / "mosquitto.log").read_text()
    assert len(re.findall("New client connected .* as labrelay-lab ", log)) == 3


def test_check_online_names_the_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = quiet_ports(1)
    passwords, _ = _users(tmp_path)
    settings = f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n{_as_us()}"
    site = SITE_YAML + (
        f"  b: {{kind: mqtt, connect: '127.0.0.1:{port}', client_id: lab, topic: lab/x, "
        "auth: {basic: {user: lab, password: '${LR_MQTT}'}}}\n"
    )
    folder = make_site(tmp_path / "site", site=site)
    with mosquitto(tmp_path, port, settings):
        monkeypatch.setenv("LR_MQTT", "right")
        good = labrelay("check", "--online", site=folder)
        monkeypatch.setenv("LR_MQTT", "wrong")
        bad = labrelay("check", "--online", site=folder)
    down = labrelay("check", "--online", site=folder)
    assert good.code == ExitCode.OK, good.out
    assert "destination b: NOT_AUTHORIZED: the broker answered the connection with 0x87; check auth" in bad.out
    assert "destination b: NO_ANSWER: connection failed: connection refused" in down.out


def _users(folder: Path) -> tuple[Path, Path]:
    """Files with one user, `lab` with the password `right`, who may write below `lab/`."""
    beside = os.environ.get("LABRELAY_MOSQUITTO")
    folders = f"{Path(beside).parents[1] / 'bin'}:{os.environ['PATH']}" if beside else None
    program = shutil.which("mosquitto_passwd", path=folders)
    if program is None:
        pytest.skip("there is no mosquitto_passwd; on Debian or Ubuntu: apt install mosquitto")
    passwords, rights = folder / "passwords", folder / "rights"
    subprocess.run([program, "-c", "-b", str(passwords), "lab", "right"], check=True, capture_output=True)
    rights.write_text("user lab\ntopic write lab/#\n")
    return passwords, rights


def _as_us() -> str:
    """Mosquitto gives up root for a user of its own, who may not read a test's files."""
    return "user root\n" if os.geteuid() == 0 else ""
