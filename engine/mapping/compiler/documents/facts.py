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
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents import contents
from engine.mapping.compiler.documents.measures import Asked, Elements, measured
from engine.mapping.compiler.documents.members import one_text
from engine.mapping.compiler.documents.orders import person_fields, results_at_hand
from engine.mapping.compiler.fragments import used_body, with_lets
from engine.mapping.compiler.scopes import Scope, bind_segments
from engine.mapping.compiler.source.code import UNKNOWN, Val
from engine.mapping.compiler.source.keeping import texts_of
from engine.mapping.compiler.terms.expressions import condition
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
            found = _measured(c, inside["measure"].elements, asked, elements, path)
        known_before = set(found)
        for element, scope in elements:
            name = element.name
            if name in known_before:
                known_before.discard(name)
                continue
            if name not in known:
                text = f"{path} has no member '{name}'{suggestion(name, known) or '; known are ' + ', '.join(known)}"
                c.problems.error(element.node, text)
            elif name in _INSIDE and name not in inside:
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


def _measured(c: Compilation, elements: Elements, asked: Asked, members: Elements, path: str) -> dict[str, str]:
    def make(member: tuple[Element, Scope] | None) -> str:
        if member is None:
            return _tuple(c, elements, "measure")
        with c.at(member[0].node):
            return _member(c, member[0], f"{path}.{member[0].name}", member[1])

    others = [one for one in members if one[0].name in Result._fields and one[0].name not in ("place", *_INSIDE)]
    return measured(c, elements, asked, others, make)


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
    with c.code.block("if m.context.names_subjects or m.context.others:"), c.at(element.node):
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
