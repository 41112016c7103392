"""Bodies to dictionaries: FHIR elements with the types, cardinalities and codes of R4 (`engine.mapping.fhir.r4`).

A dictionary begins as a literal of what is always there; what may be absent is added with one test each, in the order
of the rules. An object in which every expression is absent is left out: literals alone do not make an object.
"""

from dataclasses import dataclass
from typing import Any

from orjson import Fragment

from engine.config.reading.yaml_nodes import Node
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents.element_values import as_json_list, formula_value, literal_value, written
from engine.mapping.compiler.fragments import branches, used_body, with_lets
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.source.code import NOTHING, Kind, Val
from engine.mapping.compiler.source.keeping import add_to_list, keep, recurs
from engine.mapping.fhir import r4
from engine.mapping.language.rules import Body, Case, Element, Formula, Text, Use, Value, Values
from engine.mapping.values.json_text import kept
from engine.model.texts.spelling import suggestion

_PRIMITIVE_EXTENSION = r4.Element(type="Element", many=False, required=False)


@dataclass(slots=True)
class _Object:
    """A dictionary under construction.

    Attributes:
        variable: of the dictionary, empty as long as it is only a literal.
        literal: what is always there and not yet written.
        constants: literals that do not make an object by themselves.
        certain: elements that are always there; ``possible`` those that may be.
        started: the dictionary is written, and elements are added one by one.
        top: it is a resource, which is there whatever is in it; ``sure``: so is this object.
    """

    type: str
    path: str
    node: Node
    variable: str
    literal: list[str]
    constants: list[tuple[str, Val]]
    certain: set[str]
    possible: set[str]
    started: bool = False
    top: bool = False
    sure: bool = False


def build_resource(c: Compilation, body: Body, kind: str, scope: Scope, first: list[str]) -> str:
    """Code that builds a resource; returns its variable.

    Args:
        first: items of the literal in front of the body's (resourceType, id), as source.
    """
    made = _whole(c, body, kind, scope, first)
    _require(c, made)
    return made.variable


def build_elements(c: Compilation, body: Body, kind: str, scope: Scope) -> str:
    """Code that builds elements for a resource that is there already; returns their variable."""
    return _whole(c, body, kind, scope, []).variable


def _whole(c: Compilation, body: Body, kind: str, scope: Scope, first: list[str]) -> _Object:
    made = _Object(kind, kind, body.node, c.code.new("r"), list(first), [], set(), set(), top=True)
    _parts(c, made, body, scope)
    _start(c, made)
    _write_constants(c, made)
    return made


def _object(c: Compilation, body: Body, kind: str, path: str, scope: Scope) -> Val:
    """An object inside a resource; absent where all its expressions are."""
    made = _Object(kind, path, body.node, c.code.new("d"), [], [], set(), set())
    _parts(c, made, body, scope)
    if not made.started and not made.literal:
        if not made.constants:
            return NOTHING
        _require(c, made)
        if all(value.known for _, value in made.constants):
            return c.code.literal({name: value.constant for name, value in made.constants}, Kind(kind))
    items = [f"{c.code.constant(name)}: {value.code}" for name, value in made.constants]
    if not made.started:
        c.code.emit(f"{made.variable} = {{{', '.join([*items, *made.literal])}}}")
        _require(c, made)
        return Val(made.variable, Kind(kind), maybe=False)
    if made.sure:
        _write_constants(c, made)
        _require(c, made)
        return Val(made.variable, Kind(kind), maybe=False)
    with c.code.block(f"if {made.variable}:"):
        if items:
            c.code.emit(f"{made.variable} = {{{', '.join(items)}, **{made.variable}}}")
        _require(c, made)
    c.code.emit(f"else: {made.variable} = None")
    return Val(made.variable, Kind(kind))


def _start(c: Compilation, made: _Object) -> None:
    """Write the literal so far; from here on elements are added one by one."""
    if not made.started:
        c.code.emit(f"{made.variable} = {{{', '.join(made.literal)}}}")
        made.started = True


def _write_constants(c: Compilation, made: _Object) -> None:
    """Write the literals that are added one by one."""
    for name, value in made.constants:
        c.code.emit(f"{made.variable}[{c.code.constant(name)}] = {value.code}")


def _parts(c: Compilation, made: _Object, body: Body, scope: Scope) -> None:
    with with_lets(c, scope, body.lets) as inner:
        for part in body.parts:
            match part:
                case Element():
                    _element(c, made, part, inner)
                case Case():
                    _case(c, made, part, inner)
                case Use():
                    with used_body(c, part, inner, "makes resources") as found:
                        if found is not None:
                            _parts(c, made, *found)


def _element(c: Compilation, made: _Object, part: Element, scope: Scope) -> None:
    element = _known_element(c, made, part)
    if element is None:
        return
    with c.at(part.node):
        value = _fit(c, part.value, element, f"{made.path}.{part.name}", scope, part.node)
        if not value.is_absent:
            _add(c, made, part, value)


def _known_element(c: Compilation, made: _Object, part: Element) -> r4.Element | None:
    """The element's definition; None with a problem where the type has no such element or it is there already."""
    if made.type == "Element":
        known: dict[str, r4.Element] = r4.ELEMENTS["Annotation"]
        known = {name: known[name] for name in ("id", "extension")}
    else:
        known = r4.ELEMENTS[made.type]
    name = part.name
    if made.top and name in ("id", "resourceType"):
        c.problems.error(part.node, f"{name} is given by LabRelay: the id comes from key:")
        return None
    element = known.get(name)
    if element is None and name.startswith("_") and (base := known.get(name[1:])) and base.type in r4.PRIMITIVES:
        element = _PRIMITIVE_EXTENSION
    if element is None:
        c.problems.error(part.node, f"{made.type} has no element {name}{suggestion(name, known)}")
        return None
    if name in made.certain or name in made.possible:
        c.problems.error(part.node, f"{name} is here a second time; remove one")
        return None
    if element.choice:
        for other in made.certain | made.possible:
            if known[other].choice == element.choice if other in known else False:
                c.problems.error(
                    part.node, f"{other} is there already, and there can be one {element.choice}[x] only; use $case:"
                )
                return None
    return element


def _add(c: Compilation, made: _Object, part: Element, value: Val) -> None:
    code = c.code
    name = code.constant(part.name)
    if value.known and isinstance(value.constant, (dict, list)):
        # It is the same in every message, so it is written as JSON once.
        fixed = Fragment(kept(value.constant))
        value = Val(code.constant(fixed), value.kind, False, fixed)
    if value.known and not made.top:
        made.constants.append((part.name, value))
        made.certain.add(part.name)
        return
    if value.maybe:
        _start(c, made)
        code.emit(f"if {value.code} is not None: {made.variable}[{name}] = {value.code}")
        made.possible.add(part.name)
        return
    made.certain.add(part.name)
    made.sure = True
    if made.started:
        code.emit(f"{made.variable}[{name}] = {value.code}")
    else:
        made.literal.append(f"{name}: {value.code}")


def _case(c: Compilation, made: _Object, case: Case, scope: Scope) -> None:
    _start(c, made)
    ways: list[_Object] = []
    has_else = False
    for body, certain in branches(c, case, scope):
        _branch(c, made, body, scope, ways)
        has_else = certain
    everywhere = set.intersection(*(way.certain for way in ways)) if ways and has_else else set()
    made.certain |= everywhere
    made.possible |= set().union(*(way.certain | way.possible for way in ways)) - everywhere


def _branch(c: Compilation, made: _Object, body: Body, scope: Scope, ways: list[_Object]) -> None:
    certain, possible = set(made.certain), set(made.possible)
    way = _Object(made.type, made.path, body.node, made.variable, [], [], certain, possible, started=True, top=made.top)
    _parts(c, way, body, scope)
    _write_constants(c, way)
    way.certain -= made.certain
    way.possible -= made.possible
    ways.append(way)


def _require(c: Compilation, made: _Object) -> None:
    """Lines that refuse an object whose required elements are absent; a problem where they can never be there."""
    if made.type == "Element":
        return
    choices: dict[str, list[str]] = {}
    for name, element in r4.ELEMENTS[made.type].items():
        if element.required:
            choices.setdefault(element.choice or name, []).append(name)
    for wanted, names in choices.items():
        if any(name in made.certain for name in names):
            continue
        shown = f"{wanted}[x]" if wanted not in names else wanted
        if not any(name in made.possible for name in names):
            c.problems.error(made.node, f"{made.type} needs {shown}; FHIR requires it")
            continue
        tests = " and ".join(
            f"{c.code.constant(name)} not in {made.variable}" for name in names if name in made.possible
        )
        c.code.emit(f"if {tests}: required({c.code.constant(f'{made.path}.{shown}')})")


def _fit(c: Compilation, value: Value, element: r4.Element, path: str, scope: Scope, node: Node) -> Val:
    """A value as the element wants it: its type, and a list or one."""
    if isinstance(value, Formula) and (reading := recurs(c, value.tree, scope)) is not None:
        key = ("element", id(value), id(scope), path)
        return keep(c, key, reading, lambda: written(_fitted(c, value, element, path, scope, node), path))
    return _fitted(c, value, element, path, scope, node)


def _fitted(c: Compilation, value: Value, element: r4.Element, path: str, scope: Scope, node: Node) -> Val:
    if isinstance(value, Values):
        return _values_of(c, value, element, path, scope)
    if isinstance(value, Body):
        if element.type in r4.PRIMITIVES:
            return c.refused(value.node, f"{path} is a {element.type}, not an object; write one value")
        if element.type == "Resource":
            return c.refused(value.node, f"{path}: resources inside resources are not made; use a step of its own")
        made = _object(c, value, element.type, path, scope)
    elif isinstance(value, Text):
        made = literal_value(c, value, element, path)
        if c.traced and not made.is_absent:
            rule = c.code.constant(f"{value.node.file}:{value.node.line}")
            uses = c.code.constant(scope.uses())
            c.code.emit(f"T.fixed({c.code.constant(path)}, {rule}, {uses})")
    else:
        made = formula_value(c, value, element, path, scope)
    if made.is_absent:
        return NOTHING
    if element.many:
        return as_json_list(c, made)
    if made.kind.many:
        c.problems.warning(node, f"{path} takes one value and may get several; the first is taken, as first() does")
        one = c.kept(f"only({made.code}, {c.code.constant(path)}) if {made.code} is not None else None")
        return Val(one, made.kind.one())
    return made


def _values_of(c: Compilation, values: Values, element: r4.Element, path: str, scope: Scope) -> Val:
    if not element.many:
        return c.refused(values.node, f"{path} takes one value; remove the list")
    single = element._replace(many=False)
    made = []
    for at, item in enumerate(values.items):
        if isinstance(item, Values):
            c.problems.error(item.node, "a list inside a list is not FHIR; make it one list")
            continue
        # An expression in a list may itself be a list: its elements are added.
        wanted = element if isinstance(item, Formula) else single
        made.append(_fit(c, item, wanted, f"{path}[{at}]", scope, values.node))
        if c.traced:
            c.code.emit(f"T.item({c.code.constant(path)}, {at}, {made[-1].code})")
    made = [value for value in made if not value.is_absent]
    if not made:
        return NOTHING
    if all(value.known for value in made):
        flat: list[Any] = []
        for value in made:
            flat += value.constant if value.kind.many else [value.constant]
        return c.code.literal(flat, made[0].kind.each())
    variable = c.kept("[]")
    for value in made:
        add_to_list(c, variable, value)
    sure = any(not value.maybe for value in made)
    if not sure:
        c.code.emit(f"if not {variable}: {variable} = None")
    return Val(variable, made[0].kind.each(), maybe=not sure)
