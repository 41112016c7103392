"""The ``process_*`` metrics that Prometheus's own tools expect, from the files that a hardened service can read.

The collector in prometheus-client needs the boot time from ``/proc/stat`` and shows nothing without it; under
``ProcSubset=pid`` that file does not exist. Everything here comes from ``/proc/self`` and getrusage(2).
"""

import os
import resource
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ProcessMetrics(Collector):
    """Memory, processor time and open files of this process."""

    def collect(self) -> Iterator[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(
            "process_cpu_seconds", "User and system processor time.", value=usage.ru_utime + usage.ru_stime
        )
        yield GaugeMetricFamily(
            "process_max_resident_memory_bytes", "Most memory held so far.", value=usage.ru_maxrss * 1024
        )
        yield GaugeMetricFamily("process_max_fds", "Limit of open files.", value=_file_limit())
        try:
            with open("/proc/self/statm", "rb") as file:
                virtual, resident = file.read().split()[:2]
            open_files = len(os.listdir("/proc/self/fd")) - 1  # the listing itself is one
        except (OSError, ValueError):  # not Linux, or no /proc at all
            return
        page = resource.getpagesize()
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Address space.", value=int(virtual) * page)
        yield GaugeMetricFamily("process_resident_memory_bytes", "Memory held.", value=int(resident) * page)
        yield GaugeMetricFamily("process_open_fds", "Open files and sockets.", value=open_files)


def _file_limit() -> float:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)
