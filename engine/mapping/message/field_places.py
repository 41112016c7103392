"""Fields of a result that its maker has in the place of another one.

    R|1|^^^TP|10|g/dL|6-8|||N|F||||20260301101500     one field further from the status on (Meril): N is the nature of
                                                      the range; R-14 is the time of measurement
    R|1|1256^214^|35.4|||25-OH Vitamin D^214^20260310    R-6, of ranges, names the test (AutoLumo): its code is behind
                                                      the name
    OBX|1|NM|K||4|mmol/L||3.5-5.1|||F                 OBX-8, of flags, holds the range
    OBX|1|NM|K||7.1|mmol/L|HH|3.5-5.1|||F             flag and range have changed places

They are moved before a rule reads them, so that all outputs, the facts and the alerts read them alike. A range in R-7
`engine.mapping.functions.value_parts` reads.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

from engine.mapping.functions.astm import astm_test_code
from engine.mapping.functions.value_parts import holds_range
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Group, Segment

Changes = dict[int, Segment | None]  # by position; None: the result is left out

_STATUSES = frozenset("FPCRSVXI")  # E1394, 9.10
_FLAGS = frozenset({"HH", "LL", "AA", "H", "L", "A", "<", ">"})  # of HL7 table 0078
_TIME = re.compile(r"20[0-9]{12}", re.ASCII).fullmatch
_LETTER = re.compile(r"[^\W\d_]").search
_NAME = "R-6 has the code of the test behind a name: it is no range; component 1 was read as the name, the rest was not"
_STATUS = "R-9 is N, which is no status of a result, and R-10 is one; the status was read from R-10"
_RANGE = "OBX-8 holds a range, which is no flag; it was read as the range"
_LOOK = "Look whether the flag is behind the number in OBX-5 (obx5: value^flag)"


def column(rows: Sequence[list[str]], number: int) -> list[str]:
    """A field of these segments, of each that has it."""
    lengths = [*map(len, rows)]
    if lengths and min(lengths) > number:  # nearly always: without a step for each
        return [*map(itemgetter(number), rows)]
    return [fields[number] for fields in rows if len(fields) > number]


def put_fields_in_place(run: MessageContext, rows: Sequence[list[str]]) -> None:
    """Change the message of ``run`` where R-10 is the status of a result, or R-6 names the test; warn of each.

    Args:
        rows: the fields of its R records, each behind its name.
    """
    if "N" in column(rows, 9):
        results = run.parsed.names.get("R", [])
        _put(run, [_status_in_place(run, row) for row in results if row.get(9) == "N" and row.get(10) in _STATUSES])
    if run.C in "\n".join(column(rows, 6)):
        results = [row for row in run.parsed.names.get("R", []) if run.C in row.get(6)]
        _put(run, [_name_in_place(run, row, name) for row in results if (name := _name_in_range(run, row))])


def put_ranges_in_place(run: MessageContext) -> None:
    """Change the message of ``run`` where OBX-8 holds a range; warn of each."""
    _put(run, [_range_in_place(run, row) for row in run.parsed.names.get("OBX", []) if holds_range(run, row.get(8))])


def _changed_group(group: Group, changes: Changes) -> Group:
    """A group with changed segments; a result that is left out takes its comments with it."""
    changed = Group(group.name)
    for name, segments in group.segments.items():
        if changing := [now for segment in segments if (now := changes.get(segment.position, segment)) is not None]:
            changed.segments[name] = changing
    for name, inside in group.groups.items():
        changed.groups[name] = [
            _changed_group(inner, changes)
            for inner in inside
            if not (results := inner.segments.get("OBX")) or any(changes.get(row.position, row) for row in results)
        ]
    return changed


def put_changes(run: MessageContext, changes: Changes) -> None:
    """Change the message of ``run``. A result that is left out stays among its segments alone."""
    segments = [changes.get(segment.position) or segment for segment in run.parsed.segments]
    run.parsed = replace(run.parsed, segments=segments, root=_changed_group(run.parsed.root, changes), names={})
    run.root = run.parsed.root


def _put(run: MessageContext, moved: list[Segment]) -> None:
    if moved:
        put_changes(run, {row.position: row for row in moved})


def _name_in_range(run: MessageContext, row: Segment) -> str | None:
    """The text with a letter that the code of the result is behind in R-6."""
    name, *behind = map(run.text, row.get(6).split(run.C))
    code = astm_test_code(run, row.get(3))
    return name if name and _LETTER(name) and code in behind and len(code or "") > 1 else None


def _name_in_place(run: MessageContext, row: Segment, name: str) -> Segment:
    run.reading.names[row.get(3)] = (name, name)
    return _moved(run, row, [*row.fields[:6], "", *row.fields[7:]], "NAME_AS_RANGE", _NAME)


def _status_in_place(run: MessageContext, row: Segment) -> Segment:
    fields, is_timed = row.fields[:], _TIME(row.get(14)) is not None
    if is_timed:
        del fields[9]
    else:
        fields[9:11] = [fields[10], ""]
    return _moved(run, row, fields, "STATUS_PLACE", f"{_STATUS}{', and the time from R-14' if is_timed else ''}")


def _range_in_place(run: MessageContext, row: Segment) -> Segment:
    fields, beside = row.fields[:], row.fields[7].strip()
    sent = fields[8].split(run.R)
    flags = [flag for flag in sent if not holds_range(run, flag)]
    ranges = [flag for flag in sent if flag not in flags]
    is_swapped = beside.upper() in _FLAGS
    if is_swapped:
        flags.insert(0, beside)
    elif beside:
        ranges.insert(0, beside)
    fields[7:9] = ["; ".join(dict.fromkeys(ranges)), run.R.join(flags)]
    text = f"{_RANGE}, and OBX-7 as the flag" if is_swapped else f"{_RANGE}. {_LOOK}"
    return _moved(run, row, fields, "RANGE_AS_FLAG", text)


def _moved(run: MessageContext, row: Segment, fields: list[str], code: str, text: str) -> Segment:
    run.at = row
    run.warn(code, text)
    run.at = None
    return Segment(row.name, fields, row.position, row.ordinal)
