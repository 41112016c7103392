"""Counters of this process, by metric and labels. The one for large messages counts, too, and loads no client of
Prometheus."""

from dataclasses import dataclass
from enum import Enum
from functools import partial

from engine.model.process.timing import Timing

MAX_LABEL_SETS = 5000  # per metric; 500 channels with ten reasons each
OTHER = "other"


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric's name (counters without ``_total``), labels and meaning."""

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name at ``/metrics``."""
        return self.name + ("_total" if self.kind is Kind.COUNTER else "")


counter = partial(Spec, Kind.COUNTER)

LOG_LINES = counter("labrelay_log_lines", "Log lines written.", ("level",))
LOG_REPEATS = counter("labrelay_log_repeats", "Log lines counted instead of written, as repeats.")
LOG_OVER_BUDGET = counter(
    "labrelay_log_over_budget", "Log lines counted instead of written: over the number for an hour.", ("level",)
)
LOG_FIELDS_DROPPED = counter(
    "labrelay_log_fields_dropped", "Fields kept out of the log because they are not on its list."
)


class Cell:
    """One counter with its labels: fetch it once, then add to ``n``."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Counters:
    """All counters and timings of this process; they start at 0 with it, as Prometheus expects."""

    def __init__(self) -> None:
        self.cells: dict[Spec, dict[tuple[str, ...], Cell]] = {}
        self.timings: dict[Spec, dict[tuple[str, ...], Timing]] = {}

    def cell(self, spec: Spec, *labels: str) -> Cell:
        """The counter with these label values, in the order of ``spec.labels``."""
        if len(labels) != len(spec.labels):
            raise ValueError(f"{spec.name} takes the labels {spec.labels}")
        known = self.cells.setdefault(spec, {})
        if labels not in known and len(known) >= MAX_LABEL_SETS:
            labels = (OTHER,) * len(labels)
        return known.setdefault(labels, Cell())

    def add(self, spec: Spec, *labels: str) -> None:
        """Count something too rare to keep its cell."""
        self.cell(spec, *labels).n += 1

    def adopt(self, spec: Spec, timing: Timing, *labels: str) -> None:
        """Expose a histogram that another object fills."""
        self.timings.setdefault(spec, {})[labels] = timing
