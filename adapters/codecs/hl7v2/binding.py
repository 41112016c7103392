"""The groups of HL7 v2: the structure of each message, and the permissive binder, which puts segments into them. Pure.

A segment goes to the innermost open group that takes it, else it closes groups outwards until one does. A segment that
opens a group opens a new one as soon as the open one has it already. Segments that no group of the structure knows
(Z segments) stay where they are. Order inside a group is not enforced. A segment out of place is bound, with a warning;
none is ever left out.

The table of structures is `grammar.txt`. It departs from the standard in three ways, so that rules can read ``PID-3``
or ``OBR-4`` in the group at hand:

- A group that only bundles segments is dissolved into its parent: PATIENT and VISIT into PATIENT_RESULT, TIMING and
  OBSERVATION_REQUEST into ORDER, and so on.
- Groups that the standard puts beside the patient are inside: PATIENT holds the ORDERs (OML, ORM) and SPECIMENs (OUL)
  that follow it. Two patients in one message are two groups, and no order can read the other's PID.
- An OBX of a specimen is in a SPECIMEN_OBSERVATION of its own (the name since v2.7), so that it is never a result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from engine.model.message import Group, Issue, Segment
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
        behind: for specimens: the segment that they follow. Of a sender whose first one begins the group around it,
            each begins a new one.
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
    behind: str = ""

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
        behind="".join(clauses.get("behind", "")),
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


MAX_DEPTH = 8  # of groups in groups
MAX_WARNINGS = 200  # of one message; a sender that puts every segment elsewhere needs no line for each


@dataclass(frozen=True, slots=True)
class _Step:
    """One way to place a segment.

    Attributes:
        node: the open group that takes it or holds what is opened; groups inside it are closed.
        absent: the segment opens this group, unless the group has one of these already; None if it only belongs to it.
        path: the groups to open inside ``node``.
        late: a warning is due where the group's `content` is there already.
        results: the group of results that an OBX may belong to instead (see `GroupGrammar.unless_results`).
        behind: see `GroupGrammar.behind`, of the first of ``path``.
    """

    node: "_Node"
    absent: frozenset[str] | None
    path: tuple["_Node", ...]
    late: bool
    results: str
    behind: str = ""


class _Node:
    """A group grammar in its place, with the steps from it worked out when first needed."""

    __slots__ = ("absent", "after", "content", "depth", "grammar", "inner", "known", "name", "parent", "steps")

    def __init__(self, grammar: GroupGrammar, parent: "_Node | None") -> None:
        self.grammar = grammar
        self.name = grammar.name
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        self.content = grammar.content if grammar.content is not None else frozenset(g.name for g in grammar.groups)
        # The segment that must precede this group: without its OBR a result belongs to no order.
        self.after: str = parent.grammar.needs if parent and grammar.name in parent.content else ""
        self.inner = [_Node(group, self) for group in grammar.groups]
        self.absent = {
            name: frozenset((name,) if name in grammar.any_order else grammar.opens[at:])
            for at, name in enumerate(grammar.opens)
        }
        self.known: frozenset[str] = frozenset().union(*(group.segments for group in grammar.walk()))
        self.steps: dict[str, tuple[_Step, ...]] = {}

    def find_steps(self, name: str) -> tuple[_Step, ...]:
        """Ways to place a segment that the structure knows while this group is the innermost open one, best first."""
        steps: list[_Step] = []
        node: _Node | None = self
        while node is not None:
            if name in node.absent:
                steps.append(_Step(node, node.absent[name], (), late=False, results=""))
            elif name in node.grammar.holds:
                late = node is not self and name not in node.grammar.trailing
                steps.append(_Step(node, None, (), late, results=""))
                break
            elif path := node._path_to(name):
                results = path[-1].grammar.unless_results
                steps.append(_Step(node, None, path, late=False, results=results, behind=path[0].grammar.behind))
                if not results:
                    break
            node = node.parent
        self.steps[name] = tuple(steps)
        return self.steps[name]

    def _path_to(self, name: str) -> tuple["_Node", ...]:
        """The groups to open below this one for ``name``: the nearest that it opens, else the nearest that holds it."""
        level: list[tuple[_Node, ...]] = [(node,) for node in self.inner]
        while level:
            for path in level:
                if name in path[-1].absent:
                    return path
            for path in level:
                if name in path[-1].grammar.holds:
                    return path
            level = [(*path, node) for path in level for node in path[-1].inner]
        return ()


@lru_cache(maxsize=64)
def _root(structure: str) -> _Node:
    return _Node(GRAMMARS[structure], None)


def bind(structure: str, segments: list[Segment], *, specimen_obx: bool) -> tuple[Group, list[Issue]]:
    """Put every segment into its group.

    Args:
        structure: as `structure_for` gives it; one without a grammar gives a root that holds every segment.
        specimen_obx: every OBX after SPM is about the specimen (``spm_obx: specimen``).

    Returns:
        The root group, and a warning for what was out of place.
    """
    top = Group(structure)
    if structure not in GRAMMARS:
        for segment in segments:
            top.segments.setdefault(segment.name, []).append(segment)
        return top, []
    node = _root(structure)
    known = node.known
    opened = [top] * MAX_DEPTH  # by depth; those deeper than ``node`` are closed
    warnings: list[Issue] = []
    unexpected: set[str] = set()
    for segment in segments:
        name = segment.name
        for step in node.steps.get(name) or (node.find_steps(name) if name in known else ()):
            group = opened[step.node.depth]
            absent = step.absent
            if absent is not None:
                if not absent.isdisjoint(group.segments) or not step.node.content.isdisjoint(group.groups):
                    continue
            elif step.results and not specimen_obx and _are_results(step, opened):
                continue
            elif step.late and not step.node.content.isdisjoint(group.groups):
                warnings.append(_misplaced(segment, f"after the groups of {step.node.name}"))
            node = step.node
            if step.behind and _leads(step, opened, name):
                group = opened[node.depth] = Group(node.name)
                opened[node.depth - 1].groups[node.name].append(group)
                warnings.append(_misplaced(segment, f"without {step.behind}"))
            for inner in step.path:
                group = _open(inner, group, segment, warnings)
                opened[inner.depth] = group
                node = inner
            break
        else:
            group = opened[node.depth]
            if name[0] != "Z" and name not in unexpected:
                unexpected.add(name)
                warnings.append(Issue(code="UNEXPECTED_SEGMENT", text=f"not in {structure}", place=_place(segment)))
        same = group.segments.get(name)
        if same is None:
            group.segments[name] = [segment]
        else:
            same.append(segment)
    if len(warnings) > MAX_WARNINGS:
        more = len(warnings) - MAX_WARNINGS
        warnings[MAX_WARNINGS:] = [Issue(code="MISPLACED_SEGMENT", text=f"{more} more segments are out of place")]
    return top, warnings


def _open(node: _Node, outer: Group, segment: Segment, warnings: list[Issue]) -> Group:
    """The group for ``segment`` or for the groups around it: a new one if it opens it, else the last one if any."""
    opens = segment.name in node.absent
    groups = outer.groups.get(node.name)
    if groups is not None and not opens:
        return groups[-1]
    group = Group(node.name)
    if groups is None:
        outer.groups[node.name] = [group]
    else:
        groups.append(group)
    if not opens and node.grammar.needs:
        warnings.append(_misplaced(segment, f"without {node.grammar.needs}"))
    elif (
        groups is None and node.after and node.after not in outer.segments and (outer.segments or len(outer.groups) > 1)
    ):
        warnings.append(_misplaced(segment, f"before {node.after}"))
    return group


def _leads(step: _Step, opened: list[Group], name: str) -> bool:
    """Whether a specimen or container is of the next order: the first one began its order, and the order at hand has
    its own."""
    first, order = opened[step.node.depth - 1].groups[step.node.name][0], opened[step.node.depth]
    specimens = first.groups.get(step.path[0].name)
    if not specimens or _position(specimens[0]) > _position(first):
        return False
    if not (step.node.content - {step.path[0].name}).isdisjoint(order.groups):
        return True
    return name in step.path[0].absent and step.behind in order.segments


def _are_results(step: _Step, opened: list[Group]) -> bool:
    """Whether an OBX after SPM is a result: its order has none yet, or had its specimen before its first result."""
    order = opened[step.node.depth - 1]
    results = order.groups.get(step.results)
    specimens = order.groups.get(step.node.name)
    return not results or not specimens or _position(results[0]) > _position(specimens[0])


def _position(group: Group) -> int:
    """Of its first segment; a group may hold none itself, and have them in the groups inside."""
    own = [named[0].position for named in group.segments.values()]
    return min([*own, *(_position(groups[0]) for groups in group.groups.values())])


def _misplaced(segment: Segment, why: str) -> Issue:
    return Issue(code="MISPLACED_SEGMENT", text=why, place=_place(segment))


def _place(segment: Segment) -> str:
    return f"{segment.name}[{segment.ordinal}]"
