"""Lists and statuses: the first element, the number of elements, the status of a report."""

from typing import Any

from engine.mapping.functions.code_maps import CODE_MAPS, miss
from engine.mapping.functions.code_maps import worst_status as worst
from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Segment

_NO_STATUSES = {"hl7v2": ("HM",), "astm": ("R",)}  # words of makers in the place of an order's status


@function("first(values: any[]) -> any", pure=True)
def first(values: list[Any]) -> Any:
    """The first element of a list."""
    return values[0]


@function("last(values: any[]) -> any", pure=True)
def last(values: list[Any]) -> Any:
    """The last element of a list."""
    return values[-1]


@function("each_once(ids: Identifier[]) -> Identifier[]", pure=True)
def each_once(ids: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The identifiers without those that were there before, in order."""
    if len(ids) == 1:
        return [*ids]
    # By their contents as keys: a sender may repeat a field a hundred thousand times.
    found: dict[Any, dict[str, Any]] = {}
    for one in ids:
        found.setdefault(_contents(one), one)
    return list(found.values())


@function("count(values: any[]?) -> decimal!", pure=True)
def count(values: list[Any] | None) -> str:
    """How many elements a list has; 0 where it is absent."""
    return str(len(values) if values else 0)


@function("worst_status(statuses: text[]) -> code")
def worst_status(run: MessageContext, codes: list[str]) -> str | None:
    """The report status for result statuses of table 0085: `partial` or `preliminary` while one is unfinished."""
    table = CODE_MAPS["0085"]
    return worst([table.values.get(code) or miss("0085", table, code, run) for code in codes])


@function("stated_status(table: literal, status: text, results: segment[]?) -> text")
def stated_status(run: MessageContext, table: str, status: str, results: list[Segment] | None = None) -> str | None:
    """The status of an order (OBR-25, O-26) for `lookup` in its table. A maker's word for something else (`HM` of
    Mindray, haematology; `R` of ORTHO in O-26) is left out, with a warning, where each result of the order has a
    status of its own (OBX-11, R-9): these count."""
    if status.upper() not in _NO_STATUSES[run.parsed.format] or status.upper() in CODE_MAPS[table].values:
        return status
    if not results or not all(run.present(result.get(11 if run.hl7 else 9)) for result in results):
        return status
    run.warn("UNKNOWN_CODE", "a status of the order that its table does not have; that of each result counts")
    return None


@function("order_statuses(orders: segment[], results: segment[]?) -> code[]")
def order_statuses(
    run: MessageContext, orders: list[Segment], results: list[Segment] | None = None
) -> list[str] | None:
    """The report status of each order (OBR-25, table 0123); of one that has none, that of its result that is furthest
    from final (`worst_status`)."""
    table = CODE_MAPS["0123"]
    found = []
    for at, order in enumerate(orders):
        end = orders[at + 1].position if at + 1 < len(orders) else None
        own = [
            result
            for result in results or ()
            if order.position < result.position and (end is None or result.position < end)
        ]
        said = run.text(run.get(order, 25))
        if said is not None and (said := stated_status(run, "0123", said, own)) is not None:
            status = table.values.get(said) or miss("0123", table, said, run, "OBR-25")
        else:
            told = [code for result in own if (code := run.text(run.get(result, 11)))]
            status = worst_status(run, told) if told else None
        if status is not None:
            found.append(status)
    return found or None


@function("joint_status(statuses: code[]) -> code", pure=True)
def joint_status(statuses: list[str]) -> str:
    """The status of one report about several orders, of theirs (table 0123): `partial` while one is unfinished."""
    found = set(statuses)
    if len(found) == 1:
        return statuses[0]
    if "unknown" in found:
        return "unknown"
    if found & {"registered", "preliminary", "partial"}:
        return "partial"
    if found <= {"entered-in-error", "cancelled"}:
        return "cancelled"
    return next((one for one in ("corrected", "amended", "appended") if one in found), "final")


def _contents(value: Any) -> Any:
    """A hashable key that is equal for equal values."""
    if isinstance(value, dict):
        return frozenset((name, _contents(part)) for name, part in value.items())
    return tuple(map(_contents, value)) if isinstance(value, list) else value
