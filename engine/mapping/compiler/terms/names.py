"""Names: what `let:`, the arguments of fragments and `as:` call a value."""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Lazy, Made, Scope, Variable
from engine.mapping.compiler.source.code import NOTHING, TEXT, Kind, Val
from engine.mapping.compiler.source.keeping import keep, once, reading_of, rule_and_function, rule_value, test_of
from engine.mapping.functions import FUNCTIONS
from engine.mapping.language import rules
from engine.mapping.language.rules import Formula, Text
from engine.model.texts.spelling import suggestion


def name_value(c: Compilation, part: rules.Name, scope: Scope, want: str) -> Val:
    """The value that a name means."""
    found = scope.find(part.name)
    match found:
        case None:
            if part.name in FUNCTIONS:
                return c.error(part, f"{part.name} is a function; call it: {FUNCTIONS[part.name].signature}")
            return c.error(part, f"nothing is called {part.name} here{suggestion(part.name, scope.visible())}")
        case Made():
            return reference_to(found)
        case Variable():
            found.used = True
            return _variable(c, found, part, want)


def reference_to(made: Made) -> Val:
    """The reference to what a step made, or the list of them behind a loop."""
    made.use()
    code = f"({made.variable} or None)" if made.many else made.variable
    return Val(code, Kind("Reference", made.many, codes=made.resources))


def _variable(c: Compilation, variable: Variable, part: rules.Name, want: str) -> Val:
    if variable.value is None:
        return NOTHING
    if isinstance(variable.value, Text):
        return c.code.literal(variable.value.text, TEXT)
    if variable.active:
        return c.error(part, f"{variable.name} is defined by itself")
    if c.recurring and isinstance(variable.value.tree, rules.Choice):
        test_of(c, variable, variable.value.tree)
    if id(variable) in c.taken:
        return _taken_branch(c, variable, c.taken[id(variable)][1], want)
    way = "text" if want == "text" and is_field_like(variable) else ""
    lazy = variable.lazies.get(way)
    if lazy is None:
        formula = variable.value

        def build() -> Val:
            return rule_value(c, formula, variable.scope, way)

        rule, function = rule_and_function(formula)
        lazy = variable.lazies[way] = Lazy(
            build, variable.loop, variable.slot, key=("let", id(variable), way), told=(rule, variable.name, function)
        )
    variable.active = True
    try:
        if not c.traced and c.code.loop:
            reading = reading_of(c, variable.value.tree, variable.scope)
            if reading is not None:
                return keep(c, lazy.key, reading, lazy.build)
            if c.taken:
                return lazy.build()  # it may be another value for the other branch
        return once(c, lazy)
    finally:
        variable.active = False


def _taken_branch(c: Compilation, variable: Variable, branch: rules.Expression, want: str) -> Val:
    """The value of a let that is one of two, where it is known which."""
    assert isinstance(variable.value, Formula)
    variable.active = True
    try:
        with c.at(variable.value.node), c.within(variable.value):
            return c.expression(branch, variable.scope, want)
    finally:
        variable.active = False


def is_field_like(variable: Variable) -> bool:
    """Whether a variable is fields only, so that it can be read as text or as it was sent, as one wants it."""
    formula = variable.value
    if not isinstance(formula, Formula) or variable.active:
        return False
    variable.active = True
    try:
        for part in rules.walk(formula.tree):
            match part:
                case rules.Path(which=which, repetition=repetition):
                    if which == 0 or repetition == 0:
                        return False
                case rules.Part() | rules.Literal() | rules.Binary(operator="|"):
                    pass
                case rules.Name(name=name):
                    inner = variable.scope.find(name)
                    if not isinstance(inner, Variable) or not is_field_like(inner):
                        return False
                case _:
                    return False
    finally:
        variable.active = False
    return True
