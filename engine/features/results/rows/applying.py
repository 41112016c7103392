"""What the judge of facts has decided, applied to documents whose results have no ids: HL7 v2, CSV and JSON; and to
copies, which are the message as it came.

A mapping says what each result of its message became (`engine.model.message.Document.places`), so a decision changes
that part, and nothing is read again. A mapping that writes results where no rule says of which they are (an order's
row, with a column for each test: ``OBX[2]-5``) is decided as a whole: it goes out, or is held.

    echo, again           is left out; a document of nothing else is not sent
    another status        OBX-11 with OBR-25, or the column of the status (`results:`); without one it is held
    held, of any result   the document is held, as it will be once a person releases it
    several fit           receivers without ids go by number and test: what they may take for another one is held
    gone from a culture   held, too: a list cannot take back what it does not have
    a copy                is never changed: where one of its results is held, it is, unless its route lets copies pass;
                          one that cannot be compared passes
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from operator import attrgetter

from engine.features.results.rows import bundles, moved_orders
from engine.features.results.rows.judged import Judged
from engine.features.results.rows.sent import Sent
from engine.model.errors import IntegrityError, NotComparedError
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.journal.records import HoldReason, Routed
from engine.model.texts.reasons import ReasonCode
from engine.model.values import value
from engine.store.core.connecting import body_of
from engine.store.core.writing.batch import Batch
from engine.succession.hl7_statements import MEDIA_TYPE
from engine.succession.judge.words import CLOCK, Decision, Ref, Said
from engine.succession.kinds import FHIR, RESULT, open_of, opened
from engine.succession.statements import Resource
from engine.succession.steps import CANCELLED, CHANGES, UNFINISHED, WITHDRAWN, is_said

logger = logging.getLogger("labrelay.journal")

Problem = tuple[ReasonCode, str]
_NAMED = 5  # results that the reason of a hold lists
_AGAIN = frozenset({"echo", "again"})
_NO_RESULT_YET = UNFINISHED | {CANCELLED}
_GOES_OUT = frozenset({"new", "follows", "amends", "withdraws"})
_REASONS = {ReasonCode.ORDER_MOVED.value: ReasonCode.CORRECTS_UNKNOWN}  # what is moved, only FHIR can withdraw
_TIMED = Decision(0, "held", reason=CLOCK, words="a copy has a time that is after its receipt, or half a year before")
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


def is_decided(routed: Routed) -> bool:
    """Whether the judge of facts decides about a document."""
    document = routed.document
    if routed.is_copy:
        return bool(routed.destinations) and not routed.passes
    if document.media_type in (MEDIA_TYPE, FHIR):
        return bool(routed.destinations and (document.reports or document.places))
    return bool(routed.destinations) and routed.form is not None


def applied(
    batch: Batch,
    message_id: int,
    routes: Sequence[Routed],
    judged: Judged,
    older: Sequence[int],
    *,
    again: bool = False,
    status_only: bool = False,
) -> Compared:
    """The documents of a message, once those that the judge decides about are as they go out.

    Args:
        older: messages of its orders.
        again: it is processed anew, and has delivered documents before.
        status_only: it may make a result final without its value: that is never sent, not even by a person.
    """
    mine = {place: one for place, one in enumerate(routes, start=1) if is_decided(one)}
    if judged.judgement is None and status_only:
        return Compared((), (), {}, no_value=f"a status change without its value, and {judged.why}")
    decisions = judged.judgement.decisions if judged.judgement is not None else ()
    dead = [one for one in decisions if one.kind == "dead"]
    if dead and not all(one.is_copy for one in mine.values()):
        text = f"a status change without its value, and {dead[0].words}{_called(judged, dead[0].place)}"
        return Compared((), (), {}, no_value=text)
    made, facts = list(routes), dict[int, DocumentFacts]()
    held: list[HoldReason | None] = [None] * len(routes)
    for place, routed in mine.items():
        try:
            before = delivered(batch, message_id, routed) if again and not routed.is_copy else {}
            made[place - 1], held[place - 1], decided = _applied(
                batch, routed, judged.to(routed.destinations), before, older
            )
        except NotComparedError as error:
            logger.warning(
                "a document is held, since it cannot be compared with those before it",
                extra={"journal_id": message_id, "earlier": error.message_id},
            )
            held[place - 1], decided = _not_judged(str(error))
        except (IntegrityError, ValueError):
            held[place - 1], decided = _not_judged("a document of its own cannot be read")
        if decided is not NOTHING and decided:
            facts[place] = decided
    wanted = [one for one in made if one.destinations]
    back = () if any(held) else taken_back(batch, mine.values(), judged)
    return Compared(made, held, facts, echo=bool(wanted) and all(one.echo for one in wanted), taken_back=back)


def _applied(
    batch: Batch, routed: Routed, judged: Judged, before: Mapping[str, Resource], older: Sequence[int]
) -> tuple[Routed, HoldReason | None, DocumentFacts]:
    """The document as it goes out (an echo is marked as one), why it is held, and what was decided.

    Args:
        before: what an earlier mapping of the message has delivered (`delivered`).

    Raises:
        NotComparedError: a document before it cannot be read.
        ValueError: it is not what its type says.
    """
    judgement, document = judged.judgement, routed.document
    if routed.is_copy:
        of_copy = judgement.decisions if judgement is not None else ()
        held = [_TIMED._replace(place=one.place) if one.finding == CLOCK else one for one in of_copy]
        return routed, _all([*_problems([one for one in held if one.kind == "held"], judged)]), NOTHING
    if judgement is None:
        return routed, *_not_judged(judged.why)
    there = {place for place, _ in document.places}
    decisions = [one for one in judgement.decisions if one.place in there or not there]
    is_bundle = document.media_type == FHIR
    unfinished = {one.place: one.status for one in decisions if one.kind in _GOES_OUT and one.status in _NO_RESULT_YET}
    are_said = before or judgement.gone or unfinished or _are_said(decisions)
    earlier = {*older, *judged.messages()} if is_bundle else set[int]()
    if not (are_said or earlier):
        return routed, None, NOTHING
    if is_bundle:
        if (found := open_of(document, None, batch.zone)) is None:
            return routed, None, NOTHING
        if there or not any(one.kind == "Observation" for one in found.resources):
            decisions = [one for one in decisions if there]
            sent = Sent(batch, routed, earlier)
            routed, more, facts = bundles.applied(batch, routed, found, judged, sent, before)
            problems = [*(() if routed.echo else _problems(decisions, judged, in_bundle=True)), *more]
            return routed, _all(problems), facts
    decided = {one.place for one in decisions}
    again = frozenset(one.place for one in decisions if one.kind in _AGAIN)
    if again and again >= there | decided:
        return replace(routed, echo=True), None, DocumentFacts(not_sent=True)
    statuses = {one.place: status for one in decisions if (status := _status(one, judgement.said))}
    problems = [*_problems(decisions, judged, in_bundle=is_bundle)]
    if judgement.gone:
        problems.append((ReasonCode.RESULTS_GONE, "isolates are gone that it cannot take back"))
    changes = {one.place: one.status for one in decisions if one.status in CHANGES and one.kind in (*_GOES_OUT, "held")}
    told = {one.place for one in decisions if one.meant is not None and one.kind != "held" and one.place in changes}
    if not (again or statuses or changes or unfinished or before):
        return routed, _all(problems), NOTHING
    if (found := open_of(document, routed.form, batch.zone)) is None:
        raise ValueError("no document of results")
    parts = {one.name: one for one in found.resources}
    changing = told | {place for place, status in statuses.items() if status in CHANGES}
    mute = [place for place in sorted(changing) if (part := parts.get(f"{RESULT}{place}")) is None or part.mute]
    problems += [
        (ReasonCode.CHANGE_UNSAID, f"no status can say what changes{_called(judged, place)}") for place in mute
    ]
    statuses |= {  # its mapping says another status than its sender
        place: status
        for place, status in (unfinished | changes).items()
        if (part := parts.get(f"{RESULT}{place}")) is not None and not part.mute and not is_said(status, part.said)
    }
    named = {f"{RESULT}{place}": status for place, status in statuses.items() if place not in mute}
    facts = DocumentFacts(
        echoes=frozenset(f"{RESULT}{place}" for place in again if there),
        statuses=bundles.repaired(found.resources, before, by="subject") | named,
    )
    if facts:
        document = replace(document, body=found.write(facts), packed=False)
    return replace(routed, document=document), _all(problems), facts


def _are_said(decisions: Sequence[Decision]) -> bool:
    """Whether one of them is another than that a result is new, and goes out as it is."""
    return any(True for one in decisions if one.kind != "new" or one.reason or one.beside)


def _not_judged(why: str) -> tuple[HoldReason, DocumentFacts]:
    return HoldReason(reason=ReasonCode.NOT_COMPARED, text=why), DocumentFacts(not_compared=why)


def _status(decision: Decision, said: Mapping[int, Said]) -> str:
    """The status that a result gets in place of its sender's; of a held one, once a person releases it."""
    new = said.get(decision.place)
    if new is None or decision.kind not in (*_GOES_OUT, "held") or decision.status == new.version.said:
        return ""
    return decision.status


def _problems(decisions: Sequence[Decision], judged: Judged, *, in_bundle: bool = False) -> Iterator[Problem]:
    """Args: in_bundle: of a document in FHIR, whose results have ids."""
    statuses = judged.statuses() if any(one.beside for one in decisions) else {}
    unfinished = {ref for ref, status in statuses.items() if status in UNFINISHED}
    for one in decisions:
        if one.kind == "held" and one.reason == ReasonCode.ORDER_MOVED.value and in_bundle:
            yield ReasonCode.ORDER_MOVED, moved_orders.why(one)
        elif one.kind == "held":
            called = _called(judged, one.place, one.may_mean, lacking=one.reason == ReasonCode.RESULTS_GONE.value)
            yield _REASONS.get(one.reason) or ReasonCode[one.reason], f"{one.words}{called}"
        elif in_bundle:
            continue
        elif one.kind == "finishes":
            yield ReasonCode.NO_VALUE, f"a status change without its value{_called(judged, one.place)}"
        elif one.kind in _GOES_OUT and _is_ambiguous(one, unfinished):
            called = _called(judged, one.place)
            yield ReasonCode.SAMPLE_UNKNOWN, f"a receiver may take it for another one of its order{called}"


def _is_ambiguous(decision: Decision, unfinished: Set[Ref]) -> bool:
    """Whether receivers that go by number and test would take others of the order for it."""
    return bool(decision.beside) and (decision.kind != "new" or not unfinished.isdisjoint(decision.beside))


def _called(judged: Judged, place: int, may_mean: Sequence[Ref] = (), *, lacking: bool = False) -> str:
    """Args: lacking: it is about what it may mean, and not about itself."""
    if lacking and may_mean:
        tests = {one.last.test for one in judged.memory.standing if one.ref in may_mean}
        return f" ({', '.join(sorted(tests))})"
    said = judged.judgement.said.get(place) if judged.judgement is not None else None
    messages = sorted({message for message, _ in may_mean})[:_NAMED]
    told = [said.test] if said is not None and said.test else []
    if messages:
        told.append(f"message{'s' * (len(messages) > 1)} {', '.join(map(str, messages))}")
    return f" ({': '.join(told)})" if told else ""


def _all(problems: Sequence[Problem]) -> HoldReason | None:
    """Why a document is held: the first reason, and the texts of all."""
    if not problems:
        return None
    words = list(dict.fromkeys(text for _, text in problems))
    more = f"; and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return HoldReason(reason=problems[0][0], text="; ".join(words[:_NAMED]) + more)


# -- a message that is processed anew ----------------------------------------------------------------------------------


def delivered(batch: Batch, message_id: int, routed: Routed) -> dict[str, Resource]:
    """The results that an earlier mapping of a message has delivered to the same receivers, by what they are of.

    Raises:
        IntegrityError, ValueError: one of its documents is damaged.
    """
    marks = ",".join("?" * len(routed.destinations))
    rows = batch.execute(
        "SELECT DISTINCT d.document_id FROM delivery d JOIN lane l ON l.id = d.lane"  # noqa: S608 - question marks
        " JOIN document o ON o.id = d.document_id WHERE d.message_id = ? AND d.state = 'delivered'"
        f" AND o.media_type = ? AND l.destination IN ({marks}) ORDER BY d.document_id",
        (message_id, routed.document.media_type, *routed.destinations),
    ).fetchall()
    found: dict[str, Resource] = {}
    for (document_id,) in rows:
        if was := opened(body_of(batch, document_id), routed.document.media_type, routed.form, batch.zone):
            of = attrgetter("name" if was.by_id or was.whole else "subject")
            found |= {of(one): one for one in was.resources}
    return found


# -- held results that are withdrawn -----------------------------------------------------------------------------------


def taken_back(batch: Batch, routes: Iterable[Routed], judged: Judged) -> list[int]:
    """The held deliveries whose last result a message withdraws, at the receivers of its documents: of the same time,
    unless the withdrawal names none. Not those that wait for the answer whose they are."""
    judgement = judged.judgement
    to = {destination for routed in routes for destination in routed.destinations}
    if judgement is None or not to:
        return []
    times = {
        one.meant: judgement.said[one.place].version.time
        for one in judgement.decisions
        if one.meant is not None and one.kind == "withdraws"
    }
    held: dict[int, list[bool]] = {}
    for one in judged.memory.standing if times else ():
        last = one.last
        for word in one.words:
            if word.version.waits:
                is_gone = one.ref in times and times[one.ref] in ("", word.version.time)
                is_gone = is_gone or (last.version.said == WITHDRAWN and last.message > word.message)
                held.setdefault(word.message, []).append(is_gone)
    found: list[int] = []
    for message in (message for message, gone in held.items() if all(gone)):
        rows = batch.execute(
            "SELECT d.id, d.cause, l.destination FROM delivery d JOIN lane l ON l.id = d.lane"
            " WHERE d.message_id = ? AND d.state = 'held'",
            (message,),
        ).fetchall()
        found += [one for one, cause, at in rows if at in to and cause not in _TO_BE_ANSWERED]
    return found
