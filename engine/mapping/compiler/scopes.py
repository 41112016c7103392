"""Where names and paths mean something: a scope per group, step and fragment, innermost first.

A segment is looked for in the group at hand, then outwards, never in a group beside it. The grammar decides: a missing
segment is absent, and a segment of another patient is never taken. A value of a `let:` is computed once, where it is
first needed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.config.reading.yaml_nodes import Node
from engine.mapping.compiler.source.code import Code, Slot, Val
from engine.mapping.language.rules import Formula, Let, Text
from engine.mapping.language.structures import Group

if TYPE_CHECKING:
    from engine.mapping.compiler.source.recurring import Recurring


@dataclass(slots=True)
class Segments:
    """The segments of one name in one group, bound to variables at the start of the group's code.

    Attributes:
        segments: variable of the list of segments, falsy where there is none.
        fields: variable of the first one's fields, long enough for every field that a rule reads.
        padding: place of the line that makes them so.
        width: one more than the highest field that a rule reads.
    """

    name: str
    segments: str
    fields: str
    padding: Slot
    width: int = 0

    def pad(self, code: Code) -> None:
        """Write the line that spares every reading a check of its bounds."""
        if self.width:
            with code.into(self.padding):
                blank = code.constant([""] * self.width)
                code.emit(f"if len({self.fields}) < {self.width}: {self.fields} = {self.fields} + {blank}")


@dataclass(slots=True)
class Lazy:
    """A value that is computed at its first use: a `let:`, an argument of a fragment, an identity.

    Attributes:
        build: writes the code and returns the value.
        loop: how many loops surround the place where it is defined.
        slot: where it is initialised, at the start of its scope.
        variable: set once its first code is written.
        guarded: some use must ask whether it was computed already.
        unnamed: where it was computed under another variable, which is enough as long as no later code reads it.
        told: rule, name and function of the let or argument that it is, for the trace.
    """

    build: Callable[[], Val]
    loop: int
    slot: Slot
    key: Any = None
    variable: str = ""
    value: Val | None = None
    guarded: bool = False
    unnamed: list[tuple[Slot, str]] = field(default_factory=list)
    told: tuple[str, str, str] = ("", "", "")


@dataclass(slots=True)
class Variable:
    """A `let:` or an argument: its rule, and the scope in which it is read.

    ``lazies`` holds one value per way of reading it: a field as it was sent, or its text.
    """

    name: str
    node: Node
    value: Formula | Text | None
    scope: "Scope"
    loop: int
    slot: Slot
    used: bool = False
    what: str = "let"
    active: bool = False
    lazies: dict[str, Lazy] = field(default_factory=dict)


@dataclass(slots=True)
class Made:
    """What `as:` named: the reference to a resource, or the list of those a loop made.

    Attributes:
        variable: None until the resource is made; a list for a loop.
        resources: types it can be, for the check of reference targets.
        needed: called when it is used for the first time: writes the code that gathers a loop's results.
    """

    name: str
    node: Node
    variable: str
    many: bool
    resources: frozenset[str]
    needed: Callable[[], None] | None = None
    used: bool = False

    def use(self) -> None:
        """Note that it is used; the first use writes its code."""
        self.used = True
        needed, self.needed = self.needed, None
        if needed is not None:
            needed()


@dataclass(slots=True)
class Scope:
    """One level of names.

    Attributes:
        group: the grammar of the group, where this scope is one; ``variable`` holds the group.
        slot: place at the start of its code for what must be bound first.
        loop: how many loops surround it.
        patient: variable of the identity of the patient made in this scope, if any.
        fragment: name of the one whose names these are, and ``used_at`` the place of its use.
        picks: this scope is a loop over groups, and `where:` skips some.
        recurring: what is kept from message to message, where this scope is a loop over results.
        place: of a loop over JSON: the path of its value, with `{}` for each position; ``positions`` their variables.
        inner: the scopes inside. What was computed is known by the identity of scopes and names, so that all of them
            live as long as the outermost: a later one at the address of a former one would pass for it.
    """

    parent: "Scope | None"
    slot: Slot
    loop: int
    group: Group | None = None
    variable: str = ""
    names: dict[str, Variable | Made] = field(default_factory=dict)
    segments: dict[str, Segments] = field(default_factory=dict)
    preset: dict[str, Segments] = field(default_factory=dict)
    patient: str = ""
    identities: dict[Any, Lazy] = field(default_factory=dict)
    fragment: str = ""
    used_at: str = ""
    picks: bool = False
    recurring: "Recurring | None" = None
    place: str = "$"
    positions: tuple[str, ...] = ()
    inner: "list[Scope]" = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.parent is not None:
            self.parent.inner.append(self)

    def find(self, name: str) -> "Variable | Made | None":
        holder = self.holder_of(name)
        return holder.names[name] if holder is not None else None

    def holder_of(self, name: str) -> "Scope | None":
        """The innermost scope in which a name means something."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope
            scope = scope.parent
        return None

    def visible(self) -> list[str]:
        """All names that can be used here."""
        found: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            found += scope.names
            scope = scope.parent
        return found

    def group_scope(self) -> "Scope":
        """The innermost scope that is a group."""
        scope = self
        while scope.group is None:
            assert scope.parent is not None
            scope = scope.parent
        return scope

    def outermost(self) -> "Scope":
        """The scope of the whole message."""
        return self if self.parent is None else self.parent.outermost()

    def frame(self) -> "Scope":
        """The innermost scope that begins anew with each round of a loop: a group, or a segment that is looped over."""
        scope = self
        while scope.group is None and not scope.preset:
            assert scope.parent is not None
            scope = scope.parent
        return scope

    def group_scopes(self) -> "list[Scope]":
        """All scopes that are groups, innermost first."""
        found: list[Scope] = []
        scope: Scope | None = self
        while scope is not None:
            if scope.group is not None:
                found.append(scope)
            scope = scope.parent
        return found

    def owner_of(self, segment: str) -> "Scope | None":
        """The innermost scope that holds ``segment`` directly, by the grammar or as the item of a loop."""
        scope: Scope | None = self
        while scope is not None:
            if segment in scope.preset or (scope.group is not None and segment in scope.group.segments):
                return scope
            scope = scope.parent
        return None

    def patient_variable(self) -> str:
        """Variable of the identity of the patient that is at hand, empty if no rule makes one."""
        scope: Scope | None = self
        while scope is not None:
            if scope.patient:
                return scope.patient
            scope = scope.parent
        return ""

    def in_fragments(self) -> list[str]:
        """Names of the fragments around this scope."""
        found: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            if scope.fragment:
                found.append(scope.fragment)
            scope = scope.parent
        return found

    def uses(self) -> tuple[tuple[str, str, str], ...]:
        """The uses of fragments around this scope, from the outermost inwards, for the trace."""
        found: list[tuple[str, str, str]] = []
        scope: Scope | None = self
        while scope is not None:
            if scope.fragment:
                found.append((scope.used_at, scope.fragment, "$use"))
            scope = scope.parent
        return tuple(reversed(found))


def bind_segments(code: Code, scope: Scope, name: str) -> Segments:
    """The variables of the segments called ``name`` in a group scope, bound once at its start."""
    found = scope.preset.get(name) or scope.segments.get(name)
    if found is not None:
        return found
    found = scope.segments[name] = _bound(code, scope, name, scope.variable + ".segments.get({})")
    return found


def bind_outwards(code: Code, scope: Scope, name: str) -> Segments:
    """As `bind_segments`, for a segment that the grammar does not know: it belongs to the nearest group."""
    here = scope.group_scope()
    found = here.segments.get(name)
    if found is not None:
        return found
    ways = " or ".join(each.variable + ".segments.get({})" for each in here.group_scopes())
    found = here.segments[name] = _bound(code, here, name, ways)
    return found


def is_z_segment(name: str) -> bool:
    """Whether a segment is the sender's own: no grammar knows its place."""
    return len(name) == 3 and name[0] == "Z" and name.isalnum()


def z_segments_from(code: Code, scope: Scope, name: str) -> str:
    """The expression for all Z segments of a name that a scope can see, as `engine.mapping.message.runtime` finds
    them."""
    groups = ", ".join(one.variable for one in scope.group_scopes())
    return f"z_segments({code.constant(name)}, {groups})"


def _bound(code: Code, scope: Scope, name: str, source: str) -> Segments:
    number = code.new("")
    with code.into(scope.slot):
        code.emit(f"s{number} = {source.replace('{}', code.constant(name))}")
        code.emit(f"f{number} = s{number}[0].fields if s{number} else NO_FIELDS")
        return Segments(name, f"s{number}", f"f{number}", code.slot())


def declare(scope: Scope, code: Code, lets: tuple[Let, ...], what: str = "let", read_in: Scope | None = None) -> None:
    """Make the names of a `let:` or of a `$with:` known in ``scope``; they are read there or in ``read_in``."""
    for let in lets:
        scope.names[let.name] = Variable(
            let.name, let.node, let.value, read_in or scope, scope.loop, scope.slot, what=what
        )
