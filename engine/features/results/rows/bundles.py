"""What the judge of facts has decided, applied to FHIR: an Observation is found by the place of its result.

    echo              is left out, and its report refers to what the receiver has
    a later word      takes the id of the first, with the status that was decided, and so do what is around it
    another sample    gets ids of its own, where the mapping gives it those of the first
    withdrawn         results that a culture has no more, that a whole report lacks, that were another patient's: they
                      are written anew beside the others
    reports           `reports`: their statuses, and those of other messages that list what changes

A document of a network (ABDM) takes the place of the one before as a whole: nothing is left out of it. It is known as
that one, whatever its mapping calls it: its day may be corrected, or be that of the message.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.features.results.rows import moved_orders, reports
from engine.features.results.rows.judged import Judged
from engine.features.results.rows.sent import Sent
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.journal.records import Routed
from engine.model.persons import Person
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.succession import kinds
from engine.succession.judge.memory import withdrawn, words_of
from engine.succession.judge.words import Decision, Ref, Standing
from engine.succession.kinds import RESULT, OpenedDocument
from engine.succession.statements import Resource, entries_in, id_of, resource_id, under
from engine.succession.steps import CANCELLED, CHANGES, MINUTE, RANK, UNFINISHED, WITHDRAWN, is_said

Problem = tuple[ReasonCode, str]
_AGAIN = frozenset({"echo", "again"})
_AROUND = ("Specimen", "ServiceRequest")
_RESULTS = frozenset({"Observation", RESULT.rstrip("/")})


@dataclass(slots=True)
class Verdict:
    """What becomes of one document.

    Attributes:
        ids: id from the mapping -> id that goes out.
        statuses: by the name that goes out, where they are not the sender's.
        echoes, absent: names of what is left out; the second are not referred to either. waits: of what says again what
            is held: it goes out beside something new.
        gone: results of other messages -> withdrawn. finished: -> the status that they have now.
        messages: that had a word about what changes here.
    """

    ids: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    echoes: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    waits: set[str] = field(default_factory=set)
    gone: dict[str, str] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)
    messages: set[int] = field(default_factory=set)


def applied(
    batch: Batch,
    routed: Routed,
    found: OpenedDocument,
    judged: Judged,
    sent: Sent,
    before: Mapping[str, Resource],
) -> tuple[Routed, list[Problem], DocumentFacts]:
    """The document as it goes out (an echo is marked as one), why it is held for its reports, and what was decided.

    Args:
        before: what an earlier mapping of the message has delivered, by name.

    Raises:
        NotComparedError: a document before it cannot be read.
    """
    document, judgement = routed.document, judged.judgement
    assert judgement is not None
    names = dict(document.places)
    decisions = [one for one in judgement.decisions if one.place in names]
    persons = [Person.unpacked(one.record) for one in document.bearers]
    is_one = bool(persons) and all(one.is_one for one in persons)
    case = _Case(found.resources, names, decisions, judged, sent, is_one=is_one)
    verdict = case.verdict()
    if found.whole and verdict.ids:
        found = _under(found, verdict.ids)
    mine = [one if found.whole else _as_meant(one, verdict.ids) for one in found.resources]
    out = {one.identity: verdict.statuses.get(one.name, one.status) for one in mine if one.kind == "Observation"}
    verdict.statuses |= {
        name: status for name, status in repaired(mine, before).items() if name not in verdict.statuses
    }
    again = verdict.echoes | verdict.absent
    is_again = not (verdict.gone or verdict.finished or before) and all(
        one.name in again | verdict.waits for one in mine if one.kind == "Observation"
    )
    if is_again and _is_said_again(mine, found, sent, listed=not routed.joins):
        return replace(routed, echo=True), [], DocumentFacts(not_sent=True)
    out |= {one.identity: verdict.statuses[one.name] for one in mine if one.name in verdict.statuses}
    verdict.statuses |= reports.statuses(
        mine, out, {*verdict.statuses}, reports.rewritten(mine, again, verdict.gone, sent)
    )
    problems = [
        *case.nameless(mine),
        *case.elsewhere(),
        *(reports.back(mine, again, sent, joins=routed.joins) if not found.whole else _missing(mine, sent)),
    ]
    changed = {
        one.identity: out[one.identity] for one in mine if one.name not in again and out.get(one.identity) in CHANGES
    }
    changed |= {name.partition("/")[2]: WITHDRAWN for name in verdict.gone}
    others = {} if found.whole else reports.of_others(mine, changed, verdict.messages, sent)
    facts = DocumentFacts(
        echoes=frozenset() if found.whole else frozenset(verdict.echoes),
        absent=frozenset() if found.whole else frozenset(verdict.absent),
        statuses=verdict.statuses,
        corrects=verdict.ids,
        version=_version(mine, sent, before),
        reports=sent.written_anew(others),
        finished=() if found.whole else sent.written_anew(verdict.finished, by_sender=True),
        withdrawn=() if found.whole else sent.written_anew(verdict.gone, by_sender=case.is_moved),
    )
    if not facts:
        return routed, problems, NOTHING
    if judged.is_moved:
        theirs = moved_orders.reports_of(batch, judgement.gone, document.reports)
        routed = replace(routed, document=replace(document, reports=(*document.reports, *theirs)))
    return _written(routed, found, facts, again), problems, facts


def _under(found: OpenedDocument, ids: Mapping[str, str]) -> OpenedDocument:
    """A document under these ids."""
    made = kinds.opened(found.write(DocumentFacts(corrects=ids)), kinds.FHIR, None)
    assert made is not None
    write = made.write
    return replace(made, write=lambda facts: write(replace(facts, corrects={})))


def _written(routed: Routed, found: OpenedDocument, facts: DocumentFacts, again: Collection[str]) -> Routed:
    """Args: again: names of what is left out, where something may be."""
    document, body = routed.document, found.write(facts)
    left = [(place, facts.corrects.get(one, one)) for place, one in document.places]
    if not found.whole:
        left = [(place, one) for place, one in left if f"Observation/{one}" not in again]
    entries = entries_in(body) if document.entries else 0
    return replace(routed, document=replace(document, body=body, packed=False, entries=entries, places=tuple(left)))


class _Case:
    """The results of one document.

    Attributes:
        is_moved: it withdraws what was another patient's. is_one: its record says enough of its patient to be known.
    """

    def __init__(
        self,
        mine: Sequence[Resource],
        names: Mapping[int, str],
        decisions: Sequence[Decision],
        judged: Judged,
        sent: Sent,
        *,
        is_one: bool,
    ) -> None:
        assert judged.judgement is not None
        self._mine, self._names, self._decisions = mine, names, decisions
        self._judgement, self._sent = judged.judgement, sent
        self._standing = {one.ref: one for one in judged.memory.standing}
        self._words = words_of(judged.judgement.decisions, judged.judgement.said, self._standing)
        self._resources = {one.identity: one for one in mine}
        self.is_moved, self._is_one = judged.is_moved, is_one
        self._changing: dict[str, set[int]] = {}
        self._ids: Mapping[str, str] = {}
        self._is_of_several = False

    def verdict(self) -> Verdict:
        found = Verdict()
        homes: dict[int, str] = {}
        for one in self._decisions:
            if (
                (ref := self._words.get(one.place)) is not None
                and (home := self._home(ref))
                and not self._is_apart(one, ref, home)
            ):
                if home in homes.values():
                    continue  # two of its message in one place: people see both
                homes[one.place] = home
                if one.kind not in _AGAIN:
                    found.messages |= self._messages(ref)
        self._name_all(found, homes)
        for one in self._decisions:
            self._decide(found, one, homes.get(one.place, ""))
            if one.kind not in _AGAIN and one.place in homes:
                self._changing[f"Observation/{homes[one.place]}"] = self._messages(self._words[one.place])
        self._ids = found.ids
        for ref in withdrawn(self._judgement):
            if home := self._home(ref):
                found.gone[f"Observation/{home}"] = WITHDRAWN
                found.messages |= self._messages(ref)
        for name in found.gone.keys() & {f"Observation/{found.ids.get(one, one)}" for one in self._names.values()}:
            del found.gone[name]  # a unique number: the new result has its id
        return found

    def _is_unit(self) -> bool:
        """Whether it is a report of a culture that differs from the one before it: then it goes out as a whole."""
        said = self._judgement.said
        return bool(self._judgement.gone) or any(
            one.kind not in _AGAIN and one.place in said and said[one.place].organism for one in self._decisions
        )

    def nameless(self, mine: Sequence[Resource]) -> Iterable[Problem]:
        """Of later words that would take the patient from a result, or give it another one.

        Args:
            mine: under the ids that go out.
        """
        for one in mine:
            messages = self._changing.get(one.name)
            if messages and (last := self._sent.last(one.name, messages)) is not None:
                own = id_of(one.subject)
                if last[1].subject and self._ids.get(own, own) != id_of(last[1].subject):
                    yield (
                        ReasonCode.CORRECTS_UNKNOWN,
                        f"the result that it is about names another patient ({one.called})",
                    )

    def _home(self, ref: Ref) -> str:
        return self._sent.home(ref, self._standing.get(ref))

    def _is_apart(self, one: Decision, ref: Ref, home: str) -> bool:
        """Whether two final results have no time, and the mapping says by their ids that they may be two."""
        said, before = self._judgement.said.get(one.place), self._standing.get(ref)
        if said is None or before is None or one.kind not in ("follows", "amends") or self._names[one.place] == home:
            return False
        return len(said.version.time) < MINUTE and said.version.said == before.last.version.said == "final"

    def _messages(self, ref: Ref) -> set[int]:
        one = self._standing.get(ref)
        return {ref[0]} if one is None else {ref[0], *(word.message for word in one.words), *one.listed}

    def _name_all(self, found: Verdict, homes: Mapping[int, str]) -> None:
        """The ids that go out: of what is a later word, those of the first; of what is new, one that is free."""
        for place, home in homes.items():
            if (own := self._names[place]) != home:
                found.ids[own] = home
        free = {self._home(ref) for ref in self._judgement.gone} if self.is_moved else set()
        taken = {*homes.values(), *self._taken()} - free
        others: list[str] = []
        for one in self._decisions:
            own = self._names[one.place]
            is_moved = one.reason == ReasonCode.ORDER_MOVED.value  # it is processed again, once that is answered
            if one.place in homes or one.kind in _AGAIN or is_moved:
                continue
            if own in taken:
                found.ids[own] = self._free(own, one.place)
                others.append(own)
            elif self._is_of_other_time(own, one.place):
                found.ids[own] = resource_id(f"{own}\x1f{self._resources[own].time}")
                others.append(own)
        if found.ids:
            self._around(found, {old: new for old, new in found.ids.items() if old not in others})
        if others and not homes:
            self._name_samples(found)
        self._name_issue(found, homes)

    def _is_of_other_time(self, own: str, place: int) -> bool:
        """Whether it has no number of an order, and the id of a result that was measured at another time: two values
        of one day, of which none is a later word of the other."""
        said = self._judgement.said.get(place)
        if said is not None and said.number:
            return False
        last, time = self._sent.last(f"Observation/{own}"), self._resources[own].time
        return last is not None and len(time) >= MINUTE and time != last[1].time

    def _taken(self) -> set[str]:
        """The ids of what is known of the same tests; of cultures, of all that is known of them."""
        named = {(said.number, said.test) for said in self._judgement.said.values()}
        has_isolates = any(said.organism for said in self._judgement.said.values())
        return {
            self._home(one.ref)
            for one in self._standing.values()
            if (one.last.number, one.last.test) in named or (has_isolates and one.last.organism)
        }

    def _free(self, own: str, place: int) -> str:
        said = self._judgement.said.get(place)
        return resource_id(f"{own}\x1f{said.message if said is not None else 0}\x1f{place}")

    def _around(self, found: Verdict, moved: Mapping[str, str]) -> None:
        """New ids of the patient, the reports, specimen and order around results that got the id of an older one."""
        subjects = {one.subject for one in self._mine if one.kind == "Observation"}
        for home in moved.values():
            name = f"Observation/{home}"
            if (last := self._sent.last(name, found.messages)) is None:
                continue
            document, old = last
            if not old.subject and next(iter(subjects)) and _count(document.named.values()) > 1:
                continue  # the others still name no patient
            if (
                len(subjects) == 1
                and old.subject
                and self._is_one
                and (own := id_of(next(iter(subjects)))) != id_of(old.subject)
            ):
                found.ids.setdefault(own, id_of(old.subject))
            for kind in _AROUND:
                new = [one for one in self._mine if one.kind == kind]
                theirs = [one for one in document.named.values() if one.kind == kind]
                if len(new) == len(theirs) == 1 and new[0].identity != theirs[0].identity:
                    found.ids.setdefault(new[0].identity, theirs[0].identity)
            self._name_report(found, home, [*document.named.values()])

    def _name_report(self, found: Verdict, home: str, before: Sequence[Resource]) -> None:
        """The report of a result takes the id of the one that it was in, where both are in one alone."""
        theirs = [one for one in before if one.kind == "DiagnosticReport" and home in one.lists]
        mine = [one for one in self._mine if one.kind == "DiagnosticReport"
                and home in (found.ids.get(result, result) for result in one.lists)]  # fmt: skip
        alone = [[one for one in some if one.kind == "DiagnosticReport"] for some in (self._mine, before)]
        if not (len(mine) == len(theirs) == 1) or (mine[0].order != theirs[0].order and [*map(len, alone)] != [1, 1]):
            return
        if theirs[0].identity not in (*self._resources, *found.ids.values()):
            found.ids.setdefault(mine[0].identity, theirs[0].identity)

    def _name_issue(self, found: Verdict, homes: Mapping[int, str]) -> None:
        """A document is the next issue of the one that has what it has a later word of."""
        mine = next((one.identity for one in self._mine if one.kind == "Composition"), "")
        issues: dict[bool, set[str]] = {False: set(), True: set()}
        for one in self._decisions if mine else ():
            if one.place in homes:
                last = self._sent.last(f"Observation/{homes[one.place]}", self._messages(self._words[one.place]))
                named = last[0].named.values() if last is not None else ()
                issues[one.kind in _AGAIN] |= {each.identity for each in named if each.kind == "Composition"}
        theirs = issues[False] or issues[True]
        if len(theirs) == 1 and mine not in theirs:
            found.ids[mine] = next(iter(theirs))
        self._is_of_several = len(issues[False]) > 1

    def elsewhere(self) -> Iterable[Problem]:
        """Of a document that changes results of several others: those would keep what they have."""
        if self._is_of_several:
            yield ReasonCode.CORRECTS_UNKNOWN, "it changes results of several documents"

    def _name_samples(self, found: Verdict) -> None:
        """Another sample has a Specimen of its own."""
        for one in self._mine:
            if (
                one.kind == "Specimen"
                and (last := self._sent.last(one.name)) is not None
                and last[1].whole != one.whole
            ):
                found.ids.setdefault(one.identity, self._free(one.identity, self._decisions[0].place))

    def _decide(self, found: Verdict, one: Decision, home: str) -> None:
        own = self._names[one.place]
        name = f"Observation/{found.ids.get(own, own)}"
        said = self._judgement.said.get(one.place)
        if one.kind == "echo" and said is not None and said.organism and self._is_unit():
            status = self._standing[one.meant].last.version.status if one.meant in self._standing else said.version.said
            if status != said.version.said:
                found.statuses[name] = status
            return
        if one.kind == "echo" and one.meant is None and said is not None and not said.organism:
            found.absent.add(name)  # its message says it twice
            return
        ref = self._words.get(one.place)
        is_there = bool(home) and ref is not None and self._sent.last(name, self._messages(ref)) is not None
        if one.kind == "again" or (one.kind == "echo" and not is_there):  # of these receivers none has it
            found.waits.add(name)
            return
        if one.kind in ("echo", "finishes"):
            (found.echoes if is_there else found.absent).add(name)
            if one.kind == "finishes" and one.meant is not None:
                last = self._standing[one.meant].last.version
                if last.said in UNFINISHED:
                    found.finished[name] = one.status
            return
        if said is None and one.kind != "new":
            return
        sent_as, status = one.status if said is None else said.version.said, one.status  # None: of the usual message
        if one.kind == "amends" and not home:
            status = sent_as
        if said is not None and one.kind == "held" and status == "final" and ref is not None and ref in self._standing:
            status = _once_released(status, self._standing[ref], said.version.whole)
        is_silent = not is_said(status, self._resources[own].said)  # its mapping is
        if status and (status != sent_as or is_silent):
            found.statuses[name] = status


def _count(resources: Iterable[Resource]) -> int:
    return sum(one.kind == "Observation" for one in resources)


def _once_released(status: str, one: Standing, whole: bytes) -> str:
    last = one.last.version
    return "amended" if RANK.get(last.said, 0) >= RANK["final"] and last.whole != whole else status


def _as_meant(one: Resource, ids: Mapping[str, str]) -> Resource:
    """A resource under the ids that go out."""
    if not ids:
        return one
    return one._replace(name=under(one.name, ids), lists=tuple(ids.get(result, result) for result in one.lists))


def repaired(mine: Iterable[Resource], before: Mapping[str, Resource], by: str = "name") -> dict[str, str]:
    """The statuses of results that the message has delivered before with another meaning: its mapping was wrong.

    Args:
        before: as of `engine.features.results.rows.applying.delivered`, found ``by`` this attribute.
    """
    changed: dict[str, str] = {}
    for one in mine if before else ():
        old = before.get(getattr(one, by))
        if one.kind not in _RESULTS or old is None or one.said != "final" or RANK.get(old.status, 2) < RANK["final"]:
            continue
        if old.status in CHANGES:
            changed[one.name] = old.status
        elif one.meaning != old.meaning or not old.codes <= one.codes:
            changed[one.name] = "corrected"
    return changed


def _is_said_again(mine: Sequence[Resource], found: OpenedDocument, sent: Sent, *, listed: bool) -> bool:
    """Whether the reports of a document whose results all repeat were accepted just so."""
    if found.whole:
        return any(sent.has_said(one, listed=False) for one in mine if one.kind == "Composition")
    told = [one for one in mine if one.kind == "DiagnosticReport"]
    has_results = any(one.kind == "Observation" for one in mine)
    if not has_results and not all(len(one.time) >= MINUTE for one in told):
        return False  # nothing says that it is no other one
    unknown = [one for one in told if not sent.has_said(one, listed=listed)]
    # one that was never sent has nothing beside its results
    return (has_results or bool(told)) and all(
        has_results and not one.texts and sent.last(one.name) is None for one in unknown
    )


def _missing(mine: Sequence[Resource], sent: Sent) -> Iterable[Problem]:
    """The problems of a document that lacks results of the one it replaces: the receiver would lose them."""
    issue = next(one.name for one in mine if one.kind == "Composition")
    if (last := sent.last(issue)) is None:
        return
    there = {one.identity for one in mine}
    gone = {
        one.called
        for one in last[0].named.values()
        if one.kind == "Observation" and one.identity not in there and one.status not in (WITHDRAWN, CANCELLED)
    }
    if gone:
        yield ReasonCode.RESULTS_GONE, f"the accepted document has more ({', '.join(sorted(gone))})"


def _version(mine: Sequence[Resource], sent: Sent, before: Mapping[str, Resource]) -> int:
    """The number of a document's issue, where the sender's is not above those that were accepted; else 0."""
    issue = next((one for one in mine if one.kind == "Composition"), None)
    if issue is None or not issue.version:
        return 0
    last = sent.last(issue.name)
    known = [0 if last is None else last[1].version, before[issue.name].version if issue.name in before else 0]
    return max(known) + 1 if issue.version <= max(known) else 0
