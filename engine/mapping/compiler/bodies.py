"""Bodies to dictionaries: FHIR elements with the types, cardinalities and codes of R4 (`engine.mapping.r4`).

A dictionary begins as a literal of what is always there; what may be absent is added with one test each, in the order
of the rules. An object in which every expression is absent is left out: literals alone do not make an object.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from orjson import Fragment

from engine.config.yaml_nodes import Node
from engine.mapping import decimals, r4
from engine.mapping.compiler.code import NOTHING, TEXT_LIKE, Code, Kind, Val
from engine.mapping.compiler.expressions import Expressions
from engine.mapping.compiler.scopes import Scope, Variable, declare
from engine.mapping.compiler.values import Setting
from engine.mapping.rules import Body, Case, Element, Formula, Problems, Text, Use, Value, Values
from engine.mapping.rules import Fragment as RuleFragment
from engine.model.spelling import suggestion

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
_MAKERS = {
    "CodeableConcept": "cwe() or concept()",
    "Coding": "coding()",
    "Identifier": "cx(), ei() or identifier()",
    "HumanName": "xpn()",
    "Address": "xad()",
    "ContactPoint": "xtn()",
    "Quantity": "quantity()",
    "Reference": "ref()",
    "Annotation": "annotation()",
    "dateTime": "datetime()",
    "date": "date()",
    "instant": "instant()",
    "time": "time()",
    "Attachment": "attachment()",
    "Period": "period()",
}
_PRIMITIVE_EXTENSION = r4.Element(type="Element", many=False, required=False)
_LOOSE_PATH = re.compile(r"[A-Z][A-Z0-9]{0,2}(\[[*\d]+\])?-\d+(\.\d+)*(\[[*\d]+\])?")
_LOOSE_CALL = re.compile(r"[a-z_][a-z0-9_]*\(.*\)")


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


class Bodies(Expressions):
    """Compiles bodies; `fragments` are those that the mapping imports."""

    def __init__(
        self,
        code: Code,
        setting: Setting,
        problems: Problems,
        fragments: dict[str, RuleFragment],
        *,
        traced: bool,
    ) -> None:
        super().__init__(code, setting, problems, traced=traced)
        self.fragments = fragments
        self.used_fragments: set[str] = set()

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """Lines written inside belong to the rule at ``node``."""
        before = self.code.rule
        self.code.rule = f"{node.file}:{node.line}"
        yield
        self.code.rule = before

    # -- objects ---------------------------------------------------------------------------------------------------

    def resource(self, body: Body, kind: str, scope: Scope, first: list[str]) -> str:
        """Code that builds a resource; returns its variable.

        Args:
            first: items of the literal in front of the body's (resourceType, id), as source.
        """
        made = _Object(kind, kind, body.node, self.code.new("r"), list(first), [], set(), set(), top=True)
        self._parts(made, body, scope)
        self._start(made)
        for name, value in made.constants:
            self.code.emit(f"{made.variable}[{self.code.constant(name)}] = {value.code}")
        self._require(made)
        return made.variable

    def elements(self, body: Body, kind: str, scope: Scope) -> str:
        """Code that builds elements for a resource that is there already; returns their variable."""
        made = _Object(kind, kind, body.node, self.code.new("r"), [], [], set(), set(), top=True)
        self._parts(made, body, scope)
        self._start(made)
        for name, value in made.constants:
            self.code.emit(f"{made.variable}[{self.code.constant(name)}] = {value.code}")
        return made.variable

    def _object(self, body: Body, kind: str, path: str, scope: Scope) -> Val:
        """An object inside a resource; absent where all its expressions are."""
        made = _Object(kind, path, body.node, self.code.new("d"), [], [], set(), set())
        self._parts(made, body, scope)
        if not made.started and not made.literal:
            if not made.constants:
                return NOTHING
            self._require(made)
            if all(value.known for _, value in made.constants):
                return self.code.literal({name: value.constant for name, value in made.constants}, Kind(kind))
        items = [f"{self.code.constant(name)}: {value.code}" for name, value in made.constants]
        if not made.started:
            self.code.emit(f"{made.variable} = {{{', '.join([*items, *made.literal])}}}")
            self._require(made)
            return Val(made.variable, Kind(kind), maybe=False)
        if made.sure:
            for item in made.constants:
                self.code.emit(f"{made.variable}[{self.code.constant(item[0])}] = {item[1].code}")
            self._require(made)
            return Val(made.variable, Kind(kind), maybe=False)
        with self.code.block(f"if {made.variable}:"):
            if items:
                self.code.emit(f"{made.variable} = {{{', '.join(items)}, **{made.variable}}}")
            self._require(made)
        self.code.emit(f"else: {made.variable} = None")
        return Val(made.variable, Kind(kind))

    def _start(self, made: _Object) -> None:
        """Write the literal so far; from here on elements are added one by one."""
        if not made.started:
            self.code.emit(f"{made.variable} = {{{', '.join(made.literal)}}}")
            made.started = True

    def _parts(self, made: _Object, body: Body, scope: Scope) -> None:
        inner = scope
        if body.lets:
            inner = Scope(scope, self.code.slot(), self.code.loop)
            declare(inner, self.code, body.lets)
        for part in body.parts:
            match part:
                case Element():
                    self._element(made, part, inner)
                case Case():
                    self._case(made, part, inner)
                case Use():
                    self._use(made, part, inner)
        if body.lets:
            self.check_used(inner)

    def _use(self, made: _Object, use: Use, scope: Scope) -> None:
        fragment = self.fragments.get(use.fragment)
        if fragment is None:
            self.problems.error(
                use.node, f"no fragment is called {use.fragment}{suggestion(use.fragment, self.fragments)}"
            )
            return
        if fragment.body is None:
            self.problems.error(
                use.node, f"fragment {use.fragment} makes resources; use it as a step, not inside a body"
            )
            return
        inner = self.enter_fragment(fragment, use, scope)
        if inner is not None:
            self._parts(made, fragment.body, inner)
            self.check_used(inner)

    def enter_fragment(self, fragment: RuleFragment, use: Use, scope: Scope) -> Scope | None:
        """The scope of a fragment: its arguments, read where they are given, and its own lets."""
        if fragment.name in scope.in_fragments():
            self.problems.error(use.node, f"fragment {fragment.name} uses itself; fragments must end somewhere")
            return None
        self.used_fragments.add(fragment.name)
        for argument in use.arguments:
            if argument.name not in fragment.takes:
                self.problems.error(
                    argument.node,
                    f"{fragment.name} does not take {argument.name}{suggestion(argument.name, fragment.takes)}",
                )
        place = f"{use.node.file}:{use.node.line}"
        inner = Scope(scope, self.code.slot(), self.code.loop, fragment=fragment.name, used_at=place)
        declare(inner, self.code, use.arguments, "argument", scope)
        for name in fragment.takes:
            if name not in inner.names:
                declare_absent(inner, name, use.node)
        declare(inner, self.code, fragment.lets)
        return inner

    def check_used(self, scope: Scope) -> None:
        """Warn about names of a scope that nothing reads."""
        for variable in scope.names.values():
            if not isinstance(variable, Variable) or variable.used:
                continue
            if variable.what == "let":
                self.problems.warning(variable.node, f"{variable.name} is never used; remove it")
            elif variable.value is not None:
                self.problems.warning(variable.node, f"the fragment never uses {variable.name}; remove it")

    # -- elements --------------------------------------------------------------------------------------------------

    def _element(self, made: _Object, part: Element, scope: Scope) -> None:
        element = self._known_element(made, part)
        if element is None:
            return
        with self.at(part.node):
            value = self._fit(part.value, element, f"{made.path}.{part.name}", scope, part.node)
            if not value.is_absent:
                self._add(made, part, value)

    def _known_element(self, made: _Object, part: Element) -> r4.Element | None:
        """The element's definition; None with a problem where the type has no such element or it is there already."""
        if made.type == "Element":
            known: dict[str, r4.Element] = r4.ELEMENTS["Annotation"]
            known = {name: known[name] for name in ("id", "extension")}
        else:
            known = r4.ELEMENTS[made.type]
        name = part.name
        if made.top and name in ("id", "resourceType"):
            self.problems.error(part.node, f"{name} is given by LabRelay: the id comes from key:")
            return None
        element = known.get(name)
        if element is None and name.startswith("_") and (base := known.get(name[1:])) and base.type in r4.PRIMITIVES:
            element = _PRIMITIVE_EXTENSION
        if element is None:
            self.problems.error(part.node, f"{made.type} has no element {name}{suggestion(name, known)}")
            return None
        if name in made.certain or name in made.possible:
            self.problems.error(part.node, f"{name} is here a second time; remove one")
            return None
        if element.choice:
            for other in made.certain | made.possible:
                if known[other].choice == element.choice if other in known else False:
                    self.problems.error(
                        part.node,
                        f"{other} is there already, and there can be one {element.choice}[x] only; use $case:",
                    )
                    return None
        return element

    def _add(self, made: _Object, part: Element, value: Val) -> None:
        code = self.code
        name = code.constant(part.name)
        if value.known and isinstance(value.constant, (dict, list)):
            # It is the same in every message, so it is written as JSON once.
            fixed = Fragment(orjson.dumps(value.constant))
            value = Val(code.constant(fixed), value.kind, False, fixed)
        if value.known and not made.top:
            made.constants.append((part.name, value))
            made.certain.add(part.name)
            return
        if value.maybe:
            self._start(made)
            code.emit(f"if {value.code} is not None: {made.variable}[{name}] = {value.code}")
            made.possible.add(part.name)
            return
        made.certain.add(part.name)
        made.sure = True
        if made.started:
            code.emit(f"{made.variable}[{name}] = {value.code}")
        else:
            made.literal.append(f"{name}: {value.code}")

    def _case(self, made: _Object, case: Case, scope: Scope) -> None:
        self._start(made)
        ways: list[_Object] = []
        has_else = False
        # The next branch is tried only where this one did not hold, and its condition may need lines of its own.
        with ExitStack() as nested:
            for branch in case.branches:
                with self.at(branch.node):
                    test = "True" if branch.when is None else self.condition(branch.when, scope)
                    if test == "False":
                        assert branch.when is not None
                        self.problems.warning(branch.when.node, "this condition never holds; remove the branch")
                        continue
                    with self.code.block(f"if {test}:"):
                        self._branch(made, branch.body, scope, ways)
                    if test == "True":
                        has_else = True
                        break
                    nested.enter_context(self.code.block("else:"))
        everywhere = set.intersection(*(way.certain for way in ways)) if ways and has_else else set()
        made.certain |= everywhere
        made.possible |= set().union(*(way.certain | way.possible for way in ways)) - everywhere

    def _branch(self, made: _Object, body: Body, scope: Scope, ways: list[_Object]) -> None:
        way = _Object(
            made.type,
            made.path,
            body.node,
            made.variable,
            [],
            [],
            set(made.certain),
            set(made.possible),
            True,
            made.top,
        )
        self._parts(way, body, scope)
        for name, value in way.constants:
            self.code.emit(f"{made.variable}[{self.code.constant(name)}] = {value.code}")
        way.certain -= made.certain
        way.possible -= made.possible
        ways.append(way)

    def _require(self, made: _Object) -> None:
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
                self.problems.error(made.node, f"{made.type} needs {shown}; FHIR requires it")
                continue
            tests = " and ".join(
                f"{self.code.constant(name)} not in {made.variable}" for name in names if name in made.possible
            )
            self.code.emit(f"if {tests}: required({self.code.constant(f'{made.path}.{shown}')})")

    # -- values ----------------------------------------------------------------------------------------------------

    def _fit(self, value: Value, element: r4.Element, path: str, scope: Scope, node: Node) -> Val:
        """A value as the element wants it: its type, and a list or one."""
        if isinstance(value, Formula) and (reading := self.recurs(value.tree, scope)) is not None:
            key = ("element", id(value), id(scope), path)
            return self.keep(key, reading, lambda: self._written(self._fitted(value, element, path, scope, node), path))
        return self._fitted(value, element, path, scope, node)

    def _written(self, value: Val, path: str) -> Val:
        """A kept value as JSON, where it is not a primitive. Observations only: they are never joined with another."""
        if value.known or value.is_absent or not path.startswith("Observation."):
            return value
        if not value.kind.many and value.kind.name in r4.PRIMITIVES:
            return value
        return Val(f"fragment({value.code})", value.kind, value.maybe)

    def _fitted(self, value: Value, element: r4.Element, path: str, scope: Scope, node: Node) -> Val:
        if isinstance(value, Values):
            return self._values_of(value, element, path, scope)
        if isinstance(value, Body):
            if element.type in r4.PRIMITIVES:
                self.problems.error(value.node, f"{path} is a {element.type}, not an object; write one value")
                return NOTHING
            if element.type == "Resource":
                self.problems.error(
                    value.node, f"{path}: resources inside resources are not made; use a step of its own"
                )
                return NOTHING
            made = self._object(value, element.type, path, scope)
        elif isinstance(value, Text):
            made = self._literal(value, element, path)
            if self.traced and not made.is_absent:
                rule = self.code.constant(f"{value.node.file}:{value.node.line}")
                uses = self.code.constant(scope.uses())
                self.code.emit(f"T.fixed({self.code.constant(path)}, {rule}, {uses})")
        else:
            made = self._formula_value(value, element, path, scope)
        if made.is_absent:
            return NOTHING
        if element.many:
            return self.as_json_list(made)
        if made.kind.many:
            self.problems.warning(
                node, f"{path} takes one value and may get several; the first is taken, as first() does"
            )
            one = self.code.new()
            self.code.emit(
                f"{one} = only({made.code}, {self.code.constant(path)}) if {made.code} is not None else None"
            )
            return Val(one, made.kind.one())
        return made

    def as_json_list(self, value: Val) -> Val:
        if value.kind.many:
            if value.known and isinstance(value.constant, tuple):
                return self.code.literal(list(value.constant), value.kind)
            return value
        if value.known:
            return self.code.literal([value.constant], value.kind.each())
        variable = self.code.new()
        if value.maybe:
            self.code.emit(f"{variable} = [{value.code}] if {value.code} is not None else None")
        else:
            self.code.emit(f"{variable} = [{value.code}]")
        return Val(variable, value.kind.each(), value.maybe)

    def _values_of(self, values: Values, element: r4.Element, path: str, scope: Scope) -> Val:
        if not element.many:
            self.problems.error(values.node, f"{path} takes one value; remove the list")
            return NOTHING
        single = element._replace(many=False)
        made = []
        for at, item in enumerate(values.items):
            if isinstance(item, Values):
                self.problems.error(item.node, "a list inside a list is not FHIR; make it one list")
                continue
            # An expression in a list may itself be a list: its elements are added.
            wanted = element if isinstance(item, Formula) else single
            made.append(self._fit(item, wanted, f"{path}[{at}]", scope, values.node))
            if self.traced:
                self.code.emit(f"T.item({self.code.constant(path)}, {at}, {made[-1].code})")
        made = [value for value in made if not value.is_absent]
        if not made:
            return NOTHING
        if all(value.known for value in made):
            flat: list[Any] = []
            for value in made:
                flat += value.constant if value.kind.many else [value.constant]
            return self.code.literal(flat, made[0].kind.each())
        variable = self.code.new()
        self.code.emit(f"{variable} = []")
        for value in made:
            add = f"{variable} += {value.code}" if value.kind.many else f"{variable}.append({value.code})"
            self.code.emit(f"if {value.code} is not None: {add}" if value.maybe else add)
        sure = any(not value.maybe for value in made)
        if not sure:
            self.code.emit(f"if not {variable}: {variable} = None")
        return Val(variable, made[0].kind.each(), maybe=not sure)

    def _literal(self, value: Text, element: r4.Element, path: str) -> Val:
        """A literal as the element's type; a problem where it is none of it."""
        text, node, wanted = value.text, value.node, element.type
        if node.plain and (_LOOSE_PATH.fullmatch(text) or _LOOSE_CALL.fullmatch(text)):
            self.problems.error(
                node, f"'{text}' looks like an expression and is a literal; put = in front, or quotes around"
            )
            return NOTHING
        if wanted not in r4.PRIMITIVES:
            self.problems.error(node, f"{path} is a {wanted}, not a text{_how_to_make(wanted)}")
            return NOTHING
        kind = Kind(wanted)
        if wanted == "boolean":
            if text in ("true", "false"):
                return self.code.literal(text == "true", kind)
            self.problems.error(node, f"{path} is true or false, not '{text}'")
            return NOTHING
        if wanted == "decimal" or wanted in _INTEGERS:
            number = decimals.normal(text)
            if number is None or (wanted in _INTEGERS and not number.lstrip("-").isdigit()):
                self.problems.error(node, f"{path} is a {wanted}; '{text}' is none")
                return NOTHING
            if wanted == "decimal":
                return Val(self.code.constant(Fragment(number)), kind, False, Fragment(number))
            return self.code.literal(int(number), kind)
        if (form := _LITERAL_FORMS.get(wanted)) and not form.fullmatch(text):
            self.problems.error(node, f"{path} is a {wanted}; '{text}' is none")
            return NOTHING
        if element.binding and text not in r4.CODES[element.binding]:
            codes = r4.CODES[element.binding]
            self.problems.error(node, f"{path} is never '{text}'{suggestion(text, codes)}")
            return NOTHING
        return self.code.literal(text, kind)

    def _formula_value(self, value: Formula, element: r4.Element, path: str, scope: Scope) -> Val:
        wanted = element.type
        want = "text" if wanted in r4.PRIMITIVES else ""
        if self.traced:
            self.code.emit("T.open()")
        made = self.value(value, scope, want)
        made = self._converted(made, element, path, value)
        if self.traced:
            rule, how = (self.code.constant(text) for text in self.told(value))
            uses = self.code.constant(scope.uses())
            self.code.emit(f"T.leaf({self.code.constant(path)}, {rule}, {how}, {uses}, {made.code})")
        return made

    def _converted(self, value: Val, element: r4.Element, path: str, formula: Formula) -> Val:
        wanted = element.type
        part = formula.tree
        if value.is_absent:
            return NOTHING
        name = value.kind.name
        if wanted not in r4.PRIMITIVES:
            return self._complex(value, element, path, formula)
        if wanted == "boolean":
            return self._boolean(value, path, formula)
        if name == "field":
            value = self.text(value, part)
            name = "text"
        if wanted == "decimal" or wanted in _INTEGERS:
            return self._number(value, wanted, path, formula)
        if wanted in _TIMES:
            if name not in _TIMES[wanted]:
                self._mismatch(formula, path, wanted, value.kind)
                return NOTHING
            return value
        if name not in TEXT_LIKE:
            self._mismatch(formula, path, wanted, value.kind)
            return NOTHING
        if element.binding:
            return self._bound(value, element, path, formula)
        return value

    def _bound(self, value: Val, element: r4.Element, path: str, formula: Formula) -> Val:
        """A code of a required binding: known to be one, or checked at the message."""
        allowed = r4.CODES[element.binding]
        node = formula.node
        if value.known:
            if value.constant is not None and value.constant not in allowed:
                self.problems.error(
                    node, f"{path} is never '{value.constant}'{suggestion(str(value.constant), allowed)}"
                )
            return value
        if value.kind.codes is not None:
            if wrong := sorted(value.kind.codes - allowed):
                self.problems.error(node, f"{path} cannot be {', '.join(wrong)}; use the table made for it")
            return value
        variable = self.code.new()
        codes = self.code.constant(allowed)
        self.code.emit(f"{variable} = {value.code}")
        refused = f"not_a_code({self.code.constant(path)})"
        self.code.emit(f"if {variable} not in {codes} and {variable} is not None: {variable} = {refused}")
        return Val(variable, value.kind)

    def _boolean(self, value: Val, path: str, formula: Formula) -> Val:
        if value.kind.name == "flag":
            return value
        if value.known and value.constant in ("true", "false"):
            return self.code.literal(value.constant == "true", Kind("boolean"))
        self._mismatch(formula, path, "true or false", value.kind)
        return NOTHING

    def _number(self, value: Val, wanted: str, path: str, formula: Formula) -> Val:
        if value.kind.name not in TEXT_LIKE | {"measured"}:
            self._mismatch(formula, path, wanted, value.kind)
            return NOTHING
        value = self.decimal(value, formula.tree)
        if value.is_absent:
            return NOTHING
        function = "Fragment" if wanted == "decimal" else "integer"
        least = "" if wanted == "decimal" else f", {_INTEGERS[wanted]}"
        variable = self.code.new()
        test = f" if {value.code} is not None else None" if value.maybe else ""
        self.code.emit(f"{variable} = {function}({value.code}{least}){test}")
        return Val(variable, Kind(wanted), value.maybe or wanted != "decimal")

    def _complex(self, value: Val, element: r4.Element, path: str, formula: Formula) -> Val:
        wanted, name = element.type, value.kind.name
        if wanted == name:
            wrong = sorted((value.kind.codes or frozenset()) - set(element.targets))
            if wanted == "Reference" and element.targets and wrong:
                targets = " or ".join(element.targets)
                self.problems.error(formula.node, f"{path} refers to {targets}, not to {', '.join(wrong)}")
            return value
        if wanted in _QUANTITIES and name == "Quantity":
            return value
        if wanted == "CodeableConcept" and name == "Coding":
            variable = self.code.new()
            if value.kind.many:
                self.code.emit(f"{variable} = {{'coding': {value.code}}} if {value.code} is not None else None")
            else:
                self.code.emit(f"{variable} = {{'coding': [{value.code}]}} if {value.code} is not None else None")
            return Val(variable, Kind("CodeableConcept"), value.maybe)
        self._mismatch(formula, path, wanted, value.kind)
        return NOTHING

    def _mismatch(self, formula: Formula, path: str, wanted: str, kind: Kind) -> None:
        self.problems.error(formula.node, f"{path} is a {wanted}, and this is {kind}{_how_to_make(wanted)}", offset=1)


def declare_absent(scope: Scope, name: str, node: Node) -> None:
    """An argument that was not given: absent."""
    scope.names[name] = Variable(name, node, None, scope, scope.loop, scope.slot, what="argument")


def _how_to_make(wanted: str) -> str:
    return f"; {_MAKERS[wanted]} makes one" if wanted in _MAKERS else ""
