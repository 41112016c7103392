"""What the journal knows of a message's orders, and what follows for its documents.

Called in the transaction that records a message's outcome, so that it sees all that was decided before and no other
message of the channel comes between. For the usual message nothing is known of its orders, and nothing more happens.
Where something is, the documents of those orders are opened and compared, resource by resource:

    an echo            is left out; a message that is nothing else is filtered (`Reason.ECHO`)
    a step back        holds the document until a person decides (`engine.succession`)
    a changed final    goes out as ``amended``, the sender's own status in a tag
    a correction       finds the one result that it corrects, also where day, time or specimen in its id differ

What was decided is given back as `engine.facts.Facts`, for the note beside the outcome.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from engine.batch import Batch
from engine.clock import from_us
from engine.errors import IntegrityError
from engine.facts import NOTHING, Facts
from engine.hashes import neighbours
from engine.message import Document, Report
from engine.packing import unpack
from engine.reasons import Reason
from engine.records import Held, Routed
from engine.succession import CANCELLED, CHANGES, MINUTE, RANK, UNFINISHED, Step, Version, follow, without_again
from engine.told import Json, Resource, loads, report_of, resources_in, settled

FHIR = "application/fhir+json"
MOST_MESSAGES = 200  # of one order that are looked at; a counter that never moves must not stop the journal
NEAR_DAYS = 2  # whose orders of the same number are looked at for what a correction may mean
NEAR = timedelta(hours=36)
NEAR_WITHOUT_PATIENT = timedelta(hours=24)
ACCEPTED = ("waiting", "sending", "delivered", "held")
MOST_RUNS = 100  # of one test that are looked at
SEVERAL = 2
_NAMED = 5  # results, where it is said why a document is held


class Known(NamedTuple):
    """A message that has one of the orders at hand.

    Attributes:
        same_day: its order has the same day of measurement, too; else one of the days beside it.
    """

    message_id: int
    same_day: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the routes of a message.

    Attributes:
        routes: with the documents as they go out; an echo has ``echo`` set.
        held: why each is held, or None.
        facts: place of a document in the verdict, from 1 -> what was decided about it.
        echo: all documents say again what was accepted before.
    """

    routes: Sequence[Routed]
    held: Sequence[Held | None]
    facts: Mapping[int, Facts]
    echo: bool = False


def known_orders(
    batch: Batch, message_id: int, channel: str, reports: Iterable[Report], *, of_site: bool
) -> list[Known]:
    """The older messages that carry one of these orders for the same patient, the oldest first.

    Args:
        of_site: those of other channels, too.
    """
    found: dict[int, bool] = {}
    for report in reports:
        first, last = neighbours(report.key, NEAR_DAYS)
        for key, other in batch.execute(
            "SELECT r.key, r.message_id FROM report r JOIN journal j ON j.id = r.message_id WHERE r.key BETWEEN ? AND ?"
            " AND r.message_id < ? AND r.patient = ? AND r.until_us >= ? AND (? OR j.channel = ?)"
            " ORDER BY r.message_id DESC LIMIT ?",
            (first, last, message_id, report.patient, batch.steady_us, of_site, channel, MOST_MESSAGES),
        ).fetchall():
            found[other] = found.get(other, False) or key == report.key
    return [Known(one, same_day) for one, same_day in sorted(found.items())]


def settle(
    batch: Batch,
    message_id: int,
    received_us: int,
    routes: Sequence[Routed],
    known: Sequence[Known],
    *,
    again: bool = False,
) -> Settled:
    """Compare the documents of a message with those accepted before for the same orders.

    Args:
        known: `known_orders` of the message.
        again: it is processed anew, and what it had delivered before is compared, too.
    """
    settled_routes: list[Routed] = []
    held: list[Held | None] = []
    facts: dict[int, Facts] = {}
    received = from_us(received_us)
    for place, routed in enumerate(routes, start=1):
        why: Held | None = None
        if routed.document.media_type == FHIR and routed.destinations:
            past = _past(batch, known, routed.destinations)
            own = _past(batch, [Known(message_id, True)], routed.destinations, ("delivered",)) if again else _Past()
            looked = past.documents or own.documents or _corrects_blindly(routed)
            found = _settle(batch, routed, past, own, received) if looked else None
            if found is not None:
                document, why, decided = found
                if decided:
                    facts[place] = decided
                if document is None:
                    routed = replace(routed, echo=True)
                elif document is not routed.document:
                    routed = replace(routed, document=document)
        settled_routes.append(routed)
        held.append(why)
    wanted = [one for one in settled_routes if one.destinations]
    return Settled(settled_routes, held, facts, echo=bool(wanted) and all(one.echo for one in wanted))


def may_correct(routes: Iterable[Routed]) -> bool:
    """Whether a document corrects or withdraws results that no patient is named for: one must be known."""
    return any(_corrects_blindly(one) for one in routes)


def _corrects_blindly(routed: Routed) -> bool:
    document = routed.document
    if document.media_type != FHIR or all(report.patient for report in document.reports):
        return False
    try:
        body = unpack(document.body) if document.packed else document.body
    except ValueError:
        return False
    return any(f'"status":"{status}"'.encode() in body for status in CHANGES)


@dataclass(slots=True)
class _Accepted:
    """A document that was accepted for one of the destinations at hand."""

    document_id: int
    same_day: bool
    waits: bool
    resources: list[Resource]


class _Past:
    """What was accepted for the orders at hand, the oldest first. One message may have ten thousand results."""

    def __init__(self, documents: Sequence[_Accepted] = ()) -> None:
        self.documents = documents
        self.reports: dict[str, Resource] = {}  # the last version of each that does not wait for a person
        self._versions: dict[str, list[Version]] = {}
        self._by_code: dict[str, list[tuple[_Accepted, Resource]]] = {}
        for accepted in documents:
            for one in accepted.resources:
                self._versions.setdefault(one.name, []).append(_version(one, accepted.waits))
                if one.kind == "Observation":
                    for code in one.codes:
                        self._by_code.setdefault(code, []).append((accepted, one))
                elif one.kind == "DiagnosticReport" and not accepted.waits:
                    self.reports[one.name] = one

    def versions(self, name: str) -> list[Version]:
        return self._versions.get(name, [])

    def has(self, name: str) -> bool:
        return name in self._versions

    def of_test(self, codes: Iterable[str]) -> Iterator[tuple[_Accepted, Resource]]:
        """The results of a test, by any of its codes."""
        for code in codes:
            yield from self._by_code.get(code, ())


def _past(
    batch: Batch, known: Sequence[Known], destinations: tuple[str, ...], states: tuple[str, ...] = ACCEPTED
) -> _Past:
    marks, asked = ",".join("?" * len(destinations)), ",".join("?" * len(states))
    documents = []
    for message_id, same_day in known:
        rows = batch.execute(
            "SELECT d.document_id, max(d.state <> 'held') FROM delivery d JOIN lane l ON l.id = d.lane"  # noqa: S608 - question marks
            f" JOIN document o ON o.id = d.document_id WHERE d.message_id = ? AND l.destination IN ({marks})"
            f" AND d.state IN ({asked}) AND o.media_type = ? GROUP BY d.document_id ORDER BY d.document_id",
            (message_id, *destinations, *states, FHIR),
        ).fetchall()
        for document_id, sent in rows:
            resources = told(batch, document_id)
            documents.append(_Accepted(document_id, same_day, not sent, resources))
    return _Past(documents)


def told(batch: Batch, document_id: int) -> list[Resource]:
    """The resources of a stored document; none where it cannot be opened, or is no transaction."""
    known = batch.tail.told.get(document_id)
    if known is not None:
        return known
    bundle = _bundle(batch, document_id)
    try:
        found = resources_in(bundle) if bundle is not None else []
    except ValueError:
        found = []
    batch.tail.keep_told(document_id, found)
    return found


def _bundle(batch: Batch, document_id: int) -> Json | None:
    """A stored document; None where it cannot be opened, or is no Bundle."""
    sealed, channel = batch.execute(
        "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?", (document_id,)
    ).fetchone()
    try:
        body, packed = batch.vault.open_packed(sealed, "document", document_id, channel)
        return loads(unpack(body) if packed else body)
    except (IntegrityError, ValueError):
        return None  # `labrelay verify` says what is wrong


def _version(one: Resource, waits: bool) -> Version:
    return Version(one.status, one.said, one.whole, one.time, one.has_value, waits, one.repeats)


def _settle(
    batch: Batch, routed: Routed, past: _Past, own: _Past, received: datetime
) -> tuple[Document | None, Held | None, Facts] | None:
    """The document as it goes out (None: an echo), why it is held, and what was decided; None: it is left alone."""
    document = routed.document
    try:
        bundle = loads(unpack(document.body) if document.packed else document.body)
        mine = resources_in(bundle)
    except ValueError:
        return None
    corrects, problems = _corrected(mine, past, received)
    steps: dict[str, Step] = {}
    has_results = any(one.kind == "Observation" for one in mine)
    for one in mine:
        if one.kind == "Observation" or (one.kind == "DiagnosticReport" and not has_results):
            name = f"{one.kind}/{corrects.get(one.identity, one.identity)}"
            steps[one.name] = follow(_version(one, False), past.versions(name), received)
    if not problems and _is_echo(mine, steps, corrects, past):
        return None, None, Facts(not_sent=True)
    for one in mine:
        if one.name in steps and steps[one.name].kind == "again":
            name = f"{one.kind}/{corrects.get(one.identity, one.identity)}"
            steps[one.name] = without_again(_version(one, False), past.versions(name), received)
    held = [*problems, *_why(mine, steps)]
    if has_results:
        held += _reports_back(mine, steps, past, corrects, joins=routed.joins)
    facts = Facts(
        echoes=frozenset(name for name, step in steps.items() if step.kind == "echo" and name.startswith("Obs")),
        statuses=_statuses(mine, steps, own),
        corrects=corrects,
    )
    facts = replace(facts, reports=_other_reports(batch, mine, facts, past))
    if not facts:
        return document, _all(held), NOTHING
    facts = _under_corrected_names(facts)
    body = settled(bundle, facts)
    entries = len(bundle["entry"]) if document.entries else 0
    return replace(document, body=body, packed=False, entries=entries), _all(held), facts


def _corrected(
    mine: Sequence[Resource], past: _Past, received: datetime
) -> tuple[dict[str, str], list[tuple[Reason, str]]]:
    """Which result each one is about, where that has another id: id -> id; and what cannot be told."""
    names = {one.name for one in mine}
    found: dict[str, str] = {}
    problems: list[tuple[Reason, str]] = []
    for one in mine:
        if one.kind != "Observation":
            continue
        if past.has(one.name):
            if (run := _other_run(one, names, past)) is not None:
                found[one.identity] = run
            continue
        candidates = _candidates(one, names, past)
        if len(candidates) == 1:
            found[one.identity] = candidates.pop()
        elif candidates:
            problems.append((Reason.CORRECTS_UNKNOWN, f"several results may be meant ({_called(one)})"))
        elif one.said in CHANGES and (not one.subject or _is_anothers(one, past)):
            problems.append((Reason.CORRECTS_UNKNOWN, f"no result is known that it corrects ({_called(one)})"))
    if len(set(found.values())) < len(found):
        return {}, [*problems, (Reason.CORRECTS_UNKNOWN, "two corrections are about one result")]
    if found:
        found |= _around(mine, found, past)
    return found, problems


def _is_anothers(new: Resource, past: _Past) -> bool:
    """Whether the test has a result of another patient under the same order number: a counter tells no person."""
    return any(one.subject != new.subject for _, one in past.of_test(new.codes))


def _other_run(new: Resource, names: set[str], past: _Past) -> str | None:
    """The run of a test that a message tells alone: of several that were told together the first has its id, and
    another one was measured when it was. None: it is the first, or it cannot be told."""
    if len(new.time) < MINUTE or any(one.time == new.time for one in past.versions(new.name)):
        return None
    meant = {
        one.identity
        for accepted, one in islice(past.of_test(new.codes), MOST_RUNS)
        if accepted.same_day and one.subject == new.subject and one.time == new.time and one.name not in names
    }
    return meant.pop() if len(meant) == 1 else None


def _candidates(new: Resource, names: set[str], past: _Past) -> set[str]:
    """The accepted results that one under another id may be about; two, where there are more.

    Args:
        names: of what its own message tells: these are other results.
    """
    changes = new.said in CHANGES
    if not changes and not new.subject:
        return set()
    same: set[str] = set()
    near: set[str] = set()
    window = NEAR if new.subject else NEAR_WITHOUT_PATIENT
    for accepted, one in islice(past.of_test(new.codes), None if changes else MOST_RUNS):
        if one.subject != new.subject or one.name in names or not _is_near(new.time, one.time, window):
            continue
        if accepted.same_day and new.subject:
            if changes or new.said in UNFINISHED or _ends(new, one) or _says_the_same(new, one):
                same.add(one.identity)
        elif len(near) < SEVERAL and (changes or _ends(new, one)):
            near.add(one.identity)
        if len(same) == SEVERAL:
            break
    return same or near


def _says_the_same(new: Resource, old: Resource) -> bool:
    """Whether two results of one order, patient and test are one that is told again."""
    return len(new.time) >= MINUTE and (new.time, new.said, new.meaning) == (old.time, old.said, old.meaning)


def _ends(new: Resource, old: Resource) -> bool:
    """Whether one result is what comes after an unfinished one, or cancels it."""
    return new.said == CANCELLED or (new.said == "final" and old.said in UNFINISHED)


def _is_near(new: str, old: str, window: timedelta) -> bool:
    try:
        return abs(datetime.fromisoformat(new) - datetime.fromisoformat(old)) <= window
    except (ValueError, TypeError):
        return True  # a day, or nothing: the days of the orders are beside each other


def _around(mine: Sequence[Resource], found: Mapping[str, str], past: _Past) -> dict[str, str]:
    """The report, specimen and order that stand around results which got the id of an older one."""
    olds = set(found.values())
    more: dict[str, str] = {}
    for accepted in past.documents:
        if not any(one.identity in olds for one in accepted.resources):
            continue
        for kind in ("DiagnosticReport", "Specimen", "ServiceRequest"):
            new = [one for one in mine if one.kind == kind]
            old = [one for one in accepted.resources if one.kind == kind]
            if len(new) == len(old) == 1 and not past.has(new[0].name):
                more[new[0].identity] = old[0].identity
    return more


def _why(mine: Sequence[Resource], steps: Mapping[str, Step]) -> list[tuple[Reason, str]]:
    """What holds the document, of each result that would take something back."""
    found = [(one, steps[one.name]) for one in mine if one.name in steps]
    return [(step.reason, f"{step.words} ({_called(one)})") for one, step in found if step.reason is not None]


def _reports_back(
    mine: Sequence[Resource], steps: Mapping[str, Step], past: _Past, corrects: Mapping[str, str], *, joins: bool
) -> list[tuple[Reason, str]]:
    """What holds a document for a report that has a lower status than before, and no result but echoes.

    Where lists are joined such a report keeps its status, and only what stands in the report itself could go back.
    """
    echoes = {one.identity for one in mine if one.name in steps and steps[one.name].kind in ("echo", "again")}
    found = []
    for one in mine:
        if one.kind != "DiagnosticReport" or not echoes.issuperset(one.lists):
            continue
        before = past.reports.get(f"{one.kind}/{corrects.get(one.identity, one.identity)}")
        if before is None or (joins and one.own == before.own):
            continue
        if RANK.get(one.said, 2) < RANK.get(before.said, 0):
            found.append((Reason.STATUS_BACK, f"{one.said} after {before.said} (the report)"))
    return found


def _called(one: Resource) -> str:
    return ", ".join(sorted({code.partition("|")[2] or code for code in one.codes})) or one.kind


def _all(problems: Sequence[tuple[Reason, str]]) -> Held | None:
    """Why a document is held: the first reason, and the words of all."""
    if not problems:
        return None
    words = list(dict.fromkeys(text for _, text in problems))
    more = f"; and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return Held(reason=problems[0][0], text="; ".join(words[:_NAMED]) + more, remember=True)


def _is_echo(mine: Sequence[Resource], steps: Mapping[str, Step], corrects: Mapping[str, str], past: _Past) -> bool:
    """Whether a document says nothing that was not accepted before just so."""
    if corrects or not any(one.kind in ("Observation", "DiagnosticReport") for one in mine):
        return False
    known = {(one.name, one.whole, one.said) for accepted in past.documents for one in accepted.resources}
    return all(
        steps[one.name].kind in ("echo", "again") if one.name in steps else (one.name, one.whole, one.said) in known
        for one in mine
    )


def _statuses(mine: Sequence[Resource], steps: Mapping[str, Step], own: _Past) -> dict[str, str]:
    """The statuses that go out in place of the sender's: of results that change a final one, and of their reports."""
    changed = {one.name: steps[one.name].status for one in mine
               if one.name in steps and steps[one.name].kind == "amended"}  # fmt: skip
    changed |= _repaired(mine, own)
    out = {one.identity: changed.get(one.name, one.status) for one in mine if one.kind == "Observation"}
    for one in mine:
        if one.kind == "DiagnosticReport" and one.said == "final":
            listed = {out.get(result) for result in one.lists}
            status = next((status for status in ("corrected", "amended") if status in listed), "")
            if status:
                changed[one.name] = status
    return changed


def _repaired(mine: Sequence[Resource], own: _Past) -> dict[str, str]:
    """The statuses of results that the message has delivered before with another meaning: its mapping was wrong."""
    before = {one.name: one for accepted in own.documents for one in accepted.resources}
    changed: dict[str, str] = {}
    for one in mine:
        old = before.get(one.name)
        if one.kind != "Observation" or old is None or one.said != "final" or RANK.get(old.status, 2) < RANK["final"]:
            continue
        if old.status in CHANGES:
            changed[one.name] = old.status
        elif one.meaning != old.meaning or not old.codes <= one.codes:
            changed[one.name] = "corrected"
    return changed


def _other_reports(batch: Batch, mine: Sequence[Resource], facts: Facts, past: _Past) -> tuple[str, ...]:
    """The reports of other messages that list a result which changes here, with the status that they have now."""
    changed = {}
    for one in mine:
        if one.kind == "Observation" and one.name not in facts.echoes:
            status = facts.statuses.get(one.name, one.status)
            if status in CHANGES:
                changed[facts.corrects.get(one.identity, one.identity)] = status
    written = {f"{one.kind}/{facts.corrects.get(one.identity, one.identity)}" for one in mine}
    found: dict[str, tuple[int, str]] = {}
    for accepted in past.documents:
        for one in accepted.resources:
            if one.kind != "DiagnosticReport" or accepted.waits or one.name in written or one.status not in RANK:
                continue
            listed = {changed[result] for result in one.lists if result in changed}
            if listed and RANK[one.status] >= RANK["final"]:
                status = "amended" if listed == {"amended"} and one.status != "corrected" else "corrected"
                found[one.name] = accepted.document_id, status
    return tuple(
        report_of(bundle, name, status)
        for name, (document_id, status) in found.items()
        if (bundle := _bundle(batch, document_id)) is not None
    )


def _under_corrected_names(facts: Facts) -> Facts:
    """Facts by the names that resources have once they bear the ids of those that they correct."""

    def named(name: str) -> str:
        kind, _, identity = name.partition("/")
        return f"{kind}/{facts.corrects.get(identity, identity)}"

    return replace(
        facts,
        echoes=frozenset(map(named, facts.echoes)),
        statuses={named(name): status for name, status in facts.statuses.items()},
    )
