"""Counts of a message's content, taken from its own segments before any rule has run.

With a new analyzer, first compare these counts with the resources that the mapping made: two patients and seven results
came in; how many went out? The numbers may differ for good reasons: a patient record without a name or number makes no
Patient, two orders with one number are one report.
"""

from collections import Counter
from dataclasses import dataclass

from engine.model.message import Parsed

_NAMES = {"hl7v2": ("PID", "OBR", "OBX"), "astm": ("P", "O", "R"), "json": ("", "", "")}


@dataclass(frozen=True, slots=True)
class Facts:
    """How many segments of a kind a message has: PID, OBR and OBX, or P, O and R."""

    patients: int
    orders: int
    results: int


def facts_of(parsed: Parsed) -> Facts:
    """Count the segments of a parsed message."""
    counted = Counter(segment.name for segment in parsed.segments)
    return Facts(*(counted[name] for name in _NAMES[parsed.format]))


def is_training(parsed: Parsed) -> bool:
    """Whether the sender marks the message as training or debugging (MSH-11, H-12: T or D)."""
    fields = parsed.segments[0].fields if parsed.segments else []
    number = 11 if parsed.format == "hl7v2" else 12
    return len(fields) > number and fields[number].strip().upper()[:1] in ("T", "D")
