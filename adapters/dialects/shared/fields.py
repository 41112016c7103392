"""Read and rewrite the fields of a segment or record, for all dialects, with bounds checked.

Numbers are those of the standards (``R-4`` is 4, ``OBX-5`` is 5). Values are as they were sent, still escaped: a
dialect that moves text keeps its escapes, and text of its own holds no delimiters.
"""

from collections.abc import Iterator

from engine.model.message import Delimiters, Group, Parsed, Segment

BLANKS = " \t\r\n"


def get(segment: Segment, number: int) -> str:
    """A field without outer blanks; empty where the record ends before it."""
    return segment.fields[number].strip(BLANKS) if number < len(segment.fields) else ""


def put(segment: Segment, number: int, value: str) -> None:
    """Set a field; the record grows as far as it must."""
    missing = number + 1 - len(segment.fields)
    if missing > 0:
        if not value:
            return
        segment.fields.extend([""] * missing)
    segment.fields[number] = value


def components(value: str, delimiters: Delimiters) -> list[str]:
    """The components of a field with one repetition, without outer blanks."""
    parts = value.split(delimiters.component) if delimiters.component else [value]
    return [part.strip(BLANKS) for part in parts]


def repetitions(value: str, delimiters: Delimiters) -> list[str]:
    return value.split(delimiters.repetition) if delimiters.repetition else [value]


def is_blank(value: str, delimiters: Delimiters) -> bool:
    """Whether a field has nothing but delimiters and blanks."""
    return not value.strip(BLANKS + delimiters.component + delimiters.repetition + delimiters.subcomponent)


def clear(parsed: Parsed, name: str, number: int, value: str) -> None:
    """Empty a field of all records of a type in which it is exactly ``value``."""
    for record in records(parsed, name):
        if get(record, number) == value:
            put(record, number, "")


def records(parsed: Parsed, name: str) -> Iterator[Segment]:
    """Every record of that type, in the order of the message."""
    return (record for record in parsed.segments if record.name == name)


def groups(parsed: Parsed, name: str) -> Iterator[Group]:
    """Every group of that name, in the order of the message."""
    waiting = [parsed.root]
    while waiting:
        group = waiting.pop()
        if group.name == name:
            yield group
        waiting.extend(reversed([inner for found in group.groups.values() for inner in found]))
