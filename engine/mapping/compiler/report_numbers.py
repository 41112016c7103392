"""Where a mapping reads the numbers that reports and patients are known by. `engine.processing.names` reads
numbers before the mapping, and has to know whether these are all.
"""

import re
from collections.abc import Iterable

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope, Variable
from engine.mapping.language import nodes
from engine.mapping.language.rules import Formula
from engine.mapping.language.targets import Target

Numbers = set[tuple[str, int, int]]  # segment, field and component
_ELSEWHERE: Numbers = {("", 1, 1)}  # of no field as it was sent
_NOWHERE: Numbers = {("", 0, 1)}
# Their value is a text or an Identifier that is in one of the arguments. Others cut it, or make it of several.
_GIVE_BACK = frozenset(
    (
        *("astm_patient_ids", "cx", "each_once", "ei", "first", "last", "lower", "patient_number", "preferred"),
        *("referred", "setting", "upper", "whole"),
    )
)
_HL7 = re.compile(r"(OBR-[23]|PID-3)(\[\d+\])?(\.1)*")


def is_number(target: Target, path: str) -> bool:
    """Whether the place of an output that is no FHIR holds such a number."""
    if target.kind == "hl7v2":
        return _HL7.fullmatch(path) is not None
    said = target.results or {}
    return path.removeprefix("row.") in (*said.get("order", ()), *said.get("patient", ()))


def note_numbers(c: Compilation, parts: Iterable[nodes.Expression], scope: Scope) -> None:
    """Note where the number is read that is one of these, or made of them."""
    c.setting.report_numbers |= _of_all(parts, scope, frozenset()) or _ELSEWHERE


def _of_all(parts: Iterable[nodes.Expression], scope: Scope, seen: frozenset[int]) -> Numbers:
    return set().union(*(_read(part, scope, seen) for part in parts))


def _read(part: nodes.Expression, scope: Scope, seen: frozenset[int]) -> Numbers:
    match part:
        case nodes.Path(segment=segment, field=at, component=component):
            return {(segment, at, component or 1)}
        case nodes.TreePath() | nodes.Absent():
            return _NOWHERE
        case nodes.Literal() | nodes.Number() | nodes.Flag():
            return set()
        case nodes.Name(name=name):
            named = scope.find(name)
            if not isinstance(named, Variable) or id(named) in seen:
                return _ELSEWHERE
            if not isinstance(named.value, Formula):
                return _NOWHERE if named.value is None else set()
            return _read(named.value.tree, named.scope, seen | {id(named)})
        case nodes.Part(value=value, number=number):
            return {(segment, at, number) for segment, at, _ in _read(value, scope, seen)}
        case nodes.Item(value=value):
            return _read(value, scope, seen)
        case nodes.ListOf(items=items):
            return _of_all(items, scope, seen)
        case nodes.Binary(operator="|" | "++", left=left, right=right):
            return _of_all((left, right), scope, seen)
        case nodes.Choice(then=then, other=other):
            return _of_all((then, other), scope, seen)
        case nodes.Call(name="join", arguments=(value, nodes.Literal(text=sign))) if sign and not _said(sign):
            return _read(value, scope, seen)
        case nodes.Call(name=name, arguments=arguments) if name in _GIVE_BACK:
            return _of_all(arguments, scope, seen)
        case _:
            return _ELSEWHERE


def _said(sign: str) -> bool:
    return any(map(str.isalnum, sign))
