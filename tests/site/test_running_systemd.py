"""The installer and the unit under a systemd that runs: its own, as process 1 of namespaces (`own_systemd`).

What the unit promises is asked of systemd itself, and what its sandbox lets through is tried from inside the service's
control group and mounts.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import own_systemd
from tests.support.own_systemd import OUTSIDE, Machine
from tests.support.waiting import until

WHY_NOT = own_systemd.why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
INSTALL = ("sh", "/opt/source/tools/install.sh", "--site-only")
SITE = Path("/etc/labrelay")
ANSWERS = {
    "--lab": "My Lab",
    "--timezone": "Asia/Kolkata",
    "--fhir": "https://10.7.7.7/fhir",
    "--patient-numbers": "lasting",
    "--backup": "/mnt/backup",
}
CHANNEL = """\
channel: cells
source: {kind: mllp, listen: "127.0.0.1:2575"}
settings: {local_system: "https://lab.example/codes"}
routes: [{when: "=MSH-9.1 == 'ORU'", mapping: hl7-results, to: lab-fhir}]
"""
AS_SERVICE = ("setpriv", "--reuid=labrelay", "--regid=labrelay", "--init-groups")
PYTHON = ("env", "LD_LIBRARY_PATH=/opt/python/lib", "/opt/python/bin/python3", "-c")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with own_systemd.machine(tmp_path) as made:
        yield made


def install(machine: Machine, **answers: str) -> str:
    given = {**ANSWERS, **answers}
    done = machine.run(*INSTALL, *(word for pair in given.items() for word in pair))
    return done.stdout + done.stderr


def write(machine: Machine, path: str, text: str) -> None:
    (machine.shared / "file").write_text(text, encoding="utf-8")
    machine.run("install", "-D", "-m", "0640", "-g", "labrelay", "/shared/file", path)


def inside(machine: Machine, *command: str) -> str:
    """What a command says that runs where the service does: in its control group and its mounts, as its user."""
    pid = machine.said("MainPID")["MainPID"]
    enter = 'echo $$ > /sys/fs/cgroup/system.slice/labrelay.service/cgroup.procs; exec "$@"'
    away = ("nsenter", "-t", pid, "-m", "-r", *AS_SERVICE)
    done = machine.run("sh", "-c", enter, "sh", *away, *command, check=False)
    return done.stdout + done.stderr


async def test_it_starts_is_watched_reloads_comes_back_and_stops(machine: Machine) -> None:
    said = install(machine)
    assert "wrote /etc/systemd/system/labrelay.service.d/50-site.conf" in said
    write(machine, f"{SITE}/channels/cells.yaml", CHANNEL)
    machine.run("systemctl", "enable", "--now", "labrelay")  # returns after READY=1
    first = machine.said("ActiveState", "MainPID", "StatusText", "WatchdogUSec", "NRestarts")
    assert (first["ActiveState"], first["WatchdogUSec"], first["NRestarts"]) == ("active", "30s", "0")
    assert first["StatusText"] != ""

    def pinged() -> str:
        return machine.said("WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"]

    before = pinged()
    await until(lambda: pinged() != before)

    write(machine, f"{SITE}/channels/cells.yaml", CHANNEL.replace("cells", "counts"))
    machine.run("systemctl", "reload", "labrelay")
    await until(lambda: '"configuration reloaded"' in machine.log() or "reloaded" in machine.log())
    assert machine.said("MainPID")["MainPID"] == first["MainPID"]

    machine.run("systemctl", "kill", "--signal=KILL", "labrelay")
    await until(lambda: machine.said("NRestarts")["NRestarts"] == "1")
    await until(lambda: machine.said("ActiveState")["ActiveState"] == "active")
    assert machine.said("MainPID")["MainPID"] != first["MainPID"]
    assert "audit head" in machine.run("cat", "/run/labrelay-log/audit-head").stdout, "the head of the run before"

    machine.run("systemctl", "stop", "labrelay")
    stopped = machine.said("ActiveState", "Result", "ExecMainStatus")
    assert stopped == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}

    said = machine.run(*INSTALL, "--uninstall").stdout
    assert "Kept: the site" in said
    assert machine.said("LoadState") == {"LoadState": "not-found"}
    assert "journal.db" in machine.run("ls", "/var/lib/labrelay").stdout


async def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_started_again(machine: Machine) -> None:
    install(machine)
    write(machine, "/etc/systemd/system/labrelay.service.d/90-test.conf", "[Service]\nWatchdogSec=10\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "labrelay")
    first = machine.said("MainPID")["MainPID"]
    machine.run("systemctl", "kill", "--signal=STOP", "labrelay")
    await until(lambda: machine.said("NRestarts")["NRestarts"] == "1")
    await until(lambda: machine.said("ActiveState")["ActiveState"] == "active")
    assert machine.said("MainPID")["MainPID"] != first
    assert "Watchdog timeout" in machine.log()


async def test_the_service_reads_its_copies_back_and_verifies_its_journal(machine: Machine) -> None:
    """Both are processes of its own, at the lowest priority, within its filter of system calls."""
    machine.run("mkdir", "/mnt")
    assert "made /mnt/backup" in install(machine)
    machine.run("systemctl", "start", "labrelay")
    machine.run("labrelay", "--site", str(SITE), "backup", "now")
    copies = machine.run("labrelay", "--site", str(SITE), "backup", "list").stdout
    assert "not yet" not in copies.splitlines()[-1], copies
    assert inside(machine, *PYTHON, "import os; os.nice(19)") == ""
    examined = machine.run(*AS_SERVICE, "labrelay", "--site", str(SITE), "doctor", check=False).stdout
    assert "fail  backup" not in examined


async def test_the_sandbox_lets_through_what_the_site_needs_and_no_more(machine: Machine) -> None:
    machine.run("mkdir", "/mnt")
    install(machine)
    write(machine, f"{SITE}/channels/cells.yaml", CHANNEL)
    machine.run("systemctl", "start", "labrelay")
    for folder in ("/var/lib/labrelay", "/var/lib/labrelay-anchor", "/mnt/backup", "/tmp"):
        assert inside(machine, "touch", f"{folder}/probe") == "", folder
    for folder in (str(SITE), "/usr", "/etc", "/var/log", "/opt"):
        assert "Read-only file system" in inside(machine, "touch", f"{folder}/probe"), folder
    assert "Permission denied" in inside(machine, "ls", "/root")
    reading = "open(__import__('sys').argv[1], 'rb').close()"
    assert "Operation not permitted" not in inside(machine, *PYTHON, reading, "/dev/ttyS5"), "a serial port"
    assert "Operation not permitted" in inside(machine, *PYTHON, reading, "/dev/loop7")
    connecting = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)"
    assert inside(machine, *PYTHON, connecting, "127.0.0.1", "2575") == "", "the channel listens"
    assert "refused" not in inside(machine, *PYTHON, connecting, OUTSIDE, "443"), "no packet gets there"

    config = machine.run("cat", f"{SITE}/config/labrelay.yaml").stdout
    write(machine, f"{SITE}/config/labrelay.yaml", config.replace("10.7.7.7", OUTSIDE))
    machine.run("labrelay", "--site", str(SITE), "service", "--write")
    machine.run("systemctl", "restart", "labrelay")
    assert "refused" in inside(machine, *PYTHON, connecting, OUTSIDE, "443"), "it gets there, and nothing listens"
