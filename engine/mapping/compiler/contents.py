"""Bodies without a schema to dictionaries: fields of segments, cells of rows, members of records.

    d = {}; s = False
    if t is not None: d[K] = t; s = True    an expression: it is there, and with it the whole
    d[K] = K'                               a literal or a setting: it makes nothing by itself

What a value can be at its place is the business of `fields` and `members`; elements, `$case`, `$use` and `$let` are the
same for both, and are here.
"""

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from engine.config.yaml_nodes import Node
from engine.mapping import syntax
from engine.mapping.compiler.code import NOTHING, TEXT_LIKE, Kind, Val
from engine.mapping.compiler.scopes import Scope, Variable, declare
from engine.mapping.compiler.steps import Steps
from engine.mapping.functions import FUNCTIONS
from engine.mapping.rules import Body, Case, Element, Formula, Text, Use
from engine.model.spelling import suggestion

TIMES = frozenset({"date", "dateTime", "instant", "time"})
CONTENT = Kind("content")
PLAIN_TEXTS = TEXT_LIKE - TIMES - {"decimal"}

_LOOSE_EXPRESSION = re.compile(
    r"[A-Z][A-Z0-9]{0,2}(\[[*\d]+\])?-\d+(\.\d+)*(\[[*\d]+\])?|[a-z_][a-z0-9_]*\(.*\)", re.DOTALL
)

_ITEMS = re.compile(r"\[\d+\]")


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
    put: Callable[["Content", Element, Scope], None]
    names: set[Any] = field(default_factory=set)
    fixed: bool = True


class Contents(Steps):
    """Compiles bodies that no schema describes."""

    def content(self, path: str, put: Callable[[Content, Element, Scope], None]) -> Content:
        """An empty dictionary."""
        made = Content(self.code.new("d"), self.code.new("n"), path, put)
        self.code.emit(f"{made.variable} = {{}}")
        self.code.emit(f"{made.said} = False")
        return made

    def fill(self, content: Content, body: Body, scope: Scope) -> None:
        """The lines that fill a dictionary with a body."""
        inner = scope
        if body.lets:
            inner = Scope(scope, self.code.slot(), self.code.loop)
            declare(inner, self.code, body.lets)
        for part in body.parts:
            match part:
                case Element():
                    with self.at(part.node):
                        content.put(content, part, inner)
                case Case():
                    self._case_in(content, part, inner)
                case Use():
                    self._use_in(content, part, inner)
        if body.lets:
            self.check_used(inner)

    def nested(
        self, body: Body, path: str, put: Callable[[Content, Element, Scope], None], scope: Scope
    ) -> tuple[Val, bool]:
        """A dictionary inside another one, absent where all its expressions are; and whether it has none at all."""
        content = self.content(path, put)
        self.fill(content, body, scope)
        if not content.names:
            return NOTHING, True
        if content.fixed:
            return Val(content.variable, CONTENT, maybe=False), True
        self.code.emit(f"if not {content.said}: {content.variable} = None")
        return Val(content.variable, CONTENT), False

    def write(self, content: Content, key: Any, value: Val, *, literal: bool) -> None:
        """The line that writes a value under its key."""
        set_it = f"{content.variable}[{self.code.constant(key)}] = {value.code}"
        if not literal:
            content.fixed = False
            set_it += f"; {content.said} = True"
        self.code.emit(f"if {value.code} is not None: {set_it}" if value.maybe else set_it)

    def taken(self, content: Content, key: Any, node: Node) -> bool:
        """Note a name; a problem where it is there already."""
        if key in content.names:
            self.problems.error(node, f"{node.value} is here a second time; remove one")
            return True
        content.names.add(key)
        return False

    def _case_in(self, content: Content, case: Case, scope: Scope) -> None:
        before = set(content.names)
        after = set(before)
        # The next branch is tried only where this one did not hold, and its condition may need lines of its own.
        with ExitStack() as nested:
            for branch in case.branches:
                with self.at(branch.node):
                    test = "True" if branch.when is None else self.condition(branch.when, scope)
                    if test == "False":
                        assert branch.when is not None
                        self.problems.warning(branch.when.node, "this condition never holds; remove the branch")
                        continue
                    content.names = set(before)
                    with self.code.block(f"if {test}:"):
                        self.fill(content, branch.body, scope)
                    after |= content.names
                    if test == "True":
                        break
                    nested.enter_context(self.code.block("else:"))
        content.names = after

    def _use_in(self, content: Content, use: Use, scope: Scope) -> None:
        fragment = self.fragments.get(use.fragment)
        if fragment is None:
            self.problems.error(
                use.node, f"no fragment is called {use.fragment}{suggestion(use.fragment, self.fragments)}"
            )
            return
        if fragment.body is None:
            self.problems.error(use.node, f"fragment {use.fragment} holds steps; use it as a step, not inside a body")
            return
        inner = self.enter_fragment(fragment, use, scope)
        if inner is not None:
            self.fill(content, fragment.body, inner)
            self.check_used(inner)

    # -- values ----------------------------------------------------------------------------------------------------

    def leaf(self, value: Formula, path: str, scope: Scope, want: str, fit: Callable[[Val, Formula, str], Val]) -> Val:
        """The value of an expression at its place, noted in the trace.

        Args:
            fit: makes of what it is what the place takes.
        """
        if self.traced:
            self.code.emit("T.open()")
        made = self.value(value, scope, want)
        if not made.is_absent:
            made = fit(made, value, path)
        if self.traced:
            rule = self.code.constant(f"{value.node.file}:{value.node.line}")
            calls = (part.name for part in syntax.walk(value.tree) if isinstance(part, syntax.Call))
            how = self.code.constant(f"{name}()" if (name := next(calls, "")) else "")
            self.code.emit(f"T.place({self.code.constant(below(path))}, {rule}, {how}, {made.code})")
        return made

    def says_nothing(self, value: Formula, scope: Scope) -> bool:
        """Whether an expression reads nothing of the message: constants and settings."""
        for part in syntax.walk(value.tree):
            match part:
                case syntax.Path():
                    return False
                case syntax.Name(name=name):
                    named = scope.find(name)
                    if not isinstance(named, Variable) or not isinstance(named.value, Formula) or named.active:
                        return False
                    if not self.says_nothing(named.value, named.scope):
                        return False
                case syntax.Call(name=name):
                    function = FUNCTIONS.get(name)
                    if function is None or not (function.pure or name == "setting"):
                        return False
                case _:
                    continue
        return True

    def loose(self, value: Text, path: str) -> bool:
        """Note a literal in the trace; whether it looks like an expression, which is a problem."""
        if self.traced:
            rule = self.code.constant(f"{value.node.file}:{value.node.line}")
            text = self.code.constant(value.text)
            self.code.emit(f"T.literal({self.code.constant(below(path))}, {rule}, {text})")
        if value.node.plain and _LOOSE_EXPRESSION.fullmatch(value.text):
            text = f"'{value.text}' looks like an expression and is a literal; put = in front, or quotes around"
            self.problems.error(value.node, text)
            return True
        return False

    def mismatch(self, formula: Formula, path: str, wanted: str, value: Val) -> Val:
        """A problem: the place does not take such a value."""
        hints = {
            "measured": "; .value is its number",
            "row": "; take a column of it, as .loinc",
            "segment": "; take a field of it",
            "flag": "; write 'Y' if ... else 'N'",
            "Reference": "; only FHIR has references",
        }
        hint = hints.get(value.kind.name, "")
        self.problems.error(formula.node, f"{path} takes {wanted}, and this is {value.kind}{hint}", offset=1)
        return NOTHING


def below(path: str) -> str:
    """A place below its part, without numbers of items, as the trace has it: ``OBX-8[2].1`` is ``.8.1``."""
    plain = _ITEMS.sub("", path)
    start = min((at for at in (plain.find("."), plain.find("-")) if at >= 0), default=len(plain))
    return "." + plain[start + 1 :]
