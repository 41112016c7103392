"""What `labrelay doctor` looks at, one examination at a time."""

import errno
import fcntl
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.diagnostics import examine
from engine.model.site.health import Health
from engine.model.texts.units import HostPort
from tests.support.certificates import Authority


def test_a_clock_that_the_kernel_does_not_trust_is_a_warning() -> None:
    assert examine.clock_is_synchronised(0).health is Health.OK
    assert examine.clock_is_synchronised(5).health is Health.WARN
    assert examine.clock_is_synchronised(-1).health is Health.WARN
    assert examine.clock_is_synchronised().health in Health  # the real one can be asked


def test_a_folder_open_to_all_is_a_warning_and_a_missing_one_can_be_made(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert next(examine.data_folder(tmp_path)).health is Health.WARN
    tmp_path.chmod(0o700)
    assert next(examine.data_folder(tmp_path)).health is Health.OK
    missing = next(examine.data_folder(tmp_path / "a" / "b"))
    assert (missing.health, "does not exist yet" in missing.text) == (Health.OK, True)


MOUNTS = """\
/dev/vda1 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/export /srv/lab\\040data nfs4 rw 0 0
/dev/vdb1 /srv/lab\\040data/inner xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/lib/x", "ext4"), ("/run/x", "tmpfs"), ("/srv/lab data/x", "nfs4"), ("/srv/lab data/inner/x", "xfs")],
)
def test_the_file_system_is_that_of_the_innermost_mount(path: str, kind: str) -> None:
    assert examine.file_system(Path(path), MOUNTS) == kind


def test_the_speed_of_syncs_is_measured_and_nothing_is_left_behind(tmp_path: Path) -> None:
    line = examine.sync_speed(tmp_path)

    assert line.health in (Health.OK, Health.WARN)
    assert "p50" in line.text
    assert list(tmp_path.iterdir()) == []
    assert examine.sync_speed(tmp_path / "none").health is Health.FAIL


def test_a_port_is_free_or_taken_or_not_ours() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        place = HostPort("127.0.0.1", taken.getsockname()[1])

        busy = examine.address(place, "channel x", daemon_runs=False)
        assert (busy.health, "another program" in busy.text) == (Health.FAIL, True)
        assert examine.address(place, "channel x", daemon_runs=True).health is Health.OK
    assert examine.address(place, "channel x", daemon_runs=False).health is Health.OK
    assert examine.address(place, "channel x", daemon_runs=True).health is Health.WARN
    # TEST-NET-1: never an address of this machine
    assert examine.address(HostPort("192.0.2.1", 2575), "channel x", daemon_runs=False).health is Health.FAIL
    assert examine.address(HostPort("127.0.0.1", 0), "channel x", daemon_runs=False).health is Health.OK


def test_a_port_that_needs_rights_says_which() -> None:
    line = examine._cannot_listen(
        HostPort("127.0.0.1", 80), "channel x", OSError(errno.EACCES, "denied"), daemon_runs=False
    )

    assert "CAP_NET_BIND_SERVICE" in line.advice


def test_certificates_are_read_to_their_end(tmp_path: Path) -> None:
    path = Authority(tmp_path).sign("server").cert
    good = examine.certificate(path, "channel x")
    assert good.health in (Health.OK, Health.WARN)
    late = datetime.now(UTC) + timedelta(days=365 * 100)
    assert examine.certificate(path, "channel x", late).health is Health.FAIL
    (tmp_path / "junk.pem").write_text("junk", encoding="ascii")
    assert examine.certificate(tmp_path / "junk.pem", "channel x").health is Health.FAIL
    assert examine.certificate(tmp_path / "none.pem", "channel x").health is Health.FAIL


def test_a_key_is_for_its_owner_only(tmp_path: Path) -> None:
    key = tmp_path / "labrelay.key"
    assert examine.private_file(key, "key") is None
    key.write_bytes(b"x")
    key.chmod(0o640)
    line = examine.private_file(key, "key")
    assert line is not None
    assert (line.health, line.advice) == (Health.FAIL, f"chmod 600 {key}")
    key.chmod(0o600)
    line = examine.private_file(key, "key")
    assert line is not None
    assert line.health is Health.OK


def test_a_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "labrelay.lock"
    assert not examine.is_locked(path)
    held = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert not examine.is_locked(path)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert examine.is_locked(path)
    finally:
        os.close(held)
    assert not examine.is_locked(path)


def test_too_few_open_files_are_a_warning() -> None:
    assert examine.open_files(10_000_000).health is Health.WARN
    assert examine.open_files(1).health is Health.OK
