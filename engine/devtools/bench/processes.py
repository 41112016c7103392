"""The processes of a benchmark: the daemon under test, the load, the sink; all ended by their own handle."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
START_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0


class JsonProcess:
    """A process that reads JSON lines on standard input and answers on standard output."""

    def __init__(self, module: str) -> None:
        # An unbuffered standard output writes what the pipe takes, and drops the rest of a long line.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self._process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the benchmark ended early")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, line: str) -> dict[str, Any]:
        self.tell(line)
        return self.hear()

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        _wait(self._process)
        self._process.stdout.close()


class Daemon:
    """`labrelay run` on a site, with its CPU time and memory as the kernel counts them."""

    def __init__(self, site: Path, port: int, log: Path) -> None:
        began = time.monotonic()
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                [sys.executable, "-m", "engine", "--site", str(site), "run"], stdout=output, stderr=output
            )
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

    def cpu_s(self) -> float:
        """User and system time so far."""
        total = 0
        for pid in self.pids():
            with suppress(FileNotFoundError, ProcessLookupError):  # a child that has just ended
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def rss_mib(self, key: str = "VmRSS") -> float:
        """Resident memory now (``VmRSS``) or at its peak (``VmHWM``), all processes together."""
        total = 0
        for pid in self.pids():
            with suppress(FileNotFoundError, ProcessLookupError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(key + ":"):
                        total += int(line.split()[1])
        return total / 1024

    def stop(self) -> None:
        self._process.terminate()
        _wait(self._process)


def _wait(process: "subprocess.Popen[Any]") -> None:
    """Let it end, or end it."""
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that are free at this moment."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()
