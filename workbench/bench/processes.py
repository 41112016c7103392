"""The processes of a benchmark: the daemon under test, the load, the sink; all ended by their own handle."""

import json
import os
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

TICKS = os.sysconf("SC_CLK_TCK")
START_WITHIN_S = 120.0
STOP_WITHIN_S = 15.0
LOWEST_PORT = 10_000
# An unbuffered standard output writes what the pipe takes, and drops the rest of a long line. Modules are compiled once
# and kept, as an installation has them: without that a start takes a third longer.
NOT_FOR_OURS = frozenset({"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"})
CHECKOUT = Path(__file__).resolve().parents[2]
UNDER_TEST = Path(__file__).with_name("under_test.py")


@dataclass(frozen=True, slots=True)
class Program:
    """A checkout of LabRelay, and the interpreter with the packages that it runs on."""

    folder: Path
    python: str

    def command(self, *arguments: str) -> list[str]:
        """Of its interpreter; modules come from the checkout, not from the folder of a script."""
        return [self.python, "-P", *arguments]

    def environment(self) -> dict[str, str]:
        """``PYTHONHASHSEED`` makes counts of two runs equal."""
        inherited = {name: text for name, text in os.environ.items() if name not in NOT_FOR_OURS}
        # An empty part of the path would be the working folder.
        path = f"{self.folder}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
        return {"PYTHONHASHSEED": "0", **inherited, "PYTHONPATH": path}


THIS = Program(CHECKOUT, sys.executable)


class JsonProcess:
    """A process that reads JSON lines on standard input and answers on standard output."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: IO[bytes] | None = None,
        program: Program = THIS,
        wrapper: Sequence[str] = (),
    ) -> None:
        """
        Args:
            module: its name; of another program than this, the path of a script.
            wrapper: a command that runs the process, as strace.
        """
        start = () if module.endswith(".py") else ("-m",)
        self.process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
            [*wrapper, *program.command(*start, module, *arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=program.environment(),
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the benchmark ended early")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, line: str) -> dict[str, Any]:
        self.tell(line)
        return self.hear()

    def cpu_s(self) -> float:
        """User and system time so far."""
        return _cpu_s(str(self.process.pid))

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        _wait(self.process)
        self.process.stdout.close()


@dataclass(frozen=True, slots=True)
class Usage:
    """The daemon's usage since its start, or between two moments.

    Attributes:
        cpu_s: user and system time, for each process.
        collections: of garbage, in the main process, as the two below.
        collected: objects that only the collector could free.
        blocks: of memory in use; between two moments, how many more.
    """

    cpu_s: dict[int, float]
    collections: int = 0
    collected: int = 0
    blocks: int = 0

    def since(self, before: "Usage") -> "Usage":
        return Usage(
            {pid: cpu_s - before.cpu_s.get(pid, 0.0) for pid, cpu_s in self.cpu_s.items()},
            collections=self.collections - before.collections,
            collected=self.collected - before.collected,
            blocks=self.blocks - before.blocks,
        )


class Daemon:
    """`labrelay run` on a site, with its CPU time and memory as the kernel counts them."""

    def __init__(
        self,
        site: Path,
        port: int,
        log: Path,
        *,
        program: Program = THIS,
        probe: str = "usage",
        wrapper: Sequence[str] = (),
    ) -> None:
        """``probe``: what the process counts (`workbench.bench.under_test`)."""
        began = time.monotonic()
        start = [probe, "--site", str(site), "run"]
        with log.open("ab") as output:
            self._door = JsonProcess(str(UNDER_TEST), *start, log=output, program=program, wrapper=wrapper)
        self._process = self._door.process
        self.listening_s = self._wait_listening(port, began, log)

    def _wait_listening(self, port: int, began: float, log: Path) -> float:
        while time.monotonic() - began < START_WITHIN_S:
            if self._process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.005)
        self.stop()
        raise RuntimeError(f"the daemon did not listen: {log.read_text(errors='replace')[-2000:]}")

    def pids(self) -> list[int]:
        """The daemon and its worker, if it has one."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def usage(self) -> Usage:
        """All of it so far."""
        return Usage(self._cpu_s(), **self.ask("counts"))

    def ask(self, line: str) -> dict[str, Any]:
        """The answer of its probe."""
        return self._door.ask(line)

    def cpu_s(self) -> float:
        """User and system time so far, of all processes."""
        return sum(self._cpu_s().values())

    def loop_s(self) -> float:
        """CPU time of the main thread, where the event loop runs: the scheduler's count, where the kernel shows it."""
        pid = self._process.pid
        try:
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        except FileNotFoundError:
            return _cpu_s(f"{pid}/task/{pid}")

    def _cpu_s(self) -> dict[int, float]:
        found = {}
        for pid in self.pids():
            with suppress(FileNotFoundError, ProcessLookupError):  # a child that has just ended
                found[pid] = _cpu_s(str(pid))
        return found

    def rss_mib(self, key: str = "VmRSS") -> float:
        """Resident memory now (``VmRSS``) or at its peak (``VmHWM``), all processes together."""
        return sum(_mib(pid, key) for pid in self.pids())

    def main_mib(self, key: str = "VmRSS") -> float:
        """As `rss_mib`, of the daemon's own process alone."""
        return _mib(self._process.pid, key)

    def peak_from_now(self) -> None:
        """The next ``VmHWM`` of its own process is counted from here."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        self._process.terminate()
        self._door.stop()


def _mib(pid: int, key: str) -> float:
    """0 of a process that has just ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


def _cpu_s(place: str) -> float:
    """User and system time of a process or thread, by its folder under ``/proc``."""
    fields = Path(f"/proc/{place}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _wait(process: "subprocess.Popen[Any]") -> None:
    """Let it end, or end it."""
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that are free at this moment.

    Below those that the kernel gives to outgoing connections: one of another program might have a port by the time that
    the daemon listens.
    """
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    below = range(LOWEST_PORT, max(given, LOWEST_PORT))
    held: list[socket.socket] = []
    try:
        for port in [*random.sample(below, len(below)), *[0] * count]:
            with suppress(OSError):
                held.append(socket.create_server(("127.0.0.1", port)))
            if len(held) == count:
                break
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()


def cost_of(*arguments: str, program: Program = THIS, codes: Collection[int] = (0,)) -> tuple[float, float]:
    """Run the program's interpreter with ``arguments``: seconds until it has ended, and its CPU time.

    Args:
        codes: exit codes that are expected.

    Raises:
        RuntimeError: it ended with another one.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    quiet = subprocess.DEVNULL
    command, environment = program.command(*arguments), program.environment()
    ended = subprocess.run(command, check=False, stdout=quiet, stderr=quiet, env=environment)  # noqa: S603 - our own
    if ended.returncode not in codes:
        raise RuntimeError(f"{' '.join(arguments)} ended with exit code {ended.returncode}")
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
