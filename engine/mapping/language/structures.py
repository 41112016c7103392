"""Which groups and segments a message has: the grammar that paths and `each:` are checked against.

HL7 v2 structures come from the codec that binds them, so both always agree; the one ASTM structure is here. JSON has
none: its paths are found in each message.

Which fields segments have, and which components these: a path to one that cannot exist is found when a mapping is
loaded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from engine.config import registry
from engine.mapping.language.rules import Path
from engine.model.tables import table_lines

HL7, ASTM, JSON = "hl7v2", "astm", "json"


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the grammar.

    Attributes:
        segments: names of the segments directly in it.
        anchor: the segment that a problem inside the group is placed at.
        groups: the groups inside, by name.
    """

    name: str
    segments: frozenset[str]
    anchor: str = ""
    groups: dict[str, "Group"] = field(default_factory=dict)

    def walk(self) -> Iterator["Group"]:
        yield self
        for group in self.groups.values():
            yield from group.walk()

    def holds(self, segment: str) -> bool:
        """Whether ``segment`` is in this group or in one inside."""
        return any(segment in group.segments for group in self.walk())

    def ways_to(self, segment: str) -> tuple[tuple[str, ...], ...]:
        """All ways down from this group to a group that contains ``segment``."""
        found: list[tuple[str, ...]] = [()] if segment in self.segments else []
        for group in self.groups.values():
            found += [(group.name, *way) for way in group.ways_to(segment)]
        return tuple(found)

    def way_to(self, name: str) -> tuple[str, ...]:
        """Names of the groups from inside this one down to the group or segment called ``name``; empty if none."""
        for group in self.groups.values():
            if group.name == name or name in group.segments:
                return (group.name,)
            if inner := group.way_to(name):
                return (group.name, *inner)
        return ()


_BESIDE = frozenset("CMS")  # records that belong to the record before them, at any level
_E1394 = Group(
    "E1394",
    frozenset("HLQ") | _BESIDE,
    "H",
    {
        "PATIENT": Group(
            "PATIENT",
            frozenset("P") | _BESIDE,
            "P",
            {
                "ORDER": Group(
                    "ORDER", frozenset("O") | _BESIDE, "O", {"RESULT": Group("RESULT", frozenset("R") | _BESIDE, "R")}
                )
            },
        )
    },
)


@cache
def structures(message_format: str) -> dict[str, Group]:
    """All structures of a format by name."""
    if message_format == ASTM:
        return {"E1394": _E1394}
    if message_format == JSON:
        return {JSON: Group(JSON, frozenset())}  # its parts have no names that are known before
    codec = registry.load(registry.FORMATS, HL7)
    return {name: _from_codec(grammar) for name, grammar in codec.GRAMMARS.items()}


def _from_codec(grammar: Any) -> Group:
    anchor = next((name for name in grammar.opens if name in ("OBX", "OBR", "SPM", "SAC")), "")
    return Group(
        grammar.name,
        frozenset(grammar.segments),
        grammar.needs or anchor or (grammar.opens[0] if grammar.opens else "MSH"),
        {group.name: _from_codec(group) for group in grammar.groups},
    )


@cache
def unescape_of(message_format: str) -> Callable[..., str]:
    """The codec's function that gives an escaped text its value."""
    codec = registry.load(registry.FORMATS, message_format)
    unescape: Callable[..., str] = codec.unescape
    return unescape


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
    lines = table_lines(__file__, "../data/hl7_fields.txt")
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
    return str(codec.path_problem(path.segment, path.field, path.component, path.subcomponent))
