"""A bare prototype of the same path, measured in turn with the daemon: machines differ, the ratio of the two travels.

The prototype is a folder with the program ``e2e_bench.py``. It is run there unchanged, by our interpreter, with the
name of one variant as its argument, seconds of load as ``SECS``, one round as ``ROUNDS`` and a folder for its journal
as ``BENCH_DIR``. It starts a daemon, a load and a sink of its own, and prints one line: its daemon's CPU time for each
message, messages delivered in a second (the start of its load's interpreter counts as time), and its daemon's memory.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.bench.box import spread
from workbench.errors import PrototypeError

PROGRAM = "e2e_bench.py"
VARIANT = "1 proc aiohttp"
NEEDS = ("aiohttp", "orjson", "uvloop", "yaml")
# Its program imports these, and only other variants use them: an empty module is enough.
IMPORTED_ONLY = ("httptools",)
FIGURES = re.compile(
    r"e2e +(?P<per_s>[\d.]+)/s .* cpu (?P<cpu_ms>[\d.]+) ms/msg .* RSS (?P<rss_mib>[\d.]+) MiB "
    r".* err (?P<errors>[\d.]+) sink_ok (?P<arrived>\w+)"
)
BESIDES_S = 120.0  # its starts, its warm-up, and up to a minute until the last message is delivered


@dataclass(frozen=True, slots=True)
class Bare:
    """One run of the prototype: CPU time of its daemon for each message, delivered messages/s, resident memory."""

    cpu_ms: float
    per_s: float
    rss_mib: float


class Prototype:
    """A folder with a prototype, whose needs this interpreter has.

    Attributes:
        sha256: over names and bytes of its files.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            PrototypeError: no prototype is there, or a module that it needs is missing.
        """
        if not (folder / PROGRAM).is_file():
            raise PrototypeError(f"{folder}: no {PROGRAM} is there; name the folder of the prototype")
        if missing := [name for name in NEEDS if find_spec(name) is None]:
            raise PrototypeError(f"the prototype needs modules that {sys.executable} has not: {', '.join(missing)}")
        self.sha256 = _sha256(folder)
        self._folder = folder

    def run(self, seconds: float, folder: Path) -> Bare:
        """Measure it once.

        Args:
            folder: of its journal.

        Raises:
            PrototypeError: it printed no figures, or its messages did not all arrive.
        """
        with tempfile.TemporaryDirectory(dir=folder) as work, tempfile.TemporaryDirectory(dir=folder) as stand_ins:
            for name in IMPORTED_ONLY:
                if find_spec(name) is None:
                    (Path(stand_ins) / f"{name}.py").touch()
            environment = {"SECS": str(seconds), "ROUNDS": "1", "BENCH_DIR": work, "PYTHONDONTWRITEBYTECODE": "1"}
            printed = _run(self._folder, seconds + BESIDES_S, {**environment, "PYTHONPATH": stand_ins})
        figures = FIGURES.search(printed)
        if figures is None:
            last = printed.strip().rpartition("\n")[2]
            raise PrototypeError(f"the prototype printed no figures; its last line: {last[:200]}")
        if float(figures["errors"]) or figures["arrived"] != "True":
            raise PrototypeError(f"not all messages of the prototype arrived: {figures[0]}")
        return Bare(float(figures["cpu_ms"]), float(figures["per_s"]), float(figures["rss_mib"]))


def compare(pairs: Sequence[tuple[float, float, Bare]]) -> dict[str, Any]:
    """The figures of the prototype, and the ratios of the product's to them.

    Args:
        pairs: in each the product's CPU ms for a message and its messages/s, and the prototype's run beside it.
    """
    return {
        "cpu_ms_per_msg": spread((bare.cpu_ms for _, _, bare in pairs), 4),
        "e2e_per_s": spread((bare.per_s for _, _, bare in pairs), 0),
        "rss_mib": spread((bare.rss_mib for _, _, bare in pairs), 1),
        "cpu_ratio": spread((cpu_ms / bare.cpu_ms for cpu_ms, _, bare in pairs), 3),
        "e2e_ratio": spread((per_s / bare.per_s for _, per_s, bare in pairs), 3),
    }


def _sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and "__pycache__" not in name.parts:
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(folder: Path, within_s: float, environment: dict[str, str]) -> str:
    """Its output. Its daemon and its sink are ended with it, where it left them behind."""
    with subprocess.Popen(  # noqa: S603 - the program that the caller named, by our own interpreter
        [sys.executable, PROGRAM, VARIANT],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a process group of its own
    ) as process:
        try:
            return process.communicate(timeout=within_s)[0]
        except subprocess.TimeoutExpired:
            raise PrototypeError(f"the prototype did not end within {within_s:.0f} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
