"""Functions for generated code besides those of the language: rows of tables, comparisons, conversions."""

from operator import attrgetter
from typing import Any

from orjson import Fragment

from engine.mapping.code_tables.tables import Row, Table
from engine.mapping.functions.code_maps import CodeMap, miss
from engine.mapping.functions.numbers import number
from engine.mapping.message.message_context import MessageContext
from engine.mapping.values import decimals
from engine.mapping.values.json_text import kept
from engine.model.errors import Dropped
from engine.model.message import Group, Segment, Unmapped
from engine.model.texts.reasons import ReasonCode

NO_FIELDS: list[str] = []
MOST_DISPLAY = 200  # characters of a name; the journal keeps as many
MOST_NAMED = 4396  # codes of a message with a name; the journal knows 4096 codes by heart, and looks up 300 others


def find_row(run: MessageContext, table: Table, given: tuple[str | None, ...]) -> Row | None:
    """A row that the table has not under exactly this key: by wildcards, or by the policies about what is missing."""
    key = tuple(part or "" for part in given)
    row = table.find(key)
    if row is not None:
        return row
    unit_at = table.unit_position
    if unit_at and (known := table.knows(key)) is not None:
        policy = run.settings.get("on_missing_unit") or table.on_missing_unit or run.policy("on_missing_unit") or "dead"
        if not key[unit_at] and policy == "dead":
            return known.without_unit()  # words may pass, a number may not
        _note_unmapped(run, table, key, unit_at)
        if policy == "dead":
            raise run.dead(ReasonCode.UNMAPPED_UNIT, f"table {table.name} has the code, and not with this unit")
        return None
    _note_unmapped(run, table, key, unit_at)
    if unit_at != 0 and run.at is not None:
        run.without_row.append(run.at.position)
    policy = run.settings.get("on_missing") or table.on_missing or run.policy("on_missing") or "local"
    if policy == "dead":
        raise run.dead(ReasonCode.UNMAPPED_CODE, f"table {table.name} does not have the code")
    if policy == "drop":
        raise Dropped
    return None


def _note_unmapped(run: MessageContext, table: Table, key: tuple[str, ...], unit_at: int | None) -> None:
    unit = key[unit_at] if unit_at else ""
    display, code = "", (table.name, key[0], unit)
    if len(run.named) < MOST_NAMED:
        run.named.add(code)
    if code in run.named and run.at is not None and run.hl7 and run.at.name == "OBX" and len(run.at.fields) > 3:
        display = (run.text(run.component(run.at.fields[3], 2) or "") or "")[:MOST_DISPLAY]
    run.noted += 1
    run.unmapped.append(Unmapped(table=table.name, code=key[0], unit=unit, display=display))


def one_code(run: MessageContext, name: str, table: CodeMap, raw: str, field: str = "") -> Any:
    """The value of a code that is not in a fixed table as it was sent; ``field`` is its place."""
    text = run.text(raw)
    if text is None:
        return None
    return table.values.get(text) or miss(name, table, text, run, field)


def each_code(
    run: MessageContext, name: str, table: CodeMap, codes: list[str], raw: bool, field: str = ""
) -> list[Any] | None:
    """The values of several codes, those that have one."""
    found = []
    for code in codes:
        value = table.values.get(code)
        if value is None:
            value = one_code(run, name, table, code, field) if raw else miss(name, table, code, run, field)
        if value is not None:
            found.append(value)
    return found or None


def inside(group: Group, name: str, ways: tuple[tuple[str, ...], ...]) -> list[Segment]:
    """The segments of a name in the groups inside ``group``, in the order of the message.

    Args:
        ways: down to every group of the grammar that contains such segments.
    """
    found: list[Segment] = []
    for way in ways:
        level = [group]
        for step in way:
            level = [inner for outer in level for inner in outer.groups.get(step, ())]
        for last in level:
            if name in last.segments:
                found += last.segments[name]
    if len(ways) > 1:
        found.sort(key=attrgetter("position"))
    return found


def z_segments(name: str, here: Group, *outer: Group) -> list[Segment]:
    """The sender's own segments of a name: those in the group at hand and in the groups inside it, in the order of the
    message; where it has none, those directly in the nearest of the groups around it.

    No grammar says to which group they belong. A segment after the last result of an order is read as part of that
    result, and may be about all of them: a rule that loops from the order finds it. Segments of neighbouring groups are
    never used.
    """
    found = _within(here, name)
    if found:
        found.sort(key=attrgetter("position"))
        return found
    return next((group.segments[name] for group in outer if name in group.segments), [])


def _within(group: Group, name: str) -> list[Segment]:
    found = list(group.segments.get(name, ()))
    for groups in group.groups.values():
        for inner in groups:
            found += _within(inner, name)
    return found


def each(function: Any, arguments: tuple[Any, ...], at: int) -> list[Any] | None:
    """A function's value for each element of the list among its arguments, those that there are."""
    before, after = arguments[:at], arguments[at + 1 :]
    if len(arguments[at]) == 1:
        made = function(*before, arguments[at][0], *after)
        return None if made is None else [made]
    found = [made for one in arguments[at] if (made := function(*before, one, *after)) is not None]
    return found or None


def repetition(run: MessageContext, raw: str, wanted: int) -> str | None:
    parts = raw.split(run.R, wanted)
    return run.present(parts[wanted - 1]) if len(parts) >= wanted else None


def one_field(segments: list[Segment], which: int, field: int) -> str | None:
    """A field of the ``which``-th segment, with all its repetitions."""
    if len(segments) < which:
        return None
    fields = segments[which - 1].fields
    return fields[field] if len(fields) > field and fields[field] else None


def every_field(run: MessageContext, segments: list[Segment], field: int) -> list[str] | None:
    """All repetitions of a field of several segments."""
    found: list[str] = []
    for segment in segments:
        fields = segment.fields
        if len(fields) > field and fields[field] and (parts := run.repetitions(fields[field])):
            found += parts
            if run.trace is not None:
                run.trace.read(segment, field, 0)
    return found or None


def same_number(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    return decimals.compare(str(left), str(right)) == 0


def order(left: Any, right: Any) -> int | None:
    return None if left is None or right is None else decimals.compare(str(left), str(right))


def fragment(value: Any) -> Fragment | None:
    """A value that is kept, as the JSON that it will be in every document."""
    return None if value is None else Fragment(kept(value))


def integer(text: str, least: int | None) -> int | None:
    """A decimal as a whole number; None where it is none, or less than the type allows."""
    whole, _, fraction = text.partition(".")
    if fraction.strip("0") or len(whole) > 12:
        return None
    value = int(whole)
    return value if least is None or value >= least else None


BOUND: dict[str, Any] = {
    "NO_FIELDS": NO_FIELDS,
    "Dropped": Dropped,
    "Fragment": Fragment,
    "fragment": fragment,
    "calculate": decimals.calculate,
    "find_row": find_row,
    "inside": inside,
    "z_segments": z_segments,
    "integer": integer,
    "each": each,
    "each_code": each_code,
    "every_field": every_field,
    "repetition": repetition,
    "miss": miss,
    "number": number,
    "one_code": one_code,
    "one_field": one_field,
    "order": order,
    "same_number": same_number,
}
"""Globals of generated code that are the same for every message."""


def _named(owner: str, *names: str) -> str:
    """Names of generated code for members of the same name."""
    return "".join(f" {name} = {owner}.{name}\n" for name in names)


PROLOGUE = (
    _named("m", "text", "whole", "present", "has", "component", "subcomponent", "repetitions", "each_field")
    + _named("m", "setting", "required")
    + " to_datetime = m.times.datetime\n to_event_time = m.times.event\n"
    + " times_sent = m.times.sent\n events_sent = m.times.events_sent\n"
    + _named("m", "only", "not_a_code", "warn", "drop", "accounted", "C", "R", "S", "X", "root")
    + " made = making.made\n"
    + _named("making", "scope", "own_id", "shared_id", "identity_of", "put", "put_shared")
)
