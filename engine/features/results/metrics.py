"""Metrics of results: where facts would be judged otherwise than documents are."""

from engine.features.results.service import ResultService
from engine.monitoring.metrics import Metrics, Put, gauge
from engine.monitoring.snapshot.site import SiteSnapshot

JUDGED_OTHERWISE = gauge(
    "labrelay_judged_otherwise",
    "Messages of today whose facts would be judged otherwise than their documents were.",
    ("channel", "reason"),
)


def _measured(service: ResultService, site: SiteSnapshot, put: Put) -> None:
    for (channel, reason), n in service.judged.items():
        put(JUDGED_OTHERWISE, n, channel, reason)


METRICS = Metrics(specs=(JUDGED_OTHERWISE,), measured=_measured)
