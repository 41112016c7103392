"""Steps of mappings that write no FHIR: the parts they make, and which results these account for.

d7 = {}; n8 = False
...                                                 the body
v9 = making.add(K'OBX', d7, n8, p6)                 None where all its expressions were absent
if v9 is not None: accounted[s3[0].position] = v9

`line:` steps: the fields of order lines (`engine.model.orders.OrderLine`).

    line:
      action: =lookup('order-action', ORC-1)      absent: the line is rejected, and never taken for a new order
      specimen: =SPM-2.1
      patient: {number: =PID-3.1, family: =PID-5.1}
      targets: =ZAN[*]-1                          a list of channels

Each field is a text. A literal action or priority is checked here, any other one when the lines are written
(`engine.mapping.outputs.collected`).

`segment:` steps: fields of HL7 v2 segments, by number.

    fields:
      3: {1: =code, 2: =name, 3: LN}        components; a map in a component is its subcomponents
      '5.1': =R-4                           the same, for one component
      8: [=first, =second]                  repetitions; an expression that is a list gives several
      13: =PID-13[*]                        fields that were read are carried over with their components

A field, component or subcomponent is checked against the tables of the standard. Times become HL7's, numbers keep their
digits, and nothing is escaped before the whole message is written (`adapters.codecs.hl7v2.writer`).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from engine.config.reading.yaml_nodes import Node
from engine.mapping.compiler import steps
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents import contents
from engine.mapping.compiler.documents.contents import fill, new_content
from engine.mapping.compiler.documents.facts import make_facts
from engine.mapping.compiler.documents.members import one_text, put_cell, put_member
from engine.mapping.compiler.documents.orders import order_time, person_fields, results_at_hand
from engine.mapping.compiler.made_names import called
from engine.mapping.compiler.scopes import Made, Scope
from engine.mapping.compiler.source.code import TEXT, Slot, Val
from engine.mapping.compiler.source.keeping import text_of, texts_of
from engine.mapping.compiler.steps import compile_steps
from engine.mapping.language.rules import Body, Case, Element, Formula, Make, Step, Text, Use, Value, Values
from engine.mapping.language.targets import MAKING_STEPS
from engine.mapping.outputs import hl7_message
from engine.mapping.outputs.collected import ACTIONS, FIELDS, LINES, PATIENT_FIELDS, PRIORITIES
from engine.model.texts.spelling import suggestion

_FIELD = re.compile(r"(\w+)-(\d+)")
MAX_NUMBER = 200  # no segment of the standard has more fields
_VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2", "2.9")


def check_segment(c: Compilation, make: Make) -> bool:
    """Whether the structure that is written has this segment."""
    name, event = make.name, c.target.event
    known = hl7_message.writer().known_segments(event)
    if name in known or (name.startswith("Z") and len(name) == 3 and name.isalnum() and name.isupper()):
        return True
    c.problems.error(make.node, f"{event} has no segment {name}{suggestion(name, known)}")
    return False


def check_fields(c: Compilation, make: Make, content: contents.Content) -> None:
    """Problems where a field that the standard requires is never given."""
    codec = hl7_message.writer()
    if make.name == "OBX" and 5 in content.names and 2 not in content.names:
        c.problems.error(make.node, "OBX-2 is missing; it names the type of OBX-5")
    for number in codec.REQUIRED.get(make.name, ()):
        if number not in content.names:
            c.problems.error(make.node, f"{make.name}-{number} is missing; the standard requires it")
    for number in codec.EXPECTED.get(make.name, ()):
        if number not in content.names:
            c.problems.warning(make.node, f"{make.name}-{number} is missing; the standard requires it")


# -- fields ------------------------------------------------------------------------------------------------------------


def put_field(c: Compilation, content: contents.Content, part: Element, scope: Scope) -> None:
    """One field of a segment."""
    number = _place_number(c, part, content.path)
    if number is None or not _is_place(c, content.path, part.node, number):
        return
    if content.path == "MSH" and not _header_field(c, number, part):
        return
    if contents.taken(c, content, number, part.node):
        return
    value, literal = _one_field(c, part.value, f"{content.path}-{number}", (content.path, number), scope)
    contents.write(c, content, number, value, literal=literal)


def _one_field(c: Compilation, value: Value, path: str, place: tuple[Any, ...], scope: Scope) -> tuple[Val, bool]:
    """A field as text, components or repetitions; and whether it is a literal."""
    match value:
        case Values():
            return contents.listed(c, _repetitions(c, value, path, place, scope), TEXT.each())
        case Body():
            return _components(c, value, path, place, scope)
        case Text() | Formula():
            return contents.one_text(c, value, path, scope, _as_field, "")


def _repetitions(
    c: Compilation, values: Values, path: str, place: tuple[Any, ...], scope: Scope
) -> Iterator[tuple[Val, bool]]:
    for at, item in enumerate(values.items, 1):
        if isinstance(item, Values):
            c.problems.error(item.node, "a list inside a list is no field; write the components as {1: ..., 2: ...}")
        else:
            yield _one_field(c, item, f"{path}[{at}]", place, scope)


def _components(c: Compilation, body: Body, path: str, place: tuple[Any, ...], scope: Scope) -> tuple[Val, bool]:
    """Components of a field, or subcomponents of a component."""

    def put(c: Compilation, content: contents.Content, part: Element, inner: Scope) -> None:
        number = _place_number(c, part, content.path)
        if number is None or contents.taken(c, content, number, part.node):
            return
        here = (*place, number)
        if not _is_place(c, place[0], part.node, *here[1:]):
            return
        where = f"{content.path}.{number}"
        match part.value:
            case Body() if len(here) > 3:
                c.problems.error(part.node, f"{where} is a subcomponent, which has no parts")
                return
            case Body():
                value, literal = _components(c, part.value, where, here, inner)
            case Values():
                c.problems.error(part.node, f"{where} is no field: only fields repeat")
                return
            case Text() | Formula():
                value, literal = contents.one_text(c, part.value, where, inner, _as_part)
        contents.write(c, content, number, value, literal=literal)

    return contents.nested_content(c, body, path, put, scope)


# -- what a place takes ------------------------------------------------------------------------------------------------


def _as_field(c: Compilation, value: Val, formula: Formula, path: str) -> Val:
    """A value in a field: a field that was read keeps its components, a list gives repetitions."""
    if value.kind.name != "field":
        return _as_hl7_text(c, value, formula, path, "a text or a field")
    segment, number = _FIELD.match(path).groups()  # type: ignore[union-attr]  # paths are made here
    kind = hl7_message.writer().place_type(segment, (int(number),))
    if kind not in ("", "*", "-") and not hl7_message.writer().component_types(kind):
        # What was divided goes into a field that cannot be as one text, with its delimiters escaped.
        function = c.code.constant(hl7_message.undivided_all if value.kind.many else hl7_message.undivided)
    else:
        function = c.code.constant(hl7_message.carried_all if value.kind.many else hl7_message.carried)
    made = c.kept(f"{function}(m, {value.code}) if {value.code} is not None else None")
    return Val(made, TEXT.each() if value.kind.many else TEXT)


def _as_part(c: Compilation, value: Val, formula: Formula, path: str) -> Val:
    """A value in a component: one text."""
    if value.kind.many:
        return c.refused(
            formula.node, f"{path} takes one text, and this is {value.kind}; take one with [0] or first()", offset=1
        )
    if value.kind.name == "field":
        value = text_of(c, value, formula.tree)
    return _as_hl7_text(c, value, formula, path, "a text")


def _as_hl7_text(c: Compilation, value: Val, formula: Formula, path: str, wanted: str) -> Val:
    name = value.kind.name
    if name in contents.TIMES:
        function = c.code.constant(hl7_message.times_text if value.kind.many else hl7_message.time_text)
        made = c.code.new()
        test = f" if {value.code} is not None else None" if value.maybe else ""
        c.code.emit(f"{made} = {function}(m, {value.code}){test}")
        return Val(made, TEXT.each() if value.kind.many else TEXT, value.maybe)
    if name not in contents.PLAIN_TEXTS and name != "decimal":
        return contents.mismatch(c, formula, path, wanted, value)
    return value


# -- numbers -----------------------------------------------------------------------------------------------------------


def _place_number(c: Compilation, part: Element, path: str) -> int | None:
    if part.name.isdecimal() and 0 < int(part.name[:6]) <= MAX_NUMBER:
        return int(part.name)
    c.problems.error(part.node, f"'{part.name}' is no number of a part of {path}; write 3, or '3.1'")
    return None


def _is_place(c: Compilation, segment: str, node: Node, *place: int) -> bool:
    """Whether the standard has such a field or component; a problem where it has not."""
    problem = hl7_message.writer().path_problem(segment, *place)
    if problem:
        shown = ".".join(map(str, place))
        c.problems.error(node, f"{problem}, there is no {segment}-{shown}")
        return False
    kind = hl7_message.writer().place_type(segment, place[:-1]) if len(place) > 1 else ""
    divided = kind in ("", "*", "-") or bool(hl7_message.writer().component_types(kind))
    if len(place) > 1 and place[-1] > 1 and not divided:
        shown = ".".join(map(str, place[:-1]))
        c.problems.warning(node, f"{segment}-{shown} is a {kind} in v2.5, which has no parts; receivers may refuse")
    return True


def _header_field(c: Compilation, number: int, part: Element) -> bool:
    """What may be said of MSH: the delimiters are literals, the control id is LabRelay's."""
    value = part.value
    if number == 10:
        c.problems.warning(
            part.node,
            "LabRelay gives MSH-10 by itself, the same for each attempt; a number of the sender's may restart, "
            "and a receiver takes two messages with one number for one; remove it",
        )
    if number in (1, 2):
        if not isinstance(value, Text):
            c.problems.error(part.node, f"MSH-{number} is written as a literal")
            return False
        separator, encoding = (value.text, "^~\\&") if number == 1 else ("|", value.text)
        try:
            hl7_message.writer().delimiters_of(separator, encoding)
        except ValueError as error:
            c.problems.error(value.node, str(error))
            return False
    if number == 12 and isinstance(value, Text) and value.text not in _VERSIONS:
        c.problems.error(value.node, f"there is no version {value.text}{suggestion(value.text, _VERSIONS)}")
        return False
    return True


def nested_numbers(body: Body) -> Body:
    """A body in which ``'5.1': x`` and ``'5.2': y`` are the components of one field."""
    parts: list[Element | Case | Use] = []
    fields: dict[str, int] = {}
    for part in body.parts:
        if isinstance(part, Case):
            parts.append(Case(part.node, tuple(replace(one, body=nested_numbers(one.body)) for one in part.branches)))
            continue
        if not isinstance(part, Element):
            parts.append(part)
            continue
        head, dot, rest = part.name.partition(".")
        if not dot:
            parts.append(replace(part, value=_nested(part.value)))
            continue
        inner = Element(rest, part.node, part.value)
        if head not in fields:
            fields[head] = len(parts)
            parts.append(Element(head, part.node, Body(part.node, (inner,))))
            continue
        first = parts[fields[head]]
        assert isinstance(first, Element)
        assert isinstance(first.value, Body)
        parts[fields[head]] = replace(first, value=replace(first.value, parts=(*first.value.parts, inner)))
    made = (
        replace(part, value=nested_numbers(part.value))
        if isinstance(part, Element) and isinstance(part.value, Body)
        else part
        for part in parts
    )
    return replace(body, parts=tuple(made))


def _nested(value: Value) -> Value:
    if isinstance(value, Values):
        return replace(value, items=tuple(map(_nested, value.items)))
    return nested_numbers(value) if isinstance(value, Body) else value


_RESULT_PARTS = frozenset({"OBX", "row", "record"})
_REPORTING = ("ORU", "OUL")  # messages of results: their orders are remembered with their patients


def act(c: Compilation, step: Step, scope: Scope, outer: Scope, before: Slot) -> Made | None:
    """As `steps.act`, where no FHIR is written."""
    allowed = MAKING_STEPS[c.target.kind]
    if step.create or step.add_to:
        kind = "create" if step.create else "add_to"
        text = f"{kind}: makes FHIR, and this mapping writes {c.target}; write {allowed[0]}:"
        c.problems.error(step.create_node or step.node, text)
        return None
    if step.make is None:
        return steps.act(c, step, scope, outer, before)
    if step.make.kind not in allowed:
        c.problems.error(
            step.make.node,
            f"{step.make.kind}: is no part of {c.target}; write {' or '.join(f'{kind}:' for kind in allowed)}",
        )
        return None
    part = _make(c, step.make, scope)
    if step.make.kind == "record" and step.steps is not None:
        inner = Scope(scope, c.code.slot(), c.code.loop)
        c.records[id(inner)] = part
        compile_steps(c, step.steps, inner)
    return called(c, step, None, outer)


def _make(c: Compilation, make: Make, scope: Scope) -> str:
    """Write a part; returns its variable."""
    if c.target.kind == "results":
        return make_facts(c, make, scope)
    code = c.code
    if make.kind == "segment" and not check_segment(c, make):
        return ""
    if c.traced:
        code.emit("T.begin_part()")
    if make.kind == "segment":
        content = new_content(c, make.name, put_field)
        fill(c, content, nested_numbers(make.body), scope)
        check_fields(c, make, content)
    elif make.kind == "line":
        content = new_content(c, make.name, put_field_of_line)
        fill(c, content, make.body, scope)
        check_line(c, make, content)
    else:
        content = new_content(c, make.name, put_cell if make.kind == "row" else put_member)
        fill(c, content, make.body, scope)
        if make.kind == "record":
            c.members |= {f"{make.name}.{name}" for name in content.names}
    part = code.new("v")
    name = code.constant(make.name)
    said = content.said
    if make.name == "MSH":
        said = "True"  # a header is there whatever is in it
    elif content.fixed:
        said = f"bool({content.variable})"  # it reads nothing, so that nothing can be absent
    result = _is_result(c, make, scope)
    if make.kind == "document":
        code.emit(f"{part} = making.describe({content.variable}, {said})")
    elif make.kind == "line":
        code.emit(f"{part} = making.record({code.constant(LINES)}, None, {content.variable}, {said}, 0)")
    elif make.kind == "record":
        around = next(_records_around(c, scope), "None")  # None: the document
        code.emit(f"{part} = making.record({name}, {around}, {content.variable}, {said}, {result or 0})")
    else:
        fields = c.setting.identity
        of = f"{_group_of(fields.person, scope)}, {_group_of(fields.order, scope)}"
        code.emit(f"{part} = making.add({name}, {content.variable}, {said}, {result or 0}, {of})")
    if c.traced:
        code.emit(f"T.part({part})")
    if result:
        code.emit(f"if {said} and {result}: accounted[{result}] = {part}")
    if result and make.kind in ("row", "record"):
        c.lists_results = True
        if c.target.results:
            _note_listed(c, part, said, make, scope)
    if make.name == "PID" and make.kind == "segment":
        code.emit(f"making.patient({part})")
    if make.name == "OBR" and make.kind == "segment" and c.target.event.startswith(_REPORTING):
        code.emit(f"making.order({part}, {order_time(c, scope)}, {person_fields(c, scope)})")
    return part


def _note_listed(c: Compilation, part: str, said: str, make: Make, scope: Scope) -> None:
    """Note the patient of the result in a row or record."""
    parts = [part, *(_records_around(c, scope) if make.kind == "record" else ())]
    time, person = order_time(c, scope), person_fields(c, scope)
    c.code.emit(f"if {said}: making.listed(({', '.join(parts)},), {time}, {person})")


def _group_of(segment: str, scope: Scope) -> str:
    """The variable of the group, at hand or around it, that such a segment begins; None where there is none."""
    owner = scope.owner_of(segment)
    return owner.variable if owner is not None and owner.variable else "None"


def _records_around(c: Compilation, scope: Scope) -> Iterator[str]:
    """The variables of the records around a record, from the inside out."""
    around: Scope | None = scope
    while around is not None:
        if id(around) in c.records:
            yield c.records[id(around)]
        around = around.parent


def _is_result(c: Compilation, make: Make, scope: Scope) -> str:
    """The position of the result that a part accounts for, as source; empty where it is about none."""
    if (make.name if make.kind == "segment" else make.kind) not in _RESULT_PARTS:
        return ""
    segments = results_at_hand(c, scope)
    if segments is None:
        return ""
    return c.kept(f"{segments.segments}[0].position if {segments.segments} else 0")


_CODES = {"action": ACTIONS, "priority": PRIORITIES}


def check_line(c: Compilation, make: Make, content: contents.Content) -> None:
    """A problem where a line does not say what is to be done, or for which test."""
    for name in ("action", "test", "specimen"):
        if name not in content.names:
            c.problems.error(make.node, f"line: lacks {name}:, which every line of an order has")


def put_field_of_line(c: Compilation, content: contents.Content, part: Element, scope: Scope) -> None:
    """One field of a line."""
    if not _known(c, content, part, FIELDS):
        return
    if part.name == "patient":
        _patient(c, content, part, scope)
    elif part.name == "targets":
        _targets(c, content, part, scope)
    else:
        _one_text(c, content, part, scope)


def _put_field_of_patient(c: Compilation, content: contents.Content, part: Element, scope: Scope) -> None:
    if _known(c, content, part, PATIENT_FIELDS):
        _one_text(c, content, part, scope)


def _known(c: Compilation, content: contents.Content, part: Element, known: tuple[str, ...]) -> bool:
    if part.name not in known:
        near = suggestion(part.name, known) or f"; known are {', '.join(known)}"
        c.problems.error(part.node, f"{content.path} has no field '{part.name}'{near}")
        return False
    return not contents.taken(c, content, part.name, part.node)


def _patient(c: Compilation, content: contents.Content, part: Element, scope: Scope) -> None:
    if not isinstance(part.value, Body):
        c.problems.error(part.node, f"patient: is a map of {', '.join(PATIENT_FIELDS)}")
        return
    value, literal = contents.nested_content(c, part.value, f"{content.path}.patient", _put_field_of_patient, scope)
    contents.write(c, content, part.name, value, literal=literal)


def _targets(c: Compilation, content: contents.Content, part: Element, scope: Scope) -> None:
    path = f"{content.path}.{part.name}"
    items = part.value.items if isinstance(part.value, Values) else (part.value,)

    def each() -> Iterator[tuple[Val, bool]]:
        for item in items:
            if not isinstance(item, (Text, Formula)):
                c.problems.error(part.node, "targets: is a list of names of channels")
                return
            yield contents.one_text(c, item, path, scope, _one_or_several)

    value, literal = contents.listed(c, each(), TEXT.each())
    contents.write(c, content, part.name, value, literal=literal)


def _one_or_several(c: Compilation, value: Val, formula: Formula, path: str) -> Val:
    if not value.kind.many:
        return one_text(c, value, formula, path)
    return texts_of(c, value) if value.kind.name == "field" else value


def _one_text(c: Compilation, content: contents.Content, part: Element, scope: Scope) -> None:
    if not isinstance(part.value, (Text, Formula)):
        c.problems.error(part.node, f"{part.name}: is one text")
        return
    codes = _CODES.get(part.name)
    if isinstance(part.value, Text) and codes is not None and (text := part.value.text) not in codes:
        near = suggestion(text, codes) or f"; it is one of {', '.join(codes)}"
        c.problems.error(part.value.node, f"'{text}' is no {part.name}{near}")
        return
    value, literal = contents.one_text(c, part.value, f"{content.path}.{part.name}", scope, one_text)
    contents.write(c, content, part.name, value, literal=literal)
