"""The process for large messages: ``python -m engine.runtime.large FD``, started only by the main process.

FD is our end of a socket pair. Everything else, keys included, comes over it: arguments and environment hold no secret.
"""

import ctypes
import importlib
import signal
import sys
from socket import socket

from engine.runtime import event_loop

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(child: str = "engine.runtime.large.child") -> None:
    """``child``: the module that serves the pipe."""
    # Ctrl-C in a terminal, and systemd's stop, reach every process of the group: the main process decides for both.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    event_loop.run(importlib.import_module(child).serve(socket(fileno=int(sys.argv[1]))))


def die_with_parent() -> None:
    """A second safeguard beside the end of the socket, which a hanging process would not notice."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
