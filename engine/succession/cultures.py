"""Cultures of microbiology: a report of isolates and their susceptibilities is one unit, and replaced as a whole. Pure.

Laboratories send a culture again each time it grows: first a stain, then organisms, then antibiotics. Each message
contains the whole culture, and numbers isolates (OBX-4) and orders (OBR-1) anew. So ids made from these numbers do not
identify an isolate:

    before   1 Escherichia coli: ampicillin R        2 Staphylococcus aureus: penicillin R
    now      1 Staphylococcus aureus: penicillin R

Staphylococcus gets the ids that it had, Escherichia and its susceptibilities are withdrawn by the same document.

An isolate is a result that the mapping marks (setting ``head_codes``), to which susceptibilities belong (OBR-26 and
OBR-29), or whose LOINC term is *identified by culture*; and each other result of its code in a culture. Two reports are
of one culture where the order's numbers, its code and the patient are the same.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.succession.statements import Resource, resource_id
from engine.succession.steps import CANCELLED, MINUTE, UNFINISHED, WITHDRAWN

# LOINC: bacteria, fungi, mycobacteria or microorganisms identified by culture, in blood, urine, stool, sputum,
# cerebrospinal fluid, wound, throat, eye, body fluid, any specimen; aerobic, anaerobic.
_IDENTIFIED = frozenset(
    f"http://loinc.org|{code}"
    for code in (
        "600-7", "630-4", "625-4", "624-7", "6460-0", "606-4", "6462-6", "626-2", "609-8", "610-6", "611-4", "6463-4",
        "634-6", "635-3", "11475-1", "580-1", "543-9",
    )
)  # fmt: skip

Order = tuple[bytes, str]  # what was ordered, and the patient


class Isolate(NamedTuple):
    head: Resource
    members: tuple[Resource, ...]


@dataclass(slots=True)
class Culture:
    """The content of a culture, from one message or several together.

    Attributes:
        reports: that list its isolates or their susceptibilities.
    """

    isolates: list[Isolate] = field(default_factory=list)
    reports: list[Resource] = field(default_factory=list)

    def results(self) -> list[Resource]:
        return [one for isolate in self.isolates for one in (isolate.head, *isolate.members)]

    def told(self) -> Counter[Any]:
        """Its content without ids: equal for two messages with the same content."""
        isolates = [
            (head.content, head.said, frozenset(Counter((one.content, one.said) for one in members).items()))
            for head, members in self.isolates
        ]
        return Counter([*isolates, *((one.whole, one.said) for one in self.reports)])


def head_codes(resources: Iterable[Resource]) -> frozenset[str]:
    """The codes that a message uses for isolates, where it shows that they are isolates."""
    resources = list(resources)
    susceptible = {one.identity for one in resources if one.susceptible}
    return frozenset(
        code
        for one in resources
        if one.isolate or not one.codes.isdisjoint(_IDENTIFIED) or not susceptible.isdisjoint(one.members)
        for code in one.codes
    )


def cultures_in(resources: Sequence[Resource], codes: frozenset[str]) -> dict[Order, Culture]:
    """The cultures that a message contains whole: with a report that lists isolates.

    Args:
        codes: of isolates: `head_codes` of this message, and of others of its orders.
    """
    if not codes:
        return {}
    results = {one.identity: one for one in resources if one.kind == "Observation"}
    reports = [one for one in resources if one.kind == "DiagnosticReport" and not _is_closed(one)]
    heads = {one.identity for one in results.values() if not one.codes.isdisjoint(codes)}
    found: dict[Order, Culture] = {}
    roots = set()
    for report in reports:
        listed = [one for one in report.lists if one in heads]
        if listed and report.subject:
            culture = found.setdefault((report.order, report.subject), Culture())
            culture.reports.append(report)
            roots.add(report.name)
            culture.isolates += [
                Isolate(results[one], tuple(results[member] for member in results[one].members if member in results))
                for one in listed
            ]
    listing: dict[str, list[Resource]] = {}
    for report in reports if found else ():
        if report.name not in roots:
            for result in report.lists:
                listing.setdefault(result, []).append(report)
    for culture in found.values():
        members = [one.identity for isolate in culture.isolates for one in isolate.members]
        culture.reports += {one.name: one for member in members for one in listing.get(member, ())}.values()
    return found


def _is_closed(report: Resource) -> bool:
    """Whether a document writes a report only to withdraw it: another message had sent it."""
    return report.status == WITHDRAWN != report.said


def reports_of_cultures(resources: Sequence[Resource], codes: frozenset[str]) -> set[str]:
    """The ids of reports in a document that contain a whole culture: each replaces the one before it.

    Args:
        codes: as for `cultures_in`.
    """
    found = cultures_in(resources, codes)
    return {one.identity for culture in found.values() for one in culture.reports}


class Replaced(NamedTuple):
    """How a new version of a culture replaces the earlier one.

    Attributes:
        ids: id as the mapping makes it -> id that the same isolate, susceptibility or report had, or a new one.
        gone: names of results that are no longer valid.
        closed: names of reports that are no longer valid.
    """

    ids: dict[str, str]
    gone: list[str]
    closed: list[str]


def standing(messages: Iterable[tuple[Culture, Sequence[Resource]]]) -> Culture:
    """The state of a culture after ``messages``, the oldest first: of each the culture, and all its resources."""
    results: dict[str, Resource] = {}
    members: dict[str, tuple[str, ...]] = {}
    reports: dict[str, Resource] = {}
    for told, resources in messages:
        results |= {one.identity: one for one in told.results()}
        members |= {head.identity: head.members for head, _ in told.isolates}
        reports |= {one.name: one for one in told.reports}
        results |= {one.identity: one for one in resources if one.identity in results}
        reports |= {one.name: one for one in resources if one.name in reports}

    def stands(one: str) -> bool:
        return one in results and results[one].status not in (WITHDRAWN, CANCELLED)

    return Culture(
        [Isolate(results[head], tuple(results[one] for one in some if stands(one)))
         for head, some in members.items() if stands(head)],
        [one for one in reports.values() if one.status != WITHDRAWN],
    )  # fmt: skip


def replace(new: Culture, old: Culture, taken: Callable[[str], bool]) -> Replaced:
    """How ``new`` replaces ``old``, the current state.

    Where they have no isolate in common, neither by organism nor by any earlier number, ``new`` adds isolates and
    withdraws none. Instruments that send isolates one by one do this.

    Args:
        taken: whether an older result has had this id.
    """
    ids: dict[str, str] = {}
    left: list[Resource] = []
    pairs = _same(new.isolates, old.isolates)
    beside = bool(old.isolates) and all(theirs is None and not taken(mine.head.identity) for mine, theirs in pairs)
    for mine, theirs in pairs:
        if theirs is None:
            left += [mine.head, *mine.members]
            continue
        ids[mine.head.identity] = theirs.head.identity
        free = list(theirs.members)
        for member in mine.members:
            same = [one for one in free if not one.codes.isdisjoint(member.codes)]
            if same:
                chosen = next((one for one in same if one.identity == member.identity), same[0])
                free.remove(chosen)
                ids[member.identity] = chosen.identity
            else:
                left.append(member)
    used = set(ids.values())
    for one in left:
        ids[one.identity] = identity = _free_id(one, used, taken)
        used.add(identity)
    if beside:
        return Replaced({mine: own for mine, own in ids.items() if mine != own}, [], [])
    ids |= _reports(new, old)
    written = {ids.get(one.identity, one.identity) for one in new.reports}
    gone = [
        one
        for isolate in old.isolates
        if isolate.head.identity in used or _is_listed(isolate.head, old.reports, written)
        for one in (isolate.head, *isolate.members)
        if one.identity not in used
    ]
    lost = {one.identity for one in gone}
    return Replaced(
        ids={mine: theirs for mine, theirs in ids.items() if mine != theirs},
        gone=[one.name for one in gone],
        closed=[one.name for one in old.reports if one.identity not in written and lost.issuperset(one.lists)],
    )


def _is_listed(head: Resource, reports: Sequence[Resource], written: set[str]) -> bool:
    """Whether an isolate was in a report that is written again; one in a report of its own stays."""
    return any(head.identity in one.lists for one in reports if one.identity in written)


def _same(new: Sequence[Isolate], old: Sequence[Isolate]) -> list[tuple[Isolate, Isolate | None]]:
    """Each isolate with the one that it was before: by organism and susceptibilities, by organism, by its number; and
    one that is identified with the growth that was seen before it."""
    found: dict[int, Isolate] = {}
    free = list(old)
    profiles = {id(one): _profile(one) for one in (*new, *old)}
    passes: tuple[Callable[[Isolate, Isolate], bool], ...] = (
        lambda mine, theirs: profiles[id(mine)] == profiles[id(theirs)],
        lambda mine, theirs: mine.head.answer == theirs.head.answer and mine.head.identity == theirs.head.identity,
        lambda mine, theirs: bool(mine.head.answer) and mine.head.answer == theirs.head.answer,
        lambda mine, theirs: mine.head.identity == theirs.head.identity,
        lambda mine, theirs: theirs.head.said in UNFINISHED and not theirs.members,
    )
    for is_same in passes:
        for place, mine in enumerate(new):
            if place not in found:
                theirs = next((one for one in free if is_same(mine, one)), None)
                if theirs is not None:
                    found[place] = theirs
                    free.remove(theirs)
    return [(mine, found.get(place)) for place, mine in enumerate(new)]


def _profile(isolate: Isolate) -> tuple[str, frozenset[tuple[frozenset[str], bytes]]]:
    return isolate.head.answer, frozenset((one.codes, one.meaning) for one in isolate.members)


def _free_id(one: Resource, used: set[str], taken: Callable[[str], bool]) -> str:
    """The id of a new result: its own, unless another isolate has had that."""
    identity = one.identity
    while identity in used or taken(identity):
        identity = resource_id(f"{identity} {one.answer} {sorted(one.codes)}")
    return identity


def _reports(new: Culture, old: Culture) -> Mapping[str, str]:
    """Reports with a new order count (OBR-1) or of another day: each with its earlier report."""
    there = {one.name for one in old.reports}
    mine = [one for one in new.reports if one.name not in there]
    written = {one.name for one in new.reports}
    found = {}
    for one in mine:
        same = [other for other in old.reports if other.order == one.order and other.name not in written]
        if len(same) == 1 and sum(other.order == one.order for other in mine) == 1:
            found[one.identity] = same[0].identity
    return found


def is_timed(culture: Culture) -> bool:
    """Whether each isolate says to the minute when it was read: else an equal report is no memory for sure."""
    return all(len(one.head.time) >= MINUTE for one in culture.isolates)
