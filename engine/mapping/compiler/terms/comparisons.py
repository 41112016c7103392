"""Conditions: comparisons, and whether a value is there. Each becomes a Python expression that is true or false."""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope, Segments
from engine.mapping.compiler.source.code import FLAG, NOTHING, TEXT_LIKE, Val
from engine.mapping.compiler.source.keeping import keep, recurs, text_of, texts_of
from engine.mapping.compiler.terms import patterns
from engine.mapping.compiler.terms.paths import MESSAGE_SEGMENTS, note_repetition, raw_field, segments_of
from engine.mapping.functions import FUNCTIONS
from engine.mapping.language import rules, syntax
from engine.mapping.values import decimals
from engine.model.errors import PatternError

_ORDERS: dict[str, tuple[int, ...]] = {"<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}


def truth(c: Compilation, part: rules.Expression, scope: Scope) -> str:
    """A Python expression, true where the condition holds; ``True`` and ``False`` where that is known now."""
    reading = recurs(c, part, scope)
    if reading is None:
        return _truth(c, part, scope)

    def build() -> Val:
        test = _truth(c, part, scope)
        return c.code.literal(test == "True", FLAG) if test in ("True", "False") else Val(test, FLAG, False)

    kept = keep(c, ("truth", id(part), id(scope)), reading, build)
    return str(kept.constant) if kept.known else kept.code


def _truth(c: Compilation, part: rules.Expression, scope: Scope) -> str:
    match part:
        case rules.Unary(operator="not", value=value):
            test = truth(c, value, scope)
            return {"True": "False", "False": "True"}.get(test, f"not ({test})")
        case rules.Binary(operator=("and" | "or") as operator):
            return _both(c, part, operator, scope)
        case rules.Binary(operator=("==" | "!=") as operator):
            return _equal(c, part, operator, scope)
        case rules.Binary(operator=("<" | "<=" | ">" | ">=") as operator):
            return _ordered(c, part, operator, scope)
        case rules.Binary(operator="in"):
            return _within(c, part, scope)
        case rules.Binary(operator="matches"):
            return _matches(c, part, scope)
        case rules.Path(field=0, which=None):
            c.setting.segments_read.add(part.segment)
            segments = segments_of(c, part, scope)
            return f"bool({segments.segments})" if segments is not None else "False"
        case rules.Path(which=None, repetition=None) if not c.traced:
            return _path_presence(c, part, scope)
        case rules.Path(which=None, component=0) if not c.traced and (part.repetition or 0) > 1:
            return _repetition_presence(c, part, scope)
        case rules.Call(name=name, arguments=(rules.Path(which=None, component=0) as path,)) if (
            not c.traced and name in FUNCTIONS and FUNCTIONS[name].of_components
        ):
            return _components_presence(c, part, path, scope)
        case _:
            return _presence(c.expression(part, scope))


def _repetition_presence(c: Compilation, path: rules.Path, scope: Scope) -> str:
    """Whether a field has a further repetition: mostly it has one, which is quickly seen."""
    raw = raw_field(c, path, scope)
    if raw is None:
        return _presence(c.expression(path, scope))
    note_repetition(c, path)
    return f"(R in {raw} and repetition(m, {raw}, {path.repetition}) is not None)"


def _components_presence(c: Compilation, call: rules.Call, path: rules.Path, scope: Scope) -> str:
    """Whether a function of a field's components has a value: of a field without any it has none."""
    raw = None if path.repetition else raw_field(c, path, scope)
    if raw is None:
        return _presence(c.expression(call, scope))
    note_repetition(c, path)
    c.setting.functions_used.add(call.name)
    function = c.code.constant(FUNCTIONS[call.name].call)
    if path.repetition == 0:
        return f"(C in {raw} and each({function}, (m, repetitions({raw}) or ()), 1) is not None)"
    return f"(C in {raw} and {function}(m, {raw}.partition(R)[0]) is not None)"


def _path_presence(c: Compilation, path: rules.Path, scope: Scope) -> str:
    """Whether a field says something, without keeping what."""
    segment, verbatim = MESSAGE_SEGMENTS[c.setting.message_format]
    for as_text in (True, False):
        if path.segment != segment and (segments := _segments_known(path, scope)) is not None:
            known = c.known(("path", segments.fields, path.field, path.component, path.subcomponent, as_text))
            if known is not None:
                return _presence(known)
    limit = c.setting.known_segments.get(path.segment, 0)
    if (path.segment == segment and path.field in verbatim) or (limit and path.field > limit):
        return _presence(c.expression(path, scope))
    c.setting.segments_read.add(path.segment)
    segments = segments_of(c, path, scope)
    if segments is None:
        return "False"
    segments.width = max(segments.width, path.field + 1)
    raw = f"{segments.fields}[{path.field}]"
    if path.component or path.subcomponent:
        there = f"S in {raw}" if path.subcomponent > 1 else f"C in {raw}" if path.component > 1 else f"{raw} != ''"
        test = f"({there} and has({raw}, {path.component}, {path.subcomponent}))"
        # What begins with a letter or a digit has a first part that says something.
        return f"({raw}[:1].isalnum() or {test})" if path.component == 1 and path.subcomponent < 2 else test
    return f"({raw} > '#' or ({raw} != '' and has({raw}, 0, 0)))"


def _segments_known(path: rules.Path, scope: Scope) -> Segments | None:
    owner = scope.owner_of(path.segment)
    return None if owner is None else owner.preset.get(path.segment) or owner.segments.get(path.segment)


def _presence(value: Val) -> str:
    """True where a value is there; a flag is its own answer."""
    if value.known:
        return "True" if value.constant is not None and value.constant is not False else "False"
    if value.is_absent:
        return "False"
    if value.kind.name == "flag":
        return value.code
    return f"{value.code} is not None" if value.maybe else "True"


def _both(c: Compilation, part: rules.Binary, operator: str, scope: Scope) -> str:
    left = truth(c, part.left, scope)
    deciding = "False" if operator == "and" else "True"
    if left == deciding:
        return deciding
    if left in ("True", "False"):
        return truth(c, part.right, scope)
    with c.code.aside() as lines:
        right = truth(c, part.right, scope)
        if not lines.lines:
            return f"({left}) {operator} ({right})"
        variable = c.kept(right)
    c.code.emit(f"{variable} = {left}")
    c.code.place(f"if {variable}:" if operator == "and" else f"if not {variable}:", lines)
    return variable


def _sides(c: Compilation, part: rules.Binary, scope: Scope) -> tuple[Val, Val, bool]:
    """Both sides of a comparison as texts, or as decimals where one of them is one."""
    left = c.expression(part.left, scope, "text")
    right = c.expression(part.right, scope, "text")
    for value, where in ((left, part.left), (right, part.right)):
        if value.kind.many:
            c.error(where, "a list cannot be compared; take one of it, or use in")
            return NOTHING, NOTHING, False
        if value.kind.name not in TEXT_LIKE | {"field", "flag", "absent"}:
            c.error(where, f"{value.kind} cannot be compared; compare one of its parts")
            return NOTHING, NOTHING, False
    left, right = text_of(c, left, part.left), text_of(c, right, part.right)
    return left, right, "decimal" in (left.kind.name, right.kind.name)


def _equal(c: Compilation, part: rules.Binary, operator: str, scope: Scope) -> str:
    left, right, as_decimals = _sides(c, part, scope)
    if left.known and right.known:
        if as_decimals and left.constant is not None and right.constant is not None:
            same = decimals.compare(str(left.constant), str(right.constant)) == 0
        else:
            same = left.constant == right.constant
        return str(same == (operator == "=="))
    if as_decimals:
        return f"{'' if operator == '==' else 'not '}same_number({left.code}, {right.code})"
    return f"{left.code} {operator} {right.code}"


def _ordered(c: Compilation, part: rules.Binary, operator: str, scope: Scope) -> str:
    left, right, as_decimals = _sides(c, part, scope)
    if left.is_absent or right.is_absent:
        return "False"
    if as_decimals:
        return f"(order({left.code}, {right.code}) in {c.code.constant(_ORDERS[operator])})"
    tests = [f"{side.code} is not None and " for side in (left, right) if side.maybe]
    return f"({''.join(tests)}{left.code} {operator} {right.code})"


def _within(c: Compilation, part: rules.Binary, scope: Scope) -> str:
    left = text_of(c, c.expression(part.left, scope, "text"), part.left)
    right = c.expression(part.right, scope)
    if left.kind.many or left.kind.name not in TEXT_LIKE | {"absent"}:
        c.error(part.left, f"in looks for one text; this is {left.kind}")
        return "False"
    if not right.is_absent and not right.kind.many:
        c.error(part.right, "after in comes a list: ['A', 'B']")
        return "False"
    if left.is_absent or right.is_absent:
        return "False"
    if right.kind.name == "field":
        right = texts_of(c, right)
    if left.known and right.known:
        return str(left.constant in right.constant)
    if right.known:
        return f"{left.code} in {right.code}"
    tests = [f"{side.code} is not None and " for side in (left, right) if side.maybe]
    return f"({''.join(tests)}{left.code} in {right.code})"


def _matches(c: Compilation, part: rules.Binary, scope: Scope) -> str:
    value = text_of(c, c.expression(part.left, scope, "text"), part.left)
    if not isinstance(part.right, rules.Literal):
        c.error(part.right, "after matches comes a pattern in quotes, known when the mapping is loaded")
        return "False"
    pattern = part.right.text
    if len(pattern) > syntax.MAX_PATTERN:
        c.error(part.right, f"a pattern has up to {syntax.MAX_PATTERN} characters")
        return "False"
    try:
        compiled = patterns.compiled(pattern)
    except PatternError as error:
        c.error(part.right, f"character {error.at + 1} of the pattern: {error}")
        return "False"
    if value.is_absent:
        return "False"
    test = f"{c.code.constant(compiled)}.search({value.code}[:{patterns.MAX_TEXT}]) is not None"
    return f"({value.code} is not None and {test})" if value.maybe else test
