"""The context of the compiler: one compilation, which its functions take first, as `c`.

A module calls what it imports. What lies above it, as the expression around a part, it calls through the context:
`engine.mapping.compiler.assembly` puts these functions there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from engine.config.reading.yaml_nodes import Node
from engine.mapping.code_tables.tables import Table
from engine.mapping.compiler.scopes import Lazy, Made, Scope, Segments
from engine.mapping.compiler.source.code import NOTHING, Code, Slot, Val
from engine.mapping.compiler.source.recurring import Reading, Recurring, Taken, Walks
from engine.mapping.language import rules
from engine.mapping.language.rules import Formula, Fragment, Problems, Step
from engine.mapping.language.structures import Group
from engine.mapping.language.targets import FHIR, Target
from engine.mapping.message.identity_fields import IdentityFields


@dataclass(slots=True)
class Setting:
    """What expressions are compiled for.

    Attributes:
        message_format: ``hl7v2`` or ``astm``.
        root: the grammar of the structure.
        others: those of the other structures that the mapping reads.
        known_segments: segments of any structure of the format, with the number of their fields where it is known.
        identity: the fields that ids are made of.
        whole_message: paths read the first such segment anywhere in the message (conditions of routes).
        settings_read: names that `setting()` asks for.
        segments_read: segments that rules read.
        report_numbers: (segment, field, component) of the numbers that reports and patients are known by.
        repetitions_read: (segment, field) -> how many of its repetitions a rule reads; 0 for all.
        values_aside: segments of results whose values are read from outside of the result (``OBX[2]-5``).
    """

    message_format: str
    root: Group
    known_segments: dict[str, int]
    identity: IdentityFields
    tables: dict[str, Table] = field(default_factory=dict)
    others: tuple[Group, ...] = ()
    whole_message: bool = False
    settings_read: set[str] = field(default_factory=set)
    segments_read: set[str] = field(default_factory=set)
    report_numbers: set[tuple[str, int, int]] = field(default_factory=set)
    repetitions_read: dict[tuple[str, int], int] = field(default_factory=dict)
    values_aside: set[str] = field(default_factory=set)
    tables_used: set[str] = field(default_factory=set)
    functions_used: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Parts:
    """Functions that modules below theirs call, too.

    Attributes:
        expression: the value of an expression, kept where that is worth it.
        computed: its value, computed here.
        truth: a Python expression that is true where a condition holds.
        act: what a step does once its loop and condition are settled.
    """

    expression: Callable[["Compilation", rules.Expression, Scope, str], Val]
    computed: Callable[["Compilation", rules.Expression, Scope, str], Val]
    truth: Callable[["Compilation", rules.Expression, Scope], str]
    act: Callable[["Compilation", Step, Scope, Scope, Slot], Made | None]


@dataclass(slots=True)
class Compilation:
    """What is known while rules are compiled into `code`.

    Attributes:
        traced: also write the lines that note where values come from.
        fragments: those that the mapping imports.
        columns: of CSV rows, in order; shared by the structures of a mapping.
        formula: the expression that is being compiled.
        values: of paths; true where their key is in `code.available`.
        hoisted: values of paths read at the start of their scope.
        invariant: expressions that are the same in every round of a loop.
        tests: which value a let is that is one of two; ``taken``: such lets, where it is settled.
        keeping: number of the kept value whose function is being written; 0: none. ``asked``: the kept values that it
            reads, each with its key in `values` and a place behind that.
        function_start: place at the start of the function.
        members: ``list.member`` of all records so far.
        records: id of a scope -> variable of the record that its steps are inside of. ``record_names``: of facts, which
            record such a variable is.
    """

    setting: Setting
    problems: Problems
    parts: Parts
    traced: bool = False
    fragments: dict[str, Fragment] = field(default_factory=dict)
    target: Target = FHIR
    columns: dict[str, None] = field(default_factory=dict)
    code: Code = field(default_factory=Code)
    used_fragments: set[str] = field(default_factory=set)
    all_segments: list[Segments] = field(default_factory=list)
    formula: Formula | None = None
    values: dict[Any, Val] = field(default_factory=dict)
    hoisted: dict[Any, Val] = field(default_factory=dict)
    invariant: dict[Any, Lazy] = field(default_factory=dict)
    recurring: list[Recurring] = field(default_factory=list)
    walks: Walks = field(default_factory=Walks)
    homes: dict[tuple[int, int], tuple[Any, Any, Scope | None]] = field(default_factory=dict)
    looked_at: dict[tuple[Any, ...], tuple[Any, Any, Reading | None]] = field(default_factory=dict)
    tests: dict[tuple[int, int], Lazy] = field(default_factory=dict)
    taken: Taken = field(default_factory=dict)
    keeping: int = 0
    asked: list[tuple[Any, Any, Slot]] = field(default_factory=list)
    function_start: Slot = field(init=False)
    lists_results: bool = False
    members: set[str] = field(default_factory=set)
    records: dict[int, str] = field(default_factory=dict)
    record_names: dict[str, str] = field(default_factory=dict)

    # -- upwards -------------------------------------------------------------------------------------------------------

    def expression(self, part: rules.Expression, scope: Scope, want: str = "") -> Val:
        return self.parts.expression(self, part, scope, want)

    def computed(self, part: rules.Expression, scope: Scope, want: str) -> Val:
        return self.parts.computed(self, part, scope, want)

    def truth(self, part: rules.Expression, scope: Scope) -> str:
        return self.parts.truth(self, part, scope)

    def act(self, step: Step, scope: Scope, outer: Scope, before: Slot) -> Made | None:
        """What a step does: ``scope`` has its own lets, ``outer`` gets the name that `as:` gives."""
        return self.parts.act(self, step, scope, outer, before)

    # -- problems and places -------------------------------------------------------------------------------------------

    def error(self, part: rules.Expression, text: str) -> Val:
        """Note a problem at a part of the expression; the value is absent from here on."""
        assert self.formula is not None
        self.problems.error(self.formula.node, text, offset=self.formula.at(part))
        return NOTHING

    def warning(self, part: rules.Expression, text: str) -> None:
        """Note something doubtful at a part of the expression, which is compiled all the same."""
        assert self.formula is not None
        self.problems.warning(self.formula.node, text, offset=self.formula.at(part))

    def refused(self, node: Node, text: str, *, offset: int = 0) -> Val:
        """Note a problem at a node of the mapping; the value is absent."""
        self.problems.error(node, text, offset=offset)
        return NOTHING

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """Lines written inside belong to the rule at ``node``."""
        before = self.code.rule
        self.code.rule = f"{node.file}:{node.line}"
        yield
        self.code.rule = before

    @contextmanager
    def within(self, formula: Formula | None) -> Iterator[None]:
        """Problems noted inside are at parts of this expression."""
        before, self.formula = self.formula, formula
        try:
            yield
        finally:
            self.formula = before

    # -- what was computed ---------------------------------------------------------------------------------------------

    def kept(self, source: str) -> str:
        """The variable of a value that is computed here."""
        variable = self.code.new()
        self.code.emit(f"{variable} = {source}")
        return variable

    def known(self, key: Any) -> Val | None:
        """A value that was computed on every way to this point."""
        if key in self.hoisted:
            return self.hoisted[key]
        if self.traced or key not in self.code.available:
            return None
        return self.values.get(key)

    def remember(self, key: Any, value: Val) -> None:
        self.values[key] = value
        self.code.available.add(key)

    def noted(self, segments: Segments) -> Segments:
        """Segments that are read, and so made as long as every rule needs."""
        if all(segments is not other for other in self.all_segments):
            self.all_segments.append(segments)
        return segments
