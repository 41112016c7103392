"""`labrelay ports`, and what `labrelay doctor` says of serial lines."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.transports import serial as serial_module
from adapters.transports.serial_lines import serial_ports
from engine.commands.shared.output import ExitCode
from engine.diagnostics import examine
from engine.model.site.health import Health
from tests.support.command_line import labrelay
from tests.support.serial_peers import Cable
from tests.support.sites import make_site

CHANNEL = 'channel: {name}\nsource: {{kind: astm-serial, device: "{device}"}}\nroutes: [{{to: archive}}]\n'


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    made = Cable(tmp_path / "usb-analyzer")
    yield made
    made.close()


def site(folder: Path, **devices: str) -> Path:
    channels = {f"{name}.yaml": CHANNEL.format(name=name, device=device) for name, device in devices.items()}
    return make_site(folder / "site", channels=channels)


def rows(folder: Path) -> dict[str, dict[str, object]]:
    ran = labrelay("ports", "-o", "json", site=folder)
    assert ran.code == ExitCode.OK
    return {str(row["device"]): row for row in ran.json["ports"]}


def test_ports_of_channels_are_listed_whatever_they_are(tmp_path: Path, cable: Cable) -> None:
    folder = site(
        tmp_path,
        here=cable.path,
        gone="/dev/serial/by-id/usb-gone",
        away="rfc2217://10.0.0.9:4001",
        odd="usb:dead:beef",
    )
    found = rows(folder)

    port = found[cable.device]
    assert port["channels"] == ["here"]
    assert (port["present"], port["permitted"]) == (True, True)
    assert port["in_use"]  # the test itself keeps it open
    assert {"pid": os.getpid(), "command": Path("/proc/self/comm").read_text().strip()} in port["users"]  # type: ignore[operator]  # a list
    assert found["/dev/serial/by-id/usb-gone"] == {
        "device": "/dev/serial/by-id/usb-gone",
        "present": False,
        "channels": ["gone"],
    }
    assert found["usb:dead:beef"]["present"] is False
    assert found["rfc2217://10.0.0.9:4001"]["present"] is None


def test_people_get_a_table_with_the_name_to_write_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_id, by_path = "/dev/serial/by-id/usb-X", "/dev/serial/by-path/pci-1"
    adapters = [
        serial_ports.Port(
            device="/dev/ttyUSB0", names=(by_id, by_path), usb="0403:6001", serial_number="A1", permitted=True
        ),
        serial_ports.Port(device="/dev/ttyUSB1", names=(by_id, by_path), usb="1a86:7523", permitted=True),
        serial_ports.Port(device="/dev/ttyS0", owner="root", group="dialout", mode="660"),
    ]
    monkeypatch.setattr(serial_module, "ports", lambda: adapters)
    ran = labrelay("ports", site=site(tmp_path, away="socket://10.0.0.9:4001"))
    lines = {line.split()[0]: line for line in ran.out.splitlines()}

    assert lines["/dev/ttyUSB0"].endswith(by_id)
    assert lines["/dev/ttyUSB1"].endswith(by_path)  # without a serial number two adapters share the name by-id
    assert "not permitted" in lines["/dev/ttyS0"]
    assert "root:dialout 660" in lines["/dev/ttyS0"]
    assert "device server" in lines["socket://10.0.0.9:4001"]
    assert "needs the group dialout" in ran.err


def test_a_site_with_problems_still_has_ports(tmp_path: Path) -> None:
    folder = make_site(tmp_path / "site", channels={"a.yaml": "channel: a\ncolour: red\n"})
    ran = labrelay("ports", "-o", "ndjson", site=folder)

    assert ran.code == ExitCode.OK
    assert "labrelay check" in ran.err
    assert all(json.loads(line)["schema_version"] == 1 for line in ran.out.splitlines())


def doctor(folder: Path) -> list[dict[str, str]]:
    return [line for line in labrelay("doctor", "-o", "json", site=folder).json["lines"] if line["subject"] == "line"]


def test_doctor_has_a_line_for_each_serial_channel(tmp_path: Path, cable: Cable) -> None:
    folder = site(tmp_path, here=cable.path, gone="/dev/serial/by-id/usb-gone", away="rfc2217://10.0.0.9:4001")
    by_channel = {line["text"].partition("(channel ")[2].partition(")")[0]: line for line in doctor(folder)}

    assert by_channel["gone"]["health"] == "fail"
    assert "labrelay ports" in by_channel["gone"]["advice"]
    assert by_channel["here"]["health"] == "fail"  # the test keeps it open
    assert f"({os.getpid()}) has it open" in by_channel["here"]["text"]
    assert by_channel["away"]["health"] == "ok"


def test_what_a_port_lacks_is_said_with_what_to_do() -> None:
    port = serial_ports.Port(device="/dev/ttyUSB0", group="dialout")
    line = examine.port("/dev/serial/by-id/x", "channel a", port, daemon_runs=False)
    assert line.health is Health.FAIL
    assert "usermod -aG dialout labrelay" in line.advice

    mine = serial_ports.Port(device="/dev/ttyUSB0", permitted=True, locked=True)
    assert examine.port("/dev/ttyUSB0", "channel a", mine, daemon_runs=True).health is Health.OK
    taken = examine.port("/dev/ttyUSB0", "channel a", mine, daemon_runs=False)
    assert "a program of another user has it open" in taken.text


def test_programs_that_send_to_any_port_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "PROC", tmp_path)
    for pid, command in {"1": "init", "77": "ModemManager", "self": "brltty"}.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(command + "\n")
    line = examine.busybodies()
    assert line is not None
    assert line.health is Health.WARN
    assert "ModemManager runs here" in line.text
    (tmp_path / "77" / "comm").write_text("bash\n")
    assert examine.busybodies() is None
