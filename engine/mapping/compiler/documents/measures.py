"""What results of facts have in common: measures, and what is written beside them.

A measure is made once for all results that are written alike, in this message and in later ones:

    t1 = K2(f3), v4, v5                    the fields of the result that it reads, and values from outside of the loop
    t6 = l0.get(t1)
    if t6 is None: ...; t6 = (...), v7, {}     with members and lets of the result that are made of the same
    else: t6, t10 = t6
    if t10 is not None: ...                the codes that no table has, noted again
    t8, t9, r1 = t6
    t11 = r1.get((f3[7],))                 what is made of its reference range, too
    t12 = l1.get((id(g2), f3[14]))         times and device, in this message

So a measure reads nothing that differs from one result to the next: that is checked, by what its expressions read and
by the functions that they call. Where another warning was given it is made anew each time.
"""

from collections.abc import Callable, Collection
from operator import itemgetter

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents.orders import results_at_hand
from engine.mapping.compiler.scopes import Scope, Segments, Variable
from engine.mapping.compiler.source.code import Val
from engine.mapping.compiler.source.recurring import RANGE, VARYING
from engine.mapping.compiler.terms.names import is_field_like
from engine.mapping.functions import FUNCTIONS
from engine.mapping.language import rules
from engine.mapping.language.rules import Element, Formula

RANGES_OF_MEASURE = 8  # kept: of sexes and ages
VALUE = {"OBX": 5, "R": 4}
_OF_RANGE = frozenset({"range", "limits"})
_OF_TIME = frozenset({"at", "stated", "timed", "analysed", "device"})
_TIMES = frozenset({"datetime", "event_time"})

Elements = list[tuple[Element, Scope]]
Asked = list[tuple[object, Scope]]  # expressions, each with the scope that it is read in
Shared = list[tuple[str, Scope, Variable]]
Given = dict[str, Scope]
Make = Callable[[tuple[Element, Scope] | None], str]


class _Inputs:
    """What a measure is made of: fields of the result at hand, and values from outside of the loop over results.

    Attributes:
        outer: expressions outside of the loop, each with the scope that it is read in.
        times: functions that read times are the same for the same text.
        wrong: why it may differ from one result to the next, at which part; empty where it does not.
    """

    def __init__(
        self, c: Compilation, segments: Segments, loop: int, free: Collection[int] = (), given: Given | None = None
    ) -> None:
        """
        Args:
            free: fields that may differ.
            given: takes the lets that may differ, each with the scope that it is read in; None: they are wrong.
        """
        self.walks = c.walks
        self.times = False
        self._given = given
        self._c = c
        self._segments = segments
        self._loop = loop
        self._free = free
        self._names: set[int] = set()
        self.fields: set[int] = set()
        self.outer: dict[tuple[object, int], tuple[rules.Expression, Scope]] = {}
        self.wrong: list[tuple[Formula | None, rules.Expression, str]] = []

    @property
    def reads_range(self) -> bool:
        return RANGE[self._segments.name] in self.fields

    def also(self, free: Collection[int] = (), given: Given | None = None) -> "_Inputs":
        """The same, to be tried with one more expression."""
        made = _Inputs(self._c, self._segments, self._loop, free, given)
        made._names, made.fields, made.outer = set(self._names), set(self.fields), dict(self.outer)
        return made

    def look(self, formula: Formula, scope: Scope) -> None:
        for part in self._c.walks.of(formula.tree):
            self._look_at(formula, part, scope)

    def _look_at(self, formula: Formula, part: rules.Expression, scope: Scope) -> None:
        match part:
            case rules.Path(segment=segment):
                owner = scope.owner_of(segment) if part.which is None else _holder(scope, segment)
                self._path(formula, part, scope, owner)
            case rules.TreePath():
                self.wrong.append((formula, part, f"{part.text} may differ from one result to the next"))
            case rules.Name(name=name):
                self._name(formula, part, scope)
            case rules.Call(name=name) if name in FUNCTIONS and not FUNCTIONS[name].steady:
                if self.times and name in _TIMES:
                    return
                self.wrong.append((formula, part, f"{name}() may give another value for each result"))
            case _:
                pass

    def _name(self, formula: Formula, part: rules.Name, scope: Scope) -> None:
        named = scope.find(part.name)
        if not isinstance(named, Variable):
            self.wrong.append((formula, part, f"{part.name} is made by a step"))
        elif named.loop < self._loop:
            self.outer[(id(named), 0)] = part, scope
        elif isinstance(named.value, Formula) and id(named) not in self._names:
            self._names.add(id(named))
            tried = self if self._given is None else self.also(self._free)
            tried.look(named.value, named.scope)
            if self._given is not None and tried.wrong:
                self._given[part.name] = scope
            elif tried is not self:
                self._names, self.fields, self.outer = tried._names, tried.fields, tried.outer

    def _path(self, formula: Formula, part: rules.Path, scope: Scope, owner: Scope | None) -> None:
        if owner is None or part.which == 0 or (part.which and owner.loop >= self._loop):
            text = f"{part.text} may differ from one result to the next; give it a let: outside of the loop"
            self.wrong.append((formula, part, text))
        elif part.repetition == 0 and owner.loop < self._loop:
            self.wrong.append((formula, part, f"{part.text} is a list; give it a let: outside of the loop"))
        elif owner.loop < self._loop:
            self.outer[(part, id(owner))] = part, scope
        elif part.segment != self._segments.name or (
            part.field in VARYING[part.segment] and part.field not in self._free
        ):
            self.wrong.append((formula, part, f"{part.text} differs from one result to the next"))
        elif part.field:
            self.fields.add(part.field)


def _holder(scope: Scope, segment: str) -> Scope | None:
    """The innermost group that has such segments in it, at any depth."""
    return next((one for one in scope.group_scopes() if one.group is not None and one.group.holds(segment)), None)


def measured(c: Compilation, elements: Elements, asked: Asked, members: Elements, make: Make) -> dict[str, str]:
    """The measure of a result, and members that are the same wherever measure or times are: each with its variable.

    Args:
        elements: of the measure. asked: what other members of its result are made of.
        members: those that may be kept beside it.
        make: writes the measure, or a member, and gives its code.
    """
    scope = elements[0][1] if elements else None
    segments = None if scope is None or c.traced or not c.code.loop else results_at_hand(c, scope)
    if scope is None or segments is None:
        return {"measure": make(None)}
    inputs = _Inputs(c, segments, c.code.loop)
    for element, inner in elements:
        if isinstance(element.value, Formula):
            inputs.look(element.value, inner)
    for formula, part, text in inputs.wrong:
        with c.within(formula):
            c.error(part, f"a measure is made once for many results, and {text}")
    if inputs.wrong or not inputs.fields:
        return {"measure": make(None)}
    shared, inputs = _shared(c, asked, inputs)
    beside = [one for one in members if _is_beside(one, inputs)]
    found, ranges = _kept(c, segments, inputs, shared, beside, make)
    rest = [one for one in members if one[0].name not in found]
    found |= _by_range(c, segments, inputs, ranges, [one for one in rest if one[0].name in _OF_RANGE], make)
    return found | _by_time(c, segments, scope, [one for one in rest if one[0].name in _OF_TIME], make)


def _is_beside(member: tuple[Element, Scope], inputs: _Inputs) -> bool:
    """Whether nothing is read for a member beside what its measure is made of."""
    tried = _looked_at(member, inputs.also())
    return tried is not None and (tried.fields, tried.outer.keys()) == (inputs.fields, inputs.outer.keys())


def _looked_at(member: tuple[Element, Scope], tried: _Inputs) -> _Inputs | None:
    """None: it may differ from one result to the next."""
    element, scope = member
    if not isinstance(element.value, Formula):
        return None
    tried.look(element.value, scope)
    names_segment = any(isinstance(one, rules.Path) and not one.field for one in tried.walks.of(element.value.tree))
    return None if tried.wrong or names_segment else tried


def _kept(
    c: Compilation, segments: Segments, inputs: _Inputs, shared: Shared, beside: Elements, make: Make
) -> tuple[dict[str, str], str]:
    """The measure with what is kept beside it; and the variable of what is kept by its ranges."""
    code = c.code
    memory, key, entry, before, told = code.new("l"), code.new(), code.new(), code.new("n"), code.new()
    with code.into(c.function_start):
        code.emit(f"{memory} = m.reading.measures({len(c.record_names)})")
    numbers = sorted(inputs.fields)
    segments.width = max(segments.width, numbers[-1] + 1)
    fields = f"{code.constant(itemgetter(*numbers))}({segments.fields})"
    outside = [_outside(c, part, inner) for part, inner in inputs.outer.values()]
    code.emit(f"{key} = ({', '.join([fields, *outside])},)")
    code.emit(f"{entry} = {memory}.get({key})")
    with code.block(f"if {entry} is None:"):
        code.emit(f"{before} = m.noted, len(m.unmapped), len(m.without_row)")
        made = [make(None), *(make(one) for one in beside)]
        kept = [c.expression(rules.Name(0, name), inner) for name, inner, _ in shared]
        code.emit(f"{entry} = ({', '.join([*made, *(one.code for one in kept)])}, {{}})")
        code.emit(f"{told} = None")
        code.emit(f"making.keep({memory}, {key}, {entry}, {before})")
    with code.block("else:"):
        code.emit(f"{entry}, {told} = {entry}")
    code.emit(f"if {told} is not None and making.written: making.tell_again({told})")
    names, found, ranges = [code.new() for _ in shared], [code.new() for _ in made], code.new()
    code.emit(f"{', '.join([*found, *names, ranges])} = {entry}")
    for (_, _, variable), value, name in zip(shared, kept, names, strict=True):
        lazy = variable.lazies.get("")
        if lazy is not None and not value.known:
            lazy.value = Val(name, value.kind, value.maybe)
            code.available.add(lazy.key)
    return dict(zip(["measure", *(element.name for element, _ in beside)], found, strict=True)), ranges


def _by_range(
    c: Compilation, segments: Segments, inputs: _Inputs, ranges: str, members: Elements, make: Make
) -> dict[str, str]:
    """What is made of a reference range: of one measure there are few. Other lets that it is made of are in its key."""
    at = RANGE[segments.name]
    given: dict[str, Scope] = {}
    for member in members:
        tried = inputs.also((at,), given)
        if _looked_at(member, tried) is None or not (
            tried.fields <= inputs.fields | {at} and tried.outer.keys() <= inputs.outer.keys()
        ):
            return {}
    values = [c.expression(rules.Name(0, name), scope) for name, scope in given.items()]
    if not members or any(one.kind.name != "flag" for one in values):
        return {}
    segments.width = max(segments.width, at + 1)
    key = ", ".join([f"{segments.fields}[{at}]", *(one.code for one in values)])
    return _remembered(c, ranges, f"({key},)", members, make, most=RANGES_OF_MEASURE)


def _by_time(c: Compilation, segments: Segments, scope: Scope, members: Elements, make: Make) -> dict[str, str]:
    """Times and device, which most results of an order have in common: in one message, and of one group around the
    result."""
    owner = scope.owner_of(segments.name)
    around = None if owner is None or owner.parent is None else owner.parent.group_scope()
    if around is None or around.loop != c.code.loop - 1:  # else a loop between may give other times
        return {}
    inputs = _Inputs(c, segments, c.code.loop, VARYING[segments.name] - {VALUE[segments.name]})
    inputs.times = True
    if not members or any(_looked_at(one, inputs) is None for one in members) or not inputs.fields:
        return {}
    numbers = sorted(inputs.fields)
    segments.width = max(segments.width, numbers[-1] + 1)
    memory = c.code.new("l")
    with c.code.into(c.function_start):
        c.code.emit(f"{memory} = {{}}")
    fields = ", ".join(f"{segments.fields}[{number}]" for number in numbers)
    return _remembered(c, memory, f"(id({around.variable}), {fields})", members, make)


def _remembered(
    c: Compilation, memory: str, key: str, members: Elements, make: Make, *, most: int = 0
) -> dict[str, str]:
    """Members under a key, which are computed where it is new, and kept where nothing was noted meanwhile."""
    code = c.code
    known, made, before = code.new(), code.new(), code.new("n")
    code.emit(f"{known} = {key}")
    code.emit(f"{made} = {memory}.get({known})")
    with code.block(f"if {made} is None:"):
        code.emit(f"{before} = m.noted")
        code.emit(f"{made} = ({', '.join(make(one) for one in members)},)")
        if most:
            code.emit(f"if len({memory}) >= {most}: {memory}.clear()")
        code.emit(f"if m.noted == {before}: {memory}[{known}] = {made}")
    found = [code.new() for _ in members]
    code.emit(f"{', '.join(found)}, = {made}")
    return dict(zip([element.name for element, _ in members], found, strict=True))


def _outside(c: Compilation, part: rules.Expression, scope: Scope) -> str:
    """A value from outside of the loop; of a segment, whether it is there."""
    if isinstance(part, rules.Path) and not part.field:
        return c.kept(c.truth(part, scope))
    return c.expression(part, scope).code


def _shared(c: Compilation, others: Asked, inputs: _Inputs) -> tuple[Shared, _Inputs]:
    """The lets of the loop that other members ask for, and that are the same wherever the measure is."""
    found: dict[int, tuple[str, Scope, Variable]] = {}
    waiting = [(value, scope) for value, scope in others if isinstance(value, Formula)]
    seen: set[int] = set()
    while waiting:
        formula, scope = waiting.pop()
        for part in c.walks.of(formula.tree):
            named = scope.find(part.name) if isinstance(part, rules.Name) else None
            if not isinstance(named, Variable) or id(named) in seen or named.loop < c.code.loop:
                continue
            seen.add(id(named))
            if not isinstance(named.value, Formula):
                continue
            tried = inputs.also()
            tried.look(named.value, named.scope)
            if tried.wrong or is_field_like(named) or tried.reads_range:
                waiting.append((named.value, named.scope))
            else:
                inputs = tried
                found[id(named)] = named.name, scope, named
    return list(found.values()), inputs
