"""Literals and computed values as the type of a FHIR element: its primitives, codes and data types."""

import re

from orjson import Fragment

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.source.code import NOTHING, TEXT_LIKE, Kind, Val
from engine.mapping.compiler.source.keeping import rule_and_function, rule_value, text_of
from engine.mapping.compiler.terms.operators import decimal_of
from engine.mapping.fhir import r4
from engine.mapping.language.rules import Formula, Text
from engine.mapping.values import decimals
from engine.model.tables import table_lines
from engine.model.texts.spelling import suggestion

_INTEGERS = {"integer": None, "positiveInt": 1, "unsignedInt": 0}
_LITERAL_FORMS = {
    "date": re.compile(r"\d{4}(-\d\d(-\d\d)?)?"),
    "dateTime": re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?"),
    "instant": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    "time": re.compile(r"\d\d:\d\d:\d\d(\.\d+)?"),
    "code": re.compile(r"\S+( \S+)*"),
}
_TIMES = {
    "date": frozenset({"date"}),
    "dateTime": frozenset({"date", "dateTime", "instant"}),
    "instant": frozenset({"instant"}),
    "time": frozenset({"time"}),
}
_QUANTITIES = frozenset({"Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity"})
_MAKERS = dict(line.split(": ") for line in table_lines(__file__, "../../data/element_makers.txt"))
_LOOSE_PATH = re.compile(r"[A-Z][A-Z0-9]{0,2}(\[[*\d]+\])?-\d+(\.\d+)*(\[[*\d]+\])?")
_LOOSE_CALL = re.compile(r"[a-z_][a-z0-9_]*\(.*\)")


def written(value: Val, path: str) -> Val:
    """A kept value as JSON, where it is not a primitive. Observations only: they are never joined with another."""
    if value.known or value.is_absent or not path.startswith("Observation."):
        return value
    if not value.kind.many and value.kind.name in r4.PRIMITIVES:
        return value
    return Val(f"fragment({value.code})", value.kind, value.maybe)


def as_json_list(c: Compilation, value: Val) -> Val:
    if value.kind.many:
        if value.known and isinstance(value.constant, tuple):
            return c.code.literal(list(value.constant), value.kind)
        return value
    if value.known:
        return c.code.literal([value.constant], value.kind.each())
    variable = c.code.new()
    if value.maybe:
        c.code.emit(f"{variable} = [{value.code}] if {value.code} is not None else None")
    else:
        c.code.emit(f"{variable} = [{value.code}]")
    return Val(variable, value.kind.each(), value.maybe)


def literal_value(c: Compilation, value: Text, element: r4.Element, path: str) -> Val:
    """A literal as the element's type; a problem where it is none of it."""
    text, node, wanted = value.text, value.node, element.type
    if node.plain and (_LOOSE_PATH.fullmatch(text) or _LOOSE_CALL.fullmatch(text)):
        return c.refused(node, f"'{text}' looks like an expression and is a literal; put = in front, or quotes around")
    if wanted not in r4.PRIMITIVES:
        return c.refused(node, f"{path} is a {wanted}, not a text{_how_to_make(wanted)}")
    kind = Kind(wanted)
    if wanted == "boolean":
        if text in ("true", "false"):
            return c.code.literal(text == "true", kind)
        return c.refused(node, f"{path} is true or false, not '{text}'")
    if wanted == "decimal" or wanted in _INTEGERS:
        number = decimals.normal(text)
        if number is None or (wanted in _INTEGERS and not number.lstrip("-").isdigit()):
            return c.refused(node, f"{path} is a {wanted}; '{text}' is none")
        if wanted == "decimal":
            return Val(c.code.constant(Fragment(number)), kind, False, Fragment(number))
        return c.code.literal(int(number), kind)
    if (form := _LITERAL_FORMS.get(wanted)) and not form.fullmatch(text):
        return c.refused(node, f"{path} is a {wanted}; '{text}' is none")
    if element.binding and text not in r4.CODES[element.binding]:
        codes = r4.CODES[element.binding]
        return c.refused(node, f"{path} is never '{text}'{suggestion(text, codes)}")
    return c.code.literal(text, kind)


def formula_value(c: Compilation, value: Formula, element: r4.Element, path: str, scope: Scope) -> Val:
    wanted = element.type
    want = "text" if wanted in r4.PRIMITIVES else ""
    if c.traced:
        c.code.emit("T.open()")
    made = rule_value(c, value, scope, want)
    made = _converted(c, made, element, path, value)
    if c.traced:
        rule, how = (c.code.constant(text) for text in rule_and_function(value))
        uses = c.code.constant(scope.uses())
        c.code.emit(f"T.leaf({c.code.constant(path)}, {rule}, {how}, {uses}, {made.code})")
    return made


def _converted(c: Compilation, value: Val, element: r4.Element, path: str, formula: Formula) -> Val:
    wanted = element.type
    part = formula.tree
    if value.is_absent:
        return NOTHING
    name = value.kind.name
    if wanted not in r4.PRIMITIVES:
        return _complex(c, value, element, path, formula)
    if wanted == "boolean":
        return _boolean(c, value, path, formula)
    if name == "field":
        value = text_of(c, value, part)
        name = "text"
    if wanted == "decimal" or wanted in _INTEGERS:
        return _number(c, value, wanted, path, formula)
    if wanted in _TIMES:
        if name not in _TIMES[wanted]:
            return _mismatch(c, formula, path, wanted, value.kind)
        return value
    if name not in TEXT_LIKE:
        return _mismatch(c, formula, path, wanted, value.kind)
    return _bound(c, value, element, path, formula) if element.binding else value


def _bound(c: Compilation, value: Val, element: r4.Element, path: str, formula: Formula) -> Val:
    """A code of a required binding: known to be one, or checked at the message."""
    allowed = r4.CODES[element.binding]
    node = formula.node
    if value.known:
        if value.constant is not None and value.constant not in allowed:
            c.problems.error(node, f"{path} is never '{value.constant}'{suggestion(str(value.constant), allowed)}")
        return value
    if value.kind.codes is not None:
        if wrong := sorted(value.kind.codes - allowed):
            c.problems.error(node, f"{path} cannot be {', '.join(wrong)}; use the table made for it")
        return value
    variable = c.code.new()
    codes = c.code.constant(allowed)
    c.code.emit(f"{variable} = {value.code}")
    refused = f"not_a_code({c.code.constant(path)})"
    c.code.emit(f"if {variable} not in {codes} and {variable} is not None: {variable} = {refused}")
    return Val(variable, value.kind)


def _boolean(c: Compilation, value: Val, path: str, formula: Formula) -> Val:
    if value.kind.name == "flag":
        return value
    if value.known and value.constant in ("true", "false"):
        return c.code.literal(value.constant == "true", Kind("boolean"))
    return _mismatch(c, formula, path, "true or false", value.kind)


def _number(c: Compilation, value: Val, wanted: str, path: str, formula: Formula) -> Val:
    if value.kind.name not in TEXT_LIKE | {"measured"}:
        return _mismatch(c, formula, path, wanted, value.kind)
    value = decimal_of(c, value, formula.tree)
    if value.is_absent:
        return NOTHING
    function = "Fragment" if wanted == "decimal" else "integer"
    least = "" if wanted == "decimal" else f", {_INTEGERS[wanted]}"
    variable = c.code.new()
    test = f" if {value.code} is not None else None" if value.maybe else ""
    c.code.emit(f"{variable} = {function}({value.code}{least}){test}")
    return Val(variable, Kind(wanted), value.maybe or wanted != "decimal")


def _complex(c: Compilation, value: Val, element: r4.Element, path: str, formula: Formula) -> Val:
    wanted, name = element.type, value.kind.name
    if wanted == name:
        wrong = sorted((value.kind.codes or frozenset()) - set(element.targets))
        if wanted == "Reference" and element.targets and wrong:
            targets = " or ".join(element.targets)
            c.problems.error(formula.node, f"{path} refers to {targets}, not to {', '.join(wrong)}")
        return value
    if wanted in _QUANTITIES and name == "Quantity":
        return value
    if wanted == "CodeableConcept" and name == "Coding":
        variable = c.code.new()
        if value.kind.many:
            c.code.emit(f"{variable} = {{'coding': {value.code}}} if {value.code} is not None else None")
        else:
            c.code.emit(f"{variable} = {{'coding': [{value.code}]}} if {value.code} is not None else None")
        return Val(variable, Kind("CodeableConcept"), value.maybe)
    return _mismatch(c, formula, path, wanted, value.kind)


def _mismatch(c: Compilation, formula: Formula, path: str, wanted: str, kind: Kind) -> Val:
    return c.refused(formula.node, f"{path} is a {wanted}, and this is {kind}{_how_to_make(wanted)}", offset=1)


def _how_to_make(wanted: str) -> str:
    return f"; {_MAKERS[wanted]} makes one" if wanted in _MAKERS else ""
