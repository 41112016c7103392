"""The order and specimen numbers in use, where the site declares them unique (`specimen_ids: unique`).

A reused number must not put one specimen's results over those of another. A message distinguishes the two only by the
time of collection or measurement. So each number has its days: from the first to the last measurement that was accepted
under it. A measurement within the channel's `reuse_after` of them belongs to the same specimen. An earlier or later one
is held (`ReasonCode.NUMBER_AGAIN`), and made with ids of its own (`engine.features.results.rows.used_numbers`):

    a person releases it   it belongs to another specimen, as do results after it: they are kept beside the first one's
    a person rejects it    the number is the first specimen's alone

These rows are kept for good: a forgotten number would be free, and its next result would replace the old one.

Separate ids for the resources of a reused number. Pure.

The ids of a unique number contain neither patient nor day (`engine.mapping.message.key_scope`). Under a reused number
the same ids would mean the first specimen's results. So all resources of its reports get new ids, derived from the
first ones and the use of the number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from engine.model.journal.hashes import report_key
from engine.model.journal.records import HoldReason, Routed
from engine.model.message import Document, UsedNumber
from engine.model.packing import unpack
from engine.model.process.clock import from_us
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.succession.kinds import results_in
from engine.succession.statements import Json, loads, references, rename, resource_id, resources_in
from engine.succession.steps import FIRST_YEAR

Ids = dict[str, str]  # ids made by the mapping -> ids sent

_URN = "urn:uuid:"


def apart(document: Document, reports: Mapping[str, int]) -> tuple[Document, Ids]:
    """A document under ids of its own, and these ids; unchanged where it is no Bundle.

    Args:
        reports: id of a DiagnosticReport, or of the Composition of a whole document -> the use of its number.
    """
    if not reports:
        return document, {}
    try:
        bundle = loads(unpack(document.body) if document.packed else document.body)
        is_whole = bundle.get("type") == "document"
        own = {one.identity for one in (results_in if is_whole else resources_in)(bundle)}
    except ValueError:
        return document, {}
    by_url = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    ids: Ids = {}
    for report, use in reports.items():
        for identity in own if is_whole else _around(report, own, by_url):
            ids.setdefault(identity, resource_id(f"{identity}\x1f{use}"))
    places = tuple((place, ids.get(one, one)) for place, one in document.places)
    return replace(document, body=rename(bundle, ids), packed=False, places=places), ids


def _around(report: str, own: set[str], by_url: Mapping[str, Json]) -> set[str]:
    """Our resources that a report refers to, and the report itself."""
    found: set[str] = set()
    waiting = [report]
    while waiting:
        identity = waiting.pop()
        if identity in own and identity not in found:
            found.add(identity)
            waiting += [url.removeprefix(_URN) for url in references(by_url[f"{_URN}{identity}"])]
    return found


_FIRST_DAY = FIRST_YEAR * 365  # about: a clock with an empty battery shows years before


@dataclass(frozen=True, slots=True)
class NumberUse:
    """The use of one number of a message.

    Attributes:
        use: 0, or the number that sets its ids apart.
        row: the message that owns the row of this use; 0: no row yet.
        waits: a person has to decide whether it belongs to another specimen.
    """

    used: UsedNumber
    use: int = 0
    row: int = 0
    waits: bool = False


def uses_of(batch: Batch, message_id: int, received_us: int, routes: Iterable[Routed]) -> list[NumberUse]:
    """The use that each unique number of a message belongs to; writes nothing."""
    today = from_us(received_us).toordinal()
    numbers: dict[bytes, UsedNumber] = {}
    for routed in routes:
        for one in routed.document.used:
            day = one.day if _FIRST_DAY <= one.day <= today + 1 else today  # an impossible time counts as none
            numbers[one.key] = one._replace(day=day)
    return [_use_of(batch, message_id, one) for one in numbers.values()]


def _use_of(batch: Batch, message_id: int, used: UsedNumber) -> NumberUse:
    rows = batch.execute(
        "SELECT message_id, use, waits, max(first_day - ?2, ?2 - last_day, 0) AS days FROM used_number"
        " WHERE number = ?1 ORDER BY waits, days",
        (used.key, used.day),
    ).fetchall()
    if not rows:
        return NumberUse(used)
    near = [row for row in rows if row[3] <= used.within]
    if near and not near[0][2]:
        return NumberUse(used, near[0][1], near[0][0])
    if near:
        return NumberUse(used, near[0][1], waits=True)
    return NumberUse(used, message_id, waits=True) if not rows[0][2] else NumberUse(used)


def note(batch: Batch, message_id: int, uses: Iterable[NumberUse]) -> None:
    """Record that a message uses its numbers."""
    for one in uses:
        used = one.used
        if one.row and not one.waits:
            batch.execute(
                "UPDATE used_number SET first_day = min(first_day, ?3), last_day = max(last_day, ?3), noted_us = ?4"
                " WHERE number = ?1 AND message_id = ?2 AND NOT ?3 BETWEEN first_day AND last_day",
                (used.key, one.row, used.day, batch.now_us),
            )
            continue
        batch.execute(
            "INSERT OR REPLACE INTO used_number (number, message_id, first_day, last_day, use, waits, noted_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (used.key, message_id, used.day, used.day, one.use, one.waits, batch.now_us),
        )


def released(batch: Batch, message_id: int) -> None:
    """A person has released a message: its numbers were given to another specimen."""
    batch.execute(
        "UPDATE used_number SET waits = 0, noted_us = ? WHERE message_id = ? AND waits = 1", (batch.now_us, message_id)
    )


def forget(batch: Batch, message_id: int) -> None:
    """Forget the new uses of a message that was rejected or dismissed."""
    batch.execute("DELETE FROM used_number WHERE message_id = ? AND waits = 1", (message_id,))


def set_apart(routes: Sequence[Routed], uses: Iterable[NumberUse]) -> tuple[list[Routed], dict[int, Ids]]:
    """The documents with ids of their own for reused numbers; and those ids, by the documents' places in the verdict,
    from 1.
    """
    given = {one.used.key: one.use for one in uses if one.use}
    if not given:
        return list(routes), {}
    made, ids = [], {}
    for place, routed in enumerate(routes, start=1):
        document, new = _apart(routed.document, given)
        made.append(routed if document is routed.document else replace(routed, document=document))
        if new:
            ids[place] = new
    return made, ids


def _apart(document: Document, given: dict[bytes, int]) -> tuple[Document, Ids]:
    reports = {identity: given[one.key] for one in document.used if one.key in given for identity in one.reports}
    if not any(one.key in given for one in document.reports):
        return document, {}
    keyed = (one._replace(key=_key(one.key, given[one.key])) if one.key in given else one for one in document.reports)
    made, ids = apart(document, reports)
    return replace(made, reports=tuple(keyed)), ids


def _key(key: bytes, use: int) -> bytes:
    """The key of reports under a reused number."""
    return report_key(blake2b(use.to_bytes(8, "big"), key=key, digest_size=16).digest(), "")


def why(
    routes: Sequence[Routed], uses: Sequence[NumberUse], held: Sequence[HoldReason | None]
) -> list[HoldReason | None]:
    """Why each document is held, with earlier reasons behind it."""
    asked = {one.used.key for one in uses if one.waits}
    found = []
    for place, routed in enumerate(routes):
        before = held[place] if place < len(held) else None
        if routed.destinations and any(one.key in asked for one in routed.document.used):
            text = "the order or specimen number was used before, and another time of measurement is far from it"
            more = f"; {before.text}" if before is not None and before.text else ""
            before = HoldReason(reason=ReasonCode.NUMBER_AGAIN, text=text + more)
        found.append(before)
    return found
