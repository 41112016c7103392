"""Programs to measure: a commit in a folder of its own, with the packages of its own lock."""

import hashlib
import subprocess
import sys
from pathlib import Path

from tools import history
from tools.history import git
from workbench.bench.processes import Program

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".against"
PROBES = ROOT / "requirements" / "against.lock"


def this_program() -> Program:
    """The working tree as it is."""
    return _ready(ROOT)


def program_of(commit: str) -> Program:
    """A commit, by its full hash; its files stay in `FOLDER`."""
    checkout = FOLDER / commit
    if not (checkout / ".complete").exists():
        history.unpack(ROOT, commit, checkout)
        (checkout / ".complete").touch()
    return _ready(checkout)


def full_hash(ref: str, root: Path = ROOT) -> str:
    """
    Raises:
        ValueError: the repository has no such commit; says what to do.
    """
    try:
        return git(root, "rev-parse", "--verify", f"{ref}^{{commit}}")
    except ValueError as error:
        raise ValueError(f"{ref}: {history.gap(root) or 'there is no such commit here'}") from error


def is_changed(commit: str) -> bool:
    """Whether the working tree's program differs from this commit's."""
    folders = ("engine", "adapters", "mappings", "analyzers", "layouts", "requirements/run.lock")
    return bool(
        git(ROOT, "status", "--porcelain", "--", *folders) or git(ROOT, "diff", "--stat", commit, "--", *folders)
    )


def _ready(checkout: Path) -> Program:
    """Modules are compiled, as an installation has them."""
    program = Program(checkout, _interpreter(checkout / "requirements" / "run.lock"))
    folders = [str(checkout / name) for name in ("engine", "adapters", "workbench") if (checkout / name).exists()]
    subprocess.run([program.python, "-m", "compileall", "-q", *folders], check=True)  # noqa: S603 - our interpreter
    return program


def _interpreter(lock: Path) -> str:
    """Of an environment with the packages of this lock and those of the probes alone."""
    named = hashlib.sha256(lock.read_bytes() + PROBES.read_bytes() + sys.version.encode()).hexdigest()[:16]
    environment = FOLDER / f"env-{named}"
    python = environment / "bin" / "python"
    if not (environment / ".complete").exists():
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input", "install"]
        pip += ["--require-hashes", "--only-binary", ":all:"]
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)  # noqa: S603
        subprocess.run([*pip, "-r", str(lock)], check=True)  # noqa: S603 - our own lock
        subprocess.run([*pip, "--no-deps", "-r", str(PROBES)], check=True)  # noqa: S603
        (environment / ".complete").touch()
    return str(python)
