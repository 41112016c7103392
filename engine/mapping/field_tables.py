"""Which fields segments have, and which components these: a path to one that cannot exist is found when a mapping is
loaded."""

from functools import cache

from engine.config import registry
from engine.mapping.nodes import Path
from engine.mapping.structures import ASTM, HL7, JSON, structures
from engine.model.tables import table_lines


@cache
def known_segments(message_format: str) -> dict[str, int]:
    """Segment -> number of its fields, 0 where that is not known."""
    if message_format == ASTM:
        # Makers append fields to records, so a field beyond the standard's is no mistake.
        return dict.fromkeys(registry.load(registry.FORMATS, ASTM).FIELDS, 0)
    if message_format == JSON:
        return {}
    grammar = {
        segment for root in structures(message_format).values() for group in root.walk() for segment in group.segments
    }
    return dict.fromkeys(grammar, 0) | field_counts()


@cache
def field_counts() -> dict[str, int]:
    """HL7 v2 segment -> the highest number of fields that a version of the standard gives it."""
    lines = table_lines(__file__, "data/hl7_fields.txt")
    return {segment: int(count) for segment, count in (line.split(": ") for line in lines)}


def part_problem(message_format: str, path: Path) -> str:
    """Why a component or subcomponent cannot be there by the standard, in one sentence; empty if it can, and of ASTM,
    where makers say which components there are."""
    if message_format != HL7:
        return ""
    codec = registry.load(registry.WRITERS, message_format)
    if not path.subcomponent and codec.place_type(path.segment, (path.field,)) == "CE":
        # Later versions made these CWE.
        most = len(codec.component_types("CWE"))
        return f"{path.segment}-{path.field} (CE, CWE) has {most} components" if path.component > most else ""
    problem: str = codec.path_problem(path.segment, path.field, path.component, path.subcomponent)
    return problem
