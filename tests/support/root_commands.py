"""The command line as root gives it in a site whose data folder belongs to another account, in processes of their own.

The account may be kept from the interpreter of the tests (one in root's home); then it is the system's, where that is
of the same version.
"""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command_line import Ran

ROOT = Path(__file__).parents[2]
SERVICE = pwd.getpwnam("daemon")  # the account of the service: one that each Debian has
OTHERS = ("/usr/bin/python3",)
WITHIN_S = 120.0


def _python() -> str | None:
    """An interpreter that the account can use, as the modules are built for it."""
    code = f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    for python in (sys.executable, *OTHERS):
        try:
            done = subprocess.run([python, "-c", code], check=False, timeout=WITHIN_S, user=SERVICE.pw_uid)
        except (OSError, subprocess.SubprocessError):
            continue
        if done.returncode == 0:
            return python
    return None


PYTHON = _python() if os.geteuid() == 0 else None
needs_root = pytest.mark.skipif(PYTHON is None, reason="only root becomes another account, with a Python for all")
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every account may pass through; `tmp_path` is root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="labrelay-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def give(tree: Path) -> None:
    """To the service's account."""
    for path in (tree, *tree.rglob("*")):
        os.chown(path, SERVICE.pw_uid, SERVICE.pw_gid, follow_symlinks=False)


def python(code: str, *arguments: object, of_the_service: bool = False) -> Ran:
    """Run code as root, or as the service's account."""
    assert PYTHON is not None
    account = {"user": SERVICE.pw_uid, "group": SERVICE.pw_gid, "extra_groups": []} if of_the_service else {}
    done = subprocess.run(  # type: ignore[call-overload]
        [PYTHON, "-c", code, *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=WITHIN_S, env=_ENVIRONMENT, cwd="/",
        stdin=subprocess.DEVNULL, **account,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def as_root(*arguments: object, site: Path) -> Ran:
    """Root gives ``labrelay --site SITE ARGUMENTS``."""
    return python("from engine.__main__ import main; main()", "--site", site, *arguments)
