"""`line:` steps: the fields of order lines (`engine.model.orders.OrderLine`).

    line:
      action: =lookup('order-action', ORC-1)      absent: the line is rejected, and never taken for a new order
      specimen: =SPM-2.1
      patient: {number: =PID-3.1, family: =PID-5.1}
      targets: =ZAN[*]-1                          a list of channels

Each field is a text. A literal action or priority is checked here, any other one when the lines are written
(`engine.mapping.outputs.orders`).
"""

from collections.abc import Iterator

from engine.mapping.compiler import contents
from engine.mapping.compiler.code import TEXT, Val
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.members import one_text
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.values import texts_of
from engine.mapping.outputs.orders import ACTIONS, FIELDS, PATIENT_FIELDS, PRIORITIES
from engine.mapping.rules import Body, Element, Formula, Make, Text, Values
from engine.model.spelling import suggestion

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
