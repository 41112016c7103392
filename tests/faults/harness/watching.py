"""What a process costs, as the kernel says it: the largest resident memory and number of open files that were seen."""

import contextlib
import os
from pathlib import Path

from tests.faults.harness.tally import Tally


class Watch:
    """Looks at one process after another (each life of a daemon); keeps the largest.

    Attributes:
        recovery_ms: noted by whoever starts a process again.
    """

    def __init__(self) -> None:
        self.max_rss_mib = 0.0
        self.max_fd = 0
        self.recovery_ms: list[float] = []

    def look(self, pid: int) -> None:
        """Look now; the memory is the peak of the process's whole life, the files are those open now."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.max_rss_mib = max(self.max_rss_mib, int(line.split()[1]) / 1024)
            self.max_fd = max(self.max_fd, len(os.listdir(f"/proc/{pid}/fd")))

    def into(self, tally: Tally) -> None:
        tally.max_rss = max(tally.max_rss, self.max_rss_mib)
        tally.max_fd = max(tally.max_fd, self.max_fd)
        tally.recovery_ms += self.recovery_ms
