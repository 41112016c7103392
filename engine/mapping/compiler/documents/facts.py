"""`to: results/1`: the facts of a message (`engine.model.content.facts`), as lists of their members in order.

    - record: people                       members of Person; its orders are in its do:
      body: {number: =PID-3.1, name: =PID-5}
      do:
        - record: orders                   members of Order; its place is that of OBR or O
          do:
            - record: samples
            - record: results              members of Result; its place is that of OBX or R
              body:
                measure: {test: =OBX-3.1, unit: =unit_text(OBX-6)}
                value: {sent: =OBX-5}           or a $case of such maps, the usual one first

A measure is made once for all results that are written alike, in this message and in later ones:

    t1 = K2(f3), v4, v5                    the fields of the result that it reads, and values from outside of the loop
    t6 = l0.get(t1)
    if t6 is None: ...; t6 = (...), v7     with the lets that other members of the result ask for, too
    else: t6, t10 = t6
    if t10 is not None: ...                the codes that no table has, noted again
    t8, t9 = t6

So it reads nothing that differs from one result to the next: that is checked, by what its expressions read and by the
functions that they call. Where another warning was given it is made anew each time.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from typing import NamedTuple

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents import contents
from engine.mapping.compiler.documents.members import one_text
from engine.mapping.compiler.documents.orders import person_fields, results_at_hand
from engine.mapping.compiler.fragments import used_body, with_lets
from engine.mapping.compiler.scopes import Scope, Segments, Variable, bind_segments
from engine.mapping.compiler.source.code import UNKNOWN, Val
from engine.mapping.compiler.source.recurring import VARYING
from engine.mapping.compiler.source.values import texts_of
from engine.mapping.compiler.terms.expressions import condition
from engine.mapping.compiler.terms.names import is_field_like
from engine.mapping.functions import FUNCTIONS
from engine.mapping.language import nodes
from engine.mapping.language.rules import Body, Case, Element, Formula, Make, Text, Use
from engine.model.content.facts import KINDS, Facts, Measure, Order, Person, Result, Sample, Value
from engine.model.texts.spelling import suggestion

Shape = type[Facts] | type[Person] | type[Order] | type[Sample] | type[Result] | type[Measure] | type[Value]

_SHAPES: dict[str, tuple[Shape, str]] = {
    "document": (Facts, ""),
    "people": (Person, ""),
    "orders": (Order, "people"),
    "samples": (Sample, "orders"),
    "results": (Result, "orders"),
}  # a record -> what it is, and the record that it is in
_INSIDE: dict[str, Shape] = {"measure": Measure, "value": Value}
_NOTHING: dict[str, tuple[object, ...]] = {"measure": Measure(), "value": Value()}
_OWN = {
    "document": {"people", "lots"},
    "people": {"lasting", "orders"},
    "orders": {"place", "samples", "results"},
    "results": {"place"},
}  # members that LabRelay itself gives
_LISTS = {"own", "codes", "flags", "others", "parts", "limits"}
_MEANT = ("measure", "meant")  # a list in a measure, a number in a value
_FLAGS = {"isolate", "misfit", "unread"}

Elements = list[tuple[Element, Scope]]
Asked = list[tuple[object, Scope]]  # expressions, each with the scope that it is read in


class _Content(NamedTuple):
    """A body: its elements, and ways of which one is taken: a condition, where it is read, the elements then."""

    elements: Elements
    ways: list[tuple[Formula | None, Scope, Elements]]

    @property
    def all(self) -> Elements:
        return [*self.elements, *(one for *_, elements in self.ways for one in elements)]


def make_facts(c: Compilation, make: Make, scope: Scope) -> str:
    """Write a part of the facts; returns its variable."""
    shape = _SHAPES.get(make.name)
    if shape is None:
        known = ", ".join(name for name in _SHAPES if name != "document")
        c.problems.error(make.node, f"facts have no {make.name}{suggestion(make.name, _SHAPES) or f'; known: {known}'}")
        return ""
    kind, inside = shape
    around = _around(c, scope, inside) if inside else ""
    if inside and not around:
        c.problems.error(make.node, f"record: {make.name} belongs inside of a record: {inside}")
        return ""
    if c.traced:
        c.code.emit("T.begin_part()")
    with _elements(c, make.body, scope) as content:
        given = _members(c, content.elements, kind, make.name)
    part = c.code.new("v")
    if make.name == "document":
        members = [given.get(name, "None") for name in kind._fields if name not in _OWN["document"]]
        c.code.emit(f"{part} = making.head = [{', '.join(members)}]")
    elif make.name == "people":
        given["lasting"] = f"making.lasting({given.get('number', 'None')}, {given.get('authority', 'None')})"
        given["orders"] = "[]"
        c.code.emit(f"{part} = [{_in_order(given, kind)}]")
        c.code.emit(f"making.people.append({part})")
    elif make.name == "orders":
        given["place"] = _place(_segments(c, scope, c.setting.identity.order))
        given |= {"samples": "[]", "results": "[]"}
        c.code.emit(f"{part} = [{_in_order(given, kind)}]")
        c.code.emit(f"{around}[-1].append({part})")
    elif make.name == "samples":
        c.code.emit(f"{part} = {_new(c, given, kind)}")
        c.code.emit(f"{around}[-2].append({part})")
    else:
        segments = results_at_hand(c, scope)
        given = {name: c.code.constant(one) for name, one in _NOTHING.items()} | given
        given["place"] = _place("" if segments is None else segments.segments)
        c.code.emit(f"{part} = {_new(c, given, kind)}")
        c.code.emit(f"{around}[-1].append({part})")
        if segments is not None:
            c.code.emit(f"if {segments.segments}: accounted[{segments.segments}[0].position] = None")
    if c.traced:
        shown = ", ".join(f"{c.code.constant(name)}: {code}" for name, code in given.items() if code != "[]")
        c.code.emit(f"T.part(making.record({c.code.constant(make.name)}, None, {{{shown}}}, True, False))")
    c.record_names[part] = make.name
    return part


def _in_order(given: dict[str, str], kind: Shape) -> str:
    return ", ".join(given.get(name, "None") for name in kind._fields)


def _new(c: Compilation, given: dict[str, str], kind: Shape) -> str:
    """A tuple of this kind, without the call of its own function, which costs four times as much."""
    return f"{c.code.constant(tuple.__new__)}({c.code.constant(kind)}, ({_in_order(given, kind)}))"


def _around(c: Compilation, scope: Scope, wanted: str) -> str:
    """The variable of the record around that has this name."""
    around: Scope | None = scope
    while around is not None:
        part = c.records.get(id(around), "")
        if part and c.record_names.get(part) == wanted:
            return part
        around = around.parent
    return ""


def _place(segments: str) -> str:
    """The number of a segment among those of its name; 0 where there is none."""
    return f"({segments}[0].ordinal if {segments} else 0)" if segments else "0"


def _segments(c: Compilation, scope: Scope, name: str) -> str:
    owner = scope.owner_of(name)
    return "" if owner is None else c.noted(bind_segments(c.code, owner, name)).segments


# -- members -----------------------------------------------------------------------------------------------------------


@contextmanager
def _elements(c: Compilation, body: Body, scope: Scope, *, ways: bool = False) -> Iterator[_Content]:
    """The elements of a body, also of a fragment in it, each with the scope that it is read in."""
    with ExitStack() as opened:
        found = _Content([], [])
        _gather(c, body, scope, opened, found)
        if found.ways and (found.elements or not ways):
            c.problems.error(body.node, "facts have a $case alone in a value; else write =a if b else c")
        yield found


def _gather(c: Compilation, body: Body, scope: Scope, opened: ExitStack, found: _Content) -> None:
    inner = opened.enter_context(with_lets(c, scope, body.lets))
    for part in body.parts:
        match part:
            case Element():
                found.elements.append((part, inner))
            case Case():
                for branch in part.branches:
                    way = _Content([], [])
                    _gather(c, branch.body, inner, opened, way)
                    found.ways.append((branch.when, inner, way.elements))
                    if way.ways:
                        c.problems.error(branch.node, "facts have no $case in a $case")
            case Use():
                used = opened.enter_context(used_body(c, part, inner, "holds steps"))
                if used is not None:
                    _gather(c, *used, opened, found)


def _members(c: Compilation, elements: Elements, kind: Shape, path: str) -> dict[str, str]:
    """Each member with its value, as source."""
    known = [name for name in kind._fields if name not in _OWN.get(path, ())]
    found: dict[str, str] = {}
    with ExitStack() as opened:  # fragments of all members: what a measure has read, others use
        inside: dict[str, _Content] = {}
        for element, scope in elements:
            if element.name in _INSIDE and element.name in known:
                if isinstance(element.value, Body):
                    ways = element.name == "value"
                    inside[element.name] = opened.enter_context(_elements(c, element.value, scope, ways=ways))
                else:
                    text = f"{element.name}: is a map of {', '.join(_INSIDE[element.name]._fields)}"
                    c.problems.error(element.node, text)
        if "measure" in inside:
            value = inside.get("value", _Content([], []))
            asked: Asked = [(one.value, each) for one, each in elements if one.name not in inside]
            asked += [(one.value, each) for one, each in value.all]
            asked += [(when, each) for when, each, _ in value.ways]
            found["measure"] = _measure(c, inside["measure"].elements, asked)
        for element, scope in elements:
            name = element.name
            if name not in known:
                text = f"{path} has no member '{name}'{suggestion(name, known) or '; known are ' + ', '.join(known)}"
                c.problems.error(element.node, text)
            elif name == "measure" or (name in _INSIDE and name not in inside):
                continue
            elif name in found:
                c.problems.error(element.node, f"{name} is here a second time; remove one")
            elif name in inside:
                found[name] = _inside(c, inside[name], name)
            elif name == "subject":
                found[name] = _subject(c, element, scope)
            else:
                with c.at(element.node):
                    found[name] = _member(c, element, f"{path}.{name}", scope)
    return found


def _inside(c: Compilation, content: _Content, name: str) -> str:
    """The variable of a value, by the first way whose condition holds."""
    if not content.ways:
        return _tuple(c, content.elements, name)
    made = c.kept(c.code.constant(_NOTHING[name]))
    with ExitStack() as nested:
        for when, scope, elements in content.ways:
            test = "True" if when is None else condition(c, when, scope)
            with c.code.block(f"if {test}:"):
                c.code.emit(f"{made} = {_tuple(c, elements, name)}")
            nested.enter_context(c.code.block("else:"))
        c.code.emit("pass")
    return made


def _tuple(c: Compilation, elements: Elements, name: str) -> str:
    return _new(c, _members(c, elements, _INSIDE[name], name), _INSIDE[name])


def _member(c: Compilation, element: Element, path: str, scope: Scope) -> str:
    value = element.value
    if not isinstance(value, Text | Formula):
        c.problems.error(element.node, f"{element.name}: is one text")
        return "None"
    if isinstance(value, Text) and path == "results.kind" and value.text not in KINDS:
        c.problems.error(value.node, f"'{value.text}' is no kind of result; it is one of {', '.join(KINDS)}")
        return "None"
    made, _ = contents.one_text(c, value, path, scope, _fit(path))
    if made.constant is not UNKNOWN:
        return c.code.constant(made.constant)
    if _fit(path) is _list_of_texts:
        return _where_there(c, made, "tuple")
    return _where_there(c, made, "int") if path == "results.head" else made.code


def _subject(c: Compilation, element: Element, scope: Scope) -> str:
    found, group, fields = c.kept("None"), scope.group_scope().variable, person_fields(c, scope)
    with c.code.block("if m.context.names_subjects:"), c.at(element.node):
        identifier = _member(c, element, "people.subject", scope)
        c.code.emit(f"{found} = making.subject({identifier}, {group}, {fields})")
    return found


def _where_there(c: Compilation, made: Val, kind: str) -> str:
    name = c.kept(made.code)
    return f"(None if {name} is None else {kind}({name}))"


def _fit(path: str) -> contents.Fit:
    around, _, name = path.rpartition(".")
    if name in _LISTS or (around, name) == _MEANT:
        return _list_of_texts
    if name in _FLAGS:
        return _flag
    if path == "people.subject":
        return _identifier
    return one_text


def _list_of_texts(c: Compilation, value: Val, formula: Formula, path: str) -> Val:
    if not value.kind.many:
        return contents.mismatch(c, formula, path, "a list of texts", value)
    return texts_of(c, value) if value.kind.name == "field" else value


def _flag(c: Compilation, value: Val, formula: Formula, path: str) -> Val:
    return value if value.kind.name == "flag" else contents.mismatch(c, formula, path, "true or false", value)


def _identifier(c: Compilation, value: Val, formula: Formula, path: str) -> Val:
    one = value.kind.name == "Identifier" and not value.kind.many
    return value if one else contents.mismatch(c, formula, path, "an Identifier", value)


# -- measures ----------------------------------------------------------------------------------------------------------


class _Inputs:
    """What a measure is made of: fields of the result at hand, and values from outside of the loop over results.

    Attributes:
        outer: expressions outside of the loop, each with the scope that it is read in.
        wrong: why it may differ from one result to the next, at which part; empty where it does not.
    """

    def __init__(self, c: Compilation, segments: Segments, loop: int) -> None:
        self._c = c
        self._segments = segments
        self._loop = loop
        self._names: set[int] = set()
        self.fields: set[int] = set()
        self.outer: dict[tuple[object, int], tuple[nodes.Expression, Scope]] = {}
        self.wrong: list[tuple[Formula | None, nodes.Expression, str]] = []

    def also(self) -> "_Inputs":
        """The same, to be tried with one more expression."""
        made = _Inputs(self._c, self._segments, self._loop)
        made._names, made.fields, made.outer = set(self._names), set(self.fields), dict(self.outer)
        return made

    def look(self, formula: Formula, scope: Scope) -> None:
        for part in self._c.walks.of(formula.tree):
            self._look_at(formula, part, scope)

    def _look_at(self, formula: Formula, part: nodes.Expression, scope: Scope) -> None:
        match part:
            case nodes.Path(segment=segment):
                owner = scope.owner_of(segment) if part.which is None else _holder(scope, segment)
                self._path(formula, part, scope, owner)
            case nodes.TreePath():
                self.wrong.append((formula, part, f"{part.text} may differ from one result to the next"))
            case nodes.Name(name=name):
                named = scope.find(name)
                if not isinstance(named, Variable):
                    self.wrong.append((formula, part, f"{name} is made by a step"))
                elif named.loop < self._loop:
                    self.outer[(id(named), 0)] = part, scope
                elif isinstance(named.value, Formula) and id(named) not in self._names:
                    self._names.add(id(named))
                    self.look(named.value, named.scope)
            case nodes.Call(name=name) if name in FUNCTIONS and not FUNCTIONS[name].steady:
                self.wrong.append((formula, part, f"{name}() may give another value for each result"))
            case _:
                pass

    def _path(self, formula: Formula, part: nodes.Path, scope: Scope, owner: Scope | None) -> None:
        if owner is None or part.which == 0 or (part.which and owner.loop >= self._loop):
            text = f"{part.text} may differ from one result to the next; give it a let: outside of the loop"
            self.wrong.append((formula, part, text))
        elif part.repetition == 0 and owner.loop < self._loop:
            self.wrong.append((formula, part, f"{part.text} is a list; give it a let: outside of the loop"))
        elif owner.loop < self._loop:
            self.outer[(part, id(owner))] = part, scope
        elif part.segment != self._segments.name or part.field in VARYING[part.segment]:
            self.wrong.append((formula, part, f"{part.text} differs from one result to the next"))
        elif part.field:
            self.fields.add(part.field)


def _holder(scope: Scope, segment: str) -> Scope | None:
    """The innermost group that has such segments in it, at any depth."""
    return next((one for one in scope.group_scopes() if one.group is not None and one.group.holds(segment)), None)


def _measure(c: Compilation, elements: Elements, others: Asked) -> str:
    """The variable of a measure.

    Args:
        others: what the other members of its result are made of.
    """
    scope = elements[0][1] if elements else None
    segments = None if scope is None or c.traced or not c.code.loop else results_at_hand(c, scope)
    if scope is None or segments is None:
        return _tuple(c, elements, "measure")
    inputs = _Inputs(c, segments, c.code.loop)
    for element, inner in elements:
        if isinstance(element.value, Formula):
            inputs.look(element.value, inner)
    for formula, part, text in inputs.wrong:
        with c.within(formula):
            c.error(part, f"a measure is made once for many results, and {text}")
    if inputs.wrong or not inputs.fields:
        return _tuple(c, elements, "measure")
    shared, inputs = _shared(c, others, inputs)
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
        made = _tuple(c, elements, "measure")
        kept = [c.expression(nodes.Name(0, name), inner) for name, inner, _ in shared]
        code.emit(f"{entry} = ({', '.join([made, *(one.code for one in kept)])},)")
        code.emit(f"{told} = None")
        code.emit(f"making.keep({memory}, {key}, {entry}, {before})")
    with code.block("else:"):
        code.emit(f"{entry}, {told} = {entry}")
    code.emit(f"if {told} is not None: making.tell_again({told})")
    names = [code.new() for _ in shared]
    measure = code.new()
    code.emit(f"{', '.join([measure, *names])}, = {entry}")
    for (_, _, variable), value, name in zip(shared, kept, names, strict=True):
        lazy = variable.lazies.get("")
        if lazy is not None and not value.known:
            lazy.value = Val(name, value.kind, value.maybe)
            code.available.add(lazy.key)
    return measure


def _outside(c: Compilation, part: nodes.Expression, scope: Scope) -> str:
    """A value from outside of the loop; of a segment, whether it is there."""
    if isinstance(part, nodes.Path) and not part.field:
        return c.kept(c.truth(part, scope))
    return c.expression(part, scope).code


def _shared(c: Compilation, others: Asked, inputs: _Inputs) -> tuple[list[tuple[str, Scope, Variable]], _Inputs]:
    """The lets of the loop that other members ask for, and that are the same wherever the measure is."""
    found: dict[int, tuple[str, Scope, Variable]] = {}
    waiting = [(value, scope) for value, scope in others if isinstance(value, Formula)]
    seen: set[int] = set()
    while waiting:
        formula, scope = waiting.pop()
        for part in c.walks.of(formula.tree):
            named = scope.find(part.name) if isinstance(part, nodes.Name) else None
            if not isinstance(named, Variable) or id(named) in seen or named.loop < c.code.loop:
                continue
            seen.add(id(named))
            if not isinstance(named.value, Formula):
                continue
            tried = inputs.also()
            tried.look(named.value, named.scope)
            if tried.wrong or is_field_like(named):
                waiting.append((named.value, named.scope))
            else:
                inputs = tried
                found[id(named)] = named.name, scope, named
    return list(found.values()), inputs
