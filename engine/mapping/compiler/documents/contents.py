"""Bodies without a schema to dictionaries: fields of segments, cells of rows, members of records.

    d = {}; s = False
    if t is not None: d[K] = t; s = True    an expression: it is there, and with it the whole
    d[K] = K'                               a literal or a setting: it makes nothing by itself

What a value can be at its place is the business of `outputs` and `members`; elements, `$case`, `$use` and `$let` are
the same for both, and are here.

Also where a mapping reads the numbers that reports and patients are known by: `engine.processing.names` reads numbers
before the mapping, and has to know whether these are all.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.config.reading.yaml_nodes import Node
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.fragments import branches, used_body, with_lets
from engine.mapping.compiler.scopes import Scope, Variable
from engine.mapping.compiler.source.code import NOTHING, TEXT, TEXT_LIKE, Kind, Val
from engine.mapping.compiler.source.keeping import add_to_list, rule_and_function, rule_value
from engine.mapping.functions import FUNCTIONS
from engine.mapping.language import rules
from engine.mapping.language.rules import Body, Case, Element, Formula, Text, Use
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


def note_numbers(c: Compilation, parts: Iterable[rules.Expression], scope: Scope) -> None:
    """Note where the number is read that is one of these, or made of them."""
    c.setting.report_numbers |= _of_all(parts, scope, frozenset()) or _ELSEWHERE


def _of_all(parts: Iterable[rules.Expression], scope: Scope, seen: frozenset[int]) -> Numbers:
    return set().union(*(_read(part, scope, seen) for part in parts))


def _read(part: rules.Expression, scope: Scope, seen: frozenset[int]) -> Numbers:
    match part:
        case rules.Path(segment=segment, field=at, component=component):
            return {(segment, at, component or 1)}
        case rules.TreePath() | rules.Absent():
            return _NOWHERE
        case rules.Literal() | rules.Number() | rules.Flag():
            return set()
        case rules.Name(name=name):
            named = scope.find(name)
            if not isinstance(named, Variable) or id(named) in seen:
                return _ELSEWHERE
            if not isinstance(named.value, Formula):
                return _NOWHERE if named.value is None else set()
            return _read(named.value.tree, named.scope, seen | {id(named)})
        case rules.Part(value=value, number=number):
            return {(segment, at, number) for segment, at, _ in _read(value, scope, seen)}
        case rules.Item(value=value):
            return _read(value, scope, seen)
        case rules.ListOf(items=items):
            return _of_all(items, scope, seen)
        case rules.Binary(operator="|" | "++", left=left, right=right):
            return _of_all((left, right), scope, seen)
        case rules.Choice(then=then, other=other):
            return _of_all((then, other), scope, seen)
        case rules.Call(name="join", arguments=(value, rules.Literal(text=sign))) if sign and not _said(sign):
            return _read(value, scope, seen)
        case rules.Call(name="tube_number", arguments=(number, *_)):
            places = _read(number, scope, seen)
            return {(segment, at, part) for segment, at, _ in places for part in ((1, 3) if segment == "O" else (1,))}
        case rules.Call(name=name, arguments=arguments) if name in _GIVE_BACK:
            return _of_all(arguments, scope, seen)
        case _:
            return _ELSEWHERE


def _said(sign: str) -> bool:
    return any(map(str.isalnum, sign))


TIMES = frozenset({"date", "dateTime", "instant", "time"})
CONTENT = Kind("content")
PLAIN_TEXTS = TEXT_LIKE - TIMES - {"decimal"}
_LOOSE_EXPRESSION = re.compile(
    r"[A-Z][A-Z0-9]{0,2}(\[[*\d]+\])?-\d+(\.\d+)*(\[[*\d]+\])?|[a-z_][a-z0-9_]*\(.*\)", re.DOTALL
)
_ITEMS = re.compile(r"\[\d+\]")
Put = Callable[[Compilation, "Content", Element, Scope], None]
Fit = Callable[[Compilation, Val, Formula, str], Val]


@dataclass(slots=True)
class Content:
    """A dictionary that is being filled.

    Attributes:
        variable: of the dictionary; ``said`` of the flag that an expression had a value.
        path: of the place, for problems and the trace: ``OBX``, ``OBX-3``, ``results``.
        put: compiles one element and writes it.
        names: those that it has already.
        fixed: only literals so far.
    """

    variable: str
    said: str
    path: str
    put: Put
    names: set[Any] = field(default_factory=set)
    fixed: bool = True


def new_content(c: Compilation, path: str, put: Put) -> Content:
    """An empty dictionary."""
    made = Content(c.code.new("d"), c.code.new("n"), path, put)
    c.code.emit(f"{made.variable} = {{}}")
    c.code.emit(f"{made.said} = False")
    return made


def fill(c: Compilation, content: Content, body: Body, scope: Scope) -> None:
    """The lines that fill a dictionary with a body."""
    with with_lets(c, scope, body.lets) as inner:
        for part in body.parts:
            match part:
                case Element():
                    with c.at(part.node):
                        content.put(c, content, part, inner)
                case Case():
                    _case_in(c, content, part, inner)
                case Use():
                    with used_body(c, part, inner, "holds steps") as found:
                        if found is not None:
                            fill(c, content, *found)


def nested_content(c: Compilation, body: Body, path: str, put: Put, scope: Scope) -> tuple[Val, bool]:
    """A dictionary inside another one, absent where all its expressions are; and whether it has none at all."""
    content = new_content(c, path, put)
    fill(c, content, body, scope)
    if not content.names:
        return NOTHING, True
    if content.fixed:
        return Val(content.variable, CONTENT, maybe=False), True
    c.code.emit(f"if not {content.said}: {content.variable} = None")
    return Val(content.variable, CONTENT), False


def write(c: Compilation, content: Content, key: Any, value: Val, *, literal: bool) -> None:
    """The line that writes a value under its key; none where it is absent."""
    if value.is_absent:
        return
    set_it = f"{content.variable}[{c.code.constant(key)}] = {value.code}"
    if not literal:
        content.fixed = False
        set_it += f"; {content.said} = True"
    c.code.emit(f"if {value.code} is not None: {set_it}" if value.maybe else set_it)


def listed(c: Compilation, values: Iterable[tuple[Val, bool]], kind: Kind) -> tuple[Val, bool]:
    """The list of values that are there, each compiled in its turn; and whether all of them are literals."""
    variable = c.code.new("l")
    c.code.emit(f"{variable} = []")
    literal = True
    for value, fixed in values:
        literal = literal and fixed
        if not value.is_absent:
            add_to_list(c, variable, value)
    c.code.emit(f"if not {variable}: {variable} = None")
    return Val(variable, kind), literal


def taken(c: Compilation, content: Content, key: Any, node: Node) -> bool:
    """Note a name; a problem where it is there already."""
    if key in content.names:
        c.problems.error(node, f"{node.value} is here a second time; remove one")
        return True
    content.names.add(key)
    return False


def _case_in(c: Compilation, content: Content, case: Case, scope: Scope) -> None:
    before = set(content.names)
    after = set(before)
    for body, _ in branches(c, case, scope):
        content.names = set(before)
        fill(c, content, body, scope)
        after |= content.names
    content.names = after


# -- values ------------------------------------------------------------------------------------------------------------


def leaf(c: Compilation, value: Formula, path: str, scope: Scope, want: str, fit: Fit) -> Val:
    """The value of an expression at its place, noted in the trace.

    Args:
        fit: makes of what it is what the place takes.
    """
    if is_number(c.target, path):
        note_numbers(c, (value.tree,), scope)
    if c.traced:
        c.code.emit("T.open()")
    made = rule_value(c, value, scope, want)
    if not made.is_absent:
        made = fit(c, made, value, path)
    if c.traced:
        rule, how = (c.code.constant(text) for text in rule_and_function(value))
        c.code.emit(f"T.place({c.code.constant(below(path))}, {rule}, {how}, {made.code})")
    return made


def says_nothing(value: Formula, scope: Scope) -> bool:
    """Whether an expression reads nothing of the message: constants and settings."""
    for part in rules.walk(value.tree):
        match part:
            case rules.Path() | rules.TreePath():
                return False
            case rules.Name(name=name):
                named = scope.find(name)
                if not isinstance(named, Variable) or not isinstance(named.value, Formula) or named.active:
                    return False
                if not says_nothing(named.value, named.scope):
                    return False
            case rules.Call(name=name):
                function = FUNCTIONS.get(name)
                if function is None or not (function.pure or name == "setting"):
                    return False
            case _:
                continue
    return True


def is_loose(c: Compilation, value: Text, path: str) -> bool:
    """Note a literal in the trace; whether it looks like an expression, which is a problem."""
    if c.traced:
        rule = c.code.constant(f"{value.node.file}:{value.node.line}")
        text = c.code.constant(value.text)
        c.code.emit(f"T.literal({c.code.constant(below(path))}, {rule}, {text})")
    if value.node.plain and _LOOSE_EXPRESSION.fullmatch(value.text):
        text = f"'{value.text}' looks like an expression and is a literal; put = in front, or quotes around"
        c.problems.error(value.node, text)
        return True
    return False


def one_text(
    c: Compilation, value: Text | Formula, path: str, scope: Scope, fit: Fit, want: str = "text"
) -> tuple[Val, bool]:
    """A text or an expression at its place, and whether it is a literal."""
    if isinstance(value, Text):
        return NOTHING if is_loose(c, value, path) else c.code.literal(value.text, TEXT), True
    made = leaf(c, value, path, scope, want, fit)
    return made, made.known or says_nothing(value, scope)


def mismatch(c: Compilation, formula: Formula, path: str, wanted: str, value: Val) -> Val:
    """A problem: the place does not take such a value."""
    hints = {
        "measured": "; .value is its number",
        "row": "; take a column of it, as .loinc",
        "segment": "; take a field of it",
        "flag": "; write 'Y' if ... else 'N'",
        "Reference": "; only FHIR has references",
    }
    hint = hints.get(value.kind.name, "")
    return c.refused(formula.node, f"{path} takes {wanted}, and this is {value.kind}{hint}", offset=1)


def below(path: str) -> str:
    """A place below its part, without numbers of items, as the trace has it: ``OBX-8[2].1`` is ``.8.1``."""
    plain = _ITEMS.sub("", path)
    start = min((at for at in (plain.find("."), plain.find("-")) if at >= 0), default=len(plain))
    return "." + plain[start + 1 :]
