"""`labrelay run` on a terminal speaks to the person who sits there."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.features.access.service.tokens import FILE_NAME
from tests.support.sites import SITE_YAML, make_site

DEADLINE_S = 120.0
END = b"Ctrl-C stops it"


def said_until(terminal: int, end: bytes) -> bytes:
    """What is written to the terminal, up to ``end``."""
    found, deadline = b"", time.monotonic() + DEADLINE_S
    while end not in found:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{end!r} was not said: {found!r}"
        found += os.read(terminal, 65536)
    return found


def test_addresses_the_log_and_the_way_out_are_said(tmp_path: Path) -> None:
    site = make_site(tmp_path, site=SITE_YAML + 'web: {listen: "127.0.0.1:0"}\n')
    link = site / "var" / FILE_NAME
    terminal, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "engine", "--site", str(site), "run"], stderr=theirs) as daemon:
        os.close(theirs)
        try:
            said = said_until(terminal, END).decode()
            written = link.read_text().strip()
        finally:
            daemon.send_signal(signal.SIGINT)
            daemon.wait(DEADLINE_S)
            os.close(terminal)
    assert daemon.returncode == 0
    assert "LabRelay runs for Test Lab." in said
    assert "status page: http://127.0.0.1:" in said
    assert "channel haematology: 127.0.0.1:0" in said
    assert "log: here" in said
    assert f"for the first admin, within 15 minutes: {written}" in said
    assert written.startswith("http://127.0.0.1:")
    assert said.count(written.partition("=")[2]) == 1  # no line of the log has it
    assert not link.exists()
    assert '{"ts"' not in said


def test_a_link_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    site = make_site(tmp_path, site=SITE_YAML + 'web: {listen: "127.0.0.1:0"}\n')
    (site / "var" / FILE_NAME).mkdir(parents=True)
    terminal, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "engine", "--site", str(site), "run"], stderr=theirs) as daemon:
        os.close(theirs)
        try:
            said = said_until(terminal, END).decode()
        finally:
            daemon.send_signal(signal.SIGINT)
            daemon.wait(DEADLINE_S)
            os.close(terminal)
    assert daemon.returncode == 0
    assert "the set-up link cannot be written" in said
    assert "for the first admin" not in said
