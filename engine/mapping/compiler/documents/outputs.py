"""Steps of mappings that write no FHIR: the parts they make, and which results these account for.

d7 = {}; n8 = False
...                                                 the body
v9 = making.add(K'OBX', d7, n8, True)               None where all its expressions were absent
if v9 is not None: accounted[s3[0].position] = v9

`line:` steps: the fields of order lines (`engine.model.orders.OrderLine`).

    line:
      action: =lookup('order-action', ORC-1)      absent: the line is rejected, and never taken for a new order
      specimen: =SPM-2.1
      patient: {number: =PID-3.1, family: =PID-5.1}
      targets: =ZAN[*]-1                          a list of channels

Each field is a text. A literal action or priority is checked here, any other one when the lines are written
(`engine.mapping.outputs.orders`).
"""

from collections.abc import Iterator

from engine.mapping.compiler import steps
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents import contents
from engine.mapping.compiler.documents.contents import fill, new_content
from engine.mapping.compiler.documents.facts import make_facts
from engine.mapping.compiler.documents.fields import check_fields, check_segment, nested_numbers, put_field
from engine.mapping.compiler.documents.members import one_text, put_cell, put_member
from engine.mapping.compiler.documents.orders import order_time, person_fields, results_at_hand
from engine.mapping.compiler.made_names import called
from engine.mapping.compiler.scopes import Made, Scope
from engine.mapping.compiler.source.code import TEXT, Slot, Val
from engine.mapping.compiler.source.values import texts_of
from engine.mapping.compiler.steps import compile_steps
from engine.mapping.language.rules import Body, Element, Formula, Make, Step, Text, Values
from engine.mapping.language.targets import MAKING_STEPS
from engine.mapping.outputs.orders import ACTIONS, FIELDS, LINES, PATIENT_FIELDS, PRIORITIES
from engine.model.texts.spelling import suggestion

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
        code.emit(f"{part} = making.record({code.constant(LINES)}, None, {content.variable}, {said}, False)")
    elif make.kind == "record":
        around = next(_records_around(c, scope), "None")  # None: the document
        code.emit(f"{part} = making.record({name}, {around}, {content.variable}, {said}, {bool(result)})")
    else:
        fields = c.setting.identity
        of = f"{_group_of(fields.person, scope)}, {_group_of(fields.order, scope)}"
        code.emit(f"{part} = making.add({name}, {content.variable}, {said}, {bool(result)}, {of})")
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
