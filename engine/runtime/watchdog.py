"""Notify systemd: ready, alive, stopping (sd_notify(3): datagrams of ``KEY=value`` lines to NOTIFY_SOCKET).

Without NOTIFY_SOCKET (a terminal, a test, another service manager) everything here does nothing.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

logger = logging.getLogger("labrelay.tasks")


class Notifier:
    """Sends states to the service manager; a manager that does not listen never disturbs the daemon.

    Args:
        environ: has NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID (sd_watchdog_enabled(3)).
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environ)

    def ready(self, status: str = "") -> None:
        """Start-up is done: recovery is over and all listeners are up."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. Type=notify-reload needs the time with it (systemd 253)."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self, status: str = "") -> None:
        """Feed the watchdog. ``status`` is the line that ``systemctl status`` shows."""
        self._send("WATCHDOG=1", *_status(status))

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.connect(self._address)
                sender.send("\n".join(lines).encode())
        except OSError:
            logger.warning(
                "the service manager does not take notifications", extra={"kind": lines[0].partition("=")[0]}
            )


async def watch(notifier: Notifier, stale: Callable[[], Sequence[str]], status: Callable[[], Awaitable[str]]) -> None:
    """Feed the watchdog twice per its interval while no task is stale; then let systemd act.

    Runs without end. Without a watchdog it still refreshes the status line, every 15 s.
    """
    interval_s = (notifier.watchdog_s or 30.0) / 2
    while True:
        hung = stale()
        if hung:
            logger.error("tasks hang; the watchdog is not fed", extra={"stale": list(hung)})
        else:
            notifier.alive(await status())
        await asyncio.sleep(interval_s)


def _address(path: str) -> str | None:
    if path.startswith("@"):  # an abstract socket
        return "\0" + path[1:]
    return path if path.startswith("/") else None


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """The interval within which systemd expects a message; None without one, or where another process is meant."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not microseconds.isdecimal():
        return None
    return int(microseconds) / 1_000_000 or None


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()
