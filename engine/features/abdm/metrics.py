"""Metrics of the account at ABDM."""

from engine.features.abdm.rules.account import account_of
from engine.monitoring.metrics import Metrics, Put, gauge
from engine.monitoring.snapshot.site import SiteSnapshot

ABDM_FAULT = gauge(
    "labrelay_abdm_fault", "1 for each fault of the account at ABDM that is in force.", ("code", "facility")
)
ABDM_LOOKED_AT = gauge("labrelay_abdm_look_time_seconds", "Last look at the account at ABDM, seconds since 1970.")


def _measured(service: object, site: SiteSnapshot, put: Put) -> None:
    if (account := account_of(site)) is None:
        return
    put(ABDM_LOOKED_AT, None if account.looked_at is None else account.looked_at.timestamp())
    for fault in account.faults:
        put(ABDM_FAULT, 1, fault.code, fault.facility)


METRICS = Metrics(specs=(ABDM_FAULT, ABDM_LOOKED_AT), measured=_measured)
