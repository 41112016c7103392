"""Alerts as they are at the newest look."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AlertsSnapshot:
    """What the metrics say of alerts.

    Attributes:
        open: (rule, level) -> open alerts; each rule that may send is there, also with 0.
        unsent_since_us: sink -> when the oldest line was queued that it has not taken, microseconds since 1970; None:
            nothing waits. Lines that a quiet window holds are left out.
    """

    open: Mapping[tuple[str, str], int]
    unsent_since_us: Mapping[str, int | None]
