"""The process for large messages: ``python -m engine.runtime.large FD``, started only by the main process.

FD is our end of a socket pair. Everything else, keys included, comes over it: arguments and environment hold no secret.
"""

import importlib
import signal
import sys
from socket import socket

from engine.model.process.parent import die_with_parent
from engine.runtime import event_loop


def main(child: str = "engine.runtime.large.child") -> None:
    """``child``: the module that serves the pipe."""
    # Ctrl-C in a terminal, and systemd's stop, reach every process of the group: the main process decides for both.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    event_loop.run(importlib.import_module(child).serve(socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
