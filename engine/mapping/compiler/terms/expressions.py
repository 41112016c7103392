"""Expressions to lines of Python. Each `Val` that comes back is a variable, a constant or something as cheap.

Calls: functions of the language with their arguments, and those that the compiler itself knows.
"""

from collections.abc import Sequence
from typing import Any

from engine.mapping.code_tables.tables import Table
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Made, Scope, Variable
from engine.mapping.compiler.source.code import ABSENT, DECIMAL, FLAG, NOTHING, TEXT, TEXT_LIKE, Kind, Val
from engine.mapping.compiler.source.keeping import as_list, home_of, keep, outside_the_loop, recurs, text_of
from engine.mapping.compiler.source.recurring import VARYING
from engine.mapping.compiler.terms import operators
from engine.mapping.compiler.terms.comparisons import truth
from engine.mapping.compiler.terms.names import name_value, reference_to
from engine.mapping.compiler.terms.operators import decimal_of
from engine.mapping.compiler.terms.paths import note_repetition, part_value, path_value, raw_field, tree_value
from engine.mapping.functions import FUNCTIONS, Function, Parameter
from engine.mapping.functions.code_maps import CODE_MAPS
from engine.mapping.language import rules
from engine.mapping.language.rules import Formula
from engine.mapping.values import decimals
from engine.model.texts.spelling import suggestion

# Of the run, as generated code calls it -> what it keeps of a message.
TO_TIME = {"to_datetime": "times_sent", "to_event_time": "events_sent"}


# -- functions ---------------------------------------------------------------------------------------------------------


def call_value(c: Compilation, part: rules.Call, scope: Scope) -> Val:
    """The value of a call."""
    function = FUNCTIONS.get(part.name)
    if function is None:
        return c.error(part, f"no function is called {part.name}{suggestion(part.name, FUNCTIONS)}")
    c.setting.functions_used.add(part.name)
    if part.name == "lookup":
        return _lookup(c, part, scope)
    if part.name == "ref":
        return _ref(c, part, scope)
    if part.name == "setting":
        return _setting(c, part, scope)
    match part.arguments:
        case (rules.Path(which=None, repetition=None, component=0) as path,) if (
            not c.traced
            and (function.of_components or (function.method in TO_TIME and _differs(path)))
            and (raw := raw_field(c, path, scope)) is not None
        ):
            if not function.of_components:
                return _time(c, function, part, raw, scope)
            note_repetition(c, path)
            call = f"{c.code.constant(function.call)}(m, {raw}.partition(R)[0])"
            kind = Kind(function.kind, function.many)
            return _kept_call(c, f"{call} if C in {raw} else None", ("components", function.name, raw), kind, True)
    arguments = _arguments(c, function, part, scope)
    if arguments is None:
        return NOTHING
    if len(_lists(arguments)) > 1:
        return c.error(part, "only one argument may be a list in the place of one value; take one of the others")
    return _apply(c, function, arguments)


def _time(c: Compilation, function: Function, part: rules.Call, raw: str, scope: Scope) -> Val:
    """A time in a field: results of one message have the same few, so each is read once."""
    key, kept = (function.method, raw), TO_TIME[function.method]
    if (known := c.known(key)) is not None:
        return known
    variable = c.kept(f"{kept}.get({raw})")
    with c.code.block(f"if {variable} is None:"):
        arguments = _arguments(c, function, part, scope)
        if arguments is None:
            return NOTHING
        made = _apply(c, function, arguments)
        c.code.emit(f"{variable} = {made.code}")
        c.code.emit(f"if {variable} is not None: {kept}[{raw}] = {variable}")
    found = Val(variable, made.kind)
    c.remember(key, found)
    return found


def _arguments(
    c: Compilation, function: Function, part: rules.Call, scope: Scope
) -> list[tuple[Parameter, Val]] | None:
    parameters = list(function.parameters)
    given = list(part.arguments)
    if parameters and parameters[-1].rest:
        rest = parameters.pop()
        parameters += [rest] * max(0, len(given) - len(parameters))
    if len(given) > len(parameters):
        c.error(given[len(parameters)], f"too many arguments; {function.signature}")
        return None
    pairs: list[tuple[Parameter, Val]] = []
    for at, parameter in enumerate(parameters):
        if at >= len(given):
            if not parameter.optional and not parameter.rest:
                c.error(part, f"{parameter.name} is missing; {function.signature}")
                return None
            pairs.append((parameter, NOTHING))
            continue
        value = _argument(c, function, parameter, given[at], scope)
        if value is None:
            return None
        pairs.append((parameter, value))
    return pairs


def _argument(
    c: Compilation, function: Function, parameter: Parameter, part: rules.Expression, scope: Scope
) -> Val | None:
    kind = parameter.kind
    want = "text" if kind == "text" and not parameter.many else ""
    value = c.expression(part, scope, want)
    if value.is_absent or kind == "any":
        return as_list(c, value) if parameter.many and not value.is_absent and not value.kind.many else value
    wrong = f"{parameter.name} of {function.name}() takes {'a list of ' if parameter.many else ''}{kind}"
    name = value.kind.name
    match kind:
        case "literal":
            if not value.known or not isinstance(value.constant, str):
                c.error(part, f"{wrong}: a text in quotes or a number, known when the mapping is loaded")
                return None
        case "table":
            return _table_argument(c, value, part)
        case "text":
            if name == "field":
                value = text_of(c, value, part)
            elif name not in TEXT_LIKE:
                c.error(part, f"{wrong}; this is {value.kind}")
                return None
        case "whole":
            if name == "field":
                value = _whole(c, value)
            elif name not in TEXT_LIKE:
                c.error(part, f"{wrong}: fields or texts; this is {value.kind}")
                return None
        case "decimal":
            value = decimal_of(c, value, part)
        case "Identifier" if name == "field":
            value = _apply(c, FUNCTIONS["cx"], [(FUNCTIONS["cx"].parameters[0], value)])
        case _ if name != kind:
            hint = "; it takes the field as it was sent, before it becomes text" if kind == "field" else ""
            c.error(part, f"{wrong}; this is {value.kind}{hint}")
            return None
    if parameter.many and not value.kind.many and not value.is_absent:
        value = as_list(c, value)
    return value


def _table_argument(c: Compilation, value: Val, part: rules.Expression) -> Val | None:
    """A table of the mapping, which a function reads itself: what is missing in it is no gap of the channel."""
    table = c.setting.tables.get(value.constant) if value.known and isinstance(value.constant, str) else None
    if table is None:
        known = suggestion(str(value.constant or ""), c.setting.tables)
        c.error(part, f"give the name of one of the mapping's tables, in quotes{known}")
        return None
    c.setting.tables_used.add(table.name)
    return Val(c.code.constant(table), Kind("table"), maybe=False)


def _whole(c: Compilation, value: Val) -> Val:
    if value.kind.many:
        inner = c.code.new()
        source = f"[{inner} for {inner} in map(whole, {value.code}) if {inner} is not None] or None"
        return Val(c.kept(f"{source} if {value.code} is not None else None"), TEXT.each())
    return Val(c.kept(f"whole({value.code}) if {value.code} is not None else None"), TEXT)


def _apply(c: Compilation, function: Function, pairs: Sequence[tuple[Parameter, Val]]) -> Val:
    for parameter, value in pairs:
        if value.is_absent and not parameter.optional:
            return NOTHING
    kind = _result_kind(function, pairs)
    if function.pure and all(value.known for _, value in pairs):
        arguments = [
            list(value.constant) if value.kind.many and value.constant is not None else value.constant
            for _, value in pairs
        ]
        return c.code.literal(function.call(*arguments), kind)
    lists = _lists(pairs)
    codes = [value.code for _, value in pairs]
    while codes and codes[-1] == "None":
        codes.pop()
    name, otherwise = function.method or c.code.constant(function.call), "None"
    given = codes if function.pure or function.method else ["m", *codes]
    tests = [f"{value.code} is not None" for parameter, value in pairs if value.maybe and not parameter.optional]
    if lists:
        at = lists[0] + len(given) - len(codes)
        call = f"each({name}, ({', '.join(given)},), {at})"
        tests += [f"{codes[lists[0]]} is not None"] if pairs[lists[0]][0].optional else []
        kind = kind.each()
    else:
        call = f"{name}({', '.join(given)})"
    if function.is_field and not c.traced:
        tests, otherwise = [*tests, f"C in {codes[0]}"], codes[0]
    source = f"{call} if {' and '.join(tests)} else {otherwise}" if tests else call
    maybe = bool(tests) or bool(lists) or not function.always
    if c.traced or not codes:
        return Val(c.kept(source), kind, maybe)
    return _kept_call(c, source, ("call", function.name, *codes), kind, maybe)


def _kept_call(c: Compilation, source: str, key: Any, kind: Kind, maybe: bool) -> Val:
    """The value of a call, not computed again where it is known already."""
    known = c.known(key)
    if known is None:
        known = Val(c.kept(source), kind, maybe)
        c.remember(key, known)
    return known


def _result_kind(function: Function, pairs: Sequence[tuple[Parameter, Val]]) -> Kind:
    if function.kind != "any":
        return Kind(function.kind, function.many)
    for parameter, value in pairs:
        if parameter.kind == "any" and not value.is_absent:
            return value.kind.one()
    return ABSENT


# -- calls that the compiler itself knows ------------------------------------------------------------------------------


def _literal_argument(c: Compilation, part: rules.Call, at: int, what: str) -> str | None:
    if at < len(part.arguments) and isinstance(part.arguments[at], rules.Literal):
        literal = part.arguments[at]
        assert isinstance(literal, rules.Literal)
        return literal.text
    where = part.arguments[at] if at < len(part.arguments) else part
    c.error(where, f"{part.name}() takes {what} in quotes")
    return None


def _setting(c: Compilation, part: rules.Call, scope: Scope) -> Val:
    name = _literal_argument(c, part, 0, "the name of a setting")
    if name is None or len(part.arguments) > 2:
        return NOTHING if name is None else c.error(part, f"too many arguments; {FUNCTIONS['setting'].signature}")
    c.setting.settings_read.add(name)
    source = f"setting({c.code.constant(name)})"
    if c.traced:
        c.code.emit(f"T.setting({c.code.constant(name)})")
    if len(part.arguments) == 2:
        default = text_of(c, c.expression(part.arguments[1], scope, "text"), part.arguments[1])
        if not default.is_absent:
            return Val(c.kept(f"{source} or {default.code}"), TEXT, default.maybe)
    return Val(c.kept(source), TEXT)


def _ref(c: Compilation, part: rules.Call, scope: Scope) -> Val:
    if len(part.arguments) != 1 or not isinstance(part.arguments[0], rules.Name):
        return c.error(part, "ref() takes the name that as: gave")
    name = part.arguments[0]
    found = scope.find(name.name)
    if isinstance(found, Made):
        return reference_to(found)
    if isinstance(found, Variable):
        value = name_value(c, name, scope, "")
        if value.is_absent or value.kind.name == "Reference":
            return value
        return c.error(name, f"{name.name} is {value.kind}; ref() takes what as: named")
    known = [each for each in scope.visible() if isinstance(scope.find(each), Made)]
    return c.error(name, f"no step before this one made {name.name}{suggestion(name.name, known)}")


def _lookup(c: Compilation, part: rules.Call, scope: Scope) -> Val:
    name = _literal_argument(c, part, 0, "the name of a table")
    if name is None:
        return NOTHING
    table = c.setting.tables.get(name)
    if table is not None:
        return _lookup_row(c, part, name, table, scope)
    if name in CODE_MAPS:
        return _lookup_code(c, part, name, scope)
    return c.error(part.arguments[0], f"no table is called {name}{suggestion(name, [*c.setting.tables, *CODE_MAPS])}")


def _lookup_code(c: Compilation, part: rules.Call, name: str, scope: Scope) -> Val:
    if len(part.arguments) != 2:
        return c.error(part, f"table {name} has one key: lookup('{name}', value)")
    code_map = CODE_MAPS[name]
    value = c.expression(part.arguments[1], scope)
    if value.is_absent:
        return NOTHING
    if value.kind.name not in TEXT_LIKE | {"field"}:
        return c.error(part.arguments[1], f"a table is looked up by a text; this is {value.kind}")
    codes = None
    if code_map.kind == "code":
        codes = frozenset([*code_map.values.values(), *([code_map.otherwise] if code_map.otherwise else [])])
    kind = Kind(code_map.kind, codes=codes)
    values, map_name = c.code.constant(code_map.values), c.code.constant(name)
    whole = c.code.constant(code_map)
    variable = c.code.new()
    # A field is looked up as it was sent first: most codes need no unescaping to be found.
    raw = value.kind.name == "field"
    field = c.code.constant(rules.fields_in(part.arguments[1]))
    if value.kind.many:
        call = f"each_code(m, {map_name}, {whole}, {value.code}, {raw}, {field})"
        c.code.emit(f"{variable} = {call} if {value.code} is not None else None")
        _trace_table(c, map_name, variable)
        return Val(variable, kind.each())
    c.code.emit(f"{variable} = {values}.get({value.code})")
    test = f"{variable} is None and {value.code} is not None" if value.maybe else f"{variable} is None"
    arguments = f"{map_name}, {whole}, {value.code}"
    call = f"one_code(m, {arguments}, {field})" if raw else f"miss({arguments}, m, {field})"
    c.code.emit(f"if {test}: {variable} = {call}")
    _trace_table(c, map_name, variable)
    complete = bool(code_map.otherwise or code_map.dead or code_map.concept_system is not None)
    return Val(variable, kind, maybe=value.maybe or not complete)


def _trace_table(c: Compilation, name: str, variable: str) -> None:
    if c.traced:
        c.code.emit(f"if {variable} is not None: T.table({name})")


def _lookup_row(c: Compilation, part: rules.Call, name: str, table: Table, scope: Scope) -> Val:
    c.setting.tables_used.add(name)
    keys = part.arguments[1:]
    if len(keys) != len(table.key):
        return c.error(part, f"table {name} is looked up by {len(table.key)} keys: {', '.join(table.key)}")
    values = [text_of(c, c.expression(key, scope, "text"), key) for key in keys]
    for value, key in zip(values, keys, strict=True):
        if value.kind.many or (value.kind.name not in TEXT_LIKE and not value.is_absent):
            return c.error(key, f"a key is one text; this is {value.kind}")
    if values[0].is_absent:
        return NOTHING
    variable = c.code.new()
    codes = [value.code for value in values]
    key_code = codes[0] if len(codes) == 1 else f"({', '.join(codes)})"
    exact, whole = c.code.constant(table.exact), c.code.constant(table)
    c.code.emit(f"{variable} = {exact}.get({key_code})")
    test = f"{variable} is None and {codes[0]} is not None" if values[0].maybe else f"{variable} is None"
    c.code.emit(f"if {test}: {variable} = find_row(m, {whole}, ({', '.join(codes)},))")
    if c.traced:
        c.code.emit(f"if {variable} is not None: T.row({variable})")
    return Val(variable, Kind("row", columns=frozenset(table.columns), table=table.file))


def _differs(path: rules.Path) -> bool:
    """Whether each result of a message has a field, and its value does not recur from message to message."""
    return path.field in VARYING.get(path.segment, ())


def _lists(pairs: Sequence[tuple[Parameter, Val]]) -> list[int]:
    """Which arguments are lists where the function takes one value: it is called for each element."""
    return [
        at
        for at, (parameter, value) in enumerate(pairs)
        if value.kind.many and not parameter.many and parameter.kind != "any"
    ]


_WORTH_KEEPING_OVER_MESSAGES = (
    rules.Path,
    rules.Call,
    rules.Binary,
    rules.Choice,
    rules.Member,
    rules.Item,
    rules.Part,
    rules.ListOf,
)
_WORTH_KEEPING = (rules.Call, rules.Binary, rules.Choice, rules.Member, rules.Item, rules.Part)


def condition(c: Compilation, formula: Formula, scope: Scope) -> str:
    """A Python expression that is true where the condition holds."""
    with c.within(formula):
        return truth(c, formula.tree, scope)


def expression(c: Compilation, part: rules.Expression, scope: Scope, want: str = "") -> Val:
    """The value of an expression, kept where that is worth it."""
    if c.code.loop and not c.traced and not c.keeping and isinstance(part, _WORTH_KEEPING):
        home = home_of(c, part, scope)
        if home is not None and home.loop < c.code.loop:
            return outside_the_loop(c, part, scope, want, home)
    if isinstance(part, _WORTH_KEEPING_OVER_MESSAGES) and (reading := recurs(c, part, scope)) is not None:
        key = ("path", part, want) if isinstance(part, rules.Path) else ("value", id(part), id(scope), want)
        return keep(c, key, reading, lambda: computed(c, part, scope, want))
    return computed(c, part, scope, want)


def computed(c: Compilation, part: rules.Expression, scope: Scope, want: str) -> Val:
    """The value of an expression, computed here."""
    match part:
        case rules.Literal(text=text):
            return c.code.literal(text, TEXT)
        case rules.Number(text=text):
            return c.code.literal(decimals.normal(text), DECIMAL)
        case rules.Flag(value=value):
            return c.code.literal(value, FLAG)
        case rules.Absent():
            return NOTHING
        case rules.Path():
            return path_value(c, part, scope, want)
        case rules.TreePath():
            return tree_value(c, part, scope, want)
        case rules.Name():
            return name_value(c, part, scope, want)
        case rules.Call():
            return call_value(c, part, scope)
        case rules.Part():
            return part_value(c, part, scope, want)
        case rules.Member():
            return operators.member_value(c, part, scope)
        case rules.Item():
            return operators.item_value(c, part, scope, want)
        case rules.ListOf():
            return operators.list_value(c, part, scope)
        case rules.Choice():
            return operators.choice_value(c, part, scope, want)
        case rules.Unary(operator="-"):
            return operators.arithmetic(c, "-", rules.Number(part.at, "0"), part.value, scope)
        case rules.Binary(operator="|"):
            return operators.first_present(c, part, scope, want)
        case rules.Binary(operator="++"):
            return operators.joined(c, part, scope)
        case rules.Binary(operator=("+" | "-" | "*" | "/") as operator, left=left, right=right):
            return operators.arithmetic(c, operator, left, right, scope)
        case _:
            test = truth(c, part, scope)
            if test in ("True", "False"):
                return c.code.literal(test == "True", FLAG)
            return Val(c.kept(test), FLAG, maybe=False)
