"""Expressions of hold rules, compiled to Python functions over one result and the patient's history.

The grammar is that of mappings (`engine.mapping.language.syntax`). Its names and functions are about a result:

    code flags warnings status text value unit low high sex age age_days    see `names`
    previous(within) delta(within) delta_percent(within) days_since(within) see `names`
    critical('table') delta_exceeds('table') qc_failed(within) abs(x) known(x)
    other('code') interference('table') failed_deltas('table')

or it is a condition about the message, with paths (``PV1-2 == 'E'``): that is the mapping language itself, compiled by
`engine.mapping.conditions` and answered where the message is read. A comparison is about either the result or the
message.

An unknown value is neither true nor false (`engine.mapping.hold_rules.values`). ``x | y`` is y where x is not known: so
a rule can say explicitly that an unknown value is no reason to hold. A name or function alone, as in ``value and ...``,
tests whether it is there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from engine.mapping.compiler.terms import patterns
from engine.mapping.conditions import Condition, condition_in
from engine.mapping.hold_rules import answers, limits
from engine.mapping.hold_rules.names import (
    FUNCTIONS,
    NAMES,
    HoldContext,
    NumberOf,
    NumberTerm,
    Term,
    TestOf,
    TestTerm,
    TextTerm,
)
from engine.mapping.hold_rules.values import Number, Test, arithmetic, both, either, exact, negated
from engine.mapping.language import rules
from engine.mapping.language.rules import Formula, Problems
from engine.mapping.values import decimals
from engine.model.content.results import MEMORY_US
from engine.model.errors import ConfigError, LimitsError, PatternError
from engine.model.texts.spelling import suggestion
from engine.model.texts.units import parse_duration

_NAMES_OF_FUNCTIONS = {signature.partition("(")[0]: signature for signature in FUNCTIONS}
_OF_THE_PAST = frozenset({"previous", "delta", "delta_percent", "days_since", "delta_exceeds", "failed_deltas"})
_TABLES = {
    "critical": limits.CRITICAL,
    "delta_exceeds": limits.DELTA,
    "failed_deltas": limits.DELTA,
    "interference": limits.INTERFERENCE,
}
_TESTS = {"critical": answers.critical, "delta_exceeds": answers.delta_exceeds, "interference": answers.interference}


@dataclass(frozen=True, slots=True)
class Compiled:
    """One rule's expression.

    Attributes:
        test: asked for one result.
        conditions: about the message; their answers are `HoldContext.tests`.
        about_results: it reads something of a result, so that it is asked for each.
        asks_the_past: it reads earlier values, so that values have to be remembered.
        tables: of limits, that it asks.
        asks_score: it asks for the number of another program.
    """

    test: TestOf
    conditions: tuple[Condition, ...]
    about_results: bool
    asks_the_past: bool
    tables: tuple[limits.Limits, ...] = ()
    asks_score: bool = False


def compile_rule(formula: Formula, message_format: str, search: Sequence[Path]) -> Compiled:
    """Compile a rule.

    Raises:
        ConfigError: all that is wrong with it, with the place inside the expression.
    """
    compiler = _Compiler(formula, message_format, search)
    test = compiler.test(formula.tree)
    if isinstance(formula.tree, rules.Number | rules.Literal | rules.ListOf | rules.Absent) or (
        isinstance(formula.tree, rules.Binary) and formula.tree.operator in ("+", "-", "*", "/")
    ):
        compiler.error(formula.tree, "a rule is a condition, and this is a value; compare it, as =value > 10")
    if compiler.problems.errors:
        raise ConfigError(*compiler.problems.errors)
    parts = list(rules.walk(formula.tree))
    calls = {part.name for part in parts if isinstance(part, rules.Call)}
    names = {part.name for part in parts if isinstance(part, rules.Name)}
    own = {part.name for part in compiler.result_parts}
    return Compiled(
        test,
        tuple(compiler.conditions),
        about_results=bool(own & (names | calls)),
        asks_the_past=bool(own & calls & _OF_THE_PAST),
        tables=tuple(compiler.tables),
        asks_score="score" in own & names,
    )


class _Compiler:
    def __init__(self, formula: Formula, message_format: str, search: Sequence[Path]) -> None:
        self.problems = Problems()
        self.conditions: list[Condition] = []
        self.result_parts: list[rules.Name | rules.Call] = []
        self.tables: list[limits.Limits] = []
        self._formula = formula
        self._format = message_format
        self._search = search

    def error(self, part: rules.Expression, text: str) -> None:
        self.problems.error(self._formula.node, text, offset=self._formula.at(part))

    # -- tests -------------------------------------------------------------------------------------------------------

    def test(self, part: rules.Expression) -> TestOf:
        """A condition. One about the message is the mapping language's."""
        if self._is_about_the_message(part):
            return self._condition(part)
        match part:
            case rules.Flag(value=flag):
                return lambda asked: flag
            case rules.Unary(operator="not", value=value):
                inner = self.test(value)
                return lambda asked: negated(inner(asked))
            case rules.Binary(operator=("and" | "or") as operator, left=left, right=right):
                sides = (self.test(left), self.test(right))
                join = both if operator == "and" else either
                return lambda asked: join([lambda: sides[0](asked), lambda: sides[1](asked)])
            case rules.Choice(then=then, condition=condition, other=other):
                first, asks, second = self.test(then), self.test(condition), self.test(other)
                return answers.one_of(asks, first, second)
            case rules.Binary(operator="|", left=left, right=right) if self._is_test(left):
                one, two = self.test(left), self.test(right)
                return answers.first_of(one, two)
            case rules.Binary(operator=("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "matches")):
                return self._comparison(part)
            case rules.Call() if self._is_test(part):
                return self._call_test(part)
            case _:
                return self._presence(part)

    def _condition(self, part: rules.Expression) -> TestOf:
        number = len(self.conditions)
        try:
            self.conditions.append(condition_in(Formula(self._formula.node, part), self._format))
        except ConfigError as error:
            self.problems.errors += error.problems
        return lambda asked: asked.tests[number]

    def _presence(self, part: rules.Expression) -> TestOf:
        """Whether there is one: known in any case."""
        match self.term(part):
            case TextTerm(of=texts):
                return lambda asked: bool(answers.quietly(asked, texts))
            case NumberTerm(of=number):
                return lambda asked: answers.quietly(asked, number) is not None
            case TestTerm(of=test):
                return test

    def _comparison(self, part: rules.Binary) -> TestOf:
        operator = part.operator
        if operator == "matches":
            return self._matches(part)
        left = self.term(part.left)
        if operator == "in":
            return self._within(part, left)
        right = self.term(part.right)
        match left, right:
            case NumberTerm(of=one), NumberTerm(of=two):
                return answers.compared(operator, one, two)
            case TextTerm(of=some), TextTerm(of=others) if operator in ("==", "!="):
                equal = answers.same(some, others)
                return equal if operator == "==" else lambda asked: negated(equal(asked))
            case TextTerm(), TextTerm():
                self.error(part, f"texts have no order; {operator} compares numbers, == compares texts")
            case _:
                self.error(
                    part, "one side is a number, the other is not; write numbers without quotes, texts with them"
                )
        return lambda asked: None

    def _within(self, part: rules.Binary, left: Term) -> TestOf:
        if not isinstance(part.right, rules.ListOf) or not part.right.items:
            self.error(part.right, "in wants a list, as flags in ['HH', 'LL']")
            return lambda asked: None
        tests: list[TestOf] = []
        for item in part.right.items:
            match left, self.term(item):
                case NumberTerm(of=one), NumberTerm(of=two):
                    tests.append(answers.compared("==", one, two))
                case TextTerm(of=some), TextTerm(of=others):
                    tests.append(answers.same(some, others))
                case _:
                    self.error(item, "the list holds another kind of value than the one before in")
        return lambda asked: either([partial(test, asked) for test in tests])

    def _matches(self, part: rules.Binary) -> TestOf:
        left = self.term(part.left)
        if not isinstance(part.right, rules.Literal) or not isinstance(left, TextTerm):
            self.error(part, "matches wants a text before it and a pattern in quotes behind it")
            return lambda asked: None
        try:
            pattern = patterns.compiled(part.right.text)
        except PatternError as error:
            self.error(part.right, str(error))
            return lambda asked: None
        texts = left.of

        def test(asked: HoldContext) -> Test:
            found = texts(asked)
            return None if found is None else any(pattern.search(text[: patterns.MAX_TEXT]) for text in found)

        return test

    # -- values ------------------------------------------------------------------------------------------------------

    def term(self, part: rules.Expression) -> Term:
        match part:
            case rules.Literal(text=text):
                return TextTerm(lambda asked: (text,))
            case rules.Number(text=text):
                number = Decimal(decimals.normal(text) or text)
                return NumberTerm(lambda asked: number)
            case rules.Name(name=name):
                self.result_parts.append(part)
                if name in NAMES:
                    return NAMES[name][0]
                self.error(part, f"a rule knows no name '{name}'{suggestion(name, NAMES)}")
            case rules.Unary(operator="-", value=value):
                return self._computed("-", rules.Number(part.at, "0"), value, part)
            case rules.Binary(operator=("+" | "-" | "*" | "/") as operator, left=left, right=right):
                return self._computed(operator, left, right, part)
            case rules.Binary(operator="|", left=left, right=right):
                return self._first_known(left, right, part)
            case rules.Choice(then=then, condition=condition, other=other):
                return self._choice(then, condition, other, part)
            case rules.Call():
                return self._call(part)
            case rules.Path():
                self.error(part, "a comparison is about the message or about a result, not both; join two with and")
            case rules.Absent():
                self.error(part, "nothing is absent here; ask known(x), or write x | 0 for what is not known")
            case rules.Flag() | rules.Unary(operator="not"):
                return TestTerm(self.test(part))
            case rules.Binary(operator=operator) if operator != "++":
                return TestTerm(self.test(part))
            case _:
                self.error(part, "this means nothing in a rule; `labrelay help holds` lists the names and functions")
        return NumberTerm(lambda asked: None)

    def _number(self, part: rules.Expression) -> NumberOf:
        found = self.term(part)
        if not isinstance(found, NumberTerm):
            self.error(part, "a number is wanted here")
            return lambda asked: None
        return found.of

    def _computed(self, operator: str, left: rules.Expression, right: rules.Expression, part: rules.Expression) -> Term:
        one, two = self._number(left), self._number(right)

        def number(asked: HoldContext) -> Number | None:
            sides = one(asked), two(asked)
            made = arithmetic(operator, *sides)
            if made is None and None not in sides:
                asked.miss("a bound (<5) cannot be computed with, nor a division by 0")
            return made

        return NumberTerm(number)

    def _first_known(self, left: rules.Expression, right: rules.Expression, part: rules.Expression) -> Term:
        if self._is_test(left):
            return TestTerm(self.test(part))
        words = "both sides of | must be numbers, texts or conditions"
        return self._joined(answers.first_of, self.term(left), self.term(right), part, words)

    def _choice(
        self, then: rules.Expression, condition: rules.Expression, other: rules.Expression, part: rules.Expression
    ) -> Term:
        words = "both branches must be numbers, texts or conditions"
        return self._joined(
            partial(answers.one_of, self.test(condition)), self.term(then), self.term(other), part, words
        )

    def _joined(
        self, join: Callable[[Any, Any], Any], one: Term, other: Term, part: rules.Expression, words: str
    ) -> Term:
        """The term that ``join`` makes of two of a kind."""
        if type(one) is type(other):
            return replace(one, of=join(one.of, other.of))
        self.error(part, words)
        return NumberTerm(lambda asked: None)

    # -- calls -------------------------------------------------------------------------------------------------------

    def _call(self, part: rules.Call) -> Term:
        if self._is_test(part):
            return TestTerm(self._call_test(part))
        self.result_parts.append(part)
        if part.name not in _NAMES_OF_FUNCTIONS:
            self.error(part, f"a rule knows no function {part.name}(){suggestion(part.name, _NAMES_OF_FUNCTIONS)}")
        elif self._has_one_argument(part):
            if part.name == "abs":
                inner = self._number(part.arguments[0])
                return NumberTerm(lambda asked: None if (found := exact(inner(asked))) is None else abs(found))
            if part.name == "failed_deltas":
                table = self._table(part)
                return NumberTerm(answers.failed_deltas(table, _written(part)))
            if part.name == "other":
                return NumberTerm(self._other(part))
            if (within := self._within_us(part)) is not None:
                return NumberTerm(answers.PAST[part.name](within, _written(part)))
        return NumberTerm(lambda asked: None)

    def _call_test(self, part: rules.Call) -> TestOf:
        self.result_parts.append(part)
        if self._has_one_argument(part):
            argument = part.arguments[0]
            if part.name == "known":
                return self._known(argument)
            if part.name == "qc_failed" and (within := self._within_us(part)) is not None:
                return answers.qc_failed(within, _written(part))
            if part.name in _TESTS:
                return _TESTS[part.name](self._table(part), _written(part))
        return lambda asked: None

    def _known(self, argument: rules.Expression) -> TestOf:
        if self._is_test(argument):
            inner = self.test(argument)
            return lambda asked: answers.quietly(asked, inner) is not None
        return self._presence(argument)

    def _table(self, part: rules.Call) -> limits.Limits:
        """An empty one where it is wrong."""
        (argument,) = part.arguments
        if not isinstance(argument, rules.Literal):
            self.error(argument, f"{part.name} wants the name of a table in quotes")
            return limits.Limits("")
        try:
            table = limits.read_limits(argument.text, self._search, _TABLES[part.name])
        except LimitsError as error:
            for problem in error.problems:
                self.error(argument, problem)
            return limits.Limits("")
        self.tables.append(table)
        return table

    def _other(self, part: rules.Call) -> NumberOf:
        (argument,) = part.arguments
        if isinstance(argument, rules.Literal):
            return answers.other(argument.text, _written(part))
        self.error(argument, "other wants the code of a result in quotes")
        return lambda asked: None

    def _has_one_argument(self, part: rules.Call) -> bool:
        if len(part.arguments) == 1:
            return True
        self.error(part, f"{part.name}() takes one argument: {_NAMES_OF_FUNCTIONS[part.name]}")
        return False

    def _within_us(self, part: rules.Call) -> int | None:
        argument = part.arguments[0]
        if not isinstance(argument, rules.Literal):
            self.error(argument, f"{part.name}() wants a time in quotes, as '7d'")
            return None
        try:
            within = int(parse_duration(argument.text) * 1e6)
        except ValueError as error:
            self.error(argument, str(error))
            return None
        if not 0 < within <= MEMORY_US:
            self.error(argument, "earlier values and controls are remembered for 90 days; at most '90d'")
            return None
        return within

    # -- what a part is ------------------------------------------------------------------------------------------------

    def _is_about_the_message(self, part: rules.Expression) -> bool:
        """It has a path, and nothing of a result: names and functions of rules are not those of mappings."""
        inside = list(rules.walk(part))
        if not any(isinstance(one, rules.Path) for one in inside):
            return False
        return not any(
            (isinstance(one, rules.Name) and one.name in NAMES)
            or (isinstance(one, rules.Call) and one.name in _NAMES_OF_FUNCTIONS)
            for one in inside
        )

    def _is_test(self, part: rules.Expression) -> bool:
        match part:
            case rules.Call(name=name):
                return name in (*_TESTS, "qc_failed", "known")
            case rules.Flag() | rules.Unary(operator="not"):
                return True
            case rules.Binary(operator="|", left=left):
                return self._is_test(left)
            case rules.Binary(operator=operator):
                return operator not in ("+", "-", "*", "/", "++")
            case rules.Choice(then=then):
                return self._is_test(then)
            case _:
                return False


def _written(part: rules.Call) -> str:
    arguments = ", ".join(f"'{one.text}'" for one in part.arguments if isinstance(one, rules.Literal))
    return f"{part.name}({arguments})"
