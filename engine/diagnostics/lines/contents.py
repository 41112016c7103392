"""What messages say of settings: the decimal sign, and which part of a test's id is its code. Pure.

Results of one order that share a code are a sign that the code is read at the wrong place: sodium would go out as
glucose. Another part of R-3 that differs between them is proposed; a person chooses it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.diagnostics.lines.rows import decimal_of
from engine.mapping.functions.astm import COMPONENTS, SETTING, astm_test_code
from engine.mapping.message.message_context import MessageContext
from engine.model.message import MapContext, Parsed

COMMA = "decimal_comma"


@dataclass(frozen=True, slots=True)
class Shared:
    """Results of one order with one code.

    Attributes:
        times: how many bear it.
        part: of R-3, that differs between them; 0: none does. names: what it has.
    """

    code: str
    times: int
    part: int = 0
    names: Sequence[str] = ()


def settings_of(messages: Iterable[Parsed]) -> dict[str, str]:
    """The settings that ASTM messages ask for beyond doubt."""
    values = [
        part
        for one in messages
        if one.format == "astm"
        for record in one.segments
        if record.name == "R"
        for part in record.get(4).split(one.delimiters.component)
    ]
    return {COMMA: "yes"} if decimal_of(values) == "," else {}


def shared_codes(messages: Iterable[Parsed], settings: Mapping[str, Any]) -> list[Shared]:
    """The codes that several results of one order bear, each once, with the part that differs."""
    found: dict[str, list[list[Sequence[str]]]] = {}
    for one in messages:
        for ids in _of_orders(one):
            coded = [(_code(one, raw, settings), parts) for raw, parts in ids]
            for code, times in Counter(code for code, _ in coded).items():
                if code and times > 1:
                    found.setdefault(code, []).append([parts for own, parts in coded if own == code])
    part = _part(found.values())
    return [
        Shared(code, max(map(len, orders)), part, [ids[part - 1] for ids in orders[0]] if part else ())
        for code, orders in found.items()
    ]


def _of_orders(parsed: Parsed) -> Iterator[list[tuple[str, Sequence[str]]]]:
    """The ids of the results of each order: as sent, and their parts."""
    head, name = ("OBR", "OBX") if parsed.format == "hl7v2" else ("O", "R")
    ids: list[tuple[str, Sequence[str]]] = []
    for segment in parsed.segments:
        if segment.name == head:
            yield ids
            ids = []
        elif segment.name == name:
            raw = segment.get(3)
            told = f"{raw}/{segment.get(4)}" if name == "OBX" and segment.get(4) else raw
            ids.append((told, raw.split(parsed.delimiters.component)))
    yield ids


def _code(parsed: Parsed, raw: str, settings: Mapping[str, Any]) -> str:
    if parsed.format == "hl7v2":
        return raw
    run = MessageContext(parsed, MapContext(settings=dict(settings)), lambda text, *given: text, lambda place: "", {})
    return astm_test_code(run, raw) or ""


def _part(orders: Iterable[list[list[Sequence[str]]]]) -> int:
    """The first part that is another one for each result of each of these orders, with letters before one of numbers,
    which may just count; 0: there is none.
    """
    every = [ids for of_code in orders for ids in of_code]
    found = []
    for at in range(COMPONENTS):
        told = [[parts[at] if at < len(parts) else "" for parts in ids] for ids in every]
        if told and all(all(names) and len({*names}) == len(names) for names in told):
            found.append((all(name.isdecimal() for names in told for name in names), at + 1))
    return min(found, default=(False, 0))[1]


__all__ = ["COMMA", "SETTING", "Shared", "settings_of", "shared_codes"]
