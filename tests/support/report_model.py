"""A model of the reports on results: it computes each figure from a list of made-up messages. Plain Python, written
from docs/reports.md; it has nothing in common with the engine but the names of the figures.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

MONTH_S = 31 * 86_400


@dataclass(frozen=True)
class MadeResult:
    """``collected`` and ``resulted``: seconds since 1970; None: the message has none, or none that says the minute."""

    code: str
    state: str  # final, corrected, preliminary
    collected: int | None
    resulted: int | None


@dataclass
class MadeMessage:
    """``fates``: destination -> when it had the message first (seconds; None: never); whether a delivery is open."""

    channel: str
    patient: str
    specimen: str
    received: int
    results: list[MadeResult]
    fates: dict[str, tuple[int | None, bool]] = field(default_factory=dict)


def shown(seconds: int) -> int:
    """Down to the second below two minutes, to the minute below a day, to the hour from there on."""
    for limit, unit in ((120, 1), (86_400, 60)):
        if seconds < limit:
            return seconds // unit * unit
    return seconds // 3600 * 3600


def nearest_rank(times: list[int], percent: int) -> int | None:
    return sorted(times)[math.ceil(percent * len(times) / 100) - 1] if times else None


class Model:
    """Messages in the order in which they are counted."""

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone
        self.figures: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        self.times: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
        self._had: dict[tuple[str, ...], tuple[MadeMessage, set[str]]] = {}
        self._waiting: list[tuple[MadeMessage, MadeResult, tuple[str, str, str]]] = []

    def count(self, message: MadeMessage) -> None:
        day = datetime.fromtimestamp(message.received, UTC).astimezone(self.zone).date().isoformat()
        for one in message.results:
            place = day, message.channel, one.code
            figures = self.figures[place]
            tube = message.channel, message.patient, message.specimen, "" if message.patient else day
            _, had = self._had.get(tube, (message, set()))
            if one.state != "final":
                figures[one.state] += 1
            elif message.specimen and one.code in had:
                figures["again"] += 1
            else:
                figures["final"] += 1
                self._had.setdefault(tube, (message, had))[1].add(one.code)
                self._stage(place, "collected-resulted", one.collected, one.resulted)
                self._stage(place, "resulted-received", one.resulted, message.received)
                self._waiting.append((message, one, place))

    def forget(self, message: MadeMessage) -> None:
        """The message is erased: its specimens are not known any more."""
        self._had = {tube: (first, had) for tube, (first, had) in self._had.items() if first is not message}

    def look(self, *, ends: MadeMessage | None = None) -> None:
        """Deliveries that are known now. ``ends``: nothing more becomes of this message."""
        still = []
        for message, one, place in self._waiting:
            is_open = any(waits for _, waits in message.fates.values())
            if is_open and message is not ends:
                still.append((message, one, place))
                continue
            had = [first for first, _ in message.fates.values() if first is not None and not is_open]
            delivered = max(had, default=None)
            self._stage(place, "received-delivered", message.received, delivered)
            self._stage(place, "collected-delivered", one.collected, delivered)
        self._waiting = still

    def _stage(self, place: tuple[str, str, str], stage: str, begin: int | None, end: int | None) -> None:
        if begin is None or end is None:
            self.figures[place][f"{stage} missing"] += 1
        elif not 0 <= end - begin <= MONTH_S:
            self.figures[place][f"{stage} impossible"] += 1
        else:
            self.times[(*place, stage)].append(shown(end - begin))

    def found(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Each figure that is not nothing, by day, channel and test."""
        made: dict[tuple[str, str, str], dict[str, Any]] = defaultdict(dict)
        for place, figures in self.figures.items():
            made[place] |= {name: n for name, n in figures.items() if n}
        for (day, channel, code, stage), times in self.times.items():
            made[day, channel, code] |= {
                f"{stage} {name}": nearest_rank(times, percent)
                for name, percent in (("median", 50), ("p90", 90), ("p95", 95))
            } | {f"{stage} count": len(times)}
        return dict(made)
