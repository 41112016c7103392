"""Spans: the steps of one message, with their times, for a collector of traces (OpenTelemetry). Values only.

A span has names of channels and destinations, numbers of ours and codes: nothing of a message's content. `ATTRIBUTES`
are all that it may have.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum

PREFIX = "labrelay."
ATTRIBUTES = frozenset(
    PREFIX + name
    for name in ("channel", "destination", "message", "delivery", "documents", "attempt", "outcome", "reason")
)

# W3C Trace Context of the attempt under way in this task, for the requests that it makes; empty: they go without one.
TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")


class Kind(IntEnum):
    """The side of a span, as OTLP numbers it."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


@dataclass(frozen=True, slots=True)
class Span:
    """One step.

    Attributes:
        trace: 16 bytes, the same for all spans of a message.
        span: 8 bytes. parent: of the span that it belongs to; empty: it is the first of its trace.
        start_us: microseconds since 1970, as `end_us`.
        attributes: `ATTRIBUTES` and their values.
        failed: it ended with an error.
    """

    name: str
    kind: Kind
    trace: bytes
    span: bytes
    parent: bytes
    start_us: int
    end_us: int
    attributes: tuple[tuple[str, str | int], ...]
    failed: bool = False


def traceparent(trace: bytes, span: bytes) -> str:
    """The header of this name (W3C Trace Context, 3.2): version 00, and the flag that the trace is recorded."""
    return f"00-{trace.hex()}-{span.hex()}-01"
