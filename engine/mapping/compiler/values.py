"""Values of generated code: computed once, where they are first needed, and made to fit beside each other.

The base of all that compiles expressions. Methods that only the whole can offer are abstract here.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from engine.mapping import syntax
from engine.mapping.compiler.code import NOTHING, TEXT, TEXT_LIKE, Code, Kind, Val
from engine.mapping.compiler.recurring import Reading, Recurring, Taken, Walks
from engine.mapping.compiler.scopes import Lazy, Scope, Segments
from engine.mapping.identity_fields import IdentityFields
from engine.mapping.rules import Formula, Problems, Text
from engine.mapping.structures import Group
from engine.mapping.tables import Table

VARIABLE = re.compile(r"[a-z]\d+")


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
        repetitions_read: (segment, field) -> how many of its repetitions a rule reads; 0 for all.
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
    repetitions_read: dict[tuple[str, int], int] = field(default_factory=dict)
    tables_used: set[str] = field(default_factory=set)
    functions_used: set[str] = field(default_factory=set)


class Values(ABC):
    """What is known while expressions are compiled into `code`.

    Attributes:
        traced: also write the lines that note where values come from.
    """

    def __init__(self, code: Code, setting: Setting, problems: Problems, *, traced: bool) -> None:
        self.code = code
        self.setting = setting
        self.problems = problems
        self.traced = traced
        self.all_segments: list[Segments] = []
        self._formula: Formula | None = None
        self._values: dict[Any, Val] = {}  # of paths; true where their key is in code.available
        self._hoisted: dict[Any, Val] = {}  # of paths read at the start of their scope
        self._invariant: dict[Any, Lazy] = {}  # expressions that are the same in every round of a loop
        self._recurring: list[Recurring] = []
        self._walks = Walks()
        self._homes: dict[tuple[int, int], tuple[Any, Any, Any]] = {}
        self._looked_at: dict[tuple[Any, ...], tuple[Any, Any, Reading | None]] = {}
        self._tests: dict[tuple[int, int], Lazy] = {}  # which value a let is that is one of two
        self._taken: Taken = {}  # such lets, where it is settled
        self._keeping = 0  # number of the kept value whose function is being written; 0: none

    def error(self, part: syntax.Expression, text: str) -> Val:
        """Note a problem at a part of the expression; the value is absent from here on."""
        assert self._formula is not None
        self.problems.error(self._formula.node, text, offset=self._formula.at(part))
        return NOTHING

    def warning(self, part: syntax.Expression, text: str) -> None:
        """Note something doubtful at a part of the expression, which is compiled all the same."""
        assert self._formula is not None
        self.problems.warning(self._formula.node, text, offset=self._formula.at(part))

    @abstractmethod
    def value(self, value: Formula | Text, scope: Scope, want: str = "") -> Val:
        """A literal or an expression."""

    @abstractmethod
    def expression(self, part: syntax.Expression, scope: Scope, want: str = "") -> Val:
        """The value of an expression, kept where that is worth it."""

    @abstractmethod
    def _expression(self, part: syntax.Expression, scope: Scope, want: str) -> Val:
        """The value of an expression, computed here."""

    @abstractmethod
    def truth(self, part: syntax.Expression, scope: Scope) -> str:
        """A Python expression that is true where a condition holds."""

    # -- computed once -------------------------------------------------------------------------------------------------

    def _kept(self, source: str) -> str:
        variable = self.code.new()
        self.code.emit(f"{variable} = {source}")
        return variable

    def lazy(self, lazy: Lazy) -> Val:
        """A value that is computed once per scope, where it is first needed."""
        code = self.code
        key = lazy.key or id(lazy)
        if key in code.available and lazy.value is not None:
            self._trace_use(lazy)
            return lazy.value
        if lazy.value is not None and (lazy.value.known or lazy.value.code == "None"):
            return lazy.value
        if self._keeping and lazy.loop < code.loop:
            return self._build(lazy)  # the function of a kept value cannot see variables of the mapping around it
        guard = key in code.maybe or lazy.loop < code.loop
        if not lazy.variable:
            lazy.variable = code.new("v")
        if guard:
            if not lazy.guarded:
                lazy.guarded = True
                with code.into(lazy.slot):
                    code.emit(f"{lazy.variable} = UNSET")
                for slot, computed in lazy.unnamed:
                    with code.into(slot):
                        code.emit(f"{lazy.variable} = {computed}")
            with code.block(f"if {lazy.variable} is UNSET:"):
                value = self._build(lazy)
                code.emit(f"{lazy.variable} = {value.code}")
        else:
            value = self._build(lazy)
            if lazy.guarded or not VARIABLE.fullmatch(value.code):
                code.emit(f"{lazy.variable} = {value.code}")
            elif not value.known:
                lazy.unnamed.append((code.slot(), value.code))
                lazy.value = value
                code.available.add(key)
                self._trace_use(lazy)
                return value
        if value.known:
            lazy.value = value
            return value
        lazy.value = Val(lazy.variable, value.kind, value.maybe)
        code.available.add(key)
        self._trace_use(lazy)
        return lazy.value

    def _build(self, lazy: Lazy) -> Val:
        if self.traced:
            self.code.emit("T.open()")
        value = lazy.build()
        if self.traced:
            self.code.emit(f"T.keep({self.code.constant(lazy.variable)}, {self.code.constant(lazy.told)})")
        return value

    def _known(self, key: Any) -> Val | None:
        if key in self._hoisted:
            return self._hoisted[key]
        if self.traced or key not in self.code.available:
            return None
        return self._values.get(key)

    def _remember(self, key: Any, value: Val) -> None:
        self._values[key] = value
        self.code.available.add(key)

    # -- texts and lists -----------------------------------------------------------------------------------------------

    def text(self, value: Val, part: syntax.Expression) -> Val:
        """A field as its text; what is text already stays."""
        if value.kind.name != "field":
            return value
        if value.kind.many:
            return self.texts(value)
        variable = self.code.new()
        self.code.emit(f"{variable} = {self._text_of(value.code, False)}")
        return Val(variable, TEXT)

    def _text_of(self, code: str, many: bool) -> str:
        if many:
            inner = self.code.new()
            source = f"[{inner} for {inner} in map(text, {code}) if {inner} is not None] or None"
            return f"{source} if {code} is not None else None"
        return f"{code} if {code} is None or {code}.isalnum() else {quick(code)}"

    def texts(self, value: Val) -> Val:
        """A list of fields as texts."""
        variable = self.code.new()
        self.code.emit(f"{variable} = {self._text_of(value.code, True)}")
        return Val(variable, TEXT.each())

    def _as_list(self, value: Val) -> Val:
        if value.known:
            return self.code.literal((value.constant,), value.kind.each())
        if not value.maybe:
            return Val(self._kept(f"[{value.code}]"), value.kind.each(), maybe=False)
        return Val(self._kept(f"[{value.code}] if {value.code} is not None else None"), value.kind.each())

    def _meet(self, value: Val, other: Kind, part: syntax.Expression) -> Val:
        """A value made to fit beside one of another kind."""
        if value.kind.name == "field" and other.name in TEXT_LIKE:
            value = self.text(value, part)
        if other.many and not value.kind.many:
            variable = self.code.new()
            self.code.emit(f"{variable} = [{value.code}] if {value.code} is not None else None")
            value = Val(variable, value.kind.each(), value.maybe)
        one, two = value.kind.name, other.name
        if one != two and not (one in TEXT_LIKE and two in TEXT_LIKE) and not (two == "field" and one in TEXT_LIKE):
            self.error(part, f"one side is {other}, the other {value.kind}; both must be the same")
        elif value.kind.many and not other.many:
            self.error(part, f"one side is {other}, the other {value.kind}; take one with [0] or first()")
        return value

    def _common(self, left: Kind, right: Kind) -> Kind:
        if left.name == right.name:
            codes = left.codes | right.codes if left.codes is not None and right.codes is not None else None
            return Kind(left.name, left.many or right.many, left.columns | right.columns, codes)
        pair = {left.name, right.name}
        if pair <= {"date", "dateTime", "instant"}:
            return Kind("dateTime", left.many)
        if left.codes is not None and right.codes is not None:
            return Kind("code", left.many, codes=left.codes | right.codes)
        return Kind("text", left.many)

    # -- trace ---------------------------------------------------------------------------------------------------------

    def told(self, formula: Formula) -> tuple[str, str]:
        """The rule of an expression and the function that makes its value; empty where a field is only read."""
        calls = (f"{part.name}()" for part in syntax.walk(formula.tree) if isinstance(part, syntax.Call))
        return f"{formula.node.file}:{formula.node.line}", next(calls, "")

    def _trace_read(self, segment: str, path: syntax.Path, variable: str) -> None:
        if self.traced:
            self.code.emit(f"if {variable} is not None: T.read({segment}, {path.field}, {path.component})")

    def _trace_use(self, lazy: Lazy) -> None:
        if self.traced:
            self.code.emit(f"T.use({self.code.constant(lazy.variable)})")


def quick(code: str) -> str:
    """The text of a raw value that is not empty: itself where it holds no delimiter, no escape and no outer blanks."""
    plain = " and ".join(f"{delimiter} not in {code}" for delimiter in "CRSX")
    return f"{code} if {plain} and {code}[0] > '\"' and {code}[-1] > ' ' else text({code})"


def with_code(value: Val) -> Kind:
    """The kind of a value; of a literal, with the one code that it can be."""
    if value.known and isinstance(value.constant, str):
        return Kind(value.kind.name, codes=frozenset({value.constant}))
    return value.kind
