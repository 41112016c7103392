"""The command line as root gives it in a site whose data folder belongs to another account, in processes of their own.

A process of root's that has imported the program forks those of `forked`, each as root: what a verb costs is its work,
and not the thousand modules. `python` and `as_root` start an interpreter.

The account may be kept from the interpreter of the tests (one in root's home); then it is the system's, where that is
of the same version.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.support.command_line import Ran

ROOT = Path(__file__).parents[2]
SERVICE = pwd.getpwnam("daemon")  # the account of the service: one that each Debian has
OTHERS = ("/usr/bin/python3",)
WITHIN_S = 120.0


def _python() -> str | None:
    """An interpreter that the account can use, as the modules are built for it."""
    same = f"sys.version_info[:2] == {tuple(sys.version_info[:2])} and os.access({str(ROOT / 'engine')!r}, os.R_OK)"
    code = f"import os, sys; sys.exit(not ({same}))"
    for python in (sys.executable, *OTHERS):
        try:
            done = subprocess.run([python, "-c", code], check=False, timeout=WITHIN_S, user=SERVICE.pw_uid)
        except (OSError, subprocess.SubprocessError):
            continue
        if done.returncode == 0:
            return python
    return None


PYTHON = _python() if os.geteuid() == 0 else None
needs_root = pytest.mark.skipif(
    PYTHON is None, reason="only root becomes another account, with a Python and a checkout for all"
)
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


# Each line on stdin, {"arguments": [...], "code": ..., "folder": ...}, runs code in a fork: its exit code is answered.
_FORKER = """\
import ctypes, gc, json, os, pkgutil, signal, sys
from pathlib import Path
import engine.commands.shared, engine.runtime.app, engine.web.server
from engine.commands.shared.verb_list import module_of, verb_files
for module in pkgutil.walk_packages(engine.commands.shared.__path__, "engine.commands.shared."):
    __import__(module.name)
for path in verb_files().values():
    __import__(module_of(path))
from engine.config.load import load_site

load_site(Path(sys.argv[1]), require_secrets=False)  # pydantic completes models at their first use
gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
            for at, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(os.path.join(asked["folder"], name), os.O_WRONLY | os.O_CREAT, 0o600), at)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdin = open(0)
            sys.argv = ["-c", *asked["arguments"]]
            exec(asked["code"], {"__name__": "__main__"})
            code = 0
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@cache
def _forker() -> "subprocess.Popen[str]":
    assert PYTHON is not None
    return subprocess.Popen(
        [PYTHON, "-c", _FORKER, str(ROOT)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT, cwd="/",
    )  # fmt: skip


def forked(code: str, *arguments: object) -> Ran:
    """Run code as root, in a process that has imported the program."""
    forker = _forker()
    assert forker.stdin is not None
    assert forker.stdout is not None
    with tempfile.TemporaryDirectory(prefix="labrelay-test-") as folder:
        asked = {"arguments": [*map(str, arguments)], "code": code, "folder": folder}
        forker.stdin.write(json.dumps(asked) + "\n")
        forker.stdin.flush()
        ended = int(forker.stdout.readline())
        said = [Path(folder, name).read_text(encoding="utf-8") for name in ("out", "err")]
    return Ran(ended, *said)
