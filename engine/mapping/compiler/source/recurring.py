"""Values that recur: an analyzer sends the same codes, units, ranges, flags and devices, message after message.

An expression *recurs* where it reads nothing but such fields of the result at hand, through functions that give the
same value for the same arguments. Its value is kept from one message to the next, under the fields it was made of:

    l0 = m.reading.loop(2)              what is kept of this loop, among messages that are read alike
    ...
    if l0.passing: l0.forget_passing()  for each result:
    k1 = K9(f12)                        the fields of this OBX that kept values read, as one tuple
    l1 = l0.get(k1)
    if l1 is None: l1 = l0.keep(k1, 3)
    v3, v5, v8, r1, t1 = l1             UNSET where not computed yet
    l2 = r1.get(f12[7])                 what is made of the reference range, too
    if l2 is None: l2 = l0.keep_range(r1, f12[7], 1)
    v9, t2 = l2
    ...
    if v5 is UNSET: v5 = kept_5(m, making, f12, l0, l1, l2)
    if v3 is UNSET: v3 = kept_3(m, making, f12, l0, l1, l2)     is made of v5, whose warnings come first

    def kept_3(m, making, f12, l0, l1, l2): beside the mapping's own function, which stays short by that
     v6 = l1[0]
     if v6 is not UNSET: return v6      another function of this kind has needed it meanwhile
     t2 = l1[-1]
     if t2 is not None and 0 in t2: return l0.tell_again(m, l1, 0)
     n4 = l0.start(m)
     v7 = l1[1]
     if v7 is UNSET: v7 = kept_5(m, making, f12, l0, l1, l2)
     ...
      v9 = l1[2]                        a value that it is made of in some cases
      if v9 is UNSET: v9 = kept_8(m, making, f12, l0, l1, l2)
      elif l0.passing: l0.ask(l1, 2)
     v6 = l1[0] = ...
     if m.noted != n4[0] or l0.asked != n4[4]: l0.note(m, l1, 0, n4)
     return v6

Some analyzers compute the reference range for each patient. So it is no part of the key of what does not need it: a
range that never comes again costs what is made of it, and not what is made of the code beside it; a few of them are
kept beside each key. Keys that are met anew most of the time are not kept for a while
(`engine.mapping.message.read_cache.Room`).

A value is computed where a rule first asks for it. A warning or a code without a row that is noted meanwhile is noted
again for every result: such a value is kept for its own result alone. A rule that asks for a value asks before that for
those that this one is always made of, so that their warnings come in each result. Where a value is made of such a one
in some cases only, it is kept for its own result, too. A value whose computation ends the message is not kept. A traced
mapping keeps nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from engine.mapping.compiler.scopes import Scope, Segments, Variable
from engine.mapping.compiler.source.code import Code, Slot, Val
from engine.mapping.functions import FUNCTIONS
from engine.mapping.language import rules
from engine.mapping.language.rules import Formula

# Fields of a result that differ from one result to the next; the others say what was measured, how and by what.
VARYING = {
    "OBX": frozenset({1, 5, 14, 19}),  # set id, value, time of the observation, time of the analysis
    "R": frozenset({2, 4, 12, 13}),  # sequence number, value, started, completed
}


RANGE = {"OBX": 7, "R": 6}  # recurs less than the others
SHOWN = {"OBX": frozenset({3}), "R": frozenset()}  # shown with a code without a row

Taken = Mapping[int, tuple[int, rules.Expression]]
"""id of a let that is one of two values -> which of both is meant, and its expression."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept value.

    Attributes:
        of: what is kept for the result at hand, with the range or without; ``place``: among its values.
        variable: of the loop's own code that holds it.
        function: computes and keeps it.
        value: its kind, and whether it may be absent.
    """

    of: "KeptValues"
    place: int
    variable: str
    function: str
    value: Val


@dataclass(slots=True)
class KeptValues:
    """Values under one key.

    Attributes:
        list: variable of what is kept for the result at hand.
        count: how many there are.
    """

    list: str
    count: int = 0


@dataclass(slots=True)
class Recurring:
    """What one loop over results keeps.

    Attributes:
        number: of the loop within the mapping.
        loop: how many loops surround its code.
        segments: the results.
        load: place at the start of a round where kept values are fetched.
        memory: variable of what the loop keeps.
        fields: those that kept values read, the range left out.
        plain, ranged: values that do not read the range, and those that do.
        written: how many functions were begun so far.
        values: key of an expression -> its kept value, or the value where it is known when the mapping is loaded.
        needs: key of a kept value -> those that it is always made of, in their order.
    """

    number: int
    loop: int
    segments: Segments
    load: Slot
    memory: str
    plain: KeptValues
    ranged: KeptValues
    fields: set[int] = field(default_factory=set)
    values: dict[object, Kept | Val] = field(default_factory=dict)
    needs: dict[object, tuple[object, ...]] = field(default_factory=dict)
    written: int = 0

    @property
    def arguments(self) -> str:
        """What the functions take beside the message and what is made of it."""
        return f"{self.segments.fields}, {self.memory}, {self.plain.list}, {self.ranged.list}"

    def compile(self, code: Code, key: object, fields: set[int], build: Callable[[], Val]) -> Kept | Val:
        """Write the function that computes a value which is made of these fields."""
        rare = RANGE[self.segments.name]
        of = self.ranged if rare in fields else self.plain
        name = f"kept_{self.number}_{self.written}"
        self.written += 1
        before, told, made = code.new("n"), code.new(), code.new()
        with code.function(name, f"m, making, {self.arguments}") as function:
            start = code.slot()
            code.emit(f"{before} = {self.memory}.start(m)")
            value = build()
            place = of.count  # others were written meanwhile
            here = f"{of.list}[{place}]"
            code.emit(f"{made} = {here} = {value.code}")
            noted = f"m.noted != {before}[0] or {self.memory}.asked != {before}[4]"
            code.emit(f"if {noted}: {self.memory}.note(m, {of.list}, {place}, {before})")
            code.emit(f"return {made}")
            with code.into(start):  # another kept value may have needed it since this result was begun
                code.emit(f"{made} = {here}")
                code.emit(f"if {made} is not UNSET: return {made}")
                code.emit(f"{told} = {of.list}[-1]")
                again = f"return {self.memory}.tell_again(m, {of.list}, {place})"
                code.emit(f"if {told} is not None and {place} in {told}: {again}")
        if value.known or value.is_absent:
            code.drop(function)
            self.values[key] = value
            return value
        kept = self.values[key] = Kept(of, place, code.new("v"), name, value)
        of.count += 1
        self.fields |= fields - {rare} | SHOWN[self.segments.name]
        self.segments.width = max(self.segments.width, max(fields) + 1, max(self.fields, default=0) + 1)
        return kept

    def finish(self, code: Code, start: Slot) -> None:
        """Write what fetches the kept values. ``start`` is the place at the start of the function."""
        kept = [value for value in self.values.values() if isinstance(value, Kept)]
        if not kept:
            return
        memory, fields, plain, ranged = self.memory, self.segments.fields, self.plain, self.ranged
        with code.into(start):
            code.emit(f"{memory} = m.reading.loop({self.number})")
            if not ranged.count:
                code.emit(f"{ranged.list} = None")
        with code.into(self.load):
            code.emit(f"if {memory}.passing: {memory}.forget_passing()")
            key, ranges = code.new(), code.new()
            # One field alone would be its own key: it is taken twice, so that keys are always tuples.
            numbers = sorted(self.fields) or [RANGE[self.segments.name]]
            getter = code.constant(itemgetter(*numbers, *(numbers if len(numbers) == 1 else ())))
            code.emit(f"{key} = {getter}({fields})")
            code.emit(f"{plain.list} = {memory}.get({key})")
            code.emit(f"if {plain.list} is None: {plain.list} = {memory}.keep({key}, {plain.count})")
            names = [one.variable for one in kept if one.of is plain]
            code.emit(f"{', '.join([*names, ranges, code.new()])} = {plain.list}")
            if ranged.count:
                key = f"{fields}[{RANGE[self.segments.name]}]"
                code.emit(f"{ranged.list} = {ranges}.get({key})")
                keep = f"{memory}.keep_range({ranges}, {key}, {ranged.count})"
                code.emit(f"if {ranged.list} is None: {ranged.list} = {keep}")
                names = [one.variable for one in kept if one.of is ranged]
                code.emit(f"{', '.join([*names, code.new()])} = {ranged.list}")


class Walks:
    """The parts of expressions, each walked through once: they are asked for again and again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[rules.Expression, tuple[rules.Expression, ...]]] = {}

    def of(self, part: rules.Expression) -> tuple[rules.Expression, ...]:
        known = self._known.get(id(part))
        if known is None:
            known = self._known[id(part)] = part, tuple(rules.walk(part))
        return known[1]


class Reading:
    """What an expression reads of the result at hand.

    A let that is one of two values that recur (``row if fits(number) else absent``) does not recur by itself, and yet
    what is made of it does, twice: once for either value. ``taken`` says for which.

    Attributes:
        home: the loop over results; None as long as no field was found.
        choice: a let that is one of two values, and not in ``taken``; None where there is none.
        decided: the lets of ``taken`` that it reads, each with the branch.
    """

    __slots__ = ("_names", "_taken", "_walks", "choice", "decided", "fields", "home", "part", "scope")

    def __init__(self, part: rules.Expression, scope: Scope, taken: Taken, walks: Walks) -> None:
        self.part = part
        self.scope = scope
        self.home: Recurring | None = None
        self.choice: Variable | None = None
        self.decided: set[tuple[int, int]] = set()
        self.fields: set[int] = set()
        self._taken = taken
        self._walks = walks
        self._names: set[int] = set()

    def recurs(self) -> bool:
        """Look at the expression; False where it reads anything that may differ."""
        return self._all(self.part, self.scope)

    def _all(self, part: rules.Expression, scope: Scope) -> bool:
        for inner in self._walks.of(part):  # noqa: SIM110  (a generator would take half as long again)
            if not self._recurs(inner, scope):
                return False
        return True

    def _recurs(self, part: rules.Expression, scope: Scope) -> bool:
        match part:
            case rules.Path(segment=segment, which=None, field=number) if number:
                owner = scope.owner_of(segment)
                home = None if owner is None else owner.recurring
                if home is None or home.segments.name != segment or number in VARYING[segment]:
                    return False
                self.fields.add(number)
                first, self.home = self.home, home
                return first is None or first is home
            case rules.Path():
                return False
            case rules.Name(name=name):
                return self._name_recurs(name, scope)
            case rules.Call(name=name):
                return name in FUNCTIONS and FUNCTIONS[name].steady
            case _:
                return True

    def _name_recurs(self, name: str, scope: Scope) -> bool:
        named = scope.find(name)
        if not isinstance(named, Variable):
            return False
        if not isinstance(named.value, Formula):
            return True  # a literal, or an argument that was not given
        if id(named) in self._names:
            return True  # it is being looked at, or was already
        self._names.add(id(named))
        tree = named.value.tree
        if id(named) in self._taken:
            which, branch = self._taken[id(named)]
            self.decided.add((id(named), which))
            return self._all(branch, named.scope)
        before = self.home, self.choice, self.fields.copy(), self.decided.copy(), self._names.copy()
        if self._all(tree, named.scope):
            return True
        if not isinstance(tree, rules.Choice):
            return False
        self.home, self.choice, self.fields, self.decided, self._names = before
        if self.choice is not None and self.choice is not named:
            return False
        self.choice = named
        return self._all(tree.then, named.scope) and self._all(tree.other, named.scope)


def recurring(part: rules.Expression, scope: Scope, taken: Taken, walks: Walks) -> Reading | None:
    """What an expression that recurs reads; None where it does not, or reads no field at all."""
    found = Reading(part, scope, taken, walks)
    return found if found.recurs() and found.home is not None else None
