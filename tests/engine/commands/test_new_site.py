"""`labrelay init` of a new site: what its options say, what it asks on a terminal, and its folder for backups."""

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.commands import init
from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.config.pack import packs
from engine.features.orders.config.orders import orders_of
from tests.engine.commands.daemon.test_run_on_a_terminal import said_until
from tests.support.command_line import labrelay


def test_options_say_it_all_and_the_folder_for_backups_is_made(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    ran = labrelay(
        "--site", str(tmp_path / "lab"), "init", "--lab", "Asha's: Lab", "--timezone", "Asia/Kolkata",
        "--fhir", "https://fhir.example.org/r4:a", "--patient-numbers", "counter", "--backup", str(copies),
    )  # fmt: skip
    assert ran.code == ExitCode.OK, ran.err
    config = load_site(tmp_path / "lab").config
    assert (config.site.name, config.site.timezone, config.site.practice) == ("Asha's: Lab", "Asia/Kolkata", False)
    assert config.destinations["lab-fhir"].place == "https://fhir.example.org/r4:a"
    assert (config.patient_numbers, config.backup.folder) == ("counter", copies)
    assert stat.S_IMODE(copies.stat().st_mode) == 0o700
    assert "the copies lie on the journal's own disk" in ran.err  # as this test's folders do


def test_without_a_folder_for_backups_the_next_step_is_said(tmp_path: Path) -> None:
    ran = labrelay("--site", str(tmp_path), "init", "--timezone", "Asia/Kolkata")
    assert ran.code == ExitCode.OK, ran.err
    assert f"No backup is configured, so the page is red: write backup: {{folder: ...}} into {tmp_path}" in ran.err
    config = load_site(tmp_path).config
    assert (config.backup.folder, config.backup.without, config.site.practice) == (None, None, False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--fhir", "ftp://example.org"), "url"),
        (("--patient-numbers", "seldom"), "--patient-numbers"),
    ],
)
def test_a_wrong_answer_leaves_no_site_behind(given: tuple[str, str], said: str, tmp_path: Path) -> None:
    ran = labrelay("--site", str(tmp_path / "lab"), "init", *given)
    assert ran.code in (ExitCode.CONFIG, ExitCode.USAGE)
    assert said in ran.err
    assert not (tmp_path / "lab" / "config" / "labrelay.yaml").exists()


def test_answers_are_those_of_a_new_site_alone(tmp_path: Path) -> None:
    assert labrelay("--site", str(tmp_path), "init").code == ExitCode.OK
    ran = labrelay("--site", str(tmp_path), "init", "--analyzer", "sysmex-xn", "--backup", str(tmp_path / "copies"))
    assert (ran.code, "is a site already" in ran.err) == (ExitCode.USAGE, True)
    assert not (tmp_path / "copies").exists()


ASKING = [pack.name for pack in packs() if pack.config.orders is not None]


@pytest.mark.parametrize("name", ASKING)
def test_an_analyzer_that_asks_for_orders_is_answered_once_two_lines_are_uncommented(name: str, tmp_path: Path) -> None:
    ran = labrelay("--site", str(tmp_path), "init", "--analyzer", name, "--fhir", "http://127.0.0.1:1/fhir")
    assert ran.code == ExitCode.OK, ran.err
    file = tmp_path / "channels" / f"{name}.yaml"
    text = file.read_text()
    file.write_text(text.replace("# orders:", "orders:"))
    assert orders_of(load_site(tmp_path).channels[name]) is not None
    checked = labrelay("--site", str(tmp_path), "check")
    assert checked.code == ExitCode.OK, checked.err


def test_an_analyzer_that_sends_results_only_is_offered_no_orders(tmp_path: Path) -> None:
    assert "sysmex-xp" not in ASKING
    assert labrelay("--site", str(tmp_path), "init", "--analyzer", "sysmex-xp").code == ExitCode.OK
    assert "orders:" not in (tmp_path / "channels" / "sysmex-xp.yaml").read_text()


def test_a_person_at_a_terminal_is_asked_for_what_is_not_given(tmp_path: Path) -> None:
    lab, copies = tmp_path / "lab", tmp_path / "copies"
    questions = (
        (b"Name of the laboratory", "City Lab"),
        (b"Its time zone", "Mars/Phobos"),
        (b"Its time zone", "Asia/Kolkata"),
        (b"FHIR server", "fhir.example.org"),
        (b"FHIR server", "https://fhir.example.org/r4"),
        (b"patient number", "seldom"),
        (b"patient number", "lasting"),
        (b"Folder for backups", str(copies)),
    )
    terminal, theirs = pty.openpty()
    environ = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [sys.executable, "-m", "engine", "--site", str(lab), "init"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as asks:
        os.close(theirs)
        for question, answer in questions:
            said_until(terminal, question)
            os.write(terminal, f"{answer}\n".encode())
        said_until(terminal, b"Next: labrelay analyzers")
        assert asks.wait(120.0) == 0
        os.close(terminal)
    config = load_site(lab).config
    assert (config.site.name, config.site.timezone, config.patient_numbers) == ("City Lab", "Asia/Kolkata", "lasting")
    assert config.destinations["lab-fhir"].place == "https://fhir.example.org/r4"
    assert config.backup.folder == copies
    assert copies.is_dir()


def test_another_disk_is_one_that_is_mounted_where_people_mount_them() -> None:
    """The second file system of this machine is its memory, which takes the place of a disk here."""
    memory, data = Path("/dev/shm"), Path("/usr/no-such-site/var")
    known = init.MOUNTED
    lines = [f"/dev/sdb1 {memory} ext4 rw 0 0", f"tmpfs {memory} tmpfs rw 0 0", f"nas:/lab {memory} nfs rw 0 0"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(init, "MOUNTED", ("/dev/shm",))
        found = [init.another_disk(data, line) for line in lines]
        assert found == [memory, None, memory]
        assert init.another_disk(memory / "var", lines[0]) is None  # the journal is on it
    assert known == init.MOUNTED
    assert init.another_disk(data, lines[0]) is None
