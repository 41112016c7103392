"""Expressions to lines of Python. Each `Val` that comes back is a variable, a constant or something as cheap.

What a value is *wanted* as decides how a path is read: as it was sent (``field``) or as its text, unescaped and
trimmed. A field that becomes text is tested for the usual case first (letters and digits only), because twenty results
read several hundred fields.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.mapping import decimals, syntax
from engine.mapping.compiler import patterns
from engine.mapping.compiler.code import (
    ABSENT,
    DECIMAL,
    FIELD,
    FLAG,
    NOTHING,
    SEGMENT,
    TEXT,
    TEXT_LIKE,
    Code,
    Kind,
    Val,
)
from engine.mapping.compiler.recurring import Reading, Recurring, Taken, recurring
from engine.mapping.compiler.scopes import Lazy, Made, Scope, Segments, Variable, bind_outwards, bind_segments
from engine.mapping.functions import FUNCTIONS, Function, Parameter
from engine.mapping.functions.code_maps import CODE_MAPS
from engine.mapping.functions.numbers import MEASURED_MEMBERS
from engine.mapping.rules import Formula, Problems, Text, suggestion
from engine.mapping.structures import Group
from engine.mapping.tables import Table

_MESSAGE_SEGMENTS = {"hl7v2": ("MSH", (1, 2)), "astm": ("H", (2,))}  # fields that hold the delimiters themselves


@dataclass(slots=True)
class Setting:
    """What expressions are compiled for.

    Attributes:
        message_format: ``hl7v2`` or ``astm``.
        root: the grammar of the structure.
        known_segments: segments of any structure of the format, with the number of their fields where it is known.
        whole_message: paths read the first such segment of the message, wherever it stands (conditions of routes).
        settings_read: names that `setting()` asks for.
        read: segments that rules read; ``fields`` the single fields.
    """

    message_format: str
    root: Group
    known_segments: dict[str, int]
    tables: dict[str, Table] = field(default_factory=dict)
    whole_message: bool = False
    settings_read: set[str] = field(default_factory=set)
    segments_read: set[str] = field(default_factory=set)
    tables_used: set[str] = field(default_factory=set)
    functions_used: set[str] = field(default_factory=set)


class Expressions:
    """Compiles expressions into `code`.

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
        self._tests: dict[tuple[int, int], Lazy] = {}  # which value a let is that is one of two
        self._taken: Taken = {}  # such lets, where it is settled
        self._keeping = 0  # number of the kept value whose function is being written; 0: none

    # -- entry points ----------------------------------------------------------------------------------------------

    def value(self, value: Formula | Text, scope: Scope, want: str = "") -> Val:
        """A literal or an expression."""
        if isinstance(value, Text):
            return self.code.literal(value.text, TEXT)
        before, self._formula = self._formula, value
        rule, self.code.rule = self.code.rule, f"{value.node.file}:{value.node.line}"
        try:
            return self.expression(value.tree, scope, want)
        finally:
            self._formula, self.code.rule = before, rule

    def condition(self, formula: Formula, scope: Scope) -> str:
        """A Python expression that is true where the condition holds."""
        before, self._formula = self._formula, formula
        try:
            return self.truth(formula.tree, scope)
        finally:
            self._formula = before

    def error(self, part: syntax.Expression, text: str) -> Val:
        """Note a problem at a part of the expression; the value is absent from here on."""
        assert self._formula is not None
        self.problems.error(self._formula.node, text, offset=self._formula.at(part))
        return NOTHING

    # -- expressions -----------------------------------------------------------------------------------------------

    def expression(self, part: syntax.Expression, scope: Scope, want: str = "") -> Val:
        if self.code.loop and not self.traced and not self._keeping and isinstance(part, _WORTH_KEEPING):
            home = scope.outermost() if _is_same_everywhere(part) else self._home(part, scope, set())
            if home is not None and home.loop < self.code.loop:
                return self._outside_the_loop(part, scope, want, home)
        if isinstance(part, _WORTH_KEEPING_OVER_MESSAGES) and (reading := self.recurs(part, scope)) is not None:
            key = ("path", part, want) if isinstance(part, syntax.Path) else ("value", id(part), id(scope), want)
            return self.keep(key, reading, lambda: self._expression(part, scope, want))
        return self._expression(part, scope, want)

    def recurs(self, part: syntax.Expression, scope: Scope) -> Reading | None:
        """What an expression reads whose value is to be kept from message to message; None for all others.

        Not a part of one that is kept already.
        """
        if self.traced or self._keeping or not self.code.loop:
            return None
        return self._reading(part, scope)

    def _reading(self, part: syntax.Expression, scope: Scope) -> Reading | None:
        reading = recurring(part, scope, self._taken)
        return (
            reading
            if reading is not None and reading.home is not None and reading.home.loop == self.code.loop
            else None
        )

    def keep(self, key: Any, reading: Reading, build: Callable[[], Val]) -> Val:
        """A value that is computed in the first message that needs it, and kept (see `recurring`)."""
        if reading.choice is not None:
            return self._keep_either(key, reading, reading.choice, build)
        code, home = self.code, reading.home
        assert home is not None
        key = (*key, *sorted(reading.decided))
        kept = home.values.get(key)
        if kept is None:
            before = self._formula, self._keeping, self._hoisted
            self._keeping, self._hoisted = home.written + 1, {}
            try:
                kept = home.compile(code, key, reading.fields, build)
            finally:
                self._formula, self._keeping, self._hoisted = before
        if isinstance(kept, Val):
            return kept
        known = ("kept", home.number, key, self._keeping)
        if known not in code.available:
            variable = kept.variable
            if self._keeping:
                variable = code.new()
                code.emit(f"{variable} = {home.kept}[{kept.place}]")
            call = f"{kept.function}(m, making, {home.arguments})"
            code.emit(f"if {variable} is UNSET: {variable} = {call}")
            self._remember(known, Val(variable, kept.value.kind, kept.value.maybe))
        return self._values[known]

    def _keep_either(self, key: Any, reading: Reading, variable: Variable, build: Callable[[], Val]) -> Val:
        """A value made of a let that is one of two: kept for both, and chosen as the let is."""
        code = self.code
        assert isinstance(variable.value, Formula)
        tree = variable.value.tree
        assert isinstance(tree, syntax.Choice)
        test = self.lazy(self._test_of(variable, tree))
        chosen = code.new()
        values = []
        for which, (head, branch) in enumerate(((f"if {test.code}:", tree.then), ("else:", tree.other))):
            with code.block(head):
                before, self._taken = self._taken, {**self._taken, id(variable): (which, branch)}
                try:
                    inner = self._reading(reading.part, reading.scope)
                    value = build() if inner is None else self.keep(key, inner, build)
                finally:
                    self._taken = before
                code.emit(f"{chosen} = {value.code}")
            values.append(value)
        one, other = values
        if one.is_absent or other.is_absent:
            return NOTHING if one.is_absent and other.is_absent else Val(chosen, (other if one.is_absent else one).kind)
        return Val(chosen, self._common(_with_code(one), _with_code(other)), one.maybe or other.maybe)

    def _outside_the_loop(self, part: syntax.Expression, scope: Scope, want: str, home: Scope) -> Val:
        """An expression in which nothing changes from round to round: computed in the first one that needs it."""
        key = ("same", id(part), id(scope), want)
        lazy = self._invariant.get(key)
        if lazy is None:
            formula = self._formula

            def build() -> Val:
                before, self._formula = self._formula, formula
                try:
                    return self._expression(part, scope, want)
                finally:
                    self._formula = before

            lazy = self._invariant[key] = Lazy(build, home.loop, home.slot, key=key)
        return self.lazy(lazy)

    def _home(self, part: syntax.Expression, scope: Scope, seen: set[int]) -> Scope | None:
        """The innermost scope that an expression depends on; None where that cannot be said."""
        found: Scope | None = None
        for inner in syntax.walk(part):
            here: Scope | None = None
            match inner:
                case syntax.Path(segment=segment, which=None):
                    here = scope.owner_of(segment)
                case syntax.Path():
                    return None
                case syntax.Name(name=name):
                    here = self._home_of_name(name, scope, seen)
                case _:
                    continue
            if here is None:
                return None
            if found is None or here.loop > found.loop:
                found = here
        return found

    def _home_of_name(self, name: str, scope: Scope, seen: set[int]) -> Scope | None:
        holder = scope.holder_of(name)
        if holder is None:
            return None
        named = holder.names[name]
        if isinstance(named, Made):
            return holder.frame()
        if not isinstance(named.value, Formula) or id(named) in seen:
            return None
        return self._home(named.value.tree, named.scope, seen | {id(named)})

    def _expression(self, part: syntax.Expression, scope: Scope, want: str) -> Val:
        match part:
            case syntax.Literal(text=text):
                return self.code.literal(text, TEXT)
            case syntax.Number(text=text):
                return self.code.literal(decimals.normal(text), DECIMAL)
            case syntax.Flag(value=value):
                return self.code.literal(value, FLAG)
            case syntax.Absent():
                return NOTHING
            case syntax.Path():
                return self._path(part, scope, want)
            case syntax.Name():
                return self._name(part, scope, want)
            case syntax.Call():
                return self._call(part, scope)
            case syntax.Part():
                return self._component(part, scope, want)
            case syntax.Member():
                return self._member(part, scope)
            case syntax.Item():
                return self._item(part, scope, want)
            case syntax.ListOf():
                return self._list(part, scope)
            case syntax.Choice():
                return self._choice(part, scope, want)
            case syntax.Unary(operator="-"):
                return self._arithmetic("-", syntax.Number(part.at, "0"), part.value, scope)
            case syntax.Binary(operator="|"):
                return self._first_present(part, scope, want)
            case syntax.Binary(operator="++"):
                return self._joined(part, scope)
            case syntax.Binary(operator=("+" | "-" | "*" | "/") as operator, left=left, right=right):
                return self._arithmetic(operator, left, right, scope)
            case _:
                test = self.truth(part, scope)
                if test in ("True", "False"):
                    return self.code.literal(test == "True", FLAG)
                return Val(self._kept(test), FLAG, maybe=False)

    def _kept(self, source: str) -> str:
        variable = self.code.new()
        self.code.emit(f"{variable} = {source}")
        return variable

    # -- paths -----------------------------------------------------------------------------------------------------

    def _path(self, path: syntax.Path, scope: Scope, want: str) -> Val:
        if not path.field:
            return self._segment_path(path, scope)
        limit = self.setting.known_segments.get(path.segment, 0)
        if limit and path.field > limit:
            return self.error(path, f"{path.segment} has {limit} fields, there is no {path.segment}-{path.field}")
        self.setting.segments_read.add(path.segment)
        if path.which is not None or path.repetition is not None:
            return self._many_path(path, scope, want)
        segments = self._segments(path, scope)
        if segments is None:
            return NOTHING
        segments.width = max(segments.width, path.field + 1)
        as_text = want == "text"
        key = ("path", segments.fields, path.field, path.component, path.subcomponent, as_text)
        known = self._known(key)
        if known is not None:
            return known
        owner = scope.owner_of(path.segment)
        if owner is not None and owner.loop < self.code.loop and not self.traced:
            # Read once where its segment stands, not again for every result below.
            with self.code.into(owner.slot):
                made = self._hoisted[key] = self._read(path, segments, as_text)
            return made
        made = self._read(path, segments, as_text)
        self._remember(key, made)
        return made

    def _read(self, path: syntax.Path, segments: Segments, as_text: bool) -> Val:
        raw = f"{segments.fields}[{path.field}]"
        kind = TEXT if as_text else FIELD
        segment, verbatim = _MESSAGE_SEGMENTS[self.setting.message_format]
        variable = self.code.new()
        if path.segment == segment and path.field in verbatim:
            self.code.emit(f"{variable} = {raw} or None")
            kind = TEXT
        elif path.component > 1 or path.subcomponent:
            self._read_part(variable, raw, path, as_text)
        elif as_text and path.component:
            self.code.emit(f"{variable} = {raw}.partition(C)[0]")
            self.code.emit(f"if not {variable}.isalnum(): {variable} = ({_quick(variable)}) if {variable} else None")
        elif as_text:
            self.code.emit(f"{variable} = {raw}")
            self.code.emit(f"if not {variable}.isalnum(): {variable} = ({_quick(variable)}) if {variable} else None")
        else:
            self.code.emit(f"{variable} = {raw} or None")
            unusual = f"{variable} is not None and ({variable} < '#' or R in {variable})"
            self.code.emit(f"if {unusual}: {variable} = present({variable}.partition(R)[0])")
            if path.component:
                self.code.emit(f"if {variable} is not None and C in {variable}: {variable} = component({variable}, 1)")
        self._trace_read(f"{segments.segments}[0]", path, variable)
        return Val(variable, kind)

    def _read_part(self, variable: str, raw: str, path: syntax.Path, as_text: bool) -> None:
        """A component from the second on, or a subcomponent, of the first repetition."""
        emit = self.code.emit
        emit(f"{variable} = {raw}")
        emit(f"if R in {variable}: {variable} = {variable}[:{variable}.index(R)]")
        # A part from the second on is behind a delimiter; mostly there is none, which is quickly seen.
        there = f"S in {variable}" if path.subcomponent > 1 else f"C in {variable}" if path.component > 1 else variable
        emit(f"{variable} = component({variable}, {path.component}) if {there} else None")
        if path.subcomponent:
            emit(f"if {variable} is not None: {variable} = subcomponent({variable}, {path.subcomponent})")
        if as_text:
            emit(f"if {variable} is not None and not {variable}.isalnum(): {variable} = {_quick(variable)}")

    def _segments(self, path: syntax.Path, scope: Scope) -> Segments | None:
        """The variables of a path's segment; None with a problem where the scope has none."""
        name = path.segment
        if self.setting.whole_message:
            if name not in self.setting.known_segments and not name.startswith("Z"):
                self._unknown_segment(path)
                return None
            return self._first_in_message(name, scope)
        owner = scope.owner_of(name)
        if owner is not None:
            return self._noted(bind_segments(self.code, owner, name))
        if self.setting.root.holds(name):
            way = " then ".join(f"each: {group}" for group in self.setting.root.way_to(name))
            self.error(path, f"{name} stands inside a group; go there with {way}, or read {name}[*] or {name}[1]")
            return None
        if name not in self.setting.known_segments and not name.startswith("Z"):
            self._unknown_segment(path)
            return None
        return self._noted(bind_outwards(self.code, scope, name))

    def _unknown_segment(self, path: syntax.Path) -> None:
        hint = suggestion(path.segment, self.setting.known_segments)
        self.error(path, f"no segment is called {path.segment}{hint}")

    def _noted(self, segments: Segments) -> Segments:
        if all(segments is not other for other in self.all_segments):
            self.all_segments.append(segments)
        return segments

    def _first_in_message(self, name: str, scope: Scope) -> Segments:
        found = scope.segments.get(name)
        if found is None:
            number = self.code.new("")
            with self.code.into(scope.slot):
                self.code.emit(f"s{number} = of_name({self.code.constant(name)})")
                self.code.emit(f"f{number} = s{number}[0].fields if s{number} else NO_FIELDS")
                found = scope.segments[name] = Segments(name, f"s{number}", f"f{number}", self.code.slot())
        return self._noted(found)

    def _segment_path(self, path: syntax.Path, scope: Scope) -> Val:
        """A segment as a whole: for functions that read several fields, and to ask whether it is there."""
        self.setting.segments_read.add(path.segment)
        if path.which is not None:
            found = self._all_of(path, scope)
            if found is None or path.which == 0:
                return Val(found, SEGMENT.each()) if found else NOTHING
            return Val(
                self._kept(f"{found}[{path.which - 1}] if {found} and len({found}) >= {path.which} else None"), SEGMENT
            )
        segments = self._segments(path, scope)
        if segments is None:
            return NOTHING
        return Val(self._kept(f"{segments.segments}[0] if {segments.segments} else None"), SEGMENT)

    def _all_of(self, path: syntax.Path, scope: Scope) -> str | None:
        """The variable of all segments of a name in scope: in the group itself, else in the groups inside it."""
        name = path.segment
        if self.setting.whole_message:
            found = self._segments(path, scope)
            return None if found is None else found.segments
        owner = scope.owner_of(name)
        if owner is not None:
            return self._noted(bind_segments(self.code, owner, name)).segments
        for candidate in scope.group_scopes():
            assert candidate.group is not None
            if candidate.group.holds(name):
                key = ("inside", candidate.variable, name)
                known = self._known(key)
                if known is None:
                    ways = self.code.constant(candidate.group.ways_to(name))
                    source = f"inside({candidate.variable}, {self.code.constant(name)}, {ways})"
                    known = Val(self._kept(source), SEGMENT.each())
                    self._remember(key, known)
                return known.code
        single = self._segments(path, scope)
        return None if single is None else single.segments

    def _many_path(self, path: syntax.Path, scope: Scope, want: str) -> Val:
        emit = self.code.emit
        variable = self.code.new()
        many = path.which == 0 or path.repetition == 0
        if path.which is not None:
            found = self._all_of(path, scope)
            if found is None:
                return NOTHING
            if path.which == 0:
                call = "every_field(m, " if path.repetition == 0 else "each_field("
                emit(f"{variable} = {call}{found}, {path.field}) if {found} else None")
                if path.repetition:
                    self.error(path, "say either which segment or which repetition, or [*] for all repetitions of all")
            else:
                emit(f"{variable} = one_field({found}, {path.which}, {path.field}) if {found} else None")
                self._trace_read(f"{found}[{path.which - 1}]", path, variable)
        else:
            segments = self._segments(path, scope)
            if segments is None:
                return NOTHING
            segments.width = max(segments.width, path.field + 1)
            emit(f"{variable} = {segments.fields}[{path.field}]")
            if path.repetition == 0:
                one = f"[{variable}] if {variable} > '#' and R not in {variable} else repetitions({variable})"
                emit(f"{variable} = ({one}) if {variable} else None")
            else:
                number = path.repetition or 1
                there = f"R in {variable}" if number > 1 else variable
                emit(f"{variable} = repetition(m, {variable}, {number}) if {there} else None")
            self._trace_read(f"{segments.segments}[0]", path, variable)
        if path.which:
            if path.repetition == 0:
                emit(f"if {variable} is not None: {variable} = repetitions({variable})")
            else:
                emit(f"if {variable} is not None: {variable} = repetition(m, {variable}, {path.repetition or 1})")
        for function, number in (("component", path.component), ("subcomponent", path.subcomponent)):
            if number and many:
                inner = self.code.new()
                emit(
                    f"if {variable} is not None: {variable} = "
                    f"[{inner} for {inner} in [{function}({inner}, {number}) for {inner} in {variable}] "
                    f"if {inner} is not None] or None"
                )
            elif number:
                emit(f"if {variable} is not None: {variable} = {function}({variable}, {number})")
        made = Val(variable, FIELD.each() if many else FIELD)
        return self.text(made, path) if want == "text" and not many else made

    # -- names -----------------------------------------------------------------------------------------------------

    def _name(self, part: syntax.Name, scope: Scope, want: str) -> Val:
        found = scope.find(part.name)
        match found:
            case None:
                if part.name in FUNCTIONS:
                    return self.error(part, f"{part.name} is a function; call it: {FUNCTIONS[part.name].signature}")
                return self.error(part, f"nothing is called {part.name} here{suggestion(part.name, scope.visible())}")
            case Made():
                return self._made(found)
            case Variable():
                found.used = True
                return self._variable(found, part, want)

    def _made(self, made: Made) -> Val:
        made.used = True
        if made.needed is not None:
            made.needed()
            made.needed = None
        code = f"({made.variable} or None)" if made.many else made.variable
        return Val(code, Kind("Reference", made.many, codes=made.resources))

    def _variable(self, variable: Variable, part: syntax.Name, want: str) -> Val:
        if variable.value is None:
            return NOTHING
        if isinstance(variable.value, Text):
            return self.code.literal(variable.value.text, TEXT)
        if variable.active:
            return self.error(part, f"{variable.name} is defined by itself")
        if self._recurring and isinstance(variable.value.tree, syntax.Choice):
            self._test_of(variable, variable.value.tree)
        if id(variable) in self._taken:
            return self._taken_branch(variable, self._taken[id(variable)][1], want)
        way = "text" if want == "text" and self._is_field_like(variable) else ""
        lazy = variable.lazies.get(way)
        if lazy is None:
            formula = variable.value

            def build() -> Val:
                return self.value(formula, variable.scope, way)

            lazy = variable.lazies[way] = Lazy(build, variable.loop, variable.slot, key=("let", id(variable), way))
        variable.active = True
        try:
            if not self.traced and self.code.loop:
                reading = self._reading(variable.value.tree, variable.scope)
                if reading is not None:
                    return self.keep(lazy.key, reading, lazy.build)
                if self._taken:
                    return lazy.build()  # it may be another value for the other branch
            return self.lazy(lazy)
        finally:
            variable.active = False

    def _test_of(self, variable: Variable, tree: syntax.Choice) -> Lazy:
        """Which value a let is that is one of two: asked once a round, by whoever needs to know first."""
        key = (id(tree), id(variable.scope))  # a fragment has one tree, and a scope for each use
        known = self._tests.get(key)
        if known is None:

            def build() -> Val:
                before, self._formula = self._formula, variable.value if isinstance(variable.value, Formula) else None
                try:
                    return Val(self._kept(self.truth(tree.condition, variable.scope)), FLAG, maybe=False)
                finally:
                    self._formula = before

            known = self._tests[key] = Lazy(build, variable.loop, variable.slot, key=("test", id(variable)))
        return known

    def _taken_branch(self, variable: Variable, branch: syntax.Expression, want: str) -> Val:
        """The value of a let that is one of two, where it is known which."""
        assert isinstance(variable.value, Formula)
        before, self._formula = self._formula, variable.value
        variable.active = True
        try:
            return self.expression(branch, variable.scope, want)
        finally:
            self._formula, variable.active = before, False

    def _is_field_like(self, variable: Variable) -> bool:
        """Whether a variable is fields only, so that it can be read as text or as it was sent, as one wants it."""
        formula = variable.value
        if not isinstance(formula, Formula) or variable.active:
            return False
        variable.active = True
        try:
            for part in syntax.walk(formula.tree):
                match part:
                    case syntax.Path(which=which, repetition=repetition):
                        if which == 0 or repetition == 0:
                            return False
                    case syntax.Part() | syntax.Literal() | syntax.Binary(operator="|"):
                        pass
                    case syntax.Name(name=name):
                        inner = variable.scope.find(name)
                        if not isinstance(inner, Variable) or not self._is_field_like(inner):
                            return False
                    case _:
                        return False
        finally:
            variable.active = False
        return True

    def lazy(self, lazy: Lazy) -> Val:
        """A value that is computed once per scope, where it is first needed."""
        code = self.code
        key = lazy.key or id(lazy)
        if key in code.available and lazy.value is not None:
            self._trace_use(lazy)
            return lazy.value
        if lazy.value is not None and (lazy.value.known or lazy.value.code == "None"):
            return lazy.value
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
            if lazy.guarded or not _VARIABLE.fullmatch(value.code):
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
            self.code.emit(f"T.keep({self.code.constant(lazy.variable)})")
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

    # -- parts -----------------------------------------------------------------------------------------------------

    def _component(self, part: syntax.Part, scope: Scope, want: str) -> Val:
        value = self.expression(part.value, scope)
        if value.is_absent:
            return NOTHING
        if value.kind.name != "field":
            return self.error(part, f"only a field has components; this is {value.kind}")
        level = self._level(part.value)
        if level > 1:
            return self.error(part, "subcomponents have no parts")
        function = "subcomponent" if level else "component"
        variable = self.code.new()
        if value.kind.many:
            inner = self.code.new()
            parts = f"[{function}({inner}, {part.number}) for {inner} in {value.code}]"
            source = f"[{inner} for {inner} in {parts} if {inner} is not None] or None"
            self.code.emit(f"{variable} = {source} if {value.code} is not None else None")
            return Val(variable, FIELD.each())
        self.code.emit(f"{variable} = {function}({value.code}, {part.number}) if {value.code} is not None else None")
        made = Val(variable, FIELD)
        return self.text(made, part) if want == "text" else made

    def _level(self, part: syntax.Expression) -> int:
        """How deep a field value is already: 0 a repetition, 1 a component, 2 a subcomponent."""
        match part:
            case syntax.Part(value=value):
                return self._level(value) + 1
            case syntax.Path(component=component, subcomponent=subcomponent):
                return 2 if subcomponent else 1 if component else 0
            case syntax.Binary(left=left):
                return self._level(left)
            case _:
                return 0

    def _member(self, part: syntax.Member, scope: Scope) -> Val:
        value = self.expression(part.value, scope)
        if value.is_absent:
            return NOTHING
        if value.kind.many:
            return self.error(part, f"{value.kind} has no .{part.name}; take one of the list first")
        if value.kind.name == "row":
            if part.name not in value.kind.columns:
                return self.error(
                    part, f"the table has no column {part.name}{suggestion(part.name, value.kind.columns)}"
                )
            column = self.code.constant(part.name)
            return Val(self._kept(f"{value.code}.cells.get({column}) if {value.code} is not None else None"), TEXT)
        if value.kind.name == "measured":
            member = MEASURED_MEMBERS.get(part.name)
            if member is None:
                return self.error(part, f"a number has no .{part.name}{suggestion(part.name, MEASURED_MEMBERS)}")
            return Val(self._kept(f"{value.code}.{part.name} if {value.code} is not None else None"), Kind(member))
        return self.error(part, f"{value.kind} has no parts with names; only rows of tables and numbers have")

    def _item(self, part: syntax.Item, scope: Scope, want: str) -> Val:
        value = self.expression(part.value, scope)
        if value.is_absent:
            return NOTHING
        if not value.kind.many:
            return self.error(part, f"this is one {value.kind}, not a list; remove [{part.index}]")
        if part.index == 0:
            source = f"{value.code}[0] if {value.code} is not None else None"
        else:
            source = (
                f"{value.code}[{part.index}] if {value.code} is not None and len({value.code}) > {part.index} else None"
            )
        made = Val(self._kept(source), value.kind.one())
        return self.text(made, part) if want == "text" else made

    def _list(self, part: syntax.ListOf, scope: Scope) -> Val:
        values = [self.expression(item, scope, "text") for item in part.items]
        values = [value for value in values if not value.is_absent]
        if not values:
            return NOTHING
        kinds = {value.kind.name for value in values}
        kind = values[0].kind.one() if len(kinds) == 1 else TEXT
        if any(value.kind.name == "field" for value in values):
            values = [self.text(value, part) for value in values]
            kind = TEXT
        elif len(kinds) > 1 and not kinds <= TEXT_LIKE:
            return self.error(part, f"the values of a list are of one kind, not {' and '.join(sorted(kinds))}")
        if all(value.known for value in values):
            return self.code.literal(tuple(value.constant for value in values), kind.each())
        inside = ", ".join(value.code for value in values)
        if any(value.maybe for value in values):
            inner = self.code.new()
            return Val(self._kept(f"[{inner} for {inner} in ({inside},) if {inner} is not None] or None"), kind.each())
        return Val(self._kept(f"[{inside}]"), kind.each(), maybe=False)

    # -- operators -------------------------------------------------------------------------------------------------

    def _first_present(self, part: syntax.Binary, scope: Scope, want: str) -> Val:
        left = self.expression(part.left, scope, want)
        if left.is_absent:
            return self.expression(part.right, scope, want)
        if not left.maybe:
            return left
        variable = self.code.new()
        with self.code.aside() as lines:
            right = self.expression(part.right, scope, want)
            if not right.is_absent:
                right = self._meet(right, left.kind, part)
            if lines.lines:
                self.code.emit(f"{variable} = {right.code}")
        if right.is_absent:
            return left
        same = left.kind.name != "field" or right.kind.name == "field"
        if not lines.lines and same:
            self.code.emit(f"{variable} = {left.code} if {left.code} is not None else {right.code}")
            return Val(variable, self._common(left.kind, _with_code(right)), right.maybe)
        self.code.emit(f"{variable} = {left.code}")
        if not lines.lines:
            with self.code.block(f"if {variable} is None:"):
                self.code.emit(f"{variable} = {right.code}")
        else:
            self.code.place(f"if {variable} is None:", lines)
        if left.kind.name == "field" and right.kind.name != "field":
            # Unlike values meet as text; the field on the left was read before that was known.
            self.code.emit(f"else: {variable} = {self._text_of(variable, left.kind.many)}")
            return Val(variable, right.kind, right.maybe)
        return Val(variable, self._common(left.kind, _with_code(right)), right.maybe)

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

    def _joined(self, part: syntax.Binary, scope: Scope) -> Val:
        sides = [self.expression(side, scope) for side in (part.left, part.right)]
        sides = [side for side in sides if not side.is_absent]
        if len(sides) < 2:
            if not sides:
                return NOTHING
            return sides[0] if sides[0].kind.many else self._as_list(sides[0])
        sides = [self.text(side, part) if side.kind.name == "field" else side for side in sides]
        left, right = sides
        if left.kind.name != right.kind.name and not {left.kind.name, right.kind.name} <= TEXT_LIKE:
            return self.error(part, f"++ joins values of one kind; here are {left.kind} and {right.kind}")
        variable = self.code.new()
        lists = [side.code if side.kind.many else f"[{side.code}]" for side in sides]
        if not any(side.maybe for side in sides):
            self.code.emit(f"{variable} = [*{lists[0]}, *{lists[1]}]")
            return Val(variable, left.kind.each(), maybe=False)
        first, second = (side.code for side in sides)
        self.code.emit(f"{variable} = None")
        with self.code.block(f"if {first} is not None or {second} is not None:"):
            self.code.emit(f"{variable} = [] if {first} is None else [*{lists[0]}]")
            self.code.emit(f"if {second} is not None: {variable} += {lists[1]}")
        return Val(variable, left.kind.each(), maybe=left.maybe and right.maybe)

    def _as_list(self, value: Val) -> Val:
        if value.known:
            return self.code.literal((value.constant,), value.kind.each())
        if not value.maybe:
            return Val(self._kept(f"[{value.code}]"), value.kind.each(), maybe=False)
        return Val(self._kept(f"[{value.code}] if {value.code} is not None else None"), value.kind.each())

    def _choice(self, part: syntax.Choice, scope: Scope, want: str) -> Val:
        asked = self._tests.get((id(part), id(scope)))
        test = self.truth(part.condition, scope) if asked is None else self.lazy(asked).code
        if test in ("True", "False"):
            return self.expression(part.then if test == "True" else part.other, scope, want)
        variable = self.code.new()
        with self.code.block(f"if {test}:"):
            then = self.expression(part.then, scope, want)
            if then.kind.name == "field":
                then = self.text(then, part) if not then.kind.many else then
            self.code.emit(f"{variable} = {then.code}")
        with self.code.block("else:"):
            other = self.expression(part.other, scope, want)
            if other.kind.name == "field" and then.kind.name != "field":
                other = self.text(other, part)
            if not then.is_absent and not other.is_absent:
                other = self._meet(other, then.kind, part)
            self.code.emit(f"{variable} = {other.code}")
        if then.is_absent:
            return Val(variable, other.kind) if not other.is_absent else NOTHING
        if other.is_absent:
            return Val(variable, then.kind)
        return Val(variable, self._common(_with_code(then), _with_code(other)), then.maybe or other.maybe)

    def _arithmetic(self, operator: str, left: syntax.Expression, right: syntax.Expression, scope: Scope) -> Val:
        one = self.decimal(self.expression(left, scope), left)
        two = self.decimal(self.expression(right, scope), right)
        if one.is_absent or two.is_absent:
            return NOTHING
        if one.known and two.known:
            return self.code.literal(decimals.calculate(operator, one.constant, two.constant), DECIMAL)
        tests = " and ".join(f"{side.code} is not None" for side in (one, two) if side.maybe)
        source = f"calculate({self.code.constant(operator)}, {one.code}, {two.code})"
        return Val(self._kept(f"{source} if {tests} else None" if tests else source), DECIMAL)

    # -- conditions ------------------------------------------------------------------------------------------------

    def truth(self, part: syntax.Expression, scope: Scope) -> str:
        """A Python expression, true where the condition holds; ``True`` and ``False`` where that is known now."""
        reading = self.recurs(part, scope)
        if reading is None:
            return self._truth(part, scope)

        def build() -> Val:
            test = self._truth(part, scope)
            return self.code.literal(test == "True", FLAG) if test in ("True", "False") else Val(test, FLAG, False)

        kept = self.keep(("truth", id(part), id(scope)), reading, build)
        return str(kept.constant) if kept.known else kept.code

    def _truth(self, part: syntax.Expression, scope: Scope) -> str:
        match part:
            case syntax.Unary(operator="not", value=value):
                test = self.truth(value, scope)
                return {"True": "False", "False": "True"}.get(test, f"not ({test})")
            case syntax.Binary(operator=("and" | "or") as operator):
                return self._both(part, operator, scope)
            case syntax.Binary(operator=("==" | "!=") as operator):
                return self._equal(part, operator, scope)
            case syntax.Binary(operator=("<" | "<=" | ">" | ">=") as operator):
                return self._ordered(part, operator, scope)
            case syntax.Binary(operator="in"):
                return self._within(part, scope)
            case syntax.Binary(operator="matches"):
                return self._matches(part, scope)
            case syntax.Path(field=0, which=None):
                self.setting.segments_read.add(part.segment)
                segments = self._segments(part, scope)
                return f"bool({segments.segments})" if segments is not None else "False"
            case syntax.Path(which=None, repetition=None) if not self.traced:
                return self._path_presence(part, scope)
            case _:
                return self._presence(self.expression(part, scope))

    def _path_presence(self, path: syntax.Path, scope: Scope) -> str:
        """Whether a field says something, without keeping what."""
        segment, verbatim = _MESSAGE_SEGMENTS[self.setting.message_format]
        for as_text in (True, False):
            if path.segment != segment and (segments := self._segments_known(path, scope)) is not None:
                known = self._known(("path", segments.fields, path.field, path.component, path.subcomponent, as_text))
                if known is not None:
                    return self._presence(known)
        limit = self.setting.known_segments.get(path.segment, 0)
        if (path.segment == segment and path.field in verbatim) or (limit and path.field > limit):
            return self._presence(self.expression(path, scope))
        self.setting.segments_read.add(path.segment)
        segments = self._segments(path, scope)
        if segments is None:
            return "False"
        segments.width = max(segments.width, path.field + 1)
        raw = f"{segments.fields}[{path.field}]"
        if path.component or path.subcomponent:
            there = f"S in {raw}" if path.subcomponent > 1 else f"C in {raw}" if path.component > 1 else f"{raw} != ''"
            test = f"({there} and has({raw}, {path.component}, {path.subcomponent}))"
            # What begins with a letter or a digit has a first part that says something.
            return f"({raw}[:1].isalnum() or {test})" if path.component == 1 and path.subcomponent < 2 else test
        return f"({raw} > '#' or has({raw}, 0, 0))"

    def _segments_known(self, path: syntax.Path, scope: Scope) -> Segments | None:
        owner = scope.owner_of(path.segment)
        return None if owner is None else owner.preset.get(path.segment) or owner.segments.get(path.segment)

    def _presence(self, value: Val) -> str:
        """True where a value is there; a flag is its own answer."""
        if value.known:
            return "True" if value.constant is not None and value.constant is not False else "False"
        if value.is_absent:
            return "False"
        if value.kind.name == "flag":
            return value.code
        return f"{value.code} is not None" if value.maybe else "True"

    def _both(self, part: syntax.Binary, operator: str, scope: Scope) -> str:
        left = self.truth(part.left, scope)
        deciding = "False" if operator == "and" else "True"
        if left == deciding:
            return deciding
        if left in ("True", "False"):
            return self.truth(part.right, scope)
        with self.code.aside() as lines:
            right = self.truth(part.right, scope)
            if not lines.lines:
                return f"({left}) {operator} ({right})"
            variable = self.code.new()
            self.code.emit(f"{variable} = {right}")
        self.code.emit(f"{variable} = {left}")
        self.code.place(f"if {variable}:" if operator == "and" else f"if not {variable}:", lines)
        return variable

    def _sides(self, part: syntax.Binary, scope: Scope) -> tuple[Val, Val, bool]:
        """Both sides of a comparison as texts, or as decimals where one of them is one."""
        left = self.expression(part.left, scope, "text")
        right = self.expression(part.right, scope, "text")
        for value, where in ((left, part.left), (right, part.right)):
            if value.kind.many:
                self.error(where, "a list cannot be compared; take one of it, or use in")
                return NOTHING, NOTHING, False
            if value.kind.name not in TEXT_LIKE | {"field", "flag", "absent"}:
                self.error(where, f"{value.kind} cannot be compared; compare one of its parts")
                return NOTHING, NOTHING, False
        left, right = self.text(left, part.left), self.text(right, part.right)
        return left, right, "decimal" in (left.kind.name, right.kind.name)

    def _equal(self, part: syntax.Binary, operator: str, scope: Scope) -> str:
        left, right, as_decimals = self._sides(part, scope)
        if left.known and right.known:
            if as_decimals and left.constant is not None and right.constant is not None:
                same = decimals.compare(str(left.constant), str(right.constant)) == 0
            else:
                same = left.constant == right.constant
            return str(same == (operator == "=="))
        if as_decimals:
            return f"{'' if operator == '==' else 'not '}same_number({left.code}, {right.code})"
        return f"{left.code} {operator} {right.code}"

    def _ordered(self, part: syntax.Binary, operator: str, scope: Scope) -> str:
        left, right, as_decimals = self._sides(part, scope)
        if left.is_absent or right.is_absent:
            return "False"
        if as_decimals:
            return f"(order({left.code}, {right.code}) in {self.code.constant(_ORDERS[operator])})"
        tests = [f"{side.code} is not None and " for side in (left, right) if side.maybe]
        return f"({''.join(tests)}{left.code} {operator} {right.code})"

    def _within(self, part: syntax.Binary, scope: Scope) -> str:
        left = self.text(self.expression(part.left, scope, "text"), part.left)
        right = self.expression(part.right, scope)
        if left.kind.many or left.kind.name not in TEXT_LIKE | {"absent"}:
            self.error(part.left, f"in looks for one text; this is {left.kind}")
            return "False"
        if not right.is_absent and not right.kind.many:
            self.error(part.right, "behind in stands a list: ['A', 'B']")
            return "False"
        if left.is_absent or right.is_absent:
            return "False"
        if right.kind.name == "field":
            right = self.texts(right)
        if left.known and right.known:
            return str(left.constant in right.constant)
        if right.known:
            return f"{left.code} in {right.code}"
        tests = [f"{side.code} is not None and " for side in (left, right) if side.maybe]
        return f"({''.join(tests)}{left.code} in {right.code})"

    def _matches(self, part: syntax.Binary, scope: Scope) -> str:
        value = self.text(self.expression(part.left, scope, "text"), part.left)
        if not isinstance(part.right, syntax.Literal):
            self.error(part.right, "behind matches stands a pattern in quotes, known when the mapping is loaded")
            return "False"
        pattern = part.right.text
        if len(pattern) > syntax.MAX_PATTERN:
            self.error(part.right, f"a pattern has up to {syntax.MAX_PATTERN} characters")
            return "False"
        try:
            compiled = patterns.compiled(pattern)
        except patterns.PatternError as error:
            self.error(part.right, f"character {error.at + 1} of the pattern: {error}")
            return "False"
        if value.is_absent:
            return "False"
        test = f"{self.code.constant(compiled)}.search({value.code}[:{patterns.MAX_TEXT}]) is not None"
        return f"({value.code} is not None and {test})" if value.maybe else test

    # -- conversions -----------------------------------------------------------------------------------------------

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
        return f"{code} if {code} is None or {code}.isalnum() else {_quick(code)}"

    def texts(self, value: Val) -> Val:
        """A list of fields as texts."""
        variable = self.code.new()
        self.code.emit(f"{variable} = {self._text_of(value.code, True)}")
        return Val(variable, TEXT.each())

    def decimal(self, value: Val, part: syntax.Expression) -> Val:
        """A value as a decimal in normal form; absent where it is none."""
        if value.kind.name == "measured":
            return Val(self._kept(f"{value.code}.value if {value.code} is not None else None"), DECIMAL)
        value = self.text(value, part)
        if value.is_absent or value.kind.name == "decimal":
            return value
        if value.kind.many or value.kind.name not in TEXT_LIKE:
            return self.error(part, f"a number is expected here; this is {value.kind}")
        if value.known:
            return self.code.literal(decimals.normal(str(value.constant)), DECIMAL)
        return Val(self._kept(f"number(m, {value.code})"), DECIMAL)

    # -- calls -----------------------------------------------------------------------------------------------------

    def _call(self, part: syntax.Call, scope: Scope) -> Val:
        function = FUNCTIONS.get(part.name)
        if function is None:
            return self.error(part, f"no function is called {part.name}{suggestion(part.name, FUNCTIONS)}")
        self.setting.functions_used.add(part.name)
        if part.name == "lookup":
            return self._lookup(part, scope)
        if part.name == "ref":
            return self._ref(part, scope)
        if part.name == "setting":
            return self._setting(part, scope)
        arguments = self._arguments(function, part, scope)
        if arguments is None:
            return NOTHING
        if len(_lists(arguments)) > 1:
            return self.error(part, "only one argument may be a list in the place of one value; take one of the others")
        return self._apply(function, arguments)

    def _arguments(self, function: Function, part: syntax.Call, scope: Scope) -> list[tuple[Parameter, Val]] | None:
        parameters = list(function.parameters)
        given = list(part.arguments)
        if parameters and parameters[-1].rest:
            rest = parameters.pop()
            parameters += [rest] * max(0, len(given) - len(parameters))
        if len(given) > len(parameters):
            self.error(given[len(parameters)], f"too many arguments; {function.signature}")
            return None
        pairs: list[tuple[Parameter, Val]] = []
        for at, parameter in enumerate(parameters):
            if at >= len(given):
                if not parameter.optional and not parameter.rest:
                    self.error(part, f"{parameter.name} is missing; {function.signature}")
                    return None
                pairs.append((parameter, NOTHING))
                continue
            value = self._argument(function, parameter, given[at], scope)
            if value is None:
                return None
            pairs.append((parameter, value))
        return pairs

    def _argument(self, function: Function, parameter: Parameter, part: syntax.Expression, scope: Scope) -> Val | None:
        kind = parameter.kind
        want = "text" if kind == "text" and not parameter.many else ""
        value = self.expression(part, scope, want)
        if value.is_absent or kind == "any":
            return self._as_list(value) if parameter.many and not value.is_absent and not value.kind.many else value
        wrong = f"{parameter.name} of {function.name}() takes {'a list of ' if parameter.many else ''}{kind}"
        name = value.kind.name
        match kind:
            case "literal":
                if not value.known or not isinstance(value.constant, str):
                    self.error(part, f"{wrong}: a text in quotes or a number, known when the mapping is loaded")
                    return None
            case "table":
                return self._table_argument(value, part)
            case "text":
                if name == "field":
                    value = self.text(value, part)
                elif name not in TEXT_LIKE:
                    self.error(part, f"{wrong}; this is {value.kind}")
                    return None
            case "whole":
                if name == "field":
                    value = self._whole(value)
                elif name not in TEXT_LIKE:
                    self.error(part, f"{wrong}: fields or texts; this is {value.kind}")
                    return None
            case "decimal":
                value = self.decimal(value, part)
            case "Identifier" if name == "field":
                value = self._apply(FUNCTIONS["cx"], [(FUNCTIONS["cx"].parameters[0], value)])
            case _ if name != kind:
                hint = "; it takes the field as it was sent, before it becomes text" if kind == "field" else ""
                self.error(part, f"{wrong}; this is {value.kind}{hint}")
                return None
        if parameter.many and not value.kind.many and not value.is_absent:
            value = self._as_list(value)
        return value

    def _table_argument(self, value: Val, part: syntax.Expression) -> Val | None:
        """A table of the mapping, which a function reads itself: what is missing in it is no gap of the channel."""
        table = self.setting.tables.get(value.constant) if value.known and isinstance(value.constant, str) else None
        if table is None:
            known = suggestion(str(value.constant or ""), self.setting.tables)
            self.error(part, f"here stands the name of one of the mapping's tables, in quotes{known}")
            return None
        self.setting.tables_used.add(table.name)
        return Val(self.code.constant(table), Kind("table"), maybe=False)

    def _whole(self, value: Val) -> Val:
        if value.kind.many:
            inner = self.code.new()
            source = f"[{inner} for {inner} in map(whole, {value.code}) if {inner} is not None] or None"
            return Val(self._kept(f"{source} if {value.code} is not None else None"), TEXT.each())
        return Val(self._kept(f"whole({value.code}) if {value.code} is not None else None"), TEXT)

    def _apply(self, function: Function, pairs: Sequence[tuple[Parameter, Val]]) -> Val:
        for parameter, value in pairs:
            if value.is_absent and not parameter.optional:
                return NOTHING
        kind = self._result_kind(function, pairs)
        if function.pure and all(value.known for _, value in pairs):
            arguments = [
                list(value.constant) if value.kind.many and value.constant is not None else value.constant
                for _, value in pairs
            ]
            return self.code.literal(function.call(*arguments), kind)
        lists = _lists(pairs)
        codes = [value.code for _, value in pairs]
        while codes and codes[-1] == "None":
            codes.pop()
        name = function.method or self.code.constant(function.call)
        given = codes if function.pure or function.method else ["m", *codes]
        tests = [f"{value.code} is not None" for parameter, value in pairs if value.maybe and not parameter.optional]
        if lists:
            at = lists[0] + len(given) - len(codes)
            call = f"each({name}, ({', '.join(given)},), {at})"
            tests += [f"{codes[lists[0]]} is not None"] if pairs[lists[0]][0].optional else []
            kind = kind.each()
        else:
            call = f"{name}({', '.join(given)})"
        source = f"{call} if {' and '.join(tests)} else None" if tests else call
        maybe = bool(tests) or bool(lists) or not function.always
        if self.traced or not codes:
            return Val(self._kept(source), kind, maybe)
        return self._once(source, ("call", function.name, *codes), kind, maybe)

    def _once(self, source: str, key: Any, kind: Kind, maybe: bool) -> Val:
        """The value of a call, not computed again where it is known already."""
        known = self._known(key)
        if known is None:
            known = Val(self._kept(source), kind, maybe)
            self._remember(key, known)
        return known

    def _result_kind(self, function: Function, pairs: Sequence[tuple[Parameter, Val]]) -> Kind:
        if function.kind != "any":
            return Kind(function.kind, function.many)
        for parameter, value in pairs:
            if parameter.kind == "any" and not value.is_absent:
                return value.kind.one()
        return ABSENT

    # -- calls that the compiler itself knows ------------------------------------------------------------------------

    def _literal_argument(self, part: syntax.Call, at: int, what: str) -> str | None:
        if at < len(part.arguments) and isinstance(part.arguments[at], syntax.Literal):
            literal = part.arguments[at]
            assert isinstance(literal, syntax.Literal)
            return literal.text
        where = part.arguments[at] if at < len(part.arguments) else part
        self.error(where, f"{part.name}() takes {what} in quotes")
        return None

    def _setting(self, part: syntax.Call, scope: Scope) -> Val:
        name = self._literal_argument(part, 0, "the name of a setting")
        if name is None or len(part.arguments) > 2:
            return (
                NOTHING if name is None else self.error(part, f"too many arguments; {FUNCTIONS['setting'].signature}")
            )
        self.setting.settings_read.add(name)
        source = f"setting({self.code.constant(name)})"
        if len(part.arguments) == 2:
            default = self.text(self.expression(part.arguments[1], scope, "text"), part.arguments[1])
            if not default.is_absent:
                return Val(self._kept(f"{source} or {default.code}"), TEXT, default.maybe)
        return Val(self._kept(source), TEXT)

    def _ref(self, part: syntax.Call, scope: Scope) -> Val:
        if len(part.arguments) != 1 or not isinstance(part.arguments[0], syntax.Name):
            return self.error(part, "ref() takes the name that as: gave")
        name = part.arguments[0]
        found = scope.find(name.name)
        if isinstance(found, Made):
            return self._made(found)
        if isinstance(found, Variable):
            value = self._name(name, scope, "")
            if value.is_absent or value.kind.name == "Reference":
                return value
            return self.error(name, f"{name.name} is {value.kind}; ref() takes what as: named")
        known = [each for each in scope.visible() if isinstance(scope.find(each), Made)]
        return self.error(name, f"no step before this one made {name.name}{suggestion(name.name, known)}")

    def _lookup(self, part: syntax.Call, scope: Scope) -> Val:
        name = self._literal_argument(part, 0, "the name of a table")
        if name is None:
            return NOTHING
        table = self.setting.tables.get(name)
        if table is not None:
            return self._lookup_row(part, name, table, scope)
        if name in CODE_MAPS:
            return self._lookup_code(part, name, scope)
        return self.error(
            part.arguments[0], f"no table is called {name}{suggestion(name, [*self.setting.tables, *CODE_MAPS])}"
        )

    def _lookup_code(self, part: syntax.Call, name: str, scope: Scope) -> Val:
        if len(part.arguments) != 2:
            return self.error(part, f"table {name} has one key: lookup('{name}', value)")
        code_map = CODE_MAPS[name]
        value = self.expression(part.arguments[1], scope)
        if value.is_absent:
            return NOTHING
        if value.kind.name not in TEXT_LIKE | {"field"}:
            return self.error(part.arguments[1], f"a table is looked up by a text; this is {value.kind}")
        codes = None
        if code_map.kind == "code":
            codes = frozenset([*code_map.values.values(), *([code_map.otherwise] if code_map.otherwise else [])])
        kind = Kind(code_map.kind, codes=codes)
        values, map_name = self.code.constant(code_map.values), self.code.constant(name)
        whole = self.code.constant(code_map)
        variable = self.code.new()
        # A field is looked up as it was sent first: most codes need no unescaping to be found.
        raw = value.kind.name == "field"
        if value.kind.many:
            call = f"each_code(m, {map_name}, {whole}, {value.code}, {raw})"
            self.code.emit(f"{variable} = {call} if {value.code} is not None else None")
            return Val(variable, kind.each())
        self.code.emit(f"{variable} = {values}.get({value.code})")
        test = f"{variable} is None and {value.code} is not None" if value.maybe else f"{variable} is None"
        call = (
            f"one_code(m, {map_name}, {whole}, {value.code})" if raw else f"miss({map_name}, {whole}, {value.code}, m)"
        )
        self.code.emit(f"if {test}: {variable} = {call}")
        complete = bool(code_map.otherwise or code_map.dead or code_map.concept_system is not None)
        return Val(variable, kind, maybe=value.maybe or not complete)

    def _lookup_row(self, part: syntax.Call, name: str, table: Table, scope: Scope) -> Val:
        self.setting.tables_used.add(name)
        keys = part.arguments[1:]
        if len(keys) != len(table.key):
            return self.error(part, f"table {name} is looked up by {len(table.key)} keys: {', '.join(table.key)}")
        values = [self.text(self.expression(key, scope, "text"), key) for key in keys]
        for value, key in zip(values, keys, strict=True):
            if value.kind.many or (value.kind.name not in TEXT_LIKE and not value.is_absent):
                return self.error(key, f"a key is one text; this is {value.kind}")
        if values[0].is_absent:
            return NOTHING
        variable = self.code.new()
        codes = [value.code for value in values]
        key_code = codes[0] if len(codes) == 1 else f"({', '.join(codes)})"
        exact, whole = self.code.constant(table.exact), self.code.constant(table)
        self.code.emit(f"{variable} = {exact}.get({key_code})")
        test = f"{variable} is None and {codes[0]} is not None" if values[0].maybe else f"{variable} is None"
        self.code.emit(f"if {test}: {variable} = find_row(m, {whole}, ({', '.join(codes)},))")
        if self.traced:
            self.code.emit(f"if {variable} is not None: T.row({variable})")
        return Val(variable, Kind("row", columns=frozenset(table.columns)))

    # -- trace -----------------------------------------------------------------------------------------------------

    def _trace_read(self, segment: str, path: syntax.Path, variable: str) -> None:
        if self.traced:
            self.code.emit(f"if {variable} is not None: T.read({segment}, {path.field}, {path.component})")

    def _trace_use(self, lazy: Lazy) -> None:
        if self.traced:
            self.code.emit(f"T.use({self.code.constant(lazy.variable)})")


def _is_same_everywhere(part: syntax.Expression) -> bool:
    """Whether a call has one value in the whole message: a setting, a system that only this channel uses."""
    return isinstance(part, syntax.Call) and all(
        isinstance(inner, syntax.Literal)
        or (isinstance(inner, syntax.Call) and inner.name in FUNCTIONS and FUNCTIONS[inner.name].whole_message)
        for inner in syntax.walk(part)
    )


def _lists(pairs: Sequence[tuple[Parameter, Val]]) -> list[int]:
    """Which arguments are lists where the function takes one value: it is called for each element."""
    return [
        at
        for at, (parameter, value) in enumerate(pairs)
        if value.kind.many and not parameter.many and parameter.kind != "any"
    ]


def _quick(code: str) -> str:
    """The text of a raw value that is not empty: itself where it holds no delimiter, no escape and no outer blanks."""
    plain = " and ".join(f"{delimiter} not in {code}" for delimiter in "CRSX")
    return f"{code} if {plain} and {code}[0] > '\"' and {code}[-1] > ' ' else text({code})"


def _with_code(value: Val) -> Kind:
    """The kind of a value; of a literal, with the one code that it can be."""
    if value.known and isinstance(value.constant, str):
        return Kind(value.kind.name, codes=frozenset({value.constant}))
    return value.kind


_WORTH_KEEPING_OVER_MESSAGES = (
    syntax.Path,
    syntax.Call,
    syntax.Binary,
    syntax.Choice,
    syntax.Member,
    syntax.Item,
    syntax.Part,
    syntax.ListOf,
)
_WORTH_KEEPING = (syntax.Call, syntax.Binary, syntax.Choice, syntax.Member, syntax.Item, syntax.Part)
_VARIABLE = re.compile(r"[a-z]\d+")
_ORDERS: dict[str, tuple[int, ...]] = {"<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}
