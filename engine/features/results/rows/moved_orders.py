"""A correction that moves an order to another patient: the first patient's result must not stay valid beside it.

The tube was labelled with the wrong name, and the sender corrects the result under the right one. The number of the
order is the same, the patient is not. Two patients may also share one number, so a person is asked (`ORDER_MOVED`):

    withdraw   the order was the first patient's by mistake: that result is withdrawn, and the new one sent, at once
    both       two patients have the number: the new one is sent, and the first stays
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.features.results.rows.accepted import AcceptedHistory, KnownOrder, names_in
from engine.model.errors import NotComparedError
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.journal.records import Decision, HoldReason, Routed
from engine.model.message import Report
from engine.model.packing import unpack
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.succession.kinds import FHIR
from engine.succession.statements import Resource, as_sent, loads, resources_in
from engine.succession.steps import CHANGES, WITHDRAWN

ANSWERS = ("withdraw", "both")
_WHY = "it corrects an order that message {} reported of another patient"


@dataclass(frozen=True, slots=True)
class MovedOrders:
    """The results that a document takes from another patient.

    Attributes:
        message_id: the newest message that contained them.
        results: names of the Observations.
        reports: that patient's reports, under which the journal knows the order.
        past: all documents accepted for the order, of any patient.
    """

    message_id: int
    results: tuple[str, ...]
    reports: tuple[Report, ...]
    past: AcceptedHistory


def find_moved(batch: Batch, message_id: int, channel: str, routes: Iterable[Routed]) -> list[MovedOrders | None]:
    """The results that each document takes from another patient."""
    return [_find_moved(batch, message_id, channel, routed) for routed in routes]


def _find_moved(batch: Batch, message_id: int, channel: str, routed: Routed) -> MovedOrders | None:
    document = routed.document
    if document.media_type != FHIR or not routed.destinations:
        return None
    try:
        body = unpack(document.body) if document.packed else document.body
        if not any(f'"status":"{status}"'.encode() in body for status in CHANGES):
            return None
        mine = resources_in(loads(body))
    except ValueError:
        return None
    messages: dict[int, KnownOrder] = {}
    theirs: dict[int, list[Report]] = {}
    for report in document.reports:
        rows = batch.execute(
            "SELECT r.message_id, r.patient, r.person FROM report r JOIN journal j ON j.id = r.message_id"
            " WHERE r.key = ? AND r.message_id < ? AND r.patient <> x'' AND r.until_us >= ? AND (? OR j.channel = ?)",
            (report.key, message_id, batch.steady_us, routed.of_site, channel),
        ).fetchall()
        for other, patient, person in rows:
            messages[other] = KnownOrder(other, True)
            if patient != report.patient and report.patient:
                theirs.setdefault(other, []).append(Report(report.key, patient, person))
    if not theirs:
        return None
    try:
        past = AcceptedHistory(batch, [messages[one] for one in sorted(messages)], routed, names_in(mine))
        results = _taken(mine, past)
    except NotComparedError:  # then two patients share one number, and a person decides
        return None
    if not results:
        return None
    reports = {(one.key, one.patient): one for found in theirs.values() for one in found}
    return MovedOrders(max(theirs), tuple(results), tuple(reports.values()), past)


def _taken(mine: Sequence[Resource], past: AcceptedHistory) -> dict[str, None]:
    """Names of the valid results of another patient that corrections are about."""
    results: dict[str, None] = {}
    for one in mine:
        if one.kind != "Observation" or one.said not in CHANGES or not one.subject:
            continue
        live = [old.name for accepted, old in past.of_test(one.codes)
                if not accepted.waits and old.subject not in ("", one.subject)]  # fmt: skip
        known = past.last_of(one.name)
        if known is None or known.subject != one.subject:
            results |= dict.fromkeys(name for name in live if _stands(past, name))
    return results


def _stands(past: AcceptedHistory, name: str) -> bool:
    last = past.last_of(name)
    return last is not None and last.status != WITHDRAWN


def why(moved: Sequence[MovedOrders | None]) -> list[HoldReason | None]:
    """Why each document is held."""
    return [None if one is None else _why(one) for one in moved]


def _why(moved: MovedOrders) -> HoldReason:
    return HoldReason(reason=ReasonCode.ORDER_MOVED, text=_WHY.format(moved.message_id))


def taken_from(why: str) -> int:
    """The message of the other patient, in the reason of a held delivery; 0: it names none."""
    before, after = _WHY.split("{}")
    found = re.search(f"{before}([0-9]+){after}", why)
    return int(found[1]) if found else 0


def withdraw(
    routes: Sequence[Routed], moved: Sequence[MovedOrders | None]
) -> tuple[list[Routed], Mapping[int, DocumentFacts]]:
    """Withdraw the other patient's results in the documents; return these and the decisions, by place from 1."""
    made: list[Routed] = []
    facts: dict[int, DocumentFacts] = {}
    for place, (routed, one) in enumerate(zip(routes, moved, strict=True), start=1):
        if one is None or routed.echo:
            made.append(routed)
            continue
        document = routed.document
        bundle = loads(unpack(document.body) if document.packed else document.body)
        written = {resource.name for resource in resources_in(bundle)}
        gone = [name for name in one.results if name not in written]  # a unique number: the new result has the id
        facts[place] = DocumentFacts(
            # The sender means a withdrawal: later messages are compared with one.
            withdrawn=one.past.written_anew(dict.fromkeys(gone, WITHDRAWN), by_sender=True),
            reports=one.past.written_anew(
                {report: status for report, status in _reports(one.past, gone).items() if report not in written}
            ),
        )
        body = as_sent(bundle, facts[place]) if facts[place] else document.body
        reports = (*document.reports, *one.reports)
        made.append(
            replace(
                routed,
                document=replace(
                    document, body=body, packed=document.packed and body is document.body, reports=reports, entries=0
                ),
            )
        )
    return made, facts


def _reports(past: AcceptedHistory, gone: Sequence[str]) -> dict[str, str]:
    """The reports that list withdrawn results -> their new status."""
    found: dict[str, str] = {}
    ids = {name.partition("/")[2] for name in gone}
    for name in gone:
        for report in past.listing(name):
            if report.name in found:
                continue
            left = any(one not in ids and _stands(past, f"Observation/{one}") for one in report.lists)
            found[report.name] = "corrected" if left else WITHDRAWN
    return found


def joined(first: DocumentFacts | None, second: DocumentFacts) -> DocumentFacts:
    """Join two sets of decisions about one document."""
    one = first or NOTHING
    return replace(one, withdrawn=(*one.withdrawn, *second.withdrawn), reports=(*one.reports, *second.reports))


def is_answered(moved: Iterable[MovedOrders | None], decision: Decision) -> bool:
    """Whether a person has decided about the patients of these results, and not about others."""
    return bool(decision.moved) and {one.message_id for one in moved if one is not None} <= decision.moved_from
