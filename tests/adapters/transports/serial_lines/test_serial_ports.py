"""Which serial ports there are, read from trees of files like those of a Linux system."""

import fcntl
import os
from pathlib import Path

import pytest

from adapters.transports.errors import NoSuchPortError
from adapters.transports.serial_lines.serial_ports import User, find, group_of, look, ports
from tests.support.serial_peers import Cable


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


class Machine:
    """A root folder with ``/sys``, ``/dev`` and ``/proc`` as udev and the kernel make them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def board(self, name: str, *, kind: str) -> None:
        place = self.root / "sys/devices/platform/serial8250" / name
        write(place / "tty" / name / "type", kind + "\n")
        link(place / "tty" / name / "device", place)
        link(self.root / "sys/class/tty" / name, place / "tty" / name)
        write(self.root / "dev" / name).chmod(0o660)

    def usb(
        self, name: str, usb: str, *, serial: str = "", product: str = "", by_id: str = "", hub: str = "1-1"
    ) -> None:
        adapter = self.root / "sys/devices/pci0000:00/usb1" / hub
        interface = adapter / f"{hub}:1.0"
        vendor, number = usb.split(":")
        for file, text in {"idVendor": vendor, "idProduct": number, "serial": serial, "product": product}.items():
            if text:
                write(adapter / file, text + "\n")
        write(adapter / "manufacturer", "FTDI\n")
        write(interface / "bInterfaceNumber", "00\n")
        write(interface / "interface", product + "\n")
        port = interface / name
        (port / "tty" / name).mkdir(parents=True)
        link(port / "tty" / name / "device", port)
        driver = self.root / "sys/bus/usb-serial/drivers/ftdi_sio"
        driver.mkdir(parents=True, exist_ok=True)
        link(port / "driver", driver)
        link(self.root / "sys/class/tty" / name, port / "tty" / name)
        device = write(self.root / "dev" / name)
        if by_id:
            link(self.root / "dev/serial/by-id" / by_id, device)
        link(self.root / "dev/serial/by-path" / f"pci-0000:00:14.0-usb-0:{hub}:1.0-port0", device)

    def console(self, name: str) -> None:
        (self.root / "sys/class/tty" / name).mkdir(parents=True)
        write(self.root / "dev" / name)

    def process(self, pid: int, command: str, *files: Path) -> None:
        write(self.root / "proc" / str(pid) / "comm", command + "\n")
        for number, file in enumerate(files):
            link(self.root / "proc" / str(pid) / "fd" / str(number), file)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.console("tty0")
    made.board("ttyS0", kind="4")
    made.board("ttyS1", kind="0")
    made.usb("ttyUSB10", "0403:6001", serial="A50285BI", product="FT232R USB UART", by_id="usb-FTDI_FT232R_A50285BI")
    made.usb("ttyUSB2", "1a86:7523", product="USB Serial", by_id="usb-1a86_USB_Serial-if00", hub="1-2")
    return made


def test_every_port_with_hardware_is_listed_with_what_leads_to_it(machine: Machine) -> None:
    found = {Path(port.device).name: port for port in ports(machine.root)}

    assert list(found) == ["ttyUSB2", "ttyUSB10", "ttyS0"]
    adapter = found["ttyUSB10"]
    assert (adapter.usb, adapter.serial_number, adapter.description) == (
        "0403:6001",
        "A50285BI",
        "FTDI FT232R USB UART",
    )
    assert [Path(name).parent.name for name in adapter.names] == ["by-id", "by-path"]
    assert adapter.driver == "ftdi_sio"
    assert (found["ttyS0"].description, found["ttyS0"].driver) == ("port of the board", "")
    assert (found["ttyS0"].usb, found["ttyS0"].names, found["ttyS0"].mode) == ("", (), "660")
    assert found["ttyS0"].permitted
    assert not found["ttyS0"].in_use


def test_who_uses_a_port_is_seen_without_opening_it(machine: Machine) -> None:
    port = machine.root / "dev/ttyUSB2"
    machine.process(4711, "minicom", Path("/dev/null"), port, port)
    machine.process(4712, "bash", Path("/dev/pts/3"))
    found = look(str(port), machine.root)

    assert found.users == (User(4711, "minicom"),)
    assert found.in_use
    assert not look(str(machine.root / "dev/ttyS0"), machine.root).in_use


def test_a_lock_is_seen_whoever_holds_it(machine: Machine) -> None:
    port = machine.root / "dev/ttyS0"
    state = port.stat()
    major, minor = os.major(state.st_dev), os.minor(state.st_dev)
    write(
        machine.root / "proc/locks",
        f"1: POSIX  ADVISORY  WRITE 1 00:05:1 0 EOF\n"
        f"2: FLOCK  ADVISORY  WRITE 2 {major:02x}:{minor:02x}:{state.st_ino} 0 EOF\n",
    )
    found = {Path(port.device).name: port.locked for port in ports(machine.root)}

    assert found == {"ttyUSB2": False, "ttyUSB10": False, "ttyS0": True}


def test_a_port_that_this_system_locks_is_seen_as_locked(tmp_path: Path) -> None:
    cable = Cable()
    fd = os.open(cable.device, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    if not Path("/proc/locks").read_text():
        pytest.skip("this system shows no locks")
    assert look(cable.device).locked
    assert [user.pid for user in look(cable.device).users] == [os.getpid()]
    os.close(fd)
    cable.close()


def test_names_by_number_find_the_one_adapter(machine: Machine) -> None:
    root = machine.root
    assert find("usb:0403:6001", root) == str(root / "dev/ttyUSB10")
    assert find("usb:0403:6001/A50285BI", root) == str(root / "dev/ttyUSB10")
    assert find("usb:1A86:7523", root) == str(root / "dev/ttyUSB2")
    assert find("/dev/anything", root) == "/dev/anything"
    for name in ("usb:0403:6001/OTHER", "usb:dead:beef"):
        with pytest.raises(NoSuchPortError, match="no USB adapter"):
            find(name, root)


def test_two_that_fit_are_none(machine: Machine) -> None:
    machine.usb("ttyUSB3", "1a86:7523", product="USB Serial", hub="1-3")
    with pytest.raises(NoSuchPortError, match=r"2 ports fit usb:1a86:7523 .*ttyUSB2, .*ttyUSB3\); name one"):
        find("usb:1a86:7523", machine.root)
    pattern = f"{machine.root}/dev/serial/by-id/*"
    with pytest.raises(NoSuchPortError, match="2 ports fit"):
        find(pattern)
    assert find(f"{machine.root}/dev/serial/by-id/*FTDI*").endswith("usb-FTDI_FT232R_A50285BI")
    machine.usb("ttyUSB4", "0403:6001", serial="B", hub="1-4")
    link(machine.root / "dev/serial/by-id/again-FTDI", machine.root / "dev/ttyUSB10")
    assert "FTDI" in find(f"{machine.root}/dev/serial/by-id/*FTDI*")  # two names of one port are no doubt


def test_a_name_that_leads_nowhere_says_so(machine: Machine) -> None:
    with pytest.raises(NoSuchPortError, match="no such device"):
        look(str(machine.root / "dev/ttyUSB77"), machine.root)


def test_a_machine_without_any_of_it_has_no_port(tmp_path: Path) -> None:
    assert ports(tmp_path) == []
    assert group_of(str(tmp_path / "nothing")) == ""
