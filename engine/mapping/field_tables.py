"""How many fields each segment has, so that a path to a field that cannot exist is found when a mapping is loaded."""

from functools import cache

from engine import registry
from engine.mapping.hl7_fields import FIELD_COUNTS
from engine.mapping.structures import ASTM, structures


@cache
def known_segments(message_format: str) -> dict[str, int]:
    """Segment -> number of its fields, 0 where that is not known."""
    if message_format == ASTM:
        # Makers append fields to records, so a field beyond the standard's is no mistake.
        codec = registry.load(registry.FORMATS, ASTM)
        return dict.fromkeys(codec.FIELDS, 0)
    grammar = {
        segment for root in structures(message_format).values() for group in root.walk() for segment in group.segments
    }
    return dict.fromkeys(grammar, 0) | FIELD_COUNTS
