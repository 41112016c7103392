"""A systemd of its own as process 1 of new namespaces, for the real unit and installer; only for root on Linux.

Its root is a tmpfs: the machine's ``/usr`` and the interpreter of the tests, read-only, and a ``/etc`` and ``/dev`` of
its own. Its network has nothing but loopback, and its control group is its own. Nothing of the machine is
changed; all of it goes with process 1.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
PROGRAMS = ("unshare", "nsenter", "ip", "systemctl", "journalctl", "mount", "chroot")
UNITS = (  # that work in no namespace, or have nothing to do there
    "systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service"
    " systemd-logind.service dbus.service dbus.socket getty.target systemd-tmpfiles-setup.service"
    " systemd-tmpfiles-setup-dev.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount"
    " sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount systemd-sysctl.service"
    " systemd-journald-audit.socket systemd-journal-flush.service systemd-update-utmp.service"
    " systemd-modules-load.service systemd-random-seed.service systemd-remount-fs.service systemd-sysusers.service"
    " proc-sys-fs-binfmt_misc.automount apt-daily.timer apt-daily-upgrade.timer fstrim.timer"
)
UMASK = 0o022  # of the machine, whatever a test before has set
OUTSIDE = "203.0.113.17"  # RFC 5737: a public address, which this network has itself

# Arguments: root, control group, prefix of the interpreter, its packages, this repository, a folder of the test's.
BOOT = """\
set -e
root=$1; group=$2; prefix=$3; packages=$4; source=$5; shared=$6
mount --make-rprivate /
ip link set lo up
ip address add OUTSIDE/32 dev lo
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p proc sys dev run tmp etc/systemd/system var/log root home usr shared
mkdir -p opt/python opt/packages opt/source opt/labrelay/venv/bin
chmod 1777 tmp
for one in bin sbin lib lib64; do [ -L "/$one" ] && cp -a "/$one" "$one"; done
for one in usr:/usr opt/python:"$prefix" opt/packages:"$packages" opt/source:"$source"; do
    mount --bind "${one#*:}" "${one%%:*}"
    mount -o remount,bind,ro "${one%%:*}"
done
mount --bind "$shared" shared
for one in passwd group nsswitch.conf ld.so.cache login.defs; do [ -e "/etc/$one" ] && cp "/etc/$one" etc/; done
cp -rL /etc/alternatives etc/ 2>/dev/null || true
: > etc/shadow
chmod 600 etc/shadow
echo 0123456789abcdef0123456789abcdef > etc/machine-id
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
for one in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${one%:*}" c 1 "${one#*:}"; done
mknod -m 666 dev/tty c 5 0
mknod -m 660 dev/ttyS5 c 4 69
chown root:dialout dev/ttyS5
mknod -m 666 dev/loop7 b 7 7
: > dev/console
for one in UNITS; do ln -s /dev/null "etc/systemd/system/$one"; done
ln -s /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target
mkdir -p etc/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\n' > etc/systemd/journald.conf.d/own.conf
cat > opt/labrelay/venv/bin/labrelay <<'END'
#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/source:/opt/packages PYTHONDONTWRITEBYTECODE=1
exec /opt/python/bin/python3 -s -m engine "$@"
END
chmod 755 opt/labrelay/venv/bin/labrelay
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=labrelay LANG=C.UTF-8 \\
    /lib/systemd/systemd --system --log-target=journal
""".replace("OUTSIDE", OUTSIDE).replace("UNITS", UNITS)  # fmt: skip


def why_not() -> str:
    """Why this machine cannot do it; empty where it can."""
    if os.geteuid() != 0:
        return "a systemd of its own needs root"
    missing = [one for one in PROGRAMS if shutil.which(one) is None]
    if missing or not SYSTEMD.exists():
        return "systemd, util-linux or iproute2 is not installed"
    if _groups() is None:
        return "there are no control groups of version 2 here"
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "the kernel makes no namespaces here"


NAMESPACES = ("--fork", "--pid", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc", "--net")


def _groups() -> Path | None:
    """Where the machine's control groups of version 2 are."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(place)
    return None


class Machine:
    """The machine that the systemd has started.

    Attributes:
        shared: a folder of the test's, ``/shared`` inside.
    """

    def __init__(self, init: int, shared: Path) -> None:
        self._init = init
        self.shared = shared

    def run(self, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root. ``more``: of its environment."""
        path = "/opt/labrelay/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = ["nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w"]
        environ = ["env", "-i", f"PATH={path}", "LANG=C.UTF-8", *(f"{name}={value}" for name, value in more.items())]
        done = subprocess.run(
            [*inside, *environ, *command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
            umask=UMASK,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.log() if check else ''}"
        return done

    def log(self) -> str:
        """The newest lines of the service."""
        return self.run("journalctl", "--unit=labrelay", "--output=cat", "-n", "60", "--no-pager", check=False).stdout

    def said(self, *properties: str) -> dict[str, str]:
        """Properties of the service, as systemd has them."""
        names = [f"--property={one}" for one in properties]
        return dict(
            line.split("=", 1) for line in self.run("systemctl", "show", "labrelay", *names).stdout.splitlines()
        )


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Machine]:
    """Start one; it ends, with all that runs in it, when the caller has left.

    Args:
        folder: an empty one of the test's.
    """
    groups = _groups()
    assert groups is not None
    group = groups / f"labrelay-test-{os.getpid()}"
    root, shared = folder / "root", folder / "shared"
    for one in (group, root, shared):
        one.mkdir()
    shared.chmod(0o755)
    arguments = [root, group, sys.base_prefix, sysconfig.get_paths()["purelib"], ROOT, shared]
    process = _boot(group, arguments)
    try:
        found: list[int] = []
        await until(lambda: _has_booted(process, found))
        yield Machine(found[0], shared)
    finally:
        process.send_signal(signal.SIGKILL)  # process 1 of the namespace goes with it, and with that all others
        process.communicate()
        await until(lambda: _is_removed(group))


def _boot(group: Path, arguments: Sequence[object]) -> "subprocess.Popen[str]":
    inside = f'echo $$ > {group}/cgroup.procs && exec unshare {" ".join(NAMESPACES)} sh -c "$0" boot "$@"'
    return subprocess.Popen(
        ["sh", "-c", inside, BOOT, *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, umask=UMASK,
    )  # fmt: skip


def _has_booted(process: "subprocess.Popen[str]", found: list[int]) -> bool:
    """Whether the systemd is up; then the number of its process 1, outside of the namespace, is in ``found``."""
    assert process.poll() is None, process.stderr.read() if process.stderr else ""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split():
        if Path(f"/proc/{child}/comm").read_text(encoding="ascii").strip() == "systemd":
            asking = ["nsenter", "-t", child, "-m", "-p", "-C", "-r", "-w", "systemctl", "is-system-running"]
            said = subprocess.run(asking, capture_output=True, text=True, check=False)
            if said.stdout.strip() in ("running", "degraded"):
                found.append(int(child))
    return bool(found)


def _is_removed(group: Path) -> bool:
    for one in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        try:
            one.rmdir()
        except OSError:
            return False
    try:
        group.rmdir()
    except OSError:
        return False
    return True
