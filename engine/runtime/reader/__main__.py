"""The process that draws pages: ``python -m engine.runtime.reader FD``, as that for large messages is started."""

import os
from contextlib import suppress
from pathlib import Path

from engine.runtime.large.__main__ import main

NICE = 10  # acknowledgements come first

if __name__ == "__main__":
    os.nice(NICE)
    with suppress(OSError):  # where memory is short, the system ends this process, and not the daemon (proc(5))
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    main("engine.runtime.reader.child")
