"""Paths and parts: how fields of the message are read.

What a value is *wanted* as decides how a path is read: as it was sent (``field``) or as its text, unescaped and
trimmed. A field that becomes text is tested for the usual case first (letters and digits only), because twenty results
read several hundred fields.

Paths into JSON: ``$`` is the document, ``@`` the value that the innermost loop is at.

A value is read as its text: numbers with the digits that were sent, ``true`` and ``false``. An object, a list, null and
a blank are absent; of a path with ``[*]`` those that have a text make a list.
"""

import re
from functools import cache
from types import ModuleType
from typing import Any

from orjson import Fragment

from engine.config import registry
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope, Segments, bind_outwards, bind_segments, is_z_segment, z_segments_from
from engine.mapping.compiler.source.code import FIELD, NOTHING, SEGMENT, TEXT, Val
from engine.mapping.compiler.source.keeping import quick, text_of, trace_read
from engine.mapping.language import rules, syntax
from engine.mapping.language.rules import Step
from engine.mapping.language.structures import JSON, part_problem
from engine.model.texts.spelling import suggestion

Path = tuple[str | int | None, ...]
_EACH = re.compile(syntax.TREE_PATH)


def tree_value(c: Compilation, part: rules.TreePath, scope: Scope, want: str) -> Val:
    """The text at a path, or the texts at one with ``[*]``; what is wanted as ``json`` keeps its type."""
    if c.setting.message_format != JSON:
        return c.error(part, f"{part.text} is a path into JSON, and this reads {c.setting.message_format}")
    path = _codec().path_of("$" + part.text[1:])
    here = scope.group_scope()
    many = None in path
    variable = c.code.new()
    read = c.code.constant(_READERS[want == "json", many])
    c.code.emit(f"{variable} = {read}({_base(part.text, scope)}, {c.code.constant(path)})")
    if c.traced:
        place, positions = _placed(part.text, here)
        noted = ", ".join((c.code.constant(place), *positions))
        c.code.emit(f"if {variable} is not None: T.tree({noted})")
    return Val(variable, TEXT.each() if many else TEXT)


def tree_loop(c: Compilation, step: Step, scope: Scope) -> tuple[str, str, tuple[str, ...]] | None:
    """The values that an ``each:`` goes through, as source; their place, and the variables of the positions in it."""
    assert step.each_node is not None
    if not _EACH.fullmatch(step.each) or "[*]" in step.each:
        c.problems.error(step.each_node, f"'{step.each}' is no list of JSON; write its path, as $.items or '@.lines'")
        return None
    if step.filter is not None:
        c.problems.error(step.each_node, "filter: is for results of an analyzer; leave values out by where:")
        return None
    items = c.code.constant(_items)
    head = f"{items}({_base(step.each, scope)}, {c.code.constant(_codec().path_of('$' + step.each[1:]))})"
    place, positions = _placed(step.each, scope.group_scope())
    if not c.traced:
        return head, place, positions
    counter = c.code.new()
    c.code.emit(f"{counter} = -1")
    return head, f"{place}[{{}}]", (*positions, counter)


def count_round(c: Compilation, scope: Scope) -> None:
    """At the start of a round: note its position for the trace."""
    if c.traced and scope.positions:
        c.code.emit(f"{scope.positions[-1]} += 1")


def _base(text: str, scope: Scope) -> str:
    """The value that a path starts at, as source."""
    here = scope.group_scope()
    return "m.parsed.tree" if text.startswith("$") or here.parent is None else here.variable


def _placed(text: str, here: Scope) -> tuple[str, tuple[str, ...]]:
    """A path from the document on, as a template for `str.format`, and its positions."""
    own = text[1:].replace("{", "{{").replace("}", "}}")
    return (f"${own}", ()) if text.startswith("$") else (f"{here.place}{own}", here.positions)


@cache
def _codec() -> ModuleType:
    return registry.load(registry.FORMATS, JSON)


def _text(tree: Any, path: Path) -> str | None:
    return next(iter(_texts(tree, path) or ()), None)


def _texts(tree: Any, path: Path) -> list[str] | None:
    codec = _codec()
    return [text for value in codec.values_at(tree, path) if (text := codec.text_of(value)) is not None] or None


def _typed(tree: Any, path: Path) -> Any:
    return next(iter(_all_typed(tree, path) or ()), None)


def _all_typed(tree: Any, path: Path) -> list[Any] | None:
    codec = _codec()
    return [
        Fragment(text) if isinstance(value, codec.Digits) else value if isinstance(value, bool) else text
        for value in codec.values_at(tree, path)
        if (text := codec.text_of(value)) is not None
    ] or None


# Whether values keep their type, and whether there may be several.
_READERS = {(False, False): _text, (False, True): _texts, (True, False): _typed, (True, True): _all_typed}


def _items(tree: Any, path: Path) -> list[Any]:
    found: list[Any] = [value for value in _codec().values_at(tree, path) if value is not None]
    return found[0] if found and isinstance(found[0], list) else found


_VALUES = frozenset({("OBX", 5), ("R", 4)})
MESSAGE_SEGMENTS = {
    "hl7v2": ("MSH", (1, 2)),
    "astm": ("H", (2,)),
    "json": ("", ()),
}  # fields that hold the delimiters themselves


# -- fields ------------------------------------------------------------------------------------------------------------


def path_value(c: Compilation, path: rules.Path, scope: Scope, want: str) -> Val:
    """The value of a path, as it was sent or as text."""
    if not path.field:
        return _segment_path(c, path, scope)
    limit = c.setting.known_segments.get(path.segment, 0)
    if limit and path.field > limit:
        return c.error(path, f"{path.segment} has {limit} fields, there is no {path.segment}-{path.field}")
    _check_parts(c, path)
    c.setting.segments_read.add(path.segment)
    note_repetition(c, path)
    if path.which is not None or path.repetition is not None:
        return _many_path(c, path, scope, want)
    segments = segments_of(c, path, scope)
    if segments is None:
        return NOTHING
    segments.width = max(segments.width, path.field + 1)
    as_text = want == "text"
    key = ("path", segments.fields, path.field, path.component, path.subcomponent, as_text)
    known = c.known(key)
    if known is not None:
        return known
    owner = scope.owner_of(path.segment)
    if owner is not None and owner.loop < c.code.loop and not c.traced:
        # Read once at the level of its segment, not again for every result below.
        with c.code.into(owner.slot):
            made = c.hoisted[key] = _read(c, path, segments, as_text)
        return made
    made = _read(c, path, segments, as_text)
    c.remember(key, made)
    return made


def note_repetition(c: Compilation, path: rules.Path) -> None:
    known, key = c.setting.repetitions_read, (path.segment, path.field)
    wanted = 1 if path.repetition is None else path.repetition
    known[key] = 0 if wanted == 0 else wanted if key not in known else known[key] and max(known[key], wanted)


def _check_parts(c: Compilation, path: rules.Path) -> None:
    """Warn of a component that no version of the standard has; makers may divide more, so it is read."""
    if path.component and (problem := part_problem(c.setting.message_format, path)):
        c.warning(path, f"{problem}, there is no {path.text}")


def _read(c: Compilation, path: rules.Path, segments: Segments, as_text: bool) -> Val:
    raw = f"{segments.fields}[{path.field}]"
    kind = TEXT if as_text else FIELD
    segment, verbatim = MESSAGE_SEGMENTS[c.setting.message_format]
    variable = c.code.new()
    if path.segment == segment and path.field in verbatim:
        c.code.emit(f"{variable} = {raw} or None")
        kind = TEXT
    elif path.component > 1 or path.subcomponent:
        _read_part(c, variable, raw, path, as_text)
    elif as_text and path.component:
        c.code.emit(f"{variable} = {raw}.partition(C)[0]")
        c.code.emit(f"if not {variable}.isalnum(): {variable} = ({quick(variable)}) if {variable} else None")
    elif as_text:
        c.code.emit(f"{variable} = {raw}")
        c.code.emit(f"if not {variable}.isalnum(): {variable} = ({quick(variable)}) if {variable} else None")
    else:
        c.code.emit(f"{variable} = {raw} or None")
        unusual = f"{variable} is not None and ({variable} < '#' or R in {variable})"
        c.code.emit(f"if {unusual}: {variable} = present({variable}.partition(R)[0])")
        if path.component:
            c.code.emit(f"if {variable} is not None and C in {variable}: {variable} = component({variable}, 1)")
    trace_read(c, f"{segments.segments}[0]", path, variable)
    return Val(variable, kind)


def _read_part(c: Compilation, variable: str, raw: str, path: rules.Path, as_text: bool) -> None:
    """A component from the second on, or a subcomponent, of the first repetition."""
    emit = c.code.emit
    emit(f"{variable} = {raw}")
    emit(f"if R in {variable}: {variable} = {variable}[:{variable}.index(R)]")
    # A part from the second on is behind a delimiter; mostly there is none, which is quickly seen.
    there = f"S in {variable}" if path.subcomponent > 1 else f"C in {variable}" if path.component > 1 else variable
    emit(f"{variable} = component({variable}, {path.component}) if {there} else None")
    if path.subcomponent:
        emit(f"if {variable} is not None: {variable} = subcomponent({variable}, {path.subcomponent})")
    if as_text:
        emit(f"if {variable} is not None and not {variable}.isalnum(): {variable} = {quick(variable)}")


def _many_path(c: Compilation, path: rules.Path, scope: Scope, want: str) -> Val:
    emit = c.code.emit
    variable = c.code.new()
    many = path.which == 0 or path.repetition == 0
    if path.which is not None and (path.segment, path.field) in _VALUES:
        c.setting.values_aside.add(path.segment)
    if path.which is not None:
        found = _all_of(c, path, scope)
        if found is None:
            return NOTHING
        if path.which == 0:
            call = "every_field(m, " if path.repetition == 0 else "each_field("
            emit(f"{variable} = {call}{found}, {path.field}) if {found} else None")
            if path.repetition:
                c.error(path, "say either which segment or which repetition, or [*] for all repetitions of all")
        else:
            emit(f"{variable} = one_field({found}, {path.which}, {path.field}) if {found} else None")
            trace_read(c, f"{found}[{path.which - 1}]", path, variable)
    else:
        segments = segments_of(c, path, scope)
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
        trace_read(c, f"{segments.segments}[0]", path, variable)
    if path.which:
        if path.repetition == 0:
            emit(f"if {variable} is not None: {variable} = repetitions({variable})")
        else:
            emit(f"if {variable} is not None: {variable} = repetition(m, {variable}, {path.repetition or 1})")
    for function, number in (("component", path.component), ("subcomponent", path.subcomponent)):
        if number and many:
            inner = c.code.new()
            emit(
                f"if {variable} is not None: {variable} = "
                f"[{inner} for {inner} in [{function}({inner}, {number}) for {inner} in {variable}] "
                f"if {inner} is not None] or None"
            )
        elif number:
            emit(f"if {variable} is not None: {variable} = {function}({variable}, {number})")
    made = Val(variable, FIELD.each() if many else FIELD)
    return text_of(c, made, path) if want == "text" and not many else made


# -- segments ----------------------------------------------------------------------------------------------------------


def segments_of(c: Compilation, path: rules.Path, scope: Scope) -> Segments | None:
    """The variables of a path's segment; None with a problem where the scope has none."""
    name = path.segment
    if c.setting.whole_message:
        if name not in c.setting.known_segments and not name.startswith("Z"):
            _unknown_segment(c, path)
            return None
        return _first_in_message(c, name, scope)
    owner = scope.owner_of(name)
    if owner is not None:
        return c.noted(bind_segments(c.code, owner, name))
    if c.setting.root.holds(name):
        way = " then ".join(f"each: {group}" for group in c.setting.root.way_to(name))
        c.error(path, f"{name} is inside a group; go there with {way}, or read {name}[*] or {name}[1]")
        return None
    if name not in c.setting.known_segments and not name.startswith("Z"):
        _unknown_segment(c, path)
        return None
    return c.noted(bind_outwards(c.code, scope, name))


def _unknown_segment(c: Compilation, path: rules.Path) -> None:
    if c.setting.message_format == JSON:
        c.error(path, f"JSON has no segments; write the path of a value, as $.{path.segment}")
        return
    hint = suggestion(path.segment, c.setting.known_segments)
    c.error(path, f"no segment is called {path.segment}{hint}")


def _first_in_message(c: Compilation, name: str, scope: Scope) -> Segments:
    found = scope.segments.get(name)
    if found is None:
        number = c.code.new("")
        with c.code.into(scope.slot):
            c.code.emit(f"s{number} = of_name({c.code.constant(name)})")
            c.code.emit(f"f{number} = s{number}[0].fields if s{number} else NO_FIELDS")
            found = scope.segments[name] = Segments(name, f"s{number}", f"f{number}", c.code.slot())
    return c.noted(found)


def _segment_path(c: Compilation, path: rules.Path, scope: Scope) -> Val:
    """A segment as a whole: for functions that read several fields, and to ask whether it is there."""
    c.setting.segments_read.add(path.segment)
    if path.which is not None:
        found = _all_of(c, path, scope)
        if found is None or path.which == 0:
            return Val(found, SEGMENT.each()) if found else NOTHING
        return Val(c.kept(f"{found}[{path.which - 1}] if {found} and len({found}) >= {path.which} else None"), SEGMENT)
    segments = segments_of(c, path, scope)
    if segments is None:
        return NOTHING
    return Val(c.kept(f"{segments.segments}[0] if {segments.segments} else None"), SEGMENT)


def _all_of(c: Compilation, path: rules.Path, scope: Scope) -> str | None:
    """The variable of all segments of a name in scope: in the group itself, else in the groups inside it."""
    name = path.segment
    if c.setting.whole_message:
        found = segments_of(c, path, scope)
        return None if found is None else found.segments
    owner = scope.owner_of(name)
    if owner is not None:
        return c.noted(bind_segments(c.code, owner, name)).segments
    for candidate in scope.group_scopes():
        assert candidate.group is not None
        if candidate.group.holds(name):
            key = ("inside", candidate.variable, name)
            known = c.known(key)
            if known is None:
                ways = c.code.constant(candidate.group.ways_to(name))
                source = f"inside({candidate.variable}, {c.code.constant(name)}, {ways})"
                known = Val(c.kept(source), SEGMENT.each())
                c.remember(key, known)
            return known.code
    if is_z_segment(name):
        return c.kept(f"{z_segments_from(c.code, scope, name)} or None")
    single = segments_of(c, path, scope)
    return None if single is None else single.segments


# -- parts -------------------------------------------------------------------------------------------------------------


def part_value(c: Compilation, part: rules.Part, scope: Scope, want: str) -> Val:
    """A component of a field, or a subcomponent of a component."""
    value = c.expression(part.value, scope)
    if value.is_absent:
        return NOTHING
    if value.kind.name != "field":
        return c.error(part, f"only a field has components; this is {value.kind}")
    level = _level(part.value)
    if level > 1:
        return c.error(part, "subcomponents have no parts")
    function = "subcomponent" if level else "component"
    variable = c.code.new()
    if value.kind.many:
        inner = c.code.new()
        parts = f"[{function}({inner}, {part.number}) for {inner} in {value.code}]"
        source = f"[{inner} for {inner} in {parts} if {inner} is not None] or None"
        c.code.emit(f"{variable} = {source} if {value.code} is not None else None")
        return Val(variable, FIELD.each())
    c.code.emit(f"{variable} = {function}({value.code}, {part.number}) if {value.code} is not None else None")
    made = Val(variable, FIELD)
    return text_of(c, made, part) if want == "text" else made


def _level(part: rules.Expression) -> int:
    """How deep a field value is already: 0 a repetition, 1 a component, 2 a subcomponent."""
    match part:
        case rules.Part(value=value):
            return _level(value) + 1
        case rules.Path(component=component, subcomponent=subcomponent):
            return 2 if subcomponent else 1 if component else 0
        case rules.Binary(left=left):
            return _level(left)
        case _:
            return 0


def raw_field(c: Compilation, path: rules.Path, scope: Scope) -> str | None:
    """A field as it was sent, with all repetitions; None where the usual way of reading has to look at the path."""
    limit = c.setting.known_segments.get(path.segment, 0)
    if (
        path.segment == MESSAGE_SEGMENTS[c.setting.message_format][0]
        or not path.field
        or (limit and path.field > limit)
    ):
        return None
    segments = segments_of(c, path, scope)
    if segments is None:
        return None
    c.setting.segments_read.add(path.segment)
    segments.width = max(segments.width, path.field + 1)
    return f"{segments.fields}[{path.field}]"
