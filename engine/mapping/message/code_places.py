"""What a result is a result of, where its maker writes that in another place than the standard.

    R|4|^^^Glu^^^^323.1|116          R-14, O-3, O-4, P-3 or P-4 is 323.1: a number of the sample is no part of the code
    OBX|1|NM||CRP|23.7               OBX-3 is empty: OBX-4 is the code
    OBX|1|NM|1|CREA|4.1              OBX-3 is the number of the row (OBX-1), and OBX-4 the name of the test
    OBX|1|NM|1^Vitamin B12|206|390   likewise; OBX-4 is the code
    OBX|2|NM|||81.4                  no field names the result: it is left out, and the others go out

Components are moved before a rule reads them, so that all outputs and the facts have the same codes. Whether OBX-3 is
the number of a row the setting ``obx3`` says: ``row`` or ``code``. Without it, it is one where two rows or more of an
order have it so, each with a name in OBX-4, and no code table of the channel has these numbers. A code that stays keeps
the words of OBX-4 behind its own, and a result that its sender flags as critical is never left out.
"""

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from engine.mapping.code_tables.tables import Table
from engine.mapping.functions.astm import COMPONENTS, ISOLATE, SETTING, TABLE_SETTING, code_places, id_parts
from engine.mapping.functions.value_parts import holds_range
from engine.mapping.message.certain_numbers import may_be_names
from engine.mapping.message.field_places import Changes, column, put_changes, put_fields_in_place, put_ranges_in_place
from engine.mapping.message.message_context import MessageContext
from engine.model.content.numbers import RESULTS, SPANS, has_digit, is_any_unusual
from engine.model.message import Parsed, Segment

ROWS_SETTING, ROW, CODE = "obx3", "row", "code"
_ENCLOSED = ("ED", "RP")
_MOST_USUAL, _LONGEST_USUAL = 4096, 100
# OBX-3 and -8, where the first is a code and the second no range, by the usual delimiters -> the code; None of several
# words or parts
_usual: dict[tuple[str, str], str | None] = {}
_CODE_AND_FLAG: Callable[[list[str]], tuple[str, str]] = itemgetter(3, 8)  # OBX-3 and -8
_USUAL_DELIMITERS = "^~\\&"
_SETTINGS = frozenset({ROWS_SETTING, "not_numbers", "no_specimen_ids"})
_SHORTEST = 3  # signs of a number of a sample, and of a code in OBX-4 that is no number of a part
_FEWEST = 2  # rows that show together that OBX-3 numbers them
_NUMBERED = ("O", "P")  # records with numbers of the sample in fields 3 and 4
_LETTER = re.compile(r"[^\W\d_]").search
_PART = re.compile(r"[0-9][-0-9./]*[A-Za-z]?", re.ASCII).fullmatch  # of a result, in OBX-4: else that is a name
_ALARM = re.compile(r"\b(?:HH|LL|AA)\b", re.ASCII).search
_EMPTY = f"OBX-3 has no code: OBX-4 was read as the code; settings `{ROWS_SETTING}: {ROW}` says that it is"
_NAMELESS = "neither OBX-3 nor OBX-4 names this result: it was left out"
_PART_ALONE = (
    f"OBX-3 has no code, and OBX-4 a number alone: the result was left out; settings `{ROWS_SETTING}: {ROW}` reads it"
)
_SETTLE = f"settings `{ROWS_SETTING}: {ROW}` (the code is OBX-4) and `{ROWS_SETTING}: {CODE}` (it is OBX-3) settle it"
_READ = f"OBX-3 numbers the rows, and OBX-4 was read as the code; {_SETTLE}"
_DOUBT = f"OBX-3 may be the number of its row, and OBX-4 the code; OBX-3 was kept, with OBX-4 as its name; {_SETTLE}"
_EQUALS = (
    "a component of R-3 is short or the test and equals a number of the sample: it was kept; settings `{}: {}` says "
    "which components count"
)


def is_plain(parsed: Parsed, settings: Mapping[str, Any]) -> bool:
    """Whether each number, name and code of a message over HL7 v2 is in its place, as in nearly every one. False: they
    are to be looked at one by one.

    One look in one function: it is asked of every message, and what is called once a message is slow.
    """
    names, cut = parsed.names, parsed.delimiters
    if f"{cut.component}{cut.repetition}{cut.escape}{cut.subcomponent}" != _USUAL_DELIMITERS:
        return False
    if not _SETTINGS.isdisjoint(settings):
        return False
    if is_any_unusual([text for name, span in SPANS for tube in names.get(name, ()) for text in tube.fields[span]]):
        return False
    for person in names.get("PID", ()):
        for number in person.fields[2:5]:
            if number and not ((part := number.partition("^")[0])[-1:].isdigit() or has_digit(part)):
                return False
    if parsed.structure.startswith(RESULTS):
        rows = names.get("OBX", [])
        try:
            codes = [*map(_CODE_AND_FLAG, [row.fields for row in rows])]
        except IndexError:  # without a flag
            codes = [(row.get(3), row.get(8)) for row in rows]
        if not _usual.keys() >= (each := set(codes)):
            return False
        tests = set(map(_usual.get, each))
        parsed.is_apart = len(tests) == len(codes) and None not in tests
    return True


def put_codes_in_place(run: MessageContext, table: Table | None) -> None:
    """Change the message of ``run`` where a result has its code in another place; warn where that is in doubt.

    Args:
        table: the channel's code table.
    """
    if run.parsed.is_plain:
        return
    if not run.hl7:
        rows = [record.fields for record in run.parsed.names.get("R", [])]
        put_fields_in_place(run, rows)
        changes = _without_sample_numbers(run, rows)
    elif run.parsed.structure.startswith(RESULTS):
        changes = _rows_in_place(run, table)
    else:
        changes = {}
    if changes is None:
        run.parsed.is_plain = not may_be_names(run)
    elif changes:
        _put(run, changes)


def _rows_in_place(run: MessageContext, table: Table | None) -> Changes | None:
    """None: each code is in its place; of such codes `is_plain` knows it."""
    if any(holds_range(run, row.get(8)) for row in _unknown(run)):
        put_ranges_in_place(run)
    says = run.setting(ROWS_SETTING)
    if not any(_is_unusual(run, row, says) for row in _unknown(run)):
        return None
    orders: list[list[Segment]] = [[]]
    for segment in run.parsed.segments:
        if segment.name == "OBR":
            orders.append([])
        elif segment.name == "OBX" and segment.get(2) not in _ENCLOSED:
            orders[-1].append(segment)
    return _read_rows(run, table, orders, says)


def _unknown(run: MessageContext) -> list[Segment]:
    """The rows that are not known as usual."""
    return [
        row
        for row in run.parsed.names.get("OBX", [])
        if (row.get(3), row.get(8)) not in _usual and row.get(2) not in _ENCLOSED
    ]


def _is_unusual(run: MessageContext, row: Segment, says: str | None) -> bool:
    """Whether a row has no code, or a number alone beside OBX-4."""
    raw = row.get(3)
    code = raw.partition(run.C)[0].strip()
    if code.isdecimal():
        return says == ROW or bool(row.get(4))
    if code[:1].isalnum():
        if len(raw) + len(row.get(8)) <= _LONGEST_USUAL and _has_usual_delimiters(run):
            if len(_usual) >= _MOST_USUAL:
                _usual.clear()
            is_word = len(code.split()) == 1 and run.S not in code
            _usual[raw, row.get(8)] = code if is_word else None
        return False
    return not _is_named(run, raw)


def _has_usual_delimiters(run: MessageContext) -> bool:
    return run.C + run.R + run.X + run.S == _USUAL_DELIMITERS


def _is_named(run: MessageContext, code: str) -> bool:
    """Whether OBX-3 has a code or a name; a coding system alone is none."""
    parts = code.split(run.C)
    return any(run.present(part) for part in run.S.join([*parts[:2], *parts[3:5], *parts[8:9]]).split(run.S))


def _read_rows(run: MessageContext, table: Table | None, orders: list[list[Segment]], says: str | None) -> Changes:
    changes: Changes = {}
    is_any_named = False
    for rows in orders:
        are_numbers = says is None and _number_their_rows(run, table, rows)
        for row in rows:
            code, beside = _read_row(run, row, table, ROW if are_numbers else says)
            if are_numbers:
                _warn(run, row, _READ)
            is_named = _is_named(run, code)
            is_any_named = is_any_named or is_named
            if not is_named and _ALARM(f"{row.get(5)} {row.get(8)}"):
                return {}  # the message is dead
            if not is_named:
                changes[row.position] = None
            elif code != row.get(3):
                fields = [*row.fields, *[""] * (5 - len(row.fields))]
                fields[3:5] = [code, beside]
                changes[row.position] = Segment(row.name, fields, row.position, row.ordinal)
    return changes if is_any_named else {}  # without any name the message is dead


def _read_row(run: MessageContext, row: Segment, table: Table | None, says: str | None) -> tuple[str, str]:
    """OBX-3 and OBX-4 as they are meant."""
    code, beside = row.get(3), row.get(4).strip()
    parts = code.split(run.C)
    number, name = parts[0].strip(), run.part_text(parts, 1)
    if not _is_named(run, code):
        if not _is_word(row, is_alone=True) and not (says == ROW and beside):
            return "", ""
        if says != ROW:
            _warn(run, row, _EMPTY)
        return run.C.join([beside, *parts[1:]]), ""
    if not number.isdecimal():
        return code, beside
    ordinal = row.get(1).strip()
    is_row = ordinal != "" and number.lstrip("0") == ordinal.lstrip("0")
    is_word = _is_word(row, is_alone=name is None) and (name is None or (is_row and beside not in name))
    if says == ROW and (is_row or not ordinal or is_word):
        return (run.C.join([beside, *parts[1:]]) if beside else name or ""), ""
    if is_word:
        before = str(int(ordinal[:9]) - 1).lstrip("0") if ordinal.isdecimal() else ""  # some count rows from 0
        is_count = is_row or not ordinal or number.lstrip("0") == before
        if is_count and says != CODE and not _has(table, {number}):
            _warn(run, row, _DOUBT)
        code = run.C.join([parts[0], f"{name} {beside}" if name else beside, *parts[2:]])
    return code, beside


def _is_word(row: Segment, *, is_alone: bool) -> bool:
    """Whether OBX-4 is a name or a code, and not the number of a part (`1`, `1/2`; beside a name `a`, `1a`)."""
    beside = row.get(4).strip()
    if _LETTER(beside) and (is_alone or (len(beside) > 1 and _PART(beside) is None)):
        return True
    return len(beside) >= _SHORTEST and beside.isalnum() and beside != row.get(1).strip()


def _number_their_rows(run: MessageContext, table: Table | None, rows: list[Segment]) -> bool:
    sent = [row.get(3).rstrip(run.C).strip() for row in rows]
    numbers = [number.lstrip("0") for number in sent]
    names = {row.get(4).strip().casefold() for row in rows}
    return (
        len(set(numbers)) >= _FEWEST
        and len(names) == len(rows)
        and all(map(str.isdecimal, numbers))
        and numbers == [row.get(1).strip().lstrip("0") for row in rows]
        and all(_is_word(row, is_alone=True) for row in rows)
        and not any(map(_PART, names))
        and max(map(len, names)) > 1
        and not _has(table, {*sent, *numbers})
    )


def _has(table: Table | None, codes: set[str]) -> bool:
    if table is None:
        return False
    return not codes.isdisjoint(table.left_out) or any(row.cells.get("code") in codes for row in table.rows)


def _put(run: MessageContext, changes: Changes) -> None:
    for segment in run.parsed.segments:
        if changes.get(segment.position, segment) is None:
            _warn(run, segment, _PART_ALONE if segment.get(4).strip() else _NAMELESS)
            run.accounted[segment.position] = None
            run.declared_drops += 1
    put_changes(run, changes)


def _warn(run: MessageContext, segment: Segment, text: str) -> None:
    run.at = segment
    run.warn("CODE_PLACE", text, field=f"{segment.name}-3")
    run.at = None


def _without_sample_numbers(run: MessageContext, rows: list[list[str]]) -> Changes | None:
    """R-3 without numbers of its sample, and with that of its isolate where the setting `test_code` has it; None: no
    id has components for such numbers."""
    isolate, place = "", ISOLATE(run.setting(SETTING) or "")
    if not place and not _may_have_numbers(run, rows):
        return None
    patient, numbers = set[str](), set[str]()
    changes: Changes = {}
    for segment in run.parsed.segments:
        if segment.name == "P":
            patient = numbers = {segment.get(3).strip(), segment.get(4).strip()} - {""}
        elif segment.name == "O":
            isolate = (run.component(segment.get(int(place[1])), int(place[2])) or "") if place else ""
            sent = run.C.join(segment.fields[3:5]).split(run.C)
            numbers = patient.union(map(str.strip, sent)) - {""}
        elif segment.name == "R" and (field := segment.fields[3:4]):
            raw = code = field[0]
            near = set[str]()
            for number in (*numbers, segment.get(14).strip()):  # hardly any id has one
                if number and number in raw:
                    near |= {number}
            if near and not near.isdisjoint(map(str.strip, raw.split(run.C))):
                code = _without(run, segment, near)
            if isolate:
                code = run.C.join([*[*code.split(run.C), *[""] * COMPONENTS][:COMPONENTS], isolate])
            if code != raw:
                fields = [*segment.fields[:3], code, *segment.fields[4:]]
                changes[segment.position] = Segment("R", fields, segment.position, segment.ordinal)
    return changes


def _may_have_numbers(run: MessageContext, rows: list[list[str]]) -> bool:
    """Whether a number of a sample is in any id of the message, and hardly any message has one."""
    ids = "\n".join(column(rows, 3))
    numbers = {*column(rows, 14)}
    for name in _NUMBERED:
        for segment in run.parsed.names.get(name, []):
            numbers.update(segment.get(3).split(run.C), segment.get(4).split(run.C))
    return any((bare := number.strip()) and bare in ids for number in numbers)


def _without(run: MessageContext, result: Segment, numbers: set[str]) -> str:
    """R-3 without numbers of its sample behind the test."""
    parts, sent = id_parts(run, result.fields[3]), result.fields[3].split(run.C)
    for setting in (SETTING, TABLE_SETTING):
        listed = run.setting(setting)
        if setting != SETTING and listed is None:
            continue
        places = [place for place in code_places(parts, listed) if parts[place - 1]]
        heads = places[:1] if listed else [place for place in places[:2] if place <= 5]
        for place in places:
            is_head, part = place in heads, sent[place - 1].strip()
            if part not in numbers or (is_head and (listed or len(part) < _SHORTEST)):
                continue
            if is_head or len(part) < _SHORTEST:
                _warn(run, result, _EQUALS.format(SETTING, "/".join(map(str, heads))))
            else:
                sent[place - 1] = ""
    return run.C.join(sent)
