"""The permissive binder: every segment of an HL7 v2 message goes into its group. Pure.

A segment goes to the innermost open group that takes it, else it closes groups outwards until one does. A segment that
opens a group opens a new one as soon as the open one has it already. Segments that no group of the structure knows
(Z segments) stay where they are. Order inside a group is not enforced. A segment out of place is bound, with a warning;
none is ever left out.
"""

from dataclasses import dataclass
from functools import lru_cache

from adapters.codecs.hl7v2.grammar import GRAMMARS, GroupGrammar
from engine.model.message import Group, Issue, Segment

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
    """

    node: "_Node"
    absent: frozenset[str] | None
    path: tuple["_Node", ...]
    late: bool
    results: str


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
                steps.append(_Step(node, None, path, late=False, results=results))
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
