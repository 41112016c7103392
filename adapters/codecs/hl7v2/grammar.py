"""Message structures of HL7 v2: which segment belongs to which group. Pure.

The table is `grammar.txt`. It departs from the standard in three ways, so that rules can read ``PID-3`` or ``OBR-4`` in
the group at hand:

- A group that only bundles segments is dissolved into its parent: PATIENT and VISIT into PATIENT_RESULT, TIMING and
  OBSERVATION_REQUEST into ORDER, and so on.
- Groups that the standard puts beside the patient are inside: PATIENT holds the ORDERs (OML, ORM) and SPECIMENs (OUL)
  that follow it. Two patients in one message are two groups, and no order can read the other's PID.
- An OBX of a specimen is in a SPECIMEN_OBSERVATION of its own (the name since v2.7), so that it is never a result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from engine.model.message import Segment
from engine.model.tables import table_lines


@dataclass(frozen=True)
class GroupGrammar:
    """One group of a structure.

    Attributes:
        opens: segments that begin the group, in order; each starts a new group where the open one has it, a later one
            of them, or one of its `content` groups already.
        holds: other segments directly in the group, in any order and number.
        groups: the groups inside it.
        needs: the segment without which the group makes no sense; its absence is a warning.
        content: groups inside it after which a segment of `opens` starts anew (default: all).
        any_order: those of `opens` that may come in any order among themselves.
        trailing: of `holds`, those that may follow the groups inside.
        unless_results: for observations about a specimen: the group of results beside the specimen that its OBX belong
            to instead, where the channel says ``spm_obx: result`` and the sender puts specimens first.
    """

    name: str
    opens: tuple[str, ...] = ()
    holds: frozenset[str] = frozenset()
    groups: tuple["GroupGrammar", ...] = ()
    needs: str = ""
    content: frozenset[str] | None = None
    any_order: frozenset[str] = frozenset()
    trailing: frozenset[str] = frozenset()
    unless_results: str = ""

    @cached_property
    def segments(self) -> frozenset[str]:
        """Names of the segments directly in this group: a path with such a name is read here only."""
        return self.holds.union(self.opens)

    def walk(self) -> Iterator["GroupGrammar"]:
        """This group and all inside it, outermost first."""
        yield self
        for group in self.groups:
            yield from group.walk()

    def find(self, name: str) -> "GroupGrammar | None":
        """The group called ``name``, this one included."""
        return next((group for group in self.walk() if group.name == name), None)


def _read() -> dict[str, GroupGrammar]:
    lists: dict[str, str] = {}
    groups: list[str] = []
    for line in table_lines(__file__, "grammar.txt"):
        for name, segments in lists.items():
            line = line.replace(name, segments)
        if line.startswith("<"):
            name, _, lists[name] = line.partition(" ")
        else:
            groups.append(line)
    groups.reverse()
    return {grammar.name: grammar for grammar in _take(groups, "")}


def _take(lines: list[str], indent: str) -> tuple[GroupGrammar, ...]:
    """Take the groups at this indent, and those inside them, from the end of ``lines``."""
    groups: list[GroupGrammar] = []
    while lines and lines[-1].startswith(indent):
        name, _, text = lines.pop().strip().partition(": ")
        clauses = {key: words.split() for key, _, words in (clause.partition(" ") for clause in text.split(", "))}
        groups.append(_group(name, clauses, _take(lines, indent + "  ")))
    return tuple(groups)


def _group(name: str, clauses: dict[str, list[str]], groups: tuple[GroupGrammar, ...]) -> GroupGrammar:
    trailing = clauses.get("trailing", [])
    return GroupGrammar(
        name,
        tuple(clauses.get("opens", ())),
        frozenset(clauses.get("holds", [])).union(trailing),
        groups,
        needs="".join(clauses.get("needs", "")),
        content=frozenset(clauses["content"]) if "content" in clauses else None,
        any_order=frozenset(clauses.get("any_order", ())),
        trailing=frozenset(trailing),
        unless_results="".join(clauses.get("unless_results", "")),
    )


GRAMMARS: dict[str, GroupGrammar] = _read()
"""Structure -> its root group."""

# Structures and events that share another's table. ORU^R30, R31, R32 (point of care) and R40 are ORU^R01 with fewer
# repetitions.
_SAME_AS = {
    **dict.fromkeys(("ORU_R30", "ORU_R31", "ORU_R32", "ORU_R40", "ORU_W01"), "ORU_R01"),
    **dict.fromkeys(("ORL_O22", "ORL_O34", "ORL_O36", "ORL_O40", "ORL_O42"), "ORR_O02"),
    **dict.fromkeys((f"ADT_A{number:02}" for number in (*range(2, 12), 13, 28, 31)), "ADT_A01"),
    **dict.fromkeys(("ADT_A40", "ADT_A41"), "ADT_A39"),
}


def structure_for(message_type: str) -> str:
    """The structure of an MSH-9 (``ORU^R01`` or ``ORU^R32^ORU_R30``), as `GRAMMARS` names it where it is known.

    The event counts before the third component: senders copy that from elsewhere. An unknown type gives its own name;
    its message is read without groups.
    """
    parts = [*message_type.split("^"), "", ""][:3]
    event = f"{parts[0]}_{parts[1]}" if parts[1] else parts[0]
    for name in (event, parts[2]):
        structure = _SAME_AS.get(name, name)
        if structure in GRAMMARS:
            return structure
    return parts[2] or event


def structure_without_event(kind: str, segments: list[Segment]) -> str:
    """The structure of a message whose MSH-9 has a type and no event, as 2.1 and some analyzers send it; else empty.

    EVN-1 holds the event of an ADT message. OUL and OML have several structures: the segment that comes first decides.
    Nothing else is guessed.
    """
    if kind in _ONLY:
        return _ONLY[kind]
    if kind == "ADT":
        event = next(
            (segment.fields[1] for segment in segments if segment.name == "EVN" and len(segment.fields) > 1), ""
        )
        structure = structure_for(f"ADT^{event.strip().upper()}")
        return structure if structure in GRAMMARS else ""
    names = [segment.name for segment in segments]
    first = next((name for name in names if name in ("SPM", "SAC", "ORC", "OBR")), "")
    if kind == "OUL":
        return "OUL_R22" if first == "SPM" else "OUL_R24" if first in ("ORC", "OBR") and "SPM" in names else "OUL_R21"
    if kind == "OML":
        return "OML_O33" if first == "SPM" else "OML_O21"
    return ""


# Types whose messages that we read have one structure.
_ONLY = {"ORU": "ORU_R01", "ORM": "ORM_O01", "ORR": "ORR_O02", "ORL": "ORR_O02", "MDM": "MDM_T02"}
