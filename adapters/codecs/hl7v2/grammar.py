"""Message structures of HL7 v2 as tables, and the permissive binder that puts every segment into its group. Pure.

Source: HL7 v2.5.1 chapters 3, 4, 7 and 13; group names as in the standard. Three liberties, all for the sake of rules
that read ``PID-3`` or ``OBR-4`` where they stand:

- A group that only bundles segments is dissolved into its parent: PATIENT and VISIT into PATIENT_RESULT, TIMING and
  OBSERVATION_REQUEST into ORDER, and so on.
- What the standard puts beside the patient stands inside: PATIENT holds the ORDERs (OML, ORM) and SPECIMENs (OUL) that
  follow it. Two patients in one message are two groups, and no order can read the other's PID.
- An OBX of a specimen is in a SPECIMEN_OBSERVATION of its own (the name since v2.7), so that it is never a result.

Binding is permissive. A segment goes to the innermost open group that takes it, else it closes groups outwards until
one does. A segment that opens a group opens a new one as soon as the open one has it already. Segments that no group
of the structure knows (Z segments) stay where they are. Order inside a group is not enforced; what is out of place is
bound, with a warning, and nothing is ever left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from engine.model.message import Group, Issue, Segment


@dataclass(frozen=True)
class GroupGrammar:
    """One group of a structure.

    Attributes:
        opens: segments that begin the group, in order; each starts a new group where the open one has it, a later one
            of them, or one of its `content` groups already.
        holds: other segments that stand directly in the group, in any order and number.
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
        """Names of the segments that stand directly in this group: a path with such a name is read here only."""
        return self.holds.union(self.opens)

    def walk(self) -> Iterator["GroupGrammar"]:
        """This group and all inside it, outermost first."""
        yield self
        for group in self.groups:
            yield from group.walk()

    def find(self, name: str) -> "GroupGrammar | None":
        """The group called ``name``, this one included."""
        return next((group for group in self.walk() if group.name == name), None)


def _group(name: str, opens: str, holds: str = "", *groups: GroupGrammar, **more: object) -> GroupGrammar:
    lists = ("content", "trailing", "any_order")
    tables = {key: frozenset(str(value).split()) for key, value in more.items() if key in lists}
    trailing = tables.pop("trailing", frozenset())
    return GroupGrammar(
        name,
        tuple(opens.split()),
        frozenset(holds.split()) | trailing,
        groups,
        needs=str(more.get("needs", "")),
        content=tables.get("content"),
        any_order=tables.get("any_order", frozenset()),
        trailing=trailing,
        unless_results=str(more.get("unless_results", "")),
    )


def _message(name: str, holds: str, *groups: GroupGrammar) -> GroupGrammar:
    return _group(name, "", holds, *groups, trailing="DSC")


_PATIENT = "PD1 PRT NTE NK1 ARV ROL AL1 PV1 PV2 DB1 IN1 IN2 IN3 GT1"
_START = "MSH SFT UAC NTE"


def _specimen_observation(unless_results: str = "") -> GroupGrammar:
    return _group("SPECIMEN_OBSERVATION", "OBX", "NTE PRT", unless_results=unless_results)


_ORU_R01 = _message(
    "ORU_R01",
    _START + " MSA ERR",
    _group(
        "PATIENT_RESULT",
        "PID",
        _PATIENT,
        _group(
            "ORDER_OBSERVATION",
            "ORC OBR",
            "NTE PRT TQ1 TQ2 CTD",
            _group("OBSERVATION", "OBX", "NTE PRT", needs="OBX"),
            _group("SPECIMEN", "SPM", "NTE SAC", _specimen_observation("OBSERVATION")),
            needs="OBR",
            content="OBSERVATION",
            trailing="FT1 CTI",
        ),
    ),
)

_CONTAINER = _group("CONTAINER", "SAC", "INV NTE")
_RESULT = _group("RESULT", "OBX", "PRT TCD SID NTE INV", needs="OBX")
_OUL_ORDER = _group(
    "ORDER", "OBR ORC", "NTE PRT TQ1 TQ2", _RESULT, needs="OBR", any_order="OBR ORC", trailing="CTI", content="RESULT"
)

# Visit first (2.4): a container, its order, the results. A container always begins the next order, and so does a
# specimen, which the structure does not have and some senders put there.
_OUL_R21 = _message(
    "OUL_R21",
    _START,
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group(
            "ORDER",
            "SPM SAC OBR ORC",
            "NTE PRT TQ1 TQ2 SID INV",
            _RESULT,
            needs="OBR",
            content="RESULT",
            any_order="OBR ORC",
            trailing="CTI",
        ),
    ),
)

_OUL_R22 = _message(
    "OUL_R22",
    _START,
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group("SPECIMEN", "SPM", "NTE", _specimen_observation(), _CONTAINER, _OUL_ORDER, needs="SPM"),
    ),
)

_OUL_R23 = _message(
    "OUL_R23",
    _START,
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group(
            "SPECIMEN",
            "SPM",
            "NTE",
            _specimen_observation(),
            _group("CONTAINER", "SAC", "INV NTE", _OUL_ORDER),
            needs="SPM",
        ),
    ),
)

_OUL_R24 = _message(
    "OUL_R24",
    _START,
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group(
            "ORDER",
            "OBR ORC",
            "NTE PRT TQ1 TQ2",
            _RESULT,
            _group("SPECIMEN", "SPM", "NTE", _specimen_observation("RESULT"), _CONTAINER),
            needs="OBR",
            content="RESULT",
            any_order="OBR ORC",
            trailing="CTI",
        ),
    ),
)

_PRIOR_RESULT = _group(
    "PRIOR_RESULT",
    "PID",
    "PD1 PRT NK1 PV1 PV2 AL1",
    _group(
        "ORDER_PRIOR",
        "ORC OBR",
        "NTE PRT TQ1 TQ2 CTD",
        _group("OBSERVATION_PRIOR", "OBX", "NTE PRT", needs="OBX"),
        needs="OBR",
    ),
)
_TUBE = _group("CONTAINER", "SAC", "NTE INV", _group("CONTAINER_OBSERVATION", "OBX", "NTE PRT"))
_ORDER_DETAIL = "NTE PRT TQ1 TQ2 TCD CTD DG1"
_ORDER_TAIL = "FT1 CTI BLG"


def _order_observation() -> GroupGrammar:
    return _group("OBSERVATION", "OBX", "NTE PRT TCD", needs="OBX")


_ORM_O01 = _message(
    "ORM_O01",
    _START,
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group(
            "ORDER",
            "ORC OBR",
            _ORDER_DETAIL + " RQD RQ1 RXO ODS ODT",
            _order_observation(),
            _group("SPECIMEN", "SPM", "NTE", _specimen_observation(), _TUBE),
            content="OBSERVATION",
            trailing=_ORDER_TAIL,
        ),
    ),
)

_OML_O21 = _message(
    "OML_O21",
    _START,
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group(
            "ORDER",
            "ORC OBR",
            _ORDER_DETAIL,
            _order_observation(),
            _group("SPECIMEN", "SPM", "NTE", _specimen_observation(), _TUBE),
            _PRIOR_RESULT,
            content="OBSERVATION PRIOR_RESULT",
            trailing=_ORDER_TAIL,
        ),
    ),
)

_ORDER_OF_SPECIMEN = _group(
    "ORDER", "ORC OBR", _ORDER_DETAIL, _order_observation(), _PRIOR_RESULT, trailing=_ORDER_TAIL
)

_OML_O33 = _message(
    "OML_O33",
    _START,
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group("SPECIMEN", "SPM", "NTE", _specimen_observation(), _TUBE, _ORDER_OF_SPECIMEN, needs="SPM"),
    ),
)

# As O33, but every container has its own orders.
_OML_O35 = _message(
    "OML_O35",
    _START,
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group(
            "SPECIMEN",
            "SPM",
            "NTE",
            _specimen_observation(),
            _group("CONTAINER", "SAC", "NTE INV", *_TUBE.groups, _ORDER_OF_SPECIMEN),
            needs="SPM",
        ),
    ),
)

# Answers to orders: ORR^O02 and ORL^O22, O34 and O36, which differ in what they repeat of the order.
_ORR_O02 = _message(
    "ORR_O02",
    _START + " MSA ERR",
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group("ORDER", "ORC OBR", _ORDER_DETAIL + " SPM SAC RQD RQ1 RXO ODS ODT", needs="ORC", trailing="CTI"),
        _group("OBSERVATION", "OBX", "NTE PRT"),  # of a specimen that the answer repeats
        trailing="SPM SAC",
    ),
)

_ABOUT_PATIENT = _PATIENT + " IN3 ACC UB1 UB2 PDA DG1 DRG PR1 MRG"
_ADT_A01 = _message(
    "ADT_A01",
    _START + " EVN",
    _group(
        "PATIENT",
        "PID",
        "",
        _group("OBSERVATION", "OBX", "NTE PRT"),
        needs="PID",
        trailing=_ABOUT_PATIENT,
    ),
)
_ADT_A39 = _message(
    "ADT_A39", _START + " EVN", _group("PATIENT", "PID", "PD1 MRG PV1 NTE", _group("OBSERVATION", "OBX"), needs="PID")
)

_MDM_T02 = _message(
    "MDM_T02",
    _START + " EVN",
    _group(
        "PATIENT",
        "PID",
        _PATIENT,
        _group("COMMON_ORDER", "ORC OBR", "NTE PRT TQ1 TQ2", content=""),
        _group("OBSERVATION", "OBX", "NTE PRT"),
        trailing="TXA CON",
    ),
)

GRAMMARS: dict[str, GroupGrammar] = {
    grammar.name: grammar
    for grammar in (
        _ORU_R01,
        _OUL_R21,
        _OUL_R22,
        _OUL_R23,
        _OUL_R24,
        _ORM_O01,
        _OML_O21,
        _OML_O33,
        _OML_O35,
        _ORR_O02,
        _ADT_A01,
        _ADT_A39,
        _MDM_T02,
    )
}
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

    EVN-1 says the event of an ADT message. OUL and OML have several structures: which segment comes first tells them
    apart. Nothing else is guessed.
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

# -- binding -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """One way to place a segment.

    Attributes:
        node: the open group that takes it or holds what is opened; groups inside it are closed.
        absent: the segment opens this group, unless the group has one of these already; None if it only stands in it.
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
        # The segment that must stand before this group: without its OBR a result belongs to no order.
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
