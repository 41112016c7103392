"""The service unit and the installer: hardened, complete, and safe to run again."""

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.runtime.upkeep.other_history import HEADS_FOLDER, HEADS_NAME
from engine.store.core.checks.trail_check import heads_in

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "labrelay.service"
RULES = ROOT / "systemd" / "60-labrelay-serial.rules"
INSTALL = ROOT / "tools" / "install.sh"
MOST_EXPOSURE = 20  # tenths: systemd-analyze's scale goes from 0 to 10, an unhardened service has 9.6

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def install(destination: Path | None, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    # With --site-only the program is one that was installed in another way: that of these tests.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {"PATH": path, "PYTHON": sys.executable}
    if destination is not None:
        environ["DESTDIR"] = str(destination)
    result = subprocess.run(
        ["sh", str(INSTALL), *arguments], env=environ, capture_output=True, text=True, timeout=540, check=False
    )
    assert not check or result.returncode == 0, result.stderr
    return result


def tree(folder: Path) -> dict[str, str]:
    """Every path below ``folder`` with its mode, content or target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = oct(stat.S_IMODE(path.lstat().st_mode))
        what = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = f"{mode} {what}"
    return found


# -- the unit ----------------------------------------------------------------------------------------------------


@analyze
def test_the_unit_exposes_little() -> None:
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-300:] + result.stderr


@analyze
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    copy = tmp_path / "labrelay.service"
    unit = UNIT.read_text(encoding="utf-8")
    copy.write_text(unit.replace("/opt/labrelay/venv/bin/labrelay", sys.executable), encoding="utf-8")
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=120, check=False
    )
    ours = [line for line in result.stderr.splitlines() if "labrelay" in line]
    assert ours == []


def test_the_daemon_is_watched_and_always_started_again() -> None:
    found = directives()
    assert found["Type"] == ["notify"]
    assert found["WatchdogSec"] == ["30"]
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_no_core_dump_and_no_world_readable_file() -> None:
    found = directives()
    assert found["LimitCORE"] == ["0"]
    assert found["UMask"] == ["0077"]
    assert found["StateDirectoryMode"] == ["0700"]


def test_unit_and_installer_agree_on_the_paths() -> None:
    script = INSTALL.read_text(encoding="utf-8")
    paths = dict(re.findall(r"^([A-Z]+)=(/\S+)$", script, re.M))
    assert directives()["ExecStart"] == [f"{paths['PROGRAM']}/venv/bin/labrelay --site {paths['SITE']} run"]
    data = Path(paths["DATA"]).name
    assert directives()["StateDirectory"] == [
        f"{data} {data}-anchor"
    ]  # as `engine.runtime.upkeep.other_history.folder` names it
    users = (ROOT / "systemd" / "labrelay.sysusers").read_text(encoding="utf-8")
    assert directives()["User"] == ["labrelay"]
    assert re.search(rf'^u labrelay - "[^"]+" {paths["DATA"]}$', users, re.M)
    assert directives()["SupplementaryGroups"] == ["dialout"]
    assert re.search(r"^m labrelay dialout$", users, re.M)


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_the_user_is_made_without_password_and_shell(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "group").write_text("root:x:0:\ndialout:x:20:\n")
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(ROOT / "systemd" / "labrelay.sysusers")],
        check=True,
        capture_output=True,
        timeout=120,
    )
    name, _, uid, _, _, home, shell = (tmp_path / "etc" / "passwd").read_text().splitlines()[-1].split(":")
    assert (name, home) == ("labrelay", "/var/lib/labrelay")
    assert int(uid) < 1000
    assert shell.endswith("nologin")
    assert "dialout:x:20:labrelay" in (tmp_path / "etc" / "group").read_text()


# -- serial ports ------------------------------------------------------------------------------------------------


def test_the_service_may_open_serial_ports_and_nothing_else() -> None:
    found = directives()
    assert found["DevicePolicy"] == ["closed"]
    assert "PrivateDevices" not in found
    kinds = [re.fullmatch(r"char-(tty[A-Z]+) rw", value) for value in found["DeviceAllow"]]
    assert all(kinds)
    assert {kind[1] for kind in kinds if kind} >= {"ttyS", "ttyUSB", "ttyACM"}


def rules() -> list[str]:
    text = RULES.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_ports_are_for_the_group_of_the_service() -> None:
    (group,) = directives()["SupplementaryGroups"]
    assert f'GROUP="{group}", MODE="0660"' in rules()


def test_the_rules_are_written_as_udev_reads_them() -> None:
    """Each part is a key, an operator and a value in quotes; each jump has its mark further down."""
    part = r'[A-Z_]+(\{[^}]+\})?\s*(==|!=|\+=|:=|=)\s*"[^"]*"'
    assert [line for line in rules() if not re.fullmatch(rf"{part}(,\s*{part})*", line)] == []
    lines = rules()
    for at, line in enumerate(lines):
        for mark in re.findall(r'GOTO="([^"]+)"', line):
            assert f'LABEL="{mark}"' in lines[at:]


# -- the installer -----------------------------------------------------------------------------------------------


def test_a_staged_install_puts_everything_in_its_place(tmp_path: Path) -> None:
    result = install(tmp_path, "--site-only")
    told, found = result.stdout, tree(tmp_path)
    assert found["etc/systemd/system/labrelay.service"] == f"0o644 {UNIT.read_text()}"
    assert found["etc/udev/rules.d/60-labrelay-serial.rules"] == f"0o644 {RULES.read_text()}"
    assert found["etc/labrelay/var"].endswith(" /var/lib/labrelay")
    assert found["var/lib/labrelay"] == "0o700 folder"
    assert found["etc/labrelay"] == "0o750 folder"
    assert found["etc/labrelay/config/labrelay.yaml"].startswith("0o640 ")
    assert found["etc/labrelay/channels"] == "0o750 folder"
    assert [path for path in found if path.startswith("etc/labrelay/channels/")] == []  # no invented analyzer
    config = load_site(tmp_path / "etc" / "labrelay").config
    assert not config.site.practice
    assert "No backup is configured, so the page is red" in result.stderr
    for place in ("/etc/labrelay", "/var/lib/labrelay", "labrelay.service", "dialout"):
        assert place in told


@analyze
def test_the_site_s_answers_and_its_drop_in_are_put_in_place(tmp_path: Path) -> None:
    install(
        tmp_path, "--site-only", "--lab", "Asha's Lab", "--timezone", "Asia/Kolkata",
        "--fhir", "https://fhir.example.org/r4", "--patient-numbers", "lasting",
    )  # fmt: skip
    config = load_site(tmp_path / "etc" / "labrelay").config
    assert (config.site.name, config.site.timezone, config.patient_numbers) == ("Asha's Lab", "Asia/Kolkata", "lasting")
    assert config.destinations["lab-fhir"].place == "https://fhir.example.org/r4"
    drop_in = tmp_path / "etc" / "systemd" / "system" / "labrelay.service.d" / "50-site.conf"
    assert "fhir.example.org is a public name" in drop_in.read_text(encoding="utf-8")
    assert stat.S_IMODE(drop_in.stat().st_mode) == 0o644

    unit = drop_in.parents[1] / "labrelay.service"
    unit.write_text(
        unit.read_text(encoding="utf-8").replace("/opt/labrelay/venv/bin/labrelay", sys.executable), "utf-8"
    )
    drop_in.write_text(
        drop_in.read_text(encoding="utf-8") + 'ReadWritePaths="-/srv/in box"\nReadWritePaths=-/srv/100%%\n', "utf-8"
    )
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=120, check=False
    )
    assert [line for line in result.stderr.splitlines() if "labrelay" in line] == []

    install(tmp_path, "--uninstall")
    assert not drop_in.parent.exists()


def test_a_staged_tree_makes_no_folder_of_this_machine(tmp_path: Path) -> None:
    result = install(tmp_path / "stage", "--site-only", "--backup", str(tmp_path / "copies"), check=False)
    assert (result.returncode, "--backup" in result.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_installing_again_changes_nothing(tmp_path: Path) -> None:
    install(tmp_path, "--site-only")
    before = tree(tmp_path)
    told = install(tmp_path, "--site-only").stdout
    assert tree(tmp_path) == before
    assert "stays as it is" in told


def test_an_edited_site_is_never_overwritten(tmp_path: Path) -> None:
    install(tmp_path, "--site-only")
    config = tmp_path / "etc" / "labrelay" / "config" / "labrelay.yaml"
    config.write_text("site: {name: Ours}\n")
    channel = tmp_path / "etc" / "labrelay" / "channels" / "chemistry.yaml"
    channel.unlink(missing_ok=True)
    install(tmp_path, "--site-only")
    assert config.read_text() == "site: {name: Ours}\n"
    assert not channel.exists()


def test_uninstalling_keeps_site_and_journal(tmp_path: Path) -> None:
    install(tmp_path, "--site-only")
    (tmp_path / "var" / "lib" / "labrelay" / "journal.db").write_bytes(b"results")
    (tmp_path / "opt" / "labrelay" / "venv").mkdir(parents=True)
    told = install(tmp_path, "--uninstall").stdout
    found = tree(tmp_path)
    program = (
        "opt/labrelay",
        "usr/local/bin/",
        "etc/systemd/system/labrelay",
        "etc/sysusers.d/labrelay",
        "etc/udev/rules.d/6",
    )
    assert [path for path in found if path.startswith(program)] == []
    assert "var/lib/labrelay/journal.db" in found
    assert "etc/labrelay/config/labrelay.yaml" in found
    assert "/var/lib/labrelay" in told
    install(tmp_path, "--uninstall")


def test_a_dry_run_says_everything_and_does_nothing(tmp_path: Path) -> None:
    told = install(tmp_path, "--dry-run").stdout
    assert tree(tmp_path) == {}
    assert "--require-hashes" in told
    assert f"{tmp_path}/etc/systemd/system/labrelay.service" in told
    install(None, "--dry-run")


def test_what_it_does_not_understand_changes_nothing(tmp_path: Path) -> None:
    result = install(tmp_path, "--uninstal", check=False)
    assert result.returncode == 2
    assert "--uninstall" in result.stderr
    assert "set -eu" not in result.stderr
    assert tree(tmp_path) == {}


needs_network = pytest.mark.skipif(
    os.environ.get("LABRELAY_TEST_INSTALL") != "1", reason="LABRELAY_TEST_INSTALL=1 runs it (network)"
)


@needs_network
def test_the_installed_program_runs(tmp_path: Path) -> None:
    """The whole program from the lock: needs a package index and a minute."""
    install(tmp_path)
    binaries = tmp_path / "opt" / "labrelay" / "venv" / "bin"
    assert (binaries / "labrelay").read_text().startswith("#!/opt/labrelay/venv/bin/python")
    assert "labrelay" in installed(binaries.parent, "version").stdout


# -- the archive, and the way back ---------------------------------------------------------------------------------


def installed(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the staged program: its scripts name the place where it will stand, so its interpreter is asked."""
    command = [str(program / "bin" / "python"), "-I", "-m", "engine", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120, check=False)


@pytest.mark.parametrize("same", [False, True])
def test_at_no_moment_of_an_upgrade_is_there_no_program(tmp_path: Path, same: bool) -> None:
    function = re.search(r"^put_in_place\(\) \{.*?^\}\n", INSTALL.read_text(), re.MULTILINE | re.DOTALL)
    assert function is not None
    for name in ("venv", "venv.new", "venv.old"):
        python = tmp_path / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\n# {name}\nshift\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
        python.chmod(0o755)
    steps = f"""set -eu
        run() {{ "$@"; [ -x {tmp_path}/venv/bin/python ] || echo "$*"; }}
        is_installed() {{ {str(same).lower()}; }}
        DESTDIR= PROGRAM={tmp_path} new={tmp_path}/venv.new
        {function[0]}
        put_in_place"""
    done = subprocess.run(["sh", "-c", steps], capture_output=True, text=True, timeout=540, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    kept = {path.name: (path / "bin" / "python").read_text().split()[2] for path in tmp_path.iterdir()}
    assert kept == {"venv": "venv.new", "venv.old": "venv.old" if same else "venv"}


def without_network(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it where there is no network at all, if this user may make such a place; else without an index."""
    alone = ["unshare", "--net"]
    if os.geteuid() != 0 or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        alone = []
    environ = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PIP_INDEX_URL": "http://127.0.0.1:9/", **environ}
    return subprocess.run(
        [*alone, *command], env=environ, capture_output=True, text=True, timeout=540, check=False, cwd="/"
    )


@needs_network
def test_the_archive_installs_without_network_and_the_earlier_program_comes_back(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "bundle.py"), "--to", str(tmp_path / "dist")],
        capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "a place", filter="data")
    (tree,) = (tmp_path / "a place").iterdir()
    script, stage = str(tree / "tools" / "install.sh"), tmp_path / "stage"

    carried = tree / "requirements" / "run.lock"
    whole = carried.read_bytes()
    carried.write_bytes(whole + b"\n")
    refused = without_network("sh", script, DESTDIR=str(stage))
    assert refused.returncode == 1
    assert "damaged or was changed" in refused.stderr
    assert not stage.exists()
    carried.write_bytes(whole)

    program = stage / "opt" / "labrelay" / "venv"

    def again() -> int:
        result = without_network("sh", script, DESTDIR=str(stage))
        assert result.returncode == 0, result.stderr
        return program.stat().st_ino

    first = again()
    (record,) = program.glob("lib/python*/site-packages/labrelay-*.dist-info/RECORD")
    record.write_text(record.read_text() + "one_more.py,,\n")  # as another version has it
    again()  # an upgrade of the first
    second = again()  # the same once more takes nobody's place
    assert sorted(path.name for path in program.parent.iterdir()) == ["venv", "venv.old"]
    assert program.with_name("venv.old").stat().st_ino == first
    site = tmp_path / "site"
    (site / "config").mkdir(parents=True)
    (site / "config" / "labrelay.yaml").write_text("site: {name: Lab}\ndata: var\n")

    told = installed(program, "--site", str(site), "upgrade", "--check")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "is kept, and can read this journal" in told.stdout

    (site / "var").mkdir()
    with closing(sqlite3.connect(site / "var" / "journal.db")) as journal:
        journal.execute("PRAGMA user_version = 99")
        journal.execute("PRAGMA application_id = 1")
    refused = installed(program, "--site", str(site), "upgrade", "--rollback", "--yes")
    assert refused.returncode == 1
    assert "this one has 99: it would refuse to start" in refused.stderr
    assert program.stat().st_ino == second
    told = installed(program, "--site", str(site), "upgrade", "--check")
    assert told.returncode == 1
    assert "a newer version wrote it" in told.stdout

    (site / "var" / "journal.db").unlink()
    back = installed(program, "--site", str(site), "upgrade", "--rollback")
    assert back.returncode == 7  # nobody there to ask
    back = installed(program, "--site", str(site), "upgrade", "--rollback", "--yes")
    assert back.returncode == 0, back.stderr
    assert (program.stat().st_ino, program.with_name("venv.old").stat().st_ino) == (first, second)
    assert "labrelay" in installed(program, "version").stdout


# -- what is known of the journal outside of its folder ----------------------------------------------------------


def test_the_head_that_was_logged_last_is_put_at_hand_for_the_start(tmp_path: Path) -> None:
    """The unit's own command, with a log of this test's: the newest head is what `engine.runtime.upkeep.other_history`
    reads."""
    (found,) = directives()["ExecStartPre"]
    assert found.startswith("-+/bin/sh -c '")  # as root, for the service may not read the log; and no start fails by it
    (runtime,) = directives()["RuntimeDirectory"]
    log = tmp_path / "log"
    first, last = (
        f'{{"msg":"audit head","journal_id":{n},"head":"{"0" * 63}{n}","detail":"1f03ab92"}}' for n in (7, 9)
    )
    log.write_text(f"started\n{first}\nmore\n{last}\nstopped\n")
    journalctl = tmp_path / "journalctl"
    journalctl.write_text(f'#!/bin/sh\ncase "$*" in *--reverse*--unit=*|*--unit=*--reverse*) tac {log};; esac\n')
    journalctl.chmod(0o755)
    command = found.split("'")[1].replace("/run/", f"{tmp_path}/")
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["/bin/sh", "-c", command], check=True, timeout=120, env={**os.environ, "PATH": path})
    heads = (tmp_path / runtime).with_name(HEADS_FOLDER)
    assert (heads / HEADS_NAME).read_text() == f"{last}\n"
    assert (heads / HEADS_NAME).stat().st_mode & 0o077 == 0o044  # of root, and the service reads it
    assert list(heads_in([last])) == [(9, f"{'0' * 63}9")]
