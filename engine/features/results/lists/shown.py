"""One result as people see it: of the facts of a message, or of what a document says. Pure."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import NamedTuple

from engine.mapping.hold_rules.rules import is_named
from engine.mapping.hold_rules.values import percent
from engine.model.content.facts import Order, Value
from engine.model.content.facts import Result as Fact
from engine.model.content.results import Result
from engine.succession.critical import CRITICAL

LOINC = "http://loinc.org"


class Before(NamedTuple):
    """An earlier value of the patient.

    Attributes:
        text: as it was sent, or the number that rules compare with.
        number: as rules compare it, where it is one; ``unit``: of that. sent_in: the unit of ``text``.
        message: of the same result; 0: what rules find.
    """

    text: str
    number: Decimal | None
    unit: str
    at: str | int
    sent_in: str
    message: int = 0


class Shown(NamedTuple):
    """One result.

    Attributes:
        held: the reason names it. critical: its sender flags it so.
        test, value, unit, range: as sent; ``sends``: the value with its unit that a release sends, where it is another.
        missing: why it has no value, as FHIR's dataAbsentReason; empty: it has one.
        limits: beyond these the site's tables say that it is critical.
        series: earlier values of the patient and this one, with when they were measured; none where it is no number.
        asked_by: who ordered it, as the order says.
        collected, at: when the specimen was taken, and measured, FHIR's dateTime; ``before``: the value before it.
    """

    codes: Sequence[str]
    flags: Sequence[str]
    status: str
    unit: str
    held: bool
    critical: bool
    test: str
    name: str
    loinc: str
    specimen: str
    value: str
    sends: str
    range: str
    at: str
    before: Before | None = None
    change: str = ""
    percent: str = ""
    missing: str = ""
    limits: str = ""
    collected: str = ""
    series: Sequence[tuple[int, Decimal]] = ()
    series_unit: str = ""
    asked_by: str = ""


def of_fact(
    order: Order, fact: Fact, out: Result | None, first: Result, sends: str, why: str, before: Before | None
) -> Shown:
    """``out``: of the document; None: it goes out as it was sent. ``first``: as the code tables of today read it."""
    measure, value, codes = fact.measure, fact.value, (out or first).codes
    unit = value.unit or measure.unit or ""
    is_converted = first.value is not None and first.text != sent(value)
    change, share = changed(first, before, first.unit if is_converted else "")
    if before is not None and before.sent_in != unit:
        before = before._replace(text=f"{before.text} {before.sent_in}".strip())
    return Shown(
        codes=[code for _, code in codes],
        flags=fact.flags or measure.flags or (),
        status=(measure.state if out is None else out.status) or "",
        unit=unit,
        held=_is_named(why, codes),
        critical=not CRITICAL.isdisjoint(fact.flags),
        test=measure.test or "",
        name=measure.name or "",
        loinc=next((code for system, code in codes if system == LOINC), ""),
        specimen=specimen_of(order, fact) or "",
        value=sent(value),
        sends=sends,
        range=fact.range or "",
        at=fact.at or "",
        before=before,
        change=change,
        percent=share,
        missing=value.missing or "",
        collected=order.collected or next((one.collected for one in order.samples if one.collected), ""),
    )


def sent(value: Value) -> str:
    if value.number is not None and not value.call:
        return f"{value.comparator or ''}{value.number}"
    if value.numerator and value.denominator:
        return f"{value.numerator}:{value.denominator}"
    parts = value.parts or ()
    if len(parts) == 1 and parts[0].startswith("|"):  # one coded answer, in words
        return parts[0][1:]
    return value.sent or value.words or ""


def sent_on(fact: Fact, result: Result) -> str:
    """What the document that is held says; empty: as sent."""
    unit = fact.value.unit or fact.measure.unit
    is_same = result.text == sent(fact.value) and (unit in result.units or not (unit and result.units))
    return "" if is_same or result.text is None else f"{result.text} {result.unit}".strip()


def of_document(result: Result, why: str, before: Before | None) -> Shown:
    change, share = changed(result, before)
    ends = ["" if end is None else str(end) for end in (result.low, result.high)]
    return Shown(
        codes=[code for _, code in result.codes],
        flags=result.flags,
        status=result.status,
        unit=result.unit,
        held=_is_named(why, result.codes),
        critical=not CRITICAL.isdisjoint(result.flags),
        test="",
        name="",
        loinc=next((code for system, code in result.codes if system == LOINC), ""),
        specimen="",
        value=result.text or "",
        sends="",
        range="-".join(ends) if any(ends) else "",
        at="",
        before=before,
        change=change,
        percent=share,
    )


def _is_named(why: str, codes: Sequence[tuple[str, str]]) -> bool:
    in_order = ", ".join(sorted({code for _, code in codes}))
    return is_named(why, Result(codes=tuple(codes)).name) or is_named(why, in_order)


def changed(result: Result, before: Before | None, unit: str = "") -> tuple[str, str]:
    """The change of a number, and in per cent; empty: unknown. ``unit``: it is said with it."""
    if result.value is None or result.comparator or before is None or before.number is None:
        return "", ""
    if before.unit != result.unit:
        return "", ""
    with localcontext(prec=20):
        change = result.value - before.number
    share = percent(change, before.number)
    return f"{change:+} {unit}".strip(), "" if share is None else f"{share:+.0f}"


def first_of(results: Sequence[Result]) -> Result:
    return results[0] if results else Result()


def specimen_of(order: Order, fact: Fact) -> str | None:
    return fact.tube or next((one.number for one in order.samples if one.number), None) or order.filler or order.placer
