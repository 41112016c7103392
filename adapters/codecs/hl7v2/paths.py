"""Check a path such as ``PID-3.4.2`` against the standard: for the linter, never while a message is read. Pure.

The table covers v2.3 to v2.8.2 together, since senders state one version and use fields of another. Only a path that no
version has is a problem, and only where the standard is binding: Z segments and their fields are the sender's, and a
field that holds plain text by the standard may well be divided by an analyzer (``OBX-4.1.2``).
"""

from functools import cache

from engine.model.tables import table_lines

VARIES = "*"
WITHDRAWN = "-"


@cache
def _segments() -> dict[str, tuple[str, ...]]:
    return _table("segments.txt")


@cache
def _data_types() -> dict[str, tuple[str, ...]]:
    return _table("data_types.txt")


def field_types(segment: str) -> tuple[str, ...]:
    """Data types of a segment's fields, field 1 first; empty for a segment that the standard does not know."""
    return _segments().get(segment, ())


def component_types(data_type: str) -> tuple[str, ...]:
    """Data types of a data type's components; empty where it has none."""
    return _data_types().get(data_type, ())


def path_problem(segment: str, field: int = 0, component: int = 0, subcomponent: int = 0) -> str:
    """Why a path cannot be right, in one sentence; empty if it can. Parts that a path does not have are 0."""
    if segment.startswith("Z"):
        return ""
    fields = field_types(segment)
    if not fields:
        return f"HL7 v2 has no segment {segment}"
    if field > len(fields):
        return f"{segment} has {len(fields)} fields"
    parts = component_types(fields[field - 1]) if field else ()
    if component > len(parts) > 0:
        return f"{segment}-{field} ({fields[field - 1]}) has {len(parts)} components"
    inner = component_types(parts[component - 1]) if component and parts else ()
    if subcomponent > len(inner) > 0:
        return f"{segment}-{field}.{component} ({parts[component - 1]}) has {len(inner)} subcomponents"
    return ""


def _table(name: str) -> dict[str, tuple[str, ...]]:
    lines = table_lines(__file__, name)
    return {name: tuple(types.split()) for name, _, types in (line.partition(": ") for line in lines)}
