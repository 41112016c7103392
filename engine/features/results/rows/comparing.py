"""Compare a message's documents in FHIR with earlier ones for the same orders, and decide how each goes out. About
HL7 v2 and lists facts decide (`rows.applying`).

Called in the transaction that records a message's outcome, so it sees all earlier decisions, and no other message of
the channel comes between. The orders of the usual message are new, and nothing happens. Otherwise the documents of
those orders are opened and compared, resource by resource:

    an echo            is left out; a message that is nothing else is filtered (`ReasonCode.ECHO`)
    a step back        holds the document until a person decides (`engine.succession.steps`)
    a changed final    goes out as ``amended``, the sender's own status in a tag
    a correction       finds the one result that it corrects, also where day, time or specimen in its id differ
    a whole report     withdraws results that it lacks now (`engine.features.results.rows.whole_reports`)
    no comparison      holds it, too: an earlier document cannot be read, or there are too many

The decisions are returned as `engine.model.journal.document_facts.DocumentFacts`, for the note beside the outcome.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from engine.features.results.rows import accepted, new_statuses, whole_reports
from engine.features.results.rows.accepted import (
    AcceptedDocument,
    AcceptedHistory,
    KnownOrder,
    OlderMessages,
    has_accepted,
    names_in,
    version_of,
)
from engine.features.results.rows.corrections import Problem, find_beside, find_meant
from engine.model.errors import NotComparedError
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.journal.records import HoldReason, Routed
from engine.model.message import Document
from engine.model.packing import unpack
from engine.model.process.clock import from_us
from engine.model.texts.reasons import ReasonCode
from engine.model.values import value
from engine.store.core.writing.batch import Batch
from engine.succession.kinds import FHIR, OpenedDocument, opened
from engine.succession.statements import Resource, entries_in, loads, rename, under
from engine.succession.steps import (
    CANCELLED,
    CHANGES,
    RANK,
    UNFINISHED,
    WITHDRAWN,
    Step,
    follow,
    follow_in_unit,
    without_again,
)

logger = logging.getLogger("labrelay.journal")

_NAMED = 5  # results that the reason of a hold lists
_TO_BE_ANSWERED = frozenset({ReasonCode.IDENTITY_CONFLICT.value, ReasonCode.ORDER_MOVED.value})


@value()
class Compared:
    """The routes of a message after comparison.

    Attributes:
        routes: with the documents as they go out; an echo has ``echo`` set.
        held: why each is held, or None.
        facts: place of a document in the outcome, from 1 -> the decisions about it.
        echo: all documents repeat accepted ones.
        no_value: why the message is dead: it makes a result final whose value is unknown; else empty.
        taken_back: held deliveries of older messages whose every result is withdrawn now.
    """

    routes: Sequence[Routed]
    held: Sequence[HoldReason | None]
    facts: Mapping[int, DocumentFacts]
    echo: bool = False
    no_value: str = ""
    taken_back: Sequence[int] = ()


class _NoValueError(Exception):
    """A document makes a result final whose value is unknown."""


def compare(
    batch: Batch,
    message_id: int,
    received_us: int,
    routes: Sequence[Routed],
    before: OlderMessages,
    *,
    again: bool = False,
    status_only: bool = False,
) -> Compared:
    """Compare the documents of a message with those accepted before for the same orders.

    Args:
        before: `known_orders` of the message.
        again: it is processed anew, and compared also with its own earlier deliveries.
        status_only: it may make a result final without its value.
    """
    compared_routes: list[Routed] = []
    held: list[HoldReason | None] = []
    facts: dict[int, DocumentFacts] = {}
    taken_back: list[int] = []
    for place, routed in enumerate(routes, start=1):
        why: HoldReason | None = None
        looked = before.messages or again or status_only or _corrects_blindly(routed)
        if looked and routed.document.reports and routed.destinations and routed.document.media_type == FHIR:
            document: Document | None = routed.document
            own = [KnownOrder(message_id, True)] if again else []
            try:
                document, why, decided = _compare(batch, routed, before, own, from_us(received_us), taken_back)
            except _NoValueError as error:
                return Compared((), (), {}, no_value=str(error))
            except NotComparedError as error:
                if status_only:  # a result without a value is never sent, not even by a person
                    return Compared((), (), {}, no_value=f"a status change without its value, and {error}")
                why = HoldReason(reason=ReasonCode.NOT_COMPARED, text=str(error))
                decided = DocumentFacts(not_compared=str(error))
                logger.warning(
                    "a document is held, since it cannot be compared with those before it",
                    extra={"journal_id": message_id, "earlier": error.message_id},
                )
            if decided:
                facts[place] = decided
            if document is None:
                routed = replace(routed, echo=True)
            elif document is not routed.document:
                routed = replace(routed, document=document)
        compared_routes.append(routed)
        held.append(why)
    wanted = [one for one in compared_routes if one.destinations]
    echo = bool(wanted) and all(one.echo for one in wanted)
    return Compared(compared_routes, held, facts, echo=echo, taken_back=taken_back)


def may_correct(routes: Iterable[Routed]) -> bool:
    """Whether a document corrects or withdraws results without naming a patient: one must be known."""
    return any(_corrects_blindly(one) for one in routes)


def _corrects_blindly(routed: Routed) -> bool:
    document = routed.document
    if document.media_type != FHIR or all(report.patient for report in document.reports):
        return False
    body = unpack(document.body) if document.packed else document.body
    return any(f'"status":"{status}"'.encode() in body for status in CHANGES)


def _compare(
    batch: Batch,
    routed: Routed,
    before: OlderMessages,
    own: Sequence[KnownOrder],
    received: datetime,
    taken_back: list[int],
) -> tuple[Document | None, HoldReason | None, DocumentFacts]:
    """The document as it goes out (None: an echo), why it is held, and the decisions about it.

    Args:
        own: the message itself, where it had documents before.
        taken_back: gets the held deliveries that it takes back.

    Raises:
        NotComparedError: the comparison is impossible.
        _NoValueError: it makes a result final whose value is unknown.
    """
    document = routed.document
    try:
        body = unpack(document.body) if document.packed else document.body
        if not own and has_accepted(batch, before.messages, routed, body):
            return None, None, DocumentFacts(not_sent=True)
        found = opened(body, FHIR, None)
    except ValueError as error:
        raise NotComparedError("its own document cannot be read") from error
    if found is None:
        return document, None, NOTHING
    if not before.all:
        raise NotComparedError(f"there are more than {accepted.MOST_MESSAGES} messages of the same order")
    return _compare_opened(batch, routed, body, found, before, own, received, taken_back)


def _compare_opened(
    batch: Batch,
    routed: Routed,
    body: bytes,
    found: OpenedDocument,
    before: OlderMessages,
    own: Sequence[KnownOrder],
    received: datetime,
    taken_back: list[int],
) -> tuple[Document | None, HoldReason | None, DocumentFacts]:
    """As `_compare`; ``body``: the own one of the document, unpacked."""
    document, mine = routed.document, found.resources
    past = AcceptedHistory(batch, before.messages, routed, names_in(mine))
    delivered = AcceptedHistory(batch, own, routed, None, ("delivered",))
    wholes = whole_reports.find_cultures(mine, past) if found.by_id else whole_reports.CultureReports()
    renamed = opened(rename(loads(body), wholes.ids), FHIR, None) if wholes.ids else None
    if renamed is not None:
        found, mine = renamed, renamed.resources
        past.take(names_in(mine))
    corrects, problems = find_meant(mine, past, wholes.results | wholes.echoes) if found.by_id else ({}, [])
    past.take(f"Observation/{identity}" for identity in corrects.values())
    steps, finished = _steps(mine, wholes, corrects, past, received)
    if not (problems or wholes.ids or finished) and _is_echo(found, steps, corrects, past, joins=routed.joins):
        return None, None, DocumentFacts(not_sent=True)
    for one in mine:
        if one.name in steps and steps[one.name].kind == "again":
            steps[one.name] = without_again(version_of(one, False), past.versions(under(one.name, corrects)), received)
    echoes = frozenset(name for name, step in steps.items() if step.kind == "echo" and name.startswith("Obs"))
    meant = [_as_meant(one, corrects) for one in mine] if corrects else mine
    whole = {one.name for one in meant if one.kind == "DiagnosticReport" and not routed.joins and found.by_id}
    whole = (whole | wholes.reports) - wholes.echoes
    gone = whole_reports.missing(meant, past, whole, wholes.gone, wholes.closed)
    if found.by_id:
        said_again = {new.name for one, new in zip(mine, meant, strict=True) if one.name in echoes}
        several = whole_reports.find_lines(meant, said_again, past, wholes.reports)
        gone += whole_reports.lines_gone(several)
        problems += whole_reports.lines_alone(several, corrects.values())
        problems += find_beside(mine, past, corrects, echoes | wholes.results)
    if not problems:  # else it is not known which results it is about
        taken_back += _taken_back(batch, routed, meant, past)
    withdrawn = dict.fromkeys([*wholes.gone, *(one.name for one in gone)], WITHDRAWN)
    past.take(withdrawn)
    rewritten = whole_reports.shortened(meant, past, whole) | new_statuses.rewritten(mine, echoes, past)
    statuses = new_statuses.find(mine, steps, corrects, delivered, rewritten)
    held = [*problems, *_why(mine, steps)]
    held += [(ReasonCode.RESULTS_GONE, f"the report has it no longer ({one.called})") for one in gone]
    if found.whole:
        held += _missing(mine, past)
    else:
        held += _reports_back(mine, steps, past, corrects, joins=routed.joins)
    facts = DocumentFacts(
        echoes=frozenset() if found.whole else echoes | wholes.echoes,
        statuses=statuses,
        corrects=corrects,
        version=_version(mine, past, delivered),
    )
    facts = replace(
        facts,
        reports=new_statuses.find_of_others(mine, facts, past, withdrawn, wholes.closed),
        finished=past.written_anew(finished, by_sender=True),
        withdrawn=past.written_anew(withdrawn),
    )
    if not (facts or wholes.ids):
        return document, _all(held), NOTHING
    facts = _under_corrected_names(facts)
    body = found.write(facts)
    entries = entries_in(body) if document.entries else 0
    facts = replace(facts, corrects={**wholes.ids, **facts.corrects})
    return replace(document, body=body, packed=False, entries=entries), _all(held), facts


def _steps(
    mine: Sequence[Resource],
    wholes: whole_reports.CultureReports,
    corrects: Mapping[str, str],
    past: AcceptedHistory,
    received: datetime,
) -> tuple[dict[str, Step], dict[str, str]]:
    """Name of a resource -> its step; and name of an earlier result that becomes final without its value -> its status.

    Raises:
        _NoValueError: no value is known.
    """
    steps: dict[str, Step] = {}
    finished: dict[str, str] = {}
    has_results = any(one.kind == "Observation" for one in mine)
    for one in mine:
        if one.name in wholes.echoes:
            steps[one.name] = Step("echo", one.said)
        elif one.name in wholes.results:
            steps[one.name] = follow_in_unit(version_of(one, False), past.versions(one.name), received)
        elif one.status_only:
            steps[one.name] = step = _finished(one, under(one.name, corrects), past)
            if step.kind == "echo" and step.status != one.said:
                finished[under(one.name, corrects)] = one.said
        elif one.kind in ("Observation", "Composition") or (one.kind == "DiagnosticReport" and not has_results):
            steps[one.name] = follow(version_of(one, False), past.versions(under(one.name, corrects)), received)
    return steps, finished


def _taken_back(batch: Batch, routed: Routed, mine: Sequence[Resource], past: AcceptedHistory) -> list[int]:
    """The held deliveries whose last result a document withdraws, at its own destinations: each of the same person, and
    of the same time unless the withdrawal names none. Not those that wait for the answer whose they are."""
    gone = {one.name: one for one in mine if one.kind == "Observation" and one.said == WITHDRAWN}
    found: list[int] = []
    for document in past.documents if gone else ():
        results = [one for one in document.resources if one.kind == "Observation"]
        if not document.waits or gone.keys().isdisjoint(one.name for one in results):
            continue
        if all(_withdraws(gone.get(one.name) or _gone_since(document, one.name, past), one) for one in results):
            rows = batch.execute(
                "SELECT d.id, d.cause, l.destination FROM delivery d JOIN lane l ON l.id = d.lane"
                " WHERE d.document_id = ? AND d.state = 'held'",
                (document.document_id,),
            ).fetchall()
            found += [one for one, cause, to in rows if to in routed.destinations and cause not in _TO_BE_ANSWERED]
    return found


def _gone_since(document: AcceptedDocument, name: str, past: AcceptedHistory) -> Resource | None:
    """The withdrawal of a result that went out after a document was held; None: there is none."""
    last = past.last(name)
    if last is None or last[0].document_id < document.document_id or last[1].said != WITHDRAWN:
        return None
    return last[1]


def _withdraws(new: Resource | None, old: Resource) -> bool:
    return new is not None and new.subject == old.subject and new.time in ("", old.time)


def _finished(new: Resource, name: str, past: AcceptedHistory) -> Step:
    """The step of a result that its sender makes final without its value: an unfinished earlier one becomes final.

    Raises:
        _NoValueError: no value is known.
    """
    last = past.last_of(name)
    if last is None or not last.has_value or last.status == WITHDRAWN:
        raise _NoValueError(
            f"a status change without its value, and no result is known that it is about ({new.called})"
        )
    if past.versions(name)[-1].waits:
        raise _NoValueError(
            f"a status change without its value, and the result that it is about is held ({new.called})"
        )
    return Step("echo", last.said if last.said in UNFINISHED else new.said)


def _as_meant(one: Resource, corrects: Mapping[str, str]) -> Resource:
    """A resource under the ids of the resources that it corrects."""
    lists = tuple(corrects.get(result, result) for result in one.lists)
    return one._replace(name=under(one.name, corrects), lists=lists)


def _missing(mine: Sequence[Resource], past: AcceptedHistory) -> list[Problem]:
    """The problems of a document that lacks results of the one it replaces: the receiver would lose them."""
    issue = next(one.name for one in mine if one.kind == "Composition")
    issues = [
        one.resources for one in past.documents if not one.waits and any(it.name == issue for it in one.resources)
    ]
    if not issues:
        return []
    gone = Counter(one.called for one in issues[-1])
    gone.subtract(one.called for one in mine)
    named = ", ".join(sorted(test for test, count in gone.items() if count > 0))
    return [(ReasonCode.RESULTS_GONE, f"the accepted document has more ({named})")] if named else []


def _version(mine: Sequence[Resource], past: AcceptedHistory, own: AcceptedHistory) -> int:
    """The number of a document's issue, where the sender's is not above those that were accepted; else 0."""
    issue = next((one for one in mine if one.kind == "Composition"), None)
    if issue is None or not issue.version:
        return 0
    before = [
        one.version for document in (*past.documents, *own.documents) for one in document.resources
        if one.name == issue.name
    ]  # fmt: skip
    newest = max(before, default=0)
    return newest + 1 if issue.version <= newest else 0


def _why(mine: Sequence[Resource], steps: Mapping[str, Step]) -> list[Problem]:
    """The problems of results that would set an accepted one back."""
    found = [(one, steps[one.name]) for one in mine if one.name in steps]
    return [(step.reason, f"{step.words} ({one.called})") for one, step in found if step.reason is not None]


def _reports_back(
    mine: Sequence[Resource],
    steps: Mapping[str, Step],
    past: AcceptedHistory,
    corrects: Mapping[str, str],
    *,
    joins: bool,
) -> list[Problem]:
    """The problems of reports whose results are all echoes, and whose status is lower than before or cancelled.

    Where lists are joined a report of a lower status keeps its own, and only the report's own content could be set
    back.
    """
    echoes = {one.identity for one in mine if one.name in steps and steps[one.name].kind in ("echo", "again")}
    found = []
    for one in mine:
        if one.kind != "DiagnosticReport" or not echoes.issuperset(one.lists):
            continue
        name = under(one.name, corrects)
        if one.said == CANCELLED and past.has_results(name):
            found.append((ReasonCode.VALUE_GONE, "a cancelled report would take the place of one with results"))
            continue
        before = past.last_of(name)
        if before is None or one.name in steps or (joins and one.own == before.own):
            continue
        if RANK.get(one.said, 2) < RANK.get(before.said, 0):
            found.append((ReasonCode.STATUS_BACK, f"{one.said} after {before.said} (the report)"))
    return found


def _all(problems: Sequence[Problem]) -> HoldReason | None:
    """Why a document is held: the first reason, and the texts of all."""
    if not problems:
        return None
    words = list(dict.fromkeys(text for _, text in problems))
    more = f"; and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return HoldReason(reason=problems[0][0], text="; ".join(words[:_NAMED]) + more)


def _is_echo(
    found: OpenedDocument, steps: Mapping[str, Step], corrects: Mapping[str, str], past: AcceptedHistory, *, joins: bool
) -> bool:
    """Whether everything in a document was accepted before, unchanged. For a report that is sent as a whole its list
    counts, too.
    """
    mine = found.resources
    if found.whole:
        return any(steps[one.name].kind in ("echo", "again") for one in mine if one.kind == "Composition")
    if corrects or not any(one.kind in ("Observation", "DiagnosticReport") for one in mine):
        return False
    return all(
        steps[one.name].kind in ("echo", "again") if one.name in steps else past.has_said(one, listed=not joins)
        for one in mine
    )


def _under_corrected_names(facts: DocumentFacts) -> DocumentFacts:
    """Facts by the final names of the resources, under the ids of those that they correct."""
    return replace(
        facts,
        echoes=frozenset(under(name, facts.corrects) for name in facts.echoes),
        statuses={under(name, facts.corrects): status for name, status in facts.statuses.items()},
    )
